//! The vectors of `tests/golden/sealing-v1.json`, opened by the other implementation, which seals to the same bytes too.
//!
//! Must not know: how the vectors were made.

use serde_json::Value;

use crate::reader::{
    DataKey, Kek, Key, Ring, SlotKeys, Stored, derive, expand, hex, hmac, open_beside, seal, sha256, unhex, unwrap,
};

const VECTORS: &str = include_str!("../../../../tests/golden/sealing-v1.json");

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().unwrap())
}

fn key(value: &Value) -> Key {
    bytes(value).try_into().unwrap()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn file_key(vectors: &Value) -> Key {
    key(&vectors["key_file"]["key"])
}

fn ring(vectors: &Value) -> Ring {
    let text = vectors["rings"][1]["text"].as_str().unwrap();
    Ring::read(text, &file_key(vectors)).unwrap()
}

#[test]
fn a_key_file_unwraps_what_it_wrapped_and_no_other_does() {
    let vectors = vectors();
    let file = &vectors["key_file"];
    let (store, id) = (bytes(&vectors["store"]), bytes(&file["id"]));
    let wrapped = file["wrapped"]["bytes"].as_str().unwrap();
    let with = |key: &Key| unwrap("sessions key file 1", key, b"", wrapped, &store, &id);
    assert_eq!(with(&file_key(&vectors)), Some(key(&file["secret"])));
    assert_eq!(with(&[0; 32]), None);
    let name = sha256(&[b"sessions key file 1 name", &file_key(&vectors)]);
    assert_eq!(file["wrapped"]["key"], hex(&name[..8]));
}

#[cfg(feature = "keys-passphrase")]
#[test]
fn a_passphrase_unwraps_what_it_wrapped() {
    let vectors = vectors();
    let of = &vectors["passphrase"];
    let parameters = &of["wrapped"]["parameters"];
    let number = |name: &str| u32::try_from(parameters[name].as_u64().unwrap()).unwrap();
    let (m_kib, t, p, salt) = (number("m_kib"), number("t"), number("p"), bytes(&parameters["salt"]));
    let params = argon2::Params::new(m_kib, t, p, Some(32)).unwrap();
    let mut derived = [0; 32];
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(of["passphrase"].as_str().unwrap().as_bytes(), &salt, &mut derived)
        .unwrap();
    let bound = [19, m_kib, t, p].map(u32::to_le_bytes).concat();
    let bound = [bound, salt].concat();
    let wrapped = of["wrapped"]["bytes"].as_str().unwrap();
    let (store, id) = (bytes(&vectors["store"]), bytes(&of["id"]));
    let secret = unwrap("sessions passphrase 1", &derived, &bound, wrapped, &store, &id);
    assert_eq!(secret, Some(key(&of["secret"])));
}

#[test]
fn rings_open_and_hold_the_keys_that_are_said() {
    let vectors = vectors();
    let rings = items(&vectors["rings"]);
    assert_eq!(rings.len(), 2);
    for said in rings {
        let ring = Ring::read(said["text"].as_str().unwrap(), &file_key(&vectors)).unwrap();
        assert_eq!((hex(&ring.kek.key), hex(&ring.root)), (text(&said["kek"]), text(&said["root"])));
        let retiring = ring.retiring.map(|Kek { id, key }| (hex(&id), hex(&key)));
        let expected = &said["retiring"];
        assert_eq!(retiring, expected.is_object().then(|| (text(&expected["id"]), text(&expected["key"]))));
        assert_eq!(ring.store, bytes(&vectors["store"]));
        assert!(Ring::read(said["text"].as_str().unwrap(), &[9; 32]).is_none());
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn slots(vectors: &Value) -> Vec<(u64, SlotKeys)> {
    let ring = ring(vectors);
    let read = |said: &Value| {
        let (number, slot) = (said["number"].as_u64().unwrap(), bytes(&said["bytes"]));
        let keys = SlotKeys::read(&slot, &ring.store, number, &ring.kek).unwrap();
        assert!(SlotKeys::read(&slot, &ring.store, number + 1, &ring.kek).is_none(), "another place");
        assert!(SlotKeys::read(&slot, &ring.store, number, ring.retiring.as_ref().unwrap()).is_none(), "another key");
        (number, keys)
    };
    items(&vectors["slots"]).iter().map(read).collect()
}

#[test]
fn slots_hold_the_keys_that_are_said() {
    let vectors = vectors();
    for ((number, keys), said) in slots(&vectors).into_iter().zip(items(&vectors["slots"])) {
        let data = items(&said["data"]).iter().map(|data| DataKey {
            epoch: u16::try_from(data["epoch"].as_u64().unwrap()).unwrap(),
            made: data["made"].as_i64().unwrap(),
            first: data["first"].as_u64().unwrap(),
            key: key(&data["key"]),
        });
        let closed = &said["closed"];
        let closed = closed.is_object().then(|| {
            let epoch = u16::try_from(closed["epoch"].as_u64().unwrap()).unwrap();
            (epoch, closed["version"].as_u64().unwrap(), key(&closed["old"]), key(&closed["new"]))
        });
        let expected = SlotKeys { root: key(&said["root"]), data: data.collect(), closed };
        assert_eq!(keys, expected, "slot {number}");
    }
    let tombstone = &vectors["tombstone"];
    let at = tombstone["at"].as_i64().unwrap().to_le_bytes();
    assert_eq!(bytes(&tombstone["bytes"]), [&[1, 2][..], &bytes(&tombstone["session"]), &at].concat());
}

/// The plaintext of a record: its blind and its body.
fn plain(record: &Value) -> Vec<u8> {
    let body = &record["body"];
    let body = match body.as_str() {
        Some(hex) => unhex(hex),
        None => bytes(&body["repeat"]).repeat(usize::try_from(body["times"].as_u64().unwrap()).unwrap()),
    };
    [bytes(&record["blind"]), body].concat()
}

#[test]
fn records_open_and_are_sealed_to_the_same_bytes() {
    let vectors = vectors();
    let (mut count, mut opened) = (0, 0);
    for ((number, keys), session) in slots(&vectors).into_iter().zip(items(&vectors["sessions"])) {
        assert_eq!(session["slot"].as_u64(), Some(number));
        let mut link = [0; 32];
        for (nth, said) in items(&session["records"]).iter().enumerate() {
            let epoch = u16::try_from(said["epoch"].as_u64().unwrap()).unwrap();
            let slot = (nth == 0).then_some(u32::try_from(number).unwrap());
            let mut record = Stored {
                session: bytes(&session["session"]).try_into().unwrap(),
                seq: said["seq"].as_u64().unwrap(),
                kind: u8::try_from(said["kind"].as_u64().unwrap()).unwrap(),
                label: said["label"].as_str().unwrap().parse().unwrap(),
                commit: key(&said["commit"]),
                payload: Vec::new(),
            };
            let (data_key, text) = (keys.of(epoch).unwrap().key, plain(said));
            let sealing = derive(None, &data_key, "sessions records 1");
            record.payload = match slot {
                Some(slot) => [&[2][..], &epoch.to_le_bytes(), &slot.to_le_bytes()].concat(),
                None => [&[1][..], &epoch.to_le_bytes()].concat(),
            };
            let sealed = seal(&sealing, record.nonce(), &record.associated(epoch, slot), &text);
            record.payload.extend(sealed);
            match said["sealed"].as_str() {
                Some(hex) => assert_eq!(record.payload, unhex(hex), "record {}", record.seq),
                None => {
                    let of = &said["sealed"];
                    assert_eq!(record.payload.len() as u64, of["length"].as_u64().unwrap());
                    assert_eq!(hex(&sha256(&[&record.payload])), text_of(&of["sha256"]));
                    assert!(record.payload.starts_with(&bytes(&of["beginning"])));
                }
            }
            assert_eq!(record.head().map(|(epoch, slot, _)| (epoch, slot)), Some((epoch, slot)));
            assert_eq!(record.open(&data_key).as_deref(), Some(text.as_slice()));
            for (other, expected) in keys.data.iter().map(|other| (other, other.epoch == epoch)) {
                assert_eq!(record.open(&other.key).is_some(), expected);
            }
            link = record.link(&link);
            assert_eq!(hex(&link), text_of(&said["link"]));
            (count, opened) = (count + 1, opened + 1);
        }
    }
    assert_eq!((count, opened), (7, 7));
}

fn text_of(value: &Value) -> String {
    text(value)
}

#[test]
fn what_is_beside_records_opens() {
    let vectors = vectors();
    for ((number, keys), session) in slots(&vectors).into_iter().zip(items(&vectors["sessions"])) {
        let id = bytes(&session["session"]);
        for (what, name) in [("sessions words 1", "words"), ("sessions snapshot 1", "snapshot")] {
            let opened = open_beside(what, &id, &keys.root, &bytes(&session[name]["sealed"])).unwrap();
            assert_eq!((u64::from(opened.0), opened.1), (number, bytes(&session[name]["plain"])));
        }
        let (claim, claims) = (&session["claim"], derive(None, &keys.root, "sessions claims 1"));
        let stored = hmac(&claims, &[b"key", &bytes(&claim["key"])]);
        assert_eq!(hex(&stored), text(&claim["stored_key"]));
        let pad = hmac(&claims, &[b"payload", &stored]);
        let masked: Vec<u8> = bytes(&claim["payload"]).iter().zip(pad).map(|(byte, pad)| byte ^ pad).collect();
        assert_eq!(hex(&masked), text(&claim["stored_payload"]));
    }
}

#[test]
fn names_and_heads_are_as_they_are_said() {
    let vectors = vectors();
    let root = ring(&vectors).root;
    let names = derive(None, &root, "sessions names 1");
    assert_eq!(hex(&hmac(&names, &[&bytes(&vectors["name"]["key"])])), text(&vectors["name"]["stored"]));
    let (heads, said) = (derive(None, &root, "sessions heads 1"), &vectors["heads"]);
    let elements = expand(&heads, "sessions head element 1");
    let (session, commit) = (bytes(&said["session"]), bytes(&said["commit"]));
    let version = said["version"].as_u64().unwrap().to_le_bytes();
    assert_eq!(hex(&hmac(&elements, &[&session, &commit, &version[..7]])), text(&said["element"]));
    assert_eq!(hex(&hmac(&elements, &[&session])), text(&said["removed"]));
    let roots = expand(&heads, "sessions head root 1");
    for (edge, name) in [(0, "before"), (1, "behind"), (2, "settled")] {
        let length = u32::try_from(said["length"].as_u64().unwrap()).unwrap().to_le_bytes();
        let position = said["position"].as_u64().unwrap().to_le_bytes();
        let root = hmac(&roots, &[&bytes(&said["sum"]), &position, &length, &[edge]]);
        assert_eq!(hex(&root[..16]), text(&said[name]));
    }
}
