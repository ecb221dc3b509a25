//! A reader of sealed stores that is made of `docs/format.md` and of another implementation of every primitive than the one in use.
//!
//! Must not know: the code that seals.

use std::{fs, ops::Range, path::Path};

use aes_gcm::{
    Aes256Gcm,
    aead::{Aead as _, KeyInit as _, Payload},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub(crate) type Key = [u8; 32];

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "an odd number of digits");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn sha256(parts: &[&[u8]]) -> Key {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// HKDF-SHA-256, with and without a salt.
pub(crate) fn derive(salt: Option<&[u8]>, secret: &[u8], purpose: &str) -> Key {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(salt, secret).expand(purpose.as_bytes(), &mut key).unwrap();
    key
}

/// The second half of HKDF alone, for a key that is one already.
pub(crate) fn expand(key: &[u8], purpose: &str) -> Key {
    let mut subkey = [0; 32];
    Hkdf::<Sha256>::from_prk(key).unwrap().expand(purpose.as_bytes(), &mut subkey).unwrap();
    subkey
}

pub(crate) fn open(key: &Key, nonce: [u8; 12], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let cipher = Aes256Gcm::new_from_slice(key).unwrap();
    cipher.decrypt((&nonce).into(), Payload { msg: sealed, aad }).ok()
}

pub(crate) fn seal(key: &Key, nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new_from_slice(key).unwrap();
    cipher.encrypt((&nonce).into(), Payload { msg: text, aad }).unwrap()
}

/// Opens what has its nonce before it.
fn open_wrapped(key: &Key, aad: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = wrapped.split_first_chunk()?;
    open(key, *nonce, aad, sealed)
}

/// What a key file or a passphrase wrapped, with the key that it was wrapped under.
pub(crate) fn unwrap(domain: &str, key: &Key, bound: &[u8], wrapped: &str, store: &[u8], id: &[u8]) -> Option<Key> {
    let bytes = unhex(wrapped);
    assert_eq!((bytes.len(), bytes[0]), (109, 1));
    assert_eq!(bytes[93..], sha256(&[domain.as_bytes(), &bytes[..93], bound])[..16], "the digest");
    let commits = derive(Some(domain.as_bytes()), key, "commit");
    if hmac(&commits, &[domain.as_bytes()])[..] != bytes[1..33] {
        return None;
    }
    let aad = [domain.as_bytes(), store, id, bound].concat();
    let seals = derive(Some(domain.as_bytes()), key, "seal");
    Some(open_wrapped(&seals, &aad, &bytes[33..93])?.try_into().unwrap())
}

/// A key-encryption key with its name.
#[derive(Clone)]
pub(crate) struct Kek {
    pub(crate) id: Vec<u8>,
    pub(crate) key: Key,
}

impl Kek {
    pub(crate) fn wraps(&self) -> Key {
        derive(None, &self.key, "sessions wrap 1")
    }
}

/// A ring with a key file's key.
pub(crate) struct Ring {
    pub(crate) store: Vec<u8>,
    pub(crate) kek: Kek,
    pub(crate) root: Key,
    pub(crate) retiring: Option<Kek>,
}

/// A text without the blanks outside of strings.
fn compact(text: &str) -> String {
    let (mut is_inside, mut is_escaped) = (false, false);
    let kept = text.chars().filter(|letter| {
        let keeps = is_inside || !letter.is_ascii_whitespace();
        match (is_inside, is_escaped, letter) {
            (true, true, _) => is_escaped = false,
            (true, false, '\\') => is_escaped = true,
            (_, false, '"') => is_inside = !is_inside,
            _ => {}
        }
        keeps
    });
    kept.collect()
}

impl Ring {
    /// Reads the text of a ring; `None`: the key is another.
    pub(crate) fn read(text: &str, file_key: &Key) -> Option<Self> {
        let ring: Value = serde_json::from_str(text).unwrap();
        let bytes = |value: &Value| unhex(value.as_str().unwrap());
        assert_eq!(ring["format"], "sessions-keys 1");
        let (store, id) = (bytes(&ring["store"]), bytes(&ring["key"]["id"]));
        let wrapped = &ring["key"]["wrapped"];
        assert_eq!(wrapped["provider"], "key-file");
        let key = unwrap("sessions key file 1", file_key, b"", wrapped["bytes"].as_str().unwrap(), &store, &id)?;
        assert_eq!(hmac(&key, &[b"sessions key check 1", &id])[..], bytes(&ring["key"]["check"]), "the check");
        let kek = Kek { id, key };
        let aad = |what: &str, id: &[u8]| [what.as_bytes(), &store, id].concat();
        let root = open_wrapped(&kek.wraps(), &aad("sessions root 1", &kek.id), &bytes(&ring["root"])).unwrap();
        let root: Key = root.try_into().unwrap();
        let retiring = ring.get("retiring").map(|old| {
            let id = bytes(&old["id"]);
            let key = open_wrapped(&kek.wraps(), &aad("sessions retiring 1", &id), &bytes(&old["bytes"])).unwrap();
            Kek { id, key: key.try_into().unwrap() }
        });
        let said = ring["mac"].as_str().unwrap();
        let unsigned = compact(text).replace(&format!(r#""mac":"{said}""#), r#""mac":"""#);
        let signs = derive(None, &root, "sessions ring 1");
        assert_eq!(hmac(&signs, &[b"sessions ring 1", unsigned.as_bytes()])[..], unhex(said), "the ring's MAC");
        Some(Self { store, kek, root, retiring })
    }
}

/// A data key of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataKey {
    pub(crate) epoch: u16,
    pub(crate) made: i64,
    pub(crate) first: u64,
    pub(crate) key: Key,
}

/// A session's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotKeys {
    pub(crate) root: Key,
    pub(crate) data: Vec<DataKey>,
    /// Epoch, version, and both heads of the chain.
    pub(crate) closed: Option<(u16, u64, Key, Key)>,
}

/// Takes bytes from the beginning.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

impl SlotKeys {
    /// The keys of a live slot; `None` for anything else, and under another key.
    pub(crate) fn read(slot: &[u8], store: &[u8], number: u64, kek: &Kek) -> Option<Self> {
        let mut head = Cursor(slot);
        if head.array()? != [1, 1] || head.take(8)? != kek.id {
            return None;
        }
        let closed = match head.array()? {
            [0] => None,
            [1] => Some((
                u16::from_le_bytes(head.array()?),
                u64::from_le_bytes(head.array()?),
                head.array()?,
                head.array()?,
            )),
            _ => return None,
        };
        let clear = &slot[..slot.len() - head.0.len()];
        let aad = [b"sessions slot 1".as_slice(), store, &number.to_le_bytes(), clear].concat();
        let body = open_wrapped(&kek.wraps(), &aad, head.0)?;
        let mut body = Cursor(&body);
        let (root, [count]) = (body.array()?, body.array()?);
        let data = (0..count).map(|_| {
            Some(DataKey {
                epoch: u16::from_le_bytes(body.array()?),
                made: i64::from_le_bytes(body.array()?),
                first: u64::from_le_bytes(body.array()?),
                key: body.array()?,
            })
        });
        let data = data.collect::<Option<Vec<_>>>()?;
        assert!(body.0.is_empty(), "more than the document says");
        Some(Self { root, data, closed })
    }

    pub(crate) fn of(&self, epoch: u16) -> Option<&DataKey> {
        self.data.iter().find(|key| key.epoch == epoch)
    }
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) session: [u8; 16],
    pub(crate) seq: u64,
    pub(crate) kind: u8,
    pub(crate) label: u64,
    pub(crate) commit: Key,
    pub(crate) payload: Vec<u8>,
}

impl Stored {
    /// Epoch, slot (in a first record), and where the ciphertext begins.
    pub(crate) fn head(&self) -> Option<(u16, Option<u32>, usize)> {
        let mut head = Cursor(&self.payload);
        let [format] = head.array()?;
        let epoch = u16::from_le_bytes(head.array()?);
        match format {
            1 => Some((epoch, None, 3)),
            2 => Some((epoch, Some(u32::from_le_bytes(head.array()?)), 7)),
            _ => None,
        }
    }

    pub(crate) fn nonce(&self) -> [u8; 12] {
        let mut nonce: [u8; 12] = self.commit[..12].try_into().unwrap();
        // The number big-endian over the last eight bytes.
        nonce[4..].iter_mut().zip(self.seq.to_be_bytes()).for_each(|(byte, over)| *byte ^= over);
        nonce
    }

    pub(crate) fn associated(&self, epoch: u16, slot: Option<u32>) -> Vec<u8> {
        let slot = slot.map_or(u64::MAX, u64::from);
        [
            b"sessions record 1".as_slice(),
            &self.session,
            &self.seq.to_le_bytes(),
            &[self.kind],
            &epoch.to_le_bytes(),
            &slot.to_le_bytes(),
            &self.label.to_le_bytes(),
            &self.commit,
        ]
        .concat()
    }

    /// What the payload says under a data key.
    pub(crate) fn open(&self, data_key: &Key) -> Option<Vec<u8>> {
        let (epoch, slot, at) = self.head()?;
        let key = derive(None, data_key, "sessions records 1");
        open(&key, self.nonce(), &self.associated(epoch, slot), &self.payload[at..])
    }

    /// The next link of the ciphertext chain.
    pub(crate) fn link(&self, before: &Key) -> Key {
        sha256(&[before, &self.session, &self.seq.to_le_bytes(), &[self.kind], &self.commit, &self.payload])
    }
}

/// Opens the words of a row (`sessions words 1`) or a snapshot (`sessions snapshot 1`).
pub(crate) fn open_beside(what: &str, session: &[u8], root: &Key, bytes: &[u8]) -> Option<(u32, Vec<u8>)> {
    let mut head = Cursor(bytes);
    let [1] = head.array()? else { return None };
    let slot = u32::from_le_bytes(head.array()?);
    let aad = [what.as_bytes(), session, &slot.to_le_bytes()].concat();
    Some((slot, open_wrapped(&derive(None, root, "sessions beside 1"), &aad, head.0)?))
}

/// A frame of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) at: Range<usize>,
    pub(crate) body: Range<usize>,
    pub(crate) flags: u8,
    pub(crate) record: Stored,
}

const LAST: u8 = 1;
const BLOB: u8 = 2;
const EXTRA: u8 = 4;
pub(crate) const FIRST: u8 = 8;
const TIMED: u8 = 32;
const STRIPPED: u8 = 128;

/// The frames of a segment that hold records, in their order.
pub(crate) fn frames(store: &Path, segment: &[u8]) -> Vec<Frame> {
    let u32_at = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap());
    let (mut at, mut frames) = (64, Vec::new());
    while at + 80 <= segment.len() && segment[at..].starts_with(b"SSN\x01") {
        let (kind, flags) = (segment[at + 5], segment[at + 6]);
        let body = at + 80..at + 80 + u32_at(at + 40) as usize;
        let mut end = body.end;
        for (flag, bytes) in [(LAST, 12), (TIMED, 8)] {
            end += if flags & flag == 0 { 0 } else { bytes };
        }
        end += if flags & EXTRA == 0 { 0 } else { 4 + u32_at(end) as usize };
        let mut payload = segment[body.clone()].to_vec();
        if flags & BLOB != 0 && flags & STRIPPED == 0 {
            let name = hex(&payload[..32]);
            payload = fs::read(store.join("blobs").join(&name[..2]).join(&name)).unwrap_or_default();
        }
        let record = Stored {
            session: segment[at + 8..at + 24].try_into().unwrap(),
            seq: u64::from_le_bytes(segment[at + 24..at + 32].try_into().unwrap()),
            kind,
            label: u64::from_le_bytes(segment[at + 32..at + 40].try_into().unwrap()),
            commit: segment[at + 48..at + 80].try_into().unwrap(),
            payload,
        };
        let is_record = kind < 250 && flags & STRIPPED == 0;
        frames.extend(is_record.then_some(Frame { at: at..end, body, flags, record }));
        at = end;
    }
    frames
}

/// Makes the checksum of a frame anew.
pub(crate) fn make_whole(segment: &mut [u8], frame: &Range<usize>) {
    let bytes = &segment[frame.clone()];
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..44]), &bytes[48..]);
    segment[frame.start + 44..frame.start + 48].copy_from_slice(&crc.to_le_bytes());
}

/// Whether a frame is as it was written, which also shows that the checksum is understood.
pub(crate) fn is_whole(segment: &[u8], frame: &Range<usize>) -> bool {
    let mut again = segment[frame.clone()].to_vec();
    let length = again.len();
    make_whole(&mut again, &(0..length));
    again == segment[frame.clone()]
}

/// The halves of all slots that are not zeros: the slot's number, how often it was written, and its bytes.
pub(crate) fn halves(slots: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    let halves = slots.get(512..).unwrap_or_default().chunks_exact(256).enumerate();
    let written = halves.filter(|(_, half)| half.iter().any(|byte| *byte != 0));
    written
        .map(|(at, half)| {
            let writes = u64::from_le_bytes(half[8..16].try_into().unwrap());
            (at as u64 / 2, writes, half[16..16 + usize::from(half[1]).min(224)].to_vec())
        })
        .collect()
}

/// The text of a ring, from one of its files.
pub(crate) fn ring_text(file: &[u8]) -> String {
    assert_eq!(&file[..8], b"SESSRING");
    let length = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    assert_eq!(file[44 + length..], sha256(&[&file[..44 + length]]));
    String::from_utf8(file[44..44 + length].to_vec()).unwrap()
}
