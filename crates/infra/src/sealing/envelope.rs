//! The bytes of what is sealed: records, words of rows, snapshots. `docs/format.md` has them in full, and `tests/golden` examples.
//!
//! Must not know: where keys lie.

use bytes::Bytes;
use sessions_domain::{Actor, CommitHash, Created, Event, Kind, LineageId, SessionId, Stamp, codec};
use sessions_ports::Record;

use super::cipher::NONCE;

/// A sealed record begins with this byte, and its first record, which also says where the session's keys lie, with the next. A plain payload
/// begins with its blind, so only the store's folder tells the two apart; the blind of a record that a repair wrote is zero.
pub(crate) const RECORD: u8 = 1;
pub(crate) const FIRST_RECORD: u8 = 2;
/// Words and snapshots begin with this one.
const BESIDE: u8 = 1;

/// A data key's number in its session, from 1.
pub(crate) type Epoch = u16;

/// What stands before the ciphertext of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) epoch: Epoch,
    /// Where the session's keys lie; in its first record only.
    pub(crate) slot: Option<u32>,
}

impl RecordHead {
    pub(crate) const fn length(self) -> usize {
        if self.slot.is_some() { 7 } else { 3 }
    }

    pub(crate) fn write(self, buffer: &mut Vec<u8>) {
        buffer.push(if self.slot.is_some() { FIRST_RECORD } else { RECORD });
        buffer.extend_from_slice(&self.epoch.to_le_bytes());
        if let Some(slot) = self.slot {
            buffer.extend_from_slice(&slot.to_le_bytes());
        }
    }

    /// The head of a payload, and what stands behind it.
    pub(crate) fn read(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (format, rest) = payload.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let epoch = Epoch::from_le_bytes(*epoch);
        match *format {
            RECORD => Some((Self { epoch, slot: None }, rest)),
            FIRST_RECORD => {
                let (slot, rest) = rest.split_first_chunk()?;
                Some((Self { epoch, slot: Some(u32::from_le_bytes(*slot)) }, rest))
            }
            _ => None,
        }
    }
}

/// What a record's ciphertext is bound to.
pub(crate) struct RecordContext([u8; 92]);

impl RecordContext {
    pub(crate) fn of(
        session: SessionId,
        head: RecordHead,
        seq: u64,
        kind: Kind,
        label: u64,
        commit: CommitHash,
    ) -> Self {
        let mut bytes = [0; 92];
        let mut room = bytes.as_mut_slice();
        put(&mut room, *b"sessions record 1");
        put(&mut room, session.to_bytes());
        put(&mut room, seq.to_le_bytes());
        put(&mut room, [kind.0]);
        put(&mut room, head.epoch.to_le_bytes());
        put(&mut room, head.slot.map_or(u64::MAX, u64::from).to_le_bytes());
        put(&mut room, label.to_le_bytes());
        put(&mut room, *commit.as_bytes());
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Puts a part into the beginning of what room there is, of which the rest is left.
fn put<const N: usize>(room: &mut &mut [u8], part: [u8; N]) {
    if let Some((to, rest)) = std::mem::take(room).split_first_chunk_mut() {
        (*to, *room) = (part, rest);
    }
}

/// The nonce of a record: the beginning of its commit, with its number laid over the end.
///
/// A commit is a SHA-256 over 32 random bytes, so this is as random as a nonce that is drawn; it needs no room on disk; and two records that
/// differ in a byte have different ones, even were the randomness to fail. The number keeps apart what a careless caller gives one commit.
pub(crate) fn record_nonce(seq: u64, commit: CommitHash) -> [u8; NONCE] {
    let mut nonce: [u8; NONCE] = commit.as_bytes().first_chunk().copied().unwrap_or_default();
    if let Some(end) = nonce.last_chunk_mut() {
        *end = (u64::from_be_bytes(*end) ^ seq).to_be_bytes();
    }
    nonce
}

/// Whether a payload is not sealed because a repair wrote it: it stands for a lost record, and says nothing. Whoever has no key can write one too, so
/// whatever says more than a repair does is none.
pub(crate) fn is_stand_in(record: &Record) -> bool {
    let Some((blind, body)) = record.payload.split_first_chunk::<32>() else { return false };
    let is_blank = blind.iter().all(|byte| *byte == 0);
    match record.kind {
        Kind::LOST => is_blank && body.is_empty(),
        Kind::CREATED => is_blank && is_bare(body),
        _ => false,
    }
}

/// What stands for a lost record, without what it says of others: nothing is left that would confirm it.
pub(crate) fn unsaid(record: Record) -> Record {
    let said = record.payload.get(32..).and_then(|body| codec::decode(record.kind, body).ok());
    let Some((Event::Created(created), stamp)) = said else { return record };
    let stamp = Stamp { at: stamp.at, actor: Actor::default() };
    let created = Event::Created(Box::new(Created { fork: None, ..*created }));
    let body = codec::encode(&created, &stamp).unwrap_or_default();
    Record { payload: Bytes::from([&[0; 32], body.as_slice()].concat()), ..record }
}

/// Whether a session's beginning says whose log it is and what it inherits, and no word.
fn is_bare(body: &[u8]) -> bool {
    let Ok((Event::Created(created), stamp)) = codec::decode(Kind::CREATED, body) else { return false };
    let bare = Created::of(created.session, LineageId::from_bytes(created.session.to_bytes()));
    let bare = Event::Created(Box::new(Created { fork: created.fork, ..bare }));
    // To the byte, so that what is passed over in reading is not there either.
    codec::encode(&bare, &stamp).is_ok_and(|again| again == body)
}

/// What is sealed beside a session's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Words,
    Snapshot,
}

impl Beside {
    pub(crate) fn context(self, session: SessionId, slot: u32) -> Vec<u8> {
        let name: &[u8] = match self {
            Self::Words => b"sessions words 1",
            Self::Snapshot => b"sessions snapshot 1",
        };
        [name, &session.to_bytes(), &slot.to_le_bytes()].concat()
    }
}

/// What stands before a nonce and the ciphertext of what is beside records.
pub(crate) fn beside(slot: u32, sealed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + sealed.len());
    bytes.push(BESIDE);
    bytes.extend_from_slice(&slot.to_le_bytes());
    bytes.extend_from_slice(sealed);
    bytes
}

/// The slot that such bytes name, and what is behind.
pub(crate) fn read_beside(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (format, rest) = bytes.split_first()?;
    let (slot, sealed) = rest.split_first_chunk()?;
    (*format == BESIDE).then_some((u32::from_le_bytes(*slot), sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        for head in [RecordHead { epoch: 1, slot: None }, RecordHead { epoch: 258, slot: Some(7) }] {
            let mut bytes = Vec::new();
            head.write(&mut bytes);
            assert_eq!(bytes.len(), head.length());
            bytes.extend_from_slice(b"rest");
            assert_eq!(RecordHead::read(&bytes), Some((head, b"rest".as_slice())));
        }
        assert_eq!(RecordHead::read(&[3, 0, 0, 0]), None);
        assert_eq!(RecordHead::read(&[2, 0, 0, 0]), None);
        assert_eq!(RecordHead::read(&[]), None);
    }

    #[test]
    fn the_context_has_all_its_parts() {
        let head = RecordHead { epoch: 1, slot: None };
        let of = |session, head, seq, kind, label, commit| {
            let session = SessionId::from_bytes([session; 16]);
            RecordContext::of(session, head, seq, Kind(kind), label, CommitHash::from_bytes([commit; 32])).0
        };
        let base = of(1, head, 1, 1, 1, 1);
        let others = [
            of(2, head, 1, 1, 1, 1),
            of(1, RecordHead { epoch: 2, ..head }, 1, 1, 1, 1),
            of(1, RecordHead { slot: Some(0), ..head }, 1, 1, 1, 1),
            of(1, head, 2, 1, 1, 1),
            of(1, head, 1, 2, 1, 1),
            of(1, head, 1, 1, 2, 1),
            of(1, head, 1, 1, 1, 2),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(base.last(), Some(&1), "no part is cut off");
    }

    #[test]
    fn a_nonce_is_of_commit_and_number() {
        let nonce = record_nonce(0x0102, CommitHash::from_bytes([0xf0; 32]));
        assert_eq!(nonce, [0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf1, 0xf2]);
    }
}
