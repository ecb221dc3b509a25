//! A key service that is slow, failing, denying, revoked, deleted or no key service at all: each answer is typed, in bounded time, and shows no token.
//!
//! The service is a stand-in on loopback that speaks the transit engine's HTTP API. What hangs, hangs until the test ends.
//!
//! Must not know: how the provider speaks HTTP.

#[cfg(test)]
#[cfg(feature = "vault")]
mod stub;

#[cfg(test)]
#[cfg(feature = "vault")]
mod vault {
    use std::{fs, future::Future, io::Write as _, net::TcpListener, path::Path, sync::Arc, time::Duration};

    use sessions_infra::{
        MemoryStore,
        environment::SystemClock,
        keys::{Bounds, MemoryKeyStore, Token, VaultTransit, VaultTransitProvider},
        sealing::SealedStore,
    };
    use sessions_ports::{
        KeyContext, KeyError, KeyId, KeyProvider, KeyStore as _, KindFilter, Order, Passphrase, ProviderKind,
        ReadRange, Record, SecretKey, SessionLog as _, StoreError, StoreId, Wrapped,
    };
    use sessions_testkit::{Script, read_all};

    use crate::stub::{Act, LOCALHOST, OTHER, Stub, TOKEN};

    const CONTEXT: KeyContext = KeyContext { store: StoreId([1; 16]), key: KeyId([2; 8]) };

    fn everything() -> ReadRange {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 100, max_bytes: usize::MAX }
    }

    fn secret() -> SecretKey {
        SecretKey::take(&mut [0xAB; 32])
    }

    fn token() -> Token {
        Token::Given(Passphrase::new(TOKEN.to_owned()))
    }

    /// Short enough for what never answers, and long enough for what does.
    fn bounds() -> Bounds {
        let millis = Duration::from_millis;
        Bounds { connect: millis(2_000), each: millis(5_000), overall: millis(20_000), tries: 4, pause: millis(1) }
    }

    /// For what never answers.
    fn short() -> Bounds {
        let millis = Duration::from_millis;
        Bounds { each: millis(60), overall: millis(200), ..bounds() }
    }

    fn settings(address: &str) -> VaultTransit {
        let mut settings = VaultTransit::new(address, "transit", "sessions", token());
        settings.bounds = bounds();
        settings.keeps = 0;
        settings
    }

    fn provider(stub: &Stub) -> VaultTransitProvider {
        VaultTransitProvider::new(settings(&stub.address)).unwrap()
    }

    fn impatient(stub: &Stub) -> VaultTransitProvider {
        let mut settings = settings(&stub.address);
        settings.bounds = short();
        VaultTransitProvider::new(settings).unwrap()
    }

    /// Far above any bound, so that it says nothing about speed.
    async fn in_time<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(60), work).await.expect("it hangs")
    }

    /// The failure of a call, in which nobody finds the token or the secret.
    async fn failure<T>(work: impl Future<Output = Result<T, KeyError>>) -> KeyError {
        let error = in_time(work).await.err().expect("it succeeded");
        let text = format!("{error} {error:?}");
        assert!(!text.contains(TOKEN) && !text.to_lowercase().contains("abab"), "{text}");
        error
    }

    async fn wrapped(provider: &VaultTransitProvider) -> Wrapped {
        in_time(provider.wrap(&secret(), &CONTEXT)).await.unwrap()
    }

    async fn unwraps(provider: &VaultTransitProvider, wrapped: &Wrapped) -> bool {
        in_time(provider.unwrap(wrapped, &CONTEXT)).await.unwrap().expose() == &[0xAB; 32]
    }

    #[tokio::test]
    async fn what_was_wrapped_is_unwrapped_also_by_a_rotated_key() {
        let stub = Stub::start();
        let mut settings = settings(&format!("{}/", stub.address));
        (settings.namespace, settings.mount) = (Some("team/a".to_owned()), "/transit/".to_owned());
        let provider = VaultTransitProvider::new(settings).unwrap();
        stub.with(|service| service.namespace = Some("team/a".to_owned()));
        let first = wrapped(&provider).await;
        assert_eq!((first.provider, first.key.as_str()), (ProviderKind::Service, "transit/sessions:v1"));
        assert!(!serde_json::to_string(&first).unwrap().contains("abab"));
        stub.with(|service| service.rotate());
        assert_eq!(in_time(provider.current()).await.unwrap(), "transit/sessions:v2");
        let second = wrapped(&provider).await;
        assert_eq!(second.key, "transit/sessions:v2");
        assert_ne!(first.bytes, wrapped(&provider).await.bytes);
        assert!(unwraps(&provider, &first).await && unwraps(&provider, &second).await);
        assert_eq!(in_time(provider.health()).await.unwrap().current, "transit/sessions:v2");
        assert_eq!(stub.with(|service| service.wrong.clone()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_wrapped_key_is_bound_to_its_store_also_where_the_service_ignores_that() {
        for ignores in [false, true] {
            let stub = Stub::start();
            stub.with(|service| service.ignores_associated_data = ignores);
            let provider = provider(&stub);
            let wrapped = wrapped(&provider).await;
            let other = KeyContext { store: StoreId([9; 16]), ..CONTEXT };
            match failure(provider.unwrap(&wrapped, &other)).await {
                KeyError::Damaged { .. } => assert!(ignores),
                KeyError::WrongKey { .. } => assert!(!ignores),
                other => panic!("{other}"),
            }
        }
    }

    #[tokio::test]
    async fn no_key_is_made_where_there_is_none() {
        let stub = Stub::start();
        stub.with(|service| service.versions.clear());
        let provider = provider(&stub);
        assert!(matches!(failure(provider.wrap(&secret(), &CONTEXT)).await, KeyError::Destroyed { .. }));
        assert!(matches!(failure(provider.current()).await, KeyError::Destroyed { .. }));
        assert!(matches!(failure(provider.health()).await, KeyError::Destroyed { .. }));
        assert!(stub.with(|service| service.versions.is_empty()), "the service made a key");
        stub.with(|service| (service.kind, service.versions) = ("rsa-4096", vec![[1; 32]]));
        assert!(matches!(failure(provider.wrap(&secret(), &CONTEXT)).await, KeyError::Nonsense { .. }));
    }

    #[tokio::test]
    async fn who_is_denied_is_denied_at_once_and_on_each_way() {
        let stub = Stub::start();
        let provider = provider(&stub);
        let good = wrapped(&provider).await;
        stub.with(|service| service.denies = true);
        let before = stub.asked();
        assert!(matches!(failure(provider.unwrap(&good, &CONTEXT)).await, KeyError::Denied { key } if key == good.key));
        assert!(matches!(failure(provider.wrap(&secret(), &CONTEXT)).await, KeyError::Denied { .. }));
        assert!(matches!(failure(provider.current()).await, KeyError::Denied { .. }));
        assert!(matches!(failure(provider.health()).await, KeyError::Denied { .. }));
        assert_eq!(stub.asked() - before, 4, "asking again is in vain");
        println!("figure: 4 calls denied, each asked once");
    }

    #[tokio::test]
    async fn what_fails_now_and_then_works_in_the_end() {
        let stub = Stub::start();
        let provider = provider(&stub);
        let good = wrapped(&provider).await;
        let busy = |status| Act::Status(status, r#"{"errors":["busy"]}"#.to_owned(), Vec::new());
        let wait = Act::Status(429, String::new(), vec!["Retry-After: 0".to_owned()]);
        let date = Act::Status(503, String::new(), vec!["Retry-After: Fri, 21 Nov 2025 08:00:00 GMT".to_owned()]);
        for flaps in [
            vec![busy(500)],
            vec![busy(503), wait, busy(502)],
            vec![Act::Close],
            vec![Act::Midway, Act::Close, date],
            vec![busy(412), busy(473)],
        ] {
            let before = stub.asked();
            stub.next(flaps.clone());
            assert!(unwraps(&provider, &good).await, "{flaps:?}");
            assert!(stub.asked() - before > flaps.len(), "{flaps:?}");
        }
        stub.next(vec![busy(500), busy(500), busy(500)]);
        assert_eq!(wrapped(&provider).await.key, "transit/sessions:v1");
    }

    #[tokio::test]
    async fn what_goes_on_failing_is_unavailable_after_the_last_try() {
        let stub = Stub::start();
        let provider = provider(&stub);
        let good = wrapped(&provider).await;
        let sealed = Act::Status(503, r#"{"errors":["Vault is sealed"]}"#.to_owned(), Vec::new());
        for act in [sealed, Act::Close, Act::Midway] {
            let before = stub.asked();
            stub.always(Some(act.clone()));
            let error = failure(provider.unwrap(&good, &CONTEXT)).await;
            assert!(matches!(error, KeyError::Unavailable { .. }) && error.is_transient(), "{act:?}: {error}");
            assert!(stub.asked() - before >= 4, "{act:?}");
        }
        stub.always(None);
        assert!(unwraps(&provider, &good).await, "nothing is remembered of it");
        println!("figure: 3 ways to fail on and on, each given up after 4 tries");
    }

    #[tokio::test]
    async fn who_is_told_to_come_back_too_late_does_not_wait() {
        let stub = Stub::start();
        let provider = provider(&stub);
        stub.always(Some(Act::Status(429, String::new(), vec!["Retry-After: 3600".to_owned()])));
        let error = failure(provider.current()).await;
        let hour = Duration::from_secs(3600);
        assert!(matches!(error, KeyError::Unavailable { retry_after: Some(after), .. } if after == hour), "{error:?}");
        assert_eq!(stub.asked(), 1);
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_unavailable() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let provider = VaultTransitProvider::new(settings(&format!("http://{port}"))).unwrap();
        for _ in 0..2 {
            assert!(matches!(failure(provider.current()).await, KeyError::Unavailable { .. }));
        }
    }

    #[tokio::test]
    async fn what_never_answers_or_never_ends_is_given_up() {
        let stub = Stub::start();
        let good = wrapped(&provider(&stub)).await;
        let provider = impatient(&stub);
        for act in [Act::Hang, Act::HangMidway, Act::Drip] {
            stub.always(Some(act.clone()));
            let error = failure(provider.unwrap(&good, &CONTEXT)).await;
            assert!(matches!(error, KeyError::TimedOut { .. }) && error.is_transient(), "{act:?}: {error}");
            let error = failure(provider.wrap(&secret(), &CONTEXT)).await;
            assert!(matches!(error, KeyError::TimedOut { .. }), "{act:?}: {error}");
        }
        println!("figure: 3 ways never to end, each given up within its bound");
    }

    #[tokio::test]
    async fn a_retired_a_deleted_and_another_key_are_told_apart() {
        let stub = Stub::start();
        let provider = provider(&stub);
        let old = wrapped(&provider).await;
        stub.with(|service| {
            service.rotate();
            service.min_decryption_version = 2;
        });
        let new = wrapped(&provider).await;
        let retired = failure(provider.unwrap(&old, &CONTEXT)).await;
        assert!(matches!(retired, KeyError::Retired { key } if key == "transit/sessions:v1"));
        assert!(unwraps(&provider, &new).await);
        stub.with(|service| service.min_decryption_version = 1);
        assert!(unwraps(&provider, &old).await, "a retired version can be enabled again");
        stub.with(|service| service.versions = vec![[8; 32], [9; 32]]);
        let wrong = failure(provider.unwrap(&new, &CONTEXT)).await;
        assert!(matches!(wrong, KeyError::WrongKey { kind: ProviderKind::Service }), "{wrong}");
        stub.with(|service| service.versions.clear());
        let gone = failure(provider.unwrap(&new, &CONTEXT)).await;
        assert!(matches!(gone, KeyError::Destroyed { key } if key == "transit/sessions:v2"));
        println!("figure: 3 ends of a key, each told from the others");
    }

    /// What a store in memory and its keys hold, of all that was written.
    async fn held(log: &MemoryStore, keys: &MemoryKeyStore) -> (usize, u64, bool) {
        let rows = log.rows(0, 100).await.unwrap().rows.len();
        (rows, keys.slots().await.unwrap(), keys.ring().await.unwrap().is_some())
    }

    #[tokio::test]
    async fn without_its_service_a_store_is_neither_made_nor_opened_nor_given_another_key_and_never_plain() {
        let stub = Stub::start();
        let status = |code| Act::Status(code, r#"{"errors":["permission denied"]}"#.to_owned(), Vec::new());
        let acts = [Act::Hang, Act::Drip, Act::Close, Act::Midway, status(403), status(503), status(204)];
        let (good, poor) = (provider(&stub), impatient(&stub));
        let mut told = Vec::new();
        for act in acts {
            let (log, keys) = (MemoryStore::new(), MemoryKeyStore::new());
            let ports = || (Arc::new(log.clone()), Arc::new(keys.clone()), Arc::new(SystemClock));
            let is_told = |outcome: Result<(), StoreError>| match outcome {
                Err(StoreError::Key(error)) => {
                    use KeyError as E;
                    let is_typed = matches!(
                        error,
                        E::TimedOut { .. } | E::Unavailable { .. } | E::Denied { .. } | E::Nonsense { .. }
                    );
                    assert!(is_typed && !error.to_string().contains(TOKEN), "{act:?}: {error:?}");
                }
                other => panic!("{act:?}: {other:?}"),
            };
            stub.always(Some(act.clone()));
            let (a, b, c) = ports();
            is_told(in_time(SealedStore::open_or_create(a, b, &poor, c)).await.map(drop));
            assert_eq!(held(&log, &keys).await, (0, 0, false), "{act:?}: nothing was made");

            stub.always(None);
            let (a, b, c) = ports();
            let store = in_time(SealedStore::open_or_create(a, b, &good, c)).await.unwrap();
            let mut script = Script::new(1);
            store.commit(script.say("a marked word")).await.unwrap();
            let before = (held(&log, &keys).await, keys.ring().await.unwrap().unwrap().bytes);
            stub.always(Some(act.clone()));
            is_told(in_time(store.rotate(&poor, |_| ())).await.map(drop));
            let (a, b, c) = ports();
            is_told(in_time(SealedStore::open_or_create(a, b, &poor, c)).await.map(drop));
            assert_eq!((held(&log, &keys).await, keys.ring().await.unwrap().unwrap().bytes), before, "{act:?}");
            // Who has it open goes on, sealed as before.
            store.commit(script.say("another marked word")).await.unwrap();
            let raw = read_all(&log, script.session(), everything()).await.unwrap();
            let is_plain = |record: &Record| record.payload.windows(6).any(|bytes| bytes == b"marked");
            assert!(raw.len() == 2 && !raw.iter().any(is_plain), "{act:?}");
            stub.always(None);
            let (a, b, c) = ports();
            let again = in_time(SealedStore::open(a, b, &good, c)).await.unwrap();
            assert_eq!(read_all(&again, script.session(), everything()).await.unwrap(), script.written(), "{act:?}");
            told.push(act);
        }
        println!("figure: {} ways to fail, each typed: nothing made, nothing changed, nothing plain", told.len());
    }

    #[tokio::test]
    async fn what_was_unwrapped_is_kept_and_what_failed_is_not() {
        let stub = Stub::start();
        let mut kept = settings(&stub.address);
        (kept.keeps, kept.keeps_for) = (2, Duration::from_secs(3600));
        let provider = VaultTransitProvider::new(kept).unwrap();
        let good = wrapped(&provider).await;
        stub.next(vec![Act::Status(403, String::new(), Vec::new())]);
        assert!(matches!(failure(provider.unwrap(&good, &CONTEXT)).await, KeyError::Denied { .. }));
        let before = stub.asked();
        for _ in 0..5 {
            assert!(unwraps(&provider, &good).await);
        }
        assert_eq!(stub.asked() - before, 1);
        let other = KeyContext { key: KeyId([7; 8]), ..CONTEXT };
        failure(provider.unwrap(&good, &other)).await;
        for _ in 0..2 {
            let another = wrapped(&provider).await;
            assert!(unwraps(&provider, &another).await);
        }
        stub.with(|service| service.denies = true);
        let error = failure(provider.unwrap(&good, &CONTEXT)).await;
        assert!(matches!(error, KeyError::Denied { .. }), "only two are kept");
        // Without time to keep it, a revoked key stops at once.
        let never = self::provider(&stub);
        assert!(matches!(failure(never.unwrap(&good, &CONTEXT)).await, KeyError::Denied { .. }));
        assert!(
            matches!(failure(provider.health()).await, KeyError::Denied { .. }),
            "health is never from what is kept"
        );
    }

    #[tokio::test]
    async fn nonsense_is_nonsense_and_is_not_asked_for_again() {
        let stub = Stub::start();
        let provider = provider(&stub);
        let good = wrapped(&provider).await;
        let fine = |body: &str| Act::Status(200, body.to_owned(), Vec::new());
        let huge = format!(r#"{{"data":{{"plaintext":"{}"}}}}"#, "A".repeat(1 << 20));
        let deep = "[".repeat(20_000);
        let elsewhere = Stub::start();
        let away = format!("Location: {}/v1/transit/decrypt/sessions", elsewhere.address);
        let acts = [
            fine(""),
            fine("<html><body>Sign in</body></html>"),
            fine("null"),
            fine("{}"),
            fine(r#"{"data":null}"#),
            fine(r#"{"data":{"plaintext":7,"ciphertext":7,"latest_version":"x"}}"#),
            fine(r#"{"data":{"plaintext":"","ciphertext":"","latest_version":-1}}"#),
            fine(r#"{"data":{"plaintext":"!!!!"}}"#),
            fine(r#"{"data":{"plaintext":"AAAA"}}"#),
            fine(&format!(r#"{{"data":{{"plaintext":"{}"}}}}"#, "A".repeat(88))),
            fine(&huge),
            fine(&deep),
            Act::Status(204, String::new(), Vec::new()),
            Act::Status(404, "<html>".to_owned(), Vec::new()),
            Act::Status(
                404,
                r#"{"errors":["no handler for route \"x\". route entry not found."]}"#.to_owned(),
                Vec::new(),
            ),
            Act::Status(400, r#"{"errors":["something else"]}"#.to_owned(), Vec::new()),
            Act::Status(307, String::new(), vec![away.clone()]),
            Act::Status(302, String::new(), vec![away]),
            Act::Status(200, "{}".to_owned(), vec![format!("X-Long: {}", "x".repeat(64 << 10))]),
            Act::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
            Act::Raw(b"HTTP/1.1 999999 \xFF\r\n\r\n".to_vec()),
        ];
        println!("figure: {} answers that are nonsense, each typed and asked for once", acts.len());
        for act in acts {
            stub.always(Some(act.clone()));
            let before = stub.asked();
            let error = failure(provider.unwrap(&good, &CONTEXT)).await;
            assert!(matches!(error, KeyError::Nonsense { .. }), "{act:?}: {error:?}");
            assert_eq!(stub.asked() - before, 1, "{act:?}");
            let error = failure(provider.wrap(&secret(), &CONTEXT)).await;
            // To this one, the other request's key is the one that is not there.
            assert!(matches!(error, KeyError::Nonsense { .. }), "{act:?}: {error:?}");
        }
        assert_eq!(elsewhere.asked(), 0, "the token went to another place");
        // The key is there, and what it encrypts is nonsense.
        let key = r#"{"data":{"latest_version":1,"type":"aes256-gcm96"}}"#;
        let long = format!(r#"{{"data":{{"ciphertext":"{}"}}}}"#, "A".repeat(5000));
        for body in [
            r#"{"data":{"ciphertext":""}}"#,
            r#"{"data":{"ciphertext":"a\nb"}}"#,
            r#"{"data":{"ciphertext":"\""}}"#,
            &long,
        ] {
            stub.always(None);
            stub.next(vec![fine(key), fine(body)]);
            let error = failure(provider.wrap(&secret(), &CONTEXT)).await;
            assert!(matches!(error, KeyError::Nonsense { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_changed_wrapping_is_damage_and_nobody_is_asked() {
        let stub = Stub::start();
        let provider = provider(&stub);
        let good = wrapped(&provider).await;
        let before = stub.asked();
        let with = |bytes: String| Wrapped { bytes, ..good.clone() };
        let mut changed: Vec<Wrapped> = (0..good.bytes.len())
            .map(|at| {
                let mut digits = good.bytes.clone().into_bytes();
                digits[at] = if digits[at] == b'0' { b'1' } else { b'0' };
                with(String::from_utf8(digits).unwrap())
            })
            .collect();
        changed.extend(["", "00", "x", "é"].map(|bytes| with(bytes.to_owned())));
        changed.extend([good.bytes[2..].to_owned(), "ab".repeat(1 << 20)].map(with));
        for wrapped in changed {
            assert!(matches!(failure(provider.unwrap(&wrapped, &CONTEXT)).await, KeyError::Damaged { .. }));
        }
        let other = Wrapped { provider: ProviderKind::Passphrase, ..good };
        let error = failure(provider.unwrap(&other, &CONTEXT)).await;
        assert!(matches!(
            error,
            KeyError::OtherKind { needed: ProviderKind::Passphrase, given: ProviderKind::Service }
        ));
        assert_eq!(stub.asked(), before);
    }

    #[tokio::test]
    async fn a_token_in_a_file_is_read_anew() {
        let stub = Stub::start();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let mut from_file = settings(&stub.address);
        from_file.token = Token::File(path.clone());
        let provider = VaultTransitProvider::new(from_file).unwrap();
        assert!(matches!(failure(provider.current()).await, KeyError::Io { .. }), "there is no file yet");
        for wrong in ["", "\n", "two words", "line\nline", &"x".repeat(10_000), "é"] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(failure(provider.current()).await, KeyError::Io { .. }), "{wrong:?}");
        }
        assert_eq!(stub.asked(), 0);
        fs::write(&path, "hvs.an-old-one").unwrap();
        assert!(matches!(failure(provider.current()).await, KeyError::Denied { .. }));
        fs::write(&path, format!("{TOKEN}\n")).unwrap();
        assert_eq!(in_time(provider.current()).await.unwrap(), "transit/sessions:v1");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let refused = |change: &dyn Fn(&mut VaultTransit)| {
            let mut settings = settings("http://127.0.0.1:8200");
            change(&mut settings);
            let error = VaultTransitProvider::new(settings).err();
            matches!(error, Some(KeyError::Io { .. }))
        };
        assert!(!refused(&|_| {}));
        for address in ["http://localhost:1", "http://127.9.9.9/", "http://[::1]:8200", "http://LOCALHOST/vault"] {
            assert!(!refused(&|settings| settings.address = address.to_owned()), "{address}");
        }
        for address in [
            "",
            "vault",
            "127.0.0.1:8200",
            "http://",
            "http://vault.example.com:8200",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "http://user:pass@127.0.0.1",
            "http://127.0.0.1/?x=1",
            "http://127.0.0.1/a b",
        ] {
            assert!(refused(&|settings| settings.address = address.to_owned()), "{address}");
        }
        let plain = |settings: &mut VaultTransit| {
            (settings.address, settings.allows_plain) = ("http://10.0.0.1".to_owned(), true);
        };
        assert!(!refused(&plain));
        for name in ["", "..", "a/..", "../sys", "a b", "a?b", "a%2fb", "a#b", "é"] {
            assert!(refused(&|settings| settings.key = name.to_owned()), "{name}");
            assert!(refused(&|settings| settings.mount = name.to_owned()), "{name}");
        }
        assert!(refused(&|settings| settings.key = "a/b".to_owned()));
        assert!(!refused(&|settings| settings.mount = "teams/a/transit".to_owned()));
        assert!(refused(&|settings| settings.namespace = Some("a\r\nX: y".to_owned())));
        let secure = |settings: &mut VaultTransit, path: &Path| {
            (settings.address, settings.certificates) = ("https://127.0.0.1".to_owned(), Some(path.to_owned()));
        };
        assert!(refused(&|settings| secure(settings, Path::new("/missing"))));
        let mut empty = tempfile::NamedTempFile::new().unwrap();
        empty.write_all(b"no certificate").unwrap();
        assert!(refused(&|settings| secure(settings, empty.path())));
    }

    #[tokio::test]
    async fn over_tls_only_who_is_trusted_is_talked_to() {
        let stub = Stub::start_with_tls();
        let folder = tempfile::tempdir().unwrap();
        let with = |name: &str, pem: &str, host: &str| {
            let path = folder.path().join(name);
            fs::write(&path, pem).unwrap();
            let mut settings = settings(&stub.address.replace("localhost", host));
            settings.certificates = Some(path);
            VaultTransitProvider::new(settings).unwrap()
        };
        let trusting = with("right", LOCALHOST, "localhost");
        let good = wrapped(&trusting).await;
        assert!(unwraps(&trusting, &good).await);
        let before = stub.asked();
        let untrusting = with("other", OTHER, "localhost");
        let error = failure(untrusting.unwrap(&good, &CONTEXT)).await;
        assert!(matches!(error, KeyError::Nonsense { what } if what.contains("certificate")), "{error:?}");
        let misled = with("host", LOCALHOST, "127.0.0.1");
        let error = failure(misled.unwrap(&good, &CONTEXT)).await;
        assert!(matches!(error, KeyError::Nonsense { what } if what.contains("certificate")), "{error:?}");
        let plain = Stub::start();
        let mut wrong = settings(&plain.address.replace("http://", "https://"));
        wrong.certificates = Some(folder.path().join("right"));
        let error = failure(VaultTransitProvider::new(wrong).unwrap().current()).await;
        assert!(matches!(error, KeyError::Nonsense { .. } | KeyError::Unavailable { .. } | KeyError::TimedOut { .. }));
        assert_eq!(stub.asked(), before, "nothing was asked of who is not trusted");
    }
}
