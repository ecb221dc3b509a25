//! Reading requests: messages, their contents and what stands in them.
//!
//! Must not know: rules.

use serde_json::Value;

/// What rules ask of a request's body.
pub(crate) trait Body {
    fn messages(&self) -> Vec<(String, &Value)>;
}

impl Body for Value {
    /// The messages, each with its place.
    fn messages(&self) -> Vec<(String, &Value)> {
        let messages = self["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        messages.iter().enumerate().map(|(at, message)| (format!("messages[{at}]"), message)).collect()
    }
}

/// A field that is a string.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

pub(super) fn is(value: &Value, role: &str) -> bool {
    text(value, "role") == role
}

/// The parts of a content that is a list.
pub(super) fn parts(value: &Value) -> Vec<&Value> {
    value["content"].as_array().map(|parts| parts.iter().collect()).unwrap_or_default()
}

pub(super) fn kind(part: &Value) -> &str {
    text(part, "type")
}

/// True for a text without anything but blanks.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}'))
}

/// True for one to `most` letters, digits, underscores and hyphens.
pub(super) fn is_name(name: &str, most: usize) -> bool {
    (1..=most).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// The media type and data of a `data:` address.
pub(super) fn data(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?, data))
}

/// The fields of an object that are not among those known.
pub(super) fn unknown<'a>(value: &'a Value, known: &[&str]) -> Vec<&'a str> {
    let fields = value.as_object().into_iter().flat_map(|object| object.keys());
    fields.map(String::as_str).filter(|field| !known.contains(field)).collect()
}

/// True when a text that is JSON has half of a surrogate pair in it, as an escape.
pub(super) fn has_half_pair(text: &str) -> bool {
    let mut units = Vec::new();
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte != b'\\' {
            continue;
        }
        if bytes.next().is_some_and(|(_, byte)| byte == b'u') {
            let digits = text.get(at + 2..at + 6).unwrap_or_default();
            units.extend(u16::from_str_radix(digits, 16).map(|unit| (at, unit)));
        }
    }
    let is_high = |unit: u16| (0xD800..0xDC00).contains(&unit);
    let is_low = |unit: u16| (0xDC00..0xE000).contains(&unit);
    let mut units = units.into_iter().peekable();
    while let Some((at, unit)) = units.next() {
        let paired = is_high(unit) && units.next_if(|(next, low)| *next == at + 6 && is_low(*low)).is_some();
        if !paired && (is_high(unit) || is_low(unit)) {
            return true;
        }
    }
    false
}

/// The type of a picture, as its base64 begins.
pub(super) fn picture(data: &str) -> Option<&'static str> {
    let begins =
        [("iVBORw0KGg", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    begins.iter().find(|(begin, _)| data.starts_with(begin)).map(|(_, kind)| *kind)
}
