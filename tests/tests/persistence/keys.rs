//! Wrapped keys on a real disk that is cut off or full: each slot is whole, what was acknowledged is there, and old keys are gone.
//!
//! Must not know: how the bytes lie in a file.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sessions_infra::keys::FileKeyStore;
use sessions_ports::{KeyStore as _, Slot, SlotChange, StoreError, StoreId};

use crate::{
    disk::{Disk, Space},
    equipment::{chance, folder, with_own_mounts},
    inside::runtime,
};

const STORE: StoreId = StoreId([9; 16]);
const SLOTS: u64 = 64;

fn slot(number: u64, round: u64) -> Slot {
    Slot::from(format!("<key {round:08} of session {number:08}>"))
}

fn round_of(number: u64, slot: &[u8]) -> u64 {
    let text = std::str::from_utf8(slot).unwrap();
    let (round, rest) = text.strip_prefix("<key ").unwrap().split_once(" of session ").unwrap();
    assert_eq!(rest, format!("{number:08}>"), "a slot is another's");
    round.parse().unwrap()
}

fn open(path: &Path) -> FileKeyStore {
    FileKeyStore::open_blocking(path, STORE).unwrap()
}

/// How often each of these words stands in a file.
fn rounds_in(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(5).filter(|window| window == b"<key ").count()
}

/// Changes all slots and the ring, round after round, until that fails; keeps which round was acknowledged.
fn change_until_it_fails(keys: FileKeyStore, begin: u64, acknowledged: &Mutex<u64>) {
    runtime().block_on(async {
        for round in begin.. {
            let changes = (0..SLOTS).map(|number| SlotChange {
                number,
                expected: slot(number, round),
                new: slot(number, round + 1),
            });
            let ring = Bytes::from(format!("ring {}", round + 1));
            if keys.overwrite(changes.collect()).await.is_err() || keys.put_ring(round, ring).await.is_err() {
                break;
            }
            *acknowledged.lock().unwrap() = round + 1;
        }
        assert!(matches!(keys.add(vec![slot(SLOTS, 0)]).await, Err(StoreError::Poisoned | StoreError::Backend(_))));
    });
}

#[test]
fn what_was_overwritten_before_100_power_cuts_is_gone_and_what_was_written_is_there() {
    let test = "keys::what_was_overwritten_before_100_power_cuts_is_gone_and_what_was_written_is_there";
    if !with_own_mounts(test, &["mkfs.ext4", "perl"]) {
        return;
    }
    let mut chance = chance(test);
    let folder = folder();
    let disk = Disk::make(folder.path(), 32);
    let path: PathBuf = disk.root.join("keys");
    runtime().block_on(async {
        let keys = open(&path);
        keys.put_ring(0, Bytes::from_static(b"ring 1")).await.unwrap();
        keys.add((0..SLOTS).map(|number| slot(number, 1)).collect()).await.unwrap();
    });
    let mut acks = 0;
    for cut in 0..100 {
        let keys = open(&path);
        let begin = round_of(0, &keys.read_blocking(0, 1).unwrap()[0]);
        let acknowledged = Arc::new(Mutex::new(begin));
        let writer = std::thread::spawn({
            let (keys, acknowledged) = (keys, Arc::clone(&acknowledged));
            move || change_until_it_fails(keys, begin, &acknowledged)
        });
        let knife = disk.knife();
        // This pause is the fault itself: the instant of the cut.
        std::thread::sleep(chance.time(Duration::from_millis(20)));
        knife.cut();
        writer.join().unwrap();
        disk.start();
        let promised = *acknowledged.lock().unwrap();
        acks += promised - begin;
        let keys = open(&path);
        let found = keys.read_blocking(0, usize::MAX).unwrap();
        assert_eq!(found.len() as u64, SLOTS);
        let rounds: Vec<u64> = (0..).zip(&found).map(|(number, slot)| round_of(number, slot)).collect();
        let newest = rounds.iter().copied().max().unwrap();
        assert!(rounds.iter().all(|round| (promised..=promised + 1).contains(round)), "cut {cut}: {rounds:?}");
        let ring = keys.ring_blocking().unwrap().unwrap();
        assert!((promised..=promised + 1).contains(&ring.version), "cut {cut}: ring {}", ring.version);
        assert_eq!(rounds_in(&path.join("slots")) as u64, SLOTS, "cut {cut}: an old key is beside a new one");
        // All slots and the ring come to one round again, for the next cut.
        runtime().block_on(async {
            let behind = (0..).zip(&rounds).filter(|(_, round)| **round < newest);
            let changes = behind.map(|(number, round)| SlotChange {
                number,
                expected: slot(number, *round),
                new: slot(number, newest),
            });
            keys.overwrite(changes.collect()).await.unwrap();
            for version in ring.version..newest {
                keys.put_ring(version, Bytes::from(format!("ring {}", version + 1))).await.unwrap();
            }
        });
    }
    println!(
        "{test}: figure: 100 power cuts, {acks} rounds of {SLOTS} slots and a ring acknowledged, none lost, no old key left"
    );
    assert!(acks > 100, "hardly anything was written: {acks}");
}

#[test]
fn on_a_full_disk_keys_are_refused_and_kept_and_later_they_are_written() {
    let test = "keys::on_a_full_disk_keys_are_refused_and_kept_and_later_they_are_written";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let folder = folder();
    let root = folder.path().join("disk");
    std::fs::create_dir(&root).unwrap();
    let space = Space::over(&root, 1 << 20);
    let path = root.join("keys");
    runtime().block_on(async {
        let keys = open(&path);
        keys.put_ring(0, Bytes::from_static(b"ring 1")).await.unwrap();
        let (mut count, mut full) = (0, None);
        while full.is_none() {
            let slots = (count..count + 100).map(|number| slot(number, 1)).collect();
            match keys.add(slots).await {
                Ok(first) => {
                    assert_eq!(first, count);
                    count += 100;
                }
                Err(error) => full = Some(error),
            }
        }
        assert!(matches!(full, Some(StoreError::NoSpace { .. })), "{full:?}");
        std::fs::File::create(root.join("ballast")).unwrap();
        let mut ballast = std::fs::OpenOptions::new().append(true).open(root.join("ballast")).unwrap();
        while std::io::Write::write_all(&mut ballast, &[1; 4096]).is_ok() {}
        let ring = keys.put_ring(1, Bytes::from(vec![b'r'; 20_000])).await;
        assert!(matches!(ring, Err(StoreError::NoSpace { .. })), "{ring:?}");
        assert_eq!(keys.ring().await.unwrap().unwrap().version, 1);
        assert_eq!(keys.read(0, usize::MAX).await.unwrap().len() as u64, count);
        // What is laid ahead is written over without any space, so a key can be destroyed on a full disk.
        let to_new = SlotChange { number: 7, expected: slot(7, 1), new: slot(7, 2) };
        keys.overwrite(vec![to_new]).await.unwrap();
        drop(keys);
        let keys = open(&path);
        assert_eq!(keys.read(7, 1).await.unwrap(), [slot(7, 2)]);
        space.grow(4 << 20);
        let first = keys.add((count..count + 1000).map(|number| slot(number, 1)).collect()).await.unwrap();
        keys.put_ring(1, Bytes::from(vec![b'r'; 20_000])).await.unwrap();
        assert_eq!((first, keys.slots().await.unwrap()), (count, count + 1000));
    });
}

#[test]
fn many_keys_are_overwritten_at_once() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let keys = open(&folder.path().join("keys"));
        keys.put_ring(0, Bytes::from_static(b"ring 1")).await.unwrap();
        let count = 5 * 4096;
        keys.add((0..count).map(|number| slot(number, 1)).collect()).await.unwrap();
        let begun = Instant::now();
        for from in (0..count).step_by(4096) {
            let change = |number| SlotChange { number, expected: slot(number, 1), new: slot(number, 2) };
            keys.overwrite((from..from + 4096).map(change).collect()).await.unwrap();
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        println!("keys::many_keys_are_overwritten_at_once: {rate:.0} slots/s, in batches of 4096");
        assert!(
            (0..).zip(keys.read(0, usize::MAX).await.unwrap()).all(|(number, found)| round_of(number, &found) == 2)
        );
    });
}
