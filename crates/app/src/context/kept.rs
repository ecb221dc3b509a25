//! A context that a lane keeps, so that the next one need not be collected from the beginning, and the counts of messages.
//!
//! Must not know: where messages are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sessions_domain::{
    Message, MessageRole, MessageState, StoredMessage, View,
    compaction::InForce,
    context::{Budget, Gather, Weigher, held},
    form::{Form, FormRules},
    profile::ModelProfile,
    tokens::{self, Tokens},
};
use sessions_ports::TokenCounter;

use super::wish::ContextWish;
use crate::{
    error::SessionError,
    session::{HeadAt, Session},
};

/// All that a context depends on, beside the messages that come behind it.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(super) budget: Budget,
    profile: Option<Arc<ModelProfile>>,
    form: Form,
    pub(super) weigher: Weigher,
    /// How the conversation is compacted.
    pub(crate) compacted: InForce,
    /// The record that stated its instructions.
    pub(super) instructions: Option<u64>,
    /// The newest record that changed either.
    pub(super) changed: u64,
    pins: BTreeSet<u64>,
    lost: u64,
}

impl Scope {
    /// Of the conversation as it was at a place: what was compacted and stated later does not count there.
    pub(crate) fn of(session: &Session, wish: &ContextWish, view: &View, place: &HeadAt) -> Result<Self, SessionError> {
        let profile = wish.model.as_ref().map(|model| model.profile(session)).transpose()?;
        let limits = [
            wish.budget.map(Budget::as_tokens),
            profile.as_ref().map(|profile| profile.usable()),
            session.manager().max_context_tokens(view),
        ];
        let budget = limits.into_iter().flatten().min().filter(|_| !wish.is_whole).unwrap_or(u64::MAX);
        let form = wish.form.or(profile.as_ref().map(|profile| profile.form)).unwrap_or_default();
        let weigher = weigher(session, profile.as_deref(), form)?;
        let compactions = view.compactions();
        Ok(Self {
            budget: Budget::tokens(budget),
            profile,
            form,
            weigher,
            compacted: view.compacted_at(place.at, place.head),
            instructions: compactions.instructions(place.at),
            changed: compactions.changed().min(place.at),
            pins: view.pins().clone(),
            lost: view.lost(),
        })
    }

    /// The same, without a limit.
    pub(crate) fn unbounded(
        session: &Session,
        wish: &ContextWish,
        view: &View,
        place: &HeadAt,
    ) -> Result<Self, SessionError> {
        Ok(Self { budget: Budget::tokens(u64::MAX), ..Self::of(session, wish, view, place)? })
    }

    pub(crate) fn weigher(&self) -> &Weigher {
        &self.weigher
    }

    /// What counts texts for it.
    pub(crate) fn counter(&self, session: &Session) -> Result<Arc<dyn TokenCounter>, SessionError> {
        counter(session, self.profile.as_deref())
    }

    fn is_same_as(&self, other: &Self) -> bool {
        let of =
            |scope: &Self| (scope.budget, scope.form, scope.compacted, scope.instructions, scope.changed, scope.lost);
        of(self) == of(other) && self.profile == other.profile && self.pins == other.pins
    }
}

pub(super) fn counter(
    session: &Session,
    profile: Option<&ModelProfile>,
) -> Result<Arc<dyn TokenCounter>, SessionError> {
    let ports = session.manager().ports();
    match profile {
        None => Ok(Arc::clone(&ports.counter)),
        Some(profile) => ports
            .encodings
            .named(&profile.encoding)
            .ok_or_else(|| SessionError::UnknownEncoding { encoding: profile.encoding.clone() }),
    }
}

/// What weighs messages for a model, or for none in particular.
fn weigher(session: &Session, profile: Option<&ModelProfile>, form: Form) -> Result<Weigher, SessionError> {
    let counter = counter(session, profile)?;
    let counted = session.lane().counted(counter.encoding());
    let weigher = Weigher::new(move |seq, message| counted.tokens(counter.as_ref(), seq, message));
    let mut weigher = match profile {
        Some(profile) => weigher.for_model(profile),
        None => weigher,
    };
    if weigher.form != form {
        (weigher.form, weigher.rules) = (form, FormRules::of(form));
    }
    if profile.is_none() {
        // Nobody said to whom it is sent.
        weigher.framing.per_request = 0;
    }
    Ok(weigher)
}

/// The tokens of a session's messages in one encoding, each counted once.
#[derive(Default)]
pub(crate) struct Counted {
    known: Mutex<BTreeMap<u64, Tokens>>,
}

impl Counted {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Tokens>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tokens of a message as it was said.
    pub(super) fn as_said(&self, counter: &dyn TokenCounter, stored: &StoredMessage) -> Tokens {
        let known = Some(stored.seq).filter(|_| stored.state != MessageState::Partial);
        self.tokens(counter, known, &stored.message)
    }

    /// The tokens of a message. `seq`: the record whose message it is, as it will always be.
    fn tokens(&self, counter: &dyn TokenCounter, seq: Option<u64>, message: &Message) -> Tokens {
        if let Some(known) = seq.and_then(|seq| self.lock().get(&seq).copied()) {
            return known;
        }
        let counted = tokens::message(message, &|text| counter.count(text)).counted(counter.is_exact());
        if let Some(seq) = seq {
            self.lock().insert(seq, counted);
        }
        counted
    }
}

/// A context that was given.
pub(crate) struct Kept {
    pub(super) scope: Scope,
    /// The head that it is of.
    pub(super) head: u64,
    /// The messages of the newest group, oldest first.
    pub(super) newest: Vec<StoredMessage>,
    /// Whether no system message that comes now can be one of the instructions.
    pub(super) is_closed: bool,
    /// The compaction whose summary cannot be read.
    pub(super) lost_summary: Option<u64>,
    pub(super) gather: Gather,
}

impl Kept {
    /// The memory that it takes, in bytes. What was cut for the context stands whole among the newest.
    pub(super) fn held(&self) -> usize {
        let newest = self.newest.iter().map(|stored| size_of::<StoredMessage>().saturating_add(held(&stored.message)));
        newest.fold(self.gather.held(), usize::saturating_add)
    }

    /// Whether the context of a scope at a head begins as this one does.
    pub(super) fn goes_on_to(&self, scope: &Scope, view: &View, head: u64) -> bool {
        let is_over = !self.newest.iter().any(|message| message.state == MessageState::Partial);
        self.head != 0 && is_over && view.tree().is_visible(self.head, head) && self.scope.is_same_as(scope)
    }

    /// Takes in messages that came behind it, oldest first; `None`: it has to be collected anew.
    pub(super) fn take_in(mut self: Box<Self>, newer: Vec<StoredMessage>) -> Option<Box<Self>> {
        if newer.iter().any(|message| self.scope.pins.contains(&message.seq)) {
            // It was pinned before it was taken back and came again, or ahead of a context of the past: it does not stand at the beginning yet.
            return None;
        }
        let mut rest = newer.as_slice();
        let results = rest.iter().take_while(|message| message.role == MessageRole::Tool).count();
        if results > 0 {
            let (first, behind) = rest.split_at_checked(results)?;
            self.newest.extend_from_slice(first);
            if !self.gather.replace_newest(&self.newest) {
                return None;
            }
            rest = behind;
        }
        for group in rest.chunk_by(|_, next| next.role == MessageRole::Tool) {
            if !self.gather.push_newer(group) {
                return None;
            }
            self.newest = group.to_vec();
        }
        Some(self)
    }
}
