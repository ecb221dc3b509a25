//! What may happen: the rules that turn a wish into events, or refuse it.
//!
//! Every function is pure. Where a rule depends on messages that a view does not hold, the caller hands in a window of the path, and
//! a rule that needs a longer one says so ([`Walk::More`]).
//!
//! Must not know: how a window is read, or what becomes of the events.

use crate::{
    branches::Tree,
    chain::CommitHash,
    event::{Appended, Cleared, Described, Event, ForkPoint, MoveCause, Moved},
    identity::MessageId,
    json::{self, MAX_JSON_DEPTH},
    message::{Message, MessagePart, MessageRole, ToolContent},
    view::{OpenCalls, View},
};

/// A wish that the rules refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleViolation {
    /// The message has no parts.
    #[error("the message has no parts; give it a text, a call, a result or a file")]
    EmptyMessage,
    /// A part stands in a message whose role cannot have it.
    #[error(
        "a {part} part cannot stand in a message of role {role}; calls belong to the assistant, results to a tool message"
    )]
    MisplacedPart {
        /// The part's type.
        part: &'static str,
        /// The message's role.
        role: &'static str,
    },
    /// A call id is empty or stands twice in one message.
    #[error("tool call ids must be given, and differ within a message")]
    AmbiguousCall,
    /// A result answers no call that waits on this path.
    #[error("the result answers call {call_id:?}, which nobody made on this branch; append the call first")]
    ResultWithoutCall {
        /// The call's id, shortened for display.
        call_id: String,
    },
    /// A call was answered before.
    #[error("call {call_id:?} is answered already; a call is answered once")]
    AlreadyAnswered {
        /// The call's id, shortened for display.
        call_id: String,
    },
    /// A message mixes results that are late with others.
    #[error("late results and others stand in one message; append them apart")]
    MixedLateness,
    /// JSON of the host nests too deep.
    #[error("JSON in the message nests deeper than {MAX_JSON_DEPTH} levels; flatten it, or keep it in a string")]
    TooDeep,
    /// A move was asked to go nowhere.
    #[error("no steps were asked for; ask for at least one")]
    NoSteps,
    /// Nothing is left to undo.
    #[error("nothing is left to undo")]
    NothingToUndo,
    /// Nothing is left to redo.
    #[error("nothing is left to redo; a new message ends redo, see the branches")]
    NothingToRedo,
    /// Nothing is visible.
    #[error("the history is empty; there is nothing to clear")]
    NothingToClear,
    /// No branch has this number.
    #[error("there is no branch {branch}; list the branches to see their numbers")]
    NoSuchBranch {
        /// The number that was given.
        branch: u64,
    },
    /// The message is not on the path that is visible.
    #[error("the message is not on the current branch; check out its branch first")]
    NotOnPath,
}

/// A place on a path, as far as the rules need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The record's sequence number.
    pub seq: u64,
    /// Messages visible on the path up to it.
    pub depth: u64,
    /// What it is.
    pub what: ElementKind,
}

/// What an [`Element`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementKind {
    /// A message.
    Message {
        /// Its id.
        id: MessageId,
        /// Who speaks.
        role: MessageRole,
        /// Ids of the calls it makes.
        calls: Vec<String>,
        /// Ids of the calls it answers.
        answers: Vec<String>,
        /// True when its results came late.
        late: bool,
    },
    /// A clear.
    Clear,
    /// A record that a repair set aside.
    Lost,
}

impl Element {
    /// The element of a record, if the record is one.
    pub fn of(seq: u64, event: &Event) -> Option<Self> {
        let (depth, what) = match event {
            Event::Appended(appended) => (
                appended.depth,
                ElementKind::Message {
                    id: appended.id,
                    role: appended.message.role,
                    calls: appended.message.calls().map(|call| call.call_id.clone()).collect(),
                    answers: appended.message.results().map(|result| result.call_id.clone()).collect(),
                    late: appended.late,
                },
            ),
            Event::Cleared(_) => (0, ElementKind::Clear),
            Event::Lost => (0, ElementKind::Lost),
            _ => return None,
        };
        Some(Self { seq, depth, what })
    }

    fn is_answer(&self) -> bool {
        matches!(&self.what, ElementKind::Message { role: MessageRole::Tool, late: false, .. })
    }

    fn is_tool(&self) -> bool {
        matches!(&self.what, ElementKind::Message { role: MessageRole::Tool, .. })
    }

    fn makes_calls(&self) -> bool {
        matches!(&self.what, ElementKind::Message { calls, .. } if !calls.is_empty())
    }

    fn is_user(&self) -> bool {
        matches!(&self.what, ElementKind::Message { role: MessageRole::User, .. })
    }
}

/// The outcome of a rule that walks a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walk<T> {
    /// The window was long enough.
    Done(T),
    /// It was not: call again with a longer one.
    More,
}

/// A stretch of a path beside the head.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The elements, beginning beside the head.
    pub elements: &'a [Element],
    /// True when the path has no more.
    pub complete: bool,
}

/// How far to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoBy {
    /// So many steps; a step is a message, or an assistant message with calls and all their results.
    Steps(u64),
    /// So many turns: to before the user's message.
    Turns(u64),
    /// To the message at this sequence number, which becomes the last visible one (with the results of its calls).
    To(u64),
}

/// Calls on the path that are not open, as far as a message answers them (see [`append`]).
#[derive(Clone, Debug, Default)]
pub struct CallsOnPath {
    /// Calls without a result so far.
    pub unanswered: Vec<String>,
    /// Calls with a result.
    pub answered: Vec<String>,
}

impl CallsOnPath {
    /// Takes in a message behind the path, for one that is decided behind it.
    pub fn follow(&mut self, message: &Message) {
        for call in message.calls() {
            self.answered.retain(|id| *id != call.call_id);
            self.unanswered.push(call.call_id.clone());
        }
        for result in message.results() {
            self.unanswered.retain(|id| *id != result.call_id);
            self.answered.push(result.call_id.clone());
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

/// Appends a message behind the head.
///
/// The view must know its open calls. When the message answers a call that is not open, the rule cannot tell late from wrong by the
/// view alone: it refuses with [`RuleViolation::ResultWithoutCall`], and the caller may look the path up and ask again.
///
/// # Errors
/// The rule that is broken.
pub fn append(view: &View, id: MessageId, message: Message, on_path: &CallsOnPath) -> Result<Event, RuleViolation> {
    check_message(&message)?;
    let open: &[String] = match view.open_calls() {
        OpenCalls::Known(open) => open,
        OpenCalls::Unknown => &[],
    };
    let (mut in_time, mut late) = (0_usize, 0_usize);
    for result in message.results() {
        if open.contains(&result.call_id) {
            in_time += 1;
        } else if on_path.answered.contains(&result.call_id) {
            return Err(RuleViolation::AlreadyAnswered { call_id: shown(&result.call_id) });
        } else if on_path.unanswered.contains(&result.call_id) {
            late += 1;
        } else {
            return Err(RuleViolation::ResultWithoutCall { call_id: shown(&result.call_id) });
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
    Event::Appended(Appended { id, parent, depth: depth.saturating_add(1), late, message })
}

/// The calls that wait for an answer at the head, from the elements before it, newest first.
pub fn open_calls(window: Window<'_>) -> Walk<Vec<String>> {
    let mut answered: Vec<&str> = Vec::new();
    for element in window.elements {
        match &element.what {
            ElementKind::Message { role: MessageRole::Tool, answers, late, .. } => {
                if !late {
                    answered.extend(answers.iter().map(String::as_str));
                }
            }
            ElementKind::Message { calls, .. } => {
                let open = calls.iter().filter(|id| !answered.contains(&id.as_str()));
                return Walk::Done(open.cloned().collect());
            }
            ElementKind::Clear | ElementKind::Lost => return Walk::Done(Vec::new()),
        }
    }
    if window.complete { Walk::Done(Vec::new()) } else { Walk::More }
}

/// The length, in elements, of the step at the start of a window that goes back. `None`: the window is too short.
///
/// A late result that came between results is part of their step; behind them it is a step of its own.
fn step_back(window: Window<'_>) -> Option<usize> {
    if window.elements.first().is_some_and(|element| !element.is_answer()) {
        return Some(1);
    }
    let tools = window.elements.iter().take_while(|element| element.is_tool()).count();
    match window.elements.get(tools) {
        Some(element) if element.makes_calls() => Some(tools + 1),
        Some(_) => Some(1),
        None if window.complete => Some(tools.min(1)),
        None => None,
    }
}

/// Moves the head towards the beginning. `window`: the whole path from the head back, newest first.
///
/// Fewer steps than asked are taken, and reported, when no more are left.
///
/// # Errors
/// [`RuleViolation::NoSteps`], [`RuleViolation::NothingToUndo`], or [`RuleViolation::NotOnPath`] for a message that is not there.
pub fn undo(view: &View, by: UndoBy, window: Window<'_>) -> Result<Walk<Event>, RuleViolation> {
    if matches!(by, UndoBy::Steps(0) | UndoBy::Turns(0)) {
        return Err(RuleViolation::NoSteps);
    }
    let (mut passed, mut steps, mut turns) = (0_usize, 0_u64, 0_u64);
    loop {
        let rest = window.elements.get(passed..).unwrap_or_default();
        let Some(next) = rest.first() else {
            if !window.complete {
                let is_far = match by {
                    UndoBy::Steps(wanted) => steps >= wanted,
                    UndoBy::Turns(wanted) => turns >= wanted,
                    UndoBy::To(_) => false,
                };
                let last = window.elements.last().filter(|_| is_far);
                let moved = last.and_then(|last| before_branching(view, last));
                return Ok(moved.map_or(Walk::More, |(to, depth)| {
                    Walk::Done(Event::Moved(Moved { to, depth, cause: MoveCause::Undo, steps }))
                }));
            }
            if matches!(by, UndoBy::To(seq) if seq != 0) {
                return Err(RuleViolation::NotOnPath);
            }
            break;
        };
        let done = match by {
            UndoBy::Steps(wanted) => steps >= wanted,
            UndoBy::Turns(wanted) => turns >= wanted,
            UndoBy::To(seq) => next.seq <= seq,
        };
        if done {
            if matches!(by, UndoBy::To(seq) if seq != next.seq) {
                return Err(RuleViolation::NotOnPath);
            }
            break;
        }
        let Some(length) = step_back(Window { elements: rest, complete: window.complete }) else {
            return Ok(Walk::More);
        };
        let step = rest.get(..length).unwrap_or_default();
        if matches!(by, UndoBy::To(seq) if step.iter().any(|element| element.seq == seq)) {
            break;
        }
        if step.iter().any(|element| element.is_user() || element.what == ElementKind::Clear) {
            turns += 1;
        }
        passed += length;
        steps += 1;
    }
    if steps == 0 {
        return Err(RuleViolation::NothingToUndo);
    }
    let (to, depth) = match window.elements.get(passed) {
        Some(element) => match depth_of(window, passed) {
            Walk::Done(depth) => (element.seq, depth),
            Walk::More => return Ok(Walk::More),
        },
        None => (0, 0),
    };
    debug_assert!(view.tree().is_on_path(to, view.head()), "undo stays on the path");
    Ok(Walk::Done(Event::Moved(Moved { to, depth, cause: MoveCause::Undo, steps })))
}

/// The place before a message that began a run, and the depth there: the tree knows it without a longer window.
fn before_branching(view: &View, message: &Element) -> Option<(u64, u64)> {
    let run = view.tree().run_of(message.seq).filter(|run| run.first == message.seq)?;
    matches!(message.what, ElementKind::Message { .. }).then_some((run.parent, message.depth.saturating_sub(1)))
}

/// The depth at an element of a window that goes back; a lost record has that of the element before it.
fn depth_of(window: Window<'_>, at: usize) -> Walk<u64> {
    let from = window.elements.get(at..).unwrap_or_default();
    match from.iter().find(|element| element.what != ElementKind::Lost) {
        Some(known) => Walk::Done(known.depth),
        None if window.complete => Walk::Done(0),
        None => Walk::More,
    }
}

/// Moves the head back towards where undo came from. `window`: the path from behind the head to the redo tip, oldest first.
///
/// # Errors
/// [`RuleViolation::NoSteps`] or [`RuleViolation::NothingToRedo`].
pub fn redo(view: &View, steps: u64, window: Window<'_>) -> Result<Walk<Event>, RuleViolation> {
    if steps == 0 {
        return Err(RuleViolation::NoSteps);
    }
    if view.redo_tip().is_none() {
        return Err(RuleViolation::NothingToRedo);
    }
    let (mut passed, mut taken) = (0_usize, 0_u64);
    while taken < steps {
        let rest = window.elements.get(passed..).unwrap_or_default();
        let Some(next) = rest.first() else {
            if window.complete {
                break;
            }
            return Ok(Walk::More);
        };
        let mut length = 1;
        if next.makes_calls() {
            let tools = rest.iter().skip(1).take_while(|element| element.is_tool()).count();
            if 1 + tools == rest.len() && !window.complete {
                return Ok(Walk::More);
            }
            let in_time = rest.iter().skip(1).take(tools).collect::<Vec<_>>();
            length += in_time.iter().rposition(|element| element.is_answer()).map_or(0, |at| at + 1);
        }
        passed += length;
        taken += 1;
    }
    let Some(last) = passed.checked_sub(1).and_then(|at| window.elements.get(at)) else {
        return Err(RuleViolation::NothingToRedo);
    };
    let walked = window.elements.get(..passed).unwrap_or_default();
    let known = walked.iter().rev().find(|element| element.what != ElementKind::Lost);
    let depth = known.map_or(view.depth(), |element| element.depth);
    Ok(Walk::Done(Event::Moved(Moved { to: last.seq, depth, cause: MoveCause::Redo, steps: taken })))
}

/// Moves the head to the end of a branch, where `depth` messages are visible. `None` when the head stands there already.
///
/// # Errors
/// [`RuleViolation::NoSuchBranch`].
pub fn checkout(view: &View, branch: u64, depth: u64) -> Result<Option<Event>, RuleViolation> {
    let branch = view.tree().branch(branch).ok_or(RuleViolation::NoSuchBranch { branch })?;
    if view.head() == branch.tip {
        return Ok(None);
    }
    Ok(Some(Event::Moved(Moved { to: branch.tip, depth, cause: MoveCause::Checkout, steps: 1 })))
}

/// Hides everything visible.
///
/// # Errors
/// [`RuleViolation::NothingToClear`].
pub fn clear(view: &View) -> Result<Event, RuleViolation> {
    if view.depth() == 0 {
        return Err(RuleViolation::NothingToClear);
    }
    Ok(Event::Cleared(Cleared { from: view.head(), depth: view.depth() }))
}

/// The place for a fork whose head is the element `head` (0: the beginning) with `depth` messages visible; `at` is the last record it
/// inherits, with its commit.
pub fn fork_point(view: &View, at: u64, commit: CommitHash, head: u64, depth: u64) -> ForkPoint {
    ForkPoint { parent: view.session(), at, commit, head, depth, owners: view.owners_up_to(at), last: None }
}

/// Changes words about the session; `None` when they are so already.
pub fn describe(view: &View, mut wish: Described) -> Option<Event> {
    let now = view.described();
    if let Some(tags) = &mut wish.tags {
        tags.sort();
        tags.dedup();
    }
    wish.title = wish.title.filter(|title| now.title.as_ref() != Some(title));
    wish.description = wish.description.filter(|text| now.description.as_ref() != Some(text));
    wish.tags = wish.tags.filter(|tags| now.tags.as_deref().unwrap_or_default() != tags.as_slice());
    (wish != Described::default()).then_some(Event::Described(wish))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actor::Actor,
        event::{Created, Origin, Stamp},
        identity::{LineageId, SessionId},
        moment::Moment,
    };

    struct Session {
        view: View,
        elements: Vec<(u64, Element)>,
    }

    /// A session in memory that keeps its elements with their parents, to hand windows to the rules.
    impl Session {
        fn new() -> Self {
            let created = Created {
                session: SessionId::from_bytes([1; 16]),
                lineage: LineageId::from_bytes([2; 16]),
                key: None,
                described: Described::default(),
                origin: Origin::default(),
                fork: None,
                source: None,
            };
            let view = View::begin(1, &created, &stamp(), CommitHash::ZERO, None).unwrap();
            Self { view, elements: Vec::new() }
        }

        fn apply(&mut self, event: Event) {
            let seq = self.view.version() + 1;
            if let Some(element) = Element::of(seq, &event) {
                self.elements.push((self.view.head(), element));
            }
            self.view.apply(seq, &event, &stamp(), CommitHash::ZERO).unwrap();
        }

        fn back(&self, mut at: u64) -> Vec<Element> {
            let mut path = Vec::new();
            while let Some((parent, element)) = self.elements.iter().find(|(_, element)| element.seq == at) {
                path.push(element.clone());
                at = *parent;
            }
            path
        }

        fn say(&mut self, message: Message) -> Result<(), RuleViolation> {
            let path = self.back(self.view.head());
            if let (OpenCalls::Unknown, Walk::Done(open)) =
                (self.view.open_calls(), open_calls(Window { elements: &path, complete: true }))
            {
                self.view.set_open_calls(open);
            }
            let id = MessageId::from_bytes([self.view.version() as u8; 16]);
            let event = append(&self.view, id, message, &CallsOnPath::default())?;
            self.apply(event);
            Ok(())
        }

        fn undo(&mut self, by: UndoBy) -> Result<u64, RuleViolation> {
            let path = self.back(self.view.head());
            for length in 0..=path.len() {
                let window = Window { elements: &path[..length], complete: length == path.len() };
                if let Walk::Done(event) = undo(&self.view, by, window)? {
                    self.apply(event.clone());
                    let Event::Moved(moved) = event else { panic!("undo moves") };
                    return Ok(moved.steps);
                }
            }
            panic!("a complete window is enough")
        }

        fn redo(&mut self, steps: u64) -> Result<u64, RuleViolation> {
            let tip = self.view.redo_tip().ok_or(RuleViolation::NothingToRedo)?;
            let mut forth = self.back(tip);
            forth.retain(|element| !self.back(self.view.head()).contains(element));
            forth.reverse();
            let Walk::Done(event) = redo(&self.view, steps, Window { elements: &forth, complete: true })? else {
                panic!("a complete window is enough")
            };
            self.apply(event.clone());
            let Event::Moved(moved) = event else { panic!("redo moves") };
            Ok(moved.steps)
        }
    }

    fn stamp() -> Stamp {
        Stamp { at: Moment::from_millis(1), actor: Actor::default() }
    }

    fn call(ids: &[&str]) -> Message {
        let mut message = Message::assistant("calling");
        for id in ids {
            message = message.with(MessagePart::tool_call(*id, "tool", "{}").unwrap());
        }
        message
    }

    fn with_calls() -> Session {
        let mut session = Session::new();
        session.say(Message::user("go")).unwrap();
        session.say(call(&["a", "b"])).unwrap();
        session.say(Message::tool_result("a", "1")).unwrap();
        session.say(Message::tool_result("b", "2")).unwrap();
        session.say(Message::assistant("done")).unwrap();
        session
    }

    #[test]
    fn an_undo_to_a_lost_record_looks_for_the_depth_behind_it() {
        let mut session = Session::new();
        session.say(Message::user("a")).unwrap();
        session.apply(Event::Lost);
        session.apply(Event::Lost);
        session.say(Message::user("b")).unwrap();
        let path = session.back(session.view.head());
        let undo = |elements, complete| undo(&session.view, UndoBy::Steps(1), Window { elements, complete }).unwrap();
        assert_eq!(undo(&path[..2], false), Walk::More);
        assert_eq!(undo(&path[..3], false), Walk::More);
        let moved = Moved { to: 4, depth: 1, cause: MoveCause::Undo, steps: 1 };
        assert_eq!(undo(&path, false), Walk::Done(Event::Moved(moved)));
    }

    #[test]
    fn a_message_that_began_a_branch_is_undone_by_a_look_at_itself() {
        let mut session = Session::new();
        let call = MessagePart::tool_call("c", "read", "{}").unwrap();
        session.say(Message::user("a")).unwrap();
        session.say(Message::assistant("b").with(call)).unwrap();
        session.say(Message::tool_result("c", "d")).unwrap();
        session.undo(UndoBy::Steps(1)).unwrap();
        session.say(Message::user("another way")).unwrap();
        let path = session.back(session.view.head());
        for by in [UndoBy::Steps(1), UndoBy::Turns(1)] {
            let whole = undo(&session.view, by, Window { elements: &path, complete: true }).unwrap();
            let one = undo(&session.view, by, Window { elements: &path[..1], complete: false }).unwrap();
            assert_eq!(one, whole);
            assert!(matches!(one, Walk::Done(Event::Moved(Moved { to: 2, depth: 1, steps: 1, .. }))));
        }
        // What one look does not tell is asked for.
        for by in [UndoBy::Steps(2), UndoBy::Turns(2), UndoBy::To(2)] {
            let one = undo(&session.view, by, Window { elements: &path[..1], complete: false }).unwrap();
            assert_eq!(one, Walk::More);
        }
        let nothing = undo(&session.view, UndoBy::Steps(1), Window { elements: &[], complete: false }).unwrap();
        assert_eq!(nothing, Walk::More);
    }

    #[test]
    fn a_step_takes_a_call_with_all_its_results() {
        let mut session = with_calls();
        assert_eq!(session.view.depth(), 5);
        assert_eq!(session.undo(UndoBy::Steps(1)), Ok(1));
        assert_eq!(session.view.depth(), 4);
        assert_eq!(session.undo(UndoBy::Steps(1)), Ok(1));
        assert_eq!(session.view.depth(), 1);
        assert_eq!(session.redo(1), Ok(1));
        assert_eq!(session.view.depth(), 4);
        assert_eq!(session.redo(5), Ok(1));
        assert_eq!((session.view.depth(), session.view.redo_tip()), (5, None));
    }

    #[test]
    fn undo_clamps_and_reports_and_then_has_nothing_left() {
        let mut session = with_calls();
        assert_eq!(session.undo(UndoBy::Steps(99)), Ok(3));
        assert_eq!((session.view.head(), session.view.depth()), (0, 0));
        assert_eq!(session.undo(UndoBy::Steps(1)), Err(RuleViolation::NothingToUndo));
        assert_eq!(session.redo(99), Ok(3));
        assert_eq!(session.redo(1), Err(RuleViolation::NothingToRedo));
    }

    #[test]
    fn a_move_of_no_steps_says_so() {
        let mut session = with_calls();
        assert_eq!(session.undo(UndoBy::Steps(0)), Err(RuleViolation::NoSteps));
        assert_eq!(session.undo(UndoBy::Turns(0)), Err(RuleViolation::NoSteps));
        session.undo(UndoBy::Steps(1)).unwrap();
        assert_eq!(session.redo(0), Err(RuleViolation::NoSteps));
    }

    #[test]
    fn redo_leads_to_where_the_row_of_undos_began_also_when_that_was_a_clear() {
        let mut session = with_calls();
        session.apply(clear(&session.view).unwrap());
        let cleared = session.view.head();
        assert_eq!(session.undo(UndoBy::Steps(3)), Ok(3));
        assert_eq!(session.view.depth(), 1);
        assert_eq!(session.redo(2), Ok(2));
        assert_eq!(session.view.depth(), 5, "all that was undone but the clear");
        assert_eq!(session.redo(99), Ok(1));
        assert_eq!((session.view.head(), session.view.depth()), (cleared, 0));
    }

    #[test]
    fn a_turn_goes_to_before_the_users_message() {
        let mut session = with_calls();
        session.say(Message::user("more")).unwrap();
        session.say(Message::assistant("sure")).unwrap();
        assert_eq!(session.undo(UndoBy::Turns(1)), Ok(2));
        assert_eq!(session.view.depth(), 5);
        assert_eq!(session.undo(UndoBy::Turns(7)), Ok(3));
        assert_eq!(session.view.depth(), 0);
    }

    #[test]
    fn undo_to_a_message_keeps_it_with_its_results() {
        let mut session = with_calls();
        assert_eq!(session.undo(UndoBy::To(3)), Ok(1));
        assert_eq!(session.view.depth(), 4, "the call keeps its results");
        assert_eq!(session.undo(UndoBy::To(2)), Ok(1));
        assert_eq!(session.view.depth(), 1);
        assert_eq!(session.undo(UndoBy::To(2)), Err(RuleViolation::NothingToUndo));
        assert_eq!(session.undo(UndoBy::To(77)), Err(RuleViolation::NotOnPath));
    }

    #[test]
    fn undo_to_a_message_of_another_branch_is_refused() {
        let mut session = with_calls();
        session.undo(UndoBy::Steps(1)).unwrap();
        session.say(Message::assistant("otherwise")).unwrap();
        let head = session.view.head();
        assert_eq!(session.undo(UndoBy::To(6)), Err(RuleViolation::NotOnPath));
        assert_eq!(session.view.head(), head);
    }

    #[test]
    fn a_new_message_ends_redo_and_words_do_not() {
        let mut session = with_calls();
        session.undo(UndoBy::Steps(1)).unwrap();
        let title = Described { title: Some("t".into()), ..Described::default() };
        let event = describe(&session.view, title.clone()).unwrap();
        session.apply(event);
        assert!(session.view.redo_tip().is_some());
        assert_eq!(describe(&session.view, title), None);
        session.say(Message::assistant("otherwise")).unwrap();
        assert_eq!(session.redo(1), Err(RuleViolation::NothingToRedo));
        assert_eq!(session.view.tree().branches().len(), 2);
    }

    #[test]
    fn a_clear_is_one_step() {
        let mut session = with_calls();
        session.apply(clear(&session.view).unwrap());
        assert_eq!(clear(&session.view), Err(RuleViolation::NothingToClear));
        assert_eq!(session.undo(UndoBy::Steps(1)), Ok(1));
        assert_eq!(session.view.depth(), 5);
        assert_eq!(session.redo(1), Ok(1));
        assert_eq!(session.view.depth(), 0);
    }

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
        let on_path = CallsOnPath { unanswered: vec!["a".into()], answered: vec!["b".into()] };
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
