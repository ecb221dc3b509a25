//! A backup of a store that is written to: all that was acknowledged before it is in it, and it restores to a store that is whole.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use sessions_app::{Append, NewSession};
use sessions_domain::{Message, SessionId};
use sessions_infra::sled::{BackupProgress, restore_backup};
use sessions_ports::{Durability, SessionLog};

use crate::{
    ground::{Host, folder, open, run, seed},
    usecase::check_chain,
};

const WRITERS: usize = 16;
const BACKUPS: usize = 4;
/// None waits for a sync, so the backup has to see to one.
const LEVELS: [Durability; 2] = [Durability::Volatile, Durability::Process];

/// What was acknowledged: session, version and text.
type Acks = Arc<Mutex<Vec<(SessionId, u64, String)>>>;

/// Every acknowledged message stands in the copy, and every session of it is whole, which it says by its chain.
async fn holds(file: &Path, into: &Path, acks: &[(SessionId, u64, String)], host: &Host) -> usize {
    let report = restore_backup(file, into, &BackupProgress::default()).unwrap();
    assert_eq!(report.verified.findings, []);
    let store = Arc::new(open(into).await);
    assert!(store.report().is_quiet(), "{}", store.report());
    let manager = host.manager(Arc::clone(&store) as Arc<dyn SessionLog>, Durability::Process);
    let mut sessions: Vec<SessionId> = acks.iter().map(|(session, ..)| *session).collect();
    sessions.sort();
    sessions.dedup();
    let mut beyond = 0;
    for id in &sessions {
        let records = check_chain(store.as_ref(), *id).await;
        let session = manager.load(*id).await.unwrap();
        let said: Vec<_> = session.last(usize::MAX).await.unwrap();
        let mine = acks.iter().filter(|(session, ..)| session == id);
        let promised = mine.clone().count();
        for (_, version, text) in mine {
            let message = said.iter().find(|message| message.seq == *version).unwrap();
            assert!(message.text() == *text, "version {version} of {id}");
        }
        beyond += records.len() - 1 - promised;
    }
    store.close().await.unwrap();
    beyond
}

#[test]
fn a_backup_beside_sixteen_writers_has_all_that_was_acknowledged_before_it() {
    let host = Arc::new(Host::seeded(seed("backup")));
    run(2, async {
        let ground = folder();
        let store = open(&ground.path().join("store")).await;
        let manager = host.manager(Arc::new(store.clone()), Durability::Process);
        let (acks, is_over) = (Acks::default(), Arc::new(AtomicBool::new(false)));
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let (manager, acks, is_over) = (manager.clone(), Arc::clone(&acks), Arc::clone(&is_over));
            writers.push(tokio::spawn(async move {
                let session = manager.create(NewSession::default()).await.unwrap();
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    // Now and then one that has a file of its own.
                    let filling = if number % 50 == 7 { 70 << 10 } else { 4 << 10 };
                    let text = format!("{writer} {number} {}", "x".repeat(filling));
                    let append = Append::from(Message::user(text.clone())).durability(LEVELS[(writer + number) % 2]);
                    let receipt = session.append(append).await.unwrap();
                    acks.lock().unwrap().push((session.id(), receipt.version, text));
                    number += 1;
                }
                number
            }));
        }
        let mut taken = Vec::new();
        for number in 1..=BACKUPS {
            while acks.lock().unwrap().len() < number * 1_500 {
                tokio::task::yield_now().await;
            }
            let file = ground.path().join(format!("{number}.sessions"));
            let before = acks.lock().unwrap().clone();
            let report = store.backup(&file, &BackupProgress::default()).await.unwrap();
            assert_eq!(report.sessions, WRITERS as u64);
            assert!(report.info.bodies > 0);
            taken.push((file, before, report.info.segments));
        }
        is_over.store(true, Ordering::Relaxed);
        let mut written = 0;
        for writer in writers {
            written += writer.await.unwrap();
        }
        store.close().await.unwrap();
        assert!(taken.last().unwrap().2 > 1, "one segment is too easy");
        let last = taken.last().unwrap().1.len();
        assert!(written > last, "nobody wrote meanwhile");
        let mut beyond = 0;
        for (file, before, _) in &taken {
            let into = ground.path().join("restored");
            beyond += holds(file, &into, before, &host).await;
            fs::remove_dir_all(into).unwrap();
        }
        println!("backup: {written} appends, {BACKUPS} backups, {beyond} records beyond what was asked of them");
    });
}
