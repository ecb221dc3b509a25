//! Identities of sessions, messages and logs, and the host's own key for a session.
//!
//! Must not know: where an identity comes from (the generator is injected), or how a store spells it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ulid::Ulid;

use crate::moment::Moment;

/// Why a text is not an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// Nothing was given.
    #[error("the id is empty; an id has 26 characters, as in 01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    Empty,
    /// The text has another length than the 26 characters of a ULID.
    #[error("an id has 26 characters, and this text {length}; copy it as it is shown")]
    WrongLength {
        /// Characters that were given.
        length: usize,
    },
    /// A character is outside Crockford's base 32.
    #[error("character {position} of the id is not one of 0-9 A-Z without I, L, O, U; copy it as it is shown")]
    BadCharacter {
        /// Place of the first bad character, counted from 1.
        position: usize,
    },
    /// The text is well formed but names a number above 128 bits (its first character is above `7`).
    #[error("the id is out of range; its first character is 0 to 7")]
    OutOfRange,
}

fn parse_ulid(text: &str) -> Result<Ulid, InvalidId> {
    // Ids are read with every message, so the usual case comes first, and what is wrong with another is looked for after.
    if text.len() == ulid::ULID_LEN
        && text.as_bytes().first().is_some_and(|first| *first <= b'7')
        && let Ok(id) = Ulid::from_string(text)
    {
        return Ok(id);
    }
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    let length = text.chars().count();
    if length != ulid::ULID_LEN {
        return Err(InvalidId::WrongLength { length });
    }
    let bad = |c: char| !c.is_ascii_alphanumeric() || matches!(c.to_ascii_uppercase(), 'I' | 'L' | 'O' | 'U');
    if let Some(at) = text.chars().position(bad) {
        return Err(InvalidId::BadCharacter { position: at + 1 });
    }
    if text.starts_with(|c: char| c > '7') {
        return Err(InvalidId::OutOfRange);
    }
    Ulid::from_string(text).map_err(|_| InvalidId::OutOfRange)
}

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// The identity made of these 16 bytes (big-endian, as ULIDs sort).
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid::from_bytes(bytes))
            }

            /// The 16 bytes of the identity, big-endian.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }

            /// An identity of a moment (milliseconds since 1970) and 80 random bits.
            pub const fn from_parts(milliseconds: u64, random: u128) -> Self {
                Self(Ulid::from_parts(milliseconds, random))
            }

            /// The moment in the identity. A host's own identities may hold any.
            pub const fn moment(self) -> Moment {
                // 48 bits, so it fits.
                Moment::from_millis(self.0.timestamp_ms().cast_signed())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_ulid(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.pad(self.0.array_to_str(&mut buffer))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut buffer = [0; ulid::ULID_LEN];
                serializer.serialize_str(self.0.array_to_str(&mut buffer))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an id of 26 characters")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

ulid_id! {
    /// Names a session. Never a path or a part of one until it has been parsed.
    SessionId
}
ulid_id! {
    /// Names a message; unique within a lineage, so a fork keeps the ids of what it inherits.
    MessageId
}
ulid_id! {
    /// Names one log. Every commit binds it, so that another conversation never passes for an old version of this one.
    LineageId
}

/// A host's own name for a session: 1 to 256 bytes of UTF-8 without control characters, unique per tenant.
///
/// Comparison is by bytes; nothing is normalised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionKey(String);

/// Why a text is not a [`SessionKey`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// Nothing was given.
    #[error("the key is empty; a key has 1 to {} bytes", SessionKey::MAX_BYTES)]
    Empty,
    /// The text is too long.
    #[error("the key has {bytes} bytes; a key has 1 to {}", SessionKey::MAX_BYTES)]
    TooLong {
        /// Bytes that were given.
        bytes: usize,
    },
    /// A control character stands in the text.
    #[error("the key has a control character at byte {at}; remove it")]
    ControlCharacter {
        /// Byte offset of the first one.
        at: usize,
    },
}

impl SessionKey {
    /// The longest key, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Checks a host's text.
    ///
    /// # Errors
    /// [`InvalidKey`] says what is wrong with it.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidKey::TooLong { bytes: text.len() });
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
            return Err(InvalidKey::ControlCharacter { at });
        }
        Ok(Self(text))
    }

    /// The key as the host gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({} bytes)", self.0.len())
    }
}

impl FromStr for SessionKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_empty_length_and_character_apart() {
        let parse = |text: &str| text.parse::<SessionId>().unwrap_err();
        assert_eq!(parse(""), InvalidId::Empty);
        assert_eq!(parse("01ARZ3"), InvalidId::WrongLength { length: 6 });
        assert_eq!(parse("01ARZ3NDEKTSV4RRFFQ69G5FAVX"), InvalidId::WrongLength { length: 27 });
        assert_eq!(parse("01ARZ3NDEKTSV4RRFFQ69G5FA/"), InvalidId::BadCharacter { position: 26 });
        assert_eq!(parse("01ARZ3NDEKTSV4RRFFQ69G5FAU"), InvalidId::BadCharacter { position: 26 });
        assert_eq!(parse("é1ARZ3NDEKTSV4RRFFQ69G5FAV"), InvalidId::BadCharacter { position: 1 });
        assert_eq!(parse("81ARZ3NDEKTSV4RRFFQ69G5FAV"), InvalidId::OutOfRange);
        assert_eq!(parse("../../../../../etc/passwd0"), InvalidId::BadCharacter { position: 1 });
    }

    #[test]
    fn an_id_reads_lower_case_and_writes_upper_case() {
        let id: MessageId = "01arz3ndektsv4rrffq69g5fav".parse().unwrap();
        assert_eq!(id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, "\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"");
        assert_eq!(serde_json::from_str::<MessageId>(&json).unwrap(), id);
        assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
    }

    #[test]
    fn a_key_is_bounded_and_free_of_controls() {
        assert_eq!(SessionKey::new("").unwrap_err(), InvalidKey::Empty);
        assert_eq!(SessionKey::new("x".repeat(257)).unwrap_err(), InvalidKey::TooLong { bytes: 257 });
        assert_eq!(SessionKey::new("a\nb").unwrap_err(), InvalidKey::ControlCharacter { at: 1 });
        assert_eq!(SessionKey::new("é\u{85}").unwrap_err(), InvalidKey::ControlCharacter { at: 2 });
        assert_eq!(SessionKey::new("x".repeat(256)).unwrap().as_str().len(), 256);
        assert!(!format!("{:?}", SessionKey::new("secret").unwrap()).contains("secret"));
    }
}
