//! What may happen: the rules that turn a wish into events, or refuse it.
//!
//! Every function is pure. Where a rule depends on messages that a view does not hold, the caller hands in a window of the path, and
//! a rule that needs a longer one says so ([`Walk::More`]).
//!
//! Must not know: how a window is read, or what becomes of the events.

mod compact;
#[cfg(test)]
mod ground;
mod life;
mod message;
mod moves;
mod path;
mod streaming;

pub use self::{
    compact::{compact, instruct, uncompact},
    life::{Draft, checkpoint, configure, pin, restore, set_state, set_status, trash},
    message::{CallsOnPath, append, check_message, edit, open_calls, placed},
    moves::{RedoBy, UndoBy, checkout, clear, redo, undo},
    path::{Element, ElementKind, Walk, Window},
    streaming::{begin, chunk, seal},
};
use crate::{
    chain::CommitHash,
    event::{Described, Event, ForkPoint, Inherited},
    json::MAX_JSON_DEPTH,
    life::SessionStatus,
    limits::LimitReached,
    view::View,
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
    #[error("nothing is left to undo: no message is visible, see the branches")]
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
    /// The session does not take messages in its state of life.
    #[error("the session is {status} and takes no messages; make it active first")]
    NotActive {
        /// Its state.
        status: SessionStatus,
    },
    /// This state of life does not follow that one.
    #[error("a session that is {from} cannot become {to}")]
    InvalidTransition {
        /// The state it is in.
        from: SessionStatus,
        /// The state that was asked for.
        to: SessionStatus,
    },
    /// A message is arriving.
    #[error("a message is still arriving; wait for it, or cancel it")]
    TurnOpen,
    /// The message that was arriving has ended, by whoever wrote next.
    #[error("the message that was arriving has ended meanwhile; what came of it is kept")]
    TurnEnded,
    /// A message with calls or results cannot be edited.
    #[error("a message with tool calls or results cannot be edited; fork before it, or undo to it")]
    NotEditable,
    /// A checkpoint's name cannot be one.
    #[error("a checkpoint's name has 1 to 200 characters without control characters")]
    InvalidName,
    /// There is no checkpoint of this name.
    #[error("there is no checkpoint of this name; list the checkpoints to see their names")]
    NoSuchCheckpoint,
    /// The conversation was compacted, or moved, by somebody else meanwhile.
    #[error(
        "the conversation was compacted or moved otherwise meanwhile; nothing was changed, look again and decide anew"
    )]
    CompactionOutdated,
    /// No compaction applies.
    #[error("the conversation is not compacted here; there is nothing to take away")]
    NotCompacted,
    /// A limit is reached.
    #[error(transparent)]
    LimitReached(#[from] LimitReached),
}

/// Whether the conversation may go on: a session takes messages and moves while it is active and no message is arriving.
///
/// # Errors
/// [`RuleViolation::NotActive`] or [`RuleViolation::TurnOpen`].
pub fn check_open(view: &View) -> Result<(), RuleViolation> {
    match view.status() {
        SessionStatus::Active if view.stream().is_some() => Err(RuleViolation::TurnOpen),
        SessionStatus::Active => Ok(()),
        status => Err(RuleViolation::NotActive { status }),
    }
}

/// The place for a fork whose head is the element `head` (0: the beginning) with `depth` messages visible; `at` is the last record it
/// inherits, with its commit.
pub fn fork_point(view: &View, at: u64, commit: CommitHash, head: u64, depth: u64) -> ForkPoint {
    let inherits = inherited(view, at);
    ForkPoint { parent: view.session(), at, commit, head, depth, owners: view.owners_up_to(at), last: None, inherits }
}

/// What a fork at a record has from the start beside messages.
pub fn inherited(view: &View, at: u64) -> Inherited {
    let pins = view.pins().iter().filter(|seq| **seq <= at).copied().collect();
    Inherited { pins, compactions: view.compactions().up_to(at) }
}

/// Changes words about the session; `None` when they are so already.
pub fn describe(view: &View, mut wish: Described) -> Option<Event> {
    let now = view.described();
    if let Some(tags) = &mut wish.tags {
        tags.sort();
        tags.dedup();
    }
    // One that is empty is none.
    wish.title = wish.title.filter(|title| now.title.as_deref().unwrap_or_default() != title);
    wish.description = wish.description.filter(|text| now.description.as_deref().unwrap_or_default() != text);
    wish.tags = wish.tags.filter(|tags| now.tags.as_deref().unwrap_or_default() != tags.as_slice());
    (wish != Described::default()).then_some(Event::Described(wish))
}
