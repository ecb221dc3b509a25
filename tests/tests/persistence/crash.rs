//! kill -9: what was acknowledged at `Process` or `Disk` is there afterwards, everything else is whole or absent, and the store opens.
//!
//! Must not know: the store's inside.

use std::time::Duration;

use sessions_tests::line::{Ack, Line};

use crate::{
    child::{Child, aim, time_to_open},
    equipment::{chance, folder, has, tampered},
    found::{Found, works},
};

#[test]
fn sixteen_writers_lose_nothing_in_500_kills() {
    let mut chance = chance("crash::sixteen_writers_lose_nothing_in_500_kills");
    let (mut acks, mut torn, mut unpromised) = (0, 0, 0);
    for store in 0..50 {
        let folder = folder();
        let path = folder.path().join("store");
        let size = if store % 2 == 0 { "size=small" } else { "size=mixed" };
        let (mut promised, mut records): (Vec<Ack>, u64) = (Vec::new(), 0);
        for kill in 0..10 {
            let seed = format!("seed={}", chance.number());
            let mut child = Child::append(&path, &["level=mixed", size, &seed]);
            assert!(child.hear_until(|line| matches!(line, Line::Acked(_))), "store {store} did not open after a kill");
            child.kill_after(chance.time(Duration::from_millis(20)));
            assert!(child.wrongs().is_empty(), "{:?}", child.wrongs());
            promised.extend(child.acks());
            let found = Found::at(&path);
            found.assert_keeps(&promised, &format!("store {store}, kill {kill}"));
            torn += usize::from(found.opened.contains("torn"));
            records = found.records() as u64;
        }
        acks += promised.len();
        unpromised += records - promised.iter().map(|ack| ack.last.seq - ack.first + 1).sum::<u64>();
    }
    println!(
        "500 kills: {acks} acknowledged appends, none lost; {torn} torn ends set aside; {unpromised} records more than promised"
    );
    assert!(acks > 5_000, "hardly anything was written: {acks}");
}

#[test]
fn a_store_whose_making_was_killed_opens_200_times_of_200() {
    let mut chance = chance("crash::a_store_whose_making_was_killed_opens_200_times_of_200");
    let folder = folder();
    let mut time = time_to_open(&folder.path().join("first"));
    let mut early = 0;
    for kill in 0..200 {
        let path = folder.path().join(format!("store-{kill}"));
        let mut child = Child::append(&path, &["writers=1"]);
        child.kill_after(chance.time(time));
        let mut promised: Vec<Ack> = child.acks().collect();
        early += aim(&child, &mut time);
        works(&path, &mut promised, &format!("kill {kill}"));
        std::fs::remove_dir_all(&path).unwrap();
    }
    println!("200 of 200 stores open; {early} were killed before they were open");
    assert!(early > 50, "the kills come too late: {early} of 200 before the store was open");
}

#[test]
fn a_store_whose_opening_was_killed_opens_200_times_of_200() {
    let mut chance = chance("crash::a_store_whose_opening_was_killed_opens_200_times_of_200");
    let (mut early, mut time) = (0, Duration::from_millis(15));
    for store in 0..10 {
        let folder = folder();
        let path = folder.path().join("store");
        let mut promised: Vec<Ack> = Vec::new();
        for kill in 0..20 {
            // Killed writers leave something to do for the next opening; now and then the index is gone as well.
            let mut child = Child::append(&path, &["level=process"]);
            assert!(child.hear_until(|line| matches!(line, Line::Acked(_))), "{:?}", child.said);
            child.kill_after(chance.time(Duration::from_millis(5)));
            promised.extend(child.acks());
            if chance.below(4) == 0 {
                std::fs::remove_dir_all(path.join("index")).unwrap();
            }
            let mut child = Child::append(&path, &["writers=1", "level=process"]);
            child.kill_after(chance.time(time));
            promised.extend(child.acks());
            early += aim(&child, &mut time);
            works(&path, &mut promised, &format!("store {store}, kill {kill}"));
        }
    }
    println!("200 of 200 stores open; {early} were killed before they were open");
    assert!(early > 50, "the kills come too late: {early} of 200 before the store was open");
}

/// The system calls with which making and opening a store change anything.
const CHANGES: [&str; 11] = [
    "mkdir",
    "write",
    "pwrite64",
    "rename",
    "unlink",
    "fsync",
    "fdatasync",
    "ftruncate",
    "sync_file_range",
    "flock",
    "chmod",
];

#[test]
fn a_store_opens_after_a_kill_at_each_system_call() {
    let test = "crash::a_store_opens_after_a_kill_at_each_system_call";
    if !has(test, &["strace"], false) {
        return;
    }
    let folder = folder();
    let mut killed = 0;
    // Calls are counted for each name and each thread apart.
    for call in CHANGES {
        for nth in 1..=12 {
            let under = tampered(call, &format!("signal=SIGKILL:when={nth}"));
            let path = folder.path().join(format!("{call}-{nth}"));
            let mut promised: Vec<Ack> = Vec::new();
            let mut came_to_it = false;
            // The first time the store is made, the second time it is opened.
            for _ in 0..2 {
                let mut child = Child::start(&under, "append", &[&path], &["writers=1", "count=4", "size=large"]);
                let died = !child.end();
                promised.extend(child.acks());
                works(&path, &mut promised, &format!("{call} number {nth}"));
                killed += usize::from(died);
                came_to_it |= died;
            }
            if !came_to_it {
                break;
            }
        }
    }
    println!("a store opens after each of {killed} kills at a system call");
    assert!(killed > 50, "strace did not kill: {killed}");
}
