//! Power cuts on a real file system: what was acknowledged at `Disk` is there afterwards, and the store opens.
//!
//! Must not know: the store's inside.

use std::{path::Path, time::Duration};

use sessions_ports::Durability;
use sessions_tests::{
    chance::Chance,
    line::{Ack, Line},
};

use crate::{
    child::{Child, aim, time_to_open},
    disk::{Disk, Knife},
    equipment::{chance, folder, tampered, with_own_mounts},
    found::{Found, works},
};

const PROGRAMS: &[&str] = &["mkfs.ext4", "perl"];

/// Cuts the power while the child runs, ends it, and starts again. What was promised for the disk is given.
fn cut(disk: &Disk, knife: Knife, child: &mut Child, after: Duration) -> Vec<Ack> {
    // This pause is the fault itself: the instant of the cut.
    std::thread::sleep(after);
    knife.cut();
    child.kill();
    disk.start();
    child.acks().filter(|ack| ack.level == Durability::Disk).collect()
}

/// Runs writers into a cut.
fn write_and_cut(disk: &Disk, path: &Path, under: &[String], chance: &mut Chance) -> Vec<Ack> {
    let size = if chance.below(2) == 0 { "size=small" } else { "size=mixed" };
    let level = if chance.below(2) == 0 { "level=disk" } else { "level=mixed" };
    let seed = format!("seed={}", chance.number());
    let knife = disk.knife();
    let mut child = Child::start(under, "append", &[path], &[level, size, &seed]);
    assert!(child.hear_until(|line| matches!(line, Line::Acked(_))), "the store did not open: {:?}", child.said);
    cut(disk, knife, &mut child, chance.time(Duration::from_millis(25)))
}

#[test]
fn what_is_on_disk_survives_200_cuts() {
    let test = "power::what_is_on_disk_survives_200_cuts";
    if !with_own_mounts(test, PROGRAMS) {
        return;
    }
    let mut chance = chance(test);
    let (mut acks, mut torn, mut indexes) = (0, 0, 0);
    for store in 0..10 {
        let folder = folder();
        let disk = Disk::make(folder.path(), 96);
        let path = disk.root.join("store");
        let mut promised: Vec<Ack> = Vec::new();
        for cut in 0..20 {
            promised.extend(write_and_cut(&disk, &path, &[], &mut chance));
            let found = Found::at(&path);
            found.assert_keeps(&promised, &format!("store {store}, cut {cut}"));
            torn += usize::from(found.opened.contains("torn"));
            indexes += usize::from(found.opened.contains("rebuilt"));
        }
        acks += promised.len();
    }
    println!(
        "{test}: {acks} appends acknowledged at disk, none lost; {torn} torn ends set aside; {indexes} indexes rebuilt"
    );
    assert!(acks > 2_000, "hardly anything was written: {acks}");
}

#[test]
fn without_the_sync_records_are_lost_so_the_test_can_fail() {
    let test = "power::without_the_sync_records_are_lost_so_the_test_can_fail";
    if !with_own_mounts(test, &[PROGRAMS, &["strace"]].concat()) {
        return;
    }
    let mut chance = chance(test);
    // The system call is answered with success and never made.
    let under = tampered("fdatasync,fsync", "retval=0");
    let (mut acks, mut lost, mut cuts) = (0, 0, 0);
    for _ in 0..10 {
        let folder = folder();
        let disk = Disk::make(folder.path(), 48);
        let path = disk.root.join("store");
        // The store is made as it should be, so that only the appends are without a sync.
        assert!(Child::append(&path, &["writers=16", "count=1"]).end());
        let promised = write_and_cut(&disk, &path, &under, &mut chance);
        let missing = Found::at(&path).lost(&promised).len();
        acks += promised.len();
        lost += missing;
        cuts += usize::from(missing > 0);
    }
    println!("{test}: without the sync {lost} of {acks} acknowledged appends were lost, in {cuts} cuts of 10");
    // On a busy machine a child may be cut before it wrote anything.
    assert!(cuts >= 8, "{lost} of {acks} lost in {cuts} of 10 cuts: is the power really cut?");
}

#[test]
fn a_store_whose_making_was_cut_off_opens_200_times_of_200() {
    let test = "power::a_store_whose_making_was_cut_off_opens_200_times_of_200";
    if !with_own_mounts(test, PROGRAMS) {
        return;
    }
    let mut chance = chance(test);
    let folder = folder();
    let disk = Disk::make(folder.path(), 48);
    let mut time = time_to_open(&disk.root.join("first"));
    let mut early = 0;
    for number in 0..200 {
        let path = disk.root.join(format!("store-{number}"));
        let knife = disk.knife();
        let mut child = Child::append(&path, &["writers=1"]);
        let mut promised = cut(&disk, knife, &mut child, chance.time(time));
        early += aim(&child, &mut time);
        works(&path, &mut promised, &format!("cut {number}"));
        disk.remove(&path);
    }
    println!("{test}: 200 of 200 open; {early} were cut off before they were open");
    assert!(early > 50, "the cuts come too late: {early} of 200 before the store was open");
}

#[test]
fn a_store_whose_opening_was_cut_off_opens_200_times_of_200() {
    let test = "power::a_store_whose_opening_was_cut_off_opens_200_times_of_200";
    if !with_own_mounts(test, PROGRAMS) {
        return;
    }
    let mut chance = chance(test);
    let (mut early, mut time) = (0, Duration::from_millis(15));
    for store in 0..10 {
        let folder = folder();
        let disk = Disk::make(folder.path(), 96);
        let path = disk.root.join("store");
        let mut promised: Vec<Ack> = Vec::new();
        for number in 0..20 {
            let mut child = Child::append(&path, &["level=mixed"]);
            assert!(child.hear_until(|line| matches!(line, Line::Acked(_))), "{:?}", child.said);
            child.kill_after(chance.time(Duration::from_millis(5)));
            promised.extend(child.acks().filter(|ack| ack.level == Durability::Disk));
            if chance.below(4) == 0 {
                std::fs::remove_dir_all(path.join("index")).unwrap();
            }
            let knife = disk.knife();
            let mut child = Child::append(&path, &["writers=1"]);
            promised.extend(cut(&disk, knife, &mut child, chance.time(time)));
            early += aim(&child, &mut time);
            works(&path, &mut promised, &format!("store {store}, cut {number}"));
        }
    }
    println!("{test}: 200 of 200 open; {early} were cut off before they were open");
    assert!(early > 50, "the cuts come too late: {early} of 200 before the store was open");
}
