//! A backup from the shell: made, refused, restored, and told by the doctor.

use std::fs;

use serde_json::json;

use crate::{Desk, has_fields};

#[test]
fn a_backup_is_made_and_restored_to_the_same_sessions() {
    let desk = Desk::plain();
    desk.talk(&["one", "two", "three"]);
    desk.one(&["undo", "k"]);
    let known = |desk: &Desk| {
        let found = desk.json(&["doctor"]).into_iter().find(|seen| seen["check"] == "backup").unwrap();
        found["what"].as_str().unwrap().to_owned()
    };
    assert!(known(&desk).contains("no backup"));

    let made = desk.one(&["backup", "a.sessions"]);
    has_fields(&made, &["file", "sessions", "segments", "bodies", "bytes", "digest", "took_ms"]);
    assert_eq!((&made["sessions"], &made["file"]), (&json!(1), &json!("a.sessions")));
    assert_eq!(made["bytes"], json!(fs::metadata(desk.path("a.sessions")).unwrap().len()));
    assert!(known(&desk).contains("a.sessions") && known(&desk).contains("verified"));
    desk.run(&["backup", "a.sessions", "--json"]).refused(4, "conflict");
    assert!(known(&desk).contains("failed"));

    let url = format!("sled:{}", desk.path("copy").display());
    let restored = desk.one(&["--store", &url, "restore-backup", "a.sessions"]);
    has_fields(&restored, &["store", "sessions", "records", "bytes", "digest", "findings", "took_ms"]);
    assert_eq!((&restored["digest"], &restored["findings"]), (&made["digest"], &json!(0)));
    assert_eq!(restored["sessions"], json!(1));
    assert_eq!(desk.json(&["--store", &url, "show", "k", "--all"]), desk.json(&["show", "k", "--all"]));
    assert_eq!(desk.run(&["--store", &url, "verify"]).code, 0);
    desk.run(&["--store", &url, "restore-backup", "a.sessions", "--json"]).refused(4, "conflict");

    let ran = desk.run(&["backup", "b.sessions"]);
    assert!(ran.code == 0 && ran.stdout.contains("read back as it was written"), "{ran:?}");
    let other = format!("sled:{}", desk.path("other").display());
    let ran = desk.run(&["--store", &other, "restore-backup", "b.sessions"]);
    assert!(ran.code == 0 && ran.stdout.contains("1 session"), "{ran:?}");
}

#[test]
fn what_is_no_whole_backup_is_refused_and_nothing_is_made() {
    let desk = Desk::plain();
    desk.run(&["backup", "a.sessions", "--json"]).refused(3, "store_not_found");
    assert!(!desk.store().exists());
    desk.run(&["restore-backup", "none.sessions", "--json"]).refused(3, "not_found");
    fs::write(desk.path("mine"), "not a backup").unwrap();
    desk.run(&["restore-backup", "mine", "--json"]).refused(1, "foreign_format");
    desk.talk(&["one"]);
    desk.one(&["backup", "a.sessions"]);
    let mut bytes = fs::read(desk.path("a.sessions")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(desk.path("bad.sessions"), bytes).unwrap();
    let url = format!("sled:{}", desk.path("copy").display());
    desk.run(&["--store", &url, "restore-backup", "bad.sessions", "--json"]).refused(5, "damaged");
    for memory in [&["backup", "x"][..], &["restore-backup", "a.sessions"]] {
        desk.run(&[&["--store", "memory:", "--json"], memory].concat()).refused(2, "usage");
    }
    let mut left: Vec<_> = fs::read_dir(desk.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["a.sessions", "bad.sessions", "mine", "store"]);
}

#[test]
fn damage_that_was_copied_is_told_by_the_restore() {
    let desk = Desk::plain();
    desk.talk(&["first words", "second words", "third words"]);
    let segment = desk.store().join("log/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(12).position(|window| window == b"second words").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    desk.one(&["backup", "a.sessions"]);
    let url = format!("sled:{}", desk.path("copy").display());
    let ran = desk.run(&["--store", &url, "restore-backup", "a.sessions", "--json"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let lines = ran.lines();
    assert!(lines.len() > 1 && lines[0]["severity"] == "error", "{ran:?}");
    // It is there all the same, with what can be read.
    assert_eq!(desk.run(&["--store", &url, "show", "k"]).code, 5);
}
