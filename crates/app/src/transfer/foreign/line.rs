//! One line of another program's file: what it is, and the few of its fields that matter to the tree.
//!
//! Must not know: other lines, or how a format spells them.

use std::ops::Range;

use serde_json::value::RawValue;
use sessions_domain::{Json, MAX_JSON_DEPTH, MessagePart, MessageRole, Moment, TokenUsage, json_depth};

use super::envelope::Template;

/// How deep a line may nest: the envelope that a message keeps of it stands four levels deep in the record.
const MAX_DEPTH: usize = MAX_JSON_DEPTH - 8;

/// Why a line is set aside that is no JSON.
pub(in super::super) const NOT_JSON: &str = "the line is not a JSON object, or has a field twice";

/// A line that parses.
pub(in super::super) struct Parsed {
    pub(in super::super) number: u64,
    /// Its id in the file, which no other line has.
    pub(in super::super) uuid: Option<String>,
    /// The id of the line it follows.
    pub(in super::super) parent: Option<String>,
    pub(in super::super) made_at: Option<Moment>,
    pub(in super::super) is_sidechain: bool,
    pub(in super::super) is_meta: bool,
    /// True for a summary that stands for all before it.
    pub(in super::super) is_compact_summary: bool,
    /// True when the message hides what it follows.
    pub(in super::super) clears: bool,
    pub(in super::super) says: Says,
    pub(in super::super) kind: Kind,
    /// SHA-256 of the text.
    pub(in super::super) digest: [u8; 32],
}

impl Parsed {
    /// A line that says nothing yet.
    pub(in super::super) fn of(number: u64, text: &str, kind: Kind) -> Self {
        Self {
            number,
            uuid: None,
            parent: None,
            made_at: None,
            is_sidechain: false,
            is_meta: false,
            is_compact_summary: false,
            clears: false,
            says: Says::default(),
            kind,
            digest: sessions_domain::chain::sha256(text.as_bytes()),
        }
    }
}

/// What a line says about the session. What is said first holds, of titles the last.
#[derive(Default)]
pub(in super::super) struct Says {
    pub(in super::super) session: Option<String>,
    pub(in super::super) agent: Option<String>,
    /// The session that this one was made from.
    pub(in super::super) parent: Option<String>,
    pub(in super::super) cwd: Option<String>,
    pub(in super::super) provider: Option<String>,
    pub(in super::super) model: Option<String>,
    pub(in super::super) version: Option<String>,
    pub(in super::super) git_branch: Option<String>,
    pub(in super::super) git_commit: Option<String>,
    pub(in super::super) custom_title: Option<String>,
    pub(in super::super) ai_title: Option<String>,
    pub(in super::super) summary: Option<String>,
}

/// What a line is.
pub(in super::super) enum Kind {
    /// A message, or a part of one.
    Said(Box<Said>),
    /// A compaction.
    Boundary,
    /// Tokens of an answer that stands before, to be added to it.
    Counted { kind: &'static str, message_id: String, usage: TokenUsage },
    /// A line of another known type.
    Other(&'static str),
    /// A message without content.
    Empty,
    /// Anything else.
    Unknown,
}

/// The message of a line.
pub(in super::super) struct Said {
    pub(in super::super) role: MessageRole,
    pub(in super::super) message_id: Option<String>,
    pub(in super::super) request_id: Option<String>,
    pub(in super::super) model: Option<String>,
    pub(in super::super) provider: Option<String>,
    pub(in super::super) stop_reason: Option<String>,
    pub(in super::super) cost: Option<String>,
    pub(in super::super) usage: Option<TokenUsage>,
    pub(in super::super) made_at: Option<String>,
    pub(in super::super) blocks: Vec<Block>,
    /// The line without what became parts; `None` when the line is kept whole.
    pub(in super::super) template: Option<Template>,
}

impl Said {
    /// A message of a role, with what its blocks were cut from.
    pub(in super::super) fn new(role: MessageRole, blocks: Vec<Block>, template: Option<Template>) -> Self {
        Self {
            role,
            message_id: None,
            request_id: None,
            model: None,
            provider: None,
            stop_reason: None,
            cost: None,
            usage: None,
            made_at: None,
            blocks,
            template,
        }
    }
}

/// A piece of a message's content.
pub(in super::super) struct Block {
    /// What it became.
    pub(in super::super) part: MessagePart,
    /// Where the values of the part stand, in the order of the format's spelling; what is not listed stays in the envelope.
    pub(in super::super) cuts: Vec<Range<usize>>,
    /// The whole block.
    pub(in super::super) whole: Json,
}

impl Block {
    /// The call that it answers.
    pub(super) fn answers(&self) -> Option<&str> {
        if let MessagePart::ToolResult(result) = &self.part { Some(&result.call_id) } else { None }
    }

    /// The call that it makes.
    pub(super) fn calls(&self) -> Option<&str> {
        if let MessagePart::ToolCall(call) = &self.part { Some(&call.call_id) } else { None }
    }
}

/// The text of a line without what may stand around its JSON, when it can be an object that is not too deep.
pub(in super::super) fn object(text: &str) -> Result<&str, &'static str> {
    let text = inner(text);
    if !text.starts_with('{') {
        return Err(NOT_JSON);
    }
    if json_depth(text) > MAX_DEPTH {
        return Err("the line nests too deep");
    }
    Ok(text)
}

/// A line without the mark of an encoding before it, and without blanks around it.
pub(super) fn inner(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim_matches([' ', '\t', '\r'])
}

/// A field's value, when it is a string.
pub(in super::super) fn string(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// A field's value, when it is a string with something in it.
pub(in super::super) fn named(raw: Option<&RawValue>) -> Option<String> {
    string(raw).filter(|text| !text.is_empty())
}

/// True for a field that says so.
pub(in super::super) fn is_true(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() == "true")
}

/// A time as it stands in a field, when it is one.
pub(in super::super) fn time(raw: Option<&RawValue>) -> (Option<String>, Option<Moment>) {
    let at = string(raw).filter(|at| Moment::parse(at).is_some());
    let moment = at.as_deref().and_then(Moment::parse);
    (at, moment)
}

/// Where a value stands in the text it was borrowed from.
pub(in super::super) fn span(text: &str, raw: &RawValue) -> Option<Range<usize>> {
    let start = (raw.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start.checked_add(raw.get().len())?;
    (text.get(start..end)? == raw.get()).then_some(start..end)
}

/// The text with `\ufffd` for each escape that is half of a surrogate pair; `None` when it has none.
pub(super) fn without_half_pairs(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out: Option<String> = None;
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match unit(at) {
            Some(0xD800..0xDC00) if unit(at + 6).is_some_and(|low| (0xDC00..0xE000).contains(&low)) => at += 12,
            Some(0xD800..0xE000) => {
                let out = out.get_or_insert_default();
                out.push_str(text.get(copied..at).unwrap_or_default());
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            Some(_) => at += 6,
            None => {
                // The escaped character may be longer than a byte in what is no JSON anyway.
                let escaped = text.get(at + 1..).and_then(|rest| rest.chars().next());
                at += 1 + escaped.map_or(0, char::len_utf8);
            }
        }
    }
    let mut out = out?;
    out.push_str(text.get(copied..).unwrap_or_default());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pairs_are_found_and_whole_ones_left() {
        let cases = [
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud83d""#, None),
            (r#""a\é""#, None),
            (r#""\ud83d""#, Some(r#""\ufffd""#)),
            (r#""\ude00\ud83d\ude00x""#, Some(r#""\ufffd\ud83d\ude00x""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\uD83D\n\u00e9""#, Some(r#""\ufffd\n\u00e9""#)),
            ("\\", None),
            ("\\u12", None),
        ];
        for (text, mended) in cases {
            assert_eq!(without_half_pairs(text).as_deref(), mended, "{text}");
        }
    }
}
