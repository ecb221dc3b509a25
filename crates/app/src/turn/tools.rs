//! The calls of an answer: whether they may run, running them, and their results, which are appended in the order of the calls and as they
//! come.
//!
//! Must not know: who called them, or what a result says.

use std::{sync::Arc, time::Duration};

use sessions_domain::{
    Json, Message, MessageMetadata, MessagePart, MessageRole, ToolCall, ToolContent, ToolResult,
    context::shortened_output,
};
use sessions_ports::{GateAnswer, Tool, ToolFailure, ToolRun};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    handle::unless,
    outcome::{ToolEnd, TurnEvent, TurnProblem, TurnStep},
    run::{Halt, Runner},
};
use crate::{append::Append, error::SessionError};

/// Where a session's state keeps what a gate answered for good, before the tool's name.
const GATE: &str = "tool-gate.";

/// A result that is small whatever the limits are.
const TOO_LARGE: &str = "the result is larger than a message of this session may be, and is not kept";

/// A call that is being done.
enum Doing {
    /// It runs.
    Runs(ToolCall, Task, usize),
    /// It does not run.
    Settled(ToolCall, ToolEnd, String),
}

/// A task that ends with whoever waits for it.
struct Task(JoinHandle<Ran>);

struct Ran {
    result: Result<ToolContent, ToolFailure>,
    timed_out: Option<Duration>,
    took: Duration,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Runner {
    /// Does the calls. `false`: the turn has ended, and its outcome says why.
    pub(super) async fn run_calls(&mut self, calls: Vec<ToolCall>) -> Result<bool, SessionError> {
        let mut rest = calls.as_slice();
        while let Some((first, others)) = rest.split_first() {
            let beside = others.iter().take_while(|call| self.is_concurrent(first) && self.is_concurrent(call)).count();
            let (batch, behind) = rest.split_at_checked(beside + 1).unwrap_or((rest, &[]));
            if let Err(undone) = self.run_batch(batch).await? {
                let left: Vec<ToolCall> = calls.iter().filter(|call| undone.contains(&call.call_id)).cloned().collect();
                let why = match self.outcome.problem {
                    Some(TurnProblem::DoomLoop { .. }) => "it did not run, because the same calls came again and again",
                    Some(_) => "it did not run, or not to its end, because the turn took too long",
                    None => "it did not run, or not to its end, because the turn was cancelled",
                };
                let left: Vec<ToolCall> = left.into_iter().chain(behind.iter().cloned()).collect();
                self.close(&left, why).await?;
                return Ok(false);
            }
            rest = behind;
        }
        Ok(true)
    }

    fn is_concurrent(&self, call: &ToolCall) -> bool {
        self.agent.tool_named(&call.name).is_some_and(|tool| tool.conduct().is_concurrent)
    }

    /// Does calls beside each other. `Err`: the turn has ended, and these are without a result.
    async fn run_batch(&mut self, calls: &[ToolCall]) -> Result<Result<(), Vec<String>>, SessionError> {
        let mut doing = Vec::with_capacity(calls.len());
        let ids = |calls: &[ToolCall]| calls.iter().map(|call| call.call_id.clone()).collect::<Vec<_>>();
        if let Some(call) = calls.iter().find(|call| self.repeats.is_third(call)) {
            // Before any of them begins, so that what is said of them is true.
            self.fail(TurnProblem::DoomLoop { tool: call.name.clone() });
            return Ok(Err(ids(calls)));
        }
        for call in calls {
            self.tell(TurnEvent::Calling(call.clone())).await;
            match self.begin_call(call).await? {
                Ok(begun) => doing.push(begun),
                Err(halt) => {
                    self.halt(halt);
                    return Ok(Err(ids(calls)));
                }
            }
        }
        for (at, doing) in doing.into_iter().enumerate() {
            let (call, end, result, took) = match doing {
                Doing::Settled(call, end, words) => (call, end, said(words), Duration::ZERO),
                Doing::Runs(call, mut task, most) => {
                    let ran = match unless(&mut task.0, self.halted()).await {
                        Ok(ran) => ran,
                        Err(halt) => {
                            self.halt(halt);
                            return Ok(Err(ids(calls.get(at..).unwrap_or_default())));
                        }
                    };
                    let (end, result, took) = ended(ran.ok(), most);
                    (call, end, result, took)
                }
            };
            self.settle(call, end, result, took).await?;
        }
        Ok(Ok(()))
    }

    /// Begins a call, if it may.
    async fn begin_call(&self, call: &ToolCall) -> Result<Result<Doing, Halt>, SessionError> {
        let call = call.clone();
        let Some(tool) = self.agent.tool_named(&call.name).cloned() else {
            let words = format!("there is no tool of this name; there are: {}", self.names());
            return Ok(Ok(Doing::Settled(call, ToolEnd::Unknown, words)));
        };
        let run = ToolRun { session: self.session.id(), call };
        let conduct = tool.conduct();
        if conduct.needs_leave {
            match self.may_run(&run).await? {
                Err(halt) => return Ok(Err(halt)),
                Ok(false) => {
                    let words = "the person in charge does not allow this call; do without it, or ask them".to_owned();
                    return Ok(Ok(Doing::Settled(run.call, ToolEnd::Denied, words)));
                }
                Ok(true) => {}
            }
        }
        let call = run.call.clone();
        let task = Task(tokio::spawn(run_tool(tool, run, conduct.timeout)));
        Ok(Ok(Doing::Runs(call, task, conduct.max_output_bytes)))
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
        let answer = match unless(gate.ask(run), self.halted()).await {
            Ok(answer) => answer,
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
            // A session may take less than the tool may give, or have taken all that it may.
            Err(SessionError::LimitReached { .. } | SessionError::Rule(_)) => {
                result = ToolResult { content: said(TOO_LARGE), is_error: true, ..result };
                self.session.append(message(result.clone(), Some(duration_ms))).await?
            }
            done => done?,
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

/// What a call came to. `None`: its task panicked.
fn ended(ran: Option<Ran>, most: usize) -> (ToolEnd, ToolContent, Duration) {
    let Some(Ran { result, timed_out, took }) = ran else {
        return (ToolEnd::Panicked, said("the tool failed: it panicked"), Duration::ZERO);
    };
    if let Some(after) = timed_out {
        return (ToolEnd::TimedOut, said(format!("the tool was ended after {} ms", after.as_millis())), took);
    }
    match result {
        Ok(content) => (ToolEnd::Done, shortened_output(content, most), took),
        Err(failure) => (ToolEnd::Failed, shortened_output(said(failure.message), most), took),
    }
}

fn said(words: impl Into<String>) -> ToolContent {
    ToolContent::Text(words.into())
}

fn message(result: ToolResult, duration_ms: Option<u64>) -> Message {
    let metadata = MessageMetadata { duration_ms, ..MessageMetadata::default() };
    Message { role: MessageRole::Tool, parts: vec![MessagePart::ToolResult(result)], metadata }
}
