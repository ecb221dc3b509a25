//! What the process to be killed says, line by line, and how a test reads it.
//!
//! Must not know: why it is said.

use std::{fmt, str::FromStr};

use sessions_domain::{CommitHash, MessageId, SessionId};
use sessions_ports::Durability;

/// One line. Fields are separated by spaces, so only the last of a line may hold any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The store of this number is open (0 where there is only one): what became of its index, and of its end.
    Opened(usize, String),
    /// Another process has the store of this number: its id, since when, and after how many milliseconds that was known.
    Locked(usize, u32, u64, String),
    /// An append was acknowledged.
    Acked(Ack),
    /// A session begins, with the number of whoever writes it.
    Made(u64, SessionId),
    /// A session was removed.
    Gone(SessionId),
    /// What a writer wanted was refused: why.
    Refused(u64, String),
    /// Something happened that must not happen.
    Wrong(String),
    /// All writers stand still.
    Still,
    /// A record as it was read: writer, and where its append begins.
    Record(u64, u64, Entry),
    /// Everything was done and the store is closed.
    Done,
}

/// An append that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Whose.
    pub writer: u64,
    /// Its first record.
    pub first: u64,
    /// Its last record.
    pub last: Entry,
    /// The level that was promised.
    pub level: Durability,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// Its message.
    pub id: MessageId,
    /// Its commit, which stands for all records before it as well.
    pub commit: CommitHash,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.seq, self.id, self.commit)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(store, how) => write!(f, "opened {store} {how}"),
            Self::Locked(store, pid, millis, since) => write!(f, "locked {store} {pid} {millis} {since}"),
            Self::Acked(Ack { writer, first, last, level }) => write!(f, "acked {writer} {first} {last} {level}"),
            Self::Made(writer, session) => write!(f, "made {writer} {session}"),
            Self::Gone(session) => write!(f, "gone {session}"),
            Self::Refused(writer, why) => write!(f, "refused {writer} {why}"),
            Self::Wrong(what) => write!(f, "wrong {what}"),
            Self::Still => f.write_str("still"),
            Self::Record(writer, first, entry) => write!(f, "record {writer} {first} {entry}"),
            Self::Done => f.write_str("done"),
        }
    }
}

/// The words of a line, one after the other.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn word(&mut self) -> &'a str {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        word
    }

    fn value<T: FromStr>(&mut self) -> Option<T> {
        self.word().parse().ok()
    }

    fn entry(&mut self) -> Option<Entry> {
        Some(Entry { seq: self.value()?, id: self.value()?, commit: self.value()? })
    }
}

impl Line {
    /// Reads a line without its end.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = Words(text);
        Some(match words.word() {
            "opened" => Self::Opened(words.value()?, words.0.to_owned()),
            "locked" => Self::Locked(words.value()?, words.value()?, words.value()?, words.0.to_owned()),
            "acked" => {
                let (writer, first, last) = (words.value()?, words.value()?, words.entry()?);
                Self::Acked(Ack { writer, first, last, level: level(words.word())? })
            }
            "made" => Self::Made(words.value()?, words.value()?),
            "gone" => Self::Gone(words.value()?),
            "refused" => Self::Refused(words.value()?, words.0.to_owned()),
            "wrong" => Self::Wrong(words.0.to_owned()),
            "still" => Self::Still,
            "record" => Self::Record(words.value()?, words.value()?, words.entry()?),
            "done" => Self::Done,
            _ => return None,
        })
    }
}

/// The level of a name.
pub fn level(name: &str) -> Option<Durability> {
    let all = [Durability::Volatile, Durability::Process, Durability::Disk];
    all.into_iter().find(|level| level.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let entry = Entry { seq: 9, id: MessageId::from_parts(5, 7), commit: CommitHash::from_bytes([0xab; 32]) };
        let lines = [
            Line::Opened(3, "index built anew (there was none)".to_owned()),
            Line::Locked(1, 4711, 900, "2026-01-02T03:04:05Z".to_owned()),
            Line::Acked(Ack { writer: 2, first: 7, last: entry, level: Durability::Process }),
            Line::Made(4, SessionId::from_parts(6, 8)),
            Line::Gone(SessionId::from_parts(6, 8)),
            Line::Refused(0, "no-space".to_owned()),
            Line::Wrong("this and that".to_owned()),
            Line::Still,
            Line::Record(2, 7, entry),
            Line::Done,
        ];
        for line in lines {
            let text = line.to_string();
            assert_eq!(Line::read(&text), Some(line));
            assert_eq!(Line::read(&text[..text.len() / 2]).filter(|_| text.starts_with("acked")), None);
        }
    }
}
