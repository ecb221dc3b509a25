//! The index may be lost in any way at any time: opening builds it anew unattended, says so, and every answer is the same.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sessions_domain::Message;
use sessions_infra::sled::IndexReport;
use sessions_ports::{Durability, SessionLog};

use crate::{
    folder::copy,
    ground::{Dice, Host, folder, open, run, seed},
    truth::{Asks, Truth, populate, watched},
};

const WAYS: usize = 1_000;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Spoils the index in one way. `true`: nothing of it can be of use.
fn spoil(dice: &mut Dice, index: &Path) -> (String, bool) {
    let files = files(index);
    let Some(file) = dice.pick(&files).cloned() else { return ("there is none".to_owned(), true) };
    let name = file.strip_prefix(index).unwrap().display().to_string();
    let is_engine = name == "db";
    let mut bytes = fs::read(&file).unwrap();
    let length = bytes.len();
    let (what, hopeless) = match dice.below(12) {
        0 => {
            fs::remove_dir_all(index).unwrap();
            return ("all of it is gone".to_owned(), true);
        }
        1 => {
            fs::remove_file(&file).unwrap();
            return (format!("{name} is gone"), is_engine);
        }
        2 => {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
            return (format!("{name} is a folder"), is_engine);
        }
        3 => {
            files.iter().for_each(|file| fs::write(file, b"").unwrap());
            return ("all files are empty".to_owned(), true);
        }
        4 => {
            bytes = dice.bytes(length);
            ("is noise", is_engine)
        }
        5 => {
            bytes.truncate(dice.below(length));
            ("is cut", false)
        }
        6 => {
            let more = 1 + dice.below(9_000);
            bytes.extend(dice.bytes(more));
            ("has noise behind it", false)
        }
        7 => {
            let from = dice.below(length);
            let to = (from + 1 + dice.below(4_096)).min(length);
            bytes.get_mut(from..to).unwrap_or_default().fill(0);
            ("has a hole", false)
        }
        8 => {
            let from = dice.below(length);
            let count = (1 + dice.below(600)).min(length - from);
            let noise = dice.bytes(count);
            bytes[from..from + noise.len()].copy_from_slice(&noise);
            ("has noise in it", false)
        }
        _ => {
            for _ in 0..=dice.below(8) {
                let at = dice.below(length);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            ("has flipped bits", false)
        }
    };
    fs::write(&file, bytes).unwrap();
    (format!("{name} {what}"), hopeless)
}

/// A closed store in `closed` and a copy of it in the middle of its life in `running`.
async fn prepare(closed: &Path, running: &Path, host: &Host, dice: &mut Dice) -> (Truth, Truth, Asks) {
    let asks = Asks::default();
    let (store, watching) = watched(closed, &asks).await;
    let manager = host.manager(Arc::new(watching), Durability::Disk);
    populate(&manager, dice).await;
    store.close().await.unwrap();
    let (store, watching) = watched(closed, &asks).await;
    let manager = host.manager(Arc::new(watching), Durability::Disk);
    // The middle of a life: some of it is in the index, and some only in the log.
    let before = store.figures().checkpoints;
    let session = manager.open_or_create("key 3").await.unwrap();
    session.append(Message::user("on and on")).await.unwrap();
    while store.figures().checkpoints == before {
        // Nobody is told of a checkpoint, so it can only be looked for.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    session.append(Message::user("behind the checkpoint")).await.unwrap();
    copy(closed, running);
    let log: Arc<dyn SessionLog> = Arc::new(store.clone());
    let truth_running = Truth::of(&log, host, &asks).await;
    session.append(Message::user("the last")).await.unwrap();
    let truth_closed = Truth::of(&log, host, &asks).await;
    store.close().await.unwrap();
    (truth_closed, truth_running, asks)
}

fn lose(is_closed: bool) {
    let seed = seed("persistence");
    let host = Host::seeded(seed);
    run(2, async {
        let ground = folder();
        let (closed, running) = (ground.path().join("closed"), ground.path().join("running"));
        let mut dice = Dice::new(seed);
        let (truth_closed, truth_running, asks) = prepare(&closed, &running, &host, &mut dice).await;
        let (base, truth) = if is_closed { (&closed, &truth_closed) } else { (&running, &truth_running) };
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        for way in 0..WAYS {
            let at = ground.path().join("way");
            copy(base, &at);
            let (what, hopeless) =
                if way == 0 { ("untouched".to_owned(), false) } else { spoil(&mut dice, &at.join("index")) };
            let what = format!("way {way} of SESSIONS_SEED={seed}: {what}");
            let store = open(&at).await;
            let report = store.report().clone();
            assert!(report.torn_tail.is_none() && report.damaged == 0 && !report.created, "{what}: {report:?}");
            let used = report.index == IndexReport::Opened;
            let replayed_all = report.replayed as usize == truth.records();
            assert!(!(used && (hopeless || replayed_all)), "{what}: no word of it: {report:?}");
            assert!(used || !report.to_string().is_empty(), "{what}");
            *outcomes.entry(if used { "used" } else { "built anew" }).or_default() += 1;
            let log: Arc<dyn SessionLog> = Arc::new(store.clone());
            truth.assert_same(&Truth::of(&log, &host, &asks).await, &what);
            drop(log);
            store.close().await.unwrap();
            if way % 20 == 0 {
                let store = open(&at).await;
                assert_eq!(store.report().index, IndexReport::Opened, "{what}: and again");
                let log: Arc<dyn SessionLog> = Arc::new(store.clone());
                truth.assert_same(&Truth::of(&log, &host, &asks).await, &what);
                store.close().await.unwrap();
            }
            fs::remove_dir_all(&at).unwrap();
        }
        println!("{WAYS} ways, {outcomes:?}");
        assert!(outcomes.values().all(|count| *count > 20) && outcomes.len() == 2, "{outcomes:?}");
    });
}

#[test]
fn a_lost_index_is_built_anew_after_a_close() {
    lose(true);
}

#[test]
fn a_lost_index_is_built_anew_after_a_crash() {
    lose(false);
}

#[test]
fn an_engine_that_still_lets_go_of_its_lock_is_waited_for() {
    let host = Host::seeded(seed("persistence"));
    run(2, async {
        let ground = folder();
        let at = ground.path().join("store");
        let store = open(&at).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Disk);
        manager.open_or_create("key").await.unwrap().append(Message::user("kept")).await.unwrap();
        store.close().await.unwrap();
        for held in (0..400_u64).map(|way| way % 80 * 5) {
            let engine = fs::File::open(at.join("index").join("db")).unwrap();
            let (locked, is_locked) = std::sync::mpsc::channel();
            let holder = std::thread::spawn(move || {
                while engine.try_lock().is_err() {
                    // The engine that was closed last.
                    std::thread::yield_now();
                }
                locked.send(()).unwrap();
                let begun = std::time::Instant::now();
                while begun.elapsed().as_micros() < u128::from(held) {
                    std::hint::spin_loop();
                }
            });
            is_locked.recv().unwrap();
            let store = open(&at).await;
            assert_eq!(store.report().index, IndexReport::Opened, "held for {held} us");
            store.close().await.unwrap();
            holder.join().unwrap();
        }
    });
}
