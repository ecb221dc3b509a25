//! What every provider of keys owes, tried on the key file and the passphrase; and what each of the two refuses.
//!
//! Must not know: how a wrapped key looks inside.

#[cfg(test)]
#[cfg(feature = "keys-passphrase")]
mod key_providers {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
        path::Path,
        process::Command,
    };

    use serde_json::{Value, json};
    use sessions_infra::keys::{Costs, KeyFileProvider, PassphraseProvider};
    use sessions_ports::{
        KeyContext, KeyError, KeyId, KeyProvider, Passphrase, ProviderKind, SecretKey, StoreId, Wrapped,
    };

    const CONTEXT: KeyContext = KeyContext { store: StoreId([1; 16]), key: KeyId([2; 8]) };
    const GOOD: &str = "velvet anchor moss trumpet";

    fn secret() -> SecretKey {
        SecretKey::take(&mut [0xAB; 32])
    }

    fn passphrase(text: &str) -> PassphraseProvider {
        PassphraseProvider::new(Passphrase::new(text.to_owned()), Costs::FLOOR).unwrap()
    }

    fn key_file() -> KeyFileProvider {
        KeyFileProvider::of(SecretKey::take(&mut [5; 32]))
    }

    #[tokio::test]
    async fn what_was_wrapped_is_unwrapped_and_shows_nothing() {
        let providers: [&dyn KeyProvider; 2] = [&key_file(), &passphrase(GOOD)];
        for provider in providers {
            let wrapped = provider.wrap(&secret(), &CONTEXT).await.unwrap();
            assert_eq!(wrapped.provider, provider.kind());
            assert_eq!(wrapped.key, provider.current().await.unwrap());
            assert_eq!(provider.health().await.unwrap().current, wrapped.key);
            let text = serde_json::to_string(&wrapped).unwrap();
            assert!(!text.contains("ababab") && !text.contains("0505") && !text.contains("velvet"), "{text}");
            let again = provider.wrap(&secret(), &CONTEXT).await.unwrap();
            assert_ne!((&wrapped.bytes, &wrapped.key), (&again.bytes, &provider.kind().to_string()));
            // As it comes back from where it was stored.
            let stored: Wrapped = serde_json::from_str(&text).unwrap();
            assert_eq!(provider.unwrap(&stored, &CONTEXT).await.unwrap().expose(), &[0xAB; 32]);
            let other = KeyContext { store: StoreId([3; 16]), ..CONTEXT };
            let foreign = provider.unwrap(&stored, &other).await.err();
            assert!(matches!(foreign, Some(KeyError::Damaged { .. })), "{foreign:?}");
        }
    }

    #[tokio::test]
    async fn another_kind_of_key_is_told() {
        let providers: [&dyn KeyProvider; 2] = [&key_file(), &passphrase(GOOD)];
        for [one, other] in [providers, [providers[1], providers[0]]] {
            let wrapped = one.wrap(&secret(), &CONTEXT).await.unwrap();
            match other.unwrap(&wrapped, &CONTEXT).await.err() {
                Some(KeyError::OtherKind { needed, given }) => {
                    assert_eq!((needed, given), (one.kind(), other.kind()));
                }
                answer => panic!("{answer:?}"),
            }
        }
    }

    #[tokio::test]
    async fn wrong_passphrases_are_wrong_after_one_derivation_each() {
        let wrapped = passphrase(GOOD).wrap(&secret(), &CONTEXT).await.unwrap();
        // Unwrapping judges no passphrase, so that what an earlier version took still opens.
        for wrong in
            ["velvet anchor moss trumpeT", "velvet anchor moss trumpet ", "", "x", "Velvet anchor moss trumpet"]
        {
            let provider = passphrase(wrong);
            let answer = provider.unwrap(&wrapped, &CONTEXT).await.err();
            assert!(matches!(answer, Some(KeyError::WrongKey { kind: ProviderKind::Passphrase })), "{answer:?}");
            assert_eq!(provider.derivations(), 1);
        }
        let right = passphrase(GOOD);
        right.unwrap(&wrapped, &CONTEXT).await.unwrap();
        assert_eq!(right.derivations(), 1);
        right.wrap(&secret(), &CONTEXT).await.unwrap();
        assert_eq!(right.derivations(), 2);
    }

    #[tokio::test]
    async fn a_thousand_wrong_key_files_are_wrong() {
        let wrapped = key_file().wrap(&secret(), &CONTEXT).await.unwrap();
        for number in 0..1000_u32 {
            let mut wrong = [5; 32];
            wrong[9..13].copy_from_slice(&number.to_be_bytes());
            let answer = KeyFileProvider::of(SecretKey::take(&mut wrong)).unwrap(&wrapped, &CONTEXT).await.err();
            assert!(matches!(answer, Some(KeyError::WrongKey { kind: ProviderKind::KeyFile })), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn weak_passphrases_are_refused_before_anything_is_derived() {
        for weak in ["", "            ", "eleven char", "aaaaaaaaaaaaaaaa", "Password1234", "/home/ada/chats"] {
            let provider = passphrase(weak).known(["/home/ada/chats".to_owned()]);
            let answer = provider.wrap(&secret(), &CONTEXT).await.err();
            assert!(matches!(answer, Some(KeyError::Weak { .. })), "{weak:?}: {answer:?}");
            assert_eq!(provider.derivations(), 0);
            assert!(!answer.unwrap().to_string().contains(weak) || weak.trim().is_empty());
        }
        for (m_kib, t, p) in
            [(19_455, 2, 1), (19_456, 1, 1), (19_456, 2, 0), (19_456, 2, 5), (1 << 21, 2, 1), (19_456, 21, 1)]
        {
            let refused = PassphraseProvider::new(Passphrase::new(GOOD.to_owned()), Costs { m_kib, t, p }).err();
            assert!(matches!(refused, Some(KeyError::Parameters { .. })), "{m_kib} {t} {p}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn planted_parameters_are_refused_and_nothing_is_computed_with_them() {
        let provider = passphrase(GOOD);
        let wrapped = provider.wrap(&secret(), &CONTEXT).await.unwrap();
        let with = |name: &str, value: Value| {
            let mut planted = wrapped.clone();
            planted.parameters[name] = value;
            planted
        };
        let most = u64::from(u32::MAX);
        let numbers =
            |least: u64, above: u64| [json!(least - 1), json!(above), json!(most), json!(most + 1), json!(u64::MAX)];
        let others = [json!(-1), json!(1.5), json!("19456"), json!(null), json!([2])];
        let mut planted = Vec::new();
        for (name, least, above) in [("m_kib", 19_456, (1 << 20) + 1), ("t", 2, 21), ("p", 1, 17)] {
            planted.extend(numbers(least, above).into_iter().chain(others.clone()).map(|value| with(name, value)));
        }
        // 64 GiB.
        planted.push(with("m_kib", json!(64 << 20)));
        planted.extend([json!("argon2d"), json!("scrypt"), json!(1)].map(|kdf| with("kdf", kdf)));
        planted.extend([json!(16), json!("19")].map(|v| with("v", v)));
        let salts =
            ["", "00", "zz", &"0".repeat(31), &"g".repeat(32), &"0".repeat(34), &"0".repeat(1 << 20), &"é".repeat(16)];
        planted.extend(salts.map(|salt| with("salt", json!(salt))));
        planted.extend(
            [json!(null), json!({}), json!([1]), json!("x")]
                .map(|parameters| Wrapped { parameters, ..wrapped.clone() }),
        );
        let before = provider.derivations();
        for planted in planted {
            let answer = provider.unwrap(&planted, &CONTEXT).await.err();
            assert!(matches!(answer, Some(KeyError::Parameters { .. })), "{}: {answer:?}", planted.parameters);
        }
        // Within bounds, and not those that it was wrapped with: damage, which needs no derivation to be told.
        for changed in [with("t", json!(3)), with("p", json!(2)), with("salt", json!("0".repeat(32)))] {
            let answer = provider.unwrap(&changed, &CONTEXT).await.err();
            assert!(matches!(answer, Some(KeyError::Damaged { .. })), "{answer:?}");
        }
        assert_eq!(provider.derivations(), before);
        // A field more is left alone: a later version may have its reasons.
        assert!(provider.unwrap(&with("note", json!("x")), &CONTEXT).await.is_ok());
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_key_file_is_made_for_its_owner_alone_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/sessions/key");
        let made = KeyFileProvider::create_or_open(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
        let wrapped = made.wrap(&secret(), &CONTEXT).await.unwrap();
        let text = fs::read(&path).unwrap();
        for again in [KeyFileProvider::open(&path), KeyFileProvider::create_or_open(&path)] {
            let again = again.unwrap();
            assert_eq!(again.name(), made.name());
            assert_eq!(again.unwrap(&wrapped, &CONTEXT).await.unwrap().expose(), &[0xAB; 32]);
        }
        let refused = KeyFileProvider::create(&path).err();
        assert!(matches!(refused, Some(KeyError::KeyFile { .. })), "{refused:?}");
        assert_eq!(fs::read(&path).unwrap(), text);
        let other = KeyFileProvider::create(&folder.path().join("other")).unwrap();
        assert_ne!(other.name(), made.name());
        assert!(!text.windows(16).any(|window| window == made.name().as_bytes()), "the name is no part of the key");
    }

    #[test]
    fn of_many_who_make_a_key_file_all_get_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let names: Vec<String> = std::thread::scope(|scope| {
            let open = || KeyFileProvider::create_or_open(&path).unwrap().name().to_owned();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "{names:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_change_of_a_key_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let name = KeyFileProvider::create(&path).unwrap().name().to_owned();
        let text = fs::read(&path).unwrap();
        let open = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            KeyFileProvider::open(&path).map(|provider| provider.name().to_owned())
        };
        let refuses = |bytes: &[u8]| match open(bytes) {
            Err(KeyError::KeyFile { what }) => assert!(!what.is_empty()),
            // Another case of a digit, or a blank more at a line's end, says the same.
            Ok(same) => assert_eq!(same, name),
            Err(other) => panic!("{other}"),
        };
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refuses(&flipped);
        }
        for length in 0..text.len() - 1 {
            assert!(open(&text[..length]).is_err(), "cut off at {length}");
        }
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        for broken in [
            [lines[1], lines[0], lines[2]].join(&b'\n'),
            [lines[0], lines[1], lines[1]].join(&b'\n'),
            [&text[..], b"more\n"].concat(),
            b"-----BEGIN PRIVATE KEY-----\n".to_vec(),
            vec![b'a'; 300],
            vec![0; 120],
            [b"sessions key 2\n", lines[1], b"\n", lines[2]].concat(),
        ] {
            assert!(matches!(open(&broken), Err(KeyError::KeyFile { .. })), "{:?}", String::from_utf8_lossy(&broken));
        }
        let windows = String::from_utf8(text.clone()).unwrap().replace('\n', "\r\n");
        assert_eq!(open(windows.as_bytes()).unwrap(), name, "as an editor may leave it");
    }

    #[test]
    fn what_is_no_safe_key_file_is_refused_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyFileProvider::create(&path).unwrap();
        for open in [0o640, 0o604, 0o660, 0o644, 0o610, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            match KeyFileProvider::open(&path).err() {
                Some(KeyError::KeyFile { what }) => assert!(what.contains("chmod 600"), "{what}"),
                other => panic!("{open:o}: {other:?}"),
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        KeyFileProvider::open(&path).unwrap();
        std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
        KeyFileProvider::open(&folder.path().join("link")).unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
        for wrong in [folder.path(), &pipe, Path::new("/dev/zero")] {
            let refused = KeyFileProvider::open(wrong).err();
            assert!(matches!(refused, Some(KeyError::KeyFile { .. })), "{}: {refused:?}", wrong.display());
        }
        let missing = KeyFileProvider::open(&folder.path().join("missing")).err();
        assert!(matches!(&missing, Some(KeyError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound));
        let under = KeyFileProvider::create_or_open(&path.join("under")).err();
        assert!(matches!(under, Some(KeyError::Io { .. })), "{under:?}");
    }
}
