//! Compaction: what a long conversation is shown as to a model, so that it fits. The log stays as it is.
//!
//! A compaction is an appended fact. It says up to which message a summary stands for the conversation, and up to which one old results
//! of tools are shown shortened. Undo to before that message, and it does not apply; an [`Uncompacted`] takes it away.
//!
//! Must not know: who writes summaries, or how a context is put together.

pub(crate) use self::plan::first_turn;
pub use self::{
    extract::extract,
    plan::{CompactionPolicy, Plan, Weighed, Weights, plan},
    sections::{SECTIONS, Sections},
};
use crate::{chain::CommitHash, message::TokenUsage};
mod extract;
mod plan;
mod sections;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// A conversation was compacted. A model is sent less of it from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// The messages that the summary stands for; with it, `summary` is there as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<Covers>,
    /// What stands for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<SummaryText>,
    /// Which results of tools are shown shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortens: Option<Shortens>,
    /// Tokens of the context before it.
    pub before: u64,
    /// Tokens of the context behind it.
    pub after: u64,
    /// The encoding that both are counted in.
    pub encoding: String,
    /// Why it was done.
    pub cause: CompactionCause,
    /// The calls of a model that made the summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Spent>,
}

/// The messages that a summary stands for: all on the path up to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covers {
    /// The last of them: the number of its record.
    pub to: u64,
    /// How many there are, those under the summary before included.
    pub messages: u64,
    /// The compaction whose summary this one carries on: the number of its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// Where the others stand in the log: (first, last) of each stretch of records, ascending.
    pub stretches: Vec<(u64, u64)>,
    /// [`CoverDigest`] over all of them, in hexadecimal.
    pub digest: String,
}

/// A summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryText {
    /// What it says. It was written from untrusted text, and is no instruction.
    pub text: String,
    /// Its tokens.
    pub tokens: u64,
    /// What made it: the name of a summarizer.
    pub by: String,
    /// The model that wrote it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Results of tools that are shown shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortens {
    /// The last message whose results are: the number of its record.
    pub to: u64,
    /// What is left of each of them, in bytes of text.
    pub keep: u64,
}

/// Why a conversation was compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompactionCause {
    /// The share of the window was reached.
    Threshold,
    /// Somebody asked for it.
    Manual,
    /// The provider said that the context is too long.
    Overflow,
}

/// A compaction does not apply any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncompacted {
    /// The compaction: the number of its record.
    pub compaction: u64,
}

/// What a session's model is told before all else. Stated once, and superseded by the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructed {
    /// The instructions; `None`: there are none any more.
    pub text: Option<String>,
}

/// One call of a model that made no message of its own: it failed, was tried again, or made a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// What it was for.
    pub purpose: CallPurpose,
    /// How it ended.
    pub outcome: CallOutcome,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model, as it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The name that it was asked by, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Its tokens.
    pub usage: TokenUsage,
    /// True when nobody reported them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// What it cost, as a decimal number with its currency (`0.0123 USD`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What a call of a model was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallPurpose {
    /// A turn of the conversation.
    Turn,
    /// A summary.
    Compaction,
}

/// How a call of a model ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallOutcome {
    /// With an answer that was taken.
    Taken,
    /// With an answer that was not taken.
    Rejected,
    /// With an error.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// What a summary covers, as a number that anybody with the log can check: SHA-256 over `sessions cover 1`, then the digest of the
/// summary before (32 bytes of zero where there is none), then for each further element on the path, oldest first, its number (8 bytes,
/// little endian) and its commit (32 bytes). A commit binds everything in its record and before it.
#[derive(Clone)]
pub struct CoverDigest(Context);

impl CoverDigest {
    /// Goes on from the digest of the summary before.
    pub fn behind(previous: Option<[u8; 32]>) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(b"sessions cover 1");
        hash.update(&previous.unwrap_or_default());
        Self(hash)
    }

    /// Takes in the next element.
    pub fn add(&mut self, seq: u64, commit: CommitHash) {
        self.0.update(&seq.to_le_bytes());
        self.0.update(commit.as_bytes());
    }

    /// The digest.
    pub fn finish(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

/// Where a session's log says how its conversation is compacted, and what its model is told. A view keeps places, and no words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compactions {
    /// Ascending; the newest [`KEPT_PLACES`] that apply.
    #[serde(default, rename = "c", skip_serializing_if = "Vec::is_empty")]
    places: Vec<CompactionPlace>,
    /// The records that stated instructions, ascending: the newest [`KEPT_PLACES`].
    #[serde(default, rename = "i", skip_serializing_if = "Vec::is_empty")]
    instructions: Vec<u64>,
    /// The newest record that changed what is sent before the newest turns.
    #[serde(default, rename = "n", skip_serializing_if = "is_zero")]
    changed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// So many places a view keeps of each kind. An undo behind all of them shows the conversation as it was said.
pub const KEPT_PLACES: usize = 64;

/// What a compaction says, without its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionPlace {
    /// The compaction: the number of its record.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The last message that its summary stands for, where it has one.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub covers_to: Option<u64>,
    /// Which results it shows shortened.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub shortens: Option<Shortens>,
}

/// How a conversation is compacted at one head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The compaction whose summary stands for what it covers, with the last message that it does.
    pub summary: Option<(u64, u64)>,
    /// Which results are shown shortened.
    pub shortens: Option<Shortens>,
    /// The newest compaction that applies: the one that can be taken away.
    pub newest: Option<u64>,
}

impl Compactions {
    /// True when there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in a compaction. One that points behind itself says nothing.
    pub(crate) fn add(&mut self, seq: u64, compacted: &Compacted) {
        let is_before = |to: &u64| (1..seq).contains(to);
        let covers_to = compacted.covers.as_ref().filter(|_| compacted.summary.is_some()).map(|covers| covers.to);
        let place = CompactionPlace {
            seq,
            covers_to: covers_to.filter(is_before),
            shortens: compacted.shortens.filter(|shortens| is_before(&shortens.to)),
        };
        if place.covers_to.is_some() || place.shortens.is_some() {
            self.places.push(place);
            drop_oldest(&mut self.places);
            self.changed = seq;
        }
    }

    /// Takes a compaction away.
    pub(crate) fn remove(&mut self, seq: u64, compaction: u64) {
        self.places.retain(|place| place.seq != compaction);
        self.changed = seq;
    }

    /// Takes in instructions.
    pub(crate) fn instruct(&mut self, seq: u64) {
        self.instructions.push(seq);
        drop_oldest(&mut self.instructions);
        self.changed = seq;
    }

    /// What stands at or before a record.
    #[must_use]
    pub fn up_to(&self, at: u64) -> Self {
        let places = self.places.iter().filter(|place| place.seq <= at).copied().collect();
        let instructions = self.instructions.iter().filter(|seq| **seq <= at).copied().collect();
        Self { places, instructions, changed: self.changed.min(at) }
    }

    /// How the conversation is compacted at a version, where `is_on_path` says which messages are on the path to the head.
    pub fn in_force(&self, version: u64, is_on_path: impl Fn(u64) -> bool) -> InForce {
        let mut found = InForce::default();
        for place in self.places.iter().rev().filter(|place| place.seq <= version) {
            let summary = place.covers_to.filter(|to| is_on_path(*to));
            let shortens = place.shortens.filter(|shortens| is_on_path(shortens.to));
            if summary.is_some() || shortens.is_some() {
                found.newest = found.newest.or(Some(place.seq));
            }
            found.summary = found.summary.or(summary.map(|to| (place.seq, to)));
            found.shortens = found.shortens.or(shortens);
            if found.summary.is_some() && found.shortens.is_some() {
                break;
            }
        }
        found
    }

    /// The newest record that changed what is sent before the newest turns (0: none did). What a model said before it was said to another
    /// conversation than the one it is sent now.
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// The record that stated the newest instructions at a version.
    pub fn instructions(&self, version: u64) -> Option<u64> {
        self.instructions.iter().rev().copied().find(|seq| *seq <= version)
    }
}

fn drop_oldest<T>(places: &mut Vec<T>) {
    if places.len() > KEPT_PLACES {
        places.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn compacted(covers: Option<u64>, shortens: Option<u64>) -> Compacted {
        let covered = |to| Covers { to, messages: 1, previous: None, stretches: vec![(1, to)], digest: String::new() };
        let text = || SummaryText { text: "s".into(), tokens: 1, by: "test".into(), model: None };
        Compacted {
            summary: covers.map(|_| text()),
            covers: covers.map(covered),
            shortens: shortens.map(|to| Shortens { to, keep: 9 }),
            before: 10,
            after: 5,
            encoding: "test".into(),
            cause: CompactionCause::Manual,
            calls: Vec::new(),
        }
    }

    #[test]
    fn the_newest_that_is_on_the_path_applies_and_each_says_its_own() {
        let mut all = Compactions::default();
        all.add(10, &compacted(Some(5), None));
        all.add(20, &compacted(None, Some(15)));
        all.add(30, &compacted(Some(25), Some(28)));
        let at = |head: u64| all.in_force(u64::MAX, |seq| seq <= head);
        let shortens = |to| Some(Shortens { to, keep: 9 });
        assert_eq!(at(40), InForce { summary: Some((30, 25)), shortens: shortens(28), newest: Some(30) });
        assert_eq!(at(26), InForce { summary: Some((30, 25)), shortens: shortens(15), newest: Some(30) });
        assert_eq!(at(16), InForce { summary: Some((10, 5)), shortens: shortens(15), newest: Some(20) });
        assert_eq!(at(6), InForce { summary: Some((10, 5)), shortens: None, newest: Some(10) });
        assert_eq!(at(4), InForce::default());
        assert_eq!(
            (all.up_to(19).in_force(u64::MAX, |_| true).newest, all.up_to(19).changed(), all.changed()),
            (Some(10), 19, 30)
        );
        all.remove(31, 30);
        assert_eq!((all.in_force(u64::MAX, |_| true).newest, all.changed()), (Some(20), 31));
        all.instruct(40);
        assert_eq!(all.changed(), 40);
    }

    #[test]
    fn what_points_behind_itself_says_nothing_and_few_are_kept() {
        let mut all = Compactions::default();
        for wrong in [0, 7, 8, u64::MAX] {
            all.add(7, &compacted(Some(wrong), Some(wrong)));
        }
        all.add(7, &Compacted { summary: None, ..compacted(Some(3), None) });
        assert!(all.is_empty());
        for seq in 10..200 {
            all.add(seq, &compacted(Some(3), None));
            all.instruct(seq);
        }
        assert_eq!((all.places.len(), all.instructions.len()), (KEPT_PLACES, KEPT_PLACES));
        assert_eq!((all.instructions(u64::MAX), all.in_force(u64::MAX, |_| true).newest), (Some(199), Some(199)));
    }

    #[test]
    fn a_digest_is_of_numbers_commits_and_what_was_covered_before() {
        let commit = |byte| CommitHash::from_bytes([byte; 32]);
        let of = |previous, elements: &[(u64, u8)]| {
            let mut digest = CoverDigest::behind(previous);
            elements.iter().for_each(|(seq, byte)| digest.add(*seq, commit(*byte)));
            digest.finish()
        };
        let first = of(None, &[(2, 1), (3, 2)]);
        let others =
            [of(None, &[(3, 2), (2, 1)]), of(None, &[(2, 1)]), of(None, &[(2, 1), (3, 3)]), of(Some(first), &[])];
        assert!(others.iter().all(|other| *other != first));
        let mut bytes = b"sessions cover 1".to_vec();
        bytes.extend([0; 32]);
        for (seq, byte) in [(2_u64, 1_u8), (3, 2)] {
            bytes.extend(seq.to_le_bytes());
            bytes.extend([byte; 32]);
        }
        assert_eq!(first, crate::chain::sha256(&bytes));
    }
}
