//! Telling formats apart by the beginning of a file.
//!
//! Must not know: how a format is read.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::claude_code;

/// As much of a file's beginning as [`detect`] wants to see.
pub const DETECT_BYTES: usize = 64 * 1024;

/// A format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A transcript of Claude Code: JSON lines with `uuid` and `parentUuid`.
    ClaudeCode,
    /// Our own document.
    SessionsJson,
    /// Our own lines.
    SessionsJsonl,
}

impl Format {
    /// The format's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
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
}

impl Probe<'_> {
    fn is_claude_code(&self) -> bool {
        let kind = self.kind.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let known = kind.is_some_and(|kind| claude_code::knows_type(&kind));
        known && [self.uuid, self.session_id, self.leaf_uuid, self.snapshot].iter().any(Option::is_some)
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
    let whole = |line: &[u8]| serde_json::from_slice::<Probe<'_>>(line).is_ok_and(|probe| probe.is_claude_code());
    let found = lines.any(|line| line.trim_ascii_start().starts_with(b"{") && whole(line));
    (found || is_cut_line(head)).then_some(Format::ClaudeCode)
}

/// A first line that is longer than what we see: it is known by its keys.
fn is_cut_line(head: &[u8]) -> bool {
    let has = |key: &[u8]| head.windows(key.len()).any(|window| window == key);
    head.starts_with(b"{")
        && !head.contains(&b'\n')
        && head.len() >= DETECT_BYTES / 2
        && has(b"\"parentUuid\":")
        && has(b"\"sessionId\":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        let cases: [(&[u8], Option<Format>); 9] = [
            (b"{ \"format\": \"sessions-json\",\n \"version\":1", Some(Format::SessionsJson)),
            (b"{\"format\":\"sessions-jsonl\",\"version\":1}\n", Some(Format::SessionsJsonl)),
            (b"garbage\n{\"type\":\"user\",\"uuid\":\"a\",\"parentUuid\":null}\n", Some(Format::ClaudeCode)),
            (b"{\"type\":\"summary\",\"summary\":\"s\",\"leafUuid\":\"a\"}", Some(Format::ClaudeCode)),
            (b"\xef\xbb\xbf{\"type\":\"progress\",\"uuid\":\"a\"}", Some(Format::ClaudeCode)),
            (b"{\"type\":\"session\",\"id\":\"a\",\"cwd\":\"/\"}\n", None),
            (b"{\"type\":\"session_meta\",\"payload\":{}}\n", None),
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
