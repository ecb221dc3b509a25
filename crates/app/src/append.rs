//! Appending messages, at most once where the host asks for it.
//!
//! Must not know: rules of the conversation; the domain decides.

use std::{
    collections::HashSet,
    pin::Pin,
    task::{Context, Poll},
};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use sessions_domain::{
    CommitHash, Event, Message, MessageId, OpenCalls, RuleViolation, View,
    decide::{self, CallsOnPath, Element, ElementKind, Walk, Window},
};
use sessions_ports::{Durability, StoreError};

use crate::{
    error::SessionError,
    keyed,
    once::Wish,
    reading::{BackWalk, Bounds},
    session::Session,
    transact::{MAX_ATTEMPTS, Placed, Plan, Through, lost_every_race},
};

/// A message to append, and how.
///
/// ```
/// # use sessions_app::Append;
/// # use sessions_domain::Message;
/// # use sessions_ports::Durability;
/// let append = Append::from(Message::user("hello")).durability(Durability::Process).idempotency_key("request-7");
/// ```
#[derive(Clone, Debug)]
pub struct Append {
    messages: Vec<Message>,
    durability: Option<Durability>,
    idempotency_key: Option<String>,
    after: Option<MessageId>,
    behind: Option<u64>,
}

impl From<Message> for Append {
    fn from(message: Message) -> Self {
        Self::all([message])
    }
}

impl Append {
    /// Several messages, all or none of them.
    pub fn all(messages: impl IntoIterator<Item = Message>) -> Self {
        let messages = messages.into_iter().collect();
        Self { messages, durability: None, idempotency_key: None, after: None, behind: None }
    }

    /// Waits for this level instead of the manager's.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Makes the append happen once: the same key and messages give the first receipt again, also after a restart.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Only behind this message: when another stands at the head, the append is a conflict.
    #[must_use]
    pub fn after(mut self, message: MessageId) -> Self {
        self.after = Some(message);
        self
    }

    /// Only behind an append that has its place: when that one fails, this one is a conflict, and never takes its place. With it a
    /// sequence of messages that is cut off ends at one point and has no holes.
    #[must_use]
    pub fn behind(mut self, before: &InFlight) -> Self {
        self.behind = before.place.or(self.behind);
        self
    }
}

/// Whether an append was written now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AppendOutcome {
    /// Written now.
    Inserted,
    /// Written before, under the same idempotency key.
    Replayed,
}

/// What is known of an append that is through. It serialises as `{"id","seq","version","head","durability","outcome"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The (last) message.
    pub message: MessageId,
    /// Its number.
    pub seq: u64,
    /// The session's version after the append.
    pub version: u64,
    /// The commit of the session's last record after the append.
    pub head: CommitHash,
    /// The level that was reached.
    pub durability: Durability,
    /// Whether it was written now.
    pub outcome: AppendOutcome,
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut receipt = serializer.serialize_struct("Receipt", 6)?;
        receipt.serialize_field("id", &self.message)?;
        receipt.serialize_field("seq", &self.seq)?;
        receipt.serialize_field("version", &self.version)?;
        receipt.serialize_field("head", &self.head)?;
        receipt.serialize_field("durability", &self.durability)?;
        receipt.serialize_field("outcome", &self.outcome)?;
        receipt.end()
    }
}

/// An append that has its place in the log and is not yet through. Dropping it changes nothing about the append.
///
/// It fails when an append before it fails, as on a full disk. When the runtime that it was queued on ends and the store then refuses it,
/// it is appended again by whoever still waits for it.
pub struct InFlight {
    receipt: Pin<Box<dyn Future<Output = Result<Receipt, SessionError>> + Send>>,
    place: Option<u64>,
}

impl InFlight {
    /// The number of its (last) record; `None` when it was written before, under the same idempotency key.
    pub fn place(&self) -> Option<u64> {
        self.place
    }
}

impl Future for InFlight {
    type Output = Result<Receipt, SessionError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.receipt.as_mut().poll(context)
    }
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InFlight").finish_non_exhaustive()
    }
}

enum Queueing {
    Replayed(Receipt),
    Placed(Placed, MessageId),
}

impl Session {
    /// Appends a message, or several at once, and waits for its durability.
    ///
    /// When another writer is faster, the append is decided again behind what came between.
    ///
    /// # Errors
    /// [`SessionError::Rule`] when the conversation does not allow it, [`SessionError::KeyReused`],
    /// [`SessionError::EmptyIdempotencyKey`], [`SessionError::Conflict`] when
    /// [`Append::after`] or [`Append::behind`] does not hold, and the store's.
    pub async fn append(&self, append: impl Into<Append> + Send) -> Result<Receipt, SessionError> {
        self.append_all(&append.into()).await
    }

    /// Gives an append its place in the log and does not wait for more; the [`InFlight`] answers when it is through.
    ///
    /// When another writer is faster, the append is decided again behind what came between, before this answers.
    ///
    /// Appends that are queued one after the other take their places in that order, and the store writes them together. So one writer
    /// has many appends in flight and waits for all of them about as long as for one.
    ///
    /// ```
    /// # async fn shown(session: sessions_app::Session) -> Result<(), sessions_app::SessionError> {
    /// # use sessions_domain::Message;
    /// let question = session.enqueue(Message::user("and the other one?")).await?;
    /// let answer = session.enqueue(Message::assistant("the same")).await?;
    /// let (question, answer) = (question.await?, answer.await?);
    /// assert!(question.seq < answer.seq);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::append`], as far as they show before anything is written.
    pub async fn enqueue(&self, append: impl Into<Append> + Send) -> Result<InFlight, SessionError> {
        let (append, session) = (append.into(), self.clone());
        match self.queued(&append).await? {
            Queueing::Replayed(receipt) => {
                Ok(InFlight { receipt: Box::pin(std::future::ready(Ok(receipt))), place: None })
            }
            Queueing::Placed(placed, id) => {
                let place = Some(placed.last());
                let receipt = Box::pin(async move {
                    match session.manager().through(session.lane(), placed).await {
                        Ok(done) => Ok(receipt_of(done, id)),
                        Err(error) => {
                            session.may_retry(&append, error).await?;
                            session.append_all(&append).await
                        }
                    }
                });
                Ok(InFlight { receipt, place })
            }
        }
    }

    async fn append_all(&self, append: &Append) -> Result<Receipt, SessionError> {
        for _ in 0..MAX_ATTEMPTS {
            match self.queued(append).await? {
                Queueing::Replayed(receipt) => return Ok(receipt),
                Queueing::Placed(placed, id) => match self.manager().through(self.lane(), placed).await {
                    Ok(done) => return Ok(receipt_of(done, id)),
                    Err(error) => self.may_retry(append, error).await?,
                },
            }
        }
        Err(lost_every_race(self.lane()))
    }

    /// Decides and queues, again when another writer was faster: what this gives has its place in the log, or was refused for good.
    async fn queued(&self, append: &Append) -> Result<Queueing, SessionError> {
        for _ in 0..MAX_ATTEMPTS {
            let (placed, id) = match self.placed(append).await? {
                Queueing::Placed(placed, id) => (placed, id),
                replayed => return Ok(replayed),
            };
            match placed.lost_its_place() {
                None => return Ok(Queueing::Placed(placed, id)),
                Some(expected) => self.manager().catch_up(self.lane(), expected).await?,
            }
        }
        Err(lost_every_race(self.lane()))
    }

    /// Decides and queues once, with whatever has to be looked up for it.
    async fn placed(&self, append: &Append) -> Result<Queueing, SessionError> {
        let durability = append.durability.unwrap_or(self.manager().durability());
        let claim = self.claim_of(append).await?;
        let after = match append.behind {
            Some(place) => Some(place),
            None => self.seq_of(append.after).await?,
        };
        // What the path says of calls that are not open, and the version it said so at.
        let mut looked_up: Option<(u64, CallsOnPath)> = None;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(receipt) = self.replayed(claim, durability).await? {
                return Ok(Queueing::Replayed(receipt));
            }
            self.know_open_calls().await?;
            let mut ids: Vec<MessageId> = Vec::new();
            let (mut unknown_open, mut knows_path) = (false, false);
            let mut decide = |view: &View| {
                if matches!(view.open_calls(), OpenCalls::Unknown) {
                    unknown_open = true;
                    return Ok(None);
                }
                if let Some(after) = after.filter(|after| *after != view.head()) {
                    return Err(SessionError::Conflict { expected: after, actual: view.head() });
                }
                ids.clear();
                let on_path = looked_up.as_ref().filter(|(version, _)| *version == view.version());
                knows_path = on_path.is_some();
                let on_path = on_path.map(|(_, calls)| calls.clone()).unwrap_or_default();
                self.decide(view, &append.messages, on_path, claim, &mut ids).map(Some)
            };
            let outcome = self.manager().place(self.lane(), durability, &mut decide).await;
            match (outcome, ids.last()) {
                (Ok(Some(placed)), Some(id)) => return Ok(Queueing::Placed(placed, *id)),
                (Ok(_), _) if unknown_open => {}
                (Ok(_), _) => return Err(RuleViolation::EmptyMessage.into()),
                (Err(SessionError::Rule(RuleViolation::ResultWithoutCall { .. })), _) if !knows_path => {
                    looked_up = Some(self.calls_on_path(&append.messages).await?);
                }
                // Whoever wrote the message that is open went away: it ends here, as far as it came.
                (Err(SessionError::Rule(RuleViolation::TurnOpen)), _) if self.is_open_again().await? => {}
                // Another append with the same key was faster: its receipt is ours.
                (Err(error), _) if !self.is_claimed(claim).await? => return Err(error),
                (Err(_), _) => {}
            }
        }
        Err(lost_every_race(self.lane()))
    }

    /// After a commit that failed: `Ok` when the append is to be decided again, because another was faster.
    async fn may_retry(&self, append: &Append, error: StoreError) -> Result<(), SessionError> {
        if let StoreError::Conflict { expected, .. } = error {
            return self.manager().catch_up(self.lane(), expected).await;
        }
        // Another append with the same key was faster: its receipt is ours.
        if self.is_claimed(self.claim_of(append).await?).await? {
            return Ok(());
        }
        Err(error.into())
    }

    fn decide(
        &self,
        view: &View,
        messages: &[Message],
        mut on_path: CallsOnPath,
        claim: Wish,
        ids: &mut Vec<MessageId>,
    ) -> Result<Plan, SessionError> {
        let ports = self.manager().ports();
        let now = ports.clock.now();
        let limits = self.manager().limits_of(view);
        let mut events: Vec<Event> = Vec::with_capacity(messages.len());
        let mut ahead: Option<View> = None;
        for (at, message) in messages.iter().enumerate() {
            let id = ports.ids.message(now);
            ids.push(id);
            let behind = ahead.as_ref().unwrap_or(view);
            let event = decide::append(behind, id, message.clone(), &on_path)?;
            limits.check_message(message, behind.depth())?;
            if at + 1 < messages.len() {
                // The next message is decided behind this one. Only its place and calls matter, so stamp and commit stay as they are.
                let mut next = ahead.take().unwrap_or_else(|| view.clone());
                let stamp = sessions_domain::Stamp { at: now, actor: self.manager().actor().clone() };
                next.apply(next.version() + 1, &event, &stamp, next.commit())
                    .map_err(|source| SessionError::InvalidHistory { session: view.session(), source })?;
                ahead = Some(next);
                on_path.follow(message);
            }
            events.push(event);
        }
        if events.is_empty() {
            return Err(RuleViolation::EmptyMessage.into());
        }
        Ok(Plan { events, claim })
    }

    async fn claim_of(&self, append: &Append) -> Result<Wish, SessionError> {
        let Some(key) = append.idempotency_key.as_deref().or(self.key()) else { return Ok(None) };
        if key.is_empty() {
            return Err(SessionError::EmptyIdempotencyKey);
        }
        let lineage = self.fresh_view().await?.lineage();
        let store = self.manager().ports().store.id();
        let payload = keyed::payload(store, lineage, &append.messages);
        Ok(Some((keyed::idempotency_key(store, lineage, key), payload)))
    }

    /// The receipt of the append that claimed the key, if one did. Checked before status, limits, versions and rules.
    async fn replayed(&self, claim: Wish, durability: Durability) -> Result<Option<Receipt>, SessionError> {
        let Some(made) = self.claimed(claim, durability).await? else { return Ok(None) };
        let view = self.fresh_view().await?;
        let unknown = SessionError::UnknownVersion { version: made.version, first: 1, last: view.version() };
        let Some(last) = self.manager().read_one(&view, made.version).await? else { return Err(unknown) };
        let head = last.record.commit;
        let Some(message) = last.message(true) else { return Err(unknown) };
        Ok(Some(Receipt {
            message: message.id,
            seq: message.seq,
            version: made.version,
            head,
            durability,
            outcome: AppendOutcome::Replayed,
        }))
    }

    async fn seq_of(&self, message: Option<MessageId>) -> Result<Option<u64>, SessionError> {
        let Some(id) = message else { return Ok(None) };
        let view = self.fresh_view().await?;
        Ok(Some(self.manager().read_message(&view, id).await?.record.seq))
    }

    /// Fills in the view's open calls after the head was moved, which needs a look at the elements before it.
    pub(crate) async fn know_open_calls(&self) -> Result<(), SessionError> {
        loop {
            let known = {
                let mut state = self.lane().lock();
                state.tail_mut().map(|view| !matches!(view.open_calls(), OpenCalls::Unknown))
            };
            match known {
                Some(true) => return Ok(()),
                Some(false) => {}
                None => {
                    self.manager().refresh(self.lane()).await?;
                    continue;
                }
            }
            self.lane().quiet().await;
            let view = self.fresh_view().await?;
            let mut walk = BackWalk::whole(self.manager(), view.clone(), view.head());
            let mut elements: Vec<Element> = Vec::new();
            let mut bounds = 8;
            let open = loop {
                let page = walk.next_page(Bounds::records(bounds)).await?;
                // All of them are looked at again with each page, so pages grow with what there is.
                bounds = (bounds * 4).min(4096);
                let complete = page.is_none();
                elements.extend(page.iter().flatten().filter_map(|read| read.element()));
                if let Walk::Done(open) = decide::open_calls(Window { elements: &elements, complete }) {
                    break open;
                }
            };
            let mut state = self.lane().lock();
            if let Some(tail) = state.tail_mut().filter(|tail| tail.version() == view.version()) {
                std::sync::Arc::make_mut(tail).set_open_calls(open);
                return Ok(());
            }
        }
    }

    /// Looks up the visible path for calls that the messages answer, and says at which version. An answer counts only for a call that is on the path too.
    async fn calls_on_path(&self, messages: &[Message]) -> Result<(u64, CallsOnPath), SessionError> {
        let wanted: HashSet<&str> = messages.iter().flat_map(Message::results).map(|r| r.call_id.as_str()).collect();
        self.lane().quiet().await;
        let view = self.fresh_view().await?;
        let mut walk = BackWalk::visible(self.manager(), view.clone(), view.head());
        let (mut found, mut called) = (CallsOnPath::default(), HashSet::new());
        while called.len() < wanted.len()
            && let Some(page) = walk.next_page(Bounds::records(512)).await?
        {
            for element in page.iter().filter_map(|read| read.element()) {
                let ElementKind::Message { calls, answers, .. } = element.what else { continue };
                // Of calls with the same id only the last one counts.
                let is_open = |id: &String| wanted.contains(id.as_str()) && !called.contains(id);
                found.answered.extend(answers.into_iter().filter(is_open));
                let calls: Vec<String> = calls.into_iter().filter(is_open).collect();
                found.unanswered.extend(calls.iter().filter(|id| !found.answered.contains(*id)).cloned());
                called.extend(calls);
            }
        }
        found.answered.retain(|id| called.contains(id));
        Ok((view.version(), found))
    }
}

fn receipt_of(done: Through, message: MessageId) -> Receipt {
    Receipt {
        message,
        seq: done.version,
        version: done.version,
        head: done.head,
        durability: done.durability,
        outcome: AppendOutcome::Inserted,
    }
}
