//! A session that others inherit from is shredded, and its forks are detached or go with it: a process that does it is killed at a system call, and whoever
//! comes next finds each fork whole (or gone with it), goes on with it, and ends what was broken off.
//!
//! The process that is killed is this test's program, started again with `SESSIONS_DELETION` and under strace, which kills it.
//!
//! Must not know: how a fork is detached, or what is written when.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use sessions_app::{At, Deletion, Forks, NewSession, Session, SessionError, SessionManager};
use sessions_domain::{Message, SessionId, StoredMessage};
use sessions_infra::{
    environment::SystemClock,
    keys::{FileKeyStore, KeyFileProvider},
    sealing::{SealedStore, StoreOpener},
    sled::{OpenReport, Sealing, SledOptions, SledStore, verify_sealed},
};
use sessions_ports::{Erasure, SecretKey, SessionLog as _};
use tempfile::TempDir;

use crate::{
    equipment::{chance, folder, has, recorded, tampered},
    inside::{copy, runtime},
    removed::manager,
};

fn key() -> KeyFileProvider {
    KeyFileProvider::of(SecretKey::take(&mut [1; 32]))
}

async fn open(path: &Path) -> SealedStore {
    let options = SledOptions { sealing: Sealing::Sealed, cache_bytes: 8 << 20 };
    let log = SledStore::open(path, options).await.unwrap();
    let OpenReport { damaged, shortened, .. } = log.report();
    assert!(*damaged == 0 && !shortened, "{}", log.report());
    let keys = FileKeyStore::open(&log.keys_folder(), log.id()).await.unwrap();
    let opened =
        SealedStore::open_or_create(Arc::new(log.clone()), Arc::new(keys), &key(), Arc::new(SystemClock)).await;
    let store = opened.unwrap();
    let attested = log.witness(Arc::new(store.witness().unwrap())).unwrap();
    assert!(attested.is_sound(), "{attested}");
    store
}

/// A parent that others inherit from: a fork, that one's fork, and a fork of one that was removed. And somebody who has nothing to do with them.
struct Family {
    parent: SessionId,
    removed: SessionId,
    forks: [SessionId; 3],
    other: SessionId,
}

/// What each session says, each message with its id and place.
type Said = BTreeMap<SessionId, Vec<StoredMessage>>;

async fn messages(session: &Session) -> Result<Vec<StoredMessage>, SessionError> {
    session.last(10_000).await
}

impl Family {
    async fn grow(path: &Path) -> (Self, Said) {
        let host = manager(open(path).await);
        let large = |name: &str| Message::user(format!("{name} {}", "and so on ".repeat(10_000)));
        let parent = host.create(NewSession::titled("parent")).await.unwrap();
        let mut places = Vec::new();
        for n in 0..600 {
            let message =
                if n % 250 == 99 { large("of the parent") } else { Message::user(format!("of the parent {n}")) };
            places.push(parent.append(message).await.unwrap());
        }
        let fork = parent.fork(At::Now).await.unwrap();
        for n in 0..5 {
            fork.append(if n == 2 { large("of the fork") } else { Message::user(format!("of the fork {n}")) })
                .await
                .unwrap();
        }
        let its_fork = fork.fork(At::Now).await.unwrap();
        its_fork.append(Message::user("of its fork")).await.unwrap();
        fork.append(Message::user("that its fork does not have")).await.unwrap();
        let removed = parent.fork(At::Message(places[399].message)).await.unwrap();
        let kept = removed.append(large("of the removed one")).await.unwrap();
        removed.append(Message::user("that nobody has")).await.unwrap();
        let heir = removed.fork(At::Message(kept.message)).await.unwrap();
        heir.append(Message::user("of its heir")).await.unwrap();
        let other = host.create(NewSession::titled("other")).await.unwrap();
        other.append(large("of another")).await.unwrap();
        let report = host.delete(removed.id(), Deletion::default()).await.unwrap();
        assert_eq!((report.heirs, report.erased), (vec![heir.id()], None));
        let mut said = Said::new();
        for session in [&parent, &fork, &its_fork, &heir, &other] {
            said.insert(session.id(), messages(session).await.unwrap());
        }
        host.close().await.unwrap();
        let forks = [fork.id(), its_fork.id(), heir.id()];
        (Self { parent: parent.id(), removed: removed.id(), forks, other: other.id() }, said)
    }
}

fn deletion(forks: Forks) -> Deletion {
    Deletion::shredding().forks(forks)
}

/// The process that is to be killed. Without the variable it is a test that has nothing to do.
#[test]
fn the_process_that_is_killed() {
    let Some(order) = env::var_os("SESSIONS_DELETION") else { return };
    let order = order.into_string().unwrap();
    let [forks, parent, path] = order.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let forks = if forks == "cascade" { Forks::Cascade } else { Forks::Detach };
    runtime().block_on(async {
        let host = manager(open(Path::new(path)).await);
        fs::write(begun(Path::new(path)), BEGUN).unwrap();
        let report = host.delete(parent.parse().unwrap(), deletion(forks)).await.unwrap();
        assert!(report.erased.is_some(), "its keys are there");
        fs::write(begun(Path::new(path)), "ended").unwrap();
        host.close().await.unwrap();
    });
}

/// With the call that is to kill it, and which of its kind in a thread. True: it was killed in the middle.
fn run(under: &[String], how: Forks, parent: SessionId, path: &Path) -> bool {
    let (program, words) = under.split_first().unwrap();
    let how = if how == Forks::Cascade { "cascade" } else { "detach" };
    let begun = begun(path);
    let _absent = fs::remove_file(&begun);
    let output = Command::new(program)
        .args(words)
        .arg(env::current_exe().unwrap())
        .args(["--exact", "inheritance::the_process_that_is_killed", "--nocapture", "--test-threads=1"])
        .env("SESSIONS_DELETION", format!("{how} {parent} {}", path.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let was_killed = output.status.signal() == Some(9);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(was_killed || output.status.success(), "{under:?}: {}\n{said}", output.status);
    was_killed && fs::read(begun).is_ok_and(|said| said == BEGUN)
}

/// Where the process says that its store is open, and that it is done.
fn begun(path: &Path) -> PathBuf {
    path.with_extension("begun")
}

/// The system calls with which something is changed between beginning and end: each can be the n-th of its kind in a thread.
fn calls_of(how: Forks, parent: SessionId, path: &Path) -> Vec<(String, u32)> {
    let record = path.with_extension("calls");
    let under = recorded(&format!("write,{}", CALLS.join(",")), "signal=SIGKILL:when=65535", &record);
    assert!(!run(&under, how, parent, path), "nothing kills it");
    let (mut counts, mut places) = (BTreeMap::new(), Vec::new());
    let (mut seen, mut is_between) = (BTreeMap::new(), false);
    for line in fs::read_to_string(&record).unwrap().lines() {
        is_between |= line.contains("\"begun\"");
        is_between &= !line.contains("\"ended\"");
        let (thread, call) = line.split_once(' ').unwrap();
        let Some(call) = CALLS.into_iter().find(|known| call.trim_start().starts_with(&format!("{known}("))) else {
            continue;
        };
        let nth: &mut u32 = counts.entry((thread.to_owned(), call)).or_default();
        *nth += 1;
        // The first thread that comes so far is the one that is hit.
        let most: &mut u32 = seen.entry(call).or_default();
        if *nth > *most {
            *most = *nth;
            if is_between {
                places.push((call.to_owned(), *nth));
            }
        }
    }
    places
}

/// How often each deletion is broken off.
const KILLS: usize = 60;
const CALLS: [&str; 4] = ["fdatasync", "fsync", "rename", "pwrite64"];
const BEGUN: &[u8] = b"begun";

/// Whoever is there is whole and goes on, and nobody is gone whom somebody inherits from who is not. Gives who is gone.
async fn go_on(host: &SessionManager, family: &Family, said: &mut Said, why: &str) -> Vec<SessionId> {
    let mut gone = Vec::new();
    for (id, said) in said.iter_mut() {
        let session = match host.load(*id).await {
            Ok(session) => session,
            Err(SessionError::Gone { .. }) => {
                gone.push(*id);
                continue;
            }
            Err(error) => panic!("{why}: {id}: {error}"),
        };
        assert_says(&session, said, why).await;
        let receipt = session.append(Message::user("and on")).await.unwrap_or_else(|error| panic!("{why}: {error}"));
        let added = session.last(1).await.unwrap().remove(0);
        assert_eq!((added.id, added.seq), (receipt.message, receipt.version), "{why}");
        said.push(added);
    }
    let is_gone = |id: SessionId| gone.contains(&id);
    let [fork, its_fork, _] = family.forks;
    assert!(!is_gone(fork) || is_gone(its_fork), "{why}: it went before its fork");
    assert!(!is_gone(family.other), "{why}: it has nothing to do with this");
    said.retain(|id, _| !gone.contains(id));
    gone
}

async fn assert_says(session: &Session, said: &[StoredMessage], why: &str) {
    let now = messages(session).await.unwrap_or_else(|error| panic!("{why}: {}: {error}", session.id()));
    assert!(now == said, "{why}: {} says {} messages of {}, or others", session.id(), now.len(), said.len());
    assert_eq!(session.summary().await.unwrap().messages, said.len() as u64, "{why}");
}

/// What only this slot has, in pieces.
fn pieces(slots: &[u8], number: u64) -> Vec<&[u8]> {
    let at = 512 * (usize::try_from(number).unwrap() + 1);
    let is_own = |piece: &&[u8]| slots.chunks(16).filter(|other| other == piece).count() == 1;
    slots[at..at + 512].chunks(16).filter(is_own).collect()
}

fn wrapped(path: &Path) -> Vec<u8> {
    fs::read(path.join("keys/slots")).unwrap()
}

/// A store before a deletion, and what it says.
struct Scene {
    ground: TempDir,
    family: Family,
    said: Said,
    forks: Forks,
}

impl Scene {
    fn before(&self) -> PathBuf {
        self.ground.path().join("before")
    }

    async fn set(forks: Forks) -> Self {
        let ground = folder();
        let (family, said) = Family::grow(&ground.path().join("before")).await;
        Self { ground, family, said, forks }
    }

    fn fresh(&self) -> PathBuf {
        let path = self.ground.path().join("store");
        let _absent = fs::remove_dir_all(&path);
        copy(&self.before(), &path);
        path
    }

    /// Whatever broke the deletion off: what is there is whole, and another call ends it.
    async fn end(&self, path: &Path, why: &str) {
        let Family { parent, removed, forks, .. } = &self.family;
        let store = open(path).await;
        let (host, mut said) = (manager(store.clone()), self.said.clone());
        let gone = go_on(&host, &self.family, &mut said, why).await;
        let are_gone = forks.iter().filter(|fork| gone.contains(fork)).count();
        match self.forks {
            Forks::Cascade => assert!(!gone.contains(parent) || are_gone == 3, "{why}: it went before its forks"),
            _ => {
                assert_eq!(are_gone, 0, "{why}: they were to stay");
                let heirs = store.heirs(*parent).await.unwrap();
                assert!(!gone.contains(parent) || heirs.is_empty(), "{why}: it went before its forks were detached");
            }
        }
        let report = host.delete(*parent, deletion(self.forks)).await;
        let report = report.unwrap_or_else(|error| panic!("{why}, again: {error}"));
        let erased = report.erased.unwrap_or_else(|| panic!("{why}: its keys are there"));
        assert_eq!(erased.how, Erasure::Overwritten, "{why}");
        let host = manager(store.clone());
        let mut went = vec![*parent, *removed];
        if self.forks == Forks::Cascade {
            went.extend(forks);
        }
        let before = wrapped(&self.before());
        for id in &went {
            said.remove(id);
            let answer = host.load(*id).await.map(|session| session.id());
            assert!(matches!(answer, Err(SessionError::Gone { .. })), "{why}: {answer:?}");
            let again = host.delete(*id, Deletion::shredding()).await.unwrap();
            let erased = again.erased.unwrap_or_else(|| panic!("{why}: keys of {id} are there"));
            let (now, own) = (wrapped(path), pieces(&before, erased.slot));
            assert!(again.was_gone && own.len() > 5);
            let is_left = |piece: &&[u8]| now.chunks(16).any(|other| other == *piece);
            assert!(!own.iter().any(is_left), "{why}: wrapped keys of {id} are there");
        }
        let status = store.key_status().await.unwrap();
        assert_eq!((status.live, status.damaged), (said.len() as u64, 0), "{why}");
        assert_eq!(go_on(&host, &self.family, &mut said, why).await, [], "{why}");
        host.close().await.unwrap();
        drop((store, host));
        let opener = Arc::new(StoreOpener::unlock(path, &key()).await.unwrap());
        let witness = opener.witness().unwrap();
        assert_eq!(verify_sealed(path, Some(&witness), opener).unwrap().findings, [], "{why}");
        let host = manager(open(path).await);
        assert_eq!(go_on(&host, &self.family, &mut said, why).await, [], "{why}, later");
        host.close().await.unwrap();
    }
}

fn is_broken_off_anywhere(test: &str, forks: Forks) {
    if !has(test, &["strace"], false) {
        return;
    }
    let mut chance = chance(test);
    let scene = runtime().block_on(Scene::set(forks));
    let parent = scene.family.parent;
    let path = scene.fresh();
    let mut calls = calls_of(forks, parent, &path);
    runtime().block_on(scene.end(&path, "undisturbed"));
    let all = calls.len();
    for at in (1..calls.len()).rev() {
        calls.swap(at, chance.below(at as u64 + 1) as usize);
    }
    let (mut killed, mut twice, mut bare) = (0, 0, 0);
    // Which thread makes how many of them is another matter each time, so some come to nothing.
    for (call, nth) in calls.iter().cycle().take(KILLS * 5) {
        let path = scene.fresh();
        let kill = |(call, nth): &(String, u32)| {
            run(&tampered(call, &format!("signal=SIGKILL:when={nth}")), forks, parent, &path)
        };
        if !kill(&(call.clone(), *nth)) {
            continue;
        }
        let mut why = format!("killed at {call} number {nth}");
        if killed % 3 == 0 {
            let again = &calls[chance.below(all as u64) as usize];
            twice += u32::from(kill(again));
            why = format!("{why}, and again at {} number {}", again.0, again.1);
        }
        if killed % 4 == 1 {
            fs::remove_dir_all(path.join("index")).unwrap();
            why = format!("{why}, without the index");
            bare += 1;
        }
        runtime().block_on(scene.end(&path, &why));
        killed += 1;
        if killed == KILLS {
            break;
        }
    }
    println!("{test}: {killed} kills at any of {all} calls, {twice} times again, {bare} times without the index");
    assert_eq!(killed, KILLS);
}

#[test]
fn detaching_forks_survives_a_kill_at_any_call() {
    is_broken_off_anywhere("inheritance::detaching_forks_survives_a_kill_at_any_call", Forks::Detach);
}

#[test]
fn a_cascade_survives_a_kill_at_any_call() {
    is_broken_off_anywhere("inheritance::a_cascade_survives_a_kill_at_any_call", Forks::Cascade);
}
