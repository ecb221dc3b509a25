//! The configuration as the program takes it: which place counts, what is refused, and what `config` tells.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Desk, Ran, bare, finish};

/// The program without a store in its environment, with a configuration of its own.
fn program(desk: &Desk, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = bare(std::path::Path::new(env!("CARGO_BIN_EXE_sessions")));
    command.current_dir(desk.folder.path()).env("XDG_CONFIG_HOME", desk.path("config")).env("HOME", desk.path("home"));
    command.args(arguments).envs(variables.iter().copied());
    finish(command, b"")
}

fn configure(desk: &Desk, text: &str) {
    fs::create_dir_all(desk.path("config/sessions")).unwrap();
    fs::write(desk.path("config/sessions/config.yaml"), text).unwrap();
}

fn row(ran: &Ran, option: &str) -> Value {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.lines().into_iter().find(|row| row["option"] == option).unwrap()
}

#[test]
fn config_tells_what_is_in_force_and_where_it_came_from() {
    let desk = Desk::new();
    configure(
        &desk,
        "sessions:\n  storage: { url: 'sled:file', durability: disk, max_sessions: 5 }\n  sharing: { max_shared_sessions: 3 }\n",
    );
    let ran = program(&desk, &["config", "--json", "--durability", "process"], &[("SESSIONS_STORE", "sled:variable")]);
    let first = ran.stdout.lines().next().unwrap();
    assert!(
        first.starts_with(r#"{"option":"storage.url","value":"sled:variable","from":"SESSIONS_STORE","default":"#),
        "{first}"
    );
    for (option, value, from) in [
        ("storage.url", Value::from("sled:variable"), "SESSIONS_STORE"),
        ("storage.durability", Value::from("process"), "--durability"),
        ("storage.max_sessions", Value::from(5), "config.yaml:2:64"),
        ("storage.auto_save", Value::from(true), "default"),
        ("limits.messages", Value::Null, "default"),
    ] {
        let row = row(&ran, option);
        assert_eq!(row["value"], value, "{option}");
        assert!(row["from"].as_str().unwrap().ends_with(from), "{row}");
    }
    assert_eq!(row(&ran, "sharing.max_shared_sessions")["state"], "not built: sharing");
    assert!(ran.stderr.contains("sharing.max_shared_sessions has no effect yet"), "{ran:?}");
    let argument = program(&desk, &["config", "--json", "--store", "memory:"], &[("SESSIONS_STORE", "sled:variable")]);
    assert_eq!(row(&argument, "storage.url")["from"], "--store");
    let usual = program(&desk, &["config", "--json", "--config", "/dev/null"], &[]);
    assert!(row(&usual, "storage.url")["value"].as_str().unwrap().ends_with("home/.local/share/sessions"), "{usual:?}");
    let people = program(&desk, &["config"], &[]);
    assert!(people.stdout.contains("OPTION") && people.stdout.contains("sled:file"), "{people:?}");
}

#[test]
fn all_that_is_wrong_is_told_before_anything_is_done() {
    let desk = Desk::new();
    configure(
        &desk,
        "sessions:\n  storage: { urll: 'sled:x', max_sessions: -5 }\n  providers: { a: { kind: openai, api_key: hunter2 } }\n",
    );
    for arguments in [&["new", "--json"][..], &["config", "--json"], &["list", "--store", "memory:", "--json"]] {
        let ran = program(&desk, arguments, &[]);
        let error = ran.refused(2, "usage");
        let message = error["message"].as_str().unwrap();
        for part in [
            "3 things are wrong",
            "config.yaml:2:14: storage.urll",
            "(did you mean url?)",
            "config.yaml:2:44",
            "api_key_env",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!format!("{ran:?}").contains("hunter2"));
    }
    assert!(!desk.path("home").exists());
    // What has to do with no store works.
    assert_eq!(program(&desk, &["completions", "bash"], &[]).code, 0);
    let missing = program(&desk, &["list", "--config", "none.yaml", "--json"], &[]);
    assert!(missing.refused(2, "usage")["message"].as_str().unwrap().contains("none.yaml: it cannot be read"));
}

#[test]
fn the_store_its_level_its_limits_and_who_acts_come_from_the_file() {
    let desk = Desk::new();
    configure(
        &desk,
        "sessions:\n  storage: { url: 'sled:disk', durability: process, max_sessions: 1 }\n  identity: { actor: ana }\n  artifacts: { max_bytes: 30, quota_bytes: 60 }\n",
    );
    let made = program(&desk, &["new", "--key", "k", "--json"], &[("SESSIONS_STORAGE_DURABILTY", "disk")]);
    assert_eq!((made.code, made.lines()[0]["durability"].as_str()), (0, Some("process")), "{made:?}");
    assert!(desk.path("disk/FORMAT").exists());
    assert!(made.stderr.contains("2 options of the configuration have no effect yet"), "{made:?}");
    assert!(made.stderr.contains("did you mean SESSIONS_STORAGE_DURABILITY?"), "{made:?}");
    assert_eq!(program(&desk, &["new", "--json"], &[]).refused(1, "limit")["kind"], "limit");
    assert_eq!(program(&desk, &["append", "k", "--role", "user", "hello", "--json"], &[]).code, 0);
    let shown = program(&desk, &["show", "k", "--json"], &[]);
    assert_eq!(shown.lines()[0]["actor"]["id"], "ana", "{shown:?}");
    let elsewhere = program(&desk, &["new", "--json", "--durability", "disk"], &[("SESSIONS_STORE", "sled:other")]);
    assert_eq!(elsewhere.lines()[0]["durability"], "disk");
    assert!(desk.path("other/FORMAT").exists());
}

#[test]
fn whether_a_store_is_sealed_and_with_which_key_comes_from_the_file_too() {
    let desk = Desk::new();
    let store = |name: &str, more: &str| format!("sessions:\n  storage: {{ url: 'sled:{name}' }}\n  {more}\n");
    configure(&desk, &store("sealed", "keys: { key_file: own.key }"));
    assert_eq!(program(&desk, &["new", "--key", "k"], &[]).code, 0);
    assert!(desk.path("own.key").exists() && !desk.path("config/sessions/key").exists());
    assert_eq!(program(&desk, &["list"], &[]).code, 0);
    // An argument counts more.
    let other = program(&desk, &["list", "--key-file", "other.key", "--json"], &[]);
    assert_eq!(other.code, 6, "{other:?}");
    configure(&desk, &store("plain", "encryption: { enabled: false }"));
    assert_eq!(program(&desk, &["new", "--key", "k"], &[]).code, 0);
    let status = program(&desk, &["keys", "status", "--json"], &[]);
    assert_eq!(status.lines()[0]["sealed"], false);
    assert_eq!(program(&desk, &["keys", "init", "--json"], &[]).code, 2);
    let sealed = program(&desk, &["list", "--store", "sled:sealed", "--json"], &[]);
    assert!(sealed.refused(2, "usage")["message"].as_str().unwrap().contains("never opened plain"), "{sealed:?}");
    for more in ["encryption: { enabled: true }", "keys: { key_file: own.key }"] {
        configure(&desk, &store("plain", more));
        let plain = program(&desk, &["list", "--json"], &[]);
        assert!(plain.refused(2, "usage")["message"].as_str().unwrap().contains("the store is plain"), "{plain:?}");
        assert_eq!(program(&desk, &["list", "--plain"], &[]).code, 0, "an argument counts more");
    }
    configure(&desk, &store("work", "keys: { passphrase_env: CHATS }"));
    let variable = [("CHATS", "seven grey herons over the weir")];
    assert_eq!(program(&desk, &["new", "--key", "k"], &variable).code, 0);
    assert_eq!(program(&desk, &["list"], &variable).code, 0);
    assert_eq!(program(&desk, &["list"], &[("CHATS", "nine grey herons over the weir")]).code, 6);
    assert_eq!(program(&desk, &["list"], &[]).code, 6);
}

#[test]
fn who_follows_makes_the_backups_that_are_asked_for() {
    let desk = Desk::new();
    let text = |interval: &str| {
        format!(
            "sessions: {{ storage: {{ url: 'sled:disk', backup_interval_minutes: {interval}, backup_folder: copies }} }}"
        )
    };
    configure(&desk, &text("60"));
    assert_eq!(program(&desk, &["new", "--key", "k"], &[]).code, 0);
    assert_eq!(program(&desk, &["list"], &[]).code, 0);
    let mut command = bare(std::path::Path::new(env!("CARGO_BIN_EXE_sessions")));
    command.current_dir(desk.folder.path()).env("XDG_CONFIG_HOME", desk.path("config")).args(["follow", "k"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let copies = || {
        fs::read_dir(desk.path("copies"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
    };
    let begun = Instant::now();
    while !copies().any(|name| name.ends_with(".sessions")) {
        assert!(begun.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    assert_eq!(copies().count(), 1);
}
