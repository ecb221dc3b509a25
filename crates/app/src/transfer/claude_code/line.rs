//! One line: what it is, and the few of its fields that matter to the tree.
//!
//! Must not know: other lines.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::{MAX_JSON_DEPTH, MessageRole, Moment, TokenUsage, json_depth};

use super::{
    block::{self, Block},
    envelope::Template,
};

/// How deep a line may nest: the envelope that a message keeps of it stands four levels deep in the record.
const MAX_DEPTH: usize = MAX_JSON_DEPTH - 8;

/// The types that are no messages, of all the versions we know.
const OTHER_TYPES: [&str; 21] = [
    "agent-color",
    "agent-name",
    "agent-setting",
    "ai-title",
    "attachment",
    "attribution-snapshot",
    "bridge-session",
    "content-replacement",
    "custom-title",
    "file-history-snapshot",
    "last-prompt",
    "mode",
    "permission-mode",
    "pr-link",
    "progress",
    "queue-operation",
    "summary",
    "system",
    "tag",
    "task-summary",
    "worktree-state",
];

/// True for the type of a line of these transcripts.
pub(in super::super) fn knows_type(kind: &str) -> bool {
    matches!(kind, "user" | "assistant") || OTHER_TYPES.contains(&kind)
}

/// Why a line is set aside that is no JSON.
pub(super) const NOT_JSON: &str = "the line is not a JSON object, or has a field twice";

/// A line that parses.
pub(super) struct Parsed {
    pub(super) number: u64,
    pub(super) uuid: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) made_at: Option<Moment>,
    pub(super) is_sidechain: bool,
    pub(super) is_meta: bool,
    pub(super) is_compact_summary: bool,
    pub(super) says: Says,
    pub(super) kind: Kind,
    /// SHA-256 of the text.
    pub(super) digest: [u8; 32],
}

/// What a line says about the session.
#[derive(Default)]
pub(super) struct Says {
    pub(super) session: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) cwd: Option<String>,
    pub(super) version: Option<String>,
    pub(super) git_branch: Option<String>,
    pub(super) custom_title: Option<String>,
    pub(super) ai_title: Option<String>,
    pub(super) summary: Option<String>,
}

/// What a line is.
pub(super) enum Kind {
    /// A message, or a part of one.
    Said(Box<Said>),
    /// A compaction.
    Boundary,
    /// A line of another known type.
    Other(&'static str),
    /// A message without content.
    Empty,
    /// Anything else.
    Unknown,
}

/// The message of a line.
pub(super) struct Said {
    pub(super) role: MessageRole,
    pub(super) message_id: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) stop_reason: Option<String>,
    pub(super) usage: Option<TokenUsage>,
    pub(super) made_at: Option<String>,
    pub(super) blocks: Vec<Block>,
    /// The line without what became parts; `None` when the line is kept whole.
    pub(super) template: Option<Template>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subtype: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uuid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parent_uuid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logical_parent_uuid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    agent_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cwd: Option<&'a RawValue>,
    #[serde(borrow, default)]
    version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    git_branch: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_sidechain: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_meta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_compact_summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    custom_title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ai_title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// The names that the provider uses.
#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
}

/// A field's value, when it is a string.
pub(super) fn string(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

fn is_true(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() == "true")
}

/// Where a value stands in the text it was borrowed from.
pub(super) fn span(text: &str, raw: &RawValue) -> Option<Range<usize>> {
    let start = (raw.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start.checked_add(raw.get().len())?;
    (text.get(start..end)? == raw.get()).then_some(start..end)
}

/// Reads a line; `whole` when its text is kept as it is, so that its message needs no envelope.
pub(super) fn parse(number: u64, text: &str, whole: bool) -> Result<Parsed, &'static str> {
    let text = text.trim_start_matches('\u{feff}').trim_matches([' ', '\t', '\r']);
    if !text.starts_with('{') {
        return Err(NOT_JSON);
    }
    if json_depth(text) > MAX_DEPTH {
        return Err("the line nests too deep");
    }
    let shape: Shape<'_> = serde_json::from_str(text).map_err(|_| NOT_JSON)?;
    let made_at = string(shape.timestamp).filter(|at| Moment::parse(at).is_some());
    let moment = made_at.as_deref().and_then(Moment::parse);
    let kind = kind_of(text, &shape, made_at, whole);
    let parent = string(shape.parent_uuid);
    let logical = || string(shape.logical_parent_uuid).filter(|_| matches!(kind, Kind::Boundary));
    Ok(Parsed {
        number,
        uuid: string(shape.uuid),
        parent: parent.or_else(logical),
        made_at: moment,
        is_sidechain: is_true(shape.is_sidechain),
        is_meta: is_true(shape.is_meta),
        is_compact_summary: is_true(shape.is_compact_summary),
        says: Says {
            session: string(shape.session_id),
            agent: string(shape.agent_id),
            cwd: string(shape.cwd),
            version: string(shape.version),
            git_branch: string(shape.git_branch).filter(|branch| !branch.is_empty()),
            custom_title: string(shape.custom_title),
            ai_title: string(shape.ai_title),
            summary: string(shape.summary),
        },
        kind,
        digest: sessions_domain::chain::sha256(text.as_bytes()),
    })
}

fn kind_of(text: &str, shape: &Shape<'_>, made_at: Option<String>, whole: bool) -> Kind {
    let name = string(shape.kind);
    let role = match name.as_deref() {
        Some("user") => MessageRole::User,
        Some("assistant") => MessageRole::Assistant,
        Some("system") if string(shape.subtype).as_deref() == Some("compact_boundary") => return Kind::Boundary,
        Some(name) => {
            return OTHER_TYPES.iter().find(|other| **other == name).map_or(Kind::Unknown, |name| Kind::Other(name));
        }
        None => return Kind::Unknown,
    };
    let inner: Option<Inner<'_>> = shape
        .message
        .filter(|message| message.get().starts_with('{'))
        .and_then(|message| serde_json::from_str(message.get()).ok());
    let Some(inner) = inner else { return Kind::Empty };
    let blocks = inner.content.map(|content| block::blocks(text, content, role)).unwrap_or_default();
    if blocks.is_empty() {
        return Kind::Empty;
    }
    let template = if whole { None } else { Template::cut(text, &blocks) };
    let usage = inner.usage.and_then(|usage| serde_json::from_str::<Usage>(usage.get()).ok());
    Kind::Said(Box::new(Said {
        role,
        message_id: string(inner.id).filter(|id| role == MessageRole::Assistant && !id.is_empty()),
        request_id: string(shape.request_id),
        model: string(inner.model).filter(|model| !model.starts_with('<')),
        stop_reason: string(inner.stop_reason),
        usage: usage.filter(|_| role == MessageRole::Assistant).map(|usage| TokenUsage {
            input: usage.input_tokens.unwrap_or(0),
            output: usage.output_tokens.unwrap_or(0),
            cache_read: usage.cache_read_input_tokens.unwrap_or(0),
            cache_write: usage.cache_creation_input_tokens.unwrap_or(0),
            reasoning: 0,
        }),
        made_at,
        blocks,
        template,
    }))
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

    #[test]
    fn a_line_that_is_no_object_has_a_reason() {
        for text in ["", "[]", "nonsense", "{", r#"{"type":"user","type":"user"}"#, "{}x"] {
            assert_eq!(parse(1, text, false).err(), Some(NOT_JSON), "{text}");
        }
        let deep = format!(r#"{{"type":"user","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(parse(1, &deep, false).err(), Some("the line nests too deep"));
        assert!(matches!(parse(1, "{}", false).unwrap().kind, Kind::Unknown));
    }
}
