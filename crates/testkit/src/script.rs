//! Commits to try a store with: well formed, chained as real ones are, and the same in every run.
//!
//! Must not know: how a store keeps them.

use bytes::Bytes;
use sessions_domain::{CommitHash, Kind, LineageId, Moment, SessionId};
use sessions_ports::{
    Commit, Durability, Expected, KindFilter, Order, ReadRange, Record, RowChange, SessionLog, StoreError,
};

/// Writes one session, commit by commit.
#[derive(Clone, Debug)]
pub struct Script {
    session: SessionId,
    lineage: LineageId,
    first: u64,
    written: Vec<Record>,
}

impl Script {
    /// A session of this number that has no record yet.
    pub fn new(number: u64) -> Self {
        Self::starting_at(number, 1)
    }

    /// The same for a fork, whose first record has the number `first`.
    pub fn starting_at(number: u64, first: u64) -> Self {
        let session = SessionId::from_parts(1, u128::from(number));
        Self { session, lineage: LineageId::from_parts(2, u128::from(number)), first, written: Vec::new() }
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The number of the last record (0: none yet).
    pub fn version(&self) -> u64 {
        self.written.last().map_or(0, |record| record.seq)
    }

    /// The commit of the last record.
    pub fn tip(&self) -> CommitHash {
        self.written.last().map_or(CommitHash::ZERO, |record| record.commit)
    }

    /// All records so far.
    pub fn written(&self) -> &[Record] {
        &self.written
    }

    /// A commit of one record with this text.
    pub fn say(&mut self, text: &str) -> Commit {
        self.commit(&[(Kind::APPENDED, 0, text.as_bytes())])
    }

    /// A commit of `count` messages.
    pub fn say_many(&mut self, count: usize) -> Commit {
        self.commit(&vec![(Kind::APPENDED, 0, b"one of many".as_slice()); count])
    }

    /// A commit of these records (kind, label, body) at [`Durability::Volatile`]. A session's first record has words for its row.
    pub fn commit(&mut self, records: &[(Kind, u64, &[u8])]) -> Commit {
        let begins = self.written.is_empty();
        let expected = if begins { Expected::NoStream } else { Expected::Exactly(self.version()) };
        let from = self.written.len();
        for (kind, label, body) in records {
            let seq = if self.written.is_empty() { self.first } else { self.version() + 1 };
            let kind = if seq == 1 { Kind::CREATED } else { *kind };
            let record = record(self.lineage, self.tip(), seq, kind, *label, body);
            self.written.push(record);
        }
        let version = self.version();
        let words = begins.then(|| Bytes::from(format!("words of {}", self.session)));
        Commit {
            session: self.session,
            expected,
            records: self.written.get(from..).unwrap_or_default().to_vec(),
            row: RowChange { updated: moment(version), messages: version, words },
            key: None,
            claims: Vec::new(),
            links: Vec::new(),
            snapshot: None,
            durability: Durability::Volatile,
        }
    }

    /// A commit of one record behind whatever head the log has, for writers that race.
    pub fn behind(&self, version: u64, tip: CommitHash, body: &[u8], durability: Durability) -> Commit {
        let record = record(self.lineage, tip, version + 1, Kind::APPENDED, 0, body);
        Commit {
            session: self.session,
            expected: Expected::Exactly(version),
            records: vec![record],
            row: RowChange { updated: moment(version), messages: version, words: None },
            key: None,
            claims: Vec::new(),
            links: Vec::new(),
            snapshot: None,
            durability,
        }
    }
}

/// The time of a version in a script.
fn moment(version: u64) -> Moment {
    Moment::from_millis(1_700_000_000_000_i64.saturating_add_unsigned(version))
}

fn record(lineage: LineageId, tip: CommitHash, seq: u64, kind: Kind, label: u64, body: &[u8]) -> Record {
    let mut blind = [0xb1; 32];
    for (byte, of_seq) in blind.iter_mut().zip(seq.to_le_bytes()) {
        *byte = of_seq;
    }
    let payload: Bytes = [&blind, body].concat().into();
    Record { seq, kind, commit: tip.next(lineage, seq, kind, &blind, body), label, payload }
}

/// The body of a record that a script wrote.
pub(crate) fn body(record: &Record) -> &[u8] {
    record.payload.get(32..).unwrap_or_default()
}

/// The range of everything, in one page where a store gives such large ones.
pub(crate) fn everything() -> ReadRange {
    ReadRange {
        from: 0,
        to: u64::MAX,
        order: Order::OldestFirst,
        kinds: KindFilter::All,
        max_records: usize::MAX,
        max_bytes: usize::MAX,
    }
}

/// Reads a range page by page to its end.
///
/// # Errors
/// What the store answers; [`StoreError::Malformed`] when a page does not lead on, so that nobody waits for ever.
pub async fn read_all(
    store: &dyn SessionLog,
    session: SessionId,
    mut range: ReadRange,
) -> Result<Vec<Record>, StoreError> {
    let mut all = Vec::new();
    loop {
        let page = store.read(session, range).await?;
        all.extend(page.records);
        let Some(next) = page.next else { return Ok(all) };
        let leads_on = match range.order {
            Order::OldestFirst => next > range.from,
            Order::NewestFirst => next < range.to,
        };
        if !leads_on {
            return Err(StoreError::Malformed { what: "the page does not lead on" });
        }
        match range.order {
            Order::OldestFirst => range.from = next,
            Order::NewestFirst => range.to = next,
        }
    }
}
