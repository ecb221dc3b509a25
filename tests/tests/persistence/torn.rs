//! An append of which only half was written when the process died: the next opening sets it aside, whole, before it lays zeros over it,
//! and says so; nothing that was promised goes with it.
//!
//! Must not know: the store's inside, beyond the frames of `docs/format.md`.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use sessions_tests::line::{Ack, Line};

use crate::{
    child::Child,
    equipment::{chance, folder, has},
    found::{Found, works},
};

/// Where the last whole frame of a segment lies.
fn last_frame(bytes: &[u8]) -> std::ops::Range<usize> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (mut last, mut at) = (64..64, 64);
    while bytes.get(at..at + 4) == Some(b"SSN\x01") {
        let flags = bytes[at + 6];
        let mut end = at + 80 + u32_at(at + 40);
        end += if flags & 1 != 0 { 12 } else { 0 };
        end += if flags & 32 != 0 { 8 } else { 0 };
        end += if flags & 4 != 0 { 4 + u32_at(end) } else { 0 };
        last = at..end;
        at = end;
    }
    last
}

/// Leaves of one more append what a write leaves that was cut off: its first bytes, behind the end of the log. Gives them, and their place.
fn tear(store: &Path, share: usize) -> (Vec<u8>, usize) {
    let mut segments: Vec<PathBuf> =
        fs::read_dir(store.join("log")).unwrap().map(|file| file.unwrap().path()).collect();
    segments.sort();
    let path = segments.pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let last = last_frame(&bytes);
    let length = (last.len() * share / 100).max(5);
    // The last byte is none of the zeros that nobody can tell from the room behind it.
    let half = [&bytes[last.start..last.start + length], &[b'x'; 1]].concat();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&half, last.end as u64).unwrap();
    (half, last.end)
}

/// What was set aside as torn, newest last.
fn set_aside(store: &Path) -> Vec<PathBuf> {
    let kept = fs::read_dir(store.join("quarantine")).unwrap().map(|file| file.unwrap().path());
    let mut torn: Vec<PathBuf> =
        kept.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("torn-")).collect();
    torn.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    torn
}

#[test]
fn half_an_append_that_a_kill_left_is_set_aside_and_told() {
    let mut chance = chance("torn::half_an_append_that_a_kill_left_is_set_aside_and_told");
    let folder = folder();
    let path = folder.path().join("store");
    let mut promised: Vec<Ack> = Vec::new();
    for kill in 0..20 {
        let when = format!("kill {kill}");
        let seed = format!("seed={}", chance.number());
        let mut child = Child::append(&path, &["level=mixed", "size=small", &seed]);
        assert!(child.hear_until(|line| matches!(line, Line::Acked(_))), "{when}: the store did not open");
        child.kill_after(chance.time(Duration::from_millis(10)));
        promised.extend(child.acks());
        // Whatever the kill itself left is set aside first.
        Found::at(&path).assert_keeps(&promised, &when);
        let before = set_aside(&path).len();
        let (half, _) = tear(&path, 5 * kill);
        let found = Found::at(&path);
        assert!(found.opened.contains("torn"), "{when}: {}", found.opened);
        found.assert_keeps(&promised, &when);
        let torn = set_aside(&path);
        assert_eq!(torn.len(), before + 1, "{when}");
        assert_eq!(fs::read(torn.last().unwrap()).unwrap(), half, "{when}");
        assert!(!Found::at(&path).opened.contains("torn"), "{when}: it is told once");
    }
    works(&path, &mut promised, "after all kills");
}

#[test]
fn the_copy_of_a_torn_end_is_on_the_disk_before_zeros_are_laid_over_it() {
    if !has("torn::the_copy_of_a_torn_end_is_on_the_disk_before_zeros_are_laid_over_it", &["strace"], false) {
        return;
    }
    let folder = folder();
    let path = folder.path().join("store");
    assert!(Child::append(&path, &["writers=1", "count=3"]).end());
    let (_, end) = tear(&path, 50);
    let record = folder.path().join("calls");
    let record_name = record.display().to_string();
    let under = ["strace", "-f", "-y", "-o", &record_name, "-e", "trace=write,pwrite64,fsync"].map(str::to_owned);
    let mut child = Child::start(&under, "dump", &[&path], &[]);
    assert!(child.end() && child.wrongs().is_empty(), "{:?}", child.said);
    let calls = fs::read_to_string(record).unwrap();
    let at = |what: &str, call: &dyn Fn(&str) -> bool| {
        calls.lines().position(call).unwrap_or_else(|| panic!("no {what} in\n{calls}"))
    };
    let zeros =
        at("zeros", &|line| line.contains("pwrite64(") && line.contains(".seg>") && line.contains(&format!(", {end}")));
    let written = at("copy", &|line| line.contains("write(") && line.contains("/quarantine/torn-"));
    let synced = at("sync of the copy", &|line| line.contains("fsync(") && line.contains("/quarantine/torn-"));
    let named = at("sync of its name", &|line| line.contains("fsync(") && line.contains("/quarantine>"));
    assert!(written < synced && synced < zeros && named < zeros, "{written} {synced} {named} {zeros} in\n{calls}");
}
