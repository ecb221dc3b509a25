//! JSON that is kept as it came: nothing rounded, nothing reordered.
//!
//! Must not know: what the JSON means.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON value as its own text. Two are equal when their texts are.
#[derive(Clone)]
pub struct Json(Box<RawValue>);

/// How deep JSON of a host or of a file may nest, in arrays and objects.
pub const MAX_JSON_DEPTH: usize = 128;

/// Why a text is not JSON that we keep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidJson {
    /// It does not parse.
    #[error("this is not JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    /// It nests too deep.
    #[error("the JSON nests deeper than {MAX_JSON_DEPTH} levels; flatten it, or keep it in a string")]
    TooDeep,
}

impl Json {
    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidJson`] when it does not parse or nests deeper than [`MAX_JSON_DEPTH`].
    pub fn parse(text: &str) -> Result<Self, InvalidJson> {
        if depth(text) > MAX_JSON_DEPTH {
            return Err(InvalidJson::TooDeep);
        }
        serde_json::from_str(text).map(Self).map_err(InvalidJson::Syntax)
    }

    /// The value of anything that serialises.
    ///
    /// # Errors
    /// [`InvalidJson::Syntax`] when the value has no JSON form (a map with keys that are no strings, say).
    pub fn of(value: &impl Serialize) -> Result<Self, InvalidJson> {
        serde_json::value::to_raw_value(value).map(Self).map_err(InvalidJson::Syntax)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// True for `null`.
    pub fn is_null(&self) -> bool {
        self.as_str().trim_ascii() == "null"
    }

    /// The value, decoded as `T`.
    ///
    /// # Errors
    /// The decoder's, when the text is no `T`.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }
}

/// The deepest nesting of arrays and objects in a text, without recursion and without checking it otherwise.
pub fn depth(text: &str) -> usize {
    let (mut now, mut most, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.as_str().len())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_to_the_letter() {
        let text = r#"{"b":1.10, "a":12345678901234567890123, "z":"\u00e9"}"#;
        let json = Json::parse(text).unwrap();
        assert_eq!(json.as_str(), text);
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(Json::parse(&deep), Err(InvalidJson::TooDeep)));
        assert_eq!(depth(r#"{"a":"[[[[\"{{{","b":[1]}"#), 2);
    }
}
