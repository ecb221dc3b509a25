//! A store whose files were damaged: told, contained, repaired.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

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
    let desk = Desk::plain();
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
    // What can be read is shown, with what cannot in its place, and the outcome says that not all was.
    for last in [&[][..], &["--last", "3"], &["--all"]] {
        let ran = desk.run(&[&["show", "k", "--json"], last].concat());
        ran.refused(5, "damaged");
        let shown: Vec<Value> = ran.lines().iter().map(|line| json!([line["seq"], line["lost"]])).collect();
        assert_eq!(shown, [json!([2, null]), json!([3, true]), json!([4, null])], "{last:?}");
    }
    let ran = desk.run(&["show", "k"]);
    assert!(
        ran.code == 5 && ran.stdout.contains("first words") && ran.stdout.contains("cannot be read here"),
        "{ran:?}"
    );
    // Nothing is built on what cannot be read.
    for command in [&["append", "k", "--role", "user", "x"][..], &["undo", "k"], &["fork", "k"]] {
        desk.run(&[command, &["--json"]].concat()).refused(5, "damaged");
    }
    assert_eq!(desk.texts(&["show", "other"]), ["unharmed"]);
    assert_eq!(desk.run(&["verify", "k", "--json"]).code, 5);
    for healthy in ["other", "key:other"] {
        let errors = desk.run(&["verify", healthy, "--json"]).lines();
        let of_k = errors.iter().filter(|line| line["session"] == id).count();
        assert_eq!(of_k, 0, "{errors:?}");
    }
    desk.run(&["verify", "nobody", "--json"]).refused(3, "not_found");

    let wished = desk.json(&["repair", "--dry-run"]);
    assert!(!wished.is_empty() && wished.iter().all(|action| action["dry_run"] == json!(true)), "{wished:?}");
    assert_eq!(desk.run(&["verify", "--json"]).code, 5, "a dry run changes nothing");
    let done = desk.json(&["repair"]);
    assert_eq!(done.len(), wished.len());
    assert_eq!(desk.run(&["verify", "--json"]).code, 0);
    assert_eq!(desk.texts(&["show", "k"]), ["first words", "", "third words"]);
    assert!(desk.run(&["show", "k"]).stdout.contains("1 message lost here"));
    assert_eq!(desk.one(&["info", "k"])["lost"], json!(1));
    assert_eq!(desk.texts(&["show", "other"]), ["unharmed"]);
}

/// The sessions and records that an error of `verify` names.
fn named(desk: &Desk) -> Vec<(String, u64, u64)> {
    let ran = desk.run(&["verify", "--json"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let lines = ran.lines();
    let errors = lines.iter().filter(|line| line["severity"] == json!("error") && line["file"].is_null());
    let records = errors.filter_map(|error| {
        let first = error["seq"].as_u64()?;
        Some((error["session"].as_str()?.to_owned(), first, error["last"].as_u64().unwrap_or(first)))
    });
    let mut named: Vec<_> = records.collect();
    named.sort();
    named.dedup();
    named
}

#[test]
fn a_log_that_lost_its_end_is_named_until_a_repair_marks_what_is_gone() {
    for taken in ["some", "all", "the folder"] {
        let desk = Desk::plain();
        desk.talk(&["one", "two", "three"]);
        desk.one(&["new", "--key", "other", "--title", "Another"]);
        desk.one(&["append", "other", "--role", "user", "gone too"]);
        let id = |key: &str| desk.one(&["info", key])["id"].as_str().unwrap().to_owned();
        let (k, other) = (id("k"), id("other"));
        let segment = desk.store().join("log/00000001.seg");
        let whole = fs::read(&segment).unwrap();
        let kept = match taken {
            "some" => {
                let cut = whole.windows(3).position(|window| window == b"two").unwrap();
                fs::write(&segment, &whole[..cut]).unwrap();
                2
            }
            "all" => {
                fs::remove_file(&segment).unwrap();
                0
            }
            _ => {
                fs::remove_dir_all(desk.store().join("log")).unwrap();
                0
            }
        };
        let mut gone = vec![(k.clone(), kept + 1, 4), (other.clone(), 1, 2)];
        gone.sort();
        for _ in 0..2 {
            assert_eq!(named(&desk), gone, "{taken}");
            // Opening tells of it as well, again and again, and no number is given twice.
            let ran = desk.run(&["list", "--json"]);
            assert!(ran.code == 0 && ran.stderr.contains("a part of the log is missing"), "{taken}: {ran:?}");
        }
        let records = |action: &Value| {
            let first = action["seq"].as_u64()?;
            Some((action["session"].as_str()?.to_owned(), first, action["last"].as_u64().unwrap_or(first)))
        };
        let lost: Vec<(String, u64, u64)> = desk.json(&["repair"]).iter().filter_map(records).collect();
        assert_eq!(lost, gone, "{taken}");
        for _ in 0..2 {
            let ran = desk.run(&["verify", "--json"]);
            let checked = &ran.lines().pop().unwrap()["checked"];
            assert_eq!((ran.code, checked["lost"].as_u64()), (0, Some(6 - kept)), "{taken}: {ran:?}");
            assert_eq!(desk.one(&["info", "other"])["title"], json!("Another"), "{taken}");
            assert_eq!(desk.one(&["info", "other"])["id"], json!(other), "{taken}: found by its key");
            desk.one(&["append", "k", "--role", "user", "goes on"]);
        }
        assert_eq!(desk.texts(&["show", "k", "--last", "2"]), ["goes on", "goes on"]);
    }
}

#[test]
fn a_repair_tells_ranges_of_each_session_and_a_dry_run_what_it_would_do() {
    let desk = Desk::plain();
    desk.talk(&["one", "two", "three"]);
    desk.one(&["undo", "k"]);
    desk.one(&["new", "--key", "other"]);
    let id = |key: &str| desk.one(&["info", key])["id"].as_str().unwrap().to_owned();
    let (k, other) = (id("k"), id("other"));
    fs::remove_file(desk.store().join("log/00000001.seg")).unwrap();
    let wished = desk.run(&["repair", "--dry-run"]).stdout;
    let shown: Vec<&str> = wished.lines().filter(|line| line.contains("session")).collect();
    let of_k = format!(
        "would mark 5 records as lost (3 × a message, 1 × a move of the head, 1 × the session's beginning): records 1 to 5 of session {k}"
    );
    let of_other = format!("would mark the record as lost (the session's beginning): record 1 of session {other}");
    assert_eq!(shown, [of_k.as_str(), of_other.as_str()]);
    assert!(wished.lines().all(|line| line.starts_with("would ") || line.ends_with("would be done")), "{wished}");
    let done = desk.run(&["repair"]).stdout;
    assert!(done.contains(&of_k.replace("would mark", "marked")) && !done.contains("would"), "{done}");
    for action in desk.run(&["repair", "--json"]).lines() {
        assert_eq!(action["dry_run"], json!(false));
    }
}

#[test]
fn a_check_of_one_session_counts_that_one() {
    let desk = Desk::plain();
    desk.talk(&["first words", "second words", "third words"]);
    desk.one(&["new", "--key", "other"]);
    desk.one(&["append", "other", "--role", "user", "unharmed"]);
    damage(&desk, b"second words");
    let counts = |arguments: &[&str]| {
        let ran = desk.run(&[arguments, &["--json"]].concat());
        let checked = ran.lines().pop().unwrap()["checked"].clone();
        let count = |name: &str| checked[name].as_u64().unwrap();
        (count("sessions"), count("records"), count("lost"), checked["session"].is_string())
    };
    assert_eq!(counts(&["verify", "k"]), (1, 3, 0, true), "one of its four records is damaged");
    desk.run(&["repair"]);
    assert_eq!(counts(&["verify", "k"]), (1, 4, 1, true));
    assert_eq!(counts(&["verify", "other"]), (1, 2, 0, true));
    assert_eq!(counts(&["verify"]), (2, 6, 1, false));
    let said = desk.run(&["verify", "other"]).stdout;
    assert!(
        said.contains("nothing is wrong: 2 records of session ") && said.contains("the log was read whole"),
        "{said}"
    );
}

#[test]
fn one_of_something_is_told_as_one() {
    let desk = Desk::plain();
    desk.talk(&["first words", "second words"]);
    let looked = desk.run(&["doctor"]).stdout;
    assert!(looked.contains("FORMAT: 1 file, ") && !looked.contains("1 files"), "{looked}");
    fs::write(desk.path("line.jsonl"), "{\"type\":\"summary\",\"sessionId\":\"s\",\"uuid\":\"u\"}\n").unwrap();
    for refused in [&["import", "line.jsonl", "--format", "claude-code"][..], &["undo", "k", "--to", "x"]] {
        let ran = desk.run(refused);
        assert!(ran.code > 0 && !ran.stderr.contains(" 1 lines") && !ran.stderr.contains(" 1 characters"), "{ran:?}");
    }
    damage(&desk, b"second words");
    fs::remove_dir_all(desk.store().join("index")).unwrap();
    let opened = desk.run(&["list", "--json"]).stderr;
    assert!(opened.contains("1 damaged place in the log") && !opened.contains("1 places"), "{opened}");
    desk.run(&["repair"]);
    let told = |ran: crate::Ran| ran.stderr;
    let one = told(desk.run(&["export", "k"]));
    assert!(one.contains("record 3 of the session is lost"), "{one}");
    damage(&desk, b"first words");
    let several = told(desk.run(&["export", "k"]));
    assert!(several.contains("record 2 and 1 more of the session are lost"), "{several}");
}

#[test]
fn a_large_body_that_is_gone_is_one_lost_record() {
    for how in ["flipped", "cut", "deleted"] {
        let desk = Desk::plain();
        desk.talk(&["one"]);
        let large = format!("{{\"role\":\"user\",\"content\":\"{}\"}}\n", "x".repeat(90_000));
        let ran = desk.run_with(&["append", "k", "--jsonl", "--json"], large.as_bytes());
        assert_eq!(ran.code, 0);
        desk.one(&["append", "k", "--role", "user", "three"]);
        let folder = fs::read_dir(desk.store().join("blobs")).unwrap().next().unwrap().unwrap().path();
        let body = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&body).unwrap();
        match how {
            "flipped" => fs::write(&body, [&whole[..9], &[whole[9] ^ 1], &whole[10..]].concat()).unwrap(),
            "cut" => fs::write(&body, &whole[..100]).unwrap(),
            _ => fs::remove_file(&body).unwrap(),
        }
        let ran = desk.run(&["show", "k", "--json"]);
        ran.refused(5, "damaged");
        assert_eq!(ran.lines().len(), 3, "{how}: the rest is shown: {ran:?}");
        assert_eq!(desk.run(&["verify", "--json"]).code, 5, "{how}");
        let looked = desk.json(&["doctor"]);
        let opened = looked.iter().find(|line| line["check"] == json!("opened")).unwrap();
        let told = opened["what"].as_str().unwrap();
        assert!(told.contains("large bodies were not looked at") && told.contains("`verify`"), "{opened}");
        assert!(looked.iter().all(|line| line.get("trouble").is_none()), "{looked:?}");
        desk.json(&["repair"]);
        for _ in 0..2 {
            assert_eq!(desk.run(&["verify", "--json"]).code, 0, "{how}");
            assert_eq!(desk.json(&["repair"]).len(), 0, "{how}");
            assert_eq!(desk.texts(&["show", "k"]), ["one", "", "three"], "{how}");
        }
        desk.one(&["append", "k", "--role", "user", "four"]);
        let kept = fs::read_dir(desk.store().join("quarantine")).unwrap();
        let bodies = kept.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("body-"));
        assert_eq!(bodies.count(), usize::from(how != "deleted"), "{how}");
        assert_eq!(desk.run(&["verify", "--json"]).code, 0, "{how}");
    }
}

/// Exports a session that lost records, imports it elsewhere, exports it again.
fn goes_round(desk: &Desk, session: &str, is_bound: bool, what: &str) {
    for format in ["jsonl", "json"] {
        let file = desk.path("out");
        let elsewhere = format!("sled:{}", desk.path("elsewhere").display());
        let told = desk.run(&["export", session, "--format", format, "-o", file.to_str().unwrap(), "--json"]);
        assert_eq!((told.code, told.lines()[0]["lost"].as_array().unwrap().len()), (0, 1), "{what}: {told:?}");
        assert!(told.stderr.contains("lost"), "{what}: {told:?}");
        let exported = fs::read_to_string(&file).unwrap();
        for (at, arguments) in [&[][..], &["--new-id"]].into_iter().enumerate() {
            let import = ["--store", &elsewhere, "import", file.to_str().unwrap()];
            let report = desk.one(&[&import[..], arguments].concat());
            assert_eq!(report["lost"].as_array().unwrap().len(), 1, "{what}: {report}");
            let id = report["id"].as_str().unwrap();
            let again = desk.run(&["--store", &elsewhere, "export", id, "--format", format]);
            assert!(at > 0 || again.stdout == exported, "{what}: {format} is another");
            desk.one(&["--store", &elsewhere, "append", id, "--role", "user", "goes on"]);
            let verified = desk.run(&["--store", &elsewhere, "verify", "--json"]);
            assert_eq!(verified.code, 0, "{what}: {verified:?}");
        }
        // Another record that was changed is refused all the same.
        let changed = exported.replacen("third words", "THIRD words", 1);
        if is_bound && changed != exported && format == "jsonl" {
            fs::write(&file, changed).unwrap();
            let other = format!("sled:{}", desk.path("other store").display());
            desk.run(&["--store", &other, "import", file.to_str().unwrap(), "--json"]).refused(5, "altered_record");
        }
        fs::remove_dir_all(desk.path("elsewhere")).unwrap();
    }
}

#[test]
fn a_session_with_lost_records_goes_out_and_comes_in_again() {
    for spoilt in [&b"second words"[..], b"first words", b"\"title\":\"T\"", b"fourth words"] {
        let what = String::from_utf8_lossy(spoilt).into_owned();
        let desk = Desk::plain();
        desk.one(&["new", "--key", "k", "--title", "T"]);
        for words in ["first words", "second words", "and between", "third words", "fourth words"] {
            desk.one(&["append", "k", "--role", "user", words]);
        }
        let fork = desk.one(&["fork", "k"])["id"].as_str().unwrap().to_owned();
        desk.one(&["append", &fork, "--role", "user", "in the fork"]);
        let id = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
        let segment = desk.store().join("log/00000001.seg");
        let mut bytes = fs::read(&segment).unwrap();
        let at = bytes.windows(spoilt.len()).position(|window| window == spoilt).unwrap();
        bytes[at + 3] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let begins = spoilt.starts_with(b"\"title");
        if !begins {
            // Before the repair as well.
            goes_round(&desk, &id, true, &format!("{what}, damaged"));
            goes_round(&desk, &fork, true, &format!("{what}, damaged, its fork"));
        }
        desk.json(&["repair"]);
        // Without its beginning a log has no name that its chain is bound to.
        goes_round(&desk, &id, !begins, &what);
        goes_round(&desk, &fork, !begins, &format!("{what}, its fork"));
    }
}

#[test]
fn an_export_with_losses_tells_them_to_programs_too_and_an_import_counts_them_apart() {
    let desk = Desk::plain();
    desk.talk(&["first words", "second words", "third words"]);
    let id = desk.one(&["info", "k"])["id"].clone();
    let whole = desk.run(&["export", "k", "--json", "-o", "whole"]);
    let written = &whole.lines()[0];
    assert!(written.get("lost").is_none() && written.get("damaged").is_none() && whole.stderr.is_empty(), "{whole:?}");
    damage(&desk, b"second words");
    for damaged in [json!(true), Value::Null] {
        let lost = json!([{"session": id, "seq": 3}]);
        let written = desk.run(&["export", "k", "--json", "-o", "file"]);
        let printed = desk.run(&["export", "k", "--json"]);
        assert_eq!((written.code, printed.code), (0, 0), "{written:?} {printed:?}");
        assert_eq!((&written.lines()[0]["lost"], &written.lines()[0]["damaged"]), (&lost, &damaged), "{written:?}");
        for ran in [written, printed] {
            let notices: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let notice = notices.iter().find(|notice| notice["lost"] == lost).unwrap();
            assert_eq!(notice["damaged"], damaged);
            assert_eq!(notice["notice"].as_str().unwrap().contains("`verify`"), damaged.is_boolean(), "{notice}");
        }
        desk.json(&["repair"]);
    }
    let elsewhere = format!("sled:{}", desk.path("elsewhere").display());
    let told = desk.run(&["import", "file", "--store", &elsewhere]).stdout;
    assert!(told.contains("2 messages (of 3, the others are lost)") && told.contains("1 record lost before"), "{told}");
    let told = desk.run(&["info", "k"]).stdout;
    assert!(told.contains("2 (of 3, the others are lost)"), "{told}");
}

#[test]
fn a_missing_segment_is_damage_until_a_repair_and_healthy_after_it() {
    for missing in [1, 2] {
        let desk = Desk::plain();
        desk.talk(&["one"]);
        // A body of some size, so that the log has three segments.
        let large = format!("{{\"role\":\"user\",\"content\":\"{}\"}}\n", "x".repeat(60_000));
        let ran = desk.run_with(&["append", "k", "--jsonl", "--json"], large.repeat(600).as_bytes());
        assert_eq!(ran.code, 0);
        desk.one(&["append", "k", "--role", "user", "last"]);
        assert!(desk.store().join("log/00000003.seg").exists());
        fs::remove_file(desk.store().join(format!("log/0000000{missing}.seg"))).unwrap();
        // The log alone tells of it.
        fs::remove_dir_all(desk.store().join("index")).unwrap();
        for _ in 0..2 {
            assert!(!named(&desk).is_empty(), "{missing}");
            let ran = desk.run(&["list", "--json"]);
            assert!(ran.stderr.contains("a part of the log is missing"), "{missing}: {ran:?}");
        }
        desk.json(&["repair"]);
        for _ in 0..2 {
            let ran = desk.run(&["verify", "--json"]);
            assert_eq!(ran.code, 0, "{missing}: {}", ran.stdout.lines().next().unwrap());
            assert_eq!(desk.run(&["list", "--json"]).code, 0);
        }
        assert_eq!(desk.run(&["list", "--json"]).stderr, "", "{missing}");
        let id = desk.json(&["list"])[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(desk.texts(&["show", &id, "--last", "1"]), ["last"]);
    }
}

#[test]
fn a_lost_format_file_is_made_anew_from_the_log() {
    for how in ["missing", "empty", "damaged", "another id"] {
        let desk = Desk::plain();
        desk.talk(&["one"]);
        let format = desk.store().join("FORMAT");
        let ours = fs::read(&format).unwrap();
        match how {
            "missing" => fs::remove_file(&format).unwrap(),
            "empty" => fs::write(&format, "").unwrap(),
            // With a wrong id keys and large bodies would be unknown, and appends would be taken for new ones.
            "another id" => {
                let at = ours.windows(3).position(|bytes| bytes == b"id ").unwrap() + 3;
                let digit = if ours[at] == b'0' { b'1' } else { b'0' };
                fs::write(&format, [&ours[..at], &[digit], &ours[at + 1..]].concat()).unwrap();
            }
            _ => fs::write(&format, [&[ours[0] ^ 1], &ours[1..]].concat()).unwrap(),
        }
        let error = desk.run(&["show", "k", "--json"]).refused(5, "damaged");
        assert!(error["hint"].as_str().unwrap().contains("repair"), "{error}");
        assert_eq!(desk.run(&["verify", "--json"]).code, 5, "{how}");
        let looked = desk.run(&["doctor", "--json"]);
        let trouble = |line: &Value| line["trouble"] == json!("damaged");
        assert!(looked.code == 5 && looked.lines().iter().any(trouble), "{how}: {looked:?}");
        desk.json(&["repair"]);
        assert_eq!(fs::read(&format).unwrap(), ours, "{how}");
        assert_eq!(desk.run(&["verify", "--json"]).code, 0);
        assert_eq!(desk.texts(&["show", "k"]), ["one"]);
    }
}

#[test]
fn a_store_that_lost_its_format_and_its_log_is_damaged_and_left_alone() {
    for (format, log) in [("gone", "empty"), ("gone", "gone"), ("empty", "empty"), ("damaged", "gone")] {
        let desk = Desk::plain();
        desk.talk(&["one"]);
        match format {
            "gone" => fs::remove_file(desk.store().join("FORMAT")).unwrap(),
            "empty" => fs::write(desk.store().join("FORMAT"), "").unwrap(),
            _ => fs::write(desk.store().join("FORMAT"), "sessions-store 1\nid 12").unwrap(),
        }
        fs::remove_dir_all(desk.store().join("log")).unwrap();
        if log == "empty" {
            fs::create_dir(desk.store().join("log")).unwrap();
        }
        for command in [&["list", "--json"][..], &["new", "--json"], &["verify", "--json"], &["repair", "--json"]] {
            let error = desk.run(command).refused(5, "damaged");
            assert!(error["hint"].as_str().unwrap().contains("copy"), "{error}");
        }
        let looked = desk.run(&["doctor", "--json"]);
        assert!(looked.code == 5 && looked.stdout.contains("no repair can make them"), "{looked:?}");
        // With something beside it, it may be anybody's.
        fs::write(desk.store().join("notes.txt"), "mine").unwrap();
        assert_eq!(desk.run(&["list", "--json"]).code, 1, "{format}, {log}");
    }
}

#[test]
fn what_stands_before_the_end_of_a_cut_segment_is_read() {
    let desk = Desk::plain();
    desk.talk(&["first words", "second words", "third words"]);
    let segment = desk.store().join("log/00000001.seg");
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(11).position(|window| window == b"third words").unwrap();
    fs::write(&segment, &bytes[..at]).unwrap();
    let shown = desk.run(&["show", "k", "--json"]);
    let told: Vec<bool> = shown.lines().iter().map(|line| line["lost"] == json!(true)).collect();
    assert_eq!((shown.code, told), (5, vec![false, false, true]), "{shown:?}");
}

#[test]
fn an_index_that_is_gone_is_built_anew_and_told() {
    let desk = Desk::plain();
    desk.talk(&["one", "two"]);
    fs::remove_dir_all(desk.store().join("index")).unwrap();
    let ran = desk.run(&["show", "k", "--json"]);
    assert_eq!((ran.code, ran.lines().len()), (0, 2), "{ran:?}");
    assert!(ran.stderr.contains("index"), "{ran:?}");
    assert_eq!(desk.run(&["show", "k", "--json"]).stderr, "");
}
