//! A turn from its beginning to its end.
//!
//! Must not know: how an answer is taken in, or how a tool runs.

use std::{sync::Arc, time::Duration};

use sessions_domain::{
    MessageId, RuleViolation, RuntimeState,
    compaction::CompactionCause,
    context::Budget,
    profile::ModelProfile,
    turn::{Repeats, Retry, StopReason},
};
use sessions_ports::{ModelStop, Summarizer, Tab, ToolSpec};
use tokio::{sync::mpsc, time::Instant};

use super::{
    agent::{Agent, Compacting, InvalidAgent},
    handle::{Running, unless},
    outcome::{TurnEvent, TurnNote, TurnOutcome, TurnProblem, TurnStep},
    telling::Telling,
};
use crate::{
    append::{Append, AppendOutcome, Receipt},
    blocking::off_the_runtime,
    compact::{ByModel, CompactionRefused, CompactionReport, CompactionWish, Extractive},
    context::ContextWish,
    error::SessionError,
    session::Session,
    tasks::Stopping,
};

/// Tokens that providers write around each tool, about.
const AROUND_TOOL: u64 = 16;

/// A summary that its model does not write is made without it soon.
const SUMMARY_ATTEMPTS: u32 = 2;

/// What a turn begins with.
pub(super) enum Begin {
    Said(Box<Append>),
    Resumed,
}

/// Why a turn ends before the model is through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Halt {
    Cancelled,
    OutOfTime(Duration),
}

impl Halt {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Cancelled => "the turn was cancelled",
            Self::OutOfTime(_) => "the turn took too long",
        }
    }
}

pub(super) struct Runner {
    pub(super) session: Session,
    pub(super) agent: Agent,
    /// The model as it is asked.
    pub(super) profile: Arc<ModelProfile>,
    /// The same, with less of its window: the tools take their part.
    pub(super) fitted: Arc<ModelProfile>,
    pub(super) specs: Vec<ToolSpec>,
    /// Tokens of what the model is told of its tools.
    pub(super) told: u64,
    /// What the model is sent, at most, once the provider said that it was too long.
    pub(super) most: Option<Budget>,
    pub(super) outcome: TurnOutcome,
    pub(super) repeats: Repeats,
    /// The model has answered, or did so before: what does not fit now is its doing, or its tools'.
    pub(super) is_under_way: bool,
    /// What summaries took for which the turn did not wait.
    tab: Tab,
    running: Arc<Running>,
    stopping: Stopping,
    ends: Option<(Instant, Duration)>,
    events: mpsc::Sender<TurnEvent>,
}

impl Runner {
    /// Runs a turn.
    pub(super) async fn run(
        session: Session,
        agent: Agent,
        begin: Begin,
        running: Arc<Running>,
        events: mpsc::Sender<TurnEvent>,
    ) -> Result<TurnOutcome, SessionError> {
        agent.check()?;
        let key = session.key().map(Arc::from);
        let session = session.keyed(None);
        let profile = agent.model.profile(&session)?;
        let specs = agent.specs();
        let told = told(&session, &profile, &specs).await?;
        let fitted = fitted(&profile, told)?;
        let asked = session.fresh_view().await?.origin().settings.max_turn_seconds.map(Duration::from_secs);
        let longest = asked.into_iter().chain(agent.deadline).min();
        let now = Instant::now();
        let ends = longest.and_then(|longest| Some((now.checked_add(longest)?, longest)));
        let stopping = session.manager().stopping();
        let mut runner = Self {
            session,
            agent,
            profile,
            fitted,
            specs,
            told,
            most: None,
            outcome: TurnOutcome::default(),
            repeats: Repeats::default(),
            is_under_way: false,
            tab: Tab::default(),
            running,
            stopping,
            ends,
            events,
        };
        let done = runner.noted(begin, key).await;
        let Self { outcome, .. } = runner;
        done.map(|()| outcome)
    }

    /// The turn, noted as what the session does.
    async fn noted(&mut self, begin: Begin, key: Option<Arc<str>>) -> Result<(), SessionError> {
        self.session.set_runtime(RuntimeState::Busy).await?;
        let done = self.turn(begin, key).await;
        let idle = self.session.set_runtime(RuntimeState::Idle).await;
        done.and(idle)
    }

    async fn turn(&mut self, begin: Begin, key: Option<Arc<str>>) -> Result<(), SessionError> {
        if let Some(text) = self.agent.instructions.clone() {
            self.session.instruct(Some(text)).await?;
        }
        let mut calls = match begin {
            Begin::Said(said) => {
                let receipt = self.session.keyed(key).append(*said).await?;
                self.outcome.receipts.push(receipt);
                if receipt.outcome == AppendOutcome::Replayed {
                    return Err(SessionError::TurnBegun);
                }
                Vec::new()
            }
            Begin::Resumed => {
                self.is_under_way = true;
                self.pick_up().await?
            }
        };
        let mut iterations = 0;
        loop {
            if !self.run_calls(calls).await? {
                return Ok(());
            }
            if iterations == self.agent.iterations {
                self.outcome.stop_reason = StopReason::MaxIterations;
                return Ok(());
            }
            self.compact_if_due().await?;
            iterations += 1;
            if let Some(halt) = self.is_halted() {
                self.halt(halt);
                return Ok(());
            }
            let Some(answered) = self.answer().await? else { return Ok(()) };
            self.is_under_way = true;
            self.outcome.stop_reason = match answered.stop {
                ModelStop::MaxTokens | ModelStop::WindowFull => StopReason::MaxTokens,
                ModelStop::Refusal => StopReason::Refusal,
                ModelStop::EndTurn | ModelStop::ToolUse | ModelStop::Other => StopReason::EndTurn,
            };
            if self.outcome.stop_reason != StopReason::EndTurn {
                return self
                    .close(&answered.calls, "it did not run, because the answer that called it ended early")
                    .await;
            }
            if answered.calls.is_empty() {
                return Ok(());
            }
            calls = answered.calls;
        }
    }

    /// Waits until the turn is to end early.
    pub(super) async fn halted(&self) -> Halt {
        let stopped = unless(self.running.stopped(), self.stopping.asked());
        match self.ends {
            None => {
                let _ = stopped.await;
                Halt::Cancelled
            }
            Some((at, most)) => match unless(stopped, tokio::time::sleep_until(at)).await {
                Ok(_) => Halt::Cancelled,
                Err(()) => Halt::OutOfTime(most),
            },
        }
    }

    /// Whether the turn is to end early by now.
    pub(super) fn is_halted(&self) -> Option<Halt> {
        let late = self.ends.filter(|(at, _)| *at <= Instant::now()).map(|(_, most)| Halt::OutOfTime(most));
        if self.running.is_stopped() || self.stopping.is_asked() { Some(Halt::Cancelled) } else { late }
    }

    /// Notes that the turn ends early.
    pub(super) fn halt(&mut self, halt: Halt) {
        match halt {
            Halt::Cancelled => self.outcome.stop_reason = StopReason::Cancelled,
            Halt::OutOfTime(most) => self.fail(TurnProblem::OutOfTime { most }),
        }
    }

    /// Notes that the turn ends because something went wrong.
    pub(super) fn fail(&mut self, problem: TurnProblem) {
        self.outcome.stop_reason = StopReason::Error;
        self.outcome.problem = Some(problem);
    }

    /// Tells whoever listens. When he is slow, the turn waits for him, unless it is to end.
    pub(super) async fn tell(&self, event: TurnEvent) {
        // That nobody listens any more changes nothing, nor that the turn is to end: the next step looks for that.
        let _ = unless(self.events.send(event), self.halted()).await;
    }

    pub(super) fn events(&self) -> &mpsc::Sender<TurnEvent> {
        &self.events
    }

    pub(super) fn answered(&mut self, receipt: Receipt, step: TurnStep) {
        self.outcome.receipts.push(receipt);
        self.outcome.steps.push(step);
    }

    /// What the model is to be sent.
    pub(super) fn wish(&self) -> ContextWish {
        let wish = ContextWish::for_profile(Arc::clone(&self.fitted));
        match self.most {
            Some(most) => wish.within(most),
            None => wish,
        }
    }

    fn compaction(&self, cause: CompactionCause) -> Option<CompactionWish> {
        let by: Arc<dyn Summarizer> = match (&self.agent.compaction, cause) {
            (Compacting::Never, _) => return None,
            // By a model it would take the same road to the same provider.
            (_, CompactionCause::Overflow) => Arc::new(Extractive),
            (Compacting::By(summarizer), _) => Arc::clone(summarizer),
            (Compacting::ByModel, _) => {
                let (provider, profile) = (Arc::clone(&self.agent.provider), Arc::clone(&self.profile));
                let retry = Retry { attempts: self.agent.retry.attempts.min(SUMMARY_ATTEMPTS), ..self.agent.retry };
                Arc::new(ByModel::new(provider, profile).retry(retry))
            }
        };
        let telling = Telling { by, events: self.events.clone() };
        let wish = CompactionWish::default().for_profile(Arc::clone(&self.fitted)).because(cause);
        Some(wish.with(Arc::new(telling)).on(self.tab.clone()))
    }

    /// Compacts the conversation when that is due. That it could not be compacted is no reason not to go on: what does not fit is left out.
    async fn compact_if_due(&mut self) -> Result<(), SessionError> {
        let Some(wish) = self.compaction(CompactionCause::Threshold) else { return Ok(()) };
        let session = self.session.clone();
        let work = async {
            match session.compact_if_due(wish.clone()).await {
                Err(SessionError::Compaction(refused)) if is_of_summary(&refused) => {
                    session.compact_if_due(wish.with(Arc::new(Extractive))).await
                }
                done => done,
            }
        };
        match unless(work, self.halted()).await {
            Ok(done) => self.compacted(done).await,
            // The next step looks for it.
            Err(_) => self.session.note_spent(&self.tab).await,
        }
    }

    /// Makes room, since the provider said that what it was sent is too long: of a context with so many tokens it is sent three quarters from now on.
    pub(super) async fn shrink(&mut self, tokens: u64) -> Result<(), SessionError> {
        let most = Budget::tokens(tokens / 4 * 3);
        self.most = Some(most);
        let Some(wish) = self.compaction(CompactionCause::Overflow) else { return Ok(()) };
        let wish = wish.down_to(most);
        let session = self.session.clone();
        match unless(session.compact(wish), self.halted()).await {
            Ok(done) => self.compacted(done.map(Some)).await,
            // The next step looks for it.
            Err(_) => Ok(()),
        }
    }

    async fn compacted(&mut self, done: Result<Option<CompactionReport>, SessionError>) -> Result<(), SessionError> {
        match done {
            Ok(Some(report)) => {
                self.tell(TurnEvent::Compacted(report.clone())).await;
                self.outcome.notes.push(TurnNote::Compacted(Box::new(report)));
            }
            // Of what does not fit, whoever asks the model is told.
            Ok(None) | Err(SessionError::OverBudget(_)) => {}
            Err(error @ (SessionError::Compaction(_) | SessionError::Rule(RuleViolation::CompactionOutdated))) => {
                self.outcome.notes.push(TurnNote::NotCompacted { why: error.to_string() });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The last message that is visible, before an answer.
    pub(super) async fn newest(&self) -> Result<Option<MessageId>, SessionError> {
        Ok(self.session.last(1).await?.pop().map(|message| message.id))
    }
}

/// Whether another summary might have been taken.
fn is_of_summary(refused: &CompactionRefused) -> bool {
    matches!(refused, CompactionRefused::Failed { .. } | CompactionRefused::Blank | CompactionRefused::TooLong { .. })
}

/// Tokens of what the model is told of its tools, about.
async fn told(session: &Session, profile: &ModelProfile, specs: &[ToolSpec]) -> Result<u64, SessionError> {
    if specs.is_empty() {
        return Ok(0);
    }
    let encodings = Arc::clone(&session.manager().ports().encodings);
    let encoding = profile.encoding.clone();
    let texts: Vec<String> = specs
        .iter()
        .flat_map(|spec| [spec.name.clone(), spec.description.clone(), spec.input_schema.as_str().to_owned()])
        .collect();
    let count = move || {
        let counter = encodings.named(&encoding).ok_or(SessionError::UnknownEncoding { encoding })?;
        Ok::<u64, SessionError>(texts.iter().map(|text| counter.count(text)).fold(0, u64::saturating_add))
    };
    let texts: u64 = off_the_runtime(count).await??;
    Ok(texts.saturating_add(AROUND_TOOL.saturating_mul(specs.len() as u64)))
}

/// The model with what is left of its window beside its tools.
fn fitted(profile: &Arc<ModelProfile>, told: u64) -> Result<Arc<ModelProfile>, SessionError> {
    if told == 0 {
        return Ok(Arc::clone(profile));
    }
    let usable = profile.usable();
    if told >= usable {
        return Err(InvalidAgent::NoRoom { needed: told, usable }.into());
    }
    Ok(Arc::new(ModelProfile { reserved_output: profile.reserved_output + told, ..ModelProfile::clone(profile) }))
}
