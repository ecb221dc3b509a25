//! What each option does, on a store or to what a host asks of the configuration.
//!
//! Must not know: how a value is read.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    sync::Arc,
    time::Duration,
};

use sessions_api::{
    CleanupOutcome, Clock, Durability, ErrorKind, KeyFileProvider, Limits, Message, Moment, NeedsKeyService,
    NewSession, SessionError, SessionManager, TokenUsage,
    config::{ApiKeyAt, Configuration, Environment, ProviderProtocol, Sources},
    maintenance,
};
use sessions_domain::{form::Form, price, profile::Profiles};
use sessions_testkit::FixedClock;

fn with(environment: &[(&str, &str)], text: &str) -> Configuration {
    Sources::of(Environment::of(environment.iter().copied())).text("c.yaml", text).load().unwrap()
}

fn configured(text: &str) -> Configuration {
    with(&[], text)
}

async fn open(configuration: &Configuration) -> Result<SessionManager, SessionError> {
    SessionManager::builder().configured(configuration)?.build().await
}

/// A configuration whose store is in this folder, with more of it behind.
fn on_disk(folder: &Path, more: &str) -> String {
    format!("sessions:\n  storage: {{ url: \"sled:{}\" }}\n  {more}\n", folder.join("store").display())
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn the_store_that_is_named_is_opened_at_its_durability() {
    let ground = tempfile::tempdir().unwrap();
    for (word, level) in
        [("disk", Durability::Disk), ("process", Durability::Process), ("volatile", Durability::Volatile)]
    {
        let folder = ground.path().join(word);
        let text = format!("sessions: {{ storage: {{ url: 'sled:{}', durability: {word} }} }}", folder.display());
        let sessions = open(&configured(&text)).await.unwrap();
        assert_eq!(sessions.durability(), level);
        sessions.create(NewSession::titled("a")).await.unwrap();
        sessions.close().await.unwrap();
        assert!(folder.join("FORMAT").exists());
    }
    let weak = open(&configured("sessions: { storage: { url: 'memory:', durability: disk } }")).await;
    assert!(weak.is_err(), "a store in memory gives no more than it has");
}

#[tokio::test]
async fn one_session_more_than_there_may_be_is_refused() {
    let sessions = open(&configured("sessions: { storage: { url: 'memory:', max_sessions: 2 } }")).await.unwrap();
    for title in ["a", "b"] {
        sessions.create(NewSession::titled(title)).await.unwrap();
    }
    let third = sessions.create(NewSession::titled("c")).await.err();
    assert!(matches!(third, Some(SessionError::LimitReached { max: 2, .. })), "{third:?}");
}

#[tokio::test]
async fn each_limit_is_the_one_that_was_said() {
    let text = "
sessions:
  storage: { url: 'memory:', max_sessions: 1 }
  limits: { messages: 2, parts: 3, message_bytes: 4000, title_chars: 5, description_chars: 6, tags: 7, tag_chars: 8, files: 9,
            metadata_bytes: 10, state_keys: 11, state_bytes: 12, checkpoints: 13, pins: none }
";
    let configuration = configured(text);
    let expected = Limits {
        sessions: Some(1),
        messages: Some(2),
        parts: Some(3),
        message_bytes: Some(4000),
        title_chars: Some(5),
        description_chars: Some(6),
        tags: Some(7),
        tag_chars: Some(8),
        files: Some(9),
        metadata_bytes: Some(10),
        state_keys: Some(11),
        state_bytes: Some(12),
        checkpoints: Some(13),
        pins: None,
    };
    assert_eq!(configuration.limits(), expected);
    let sessions = open(&configuration).await.unwrap();
    assert!(sessions.create(NewSession::titled("longer")).await.is_err());
    let chat = sessions.create(NewSession::titled("short")).await.unwrap();
    chat.append(Message::user("a")).await.unwrap();
    chat.append(Message::user("b")).await.unwrap();
    let third = chat.append(Message::user("c")).await.err();
    assert!(matches!(third, Some(SessionError::LimitReached { max: 2, .. })), "{third:?}");
}

#[tokio::test]
async fn records_bear_who_acts_and_tenants_are_apart() {
    let ground = tempfile::tempdir().unwrap();
    let acting = |identity: &str| configured(&on_disk(ground.path(), &format!("identity: {identity}")));
    let sessions = open(&acting("{ tenant: t1, actor: ana }")).await.unwrap();
    let chat = sessions.create(NewSession::titled("a").key("k".parse().unwrap())).await.unwrap();
    chat.append(Message::user("hello")).await.unwrap();
    let by = chat.last(1).await.unwrap()[0].actor.clone();
    assert_eq!((by.tenant.as_str(), by.id.as_str()), ("t1", "ana"));
    drop(chat);
    sessions.close().await.unwrap();
    drop(sessions);
    let other = open(&acting("{ tenant: t2 }")).await.unwrap();
    assert_eq!(other.find("key:k").await.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    other.close().await.unwrap();
}

#[test]
fn figures_of_tokens_are_as_they_were_said() {
    let configuration = configured(
        "sessions: { tokens: { max_context_tokens: 100000, compaction_threshold: 0.75, reserve_tokens: 0 } }",
    );
    assert_eq!(configuration.max_context_tokens().map(u64::from), Some(100_000));
    assert_eq!(configuration.compaction_threshold_percent(), 75);
    assert_eq!(configuration.reserve_tokens(), Some(0));
    let unsaid = configured("");
    assert_eq!(
        (unsaid.max_context_tokens(), unsaid.compaction_threshold_percent(), unsaid.reserve_tokens()),
        (None, 80, None)
    );
}

#[test]
fn models_and_providers_are_as_they_were_written() {
    let configuration = configured(
        "
sessions:
  providers:
    work: { kind: openai, base_url: 'https://models.example.org/v1/', api_key_env: WORK_KEY }
    file: { kind: anthropic, api_key_file: /etc/key }
    local: { kind: ollama }
    demo: { kind: scripted }
  models:
    gpt-5.4: { provider: work, aliases: [house, 'my.house'], window: 32768, max_output: 8192, reserved_output: 4096,
               encoding: o200k_base, form: openai }
    small: { provider: ollama, window: 4096 }
",
    );
    let [work, file, local, demo] = configuration.providers() else { panic!("{:?}", configuration.providers()) };
    assert_eq!((work.name.as_str(), work.protocol), ("work", ProviderProtocol::OpenAi));
    assert_eq!(work.base_url.as_deref(), Some("https://models.example.org/v1"));
    assert_eq!(work.key, Some(ApiKeyAt::Variable("WORK_KEY".to_owned())));
    assert_eq!((file.protocol, &file.key), (ProviderProtocol::Anthropic, &Some(ApiKeyAt::File("/etc/key".into()))));
    assert_eq!((local.protocol, &local.key), (ProviderProtocol::Ollama, &None));
    assert_eq!(demo.protocol, ProviderProtocol::Scripted);
    let [house, small] = configuration.models() else { panic!("{:?}", configuration.models()) };
    assert_eq!(
        (house.name.as_str(), house.provider.as_str(), house.aliases.join(" ").as_str()),
        ("gpt-5.4", "work", "house my.house")
    );
    assert_eq!((house.window, house.max_output, house.reserved_output), (32_768, Some(8_192), Some(4_096)));
    assert_eq!((house.encoding.as_deref(), house.form), (Some("o200k_base"), Some(Form::OpenAi)));
    assert_eq!((&small.encoding, small.form, small.reserved_output), (&None, None, None));
    let rows = configuration.rows();
    assert!(rows.iter().any(|row| row.option == "models.\"gpt-5.4\".window" && row.value.to_string() == "32768"));
}

#[test]
fn own_prices_count_before_those_that_are_shipped() {
    let configuration = configured(
        "
sessions:
  prices:
    - { provider: openai, model: gpt-5, aliases: [five], input: 1, output: 2, cache_read: 0.1, cache_write: 0.2, cache_write_long: 0.3,
        reasoning: 4, currency: EUR, valid_from: 2026-01-01, valid_to: 2026-12-31, source: here, noted: 2026-01-01,
        above: { tokens: 1000, input: 10, output: 20, cache_read: 1, cache_write: 2, cache_write_long: 3, reasoning: 40 } }
",
    );
    let prices = configuration.prices();
    let day = |text: &str| text.parse::<price::Day>().unwrap();
    let used =
        TokenUsage { input: 100, output: 100, cache_read: 100, cache_write: 100, cache_write_long: 100, reasoning: 50 };
    let cost = |model: &str, on: &str, used: &TokenUsage| {
        let row = prices.find("openai", model, day(on))?;
        price::cost(used, &row.price).map(|cost| cost.to_string())
    };
    // 100 × (1 + 0.1 + 0.2 + 0.3), 50 × 2 and 50 × 4, a million each.
    assert_eq!(cost("gpt-5", "2026-06-01", &used).as_deref(), Some("0.00046 EUR"));
    assert_eq!(cost("five", "2026-12-31", &used).as_deref(), Some("0.00046 EUR"));
    let more = TokenUsage { input: 1_000, ..used };
    assert_eq!(cost("gpt-5", "2026-06-01", &more).as_deref(), Some("0.0136 EUR"));
    assert_eq!(cost("gpt-5", "2027-01-01", &used), None);
    let shipped = prices.find("openai", "gpt-5-mini", day("2026-06-01")).unwrap();
    assert_eq!(shipped.price.input.map(|price| price.to_string()).as_deref(), Some("0.25"));
    assert_eq!(
        configured("").prices().find("openai", "gpt-5", day("2026-06-01")).unwrap().noted,
        Some(day("2026-07-02"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_made_where_it_says_and_so_many_stay() {
    let ground = tempfile::tempdir().unwrap();
    let (own, usual) = (ground.path().join("copies"), ground.path().join("store-backups"));
    let text = |more: &str| {
        let url = ground.path().join("store");
        configured(&format!(
            "sessions: {{ storage: {{ url: 'sled:{}', backup_interval_minutes: 60{more} }} }}",
            url.display()
        ))
    };
    let named = format!(", backup_folder: '{}', backups_kept: 1", own.display());
    for (more, folder) in [(String::new(), &usual), (named.clone(), &own), (named, &own)] {
        // The one from before was made long ago.
        for copy in fs::read_dir(folder).into_iter().flatten() {
            fs::rename(copy.unwrap().path(), folder.join("backup-20260101T000000.000Z.sessions")).unwrap();
        }
        let sessions = open(&text(&more)).await.unwrap();
        sessions.create(NewSession::titled("a")).await.unwrap();
        let made = async {
            while sessions.scheduled_backups().unwrap().last().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), made).await.unwrap();
        sessions.close().await.unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "{more}");
    }
    let nowhere = open(&configured("sessions: { storage: { url: 'memory:', backup_interval_minutes: 60 } }")).await;
    assert!(matches!(nowhere, Err(SessionError::Configuration(_))));
}

#[tokio::test]
async fn a_plain_store_never_passes_for_a_sealed_one_nor_the_other_way_round() {
    let ground = tempfile::tempdir().unwrap();
    let (sealed, plain, key) = (ground.path().join("sealed"), ground.path().join("plain"), ground.path().join("key"));
    let named = format!("keys: {{ key_file: '{}' }}", key.display());
    let sessions = open(&configured(&on_disk(&sealed, &named))).await.unwrap();
    assert!(sessions.sealed_store().is_some() && key.exists());
    sessions.close().await.unwrap();
    drop(sessions);
    let sessions = open(&configured(&on_disk(&plain, ""))).await.unwrap();
    assert!(sessions.sealed_store().is_none());
    sessions.close().await.unwrap();
    drop(sessions);
    for (folder, more, kind) in [
        (&sealed, "", ErrorKind::WrongKey),
        (&sealed, "encryption: { enabled: false }", ErrorKind::WrongKey),
        (&plain, named.as_str(), ErrorKind::Invalid),
    ] {
        let refused = open(&configured(&on_disk(folder, more))).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(kind), "{more}");
    }
    // Without a name for it the key file is the one in the configuration folder, which is made with a store and never for one that is there.
    let config = ground.path().join("config");
    let usual = |folder: &Path| {
        let environment = [("XDG_CONFIG_HOME", config.to_str().unwrap())];
        with(&environment, &on_disk(folder, "encryption: { enabled: true }"))
    };
    assert!(open(&usual(&plain)).await.is_err() && open(&usual(&sealed)).await.is_err());
    assert!(!config.join("sessions/key").exists(), "no key is made for a store that is there");
    let sessions = open(&usual(&ground.path().join("new"))).await.unwrap();
    assert!(sessions.sealed_store().is_some() && config.join("sessions/key").exists());
    sessions.close().await.unwrap();
}

#[tokio::test]
async fn a_passphrase_is_taken_from_a_file_or_a_variable() {
    let ground = tempfile::tempdir().unwrap();
    let file = ground.path().join("passphrase");
    private(&file, "seven grey herons over the weir\nand more\n");
    let in_file = format!("keys: {{ passphrase_file: '{}' }}", file.display());
    let sessions = open(&configured(&on_disk(ground.path(), &in_file))).await.unwrap();
    sessions.close().await.unwrap();
    drop(sessions);
    let of_variable = |value: &str| {
        let environment = if value.is_empty() { vec![] } else { vec![("CHATS_PASSPHRASE", value)] };
        with(&environment, &on_disk(ground.path(), "keys: { passphrase_env: CHATS_PASSPHRASE }"))
    };
    open(&of_variable("seven grey herons over the weir")).await.unwrap().close().await.unwrap();
    let wrong = open(&of_variable("nine grey herons over the weir")).await.err().map(|error| error.kind());
    assert_eq!(wrong, Some(ErrorKind::WrongKey));
    assert!(open(&of_variable("")).await.is_err());
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let open_to_others = open(&configured(&on_disk(ground.path(), &in_file))).await.err().unwrap().to_string();
    assert!(open_to_others.contains("others may read"), "{open_to_others}");
    for bytes in ["", "\n", &"x".repeat(5_000)] {
        private(&file, bytes);
        assert!(open(&configured(&on_disk(ground.path(), &in_file))).await.is_err(), "{}", bytes.len());
    }
}

/// Answers one request with a refusal, and gives its lines.
fn refusing_service() -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        lines
    });
    (address, served)
}

#[tokio::test]
async fn a_key_service_is_asked_where_it_says_with_the_token_of_the_file() {
    let ground = tempfile::tempdir().unwrap();
    let token = ground.path().join("token");
    private(&token, "hunter2\n");
    let (address, served) = refusing_service();
    let keys =
        format!("keys: {{ vault: {{ url: '{address}/transit', key: chats, token_file: '{}' }} }}", token.display());
    let refused = open(&configured(&on_disk(ground.path(), &keys))).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::NotAllowed, "{refused}");
    let lines = served.join().unwrap();
    assert!(lines[0].contains(" /v1/transit/") && lines[0].contains("/chats "), "{lines:?}");
    assert!(lines.iter().any(|line| line.eq_ignore_ascii_case("x-vault-token: hunter2")), "{lines:?}");
    assert!(!refused.to_string().contains("hunter2"));
    // Without a file the token is in VAULT_TOKEN; who is trusted is named by a file that has to be there.
    let (address, served) = refusing_service();
    let keys = format!("keys: {{ vault: {{ url: '{address}/transit', key: chats }} }}");
    assert!(open(&with(&[("VAULT_TOKEN", "hunter3")], &on_disk(ground.path(), &keys))).await.is_err());
    assert!(served.join().unwrap().iter().any(|line| line.ends_with("hunter3")));
    assert!(open(&configured(&on_disk(ground.path(), &keys))).await.is_err(), "no token");
    let trusted = "keys: { vault: { url: 'https://127.0.0.1:1/transit', key: chats, ca_file: /does/not/exist } }";
    let missing = open(&with(&[("VAULT_TOKEN", "hunter3")], &on_disk(ground.path(), trusted))).await.err().unwrap();
    assert_ne!(missing.kind(), ErrorKind::NotAllowed, "{missing}");
    assert!(!ground.path().join("store").exists(), "nothing is made whose key cannot be asked for");
}

#[tokio::test]
async fn in_enterprise_mode_nothing_but_a_key_service_opens_a_store() {
    let ground = tempfile::tempdir().unwrap();
    let file = ground.path().join("key");
    let text = on_disk(
        ground.path(),
        &format!("encryption: {{ enterprise_mode: true }}\n  keys: {{ key_file: '{}' }}", file.display()),
    );
    let errors = Sources::of(Environment::of::<&str, &str>([])).text("c.yaml", text).load().unwrap_err();
    assert!(errors.to_string().contains("takes no key but one in a key service"), "{errors}");
    let keys =
        "encryption: { enterprise_mode: true }\n  keys: { vault: { url: 'http://127.0.0.1:1/transit', key: chats } }";
    let configuration = with(&[("VAULT_TOKEN", "t")], &on_disk(ground.path(), keys));
    let other = KeyFileProvider::create(&file).unwrap();
    let builder = SessionManager::builder().configured(&configuration).unwrap().sealed(other);
    let refused = builder.build().await.err().unwrap();
    let SessionError::Configuration(why) = &refused else { panic!("{refused:?}") };
    assert!(why.downcast_ref::<NeedsKeyService>().is_some(), "{refused:?}");
    assert!(!ground.path().join("store").exists());
}

/// Long before any test runs.
struct Before;

impl Clock for Before {
    fn now(&self) -> Moment {
        Moment::parse("2020-01-01T00:00:00Z").unwrap_or_default()
    }
}

#[tokio::test]
async fn the_age_of_a_key_is_told_after_as_many_days_as_it_says() {
    let ground = tempfile::tempdir().unwrap();
    let key = KeyFileProvider::create(&ground.path().join("key")).unwrap();
    let configuration =
        |days: &str| configured(&on_disk(ground.path(), &format!("encryption: {{ key_rotation_days: {days} }}")));
    let url = configuration("1").store().unwrap();
    let sessions = SessionManager::builder().at(url.clone()).sealed(key).clock(Before).build().await.unwrap();
    sessions.close().await.unwrap();
    let advice = async |days: &str| {
        let days = configuration(days).key_rotation_days();
        let seen = maintenance::diagnose_with(&url, days).await.unwrap();
        seen.into_iter().find(|seen| seen.check == "sealing").unwrap().advice.map(String::from)
    };
    assert_eq!(advice("30").await.as_deref(), Some("the key is older than 30 days; run `keys rotate`"));
    assert_eq!(advice("36500").await, None);
    assert_eq!(configured("").key_rotation_days(), 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_key_is_changed_by_itself_where_it_says_so() {
    let ground = tempfile::tempdir().unwrap();
    let text = |rotates: bool, days: u32| {
        let key = ground.path().join("key");
        let encryption = format!("encryption: {{ enabled: true, auto_rotate: {rotates}, key_rotation_days: {days} }}");
        configured(&on_disk(ground.path(), &format!("{encryption}\n  keys: {{ key_file: '{}' }}", key.display())))
    };
    let made = SessionManager::builder().configured(&text(false, 1)).unwrap().clock(Before).build().await.unwrap();
    let chat = made.open_or_create("k").await.unwrap();
    chat.append(Message::user("kept")).await.unwrap();
    let facts = |sessions: &SessionManager| sessions.sealed_store().unwrap().key_facts();
    let first = facts(&made).key;
    drop(chat);
    made.close().await.unwrap();
    for (rotates, days) in [(false, 30), (true, 36_500)] {
        let sessions = open(&text(rotates, days)).await.unwrap();
        assert_eq!(sessions.key_rotation().is_some(), rotates);
        sessions.close().await.unwrap();
        assert_eq!(facts(&sessions).key, first, "{rotates} {days}");
    }
    let sessions = open(&text(true, 30)).await.unwrap();
    let changed = async {
        loop {
            match sessions.key_rotation().unwrap().last() {
                Some(last) => return last,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let changed = tokio::time::timeout(Duration::from_secs(60), changed).await.unwrap();
    assert_eq!(changed.as_ref().as_ref().unwrap().slots, 1);
    let second = facts(&sessions);
    assert!(second.key != first && !second.is_changing);
    sessions.close().await.unwrap();
    drop(sessions);
    // The same file opens it, and the new key is not old.
    let sessions = open(&text(true, 30)).await.unwrap();
    let chat = sessions.open_or_create("k").await.unwrap();
    assert_eq!(chat.last(1).await.unwrap()[0].text(), "kept");
    sessions.close().await.unwrap();
    assert_eq!(facts(&sessions).key, second.key);
}

fn at(day: i64) -> FixedClock {
    FixedClock::at(Moment::from_millis(day * 86_400_000))
}

async fn opened_at(clock: &FixedClock, configuration: &Configuration) -> SessionManager {
    SessionManager::builder().configured(configuration).unwrap().clock(clock.clone()).build().await.unwrap()
}

/// Waits until a cleanup was made that is not `before`.
async fn cleaned(sessions: &SessionManager, before: Option<&CleanupOutcome>) -> CleanupOutcome {
    let made = async {
        loop {
            let last = sessions.cleaning().unwrap().last();
            match last.filter(|last| before.is_none_or(|before| !Arc::ptr_eq(before, last))) {
                Some(last) => return last,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), made).await.unwrap()
}

#[tokio::test]
async fn what_was_not_used_for_long_is_put_away_as_it_says() {
    let ground = tempfile::tempdir().unwrap();
    let plain = configured(&on_disk(ground.path(), ""));
    let sessions = opened_at(&at(1_000), &plain).await;
    assert!(sessions.cleaning().is_none(), "nothing is put away unless it is said");
    let unused = sessions.create(NewSession::titled("a")).await.unwrap().id();
    let trashed = sessions.create(NewSession::titled("b")).await.unwrap().id();
    sessions.trash(trashed).await.unwrap();
    sessions.close().await.unwrap();
    let text = "trash: { after_days: 20 }\n  cleanup: { delete_after_days: 30, interval_seconds: 1 }";
    let cleaning = configured(&on_disk(ground.path(), text));
    for (day, done) in [(1_019, 0), (1_020, 1), (1_029, 0), (1_030, 1), (1_049, 0), (1_050, 1)] {
        let sessions = opened_at(&at(day), &plain).await;
        sessions.open_or_create("used").await.unwrap().touch().await.unwrap();
        sessions.open_or_create("used").await.unwrap().append(Message::user("hi")).await.unwrap();
        sessions.close().await.unwrap();
        let sessions = opened_at(&at(day), &cleaning).await;
        let first = cleaned(&sessions, None).await;
        let report = first.as_ref().as_ref().unwrap();
        assert_eq!(report.done.len(), done, "{day}: {report:?}");
        if day == 1_050 {
            assert!(cleaned(&sessions, Some(&first)).await.as_ref().as_ref().unwrap().done.is_empty());
        }
        sessions.close().await.unwrap();
    }
    let sessions = opened_at(&at(1_050), &plain).await;
    for id in [unused, trashed] {
        assert!(matches!(sessions.load_any(id).await, Err(SessionError::Gone { .. })));
    }
    sessions.close().await.unwrap();
    let defaults = configured("sessions: { trash: { after_days: 20 } }").cleanup_policy();
    assert_eq!((defaults.interval, defaults.delete_after), (Duration::from_secs(300), None));
}

#[tokio::test]
async fn what_is_idle_leaves_memory_as_it_says() {
    let text = "sessions: { storage: { url: 'memory:' }, cleanup: { max_idle_seconds: 60, interval_seconds: 1 } }";
    let clock = at(1_000);
    let sessions = opened_at(&clock, &configured(text)).await;
    let id = sessions.create(NewSession::titled("a")).await.unwrap().id();
    let first = cleaned(&sessions, None).await;
    let live = || sessions.counters().sessions.live_sessions;
    assert_eq!(live(), 1);
    clock.jump(60_000);
    cleaned(&sessions, Some(&first)).await;
    let left = async {
        while live() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), left).await.unwrap();
    assert_eq!(sessions.load(id).await.unwrap().summary().await.unwrap().title.as_deref(), Some("a"));
}

#[test]
fn a_reserve_that_windows_do_not_have_is_told() {
    let notices = |reserve: u64| {
        let configuration = configured(&format!("sessions: {{ tokens: {{ reserve_tokens: {reserve} }} }}"));
        configuration.notices().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(notices(8_000), [""; 0]);
    let told = notices(16_000);
    assert!(
        told.len() == 1
            && told[0].ends_with("tokens.reserve_tokens has no effect for gpt-4: their windows are no larger"),
        "{told:?}"
    );
}

#[test]
fn models_of_the_configuration_are_known_by_their_names_or_stand_in_for_known_ones() {
    let text = "
sessions:
  tokens: { reserve_tokens: 9000 }
  providers: { far: { kind: anthropic }, work: { kind: openai } }
  models:
    house: { provider: far, window: 20000, aliases: [home] }
    gpt-4o: { provider: work, window: 64000, reserved_output: 1000 }
    claude-opus-4-6: { provider: anthropic, window: 500000 }
";
    let configuration = configured(text);
    let find = |name: &str| configuration.profiles().find(name).unwrap();
    let house = find("home");
    assert_eq!((house.name.as_str(), house.provider.as_str(), house.form), ("house", "far", Form::Anthropic));
    assert_eq!((house.usable(), house.encoding.as_str()), (11_000, "estimate-1"));
    let (own, shipped) = (find("gpt-4o"), Profiles::shipped().find("gpt-4o").unwrap());
    assert_eq!((own.usable(), own.provider.as_str(), own.encoding.as_str()), (63_000, "work", "o200k_base"));
    assert_eq!((&own.rules, own.max_output), (&shipped.rules, shipped.max_output));
    let opus = find("claude-opus-4-6");
    assert_eq!((opus.window, &opus.rules), (500_000, &Profiles::shipped().find("claude-opus-4-6").unwrap().rules));
    // The reserve is kept of every window that has as much; what a request may have at most is another limit.
    assert_eq!((find("gpt-5").reserved_output, find("gpt-5").usable()), (9_000, 272_000));
    let entry = |window: u32| format!("sessions: {{ models: {{ gpt-5: {{ provider: openai, window: {window} }} }} }}");
    let usable = |window| configured(&entry(window)).profiles().find("gpt-5").unwrap().usable();
    assert_eq!((usable(400_000), usable(200_000), usable(1_000_000)), (272_000, 168_000, 968_000));
    assert_eq!(find("gpt-4").reserved_output, Profiles::shipped().find("gpt-4").unwrap().reserved_output, "of 8192");
    assert!(configuration.profiles().find("houses").unwrap_err().nearest.is_some());
    assert_eq!(configured("").profiles(), &Profiles::shipped());
    let none = "sessions: { tokens: { reserve_tokens: 5000 }, models: { m: { provider: ollama, window: 5000 } } }";
    let errors = Sources::of(Environment::of::<&str, &str>([])).text("c.yaml", none).load().unwrap_err();
    assert_eq!(
        errors.to_string(),
        "c.yaml:1:39: tokens.reserve_tokens: nothing of the window is left for messages with m"
    );
}
