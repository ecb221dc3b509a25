//! The test vectors of `tests/golden/sealing-v1.json`: this code opens them, and seals to the same bytes wherever no nonce is drawn.
//! `tests/sealing` opens them with another implementation. They were written once, with `SESSIONS_WRITE_VECTORS=FILE`, and are only read since.
//!
//! Must not know: any store.

use bytes::Bytes;
use serde_json::{Value, json};
use sessions_domain::{CommitHash, Kind, Moment, SessionId, chain};
use sessions_ports::{
    BatchEdge, Digest, HeadWitness as _, KeyContext, KeyId, KeyProvider, Record, SecretKey, StoreId, StoredClaim,
    Wrapped,
};

use super::{
    cipher,
    envelope::Beside,
    ring::{Condemned, Resealing, Ring, Successor},
    sealer::cipher_link,
    slot::{self, ClosedEpoch, DataKey, SlotKeys, SlotState, Tombstone},
    witness::KeyedWitness,
};
use crate::keys::KeyFileProvider;

const GOLDEN: &str = include_str!("../../../../tests/golden/sealing-v1.json");
const STORE: StoreId = StoreId([0x51; 16]);
const MADE: Moment = Moment::from_millis(1_763_690_000_000);
/// A body that is written out only in its beginning.
const LONG: usize = 70_000;

/// Bytes that count up.
fn counting<const N: usize>(from: u8) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(0_u8..).for_each(|(byte, at)| *byte = from.wrapping_add(at));
    bytes
}

fn secret(from: u8) -> SecretKey {
    SecretKey::take(&mut counting(from))
}

fn hex(bytes: &[u8]) -> String {
    chain::to_hex(bytes)
}

fn bytes(value: &Value) -> Vec<u8> {
    chain::from_hex(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text_of(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

fn file_key() -> SecretKey {
    secret(0x10)
}

/// A session's keys in a slot.
struct Place {
    number: u32,
    keys: SlotKeys,
}

fn data_key(epoch: u16, first: u64, from: u8) -> DataKey {
    DataKey { epoch, made: MADE, first, secret: secret(from) }
}

fn places() -> Vec<Place> {
    let closed = ClosedEpoch { epoch: 299, version: 3, old: counting(0x61), new: counting(0x71) };
    let of = |root, data, closed| SlotKeys { root: secret(root), data, closed };
    vec![
        Place { number: 0, keys: of(0x20, vec![data_key(1, 0, 0x30)], None) },
        Place { number: 7, keys: of(0x21, vec![data_key(2, 0, 0x31), data_key(3, 6, 0x32)], None) },
        Place { number: 258, keys: of(0x22, vec![data_key(300, 0, 0x33)], Some(closed)) },
    ]
}

fn session(at: u8) -> SessionId {
    SessionId::from_bytes(counting(0xa0 + at))
}

/// The records of each place: number, kind, label, body, and the data key that seals it.
fn texts(place: usize) -> Vec<(u64, Kind, u64, Vec<u8>, u16)> {
    let label = 0x0123_4567_89ab_cdef;
    match place {
        0 => vec![
            (1, Kind::CREATED, 0, br#"{"title":"the first record names the slot"}"#.to_vec(), 1),
            (2, Kind::APPENDED, label, Vec::new(), 1),
            (3, Kind::APPENDED, label + 1, vec![b'x'; LONG], 1),
        ],
        1 => vec![
            (5, Kind::CREATED, 0, b"a log that begins with record 5, sealed under two data keys".to_vec(), 2),
            (6, Kind::APPENDED, 1, b"the newer one".to_vec(), 3),
            (1 << 40, Kind(200), u64::MAX, b"a number, a kind and a label that are large".to_vec(), 3),
        ],
        _ => vec![(1, Kind::CREATED, 0, "naïve 🦀".as_bytes().to_vec(), 300)],
    }
}

fn plain_record(seq: u64, kind: Kind, label: u64, body: &[u8]) -> Record {
    let blind: [u8; 32] = counting(seq as u8);
    let commit = CommitHash::from_bytes(chain::sha256(&[&seq.to_le_bytes()[..], body].concat()));
    Record { seq, kind, commit, label, payload: Bytes::from([&blind[..], body].concat()) }
}

/// The record as it is sealed with one of the session's data keys.
fn sealed(place: &Place, session: SessionId, record: &Record, epoch: u16, begins: bool) -> Record {
    let data = place.keys.data.iter().filter(|key| key.epoch == epoch);
    let data = data.map(|key| DataKey { secret: SecretKey::from_slice(key.secret.expose()).unwrap(), ..*key });
    let root = SecretKey::from_slice(place.keys.root.expose()).unwrap();
    let keys = SlotKeys { root, data: data.collect(), closed: None }.ready(place.number).unwrap();
    // No data key is worn out here.
    keys.begin_at(record.seq);
    keys.seal(session, record.clone(), begins).unwrap()
}

fn payload_value(bytes: &[u8]) -> Value {
    if bytes.len() > LONG {
        return json!({"beginning": hex(&bytes[..96]), "length": bytes.len(), "sha256": hex(&chain::sha256(bytes))});
    }
    json!(hex(bytes))
}

fn session_value(at: usize, place: &Place) -> Value {
    let (session, keys) = (session(at as u8), place.keys.ready(place.number).unwrap());
    let (mut link, mut records) = ([0; 32], Vec::new());
    for (nth, (seq, kind, label, body, epoch)) in texts(at).into_iter().enumerate() {
        let plain = plain_record(seq, kind, label, &body);
        let sealed = sealed(place, session, &plain, epoch, nth == 0);
        link = cipher_link(&link, session, &sealed);
        records.push(json!({
            "seq": seq, "kind": kind.0, "label": label.to_string(), "commit": hex(plain.commit.as_bytes()), "epoch": epoch,
            "blind": hex(&plain.payload[..32]),
            "body": if body.len() == LONG { json!({"repeat": hex(&body[..1]), "times": LONG}) } else { json!(hex(&body)) },
            "sealed": payload_value(&sealed.payload),
            "link": hex(&link),
        }));
    }
    let (key, payload): (Digest, Digest) = (counting(0x81), counting(0x91));
    let stored = keys.claim_key(&key);
    let (words, view) = (br#"{"title":"words"}"#.as_slice(), b"any view".as_slice());
    json!({
        "session": hex(&session.to_bytes()),
        "slot": place.number,
        "records": records,
        "words": {"plain": hex(words), "sealed": hex(&keys.seal_beside(Beside::Words, session, words).unwrap())},
        "snapshot": {"plain": hex(view), "sealed": hex(&keys.seal_beside(Beside::Snapshot, session, view).unwrap())},
        "claim": {
            "key": hex(&key), "payload": hex(&payload),
            "stored_key": hex(&stored), "stored_payload": hex(&keys.mask(&stored, &payload)),
        },
    })
}

fn slot_value(place: &Place, ring: &Ring) -> Value {
    let keys = &place.keys;
    let bytes = keys.wrap(STORE, u64::from(place.number), ring.kek.id, &ring.kek.cipher).unwrap();
    let data = keys.data.iter().map(|key| {
        json!({"epoch": key.epoch, "made": key.made.as_millis(), "first": key.first, "key": hex(key.secret.expose())})
    });
    let closed = keys.closed.map(|closed| {
        let ClosedEpoch { epoch, version, old, new } = closed;
        json!({"epoch": epoch, "version": version, "old": hex(&old), "new": hex(&new)})
    });
    json!({
        "number": place.number, "bytes": hex(&bytes), "root": hex(keys.root.expose()),
        "data": data.collect::<Vec<_>>(), "closed": closed,
    })
}

fn ring_value(ring: &Ring) -> Value {
    let [kek, root] = ring.secrets();
    let retiring = ring.retiring.as_ref().map(|old| json!({"id": old.id.to_string(), "key": hex(&old.secret())}));
    let text = String::from_utf8(ring.to_bytes().unwrap().to_vec()).unwrap();
    json!({"text": text, "kek": hex(&kek), "root": hex(&root), "retiring": retiring})
}

fn heads_value(ring: &Ring) -> Value {
    let witness = KeyedWitness::new(&ring.store_key("sessions heads 1").unwrap()).unwrap();
    let (session, commit) = (session(0), CommitHash::from_bytes(counting(0x41)));
    let sum = counting(0x51);
    json!({
        "session": hex(&session.to_bytes()), "version": 3, "commit": hex(commit.as_bytes()),
        "element": hex(&witness.element(session, Some((3, commit)))),
        "removed": hex(&witness.element(session, None)),
        "sum": hex(&sum), "position": 64, "length": 300,
        "before": hex(&witness.root(BatchEdge::Before, &sum, 64, 300)),
        "behind": hex(&witness.root(BatchEdge::Behind, &sum, 64, 300)),
        "settled": hex(&witness.root(BatchEdge::Settled, &sum, 64, 300)),
    })
}

/// Vectors of this moment: what is drawn differs each time.
async fn vectors() -> Value {
    let provider = KeyFileProvider::of(file_key());
    let first = Ring::begin(STORE, &provider, MADE).await.unwrap();
    let successor = Successor::wrapped_by(&provider, first.store(), MADE).await.unwrap();
    let mut ring = first.succeeded_by(successor);
    ring.condemned.push(Condemned { session: session(9), slot: 3 });
    ring.resealing.push(Resealing { session: session(1), slot: 7, version: 5, old: counting(0x61) });
    let places = places();
    let context = KeyContext { store: STORE, key: KeyId(counting(0x01)) };
    let wrapped = provider.wrap(&secret(0x40), &context).await.unwrap();
    let name: Digest = counting(0x77);
    let names = cipher::mac_key(&ring.store_key("sessions names 1").unwrap());
    let tombstone = Tombstone { session: session(8), at: MADE };
    json!({
        "about": "How sealed stores are written, format 1; docs/format.md says it in words. Numbers are decimal, bytes hexadecimal.",
        "store": hex(&STORE.0),
        "key_file": {
            "key": hex(file_key().expose()), "id": context.key.to_string(), "secret": hex(secret(0x40).expose()), "wrapped": wrapped,
        },
        "passphrase": passphrase_value(&context).await,
        "rings": [ring_value(&first), ring_value(&ring)],
        "slots": places.iter().map(|place| slot_value(place, &ring)).collect::<Vec<_>>(),
        "tombstone": {"session": hex(&tombstone.session.to_bytes()), "at": MADE.as_millis(), "bytes": hex(&tombstone.slot())},
        "sessions": places.iter().enumerate().map(|(at, place)| session_value(at, place)).collect::<Vec<_>>(),
        "name": {"key": hex(&name), "stored": hex(&cipher::mac(&names, &[&name]))},
        "heads": heads_value(&ring),
    })
}

const PASSPHRASE: &str = "velvet anchor moss trumpet";

#[cfg(feature = "keys-passphrase")]
fn passphrase() -> crate::keys::PassphraseProvider {
    use crate::keys::{Costs, PassphraseProvider};
    PassphraseProvider::new(sessions_ports::Passphrase::new(PASSPHRASE.to_owned()), Costs::FLOOR).unwrap()
}

/// Without the feature it is what is known already.
async fn passphrase_value(context: &KeyContext) -> Value {
    #[cfg(feature = "keys-passphrase")]
    {
        let wrapped = passphrase().wrap(&secret(0x40), context).await.unwrap();
        json!({"passphrase": PASSPHRASE, "id": context.key.to_string(), "secret": hex(secret(0x40).expose()), "wrapped": wrapped})
    }
    #[cfg(not(feature = "keys-passphrase"))]
    {
        let _ = (context, PASSPHRASE);
        serde_json::from_str::<Value>(GOLDEN).unwrap()["passphrase"].clone()
    }
}

async fn check_wrapped(value: &Value, provider: &dyn KeyProvider) {
    let wrapped: Wrapped = serde_json::from_value(value["wrapped"].clone()).unwrap();
    let context = KeyContext { store: STORE, key: KeyId(array(&value["id"])) };
    assert_eq!(provider.unwrap(&wrapped, &context).await.unwrap().expose()[..], bytes(&value["secret"]));
}

async fn check_rings(vectors: &Value) -> Ring {
    let provider = KeyFileProvider::of(file_key());
    let mut rings = Vec::new();
    for value in items(&vectors["rings"]) {
        let text = value["text"].as_str().unwrap();
        let ring = Ring::unlock(text.as_bytes(), 1, STORE, &provider).await.unwrap();
        assert_eq!(
            ring.secrets().map(|secret| hex(&secret)),
            [&value["kek"], &value["root"]].map(|v| v.as_str().unwrap().to_owned())
        );
        let retiring = ring.retiring.as_ref().map(|old| json!({"id": old.id.to_string(), "key": hex(&old.secret())}));
        assert_eq!(retiring.unwrap_or_default(), value["retiring"]);
        // What was drawn anew differs; all else is written as it was.
        let again: Value = serde_json::from_slice(&ring.to_bytes().unwrap()).unwrap();
        let said = text_of(&value["text"]);
        for field in ["format", "store", "key", "condemned", "resealing"] {
            assert_eq!(again[field], said[field], "{field}");
        }
        rings.push(ring);
    }
    rings.pop().unwrap()
}

fn check_slots(vectors: &Value, ring: &Ring) -> Vec<Place> {
    let read = |value: &Value| {
        let (place, bytes) = (number(&value["number"]), bytes(&value["bytes"]));
        assert_eq!(slot::state(&bytes).unwrap(), SlotState::Live(ring.kek.id));
        let keys = SlotKeys::unwrap(&bytes, STORE, place, &ring.kek.cipher).unwrap();
        let place = Place { number: u32::try_from(place).unwrap(), keys };
        let again = slot_value(&place, ring);
        for field in ["number", "root", "data", "closed"] {
            assert_eq!(again[field], value[field], "{field}");
        }
        place
    };
    items(&vectors["slots"]).iter().map(read).collect()
}

fn check_session(at: usize, value: &Value, place: &Place) {
    let (session, keys) = (SessionId::from_bytes(array(&value["session"])), place.keys.ready(place.number).unwrap());
    let mut link = [0; 32];
    let records = items(&value["records"]);
    assert_eq!(records.len(), texts(at).len());
    for (nth, (record, (seq, kind, label, body, epoch))) in records.iter().zip(texts(at)).enumerate() {
        let plain = plain_record(seq, kind, label, &body);
        let sealed = sealed(place, session, &plain, epoch, nth == 0);
        assert_eq!(payload_value(&sealed.payload), record["sealed"], "record {seq} is sealed to other bytes");
        assert_eq!(keys.open(session, sealed.clone()).unwrap(), plain);
        link = cipher_link(&link, session, &sealed);
        assert_eq!(hex(&link), record["link"].as_str().unwrap());
    }
    for (what, name) in [(Beside::Words, "words"), (Beside::Snapshot, "snapshot")] {
        let opened = keys.open_beside(what, session, &bytes(&value[name]["sealed"])).unwrap();
        assert_eq!(opened, bytes(&value[name]["plain"]));
    }
    let claim = &value["claim"];
    let (key, payload): (Digest, Digest) = (array(&claim["key"]), array(&claim["payload"]));
    let stored = keys.claim_key(&key);
    assert_eq!(hex(&stored), claim["stored_key"].as_str().unwrap());
    let kept = StoredClaim { payload: array(&claim["stored_payload"]), seq: 1, version: 1 };
    assert_eq!(keys.unmask(&stored, kept).payload, payload);
}

async fn check(vectors: &Value) {
    assert_eq!(bytes(&vectors["store"]), STORE.0);
    check_wrapped(&vectors["key_file"], &KeyFileProvider::of(file_key())).await;
    #[cfg(feature = "keys-passphrase")]
    check_wrapped(&vectors["passphrase"], &passphrase()).await;
    let ring = check_rings(vectors).await;
    let places = check_slots(vectors, &ring);
    let sessions = items(&vectors["sessions"]);
    assert_eq!((places.len(), sessions.len()), (3, 3));
    for (at, (place, value)) in places.iter().zip(sessions).enumerate() {
        check_session(at, value, place);
    }
    let tombstone = &vectors["tombstone"];
    let expected = Tombstone { session: SessionId::from_bytes(array(&tombstone["session"])), at: MADE };
    assert_eq!(slot::state(&bytes(&tombstone["bytes"])).unwrap(), SlotState::Destroyed(expected));
    assert_eq!(expected.slot(), bytes(&tombstone["bytes"]));
    let names = cipher::mac_key(&ring.store_key("sessions names 1").unwrap());
    let name = cipher::mac(&names, &[&bytes(&vectors["name"]["key"])]);
    assert_eq!(name.to_vec(), bytes(&vectors["name"]["stored"]));
    assert_eq!(heads_value(&ring), vectors["heads"]);
}

#[tokio::test]
async fn what_was_sealed_as_format_1_opens_and_is_sealed_to_the_same_bytes() {
    let written = serde_json::to_string_pretty(&vectors().await).unwrap();
    if let Some(file) = std::env::var_os("SESSIONS_WRITE_VECTORS") {
        std::fs::write(file, format!("{written}\n")).unwrap();
    }
    check(&serde_json::from_str(&written).unwrap()).await;
    check(&serde_json::from_str(GOLDEN).unwrap()).await;
}
