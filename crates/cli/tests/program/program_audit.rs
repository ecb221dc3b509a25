//! What an auditor keeps elsewhere and compares: anchors, and the chains of ciphertext.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{Desk, has_fields};

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, to).unwrap();
        }
    }
}

impl Desk {
    fn put_back(&self, image: &str) {
        fs::remove_dir_all(self.store()).unwrap();
        copy(&self.path(image), &self.store());
    }

    /// What a check that must end so tells last, and how many findings it told before.
    #[track_caller]
    fn checked(&self, code: i32, arguments: &[&str]) -> (Value, Vec<Value>) {
        let ran = self.run(&[&["verify", "--json"], arguments].concat());
        assert_eq!(ran.code, code, "{ran:?}");
        let mut lines = ran.lines();
        (lines.pop().unwrap()["checked"].clone(), lines)
    }

    /// The chains of a session, as whoever has no key is told them.
    #[track_caller]
    fn chains(&self, session: &str) -> Value {
        let (_, lines) = self.checked(0, &["--without-key"]);
        lines.into_iter().find(|line| line["session"] == json!(session) && line["chains"].is_array()).unwrap()
    }
}

#[test]
fn a_store_that_was_put_back_to_an_older_copy_is_found_by_its_anchor() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let (checked, _) = desk.checked(0, &["--write-anchor", "early"]);
    assert_eq!(checked["anchored"], json!("early"));
    copy(&desk.store(), &desk.path("image"));
    desk.one(&["append", "k", "--role", "user", "two"]);
    assert_eq!(desk.checked(0, &["--anchor", "early", "--write-anchor", "late"]).0["anchor"], json!("fresh"));
    assert_eq!(desk.checked(0, &["--anchor", "late"]).0["anchor"], json!("fresh"));
    desk.put_back("image");
    // The store is consistent in itself: nothing else tells.
    assert_eq!(desk.run(&["verify"]).code, 0);
    for key in [&[][..], &["--without-key"]] {
        let (checked, lines) = desk.checked(5, &[&["--anchor", "late"], key].concat());
        assert_eq!(checked["anchor"], json!("rolled_back"));
        let told = |line: &&Value| line["what"].as_str().is_some_and(|what| what.contains("put back"));
        assert_eq!(lines.iter().find(told).unwrap()["severity"], json!("error"));
    }
    assert_eq!(desk.checked(0, &["--anchor", "early"]).0["anchor"], json!("fresh"));
    // It goes on from there, longer than it was, and is found out still; the anchor is not replaced by one that hides it.
    for _ in 0..20 {
        desk.one(&["append", "k", "--role", "user", "another history"]);
    }
    let kept = fs::read(desk.path("late")).unwrap();
    let (checked, _) = desk.checked(5, &["--anchor", "late", "--write-anchor", "late"]);
    assert_eq!((&checked["anchor"], &checked["anchored"]), (&json!("rolled_back"), &Value::Null));
    assert_eq!(fs::read(desk.path("late")).unwrap(), kept);
    let said = desk.run(&["verify", "--anchor", "late"]);
    assert!(said.code == 5 && said.stdout.contains("put back to a state from before the anchor"), "{said:?}");
    println!("figure: found by the anchor with the key and without, also when it went on; by nothing else");
}

#[test]
fn an_anchor_is_of_one_store_and_is_kept_elsewhere() {
    let (desk, other, plain) = (Desk::new(), Desk::new(), Desk::plain());
    desk.talk(&["one"]);
    other.talk(&["one"]);
    plain.talk(&["one"]);
    desk.checked(0, &["--write-anchor", "anchor"]);
    let anchor = desk.path("anchor").display().to_string();
    assert_eq!(other.checked(5, &["--anchor", &anchor]).0["anchor"], json!("other_store"));
    assert_eq!(plain.checked(5, &["--anchor", &anchor]).0["anchor"], json!("other_store"));
    for inside in ["store/anchor", "store/log/anchor"] {
        desk.run(&["verify", "--write-anchor", inside, "--json"]).refused(2, "usage");
    }
    desk.run(&["verify", "--write-anchor", "nowhere/anchor", "--json"]).refused(2, "usage");
    desk.run(&["verify", "--anchor", "nowhere", "--json"]).refused(3, "not_found");
    fs::write(desk.path("noise"), "sessions-anchor 1\n").unwrap();
    let refused = desk.run(&["verify", "--anchor", "noise", "--json"]).refused(2, "usage");
    assert!(refused["hint"].as_str().unwrap().contains("--write-anchor"), "{refused}");
    plain.run(&["verify", "--write-anchor", "anchor", "--json"]).refused(2, "usage");
    desk.run(&["verify", "k", "--anchor", "anchor", "--json"]).refused(2, "usage");
    desk.run(&["verify", "--without-key", "--write-anchor", "anchor", "--json"]).refused(2, "usage");
    let empty = Desk::new();
    empty.one(&["keys", "init"]);
    empty.run(&["verify", "--write-anchor", "anchor", "--json"]).refused(1, "failed");
}

#[test]
fn the_chains_that_are_told_without_the_key_are_those_of_a_change_of_keys_and_of_a_receipt() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let other = desk.one(&["new", "--key", "other"])["id"].as_str().unwrap().to_owned();
    desk.one(&["append", "other", "--role", "user", "three"]);
    let id = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
    let before = desk.chains(&id);
    has_fields(&before, &["session", "removed", "chains"]);
    assert_eq!((&before["chains"][0]["epoch"], &before["chains"][0]["records"]), (&json!(1), &json!(3)));
    let of_other = desk.chains(&other);

    let resealed = desk.one(&["keys", "rotate-data", "k"]);
    assert_eq!(resealed["closed"]["old"], before["chains"][0]["head"]);
    let after = desk.chains(&id);
    assert_eq!(after["chains"], json!([{ "epoch": 2, "records": 3, "head": resealed["closed"]["new"] }]));
    assert_eq!(after["closed"], resealed["closed"]);
    assert_eq!(desk.chains(&other), of_other);
    let short = after["chains"][0]["head"].as_str().unwrap()[..16].to_owned();
    let text = desk.run(&["verify", "--without-key"]).stdout;
    assert!(text.contains(&id) && text.contains(&short), "{text}");
    let (_, of_one) = desk.checked(0, &[&id, "--without-key"]);
    let of_one: Vec<&Value> = of_one.iter().filter(|line| line["chains"].is_array()).collect();
    assert!(of_one.len() == 1 && of_one[0]["session"] == json!(id), "{of_one:?}");

    let receipt = desk.one(&["delete", "other", "--shred"]);
    let shredded = desk.chains(&other);
    assert_eq!((&shredded["removed"], &shredded["chains"]), (&json!(true), &of_other["chains"]));
    assert_eq!(shredded["destroyed"], receipt["erased"]["slot"]);
    // With the key it is what records say that is checked, and told is what is wrong.
    let (_, lines) = desk.checked(0, &[]);
    assert!(lines.iter().all(|line| line["chains"].is_null()), "{lines:?}");
}
