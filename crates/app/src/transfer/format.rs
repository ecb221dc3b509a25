//! Telling formats apart by the beginning of a file.
//!
//! Must not know: how a format is read.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{claude_code, codex, messages};

/// As much of a file's beginning as [`detect`] wants to see.
pub const DETECT_BYTES: usize = 64 * 1024;

/// A format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A transcript of Claude Code: JSON lines with `uuid` and `parentUuid`.
    ClaudeCode,
    /// A rollout of Codex: JSON lines with `type` and `payload`.
    Codex,
    /// A session of pi: JSON lines, the first of type `session`.
    Pi,
    /// Messages as OpenAI's chat completions have them.
    OpenAi,
    /// Messages as Anthropic has them.
    Anthropic,
    /// Our own document.
    SessionsJson,
    /// Our own lines.
    SessionsJsonl,
}

impl Format {
    /// The format of another program that has this name.
    pub(super) fn foreign(name: &str) -> Option<Self> {
        let all = [Self::ClaudeCode, Self::Codex, Self::Pi, Self::OpenAi, Self::Anthropic];
        all.into_iter().find(|format| format.name() == name)
    }

    /// The format's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Pi => "pi",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::SessionsJson => "sessions-json",
            Self::SessionsJsonl => "sessions-jsonl",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fields that tell.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uuid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    leaf_uuid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    snapshot: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

impl Probe<'_> {
    fn format(&self, line: &[u8]) -> Option<Format> {
        let kind = self.kind.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let Some(kind) = kind else {
            // The first line of the first versions of Codex has no type.
            let is_codex = self.id.is_some() && self.timestamp.is_some() && has(line, b"\"instructions\":");
            return is_codex.then_some(Format::Codex);
        };
        if self.payload.is_some() && codex::knows_type(&kind) {
            return Some(Format::Codex);
        }
        if self.id.is_some() && self.timestamp.is_some() && kind == "session" {
            return Some(Format::Pi);
        }
        if self.timestamp.is_some() && self.message.is_some() && kind == "message" {
            return Some(Format::Pi);
        }
        let is_named = [self.uuid, self.session_id, self.leaf_uuid, self.snapshot].iter().any(Option::is_some);
        (is_named && claude_code::knows_type(&kind)).then_some(Format::ClaudeCode)
    }
}

/// The format of a file that begins with these bytes (the first [`DETECT_BYTES`], or all of it).
pub fn detect(head: &[u8]) -> Option<Format> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start: Vec<u8> = head.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(40).collect();
    if start.starts_with(br#"{"format":"sessions-jsonl""#) {
        return Some(Format::SessionsJsonl);
    }
    if start.starts_with(br#"{"format":"sessions-json""#) {
        return Some(Format::SessionsJson);
    }
    let mut lines = head.split(|byte| *byte == b'\n').take(100);
    let format = |line: &[u8]| serde_json::from_slice::<Probe<'_>>(line).ok()?.format(line);
    let objects = lines.by_ref().filter(|line| line.trim_ascii_start().starts_with(b"{"));
    objects.filter_map(format).next().or_else(|| cut_line(head)).or_else(|| messages::detect(head))
}

fn has(bytes: &[u8], key: &[u8]) -> bool {
    bytes.windows(key.len()).any(|window| window == key)
}

/// A first line that is longer than what we see: it is known by its keys.
fn cut_line(head: &[u8]) -> Option<Format> {
    let has = |key| has(head, key);
    if !head.starts_with(b"{") || head.contains(&b'\n') || head.len() < DETECT_BYTES / 2 {
        return None;
    }
    if has(b"\"parentUuid\":" as &[u8]) && has(b"\"sessionId\":") {
        return Some(Format::ClaudeCode);
    }
    (has(b"\"type\":\"session_meta\"") && has(b"\"payload\":")).then_some(Format::Codex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        let cases: [(&[u8], Option<Format>); 15] = [
            (b"{ \"format\": \"sessions-json\",\n \"version\":1", Some(Format::SessionsJson)),
            (b"{\"format\":\"sessions-jsonl\",\"version\":1}\n", Some(Format::SessionsJsonl)),
            (b"garbage\n{\"type\":\"user\",\"uuid\":\"a\",\"parentUuid\":null}\n", Some(Format::ClaudeCode)),
            (b"{\"type\":\"summary\",\"summary\":\"s\",\"leafUuid\":\"a\"}", Some(Format::ClaudeCode)),
            (b"\xef\xbb\xbf{\"type\":\"progress\",\"uuid\":\"a\"}", Some(Format::ClaudeCode)),
            (b"{\"type\":\"session\",\"id\":\"a\",\"cwd\":\"/\"}\n", None),
            (b"{\"type\":\"session\",\"id\":\"a\",\"timestamp\":\"t\"}\n", Some(Format::Pi)),
            (b"{\"type\":\"session_meta\",\"payload\":{}}\n", Some(Format::Codex)),
            (b"{\"id\":\"a\",\"timestamp\":\"t\",\"instructions\":null}\n", Some(Format::Codex)),
            (b"[\n {\"role\": \"user\", \"content\": \"Hi\"}]", Some(Format::OpenAi)),
            (b"{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"x\"}\n", Some(Format::OpenAi)),
            (b"{\"system\":\"s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}", Some(Format::Anthropic)),
            (b"{\"role\":\"admin\",\"content\":\"x\"}\n", None),
            (b"\x7fELF\0\0\0", None),
            (b"", None),
        ];
        for (head, format) in cases {
            assert_eq!(detect(head), format, "{:?}", String::from_utf8_lossy(head));
        }
        let long = format!("{{\"parentUuid\":null,\"sessionId\":\"s\",\"text\":\"{}", "x".repeat(DETECT_BYTES));
        assert_eq!(detect(long.get(..DETECT_BYTES).unwrap().as_bytes()), Some(Format::ClaudeCode));
    }
}
