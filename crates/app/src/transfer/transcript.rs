//! What was read from one file, in our own words: a tree of messages, and all that is known beside it.
//!
//! **Invariant**: an entry's parent stands before it.
//!
//! Must not know: the format of the file, beyond its name.

use sessions_domain::{Message, Moment, ResidueLine};

use super::{format::Format, report::Report};

/// The longest title that is made of a text, in characters.
const TITLE_CHARS: usize = 80;

/// One file as a conversation.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The format it was in.
    pub format: Format,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// What it says about itself.
    pub facts: Facts,
    /// The places of the tree, each behind its parent.
    pub entries: Vec<Entry>,
    /// The end of the main path, as an index of `entries`.
    pub head: Option<usize>,
    /// The lines that became no message, in the file's order.
    pub residue: Vec<ResidueLine>,
    /// What had to be mended or set aside.
    pub report: Report,
}

impl Transcript {
    /// The entries from the beginning to the end of the main path, cleared ones included.
    pub fn main_path(&self) -> Vec<usize> {
        let mut path = Vec::new();
        let mut next = self.head;
        while let Some((at, entry)) = next.and_then(|at| Some((at, self.entries.get(at)?))) {
            path.push(at);
            next = entry.parent.filter(|parent| *parent < at);
        }
        path.reverse();
        path
    }
}

/// What a file says about its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The session's id.
    pub session: Option<String>,
    /// The sub-agent whose side chain the file holds.
    pub agent: Option<String>,
    /// The session that it was forked from, or that began it.
    pub parent: Option<String>,
    /// The title: what the person or the program called it, or the beginning of the first question.
    pub title: Option<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// The branch of the working directory's repository.
    pub git_branch: Option<String>,
    /// The commit that the repository stood at.
    pub git_commit: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The model that answered first.
    pub model: Option<String>,
    /// The version of the program that wrote it.
    pub version: Option<String>,
    /// The time of the first line that has one.
    pub created: Option<Moment>,
    /// The latest time.
    pub updated: Option<Moment>,
}

/// A place of the tree.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The lines it was made of.
    pub lines: Vec<SourceLine>,
    /// The entry it follows, as an index; `None`: the beginning.
    pub parent: Option<usize>,
    /// What it is.
    pub kind: EntryKind,
    /// When it was made.
    pub made_at: Option<Moment>,
    /// The provider's id of the message, which several lines may share.
    pub message_id: Option<String>,
    /// True when a sub-agent says it, beside the main conversation.
    pub is_sidechain: bool,
    /// True for what the program put in on its own.
    pub is_meta: bool,
    /// True for a summary that stands for all before it.
    pub is_compact_summary: bool,
}

/// A line of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// Its number, from 1.
    pub number: u64,
    /// Its id.
    pub uuid: Option<String>,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug)]
pub enum EntryKind {
    /// A message.
    Message(Box<Message>),
    /// A compaction: what stands before it is hidden.
    Cleared,
}

impl Entry {
    /// The message, where it is one.
    pub fn message(&self) -> Option<&Message> {
        match &self.kind {
            EntryKind::Message(message) => Some(message),
            EntryKind::Cleared => None,
        }
    }

    pub(super) fn first_line(&self) -> u64 {
        self.lines.first().map_or(0, |line| line.number)
    }

    pub(super) fn last_line(&self) -> u64 {
        self.lines.iter().map(|line| line.number).max().unwrap_or(0)
    }
}

/// A title made of a text: one line, without control characters, at most 80 characters.
pub(super) fn title_of(text: &str) -> Option<String> {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut title = String::new();
    for word in words {
        if !title.is_empty() {
            title.push(' ');
        }
        title.push_str(word);
        if title.len() > 4 * TITLE_CHARS {
            break;
        }
    }
    let title: String = title.chars().take(TITLE_CHARS).collect();
    let title = title.trim_end();
    (!title.is_empty()).then(|| title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_short_line() {
        assert_eq!(title_of(" a\n\tb\u{1b}[31m  c ").as_deref(), Some("a b [31m c"));
        assert_eq!(title_of(&"é".repeat(500)).unwrap().chars().count(), 80);
        assert_eq!(title_of(&"ab ".repeat(500)).unwrap().chars().count(), 80);
        assert_eq!(title_of(" \n"), None);
    }
}
