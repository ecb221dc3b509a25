//! Large bodies: each is a file of its own, and one thread writes them, so that no other session's append waits for one or fails with it.
//!
//! An append with large bodies waits here, and with it all that follows in its session. Once its files are durable it goes on to the writer.
//!
//! **Invariant**: no file is removed that a record in the log may name.
//!
//! Must not know: the log.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fs, io,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
};

use bytes::Bytes;
use sessions_domain::{SessionId, chain};
use sessions_ports::{StoreError, StoreId};

use super::{
    core::Core,
    folder::{self, failed},
    ledger::Ledger,
    log_state::Job,
};

/// The name of a body's file.
pub(crate) type BodyName = [u8; 32];

/// Appends that wait for their large bodies.
#[derive(Default)]
pub(crate) struct Bodies {
    /// The first one of each session has bodies to be written.
    held: HashMap<SessionId, VecDeque<Held>>,
    /// Counts all that ever waited.
    stamp: u64,
    /// Sessions in the order of their turns.
    turns: VecDeque<SessionId>,
    /// Bytes of all bodies that wait.
    bytes: usize,
    /// Files that no record in the log names, and how many appends on their way do.
    unnamed: HashMap<BodyName, usize>,
    /// Names whose last append failed.
    leftovers: Vec<BodyName>,
    /// How many appends on their way name a body, one that is there already included.
    on_the_way: HashMap<BodyName, usize>,
    /// Names that only records of removed sessions may have, until somebody else names them too.
    suspects: HashSet<BodyName>,
    /// Files that are to be removed, and who hears how many there were, and how large.
    condemned: Option<(Vec<BodyName>, Heard)>,
}

/// Who hears how many files were removed, and how many bytes they had on the disk.
type Heard = mpsc::Sender<(u64, u64)>;

/// An append that waits.
struct Held {
    /// No other has the same: one that is tried again has the session and the version of the one that failed.
    stamp: u64,
    job: Job,
}

impl Bodies {
    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// True when a job has to wait here.
    pub(crate) fn keeps(&self, job: &Job) -> bool {
        !job.bodies.is_empty() || self.held.contains_key(&job.session)
    }

    /// Takes a job that has to wait.
    pub(crate) fn hold(&mut self, job: Job) {
        let session = job.session;
        self.bytes += job.weight();
        self.stamp += 1;
        let waiting = self.held.entry(session).or_default();
        if waiting.is_empty() {
            self.turns.push_back(session);
        }
        waiting.push_back(Held { stamp: self.stamp, job });
    }

    /// Bytes of all bodies that wait.
    pub(crate) fn weight(&self) -> usize {
        self.bytes
    }

    /// Bytes of the frames of all that waits.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.held.values().flatten().map(|held| held.job.frames.len()).sum()
    }

    /// Takes away what waits of these sessions, in its order.
    pub(crate) fn give_up(&mut self, sessions: impl Fn(SessionId) -> bool) -> Vec<Job> {
        self.turns.retain(|session| !sessions(*session));
        let given_up: Vec<SessionId> = self.held.keys().copied().filter(|session| sessions(*session)).collect();
        let given_up = given_up.iter().filter_map(|session| self.held.remove(session)).flatten();
        let given_up: Vec<Job> = given_up.map(|held| held.job).collect();
        self.bytes = self.bytes.saturating_sub(given_up.iter().map(Job::weight).sum());
        given_up
    }

    /// An append that is queued names a body.
    pub(crate) fn named_by(&mut self, name: BodyName) {
        self.suspects.remove(&name);
        if let Some((condemned, _)) = &mut self.condemned {
            condemned.retain(|other| *other != name);
        }
        *self.on_the_way.entry(name).or_default() += 1;
    }

    /// Nobody but removed sessions seems to name these.
    pub(crate) fn suspect(&mut self, names: impl Iterator<Item = BodyName>) {
        self.suspects = names.filter(|name| !self.on_the_way.contains_key(name)).collect();
    }

    /// Has the files removed that nobody has named since they were suspected, and that are not among those that somebody names.
    pub(crate) fn condemn(&mut self, alive: &HashSet<BodyName>, heard: Heard) {
        let condemned = std::mem::take(&mut self.suspects).into_iter().filter(|name| !alive.contains(name)).collect();
        self.condemned = Some((condemned, heard));
    }

    /// An append is through, or has failed: what it names is known elsewhere, or not named.
    pub(crate) fn known(&mut self, blobs: &[(u64, BodyName)]) {
        for (_, name) in blobs {
            if let Some(count) = self.on_the_way.get_mut(name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.on_the_way.remove(name);
                }
            }
        }
    }

    /// A record in the log names these files now.
    pub(crate) fn named(&mut self, job: &mut Job) {
        for name in job.files.drain(..) {
            self.unnamed.remove(&name);
        }
    }

    /// An append that will never be in the log names these files no more.
    pub(crate) fn released(&mut self, job: &mut Job) {
        for name in job.files.drain(..) {
            if let Some(count) = self.unnamed.get_mut(&name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.leftovers.push(name);
                }
            }
        }
    }

    /// Files to be removed. Only the thread that writes files may ask, because it alone can bring one of them back.
    fn take_leftovers(&mut self) -> Vec<BodyName> {
        let mut left = std::mem::take(&mut self.leftovers);
        left.retain(|name| self.unnamed.get(name) == Some(&0));
        self.unnamed.retain(|name, _| !left.contains(name));
        left
    }

    fn turn(&self) -> Option<&Held> {
        self.held.get(self.turns.front()?)?.front()
    }

    fn turn_mut(&mut self) -> Option<&mut Job> {
        self.held.get_mut(self.turns.front()?)?.front_mut().map(|held| &mut held.job)
    }

    /// The first append's files are durable: it may go on, and so may what waited behind it.
    fn go_on(&mut self) -> VecDeque<Job> {
        let mut free = VecDeque::new();
        let Some(session) = self.turns.pop_front() else { return free };
        let Some(mut waiting) = self.held.remove(&session) else { return free };
        if let Some(Held { job, .. }) = waiting.front_mut() {
            self.bytes = self.bytes.saturating_sub(job.weight());
            job.bodies.clear();
        }
        let count = waiting.iter().take_while(|held| held.job.bodies.is_empty()).count();
        free.extend(waiting.drain(..count).map(|held| held.job));
        if !waiting.is_empty() {
            self.turns.push_back(session);
            self.held.insert(session, waiting);
        }
        free
    }
}

/// An append whose turn it is.
struct Turn {
    session: SessionId,
    stamp: u64,
    bodies: Vec<(BodyName, Bytes)>,
}

impl Turn {
    fn of(held: &Held) -> Self {
        let Held { stamp, job } = held;
        let names = job.blobs.iter().map(|(_, name)| *name);
        Self { session: job.session, stamp: *stamp, bodies: names.zip(job.bodies.iter().cloned()).collect() }
    }

    /// False once the append was given up, also when it is tried again since.
    fn is_on(&self, ledger: &Ledger) -> bool {
        ledger.bodies.turn().is_some_and(|held| held.stamp == self.stamp)
    }
}

/// Why bodies were not written.
enum Failure {
    /// They were not, and nothing else is the worse for it.
    Refused(StoreError),
    /// What a folder holds on the disk is not known any more.
    Fatal,
}

/// The file of a body.
pub(crate) fn path_of(blobs: &Path, name: &BodyName) -> PathBuf {
    let name = chain::to_hex(name);
    let (folder, _) = name.split_at_checked(2).unwrap_or(("00", ""));
    blobs.join(folder).join(&name)
}

/// Reads a body; `None` where its file is gone or not as it was written.
///
/// # Errors
/// What the system refuses for a reason that says nothing about the file.
pub(crate) fn read(blobs: &Path, store: StoreId, name: &BodyName) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path_of(blobs, name)) {
        Ok(body) => Ok((super::blob_name(store, &body) == *name).then_some(body)),
        Err(error) if folder::is_refusal(&error) => Err(failed("reading a large message", error)),
        Err(_) => Ok(None),
    }
}

/// Ends the waiting of whoever still waits when the thread ends, in whatever way.
struct Ending<'a>(&'a Core);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut ledger = self.0.lock();
        ledger.poisoned |= std::thread::panicking();
        ledger.bodies.condemned = None;
        let left = ledger.bodies.give_up(|_| true);
        let is_poisoned = ledger.poisoned;
        let error = || if is_poisoned { StoreError::Poisoned } else { StoreError::Closed };
        for mut job in left {
            ledger.withdraw(&mut job, error);
            job.refuse(error());
        }
        ledger.sync_wanted |= is_poisoned;
        drop(ledger);
        self.0.wake_writer();
    }
}

/// Writes bodies until the store is closed.
pub(crate) fn run(core: &Core) {
    let _ending = Ending(core);
    let blobs = core.folder.blobs();
    while let Some((leftovers, turn)) = next(core) {
        remove(&blobs, &leftovers);
        // Whoever names one of them from here on has it written again by this thread.
        let condemned = core.lock().bodies.condemned.take();
        if let Some((names, heard)) = condemned {
            let _ = heard.send(execute(&blobs, &names));
        }
        let Some(turn) = turn else { continue };
        let there: HashSet<BodyName> =
            turn.bodies.iter().filter(|(name, _)| path_of(&blobs, name).exists()).map(|(name, _)| *name).collect();
        if !begin(&mut core.lock(), &turn, &there) {
            continue;
        }
        #[cfg(test)]
        core.pass("writing bodies");
        match write(&blobs, &turn) {
            Ok(()) => {
                let mut ledger = core.lock();
                if turn.is_on(&ledger) {
                    let free = ledger.bodies.go_on();
                    ledger.queue.extend(free);
                }
                drop(ledger);
                core.wake_writer();
            }
            Err(failure) => give_up(core, &blobs, &turn, failure),
        }
    }
}

/// Waits for something to do; `None`: the store is closed and nothing is left.
fn next(core: &Core) -> Option<(Vec<BodyName>, Option<Turn>)> {
    let mut ledger = core.lock();
    loop {
        let leftovers = ledger.bodies.take_leftovers();
        let turn = ledger.bodies.turn().map(Turn::of);
        if !leftovers.is_empty() || turn.is_some() || ledger.bodies.condemned.is_some() {
            return Some((leftovers, turn));
        }
        if ledger.closed {
            return None;
        }
        ledger = core.wait_for_bodies(ledger);
    }
}

/// Notes which files come into being with this append. One that is there and in use already is none of them.
fn begin(ledger: &mut Ledger, turn: &Turn, there: &HashSet<BodyName>) -> bool {
    if !turn.is_on(ledger) {
        return false;
    }
    let names = turn.bodies.iter().map(|(name, _)| *name);
    let files: BTreeSet<BodyName> =
        names.filter(|name| !there.contains(name) || ledger.bodies.unnamed.contains_key(name)).collect();
    for name in &files {
        *ledger.bodies.unnamed.entry(*name).or_default() += 1;
    }
    if let Some(job) = ledger.bodies.turn_mut() {
        job.files = files.into_iter().collect();
    }
    true
}

/// Makes the files of an append durable, with their names.
fn write(blobs: &Path, turn: &Turn) -> Result<(), Failure> {
    let refused = |error: io::Error| Failure::Refused(failed("writing a large message", error));
    let mut folders = BTreeSet::new();
    for (name, body) in &turn.bodies {
        let path = path_of(blobs, name);
        let Some(parent) = path.parent() else { continue };
        folder::make(parent).map_err(Failure::Refused)?;
        let temporary = path.with_extension("new");
        let write = || {
            let mut file = folder::private().write(true).create(true).truncate(true).open(&temporary)?;
            file.write_all(body)?;
            // Nothing else stands in this file, so when its sync fails it is thrown away, and the next try makes another.
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(refused)?;
        folders.insert(parent.to_owned());
    }
    for folder in folders.iter().map(PathBuf::as_path).chain([blobs]) {
        folder::sync_dir(folder).map_err(|_| Failure::Fatal)?;
    }
    Ok(())
}

/// Refuses an append whose bodies were not written, and what waits behind it. Nothing of it stays, and nobody else hears of it, unless a
/// folder's sync failed.
fn give_up(core: &Core, blobs: &Path, turn: &Turn, failure: Failure) {
    let why = match failure {
        Failure::Refused(why) => Some(why),
        Failure::Fatal => None,
    };
    let refusal = || match &why {
        Some(StoreError::NoSpace { operation }) => StoreError::NoSpace { operation },
        Some(other) => super::trouble::refused(&other.to_string()),
        None => StoreError::Poisoned,
    };
    let mut ledger = core.lock();
    let is_on = turn.is_on(&ledger);
    let mut given_up = ledger.bodies.give_up(|session| is_on && session == turn.session);
    let bytes: usize = given_up.iter().map(|job| job.frames.len()).sum();
    ledger.queued_bytes = ledger.queued_bytes.saturating_sub(bytes);
    // Before the store is poisoned: none of it was ever in the log, so its files can go whatever the failure was.
    given_up.iter_mut().for_each(|job| ledger.withdraw(job, refusal));
    ledger.poisoned |= why.is_none();
    ledger.sync_wanted |= why.is_none();
    let leftovers = ledger.bodies.take_leftovers();
    drop(ledger);
    let temporary = turn.bodies.iter().map(|(name, _)| path_of(blobs, name).with_extension("new"));
    temporary.for_each(|path| drop(fs::remove_file(path)));
    remove(blobs, &leftovers);
    given_up.iter_mut().for_each(|job| job.refuse(refusal()));
    core.wake_writer();
}

/// Removes files that nobody needs: how many there were, and their bytes on the disk.
fn execute(blobs: &Path, names: &[BodyName]) -> (u64, u64) {
    let (mut count, mut bytes, mut folders) = (0, 0, BTreeSet::new());
    for path in names.iter().map(|name| path_of(blobs, name)) {
        let size = fs::metadata(&path).map_or(0, |about| about.blocks() * 512);
        if fs::remove_file(&path).is_ok() {
            (count, bytes) = (count + 1, bytes + size);
            folders.extend(path.parent().map(Path::to_owned));
        }
    }
    for folder in folders {
        // One that comes back after a power cut is set aside by the next opening.
        let _ = fs::remove_dir(&folder).or_else(|_| folder::sync_dir(&folder).map_err(io::Error::other));
    }
    let _ = folder::sync_dir(blobs);
    (count, bytes)
}

/// Removes files that no record names, and the folders that they leave empty.
fn remove(blobs: &Path, names: &[BodyName]) {
    for path in names.iter().map(|name| path_of(blobs, name)) {
        let _ = fs::remove_file(&path);
        let _ = path.parent().map(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::mpsc};

    use sessions_domain::Kind;
    use sessions_ports::{Commit, Committed, Durability, KindFilter, Order, ReadRange, SessionLog as _};
    use sessions_testkit::Script;
    use tempfile::TempDir;
    use tokio::task::{JoinHandle, spawn_blocking, yield_now};

    use super::*;
    use crate::sled::{IndexReport, MAX_QUEUED_BYTES, SledOptions, SledStore, blob_name};

    async fn store() -> (TempDir, SledStore) {
        let ground = TempDir::new().unwrap();
        let store = SledStore::open(ground.path().join("store"), SledOptions::default()).await.unwrap();
        (ground, store)
    }

    /// The first append of a session, with a large body.
    fn large(number: u64, body: &Bytes) -> Commit {
        let mut commit = Script::new(number).commit(&[(Kind::CREATED, 0, b"")]);
        commit.records[0].payload = body.clone();
        commit.durability = Durability::Disk;
        commit
    }

    fn small(number: u64) -> Commit {
        let mut commit = Script::new(number).say("small");
        commit.durability = Durability::Disk;
        commit
    }

    fn temporary(store: &SledStore, body: &Bytes) -> PathBuf {
        let folder = &store.core().folder;
        let path = path_of(&folder.blobs(), &blob_name(folder.id, body));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path.with_extension("new")
    }

    fn files(store: &SledStore) -> Vec<PathBuf> {
        let folders = fs::read_dir(store.core().folder.blobs()).unwrap();
        folders
            .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
            .map(|file| file.unwrap().path())
            .collect()
    }

    fn waits(store: &SledStore) -> (usize, usize) {
        let ledger = store.core().lock();
        (ledger.queued_bytes, ledger.bodies.weight())
    }

    /// Sends an append on its way; its place is taken with the next pause.
    fn begin(store: &SledStore, commit: Commit) -> JoinHandle<Result<Committed, StoreError>> {
        let store = store.clone();
        tokio::spawn(async move { store.commit(commit).await })
    }

    /// A pipe in the place of a file: writing it lasts until somebody reads.
    fn block(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[tokio::test]
    async fn an_append_waits_for_no_large_body_of_another_session_and_what_waits_is_bounded() {
        let (_ground, store) = store().await;
        let body = Bytes::from(vec![b'x'; 32 << 20]);
        let pipe = temporary(&store, &body);
        block(&pipe);
        let fits = MAX_QUEUED_BYTES / body.len() + 1;
        let mut waiting: Vec<_> = (1..=fits).map(|number| begin(&store, large(number as u64, &body))).collect();
        yield_now().await;
        let refused = store.commit(large(99, &body)).await;
        assert!(matches!(refused, Err(StoreError::NoSpace { .. })), "{refused:?}");
        store.commit(small(100)).await.unwrap();
        // The pipe takes all bytes, and cannot be synced: that append is refused and no other.
        let read = spawn_blocking(move || fs::read(pipe).unwrap().len());
        let first = waiting.remove(0).await.unwrap();
        assert!(matches!(first, Err(StoreError::Backend(_))), "{first:?}");
        assert_eq!(read.await.unwrap(), body.len());
        for outcome in waiting {
            outcome.await.unwrap().unwrap();
        }
        assert_eq!(waits(&store), (0, 0));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_behind_a_large_body_that_fails_fails_with_it_and_nothing_of_it_stays() {
        let (_ground, store) = store().await;
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        let mut script = Script::new(1);
        store.commit(script.say("before")).await.unwrap();
        let in_the_way = temporary(&store, &body);
        fs::create_dir(&in_the_way).unwrap();
        let mut first = script.say("before it, and still on its way");
        first.durability = Durability::Disk;
        let mut failing = script.say("large");
        failing.records[0].payload = body.clone();
        let behind = script.say("behind");
        let commits = [first, failing, behind, small(2)].map(|commit| begin(&store, commit));
        for (commit, happens) in commits.into_iter().zip([true, false, false, true]) {
            let outcome = commit.await.unwrap();
            assert_eq!(outcome.is_ok(), happens, "{outcome:?}");
        }
        fs::remove_dir(in_the_way).unwrap();
        assert_eq!(files(&store), Vec::<PathBuf>::new());
        assert_eq!(store.head(script.session()).await.unwrap().unwrap().version, 2);
        assert_eq!(waits(&store), (0, 0));
        store.commit(script.behind(2, script.written()[1].commit, b"goes on", Durability::Disk)).await.unwrap();
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_body_that_a_record_names_is_not_removed_with_another_append_that_fails() {
        let (_ground, store) = store().await;
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        let one = large(1, &body);
        let session = one.session;
        store.commit(one).await.unwrap();
        let in_the_way = temporary(&store, &body);
        fs::create_dir(&in_the_way).unwrap();
        store.commit(large(2, &body)).await.unwrap_err();
        fs::remove_dir(in_the_way).unwrap();
        let all = ReadRange {
            from: 1,
            to: 1,
            order: Order::OldestFirst,
            kinds: KindFilter::All,
            max_records: 1,
            max_bytes: 1,
        };
        assert_eq!(store.read(session, all).await.unwrap().records[0].payload, body);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_body_of_two_records_is_one_file_and_the_index_stays_whole() {
        let (ground, store) = store().await;
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        store.commit(large(1, &body)).await.unwrap();
        // Into the index once by itself, and once together with another.
        store.close().await.unwrap();
        let path = ground.path().join("store");
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        store.commit(large(2, &body)).await.unwrap();
        store.commit(large(3, &body)).await.unwrap();
        assert_eq!(files(&store).len(), 1);
        store.close().await.unwrap();
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        assert_eq!(store.report().index, IndexReport::Opened);
        store.close().await.unwrap();
    }

    /// Stops a thread where it passes: what tells that it stands there, and what lets it go on.
    fn stop(store: &SledStore, point: &'static str) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (heard, stands) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        store.core().hook(point, move |_| {
            heard.send(()).unwrap();
            let _ = goes.recv();
        });
        (stands, go)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_append_that_is_tried_again_while_the_first_try_is_written_has_its_own_body() {
        let (ground, store) = store().await;
        let disk = |commit: Commit| Commit { durability: Durability::Disk, ..commit };
        let mut script = Script::new(1);
        let piece = vec![b'p'; 60_000];
        // The next append needs a new segment, and there can be none.
        store.commit(disk(script.commit(&vec![(Kind::APPENDED, 0, &piece[..]); 270]))).await.unwrap();
        let in_the_way = ground.path().join("store/log/00000002.seg");
        fs::create_dir(&in_the_way).unwrap();
        let (writer_stands, writer_goes) = stop(&store, "writing");
        let (bodies_stand, bodies_go) = stop(&store, "writing bodies");
        let before = disk(script.commit(&vec![(Kind::APPENDED, 0, &piece[..]); 12]));
        let first = begin(&store, before.clone());
        writer_stands.recv().unwrap();
        let mut other = script.clone();
        let large = begin(&store, disk(script.say(&"x".repeat(100_000))));
        bodies_stand.recv().unwrap();
        writer_goes.send(()).unwrap();
        for failing in [first, large] {
            assert!(matches!(failing.await.unwrap(), Err(StoreError::Backend(_))));
        }
        fs::remove_dir(&in_the_way).unwrap();
        // Both are tried again, the large one with other bytes, before the body of the first try is written.
        store.commit(before).await.unwrap();
        let again = disk(other.say(&"y".repeat(100_000)));
        let (seq, body) = (again.records[0].seq, again.records[0].payload.clone());
        let again = begin(&store, again);
        while store.core().lock().bodies.is_empty() {
            yield_now().await;
        }
        bodies_go.send(()).unwrap();
        again.await.unwrap().unwrap();
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let range = ReadRange { from: seq, to: seq, order, kinds, max_records: 1, max_bytes: 1 };
        assert_eq!(store.read(other.session(), range).await.unwrap().records[0].payload, body);
        assert_eq!(files(&store).len(), 1, "what the first try wrote is gone");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_large_body_on_its_way_is_written_before_the_store_closes() {
        let (ground, store) = store().await;
        let commit = large(1, &Bytes::from(vec![b'x'; 256 << 10]));
        let session = commit.session;
        let pending = begin(&store, commit);
        yield_now().await;
        pending.abort();
        // The last handle: nobody waits for the threads, and the next owner waits for the lock.
        assert!(pending.await.is_err());
        drop(store);
        let store = SledStore::open(ground.path().join("store"), SledOptions::default()).await.unwrap();
        assert!(store.head(session).await.unwrap().is_some());
        store.close().await.unwrap();
    }
}
