//! Keys through the program: made, changed, given wrong, and missing.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{Desk, has_fields};

const PASSPHRASE: &str = "copper lantern drifts northward";

impl Desk {
    /// Runs with these variables.
    fn run_in(&self, variables: &[(&str, &str)], arguments: &[&str]) -> crate::Ran {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        crate::finish(command, b"")
    }

    fn secret(&self, name: &str, text: &str, mode: u32) -> String {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        name.to_owned()
    }
}

#[test]
fn a_store_is_sealed_unless_it_is_to_be_plain() {
    let desk = Desk::new();
    desk.talk(&["marzipan"]);
    let status = desk.one(&["keys", "status"]);
    has_fields(&status, &["store", "sealed", "kind", "key", "wrapped_by", "since", "age_days", "changing"]);
    assert_eq!((&status["sealed"], &status["kind"]), (&json!(true), &json!("key file")));
    desk.run(&["show", "k", "--plain", "--json"]).refused(2, "usage");
    let plain = Desk::plain();
    plain.talk(&["marzipan"]);
    assert_eq!(plain.one(&["keys", "status"])["sealed"], json!(false));
    let has_word = |desk: &Desk| {
        fs::read_dir(desk.store().join("log"))
            .unwrap()
            .any(|file| fs::read(file.unwrap().path()).unwrap().windows(8).any(|window| window == b"marzipan"))
    };
    assert_eq!((has_word(&desk), has_word(&plain)), (false, true));
    plain.run(&["show", "k", "--key-file", "x", "--json"]).refused(2, "usage");
    plain.run(&["keys", "rotate", "--json"]).refused(2, "usage");
    // A key in the environment says that the store should be sealed, unless it is said to be plain.
    let mut command = crate::bare(std::path::Path::new(env!("CARGO_BIN_EXE_sessions")));
    command.env("SESSIONS_STORE", plain.url()).env("SESSIONS_PASSPHRASE", PASSPHRASE);
    crate::finish(command_with(command, &["show", "k", "--json"]), b"").refused(2, "usage");
    assert_eq!(plain.run_in(&[("SESSIONS_PASSPHRASE", PASSPHRASE)], &["show", "k"]).code, 0);
    // Nor is a key kept in the store that it opens, and keys that are missing are damage, whoever asks.
    desk.run(&["keys", "rotate", "--to-key-file", "store/own.key", "--json"]).refused(2, "usage");
    Desk::new().run(&["new", "--key-file", "store/own.key", "--json"]).refused(2, "usage");
    std::os::unix::fs::symlink(desk.store(), desk.path("link")).unwrap();
    desk.run(&["keys", "rotate", "--to-key-file", "link/own.key", "--json"]).refused(2, "usage");
    fs::rename(desk.store().join("keys"), desk.path("keys")).unwrap();
    for command in
        [&["list", "--json"][..], &["show", "k", "--json"], &["append", "k", "--role", "user", "x", "--json"]]
    {
        desk.run(command).refused(5, "damaged");
    }
    fs::rename(desk.path("keys"), desk.store().join("keys")).unwrap();
    assert_eq!(desk.texts(&["show", "k"]), ["marzipan"]);
}

#[test]
fn a_key_file_that_is_made_is_told_once_with_its_place() {
    let desk = Desk::new();
    let own = desk.path("configuration");
    let of_own = |arguments: &[&str]| {
        let mut command = desk.command(arguments);
        command.env("XDG_CONFIG_HOME", &own);
        crate::finish(command, b"")
    };
    let made = own.join("sessions/key");
    let first = of_own(&["new", "--key", "k"]);
    assert_eq!((first.code, first.stderr.lines().count()), (0, 1), "{first:?}");
    assert!(first.stderr.contains(made.to_str().unwrap()) && first.stderr.contains("back it up"), "{first:?}");
    assert!(made.is_file() && !first.stdout.contains("key file"), "{first:?}");
    for arguments in [&["new", "--key", "l"][..], &["append", "k", "--role", "user", "x"], &["keys", "rotate"]] {
        let again = of_own(arguments);
        assert_eq!((again.code, again.stderr.as_str()), (0, ""), "{again:?}");
    }
    // A program is told the same as an object, also of one that a key changes to.
    let next = desk.path("next.key");
    let changed = of_own(&["keys", "rotate", "--to-key-file", next.to_str().unwrap(), "--json"]);
    let notice: Value = serde_json::from_str(changed.stderr.trim()).unwrap();
    assert_eq!((changed.code, notice["key_file"].as_str()), (0, next.to_str()), "{changed:?}");
    assert!(notice["notice"].as_str().unwrap().contains("back it up"), "{notice}");
    // A plain store needs none.
    let plain = Desk::plain();
    let mut command = plain.command(&["new"]);
    command.env("XDG_CONFIG_HOME", plain.path("none"));
    let ran = crate::finish(command, b"");
    assert_eq!((ran.code, ran.stderr.as_str(), plain.path("none").exists()), (0, "", false));
}

fn command_with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

#[test]
fn a_plain_store_is_sealed_in_its_place_and_goes_on() {
    let mut desk = Desk::plain();
    let first = desk.one(&["new", "--key", "k", "--title", "marzipan"]);
    let receipt = desk.one(&["append", "k", "--role", "user", "marzipan", "--once", "x"]);
    desk.one(&["append", "k", "--role", "assistant", &"nougat ".repeat(12_000)]);
    desk.one(&["fork", "k"]);
    desk.one(&["undo", "k"]);
    desk.one(&["state", "set", "k", "user:likes", "\"marzipan\""]);
    let before = desk.json(&["list"]);
    desk.run(&["keys", "init", "--json"]).refused(2, "usage");
    desk.is_plain = false;
    fs::write(desk.store().join("quarantine/torn"), "marzipan").unwrap();
    let refused = desk.run(&["keys", "init", "--json"]).refused(2, "usage");
    assert!(refused["hint"].as_str().unwrap().contains("--erase-quarantine"), "{refused}");
    let sealed = desk.one(&["keys", "init", "--to-key-file", "own.key", "--erase-quarantine"]);
    has_fields(&sealed, &["store", "kind", "key", "wrapped_by", "records", "erased_bytes", "not_overwritten"]);
    assert_eq!((&sealed["made"], &sealed["resumed"], &sealed["sessions"]), (&json!(false), &json!(false), &json!(3)));
    assert!(sealed["erased_files"].as_u64().unwrap() > 3, "{sealed}");

    let key = ["--key-file", "own.key"];
    desk.run(&["show", "k", "--json"]).refused(6, "wrong_key");
    assert_eq!(desk.json(&[&["list"][..], &key].concat()), before);
    assert_eq!(desk.one(&[&["info", "k"][..], &key].concat())["id"], first["id"]);
    let again = desk.one(&[&["append", "k", "--role", "user", "marzipan", "--once", "x"][..], &key].concat());
    assert_eq!((&again["version"], &again["head"]), (&receipt["version"], &receipt["head"]));
    desk.one(&[&["redo", "k"][..], &key].concat());
    assert_eq!(desk.texts(&[&["show", "k"][..], &key].concat()).len(), 2);
    assert_eq!(desk.run(&[&["verify"][..], &key].concat()).code, 0);
    for word in ["marzipan", "nougat"] {
        let found = Command::new("grep").args(["-rl", word]).arg(desk.store()).output().unwrap();
        assert_eq!(found.status.code(), Some(1), "{word}: {}", String::from_utf8_lossy(&found.stdout));
    }
    // Once more it gets another key, as any sealed store does.
    let changed = desk.one(&[&["keys", "init", "--to-key-file", "next.key"][..], &key].concat());
    assert_eq!(changed["slots"], json!(3));
    assert_eq!(desk.texts(&["show", "k", "--key-file", "next.key"]).len(), 2);
}

#[test]
fn another_key_opens_and_the_one_before_does_not() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let before = desk.one(&["keys", "status"])["key"].clone();
    let changed = desk.one(&["keys", "rotate"]);
    assert_ne!(changed["key"], before);
    assert_eq!(changed["slots"], json!(1));
    let changed = desk.one(&["keys", "rotate", "--to-key-file", "mine.key"]);
    assert_eq!(changed["kind"], json!("key file"));
    desk.run(&["show", "k", "--json"]).refused(6, "wrong_key");
    assert_eq!(desk.texts(&["show", "k", "--key-file", "mine.key"]), ["one"]);
    let resealed = desk.json(&["keys", "rotate-data", "--key-file", "mine.key"]);
    assert_eq!((&resealed[0]["epoch"], &resealed[0]["records"]), (&json!(2), &json!(2)));
    has_fields(&resealed[0]["closed"], &["epoch", "version", "old", "new"]);
    assert_eq!(desk.texts(&["show", "k", "--key-file", "mine.key"]), ["one"]);
    assert_eq!(desk.run(&["verify", "--key-file", "mine.key"]).code, 0);
    assert_eq!(desk.run(&["verify", "--without-key"]).code, 0);
    fs::set_permissions(desk.path("mine.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let refused = desk.run(&["show", "k", "--key-file", "mine.key", "--json"]).error();
    assert!(refused.to_string().contains("chmod"), "{refused}");
}

/// What is wrong with the slot of the first session, and what the program says of it: the kind, the exit code, and what `verify` tells.
type Wrong = (&'static str, &'static str, i32, &'static str);

const WRONG: [Wrong; 7] = [
    ("before a rotation", "key_retired", 6, "newest copy"),
    ("before another data key", "key_retired", 6, "newest copy"),
    ("zeros", "damaged", 5, "a backup beside the store"),
    ("noise", "damaged", 5, "a backup beside the store"),
    ("of another session", "damaged", 5, "a backup beside the store"),
    ("cut off", "damaged", 5, "a backup beside the store"),
    ("cut within", "damaged", 5, "a backup beside the store"),
];

fn harm(desk: &Desk, what: &str) {
    const SLOT: usize = 512;
    let slots = desk.store().join("keys/slots");
    let before = fs::read(&slots).unwrap();
    match what {
        "before a rotation" => drop(desk.one(&["keys", "rotate"])),
        "before another data key" => drop(desk.json(&["keys", "rotate-data", "k"])),
        _ => {}
    }
    let mut now = fs::read(&slots).unwrap();
    // The first slot lies behind as many bytes that say what the file is.
    match what {
        "zeros" => now[SLOT..2 * SLOT].fill(0),
        "noise" => now[SLOT..2 * SLOT].fill(0x55),
        "of another session" => now.copy_within(2 * SLOT..3 * SLOT, SLOT),
        "cut off" => now.truncate(SLOT),
        "cut within" => now.truncate(SLOT + 100),
        _ => now[SLOT..2 * SLOT].copy_from_slice(&before[SLOT..2 * SLOT]),
    }
    fs::write(&slots, now).unwrap();
}

#[test]
fn whatever_is_wrong_with_a_slot_the_program_says_what_to_do_and_deletes_its_session() {
    for ((what, kind, code, told), by_key) in WRONG.into_iter().zip([true, false].into_iter().cycle()) {
        let desk = Desk::new();
        desk.talk(&["one"]);
        let lost = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
        desk.one(&["new", "--key", "other"]);
        desk.one(&["append", "other", "--role", "user", "two"]);
        harm(&desk, what);
        let is_cut = what.starts_with("cut");
        for command in [
            &["show", "k", "--json"][..],
            &["append", "k", "--role", "user", "x", "--json"],
            &["delete", "k", "--json"],
        ] {
            let refused = desk.run(command).refused(code, kind);
            let hint = refused["hint"].as_str().unwrap();
            assert!(
                hint.contains("the folder `keys` back") && hint.contains("--forever"),
                "{what} {command:?}: {refused}"
            );
        }
        let found = desk.run(&["verify", "--json"]);
        assert_eq!(found.code, 5, "{what}: {found:?}");
        let of_it = found.lines().into_iter().filter(|line| line["session"] == json!(lost)).collect::<Vec<_>>();
        assert!(of_it.iter().any(|line| line["what"].as_str().unwrap().contains(told)), "{what}: {found:?}");
        // A repair does nothing about keys, and says so.
        for dry in [&["repair", "--dry-run"][..], &["repair"]] {
            let repaired = desk.run(dry);
            assert_eq!(repaired.code, 5, "{what}: {repaired:?}");
            let says = |word: &str| repaired.stdout.contains(word);
            assert!(
                says(&lost) && says(told) && says("no repair mends") && !says("nothing has to be"),
                "{what}: {repaired:?}"
            );
        }
        if !is_cut {
            assert_eq!(desk.texts(&["show", "other"]), ["two"], "{what}");
        }
        let gone = desk.one(&["delete", if by_key { "k" } else { &lost }, "--shred"]);
        assert_eq!((&gone["id"], &gone["was_gone"]), (&json!(lost), &json!(false)), "{what}");
        desk.run(&["show", &lost, "--json"]).refused(3, "gone");
        if is_cut {
            desk.one(&["delete", "other", "--forever"]);
        } else {
            assert_eq!(desk.texts(&["show", "other"]), ["two"], "{what}");
        }
        let verified = desk.run(&["verify"]);
        assert_eq!(verified.code, 0, "{what}: {verified:?}");
        assert!(desk.run(&["repair"]).stdout.contains("nothing has to be repaired"), "{what}");
    }
}

#[test]
fn a_fork_whose_parent_cannot_be_read_is_deleted_and_its_parent_is_not() {
    for what in ["before a rotation", "noise"] {
        let desk = Desk::new();
        desk.talk(&["one"]);
        let parent = desk.one(&["info", "k"])["id"].as_str().unwrap().to_owned();
        let fork = desk.one(&["fork", "k"])["id"].as_str().unwrap().to_owned();
        let slots = fs::read(desk.store().join("keys/slots")).unwrap();
        harm(&desk, what);
        assert_eq!(desk.one(&["delete", &fork, "--forever"])["id"], json!(fork), "{what}");
        desk.run(&["show", &fork, "--json"]).refused(3, "gone");
        let ran = desk.run(&["show", &parent, "--json"]);
        assert_ne!(ran.error()["kind"], json!("gone"), "{what}: {ran:?}");
        if what == "noise" {
            fs::write(desk.store().join("keys/slots"), slots).unwrap();
            assert_eq!(desk.texts(&["show", "k"]), ["one"]);
        }
    }
}

#[test]
fn another_data_key_is_given_to_what_is_in_the_trash_too() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    desk.one(&["new", "--key", "other"]);
    desk.one(&["delete", "k"]);
    let resealed = desk.json(&["keys", "rotate-data"]);
    assert_eq!(resealed.len(), 2, "{resealed:?}");
    desk.one(&["restore", "k"]);
    assert_eq!(desk.texts(&["show", "k"]), ["one"]);
    assert_eq!(desk.run(&["verify"]).code, 0);
}

#[test]
fn another_data_key_is_given_to_what_was_deleted_and_forks_inherit_too() {
    let desk = Desk::new();
    desk.talk(&["one", "two"]);
    let parent = desk.one(&["info", "k"])["id"].clone();
    let parent = parent.as_str().unwrap();
    let fork = desk.one(&["fork", "k"])["id"].clone();
    let fork = fork.as_str().unwrap();
    desk.one(&["delete", "k", "--forever"]);
    let resealed = desk.json(&["keys", "rotate-data"]);
    let ids: Vec<_> = resealed.iter().map(|one| (one["id"].clone(), one["epoch"].clone())).collect();
    assert_eq!(ids, [(json!(parent), json!(2)), (json!(fork), json!(2))]);
    assert_eq!(desk.one(&["keys", "rotate-data", parent])["epoch"], json!(3));
    assert_eq!(desk.texts(&["show", fork]), ["one", "two"]);
    assert_eq!(desk.run(&["verify"]).code, 0);
    // When nobody inherits any more there is nothing left to seal.
    desk.one(&["delete", fork, "--shred"]);
    desk.run(&["keys", "rotate-data", parent, "--json"]).refused(3, "gone");
    assert_eq!(desk.json(&["keys", "rotate-data"]).len(), 0);
}

#[test]
fn another_data_key_is_given_to_the_state_of_users_and_of_the_application_too() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    desk.one(&["state", "set", "k", "user:theme", "dark", "--text"]);
    desk.one(&["state", "set", "k", "app:region", "north", "--text"]);
    let before = desk.json(&["verify", "--without-key"]);
    assert_eq!(before.last().unwrap()["checked"]["sessions"], json!(3), "logs of state count as sessions");
    let resealed = desk.json(&["keys", "rotate-data"]);
    assert_eq!(resealed.len(), 3, "{resealed:?}");
    assert!(resealed.iter().all(|one| one["epoch"] == json!(2) && one["records"] != json!(0)), "{resealed:?}");
    assert_eq!(desk.one(&["state", "get", "k", "user:theme"])["value"], json!("dark"));
    assert_eq!(desk.one(&["state", "get", "k", "app:region"])["value"], json!("north"));
    assert_eq!(desk.run(&["verify"]).code, 0);
}

#[test]
fn a_session_whose_keys_are_damaged_keeps_no_other_from_another_data_key() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let lost = desk.one(&["info", "k"])["id"].clone();
    let whole = desk.one(&["new", "--key", "other"])["id"].clone();
    let slots = desk.store().join("keys/slots");
    let mut bytes = fs::read(&slots).unwrap();
    bytes[512 + 20] ^= 1;
    fs::write(&slots, bytes).unwrap();
    let ran = desk.run(&["keys", "rotate-data", "--json"]);
    let refused = ran.refused(5, "damaged");
    assert!(refused["message"].as_str().unwrap().contains(lost.as_str().unwrap()), "{refused}");
    let resealed = ran.lines();
    assert_eq!((resealed.len(), &resealed[0]["id"]), (1, &whole), "{resealed:?}");
    assert_eq!(desk.one(&["keys", "rotate-data", "other"])["epoch"], json!(3));
    // To be put into the trash it would be written to.
    let refused = desk.run(&["delete", lost.as_str().unwrap(), "--json"]).refused(5, "damaged");
    assert!(refused["hint"].as_str().unwrap().contains("--forever"), "{refused}");
    desk.one(&["delete", "k", "--shred"]);
    assert_eq!(desk.json(&["keys", "rotate-data"]).len(), 1);
    assert_eq!(desk.run(&["verify"]).code, 0);
}

/// What a change of all data keys tells when it is killed behind its first line.
fn told_until_killed(desk: &Desk) -> Vec<Value> {
    let mut command = desk.command(&["keys", "rotate-data", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = stdout.lines().map(Result::unwrap);
    // The last line may have been cut short.
    std::iter::once(first).chain(rest).filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

#[test]
fn another_data_key_for_all_goes_on_where_it_was_killed() {
    const SESSIONS: usize = 12;
    let desk = Desk::new();
    for number in 0..SESSIONS {
        desk.one(&["new", "--key", &format!("k-{number}")]);
    }
    // One that is through before it is killed proves nothing.
    let killed =
        (2..9).find_map(|epoch| Some((epoch, told_until_killed(&desk))).filter(|(_, told)| told.len() < SESSIONS));
    let (epoch, before) = killed.unwrap();
    let all = desk.one(&["keys", "status", "--all"]);
    assert!(all["pass"].is_string(), "{all}");

    let ran = desk.run(&["keys", "rotate-data", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("--anew"), "{ran:?}");
    let after = ran.lines();
    let is_known = |one: &Value| before.iter().any(|before| before["id"] == one["id"]);
    assert!(after.iter().all(|one| one["epoch"] == json!(epoch) && !is_known(one)), "{after:?}");
    // One may have been through and not told.
    assert!((SESSIONS - 1..=SESSIONS).contains(&(before.len() + after.len())), "{before:?} {after:?}");
    assert_eq!(desk.one(&["keys", "status", "--all"])["pass"], json!(null));

    let again = desk.json(&["keys", "rotate-data"]);
    assert!(again.len() == SESSIONS && again.iter().all(|one| one["epoch"] == json!(epoch + 1)), "{again:?}");
    desk.run(&["keys", "rotate-data", "k-1", "--anew", "--json"]).refused(2, "usage");
    assert_eq!(desk.json(&["keys", "rotate-data", "--anew"]).len(), SESSIONS);
    assert_eq!(desk.run(&["verify"]).code, 0);
    println!("figure: killed after {} of {SESSIONS} sessions; {} went on, each once", before.len(), after.len());
}

#[test]
fn nothing_is_left_of_a_store_whose_key_is_of_no_use() {
    let desk = Desk::new();
    let token = [("VAULT_TOKEN", "a-token")];
    for command in ["new", "keys init"] {
        let arguments: Vec<&str> =
            command.split(' ').chain(["--vault", "http://127.0.0.1:1/transit/k", "--json"]).collect();
        let ran = desk.run_in(&token, &arguments);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(!desk.store().exists(), "{command}");
    }
    desk.run(&["keys", "status", "--json"]).refused(3, "not_found");
    // One whose folder of keys is gone is sealed all the same.
    desk.talk(&["one"]);
    fs::remove_dir_all(desk.store().join("keys")).unwrap();
    let status = desk.one(&["keys", "status"]);
    assert_eq!(status["sealed"], json!(true));
    assert!(status["advice"].as_str().unwrap().contains("backup"), "{status}");
    println!("figure: nothing was made at a service that does not answer");
}

#[test]
fn keys_that_a_cut_file_of_slots_lost_are_counted() {
    let desk = Desk::new();
    for key in ["a", "b", "c"] {
        desk.one(&["new", "--key", key]);
    }
    let count = |name: &str| desk.one(&["keys", "status", "--all"])[name].clone();
    assert_eq!((count("live"), count("missing")), (json!(3), json!(0)));
    let slots = fs::OpenOptions::new().write(true).open(desk.store().join("keys/slots")).unwrap();
    // The first bytes of the file, and one slot.
    slots.set_len(1024).unwrap();
    assert_eq!((count("live"), count("missing")), (json!(1), json!(2)));
    let told = desk.run(&["keys", "status", "--all"]);
    assert!(told.stdout.contains("those of 2 sessions"), "{told:?}");
}

#[test]
fn a_passphrase_is_taken_from_one_place_and_changed() {
    let desk = Desk::new();
    let file = desk.secret("pass", &format!("{PASSPHRASE}\n"), 0o600);
    let made = desk.one(&["keys", "init", "--passphrase-file", &file]);
    assert_eq!((&made["kind"], &made["made"]), (&json!("passphrase"), &json!(true)));
    let given = [("SESSIONS_PASSPHRASE", PASSPHRASE)];
    assert_eq!(desk.run_in(&given, &["new", "--key", "k", "--json"]).code, 0);
    desk.run(&["info", "k", "--json"]).refused(6, "wrong_key");
    desk.run_in(&[("SESSIONS_PASSPHRASE", "copper lantern drifts southward")], &["info", "k", "--json"])
        .refused(6, "wrong_key");
    desk.run_in(&given, &["info", "k", "--passphrase-file", &file, "--json"]).refused(2, "usage");
    desk.run_in(&[("SESSIONS_PASSPHRASE", "")], &["info", "k", "--json"]).refused(2, "usage");
    let both = [given[0], ("SESSIONS_NEW_PASSPHRASE", "seven violins beneath gravel")];
    let changed = desk.run_in(&both, &["keys", "change-passphrase", "--json"]);
    assert_eq!(changed.code, 0, "{changed:?}");
    desk.run_in(&given, &["info", "k", "--json"]).refused(6, "wrong_key");
    let now = [("SESSIONS_PASSPHRASE", both[1].1)];
    assert_eq!(desk.run_in(&now, &["info", "k"]).code, 0);
    let weak = [now[0], ("SESSIONS_NEW_PASSPHRASE", "short")];
    desk.run_in(&weak, &["keys", "change-passphrase", "--json"]).refused(2, "usage");
    let same = [now[0], ("SESSIONS_NEW_PASSPHRASE", now[0].1)];
    let refused = desk.run_in(&same, &["keys", "change-passphrase", "--json"]).refused(2, "usage");
    assert!(refused["message"].as_str().unwrap().contains("is the passphrase it has"), "{refused}");
    assert_eq!(desk.run_in(&now, &["info", "k"]).code, 0, "it was left as it was");
    let open = desk.secret("open", PASSPHRASE, 0o644);
    let refused = desk.run(&["info", "k", "--passphrase-file", &open, "--json"]).refused(2, "usage");
    assert!(refused["hint"].as_str().unwrap().contains("chmod 600"), "{refused}");
    // A key file has none to change.
    let other = Desk::new();
    other.talk(&["one"]);
    let refused = other.run_in(&[both[1]], &["keys", "change-passphrase", "--json"]).refused(2, "usage");
    assert!(refused["hint"].as_str().unwrap().contains("--to-passphrase"), "{refused}");
}

#[test]
fn a_key_that_is_missing_or_no_key_is_said_so() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let missing = desk.run(&["info", "k", "--key-file", "nowhere", "--json"]).refused(6, "wrong_key");
    assert!(missing["message"].as_str().unwrap().contains("nowhere"), "{missing}");
    let noise = desk.secret("noise", "not a key\n", 0o600);
    desk.run(&["info", "k", "--key-file", &noise, "--json"]).refused(2, "usage");
    desk.run(&["info", "k", "--vault", "x", "--json"]).refused(2, "usage");
    desk.run(&["info", "k", "--vault", "http://127.0.0.1:1/transit/k", "--json"]).refused(6, "wrong_key");
    desk.run(&["keys", "rotate", "--to-key-file", "a", "--to-passphrase", "--json"]).refused(2, "usage");
    for name in ["ring", "ring.copy"] {
        fs::write(desk.store().join("keys").join(name), "damaged").unwrap();
    }
    desk.run(&["info", "k", "--json"]).refused(5, "damaged");
}

#[test]
fn a_record_that_is_lost_after_a_change_of_the_data_key_is_marked_by_a_repair_and_the_session_goes_on() {
    let desk = Desk::new();
    desk.talk(&["one", "two", "three", "four"]);
    desk.json(&["keys", "rotate-data"]);
    let segment = desk.store().join("log/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // Within a record that was sealed anew; the one that it was sealed as before stands unharmed, under a key that is no more.
    bytes[end - 450..end - 400].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&segment, bytes).unwrap();
    assert_eq!(desk.run(&["verify"]).code, 5);
    assert_eq!(desk.run(&["repair"]).code, 0);
    assert_eq!(desk.run(&["verify"]).code, 0);
    assert!(desk.texts(&["show", "k"]).len() >= 3);
    desk.one(&["append", "k", "--role", "user", "five"]);
    assert!(desk.run(&["repair"]).stdout.contains("nothing has to be repaired"));
}
