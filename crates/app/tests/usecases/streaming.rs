//! Answers that arrive bit by bit: what is read while they come, when they end, and when whoever wrote them went away.

use sessions_app::{At, ErrorKind, MessageStream, Session, SessionError, SessionManager};
use sessions_domain::{
    Event, Message, MessageMetadata, MessagePart, MessageRole, MessageState, RuleViolation, RuntimeState, TokenUsage,
    context::Budget,
};
use sessions_infra::MemoryStore;
use sessions_ports::Durability;

use crate::ground::{self, due, texts};

fn answer() -> Message {
    Message { role: MessageRole::Assistant, parts: Vec::new(), metadata: MessageMetadata::default() }
}

async fn asked(sessions: &SessionManager) -> Session {
    let session = sessions.open_or_create("k").await.unwrap();
    session.append(Message::user("go")).await.unwrap();
    session
}

async fn begun(session: &Session) -> MessageStream {
    session.begin(answer()).await.unwrap()
}

fn refused(error: SessionError, rule: RuleViolation) {
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(matches!(error, SessionError::Rule(found) if found == rule));
}

#[tokio::test]
async fn a_streamed_message_is_one_message_where_it_began() {
    let sessions = ground::manager(MemoryStore::pretending(Durability::Disk));
    let session = asked(&sessions).await;
    let mut stream = begun(&session).await;
    stream.push_reasoning("hm").await.unwrap();
    stream.push_reasoning(", so").await.unwrap();
    for word in ["Because ", "the ", "value"] {
        stream.push_text(word).await.unwrap();
    }
    stream.flush().await.unwrap();
    let partial = session.last(1).await.unwrap().remove(0);
    assert_eq!((partial.text().as_str(), partial.state), ("Because the value", MessageState::Partial));
    assert_eq!(session.runtime().await.unwrap(), RuntimeState::Busy);
    stream.push_text(" is borrowed").await.unwrap();
    stream.push_part(MessagePart::tool_call("c", "read", "{}").unwrap()).await.unwrap();
    let usage = TokenUsage { output: 7, ..TokenUsage::default() };
    let metadata = MessageMetadata { usage: Some(usage), ..MessageMetadata::default() };
    let id = stream.message();
    let receipt = stream.finish(Some(metadata.clone())).await.unwrap();
    assert_eq!((receipt.message, receipt.durability), (id, Durability::Disk));
    session.append(Message::tool_result("c", "found")).await.unwrap();
    let all = session.last(10).await.unwrap();
    assert_eq!(all.iter().map(|message| message.depth).collect::<Vec<_>>(), [1, 2, 3]);
    let whole = &all[1];
    assert_eq!((whole.id, whole.seq, whole.state), (id, receipt.seq, MessageState::Complete));
    assert_eq!((whole.text().as_str(), &whole.metadata), ("Because the value is borrowed", &metadata));
    assert_eq!(whole.parts.len(), 3);
    assert_eq!(session.tally().await.unwrap().usage, usage);
    assert_eq!(session.context(Budget::tokens(10_000)).await.unwrap().repairs, []);
    // A step takes the call with its result, though the call came in a chunk.
    assert_eq!(session.undo(1).await.unwrap().messages, 1);
}

#[tokio::test]
async fn nothing_is_written_twice_and_writes_are_bounded() {
    let sessions = ground::manager(MemoryStore::new());
    let session = asked(&sessions).await;
    let mut stream = begun(&session).await;
    let text = "x".repeat(37);
    for _ in 0..1_000 {
        stream.push_text(&text).await.unwrap();
    }
    let receipt = stream.finish(None).await.unwrap();
    let (mut chunks, mut bytes) = (0, 0);
    for entry in session.entries(1).await.unwrap() {
        if let sessions_app::EntryKind::Event(Event::Chunk(chunk)) = entry.what {
            chunks += 1;
            bytes += chunk.parts.iter().map(|part| serde_json::to_vec(part).unwrap().len()).sum::<usize>();
        }
    }
    assert_eq!(session.last(1).await.unwrap()[0].text().len(), 37_000);
    assert!(chunks <= 37_000 * 3 / 1024 && bytes < 37_000 + chunks * 64, "{chunks} chunks of {bytes} bytes");
    assert_eq!(receipt.version, session.version().await.unwrap());
}

#[tokio::test]
async fn while_a_message_arrives_nobody_else_speaks_and_words_may_change() {
    let sessions = ground::manager(MemoryStore::new());
    let session = asked(&sessions).await;
    let mut stream = begun(&session).await;
    stream.push_text("x").await.unwrap();
    refused(session.append(Message::user("and?")).await.unwrap_err(), RuleViolation::TurnOpen);
    refused(session.undo(1).await.unwrap_err(), RuleViolation::TurnOpen);
    refused(session.clear().await.unwrap_err(), RuleViolation::TurnOpen);
    let again = session.begin(answer()).await.err().unwrap();
    refused(again, RuleViolation::TurnOpen);
    session.rename("meanwhile").await.unwrap();
    stream.push_text("y").await.unwrap();
    stream.cancel(Some("enough".into())).await.unwrap();
    let last = session.last(1).await.unwrap().remove(0);
    assert_eq!((last.text().as_str(), last.state), ("xy", MessageState::Cancelled));
    session.append(Message::user("and?")).await.unwrap();
}

#[tokio::test]
async fn who_went_away_is_ended_by_the_next_writer_and_hears_of_it() {
    let store = MemoryStore::new();
    let (here, there) = (ground::manager(store.clone()), ground::manager(store));
    let session = asked(&here).await;
    let mut stream = begun(&session).await;
    stream.push_text("half a").await.unwrap();
    stream.flush().await.unwrap();
    let other = there.load(session.id()).await.unwrap();
    assert_eq!(other.runtime().await.unwrap(), RuntimeState::Interrupted);
    other.append(Message::user("go on")).await.unwrap();
    let messages = other.last(2).await.unwrap();
    assert_eq!((messages[0].text().as_str(), messages[0].state), ("half a", MessageState::Interrupted));
    stream.push_text(" sentence").await.unwrap();
    refused(stream.finish(None).await.unwrap_err(), RuleViolation::TurnEnded);
    assert_eq!(texts(&session).await, ["go", "half a", "go on"]);
}

#[tokio::test]
async fn a_dropped_stream_keeps_what_was_gathered() {
    let sessions = ground::manager(MemoryStore::new());
    let session = asked(&sessions).await;
    let mut updates = session.subscribe(session.version().await.unwrap());
    let mut stream = begun(&session).await;
    stream.push_text("all that came").await.unwrap();
    drop(stream);
    let sealed = due("the end of the stream", async {
        loop {
            if let Some(Event::Sealed(sealed)) = updates.next().await.unwrap().map(|update| update.event) {
                return sealed;
            }
        }
    });
    assert_eq!(sealed.await.end, sessions_domain::StreamEnd::Interrupted);
    assert_eq!(texts(&session).await, ["go", "all that came"]);
}

#[tokio::test]
async fn a_pause_writes_what_was_gathered() {
    let sessions = ground::manager(MemoryStore::new());
    let session = asked(&sessions).await;
    let mut updates = session.subscribe(session.version().await.unwrap());
    let mut stream = begun(&session).await;
    stream.push_text("thinking").await.unwrap();
    let chunk = due("the chunk", async {
        loop {
            if let Some(Event::Chunk(chunk)) = updates.next().await.unwrap().map(|update| update.event) {
                return chunk;
            }
        }
    });
    assert_eq!(chunk.await.parts, [MessagePart::text("thinking")]);
    stream.fail("overloaded").await.unwrap();
    assert_eq!(session.last(1).await.unwrap()[0].state, MessageState::Failed);
}

#[tokio::test]
async fn a_fork_has_the_whole_of_a_streamed_message_or_what_there_was_of_it() {
    let sessions = ground::manager(MemoryStore::new());
    let session = asked(&sessions).await;
    let mut stream = begun(&session).await;
    stream.push_text("one ").await.unwrap();
    stream.flush().await.unwrap();
    let halfway = session.version().await.unwrap();
    stream.push_text("two").await.unwrap();
    let receipt = stream.finish(None).await.unwrap();
    session.append(Message::user("more")).await.unwrap();
    let whole = session.fork(At::Message(receipt.message)).await.unwrap();
    assert_eq!(texts(&whole).await, ["go", "one two"]);
    whole.append(Message::user("apart")).await.unwrap();
    let half = session.fork(At::Version(halfway)).await.unwrap();
    let last = half.last(1).await.unwrap().remove(0);
    assert_eq!((last.text().as_str(), last.state), ("one ", MessageState::Partial));
    half.append(Message::user("apart")).await.unwrap();
    assert_eq!(texts(&half).await, ["go", "one ", "apart"]);
    assert_eq!(texts(&session).await, ["go", "one two", "more"]);
}

#[tokio::test]
async fn a_streamed_message_goes_through_a_reload_and_an_export() {
    let store = MemoryStore::new();
    let sessions = ground::manager(store.clone());
    let session = asked(&sessions).await;
    let mut stream = begun(&session).await;
    for _ in 0..300 {
        stream.push_text("0123456789").await.unwrap();
        stream.flush().await.unwrap();
    }
    let call = MessagePart::tool_call("late", "t", "{}").unwrap();
    stream.push_part(call).await.unwrap();
    stream.finish(None).await.unwrap();
    // Another manager reads it from the log, and knows of the call that waits.
    let again = ground::manager(store).load(session.id()).await.unwrap();
    assert_eq!(again.last(1).await.unwrap(), session.last(1).await.unwrap());
    again.append(Message::tool_result("late", "here")).await.unwrap();
    let mut out = Vec::new();
    let mut export = session.export_jsonl().await.unwrap();
    while let Some(piece) = export.next_chunk().await.unwrap() {
        out.extend_from_slice(&piece);
    }
    let elsewhere = ground::manager(MemoryStore::new());
    let import = elsewhere.import(std::io::Cursor::new(out), Default::default()).await.unwrap();
    let copy = elsewhere.load(import.id).await.unwrap();
    assert_eq!(copy.last(10).await.unwrap(), session.last(10).await.unwrap());
}
