//! One session of a log as far as it has been checked, and what is known of its records that are missing.
//!
//! Must not know: other sessions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use sessions_domain::{CommitHash, Event, Kind, LineageId, Moment, SessionId, Stamp, View, branches::Tree};
use sessions_ports::{Digest, Link};

use super::{
    checking::{Missing, Repaired},
    index::CoreRow,
    stood_for::BesideFirst,
};

/// A number without a whole record.
pub(super) struct Gap {
    pub(super) before: CommitHash,
    pub(super) commit: Option<CommitHash>,
    pub(super) kind: Option<Kind>,
    /// True when a finding has told of it already.
    pub(super) is_told: bool,
}

/// What the index remembers of a session.
pub(super) struct Recalled {
    pub(super) row: CoreRow,
    pub(super) words: Option<Bytes>,
    pub(super) key: Option<Digest>,
    pub(super) links: Vec<Link>,
}

/// One session as far as it has been checked.
pub(super) struct Checked {
    pub(super) lineage: Option<LineageId>,
    pub(super) view: Option<View>,
    pub(super) first: u64,
    pub(super) commits: Vec<CommitHash>,
    /// Numbers below the first of records that it adopted.
    pub(super) adopted: BTreeSet<u64>,
    /// Numbers without a whole record, until a repair's record stands for them.
    pub(super) missing: BTreeMap<u64, Gap>,
    /// Numbers whose commits are not known, repaired or not.
    pub(super) lost: BTreeSet<u64>,
    /// Some of it was lost, needed or not.
    pub(super) has_gaps: bool,
    /// Numbers that a record stands for which says that they are lost.
    pub(super) marked: BTreeSet<u64>,
    pub(super) marked_at: i64,
    /// The stamp of the first record that could be read.
    pub(super) stamp: Option<Stamp>,
    /// Without a beginning: where the head stood before the first record that tells (`None`: at the last element), and with which depth.
    pub(super) stood: Option<(Option<u64>, u64)>,
    /// What it inherits, where a repair wrote its beginning anew.
    pub(super) inherited: Option<Tree>,
    pub(super) remembered: Option<Recalled>,
}

/// The stamp of a record of which nothing is known.
pub(super) fn nobody() -> Stamp {
    Stamp { at: Moment::default(), actor: sessions_domain::Actor::default() }
}

impl Gap {
    /// A record whose own commit is known.
    pub(super) fn of(commit: CommitHash) -> Self {
        Self { before: CommitHash::ZERO, commit: Some(commit), kind: None, is_told: true }
    }
}

impl Recalled {
    /// What stood with the session's first record, and stands nowhere else where that was sealed anew and its frames are lost.
    fn beside_first(&self) -> BesideFirst {
        BesideFirst { created: self.row.created, key: self.key, links: self.links.clone(), words: None }
    }
}

impl Checked {
    /// A session whose first record has this number.
    pub(super) fn from(first: u64) -> Self {
        Self {
            lineage: None,
            view: None,
            first,
            commits: Vec::new(),
            adopted: BTreeSet::new(),
            missing: BTreeMap::new(),
            lost: BTreeSet::new(),
            has_gaps: false,
            marked: BTreeSet::new(),
            marked_at: 0,
            stamp: None,
            stood: None,
            inherited: None,
            remembered: None,
        }
    }

    /// A repair stands for a record.
    pub(super) fn mark(&mut self, seq: u64, repaired: &Repaired) {
        self.marked.insert(seq);
        self.marked_at = self.marked_at.max(repaired.at);
    }

    /// Adopted ones that are gone, `lowest` being the first that there was.
    pub(super) fn miss_adopted(
        &mut self,
        lowest: u64,
        repairs: &HashMap<(SessionId, u64), Repaired>,
        session: SessionId,
    ) {
        let lowest = self.adopted.first().map_or(lowest, |first| lowest.min(*first));
        for seq in (lowest..self.first).filter(|seq| !self.adopted.contains(seq)).collect::<Vec<_>>() {
            match repairs.get(&(session, seq)) {
                Some(repaired) => self.mark(seq, repaired),
                None => {
                    let before = CommitHash::ZERO;
                    let gap = Gap { before, commit: None, kind: None, is_told: false };
                    self.missing.entry(seq).or_insert(gap);
                }
            }
        }
    }

    /// Whether no record of it is lost.
    pub(super) fn is_complete(&self) -> bool {
        !self.has_gaps && self.missing.is_empty() && self.marked.is_empty()
    }

    /// Whether a repair has marked each of its records as lost.
    pub(super) fn is_all_lost(&self) -> bool {
        self.adopted.is_empty() && (self.first..self.next()).all(|seq| self.marked.contains(&seq))
    }

    pub(super) fn next(&self) -> u64 {
        self.first + self.commits.len() as u64
    }

    /// Goes on behind a record that is missing, with what a repair put in its place if one did. `known`: what is known of it.
    pub(super) fn skip(
        &mut self,
        session: SessionId,
        seq: u64,
        known: Option<Gap>,
        repairs: &HashMap<(SessionId, u64), Repaired>,
    ) {
        let before = self.commits.last().copied().unwrap_or(CommitHash::ZERO);
        let repaired = repairs.get(&(session, seq));
        let unknown = before.after_lost(seq);
        let commit = match repaired {
            Some(repaired) => {
                self.mark(seq, repaired);
                repaired.commit
            }
            None => {
                let none = Gap { before, commit: None, kind: None, is_told: false };
                let gap = Gap { before, ..known.unwrap_or(none) };
                let commit = gap.commit.unwrap_or(unknown);
                self.missing.insert(seq, gap);
                commit
            }
        };
        let created = repaired.and_then(|repaired| repaired.created.as_ref());
        if commit == unknown || created.is_some() {
            self.lost.insert(seq);
        }
        self.commits.push(commit);
        if self.view.as_ref().is_some_and(|view| view.session() != session) {
            // The session's own beginning may be what is lost, in what it had made its own; whoever follows it is chained in a lineage of its own.
            self.lineage = None;
        }
        if let Some((created, stamp)) = created {
            // The lineage stays unknown: whole records of the session are chained with the one that was lost.
            self.view = View::begin(seq, created, stamp, commit, self.inherited.as_ref()).ok();
        } else if let Some(view) = &mut self.view {
            // A lost record can follow anything.
            let stamp = Stamp { at: view.updated(), ..nobody() };
            let _ = view.apply(seq, &Event::Lost, &stamp, commit);
        }
    }

    /// Everything that is known of a missing record.
    pub(super) fn tell(&self, session: SessionId, seq: u64, gap: &Gap, kind: Option<Kind>) -> Missing {
        let begins = seq == self.first && self.view.is_none();
        let is_end = seq + 1 == self.next();
        let recalled = self.remembered.as_ref();
        let row = recalled.map(|recalled| &recalled.row);
        let nothing_is_left = self.missing.len() == self.commits.len() + self.adopted.len();
        let made = row.map(|row| Stamp { at: Moment::from_millis(row.created), ..nobody() });
        let beginning = begins.then(|| self.stamp.clone().or(made).unwrap_or_else(nobody));
        Missing {
            session,
            seq,
            before: gap.before,
            commit: gap.commit.filter(|_| !begins),
            kind: gap.kind.or(kind),
            beginning,
            // Words that were changed in a record that is lost would be forgotten with the index.
            words: recalled
                .and_then(|recalled| recalled.words.clone())
                .filter(|_| begins || (is_end && row.is_some_and(|row| row.version == seq))),
            key: recalled.and_then(|recalled| recalled.key).filter(|_| begins),
            fork: None,
            updated: row.filter(|_| begins && nothing_is_left).map_or(0, |row| row.updated),
            beside: recalled.filter(|_| begins || is_end).map(Recalled::beside_first),
        }
    }

    /// The commit of a record, where it is known.
    pub(super) fn commit_at(&self, seq: u64, sessions: &HashMap<SessionId, Checked>) -> Option<CommitHash> {
        if self.lost.contains(&seq) {
            return None;
        }
        if seq >= self.first {
            return self.commits.get(usize::try_from(seq - self.first).ok()?).copied();
        }
        let owner = self.view.as_ref()?.owner_of(seq);
        let owner = sessions.get(&owner).filter(|owner| owner.first < self.first && !owner.lost.contains(&seq))?;
        owner.commits.get(usize::try_from(seq.checked_sub(owner.first)?).ok()?).copied()
    }
}
