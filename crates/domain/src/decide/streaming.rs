//! A message that arrives: how it may begin, go on and end.
//!
//! Must not know: who writes it.

use super::{RuleViolation, check_open, message::check_arriving, placed};
use crate::{
    event::Event,
    identity::MessageId,
    message::{Message, MessageMetadata, MessagePart},
    stream::{Chunk, Sealed, StreamEnd},
    view::View,
};

/// Begins a message behind the head. It may have no parts yet.
///
/// # Errors
/// [`RuleViolation::TurnOpen`] while another arrives, and the rule that it breaks.
pub fn begin(view: &View, id: MessageId, message: Message) -> Result<Event, RuleViolation> {
    check_open(view)?;
    check_arriving(&message)?;
    match placed(view.tree(), view.head(), view.depth(), id, message, false) {
        Event::Appended(appended) => Ok(Event::Begun(appended)),
        other => Ok(other),
    }
}

/// More of the message that began at `message`.
///
/// # Errors
/// [`RuleViolation::TurnEnded`] when it is not arriving any more, and the rule that its parts break.
pub fn chunk(view: &View, message: u64, parts: Vec<MessagePart>, apart: bool) -> Result<Event, RuleViolation> {
    let stream = view.stream().filter(|open| open.message == message).ok_or(RuleViolation::TurnEnded)?;
    let calls = |part: &MessagePart| matches!(part, MessagePart::ToolCall(call) if call.call_id.is_empty() || stream.calls.contains(&call.call_id));
    if parts.iter().any(calls) {
        return Err(RuleViolation::AmbiguousCall);
    }
    let arrived = Message { role: crate::message::MessageRole::Assistant, parts, metadata: MessageMetadata::default() };
    check_arriving(&arrived)?;
    Ok(Event::Chunk(Chunk { parts: arrived.parts, apart }))
}

/// Ends the message that began at `message`.
///
/// # Errors
/// [`RuleViolation::TurnEnded`] when it is not arriving any more.
pub fn seal(
    view: &View,
    message: u64,
    end: StreamEnd,
    reason: Option<String>,
    digest: Option<String>,
    metadata: Option<MessageMetadata>,
) -> Result<Event, RuleViolation> {
    let stream = view.stream().filter(|open| open.message == message).ok_or(RuleViolation::TurnEnded)?;
    Ok(Event::Sealed(Box::new(Sealed { message, end, reason, chunks: stream.chunks, digest, metadata })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::{UndoBy, ground::Session},
        message::MessageRole,
        view::OpenCalls,
    };

    fn empty(role: MessageRole) -> Message {
        Message { role, parts: Vec::new(), metadata: MessageMetadata::default() }
    }

    fn streaming() -> (Session, u64) {
        let mut session = Session::new();
        session.say(Message::user("go")).unwrap();
        let event = begin(&session.view, MessageId::from_bytes([9; 16]), empty(MessageRole::Assistant)).unwrap();
        session.apply(event);
        let seq = session.view.version();
        (session, seq)
    }

    #[test]
    fn while_a_message_arrives_nothing_else_is_said_or_moved() {
        let (mut session, seq) = streaming();
        assert_eq!(session.say(Message::user("and?")), Err(RuleViolation::TurnOpen));
        assert_eq!(session.undo(UndoBy::Steps(1)), Err(RuleViolation::TurnOpen));
        let again = begin(&session.view, MessageId::from_bytes([8; 16]), empty(MessageRole::Assistant));
        assert_eq!(again, Err(RuleViolation::TurnOpen));
        let call = MessagePart::tool_call("c", "t", "{}").unwrap();
        let event = chunk(&session.view, seq, vec![MessagePart::text("x"), call.clone()], false).unwrap();
        session.apply(event);
        assert_eq!(chunk(&session.view, seq, vec![call], false), Err(RuleViolation::AmbiguousCall));
        assert_eq!(chunk(&session.view, 1, vec![], false), Err(RuleViolation::TurnEnded));
        let event = seal(&session.view, seq, StreamEnd::Complete, None, None, None).unwrap();
        session.apply(event);
        assert_eq!(session.view.open_calls(), &OpenCalls::Known(vec!["c".into()]));
        assert_eq!((session.view.head(), session.view.depth()), (seq, 2));
        assert_eq!(chunk(&session.view, seq, vec![], false), Err(RuleViolation::TurnEnded));
        session.say(Message::tool_result("c", "found")).unwrap();
    }

    #[test]
    fn only_the_parts_of_an_assistant_arrive() {
        let (session, seq) = streaming();
        let result = Message::tool_result("c", "x").parts;
        assert!(matches!(chunk(&session.view, seq, result, false), Err(RuleViolation::MisplacedPart { .. })));
        let fresh = Session::new();
        let tool = begin(&fresh.view, MessageId::from_bytes([9; 16]), empty(MessageRole::Tool));
        assert_eq!(tool, Err(RuleViolation::EmptyMessage));
    }
}
