//! A whole store over redb, an embedded engine: a write transaction for each commit, a read transaction for each question.
//! A commit is done when its future is first polled, so nothing is ever queued. The price is that its thread waits for the disk. A store
//! for many callers would hand its transactions to a thread, and sync several at once. Must not know: what records say.

use std::{io, io::ErrorKind::StorageFull, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use redb::{
    AccessGuard, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition as Table, WriteTransaction,
};
use sessions_domain::{CommitHash, Kind, SessionId};
use sessions_ports::{
    BackendError, BackendErrorKind, Commit, Committed, Digest, Durability, Head, Heir, Order, Page, ReadRange, Record,
    Removal, Removed, Rewrite, Rewritten, RowPage, SessionLog, Standing, StoreError, StoreId, StoredClaim,
};
use tokio::sync::watch;

/// The most bytes of one commit: 1 GiB.
pub(crate) const MAX_COMMIT_BYTES: u64 = 1 << 30;
type Result<T, E = StoreError> = std::result::Result<T, E>;
type Id = [u8; 16];
/// Kind, commit, label, payload.
type Stored = (u8, Digest, u64, &'static [u8]);

const STORE: Table<(), Id> = Table::new("store");
/// What is known of each session, as JSON.
const SESSIONS: Table<Id, &[u8]> = Table::new("sessions");
const RECORDS: Table<(Id, u64), Stored> = Table::new("records");
const LABELS: Table<(Id, u64, u64), ()> = Table::new("labels");
const SNAPSHOTS: Table<Id, &[u8]> = Table::new("snapshots");
const KEYS: Table<Digest, Id> = Table::new("keys");
const CLAIMS: Table<(Id, Digest), (Digest, u64, u64)> = Table::new("claims");
/// The feed of rows: sessions by the number of their last change.
const CHANGES: Table<u64, Id> = Table::new("changes");

/// A store in one file. A clone is another handle to it.
#[derive(Clone)]
pub(crate) struct RedbStore {
    id: StoreId,
    /// `None` once it is closed. Whoever waits is told of each change.
    db: Arc<watch::Sender<Option<Database>>>,
}

/// What the engine's failures are to a caller.
trait Engine<T> {
    fn db(self) -> Result<T>;
}

impl<T, E: Into<redb::Error>> Engine<T> for Result<T, E> {
    fn db(self) -> Result<T> {
        let backend = |kind, error| BackendError::new(kind, "a transaction", error).into();
        self.map_err(|error| match error.into() {
            // After a failed write the engine takes none until it is opened again, which is what the port asks for.
            redb::Error::PreviousIo => StoreError::Poisoned,
            redb::Error::Io(io) if io.kind() == StorageFull => StoreError::NoSpace { operation: "a transaction" },
            error @ redb::Error::DatabaseAlreadyOpen => backend(BackendErrorKind::Unavailable, error),
            error => backend(BackendErrorKind::Io, error),
        })
    }
}

impl RedbStore {
    /// Opens the store in a file. When there is none it makes one of this id, which is to be drawn at random.
    pub(crate) fn open(path: &Path, id: StoreId) -> Result<Self> {
        let mut store = Self { id, db: Arc::new(watch::Sender::new(Some(Database::create(path).db()?))) };
        store.id = store.write(Durability::Disk, |tx| {
            // Makes each table, so that no reader finds one missing.
            drop((tx.open_table(SESSIONS).db()?, tx.open_table(RECORDS).db()?, tx.open_table(LABELS).db()?));
            drop((tx.open_table(SNAPSHOTS).db()?, tx.open_table(KEYS).db()?, tx.open_table(CLAIMS).db()?));
            drop(tx.open_table(CHANGES).db()?);
            let mut stores = tx.open_table(STORE).db()?;
            let known = stores.get(()).db()?.map_or(id.0, |known| known.value());
            stores.insert((), known).db().map(|_| StoreId(known))
        })?;
        Ok(store)
    }

    /// Asks in one transaction, so that the answer is of one moment.
    fn ask<T>(&self, ask: impl FnOnce(&ReadTransaction) -> Result<T>) -> Result<T> {
        ask(&self.db.borrow().as_ref().ok_or(StoreError::Closed)?.begin_read().db()?)
    }

    /// Changes in one transaction. Above `volatile` it is on the disk afterwards, with all before it.
    fn write<T>(&self, level: Durability, change: impl FnOnce(&WriteTransaction) -> Result<T>) -> Result<T> {
        let db = self.db.borrow();
        let mut tx = db.as_ref().ok_or(StoreError::Closed)?.begin_write().db()?;
        let stays = if level == Durability::Volatile { redb::Durability::None } else { redb::Durability::Immediate };
        tx.set_durability(stays).db()?;
        let done = change(&tx)?;
        tx.commit().db()?;
        drop(db);
        self.db.send_modify(|_| {});
        Ok(done)
    }
}

fn known(sessions: &impl ReadableTable<Id, &'static [u8]>, session: SessionId) -> Result<Option<Standing>> {
    let found = sessions.get(session.to_bytes()).db()?;
    found.map(|found| serde_json::from_slice(found.value()).map_err(io::Error::from).db()).transpose()
}

fn head(tx: &ReadTransaction, session: SessionId) -> Result<Option<Head>> {
    known(&tx.open_table(SESSIONS).db()?, session)?.map(|known| known.head()).transpose()
}

fn must_know(sessions: &impl ReadableTable<Id, &'static [u8]>, session: SessionId) -> Result<Standing> {
    known(sessions, session)?.ok_or(StoreError::NotFound { session })
}

fn save(tx: &WriteTransaction, known: &Standing) -> Result<()> {
    let json = serde_json::to_vec(known).map_err(io::Error::from).db()?;
    tx.open_table(SESSIONS).db()?.insert(known.session.to_bytes(), &*json).db().map(drop)
}

/// Gives a session the next number of the feed, in place of the one that it has, and saves it.
fn change(tx: &WriteTransaction, mut known: Standing) -> Result<()> {
    let mut changes = tx.open_table(CHANGES).db()?;
    let next = changes.last().db()?.map_or(1, |(last, _)| last.value() + 1);
    changes.remove(std::mem::replace(&mut known.change, next)).db()?;
    changes.insert(next, known.session.to_bytes()).db()?;
    save(tx, &known)
}

fn commit(tx: &WriteTransaction, commit: &Commit, version: u64) -> Result<()> {
    let id = commit.session.to_bytes();
    let before = known(&tx.open_table(SESSIONS).db()?, commit.session)?;
    Standing::check(before.as_ref(), commit)?;
    if let Some(key) = commit.key
        && let Some(holder) = tx.open_table(KEYS).db()?.insert(key, id).db()?
    {
        return Err(StoreError::KeyTaken { session: SessionId::from_bytes(holder.value()) });
    }
    for claim in &commit.claims {
        let made = (claim.payload, version + 1 + u64::from(claim.offset) - commit.records.len() as u64, version);
        if tx.open_table(CLAIMS).db()?.insert((id, claim.key), made).db()?.is_some() {
            return Err(StoreError::Malformed { what: "the session has this idempotency key; look it up" });
        }
    }
    for link in &commit.links {
        let mut owner = must_know(&tx.open_table(SESSIONS).db()?, link.owner)?;
        owner.check_link(*link)?;
        owner.inherit(commit.session, *link);
        save(tx, &owner)?;
    }
    for Record { seq, kind, commit, label, payload } in &commit.records {
        tx.open_table(RECORDS).db()?.insert((id, *seq), (kind.0, *commit.as_bytes(), *label, &**payload)).db()?;
        if *label != 0 {
            tx.open_table(LABELS).db()?.insert((id, *label, *seq), ()).db()?;
        }
    }
    if let Some(snapshot) = &commit.snapshot {
        tx.open_table(SNAPSHOTS).db()?.insert(id, &**snapshot).db()?;
    }
    let after = Standing::after(before, commit);
    if after.words.is_some() { change(tx, after) } else { save(tx, &after) }
}

/// Leaves of a removed session what its heirs inherit.
fn bury(tx: &WriteTransaction, known: &Standing) -> Result<Removed> {
    let (id, inherited) = (known.session.to_bytes(), known.inherited());
    let mut removed = Removed { heirs: known.heirs.keys().copied().collect(), ..Removed::default() };
    let stays = |(_, seq): (Id, u64), (.., payload): (u8, Digest, u64, &[u8])| {
        let goes = u64::from(seq > inherited);
        removed.kept = if goes == 0 { seq } else { removed.kept };
        (removed.records, removed.bytes) = (removed.records + goes, removed.bytes + goes * payload.len() as u64);
        goes == 0
    };
    tx.open_table(RECORDS).db()?.retain_in((id, 0)..=(id, u64::MAX), stays).db()?;
    tx.open_table(LABELS).db()?.retain_in((id, 0, 0)..=(id, !0, !0), |(.., seq), ()| seq <= inherited).db()?;
    Ok(removed)
}

fn remove(tx: &WriteTransaction, removal: &Removal) -> Result<Removed> {
    let (mut gone, id) = (must_know(&tx.open_table(SESSIONS).db()?, removal.session)?, removal.session.to_bytes());
    let was_there = gone.check_removal(removal)?;
    let removed = Removed { was_there, ..bury(tx, &gone)? };
    let (owners, key) = gone.bury();
    for owner in owners {
        let mut owner = must_know(&tx.open_table(SESSIONS).db()?, owner)?;
        owner.heirs.remove(&gone.session);
        if owner.removed {
            bury(tx, &owner)?;
        }
        save(tx, &owner)?;
    }
    if let Some(key) = key.filter(|_| !removal.keep_key) {
        tx.open_table(KEYS).db()?.remove(key).db()?;
    }
    tx.open_table(CLAIMS).db()?.retain_in((id, [0; 32])..=(id, [u8::MAX; 32]), |_, _| false).db()?;
    tx.open_table(SNAPSHOTS).db()?.remove(id).db()?;
    if was_there { change(tx, gone).map(|()| removed) } else { Ok(removed) }
}

/// Gives the number of the log's first record afterwards.
fn rewrite(tx: &WriteTransaction, new: &Rewrite) -> Result<u64> {
    let (mut log, id) = (must_know(&tx.open_table(SESSIONS).db()?, new.session)?, new.session.to_bytes());
    let first = log.check_rewrite(new)?;
    for record in &new.records {
        let (seq, kind, label, commit) = (record.seq, record.kind, record.label, record.commit);
        let mut records = tx.open_table(RECORDS).db()?;
        let old = records.insert((id, seq), (kind.0, *commit.as_bytes(), label, &*record.payload)).db()?;
        // One that is refused is as it was: the transaction goes as a whole.
        match old.as_ref().map(AccessGuard::value) {
            Some((kind, commit, label, _)) => record.stands_for(Kind(kind), label, CommitHash::from_bytes(commit))?,
            None if label != 0 => drop(tx.open_table(LABELS).db()?.insert((id, label, seq), ()).db()?),
            None => {}
        }
    }
    for owner in log.rewrite(new, first) {
        let mut owner = must_know(&tx.open_table(SESSIONS).db()?, owner)?;
        owner.heirs.remove(&log.session);
        if owner.removed {
            bury(tx, &owner)?;
        }
        save(tx, &owner)?;
    }
    save(tx, &log).map(|()| first)
}

#[async_trait]
impl SessionLog for RedbStore {
    async fn commit(&self, new: Commit) -> Result<Committed> {
        let version = new.check(MAX_COMMIT_BYTES)?;
        self.write(new.durability, |tx| commit(tx, &new, version))?;
        Ok(Committed { version, durability: new.durability })
    }

    async fn remove(&self, removal: Removal) -> Result<Removed> {
        self.write(removal.durability, |tx| remove(tx, &removal))
    }

    async fn rewrite(&self, new: Rewrite) -> Result<Rewritten> {
        new.check(MAX_COMMIT_BYTES)?;
        let first = self.write(new.durability, |tx| rewrite(tx, &new))?;
        Ok(Rewritten { first, durability: new.durability })
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>> {
        self.ask(|tx| Ok(must_know(&tx.open_table(SESSIONS).db()?, session)?.heirs()))
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>> {
        self.ask(|tx| head(tx, session))
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page> {
        self.ask(|tx| {
            let (table, id) = (tx.open_table(RECORDS).db()?, session.to_bytes());
            if table.range((id, 0)..=(id, u64::MAX)).db()?.next().is_none() {
                return Err(head(tx, session).err().unwrap_or(StoreError::NotFound { session }));
            }
            let records = table.range((id, range.from)..=(id, range.to.max(range.from))).db()?.map(|entry| {
                let (place, value) = entry.db()?;
                let (kind, commit, label, payload) = value.value();
                let (commit, payload) = (CommitHash::from_bytes(commit), Bytes::copy_from_slice(payload));
                Ok(Record { seq: place.value().1, kind: Kind(kind), commit, label, payload })
            });
            if range.order == Order::OldestFirst { range.page(records) } else { range.page(records.rev()) }
        })
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>> {
        let place = |seq| (session.to_bytes(), label, seq);
        let of = |tx: &ReadTransaction| tx.open_table(LABELS).db()?.range(place(0)..=place(u64::MAX)).db();
        self.ask(|tx| of(tx)?.map(|entry| Ok(entry.db()?.0.value().2)).collect())
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>> {
        let of = |tx: &ReadTransaction| tx.open_table(SNAPSHOTS).db()?.get(session.to_bytes()).db();
        self.ask(|tx| Ok(of(tx)?.map(|snapshot| Bytes::copy_from_slice(snapshot.value()))))
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>> {
        let holder = self.ask(|tx| tx.open_table(KEYS).db()?.get(key).db())?;
        Ok(holder.map(|holder| SessionId::from_bytes(holder.value())))
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>> {
        let made = self.ask(|tx| tx.open_table(CLAIMS).db()?.get((session.to_bytes(), key)).db())?;
        Ok(made.map(|made| made.value()).map(|(payload, seq, version)| StoredClaim { payload, seq, version }))
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage> {
        self.ask(|tx| {
            let mut page = RowPage { rows: Vec::new(), removed: Vec::new(), next: since, more: false };
            let (sessions, changes) = (tx.open_table(SESSIONS).db()?, tx.open_table(CHANGES).db()?);
            let mut changed = changes.range(since.saturating_add(1)..).db()?;
            for entry in changed.by_ref().take(limit) {
                let (next, session) = entry.db().map(|(at, id)| (at.value(), SessionId::from_bytes(id.value())))?;
                match known(&sessions, session)?.and_then(|known| known.row()) {
                    Some(row) => page.rows.push(row),
                    None => page.removed.push(session),
                }
                page.next = next;
            }
            page.more = changed.next().is_some();
            Ok(page)
        })
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head> {
        // It listens from here on, so no commit falls between a look and the sleep behind it.
        let mut changes = self.db.subscribe();
        loop {
            let head = self.ask(|tx| head(tx, session))?.ok_or(StoreError::NotFound { session })?;
            if head.version >= version {
                // A durable change of nothing takes all before it to the disk.
                return if level == Durability::Volatile { Ok(head) } else { self.write(level, |_| Ok(head)) };
            }
            changes.changed().await.map_err(|_| StoreError::Closed)?;
        }
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>> {
        self.ask(|tx| head(tx, session))
    }

    async fn erased(&self, _: SessionId) -> Result<Option<sessions_ports::Erased>> {
        Ok(None)
    }

    fn erasure(&self) -> Option<sessions_ports::Erasure> {
        None
    }

    fn strongest(&self) -> Durability {
        Durability::Disk
    }

    fn id(&self) -> StoreId {
        self.id
    }

    async fn close(&self) -> Result<()> {
        let written = self.write(Durability::Disk, |_| Ok(()));
        // The engine lets go of the file when it is dropped.
        self.db.send_replace(None);
        written.or_else(|error| if matches!(error, StoreError::Closed) { Ok(()) } else { Err(error) })
    }
}
