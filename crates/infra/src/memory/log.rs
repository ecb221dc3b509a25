//! One session's log in memory, and what is left of it when it was removed.
//!
//! Must not know: other sessions.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
};

use bytes::Bytes;
use sessions_domain::Moment;
use sessions_ports::{Digest, Head, Link, Order, Page, ReadRange, Record, StoreError, StoredClaim};

/// One session. **Invariant**: records are numbered from `first` without gaps, and there is at least one, unless it was removed.
pub(super) struct Log {
    pub(super) first: u64,
    pub(super) records: Vec<Record>,
    pub(super) labels: BTreeSet<(u64, u64)>,
    /// What it inherits, and the key it holds.
    pub(super) links: Vec<Link>,
    pub(super) key: Option<Digest>,
    pub(super) claims: HashMap<Digest, StoredClaim>,
    pub(super) snapshot: Option<Bytes>,
    pub(super) created: Moment,
    pub(super) updated: Moment,
    pub(super) messages: u64,
    pub(super) words: Option<Bytes>,
    pub(super) change: u64,
}

impl Log {
    pub(super) fn beginning(first: u64, created: Moment) -> Self {
        Self {
            first,
            records: Vec::new(),
            labels: BTreeSet::new(),
            links: Vec::new(),
            key: None,
            claims: HashMap::new(),
            snapshot: None,
            created,
            updated: created,
            messages: 0,
            words: None,
            change: 0,
        }
    }

    pub(super) fn head(&self) -> Option<Head> {
        let last = self.records.last()?;
        Some(Head { version: last.seq, commit: last.commit, first: self.first })
    }

    /// Records of a range, oldest first, and the number of the first of them.
    fn slice(&self, from: u64, to: u64) -> &[Record] {
        let end = if to < self.first { 0 } else { self.place(to).saturating_add(1).min(self.records.len()) };
        self.records.get(self.place(from)..end).unwrap_or_default()
    }

    pub(super) fn page(&self, range: ReadRange) -> Page {
        let records = self.slice(range.from, range.to).iter().cloned().map(Ok::<_, Infallible>);
        let Ok(page) = match range.order {
            Order::OldestFirst => range.page(records),
            Order::NewestFirst => range.page(records.rev()),
        };
        page
    }

    /// Numbers of the records with this label.
    pub(super) fn find(&self, label: u64) -> Vec<u64> {
        self.labels.range((label, 0)..=(label, u64::MAX)).map(|(_, seq)| *seq).collect()
    }

    fn place(&self, seq: u64) -> usize {
        usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// Whether records say what those say that they are to stand for.
    pub(super) fn has(&self, records: &[Record]) -> Result<(), StoreError> {
        records.iter().filter(|record| record.seq >= self.first).try_for_each(|new| {
            match self.records.get(self.place(new.seq)) {
                Some(old) => new.stands_for(old.kind, old.label, old.commit),
                None => Err(StoreError::Malformed { what: "it rewrites a record that is not there" }),
            }
        })
    }

    /// Takes records in the place of those that are there, and those below the first, down to `first`, before them.
    pub(super) fn rewrite(&mut self, mut records: Vec<Record>, first: u64) {
        let replaced = records.split_off(records.partition_point(|record| record.seq < self.first));
        for new in replaced {
            let place = self.place(new.seq);
            if let Some(old) = self.records.get_mut(place) {
                *old = new;
            }
        }
        self.labels.extend(records.iter().filter(|record| record.label != 0).map(|record| (record.label, record.seq)));
        self.records.splice(..0, records);
        self.first = first;
    }

    /// Leaves the records up to `kept`, and nothing else but what the log inherits. Gives the number and the bytes of the others.
    pub(super) fn bury(&mut self, kept: u64) -> (u64, u64) {
        let dead = self.records.split_off(self.records.partition_point(|record| record.seq <= kept));
        self.labels.retain(|(_, seq)| *seq <= kept);
        self.claims.clear();
        (self.snapshot, self.words) = (None, None);
        (dead.len() as u64, dead.iter().map(|record| record.payload.len() as u64).sum())
    }
}
