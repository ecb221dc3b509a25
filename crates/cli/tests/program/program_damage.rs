//! A store whose files were damaged: told, contained, repaired.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::Desk;

/// Changes one byte of what a message says, in the file that holds it.
fn damage(desk: &Desk, words: &[u8]) {
    let segments = fs::read_dir(desk.store().join("log")).unwrap().map(|entry| entry.unwrap().path());
    let mut damaged = 0;
    for path in segments.collect::<Vec<PathBuf>>() {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(words.len()).position(|window| window == words) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
}

#[test]
fn damage_is_told_and_contained_and_repaired() {
    let desk = Desk::new();
    desk.talk(&["first words", "second words", "third words"]);
    desk.one(&["new", "--key", "other"]);
    desk.one(&["append", "other", "--role", "user", "unharmed"]);
    let id = desk.one(&["info", "k"])["id"].clone();
    damage(&desk, b"second words");

    let ran = desk.run(&["verify", "--json"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let findings = ran.lines();
    assert_eq!(
        (&findings[0]["severity"], &findings[0]["session"], &findings[0]["seq"]),
        (&json!("error"), &id, &json!(3))
    );
    desk.run(&["show", "k", "--json"]).refused(5, "damaged");
    assert_eq!(desk.texts(&["show", "other"]), ["unharmed"]);

    let wished = desk.json(&["repair", "--dry-run"]);
    assert!(!wished.is_empty() && wished.iter().all(|action| action["dry_run"] == json!(true)), "{wished:?}");
    assert_eq!(desk.run(&["verify", "--json"]).code, 5, "a dry run changes nothing");
    let done = desk.json(&["repair"]);
    assert_eq!(done.len(), wished.len());
    assert_eq!(desk.run(&["verify", "--json"]).code, 0);
    assert_eq!(desk.texts(&["show", "k"]), ["first words", "third words"]);
    assert_eq!(desk.texts(&["show", "other"]), ["unharmed"]);
}

#[test]
fn an_index_that_is_gone_is_built_anew_and_told() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    fs::remove_dir_all(desk.store().join("index")).unwrap();
    let ran = desk.run(&["show", "k", "--json"]);
    assert_eq!((ran.code, ran.lines().len()), (0, 2), "{ran:?}");
    assert!(ran.stderr.contains("index"), "{ran:?}");
    assert_eq!(desk.run(&["show", "k", "--json"]).stderr, "");
}
