//! A sync that fails: nothing is acknowledged after it until the store is opened again, and then everything that was is there.
//!
//! Must not know: the store's inside.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use sessions_tests::line::{Ack, Line};

use crate::{
    child::Child,
    equipment::{folder, has, recorded},
    found::Found,
    inside::files,
};

/// How often what happened.
#[derive(Debug, Default)]
struct Figures {
    refused_at_open: u64,
    /// One append was refused, and all others went on.
    refused: u64,
    poisoned: u64,
    acks: usize,
    /// What could not be synced once the store was open.
    what: BTreeMap<What, u64>,
}

/// What a sync was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A segment of the log.
    Segment,
    /// The folder of the log.
    Log,
    /// A large body.
    Body,
    /// A folder of large bodies.
    Bodies,
}

/// Whose sync failed, from what was recorded of the calls.
fn what_failed(record: &Path) -> What {
    let calls = loop {
        let calls = fs::read_to_string(record).unwrap();
        if calls.contains("INJECTED") {
            break calls;
        }
        // The recorder ends a moment after the process does, and nothing else tells of it.
        thread::sleep(Duration::from_millis(1));
    };
    let (before, _) = calls.split_once("INJECTED").unwrap();
    let thread = before.lines().last().unwrap().split_whitespace().next().unwrap();
    // A call that lasted has two lines, and its file stands in the first.
    let begun = before.lines().rfind(|call| call.split_whitespace().next() == Some(thread) && call.contains("sync("));
    let path = begun.unwrap().split_once('<').unwrap().1.split_once('>').unwrap().0;
    let within = path.split_once("/store/").unwrap().1;
    match within.split('/').collect::<Vec<_>>().as_slice() {
        ["log"] => What::Log,
        ["log", _] => What::Segment,
        ["blobs"] | ["blobs", _] => What::Bodies,
        ["blobs", _, _] => What::Body,
        _ => panic!("{path}"),
    }
}

/// Lets the n-th call of a kind fail in one process after the other, on stores that live for ten of them.
fn fail_each(call: &str, counts: impl IntoIterator<Item = u64>, size: &str) -> Figures {
    let mut figures = Figures::default();
    let counts: Vec<u64> = counts.into_iter().collect();
    for some in counts.chunks(10) {
        let folder = folder();
        let path = folder.path().join("store");
        let record = folder.path().join("calls");
        let mut first = Child::append(&path, &["count=1"]);
        assert!(first.end(), "{:?}", first.said);
        let mut promised: Vec<Ack> = first.acks().collect();
        for n in some {
            let when = format!("{call} number {n}, {size}");
            let under = recorded(call, &format!("error=EIO:when={n}"), &record);
            let settings = ["level=wait", "count=1000", "then=insist", size];
            let mut child = Child::start(&under, "append", &[&path], &settings);
            let ended = child.end();
            assert!(child.wrongs().is_empty(), "{when}: {:?}", child.wrongs());
            promised.extend(child.acks());
            if matches!(child.said.as_slice(), [Line::Refused(u64::MAX, _)]) {
                figures.refused_at_open += 1;
            } else {
                assert!(ended, "{when}: the process did not come to its end");
                let what = what_failed(&record);
                *figures.what.entry(what).or_default() += 1;
                let refusals: Vec<&str> = child.refusals().collect();
                if what == What::Body {
                    // Its own append is refused. The others stop because somebody was, and go on when they insist.
                    let [why] = refusals.as_slice() else { panic!("{when}: {refusals:?}") };
                    assert!(why.starts_with("otherwise: appending failed"), "{when}: {why}");
                    figures.refused += 1;
                } else {
                    // Each of sixteen writers is refused once at work and once more when it insists.
                    assert!(refusals.iter().all(|why| *why == "poisoned"), "{when}, {what:?}: {refusals:?}");
                    assert_eq!(refusals.len(), 32, "{when}, {what:?}: writers went on as if nothing had happened");
                    figures.poisoned += 1;
                }
                assert_eq!(unfinished(&path), Vec::<PathBuf>::new(), "{when}, {what:?}");
            }
            Found::at(&path).assert_keeps(&promised, &when);
        }
        figures.acks += promised.len();
    }
    figures
}

/// What was begun and did not come to be: large bodies, and segments without a frame.
fn unfinished(store: &Path) -> Vec<PathBuf> {
    let bodies = files(&store.join("blobs")).into_iter().filter(|file| file.extension().is_some());
    let segments = files(&store.join("log"))
        .into_iter()
        .filter(|file| fs::read(file).unwrap().get(64).is_none_or(|byte| *byte == 0));
    bodies.chain(segments).collect()
}

#[test]
fn after_the_nth_failed_sync_of_an_append_nothing_is_acknowledged() {
    if !has("sync_failure::after_the_nth_failed_sync_of_an_append_nothing_is_acknowledged", &["strace"], false) {
        return;
    }
    let figures = fail_each("fdatasync", 1..=100, "size=small");
    println!("{figures:?}");
    assert_eq!(figures.poisoned, 100);
}

#[test]
fn what_needs_the_nth_failed_sync_of_a_large_body_is_not_acknowledged() {
    if !has("sync_failure::what_needs_the_nth_failed_sync_of_a_large_body_is_not_acknowledged", &["strace"], false) {
        return;
    }
    let figures = fail_each("fsync", 1..=100, "size=large");
    println!("{figures:?}");
    assert!(figures.poisoned + figures.refused >= 90, "{figures:?}");
    let hit: Vec<What> = figures.what.keys().copied().collect();
    assert!(hit.contains(&What::Body) && hit.contains(&What::Bodies), "{figures:?}");
}

#[test]
fn after_a_failed_sync_of_new_room_in_the_log_nothing_is_acknowledged() {
    if !has("sync_failure::after_a_failed_sync_of_new_room_in_the_log_nothing_is_acknowledged", &["strace"], false) {
        return;
    }
    // The log grows in steps, and by segments: so many syncs reach into the second segment.
    let figures = fail_each("fsync", 1..=16, "size=page");
    println!("{figures:?}");
    assert_eq!(figures.refused, 0);
    let hit: Vec<What> = figures.what.keys().copied().collect();
    assert_eq!(hit, [What::Segment, What::Log], "{figures:?}");
}
