//! A sync that fails: nothing is acknowledged after it until the store is opened again, and then everything that was is there.
//!
//! Must not know: the store's inside.

use sessions_tests::line::{Ack, Line};

use crate::{
    child::Child,
    equipment::{folder, has, tampered},
    found::Found,
};

/// How often what happened.
#[derive(Debug, Default)]
struct Figures {
    refused_at_open: u64,
    /// Before anything of it was in the log, so that others may go on.
    refused: u64,
    poisoned: u64,
    acks: usize,
}

/// Lets the n-th call of a kind fail in one process after the other, on stores that live for ten of them.
fn fail_each(call: &str, counts: impl IntoIterator<Item = u64>, size: &str) -> Figures {
    let mut figures = Figures::default();
    let counts: Vec<u64> = counts.into_iter().collect();
    for some in counts.chunks(10) {
        let folder = folder();
        let path = folder.path().join("store");
        let mut first = Child::append(&path, &["count=1"]);
        assert!(first.end(), "{:?}", first.said);
        let mut promised: Vec<Ack> = first.acks().collect();
        for n in some {
            let when = format!("{call} number {n}, {size}");
            let under = tampered(call, &format!("error=EIO:when={n}"));
            let settings = ["level=wait", "count=1000", "then=insist", size];
            let mut child = Child::start(&under, "append", &[&path], &settings);
            let ended = child.end();
            assert!(child.wrongs().is_empty(), "{when}: {:?}", child.wrongs());
            promised.extend(child.acks());
            if matches!(child.said.as_slice(), [Line::Refused(u64::MAX, _)]) {
                figures.refused_at_open += 1;
            } else {
                assert!(ended, "{when}: the process did not come to its end");
                let refusals: Vec<&str> = child.refusals().collect();
                if call == "fsync" && refusals.iter().any(|why| why.starts_with("otherwise: appending failed")) {
                    figures.refused += 1;
                } else {
                    // Each of sixteen writers is refused once at work and once more when it insists.
                    assert!(refusals.iter().all(|why| *why == "poisoned"), "{when}: {refusals:?}");
                    assert_eq!(refusals.len(), 32, "{when}: writers went on as if nothing had happened");
                    figures.poisoned += 1;
                }
            }
            Found::at(&path).assert_keeps(&promised, &when);
        }
        figures.acks += promised.len();
    }
    figures
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
}

#[test]
fn after_a_failed_sync_of_new_room_in_the_log_nothing_is_acknowledged() {
    if !has("sync_failure::after_a_failed_sync_of_new_room_in_the_log_nothing_is_acknowledged", &["strace"], false) {
        return;
    }
    // The log grows in steps, and by segments: a dozen syncs reach into the second segment.
    let figures = fail_each("fsync", 1..=12, "size=page");
    println!("{figures:?}");
    assert!(figures.poisoned >= 4, "{figures:?}");
}
