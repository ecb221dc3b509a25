//! Undo, redo, clear, branches, checkout and fork through the program, each in a process of its own.

use serde_json::json;

use crate::{Desk, has_fields};

#[test]
fn undo_and_redo_tell_where_they_moved() {
    let desk = Desk::new();
    desk.talk(&["one", "two", "three"]);
    let undone = desk.one(&["undo", "k", "--steps", "2"]);
    has_fields(&undone, &["version", "moved_to", "steps"]);
    assert_eq!((&undone["version"], &undone["moved_to"], &undone["steps"]), (&json!(5), &json!(2), &json!(2)));
    assert_eq!(desk.texts(&["show", "k"]), ["one"]);
    assert_eq!(desk.one(&["redo", "k"])["moved_to"], json!(3));
    assert_eq!(desk.one(&["redo", "k", "--steps", "9"])["steps"], json!(1));
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two", "three"]);
}

#[test]
fn undo_goes_by_turns_and_to_a_message() {
    let desk = Desk::new();
    desk.talk(&["one", "two", "three", "four"]);
    let first = desk.json(&["show", "k"])[0]["id"].as_str().unwrap().to_owned();
    desk.one(&["undo", "k", "--turns", "1"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
    desk.one(&["undo", "k", "--to", &first]);
    assert_eq!(desk.texts(&["show", "k"]), ["one"]);
}

#[test]
fn clear_hides_all_and_can_be_undone() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    has_fields(&desk.one(&["clear", "k"]), &["version", "moved_to", "steps"]);
    assert_eq!(desk.json(&["show", "k"]).len(), 0);
    desk.one(&["undo", "k"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
}

#[test]
fn a_branch_that_was_left_is_listed_and_checked_out() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    desk.one(&["undo", "k"]);
    desk.one(&["append", "k", "--role", "assistant", "other"]);
    let branches = desk.json(&["branches", "k"]);
    assert_eq!(branches.len(), 2);
    assert_eq!((&branches[0]["name"], &branches[0]["current"]), (&json!("main"), &json!(false)));
    assert_eq!(branches[1]["current"], json!(true));
    desk.one(&["checkout", "k", "main"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
    desk.one(&["checkout", "k", &branches[1]["branch"].to_string()]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "other"]);
}

#[test]
fn a_fork_lives_apart() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let parent = desk.one(&["info", "k"])["id"].clone();
    let fork = desk.one(&["fork", "k", "--at", "2"]);
    assert_eq!((&fork["parent"], &fork["at"]), (&parent, &json!(2)));
    let id = fork["id"].as_str().unwrap();
    desk.one(&["append", id, "--role", "assistant", "apart"]);
    assert_eq!(desk.texts(&["show", id]), ["one", "apart"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
    assert_eq!(desk.one(&["info", id])["parent"], parent);
    assert_eq!(desk.json(&["list", "--parent", "k"]).len(), 1);
    let first = desk.json(&["show", "k"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(desk.one(&["fork", "k", "--at", &first])["at"], json!(2));
}

#[test]
fn what_cannot_move_says_why() {
    let desk = Desk::new();
    desk.talk(&[]);
    for command in ["undo", "redo", "clear"] {
        let ran = desk.run(&[command, "k", "--json"]);
        assert_eq!((ran.code, ran.error()["kind"].as_str()), (1, Some("refused")), "{ran:?}");
    }
    desk.run(&["checkout", "k", "77", "--json"]).refused(3, "not_found");
    desk.run(&["checkout", "k", "nowhere", "--json"]).refused(2, "usage");
    desk.run(&["fork", "k", "--at", "77", "--json"]).refused(3, "not_found");
    assert_eq!(desk.run(&["undo", "k", "--to", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--json"]).code, 3);
    for wrong in ["--steps=0", "--steps=-1", "--steps=x", "--to=short"] {
        assert_eq!(desk.run(&["undo", "k", wrong, "--json"]).error()["kind"], json!("usage"), "{wrong}");
    }
}
