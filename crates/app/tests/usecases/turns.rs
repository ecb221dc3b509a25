//! Turns: what is kept of them, how they end, and that the next one always runs.
//!
//! Must not know: how a provider is reached.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sessions_app::{
    Agent, Append, InvalidAgent, NewSession, Session, SessionError, SessionManager, ToolEnd, TurnEvent, TurnNote,
    TurnProblem, TurnStep,
};
use sessions_domain::{
    Json, Kind, Message, MessagePart, MessageRole, MessageState, Origin, RuleViolation, RuntimeState, SessionSettings,
    TokenUsage, ToolContent,
    compaction::{CallOutcome, CallPurpose},
    form::Form,
    profile::ModelProfile,
    turn::{Retry, StopReason},
};
use sessions_infra::{
    MemoryStore,
    providers::{Answer, Gate, ScriptedProvider},
};
use sessions_ports::{
    GateAnswer, ModelError, ModelProvider, ModelStop, Tool, ToolConduct, ToolFailure, ToolGate, ToolRun, ToolSpec,
};
use sessions_testkit::{Call, FaultyStore};

use crate::ground::{due, manager, texts};

pub(crate) fn profile() -> Arc<ModelProfile> {
    Arc::new(ModelProfile::of("m", "scripted", Form::OpenAi, 32_000))
}

pub(crate) fn quick() -> Retry {
    Retry { attempts: 3, first: Duration::from_millis(1), ..Retry::default() }
}

pub(crate) fn agent(answers: impl IntoIterator<Item = Answer>) -> (Agent, Arc<ScriptedProvider>) {
    let provider = Arc::new(ScriptedProvider::new(answers));
    let agent = Agent::of_profile(Arc::clone(&provider) as Arc<dyn ModelProvider>, profile());
    (agent.retry(quick()).without_compaction(), provider)
}

pub(crate) fn says(text: &str) -> Answer {
    Answer::new().text(text)
}

pub(crate) fn calls(id: &str, name: &str, input: &str) -> Answer {
    Answer::new().text("I look. ").call(id, name, input).unwrap()
}

pub(crate) async fn chat() -> (SessionManager, Session) {
    let sessions = manager(MemoryStore::new());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    (sessions, chat)
}

/// A tool that does what its input says.
pub(crate) struct Does {
    pub(crate) spec: ToolSpec,
    pub(crate) conduct: ToolConduct,
    runs: AtomicUsize,
    pub(crate) gate: Gate,
    /// Blocks its thread until something is sent.
    held: Mutex<std::sync::mpsc::Receiver<()>>,
    release: std::sync::mpsc::Sender<()>,
}

impl Does {
    pub(crate) fn named(name: &str) -> Self {
        let input_schema = Json::parse(r#"{"type":"object"}"#).unwrap();
        let (release, held) = std::sync::mpsc::channel();
        Self {
            held: Mutex::new(held),
            release,
            spec: ToolSpec { name: name.into(), description: "does".into(), input_schema },
            conduct: ToolConduct { timeout: Duration::from_secs(60), ..ToolConduct::default() },
            runs: AtomicUsize::new(0),
            gate: Gate::new(),
        }
    }

    /// Lets one that blocks go on.
    pub(crate) fn release(&self) {
        self.release.send(()).unwrap();
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Tool for Does {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn conduct(&self) -> ToolConduct {
        self.conduct
    }

    async fn run(&self, run: &ToolRun) -> Result<ToolContent, ToolFailure> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        match run.call.input.as_str() {
            r#"{"do":"fail"}"# => Err(ToolFailure::new("no such file")),
            r#"{"do":"fail long"}"# => Err(ToolFailure::new("no such file. ".repeat(10_000))),
            r#"{"do":"panic"}"# => panic!("as it was told to"),
            r#"{"do":"hang"}"# => std::future::pending().await,
            r#"{"do":"wait"}"# => {
                self.gate.pass().await;
                Ok(ToolContent::Text("waited".into()))
            }
            r#"{"do":"much"}"# => Ok(ToolContent::Text("ä".repeat(50 << 20))),
            r#"{"do":"parts"}"# => {
                Ok(ToolContent::Parts((0..200_000).map(|n| MessagePart::text(format!("part {n}"))).collect()))
            }
            r#"{"do":"nothings"}"# => Ok(ToolContent::Parts(vec![MessagePart::text(""); 200_000])),
            r#"{"do":"deep"}"# => {
                let nested = format!("{}{}", "[".repeat(128), "]".repeat(128));
                Ok(ToolContent::Parts(vec![MessagePart::Custom(Json::parse(&nested).unwrap())]))
            }
            r#"{"do":"block"}"# => {
                self.held.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap();
                Ok(ToolContent::Text("at last".into()))
            }
            other => Ok(ToolContent::Text(format!("did {other}"))),
        }
    }
}

pub(crate) async fn results(chat: &Session) -> Vec<(String, bool)> {
    let text = |content: &ToolContent| if let ToolContent::Text(text) = content { text.clone() } else { String::new() };
    let all = chat.last(100).await.unwrap();
    all.iter()
        .flat_map(|message| message.results().map(|r| (text(&r.content), r.is_error)).collect::<Vec<_>>())
        .collect()
}

pub(crate) fn ends(steps: &[TurnStep]) -> Vec<ToolEnd> {
    steps.iter().filter_map(|step| if let TurnStep::Tool { ended, .. } = step { Some(*ended) } else { None }).collect()
}

#[tokio::test]
async fn what_was_said_is_kept_before_the_model_is_asked_and_the_answer_while_it_arrives() {
    let gate = Gate::new();
    let usage = TokenUsage { input: 20, output: 5, ..TokenUsage::default() };
    let answer =
        Answer::new().reasoning("hm", Some("sig")).text("Because ").wait(&gate).text("it is borrowed.").usage(usage);
    let (agent, provider) = agent([answer]);
    let (_, chat) = chat().await;
    let mut turn = chat.turn(&agent.instructions("Be brief."), Message::user("Why?"));
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(TurnEvent::Text(_))) {
        seen.push(due("an event", turn.next_event()).await.unwrap());
    }
    due("the gate", gate.reached()).await;
    assert_eq!(provider.asked().len(), 1);
    let kept = chat.last(10).await.unwrap();
    assert_eq!(kept[0].text(), "Why?");
    assert_eq!((kept[1].role, kept[1].state), (MessageRole::Assistant, MessageState::Partial));
    assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Busy);
    assert!(matches!(chat.append(Message::user("and?")).await, Err(SessionError::Rule(RuleViolation::TurnOpen))));
    gate.open();
    let outcome = due("the turn", turn.outcome()).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop_reason), ("Because it is borrowed.", StopReason::EndTurn));
    assert_eq!((outcome.usage, outcome.estimated, outcome.receipts.len()), (usage, false, 2));
    let kept = chat.last(10).await.unwrap();
    assert_eq!(kept[1].parts[0], MessagePart::Reasoning { text: "hm".into(), signature: Some("sig".into()) });
    assert_eq!((kept[1].state, kept[1].metadata.usage), (MessageState::Complete, Some(usage)));
    assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Idle);
    assert_eq!(chat.usage().await.unwrap().total.calls, 1);
    assert!(provider.asked()[0].body.messages.as_str().contains("Be brief."));
    assert_eq!(chat.instructions().await.unwrap().as_deref(), Some("Be brief."));
}

#[tokio::test]
async fn tools_run_until_the_model_has_no_more_calls() {
    let tool = Arc::new(Does::named("do"));
    let (agent, provider) = agent([
        calls("a", "do", r#"{"n":1}"#),
        calls("b", "do", r#"{"do":"fail"}"#).call("c", "nothing", "{}").unwrap(),
        says("Done."),
    ]);
    let (_, chat) = chat().await;
    let outcome = chat.send_message(&agent.tool(tool.clone()), Message::user("go")).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop_reason), ("Done.", StopReason::EndTurn));
    assert_eq!(ends(&outcome.steps), [ToolEnd::Done, ToolEnd::Failed, ToolEnd::Unknown]);
    let expected = [
        (r#"did {"n":1}"#.to_owned(), false),
        ("no such file".to_owned(), true),
        ("there is no tool of this name; there are: do".to_owned(), true),
    ];
    assert_eq!(results(&chat).await, expected);
    assert_eq!(outcome.receipts.len(), 1 + 3 + 3);
    assert_eq!(provider.asked().len(), 3);
    assert_eq!(provider.asked()[2].tools.len(), 1);
    // Nobody said what it took.
    assert!(outcome.estimated && outcome.usage.input > 0 && outcome.usage.output > 0);
    assert_eq!(chat.usage().await.unwrap().total.estimated, 3);
}

#[tokio::test]
async fn a_tool_that_panics_hangs_or_gives_too_much_ends_nothing_but_its_call() {
    let mut tool = Does::named("do");
    tool.conduct.timeout = Duration::from_millis(20);
    let (agent, _) = agent([
        calls("a", "do", r#"{"do":"panic"}"#)
            .call("b", "do", r#"{"do":"hang"}"#)
            .unwrap()
            .call("c", "do", r#"{"do":"much"}"#)
            .unwrap(),
        says("Done."),
    ]);
    let (_, chat) = chat().await;
    let outcome = due("the turn", chat.send_message(&agent.tool(Arc::new(tool)), Message::user("go"))).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::EndTurn);
    assert_eq!(ends(&outcome.steps), [ToolEnd::Panicked, ToolEnd::TimedOut, ToolEnd::Done]);
    let results = results(&chat).await;
    assert_eq!(results[0], ("the tool failed: it panicked".to_owned(), true));
    assert_eq!(results[1], ("the tool was ended after 20 ms".to_owned(), true));
    assert!(!results[2].1 && results[2].0.len() < 300 << 10, "{}", results[2].0.len());
    assert!(results[2].0.contains("104595") && results[2].0.contains("were not kept"), "it says how much is left out");
}

#[tokio::test]
async fn a_result_that_the_session_does_not_take_is_a_failed_one() {
    let (agent, _) = agent([calls("a", "do", r#"{"do":"much"}"#), says("Done.")]);
    let sessions = manager(MemoryStore::new());
    let settings = SessionSettings { max_message_bytes: Some(2_000), ..SessionSettings::default() };
    let new = NewSession::default().origin(Origin { settings, ..Origin::default() });
    let chat = sessions.create(new).await.unwrap();
    let outcome = chat.send_message(&agent.tool(Arc::new(Does::named("do"))), Message::user("go")).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::EndTurn);
    let results = results(&chat).await;
    assert!(results[0].1 && results[0].0.contains("larger than a message"), "{results:?}");
    let (agent, _) = self::agent([calls("a", "do", r#"{"do":"deep"}"#), says("Done.")]);
    let outcome = chat.send_message(&agent.tool(Arc::new(Does::named("do"))), Message::user("go")).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::EndTurn);
    let results = self::results(&chat).await;
    assert!(results[1].1 && results[1].0.contains("nests deeper than a message may"), "{results:?}");
}

#[tokio::test]
async fn a_result_in_many_or_empty_parts_is_bounded_and_the_turn_goes_on() {
    for does in [r#"{"do":"parts"}"#, r#"{"do":"nothings"}"#] {
        let (agent, provider) = agent([calls("a", "do", does), says("Done.")]);
        let (_, chat) = chat().await;
        let outcome = chat.send_message(&agent.tool(Arc::new(Does::named("do"))), Message::user("go")).await.unwrap();
        assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "Done."), "{outcome:?}");
        let kept = chat.last(2).await.unwrap();
        let kept = serde_json::to_string(&kept[0].message).unwrap().len();
        assert!(kept < 300 << 10, "{does}: {kept}");
        let sent = provider.asked()[1].body.messages.as_str().len();
        assert!(sent < 100_000, "{does}: {sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_tool_that_blocks_its_thread_holds_the_turn_for_its_time_and_no_longer() {
    let mut tool = Does::named("do");
    tool.conduct.timeout = Duration::from_millis(20);
    let tool = Arc::new(tool);
    let (agent, _) = agent([calls("a", "do", r#"{"do":"block"}"#), says("Done.")]);
    let (_, chat) = chat().await;
    let outcome = due("the turn", chat.send_message(&agent.tool(tool.clone()), Message::user("go"))).await;
    tool.release();
    let outcome = outcome.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "Done."));
    assert_eq!(ends(&outcome.steps), [ToolEnd::TimedOut]);
    let results = results(&chat).await;
    assert!(results[0].1 && results[0].0.contains("it may still run"), "{results:?}");
}

#[tokio::test]
async fn what_came_to_its_end_before_a_turn_is_cancelled_is_told_as_it_was() {
    let mut tool = Does::named("do");
    tool.conduct.is_concurrent = true;
    let tool = Arc::new(tool);
    let batch = calls("a", "do", r#"{"do":"wait"}"#)
        .call("b", "do", r#"{"n":2}"#)
        .unwrap()
        .call("c", "do", r#"{"do":"panic"}"#)
        .unwrap();
    let (agent, _) = agent([batch]);
    let (_, chat) = chat().await;
    let turn = chat.turn(&agent.tool(tool.clone()), Message::user("go"));
    due("all three", async {
        while tool.runs() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    turn.canceller().cancel();
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::Cancelled);
    assert_eq!(ends(&outcome.steps), [ToolEnd::Ended, ToolEnd::Done, ToolEnd::Panicked]);
    let results = results(&chat).await;
    assert!(results[0].1 && results[0].0.contains("cancelled"), "{results:?}");
    assert_eq!(results[1], (r#"did {"n":2}"#.to_owned(), false));
}

/// Is asked, and does not answer.
struct Ponders(Gate);

#[async_trait]
impl ToolGate for Ponders {
    async fn ask(&self, _: &ToolRun) -> GateAnswer {
        self.0.pass().await;
        GateAnswer::Once
    }
}

#[tokio::test]
async fn who_is_asked_about_a_later_call_when_a_turn_is_cancelled_takes_nothing_from_an_earlier_one() {
    let (mut free, mut asks) = (Does::named("free"), Does::named("asks"));
    (free.conduct.is_concurrent, free.conduct.needs_leave, asks.conduct.is_concurrent) = (true, false, true);
    let (free, asks, gate) = (Arc::new(free), Arc::new(asks), Gate::new());
    let (agent, _) = agent([calls("a", "free", r#"{"n":1}"#).call("b", "asks", r#"{"n":2}"#).unwrap()]);
    let (_, chat) = chat().await;
    let agent = agent.tool(free.clone()).tool(asks.clone()).gate(Arc::new(Ponders(gate.clone())));
    let turn = chat.turn(&agent, Message::user("go"));
    due("the question", gate.reached()).await;
    due("the first", async {
        while free.runs() < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    turn.canceller().cancel();
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert_eq!(ends(&outcome.steps), [ToolEnd::Done, ToolEnd::Ended]);
    assert_eq!((results(&chat).await[0].0.as_str(), asks.runs()), (r#"did {"n":1}"#, 0));
}

/// Answers what it is told to, and counts.
pub(crate) struct Asked(Mutex<Vec<GateAnswer>>, pub(crate) AtomicUsize);

impl Asked {
    pub(crate) fn of(answers: impl IntoIterator<Item = GateAnswer>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(answers.into_iter().collect()), AtomicUsize::new(0)))
    }
}

#[async_trait]
impl ToolGate for Asked {
    async fn ask(&self, run: &ToolRun) -> GateAnswer {
        assert!(!run.call.name.is_empty());
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.lock().unwrap().remove(0)
    }
}

#[tokio::test]
async fn who_is_to_be_asked_is_asked_once_where_he_says_so_and_the_session_remembers() {
    let tool = Arc::new(Does::named("do"));
    let gate = Asked::of([GateAnswer::Once, GateAnswer::NotNow, GateAnswer::Always]);
    let some = |n: usize| calls(&format!("c{n}"), "do", &format!(r#"{{"n":{n}}}"#));
    let (first, _) = agent([some(1), some(2), some(3), some(4), says("Done.")]);
    let (sessions, chat) = chat().await;
    let outcome = chat.send_message(&first.tool(tool.clone()).gate(gate.clone()), Message::user("go")).await.unwrap();
    assert_eq!(ends(&outcome.steps), [ToolEnd::Done, ToolEnd::Denied, ToolEnd::Done, ToolEnd::Done]);
    assert_eq!((gate.1.load(Ordering::SeqCst), tool.runs()), (3, 3));

    let (second, _) = agent([some(5), says("Done.")]);
    let nobody = Asked::of([]);
    let again = sessions.load(chat.id()).await.unwrap();
    let outcome = again.send_message(&second.tool(tool.clone()).gate(nobody), Message::user("go")).await.unwrap();
    assert_eq!(ends(&outcome.steps), [ToolEnd::Done]);

    let other = sessions.create(NewSession::default()).await.unwrap();
    let never = Asked::of([GateAnswer::Never]);
    let (third, _) = agent([some(1), some(2), says("Done.")]);
    let outcome = other.send_message(&third.tool(tool.clone()).gate(never.clone()), Message::user("go")).await.unwrap();
    assert_eq!(ends(&outcome.steps), [ToolEnd::Denied, ToolEnd::Denied]);
    assert_eq!((never.1.load(Ordering::SeqCst), tool.runs()), (1, 4));
}

#[tokio::test]
async fn a_tool_that_needs_no_leave_is_asked_of_nobody() {
    let mut tool = Does::named("do");
    tool.conduct.needs_leave = false;
    let (agent, _) = agent([calls("c", "do", "{}"), says("Done.")]);
    let (_, chat) = chat().await;
    let agent = agent.tool(Arc::new(tool)).gate(Asked::of([]));
    let outcome = chat.send_message(&agent, Message::user("go")).await.unwrap();
    assert_eq!(ends(&outcome.steps), [ToolEnd::Done]);
}

#[tokio::test]
async fn the_third_of_the_same_calls_does_not_run() {
    let tool = Arc::new(Does::named("do"));
    let (agent, provider) = agent([
        calls("a", "do", r#"{"x":1,"y":2}"#),
        calls("b", "do", r#"{"y":2,"x":1}"#),
        calls("c", "do", r#"{"x":1, "y":2}"#).call("d", "do", "{}").unwrap(),
        says("never asked"),
    ]);
    let (_, chat) = chat().await;
    let agent = agent.tool(tool.clone());
    let outcome = chat.send_message(&agent, Message::user("go")).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::Error);
    assert_eq!(outcome.problem, Some(TurnProblem::DoomLoop { tool: "do".into() }));
    assert_eq!((tool.runs(), provider.asked().len()), (2, 3));
    assert_eq!(ends(&outcome.steps), [ToolEnd::Done, ToolEnd::Done, ToolEnd::Repeated, ToolEnd::Repeated]);
    assert_eq!(results(&chat).await.len(), 4, "no call is left open");
    let outcome = chat.send_message(&agent, Message::user("do something else")).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::EndTurn);
}

#[tokio::test]
async fn the_model_is_called_as_often_as_it_may_be_and_the_turn_can_be_gone_on_with() {
    let tool = Arc::new(Does::named("do"));
    let some = |n: usize| calls(&format!("c{n}"), "do", &format!(r#"{{"n":{n}}}"#));
    let (agent, provider) = agent([some(1), some(2), some(3), says("Done.")]);
    let (_, chat) = chat().await;
    let agent = agent.tool(tool.clone());
    let outcome = chat.send_message_with_iterations(&agent, Message::user("go"), 2).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::MaxIterations);
    assert_eq!((provider.asked().len(), tool.runs()), (2, 2));
    let outcome = chat.resume_turn(&agent).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "Done."));
    assert_eq!((provider.asked().len(), tool.runs()), (4, 3));
    assert!(matches!(chat.resume_turn(&agent).await, Err(SessionError::NothingToResume)));
    let all = texts(&chat).await;
    assert_eq!(all.iter().filter(|text| *text == "go").count(), 1, "nothing was said twice: {all:?}");
}

#[tokio::test]
async fn other_ends_of_an_answer_are_ends_of_the_turn() {
    let ends = [
        (Answer::new().text("half").stop(ModelStop::MaxTokens, "length"), StopReason::MaxTokens),
        (
            Answer::new().text("full").stop(ModelStop::WindowFull, "model_context_window_exceeded"),
            StopReason::MaxTokens,
        ),
        (Answer::new().text("no").stop(ModelStop::Refusal, "refusal"), StopReason::Refusal),
        (Answer::new().stop(ModelStop::EndTurn, "stop"), StopReason::EndTurn),
        (calls("z", "do", "{}").stop(ModelStop::MaxTokens, "length"), StopReason::MaxTokens),
    ];
    let (agent, _) = agent(ends.iter().map(|(answer, _)| answer.clone()));
    let (_, chat) = chat().await;
    let tool = Arc::new(Does::named("do"));
    let agent = agent.tool(tool.clone());
    for (_, expected) in ends {
        let outcome = chat.send_message(&agent, Message::user("go")).await.unwrap();
        assert_eq!(outcome.stop_reason, expected);
        assert!(outcome.problem.is_none());
    }
    assert_eq!(tool.runs(), 0, "a call of an answer that was cut is not done");
    assert!(results(&chat).await[0].1);
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_and_what_came_of_it_is_no_part_of_the_conversation() {
    let (agent, provider) = agent([
        Answer::failed(ModelError::Overloaded { retry_after: Some(Duration::from_millis(2)) }),
        Answer::new().text("It is bo").fails(ModelError::Broken { what: "it ends early" }),
        says("It is borrowed."),
    ]);
    let (_, chat) = chat().await;
    let mut turn = chat.turn(&agent, Message::user("Why?"));
    let mut retries = Vec::new();
    while let Some(event) = due("an event", turn.next_event()).await {
        if let TurnEvent::Retrying { attempt, is_anew, .. } = event {
            retries.push((attempt, is_anew));
        }
    }
    let outcome = turn.outcome().await.unwrap();
    assert_eq!(retries, [(2, false), (3, true)]);
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "It is borrowed."));
    assert_eq!(texts(&chat).await, ["Why?", "It is borrowed."]);
    let bodies: Vec<String> =
        provider.asked().iter().map(|request| request.body.messages.as_str().to_owned()).collect();
    assert!(bodies.windows(2).all(|two| two[0] == two[1]), "all are asked the same: {bodies:?}");
    let branches = chat.branches().await.unwrap();
    assert_eq!(branches.len(), 2, "the broken answer stays, on a branch of its own");
    let retried = outcome.notes.iter().filter(|note| matches!(note, TurnNote::Retried { .. })).count();
    assert_eq!(retried, 2);
    let attempts: Vec<(u32, MessageState)> = outcome
        .steps
        .iter()
        .filter_map(
            |step| if let TurnStep::Answer { attempt, state, .. } = step { Some((*attempt, *state)) } else { None },
        )
        .collect();
    assert_eq!(attempts, [(2, MessageState::Failed), (3, MessageState::Complete)]);
}

#[tokio::test]
async fn what_waiting_does_not_mend_is_not_tried_again_and_the_next_turn_runs() {
    for error in [
        ModelError::Denied,
        ModelError::Quota,
        ModelError::UnknownModel,
        ModelError::Refused { status: 400, reason: None },
    ] {
        let (agent, provider) = agent([Answer::new().text("ha").fails(error), says("Now.")]);
        let (_, chat) = chat().await;
        let outcome = chat.send_message(&agent, Message::user("Why?")).await.unwrap();
        assert_eq!((outcome.stop_reason, &outcome.problem), (StopReason::Error, &Some(TurnProblem::Model(error))));
        assert_eq!((outcome.text.as_str(), provider.asked().len()), ("ha", 1));
        let last = chat.last(1).await.unwrap();
        assert_eq!((last[0].state, last[0].text().as_str()), (MessageState::Failed, "ha"));
        let outcome = chat.send_message(&agent, Message::user("And now?")).await.unwrap();
        assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "Now."));
    }
    let (agent, provider) = agent(std::iter::repeat_n(Answer::failed(ModelError::Unreachable), 9));
    let (_, chat) = chat().await;
    let outcome = chat.send_message(&agent, Message::user("Why?")).await.unwrap();
    assert_eq!((outcome.stop_reason, provider.asked().len()), (StopReason::Error, 3));
    let long = Some(Duration::from_secs(3_600));
    let (agent, provider) = self::agent([Answer::failed(ModelError::RateLimited { retry_after: long })]);
    let outcome = chat.send_message(&agent, Message::user("Why?")).await.unwrap();
    assert_eq!((outcome.stop_reason, provider.asked().len()), (StopReason::Error, 1), "nobody waits for an hour");
}

#[tokio::test]
async fn a_cancelled_turn_keeps_what_came_and_the_next_one_runs() {
    let gate = Gate::new();
    let (agent, _) = agent([Answer::new().text("It is ").wait(&gate).text("borrowed."), says("Again.")]);
    let (_, chat) = chat().await;
    let turn = chat.turn(&agent, Message::user("Why?"));
    due("the gate", gate.reached()).await;
    assert!(matches!(chat.send_message(&agent, Message::user("x")).await, Err(SessionError::TurnRunning)));
    assert!(chat.cancel_turn());
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::Cancelled, "It is "));
    let last = chat.last(1).await.unwrap();
    assert_eq!((last[0].state, last[0].text().as_str()), (MessageState::Cancelled, "It is "));
    assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Idle);
    assert!(!chat.cancel_turn(), "none runs");
    let outcome = chat.send_message(&agent, Message::user("Go on.")).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "Again."));
}

#[tokio::test]
async fn who_does_not_wait_any_more_stops_the_turn_and_its_tools() {
    let tool = Arc::new(Does::named("do"));
    let (agent, _) = agent([calls("a", "do", r#"{"do":"wait"}"#).call("b", "do", "{}").unwrap(), says("Again.")]);
    let (_, chat) = chat().await;
    let agent = agent.tool(tool.clone());
    let turn = chat.turn(&agent, Message::user("go"));
    due("the tool", tool.gate.reached()).await;
    drop(turn);
    let outcome = due("the next turn", async {
        loop {
            match chat.send_message(&agent, Message::user("Go on.")).await {
                Err(SessionError::TurnRunning) => tokio::task::yield_now().await,
                done => break done,
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(outcome.stop_reason, StopReason::EndTurn);
    assert_eq!(tool.runs(), 1, "the second call did not run");
    let results = results(&chat).await;
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|(text, is_error)| *is_error && text.contains("cancelled")), "{results:?}");
}

#[tokio::test]
async fn a_turn_ends_when_its_time_is_over() {
    let gate = Gate::new();
    let (agent, _) = agent([Answer::new().text("It is ").wait(&gate), says("Again.")]);
    let (_, chat) = chat().await;
    let most = Duration::from_millis(30);
    let hasty = agent.clone().deadline(most);
    let outcome = due("the end", chat.send_message(&hasty, Message::user("Why?"))).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.problem), (StopReason::Error, Some(TurnProblem::OutOfTime { most })));
    assert_eq!(chat.last(1).await.unwrap()[0].state, MessageState::Cancelled);
    assert_eq!(chat.send_message(&agent, Message::user("?")).await.unwrap().stop_reason, StopReason::EndTurn);
}

#[tokio::test]
async fn waiting_for_another_attempt_is_told_and_can_be_cancelled() {
    let wait = Duration::from_secs(50);
    let failed = ModelError::RateLimited { retry_after: Some(wait) };
    for came in [Answer::new(), Answer::new().text("It is ")] {
        let (agent, _) = agent([came.fails(failed)]);
        let (_, chat) = chat().await;
        let mut turn = chat.turn(&agent, Message::user("Why?"));
        while !matches!(due("an event", turn.next_event()).await.unwrap(), TurnEvent::Retrying { attempt: 2, .. }) {}
        due("the state", async {
            while !matches!(chat.runtime().await.unwrap(), RuntimeState::Retrying { attempt: 2, .. }) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        turn.canceller().cancel();
        let outcome = due("the end", turn.outcome()).await.unwrap();
        assert_eq!(outcome.stop_reason, StopReason::Cancelled);
        let last = chat.last(1).await.unwrap();
        assert!(!last[0].state.is_complete() && last[0].role == MessageRole::Assistant);
        assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Idle);
    }
}

#[tokio::test]
async fn a_provider_that_says_it_is_too_long_is_sent_less() {
    let (agent, provider) = agent([says("one"), says("two"), Answer::failed(ModelError::TooLong), says("three")]);
    let (_, chat) = chat().await;
    for n in 0..2 {
        let said = format!("{n} {}", "words and words ".repeat(300));
        chat.send_message(&agent, Message::user(said)).await.unwrap();
    }
    let outcome = chat.send_message(&agent, Message::user("three?")).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "three"));
    let lengths: Vec<usize> = provider.asked().iter().map(|request| request.body.messages.as_str().len()).collect();
    assert!(lengths[3] < lengths[2] * 4 / 5, "{lengths:?}");
    let (agent, _) = self::agent([Answer::failed(ModelError::TooLong), Answer::failed(ModelError::TooLong)]);
    let outcome = chat.send_message(&agent, Message::user("four?")).await.unwrap();
    assert_eq!(outcome.problem, Some(TurnProblem::Model(ModelError::TooLong)));
}

#[tokio::test]
async fn what_is_too_long_is_cut_by_its_own_length_whatever_the_tools_take() {
    let mut wordy = Does::named("wordy");
    wordy.spec.description = "words ".repeat(8_000);
    let (agent, provider) = agent([Answer::failed(ModelError::TooLong), says("Done.")]);
    let (_, chat) = chat().await;
    for n in 0..10 {
        chat.append(Message::user(format!("{n} {}", "words ".repeat(200)))).await.unwrap();
    }
    let outcome = chat.send_message(&agent.tool(Arc::new(wordy)), Message::user("?")).await.unwrap();
    assert_eq!(outcome.text, "Done.", "{outcome:?}");
    let lengths: Vec<usize> = provider.asked().iter().map(|request| request.body.messages.as_str().len()).collect();
    assert!(lengths[1] < lengths[0] * 4 / 5, "{lengths:?}");
}

#[tokio::test]
async fn what_is_too_long_and_cannot_be_cut_ends_the_turn_with_what_the_provider_said() {
    let (agent, provider) = agent([Answer::failed(ModelError::TooLong), says("Now.")]);
    let (_, chat) = chat().await;
    let agent = agent.instructions("Be brief, whatever is asked.");
    let outcome = chat.send_message(&agent, Message::user("?")).await.unwrap();
    assert_eq!(outcome.problem, Some(TurnProblem::Model(ModelError::TooLong)));
    assert_eq!((outcome.stop_reason, outcome.steps.len(), provider.asked().len()), (StopReason::Error, 1, 1));
    assert_eq!(chat.send_message(&agent, Message::user("Again?")).await.unwrap().text, "Now.");
}

#[tokio::test]
async fn a_call_that_does_not_fit_what_the_model_takes_ends_its_turn_with_an_outcome() {
    let large = format!(r#"{{"text":"{}"}}"#, "words ".repeat(10_000));
    let provider = Arc::new(ScriptedProvider::new([calls("a", "do", &large), says("Now.")]));
    let small = Arc::new(ModelProfile::of("m", "scripted", Form::OpenAi, 4_000));
    let (_, chat) = chat().await;
    let agent = Agent::of_profile(provider, small).without_compaction().tool(Arc::new(Does::named("do")));
    let outcome = chat.send_message(&agent, Message::user("go")).await.unwrap();
    assert!(matches!(outcome.problem, Some(TurnProblem::NoRoom(_))), "{outcome:?}");
    assert_eq!((outcome.steps.len(), outcome.receipts.len()), (2, 3), "{outcome:?}");
    let outcome = chat.resume_turn(&agent).await.unwrap();
    assert!(matches!(outcome.problem, Some(TurnProblem::NoRoom(_))), "{outcome:?}");
    assert_eq!(chat.send_message(&agent, Message::user("do something else")).await.unwrap().text, "Now.");
}

#[tokio::test]
async fn a_turn_that_is_cancelled_while_it_makes_room_does_not_wait_for_that() {
    let reads = |store: &FaultyStore| store.calls(Call::Read);
    let begin = async || {
        let store = FaultyStore::over(Arc::new(MemoryStore::new()));
        let chat = manager(store.clone()).create(NewSession::default()).await.unwrap();
        for n in 0..20 {
            chat.append(Message::user(format!("{n} {}", "words ".repeat(100)))).await.unwrap();
            chat.append(Message::assistant("yes")).await.unwrap();
        }
        let gate = Gate::new();
        let (agent, _) = compacting([Answer::new().wait(&gate).fails(ModelError::TooLong), says("Done.")]);
        let turn = chat.turn(&agent, Message::user("?"));
        due("the model", gate.reached()).await;
        (store, turn, gate)
    };
    let (store, turn, gate) = begin().await;
    let before = reads(&store);
    let (counted, until) = (store.clone(), Arc::new(AtomicU64::new(0)));
    let noted = Arc::clone(&until);
    store.watch(move |commit| {
        if commit.records.iter().any(|record| record.kind == Kind::COMPACTED) {
            noted.store(counted.calls(Call::Read), Ordering::SeqCst);
        }
    });
    gate.open();
    assert_eq!(due("the end", turn.outcome()).await.unwrap().text, "Done.");
    let within = until.load(Ordering::SeqCst) - before;

    // The same once more, and what was read last before the compaction was written does not come.
    let (store, turn, gate) = begin().await;
    let held = Gate::new();
    let holding = held.clone();
    store.meanwhile(Call::Read, within, async move { holding.pass().await });
    gate.open();
    due("the compaction", held.reached()).await;
    turn.canceller().cancel();
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.notes), (StopReason::Cancelled, vec![]));
}

#[tokio::test]
async fn a_provider_that_lies_about_tokens_is_noted_and_sums_hold() {
    let most = TokenUsage {
        input: u64::MAX,
        output: u64::MAX,
        cache_read: u64::MAX,
        cache_write: 7,
        reasoning: 1,
        cache_write_long: 0,
    };
    let nothing = TokenUsage::default();
    let said = TokenUsage { input: 12, output: 40, ..TokenUsage::default() };
    let (agent, _) = agent([says("It is borrowed.").usage(most), says("Yes.").usage(nothing), says("No.").usage(said)]);
    let (_, chat) = chat().await;
    let ask = async || chat.send_message(&agent, Message::user("Why?")).await.unwrap();
    let differs = |outcome: &sessions_app::TurnOutcome| {
        let sent = |note: &TurnNote| matches!(note, TurnNote::UsageDiffers { counted, .. } if *counted < 100);
        let came = |note: &TurnNote| matches!(note, TurnNote::OutputDiffers { counted, .. } if *counted < 20);
        (outcome.notes.iter().filter(|note| sent(note)).count(), outcome.notes.iter().filter(|note| came(note)).count())
    };
    for _ in 0..2 {
        let lie = ask().await;
        assert_eq!((differs(&lie), lie.estimated), ((1, 1), true), "{lie:?}");
        assert!((1..100).contains(&lie.usage.input) && (1..20).contains(&lie.usage.output), "{lie:?}");
        assert_eq!(lie.usage.cache_read, 0);
    }
    let truth = ask().await;
    assert_eq!((truth.usage, truth.estimated, truth.notes.len()), (said, false, 0), "small differences are none");
    let total = chat.usage().await.unwrap().total;
    assert!(total.usage.output < 100 && total.estimated == 2, "{total:?}");
}

#[tokio::test]
async fn two_calls_of_one_id_are_a_broken_answer() {
    let doubled = || calls("a", "do", "{}").call("a", "do", "{}").unwrap();
    let (agent, _) = agent([doubled(), says("Better.")]);
    let (_, chat) = chat().await;
    let outcome = chat.send_message(&agent.tool(Arc::new(Does::named("do"))), Message::user("go")).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "Better."));
    assert_eq!(texts(&chat).await, ["go", "Better."]);
}

#[tokio::test]
async fn an_answer_that_is_larger_than_a_message_ends_the_turn_and_keeps_its_beginning() {
    let long = (0..50).fold(Answer::new(), |answer, _| answer.text("x".repeat(100)));
    let (agent, _) = agent([long, says("Short.")]);
    let sessions = manager(MemoryStore::new());
    let settings = SessionSettings { max_message_bytes: Some(1_000), ..SessionSettings::default() };
    let chat = sessions.create(NewSession::default().origin(Origin { settings, ..Origin::default() })).await.unwrap();
    let outcome = chat.send_message(&agent, Message::user("?")).await.unwrap();
    assert!(matches!(outcome.problem, Some(TurnProblem::TooLarge { max: 1_000, .. })), "{outcome:?}");
    let last = chat.last(1).await.unwrap();
    assert!(last[0].state == MessageState::Failed && (1..=1_000).contains(&last[0].text().len()));
    assert_eq!(chat.send_message(&agent, Message::user("?")).await.unwrap().text, "Short.");
}

#[tokio::test]
async fn calls_beside_each_other_run_at_once_and_their_results_stand_in_order() {
    let mut tool = Does::named("do");
    tool.conduct.is_concurrent = true;
    let tool = Arc::new(tool);
    let (agent, _) =
        agent([calls("a", "do", r#"{"do":"wait"}"#).call("b", "do", r#"{"n":2}"#).unwrap(), says("Done.")]);
    let (_, chat) = chat().await;
    let turn = chat.turn(&agent.tool(tool.clone()), Message::user("go"));
    due("the first", tool.gate.reached()).await;
    due("the second", async {
        while tool.runs() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    tool.gate.open();
    due("the end", turn.outcome()).await.unwrap();
    let texts: Vec<String> = results(&chat).await.into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["waited", r#"did {"n":2}"#]);
}

#[tokio::test]
async fn a_turn_under_a_key_runs_once() {
    let (agent, provider) = agent([says("one"), says("two")]);
    let (_, chat) = chat().await;
    let said = || Append::from(Message::user("go")).idempotency_key("k");
    assert_eq!(chat.send_message(&agent, said()).await.unwrap().text, "one");
    for again in
        [chat.send_message(&agent, said()).await, chat.once("k").send_message(&agent, Message::user("go")).await]
    {
        assert!(matches!(again, Err(SessionError::TurnBegun)), "{again:?}");
    }
    assert_eq!(provider.asked().len(), 1);
    assert_eq!(texts(&chat).await, ["go", "one"]);
}

#[tokio::test]
async fn an_agent_that_cannot_be_is_refused_before_anything_is_said() {
    let (_, chat) = chat().await;
    let named = |name: &str| agent([says("x")]).0.tool(Arc::new(Does::named(name)));
    for (agent, expected) in [
        (named("read file"), InvalidAgent::ToolName { name: "read file".into() }),
        (named(""), InvalidAgent::ToolName { name: String::new() }),
        (named("do").tool(Arc::new(Does::named("do"))), InvalidAgent::SameName { name: "do".into() }),
    ] {
        match chat.send_message(&agent, Message::user("go")).await {
            Err(SessionError::Agent(invalid)) => assert_eq!(invalid, expected),
            other => panic!("{other:?}"),
        }
    }
    let mut large = Does::named("large");
    large.spec.description = "words ".repeat(40_000);
    let large = agent([says("x")]).0.tool(Arc::new(large));
    let refused = chat.send_message(&large, Message::user("go")).await;
    assert!(matches!(refused, Err(SessionError::Agent(InvalidAgent::NoRoom { .. }))), "{refused:?}");
    let unknown = Agent::new(Arc::new(ScriptedProvider::demo()), "no-such-model");
    assert!(matches!(chat.send_message(&unknown, Message::user("go")).await, Err(SessionError::UnknownModel(_))));
    assert!(texts(&chat).await.is_empty());
    assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Idle);
}

#[tokio::test]
async fn tools_take_their_part_of_the_window() {
    let (plain, without) = agent([says("x")]);
    let mut wordy = Does::named("wordy");
    wordy.spec.description = "words ".repeat(15_000);
    let (armed, with) = agent([says("x")]);
    let (_, chat) = chat().await;
    for n in 0..40 {
        chat.append(Message::user(format!("{n} {}", "words ".repeat(750)))).await.unwrap();
    }
    chat.send_message(&plain, Message::user("?")).await.unwrap();
    let outcome = chat.send_message(&armed.tool(Arc::new(wordy)), Message::user("?")).await.unwrap();
    assert!(outcome.notes.contains(&TurnNote::Cut));
    let sent = |provider: &ScriptedProvider| provider.asked()[0].body.messages.as_str().len();
    assert!(sent(&with) + 50_000 < sent(&without), "{} {}", sent(&with), sent(&without));
}

#[tokio::test]
async fn a_turn_that_was_cut_off_goes_on_where_it_stood() {
    let mut reads = Does::named("read");
    reads.conduct.is_repeatable = true;
    let (reads, writes) = (Arc::new(reads), Arc::new(Does::named("write")));
    let with = |agent: Agent| agent.tool(reads.clone()).tool(writes.clone());
    let call = |id: &str, name: &str| MessagePart::tool_call(id, name, r#"{"n":1}"#).unwrap();

    // Nobody answered yet.
    let (_, chat) = self::chat().await;
    chat.append(Message::user("go")).await.unwrap();
    let (agent, _) = self::agent([says("Here.")]);
    assert_eq!(chat.resume_turn(&with(agent)).await.unwrap().text, "Here.");

    // The answer was cut.
    chat.append(Message::user("more")).await.unwrap();
    let mut answer = chat.begin(Message { parts: vec![], ..Message::assistant("") }).await.unwrap();
    answer.push_text("hal").await.unwrap();
    answer.flush().await.unwrap();
    answer.abandon();
    assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Interrupted);
    let (agent, provider) = self::agent([says("Whole.")]);
    assert_eq!(chat.resume_turn(&with(agent)).await.unwrap().text, "Whole.");
    assert_eq!(texts(&chat).await, ["go", "Here.", "more", "Whole."]);
    assert!(!provider.asked()[0].body.messages.as_str().contains("hal\""));

    // Of three calls one has its result.
    chat.append(Message::user("tools")).await.unwrap();
    let asks = Message::assistant("").with(call("a", "read")).with(call("b", "read")).with(call("c", "write"));
    let asks = Message { parts: asks.parts[1..].to_vec(), ..asks };
    chat.append(asks).await.unwrap();
    chat.append(Message::tool_result("a", "1")).await.unwrap();
    let (agent, _) = self::agent([says("Done.")]);
    let outcome = chat.resume_turn(&with(agent)).await.unwrap();
    assert_eq!(outcome.text, "Done.");
    assert_eq!(ends(&outcome.steps), [ToolEnd::Interrupted, ToolEnd::Done]);
    assert_eq!((reads.runs(), writes.runs()), (1, 0));
}

pub(crate) const SUMMARY: &str = "## Goal\n- mend the build\n## Decisions\n- pin the crate\n## State\n- red\n## Next step\n- run it\n## Files\n- src/lib.rs";

/// A conversation that fills most of the window.
pub(crate) async fn full() -> (SessionManager, Session) {
    let (sessions, chat) = chat().await;
    for turn in 0..32 {
        chat.append(Message::user(format!("question {turn}: {}", "why is it red? ".repeat(80)))).await.unwrap();
        chat.append(Message::assistant(format!("answer {turn}: {}", "an import is missing. ".repeat(60))))
            .await
            .unwrap();
    }
    (sessions, chat)
}

pub(crate) fn compacting(answers: impl IntoIterator<Item = Answer>) -> (Agent, Arc<ScriptedProvider>) {
    let provider = Arc::new(ScriptedProvider::new(answers));
    (Agent::of_profile(Arc::clone(&provider) as Arc<dyn ModelProvider>, profile()).retry(quick()), provider)
}

#[tokio::test]
async fn a_turn_compacts_what_is_due_with_a_summary_that_its_model_writes() {
    let usage = TokenUsage { input: 9_000, output: 60, ..TokenUsage::default() };
    let (agent, provider) = compacting([
        says(&SUMMARY.replace("pin the crate", "take the crate away")).usage(usage),
        says(SUMMARY).usage(usage),
        says("Green.").usage(usage),
    ]);
    let (_, chat) = full().await;
    let outcome = chat.send_message(&agent, Message::user("and now?")).await.unwrap();
    assert_eq!(outcome.text, "Green.", "{outcome:?}");
    let Some(TurnNote::Compacted(report)) = outcome.notes.iter().find(|note| matches!(note, TurnNote::Compacted(_)))
    else {
        panic!("{:?}", outcome.notes)
    };
    assert_eq!((report.by.as_deref(), report.summary.as_deref()), (Some("model"), Some(SUMMARY)));
    assert!(report.after * 2 < report.before);
    let asked = provider.asked();
    assert!(asked[0].body.messages.as_str().contains("question 3:") && asked[0].tools.is_empty());
    // What does not fit one request is summarised on top of what did.
    assert!(asked[1].body.messages.as_str().contains("take the crate away") && asked.len() == 3);
    let sent = asked[2].body.messages.as_str();
    assert!(sent.contains("pin the crate") && !sent.contains("question 3:") && sent.contains("and now?"));
    let calls = chat.calls(0).await.unwrap().0;
    let kinds: Vec<(CallPurpose, CallOutcome)> =
        calls.iter().map(|call| (call.spent.purpose, call.spent.outcome)).collect();
    let compaction = (CallPurpose::Compaction, CallOutcome::Taken);
    assert_eq!(kinds, [compaction, compaction, (CallPurpose::Turn, CallOutcome::Taken)]);
    // Nothing was compacted twice, and the next turn needs no summary.
    let (agent, provider) = compacting([says("Still green.")]);
    assert_eq!(chat.send_message(&agent, Message::user("and now?")).await.unwrap().text, "Still green.");
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn a_summary_that_its_model_does_not_write_is_made_without_it() {
    let gone = Answer::failed(ModelError::Quota);
    for (answers, rejected) in [(vec![says("It went well."), says("## Goal\n- all")], 2), (vec![gone], 0)] {
        let (agent, provider) = compacting(answers.into_iter().chain([says("Green.")]));
        let (_, chat) = full().await;
        let outcome = chat.send_message(&agent, Message::user("and now?")).await.unwrap();
        assert_eq!((outcome.text.as_str(), outcome.stop_reason), ("Green.", StopReason::EndTurn));
        let by = outcome.notes.iter().find_map(|note| match note {
            TurnNote::Compacted(report) => report.by.clone(),
            _ => None,
        });
        assert_eq!(by.as_deref(), Some("extractive"));
        let calls = chat.calls(0).await.unwrap().0;
        let in_vain = calls.iter().filter(|call| call.spent.outcome == CallOutcome::Rejected).count();
        assert_eq!(in_vain, rejected, "what was paid for is in the ledger");
        assert_eq!(provider.asked().len() as u64, 1 + rejected.max(1) as u64);
    }
}

#[tokio::test]
async fn a_turn_that_is_cancelled_while_it_compacts_changes_nothing() {
    let gate = Gate::new();
    let (agent, _) = compacting([Answer::new().text("## Goal").wait(&gate)]);
    let (_, chat) = full().await;
    let turn = chat.turn(&agent, Message::user("and now?"));
    due("the summary", gate.reached()).await;
    let before = chat.version().await.unwrap();
    turn.canceller().cancel();
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::Cancelled);
    assert!(chat.version().await.unwrap() <= before + 3, "an answer that was not begun, and that it is idle");
    // What was read and came for it was paid for.
    let calls = chat.calls(0).await.unwrap().0;
    let spent: Vec<_> =
        calls.iter().map(|call| (call.spent.purpose, call.spent.outcome, call.spent.estimated)).collect();
    assert_eq!(spent, [(CallPurpose::Compaction, CallOutcome::Cancelled, true)]);
    assert!(calls[0].spent.usage.input > 5_000 && calls[0].spent.usage.output > 0, "{calls:?}");
}

#[tokio::test]
async fn an_error_and_a_summary_that_is_not_taken_are_each_mended_by_asking_once_more() {
    let (agent, provider) = compacting([
        Answer::failed(ModelError::Overloaded { retry_after: None }),
        says("It went well."),
        says(SUMMARY),
        says(SUMMARY),
        says("Green."),
    ]);
    let (_, chat) = full().await;
    let outcome = chat.send_message(&agent, Message::user("and now?")).await.unwrap();
    assert_eq!(outcome.text, "Green.");
    let by = |note: &TurnNote| if let TurnNote::Compacted(report) = note { report.by.clone() } else { None };
    assert_eq!(outcome.notes.iter().find_map(by).as_deref(), Some("model"), "{:?}", outcome.notes);
    assert_eq!(provider.asked().len(), 5);
}

#[tokio::test]
async fn what_an_answer_took_that_did_not_become_whole_is_in_the_ledger() {
    let so_far = TokenUsage { input: 900, output: 1, ..TokenUsage::default() };
    let gate = Gate::new();
    let (agent, _) = agent([
        Answer::new().used(so_far).text("It is ").fails(ModelError::Broken { what: "it ends early" }),
        Answer::new().used(so_far).text("It is ").used(TokenUsage { output: 5, ..so_far }).wait(&gate),
    ]);
    let (_, chat) = chat().await;
    let turn = chat.turn(&agent, Message::user("Why?"));
    due("the gate", gate.reached()).await;
    turn.canceller().cancel();
    let outcome = due("the end", turn.outcome()).await.unwrap();
    let expected = TokenUsage { input: 1_800, output: 6, ..TokenUsage::default() };
    assert_eq!((outcome.stop_reason, outcome.usage, outcome.estimated), (StopReason::Cancelled, expected, false));
    let total = chat.usage().await.unwrap().total;
    assert_eq!((total.usage, total.calls), (expected, 2));
    assert_eq!(ended(&chat).await, [(CallOutcome::Failed, false), (CallOutcome::Cancelled, false)]);
}

/// How each call of the ledger ended, and whether its tokens are estimated.
async fn ended(chat: &Session) -> Vec<(CallOutcome, bool)> {
    chat.calls(0).await.unwrap().0.iter().map(|call| (call.spent.outcome, call.spent.estimated)).collect()
}

#[tokio::test]
async fn what_an_answer_took_that_nobody_told_of_is_estimated() {
    let gate = Gate::new();
    let begun = TokenUsage { input: 30, output: 1, ..TokenUsage::default() };
    let (agent, _) = agent([
        Answer::failed(ModelError::Unreachable),
        Answer::new().text("It is ").fails(ModelError::Broken { what: "it ends early" }),
        Answer::new().used(begun).text("borrowed, ".repeat(100)).wait(&gate),
    ]);
    let (_, chat) = chat().await;
    let turn = chat.turn(&agent, Message::user("Why?"));
    due("the gate", gate.reached()).await;
    turn.canceller().cancel();
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert!(outcome.estimated && outcome.usage.output > 150, "{:?}", outcome.usage);
    let estimated = [(CallOutcome::Failed, true), (CallOutcome::Cancelled, true)];
    assert_eq!(ended(&chat).await, estimated, "of what could not be reached nobody was paid");
    let calls = chat.calls(0).await.unwrap().0;
    assert!(calls[0].spent.usage.input > 0 && calls[0].spent.usage.output > 0, "{calls:?}");
    assert_eq!(calls[1].spent.usage.input, 30, "what was told is taken");
    assert_eq!(chat.usage().await.unwrap().total.usage, outcome.usage);
}

#[tokio::test]
async fn the_text_of_a_cancelled_answer_is_what_the_log_has() {
    let (gate, held) = (Gate::new(), Gate::new());
    let (agent, _) = agent([Answer::new().text("It ").wait(&gate).text("is borrowed. ".repeat(200))]);
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let chat = manager(store.clone()).create(NewSession::default()).await.unwrap();
    let turn = chat.turn(&agent, Message::user("Why?"));
    due("the gate", gate.reached()).await;
    let holding = held.clone();
    store.meanwhile(Call::Commit, 1, async move { holding.pass().await });
    gate.open();
    due("the commit", held.reached()).await;
    turn.canceller().cancel();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    held.open();
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::Cancelled);
    let kept = chat.last(1).await.unwrap()[0].text();
    assert!(kept.len() > 2_000);
    assert_eq!(outcome.text, kept);
}
