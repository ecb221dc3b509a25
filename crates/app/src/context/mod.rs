//! What is sent to a model, read from a session's log.
//!
//! A lane keeps the context it gave last. When the conversation only went on since then, the next one takes in what is new and reads
//! nothing else.
//!
//! Must not know: how a provider spells messages, or how tokens are counted.

mod keeping;
mod kept;
mod sources;
mod wish;

use std::sync::Arc;

use sessions_domain::{
    MessageRole, StoredMessage, View,
    context::{Context, Gather, held},
    form::Form,
    pairing::Repair,
    profile::ModelProfile,
};

pub use self::wish::ContextWish;
pub(crate) use self::{
    keeping::Keeping,
    kept::{Counted, Kept, Scope},
    sources::Sources,
    wish::Model,
};
use crate::{
    blocking::off_if_large,
    error::SessionError,
    reading::{BackWalk, Bounds},
    session::Session,
};

/// Messages are read in pages of so many.
const PAGE: usize = 64;

impl Session {
    /// The messages to send to a model: instructions, what is pinned, the summary of what was compacted and the newest turns, valid for
    /// the model's provider and within the budget.
    ///
    /// A [`sessions_domain::context::Budget`] alone gives messages in our own form, counted by the manager's counter; [`ContextWish`]
    /// names a model. It depends on the log, the model and the budget alone.
    ///
    /// # Errors
    /// [`SessionError::OverBudget`] when instructions and pinned messages alone do not fit, [`SessionError::UnknownModel`],
    /// [`SessionError::UnknownEncoding`], as [`Session::fork`] for a place in history, and the store's.
    pub async fn context(&self, wish: impl Into<ContextWish>) -> Result<Context, SessionError> {
        let wish = wish.into();
        let view = self.fresh_view().await?;
        let place = self.place_at(&view, wish.at).await?;
        let (scope, head) = (Scope::of(self, &wish, &view, &place)?, place.head);
        let known = self.lane().take_context().filter(|kept| kept.goes_on_to(&scope, &view, head));
        let kept = match known {
            Some(kept) => self.go_on(kept, &view, head).await?,
            None => None,
        };
        let kept = match kept {
            Some(kept) => kept,
            None => self.collect(scope, &view, head).await?,
        };
        let held = kept.held();
        // Our own form takes the messages as they are.
        let shaped = if kept.scope.weigher().form == Form::Neutral { 0 } else { held };
        let (kept, context) = off_if_large(shaped, move || {
            let context = kept.gather.finish();
            (kept, context)
        })
        .await?;
        let mut context = context?;
        // Whoever looks for the summary sees why it is not there.
        kept.lost_summary.into_iter().for_each(|seq| context.repairs.insert(0, Repair::SummaryLost { seq }));
        if Keeping::takes(held) {
            self.lane().keep_context(kept);
            self.manager().keeping().note(self.lane(), held);
        } else {
            // What was counted is kept all the same.
            self.manager().keeping().note(self.lane(), 0);
        }
        Ok(context)
    }

    /// The same messages of this session, each with its tokens in the encoding of a model ([`StoredMessage::tokens`]): as they were said, whatever a
    /// context shows of them, and without what a provider writes around each. A message is counted once for each encoding as long as its session
    /// keeps the counts.
    ///
    /// # Errors
    /// [`SessionError::UnknownEncoding`].
    pub async fn count_tokens(
        &self,
        profile: &ModelProfile,
        mut messages: Vec<StoredMessage>,
    ) -> Result<Vec<StoredMessage>, SessionError> {
        let counter = kept::counter(self, Some(profile))?;
        let counted = self.lane().counted(counter.encoding());
        let bytes: usize = messages.iter().map(size).sum();
        let count = move || {
            messages.iter_mut().for_each(|stored| stored.tokens = Some(counted.as_said(counter.as_ref(), stored)));
            messages
        };
        let messages = off_if_large(bytes, count).await?;
        self.manager().keeping().note_counts(self.lane());
        Ok(messages)
    }

    /// Collects a context from the newest message back.
    async fn collect(&self, scope: Scope, view: &Arc<View>, head: u64) -> Result<Box<Kept>, SessionError> {
        let sources = Sources { session: self, view, head };
        let found = sources.standing(&scope).await?;
        let (first, is_closed, lost_summary, bytes) = (found.first, found.is_closed, found.lost_summary, found.held());
        let (budget, shortens, weigher) = (scope.budget, scope.compacted.shortens, scope.weigher.clone());
        let begun = move || Gather::new(budget, weigher.clone(), shortens, found.weighed(shortens, &weigher));
        let mut gather = off_if_large(bytes, begun).await??;
        let mut walk = BackWalk::visible(self.manager(), Arc::clone(view), head);
        let (mut waiting, mut newest): (Vec<StoredMessage>, Option<Vec<StoredMessage>>) = (Vec::new(), None);
        let mut is_over = false;
        while !is_over {
            let page = walk.next_page(Bounds::records(PAGE)).await?;
            is_over = page.is_none();
            let mut groups: Vec<Vec<StoredMessage>> = Vec::new();
            for message in page.into_iter().flatten().filter_map(|read| read.message(true)) {
                if message.seq < first {
                    is_over = true;
                    break;
                }
                let is_result = message.role == MessageRole::Tool;
                waiting.push(message);
                if !is_result {
                    groups.push(std::mem::take(&mut waiting).into_iter().rev().collect());
                }
            }
            if is_over && !waiting.is_empty() {
                // Results whose call is not here.
                groups.push(std::mem::take(&mut waiting).into_iter().rev().collect());
            }
            if newest.is_none() {
                newest = groups.first().cloned();
            }
            let (after, wants_more) = weighed(gather, groups).await?;
            gather = after;
            is_over |= !wants_more;
        }
        if gather.seeks_question()
            && let Some(asked) = sources.question(first.saturating_sub(1).min(head)).await?
        {
            gather.ask(&asked);
        }
        let newest = newest.unwrap_or_default();
        let bytes: usize = newest.iter().map(size).sum();
        let settled = move || {
            gather.settle(&newest);
            (gather, newest)
        };
        let (gather, newest) = off_if_large(bytes, settled).await?;
        Ok(Box::new(Kept { scope, head, newest, is_closed, lost_summary, gather }))
    }

    /// Takes in what came behind a context; `None`: it has to be collected anew.
    async fn go_on(&self, mut kept: Box<Kept>, view: &Arc<View>, head: u64) -> Result<Option<Box<Kept>>, SessionError> {
        let mut newer: Vec<StoredMessage> = Vec::new();
        if head != kept.head {
            let mut walk = BackWalk::visible(self.manager(), Arc::clone(view), head);
            let most = usize::try_from(head.saturating_sub(kept.head)).map_or(PAGE, |most| most.min(PAGE));
            'path: while let Some(page) = walk.next_page(Bounds::records(most)).await? {
                for read in page {
                    if read.record.seq <= kept.head {
                        break 'path;
                    }
                    newer.extend(read.message(true));
                }
            }
        }
        newer.reverse();
        if newer.iter().any(|message| message.role == MessageRole::System) && !kept.is_closed {
            return Ok(None);
        }
        let bytes: usize = newer.iter().map(size).sum();
        kept.head = head;
        off_if_large(bytes, move || kept.take_in(newer)).await
    }
}

/// Takes older groups, newest of them first. `false`: no more are wanted.
async fn weighed(mut gather: Gather, groups: Vec<Vec<StoredMessage>>) -> Result<(Gather, bool), SessionError> {
    let bytes: usize = groups.iter().flatten().map(size).sum();
    let work = move || {
        let wants_more = groups.iter().all(|group| gather.push_older(group));
        (gather, wants_more)
    };
    off_if_large(bytes, work).await
}

/// The memory that a message takes, in bytes.
fn size(stored: &StoredMessage) -> usize {
    held(&stored.message)
}
