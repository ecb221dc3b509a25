//! Whoever has a wrong key, or changes how the key is wrapped, is told so, and makes nobody derive anything.
//!
//! Must not know: what is sealed.

use std::{fs, sync::Arc};

use bytes::Bytes;
use sessions_infra::{
    MemoryStore,
    environment::SystemClock,
    keys::{FileKeyStore, KeyFileProvider, MemoryKeyStore},
    sealing::SealedStore,
};
use sessions_ports::{KeyError, KeyProvider, KeyStore as _, ProviderKind, SecretKey, SessionLog, StoreError, StoreId};

use crate::ground::{Dice, Said, assert_says, fill, folder, key_of, provider};

/// A sealed store in memory.
struct Ground {
    log: Arc<dyn SessionLog>,
    keys: MemoryKeyStore,
    said: Said,
}

impl Ground {
    async fn new(provider: &dyn KeyProvider) -> Self {
        let (log, keys): (Arc<dyn SessionLog>, _) = (Arc::new(MemoryStore::new()), MemoryKeyStore::new());
        let store =
            SealedStore::create(Arc::clone(&log), Arc::new(keys.clone()), provider, Arc::new(SystemClock)).await;
        let said = fill(&store.unwrap(), 2, 3).await;
        Self { log, keys, said }
    }

    async fn open(&self, provider: &dyn KeyProvider) -> Result<SealedStore, StoreError> {
        SealedStore::open(Arc::clone(&self.log), Arc::new(self.keys.clone()), provider, Arc::new(SystemClock)).await
    }

    async fn ring(&self) -> String {
        String::from_utf8(self.keys.ring().await.unwrap().unwrap().bytes.to_vec()).unwrap()
    }

    /// Opens it with another ring.
    async fn with_ring(&self, ring: &[u8], provider: &dyn KeyProvider) -> Result<SealedStore, StoreError> {
        let now = self.keys.ring().await.unwrap().unwrap();
        let put = self.keys.put_ring(now.version, Bytes::copy_from_slice(ring)).await;
        put.unwrap();
        let opened = self.open(provider).await;
        self.keys.put_ring(now.version + 1, now.bytes).await.unwrap();
        opened
    }
}

fn is_wrong_key(opened: Result<SealedStore, StoreError>, expected: ProviderKind) -> bool {
    matches!(opened, Err(StoreError::Key(KeyError::WrongKey { kind })) if kind == expected)
}

#[tokio::test]
async fn a_thousand_wrong_keys_are_wrong_and_so_is_each_that_differs_by_a_bit() {
    let mut dice = Dice::new("wrong keys");
    let ground = Ground::new(&provider(5)).await;
    let near = (0..256).map(|bit| {
        let mut key = key_of(5);
        key[bit / 8] ^= 1 << (bit % 8);
        key
    });
    let mut wrong: Vec<[u8; 32]> = near.collect();
    wrong.extend((0..1_000).map(|_| dice.bytes::<32>()));
    let count = wrong.len();
    for mut key in wrong {
        let opened = ground.open(&KeyFileProvider::of(SecretKey::take(&mut key))).await;
        assert!(is_wrong_key(opened, ProviderKind::KeyFile));
    }
    assert_says(&ground.open(&provider(5)).await.unwrap(), &ground.said, "the right key").await;
    println!("figure: {count} keys are the wrong one, and the right one opens");
}

#[tokio::test]
async fn a_ring_that_somebody_changed_opens_nothing() {
    let ground = Ground::new(&provider(5)).await;
    let ring = ground.ring().await;
    let mac = ring.find(r#""mac""#).unwrap();
    let (mut is_inside, mut refused, mut same) = (false, 0, 0);
    for (at, byte) in ring.bytes().enumerate() {
        is_inside ^= byte == b'"';
        for bit in 0..8 {
            let mut bent = ring.clone().into_bytes();
            bent[at] ^= 1 << bit;
            let new = bent[at];
            match ground.with_ring(&bent, &provider(5)).await {
                Err(StoreError::Key(
                    KeyError::Damaged { .. }
                    | KeyError::WrongKey { .. }
                    | KeyError::Newer { .. }
                    | KeyError::OtherKind { .. },
                )) => refused += 1,
                Err(other) => panic!("byte {at}, bit {bit}: {other}"),
                // A blank for a blank says the same, and so does the other case of a digit of the MAC itself.
                Ok(store) => {
                    let is_blank = !is_inside && byte.is_ascii_whitespace() && new.is_ascii_whitespace();
                    let is_digit = at > mac && byte.eq_ignore_ascii_case(&new);
                    assert!(is_blank || is_digit, "byte {at}: {new:#x}");
                    assert_says(&store, &ground.said, "the same in other letters").await;
                    same += 1;
                }
            }
        }
    }
    println!("figure: {refused} changes of a bit and {} cuts refused, {same} changes say the same", ring.len());
    assert!(refused > 5_000, "{refused}");
    for length in 0..ring.len() {
        assert!(ground.with_ring(&ring.as_bytes()[..length], &provider(5)).await.is_err(), "cut off at {length}");
    }
}

#[tokio::test]
async fn a_ring_on_disk_that_is_damaged_in_any_byte_is_mended_from_its_copy_or_named() {
    let ground = folder();
    let (path, store) = (ground.path().join("keys"), StoreId([7; 16]));
    let keys = FileKeyStore::open(&path, store).await.unwrap();
    let text = Bytes::from_static(b"what a ring says does not matter here");
    keys.put_ring(0, text.clone()).await.unwrap();
    drop(keys);
    let names = ["ring", "ring.copy"].map(|name| path.join(name));
    let whole = fs::read(&names[0]).unwrap();
    assert_eq!(fs::read(&names[1]).unwrap(), whole);
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 0x41;
        for name in &names {
            fs::write(name, &bent).unwrap();
            let opened = FileKeyStore::open_blocking(&path, store);
            match opened {
                Ok(keys) => {
                    assert_eq!((keys.ring_blocking().unwrap().unwrap().bytes, keys.mended().len()), (text.clone(), 1));
                    assert_eq!(fs::read(name).unwrap(), whole, "byte {at} was not mended");
                }
                // A higher format is left alone.
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        names.iter().for_each(|name| fs::write(name, &bent).unwrap());
        let named = FileKeyStore::open_blocking(&path, store).err();
        assert!(matches!(named, Some(StoreError::Key(KeyError::Damaged { .. }))), "byte {at}: {named:?}");
        names.iter().for_each(|name| fs::write(name, &whole).unwrap());
    }
    for length in 0..whole.len() {
        names.iter().for_each(|name| fs::write(name, &whole[..length]).unwrap());
        let named = FileKeyStore::open_blocking(&path, store).err();
        assert!(matches!(named, Some(StoreError::Key(KeyError::Damaged { .. }))), "cut off at {length}: {named:?}");
    }
    println!(
        "figure: {} bytes damaged and {} cuts: mended where there is a copy, else named",
        whole.len(),
        whole.len()
    );
}

#[cfg(feature = "keys-passphrase")]
mod passphrases {
    use serde_json::{Value, json};
    use sessions_infra::keys::{Costs, PassphraseProvider};
    use sessions_ports::Passphrase;

    use super::*;

    const GOOD: &str = "velvet anchor moss trumpet";

    fn passphrase(text: &str) -> PassphraseProvider {
        PassphraseProvider::new(Passphrase::new(text.to_owned()), Costs::FLOOR).unwrap()
    }

    #[tokio::test]
    async fn five_wrong_passphrases_are_wrong_after_one_derivation_each() {
        let ground = Ground::new(&passphrase(GOOD)).await;
        let wrong =
            ["", "velvet anchor moss trumpeT", "velvet anchor moss trumpet ", "anchor velvet moss trumpet", "x"];
        for wrong in wrong {
            let provider = passphrase(wrong);
            assert!(is_wrong_key(ground.open(&provider).await, ProviderKind::Passphrase), "{wrong:?}");
            assert_eq!(provider.derivations(), 1, "{wrong:?}");
        }
        let right = passphrase(GOOD);
        assert_says(&ground.open(&right).await.unwrap(), &ground.said, "the right one").await;
        assert_eq!(right.derivations(), 1);
        println!("figure: 5 passphrases are the wrong one, after one derivation each");
    }

    #[tokio::test]
    async fn planted_parameters_open_nothing_and_nothing_is_derived_with_them() {
        let ground = Ground::new(&passphrase(GOOD)).await;
        let ring: Value = serde_json::from_str(&ground.ring().await).unwrap();
        let provider = passphrase(GOOD);
        let mut planted = Vec::new();
        for name in ["m_kib", "t", "p", "v", "kdf", "salt"] {
            planted.extend([json!(null), json!([]), json!({}), json!(true)].map(|value| (name, Some(value))));
            planted.push((name, None));
        }
        // 64 GiB among them.
        let large = [json!(64_u64 << 20), json!(u32::MAX), json!(u64::MAX), json!(1e300)];
        let small = [json!(0), json!(-1), json!(-65_536), json!(1.5), json!("3"), json!("67108864")];
        for name in ["m_kib", "t", "p", "v"] {
            planted.extend(large.iter().chain(&small).map(|value| (name, Some(value.clone()))));
        }
        planted.extend(["", "00", "zz"].map(|salt| ("salt", Some(json!(salt)))));
        planted.extend([("kdf", Some(json!("argon2d"))), ("salt", Some(json!("0".repeat(1 << 19))))]);
        let count = planted.len();
        for (name, value) in planted {
            let mut ring = ring.clone();
            let parameters = ring["key"]["wrapped"]["parameters"].as_object_mut().unwrap();
            match value.clone() {
                Some(value) => drop(parameters.insert(name.to_owned(), value)),
                None => drop(parameters.remove(name)),
            }
            let opened = ground.with_ring(&serde_json::to_vec(&ring).unwrap(), &provider).await.err();
            assert!(
                matches!(opened, Some(StoreError::Key(KeyError::Parameters { .. }))),
                "{name} {value:?}: {opened:?}"
            );
        }
        for whole in [json!(null), json!([1]), json!("x"), json!({})] {
            let mut ring = ring.clone();
            ring["key"]["wrapped"]["parameters"] = whole;
            let opened = ground.with_ring(&serde_json::to_vec(&ring).unwrap(), &provider).await.err();
            assert!(matches!(opened, Some(StoreError::Key(KeyError::Parameters { .. }))), "{opened:?}");
        }
        // Text in which one of them stands where no parser of numbers goes.
        let text = serde_json::to_string(&ring).unwrap();
        for (from, to) in [(r#""t":2"#, r#""t":1e999"#), (r#""t":2"#, r#""t":0x2"#), (r#""p":1"#, r#""p":1,"p":1"#)] {
            assert!(text.contains(from), "{text}");
            let opened = ground.with_ring(text.replace(from, to).as_bytes(), &provider).await.err();
            let is_told =
                matches!(opened, Some(StoreError::Key(KeyError::Damaged { .. } | KeyError::Parameters { .. })));
            assert!(is_told || to.ends_with(r#""p":1"#), "{to}: {opened:?}");
        }
        println!(
            "figure: {count} planted; {} derivation, with one that says the same value twice",
            provider.derivations()
        );
        // The one that says the same twice may be read, and only that.
        assert!(provider.derivations() <= 1);
    }
}
