//! What a store has to remember of a session beside its records, and how a commit, a rewrite and a removal change it: the same for every store.
//!
//! A store that keeps one value for each session can keep this one, in whatever form it likes (it knows serde), and then writes only what
//! is its own: where records lie, and how a transaction is made.
//!
//! Must not know: any store, or how a feed of changes is kept.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sessions_domain::{CommitHash, Moment, SessionId};

use crate::{
    error::StoreError,
    log::{Commit, Digest, Head, Heir, Link, Removal, Rewrite, Row},
};

/// What is known of a session beside its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The session.
    pub session: SessionId,
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub version: u64,
    /// The commit of its last record.
    pub commit: CommitHash,
    /// When it was made.
    pub created: Moment,
    /// When its last record was appended.
    pub updated: Moment,
    /// Messages that are visible.
    pub messages: u64,
    /// The summary's words, once it has any.
    pub words: Option<Vec<u8>>,
    /// The host's key.
    pub key: Option<Digest>,
    /// What it inherits.
    pub links: Vec<Link>,
    /// Who inherits its own, and the last that they inherit.
    pub heirs: BTreeMap<SessionId, u64>,
    /// Whether it was removed. What is left of it then is for its heirs.
    pub removed: bool,
    /// The number of its last change in the feed of rows; 0: it never stood there.
    pub change: u64,
}

impl Standing {
    /// Checks a commit against what is known of its session: `before`. Keys, claims and what it inherits are to be looked up apart.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::AlreadyExists`], [`StoreError::Conflict`].
    pub fn check(before: Option<&Self>, commit: &Commit) -> Result<(), StoreError> {
        let head = before.map(Self::head).transpose()?;
        commit.check_tail(head.map(|head| (head.version, head.commit)))
    }

    /// Checks whether another session can inherit this.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when it was removed, and keeps less.
    pub fn check_link(&self, link: Link) -> Result<(), StoreError> {
        let is_kept = !self.removed || self.inherited() >= link.last;
        if is_kept { Ok(()) } else { Err(StoreError::Gone { session: self.session }) }
    }

    /// Checks a removal. False: the session was removed before, and there is nothing left to do.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub fn check_removal(&self, removal: &Removal) -> Result<bool, StoreError> {
        match removal.expected {
            Some(expected) if !self.removed && expected != self.version => {
                Err(StoreError::Conflict { expected, actual: self.version })
            }
            _ => Ok(!self.removed),
        }
    }

    /// What is known after a commit that was checked.
    pub fn after(before: Option<Self>, commit: &Commit) -> Self {
        let (first, last) = (commit.records.first(), commit.records.last());
        let first = first.map_or(0, |record| record.seq);
        let (updated, messages) = (commit.row.updated, commit.row.messages);
        let mut standing = before.unwrap_or_else(|| Self {
            session: commit.session,
            first,
            version: first,
            commit: CommitHash::ZERO,
            created: updated,
            updated,
            messages,
            words: None,
            key: commit.key,
            links: commit.links.clone(),
            heirs: BTreeMap::new(),
            removed: false,
            change: 0,
        });
        (standing.updated, standing.messages) = (updated, messages);
        if let Some(last) = last {
            (standing.version, standing.commit) = (last.seq, last.commit);
        }
        if let Some(words) = &commit.row.words {
            standing.words = Some(words.to_vec());
        }
        standing
    }

    /// Another session inherits this from here on.
    pub fn inherit(&mut self, heir: SessionId, link: Link) {
        let last = self.heirs.entry(heir).or_default();
        *last = link.last.max(*last);
    }

    /// It is removed from here on. Gives what it lets go of: whose records it inherited, and its key.
    pub fn bury(&mut self) -> (Vec<SessionId>, Option<Digest>) {
        (self.removed, self.words) = (true, None);
        let owners = std::mem::take(&mut self.links).into_iter().map(|link| link.owner).collect();
        (owners, self.key.take())
    }

    /// Checks a rewrite, but not whether replaced records stand for those that are there. Gives the number of the first record afterwards.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::Conflict`], [`StoreError::Malformed`].
    pub fn check_rewrite(&self, rewrite: &Rewrite) -> Result<u64, StoreError> {
        if self.removed {
            return rewrite.check_left(self.first, self.inherited()).map(|()| self.first);
        }
        if let Some(expected) = rewrite.expected.filter(|expected| *expected != self.version) {
            return Err(StoreError::Conflict { expected, actual: self.version });
        }
        if rewrite.words.is_some() && self.words.is_none() {
            return Err(StoreError::Malformed { what: "it gives words to a session without any" });
        }
        rewrite.check_log(self.head()?, &self.links)
    }

    /// It is rewritten from here on, as was checked: `first` is what that gave. Gives those whose heir it is no more.
    pub fn rewrite(&mut self, rewrite: &Rewrite, first: u64) -> Vec<SessionId> {
        self.first = first;
        if let Some(words) = &rewrite.words {
            self.words = Some(words.to_vec());
        }
        let unlinked = self.links.extract_if(.., |link| rewrite.unlink.contains(&link.owner));
        unlinked.map(|link| link.owner).collect()
    }

    /// The visible end of the log.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    pub fn head(&self) -> Result<Head, StoreError> {
        let head = Head { version: self.version, commit: self.commit, first: self.first };
        if self.removed { Err(StoreError::Gone { session: self.session }) } else { Ok(head) }
    }

    /// The last record that others inherit (0: none). A removed session keeps its records up to this one.
    pub fn inherited(&self) -> u64 {
        self.heirs.values().max().copied().unwrap_or(0)
    }

    /// Who inherits from it.
    pub fn heirs(&self) -> Vec<Heir> {
        self.heirs.iter().map(|(session, last)| Heir { session: *session, last: *last }).collect()
    }

    /// Its row in the list of sessions; `None` when it has no words, or was removed.
    pub fn row(&self) -> Option<Row> {
        let words = self.words.as_ref().filter(|_| !self.removed)?;
        Some(Row {
            session: self.session,
            version: self.version,
            created: self.created,
            updated: self.updated,
            messages: self.messages,
            words: Bytes::copy_from_slice(words),
        })
    }
}
