//! The calls of an answer: whether they may run, running them, and their results, which are appended in the order of the calls and as they
//! come.
//!
//! Must not know: who called them, or what a result says.

use std::{collections::VecDeque, io, sync::Arc, thread, time::Duration};

use sessions_domain::{
    Json, Message, MessageMetadata, MessagePart, MessageRole, RuleViolation, ToolCall, ToolContent, ToolResult,
    context::shortened_output,
};
use sessions_ports::{GateAnswer, Tool, ToolConduct, ToolFailure, ToolRun};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use super::{
    handle::unless,
    outcome::{ToolEnd, TurnEvent, TurnProblem, TurnStep},
    run::{Halt, Runner},
};
use crate::{
    append::Append,
    error::SessionError,
    panics::{Panicked, caught},
};

/// Where a session's state keeps what a gate answered for good, before the tool's name.
const GATE: &str = "tool-gate.";

/// Results that are small whatever the limits are, for those that a session does not take.
const TOO_LARGE: &str = "the result is larger than a message of this session may be, and is not kept";
const TOO_DEEP: &str = "the result has JSON that nests deeper than a message may, and is not kept";

/// A tool that is to end is waited for so long. One that blocks its thread does not hear of it, and is left to itself.
const GRACE: Duration = Duration::from_millis(250);

/// A call that is being done.
struct Doing {
    call: ToolCall,
    how: How,
}

enum How {
    Runs(Task),
    Is(Over),
}

/// What a call came to, and how long it took.
struct Over {
    end: ToolEnd,
    content: ToolContent,
    took: Duration,
}

/// A tool at work, on a thread of its own: one that blocks it holds up nobody else. It ends with whoever waits for it.
struct Task {
    ran: oneshot::Receiver<Result<Ran, Panicked>>,
    /// The tool is to go on as long as this is held.
    goes_on: Option<oneshot::Sender<()>>,
    started: Instant,
    timeout: Duration,
    /// The most of its result that is kept, in bytes.
    most: usize,
}

struct Ran {
    result: Result<ToolContent, ToolFailure>,
    timed_out: Option<Duration>,
    took: Duration,
}

impl Task {
    /// Starts a tool.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    fn of(tool: Arc<dyn Tool>, run: ToolRun) -> io::Result<Self> {
        let (started, conduct) = (Instant::now(), tool.conduct());
        let ToolConduct { timeout, max_output_bytes: most, .. } = conduct;
        let ((tell, ran), (goes_on, stopped)) = (oneshot::channel(), oneshot::channel::<()>());
        let runtime = Handle::current();
        let work = move || {
            let done = runtime.block_on(unless(caught(run_tool(tool, run, timeout)), stopped));
            if let Ok(ran) = done {
                // Nobody may wait for it any more.
                let _ = tell.send(ran);
            }
        };
        thread::Builder::new().name("sessions-tool".to_owned()).spawn(work)?;
        Ok(Self { ran, goes_on: Some(goes_on), started, timeout, most })
    }

    /// Tells it to end.
    fn stop(&mut self) {
        self.goes_on = None;
    }

    /// Waits for its end, and not much longer than it may take. Not to be called again behind that.
    async fn ended(&mut self) -> Over {
        let ran = match self.started.checked_add(self.timeout.saturating_add(GRACE)) {
            Some(latest) => tokio::time::timeout_at(latest, &mut self.ran).await,
            None => Ok((&mut self.ran).await),
        };
        match ran {
            Ok(Ok(Ok(ran))) => over(ran, self.most),
            Ok(_) => self.panicked(),
            Err(_) => {
                let words = format!(
                    "the tool took longer than {} ms and is not waited for any more; it may still run, so look at what is there before you call \
                     it again",
                    self.timeout.as_millis()
                );
                Over { end: ToolEnd::TimedOut, content: said(words), took: self.started.elapsed() }
            }
        }
    }

    /// What it came to before it was told to end; `None`: it did not come to its end.
    async fn ended_before(mut self, latest: Instant) -> Option<Over> {
        match tokio::time::timeout_at(latest, &mut self.ran).await {
            Ok(Ok(Ok(ran))) => Some(over(ran, self.most)),
            Ok(Ok(Err(Panicked))) => Some(self.panicked()),
            _ => None,
        }
    }

    fn panicked(&self) -> Over {
        let content = said("the tool failed: it panicked");
        Over { end: ToolEnd::Panicked, content, took: self.started.elapsed() }
    }
}

impl Runner {
    /// Does the calls. `false`: the turn has ended, and its outcome says why; each of them has a result all the same.
    pub(super) async fn run_calls(&mut self, calls: Vec<ToolCall>) -> Result<bool, SessionError> {
        let mut rest = calls.as_slice();
        while let Some((first, others)) = rest.split_first() {
            let beside = others.iter().take_while(|call| self.is_concurrent(first) && self.is_concurrent(call)).count();
            let (batch, behind) = rest.split_at_checked(beside + 1).unwrap_or((rest, &[]));
            if !self.run_batch(batch).await? {
                self.close(behind, self.why_not()).await?;
                return Ok(false);
            }
            rest = behind;
        }
        Ok(true)
    }

    /// Why calls have no result of their own, once the turn has ended.
    const fn why_not(&self) -> &'static str {
        match self.outcome.problem {
            Some(TurnProblem::DoomLoop { .. }) => "it did not run, because the same calls came again and again",
            Some(_) => "it did not run, or not to its end, because the turn took too long",
            None => "it did not run, or not to its end, because the turn was cancelled",
        }
    }

    fn is_concurrent(&self, call: &ToolCall) -> bool {
        self.agent.tool_named(&call.name).is_some_and(|tool| tool.conduct().is_concurrent)
    }

    /// Does calls beside each other. `false`: the turn has ended.
    async fn run_batch(&mut self, calls: &[ToolCall]) -> Result<bool, SessionError> {
        if let Some(call) = calls.iter().find(|call| self.repeats.is_third(call)) {
            // Before any of them begins, so that what is said of them is true.
            self.fail(TurnProblem::DoomLoop { tool: call.name.clone() });
            self.close(calls, self.why_not()).await?;
            return Ok(false);
        }
        let mut doing = VecDeque::with_capacity(calls.len());
        for (at, call) in calls.iter().enumerate() {
            self.tell(TurnEvent::Calling(call.clone())).await;
            match self.begin_call(call).await? {
                Ok(begun) => doing.push_back(begun),
                Err(halt) => {
                    self.halt(halt);
                    self.end_calls(doing).await?;
                    self.close(calls.get(at..).unwrap_or_default(), self.why_not()).await?;
                    return Ok(false);
                }
            }
        }
        while let Some(Doing { call, how }) = doing.pop_front() {
            let over = match how {
                How::Is(over) => over,
                How::Runs(mut task) => match unless(task.ended(), self.halted()).await {
                    Ok(over) => over,
                    Err(halt) => {
                        self.halt(halt);
                        doing.push_front(Doing { call, how: How::Runs(task) });
                        self.end_calls(doing).await?;
                        return Ok(false);
                    }
                },
            };
            self.settle(call, over.end, over.content, over.took).await?;
        }
        Ok(true)
    }

    /// Ends calls with the turn. One that came to its end before has its own result: the model is not to do it again.
    async fn end_calls(&mut self, mut doing: VecDeque<Doing>) -> Result<(), SessionError> {
        for Doing { how, .. } in &mut doing {
            if let How::Runs(task) = how {
                task.stop();
            }
        }
        let latest = Instant::now() + GRACE;
        for Doing { call, how } in doing {
            let over = match how {
                How::Is(over) => Some(over),
                How::Runs(task) => task.ended_before(latest).await,
            };
            match over {
                Some(Over { end, content, took }) => self.settle(call, end, content, took).await?,
                None => self.close(&[call], self.why_not()).await?,
            }
        }
        Ok(())
    }

    /// Begins a call, if it may.
    async fn begin_call(&self, call: &ToolCall) -> Result<Result<Doing, Halt>, SessionError> {
        let call = call.clone();
        let Some(tool) = self.agent.tool_named(&call.name).cloned() else {
            let words = format!("there is no tool of this name; there are: {}", self.names());
            return Ok(Ok(Doing { call, how: undone(ToolEnd::Unknown, words) }));
        };
        let run = ToolRun { session: self.session.id(), call: call.clone() };
        if tool.conduct().needs_leave {
            match self.may_run(&run).await? {
                Err(halt) => return Ok(Err(halt)),
                Ok(false) => {
                    let words = "the person in charge does not allow this call; do without it, or ask them";
                    return Ok(Ok(Doing { call, how: undone(ToolEnd::Denied, words) }));
                }
                Ok(true) => {}
            }
        }
        let how = match Task::of(tool, run) {
            Ok(task) => How::Runs(task),
            Err(_) => undone(ToolEnd::Failed, "the tool could not be started: the system gave no thread for it"),
        };
        Ok(Ok(Doing { call, how }))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.agent.tools.iter().map(|tool| tool.spec().name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Asks whoever is to be asked, once for all where he said so.
    async fn may_run(&self, run: &ToolRun) -> Result<Result<bool, Halt>, SessionError> {
        let Some(gate) = &self.agent.gate else { return Ok(Ok(true)) };
        let key = format!("{GATE}{}", run.call.name);
        match self.session.state(&key).await?.as_ref().map(Json::as_str) {
            Some(r#""always""#) => return Ok(Ok(true)),
            Some(r#""never""#) => return Ok(Ok(false)),
            _ => {}
        }
        let answer = match unless(caught(async { gate.ask(run).await }), self.halted()).await {
            Ok(Ok(answer)) => answer,
            // Nobody allowed it.
            Ok(Err(Panicked)) => GateAnswer::NotNow,
            Err(halt) => return Ok(Err(halt)),
        };
        let (may, for_good) = match answer {
            GateAnswer::Once => (true, None),
            GateAnswer::Always => (true, Some("always")),
            GateAnswer::NotNow => (false, None),
            GateAnswer::Never => (false, Some("never")),
        };
        if let Some(word) = for_good.and_then(|word| Json::of(&word).ok()) {
            self.session.set_state(&key, word).await?;
        }
        Ok(Ok(may))
    }

    /// Appends a result.
    pub(super) async fn settle(
        &mut self,
        call: ToolCall,
        end: ToolEnd,
        content: ToolContent,
        took: Duration,
    ) -> Result<(), SessionError> {
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut result = ToolResult { call_id: call.call_id.clone(), content, is_error: end != ToolEnd::Done };
        let receipt = match self.session.append(message(result.clone(), Some(duration_ms))).await {
            Ok(receipt) => receipt,
            Err(error) => {
                let Some(why) = not_taken(&error) else { return Err(error) };
                result = ToolResult { content: said(why), is_error: true, ..result };
                self.session.append(message(result.clone(), Some(duration_ms))).await?
            }
        };
        self.tell(TurnEvent::Called(result)).await;
        self.answered(receipt, TurnStep::Tool { call_id: call.call_id, name: call.name, ended: end, duration_ms });
        Ok(())
    }

    /// Answers calls that do not run any more, all at once.
    pub(super) async fn close(&mut self, calls: &[ToolCall], why: &str) -> Result<(), SessionError> {
        if calls.is_empty() {
            return Ok(());
        }
        let closed = |call: &ToolCall| {
            message(ToolResult { call_id: call.call_id.clone(), content: said(why), is_error: true }, None)
        };
        let receipt = self.session.append(Append::all(calls.iter().map(closed))).await?;
        self.outcome.receipts.push(receipt);
        let ended = match self.outcome.problem {
            Some(TurnProblem::DoomLoop { .. }) => ToolEnd::Repeated,
            _ => ToolEnd::Ended,
        };
        let step = |call: &ToolCall| TurnStep::Tool {
            call_id: call.call_id.clone(),
            name: call.name.clone(),
            ended,
            duration_ms: 0,
        };
        self.outcome.steps.extend(calls.iter().map(step));
        Ok(())
    }
}

/// Runs a tool for as long as it may.
async fn run_tool(tool: Arc<dyn Tool>, run: ToolRun, timeout: Duration) -> Ran {
    let started = Instant::now();
    let done = tokio::time::timeout(timeout, tool.run(&run)).await;
    let took = started.elapsed();
    match done {
        Ok(result) => Ran { result, timed_out: None, took },
        Err(_) => Ran { result: Err(ToolFailure::new("")), timed_out: Some(timeout), took },
    }
}

/// What a call came to.
fn over(ran: Ran, most: usize) -> Over {
    let Ran { result, timed_out, took } = ran;
    let (end, content) = match (result, timed_out) {
        (_, Some(after)) => (ToolEnd::TimedOut, said(format!("the tool was ended after {} ms", after.as_millis()))),
        (Ok(content), None) => (ToolEnd::Done, shortened_output(content, most)),
        (Err(failure), None) => (ToolEnd::Failed, shortened_output(said(failure.message), most)),
    };
    Over { end, content, took }
}

/// A call that does not run.
fn undone(end: ToolEnd, words: impl Into<String>) -> How {
    How::Is(Over { end, content: said(words), took: Duration::ZERO })
}

/// What stands for a result that the session does not take, where that is because of the result.
fn not_taken(error: &SessionError) -> Option<&'static str> {
    match error {
        SessionError::LimitReached { limit, .. } if limit.ends_with(" of a message") => Some(TOO_LARGE),
        SessionError::Rule(RuleViolation::TooDeep) => Some(TOO_DEEP),
        _ => None,
    }
}

fn said(words: impl Into<String>) -> ToolContent {
    ToolContent::Text(words.into())
}

fn message(result: ToolResult, duration_ms: Option<u64>) -> Message {
    let metadata = MessageMetadata { duration_ms, ..MessageMetadata::default() };
    Message { role: MessageRole::Tool, parts: vec![MessagePart::ToolResult(result)], metadata }
}
