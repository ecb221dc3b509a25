//! Strings of an answer: those that come whole, and texts in pieces, which may be cut between the two halves of a surrogate pair.
//!
//! A server that keeps text in UTF-16 cuts it so, and writes each half as an escape (`"\ud83d"`). As bytes, `serde_json` gives such a half in the
//! generalised UTF-8 of WTF-8: three bytes, the first of them `ED`.
//!
//! Must not know: what a text is for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_ports::ModelError;

use super::decoder::broken;

/// The longest name of a model, id or word that is kept.
pub(super) const MOST_OF_NAME: usize = 200;

const NO_TEXT: &str = "a text of it is no string";

/// A string as it came. It may begin and end with half a character, and have such halves in it.
#[derive(Debug)]
pub(super) struct Piece<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Piece<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> serde::de::Visitor<'de> for Bytes {
            type Value = Cow<'de, [u8]>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(bytes))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Cow::Owned(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes).map(Self)
    }
}

impl Piece<'_> {
    /// Whether nothing is in it, not even half a character.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The next piece of a text; `None`: there is none, or `null`.
pub(super) fn piece(raw: Option<&RawValue>) -> Result<Option<Piece<'_>>, ModelError> {
    let said = raw.filter(|raw| raw.get() != "null");
    said.map(|raw| serde_json::from_str(raw.get()).map_err(broken(NO_TEXT))).transpose()
}

/// A string that comes whole; `None`: there is none, or `null`.
pub(super) fn text(raw: Option<&RawValue>) -> Result<Option<String>, ModelError> {
    let said = raw.filter(|raw| raw.get() != "null");
    said.map(|raw| serde_json::from_str(raw.get()).map_err(broken(NO_TEXT))).transpose()
}

/// A name, an id or a word; `None` also when it is empty, or longer than is kept.
pub(super) fn name(raw: Option<&RawValue>) -> Result<Option<String>, ModelError> {
    Ok(text(raw)?.filter(|name| !name.is_empty() && name.len() <= MOST_OF_NAME))
}

/// The same of what an answer does not depend on: `None` also when it is no string.
pub(super) fn known(raw: Option<&RawValue>) -> Option<String> {
    name(raw).ok().flatten()
}

/// Joins the pieces of one text.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// The first half of a pair, whose second one may begin the next piece.
    high: Option<u16>,
    is_damaged: bool,
}

impl Joiner {
    /// The characters that are whole with this piece. Half a one that stands alone is U+FFFD.
    pub(super) fn join(&mut self, piece: &Piece<'_>) -> String {
        let mut rest: &[u8] = &piece.0;
        let mut text = String::with_capacity(rest.len());
        loop {
            let (characters, behind) = match std::str::from_utf8(rest) {
                Ok(all) => (all, &[][..]),
                Err(error) => {
                    let (valid, behind) = rest.split_at(error.valid_up_to());
                    (std::str::from_utf8(valid).unwrap_or_default(), behind)
                }
            };
            if !characters.is_empty() {
                text.extend(self.end());
                text.push_str(characters);
            }
            let Some(([first, second, third], behind)) = behind.split_first_chunk::<3>() else { return text };
            self.half(
                u16::from(first & 0x0F) << 12 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F),
                &mut text,
            );
            rest = behind;
        }
    }

    fn half(&mut self, unit: u16, text: &mut String) {
        if (0xD800..0xDC00).contains(&unit) {
            text.extend(self.end());
            self.high = Some(unit);
            return;
        }
        let pair = self.high.take().into_iter().chain([unit]);
        for character in char::decode_utf16(pair) {
            self.is_damaged |= character.is_err();
            text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }

    /// Nothing follows: what stands for the half that is left.
    pub(super) fn end(&mut self) -> Option<char> {
        let left = self.high.take().map(|_| char::REPLACEMENT_CHARACTER);
        self.is_damaged |= left.is_some();
        left
    }

    /// Whether half a character stood alone, so far.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }
}

/// A text that is gathered before it is used.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    text: String,
    joiner: Joiner,
}

impl Gathered {
    /// One that came at once.
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), joiner: Joiner::default() }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &Piece<'_>) {
        self.text.push_str(&self.joiner.join(piece));
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// All of it, with U+FFFD for each half of a character that stood alone.
    pub(super) fn lossy(mut self) -> String {
        self.text.extend(self.joiner.end());
        self.text
    }

    /// All of it, when no half of a character stood alone.
    ///
    /// # Errors
    /// [`ModelError::Broken`] with `what`.
    pub(super) fn exact(mut self, what: &'static str) -> Result<String, ModelError> {
        self.text.extend(self.joiner.end());
        if self.joiner.is_damaged() { Err(ModelError::Broken { what }) } else { Ok(self.text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(pieces: &[&str]) -> Gathered {
        let mut gathered = Gathered::default();
        pieces.iter().for_each(|piece| gathered.push(&serde_json::from_str(&format!("\"{piece}\"")).unwrap()));
        gathered
    }

    #[test]
    fn halves_of_pairs_are_joined_and_those_that_stand_alone_are_told() {
        for (pieces, expected, is_whole) in [
            (&["a\\ud83d", "\\ude00b"][..], "a😀b", true),
            (&["\\ud83d", "", "\\ude00"], "😀", true),
            (&["\\ud83d\\ude00"], "😀", true),
            (&["é😀\\n"], "é😀\n", true),
            (&["a\\ud83d"], "a\u{fffd}", false),
            (&["\\ude00a"], "\u{fffd}a", false),
            (&["\\ud83d", "a\\ude00"], "\u{fffd}a\u{fffd}", false),
            (&["\\ud83dx", "y"], "\u{fffd}xy", false),
            (&["\\ud83d\\ud83d", "\\ude00"], "\u{fffd}😀", false),
            (&["\\ud83d", "\\ud83d\\ude00"], "\u{fffd}😀", false),
            (&["\\ud83d\\n"], "\u{fffd}\n", false),
            (&["\\ude00\\ude00"], "\u{fffd}\u{fffd}", false),
            (&[], "", true),
        ] {
            assert_eq!(gathered(pieces).lossy(), expected, "{pieces:?}");
            assert_eq!(gathered(pieces).exact("x").ok(), is_whole.then(|| expected.to_owned()), "{pieces:?}");
        }
    }

    #[test]
    fn what_is_there_and_is_no_string_is_an_error() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for absent in [None, Some(raw("null"))] {
            let absent = absent.as_deref();
            assert!(piece(absent).unwrap().is_none() && text(absent).unwrap().is_none());
        }
        for wrong in ["1", "true", "[]", "[1]", "{}"] {
            assert!(piece(Some(&raw(wrong))).is_err() && text(Some(&raw(wrong))).is_err(), "{wrong}");
            assert!(name(Some(&raw(wrong))).is_err() && known(Some(&raw(wrong))).is_none(), "{wrong}");
        }
        let half = raw(r#""\ud83d""#);
        assert!(piece(Some(&half)).is_ok() && text(Some(&half)).is_err());
    }
}
