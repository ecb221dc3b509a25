//! Bad input: each a clear error with a hint, the right exit code, and nothing lost.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{Desk, bare, finish};

/// All files of a folder with their bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_url_that_names_no_store() {
    let desk = Desk::new();
    for url in [
        "",
        "chats",
        "/tmp/x",
        "slde:x",
        "sled:",
        "memory:x",
        "file:x",
        "sqlite:x",
        "redis://u:secret@h",
        "postgres://h",
        "a b:c",
    ] {
        let ran = desk.run(&["list", "--json", "--store", url]);
        ran.refused(2, "usage");
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
    }
}

#[test]
fn a_store_path_that_is_a_file() {
    let desk = Desk::new();
    fs::write(desk.path("file"), "mine").unwrap();
    let url = format!("sled:{}", desk.path("file").display());
    for command in ["list", "verify", "repair", "doctor"] {
        let ran = desk.run(&[command, "--json", "--store", &url]);
        if command != "doctor" {
            ran.refused(2, "usage");
        }
    }
    let below = format!("sled:{}", desk.path("file").join("store").display());
    assert!(desk.run(&["list", "--json", "--store", &below]).code > 0);
    assert_eq!(fs::read_to_string(desk.path("file")).unwrap(), "mine");
}

#[test]
fn paths_that_lead_nowhere_say_what_to_do() {
    let desk = Desk::new();
    std::os::unix::fs::symlink(desk.path("gone"), desk.path("link")).unwrap();
    let (link, long) = (format!("sled:{}", desk.path("link").display()), format!("sled:{}", "x".repeat(300)));
    for url in [&link, &long] {
        let error = desk.run(&["new", "--json", "--store", url]).refused(2, "usage");
        assert!(error["hint"].as_str().unwrap().contains("name the folder"), "{error}");
    }
    assert!(desk.path("link").is_symlink() && !desk.path("gone").exists());
    desk.talk(&["one"]);
    let error = desk.run(&["export", "k", "-o", "missing/file", "--json"]).refused(3, "not_found");
    assert_eq!(error["message"], "missing/file: there is no such folder");
}

#[test]
fn folders_that_nobody_typed_are_named_when_they_cannot_be_made() {
    let desk = Desk::new();
    fs::write(desk.path("file"), "mine").unwrap();
    let mut command = desk.command(&["new", "--json"]);
    command.env_remove("SESSIONS_STORE").env("HOME", desk.path("file"));
    let ran = crate::finish(command, b"");
    assert!(ran.stderr.contains("file/.local/share") && ran.stderr.contains("--store"), "{ran:?}");
    let mut command = desk.command(&["demo", "--json"]);
    command.env("TMPDIR", desk.path("missing"));
    let error = crate::finish(command, b"").refused(3, "not_found");
    assert!(error["hint"].as_str().unwrap().contains("TMPDIR"), "{error}");
}

#[test]
fn commands_that_need_a_store_make_none() {
    let desk = Desk::new();
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let commands: [&[&str]; 16] = [
        &["list"],
        &["info", "some-key"],
        &["show", id],
        &["branches", "some-key"],
        &["export", id],
        &["follow", id],
        &["append", "some-key", "--role", "user", "text"],
        &["append", "some-key", "--jsonl"],
        &["undo", "some-key"],
        &["redo", "some-key"],
        &["clear", "some-key"],
        &["checkout", "some-key", "main"],
        &["fork", "some-key"],
        &["verify"],
        &["repair"],
        &["repair", "--dry-run"],
    ];
    let refuses_all = || {
        for arguments in commands {
            let error = desk.run(&[arguments, &["--json"]].concat()).refused(3, "store_not_found");
            assert!(error["message"].as_str().unwrap().contains(&desk.url()), "{error}");
        }
        desk.json(&["doctor"]);
    };
    refuses_all();
    assert!(!desk.store().exists(), "nothing was made");
    fs::create_dir(desk.store()).unwrap();
    refuses_all();
    assert!(contents(&desk.store()).is_empty(), "nothing was put into an empty folder");
    desk.one(&["new"]);
    assert_eq!(desk.json(&["list"]).len(), 1);
}

#[test]
fn without_a_default_store_the_list_is_empty_and_makes_none() {
    let desk = Desk::new();
    let run = |arguments: &[&str]| {
        let mut command = bare(Path::new(env!("CARGO_BIN_EXE_sessions")));
        command.env("XDG_DATA_HOME", desk.path("data")).args(arguments);
        finish(command, b"")
    };
    let listed = run(&["list", "--json"]);
    assert_eq!((listed.code, listed.stdout.as_str()), (0, ""), "{listed:?}");
    let said = run(&["list"]);
    assert!(said.code == 0 && said.stderr.contains("no sessions yet"), "{said:?}");
    run(&["info", "some-key", "--json"]).refused(3, "store_not_found");
    assert!(!desk.path("data").exists());
    assert_eq!(run(&["new", "--json"]).code, 0);
    assert_eq!(run(&["list", "--json"]).lines().len(), 1);
}

#[test]
fn a_folder_that_is_no_store_is_left_alone() {
    let desk = Desk::new();
    fs::create_dir(desk.store()).unwrap();
    fs::write(desk.store().join("notes.txt"), "mine").unwrap();
    let before = contents(&desk.store());
    for command in ["list", "verify", "repair"] {
        desk.run(&[command, "--json"]).refused(1, "foreign_format");
    }
    assert_eq!(desk.run(&["doctor", "--json"]).code, 1);
    assert_eq!(contents(&desk.store()), before);
}

#[test]
fn a_foreign_or_newer_format_is_left_alone() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let format = desk.store().join("FORMAT");
    let ours = fs::read_to_string(&format).unwrap();
    fs::write(&format, ours.replace(" 1", " 99")).unwrap();
    let before = contents(&desk.store());
    for command in ["list", "verify", "repair"] {
        let error = desk.run(&[command, "--json"]).refused(1, "newer_format");
        assert!(error["hint"].as_str().unwrap().contains("version"), "{error}");
    }
    let ran = desk.run(&["doctor", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(contents(&desk.store()), before);
    fs::write(&format, "another-program 7\n").unwrap();
    for command in ["list", "verify", "repair"] {
        desk.run(&[command, "--json"]).refused(1, "foreign_format");
    }
    fs::write(&format, ours).unwrap();
    assert_eq!(desk.texts(&["show", "k"]), ["one"]);

    for name in ["FORMAT", "notes.txt"] {
        let foreign = desk.path("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(name), "something else\n").unwrap();
        let before = contents(&foreign);
        let store = format!("sled:{}", foreign.display());
        for command in ["list", "verify", "repair"] {
            desk.run(&["--store", &store, command, "--json"]).refused(1, "foreign_format");
        }
        assert_eq!(contents(&foreign), before);
        fs::remove_dir_all(foreign).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn no_permission() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};

    let desk = Desk::new();
    desk.talk(&["one"]);
    // Root may do everything, so the program runs as nobody (65534), from a place that nobody can reach.
    let program = desk.path("sessions");
    // By a process of its own: a test beside this one may start a program just now, which holds for a moment what is open here, and what
    // is open for writing cannot be run.
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_sessions")).arg(&program).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(desk.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mode = fs::metadata(desk.store()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "a store is its owner's alone");
    fs::set_permissions(desk.store(), fs::Permissions::from_mode(0o000)).unwrap();
    let is_root = fs::read_dir(desk.store()).is_ok();
    for (command, url) in [("list", desk.url()), ("new", format!("sled:{}", desk.store().join("new").display()))] {
        let mut as_nobody = bare(&program);
        as_nobody.args([command, "--json", "--store", &url]).current_dir("/");
        if is_root {
            as_nobody.uid(65534).gid(65534);
        }
        finish(as_nobody, b"").refused(6, "not_allowed");
    }
    fs::set_permissions(desk.store(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(desk.texts(&["show", "k"]), ["one"]);
}

#[test]
fn ids_and_keys_of_every_wrong_form() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let id = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
    let long = "x".repeat(257);
    let usage: [&str; 9] =
        ["", "a\nb", &long, "id:", "id:01ARZ", "id:x", "key:", "id:../../../../../etc/passwd0", "key:a\nb"];
    for name in usage {
        desk.run(&["info", name, "--json"]).refused(2, "usage");
        desk.run(&["verify", name, "--json"]).refused(2, "usage");
    }
    for name in [
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "x",
        "abcde",
        &id[..5],
        "id:ZZZZZZ",
        "key:x",
        "unknown-key",
        "key:unknown",
        "id:01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "../../etc/passwd",
        "ZZZZZZZZ",
    ] {
        desk.run(&["info", name, "--json"]).refused(3, "not_found");
        desk.run(&["verify", name, "--json"]).refused(3, "not_found");
    }
    for place in ["x", "-1", "1.5", "99999999999999999999", ""] {
        let error = desk.run(&["show", "k", &format!("--at={place}"), "--json"]).refused(2, "usage");
        assert!(error["message"].as_str().unwrap().contains("neither a version nor the id"), "{error}");
    }
    let other = desk.one(&["new", "--key", &id[..8]])["id"].clone();
    assert_eq!(desk.one(&["info", &id[..8]])["key"], id[..8], "a key comes before the beginning of an id");
    assert_eq!(desk.one(&["verify", &id[..8]])["checked"]["session"], other);
    let forced = [format!("id:{id}"), format!("id:{}", &id[..24]), format!("id:{}", &id[..24].to_lowercase())];
    for name in [&id, &id.to_lowercase(), &forced[0], &forced[1], &forced[2], "k", "key:k", &id[..24]] {
        assert_eq!(desk.one(&["info", name])["id"].as_str(), Some(id.as_str()), "{name}");
        assert_eq!(desk.one(&["verify", name])["checked"]["session"].as_str(), Some(id.as_str()), "{name}");
    }
    for key in ["", &long, "a\u{7}b"] {
        assert_eq!(desk.run(&["new", "--key", key, "--json"]).code, 2, "{key:?}");
    }
    assert_eq!(desk.json(&["list"]).len(), 2);
}

#[test]
fn a_key_that_would_name_another_session_is_refused() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let id = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
    for key in ["id:", "key:", "id:x", "key:k", &format!("id:{id}"), &id, &id.to_lowercase()] {
        let error = desk.run(&["new", "--key", key, "--json"]).refused(2, "usage");
        assert!(!error["message"].as_str().unwrap().contains(&id), "{error}");
    }
    assert_eq!(desk.json(&["list"]).len(), 1);
    // What only looks like an id names what it should, and the words mean nothing elsewhere.
    for key in ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "a:key:b", "ID:x"] {
        let made = desk.one(&["new", "--key", key])["id"].clone();
        assert_eq!(desk.one(&["info", key])["id"], made, "{key}");
        assert_eq!(desk.one(&["info", &format!("key:{key}")])["id"], made, "{key}");
    }
}

#[test]
fn the_beginning_of_several_ids_is_ambiguous() {
    let desk = Desk::new();
    let first = desk.one(&["new"])["id"].as_str().unwrap().to_owned();
    desk.one(&["new"]);
    // Made within the same minute or so, they begin alike.
    desk.run(&["info", &first[..6], "--json"]).refused(2, "usage");
    desk.run(&["verify", &first[..6], "--json"]).refused(2, "usage");
}

#[test]
fn messages_that_the_rules_refuse() {
    let desk = Desk::new();
    desk.talk(&[]);
    let ran = desk.run(&["append", "k", "--role", "tool", "text", "--json"]);
    assert!(ran.code == 0 || ran.error()["kind"] == serde_json::json!("refused"), "{ran:?}");
    assert_eq!(
        desk.run(&["append", "k", "--role", "robot", "text", "--json"]).error()["kind"],
        serde_json::json!("usage")
    );
    assert_eq!(desk.run(&["append", "k", "text", "--json"]).code, 2);
    let ran = desk.run_with(&["append", "k", "--role", "user", "--json"], b"\xff\xfe");
    ran.refused(2, "usage");
    desk.run(&["append", "k", "--role", "user", "", "--json"]).refused(2, "usage");
    desk.run_with(&["append", "k", "--role", "user", "--json"], b"\n").refused(2, "usage");
    desk.run(&["append", "k", "--role", "user", "text", "--idempotency-key", "", "--json"]).refused(2, "usage");
    let lines =
        b"{\"role\":\"user\",\"content\":\"\"}\n{\"role\":\"user\",\"content\":\"x\",\"idempotency_key\":\"\"}\n";
    let ran = desk.run_with(&["append", "k", "--jsonl"], lines);
    let kinds: Vec<serde_json::Value> = ran.lines().iter().map(|line| line["error"]["kind"].clone()).collect();
    assert_eq!(kinds, ["usage", "usage"], "{ran:?}");
}

#[test]
fn more_durability_than_a_store_gives() {
    let desk = Desk::new();
    desk.run(&["new", "--json", "--store", "memory:", "--durability", "disk"]).refused(2, "usage");
    assert_eq!(desk.run(&["new", "--json", "--durability", "eternal"]).error()["kind"], serde_json::json!("usage"));
}

#[test]
fn a_command_line_that_means_nothing() {
    let desk = Desk::new();
    for arguments in [
        &["--json"][..],
        &["frob", "--json"],
        &["show", "--json"],
        &["show", "k", "--frob", "--json"],
        &["list", "--limit", "0", "--json"],
        &["list", "--since", "yesterday", "--json"],
        &["show", "k", "--at", "x", "--json"],
        &["undo", "k", "--steps", "1", "--turns", "1", "--json"],
        &["undo", "k", "--steps", "0", "--json"],
        &["undo", "k", "--turns", "-1", "--json"],
        &["redo", "k", "--steps", "0", "--json"],
    ] {
        let ran = desk.run(arguments);
        assert_eq!((ran.code, ran.error()["kind"].as_str()), (2, Some("usage")), "{arguments:?} {ran:?}");
    }
}

#[test]
fn a_text_that_is_too_long_says_its_limit_and_one_that_is_empty_is_a_mistake() {
    let desk = Desk::new();
    desk.talk(&[]);
    let append = ["append", "k", "--role", "user", "--json"];
    // One that is longer as it is typed, and one that is only as it is written.
    for text in ["x".repeat((64 << 20) + 1), "\"".repeat(40 << 20)] {
        let refused = desk.run_with(&append, text.as_bytes()).refused(1, "limit");
        assert!(refused["message"].as_str().unwrap().contains("67108864"), "{refused}");
    }
    desk.run_with(&append, b"").refused(2, "usage");
    desk.run_with(&append, b"\n").refused(2, "usage");
    assert!(desk.json(&["show", "k"]).is_empty());
}

#[test]
fn a_file_that_changed_says_how_to_have_both() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    desk.run(&["export", "k", "--format", "jsonl", "-o", "k.jsonl"]);
    desk.one(&["append", "k", "--role", "assistant", "two"]);
    let other = Desk::new();
    fs::copy(desk.path("k.jsonl"), other.path("k.jsonl")).unwrap();
    other.one(&["import", "k.jsonl"]);
    other.one(&["append", "k", "--role", "assistant", "another"]);
    desk.run(&["export", "k", "--format", "jsonl", "-o", "k2.jsonl"]);
    fs::copy(desk.path("k2.jsonl"), other.path("k2.jsonl")).unwrap();
    let refused = other.run(&["import", "k2.jsonl", "--json"]).refused(4, "another_head");
    assert!(refused["hint"].as_str().unwrap().contains("--new-id"), "{refused}");
    other.one(&["import", "k2.jsonl", "--new-id"]);
}
