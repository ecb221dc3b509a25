//! The token of a place in history, which a host can keep: a stale or foreign place is refused, not guessed.
//!
//! Must not know: where tokens are kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sessions_domain::Place;
use sessions_ports::Durability;

use crate::error::SessionError;

/// A place with the level that its record had reached: session, number, hash and level, as in `01J….17.9f…c2.disk`.
///
/// When the record is not there any more, the level says why: below `disk` it went with its process ([`SessionError::LostPlace`]); at
/// `disk` the store was put back to an older state ([`SessionError::RolledBack`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceToken {
    /// The place.
    pub place: Place,
    /// The level its record had reached.
    pub durability: Durability,
}

impl fmt::Display for PlaceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { session, seq, hash } = self.place;
        write!(f, "{session}.{seq}.{hash}.{}", self.durability)
    }
}

impl FromStr for PlaceToken {
    type Err = SessionError;

    fn from_str(text: &str) -> Result<Self, SessionError> {
        let read = || {
            let mut fields = text.split('.');
            let session = fields.next()?.parse().ok()?;
            let seq = fields.next()?.parse().ok()?;
            let hash = fields.next()?.parse().ok()?;
            let level = fields.next()?;
            let levels = [Durability::Volatile, Durability::Process, Durability::Disk];
            let durability = levels.into_iter().find(|known| known.to_string() == level)?;
            fields.next().is_none().then_some(Self { place: Place { session, seq, hash }, durability })
        };
        read().ok_or(SessionError::InvalidPlace)
    }
}

impl Serialize for PlaceToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PlaceToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use sessions_domain::{CommitHash, SessionId};

    use super::*;

    #[test]
    fn a_token_reads_back_and_nothing_else_is_one() {
        let place = Place { session: SessionId::from_bytes([1; 16]), seq: 17, hash: CommitHash::from_bytes([2; 32]) };
        for durability in [Durability::Volatile, Durability::Process, Durability::Disk] {
            let token = PlaceToken { place, durability };
            assert_eq!(token.to_string().parse::<PlaceToken>().unwrap(), token);
        }
        let text = PlaceToken { place, durability: Durability::Disk }.to_string();
        for wrong in ["", "1.2.3.4", &text[1..], &format!("{text}.x"), &text.replace("disk", "Disk")] {
            assert!(matches!(wrong.parse::<PlaceToken>(), Err(SessionError::InvalidPlace)), "{wrong}");
        }
    }
}
