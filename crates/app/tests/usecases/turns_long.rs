//! Turns that outgrow their model's window.
//!
//! Must not know: how a context is collected.

use std::sync::Arc;

use sessions_app::{Extractive, TurnNote};
use sessions_domain::{Message, ToolContent, turn::StopReason};

use crate::turns::{Does, agent, calls, chat, says};

const ASKED: &str = "Count the words of every file, and say which one is the longest.";

/// What a tool is called with, and gives back: some 4 000 tokens.
fn long(at: usize) -> String {
    format!(r#"{{"at":{at},"words":"{}"}}"#, "word ".repeat(4_000))
}

#[tokio::test]
async fn a_turn_that_outgrows_the_window_is_compacted_on_its_way_and_keeps_what_it_was_asked() {
    let answers = (0..8).map(|at| calls(&format!("c{at}"), "do", &long(at))).chain([says("The third.")]);
    let (agent, provider) = agent(answers);
    let agent = agent.summarizer(Arc::new(Extractive)).tool(Arc::new(Does::named("do")));
    let (_, chat) = chat().await;
    let outcome = chat.send_message(&agent, Message::user(ASKED)).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "The third."));
    let compacted = |note: &&TurnNote| matches!(note, TurnNote::Compacted(_));
    assert!(outcome.notes.iter().any(|note| compacted(&note)), "{:?}", outcome.notes);
    assert!(!outcome.notes.contains(&TurnNote::Cut), "what does not fit is shortened or summarised, and not left out");
    let asked = provider.asked();
    assert_eq!(asked.len(), 9);
    for (at, request) in asked.iter().enumerate() {
        let body = request.body.messages.as_str();
        assert!(body.contains(&format!(r#""content":"{ASKED}""#)), "request {at}: {}", body.get(..300).unwrap_or(body));
    }
}

#[tokio::test]
async fn what_was_asked_is_sent_beside_a_result_that_is_larger_than_the_window() {
    let (agent, provider) = agent([calls("a", "do", r#"{"do":"much"}"#), says("Much.")]);
    let (_, chat) = chat().await;
    let outcome = chat.send_message(&agent.tool(Arc::new(Does::named("do"))), Message::user(ASKED)).await.unwrap();
    assert_eq!(outcome.stop_reason, StopReason::EndTurn);
    let asked = provider.asked();
    let body = asked[1].body.messages.as_str();
    assert!(body.contains(ASKED) && body.contains("left out here"), "{}", body.get(..300).unwrap_or(body));
    let said = chat.last(10).await.unwrap();
    let kept = said.iter().flat_map(|stored| stored.message.results()).map(|result| match &result.content {
        ToolContent::Text(text) => text.len(),
        ToolContent::Parts(_) => 0,
    });
    assert!(kept.sum::<usize>() > body.len(), "the log has more of it");
}
