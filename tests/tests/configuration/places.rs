//! Which place counts: defaults, the file, the environment, arguments; and which file is read.
//!
//! Must not know: what options do.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _};

use sessions_api::{
    Durability, Moment,
    config::{Environment, InForce, KeyAt, Notice, OPTIONS, Place, Sources},
};

use crate::refusals::right;

fn row(rows: &[InForce], option: &str) -> (String, String) {
    let row = rows.iter().find(|row| row.option == option).unwrap();
    (row.value.to_string(), row.from.clone())
}

#[test]
fn what_is_said_later_counts_more() {
    let file = "sessions: { storage: { durability: disk, max_sessions: 5, backups_kept: 3, url: 'memory:' } }";
    let environment =
        Environment::of([("SESSIONS_STORAGE_DURABILITY", "process"), ("SESSIONS_STORAGE_BACKUPS_KEPT", "4")]);
    let configuration = Sources::of(environment)
        .text("c.yaml", file)
        .argument("--durability", "storage.durability", "volatile")
        .default_of("storage.max_sessions", "2")
        .default_of("identity.actor", "ana")
        .load()
        .unwrap();
    assert_eq!(configuration.durability(), Some(Durability::Volatile));
    let rows = configuration.rows();
    for (option, value, from) in [
        ("storage.durability", "volatile", "--durability"),
        ("storage.backups_kept", "4", "SESSIONS_STORAGE_BACKUPS_KEPT"),
        ("storage.max_sessions", "5", "c.yaml:1:56"),
        ("identity.actor", "ana", "default"),
        ("tokens.compaction_threshold", "0.8", "default"),
        ("limits.title_chars", "1000", "default"),
        ("keys.key_file", "", "default"),
    ] {
        assert_eq!(row(&rows, option), (value.to_owned(), from.to_owned()), "{option}");
    }
    assert_eq!(configuration.place("identity.actor"), None);
    assert_eq!(configuration.place("storage.durability"), Some(&Place::Argument("--durability".to_owned())));
}

#[test]
fn each_option_of_one_value_is_said_by_its_variable_and_shown_as_json() {
    for row in OPTIONS {
        let Some(variable) = row.variable() else { continue };
        let value = right(row.kind);
        match Sources::of(Environment::of([(variable.clone(), value)])).load() {
            Ok(configuration) => {
                let shown = configuration.rows().into_iter().find(|shown| shown.option == row.path).unwrap();
                assert_eq!((shown.value.to_string().as_str(), shown.from), (value, variable), "{}", row.path);
                assert!(configuration.notices().iter().all(|notice| !matches!(notice, Notice::UnknownVariable { .. })));
            }
            Err(errors) => {
                let goes_together =
                    ["keys.vault.", "encryption.enterprise_mode"].iter().any(|path| row.path.starts_with(path));
                assert!(goes_together && errors.to_string().contains(&variable), "{}: {errors}", row.path);
            }
        }
    }
    let shown = Sources::of(Environment::of([("SESSIONS_STORAGE_MAX_SESSIONS", "none")])).load().unwrap().rows();
    let json = serde_json::to_value(&shown[1]).unwrap();
    let expected = serde_json::json!({
        "option": "storage.max_sessions", "value": null, "from": "SESSIONS_STORAGE_MAX_SESSIONS", "default": "none", "state": "effective"
    });
    assert_eq!(json, expected);
    let share = shown.iter().find(|row| row.option == "tokens.compaction_threshold").unwrap();
    assert_eq!(serde_json::to_value(share).unwrap()["value"], serde_json::json!(0.8));
}

#[test]
fn variables_from_before_say_what_they_said() {
    let load = |variables: &[(&str, &str)]| Sources::of(Environment::of(variables.iter().copied())).load();
    let configuration = load(&[("SESSIONS_STORE", "memory:"), ("SESSIONS_KEY_FILE", "/k")]).unwrap();
    assert_eq!(configuration.store().map(|url| url.to_string()).as_deref(), Some("memory:"));
    assert_eq!(configuration.key(), Some(KeyAt::KeyFile("/k".into())));
    let both = load(&[("SESSIONS_STORE", "memory:"), ("SESSIONS_STORAGE_URL", "memory:")]).unwrap();
    assert!(both.store().is_some(), "two that say the same");
    let errors = load(&[("SESSIONS_STORE", "memory:"), ("SESSIONS_STORAGE_URL", "sled:a")]).unwrap_err();
    assert!(
        errors.to_string().contains("SESSIONS_STORE: storage.url: it is said twice, first at SESSIONS_STORAGE_URL"),
        "{errors}"
    );
    let vault = load(&[("SESSIONS_VAULT", "https://example.org:8200/transit/chats/")]).unwrap().key();
    let url = "https://example.org:8200/transit".to_owned();
    assert_eq!(vault, Some(KeyAt::Vault { url, key: "chats".to_owned(), token_file: None, ca_file: None }));
    for mistyped in
        ["foo", "foo/bar", "https://example.org:8200/chats", "https://example.org:8200//chats", "https:///a/b", "///"]
    {
        let errors = load(&[("SESSIONS_VAULT", mistyped)]).unwrap_err();
        let told = "SESSIONS_VAULT: keys.vault.url: it names an address, a mount and a key, as in https://vault.example.org:8200/transit/sessions";
        assert_eq!(errors.to_string(), told, "{mistyped}: a plain store would be made");
    }
    let empty = load(&[("SESSIONS_STORAGE_DURABILITY", ""), ("SESSIONS_STORE", "")]).unwrap();
    assert_eq!((empty.durability(), empty.store()), (None, None));
}

#[test]
fn a_variable_that_is_no_options_is_told_with_the_nearest_and_those_of_others_are_not() {
    let environment = Environment::of([
        ("SESSIONS_STORAGE_DURABILTY", "disk"),
        ("SESSIONS_COLOUR", "red"),
        ("SESSIONS_PASSPHRASE", "hunter2"),
        ("SESSIONS_REAL_MODEL_KEY", "hunter2"),
        ("SESSIONS_TEST_DATA", "/x"),
        ("SESSIONS_SEED", "7"),
        ("XSESSIONS_STORE", "x"),
        ("PATH", "x"),
    ]);
    let configuration = Sources::of(environment).load().unwrap();
    let told: Vec<String> = configuration.notices().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "SESSIONS_COLOUR has no effect: no option is named so",
            "SESSIONS_STORAGE_DURABILTY has no effect: no option is named so (did you mean SESSIONS_STORAGE_DURABILITY?)",
        ]
    );
    assert!(!format!("{configuration:?}").contains("hunter2"));
    // What an argument says is not looked up in the environment.
    let wrong = Environment::of([("SESSIONS_STORE", "nothing"), ("SESSIONS_STORAGE_DURABILITY", "dsik")]);
    let said = || Sources::of(wrong.clone()).argument("--store", "storage.url", "memory:");
    assert_eq!(said().load().unwrap_err().all().len(), 1);
    assert!(said().argument("--durability", "storage.durability", "disk").load().is_ok());
    let broken = Environment::of([("SESSIONS_IDENTITY_ACTOR", OsString::from_vec(vec![0xff]))]);
    let errors = Sources::of(broken).load().unwrap_err();
    assert_eq!(errors.to_string(), "SESSIONS_IDENTITY_ACTOR: identity.actor: it is not UTF-8");
}

#[test]
fn the_last_place_that_names_a_key_names_all_of_it() {
    let file = "sessions: { keys: { vault: { url: 'https://example.org/transit', key: chats, ca_file: /ca } } }";
    let load = |variables: &[(&str, &str)]| {
        Sources::of(Environment::of(variables.iter().copied())).text("c.yaml", file).load()
    };
    assert_eq!(load(&[("SESSIONS_KEYS_KEY_FILE", "/k")]).unwrap().key(), Some(KeyAt::KeyFile("/k".into())));
    let more = load(&[("SESSIONS_KEYS_VAULT_TOKEN_FILE", "/t")]).unwrap().key();
    assert!(matches!(more, Some(KeyAt::Vault { token_file: Some(_), ca_file: Some(_), .. })), "{more:?}");
    let two = load(&[("SESSIONS_KEYS_KEY_FILE", "/k"), ("SESSIONS_KEYS_PASSPHRASE_ENV", "P")]).unwrap_err();
    assert!(two.to_string().contains("two sources of a key are given"), "{two}");
    // Whatever is asked first: of two places the later one counts.
    let first = "sessions: { keys: { key_file: /k } }";
    let later = [("SESSIONS_KEYS_PASSPHRASE_ENV", "P")];
    let key = Sources::of(Environment::of(later)).text("c.yaml", first).load().unwrap().key();
    assert_eq!(key, Some(KeyAt::PassphraseVariable("P".to_owned())));
    // Who says that a store is plain, says so of a store for which the file names a key.
    let off = Sources::of(Environment::of::<&str, &str>([])).text("c.yaml", file).argument(
        "--plain",
        "encryption.enabled",
        "false",
    );
    assert_eq!(off.load().unwrap().encrypts(), Some(false));
}

#[test]
fn the_file_is_the_one_that_is_named_or_a_persons_own() {
    let ground = tempfile::tempdir().unwrap();
    let write = |name: &str, kept: u32| {
        let path = ground.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("sessions: {{ storage: {{ backups_kept: {kept} }} }}")).unwrap();
        path
    };
    let (own, named, argument) =
        (write("config/sessions/config.yaml", 1), write("named.yaml", 2), write("argument.yaml", 3));
    let home = write("home/.config/sessions/config.yaml", 4);
    let at = |name: &str| ground.path().join(name).into_os_string();
    let kept = |sources: Sources| {
        let configuration = sources.load().unwrap();
        let (value, from) = row(&configuration.rows(), "storage.backups_kept");
        (value, from.split(':').next().unwrap().to_owned(), configuration.file_read().map(ToOwned::to_owned))
    };
    let told =
        |value: &str, path: &std::path::PathBuf| (value.to_owned(), path.display().to_string(), Some(path.clone()));
    let usual = || vec![("XDG_CONFIG_HOME", at("config")), ("HOME", at("home"))];
    assert_eq!(kept(Sources::of(Environment::of(usual()))), told("1", &own));
    let with = || usual().into_iter().chain([("SESSIONS_CONFIG", named.clone().into_os_string())]);
    assert_eq!(kept(Sources::of(Environment::of(with()))), told("2", &named));
    assert_eq!(kept(Sources::of(Environment::of(with())).file(&argument)), told("3", &argument));
    assert_eq!(kept(Sources::of(Environment::of([("HOME", at("home"))]))), told("4", &home));
    assert_eq!(
        kept(Sources::of(Environment::of([("HOME", at("nowhere"))]))),
        ("7".to_owned(), "default".to_owned(), None)
    );
    // Who names a file means it.
    for sources in [
        Sources::of(Environment::of([("SESSIONS_CONFIG", at("none.yaml"))])),
        Sources::of(Environment::of(usual())).file(ground.path().join("none.yaml")),
        Sources::of(Environment::of(usual())).file(ground.path()),
    ] {
        let errors = sources.load().unwrap_err();
        assert!(errors.to_string().contains("it cannot be read"), "{errors}");
    }
    let long = ground.path().join("long.yaml");
    fs::write(&long, vec![b'#'; (1 << 20) + 1]).unwrap();
    let errors = Sources::of(Environment::of(usual())).file(long).load().unwrap_err();
    assert!(errors.to_string().contains("more than 1048576 bytes"), "{errors}");
}

#[test]
fn old_prices_are_told_by_the_clock_that_is_handed_in() {
    let configuration = Sources::of(Environment::of::<&str, &str>([])).load().unwrap();
    let at = |text: &str| configuration.old_prices(Moment::parse(text).unwrap());
    assert_eq!(at("2026-11-22T12:00:00Z"), None);
    let told = at("2027-06-01T00:00:00Z").unwrap().to_string();
    assert!(told.contains("more than 180 days ago, the oldest on 2026-07-02"), "{told}");
}
