//! The one port of a store: logs of sessions, and what must stand or fall together with their records.
//!
//! Must not know: what records say. Payloads, words and snapshots are opaque bytes; a sealed store sees ciphertext here.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sessions_domain::{CommitHash, Kind, Moment, SessionId};

use crate::{
    error::StoreError,
    keys::{Erased, Erasure},
};

/// What survives what. Ordered: each level promises all that is below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// May go with the process. Written out in the background.
    Volatile,
    /// Survives the death of the process (kill -9).
    Process,
    /// Survives a power cut.
    #[default]
    Disk,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Volatile => "volatile",
            Self::Process => "process",
            Self::Disk => "disk",
        })
    }
}

/// Names a store for as long as it lives; the key of the keyed hashes by which it knows words.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({})", sessions_domain::chain::to_hex(&self.0))
    }
}

/// A keyed hash of a person's words: a host's key, an idempotency key, a payload.
pub type Digest = [u8; 32];

/// One record as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub seq: u64,
    /// What kind of event it is.
    pub kind: Kind,
    /// Its commit, which binds it to all records before.
    pub commit: CommitHash,
    /// What [`SessionLog::find`] looks for; 0 for records that nobody looks for. Two records may share one.
    pub label: u64,
    /// 32 bytes of blind, then the body.
    pub payload: Bytes,
}

/// Where a commit expects the log's tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The session does not exist. Its first record may have any number above 0 (a fork's does not start at 1).
    NoStream,
    /// The last record has this number.
    Exactly(u64),
    /// The last record has this number and this commit. Who decides behind commits that are still on their way says so: one of them may
    /// have failed meanwhile, and another writer's record stand in its place.
    Behind {
        /// The number.
        version: u64,
        /// The commit.
        commit: CommitHash,
    },
}

impl Expected {
    /// The number of the last record; `None`: there is none.
    pub const fn version(self) -> Option<u64> {
        match self {
            Self::NoStream => None,
            Self::Exactly(version) | Self::Behind { version, .. } => Some(version),
        }
    }

    /// Whether a log that ends like this, queued commits included, is the one that is expected.
    pub fn is_tail(self, version: u64, commit: CommitHash) -> bool {
        match self {
            Self::NoStream => false,
            Self::Exactly(expected) => expected == version,
            Self::Behind { version: expected, commit: behind } => expected == version && behind == commit,
        }
    }
}

/// An idempotency key, claimed with the records it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Keyed hash of the host's idempotency key.
    pub key: Digest,
    /// Keyed hash of what the host gave with it.
    pub payload: Digest,
    /// The record the claim stands for, as its distance from the commit's first record.
    pub offset: u32,
}

/// A claim that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredClaim {
    /// Keyed hash of what the host gave.
    pub payload: Digest,
    /// The record it stands for.
    pub seq: u64,
    /// The last record of the append it was made in.
    pub version: u64,
}

/// What a log inherits: a fork's records begin behind those of others, which must stay readable as long as the fork is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The session whose records they are.
    pub owner: SessionId,
    /// The last of them: those up to it are inherited.
    pub last: u64,
}

/// A session that inherits from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heir {
    /// The session.
    pub session: SessionId,
    /// The last record that it inherits.
    pub last: u64,
}

/// How a commit changes the session's row in the list of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// When.
    pub updated: Moment,
    /// Messages that are visible after it.
    pub messages: u64,
    /// The summary's words, when they changed. A session without any does not appear in [`SessionLog::rows`].
    pub words: Option<Bytes>,
}

/// Everything that must stand or fall together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The session.
    pub session: SessionId,
    /// Where its tail is expected.
    pub expected: Expected,
    /// The records, numbered without gaps. At least one.
    pub records: Vec<Record>,
    /// The change of the row.
    pub row: RowChange,
    /// Keyed hash of the host's key for the session, claimed by its first commit.
    pub key: Option<Digest>,
    /// Idempotency keys.
    pub claims: Vec<Claim>,
    /// What the log inherits; only a session's first commit may say so. Who owns it keeps it for this session from here on.
    pub links: Vec<Link>,
    /// A view of the log at a version not after this commit, to be kept beside the log. A store may lose it at any time.
    pub snapshot: Option<Bytes>,
    /// The level to wait for.
    pub durability: Durability,
}

/// A commit that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The log's version after it.
    pub version: u64,
    /// The level that was reached: at least the one that was asked.
    pub durability: Durability,
}

/// A session that is to be no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The session.
    pub session: SessionId,
    /// The version it must have, queued commits included, for whoever decided about what was there then; `None`: whatever it has.
    pub expected: Option<u64>,
    /// The host's key stays taken, and leads to the id that is gone. Otherwise it is free again.
    pub keep_key: bool,
    /// The level to wait for.
    pub durability: Durability,
}

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// False when the session had been removed before. Then `records` and `bytes` are 0.
    pub was_there: bool,
    /// Records of the session that are readable no more.
    pub records: u64,
    /// Bytes of their payloads. A store may count those of rewritten records as they were first.
    pub bytes: u64,
    /// Records up to this number stay, because other sessions inherit them. 0: none.
    pub kept: u64,
    /// Who inherits them, in the order of their ids.
    pub heirs: Vec<SessionId>,
}

/// Other bytes for what a session's records say, which stays what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The session. Of a removed one what others inherit can be rewritten, and nothing else.
    pub session: SessionId,
    /// The version it must have, queued commits included, for whoever gives words for those that were there then; `None`: whatever it has.
    pub expected: Option<u64>,
    /// Records with their new payloads, in the order of their numbers. Those below the log's first are what it inherited, and are its own from
    /// here on: the ones directly below, without gaps.
    pub records: Vec<Record>,
    /// The words of the session's row, anew. It must have some.
    pub words: Option<Bytes>,
    /// Sessions that it inherits nothing from any more, because all that it inherited from them is its own. Those that it does not inherit from are
    /// passed over.
    pub unlink: Vec<SessionId>,
    /// The level to wait for.
    pub durability: Durability,
}

/// A rewrite that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The number of the log's first record now.
    pub first: u64,
    /// The level that was reached: at least the one that was asked.
    pub durability: Durability,
}

/// The end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last record.
    pub version: u64,
    /// Its commit.
    pub commit: CommitHash,
    /// The number of the first record.
    pub first: u64,
}

/// Which way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ascending.
    OldestFirst,
    /// Descending.
    NewestFirst,
}

/// Which records to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindFilter {
    /// All.
    All,
    /// Those that are places on the tree of messages ([`Kind::is_element`]).
    Elements,
}

/// A range of records, bounded by count and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// The lowest number.
    pub from: u64,
    /// The highest number.
    pub to: u64,
    /// Which way.
    pub order: Order,
    /// Which records.
    pub kinds: KindFilter,
    /// At most so many records.
    pub max_records: usize,
    /// At most so many bytes of payload, but always at least one record.
    pub max_bytes: usize,
}

/// Records of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records, in the order that was asked.
    pub records: Vec<Record>,
    /// Where to go on, when a bound ended the page: the next `from` (or `to`, newest first).
    pub next: Option<u64>,
}

/// A row of the list of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The session.
    pub session: SessionId,
    /// The version it is of.
    pub version: u64,
    /// When the session was made.
    pub created: Moment,
    /// When its last record was appended.
    pub updated: Moment,
    /// Messages that are visible.
    pub messages: u64,
    /// The summary's words.
    pub words: Bytes,
}

/// Rows that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPage {
    /// The rows, in the order of their last change.
    pub rows: Vec<Row>,
    /// Sessions that were removed, in that order too, each once. They count like rows.
    pub removed: Vec<SessionId>,
    /// What to give as `since` the next time.
    pub next: u64,
    /// True when more rows changed than were given.
    pub more: bool,
}

/// A store of session logs.
///
/// **Order.** Commits of one session take their places in the order in which their futures are first polled. Expected versions and
/// commits, keys and claims are checked against the *queued* tail, when the place is taken, so commits may be queued without waiting for each other.
///
/// **Visibility.** Everything that reads sees a commit once the level it asked for is reached, whole, and never one without all before it.
///
/// **Removal.** What is removed does not come back, and its id is never used again: whatever asks for it is answered [`StoreError::Gone`]. Only
/// records that other sessions inherit can still be read, for as long as one of those is there.
#[async_trait]
pub trait SessionLog: Send + Sync {
    /// Appends.
    ///
    /// **Contract.** *Atomic*: all of it or nothing, also across a crash. *Ordered*: see the trait. *Durable*: when it answers, the level
    /// that was asked is reached for this commit and all before it. *Cancel-safe*: once polled, dropping the future changes nothing about
    /// the commit. When a commit fails, every commit queued behind it in the same session fails too.
    ///
    /// *Linked*: what it inherits is there when the place is taken, and stays as long as the session does.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::AlreadyExists`], [`StoreError::KeyTaken`], [`StoreError::TooWeak`], [`StoreError::TooLarge`],
    /// [`StoreError::Malformed`], [`StoreError::Gone`] (the session was removed, or is being so; or the owner of what it inherits was, and
    /// keeps it no more), [`StoreError::NotFound`] (there never was such an owner): nothing was written. [`StoreError::NoSpace`]: nothing was written, and a later try may succeed.
    /// [`StoreError::Poisoned`]: whether it was written shows when the store is opened again.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Removes a session.
    ///
    /// **Contract.** *Ordered* like a commit of the session, with a place that is taken at the first poll: what was queued before goes through
    /// or fails first. *Atomic*, also across a crash. *Durable*: when it answers, the level that was asked is reached. *Cancel-safe*: once
    /// polled, dropping the future changes nothing about it. Removing twice is fine.
    ///
    /// Afterwards [`Self::commit`] (also with [`Expected::NoStream`]), [`Self::head`], [`Self::wait`] and [`Self::settled`] answer
    /// [`StoreError::Gone`], whoever waits hears it, and [`Self::rows`] tells it. [`Self::claim`] and [`Self::snapshot`] find nothing. The
    /// host's key is free, unless it was to be kept. Records that other sessions inherit, up to [`Removed::kept`], are still given by
    /// [`Self::read`] and [`Self::find`]; with none of them `read` answers `Gone`. When an heir is removed too, what it inherited and nobody
    /// else does is readable no more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]: there never was such a session. [`StoreError::Conflict`]: it has another version than the one expected. These
    /// and the others of [`Self::commit`] that tell nothing was written: the session is as it was. [`StoreError::Poisoned`]: whether it is gone
    /// shows when the store is opened again.
    async fn remove(&self, removal: Removal) -> Result<Removed, StoreError>;

    /// Gives records another payload, and makes inherited ones a log's own. What they say does not change by it, so nothing else does: not their
    /// numbers, kinds, labels and commits, nor versions, heads, keys, claims, snapshots, times and the order of rows. [`Self::rows`] gives other
    /// words with the session's next change.
    ///
    /// **Contract.** *Atomic*: all of it or nothing, also across a crash. *Ordered* like a commit of the session: what is queued disturbs it as
    /// little as it disturbs that, and words of a commit behind it count. *Durable*: when it answers, the level that was asked is reached, and
    /// every reader gets the new payloads. A page that is read meanwhile may have some of each. *Cancel-safe*: once polled, dropping the future
    /// changes nothing about it. *Idempotent*: the same again is fine.
    ///
    /// *Replaced*: a record that the log has is given as it is there, but for its payload. *Adopted*: records below [`Head::first`], which goes
    /// down to the lowest of them; so a long history comes in from above downwards, in as many calls as it takes, and the head tells how far it
    /// came. What they are is the caller's word. *Unlinked*: the session is no heir of these any more, and what a removed one kept for it alone
    /// goes. The log must reach down over all that it inherited from them.
    ///
    /// What the old payloads took on the disk may stay there until a store gives space back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]: there is no such session. [`StoreError::Gone`]: it was removed, and this is more than other payloads for what
    /// is kept of it. [`StoreError::Malformed`]: a record has another kind, label or commit than the one that it is to stand for, or none is
    /// visible with its number; there is a gap below the log's first; it has not yet all that it inherited from whom it is to be unlinked from;
    /// words for a session without any; or nothing at all. [`StoreError::Conflict`], [`StoreError::Corrupt`] (one that it is to stand for cannot
    /// be read), [`StoreError::TooWeak`], [`StoreError::TooLarge`]: nothing was written. [`StoreError::NoSpace`]: nothing was written, and a
    /// later try may succeed. [`StoreError::Poisoned`]: whether it was written shows when the store is opened again.
    async fn rewrite(&self, rewrite: Rewrite) -> Result<Rewritten, StoreError>;

    /// The sessions that inherit from this one, queued ones included, in the order of their ids. It may have been removed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]: there never was such a session.
    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError>;

    /// The visible end of a log.
    ///
    /// **Contract**: cheap; hosts may ask it before each read.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError>;

    /// Reads records.
    ///
    /// **Contract**: gives only records whose bytes are as they were written; numbers outside the log are passed over, and so are those of a
    /// removed session that nobody inherits. A page ends early only with `next`. Does not wait for writers.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Gone`] when nothing is left of the session; [`StoreError::Corrupt`] for the first damaged record of the range.
    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError>;

    /// Numbers of the visible records with this label, ascending.
    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError>;

    /// The newest snapshot that was kept, which may be old or missing.
    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError>;

    /// The session that holds a host's key, once visible.
    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError>;

    /// A claim of the session, queued ones included.
    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError>;

    /// Rows that changed after `since` (0: all) and sessions that were removed, oldest change first, at most `limit`.
    ///
    /// **Contract**: a row that changes while paging is given again; none is left out, and no removal. Numbers of changes are for one opened
    /// store only, which need not tell of removals from before it was opened.
    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError>;

    /// Waits until `version` is visible and has reached a level.
    ///
    /// **Contract**: cancel-safe; answers at once when it is so already. Asking for [`Durability::Disk`] makes the store sync. A version
    /// that was queued when this was asked is waited for until it is through or fails. A version beyond the queued tail is waited for
    /// until it comes, whatever fails on the way: so does one that was queued and has failed before this was asked, which nothing tells
    /// from one that is to come; who lost a race asks [`Self::settled`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the session neither exists nor is queued. [`StoreError::Gone`], also when it is removed meanwhile. The
    /// commit's error when `version` was queued and failed.
    /// [`StoreError::NoSpace`] when a level above [`Durability::Volatile`] was waited for and the disk is full.
    /// [`StoreError::Closed`] or [`StoreError::Poisoned`] when it cannot happen any more.
    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError>;

    /// Waits until nothing that was queued for the session when this was first polled is on its way any more, and gives the visible head
    /// then; `None`: there is no such session.
    ///
    /// **Contract**: cancel-safe; each of those commits is visible then or will never be. What is queued later is not waited for, so this
    /// ends however busy the session is. That a commit failed is no error here: it is the answer.
    ///
    /// # Errors
    /// [`StoreError::Closed`], also when it is closed meanwhile. [`StoreError::Gone`] when it was removed, or what was queued removes it.
    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError>;

    /// How the keys of a session that was removed were destroyed, read back from where they lay; `None`: they were not, because others inherit from
    /// the session, because it was not removed, or because this store seals nothing.
    async fn erased(&self, session: SessionId) -> Result<Option<Erased>, StoreError>;

    /// How [`Self::remove`] destroys keys; `None` for a store that seals nothing, where what was removed is readable in whatever copies of its bytes are left.
    fn erasure(&self) -> Option<Erasure>;

    /// The strongest level this store gives.
    fn strongest(&self) -> Durability;

    /// The store's identity.
    fn id(&self) -> StoreId;

    /// Writes out everything, stops everything the store started, and releases what it holds. Closing twice is fine.
    ///
    /// **Contract**: when it answers, another process can open the store.
    async fn close(&self) -> Result<(), StoreError>;
}
