//! What an import did, line by line where something was wrong.
//!
//! Must not know: how the lines were read.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use sessions_domain::{SessionId, TokenUsage};

/// The account of one import. It serialises as the import report of the program, and tells apart lines that were mended, lines that
/// do not parse (`set_aside`), and lines of known types that are no messages (`kept`, a number for each type). Both kinds of lines
/// without a place are kept to the letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Messages, those of all branches and side chains included.
    pub messages: u64,
    /// Tool calls in them.
    pub tool_calls: u64,
    /// What was mended.
    pub repaired: Vec<Repaired>,
    /// Lines that could not be read as messages.
    pub set_aside: Vec<SetAside>,
    /// Lines of known types that have no place in a conversation.
    pub kept: BTreeMap<Cow<'static, str>, u64>,
    /// Tokens, once for each call of a model.
    pub usage: TokenUsage,
    /// Records that were lost before the file was written. They stay lost, and marked as such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostRecord>,
}

/// A record that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LostRecord {
    /// The session whose log lost it.
    pub session: SessionId,
    /// Its number.
    pub seq: u64,
}

/// Something that was mended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Repaired {
    /// The line, from 1.
    pub line: u64,
    /// What was wrong, and what was done.
    pub what: Cow<'static, str>,
}

/// A line that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SetAside {
    /// The line, from 1.
    pub line: u64,
    /// Why.
    pub why: Cow<'static, str>,
}

impl Report {
    pub(super) fn repaired(&mut self, line: u64, what: impl Into<Cow<'static, str>>) {
        self.repaired.push(Repaired { line, what: what.into() });
    }

    pub(super) fn set_aside(&mut self, line: u64, why: impl Into<Cow<'static, str>>) {
        self.set_aside.push(SetAside { line, why: why.into() });
    }

    pub(super) fn keep(&mut self, kind: &'static str) {
        *self.kept.entry(Cow::Borrowed(kind)).or_default() += 1;
    }
}
