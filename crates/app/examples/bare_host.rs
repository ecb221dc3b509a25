//! A host with parts of its own: no facade, no store of the project, no async runtime beyond a bare tokio.
//!
//! All that `sessions-app` asks of a host is a store of logs, a clock, identities, random bytes and a token count. Here they are as small
//! as they can be. The store is single-threaded at heart (one mutex), so it keeps most of the contract of [`SessionLog`] for free; see
//! `sessions-testkit` for the laws that a real one is held to. Run it with `cargo run -p sessions-app --example bare_host`.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_app::{NewSession, Ports, SessionManager, Settings};
use sessions_domain::{LineageId, Message, MessageId, Moment, SessionId, tokens};
use sessions_ports::{
    Clock, Commit, Committed, Digest, Durability, Encodings, Entropy, EntropyError, Head, Heir, IdGenerator,
    KindFilter, Link, Order, Page, ReadRange, Record, Removal, Removed, Rewrite, Rewritten, Row, RowPage, SessionLog,
    StoreError, StoreId, StoredClaim, TokenCounter,
};
use tokio::sync::Notify;

/// One session: its records, and the row that a list shows of it.
struct Log {
    records: Vec<Record>,
    /// It was removed: what is left are records that others inherit.
    gone: bool,
    row: Row,
    changed: u64,
    snapshot: Option<Bytes>,
}

/// Everything, behind one lock: a commit is checked and applied while nobody else looks, so it is atomic, and visible at once and whole.
#[derive(Default)]
struct State {
    logs: HashMap<SessionId, Log>,
    keys: HashMap<Digest, SessionId>,
    claims: HashMap<(SessionId, Digest), StoredClaim>,
    /// Who inherits from a session, and up to where.
    heirs: HashMap<SessionId, BTreeMap<SessionId, u64>>,
    changes: u64,
    closed: bool,
}

/// A store over a map and vectors.
#[derive(Default)]
struct MapStore {
    state: Mutex<State>,
    committed: Notify,
}

impl MapStore {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(StoreError::Closed) } else { work(&mut state) }
    }
}

impl State {
    fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        let Some(log) = self.logs.get(&session) else { return Ok(None) };
        if log.gone {
            return Err(StoreError::Gone { session });
        }
        let ends = log.records.first().zip(log.records.last());
        Ok(ends.map(|(first, last)| Head { version: last.seq, commit: last.commit, first: first.seq }))
    }

    /// The last record of a session that others inherit.
    fn kept(&self, session: SessionId) -> u64 {
        self.heirs.get(&session).and_then(|heirs| heirs.values().max().copied()).unwrap_or(0)
    }

    fn remove(&mut self, removal: Removal) -> Result<Removed, StoreError> {
        let session = removal.session;
        let heirs: Vec<_> = self.heirs.get(&session).into_iter().flat_map(BTreeMap::keys).copied().collect();
        let kept = self.kept(session);
        let head = match self.head(session) {
            Err(StoreError::Gone { .. }) => return Ok(Removed { kept, heirs, ..Removed::default() }),
            head => head?.ok_or(StoreError::NotFound { session })?,
        };
        if let Some(expected) = removal.expected.filter(|expected| *expected != head.version) {
            return Err(StoreError::Conflict { expected, actual: head.version });
        }
        if !removal.keep_key {
            self.keys.retain(|_, holder| *holder != session);
        }
        self.claims.retain(|(holder, _), _| *holder != session);
        for heirs in self.heirs.values_mut() {
            heirs.remove(&session);
        }
        self.changes += 1;
        let mut removed = Removed { was_there: true, kept, heirs, ..Removed::default() };
        let kept_of: HashMap<_, _> = self.logs.keys().map(|owner| (*owner, self.kept(*owner))).collect();
        if let Some(log) = self.logs.get_mut(&session) {
            (log.gone, log.changed, log.snapshot) = (true, self.changes, None);
            let dead = || log.records.iter().filter(|record| record.seq > kept);
            removed.records = dead().count() as u64;
            removed.bytes = dead().map(|record| record.payload.len() as u64).sum();
        }
        // What nobody inherits any more goes, also of those that were removed before.
        for (owner, log) in self.logs.iter_mut().filter(|(_, log)| log.gone) {
            let kept = kept_of.get(owner).copied().unwrap_or(0);
            log.records.retain(|record| record.seq <= kept);
        }
        Ok(removed)
    }

    /// Gives the number of the log's first record afterwards.
    fn rewrite(&mut self, rewrite: Rewrite) -> Result<u64, StoreError> {
        let (session, kept) = (rewrite.session, self.kept(rewrite.session));
        let inherited = |(owner, heirs): (&SessionId, &BTreeMap<_, _>)| {
            heirs.get(&session).map(|last| Link { owner: *owner, last: *last })
        };
        let links: Vec<Link> = self.heirs.iter().filter_map(inherited).collect();
        let first = match self.head(session) {
            Err(StoreError::Gone { .. }) => rewrite.check_left(1, kept).map(|()| 1)?,
            head => {
                let head = head?.ok_or(StoreError::NotFound { session })?;
                if let Some(expected) = rewrite.expected.filter(|expected| *expected != head.version) {
                    return Err(StoreError::Conflict { expected, actual: head.version });
                }
                rewrite.check_log(head, &links)?
            }
        };
        let log = self.logs.get_mut(&session).ok_or(StoreError::NotFound { session })?;
        let place = |log: &Log, seq: u64| log.records.binary_search_by_key(&seq, |record| record.seq);
        for new in &rewrite.records {
            if let Some(old) = place(log, new.seq).ok().and_then(|at| log.records.get(at)) {
                new.stands_for(old.kind, old.label, old.commit)?;
            }
        }
        for new in rewrite.records {
            match place(log, new.seq) {
                Ok(at) => log.records.get_mut(at).into_iter().for_each(|old| old.payload.clone_from(&new.payload)),
                Err(at) => log.records.insert(at, new),
            }
        }
        log.row.words = rewrite.words.unwrap_or_else(|| log.row.words.clone());
        for owner in rewrite.unlink {
            self.heirs.get_mut(&owner).map(|heirs| heirs.remove(&session));
            let kept = self.kept(owner);
            if let Some(log) = self.logs.get_mut(&owner).filter(|log| log.gone) {
                log.records.retain(|record| record.seq <= kept);
            }
        }
        Ok(first)
    }

    /// Checks everything first, so that what fails leaves nothing behind.
    fn commit(&mut self, commit: Commit) -> Result<Committed, StoreError> {
        let Some((first, last)) = commit.records.first().zip(commit.records.last()) else {
            return Err(StoreError::Malformed { what: "a commit has at least one record" });
        };
        let (first, version) = (first.seq, last.seq);
        match (commit.expected.version(), self.head(commit.session)?) {
            (None, Some(_)) => return Err(StoreError::AlreadyExists { session: commit.session }),
            (Some(_), None) => return Err(StoreError::NotFound { session: commit.session }),
            (Some(expected), Some(head)) if !commit.expected.is_tail(head.version, head.commit) => {
                return Err(StoreError::Conflict { expected, actual: head.version });
            }
            _ => {}
        }
        if let Some(session) = commit.key.and_then(|key| self.keys.get(&key)) {
            return Err(StoreError::KeyTaken { session: *session });
        }
        for link in &commit.links {
            match self.logs.get(&link.owner) {
                None => return Err(StoreError::NotFound { session: link.owner }),
                Some(log) if log.gone && self.kept(link.owner) < link.last => {
                    return Err(StoreError::Gone { session: link.owner });
                }
                Some(_) => {}
            }
        }
        for link in commit.links {
            self.heirs.entry(link.owner).or_default().insert(commit.session, link.last);
        }
        self.keys.extend(commit.key.map(|key| (key, commit.session)));
        for claim in commit.claims {
            let claimed = StoredClaim { payload: claim.payload, seq: first + u64::from(claim.offset), version };
            self.claims.insert((commit.session, claim.key), claimed);
        }
        self.changes += 1;
        let log = self.logs.entry(commit.session).or_insert_with(|| Log {
            records: Vec::new(),
            gone: false,
            row: Row {
                session: commit.session,
                version: 0,
                created: commit.row.updated,
                updated: commit.row.updated,
                messages: 0,
                words: Bytes::new(),
            },
            changed: 0,
            snapshot: None,
        });
        log.records.extend(commit.records);
        (log.row.version, log.row.updated, log.row.messages) = (version, commit.row.updated, commit.row.messages);
        log.row.words = commit.row.words.unwrap_or_else(|| log.row.words.clone());
        log.snapshot = commit.snapshot.or(log.snapshot.take());
        log.changed = self.changes;
        Ok(Committed { version, durability: Durability::Volatile })
    }

    fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        let log = self.logs.get(&session).ok_or(StoreError::NotFound { session })?;
        if log.records.is_empty() {
            return Err(StoreError::Gone { session });
        }
        let wanted = |record: &&Record| {
            let is_wanted_kind = range.kinds == KindFilter::All || record.kind.is_element();
            (range.from..=range.to).contains(&record.seq) && is_wanted_kind
        };
        let mut found: Vec<&Record> = log.records.iter().filter(wanted).collect();
        if range.order == Order::NewestFirst {
            found.reverse();
        }
        // A page is bounded by count and bytes, and says where to go on; but it has at least one record, or nobody would ever get on.
        let mut page = Page { records: Vec::new(), next: None };
        let mut bytes = 0;
        for record in found {
            bytes += record.payload.len();
            let is_full = page.records.len() >= range.max_records || bytes > range.max_bytes;
            if is_full && !page.records.is_empty() {
                page.next = Some(record.seq);
                break;
            }
            page.records.push(record.clone());
        }
        Ok(page)
    }

    fn rows(&self, since: u64, limit: usize) -> RowPage {
        let mut changed: Vec<&Log> = self.logs.values().filter(|log| log.changed > since).collect();
        changed.sort_by_key(|log| log.changed);
        let more = changed.len() > limit;
        changed.truncate(limit);
        let next = changed.last().map_or(since, |log| log.changed);
        let (removed, rows): (Vec<&Log>, Vec<&Log>) = changed.into_iter().partition(|log| log.gone);
        let removed = removed.into_iter().map(|log| log.row.session).collect();
        RowPage { rows: rows.into_iter().map(|log| log.row.clone()).collect(), removed, next, more }
    }
}

#[async_trait]
impl SessionLog for MapStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        // A map promises nothing beyond the process's life, and says so instead of pretending.
        if commit.durability > self.strongest() {
            return Err(StoreError::TooWeak { asked: commit.durability, best: self.strongest() });
        }
        let done = self.with(|state| state.commit(commit))?;
        self.committed.notify_waiters();
        Ok(done)
    }

    async fn remove(&self, removal: Removal) -> Result<Removed, StoreError> {
        if removal.durability > self.strongest() {
            return Err(StoreError::TooWeak { asked: removal.durability, best: self.strongest() });
        }
        let removed = self.with(|state| state.remove(removal))?;
        self.committed.notify_waiters();
        Ok(removed)
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        if rewrite.durability > self.strongest() {
            return Err(StoreError::TooWeak { asked: rewrite.durability, best: self.strongest() });
        }
        rewrite.check(u64::MAX)?;
        let first = self.with(|state| state.rewrite(rewrite))?;
        Ok(Rewritten { first, durability: Durability::Volatile })
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        self.with(|state| {
            state.logs.get(&session).ok_or(StoreError::NotFound { session })?;
            let heirs = state.heirs.get(&session).into_iter().flatten();
            Ok(heirs.map(|(session, last)| Heir { session: *session, last: *last }).collect())
        })
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.with(|state| state.head(session))
    }

    async fn read(&self, session: SessionId, range: ReadRange) -> Result<Page, StoreError> {
        self.with(|state| state.read(session, range))
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        self.with(|state| {
            let records = state.logs.get(&session).map(|log| log.records.as_slice()).unwrap_or_default();
            Ok(records.iter().filter(|record| record.label == label).map(|record| record.seq).collect())
        })
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        self.with(|state| Ok(state.logs.get(&session).and_then(|log| log.snapshot.clone())))
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        self.with(|state| Ok(state.keys.get(&key).copied()))
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        self.with(|state| Ok(state.claims.get(&(session, key)).copied()))
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        self.with(|state| Ok(state.rows(since, limit)))
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        if level > self.strongest() {
            return Err(StoreError::TooWeak { asked: level, best: self.strongest() });
        }
        loop {
            // Registered before looking, so that no commit falls between the look and the wait.
            let committed = self.committed.notified();
            tokio::pin!(committed);
            committed.as_mut().enable();
            let head = self.with(|state| state.head(session))?.ok_or(StoreError::NotFound { session })?;
            if head.version >= version {
                return Ok(head);
            }
            committed.await;
        }
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        // A commit here is through or refused before anybody could ask.
        self.head(session).await
    }

    async fn erased(&self, _: SessionId) -> Result<Option<sessions_ports::Erased>, StoreError> {
        Ok(None)
    }

    fn erasure(&self) -> Option<sessions_ports::Erasure> {
        None
    }

    fn strongest(&self) -> Durability {
        Durability::Volatile
    }

    fn id(&self) -> StoreId {
        StoreId([7; 16])
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.committed.notify_waiters();
        Ok(())
    }
}

/// The clock, identities, randomness and token counts of this host, in one: they count up, which is all that an example needs. A real
/// host's random bytes are fit for keys.
#[derive(Default)]
struct Counting(Mutex<u128>);

impl Counting {
    fn next(&self) -> u128 {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        *count
    }
}

impl Clock for Counting {
    fn now(&self) -> Moment {
        Moment::from_millis(1_767_268_800_000)
    }
}

impl IdGenerator for Counting {
    fn session(&self, _now: Moment) -> SessionId {
        SessionId::from_bytes(self.next().to_be_bytes())
    }

    fn message(&self, _now: Moment) -> MessageId {
        MessageId::from_bytes(self.next().to_be_bytes())
    }

    fn lineage(&self, _now: Moment) -> LineageId {
        LineageId::from_bytes(self.next().to_be_bytes())
    }
}

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let drawn = self.next().to_be_bytes();
        for (byte, random) in bytes.iter_mut().zip(drawn.iter().cycle()) {
            *byte = *random;
        }
        Ok(())
    }
}

impl TokenCounter for Counting {
    fn encoding(&self) -> &str {
        tokens::ESTIMATE
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn count(&self, text: &str) -> u64 {
        tokens::estimate_text(text)
    }
}

/// Has the estimate, and no encoding of any model.
impl Encodings for Counting {
    fn named(&self, name: &str) -> Option<Arc<dyn TokenCounter>> {
        (name == tokens::ESTIMATE).then(|| Arc::new(Self::default()) as _)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parts = Arc::new(Counting::default());
    let ports = Ports {
        store: Arc::new(MapStore::default()),
        clock: Arc::clone(&parts) as _,
        ids: Arc::clone(&parts) as _,
        entropy: Arc::clone(&parts) as _,
        counter: Arc::clone(&parts) as _,
        encodings: parts,
    };
    let sessions = SessionManager::with(ports, Settings::default())?;

    let chat = sessions.create(NewSession::titled("Bare")).await?;
    chat.append(Message::user("Do you need more than a map?")).await?;
    chat.append(Message::assistant("Yes.")).await?;
    chat.undo(1).await?;
    let receipt = chat.append(Message::assistant("No.")).await?;
    let fork = chat.fork(sessions_app::At::Message(receipt.message)).await?;

    let mut out = io::stdout();
    for message in chat.last(10).await? {
        writeln!(out, "{:>2} {:?}: {}", message.seq, message.role, message.text())?;
    }
    let listed = sessions.list(&sessions_app::Query::default()).await?.sessions.len();
    writeln!(out, "{} branches, {listed} sessions, fork {}", chat.branches().await?.len(), fork.id())?;
    sessions.close().await?;
    Ok(())
}
