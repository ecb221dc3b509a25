//! The JSON of each command, as others rely on it.

use serde_json::json;

use crate::{Desk, has_fields};

#[test]
fn new_tells_id_key_version_and_durability() {
    let desk = Desk::new();
    let made = desk.one(&["new", "--key", "user-1", "--title", "T", "--tag", "b", "--tag", "a", "--tag", "b"]);
    assert_eq!(made["id"].as_str().unwrap().len(), 26);
    assert_eq!((&made["key"], &made["version"], &made["durability"]), (&json!("user-1"), &json!(1), &json!("disk")));
    let again = desk.one(&["new", "--key", "user-1", "--title", "another"]);
    assert_eq!(again["id"], made["id"]);
    assert_eq!((&made["created"], &again["created"]), (&json!(true), &json!(false)));
    let warned = |arguments: &[&str]| desk.run(&[&["new", "--key", "user-1"], arguments].concat()).stderr;
    for (arguments, warns) in [
        (&[][..], false),
        (&["--title", "T"], false),
        (&["--tag", "b", "--tag", "a"], false),
        (&["--title", "another"], true),
        (&["--tag", "c"], true),
    ] {
        assert_eq!(warned(arguments).contains("stay as they are"), warns, "{arguments:?}");
    }
    let about = desk.one(&["info", "user-1"]);
    assert_eq!((&about["title"], &about["tags"]), (&json!("T"), &json!(["a", "b"])));
    assert_eq!(desk.one(&["new"])["key"], json!(null));
}

#[test]
fn append_tells_a_receipt() {
    let desk = Desk::new();
    desk.talk(&[]);
    let receipt = desk.one(&["append", "k", "--role", "user", "hello"]);
    has_fields(&receipt, &["id", "seq", "version", "head", "durability"]);
    assert_eq!((&receipt["seq"], &receipt["version"], &receipt["durability"]), (&json!(2), &json!(2), &json!("disk")));
    let receipt = desk.one(&["append", "k", "--role", "user", "hello", "--durability", "volatile"]);
    assert!(["volatile", "process", "disk"].contains(&receipt["durability"].as_str().unwrap()));
}

#[test]
fn append_reads_its_text_from_standard_input() {
    let desk = Desk::new();
    desk.talk(&[]);
    let ran = desk.run_with(&["append", "k", "--role", "user", "--json"], "two\nlines ünï\n".as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(desk.texts(&["show", "k"]), ["two\nlines ünï"]);
}

#[test]
fn a_dash_stands_for_standard_input_unless_it_is_behind_two() {
    let desk = Desk::new();
    desk.talk(&[]);
    let append = |arguments: &[&str]| {
        let ran = desk.run_with(&[&["append", "--role", "user", "--json"], arguments].concat(), b"from the pipe\n");
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        desk.texts(&["show", "k", "--last", "1"]).remove(0)
    };
    for piped in [&["k"][..], &["k", "-"], &["--", "k"], &["k", "-", "--"]] {
        assert_eq!(append(piped), "from the pipe", "{piped:?}");
    }
    for literal in [&["k", "--", "-"][..], &["--", "k", "-"]] {
        assert_eq!(append(literal), "-", "{literal:?}");
    }
    assert_eq!(append(&["k", "--", "--json"]), "--json");
    assert_eq!(append(&["k", " -"]), " -");
}

#[test]
fn append_with_an_idempotency_key_happens_once() {
    let desk = Desk::new();
    desk.talk(&[]);
    let append = ["append", "k", "--role", "user", "hello", "--idempotency-key", "r-1"];
    let (first, again) = (desk.one(&append), desk.one(&append));
    assert_eq!(first["id"], again["id"]);
    assert_eq!((&first["outcome"], &again["outcome"]), (&json!("inserted"), &json!("replayed")));
    let other = desk.run(&["append", "k", "--role", "user", "other", "--idempotency-key", "r-1", "--json"]);
    other.refused(4, "conflict");
}

#[test]
fn show_tells_a_message_a_line() {
    let desk = Desk::new();
    desk.talk(&["one", "two", "three"]);
    let shown = desk.json(&["show", "k"]);
    assert_eq!(shown.len(), 3);
    for message in &shown {
        has_fields(message, &["seq", "id", "role", "parts", "at", "tokens", "visible"]);
        assert_eq!(message["visible"], json!(true));
    }
    assert_eq!(shown[1]["role"], json!("assistant"));
    assert_eq!(shown[1]["parts"], json!([{"type": "text", "text": "two"}]));
    assert_eq!(desk.texts(&["show", "k", "--last", "2"]), ["two", "three"]);
    assert_eq!(desk.texts(&["show", "k", "--at", "3"]), ["one", "two"]);
    let first = shown[0]["id"].as_str().unwrap();
    assert_eq!(desk.texts(&["show", "k", "--at", first]), ["one"]);
}

#[test]
fn show_all_marks_what_is_hidden() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    desk.one(&["undo", "k"]);
    desk.one(&["append", "k", "--role", "assistant", "other"]);
    let visible = |line: &serde_json::Value| line["visible"].as_bool().unwrap();
    let marks: Vec<bool> = desk.json(&["show", "k", "--all"]).iter().map(visible).collect();
    assert_eq!(marks, [true, false, true]);
}

#[test]
fn info_and_list_tell_the_same_summary() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let about = desk.one(&["info", "k"]);
    let fields = [
        "id",
        "key",
        "title",
        "status",
        "created",
        "updated",
        "last_accessed",
        "messages",
        "tokens",
        "cwd",
        "parent",
        "tags",
    ];
    has_fields(&about, &fields);
    assert_eq!((&about["status"], &about["messages"]), (&json!("active"), &json!(1)));
    let listed = desk.one(&["list"]);
    assert!(listed.as_object().unwrap().iter().all(|(name, value)| about[name] == *value), "{listed} {about}");
    has_fields(&about, &["recorded", "tool_calls", "usage", "first_said", "last_said"]);
}

#[test]
fn list_filters_and_goes_on_at_a_cursor() {
    let desk = Desk::new();
    for number in 0..5 {
        let (key, title) = (format!("k{number}"), format!("Title {number}"));
        desk.one(&["new", "--key", &key, "--title", &title, "--tag", if number % 2 == 0 { "even" } else { "odd" }]);
    }
    assert_eq!(desk.json(&["list", "--tag", "even"]).len(), 3);
    assert_eq!(desk.json(&["list", "--text", "title 4"]).len(), 1);
    assert_eq!(desk.json(&["list", "--since", "1h"]).len(), 5);
    assert_eq!(desk.json(&["list", "--until", "2020-01-01"]).len(), 0);
    let mut keys: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut arguments = vec!["list", "--limit", "2", "--sort", "title"];
        arguments.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor.as_str()]));
        let mut lines = desk.json(&arguments);
        let next = lines.last().and_then(|line| line["cursor"].as_str().map(str::to_owned));
        if next.is_some() {
            lines.pop();
        }
        keys.extend(lines.iter().map(|line| line["key"].as_str().unwrap().to_owned()));
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(keys, ["k0", "k1", "k2", "k3", "k4"]);
}

#[test]
fn verify_repair_and_doctor_tell_findings_a_line() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let last = desk.json(&["verify"]).pop().unwrap();
    assert_eq!((&last["checked"]["sessions"], &last["checked"]["records"]), (&json!(1), &json!(3)));
    assert_eq!(desk.json(&["repair", "--dry-run"]).len(), 0);
    let seen = desk.json(&["doctor"]);
    for check in ["store", "format", "lock", "durability", "files", "file system", "fdatasync"] {
        assert!(seen.iter().any(|line| line["check"] == json!(check)), "{check} is missing in {seen:?}");
    }
    assert_eq!(desk.texts(&["show", "k"]), ["one", "two"], "looking changes nothing");
}

#[test]
fn doctor_makes_no_store_where_there_is_none() {
    let desk = Desk::new();
    desk.json(&["doctor"]);
    assert!(!desk.store().exists());
}

#[test]
fn bench_measures_beside_the_store_and_leaves_nothing() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let measured = desk.one(&["bench", "--writers", "3", "--messages", "50", "--size", "100"]);
    has_fields(&measured, &["append_per_s", "p50_us", "p99_us", "syncs", "raw_fdatasync_us"]);
    assert_eq!((&measured["messages"], &measured["writers"]), (&json!(50), &json!(3)));
    assert!(measured["syncs"].as_u64().unwrap() > 0 && measured["raw_fdatasync_us"].as_f64().unwrap() > 0.0);
    let left: Vec<_> = std::fs::read_dir(desk.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["store"]);
    assert_eq!(desk.json(&["list"]).len(), 1);
}

#[test]
fn results_are_tables_and_sentences_for_people() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let listed = desk.run(&["list"]);
    assert!(listed.stdout.starts_with("ID ") && listed.stdout.lines().count() == 2, "{listed:?}");
    for arguments in
        [&["info", "k"][..], &["show", "k"], &["branches", "k"], &["undo", "k"], &["redo", "k"], &["fork", "k"]]
    {
        let ran = desk.run(arguments);
        assert!(ran.code == 0 && !ran.stdout.is_empty() && !ran.stdout.contains('{'), "{arguments:?}: {ran:?}");
    }
    assert_eq!(desk.run(&["--help"]).code, 0);
    assert!(desk.run(&["--version"]).stdout.starts_with("sessions "));
}
