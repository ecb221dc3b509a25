//! A plain store is sealed in its place: it says what it said before, and none of it in the clear, whatever broke that off meanwhile.
//!
//! The process that is killed is this test's program, started again with `SESSIONS_SEALING`; it says where it is, and the test kills it there (SIGKILL).
//!
//! Must not know: how anything is sealed, or what is replaced when.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use sessions_app::{Append, At, Deletion, Forks, NewSession, Query, SessionError};
use sessions_domain::{Json, Message, SessionId};
use sessions_infra::{
    environment::SystemClock,
    keys::{FileKeyStore, KeyFileProvider},
    sealing::{SealStep, SealedInPlace, SealedStore, seal_in_place},
    sled::{OpenReport, RepairAction, Sealing, SledOptions, SledStore, repair, verify},
};
use sessions_ports::{BackendErrorKind, KeyError, SecretKey, SessionLog as _, StoreError};
use sessions_tests::chance::Chance;

use crate::{
    disk::{Disk, Space},
    equipment::{chance, folder, with_own_mounts},
    inside::{self, copy, files, runtime},
    removed::{manager, texts},
    rewritten::Pair,
};

const MARK: &str = "a yellow canary";

fn key(byte: u8) -> KeyFileProvider {
    KeyFileProvider::of(SecretKey::take(&mut [byte; 32]))
}

async fn seal(path: &Path) -> Result<SealedInPlace, StoreError> {
    seal_in_place(path, &key(1), true, |_| ControlFlow::Continue(())).await
}

/// The store of a sealed folder.
async fn open(path: &Path) -> SealedStore {
    let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
    let log = SledStore::open(path, options).await.unwrap();
    let OpenReport { torn_tail, damaged, shortened, .. } = log.report();
    assert!(torn_tail.is_none() && *damaged == 0 && !shortened, "{}", log.report());
    let keys = FileKeyStore::open(&log.keys_folder(), log.id()).await.unwrap();
    let opened = SealedStore::open(Arc::new(log.clone()), Arc::new(keys), &key(1), Arc::new(SystemClock)).await;
    let store = opened.unwrap();
    assert!(log.witness(Arc::new(store.witness().unwrap())).unwrap().is_sound());
    store
}

/// What is rewritten, adopted, large, removed, inherited or lost from the index, in any order.
async fn story(seed: u64) {
    let mut pair = Pair::new(seed).await;
    pair.live(seed, 80).await;
    pair.log.close().await.unwrap();
    let path = pair.path();
    let told = verify(&path).unwrap();
    let sealed = seal(&path).await.unwrap();
    assert!(!path.join("sealing").exists() && !sealed.resumed && sealed.not_overwritten == 0);
    let again = verify(&path).unwrap();
    assert_eq!((again.sessions, again.findings), (told.sessions, vec![]), "seed {seed}");
    for round in 0..2 {
        pair.log = Arc::new(open(&path).await);
        pair.compare(&format!("seed {seed}, sealed, round {round}")).await;
        pair.go_on(seed, 20).await;
        pair.log.close().await.unwrap();
    }
}

#[test]
fn whatever_was_done_before_reads_as_in_memory_and_goes_on() {
    let mut chance = chance("sealed_in_place::whatever_was_done_before_reads_as_in_memory_and_goes_on");
    for _ in 0..6 {
        runtime().block_on(story(chance.number()));
    }
}

/// What a store says: of each session its title and its messages.
type Said = BTreeMap<SessionId, (Option<String>, Vec<String>)>;

async fn said(store: impl sessions_ports::SessionLog + 'static) -> Said {
    let host = manager(store);
    let mut said = Said::new();
    let mut query = Query::default();
    loop {
        let page = host.list(&query).await.unwrap();
        for summary in &page.sessions {
            let session = host.load(summary.id).await.unwrap();
            said.insert(summary.id, (summary.title.clone(), texts(&session).await));
        }
        let Some(next) = page.cursor else { break };
        query.cursor = Some(next);
    }
    host.close().await.unwrap();
    said
}

/// What any store of the folder says, plain or sealed.
async fn said_at(path: &Path) -> (Sealing, Said) {
    match SledStore::open(path, SledOptions::default()).await {
        Ok(plain) => (Sealing::Plain, said(plain).await),
        Err(StoreError::Key(KeyError::Sealed)) => (Sealing::Sealed, said(open(path).await).await),
        Err(other) => panic!("{other}"),
    }
}

/// A plain store of so many sessions, marked words in all of them.
async fn filled(path: &Path, sessions: usize) {
    let host = manager(inside::open(path).await);
    for n in 0..sessions {
        let session = host.create(NewSession::titled(format!("{MARK} {n}"))).await.unwrap();
        session.append(Message::user(format!("{MARK} of session {n}"))).await.unwrap();
        if n % 25 == 3 {
            session.append(Message::user(format!("{MARK} ").repeat(9_000))).await.unwrap();
            session.fork(At::Now).await.unwrap().append(Message::user(format!("{MARK} of a fork"))).await.unwrap();
        }
        if n % 25 == 7 {
            host.delete(session.id(), Deletion::default()).await.unwrap();
        }
    }
    host.close().await.unwrap();
}

/// The files in which marked words stand.
fn marked(path: &Path) -> Vec<PathBuf> {
    let holds = |file: &PathBuf| fs::read(file).unwrap().windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes());
    files(path).into_iter().filter(holds).collect()
}

#[test]
fn everything_that_a_host_kept_is_there_and_nothing_in_the_clear() {
    runtime().block_on(async {
        let ground = folder();
        let path = ground.path().join("store");
        filled(&path, 10).await;
        let host = manager(inside::open(&path).await);
        let named = host.open_or_create(&format!("{MARK}-key")).await.unwrap();
        let once = || Append::from(Message::user(format!("{MARK} once"))).idempotency_key(format!("{MARK}-once"));
        let first = named.append(once()).await.unwrap();
        named.append(Message::user("undone")).await.unwrap();
        named.undo(1).await.unwrap();
        for key in [format!("{MARK}-state"), format!("user:{MARK}-state"), format!("app:{MARK}-state")] {
            named.set_state(&key, Json::of(&MARK).unwrap()).await.unwrap();
        }
        let inherits = named.fork(At::Now).await.unwrap();
        let adopts = named.fork(At::Now).await.unwrap();
        let other = adopts.fork(At::Now).await.unwrap();
        host.delete(adopts.id(), Deletion::default().forks(Forks::Detach)).await.unwrap();
        host.close().await.unwrap();
        let before = said(inside::open(&path).await).await;
        assert!(marked(&path).len() > 1);

        let sealed = seal(&path).await.unwrap();
        assert_eq!(sealed.sessions as usize, before.len() + 2, "those of the user's and the application's state too");
        assert!(sealed.files > 3 && sealed.bytes > 80_000 && sealed.records > 30, "{sealed:?}");
        assert_eq!(marked(&path), Vec::<PathBuf>::new());
        assert_eq!(said(open(&path).await).await, before);

        let store = open(&path).await;
        let status = store.key_status().await.unwrap();
        assert_eq!((status.destroyed, status.damaged), (0, 0));
        let host = manager(store.clone());
        let found = host.find(&format!("{MARK}-key")).await.unwrap();
        assert_eq!(found.id(), named.id());
        let again = found.append(once()).await.unwrap();
        assert_eq!((again.message, again.version, again.head), (first.message, first.version, first.head));
        found.redo(1).await.unwrap();
        assert_eq!(texts(&found).await.last().unwrap(), "undone");
        for key in [format!("{MARK}-state"), format!("user:{MARK}-state"), format!("app:{MARK}-state")] {
            assert_eq!(found.state(&key).await.unwrap(), Some(Json::of(&MARK).unwrap()), "{key}");
        }
        for (heir, said) in [(inherits.id(), 1), (other.id(), 1)] {
            assert_eq!(texts(&host.load(heir).await.unwrap()).await.len(), said);
        }
        // Keys change, and go.
        store.rotate_data(found.id(), |_| ()).await.unwrap();
        store.rotate(&key(1), |_| ()).await.unwrap();
        let report = host.delete(found.id(), Deletion::shredding().forks(Forks::Detach)).await.unwrap();
        assert!(report.erased.is_some());
        assert_eq!(texts(&host.load(inherits.id()).await.unwrap()).await, [format!("{MARK} once")]);
        host.close().await.unwrap();
        assert_eq!(verify(&path).unwrap().findings, []);
    });
}

#[test]
fn a_store_that_was_repaired_is_sealed_with_what_stands_for_its_losses() {
    runtime().block_on(async {
        let ground = folder();
        let path = ground.path().join("store");
        filled(&path, 5).await;
        let whole = said(inside::open(&path).await).await;
        let log = path.join("log/00000001.seg");
        // A record in the middle, a session's beginning, and a large body are lost.
        let mut bytes = fs::read(&log).unwrap();
        let frames: Vec<usize> =
            bytes.windows(4).enumerate().filter(|(_, magic)| *magic == b"SSN\x01").map(|(at, _)| at).collect();
        for at in [frames[1], frames[2]] {
            bytes[at + 90] ^= 0xff;
        }
        fs::write(&log, bytes).unwrap();
        let body = files(&path.join("blobs")).remove(0);
        fs::remove_file(body).unwrap();
        assert!(
            matches!(seal(&path).await, Err(StoreError::Backend(error)) if error.kind == BackendErrorKind::Unavailable)
        );
        let repaired = repair(&path, false).unwrap();
        assert!(repaired.actions.iter().any(|RepairAction { what, .. }| what.contains("lost")), "{repaired:?}");
        let before = said(inside::open(&path).await).await;
        let told = verify(&path).unwrap();
        assert!(told.lost > 1 && before != whole, "{told:?}");
        // What the repair set aside is in the clear.
        let refused = seal_in_place(&path, &key(1), false, |_| ControlFlow::Continue(())).await;
        assert!(matches!(refused, Err(StoreError::Key(KeyError::InTheClear { files: 2.. }))), "{refused:?}");
        seal(&path).await.unwrap();
        assert_eq!(marked(&path), Vec::<PathBuf>::new());
        let again = verify(&path).unwrap();
        assert_eq!((again.lost, again.findings.len()), (told.lost, told.findings.len()), "{again:?}\n{told:?}");
        assert_eq!(said(open(&path).await).await, before);
        fs::remove_dir_all(path.join("index")).unwrap();
        let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
        SledStore::open(&path, options).await.unwrap().close().await.unwrap();
        assert_eq!(said(open(&path).await).await, before, "without its index");
    });
}

#[test]
fn what_is_stopped_or_refused_changes_nothing() {
    runtime().block_on(async {
        let ground = folder();
        let path = ground.path().join("store");
        assert!(matches!(seal(&path).await, Err(StoreError::NoStore)));
        assert!(!path.exists());
        filled(&path, 4).await;
        let before = said_at(&path).await;
        let store = inside::open(&path).await;
        assert!(matches!(seal(&path).await, Err(StoreError::Locked { .. })));
        store.close().await.unwrap();
        drop(store);
        let mut stopped = 0;
        for steps in 1.. {
            let mut left = steps;
            let step = move |step| {
                left -= 1;
                // It is not asked any more once there is no way back.
                if left == 0 || step == SealStep::Replaced { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            match seal_in_place(&path, &key(1), true, step).await {
                Err(StoreError::Backend(error)) if error.kind == BackendErrorKind::Unavailable => stopped += 1,
                Ok(_) => break,
                other => panic!("{other:?}"),
            }
            assert!(!path.join("sealing").exists() && !path.join("keys").exists());
            assert_eq!(said_at(&path).await, before);
        }
        assert!(stopped >= 4, "{stopped}");
        assert_eq!(said_at(&path).await, (Sealing::Sealed, before.1));
        assert!(matches!(seal(&path).await, Err(StoreError::Key(KeyError::Sealed))));
    });
}

/// The frames of a segment of the log, with their checksums made anew.
fn forge(path: &Path, change: impl FnOnce(&mut Vec<u8>, &[Range<usize>])) {
    let file = path.join("sealing/log/00000001.seg");
    let mut bytes = fs::read(&file).unwrap();
    let number = |at: usize, bytes: &[u8]| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (mut frames, mut at) = (Vec::new(), 64);
    while bytes[at..].starts_with(b"SSN\x01") {
        // Behind the body stand messages and position, and where it is said the time and fields.
        let flags = bytes[at + 6];
        let mut end = at + 80 + number(at + 40, &bytes);
        end += if flags & 1 != 0 { 12 } else { 0 } + if flags & 32 != 0 { 8 } else { 0 };
        end += if flags & 4 != 0 { 4 + number(end, &bytes) } else { 0 };
        frames.push(at..end);
        at = end;
    }
    change(&mut bytes, &frames);
    let length = bytes.len();
    for frame in frames.into_iter().filter(|frame| frame.end <= length) {
        let (head, rest) = bytes[frame.clone()].split_at(44);
        let crc = crc32c::crc32c_append(crc32c::crc32c(head), &rest[4..]);
        bytes[frame.start + 44..frame.start + 48].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn what_was_written_otherwise_does_not_take_the_place_of_the_plain_store() {
    type Change = fn(&mut Vec<u8>, &[Range<usize>]);
    // Nobody can make another record that opens. The others are whole frames, and what is not sealed in them.
    let missing: Change = |log, frames| log.truncate(frames.iter().rfind(|at| log[at.start + 5] < 0xf0).unwrap().start);
    let counted: Change = |log, frames| {
        let first = frames[0].start;
        let length = u32::from_le_bytes(log[first + 40..first + 44].try_into().unwrap()) as usize;
        log[first + 80 + length] ^= 1;
    };
    let inherited: Change = |log, frames| {
        let is_link = |at: &usize| log[*at..].starts_with(&[4, 24, 0, 0, 0]);
        let of_frame = |frame: &Range<usize>| (frame.start + 80..frame.end).find(is_link);
        let link = frames.iter().filter(|frame| log[frame.start + 6] & 4 != 0).find_map(of_frame).unwrap();
        log[link + 5 + 16] -= 1;
    };
    runtime().block_on(async {
        let ground = folder();
        let path = ground.path().join("store");
        filled(&path, 4).await;
        let before = said_at(&path).await;
        for (change, what) in [(missing, "an append"), (counted, "a count"), (inherited, "an inheritance")] {
            let at = path.clone();
            let step = move |step| {
                if step == SealStep::Written {
                    forge(&at, change);
                }
                ControlFlow::Continue(())
            };
            let refused = seal_in_place(&path, &key(1), true, step).await;
            let is_found =
                matches!(&refused, Err(StoreError::Backend(error)) if error.kind == BackendErrorKind::Internal);
            assert!(is_found, "{what}: {refused:?}");
            assert!(!path.join("sealing").exists() && !path.join("keys").exists(), "{what}");
            assert_eq!(said_at(&path).await, before, "{what}");
        }
        seal(&path).await.unwrap();
        assert_eq!(said_at(&path).await, (Sealing::Sealed, before.1));
    });
}

#[test]
fn on_the_disk_itself_no_word_is_left_of_what_was_plain() {
    let test = "sealed_in_place::on_the_disk_itself_no_word_is_left_of_what_was_plain";
    if !with_own_mounts(test, &["mkfs.ext4", "perl"]) {
        return;
    }
    let ground = folder();
    let disk = Disk::make(ground.path(), 32);
    let path = disk.root.join("store");
    let marks = || {
        crate::equipment::run("sync", &["-f", disk.root.to_str().unwrap()]);
        let image = fs::read(ground.path().join("image")).unwrap();
        image.windows(MARK.len()).filter(|bytes| *bytes == MARK.as_bytes()).count()
    };
    runtime().block_on(async {
        filled(&path, 30).await;
        let before = marks();
        assert!(before > 9_000);
        seal(&path).await.unwrap();
        assert_eq!(marks(), 0);
        println!("{test}: figure: {before} marks on a device, none left of them");
    });
}

#[test]
fn a_store_with_parts_elsewhere_is_not_sealed_and_what_links_lead_to_is_left_alone() {
    runtime().block_on(async {
        let ground = folder();
        let (path, elsewhere) = (ground.path().join("store"), ground.path().join("elsewhere"));
        filled(&path, 4).await;
        let before = said_at(&path).await.1;
        for part in ["blobs", "index"] {
            fs::rename(path.join(part), &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, path.join(part)).unwrap();
            let refused = seal(&path).await;
            assert!(
                matches!(&refused, Err(StoreError::Backend(error)) if error.kind == BackendErrorKind::Path),
                "{refused:?}"
            );
            assert_eq!(said_at(&path).await, (Sealing::Plain, before.clone()), "{part}");
            fs::remove_file(path.join(part)).unwrap();
            fs::rename(&elsewhere, path.join(part)).unwrap();
        }
        // Killed behind the step that decides, and then somebody puts a link in a part's place.
        let places = run(7, &path);
        assert!(places.iter().any(|place| place.ends_with("Replaced")), "{places:?}");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("letter"), "somebody's own").unwrap();
        let _gone = fs::remove_dir_all(path.join("index"));
        std::os::unix::fs::symlink(&elsewhere, path.join("index")).unwrap();
        assert_eq!(said_at(&path).await, (Sealing::Sealed, before.clone()));
        assert_eq!(fs::read(elsewhere.join("letter")).unwrap(), b"somebody's own");
        assert!(!path.join("index").is_symlink());
    });
}

#[test]
fn what_somebody_plants_in_a_sealed_store_takes_nothing_of_it() {
    runtime().block_on(async {
        let ground = folder();
        let (path, older) = (ground.path().join("store"), ground.path().join("older"));
        filled(&path, 4).await;
        seal(&path).await.unwrap();
        copy(&path, &older);
        let host = manager(open(&path).await);
        host.create(NewSession::titled("newer")).await.unwrap();
        host.close().await.unwrap();
        let before = said_at(&path).await.1;
        let id = fs::read_to_string(path.join("FORMAT")).unwrap().lines().nth(1).unwrap().to_owned();
        for parts in [&["log"][..], &["blobs", "index", "quarantine"], &[]] {
            let planted = path.join("sealing");
            fs::create_dir(&planted).unwrap();
            parts.iter().for_each(|part| copy(&older.join(part), &planted.join(part)));
            fs::write(planted.join("SEALING"), format!("sessions-sealing 1\n{id}\n")).unwrap();
            assert_eq!(said_at(&path).await, (Sealing::Sealed, before.clone()), "{parts:?}");
            assert!(!planted.exists());
            assert_eq!(verify(&path).unwrap().findings, [], "{parts:?}");
        }
    });
}

#[test]
fn a_folder_of_that_name_that_is_not_the_stores_is_left_alone() {
    runtime().block_on(async {
        let ground = folder();
        let (path, other) = (ground.path().join("store"), ground.path().join("other"));
        filled(&path, 3).await;
        filled(&other, 1).await;
        let before = said_at(&path).await.1;
        // Somebody's own, and what a try left of another store.
        for marked in [false, true] {
            let planted = path.join("sealing/log");
            fs::create_dir_all(&planted).unwrap();
            fs::write(planted.join("00000001.seg"), "not of this store").unwrap();
            if marked {
                assert!(run(2, &other).len() == 2);
                fs::copy(other.join("sealing/SEALING"), path.join("sealing/SEALING")).unwrap();
            }
            let refused = seal(&path).await;
            assert!(
                matches!(&refused, Err(StoreError::Backend(error)) if error.kind == BackendErrorKind::Path),
                "{refused:?}"
            );
            assert_eq!(said_at(&path).await, (Sealing::Plain, before.clone()));
            assert!(planted.join("00000001.seg").exists());
            fs::remove_dir_all(path.join("sealing")).unwrap();
        }
        seal(&path).await.unwrap();
        let planted = path.join("sealing/log");
        fs::create_dir_all(&planted).unwrap();
        assert_eq!(said_at(&path).await, (Sealing::Sealed, before));
        assert!(planted.exists());
    });
}

#[test]
fn without_space_the_store_stays_plain_and_whole() {
    let test = "sealed_in_place::without_space_the_store_stays_plain_and_whole";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let ground = folder();
    let (root, kept) = (ground.path().join("root"), ground.path().join("kept"));
    fs::create_dir(&root).unwrap();
    runtime().block_on(async {
        filled(&kept, 30).await;
        let before = said_at(&kept).await.1;
        let (mut refused, mut sealed, mut kib) = (0, 0, 1_100);
        loop {
            let _space = Space::over(&root, kib << 10);
            let path = root.join("store");
            copy(&kept, &path);
            match seal(&path).await {
                Err(StoreError::NoSpace { .. }) => refused += 1,
                Ok(_) => {
                    // At first without an index, for which there is no room.
                    assert_eq!(said_at(&path).await, (Sealing::Sealed, before.clone()), "{kib} KiB");
                    assert_eq!(marked(&path), Vec::<PathBuf>::new(), "{kib} KiB");
                    sealed += 1;
                    kib += 20;
                    if sealed < 10 {
                        continue;
                    }
                    break;
                }
                Err(other) => panic!("{kib} KiB: {other}"),
            }
            assert!(!path.join("sealing").exists() && !path.join("keys").exists(), "{kib} KiB");
            assert_eq!(said_at(&path).await, (Sealing::Plain, before.clone()), "{kib} KiB");
            kib += 20;
        }
        println!("{test}: refused at {refused} sizes");
        assert!(refused > 3, "{refused}");
    });
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).unwrap();
}

/// The process that is to be killed. Without the variable it is a test that has nothing to do.
#[test]
fn the_process_that_is_killed() {
    let Some(order) = env::var_os("SESSIONS_SEALING") else { return };
    let order = order.into_string().unwrap();
    let (stops_at, path) = order.split_once(' ').unwrap();
    let stops_at: u64 = stops_at.parse().unwrap();
    // The harness has begun a line.
    say("");
    let mut place = 0;
    let step = move |step: SealStep| {
        place += 1;
        say(&format!("at {place} {step:?}"));
        if place == stops_at {
            say("killed");
            loop {
                std::thread::park();
            }
        }
        ControlFlow::Continue(())
    };
    runtime().block_on(seal_in_place(Path::new(path), &key(1), true, step)).unwrap();
    say("ended");
}

fn start(stops_at: u64, path: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "sealed_in_place::the_process_that_is_killed", "--nocapture", "--test-threads=1"])
        .env("SESSIONS_SEALING", format!("{stops_at} {}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Where the process was before it was killed or ended.
fn run(stops_at: u64, path: &Path) -> Vec<String> {
    let mut child = start(stops_at, path);
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "killed" {
            child.kill().unwrap();
            break;
        }
        lines.push(line);
    }
    let output = child.wait_with_output().unwrap();
    let is_over = output.status.success() || lines.iter().any(|line| line.starts_with(&format!("at {stops_at} ")));
    assert!(is_over, "at {stops_at}: {lines:?}\n{}", String::from_utf8_lossy(&output.stderr));
    lines.into_iter().filter(|line| line.starts_with("at ")).collect()
}

/// The store says all that it said, plain or sealed, and is sealed by whoever tries again.
async fn ensure_whole(path: &Path, before: &Said, decided: Option<bool>, why: &str) {
    let (sealing, now) = said_at(path).await;
    assert!(now == *before, "{why}: it does not say what it said");
    let is_sealed = sealing == Sealing::Sealed;
    assert!(decided.is_none_or(|decided| decided == is_sealed), "{why}: {sealing:?}");
    assert!(!path.join("sealing").exists(), "{why}");
    if !is_sealed {
        seal(path).await.unwrap();
        assert_eq!(said_at(path).await, (Sealing::Sealed, before.clone()), "{why}");
    }
    let store = open(path).await;
    let status = store.key_status().await.unwrap();
    store.close().await.unwrap();
    assert_eq!((status.live as usize, status.destroyed, status.damaged), (before.len(), 0, 0), "{why}: keys");
    assert_eq!(marked(path), Vec::<PathBuf>::new(), "{why}");
    assert_eq!(verify(path).unwrap().findings, [], "{why}");
}

#[test]
fn a_kill_at_every_step_leaves_the_plain_store_or_the_sealed_one() {
    let mut chance = chance("sealed_in_place::a_kill_at_every_step_leaves_the_plain_store_or_the_sealed_one");
    let ground = folder();
    let (kept, path) = (ground.path().join("kept"), ground.path().join("store"));
    runtime().block_on(async {
        filled(&kept, 100).await;
        let before = said_at(&kept).await.1;
        assert!(before.len() >= 100);
        copy(&kept, &path);
        let places = run(0, &path);
        let decided = places.iter().position(|place| place.ends_with("Replaced")).unwrap();
        let (mut order, mut twice): (Vec<usize>, u32) = ((0..places.len()).collect(), 0);
        for at in (1..order.len()).rev() {
            order.swap(at, chance.below(at as u64 + 1) as usize);
        }
        for at in order {
            fs::remove_dir_all(&path).unwrap();
            copy(&kept, &path);
            let came_by = run(at as u64 + 1, &path);
            let mut is_decided = came_by.iter().any(|place| place.ends_with("Replaced"));
            assert_eq!(is_decided, at >= decided, "{came_by:?}");
            while chance.below(3) == 0 && path.join("sealing").exists() {
                // Who goes on is killed too.
                is_decided |= run(1 + chance.below(12), &path).iter().any(|place| place.ends_with("Replaced"));
                twice += 1;
            }
            ensure_whole(&path, &before, Some(is_decided), &format!("killed at {}", places[at])).await;
        }
        println!(
            "figure: sealing in place: {} steps, {} kills, {} sessions; the plain store or the sealed one, whole",
            places.len(),
            places.len() as u32 + twice,
            before.len()
        );
    });
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_plain_store_or_the_sealed_one() {
    const CUTS: u32 = 40;
    let test = "sealed_in_place::a_power_cut_at_any_moment_leaves_the_plain_store_or_the_sealed_one";
    if !with_own_mounts(test, &["mkfs.ext4", "perl"]) {
        return;
    }
    let mut chance = chance(test);
    let ground = folder();
    let kept = ground.path().join("kept");
    let disk = Disk::make(ground.path(), 64);
    let before = runtime().block_on(async {
        filled(&kept, 20).await;
        said_at(&kept).await.1
    });
    let path = disk.root.join("store");
    copy(&kept, &path);
    let places = run(0, &path);
    let decided = places.iter().position(|place| place.ends_with("Replaced")).unwrap() as u64;
    disk.remove(&path);
    let mut sealed = 0;
    for cut in 0..CUTS {
        copy(&kept, &path);
        crate::equipment::run("sync", &["-f", disk.root.to_str().unwrap()]);
        // Before it is decided, after that, and at any moment.
        let at = match cut % 4 {
            0 => 1 + chance.below(decided),
            1 => decided + 1 + chance.below(places.len() as u64 - decided),
            _ => 0,
        };
        sealed += u32::from(runtime().block_on(cut_once(&disk, &path, &mut chance, &before, (cut, at))));
        disk.remove(&path);
    }
    println!("{test}: figure: {CUTS} power cuts, {sealed} times it was sealed by then; whole each time");
    assert!(sealed > 0 && sealed < CUTS, "the cuts all come at one end");
}

/// Cuts the power at a step, or (0) at any moment between two. True: the store was sealed by then.
async fn cut_once(disk: &Disk, path: &Path, chance: &mut Chance, before: &Said, (cut, at): (u32, u64)) -> bool {
    let knife = disk.knife();
    // It ends with its process: the index's engine may wait for ever on a disk that is gone.
    let mut child = start(at, path);
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let cutting = if at > 0 {
        // It stops there, or comes to its end before.
        let _stopped = said.find(|line| line == "killed");
        format!("cut {cut} at step {at}")
    } else {
        let time = chance.time(std::time::Duration::from_millis(150));
        // Its first step is a beginning that any machine comes to; from there on it is the instant that counts.
        assert!(said.any(|line| line.starts_with("at 1 ")), "it came to nothing");
        // This pause is the fault itself: the instant of the cut.
        std::thread::sleep(time);
        format!("cut {cut} after {time:?}")
    };
    knife.cut();
    child.kill().unwrap();
    child.wait().unwrap();
    disk.start();
    let (sealing, _) = said_at(path).await;
    ensure_whole(path, before, None, &cutting).await;
    sealing == Sealing::Sealed
}

#[test]
fn a_wrong_key_opens_nothing_afterwards() {
    runtime().block_on(async {
        let ground = folder();
        let path = ground.path().join("store");
        filled(&path, 2).await;
        seal(&path).await.unwrap();
        let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
        let log = SledStore::open(&path, options).await.unwrap();
        let keys = FileKeyStore::open(&log.keys_folder(), log.id()).await.unwrap();
        let opened = SealedStore::open(Arc::new(log.clone()), Arc::new(keys), &key(2), Arc::new(SystemClock)).await;
        assert!(matches!(
            opened.map(drop).map_err(SessionError::from),
            Err(SessionError::Store(StoreError::Key(KeyError::WrongKey { .. })))
        ));
        log.close().await.unwrap();
    });
}
