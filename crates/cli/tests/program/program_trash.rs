//! Deleting through the program: the trash and back, and for good.

use std::fs;

use serde_json::json;

use crate::{Desk, has_fields};

#[test]
fn a_session_goes_into_the_trash_and_comes_back_whole() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let id = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
    let gone = desk.one(&["delete", "k"]);
    assert_eq!((&gone["id"], &gone["trashed"], &gone["changed"]), (&json!(id), &json!(true), &json!(true)));
    for name in ["k", "key:k", &id, &id[..14]] {
        for command in ["show", "undo", "branches", "touch"] {
            let refused = desk.run(&[command, name, "--json"]).refused(3, "in_trash");
            assert!(refused["hint"].as_str().unwrap().contains("restore"), "{refused}");
        }
        assert_eq!(desk.one(&["info", name])["id"], json!(id), "{name}");
        assert_eq!(desk.one(&["delete", name])["changed"], json!(false), "{name}");
    }
    assert!(desk.run(&["info", "k"]).stdout.contains("in the trash since"));
    assert!(desk.json(&["list"]).is_empty());
    has_fields(&desk.one(&["list", "--trash"]), &["id", "trashed"]);
    assert!(desk.run(&["list", "--trash"]).stdout.contains("IN THE TRASH SINCE"));
    assert_eq!(desk.one(&["restore", "k"])["changed"], json!(true));
    assert_eq!(desk.one(&["restore", "k"])["changed"], json!(false));
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
    desk.one(&["delete", "k"]);
    let opened = desk.one(&["new", "--key", "k"]);
    assert_eq!((&opened["id"], &opened["created"]), (&json!(id), &json!(false)), "its key brings it back");
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
    for command in ["delete", "restore"] {
        desk.run(&[command, "nobody", "--json"]).refused(3, "not_found");
    }
}

#[test]
fn nothing_is_shredded_in_a_plain_store() {
    let desk = Desk::plain();
    desk.talk(&["one"]);
    for more in [&[][..], &["--cascade"], &["--detach"]] {
        let refused = desk.run(&[&["delete", "k", "--shred", "--json"], more].concat()).refused(2, "usage");
        assert!(refused["hint"].as_str().unwrap().contains("seal the store first"), "{refused}");
    }
    assert_eq!(desk.texts(&["show", "k"]), ["one"]);
}

#[test]
fn what_is_shredded_has_no_keys_and_forks_are_refused_taken_along_or_detached() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let id = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
    let fork = desk.one(&["fork", "k"])["id"].as_str().unwrap().to_owned();
    desk.run(&["delete", "k", "--cascade", "--json"]).refused(2, "usage");
    desk.run(&["delete", "k", "--forget-source", "--json"]).refused(2, "usage");
    desk.run(&["delete", "k", "--shred", "--forever", "--json"]).refused(2, "usage");
    desk.run(&["delete", "k", "--shred", "--detach", "--cascade", "--json"]).refused(2, "usage");
    let refused = desk.run(&["delete", "k", "--shred", "--json"]).refused(4, "conflict");
    assert!(refused["message"].as_str().unwrap().contains(&fork), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("detach"), "{refused}");
    let report = desk.one(&["delete", "k", "--shred", "--detach"]);
    assert_eq!(report["detached"], json!([fork]));
    assert_eq!((&report["erased"]["how"], &report["kept"]), (&json!("overwritten"), &json!(0)));
    assert_eq!(desk.texts(&["show", &fork]), ["one", "two"]);
    desk.run(&["show", &id, "--json"]).refused(3, "gone");
    let again = desk.one(&["delete", &id, "--shred"]);
    assert_eq!((&again["was_gone"], &again["erased"]), (&json!(true), &report["erased"]));
    assert_eq!(desk.one(&["keys", "status", "--all"])["destroyed"], json!(1));
    assert_eq!(desk.run(&["verify"]).code, 0);
}

#[test]
fn forks_lose_what_cannot_be_read_only_to_who_says_so() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let fork = desk.one(&["fork", "k"])["id"].as_str().unwrap().to_owned();
    desk.one(&["append", &fork, "--role", "user", "three"]);
    let slots = desk.store().join("keys/slots");
    let whole = fs::read(&slots).unwrap();
    let mut damaged = whole.clone();
    damaged[512 + 100] ^= 1;
    fs::write(&slots, damaged).unwrap();
    let refused = desk.run(&["delete", "k", "--shred", "--detach", "--json"]).refused(5, "damaged");
    assert!(refused["hint"].as_str().unwrap().contains("--accept-loss"), "{refused}");
    desk.run(&["delete", "k", "--shred", "--accept-loss", "--json"]).refused(2, "usage");
    let damaged = fs::read(&slots).unwrap();
    fs::write(&slots, &whole).unwrap();
    assert_eq!(desk.texts(&["show", &fork]), ["one", "two", "three"], "nothing was given up");
    fs::write(&slots, damaged).unwrap();
    let report = desk.one(&["delete", "k", "--shred", "--detach", "--accept-loss"]);
    assert_eq!(report["lost"], json!([{"fork": fork, "records": 3}]));
    assert_eq!(desk.texts(&["show", &fork]), ["", "", "three"]);
}

#[test]
fn what_is_deleted_for_good_is_gone_and_forks_keep_what_they_inherit() {
    let desk = Desk::new();
    desk.talk(&["one", "two", "three"]);
    let id = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
    let fork = desk.one(&["fork", "k", "--at", "3"])["id"].as_str().unwrap().to_owned();
    desk.one(&["delete", "k"]);
    let report = desk.one(&["delete", "k", "--forever"]);
    has_fields(&report, &["id", "was_gone", "records", "bytes", "kept", "heirs", "cascaded"]);
    assert_eq!((&report["was_gone"], &report["kept"]), (&json!(false), &json!(3)));
    assert_eq!(report["heirs"], json!([fork]));
    assert_eq!(desk.texts(&["show", &fork]), ["one", "two"]);
    for command in ["show", "info", "restore"] {
        desk.run(&[command, &id, "--json"]).refused(3, "gone");
    }
    desk.run(&["show", "k", "--json"]).refused(3, "not_found");
    assert_eq!(desk.one(&["delete", &id, "--forever"])["was_gone"], json!(true));
    assert_eq!(desk.one(&["delete", &id])["was_gone"], json!(true));
    desk.run(&["new", "--id", &id, "--json"]).refused(3, "gone");
    let again = desk.one(&["new", "--key", "k"]);
    assert_eq!(again["created"], json!(true), "its key is free");
    assert_ne!(again["id"], json!(id));
    assert_eq!(desk.run(&["verify"]).code, 0);
}

#[test]
fn the_space_of_what_was_deleted_for_good_comes_back_on_demand() {
    let desk = Desk::new();
    desk.talk(&["kept"]);
    assert_eq!(desk.one(&["reclaim"]), json!({"segments": 0, "bodies": 0, "bytes": 0}));
    desk.one(&["new", "--key", "large"]);
    // More than a segment takes, so that the first one is not written to any more.
    let line = json!({"role": "user", "content": "x".repeat(60_000)}).to_string();
    let input = format!("{line}\n").repeat(330);
    assert_eq!(desk.run_with(&["append", "large", "--jsonl", "--durability", "process"], input.as_bytes()).code, 0);
    desk.one(&["delete", "large", "--forever"]);
    let came_back = desk.one(&["reclaim"]);
    assert_eq!(came_back["segments"], json!(1));
    assert!(came_back["bytes"].as_u64().unwrap() > 12 << 20, "{came_back}");
    assert_eq!(desk.texts(&["show", "k"]), ["kept"]);
    assert_eq!(desk.run(&["verify"]).code, 0);
    assert!(desk.run(&["reclaim"]).stdout.contains("nothing comes back"));
}

#[test]
fn a_cascade_takes_forks_along() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let fork = desk.one(&["fork", "k"])["id"].as_str().unwrap().to_owned();
    let inner = desk.one(&["fork", &fork])["id"].as_str().unwrap().to_owned();
    let report = desk.one(&["delete", "k", "--forever", "--cascade"]);
    assert_eq!(report["cascaded"], json!([inner, fork]));
    assert!(desk.json(&["list"]).is_empty());
    desk.run(&["show", &inner, "--json"]).refused(3, "gone");
}
