//! What is the same for every store: which commits and rewrites none takes, and where a page of records ends.
//!
//! A store need not use this. It is here so that whoever writes one writes only what is the store's own.
//!
//! Must not know: any store.

use bytes::Bytes;
use sessions_domain::{CommitHash, Kind};

use crate::{
    error::StoreError,
    log::{Commit, Head, KindFilter, Link, Page, ReadRange, Record, Rewrite},
};

impl Commit {
    /// What is wrong with it, whatever the store holds. Gives the number of its last record.
    ///
    /// # Errors
    /// [`StoreError::Malformed`]; [`StoreError::TooLarge`] when payloads, words and snapshot have more than `max` bytes together.
    pub fn check(&self, max: u64) -> Result<u64, StoreError> {
        let malformed = |what| Err(StoreError::Malformed { what });
        let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else {
            return malformed("it has no records; give at least one");
        };
        match self.expected.version() {
            None if first.seq == 0 => return malformed("records are numbered from 1"),
            None => {}
            Some(0) => return malformed("version 0 is no stream; expect that instead"),
            Some(version) if version.checked_add(1) != Some(first.seq) => {
                return malformed("its first record does not follow the version it expects");
            }
            Some(_) if self.key.is_some() => return malformed("a key comes with a session's first commit only"),
            Some(_) if !self.links.is_empty() => {
                return malformed("what a session inherits comes with its first commit only");
            }
            Some(_) => {}
        }
        if self.records.iter().zip(self.records.iter().skip(1)).any(|(a, b)| a.seq.checked_add(1) != Some(b.seq)) {
            return malformed("its records are not numbered without gaps");
        }
        if self.links.iter().any(|link| link.owner == self.session) {
            return malformed("a session inherits nothing from itself");
        }
        let count = self.records.len();
        if self.claims.iter().any(|claim| usize::try_from(claim.offset).is_ok_and(|offset| offset >= count)) {
            return malformed("a claim stands for a record it does not have");
        }
        let claimed = |at: usize, key| self.claims.iter().skip(at + 1).any(|claim| claim.key == key);
        if self.claims.iter().enumerate().any(|(at, claim)| claimed(at, claim.key)) {
            return malformed("it claims an idempotency key twice");
        }
        let optional = [&self.snapshot, &self.row.words].into_iter().flatten().map(Bytes::len);
        let bytes = self.records.iter().map(|record| record.payload.len()).chain(optional).map(|len| len as u64).sum();
        if bytes > max { Err(StoreError::TooLarge { bytes, max }) } else { Ok(last.seq) }
    }

    /// Whether it goes on from a log that ends like this, queued commits included; `None`: there is no such session.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::Conflict`].
    pub fn check_tail(&self, tail: Option<(u64, CommitHash)>) -> Result<(), StoreError> {
        match (self.expected.version(), tail) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(StoreError::AlreadyExists { session: self.session }),
            (Some(_), Some((version, commit))) if self.expected.is_tail(version, commit) => Ok(()),
            (Some(expected), tail) => {
                Err(StoreError::Conflict { expected, actual: tail.map_or(0, |(version, _)| version) })
            }
        }
    }
}

impl Rewrite {
    /// What is wrong with it, whatever the store holds.
    ///
    /// # Errors
    /// [`StoreError::Malformed`]; [`StoreError::TooLarge`] when payloads and words have more than `max` bytes together.
    pub fn check(&self, max: u64) -> Result<(), StoreError> {
        if self.records.is_empty() && self.words.is_none() && self.unlink.is_empty() {
            return Err(StoreError::Malformed { what: "it rewrites nothing; give records, words or owners to unlink" });
        }
        let ascends = self.records.iter().zip(self.records.iter().skip(1)).all(|(one, next)| one.seq < next.seq);
        if !ascends || self.records.first().is_some_and(|record| record.seq == 0) {
            return Err(StoreError::Malformed { what: "its records do not ascend from 1" });
        }
        let payloads = self.records.iter().map(|record| &record.payload);
        let bytes = payloads.chain(&self.words).map(|bytes| bytes.len() as u64).sum();
        if bytes > max { Err(StoreError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    /// Whether a log with this visible head, and which inherits this, takes it. Gives the number of its first record afterwards. That replaced records
    /// stand for those that are there is checked apart, by [`Record::stands_for`].
    ///
    /// # Errors
    /// [`StoreError::Malformed`].
    pub fn check_log(&self, head: Head, links: &[Link]) -> Result<u64, StoreError> {
        if self.records.last().is_some_and(|record| record.seq > head.version) {
            return Err(StoreError::Malformed { what: "it rewrites a record that is not there" });
        }
        let adopted = self.records.partition_point(|record| record.seq < head.first);
        let numbers = self.records.iter().take(adopted).map(|record| record.seq);
        let first = head.first.saturating_sub(adopted as u64);
        if !numbers.eq(first..head.first) {
            return Err(StoreError::Malformed { what: "its records do not reach up to the log's first without gaps" });
        }
        let reaches = |link: &Link| {
            let others = links.iter().map(|other| other.last).filter(|last| *last < link.last);
            first <= others.max().unwrap_or(0).saturating_add(1)
        };
        if links.iter().any(|link| self.unlink.contains(&link.owner) && !reaches(link)) {
            return Err(StoreError::Malformed {
                what: "the log has not yet all that it inherited from who is unlinked",
            });
        }
        Ok(first)
    }

    /// Whether it can be done with a session that was removed: other payloads for records from `first` to `kept`, which others inherit.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    pub fn check_left(&self, first: u64, kept: u64) -> Result<(), StoreError> {
        let is_left = self.records.iter().all(|record| (first..=kept).contains(&record.seq));
        if is_left && !self.records.is_empty() && self.words.is_none() && self.unlink.is_empty() {
            Ok(())
        } else {
            Err(StoreError::Gone { session: self.session })
        }
    }
}

impl Record {
    /// Checks that it says nothing else than a record that is there, as far as a store sees that.
    ///
    /// # Errors
    /// [`StoreError::Malformed`].
    pub fn stands_for(&self, kind: Kind, label: u64, commit: CommitHash) -> Result<(), StoreError> {
        if (self.kind, self.label, self.commit) == (kind, label, commit) {
            Ok(())
        } else {
            Err(StoreError::Malformed { what: "a record has another kind, label or commit than the one it stands for" })
        }
    }
}

impl ReadRange {
    /// The page of it, out of the log's records in its order. Those outside its numbers and kinds are passed over.
    ///
    /// # Errors
    /// The first of `records`.
    pub fn page<E>(&self, records: impl IntoIterator<Item = Result<Record, E>>) -> Result<Page, E> {
        let (mut page, mut bytes) = (Vec::new(), 0_usize);
        for record in records {
            let record = record?;
            let filtered = self.kinds == KindFilter::Elements && !record.kind.is_element();
            if filtered || record.seq < self.from || record.seq > self.to {
                continue;
            }
            bytes = bytes.saturating_add(record.payload.len());
            if page.len() >= self.max_records || (bytes > self.max_bytes && !page.is_empty()) {
                return Ok(Page { records: page, next: Some(record.seq) });
            }
            page.push(record);
        }
        Ok(Page { records: page, next: None })
    }
}
