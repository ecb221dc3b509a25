//! The chain of commits that binds every record to all before it, and places in it.
//!
//! `commit_i = SHA-256(commit_{i-1} ‖ lineage ‖ seq ‖ kind ‖ blind_i ‖ body_i)`, with `seq` as 8 bytes little-endian,
//! `kind` as one byte and 32 zero bytes before the first record. The blind keeps a commit from being guessed from its words.
//!
//! Must not know: where records are kept, or how blinds are drawn.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    event::Kind,
    identity::{LineageId, SessionId},
};

/// The commit of a record: SHA-256 over the one before and the record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommitHash([u8; 32]);

/// 32 random bytes inside each record.
pub type Blind = [u8; 32];

impl CommitHash {
    /// What stands before the first record of a log.
    pub const ZERO: Self = Self([0; 32]);

    /// The commit of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The commit of a record behind this one.
    #[must_use]
    pub fn next(&self, lineage: LineageId, seq: u64, kind: Kind, blind: &Blind, body: &[u8]) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(&self.0);
        context.update(&lineage.to_bytes());
        context.update(&seq.to_le_bytes());
        context.update(&[kind.0]);
        context.update(blind);
        context.update(body);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl CommitHash {
    /// The commit that stands for a record behind this one whose own is not known.
    #[must_use]
    pub fn after_lost(&self, seq: u64) -> Self {
        self.next(LineageId::from_bytes([0; 16]), seq, Kind::LOST, &[0; 32], b"")
    }
}

impl fmt::Display for CommitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for CommitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitHash({self})")
    }
}

impl FromStr for CommitHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let bytes = from_hex(text).ok_or(InvalidHash)?;
        bytes.try_into().map(Self).map_err(|_| InvalidHash)
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 hexadecimal digits")]
pub struct InvalidHash;

impl Serialize for CommitHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for CommitHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads hexadecimal of either case.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits?;
    if digits.len() % 2 != 0 {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}

/// A place in history: stale and foreign places are refused, not guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The session.
    pub session: SessionId,
    /// The record's sequence number.
    pub seq: u64,
    /// The record's commit.
    pub hash: CommitHash,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_the_sha_256_of_its_documented_bytes() {
        let lineage = LineageId::from_bytes([7; 16]);
        let mut bytes = vec![0; 32];
        bytes.extend_from_slice(&[7; 16]);
        bytes.extend_from_slice(&1_u64.to_le_bytes());
        bytes.push(2);
        bytes.extend_from_slice(&[9; 32]);
        bytes.extend_from_slice(b"{}");
        let commit = CommitHash::ZERO.next(lineage, 1, Kind::APPENDED, &[9; 32], b"{}");
        assert_eq!(commit.as_bytes(), &sha256(&bytes));
    }

    #[test]
    fn every_input_of_a_commit_matters() {
        let base = CommitHash::ZERO.next(LineageId::from_bytes([0; 16]), 1, Kind(1), &[0; 32], b"a");
        let others = [
            base.next(LineageId::from_bytes([0; 16]), 1, Kind(1), &[0; 32], b"a"),
            CommitHash::ZERO.next(LineageId::from_bytes([1; 16]), 1, Kind(1), &[0; 32], b"a"),
            CommitHash::ZERO.next(LineageId::from_bytes([0; 16]), 2, Kind(1), &[0; 32], b"a"),
            CommitHash::ZERO.next(LineageId::from_bytes([0; 16]), 1, Kind(2), &[0; 32], b"a"),
            CommitHash::ZERO.next(LineageId::from_bytes([0; 16]), 1, Kind(1), &[1; 32], b"a"),
            CommitHash::ZERO.next(LineageId::from_bytes([0; 16]), 1, Kind(1), &[0; 32], b"b"),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn hexadecimal_round_trips() {
        let hash = CommitHash::from_bytes(sha256(b"x"));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("00".parse::<CommitHash>(), Err(InvalidHash));
        assert_eq!("0".repeat(63).parse::<CommitHash>(), Err(InvalidHash));
        assert_eq!("é".repeat(32).parse::<CommitHash>(), Err(InvalidHash));
    }
}
