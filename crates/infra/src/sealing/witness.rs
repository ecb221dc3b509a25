//! The heads of all sessions, attested with HMAC-SHA-256.
//!
//! Must not know: where the key comes from, and where roots are kept.

use std::fmt;

use ring::{hkdf, hmac};
use sessions_domain::{CommitHash, SessionId};
use sessions_ports::{BatchEdge, HeadWitness, SecretKey};

const ELEMENTS: &[u8] = b"sessions head element 1";
const ROOTS: &[u8] = b"sessions head root 1";

/// Attests heads with two subkeys of one key: one for the elements of sessions, one for roots.
pub struct KeyedWitness {
    elements: hmac::Key,
    roots: hmac::Key,
}

impl fmt::Debug for KeyedWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedWitness").finish_non_exhaustive()
    }
}

impl KeyedWitness {
    /// Derives the subkeys (HKDF-SHA-256, expand only: the key is uniform). `None` is never given by `ring` for outputs of this length.
    pub fn new(key: &SecretKey) -> Option<Self> {
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key.expose());
        let subkey = |purpose: &[u8]| Some(hmac::Key::from(prk.expand(&[purpose], hmac::HMAC_SHA256).ok()?));
        Some(Self { elements: subkey(ELEMENTS)?, roots: subkey(ROOTS)? })
    }
}

/// 32 bytes of an HMAC over bytes that are at most 56 long.
fn signed(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

impl HeadWitness for KeyedWitness {
    fn element(&self, session: SessionId, head: Option<(u64, CommitHash)>) -> [u8; 32] {
        let session = session.to_bytes();
        let Some((version, commit)) = head else { return signed(&self.elements, &[&session]) };
        // The version comes last and without the zero that its highest byte is: 55 bytes are one block of the hash, 56 are two.
        let version = version.to_le_bytes();
        let short = version.split_last().filter(|(highest, _)| **highest == 0).map(|(_, low)| low);
        signed(&self.elements, &[&session, commit.as_bytes(), short.unwrap_or(&version)])
    }

    fn root(&self, edge: BatchEdge, sum: &[u8; 32], position: u64, length: u32) -> [u8; 16] {
        let edge = match edge {
            BatchEdge::Before => 0,
            BatchEdge::Behind => 1,
            BatchEdge::Settled => 2,
        };
        let whole = signed(&self.roots, &[sum, &position.to_le_bytes(), &length.to_le_bytes(), &[edge]]);
        let mut root = [0; 16];
        root.copy_from_slice(whole.split_at(16).0);
        root
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn witness(byte: u8) -> KeyedWitness {
        KeyedWitness::new(&SecretKey::take(&mut [byte; 32])).unwrap()
    }

    #[test]
    fn every_argument_and_the_key_matter_and_nothing_else_does() {
        let (session, other) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
        let (commit, another) = (CommitHash::from_bytes([3; 32]), CommitHash::from_bytes([4; 32]));
        let heads = [
            (session, None),
            (other, None),
            (session, Some((1, commit))),
            (session, Some((2, commit))),
            (session, Some((1 << 56, commit))),
            (session, Some((1, another))),
            (other, Some((1, commit))),
        ];
        let of = |byte| heads.map(|(session, head)| witness(byte).element(session, head));
        let elements: HashSet<[u8; 32]> = of(7).into_iter().chain(of(8)).collect();
        assert_eq!(elements.len(), 2 * heads.len());
        assert_eq!(of(7), of(7));
        let (before, behind) = (BatchEdge::Before, BatchEdge::Behind);
        let roots = [
            (before, [0; 32], 0, 0),
            (behind, [0; 32], 0, 0),
            (BatchEdge::Settled, [0; 32], 0, 0),
            (behind, [1; 32], 0, 0),
            (behind, [0; 32], 1, 0),
            (behind, [0; 32], 0, 1),
        ];
        let of = |byte| roots.map(|(edge, sum, position, length)| witness(byte).root(edge, &sum, position, length));
        let all: HashSet<[u8; 16]> = of(7).into_iter().chain(of(8)).collect();
        assert_eq!(all.len(), 2 * roots.len());
        assert_eq!(of(7), of(7));
    }

    #[test]
    fn an_element_is_what_the_document_says() {
        let key = SecretKey::take(&mut [7; 32]);
        let prk = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        // HKDF's first block: the purpose and the number 1.
        let subkey =
            |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&prk, &[purpose, &[1]].concat()).as_ref());
        let (session, commit) = (SessionId::from_bytes([1; 16]), CommitHash::from_bytes([3; 32]));
        let element = [[1; 16].as_slice(), &[3; 32], &[9, 0, 0, 0, 0, 0, 0]].concat();
        let found = witness(7).element(session, Some((9, commit)));
        assert_eq!(found, hmac::sign(&subkey(ELEMENTS), &element).as_ref());
        let root = [[5; 32].as_slice(), &8_u64.to_le_bytes(), &6_u32.to_le_bytes(), &[1]].concat();
        assert_eq!(
            witness(7).root(BatchEdge::Behind, &[5; 32], 8, 6),
            hmac::sign(&subkey(ROOTS), &root).as_ref()[..16]
        );
    }
}
