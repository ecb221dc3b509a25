//! The ring of a store's keys: how its key-encryption key is wrapped, the store's root, and what is being changed.
//!
//! It is JSON, and bound together by a MAC under the store's root, so that nobody without the key can change what it says unnoticed.
//!
//! Must not know: sessions' keys, or where the ring lies.

use std::sync::Arc;

use bytes::Bytes;
use ring::hmac;
use serde::{Deserialize, Serialize};
use sessions_domain::{Moment, SessionId, chain};
use sessions_ports::{KeyContext, KeyError, KeyId, KeyProvider, SecretKey, StoreId, Wrapped};

use super::cipher::{self, Cipher};

/// So many deleted sessions are kept for others that inherit from them. The rest of what a ring may hold is for what is on its way.
pub(crate) const MOST_KEPT: usize = 10_000;

/// The format this version reads and writes.
const FORMAT: &str = "sessions-keys 1";

/// The ring as it is stored. Nothing in it is secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: String,
    store: String,
    /// The key-encryption key in use.
    key: StoredKey,
    /// The one before it, as long as slots are still wrapped under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retiring: Option<RetiringKey>,
    /// The store's root, wrapped under the key in use.
    root: String,
    /// Sessions that are being deleted, or whose records others still inherit: their keys are to go when they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    condemned: Vec<Condemned>,
    /// Sessions whose data key is being changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resealing: Vec<Resealing>,
    /// Since when all sessions are given another data key, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass: Option<i64>,
    mac: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    id: String,
    made: i64,
    check: String,
    wrapped: Wrapped,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetiringKey {
    id: String,
    made: i64,
    /// Itself, wrapped under the key in use.
    bytes: String,
}

/// A session whose keys are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condemned {
    pub(crate) session: SessionId,
    pub(crate) slot: u32,
}

/// A session whose data key is being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resealing {
    pub(crate) session: SessionId,
    pub(crate) slot: u32,
    /// The last record of the old epoch.
    pub(crate) version: u64,
    /// The head of the old epoch's ciphertext chain there.
    #[serde(with = "hex")]
    pub(crate) old: [u8; 32],
}

/// 32 bytes as hexadecimal.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de};
    use sessions_domain::chain;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&chain::to_hex(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = chain::from_hex(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| de::Error::custom("64 digits are expected"))
    }
}

/// A key-encryption key, unwrapped.
pub(crate) struct Kek {
    pub(crate) id: KeyId,
    pub(crate) made: Moment,
    secret: SecretKey,
    pub(crate) cipher: Cipher,
}

impl Kek {
    fn new(made: Moment) -> Result<Self, KeyError> {
        Self::of(KeyId(cipher::random()?), made, cipher::new_key()?)
    }

    fn of(id: KeyId, made: Moment, secret: SecretKey) -> Result<Self, KeyError> {
        let cipher = Cipher::new(&cipher::derive(&secret, "sessions wrap 1")?)?;
        Ok(Self { id, made, secret, cipher })
    }

    /// What test vectors say of it.
    #[cfg(test)]
    pub(super) fn secret(&self) -> [u8; 32] {
        *self.secret.expose()
    }
}

/// A key-encryption key that is about to take over.
pub(crate) struct Successor {
    kek: Arc<Kek>,
    wrapped: Wrapped,
}

impl Successor {
    /// A new key, wrapped by a provider. This may take as long as a service does, so nobody is held up for it.
    pub(crate) async fn wrapped_by(provider: &dyn KeyProvider, store: StoreId, now: Moment) -> Result<Self, KeyError> {
        let kek = Arc::new(Kek::new(now)?);
        let wrapped = provider.wrap(&kek.secret, &KeyContext { store, key: kek.id }).await?;
        Ok(Self { kek, wrapped })
    }
}

/// The ring, unlocked. A clone shares the keys.
#[derive(Clone)]
pub(crate) struct Ring {
    store: StoreId,
    pub(crate) kek: Arc<Kek>,
    wrapped: Wrapped,
    pub(crate) retiring: Option<Arc<Kek>>,
    root: Arc<SecretKey>,
    mac: hmac::Key,
    pub(crate) condemned: Vec<Condemned>,
    pub(crate) resealing: Vec<Resealing>,
    /// Since when all sessions are given another data key. Those that are younger were.
    pub(crate) pass: Option<Moment>,
    /// The version that is stored; 0: none.
    pub(crate) version: u64,
}

/// What a ring tells without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFacts {
    /// The name of the key-encryption key.
    pub key: KeyId,
    /// When it was made.
    pub made: Moment,
    /// How it is wrapped.
    pub wrapped: Wrapped,
    /// A change of the key was begun and is not finished.
    pub is_changing: bool,
}

impl RingFacts {
    /// A key that is older should be changed.
    pub const ROTATION_DAYS: u64 = 90;

    /// How many whole days old the key is.
    pub fn days_old(&self, now: Moment) -> u64 {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        u64::try_from(now.as_millis().saturating_sub(self.made.as_millis())).unwrap_or(0) / DAY
    }

    /// What to do about the key, if anything.
    pub fn advice(&self, now: Moment) -> Option<String> {
        self.advice_after(now, Self::ROTATION_DAYS)
    }

    /// The same, for a key that is old after so many days.
    pub fn advice_after(&self, now: Moment, days: u64) -> Option<String> {
        if self.is_changing {
            let what = "a change of the key was broken off; whatever opens the store with the new key finishes it";
            return Some(what.to_owned());
        }
        (self.days_old(now) > days).then(|| format!("the key is older than {days} days; run `keys rotate`"))
    }
}

fn damaged(what: &'static str) -> KeyError {
    KeyError::Damaged { what }
}

fn bytes_of(hex: &str) -> Result<Vec<u8>, KeyError> {
    chain::from_hex(hex).ok_or(damaged("the ring holds a number that is none"))
}

fn id_of(hex: &str) -> Result<KeyId, KeyError> {
    bytes_of(hex)?.try_into().map(KeyId).map_err(|_| damaged("the ring names no key"))
}

fn parse(bytes: &[u8], store: StoreId) -> Result<Stored, KeyError> {
    #[derive(Deserialize)]
    struct Beginning {
        format: String,
    }
    let beginning: Beginning = serde_json::from_slice(bytes).map_err(|_| damaged("the ring does not parse"))?;
    if beginning.format != FORMAT {
        let is_ours = beginning.format.starts_with("sessions-keys ");
        return Err(if is_ours { KeyError::Newer { found: beginning.format } } else { damaged("the ring is none") });
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(|_| damaged("the ring does not parse"))?;
    if stored.store == chain::to_hex(&store.0) { Ok(stored) } else { Err(damaged("the ring is another store's")) }
}

/// What a stored ring tells to whoever has no key.
///
/// # Errors
/// [`KeyError::Damaged`], [`KeyError::Newer`].
pub fn ring_facts(bytes: &[u8], store: StoreId) -> Result<RingFacts, KeyError> {
    let stored = parse(bytes, store)?;
    Ok(RingFacts {
        key: id_of(&stored.key.id)?,
        made: Moment::from_millis(stored.key.made),
        wrapped: stored.key.wrapped,
        is_changing: stored.retiring.is_some(),
    })
}

impl Ring {
    /// A ring with a new key, wrapped by a provider.
    pub(crate) async fn begin(store: StoreId, provider: &dyn KeyProvider, now: Moment) -> Result<Self, KeyError> {
        let Successor { kek, wrapped } = Successor::wrapped_by(provider, store, now).await?;
        let root = Arc::new(cipher::new_key()?);
        let mac = cipher::mac_key(&cipher::derive(&root, "sessions ring 1")?);
        Ok(Self {
            store,
            kek,
            wrapped,
            retiring: None,
            root,
            mac,
            condemned: Vec::new(),
            resealing: Vec::new(),
            pass: None,
            version: 0,
        })
    }

    /// The ring that is stored, unlocked by a provider.
    pub(crate) async fn unlock(
        bytes: &[u8],
        version: u64,
        store: StoreId,
        provider: &dyn KeyProvider,
    ) -> Result<Self, KeyError> {
        let stored = parse(bytes, store)?;
        let id = id_of(&stored.key.id)?;
        let secret = provider.unwrap(&stored.key.wrapped, &KeyContext { store, key: id }).await?;
        if !cipher::is_same(&cipher::commitment(&secret, id), &bytes_of(&stored.key.check)?) {
            return Err(KeyError::WrongKey { kind: provider.kind() });
        }
        let kek = Arc::new(Kek::of(id, Moment::from_millis(stored.key.made), secret)?);
        let opened = |context: &[u8], hex: &str| {
            let opened = kek.cipher.unwrap(context, &bytes_of(hex)?).map(zeroize::Zeroizing::new);
            let opened = opened.and_then(|opened| SecretKey::from_slice(&opened));
            opened.ok_or(damaged("a key of the ring does not open"))
        };
        let root = Arc::new(opened(&root_context(store, id), &stored.root)?);
        let retiring = match &stored.retiring {
            None => None,
            Some(old) => {
                let old_id = id_of(&old.id)?;
                let secret = opened(&retiring_context(store, old_id), &old.bytes)?;
                Some(Arc::new(Kek::of(old_id, Moment::from_millis(old.made), secret)?))
            }
        };
        let mac = cipher::mac_key(&cipher::derive(&root, "sessions ring 1")?);
        let said = bytes_of(&stored.mac)?;
        if !unsigned(bytes, &stored.mac).is_some_and(|text| cipher::is_same(&mac_of(&mac, &text), &said)) {
            return Err(damaged("the ring was changed by somebody without its key"));
        }
        let (wrapped, condemned, resealing) = (stored.key.wrapped, stored.condemned, stored.resealing);
        let pass = stored.pass.map(Moment::from_millis);
        Ok(Self { store, kek, wrapped, retiring, root, mac, condemned, resealing, pass, version })
    }

    /// The ring as it is stored.
    pub(crate) fn to_bytes(&self) -> Result<Bytes, KeyError> {
        let retiring = match &self.retiring {
            None => None,
            Some(old) => {
                let bytes = self.kek.cipher.wrap(&retiring_context(self.store, old.id), old.secret.expose())?;
                Some(RetiringKey { id: old.id.to_string(), made: old.made.as_millis(), bytes: chain::to_hex(&bytes) })
            }
        };
        let root = self.kek.cipher.wrap(&root_context(self.store, self.kek.id), self.root.expose())?;
        let mut stored = Stored {
            format: FORMAT.to_owned(),
            store: chain::to_hex(&self.store.0),
            key: StoredKey {
                id: self.kek.id.to_string(),
                made: self.kek.made.as_millis(),
                check: chain::to_hex(&cipher::commitment(&self.kek.secret, self.kek.id)),
                wrapped: self.wrapped.clone(),
            },
            retiring,
            root: chain::to_hex(&root),
            condemned: self.condemned.clone(),
            resealing: self.resealing.clone(),
            pass: self.pass.map(Moment::as_millis),
            mac: String::new(),
        };
        let text = serde_json::to_vec(&stored).map_err(|_| damaged("the ring has no written form"))?;
        let text = unsigned(&text, "").ok_or(damaged("the ring has no written form"))?;
        stored.mac = chain::to_hex(&mac_of(&self.mac, &text));
        serde_json::to_vec_pretty(&stored).map(Bytes::from).map_err(|_| damaged("the ring has no written form"))
    }

    /// The same store with another key-encryption key; the one in use until now retires.
    ///
    /// The old one stands in the ring wrapped under the new one, never the other way round: who has the old key and an old ring opens nothing
    /// that was wrapped since. A change of all data keys that was broken off is not gone on with: what was done under the old key may be known to whoever had that.
    pub(crate) fn succeeded_by(&self, Successor { kek, wrapped }: Successor) -> Self {
        Self { kek, wrapped, retiring: Some(Arc::clone(&self.kek)), pass: None, ..self.clone() }
    }

    /// The same when nothing is wrapped under the key that retired any more.
    pub(crate) fn settled(&self) -> Self {
        Self { retiring: None, ..self.clone() }
    }

    /// The same in the course of another change of all data keys, or of none.
    pub(crate) fn in_pass(&self, pass: Option<Moment>) -> Self {
        Self { pass, ..self.clone() }
    }

    /// The key-encryption key of this name, while it is of use.
    pub(crate) fn named(&self, id: KeyId) -> Option<&Kek> {
        [Some(&*self.kek), self.retiring.as_deref()].into_iter().flatten().find(|kek| kek.id == id)
    }

    /// A key for one purpose of the whole store.
    pub(crate) fn store_key(&self, purpose: &str) -> Result<SecretKey, KeyError> {
        cipher::derive(&self.root, purpose)
    }

    pub(crate) const fn store(&self) -> StoreId {
        self.store
    }

    /// The key in use and the root, as test vectors say them.
    #[cfg(test)]
    pub(super) fn secrets(&self) -> [[u8; 32]; 2] {
        [self.kek.secret(), *self.root.expose()]
    }

    pub(crate) fn facts(&self) -> RingFacts {
        RingFacts {
            key: self.kek.id,
            made: self.kek.made,
            wrapped: self.wrapped.clone(),
            is_changing: self.retiring.is_some(),
        }
    }
}

fn root_context(store: StoreId, kek: KeyId) -> Vec<u8> {
    [b"sessions root 1".as_slice(), &store.0, &kek.0].concat()
}

fn retiring_context(store: StoreId, old: KeyId) -> Vec<u8> {
    [b"sessions retiring 1".as_slice(), &store.0, &old.0].concat()
}

fn mac_of(key: &hmac::Key, unsigned: &[u8]) -> [u8; 32] {
    cipher::mac(key, &[b"sessions ring 1", unsigned])
}

/// The text of a ring without blanks outside of strings, and without its MAC, which it ends with. It is never written anew for that: in what order the
/// parameters of a provider would be written, or how a number, is another matter in every build.
fn unsigned(text: &[u8], mac: &str) -> Option<Vec<u8>> {
    let (mut is_string, mut is_escaped) = (false, false);
    let is_kept = |byte: &u8| {
        let is_quote = *byte == b'"' && !is_escaped;
        is_escaped = is_string && *byte == b'\\' && !is_escaped;
        is_string ^= is_quote;
        is_string || !byte.is_ascii_whitespace()
    };
    let text: Vec<u8> = text.iter().copied().filter(is_kept).collect();
    let before = text.strip_suffix(format!(r#","mac":"{mac}"}}"#).as_bytes())?;
    Some([before, br#","mac":""}"#].concat())
}

#[cfg(test)]
mod tests {
    use sessions_ports::{Commit, Durability, Link, ProviderKind, Removal, SessionLog as _, StoreError};
    use sessions_testkit::{FixedKey, Script};

    use super::*;
    use crate::{MemoryStore, environment::SystemClock, keys::MemoryKeyStore, sealing::SealedStore};

    /// In other builds, where a part of the program wants maps to keep their order, another text has another order.
    #[tokio::test]
    async fn what_binds_a_ring_is_its_text_in_whatever_order_that_is() {
        let (store, provider) = (StoreId([3; 16]), FixedKey(1));
        let ring = Ring::begin(store, &provider, Moment::from_millis(5)).await.unwrap();
        let text = String::from_utf8(ring.to_bytes().unwrap().to_vec()).unwrap();
        let open = async |text: &str| Ring::unlock(text.as_bytes(), 1, store, &provider).await;
        assert_eq!(open(&text).await.unwrap().version, 1);
        let (head, _) = text.split_once("\"mac\"").unwrap();
        let (before, behind) = head.split_once("\"parameters\": ").unwrap();
        let (_, behind) = behind.split_once(",\n").unwrap();
        let mut stored = parse(text.as_bytes(), store).unwrap();
        stored.mac.clear();
        let bare_text = serde_json::to_string(&stored).unwrap();
        for (said, bare) in [
            (r#"{"z": 1, "a": [2.50, "\\\" b ,"]}"#, r#"{"z":1,"a":[2.50,"\\\" b ,"]}"#),
            (r#"{"a": [2.50, "\\\" b ,"], "z": 1}"#, r#"{"a":[2.50,"\\\" b ,"],"z":1}"#),
            ("{ }", "{}"),
        ] {
            let unsigned = bare_text.replace(r#""parameters":null"#, &format!(r#""parameters":{bare}"#));
            let mac = chain::to_hex(&cipher::mac(&ring.mac, &[b"sessions ring 1", unsigned.as_bytes()]));
            let signed = format!("{before}\"parameters\": {said},\n{behind}\"mac\": \"{mac}\"\n}}");
            assert_eq!(open(&signed).await.unwrap().version, 1, "{signed}");
            let other = signed.replace("2.50", "2.5").replace("{ }", r#"{"a":1}"#);
            assert!(matches!(open(&other).await, Err(KeyError::Damaged { .. })), "{other}");
        }
    }

    #[tokio::test]
    async fn a_ring_has_room_for_what_has_an_end_however_many_deleted_sessions_are_kept() {
        let (log, clock) = (MemoryStore::new(), Arc::new(SystemClock));
        let opened = SealedStore::open_or_create(Arc::new(log), Arc::new(MemoryKeyStore::new()), &FixedKey(1), clock);
        let store = opened.await.unwrap();
        let mut scripts = [1, 2, 3].map(Script::new);
        for script in &mut scripts {
            store.commit(script.say("one")).await.unwrap();
        }
        let parent = scripts[0].session();
        let links = vec![Link { owner: parent, last: 1 }];
        store.commit(Commit { links, ..Script::starting_at(4, 2).say("of a fork") }).await.unwrap();
        let keyring = &store.inner.keyring;
        let kept = |number: usize| {
            let mut id = [9; 16];
            id[8..].copy_from_slice(&number.to_le_bytes());
            Condemned { session: SessionId::from_bytes(id), slot: u32::MAX }
        };
        let full = |ring: &Ring| Some(Ring { condemned: (0..MOST_KEPT).map(kept).collect(), ..ring.clone() });
        keyring.change(full).await.unwrap();
        let removal = |session| Removal { session, expected: None, keep_key: false, durability: Durability::Volatile };
        let refused = store.remove(removal(parent)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Key(KeyError::ManyKept { most: MOST_KEPT })), "{refused}");
        store.remove(removal(scripts[1].session())).await.unwrap();
        store.rotate(&FixedKey(2), |_| ()).await.unwrap();
        store.rotate_data(scripts[2].session(), |_| ()).await.unwrap();
        let bytes = keyring.ring().to_bytes().unwrap().len();
        assert!(bytes < (1 << 20) - (64 << 10), "{bytes}: the file holds a mebibyte");
    }

    #[test]
    fn a_key_of_more_than_ninety_days_and_a_change_that_was_broken_off_want_something_done() {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        let (made, parameters) = (Moment::from_millis(5), serde_json::Value::Null);
        let wrapped = Wrapped { provider: ProviderKind::KeyFile, key: "k".into(), parameters, bytes: String::new() };
        let facts = RingFacts { key: KeyId([1; 8]), made, wrapped, is_changing: false };
        let after = |days: u64, more: i64| Moment::from_millis(5 + DAY * i64::try_from(days).unwrap() + more);
        let most = RingFacts::ROTATION_DAYS;
        assert_eq!((facts.days_old(Moment::from_millis(0)), facts.days_old(after(3, -1))), (0, 2));
        assert_eq!(facts.advice(after(most + 1, -1)), None);
        assert!(facts.advice(after(most + 1, 0)).unwrap().contains(&most.to_string()));
        let changing = RingFacts { is_changing: true, ..facts };
        assert!(changing.advice(after(0, 0)).unwrap().contains("broken off"));
    }
}
