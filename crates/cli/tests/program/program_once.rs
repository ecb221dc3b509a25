//! A change that is asked for again under its key, by another process, happens once.

use serde_json::{Value, json};

use crate::Desk;

/// The number of records that the session has.
fn version(desk: &Desk) -> Value {
    desk.one(&["info", "k"])["version"].clone()
}

#[test]
fn each_change_that_is_retried_happens_once() {
    let desk = Desk::new();
    desk.talk(&["one", "two", "three", "four"]);
    let second = desk.json(&["show", "k"])[1]["id"].as_str().unwrap().to_owned();
    let steps: [&[&str]; 18] = [
        &["append", "k", "--role", "user", "five"],
        &["undo", "k", "--steps", "2"],
        &["redo", "k"],
        &["undo", "k", "--turns", "1"],
        &["edit", "k", &second, "zwei"],
        &["checkout", "k", "main"],
        &["checkpoint", "k", "name"],
        &["clear", "k"],
        &["checkout", "k", "--at", "checkpoint:name"],
        &["checkpoint", "k", "name", "--remove"],
        &["pin", "k", &second],
        &["unpin", "k", &second],
        &["rename", "k", "title"],
        &["describe", "k", "words"],
        &["tag", "k", "--add", "t"],
        &["state", "set", "k", "n", "1"],
        &["state", "unset", "k", "n"],
        &["touch", "k"],
    ];
    for (at, step) in steps.iter().enumerate() {
        let key = format!("key-{at}");
        let once = [*step, &["--once", &key]].concat();
        let first = desk.one(&once);
        let after = version(&desk);
        let mut again = desk.one(&once);
        if first["outcome"] == json!("inserted") {
            assert_eq!(again["outcome"], json!("replayed"), "{step:?}");
            again["outcome"] = json!("inserted");
        }
        assert_eq!(again, first, "{step:?}");
        assert_eq!(version(&desk), after, "{step:?} was done again");
    }
}

#[test]
fn a_retry_after_others_went_on_changes_nothing() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    desk.one(&["status", "k", "paused", "--once", "pause"]);
    desk.one(&["status", "k", "active"]);
    assert_eq!(desk.one(&["status", "k", "paused", "--once", "pause"])["status"], json!("paused"), "what it did then");
    assert_eq!(desk.one(&["status", "k"])["status"], json!("active"));
    desk.one(&["tag", "k", "--add", "t", "--once", "tag"]);
    desk.one(&["tag", "k", "--remove", "t"]);
    desk.one(&["tag", "k", "--add", "t", "--once", "tag"]);
    assert_eq!(desk.one(&["tag", "k"])["tags"], json!([]));
    desk.one(&["checkpoint", "k", "n", "--once", "name"]);
    desk.one(&["checkpoint", "k", "n", "--remove"]);
    assert_eq!(desk.one(&["checkpoint", "k", "n", "--once", "name"])["version"], json!(null));
    let undone = desk.one(&["undo", "k", "--once", "undo"]);
    desk.one(&["redo", "k"]);
    assert_eq!(desk.one(&["undo", "k", "--once", "undo"])["moved_to"], undone["moved_to"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
}

#[test]
fn a_key_stands_for_one_wish() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    desk.one(&["rename", "k", "a", "--once", "key"]);
    for other in [&["rename", "k", "b"][..], &["undo", "k"], &["touch", "k"], &["status", "k", "paused"]] {
        desk.run(&[other, &["--once", "key", "--json"]].concat()).refused(4, "conflict");
    }
    for command in ["undo", "redo", "clear", "touch", "fork"] {
        desk.run(&[command, "k", "--once", "", "--json"]).refused(2, "usage");
    }
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
}

#[test]
fn a_fork_that_is_retried_is_the_same_fork() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let fork = desk.one(&["fork", "k", "--at", "2", "--once", "f"]);
    assert_eq!(desk.one(&["fork", "k", "--at", "2", "--once", "f"]), fork);
    desk.run(&["fork", "k", "--at", "3", "--once", "f", "--json"]).refused(4, "conflict");
    assert_eq!(desk.json(&["list", "--parent", "k"]).len(), 1);
}

#[test]
fn a_streamed_message_is_begun_once() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let stream = ["append", "k", "--role", "assistant", "--stream", "--once", "s", "--json"];
    assert_eq!(desk.run_with(&stream, b"two").code, 0);
    let refused = desk.run_with(&stream, b"two").refused(4, "conflict");
    assert!(refused["hint"].as_str().unwrap().contains("begun before"), "{refused}");
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
}
