//! Lines of standard input, and the messages that stand in them.
//!
//! Must not know: what becomes of a message.

use std::{
    borrow::Cow,
    io::{self, BufRead, BufReader, Read},
};

use serde::Deserialize;
use sessions_api::{Append, Message, MessageMetadata, MessagePart, MessageRole, ToolContent, json_depth};
use tokio::sync::mpsc;

use crate::{arguments, failure::Failure};

/// The longest line, and the longest text from standard input.
pub(crate) const MAX_LINE_BYTES: usize = 64 << 20;

/// Lines are handed over when there are so many bytes of them, or when there is nothing more to read at once.
const BATCH_BYTES: usize = 1 << 20;

/// A line may nest as deep as a message's JSON may, and the message around it.
const MAX_LINE_DEPTH: usize = 140;

/// One line of input.
#[derive(Debug)]
pub(crate) enum Line {
    Bytes(Vec<u8>),
    TooLong,
}

/// Reads lines and hands them on, until the input ends or nobody listens.
pub(crate) fn read_lines(mut input: BufReader<impl Read>, lines: &mpsc::Sender<io::Result<Vec<Line>>>) {
    loop {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let outcome = loop {
            match read_line(&mut input) {
                Ok(Some(line)) => {
                    if let Line::Bytes(line) = &line {
                        bytes += line.len();
                    }
                    batch.push(line);
                }
                Ok(None) => break Ok(true),
                Err(error) => break Err(error),
            }
            // Whoever writes a line and waits for its receipt must not wait for more lines.
            let more = input.buffer().contains(&b'\n');
            if bytes > BATCH_BYTES || !more {
                break Ok(false);
            }
        };
        let ended = !matches!(outcome, Ok(false));
        let sent = batch.is_empty() || lines.blocking_send(Ok(batch)).is_ok();
        if let Err(error) = outcome {
            // When nobody listens there is nobody to tell.
            let _ = lines.blocking_send(Err(error));
        }
        if ended || !sent {
            return;
        }
    }
}

/// The next line without its end; `None` behind the last. Never keeps more than the longest line in memory.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE_BYTES {
        drop(line);
        skip_line(input)?;
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(Line::Bytes(line)))
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let rest = input.fill_buf()?;
        if rest.is_empty() {
            return Ok(());
        }
        let end = rest.iter().position(|byte| *byte == b'\n');
        let bytes = end.map_or(rest.len(), |at| at + 1);
        input.consume(bytes);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// A line as it is written: the shape of a message, of which only what is ours to take is read.
#[derive(Deserialize)]
struct Given<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(default)]
    parts: Option<Vec<MessagePart>>,
    #[serde(default)]
    content: Option<ToolContent>,
    #[serde(default)]
    metadata: Option<MessageMetadata>,
    #[serde(default)]
    idempotency_key: Option<String>,
}

pub(crate) fn parse(line: Line) -> Result<Append, Failure> {
    let bad = |message: &str, hint: &str| Failure::usage(message, hint);
    let Line::Bytes(bytes) = line else {
        return Err(bad("the line is longer than 64 MiB", "split the message, or keep its file elsewhere"));
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("the line is no text in UTF-8", "encode it as UTF-8"))?;
    if json_depth(text) > MAX_LINE_DEPTH {
        return Err(bad("the line nests too deep", "flatten it, or keep the deep part in a string"));
    }
    let given: Given<'_> = serde_json::from_str(text).map_err(|error| {
        if has_half_a_pair(text) {
            let what = "the line has half of a surrogate pair (as \\ud800), which is no letter";
            return bad(what, "write the whole pair, or the letter itself");
        }
        let hint = "write {\"role\":\"user\",\"content\":\"…\"} or {\"role\",\"parts\":[…]}";
        // Where it is wrong, without what stands there.
        bad(&format!("the line is no message ({})", place_of(&error)), hint)
    })?;
    let role: MessageRole =
        arguments::role(&given.role).map_err(|names| bad("the message has no known role", &format!("give {names}")))?;
    let parts = match (given.parts, given.content) {
        (Some(_), Some(_)) => return Err(bad("the line has parts and content", "give one of them")),
        (Some(parts), None) | (None, Some(ToolContent::Parts(parts))) => parts,
        (None, Some(ToolContent::Text(text))) if text.is_empty() => {
            return Err(bad("the content is empty", "give a text, or leave the line out"));
        }
        (None, Some(ToolContent::Text(text))) => vec![MessagePart::text(text)],
        (None, None) => return Err(bad("the line has neither parts nor content", "give one of them")),
    };
    let append = Append::from(Message { role, parts, metadata: given.metadata.unwrap_or_default() });
    Ok(match given.idempotency_key {
        Some(key) => append.idempotency_key(key),
        None => append,
    })
}

/// True when a `\u` escape stands for one half of a pair and the other half does not follow (RFC 8259, 8.2).
fn has_half_a_pair(text: &str) -> bool {
    let code = |escape: &str| escape.strip_prefix("\\u").and_then(|rest| u16::from_str_radix(rest.get(..4)?, 16).ok());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let escape = rest.get(at..).unwrap_or_default();
        let after = |bytes: usize| escape.get(bytes..).unwrap_or_default();
        rest = match code(escape) {
            Some(0xd800..=0xdbff) => match code(after(6)) {
                Some(0xdc00..=0xdfff) => after(12),
                _ => return true,
            },
            Some(0xdc00..=0xdfff) => return true,
            // What stands behind the backslash may be another one, or a letter of several bytes where it is not JSON.
            _ => escape.char_indices().nth(2).map_or("", |(at, _)| after(at)),
        };
    }
    false
}

fn place_of(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax => "it is not JSON",
        _ => "a field is missing or of another kind",
    };
    if error.column() == 0 { what.to_owned() } else { format!("{what}, at column {}", error.column()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_whatever_their_end() {
        let mut input = io::Cursor::new(b"one\n\ntwo\r\nthree".to_vec());
        let mut lines = Vec::new();
        while let Some(Line::Bytes(line)) = read_line(&mut input).unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(lines, ["one", "", "two\r", "three"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let long = io::repeat(b'x').take(MAX_LINE_BYTES as u64 + 10);
        let mut input = io::BufReader::new(long.chain(&b"\nnext\n"[..]));
        assert!(matches!(read_line(&mut input).unwrap(), Some(Line::TooLong)));
        assert!(matches!(read_line(&mut input).unwrap(), Some(Line::Bytes(line)) if line == b"next"));
        assert!(read_line(&mut input).unwrap().is_none());
    }

    #[test]
    fn half_of_a_pair_is_told_from_a_whole_one() {
        for whole in ["", "\\ud83d\\ude00", "\\\\ud800", "\\n\\u00e9\\", "\\u12", "\\é", "\\ud83d\\ude00\\\\ud800"] {
            assert!(!has_half_a_pair(whole), "{whole}");
        }
        for half in ["\\ud800", "a\\uDBFFb", "\\udc00", "\\ud800\\ud800", "\\ude00\\ud83d", "\\\\\\ud800", "\\ud800\\"]
        {
            assert!(has_half_a_pair(half), "{half}");
        }
        let failure = parse(Line::Bytes(br#"{"role":"user","content":"a \ud800 b"}"#.to_vec())).unwrap_err();
        assert!(failure.message().contains("surrogate"), "{}", failure.message());
    }

    #[test]
    fn a_bad_line_is_told_without_its_content() {
        let deep = format!("{{\"role\":\"user\",\"parts\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for line in [
            "",
            "secret",
            "{}",
            "[]",
            "null",
            "{\"role\":\"secret\",\"content\":\"x\"}",
            "{\"role\":\"user\"}",
            "{\"role\":\"user\",\"content\":7}",
            "{\"role\":\"user\",\"content\":\"\\ud800 secret\"}",
            "{\"role\":\"user\",\"parts\":[{\"type\":\"text\"}]}",
            "{\"role\":\"user\",\"parts\":[],\"content\":\"secret\"}",
            "{\"role\":\"user\",\"content\":\"secret",
            deep.as_str(),
        ] {
            let failure = parse(Line::Bytes(line.as_bytes().to_vec())).unwrap_err();
            assert!(!format!("{} {:?}", failure.message(), failure.hint()).contains("secret"), "{line}");
        }
        assert!(parse(Line::Bytes(b"{\"role\":\"user\",\"content\":\"\xff\"}".to_vec())).is_err());
        assert!(parse(Line::TooLong).is_err());
    }
}
