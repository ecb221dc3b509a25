//! A session's life through the program: its state, its words, what is kept beside the conversation, pins, checkpoints and edits.

use serde_json::json;

use crate::{Desk, has_fields};

#[test]
fn a_status_is_told_and_changed_and_what_cannot_follow_is_refused() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    assert_eq!(desk.run(&["status", "k"]).stdout, "active\n");
    let paused = desk.one(&["status", "k", "paused", "--reason", "lunch"]);
    has_fields(&paused, &["id", "version"]);
    assert_eq!((&paused["status"], &paused["changed"]), (&json!("paused"), &json!(true)));
    assert_eq!(desk.one(&["status", "k", "paused"])["changed"], json!(false));
    assert_eq!(desk.one(&["status", "k"])["status"], json!("paused"));
    assert_eq!(desk.one(&["list", "--status", "paused"])["status"], json!("paused"));
    let refused = desk.run(&["append", "k", "--role", "user", "two", "--json"]).refused(4, "conflict");
    assert!(refused["hint"].as_str().unwrap().contains("active"), "{refused}");
    desk.run(&["undo", "k", "--json"]).refused(4, "conflict");
    desk.one(&["status", "k", "completed"]);
    let refused = desk.run(&["status", "k", "active", "--json"]).refused(4, "conflict");
    assert!(refused["hint"].as_str().unwrap().contains("fork"), "{refused}");
    desk.one(&["status", "k", "archived"]);
    desk.run(&["status", "k", "active", "--json"]).refused(4, "conflict");
    desk.one(&["status", "k", "completed"]);
    desk.run(&["status", "k", "sleeping", "--json"]).refused(2, "usage");
    desk.run(&["status", "k", "--reason", "no state", "--json"]).refused(2, "usage");
    assert!(desk.run(&["show", "k", "--all"]).stdout.contains("became paused"));
}

#[test]
fn words_are_given_and_taken_away() {
    let desk = Desk::new();
    desk.talk(&[]);
    let renamed = desk.one(&["rename", "k", "Fix the build"]);
    assert_eq!((&renamed["title"], &renamed["changed"]), (&json!("Fix the build"), &json!(true)));
    assert_eq!(desk.one(&["rename", "k", "Fix the build"])["changed"], json!(false));
    desk.one(&["describe", "k", "About borrows"]);
    assert_eq!(desk.run_with(&["describe", "k", "--json"], b"From the pipe\n").code, 0);
    let about = desk.one(&["info", "k"]);
    assert_eq!((&about["title"], &about["description"]), (&json!("Fix the build"), &json!("From the pipe")));
    let tagged = desk.one(&["tag", "k", "--add", "b", "--add", "a", "--add", "b"]);
    assert_eq!((&tagged["tags"], &tagged["changed"]), (&json!(["a", "b"]), &json!(true)));
    assert_eq!(desk.one(&["tag", "k", "--add", "c", "--remove", "a"])["tags"], json!(["b", "c"]));
    assert_eq!(desk.one(&["tag", "k", "--remove", "nothing"])["changed"], json!(false));
    assert_eq!(desk.one(&["tag", "k"])["tags"], json!(["b", "c"]));
    assert_eq!(desk.run(&["tag", "k"]).stdout, "b, c\n");
    for wrong in [&["--add", "x", "--remove", "x"][..], &["--add", ""]] {
        desk.run(&[&["tag", "k", "--json"], wrong].concat()).refused(2, "usage");
    }
    desk.one(&["rename", "k", ""]);
    assert!(desk.json(&["list", "--text", "build"]).is_empty());
    assert!(!desk.run(&["info", "k"]).stdout.contains("title"));
}

#[test]
fn what_exceeds_a_limit_names_it_and_its_value() {
    let desk = Desk::new();
    desk.talk(&[]);
    let long = "x".repeat(1_001);
    for arguments in [&["rename", "k", &long][..], &["new", "--title", &long]] {
        let refused = desk.run(&[arguments, &["--json"]].concat()).refused(1, "limit");
        assert_eq!(refused["message"], "characters of a title may be at most 1000; this has 1001");
        assert_eq!(refused["hint"], "shorten it");
    }
    assert_eq!(desk.one(&["info", "k"])["title"], json!(null));
}

#[test]
fn a_new_session_takes_what_is_known_of_it() {
    let desk = Desk::new();
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let starter = desk.one(&["new", "--key", "starter"])["id"].clone();
    let known = ["--creator", "me", "--cwd", "/src", "--model", "m-1", "--provider", "p", "--mode", "plan"];
    let made = [&["new", "--key", "k", "--id", id, "--created-at", "2020-02-03", "--description", "d"][..], &known];
    let made = desk.one(&[made.concat().as_slice(), &["--sub-agent-of", "starter"]].concat());
    assert_eq!(made["id"], json!(id));
    let about = desk.one(&["info", "k"]);
    assert_eq!((&about["created"], &about["creator"]), (&json!("2020-02-03T00:00:00.000Z"), &json!("me")));
    assert_eq!((&about["cwd"], &about["description"]), (&json!("/src"), &json!("d")));
    assert_eq!((&about["parent"], &about["kinship"]), (&starter, &json!("sub-agent")));
    assert_eq!(about["metadata"]["model"], json!("m-1"));
    assert_eq!(about["lineage"]["ancestors"][0]["session"], starter);
    assert_eq!(desk.one(&["lineage", "starter"])["children"], json!([id]));
    assert_eq!(desk.one(&["list", "--parent", "starter"])["id"], json!(id));
    assert_eq!(desk.one(&["list", "--created-until", "2020-03-01"])["id"], json!(id));
    assert_eq!(desk.one(&["list", "--creator", "me"])["id"], json!(id));
    desk.run(&["new", "--id", id, "--json"]).refused(4, "conflict");
    for wrong in [&["--id", "short"][..], &["--created-at", "10000-01-01"], &["--created-at", "yesterday"]] {
        desk.run(&[&["new", "--json"], wrong].concat()).refused(2, "usage");
    }
    desk.run(&["new", "--sub-agent-of", "nobody", "--json"]).refused(3, "not_found");
    let warned = desk.run(&["new", "--key", "k", "--model", "m-2"]).stderr;
    assert!(warned.contains("stay as they are"), "{warned}");
    assert_eq!(desk.run(&["new", "--key", "k", "--model", "m-1"]).stderr, "");
}

#[test]
fn state_is_kept_by_scope() {
    let desk = Desk::new();
    desk.talk(&[]);
    desk.one(&["new", "--key", "other"]);
    assert_eq!(desk.one(&["state", "set", "k", "n", "1.50"])["changed"], json!(true));
    assert_eq!(desk.one(&["state", "set", "k", "n", "1.50"])["changed"], json!(false));
    assert_eq!(desk.run(&["state", "get", "k", "n"]).stdout, "1.50\n", "to the letter");
    desk.one(&["state", "set", "k", "user:theme", "dark", "--text"]);
    desk.one(&["state", "set", "k", "negative", "-7.5e1"]);
    assert_eq!(desk.run(&["state", "get", "k", "negative"]).stdout, "-7.5e1\n");
    assert_eq!(desk.run_with(&["state", "set", "k", "piped", "--text"], b"as it is\n").code, 0);
    assert_eq!(desk.one(&["state", "get", "k", "piped"])["value"], json!("as it is"));
    desk.one(&["state", "unset", "k", "piped"]);
    assert_eq!(desk.run_with(&["state", "set", "k", "app:o", "--json"], b"{\"a\":1}\n").code, 0);
    assert_eq!(desk.one(&["state", "get", "other", "user:theme"]), json!({"key": "user:theme", "value": "dark"}));
    desk.run(&["state", "get", "other", "n", "--json"]).refused(3, "not_found");
    let keys = |arguments: &[&str]| -> Vec<String> {
        desk.json(arguments).iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&["state", "list", "k"]), ["n", "negative", "user:theme", "app:o"]);
    assert_eq!(keys(&["state", "list", "k", "--scope", "app"]), ["app:o"]);
    assert_eq!(keys(&["state", "list", "other"]), ["user:theme", "app:o"]);
    assert_eq!(desk.one(&["state", "unset", "k", "n"])["changed"], json!(true));
    assert_eq!(desk.one(&["state", "unset", "k", "n"])["changed"], json!(false));
    for wrong in [
        &["set", "k", "n", "dark"][..],
        &["set", "k", "n", "null"],
        &["set", "k", "", "1"],
        &["set", "k", "temp:n", "1"],
        &["get", "k", "temp:n"],
        &["list", "k", "--scope", "temp"],
    ] {
        desk.run(&[&["state"], wrong, &["--json"]].concat()).refused(2, "usage");
    }
    assert_eq!(desk.run(&["state", "list", "k"]).code, 0);
}

#[test]
fn a_pinned_message_is_marked() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let first = desk.json(&["show", "k"])[0]["id"].as_str().unwrap().to_owned();
    let pinned = desk.one(&["pin", "k", &first]);
    assert_eq!((&pinned["id"], &pinned["pinned"], &pinned["changed"]), (&json!(first), &json!(true), &json!(true)));
    let marks = |desk: &Desk| -> Vec<bool> {
        desk.json(&["show", "k"]).iter().map(|message| message["pinned"] == json!(true)).collect()
    };
    assert_eq!(marks(&desk), [true, false]);
    assert!(desk.run(&["show", "k", "--last", "2"]).stdout.contains("(pinned)"));
    assert_eq!(desk.one(&["info", "k"])["pins"], json!([2]));
    assert_eq!(desk.one(&["pin", "k", &first])["changed"], json!(false));
    desk.one(&["unpin", "k", &first]);
    assert_eq!(marks(&desk), [false, false]);
    desk.run(&["pin", "k", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--json"]).refused(3, "not_found");
    desk.run(&["pin", "k", "first", "--json"]).refused(2, "usage");
}

#[test]
fn a_checkpoint_names_a_place() {
    let desk = Desk::new();
    desk.talk(&["one", "two", "three"]);
    let named = desk.one(&["checkpoint", "k", "before", "--at", "3"]);
    assert_eq!((&named["name"], &named["version"], &named["messages"]), (&json!("before"), &json!(3), &json!(2)));
    desk.one(&["checkpoint", "k", "now"]);
    assert_eq!(desk.json(&["checkpoint", "k"]).len(), 2);
    assert!(desk.run(&["checkpoint", "k"]).stdout.contains("before"));
    assert_eq!(desk.texts(&["show", "k", "--at", "checkpoint:before"]), ["one", "two"]);
    let fork = desk.one(&["fork", "k", "--at", "checkpoint:before"]);
    assert_eq!(fork["at"], json!(3));
    desk.one(&["checkout", "k", "--at", "checkpoint:before"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"]);
    desk.one(&["checkout", "k", "main"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two", "three"]);
    assert_eq!(desk.one(&["checkpoint", "k", "before", "--at", "2"])["version"], json!(2), "it moves");
    assert_eq!(desk.one(&["checkpoint", "k", "before", "--remove"]), json!({"name": "before", "removed": true}));
    desk.run(&["show", "k", "--at", "checkpoint:before", "--json"]).refused(3, "not_found");
    desk.run(&["checkpoint", "k", "before", "--remove", "--json"]).refused(3, "not_found");
    desk.run(&["checkpoint", "k", "a\nb", "--json"]).refused(2, "usage");
    desk.run(&["checkpoint", "k", "late", "--at", "99", "--json"]).refused(3, "not_found");
    desk.run(&["checkout", "k", "--json"]).refused(2, "usage");
    desk.run(&["checkout", "k", "main", "--at", "2", "--json"]).refused(2, "usage");
}

#[test]
fn the_token_of_a_place_is_followed_or_refused() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let receipt = desk.one(&["append", "k", "--role", "assistant", "two"]);
    desk.one(&["append", "k", "--role", "user", "three"]);
    let id = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let token =
        |id: &str| format!("{id}.{}.{}.{}", receipt["version"], text(&receipt["head"]), text(&receipt["durability"]));
    assert_eq!(desk.texts(&["show", "k", "--at", &token(&id)]), ["one", "two"]);
    assert_eq!(desk.one(&["fork", "k", "--at", &token(&id)])["at"], receipt["version"]);
    let other = desk.one(&["new"])["id"].as_str().unwrap().to_owned();
    desk.run(&["show", "k", "--at", &token(&other), "--json"]).refused(2, "usage");
    desk.run(&["show", "k", "--at", &token(&id).replace(".3.", ".99."), "--json"]).refused(5, "damaged");
    desk.run(&["show", "k", "--at", "a.b.c.d", "--json"]).refused(2, "usage");
}

#[test]
fn an_edit_is_a_new_version_on_a_branch_of_its_own() {
    let desk = Desk::new();
    desk.talk(&["one", "two", "three"]);
    let shown = desk.json(&["show", "k"]);
    let second = shown[1]["id"].as_str().unwrap();
    let receipt = desk.one(&["edit", "k", second, "zwei"]);
    has_fields(&receipt, &["id", "seq", "version", "head", "durability", "outcome"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "zwei"]);
    let edited = desk.json(&["show", "k"]).remove(1);
    assert_eq!((&edited["replaces"], &edited["role"]), (&shown[1]["id"], &json!("assistant")));
    assert!(desk.run(&["show", "k"]).stdout.contains(&format!("in place of {second}")));
    desk.one(&["checkout", "k", "main"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two", "three"]);
    let first = shown[0]["id"].as_str().unwrap();
    assert_eq!(desk.run_with(&["edit", "k", first, "--json"], b"eins\n").code, 0);
    assert_eq!(desk.texts(&["show", "k"]), ["eins"]);
    desk.run(&["edit", "k", first, "", "--json"]).refused(2, "usage");
    desk.run(&["edit", "k", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "x", "--json"]).refused(3, "not_found");
    let call = json!({"role": "assistant", "parts": [{"type": "tool-call", "call_id": "c", "name": "n", "input": {}}]});
    let ran = desk.run_with(&["append", "k", "--jsonl"], format!("{call}\n").as_bytes());
    let id = ran.lines()[0]["id"].as_str().unwrap().to_owned();
    desk.run(&["edit", "k", &id, "x", "--json"]).refused(1, "refused");
}

#[test]
fn a_list_is_filtered_by_all_that_is_asked() {
    let desk = Desk::new();
    for (key, title) in [("a-1", "Alpha"), ("a-2", "Alphabet"), ("b-1", "Beta")] {
        desk.one(&["new", "--key", key, "--title", title]);
    }
    let keys = |arguments: &[&str]| -> Vec<String> {
        let rows = desk.json(&[&["list", "--sort", "title"], arguments].concat());
        rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&["--title", "Alpha"]), ["a-1"]);
    assert_eq!(keys(&["--title-prefix", "Alpha"]), ["a-1", "a-2"]);
    assert_eq!(keys(&["--key-prefix", "b-"]), ["b-1"]);
    assert_eq!(keys(&["--created-since", "1h"]).len(), 3);
    assert_eq!(keys(&["--created-since", "2999-01-01"]).len(), 0);
    assert_eq!(keys(&["--created-until", "1h"]).len(), 0);
    assert_eq!(keys(&["--trash"]).len(), 0);
    let before = desk.one(&["list", "--key-prefix", "a-1"]);
    let touched = desk.one(&["touch", "a-1"]);
    has_fields(&touched, &["id", "version", "changed"]);
    let after = desk.one(&["list", "--key-prefix", "a-1"]);
    assert!(after["last_accessed"].as_str() >= before["last_accessed"].as_str());
    desk.run(&["list", "--created-since", "never", "--json"]).refused(2, "usage");
}
