//! Turns that were cut off and are gone on with: where they stand, and what is done before the model is asked again.
//!
//! Must not know: how a provider is reached.

use std::sync::Arc;

use sessions_app::ToolEnd;
use sessions_domain::{Message, MessagePart};

use crate::turns::{Does, agent, chat, ends, results, says};

#[tokio::test]
async fn calls_that_are_open_before_an_answer_that_was_cut_are_settled_first() {
    let mut reads = Does::named("read");
    reads.conduct.is_repeatable = true;
    let (reads, writes) = (Arc::new(reads), Arc::new(Does::named("write")));
    let call = |id: &str, name: &str| MessagePart::tool_call(id, name, r#"{"n":1}"#).unwrap();
    let (_, chat) = chat().await;
    chat.append(Message::user("tools")).await.unwrap();
    let parts = vec![call("a", "read"), call("b", "write"), call("c", "read")];
    chat.append(Message { parts, ..Message::assistant("") }).await.unwrap();
    chat.append(Message::tool_result("a", "1")).await.unwrap();
    // Somebody did not wait for the others, and was cut off as well.
    let mut answer = chat.begin(Message { parts: vec![], ..Message::assistant("") }).await.unwrap();
    answer.push_text("hal").await.unwrap();
    answer.flush().await.unwrap();
    answer.abandon();
    let (agent, provider) = agent([says("Done.")]);
    let outcome = chat.resume_turn(&agent.tool(reads.clone()).tool(writes.clone())).await.unwrap();
    assert_eq!((outcome.text.as_str(), ends(&outcome.steps)), ("Done.", vec![ToolEnd::Interrupted, ToolEnd::Done]));
    assert_eq!((reads.runs(), writes.runs(), results(&chat).await.len()), (1, 0, 3));
    let asked = provider.asked();
    assert_eq!(asked.len(), 1);
    let body = asked[0].body.messages.as_str();
    assert!(body.contains("nobody knows whether it ran") && !body.contains("hal\""), "{body}");
}
