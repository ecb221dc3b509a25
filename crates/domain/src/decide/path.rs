//! A path as far as the rules need to know it: elements, windows of them, and the answer that a window is too short.
//!
//! Must not know: rules.

use crate::{event::Event, identity::MessageId, message::MessageRole};

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
            Event::Appended(appended) | Event::Begun(appended) => (
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

    pub(super) fn is_answer(&self) -> bool {
        matches!(&self.what, ElementKind::Message { role: MessageRole::Tool, late: false, .. })
    }

    pub(super) fn is_tool(&self) -> bool {
        matches!(&self.what, ElementKind::Message { role: MessageRole::Tool, .. })
    }

    pub(super) fn makes_calls(&self) -> bool {
        matches!(&self.what, ElementKind::Message { calls, .. } if !calls.is_empty())
    }

    pub(super) fn is_user(&self) -> bool {
        matches!(&self.what, ElementKind::Message { role: MessageRole::User, .. })
    }

    /// Whether a turn begins with it, as undo and redo count turns.
    pub(super) fn begins_turn(&self) -> bool {
        self.is_user() || self.what == ElementKind::Clear
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
