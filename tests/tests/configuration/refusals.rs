//! What is wrong is told: all of it, with its place, and without what was written there.
//!
//! Must not know: what options do.

use proptest::prelude::*;
use sessions_api::config::{ConfigErrors, Configuration, Environment, Kind, OPTIONS, Sources};

fn load(text: impl Into<Vec<u8>>) -> Result<Configuration, ConfigErrors> {
    Sources::of(Environment::of::<&str, &str>([])).text("c.yaml", text).load()
}

fn wrong(text: impl Into<Vec<u8>>) -> Vec<String> {
    load(text).unwrap_err().all().iter().map(ToString::to_string).collect()
}

const MANY: &str = r#"session:
  storage: {}
sessions:
  storge: { url: "memory:" }
  storage:
    urll: "memory:"
    durability: dsik
    max_sessions: -5
    max_sessions: 7
    backup-interval-minutes: 5
    backup_interval_minutes: 6
    max_context_tokens: 1
    path: x
  tokens: { compaction_threshold: 80, max_context_tokens: 1e3, Reserve_Tokens: 1 }
  encryption: [ enabled ]
  limits:
    title_chars: "100"
    tags: yes
    sessions: 3
    pins: 0
  providers:
    work: { kind: opanai, api_key: hunter2, base_url: "https://ana:hunter2@example.org" }
    home: { api_key_env: A, api_key_file: /b }
    work: { kind: ollama }
  models:
    m: { provider: wrk, window: 100, reserved_output: 100, encoding: o200k }
    n: {}
  prices:
    - { provider: p, model: m, input: 0.0000001, output: 1 }
    - { provider: p, model: n, input: 1, above: { input: 2 } }
    - { provider: p, model: o, input: 1, per_1k: 1, valid_from: 2026-02-30 }
    - { model: q }
  keys: { key_file: /a, passphrase_env: B }
  identity: 5
"#;

const TOLD: &[&str] = &[
    "c.yaml:1:1: session: there is no such option (did you mean sessions?)",
    "c.yaml:4:3: storge: there is no such option (did you mean storage?)",
    "c.yaml:6:5: storage.urll: there is no such option (did you mean url?)",
    "c.yaml:7:17: storage.durability: it is none of disk, process, volatile (did you mean disk?)",
    "c.yaml:8:19: storage.max_sessions: it has to be 1 session or more, or none",
    "c.yaml:9:5: storage.max_sessions: it is said twice, first at c.yaml:8:5",
    "c.yaml:10:5: storage.backup-interval-minutes: options are written in small letters with _ between words (did you mean \
     backup_interval_minutes?)",
    "c.yaml:11:5: storage.backup_interval_minutes: it is said twice, first at c.yaml:10:5",
    "c.yaml:12:5: storage.max_context_tokens: there is no such option (did you mean tokens.max_context_tokens?)",
    "c.yaml:13:5: storage.path: there is no such option (did you mean storage.url?)",
    "c.yaml:14:35: tokens.compaction_threshold: it has to be a share above 0 up to 1; 80 % is written as 0.8",
    "c.yaml:14:59: tokens.max_context_tokens: a whole number of tokens, or none, belongs here, and this is a number",
    "c.yaml:14:64: tokens.Reserve_Tokens: options are written in small letters with _ between words (did you mean reserve_tokens?)",
    "c.yaml:15:15: encryption: a group of options belongs here, and this is a list",
    "c.yaml:17:18: limits.title_chars: a whole number of characters, or none, belongs here, and this is a text in quotes",
    "c.yaml:18:11: limits.tags: a whole number of tags, or none, belongs here, and this is a word that some take for true or false",
    "c.yaml:19:5: limits.sessions: there is no such option (did you mean storage.max_sessions?)",
    "c.yaml:20:11: limits.pins: it has to be 1 message or more, or none",
    "c.yaml:22:19: providers.work.kind: it is none of openai, anthropic, ollama, scripted (did you mean openai?)",
    "c.yaml:22:27: providers.work.api_key: a key never stands in the configuration; name it with api_key_env or api_key_file",
    "c.yaml:22:55: providers.work.base_url: an address has no name and no password in it",
    "c.yaml:23:5: providers.home: kind is missing",
    "c.yaml:23:43: providers.home.api_key_file: its key is named twice; leave api_key_env or this out",
    "c.yaml:24:5: providers.work: it is said twice, first at c.yaml:22:5",
    "c.yaml:26:20: models.m.provider: no provider has this name (did you mean work?)",
    "c.yaml:26:55: models.m.reserved_output: nothing of the window is left for messages",
    "c.yaml:26:70: models.m.encoding: it is none of o200k_base, cl100k_base, estimate-1",
    "c.yaml:27:5: models.n: provider is missing",
];

#[test]
fn everything_that_is_wrong_is_told_with_its_place_and_what_may_have_been_meant() {
    let told = wrong(MANY);
    for line in TOLD {
        assert!(told.iter().any(|told| told == line), "{line}\nis not among\n{}", told.join("\n"));
    }
    assert!(!told.iter().any(|line| line.contains("hunter2")), "{told:?}");
    let behind: Vec<&String> = told.iter().filter(|line| !TOLD.contains(&line.as_str())).collect();
    for (part, count) in [
        ("models.n: window is missing", 1),
        ("prices.1.input: a price of a million tokens has at most 6 digits behind the point", 1),
        ("prices.2: above.tokens is missing", 1),
        ("prices.3.per_1k: there is no such option", 1),
        ("prices.3.valid_from: a day is written as in 2026-01-31", 1),
        ("prices.4: provider is missing", 1),
        ("prices.4: a price, as of input and output, is missing", 1),
        ("two sources of a key are given", 1),
        ("identity: a group of options belongs here, and this is a number", 1),
    ] {
        assert_eq!(behind.iter().filter(|line| line.contains(part)).count(), count, "{part} in\n{behind:#?}");
    }
    assert_eq!(behind.len(), 9, "{behind:#?}");
    let lines = |told: &str| told.split(':').nth(1).and_then(|line| line.parse::<usize>().ok());
    assert!(told.is_sorted_by_key(|told| lines(told)), "{told:#?}");
}

#[test]
fn what_is_wrong_is_told_in_the_order_in_which_a_person_meets_it() {
    let wrong = Environment::of([("SESSIONS_STORAGE_BACKUPS_KEPT", "many")]);
    let errors = Sources::of(wrong)
        .argument("--max-sessions", "storage.max_sessions", "few")
        .text("c.yaml", "sessions: { storage: { durability: dsik } }")
        .load()
        .unwrap_err();
    let places: Vec<String> = errors.all().iter().map(|error| error.place.to_string()).collect();
    assert_eq!(places, ["c.yaml:1:36", "SESSIONS_STORAGE_BACKUPS_KEPT", "--max-sessions"]);
}

#[test]
fn a_key_is_refused_whatever_it_is_called() {
    for name in ["api_key", "key", "token", "Api-Key"] {
        let told = wrong(format!("sessions: {{ providers: {{ p: {{ kind: openai, {name}: hunter2 }} }} }}"));
        let refused = "a key never stands in the configuration; name it with api_key_env or api_key_file";
        assert!(told.iter().any(|told| told.ends_with(refused)), "{name}: {told:?}");
        assert!(!told.iter().any(|told| told.contains("hunter2")), "{name}");
    }
}

#[test]
fn what_is_no_configuration_at_all_is_refused() {
    for (text, part) in [
        (&b"storage: { url: 'memory:' }\n"[..], "c.yaml:1:1: storage: all options stand below sessions:"),
        (b"- a\n", "c.yaml:1:1: the group sessions belongs here, and this is a list"),
        (b"sessions: 5\n", "c.yaml:1:11: a group of options belongs here, and this is a number"),
        (b"sessions: {}\nsessions: {}\n", "c.yaml:2:1: sessions: it is said twice, first at c.yaml:1:1"),
        (
            b"sessions: {}\nSessions: { storage: { Max_Sessions: 0 } }\n",
            "c.yaml:2:38: storage.max_sessions: it has to be 1 ",
        ),
        (b"storage: { max_sessions: 0 }\n", "c.yaml:1:26: storage.max_sessions: it has to be 1 "),
        (b"sessions: { models: { a: {}, a: { window: 0 } } }", "models.a.window: it has to be 1 "),
        (b"Sessions: {}\n", "c.yaml:1:1: Sessions: options are written in small letters"),
        (b"sessions:\n\tstorage: {}\n", "a tab where YAML takes none; use spaces"),
        (b"sessions: &a {}\n", "an anchor"),
        (b"sessions: {}\n---\n{}\n", "second document"),
        (b"sessions:\n  identity: { actor: \xff }\n", "c.yaml:2:22: this is not UTF-8"),
        (
            b"sessions: { storage: { url: 'redis://a:hunter2@b' } }",
            "c.yaml:1:29: storage.url: stores of kind \"redis\" are not built",
        ),
        (b"sessions: { storage: { url: 5 } }", "storage.url: the url of a store"),
        (b"sessions: { storage: { url: } }", "and this is nothing"),
        (b"sessions: { models: { '': {} } }", "it is empty"),
        (b"sessions: { keys: { vault: { url: 'https://a/transit' } } }", "keys.vault.key is missing"),
        (b"sessions: { encryption: { enabled: false }, keys: { key_file: /a } }", "only a sealed store has one"),
        (b"sessions: { encryption: { enterprise_mode: true } }", "keys.vault is missing"),
    ] {
        let told = wrong(text);
        assert!(told.iter().any(|line| line.contains(part)), "{}: {told:#?}", String::from_utf8_lossy(text));
        assert!(!told.concat().contains("hunter2"), "{told:?}");
    }
}

#[test]
fn what_is_acknowledged_is_kept_whoever_asks_otherwise() {
    let told = wrong("sessions: { storage: { auto_save: false } }");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("c.yaml:1:35: storage.auto_save: what is acknowledged is always kept"), "{told:?}");
    assert!(load("sessions: { storage: { auto_save: true } }").unwrap().notices().is_empty());
}

#[test]
fn a_name_is_that_of_one_model() {
    let told = |models: &str| {
        let result = load(format!("sessions:\n  models:\n{models}"));
        result.map_or_else(|errors| errors.to_string(), |_| String::new())
    };
    let model =
        |name: &str, aliases: &str| format!("    {name}: {{ provider: ollama, window: 9000, aliases: [{aliases}] }}\n");
    assert_eq!(told(&format!("{}{}", model("a", "x, a, y"), model("b", "z"))), "");
    assert_eq!(
        told(&model("house", "gpt-4o")),
        "c.yaml:3:55: models.house.aliases.1: this is the name of a model that is known; say the name under models instead"
    );
    assert_eq!(
        told(&format!("{}{}", model("a", "x"), model("b", "x"))),
        "c.yaml:4:51: models.b.aliases.1: the model a has the same alias, at c.yaml:3:51"
    );
    assert_eq!(
        told(&format!("{}{}", model("a", "x, b"), model("b", "y"))),
        "c.yaml:3:51: models.a.aliases.2: this is the name of another model, b, at c.yaml:4:5"
    );
}

#[test]
fn a_form_that_a_provider_does_not_speak_is_refused_with_its_place() {
    for (kind, form, spoken) in [
        ("openai", "openai", ""),
        ("openai", "anthropic", "openai"),
        ("openai", "neutral", "openai"),
        ("ollama", "anthropic", "openai"),
        ("anthropic", "anthropic", ""),
        ("anthropic", "openai", "anthropic"),
        ("scripted", "neutral", ""),
        ("scripted", "anthropic", ""),
    ] {
        for provider in ["p", kind] {
            let entry = if provider == "p" { format!("p: {{ kind: {kind} }}") } else { String::new() };
            let model = format!("m: {{ form: {form}, provider: {provider}, window: 9000 }}");
            let told = load(format!("sessions:\n  providers: {{ {entry} }}\n  models: {{ {model} }}\n"));
            let told = told.map_or_else(|errors| errors.to_string(), |_| String::new());
            let what = format!("its provider takes messages in the form {spoken} and no other; leave it out");
            let expected = format!("c.yaml:3:24: models.m.form: {what}");
            assert_eq!(told, if spoken.is_empty() { String::new() } else { expected }, "{kind} {form}");
        }
    }
}

#[test]
fn a_tier_without_a_price_is_refused() {
    let price = |above: &str| {
        load(format!("sessions: {{ prices: [{{ provider: p, model: m, input: 1, above: {{ {above} }} }}] }}"))
    };
    let told = price("tokens: 100").unwrap_err().to_string();
    assert!(told.contains("a price in above, as of input and output, is missing"), "{told}");
    assert!(price("tokens: 100, input: 2").is_ok());
}

#[test]
fn an_empty_file_says_nothing() {
    for text in ["", "# nothing\n", "sessions:\n", "sessions: {}", "sessions: { storage: , keys: {} }"] {
        let configuration = load(text).unwrap();
        assert!(configuration.rows().iter().all(|row| row.from == "default"), "{text}");
        assert_eq!(configuration.limits(), sessions_api::Limits::default());
    }
}

/// The example that users start from.
#[test]
fn the_whole_example_loads_and_names_what_has_no_effect_yet() {
    let example = r#"
sessions:
  storage:    { url: "memory:", max_sessions: 1000, auto_save: true, backup_interval_minutes: 30, durability: volatile }
  tokens:     { max_context_tokens: 100000, compaction_threshold: 0.8, reserve_tokens: 1000 }
  background: { max_concurrent_agents: 5, agent_timeout_seconds: 300, retry_attempts: 3 }
  encryption: { enabled: false, enterprise_mode: false, key_rotation_days: 90 }
  cleanup:    { interval_seconds: 300, max_idle_seconds: 3600, delete_after_days: 30 }
  sharing:    { base_url: "https://example.org", default_expiration_hours: 24, max_shared_sessions: 50, require_authentication: false,
                enable_enterprise_features: false,
                enterprise: { max_expiration_days: 30, compliance_logging: true, data_classification: internal } }
"#;
    let configuration = load(example).unwrap();
    let told: Vec<String> = configuration.notices().iter().map(ToString::to_string).collect();
    let later = OPTIONS.iter().filter(|row| row.state != sessions_api::config::State::Effective);
    let named = ["background.", "cleanup.", "sharing."];
    let expected = later.filter(|row| named.iter().any(|group| row.path.starts_with(group))).count();
    assert_eq!(told.len(), expected, "{told:#?}");
    assert!(
        told.contains(&"c.yaml:8:27: sharing.base_url has no effect yet: sharing is not built".to_owned()),
        "{told:#?}"
    );
}

/// A value of each kind that is right.
pub(crate) fn right(kind: Kind) -> &'static str {
    match kind {
        Kind::Whole { .. } => "3",
        Kind::Share => "0.25",
        Kind::Switch => "true",
        Kind::OneOf(names) => names[0],
        Kind::Store => "memory:",
        Kind::Address => "https://example.org/v1",
        Kind::File => "/a/b",
        Kind::Variable => "A_NAME",
        Kind::Price => "2.5",
        Kind::Currency => "EUR",
        Kind::Day => "2026-01-31",
        _ => "a text",
    }
}

fn nested(path: &str, value: &str) -> String {
    let mut text = "sessions:".to_owned();
    let mut indent = 2;
    for name in path.split('.') {
        match name {
            "[]" => {
                text.push_str(&format!("\n{}-", " ".repeat(indent)));
            }
            name => {
                let name = if name == "*" { "x" } else { name };
                text.push_str(&format!("\n{}{name}:", " ".repeat(indent)));
            }
        }
        indent += 2;
    }
    format!("{text} {value}\n")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]
    #[test]
    fn any_bytes_are_a_configuration_or_errors(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(errors) = load(bytes) {
            prop_assert!(!errors.all().is_empty());
        }
    }

    #[test]
    fn anything_of_the_right_shape_is_a_configuration_or_errors(
        lines in proptest::collection::vec((0..OPTIONS.len(), "[ -~]{0,12}|[0-9.eE_-]{1,20}|\\PC{0,6}", any::<bool>()), 0..12),
    ) {
        let mut text = String::new();
        for (at, value, is_own) in lines {
            let row = &OPTIONS[at];
            let value = if is_own { value } else { right(row.kind).to_owned() };
            let whole = nested(row.path, &value);
            text.push_str(if text.is_empty() { &whole } else { whole.trim_start_matches("sessions:\n") });
        }
        if let Err(errors) = load(text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_error_repeats_a_value(at in 0..OPTIONS.len(), before in "[a-z0-9.:/@'\" -]{0,6}", behind in "[a-z0-9.:/@'\" {}\\[\\]-]{0,6}") {
        let row = &OPTIONS[at];
        let value = format!("{before}zq7hunter2{behind}");
        let outside = row.variable().map(|variable| Sources::of(Environment::of([(variable, value.clone())])).load());
        for result in [Some(load(nested(row.path, &value))), outside].into_iter().flatten() {
            if let Err(errors) = result {
                // A scheme of a store's url is told, since it is what is wrong.
                let told = errors.to_string().replace("kind \"zq7hunter2", "");
                prop_assert!(!told.contains("hunter2") || row.path == "storage.url", "{told}");
            }
        }
    }
}

#[test]
fn each_option_takes_a_value_of_its_kind() {
    for row in OPTIONS {
        let value = right(row.kind);
        let value = if matches!(row.kind, Kind::Texts(_)) { "[a, b]" } else { value };
        match load(nested(row.path, value)) {
            Ok(configuration) => {
                let said = configuration.rows().into_iter().filter(|row| row.from != "default").count();
                assert_eq!(said, 1, "{}", row.path);
            }
            // What goes with it may be missing, and the value itself is right.
            Err(errors) => {
                let path = row.path.replace(".*", ".x").replace("[]", "1");
                assert!(
                    errors
                        .all()
                        .iter()
                        .all(|error| error.to_string().contains("missing") || error.path.to_string() != path),
                    "{}: {errors}",
                    row.path
                );
            }
        }
    }
}
