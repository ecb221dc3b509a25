//! One line: what it is, and the few of its fields that matter to the tree.
//!
//! Must not know: other lines.

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::MessageRole;

use super::{block, usage::usage};
use crate::transfer::foreign::{
    envelope::Template,
    line::{Kind, NOT_JSON, Parsed, Said, Says, is_true, object, string, time},
};

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

/// Reads a line; `whole` when its text is kept as it is, so that its message needs no envelope.
pub(in super::super) fn parse(number: u64, text: &str, whole: bool) -> Result<Parsed, &'static str> {
    let text = object(text)?;
    let shape: Shape<'_> = serde_json::from_str(text).map_err(|_| NOT_JSON)?;
    let (made_at, moment) = time(shape.timestamp);
    let kind = kind_of(text, &shape, made_at, whole);
    let model = if let Kind::Said(said) = &kind { said.model.clone() } else { None };
    let parent = string(shape.parent_uuid);
    let logical = || string(shape.logical_parent_uuid).filter(|_| matches!(kind, Kind::Boundary));
    Ok(Parsed {
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
            model,
            ..Says::default()
        },
        ..Parsed::of(number, text, kind)
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
    let template = if whole { None } else { Template::cut(text, &blocks, block::values) };
    Kind::Said(Box::new(Said {
        message_id: string(inner.id).filter(|id| role == MessageRole::Assistant && !id.is_empty()),
        request_id: string(shape.request_id),
        model: string(inner.model).filter(|model| !model.starts_with('<')),
        stop_reason: string(inner.stop_reason),
        usage: inner.usage.filter(|_| role == MessageRole::Assistant).and_then(usage),
        made_at,
        ..Said::new(role, blocks, template)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
