//! Tokens of a call, as Anthropic tells them.
//!
//! Must not know: in which files.

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::TokenUsage;

/// The names that the provider uses.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    /// All that was written to a cache.
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    /// The same by how long it is kept.
    #[serde(borrow, default)]
    cache_creation: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Written {
    #[serde(default)]
    ephemeral_5m_input_tokens: Option<u64>,
    #[serde(default)]
    ephemeral_1h_input_tokens: Option<u64>,
}

/// What is told; `None` when it cannot be read.
pub(in super::super) fn usage(raw: &RawValue) -> Option<TokenUsage> {
    let told: Told<'_> = serde_json::from_str(raw.get()).ok()?;
    let written: Option<Written> = told.cache_creation.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let Written { ephemeral_5m_input_tokens: short, ephemeral_1h_input_tokens: long } = written.unwrap_or_default();
    let (short, long) = (short.unwrap_or(0), long.unwrap_or(0));
    let all = told.cache_creation_input_tokens.unwrap_or(short.saturating_add(long));
    let cache_write_long = long.min(all);
    Some(TokenUsage {
        input: told.input_tokens.unwrap_or(0),
        output: told.output_tokens.unwrap_or(0),
        cache_read: told.cache_read_input_tokens.unwrap_or(0),
        cache_write: all - cache_write_long,
        cache_write_long,
        reasoning: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_for_an_hour_is_told_apart_and_counted_once() {
        let cases = [
            ("{}", (0, 0)),
            (r#"{"cache_creation_input_tokens":9}"#, (9, 0)),
            (r#"{"cache_creation_input_tokens":9,"cache_creation":null}"#, (9, 0)),
            (r#"{"cache_creation_input_tokens":9,"cache_creation":"x"}"#, (9, 0)),
            (
                r#"{"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":9}}"#,
                (0, 9),
            ),
            (r#"{"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_1h_input_tokens":4}}"#, (5, 4)),
            (r#"{"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":4}}"#, (2, 4)),
            (r#"{"cache_creation_input_tokens":3,"cache_creation":{"ephemeral_1h_input_tokens":4}}"#, (0, 3)),
        ];
        for (text, expected) in cases {
            let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
            let usage = usage(&raw).unwrap();
            assert_eq!((usage.cache_write, usage.cache_write_long), expected, "{text}");
        }
        let raw: Box<RawValue> = serde_json::from_str("[]").unwrap();
        assert_eq!(usage(&raw), Some(TokenUsage::default()));
        let raw: Box<RawValue> = serde_json::from_str(r#"{"input_tokens":"x"}"#).unwrap();
        assert_eq!(usage(&raw), None);
    }
}
