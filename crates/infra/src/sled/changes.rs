//! Changes of the index: entries that are put and taken out together, and what they do to the digest over all entries.
//!
//! Must not know: the engine's state, or why anything changes.

use sessions_domain::SessionId;
use sessions_ports::{Digest, Link, StoredClaim};

use super::index::{
    BLOB, CLAIM, CoreRow, GRAVE, HOST_KEY, LINKS, NamedBlob, ROW, VIEW, WORDS, fingerprint, key, run_key, sealed,
};

/// Longer values are kept in parts, because the engine puts large ones into files that it never syncs.
const PART: usize = 3500;

/// Changes that go into the index together.
#[derive(Default)]
pub(crate) struct Changes {
    pub(super) batch: ::sled::Batch,
    /// Entries that were added less those that were replaced.
    pub(super) entries: i64,
    pub(super) digest: u64,
    /// Host keys that were put, with their sessions.
    keys: Vec<(Digest, SessionId)>,
    pub(crate) operations: usize,
}

impl Changes {
    /// Puts an entry that the digest covers; `old`: the value it replaces.
    fn put(&mut self, key: Vec<u8>, value: &[u8], old: Option<&[u8]>) {
        self.digest ^= fingerprint(&key, value);
        match old {
            Some(old) => self.digest ^= fingerprint(&key, old),
            None => self.entries += 1,
        }
        self.operations += 1;
        self.batch.insert(key, sealed(value));
    }

    pub(crate) fn row(&mut self, session: SessionId, row: CoreRow, old: Option<CoreRow>) {
        let old = old.map(CoreRow::to_bytes);
        self.put(key(ROW, &[&session.to_bytes()]), &row.to_bytes(), old.as_deref());
    }

    pub(crate) fn run(&mut self, session: SessionId, first: u64, value: &[u8]) {
        self.put(run_key(session, first), value, None);
    }

    /// A host's key; `old`: who has it in the index, because it was free again since.
    pub(crate) fn host_key(&mut self, digest: Digest, session: SessionId, old: Option<SessionId>) {
        let put = self.keys.iter().rev().find(|(key, _)| *key == digest).map(|(_, session)| *session);
        let old = put.or(old).map(SessionId::to_bytes);
        self.put(key(HOST_KEY, &[&digest]), &session.to_bytes(), old.as_ref().map(<[u8; 16]>::as_slice));
        self.keys.push((digest, session));
    }

    /// A host's key that leads to no session any more.
    pub(crate) fn free_key(&mut self, digest: Digest, session: SessionId) {
        self.take_out(key(HOST_KEY, &[&digest]), &session.to_bytes());
    }

    /// What a session inherits.
    pub(crate) fn links(&mut self, session: SessionId, links: &[Link]) {
        let mut value = Vec::with_capacity(links.len() * 24);
        for link in links {
            value.extend_from_slice(&link.owner.to_bytes());
            value.extend_from_slice(&link.last.to_le_bytes());
        }
        self.put(key(LINKS, &[&session.to_bytes()]), &value, None);
    }

    /// A session that was removed at a version, of which the index does not know yet.
    pub(crate) fn grave(&mut self, session: SessionId, version: u64, kept_key: Option<&Digest>) {
        let mut value = version.to_le_bytes().to_vec();
        value.extend(kept_key.into_iter().flatten());
        self.put(key(GRAVE, &[&session.to_bytes()]), &value, None);
    }

    /// Takes an entry out that the digest covers, with the value that it has.
    pub(super) fn take_out(&mut self, key: Vec<u8>, value: &[u8]) {
        self.digest ^= fingerprint(&key, value);
        self.entries -= 1;
        self.operations += 1;
        self.batch.remove(key);
    }

    pub(crate) fn claim(&mut self, session: SessionId, digest: Digest, claim: StoredClaim) {
        let mut value = claim.payload.to_vec();
        value.extend_from_slice(&claim.seq.to_le_bytes());
        value.extend_from_slice(&claim.version.to_le_bytes());
        self.put(key(CLAIM, &[&session.to_bytes(), &digest]), &value, None);
    }

    /// A large body, with the record that names it: a copy of a session names the same ones.
    pub(crate) fn blob(&mut self, hash: [u8; 32], session: SessionId, seq: u64) {
        self.put(key(BLOB, &[&session.to_bytes(), &seq.to_be_bytes(), &hash]), &[], None);
    }

    /// A large body as [`Self::blob`], or one that its record names no more; `old`: the value that is there.
    pub(super) fn body(&mut self, (session, seq, name): NamedBlob, value: &[u8], old: Option<&[u8]>) {
        self.put(key(BLOB, &[&session.to_bytes(), &seq.to_be_bytes(), &name]), value, old);
    }

    /// A large body goes that its record names no more.
    pub(super) fn forget_body(&mut self, (session, seq, name): NamedBlob, value: &[u8]) {
        self.take_out(key(BLOB, &[&session.to_bytes(), &seq.to_be_bytes(), &name]), value);
    }

    /// A run that is put in another form, or in parts.
    pub(super) fn take_out_run(&mut self, session: SessionId, first: u64, value: &[u8]) {
        self.take_out(run_key(session, first), value);
    }

    /// The words of a session in parts; `old`: the ones they replace.
    pub(crate) fn words(&mut self, session: SessionId, words: &[u8], old: Option<&[u8]>) {
        let old: Vec<&[u8]> = old.map(parts_of).unwrap_or_default();
        let new = parts_of(words);
        for (at, part) in new.iter().enumerate() {
            self.put(part_key(WORDS, session, at), part, old.get(at).copied());
        }
        for (at, part) in old.iter().enumerate().skip(new.len()) {
            let key = part_key(WORDS, session, at);
            self.digest ^= fingerprint(&key, part);
            self.entries -= 1;
            self.batch.remove(key);
        }
    }

    /// A part of a snapshot goes.
    pub(super) fn forget_view(&mut self, key: Vec<u8>) {
        self.batch.remove(key);
        self.operations += 1;
    }

    /// A snapshot in parts. The digest does not cover it: whoever reads it checks it against the log.
    pub(crate) fn view(&mut self, session: SessionId, view: &[u8]) {
        let parts = parts_of(view);
        for (at, part) in parts.iter().enumerate() {
            self.batch.insert(part_key(VIEW, session, at), sealed(part));
        }
        self.batch.remove(part_key(VIEW, session, parts.len()));
        self.operations += 1;
    }
}

fn parts_of(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.is_empty() { vec![bytes] } else { bytes.chunks(PART).collect() }
}

pub(super) fn part_key(prefix: u8, session: SessionId, part: usize) -> Vec<u8> {
    let part = u16::try_from(part).unwrap_or(u16::MAX);
    key(prefix, &[&session.to_bytes(), &part.to_be_bytes()])
}
