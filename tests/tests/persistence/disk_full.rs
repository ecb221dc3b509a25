//! A full disk, whenever it comes: a typed error, reads go on, writes go on when there is space, and nothing acknowledged is lost.
//!
//! Must not know: the store's inside, beyond which folder is the log and which the index.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sessions_tests::line::{Ack, Line};

use crate::{
    child::Child,
    disk::Space,
    equipment::{folder, with_own_mounts},
    found::{Found, works},
};

const STEP: u64 = 16 << 10;
const MIB: u64 = 1 << 20;

/// Sizes from one to another in steps.
fn sizes(from: u64, to: u64) -> impl Iterator<Item = u64> {
    (from..=to).step_by(usize::try_from(STEP).unwrap())
}

/// Writes until the space is full, grows it, and lets the same process go on. True: it got as far as appending.
fn fill_and_go_on(path: &Path, space: &Space, mut promised: Vec<Ack>, when: &str) -> bool {
    let mut child = Child::append(path, &["level=any", "size=page", "writers=6", "then=resume"]);
    let still = child.hear_until(|line| *line == Line::Still);
    assert!(child.refusals().all(|why| why == "no-space"), "{when}: {:?}", child.refusals().collect::<Vec<_>>());
    assert!(child.refusals().count() > 0, "{when}: {:?}", child.said.last());
    space.grow(64 * MIB);
    let refusals = child.refusals().count();
    if still {
        let before = child.acks().count();
        child.go();
        assert!(child.end(), "{when}: with space again: {:?}", child.said.last());
        assert_eq!(child.refusals().count(), refusals, "{when}: there is space, and a writer is refused");
        assert!(child.acks().count() > before, "{when}: nobody went on");
    } else {
        assert!(matches!(child.said.as_slice(), [Line::Refused(u64::MAX, _)]), "{when}: {:?}", child.said.last());
    }
    assert!(child.wrongs().is_empty(), "{when}: {:?}", child.wrongs());
    promised.extend(child.acks());
    if still {
        Found::at(path).assert_keeps(&promised, when);
    } else {
        works(path, &mut promised, when);
    }
    still
}

#[test]
fn a_store_on_a_full_disk_goes_on_when_there_is_space() {
    let test = "disk_full::a_store_on_a_full_disk_goes_on_when_there_is_space";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let folder = folder();
    let (mut filled, mut unborn) = (0, 0);
    for bytes in sizes(STEP, MIB - STEP).chain(sizes(MIB, 8 * MIB)) {
        let space = Space::over(folder.path(), bytes);
        let written = fill_and_go_on(&folder.path().join("store"), &space, Vec::new(), &format!("{bytes} bytes"));
        filled += u32::from(written);
        unborn += u32::from(!written);
        assert!(written || bytes < MIB, "{bytes} bytes are not enough to make a store");
    }
    println!(
        "{test}: {filled} sizes filled and gone on; on {unborn} smaller ones the store was made when there was space"
    );
    assert!(unborn > 0 && filled >= 449);
}

#[test]
fn a_log_on_a_full_disk_of_its_own_goes_on_when_there_is_space() {
    let test = "disk_full::a_log_on_a_full_disk_of_its_own_goes_on_when_there_is_space";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let mut filled = 0;
    for bytes in sizes(MIB, 8 * MIB) {
        let (folder, path, promised) = begun();
        let log = path.join("log");
        let segment = fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
        let begun = fs::read(&segment).unwrap();
        let space = Space::over(&log, bytes);
        fs::write(&segment, begun).unwrap();
        assert!(fill_and_go_on(&path, &space, promised, &format!("{bytes} bytes of log")), "{bytes}: it does not open");
        filled += 1;
        drop((space, folder));
    }
    println!("{test}: {filled} sizes filled and gone on");
    assert_eq!(filled, 449);
}

/// A store with some messages.
fn begun() -> (tempfile::TempDir, PathBuf, Vec<Ack>) {
    let folder = folder();
    let path = folder.path().join("store");
    let mut child = Child::append(&path, &["count=1", "writers=6"]);
    assert!(child.end(), "{:?}", child.said);
    (folder, path, child.acks().collect())
}

#[test]
fn the_log_goes_on_without_space_for_the_index() {
    let test = "disk_full::the_log_goes_on_without_space_for_the_index";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let (mut tried, mut without) = (0, 0);
    for bytes in sizes(STEP, 2 * MIB) {
        let (folder, path, mut promised) = begun();
        let when = format!("{bytes} bytes of index");
        let space = Space::over(&path.join("index"), bytes);
        let mut child = Child::append(&path, &["level=any", "writers=6", "count=300"]);
        assert!(child.end(), "{when}: {:?}", child.said.last());
        assert_eq!(child.refusals().count(), 0, "{when}: the index keeps the log from going on");
        promised.extend(child.acks());
        let found = Found::at(&path);
        found.assert_keeps(&promised, &when);
        without += usize::from(found.opened != WHOLE);
        space.grow(64 * MIB);
        // The first opening with space builds what is missing, the second finds it.
        Found::at(&path).assert_keeps(&promised, &when);
        let found = Found::at(&path);
        found.assert_keeps(&promised, &when);
        assert_eq!(found.opened, WHOLE, "{when}: there is space, and no whole index");
        tried += 1;
        drop((space, folder));
    }
    println!("{test}: {tried} sizes; on {without} of them the index was not whole until there was space");
    assert!(without > 5, "the index never lacked space");
}

/// What an opening says of an index that knows everything.
const WHOLE: &str = "index opened, 0 damaged, 0 replayed";

#[test]
fn a_good_index_that_lacks_the_space_to_be_opened_stays() {
    let test = "disk_full::a_good_index_that_lacks_the_space_to_be_opened_stays";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let folder = folder();
    let space = Space::over(folder.path(), 16 * MIB);
    let path = folder.path().join("store");
    let mut child = Child::append(&path, &["level=any", "writers=6", "count=300"]);
    assert!(child.end(), "{:?}", child.said);
    let mut promised: Vec<Ack> = child.acks().collect();
    let filler = folder.path().join("filler");
    let filled = fs::write(&filler, vec![1; 16 << 20]);
    assert!(filled.is_err(), "there is space");
    let found = Found::at(&path);
    found.assert_keeps(&promised, "while the disk is full");
    assert!(found.opened.contains("index absent"), "the index does not lack space: {}", found.opened);
    assert!(!path.join("quarantine/index").exists(), "a good index was set aside");
    let mut child = Child::append(&path, &["writers=1", "count=1"]);
    assert!(child.end() && child.acks().count() == 0, "what the index remembers is not known: {:?}", child.said);
    assert!(child.refusals().all(|why| why == "no-space") && child.refusals().count() > 0, "{:?}", child.said);
    fs::remove_file(&filler).unwrap();
    let whole = Found::at(&path);
    whole.assert_keeps(&promised, "with space again");
    assert_eq!(whole.opened, WHOLE, "the index was good all the time");
    works(&path, &mut promised, "with space again");
    println!("{test}: {}", found.opened);
    drop(space);
}

#[test]
fn a_running_store_keeps_its_index_again_when_there_is_space() {
    let test = "disk_full::a_running_store_keeps_its_index_again_when_there_is_space";
    if !with_own_mounts(test, &[]) {
        return;
    }
    let (folder, path, mut promised) = begun();
    let space = Space::over(&path.join("index"), 4 * STEP);
    let mut child = Child::append(&path, &["level=any", "writers=6", "count=300", "then=recover"]);
    assert!(child.hear_until(|line| *line == Line::Still), "{:?}", child.said.last());
    assert!(!path.join("index/db").exists(), "the index did not lack space");
    space.grow(64 * MIB);
    child.go();
    assert!(child.end(), "{:?}", child.said.last());
    assert_eq!(child.refusals().count(), 0, "the index keeps the log from going on");
    promised.extend(child.acks());
    let found = Found::at(&path);
    found.assert_keeps(&promised, "after the index came back");
    assert_eq!(found.opened, WHOLE);
    println!("{test}: the index came back while the store ran");
    drop((space, folder));
}
