//! What may be said: the parts of a message, and the calls that wait for an answer.
//!
//! Must not know: moves.

use std::collections::HashSet;

use super::{Element, ElementKind, RuleViolation, Walk, Window, check_open};
use crate::{
    branches::Tree,
    event::{Appended, Event},
    identity::MessageId,
    json::{self, MAX_JSON_DEPTH},
    message::{Message, MessagePart, MessageRole, ToolContent},
    view::{OpenCalls, View},
};

/// Calls on the path that are not open, as far as a message answers them (see [`append`]).
#[derive(Clone, Debug, Default)]
pub struct CallsOnPath {
    /// Calls without a result so far.
    pub unanswered: HashSet<String>,
    /// Calls with a result.
    pub answered: HashSet<String>,
}

impl CallsOnPath {
    /// Takes in a message behind the path, for one that is decided behind it.
    pub fn follow(&mut self, message: &Message) {
        for call in message.calls() {
            self.answered.remove(&call.call_id);
            self.unanswered.insert(call.call_id.clone());
        }
        for result in message.results() {
            self.unanswered.remove(&result.call_id);
            self.answered.insert(result.call_id.clone());
        }
    }
}

fn shown(call_id: &str) -> String {
    call_id.chars().take(40).flat_map(char::escape_default).collect()
}

fn role_name(role: MessageRole) -> &'static str {
    match role {
        MessageRole::System => "system",
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
        MessageRole::Tool => "tool",
    }
}

/// Checks a message apart from its place.
///
/// # Errors
/// The rule it breaks.
pub fn check_message(message: &Message) -> Result<(), RuleViolation> {
    if message.parts.is_empty() {
        return Err(RuleViolation::EmptyMessage);
    }
    check_arriving(message)
}

/// As [`check_message`], for a message of which more may come.
pub(super) fn check_arriving(message: &Message) -> Result<(), RuleViolation> {
    for part in &message.parts {
        let allowed = match part {
            MessagePart::ToolCall(_) | MessagePart::Reasoning { .. } => message.role == MessageRole::Assistant,
            MessagePart::ToolResult(_) => message.role == MessageRole::Tool,
            _ => message.role != MessageRole::Tool || matches!(part, MessagePart::Custom(_)),
        };
        if !allowed {
            return Err(RuleViolation::MisplacedPart { part: part.type_name(), role: role_name(message.role) });
        }
        if part_depth(part) > MAX_JSON_DEPTH {
            return Err(RuleViolation::TooDeep);
        }
    }
    if message.role == MessageRole::Tool && message.results().next().is_none() {
        return Err(RuleViolation::EmptyMessage);
    }
    if message.metadata.custom.as_ref().is_some_and(|custom| json::depth(custom.as_str()) > MAX_JSON_DEPTH) {
        return Err(RuleViolation::TooDeep);
    }
    let mut ids: Vec<&str> = message.calls().map(|call| call.call_id.as_str()).collect();
    ids.extend(message.results().map(|result| result.call_id.as_str()));
    ids.sort_unstable();
    let doubled = ids.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    if doubled || ids.iter().any(|id| id.is_empty()) { Err(RuleViolation::AmbiguousCall) } else { Ok(()) }
}

fn part_depth(part: &MessagePart) -> usize {
    match part {
        MessagePart::ToolCall(call) => json::depth(call.input.as_str()),
        MessagePart::Custom(custom) => json::depth(custom.as_str()),
        MessagePart::ToolResult(result) => match &result.content {
            ToolContent::Text(_) => 0,
            ToolContent::Parts(parts) => 1 + parts.iter().map(part_depth).max().unwrap_or(0),
        },
        _ => 0,
    }
}

/// So many results are few.
const FEW: usize = 4;

/// Appends a message behind the head.
///
/// The view must know its open calls. When the message answers a call that is not open, the rule cannot tell late from wrong by the
/// view alone: it refuses with [`RuleViolation::ResultWithoutCall`], and the caller may look the path up and ask again.
///
/// # Errors
/// The rule that is broken.
pub fn append(view: &View, id: MessageId, message: Message, on_path: &CallsOnPath) -> Result<Event, RuleViolation> {
    check_open(view)?;
    check_message(&message)?;
    let (mut in_time, mut late) = (0_usize, 0_usize);
    if message.role == MessageRole::Tool {
        let open: &[String] = match view.open_calls() {
            OpenCalls::Known(open) => open,
            OpenCalls::Unknown => &[],
        };
        // One result looks through the calls, many look them up.
        let is_many = message.results().nth(FEW).is_some();
        let by_id: HashSet<&str> = if is_many { open.iter().map(String::as_str).collect() } else { HashSet::new() };
        let is_open = |id: &str| if is_many { by_id.contains(id) } else { open.iter().any(|open| open == id) };
        for id in message.results().map(|result| result.call_id.as_str()) {
            if is_open(id) {
                in_time += 1;
            } else if on_path.answered.contains(id) {
                return Err(RuleViolation::AlreadyAnswered { call_id: shown(id) });
            } else if on_path.unanswered.contains(id) {
                late += 1;
            } else {
                return Err(RuleViolation::ResultWithoutCall { call_id: shown(id) });
            }
        }
    }
    if in_time > 0 && late > 0 {
        return Err(RuleViolation::MixedLateness);
    }
    Ok(placed(view.tree(), view.head(), view.depth(), id, message, late > 0))
}

/// A message behind any element of the tree, without the rules of [`append`]: for imports, whose history is what it is.
pub fn placed(tree: &Tree, parent: u64, depth: u64, id: MessageId, message: Message, late: bool) -> Event {
    let parent = (parent != tree.last()).then_some(parent);
    Event::Appended(Appended { id, parent, depth: depth.saturating_add(1), late, replaces: None, message })
}

/// A new version of a message, on a branch of its own that ends there. `before`: the element that the old version follows, if it
/// follows one.
///
/// # Errors
/// [`RuleViolation::NotEditable`], and the rule that the new message breaks.
pub fn edit(
    view: &View,
    old: &Element,
    before: Option<&Element>,
    id: MessageId,
    message: Message,
) -> Result<Event, RuleViolation> {
    check_open(view)?;
    check_message(&message)?;
    let ElementKind::Message { id: replaces, role, calls, answers, .. } = &old.what else {
        return Err(RuleViolation::NotEditable);
    };
    let has_tools = |message: &Message| message.calls().next().is_some() || message.results().next().is_some();
    if !calls.is_empty() || !answers.is_empty() || has_tools(&message) || *role != message.role {
        return Err(RuleViolation::NotEditable);
    }
    let before = before.map_or(0, |before| before.seq);
    let mut event = placed(view.tree(), before, old.depth.saturating_sub(1), id, message, false);
    if let Event::Appended(appended) = &mut event {
        appended.replaces = Some(*replaces);
    }
    Ok(event)
}

/// The calls that wait for an answer at the head, from the elements before it, newest first.
pub fn open_calls(window: Window<'_>) -> Walk<Vec<String>> {
    let mut answered: HashSet<&str> = HashSet::new();
    for element in window.elements {
        match &element.what {
            ElementKind::Message { role: MessageRole::Tool, answers, late, .. } => {
                if !late {
                    answered.extend(answers.iter().map(String::as_str));
                }
            }
            ElementKind::Message { calls, .. } => {
                let open = calls.iter().filter(|id| !answered.contains(id.as_str()));
                return Walk::Done(open.cloned().collect());
            }
            ElementKind::Clear | ElementKind::Lost => return Walk::Done(Vec::new()),
        }
    }
    if window.complete { Walk::Done(Vec::new()) } else { Walk::More }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{
        UndoBy,
        ground::{Session, call, with_calls},
    };

    #[test]
    fn results_need_a_call_that_waits() {
        let mut session = with_calls();
        let unknown = session.say(Message::tool_result("z", "?")).unwrap_err();
        assert_eq!(unknown, RuleViolation::ResultWithoutCall { call_id: "z".into() });
        session.say(call(&["c", "d"])).unwrap();
        session.say(Message::tool_result("c", "3")).unwrap();
        assert!(session.say(Message::tool_result("c", "again")).is_err());
        session.undo(UndoBy::Steps(1)).unwrap();
        assert!(session.say(Message::tool_result("d", "4")).is_err(), "the call was undone with its result");
    }

    #[test]
    fn late_and_doubled_results_are_told_apart_by_the_path() {
        let mut session = Session::new();
        session.say(call(&["a", "b"])).unwrap();
        session.say(Message::user("never mind")).unwrap();
        let on_path = CallsOnPath { unanswered: HashSet::from(["a".into()]), answered: HashSet::from(["b".into()]) };
        let id = MessageId::from_bytes([0; 16]);
        let event = append(&session.view, id, Message::tool_result("a", "late"), &on_path).unwrap();
        assert!(matches!(event, Event::Appended(Appended { late: true, .. })));
        let doubled = append(&session.view, id, Message::tool_result("b", "again"), &on_path).unwrap_err();
        assert_eq!(doubled, RuleViolation::AlreadyAnswered { call_id: "b".into() });
    }

    #[test]
    fn parts_stand_where_they_belong() {
        let misplaced = |message: Message| matches!(check_message(&message), Err(RuleViolation::MisplacedPart { .. }));
        let call_part = MessagePart::tool_call("c", "n", "{}").unwrap();
        assert!(misplaced(Message::user("x").with(call_part.clone())));
        assert!(misplaced(Message::tool_result("c", "x").with(MessagePart::text("and"))));
        let doubled = Message::assistant("x").with(call_part.clone()).with(call_part);
        assert_eq!(check_message(&doubled), Err(RuleViolation::AmbiguousCall));
        let nothing = Message { role: MessageRole::User, parts: vec![], metadata: Default::default() };
        assert_eq!(check_message(&nothing), Err(RuleViolation::EmptyMessage));
    }
}
