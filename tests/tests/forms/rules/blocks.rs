//! Blocks of Anthropic's messages: which fields each may have, and what its source may be.
//!
//! Must not know: where a block may stand.

use serde_json::Value;

use super::read::{kind, parts, text, unknown};

/// A message's blocks, and those in results.
pub(super) fn all(message: &Value) -> Vec<&Value> {
    parts(message).into_iter().flat_map(|block| std::iter::once(block).chain(inner(block))).collect()
}

/// The blocks within a result.
pub(super) fn inner(block: &Value) -> Vec<&Value> {
    if kind(block) == "tool_result" { parts(block) } else { Vec::new() }
}

/// True for a block with fields that its type does not have, or of an unknown type.
pub(super) fn is_foreign(block: &Value) -> bool {
    let known: &[&str] = match kind(block) {
        "text" => &["type", "text", "cache_control", "citations"],
        "image" => &["type", "source", "cache_control"],
        "document" => &["type", "source", "cache_control", "title", "context", "citations"],
        "thinking" => &["type", "thinking", "signature"],
        "redacted_thinking" => &["type", "data"],
        "tool_use" => &["type", "id", "name", "input", "cache_control"],
        "tool_result" => &["type", "tool_use_id", "content", "is_error", "cache_control"],
        _ => return true,
    };
    let source: &[&str] = match text(&block["source"], "type") {
        "base64" | "text" => &["type", "media_type", "data"],
        "url" => &["type", "url"],
        "file" => &["type", "file_id"],
        _ => &[],
    };
    !unknown(block, known).is_empty() || !unknown(&block["source"], source).is_empty()
}

/// The base64 of a block: its media type and its data.
pub(super) fn base64(block: &Value) -> Option<(&str, &str)> {
    let source = &block["source"];
    (text(source, "type") == "base64").then(|| (text(source, "media_type"), text(source, "data")))
}

/// Width and height of a picture, where its first bytes tell.
pub(super) fn size(kind: &str, data: &str) -> Option<(u32, u32)> {
    let bytes = first_bytes(data);
    let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let short = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    match kind {
        "image/png" => Some((long(16)?, long(20)?)),
        "image/gif" => Some((short(6)?, short(8)?)),
        _ => None,
    }
}

fn first_bytes(data: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sixes: Vec<u32> = data
        .bytes()
        .take(64)
        .map_while(|byte| alphabet.iter().position(|other| *other == byte))
        .map(|six| six as u32)
        .collect();
    let four = |four: &[u32]| {
        let bits = four.iter().fold(0, |bits, six| bits << 6 | six);
        [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]
    };
    sixes.chunks_exact(4).flat_map(four).collect()
}
