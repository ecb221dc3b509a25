//! One answer of a model: asked for, written to the log while it arrives, asked for again where that may help, and what is known of it in the
//! end.
//!
//! Must not know: what becomes of its calls.

use std::sync::Arc;

use async_trait::async_trait;
use sessions_domain::{
    Message, MessageId, MessageMetadata, MessagePart, MessageRole, MessageState, Moment, RuleViolation, RuntimeState,
    StreamEnd, TokenUsage, ToolCall,
    context::{Context, held},
    decide,
    money::Money,
    tokens,
    turn::{Booked, Counted, Differs},
};
use sessions_ports::{ModelAnswer, ModelError, ModelEvent, ModelEvents, ModelRequest, ModelStop, Stop};
use tokio::{sync::mpsc, time::Instant};

use super::{
    handle::unless,
    outcome::{TurnEvent, TurnNote, TurnProblem, TurnStep},
    run::{Halt, Runner},
};
use crate::{
    append::Receipt,
    blocking::off_if_large,
    error::SessionError,
    panics::caught,
    session::At,
    streaming::MessageStream,
    usage::{add_money, by_table},
};

/// An answer that is whole.
pub(super) struct Answered {
    pub(super) calls: Vec<ToolCall>,
    pub(super) stop: ModelStop,
}

/// What a model is asked.
struct Asked {
    request: ModelRequest,
    /// Tokens of its context, as they are counted here.
    tokens: u64,
    /// The same with what it is told of its tools: all that it is sent.
    sent: u64,
    /// Where the head stands: what is answered.
    to: Option<MessageId>,
}

/// Takes an answer in, into the log first.
struct Taking<'a> {
    stream: &'a mut MessageStream,
    events: &'a mpsc::Sender<TurnEvent>,
    came: Came,
    failed: Option<SessionError>,
}

/// What came of an answer.
struct Came {
    said: Message,
    /// What it took so far, as the provider counts.
    usage: Option<TokenUsage>,
    /// The provider has read what it was sent, or may have.
    was_read: bool,
}

impl Came {
    fn nothing() -> Self {
        Self { said: assistant(Vec::new()), usage: None, was_read: false }
    }
}

fn assistant(parts: Vec<MessagePart>) -> Message {
    Message { role: MessageRole::Assistant, parts, metadata: MessageMetadata::default() }
}

impl Taking<'_> {
    /// Whether a part can be one of an answer, before it is gathered with others.
    fn check(&self, event: &ModelEvent) -> Result<(), RuleViolation> {
        let ModelEvent::Part(part) = event else { return Ok(()) };
        if let MessagePart::ToolCall(call) = part
            && self.came.said.calls().any(|other| other.call_id == call.call_id)
        {
            return Err(RuleViolation::AmbiguousCall);
        }
        decide::check_message(&assistant(vec![part.clone()]))
    }
}

#[async_trait]
impl ModelEvents for Taking<'_> {
    async fn on(&mut self, event: ModelEvent) -> Result<(), Stop> {
        self.came.was_read = true;
        let told = match &event {
            ModelEvent::Text(text) | ModelEvent::Part(MessagePart::Text(text)) => Some(TurnEvent::Text(text.clone())),
            ModelEvent::Reasoning { text, .. } | ModelEvent::Part(MessagePart::Reasoning { text, .. }) => {
                Some(TurnEvent::Reasoning(text.clone()))
            }
            ModelEvent::Part(_) => None,
            ModelEvent::Usage(usage) => {
                self.came.usage = Some(*usage);
                return Ok(());
            }
        };
        if let Err(rule) = self.check(&event) {
            self.failed = Some(rule.into());
            return Err(Stop);
        }
        if let Err(error) = self.stream.push_event(event.clone()).await {
            self.failed = Some(error);
            return Err(Stop);
        }
        event.push_to(&mut self.came.said.parts);
        if let Some(told) = told {
            // Nobody may listen.
            let _ = self.events.send(told).await;
        }
        Ok(())
    }
}

/// How a request went.
enum Went {
    Whole(ModelAnswer),
    Failed(ModelError),
    /// What came is more than a message may have.
    TooLarge(TurnProblem),
    Halted(Halt),
}

impl Runner {
    /// An answer to the conversation as it stands; `None`: the turn has ended, and its outcome says why.
    pub(super) async fn answer(&mut self) -> Result<Option<Answered>, SessionError> {
        let (mut failed, mut has_shrunk) = (0_u32, false);
        let Some(mut asked) = self.asks().await? else { return Ok(None) };
        let mut open: Option<MessageStream> = None;
        loop {
            let mut stream = match open.take() {
                Some(stream) => stream,
                None => self.begin().await?,
            };
            let started = Instant::now();
            let (went, came) = self.request(&asked, &mut stream).await?;
            let error = match went {
                Went::Whole(answer) => {
                    let took = u64::try_from(started.elapsed().as_millis()).ok();
                    return self.taken(stream, &came, answer, &asked, took, failed + 1).await.map(Some);
                }
                Went::Halted(halt) => {
                    self.broken(stream, &came, &asked, MessageState::Cancelled, halt.words(), failed + 1).await?;
                    self.halt(halt);
                    return Ok(None);
                }
                Went::TooLarge(problem) => {
                    self.broken(stream, &came, &asked, MessageState::Failed, &problem.to_string(), failed + 1).await?;
                    self.fail(problem);
                    return Ok(None);
                }
                Went::Failed(error) => error,
            };
            failed += 1;
            if error == ModelError::TooLong && !has_shrunk {
                has_shrunk = true;
                let left = stream.seq();
                self.broken(stream, &came, &asked, MessageState::Failed, &error.to_string(), failed).await?;
                self.go_back(left, &asked).await?;
                self.shrink(asked.tokens).await?;
                if let Some(halt) = self.is_halted() {
                    self.halt(halt);
                    return Ok(None);
                }
                let Some(less) = self.asks().await? else { return Ok(None) };
                asked = less;
                continue;
            }
            let jitter = self.jitter()?;
            let wait = Some(error).filter(ModelError::is_transient);
            let Some(wait) = wait.and_then(|error| self.agent.retry.wait(failed, error.retry_after(), jitter)) else {
                self.broken(stream, &came, &asked, MessageState::Failed, &error.to_string(), failed).await?;
                self.fail(error.into());
                return Ok(None);
            };
            let is_anew = came.was_read;
            self.outcome.notes.push(TurnNote::Retried { attempt: failed, why: error.to_string() });
            self.tell(TurnEvent::Retrying { attempt: failed + 1, wait, error, is_anew }).await;
            let (attempt, next) = (failed + 1, self.after(wait));
            self.session.set_runtime(RuntimeState::Retrying { attempt, next, message: error.to_string() }).await?;
            let left = stream.seq();
            if is_anew {
                self.broken(stream, &came, &asked, MessageState::Failed, &error.to_string(), failed).await?;
            } else {
                open = Some(stream);
            }
            if let Err(halt) = unless(tokio::time::sleep(wait), self.halted()).await {
                if let Some(stream) = open {
                    let (came, state) = (Came::nothing(), MessageState::Cancelled);
                    self.broken(stream, &came, &asked, state, halt.words(), failed).await?;
                }
                self.halt(halt);
                return Ok(None);
            }
            self.session.set_runtime(RuntimeState::Busy).await?;
            if is_anew {
                // Nobody was kept from speaking meanwhile.
                self.go_back(left, &asked).await?;
                let Some(now) = self.asks().await? else { return Ok(None) };
                asked = now;
            }
        }
    }

    /// What the model is asked, from the conversation as it stands; `None`: it is too much, and the turn has ended.
    async fn asks(&mut self) -> Result<Option<Asked>, SessionError> {
        let context = match self.session.context(self.wish()).await {
            Err(SessionError::OverBudget(_)) if self.most.is_some() => {
                self.fail(ModelError::TooLong.into());
                return Ok(None);
            }
            Err(SessionError::OverBudget(over)) if self.is_under_way => {
                self.fail(TurnProblem::NoRoom(over));
                return Ok(None);
            }
            context => context?,
        };
        let body = context.body().map_err(|_| SessionError::BrokenOff)?;
        let Context { tokens, is_cut, .. } = context;
        if is_cut && !self.outcome.notes.contains(&TurnNote::Cut) {
            self.outcome.notes.push(TurnNote::Cut);
        }
        let kept_free =
            self.profile.max_output.map_or(self.profile.reserved_output, |most| most.min(self.profile.reserved_output));
        let request = ModelRequest {
            profile: Arc::clone(&self.profile),
            body,
            tools: self.specs.clone(),
            max_output: self.agent.max_output.unwrap_or(kept_free),
            parameters: self.agent.parameters.clone(),
        };
        let sent = tokens.saturating_add(self.told);
        Ok(Some(Asked { request, tokens, sent, to: self.newest().await? }))
    }

    async fn begin(&self) -> Result<MessageStream, SessionError> {
        let metadata = MessageMetadata {
            provider: Some(self.agent.provider.name().to_owned()),
            model: Some(self.profile.name.clone()),
            ..MessageMetadata::default()
        };
        let stream = self.session.begin(Message { metadata, ..assistant(Vec::new()) }).await?;
        self.tell(TurnEvent::Answering { message: stream.message() }).await;
        Ok(stream)
    }

    /// Makes one request.
    async fn request(&self, asked: &Asked, stream: &mut MessageStream) -> Result<(Went, Came), SessionError> {
        let mut taking = Taking { stream, events: self.events(), came: Came::nothing(), failed: None };
        let call = async {
            let called = caught(async { self.agent.provider.call(asked.request.clone(), &mut taking).await }).await;
            called.unwrap_or(Err(ModelError::Panicked))
        };
        let called = unless(call, self.halted()).await;
        let Taking { mut came, failed, .. } = taking;
        let went = match (failed, called) {
            (Some(SessionError::LimitReached { limit, max, .. }), _) => {
                Went::TooLarge(TurnProblem::TooLarge { limit, max })
            }
            (Some(SessionError::Rule(rule)), _) if is_of_part(&rule) => {
                Went::Failed(ModelError::Broken { what: "a part that no message can have" })
            }
            (Some(error), _) => return Err(error),
            (None, Err(halt)) => Went::Halted(halt),
            (None, Ok(Ok(answer))) => Went::Whole(answer),
            (None, Ok(Err(error))) => Went::Failed(error),
        };
        // Who fails before anything came has not begun, as far as anybody knows; a request that is broken off here may be read and billed.
        came.was_read |= matches!(went, Went::Halted(_));
        Ok((went, came))
    }

    /// Ends a message that did not become whole. What came of it stays.
    async fn broken(
        &mut self,
        stream: MessageStream,
        came: &Came,
        asked: &Asked,
        state: MessageState,
        why: &str,
        attempt: u32,
    ) -> Result<(), SessionError> {
        let message = stream.message();
        // As the log has it: the last piece may have been taken there, and nobody was told.
        let said = assistant(stream.so_far().await);
        let end = match state {
            MessageState::Cancelled => StreamEnd::Cancelled,
            _ => StreamEnd::Failed,
        };
        let booked = match came.was_read {
            true => Some(self.booked(&said, came.usage, asked, false).await?),
            false => None,
        };
        let known = |booked: &Booked| MessageMetadata {
            estimated: booked.estimated,
            ..self.known(booked.usage, self.profile.name.clone())
        };
        let receipt = stream.end(end, Some(why.to_owned()), booked.as_ref().map(known)).await?;
        if let Some(Booked { usage, estimated, .. }) = booked {
            self.add(usage, estimated, self.money(&self.profile.name, &usage));
        }
        self.outcome.text = said.text();
        let calls = said.calls().count() as u64;
        self.answered(receipt, TurnStep::Answer { message, state, calls, attempt });
        Ok(())
    }

    /// What is known of an answer that took so much.
    fn known(&self, usage: TokenUsage, model: String) -> MessageMetadata {
        MessageMetadata {
            cost: self.money(&model, &usage).map(|money| money.to_string()),
            usage: Some(usage),
            model: Some(model),
            provider: Some(self.agent.provider.name().to_owned()),
            ..MessageMetadata::default()
        }
    }

    /// Lets the conversation go on from what was answered, beside the answer that failed. Where somebody went on behind that one already, it
    /// stays as it is.
    async fn go_back(&self, left: u64, asked: &Asked) -> Result<(), SessionError> {
        let Some(to) = asked.to else { return Ok(()) };
        self.session.leave(left, At::Message(to)).await.map(|_| ())
    }

    /// Ends a message that is whole.
    async fn taken(
        &mut self,
        stream: MessageStream,
        came: &Came,
        answer: ModelAnswer,
        asked: &Asked,
        took: Option<u64>,
        attempt: u32,
    ) -> Result<Answered, SessionError> {
        let message = stream.message();
        let booked = self.booked(&came.said, answer.usage, asked, true).await?;
        let Booked { usage, estimated, .. } = booked;
        let model = answer.model.unwrap_or_else(|| self.profile.name.clone());
        let money = self.money(&model, &usage);
        let metadata = MessageMetadata {
            estimated,
            duration_ms: took,
            request_id: answer.request_id,
            finish_reason: answer.raw_stop,
            ..self.known(usage, model)
        };
        let receipt: Receipt = stream.finish(Some(metadata)).await?;
        self.tell(TurnEvent::Answered).await;
        self.note(&booked);
        self.add(usage, estimated, money);
        let calls: Vec<ToolCall> = came.said.calls().cloned().collect();
        self.outcome.text = came.said.text();
        let state = MessageState::Complete;
        self.answered(receipt, TurnStep::Answer { message, state, calls: calls.len() as u64, attempt });
        Ok(Answered { calls, stop: answer.stop })
    }

    fn add(&mut self, usage: TokenUsage, estimated: bool, money: Option<Money>) {
        let outcome = &mut self.outcome;
        outcome.usage = outcome.usage.plus(usage);
        outcome.estimated |= estimated;
        money.into_iter().for_each(|money| add_money(&mut outcome.cost, money));
    }

    /// What it is booked with.
    async fn booked(
        &self,
        said: &Message,
        reported: Option<TokenUsage>,
        asked: &Asked,
        is_whole: bool,
    ) -> Result<Booked, SessionError> {
        let (came, said) = self.count(said).await?;
        let (allowed, window) = (asked.request.max_output, self.profile.window);
        // What a host asks for in the provider's words may allow more.
        let most_came = if self.agent.parameters.is_none() { allowed } else { allowed.max(window) };
        let counted = Counted { sent: asked.sent, came, said, most_sent: window, most_came, is_whole };
        Ok(Booked::of(reported, &counted))
    }

    /// Tokens of what came, and of the texts and calls in it.
    async fn count(&self, said: &Message) -> Result<(u64, u64), SessionError> {
        let Some(counter) = self.session.manager().ports().encodings.named(&self.profile.encoding) else {
            return Ok((0, 0));
        };
        let (said, bytes) = (said.clone(), held(said));
        let count = move || {
            let is_said = |part: &MessagePart| matches!(part, MessagePart::Text(_) | MessagePart::ToolCall(_));
            said.parts.iter().fold((0_u64, 0_u64), |(came, said), part| {
                let tokens = tokens::part(part, &|text| counter.count(text)).count;
                let spoken = if is_said(part) { tokens } else { 0 };
                (came.saturating_add(tokens), said.saturating_add(spoken))
            })
        };
        off_if_large(bytes, count).await
    }

    /// What a call cost, by the prices of this day.
    fn money(&self, model: &str, usage: &TokenUsage) -> Option<Money> {
        let manager = self.session.manager();
        let (provider, now) = (self.agent.provider.name(), manager.ports().clock.now());
        let by_table = |model: &str| by_table(manager.prices(), provider, model, now, usage);
        by_table(model).or_else(|| by_table(&self.profile.name))
    }

    /// Notes where what is reported can hardly be.
    fn note(&mut self, booked: &Booked) {
        let notes = &mut self.outcome.notes;
        if let Some(Differs { reported, counted }) = booked.sent_differs {
            notes.push(TurnNote::UsageDiffers { reported, counted });
        }
        if let Some(Differs { reported, counted }) = booked.came_differs {
            notes.push(TurnNote::OutputDiffers { reported, counted });
        }
    }

    fn jitter(&self) -> Result<u16, SessionError> {
        let mut drawn = [0; 2];
        self.session.manager().ports().entropy.fill(&mut drawn)?;
        Ok(u16::from_le_bytes(drawn))
    }

    fn after(&self, wait: std::time::Duration) -> Moment {
        let now = self.session.manager().ports().clock.now().as_millis();
        Moment::from_millis(now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Whether a rule is one that a part of an answer broke.
fn is_of_part(rule: &RuleViolation) -> bool {
    matches!(rule, RuleViolation::AmbiguousCall | RuleViolation::MisplacedPart { .. } | RuleViolation::TooDeep)
}
