//! Turns and what goes on beside them: others who speak meanwhile, turns that follow at once, and a host's own code that breaks down.
//!
//! Must not know: how a provider is reached.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sessions_app::{Agent, SessionError, ToolEnd, TurnEvent, TurnProblem};
use sessions_domain::{Message, MessageState, RuntimeState, turn::StopReason};
use sessions_infra::providers::Gate;
use sessions_ports::{
    GateAnswer, ModelAnswer, ModelError, ModelEvent, ModelEvents, ModelProvider, ModelRequest, Tool, ToolGate, ToolRun,
};

use crate::{
    ground::{due, texts},
    turns::{Does, agent, calls, chat, ends, profile, quick, results, says},
};

/// How often what depends on who is faster is tried.
const TIMES: usize = 40;

#[tokio::test]
async fn what_others_say_while_a_retry_is_waited_for_stays_and_is_heard() {
    for seen_first in [false, true] {
        let broken = || says("Half of ").fails(ModelError::Overloaded { retry_after: Some(Duration::from_millis(50)) });
        let (agent, provider) = agent([broken(), says("Whole.")]);
        let (_, chat) = chat().await;
        let mut turn = chat.turn(&agent, Message::user("Why?"));
        while !matches!(due("an event", turn.next_event()).await.unwrap(), TurnEvent::Retrying { is_anew: true, .. }) {}
        if seen_first {
            due("the wait", async {
                while !matches!(chat.runtime().await.unwrap(), RuntimeState::Retrying { .. }) {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        // As long as the broken answer is open nobody else may speak.
        let receipt = due("a place", async {
            loop {
                match chat.append(Message::user("And be brief.")).await {
                    Ok(receipt) => break receipt,
                    Err(SessionError::Rule(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        let outcome = due("the turn", turn.outcome()).await.unwrap();
        assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "Whole."));
        let visible = chat.last(10).await.unwrap();
        assert!(visible.iter().any(|message| message.id == receipt.message), "{:?}", texts(&chat).await);
        let asked = provider.asked();
        assert!(asked.last().unwrap().body.messages.as_str().contains("And be brief."));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_turn_begins_whenever_the_one_before_was_dropped_or_is_over() {
    let (_, chat) = chat().await;
    for at in 0..TIMES {
        let gate = Gate::new();
        let (waits, _) = agent([says("begun").wait(&gate)]);
        let mut turn = chat.turn(&waits, Message::user(format!("dropped {at}")));
        while !matches!(due("an event", turn.next_event()).await.unwrap(), TurnEvent::Text(_)) {}
        drop(turn);
        let (says, _) = agent([says("here"), says("there")]);
        let mut turn = chat.turn(&says, Message::user(format!("next {at}")));
        while due("an event", turn.next_event()).await.is_some() {}
        let next = due("the turn", chat.send_message(&says, Message::user(format!("last {at}")))).await.unwrap();
        assert_eq!((next.stop_reason, next.text.as_str()), (StopReason::EndTurn, "there"));
        assert_eq!(turn.outcome().await.unwrap().text, "here");
    }
}

#[tokio::test]
async fn of_two_who_wait_for_a_turn_that_is_stopped_one_begins() {
    let (gate, next) = (Gate::new(), Gate::new());
    let (_, chat) = chat().await;
    let (waits, _) = agent([says("begun").wait(&gate), says("x").wait(&next)]);
    let first = chat.turn(&waits, Message::user("first"));
    due("the gate", gate.reached()).await;
    assert!(matches!(chat.send_message(&waits, Message::user("no")).await, Err(SessionError::TurnRunning)));
    first.canceller().cancel();
    let (one, other) = (chat.turn(&waits, Message::user("one")), chat.turn(&waits, Message::user("other")));
    due("the next gate", next.reached()).await;
    // Whoever waited beside it has looked by now, or looks before it is over.
    next.open();
    let ended = [due("one", one.outcome()).await, due("other", other.outcome()).await];
    let refused = ended.iter().filter(|ended| matches!(ended, Err(SessionError::TurnRunning))).count();
    assert_eq!((refused, ended.iter().filter(|ended| ended.is_ok()).count()), (1, 1), "{ended:?}");
    assert_eq!(due("the first", first.outcome()).await.unwrap().stop_reason, StopReason::Cancelled);
}

/// A provider that says something and then breaks down.
struct Panics;

#[async_trait]
impl ModelProvider for Panics {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn call(&self, _: ModelRequest, events: &mut dyn ModelEvents) -> Result<ModelAnswer, ModelError> {
        let _ = events.on(ModelEvent::Text("Half of ".into())).await;
        panic!("as it was told to");
    }
}

#[tokio::test]
async fn a_provider_that_panics_ends_the_turn_and_what_came_of_it_stays() {
    let (_, chat) = chat().await;
    let panics = Agent::of_profile(Arc::new(Panics), profile()).retry(quick()).without_compaction();
    let outcome = chat.send_message(&panics, Message::user("go")).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::Error);
    assert!(matches!(outcome.problem, Some(TurnProblem::Model(ModelError::Panicked))), "{:?}", outcome.problem);
    let kept = chat.last(1).await.unwrap();
    assert_eq!((kept[0].text().as_str(), kept[0].state), ("Half of ", MessageState::Failed));
    assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Idle);
    let (agent, _) = agent([says("Done.")]);
    assert_eq!(chat.send_message(&agent, Message::user("again")).await.unwrap().text, "Done.");
}

struct GatePanics;

#[async_trait]
impl ToolGate for GatePanics {
    async fn ask(&self, _: &ToolRun) -> GateAnswer {
        panic!("as it was told to");
    }
}

#[tokio::test]
async fn a_gate_that_panics_allows_nothing() {
    let mut tool = Does::named("do");
    tool.conduct.needs_leave = true;
    let tool = Arc::new(tool);
    let (agent, _) = agent([calls("a", "do", "{}"), says("Done.")]);
    let (_, chat) = chat().await;
    let agent = agent.tool(Arc::clone(&tool) as Arc<dyn Tool>).gate(Arc::new(GatePanics));
    let outcome = chat.send_message(&agent, Message::user("go")).await.unwrap();
    assert_eq!((ends(&outcome.steps), tool.runs()), (vec![ToolEnd::Denied], 0));
    assert_eq!((outcome.stop_reason, results(&chat).await.len()), (StopReason::EndTurn, 1));
}

/// A gate that thinks about it for a moment.
struct Slow;

#[async_trait]
impl ToolGate for Slow {
    async fn ask(&self, _: &ToolRun) -> GateAnswer {
        tokio::time::sleep(Duration::from_millis(1)).await;
        GateAnswer::Once
    }
}

#[test]
fn tools_that_block_their_threads_are_given_up_in_time_however_many_they_are() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut blocked = Vec::new();
    for _ in 0..8 {
        let mut tool = Does::named("do");
        (tool.conduct.timeout, tool.conduct.needs_leave) = (Duration::from_millis(20), true);
        let tool = Arc::new(tool);
        let (agent, _) = agent([calls("a", "do", r#"{"do":"block"}"#), says("Done.")]);
        let agent = agent.tool(Arc::clone(&tool) as Arc<dyn Tool>).gate(Arc::new(Slow));
        blocked.push(tool);
        // Nobody else wakes a thread: the turn waits for its tool, and this thread for the turn.
        let (done, ended) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let (_, chat) = chat().await;
            let _ = done.send(chat.send_message(&agent, Message::user("go")).await);
        });
        let outcome = ended.recv_timeout(Duration::from_secs(30)).expect("the turn ends while its tool blocks");
        assert_eq!(ends(&outcome.unwrap().steps), [ToolEnd::TimedOut]);
    }
    blocked.iter().for_each(|tool| tool.release());
}
