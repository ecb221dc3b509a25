//! Compacting a conversation, so that it fits its model's window again. Nothing of it is lost: it is appended what a model is shown
//! from here on, and that can be taken away.
//!
//! A summary is made outside of all locks. What is written is decided on the newest view, so of two who compact at once one wins.
//!
//! Must not know: what to compact; the domain plans. Who writes summaries.

mod by_model;
mod extractive;
mod refusals;
mod survey;
mod unpaid;
mod wish;

use std::sync::Arc;

use sessions_domain::{
    Event, RuleViolation, View,
    chain::to_hex,
    compaction::{CallOutcome, Covers, Plan, Shortens, Spent, SummaryText},
    context::{Context, Piece, Weigher, summary_message},
    decide,
};
use sessions_ports::{Summary, SummaryFailure, SummaryWish};

pub(crate) use self::refusals::Refusals;
pub use self::{
    by_model::ByModel,
    extractive::Extractive,
    wish::{CompactionRefused, CompactionReport, CompactionWish},
};
use self::{refusals::Attempt, survey::Survey, unpaid::Unpaid};
use crate::{
    blocking::{off_if_large, off_the_runtime},
    error::SessionError,
    panics::{Panicked, caught},
    session::Session,
};

impl Session {
    /// Compacts the conversation: old results of tools are shown shortened, and when that is not enough, a summary stands for all but the
    /// newest turns.
    ///
    /// Dropping the future ends the call of a model that writes the summary, and nothing is changed but the ledger: what that call took is noted
    /// there by a task of its own, which [`SessionManager::shutdown`](crate::SessionManager::shutdown) waits for. Dropped after that has ended, or
    /// where the runtime is gone, it is noted nowhere.
    ///
    /// # Errors
    /// [`SessionError::Compaction`] when there is nothing to compact, when the summary failed, or when it won too little: then nothing is
    /// changed but the ledger; [`RuleViolation::CompactionOutdated`] when somebody else was faster; as [`Session::context`], and the store's.
    pub async fn compact(&self, wish: CompactionWish) -> Result<CompactionReport, SessionError> {
        let once = self.wish("compact", &wish.asked()).await?;
        if let Some(done) = self.done_before(once).await? {
            let Event::Compacted(compacted) = done.event else { return Err(SessionError::KeyReused) };
            let view = self.fresh_view().await?;
            let target = wish.aim(wish.usable(self, &view)?, &wish.policy(self, &view), compacted.before);
            return Ok(CompactionReport::of(&compacted, target, done.first, done.version));
        }
        let survey = Arc::new(self.survey(&wish).await?);
        let (covered, shortens, calls) = match survey.plan {
            Plan::Nothing => return Err(CompactionRefused::Nothing.into()),
            Plan::Shorten { to } => (None, Some(Shortens { to, keep: survey.policy.keep_result_bytes }), Vec::new()),
            Plan::Summarise { to } => {
                let (covered, calls) = self.summarised(&survey, to, &wish).await?;
                (Some(covered), None, calls)
            }
        };
        let (surveyed, cause) = (Arc::clone(&survey), wish.cause);
        let compacted = move || surveyed.compacted(cause, covered, shortens, calls);
        let compacted = match off_the_runtime(compacted).await? {
            Ok(compacted) => compacted,
            Err((refused, calls)) => return self.refuse(refused.into(), calls, CallOutcome::Rejected).await,
        };
        let decided = |view: &View| {
            let event = decide::compact(view, survey.compacted_now, compacted.clone()).map_err(SessionError::Rule)?;
            Ok(vec![event])
        };
        match self.make(once, decided).await {
            Ok(Some(done)) => Ok(CompactionReport::of(&compacted, survey.target, done.first, done.version)),
            Ok(None) => Err(CompactionRefused::Nothing.into()),
            Err(error @ SessionError::Rule(RuleViolation::CompactionOutdated)) => {
                self.refuse(error, compacted.calls, CallOutcome::Rejected).await
            }
            Err(error) => Err(error),
        }
    }

    /// What [`Self::compact`] would do. No summary is made: `after` is the most that it may be.
    ///
    /// # Errors
    /// As [`Self::compact`].
    pub async fn plan_compaction(&self, wish: CompactionWish) -> Result<CompactionReport, SessionError> {
        let survey = self.survey(&wish).await?;
        off_the_runtime(move || survey.report()).await
    }

    /// Compacts when the context for the wished model has reached the share of its window at which that is due; `None`: it has not.
    /// Asked again before anything was said since, it does nothing, however little the last time won. When a compaction was refused because
    /// of its summary, or because it won too little, the same is not tried again here until the context has grown by a tenth of what it may
    /// hold: the summary would be paid for again.
    ///
    /// # Errors
    /// As [`Self::compact`].
    pub async fn compact_if_due(&self, wish: CompactionWish) -> Result<Option<CompactionReport>, SessionError> {
        let context = self.context(wish.context()).await?;
        let view = self.fresh_view().await?;
        let usable = wish.usable(self, &view)?;
        let policy = wish.policy(self, &view);
        let is_due = usable.is_some_and(|usable| context.is_cut || policy.is_due(context.tokens, usable));
        let in_force = view.compacted_now();
        if !is_due || in_force.newest.is_some_and(|compaction| compaction > view.head()) {
            return Ok(None);
        }
        let summarizer = wish.summarizer().name().to_owned();
        let attempt = Attempt { profile: wish.profile(self)?, policy, target: wish.target, in_force, summarizer };
        if let Some(refused) = self.lane().refusals(|refusals| refusals.of(&attempt)) {
            let tokens = self.whole_tokens(&context, &wish).await?;
            if tokens < refused.saturating_add(usable.unwrap_or(0) / 10) {
                return Ok(None);
            }
        }
        match self.compact(wish.clone()).await {
            Err(SessionError::Compaction(CompactionRefused::Nothing)) => Ok(None),
            // What may go well the next time is tried again.
            Err(SessionError::Compaction(refused)) if !refused.is_transient() => {
                let tokens = match refused {
                    CompactionRefused::NotSmaller { before, .. } => before,
                    _ => self.whole_tokens(&context, &wish).await?,
                };
                self.lane().refusals(|refusals| refusals.note(attempt, tokens));
                Err(refused.into())
            }
            done => done.map(Some),
        }
    }

    /// Tokens of the whole conversation as it is shown: of a context that was cut they are counted anew.
    async fn whole_tokens(&self, context: &Context, wish: &CompactionWish) -> Result<u64, SessionError> {
        if context.is_cut { Ok(self.survey(wish).await?.before()) } else { Ok(context.tokens) }
    }

    /// Takes the newest compaction that applies away: a model is shown the conversation as it was before it.
    ///
    /// # Errors
    /// [`RuleViolation::NotCompacted`], and the store's.
    pub async fn uncompact(&self) -> Result<u64, SessionError> {
        let wish = self.wish("uncompact", &()).await?;
        let done = self.make(wish, |view| Ok(vec![decide::uncompact(view).map_err(SessionError::Rule)?])).await?;
        done.map(|done| done.version).ok_or(SessionError::Rule(RuleViolation::NotCompacted))
    }

    /// States what the model is told before all else, in place of what it was told before; `None` or a blank text takes it away. `false`: it
    /// is told that already, and nothing was written.
    ///
    /// # Errors
    /// The store's.
    pub async fn instruct(&self, text: Option<String>) -> Result<bool, SessionError> {
        let wish = self.wish("instruct", &text).await?;
        loop {
            let view = self.quiet_view().await?;
            let stated = view.compactions().instructions(view.version());
            let now = self.stated(&view, stated).await?;
            let mut is_other = false;
            let decided = |view: &View| {
                // Somebody else said something meanwhile.
                is_other = view.compactions().instructions(view.version()) != stated;
                let event = if is_other { None } else { decide::instruct(now.as_deref(), text.clone()) };
                Ok(event.into_iter().collect())
            };
            let done = self.make(wish, decided).await?;
            if done.is_some() || !is_other {
                return Ok(done.is_some());
            }
        }
    }

    /// What the model is told before all else, where that was stated ([`Self::instruct`]). System messages that a conversation begins with
    /// are in its context alone.
    ///
    /// # Errors
    /// The store's.
    pub async fn instructions(&self) -> Result<Option<String>, SessionError> {
        let view = self.fresh_view().await?;
        self.stated(&view, view.compactions().instructions(view.version())).await
    }

    async fn stated(&self, view: &View, seq: Option<u64>) -> Result<Option<String>, SessionError> {
        let Some(seq) = seq else { return Ok(None) };
        let read = self.manager().read_one(view, seq).await?;
        Ok(read.and_then(|read| if let Event::Instructed(stated) = read.event { stated.text } else { None }))
    }

    /// Whether a compaction's summary stands for what the log has: the digest of what it covers is made anew.
    ///
    /// # Errors
    /// [`SessionError::UnknownVersion`] when no compaction is at that record, and the store's.
    pub async fn check_summary(&self, compaction: u64) -> Result<bool, SessionError> {
        let view = self.fresh_view().await?;
        let Some(compacted) = self.compaction(&view, compaction).await? else {
            return Err(SessionError::UnknownVersion { version: compaction, first: 1, last: view.version() });
        };
        let Some(covers) = &compacted.covers else { return Ok(true) };
        let digest = survey::cover_digest(self, &view, covers).await?;
        Ok(to_hex(&digest) == covers.digest)
    }

    /// A summary of what is to be covered, made by a summarizer.
    async fn summarised(
        &self,
        survey: &Arc<Survey>,
        to: u64,
        asked: &CompactionWish,
    ) -> Result<((Covers, SummaryText), Vec<Spent>), SessionError> {
        let (surveyed, summarizer) = (Arc::clone(survey), asked.summarizer());
        // Made before the summary, so that it goes behind it.
        let unpaid = Unpaid::of(self, asked.tab.clone());
        let wish = SummaryWish {
            previous: survey.previous.as_ref().map(|(_, text)| text.clone()),
            messages: off_the_runtime(move || surveyed.messages_up_to(to)).await?,
            max_tokens: survey.summary_tokens,
            counter: Arc::clone(&survey.counter),
            tab: unpaid.tab(),
        };
        let made = caught(async { summarizer.summarize(&wish).await }).await;
        let Summary { text, model, calls } = match made.unwrap_or_else(|Panicked| Err(broke_down())) {
            Ok(summary) => summary,
            Err(failure) => {
                let refused = CompactionRefused::Failed { what: failure.what, is_transient: failure.is_transient };
                return self.refuse(refused.into(), failure.calls, CallOutcome::Failed).await;
            }
        };
        let (counter, counted) = (Arc::clone(&survey.counter), text.clone());
        let tokens = off_if_large(text.len(), move || counter.count(&counted)).await?;
        if text.trim().is_empty() {
            return self.refuse(CompactionRefused::Blank.into(), calls, CallOutcome::Rejected).await;
        }
        let most = survey::most_tokens(survey.summary_tokens);
        if tokens > most {
            let refused = CompactionRefused::TooLong { tokens, most };
            return self.refuse(refused.into(), calls, CallOutcome::Rejected).await;
        }
        let summary = SummaryText { text, tokens, by: summarizer.name().to_owned(), model };
        Ok(((survey.covers(to), summary), calls))
    }

    /// Notes what was spent for nothing, and refuses.
    async fn refuse<T>(
        &self,
        refused: SessionError,
        calls: Vec<Spent>,
        outcome: CallOutcome,
    ) -> Result<T, SessionError> {
        if !calls.is_empty() {
            let spent = |call: Spent| {
                let outcome = if call.outcome == CallOutcome::Taken { outcome } else { call.outcome };
                Event::Spent(Box::new(Spent { outcome, ..call }))
            };
            let spent: Vec<Event> = calls.into_iter().map(spent).collect();
            self.make(None, |_| Ok(spent.clone())).await?;
        }
        Err(refused)
    }
}

fn broke_down() -> SummaryFailure {
    SummaryFailure { what: "the summarizer panicked".to_owned(), calls: Vec::new(), is_transient: false }
}

/// The piece of a context that a summary is. It has no record yet, so its count is not to be kept.
fn summary_piece(covers: &Covers, summary: &SummaryText, weigher: &Weigher) -> Piece {
    Piece::of(None, summary_message(covers, summary), weigher)
}
