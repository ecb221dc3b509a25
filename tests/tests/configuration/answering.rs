//! Who answers for a model: the provider that the configuration names, with its key and at its address, or nobody, and then why.
//!
//! Must not know: how an answer is read.

use std::{fs, path::Path};

use sessions_api::{
    Message, ModelError, NotConnected, Retry, SessionManager, StopReason, TurnEvent, TurnProblem, Unwired,
    config::{Configuration, Environment, Sources},
};
use sessions_testkit::stub::{Api, Scenario, Stub};

const KEY: &str = "sk-canary-4711";

fn with(environment: &[(&str, &str)], text: &str) -> Configuration {
    Sources::of(Environment::of(environment.iter().copied())).text("c.yaml", text).load().unwrap()
}

fn private(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;

    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn kind(api: Api) -> &'static str {
    match api {
        Api::OpenAi => "openai",
        Api::Anthropic => "anthropic",
        Api::Ollama => "ollama",
    }
}

#[track_caller]
fn not_connected(configuration: &Configuration, model: Option<&str>) -> NotConnected {
    match configuration.connected(model) {
        Err(Unwired::Model(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_asked_of_the_provider_that_is_configured_with_its_key() {
    let ground = tempfile::tempdir().unwrap();
    let file = ground.path().join("key");
    private(&file, &format!("{KEY}\n"), 0o600);
    for api in [Api::OpenAi, Api::Anthropic, Api::Ollama] {
        for key in ["api_key_env: HOUSE_KEY".to_owned(), format!("api_key_file: '{}'", file.display())] {
            let stub = Stub::of(KEY, api, Scenario::Text).unwrap().unwrap();
            let (kind, address) = (kind(api), stub.address());
            let text = format!(
                "
sessions:
  storage: {{ url: 'memory:' }}
  model: house
  providers: {{ mine: {{ kind: {kind}, base_url: '{address}', {key} }} }}
  models: {{ house-7b: {{ provider: mine, window: 32768, aliases: [house] }} }}
  prices: [{{ provider: mine, model: m-1, input: 1, output: 2, cache_read: 1, cache_write: 1 }}]
"
            );
            let configuration = with(&[("HOUSE_KEY", KEY)], &text);
            let house = configuration.connected(None).unwrap();
            assert_eq!((house.profile.name.as_str(), house.provider.name()), ("house-7b", "mine"));
            let sessions = SessionManager::builder().configured(&configuration).unwrap().build().await.unwrap();
            let chat = sessions.open_or_create("k").await.unwrap();
            let outcome = chat.send_message(&house.agent(), Message::user("Hello")).await.unwrap();
            assert_eq!((outcome.text.as_str(), outcome.stop_reason), ("Hi 🦀 there", StopReason::EndTurn), "{kind}");
            assert!(!outcome.cost.is_empty(), "prices are those of the provider's own name: {outcome:?}");
            let asked = stub.asked().remove(0);
            let header = asked.header(if api == Api::Anthropic { "x-api-key" } else { "authorization" });
            assert!(header.is_some_and(|header| header.ends_with("KEY")), "{asked:?}");
            assert!(String::from_utf8(asked.body).unwrap().contains("house-7b"), "by its own name");
            assert!(!format!("{configuration:?} {house:?} {:?}", house.agent()).contains(KEY));
        }
    }
}

#[test]
fn the_model_of_turns_is_the_one_that_is_named_or_the_configured_one_or_a_script() {
    let text = "sessions: { model: one, providers: { s: { kind: scripted } }, models: { one: { provider: s, window: 1000 }, two: { provider: s, window: 1000 } } }";
    let configuration = with(&[], text);
    assert_eq!(configuration.connected(None).unwrap().profile.name, "one");
    assert_eq!(configuration.connected(Some("two")).unwrap().profile.name, "two");
    assert_eq!(with(&[("SESSIONS_MODEL", "two")], text).connected(None).unwrap().profile.name, "two");
    let nothing = with(&[], "sessions: {}").connected(None).unwrap();
    assert!(nothing.is_script && nothing.provider.name() == "scripted");
    let unnamed = with(&[], &text.replace("model: one, ", ""));
    assert_eq!(not_connected(&unnamed, None), NotConnected::NoModel);
}

#[test]
fn what_is_missing_is_told_with_what_to_write() {
    let configuration = with(
        &[],
        "sessions: { providers: { work: { kind: openai, api_key_env: NO_KEY, base_url: 'http://127.0.0.1:1' } } }",
    );
    let told = not_connected(&configuration, Some("gpt-5")).to_string();
    assert!(told.contains("providers: { openai: { kind: openai, api_key_env: OPENAI_API_KEY } }"), "{told}");
    let told = not_connected(&configuration, Some("claude-sonnet-4-5")).to_string();
    assert!(told.contains("kind: anthropic, api_key_env: ANTHROPIC_API_KEY"), "{told}");
    let told = not_connected(&configuration, Some("gpt-55")).to_string();
    assert!(told.contains("the nearest is gpt-5") && told.contains("models: { \"gpt-55\": {"), "{told}");
    let Err(Unwired::Model(error)) = configuration.connect("wrk") else { panic!("there is none") };
    assert!(error.to_string().contains("the nearest is work"), "{error}");
    let told = configuration.connect("work").err().unwrap().to_string();
    assert!(
        told.starts_with("api_key_env of the provider \"work\" names the variable NO_KEY, and no secret is there; "),
        "{told}"
    );
    assert!(configuration.connect("ollama").is_ok() && configuration.connect("scripted").is_ok(), "they want no key");

    let ground = tempfile::tempdir().unwrap();
    let file = ground.path().join("key");
    let at = |base: &str| {
        let text = format!(
            "sessions: {{ providers: {{ work: {{ kind: openai, base_url: '{base}', api_key_file: '{}' }} }} }}",
            file.display()
        );
        with(&[], &text).connect("work").err()
    };
    let missing = at("http://127.0.0.1:1").unwrap();
    let told = format!(
        "api_key_file of the provider \"work\" names the file {}, which cannot be read (No such file",
        file.display()
    );
    assert!(missing.to_string().starts_with(&told), "{missing}");
    private(&file, KEY, 0o644);
    assert!(matches!(at("http://127.0.0.1:1"), Some(Unwired::Open { .. })));
    private(&file, KEY, 0o600);
    assert!(at("http://127.0.0.1:1").is_none());
    let plain = at("http://models.example.org");
    assert!(matches!(plain, Some(Unwired::Model(NotConnected::Provider { .. }))), "{plain:?}");
}

/// It would wait ten minutes otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_says_nothing_is_waited_for_as_long_as_it_says() {
    for scenario in [Scenario::SlowStart, Scenario::SilentMidway] {
        let stub = Stub::of(KEY, Api::OpenAi, scenario).unwrap().unwrap();
        let text = format!(
            "sessions: {{ storage: {{ url: 'memory:' }}, model: m, providers: {{ p: {{ kind: openai, base_url: '{}/v1', timeout_seconds: 1 }} }}, models: {{ m: {{ provider: p, window: \
             9000 }} }} }}",
            stub.address()
        );
        let configuration = with(&[], &text);
        let agent = configuration.connected(None).unwrap().agent().retry(Retry::NEVER);
        let sessions = SessionManager::builder().configured(&configuration).unwrap().build().await.unwrap();
        let chat = sessions.open_or_create("k").await.unwrap();
        let mut turn = chat.turn(&agent, Message::user("Hello"));
        while let Some(event) = turn.next_event().await {
            if matches!(event, TurnEvent::Text(_)) {
                stub.release();
            }
        }
        let outcome = turn.outcome().await.unwrap();
        assert!(matches!(outcome.problem, Some(TurnProblem::Model(ModelError::Slow { .. }))), "{outcome:?}");
    }
}
