//! One line of a session of pi.
//!
//! Must not know: the tree.

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::{Json, MessagePart, MessageRole, TokenUsage, ToolResult, money::Money};

use super::block;
use crate::transfer::foreign::{
    envelope::Template,
    line::{Block, Kind, NOT_JSON, Parsed, Said, Says, named, object, span, string, time},
};

/// The types of lines that are no messages, of all the versions we know.
const OTHER_TYPES: [&str; 6] = ["session", "model_change", "thinking_level_change", "custom", "label", "session_info"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parent_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    version: Option<u64>,
    #[serde(borrow, default)]
    cwd: Option<&'a RawValue>,
    #[serde(borrow, default)]
    provider: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parent_session: Option<&'a RawValue>,
    #[serde(borrow, default)]
    branched_from: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inner<'a> {
    #[serde(borrow, default)]
    role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    provider: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_call_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    command: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage<'a> {
    #[serde(default)]
    input: u64,
    #[serde(default)]
    output: u64,
    #[serde(default)]
    cache_read: u64,
    #[serde(default)]
    cache_write: u64,
    #[serde(borrow, default)]
    cost: Option<Cost<'a>>,
}

#[derive(Deserialize)]
struct Cost<'a> {
    #[serde(borrow, default)]
    total: Option<&'a RawValue>,
}

/// Reads the lines of one file, in order. Files of the first version have no ids: each line follows the one before.
#[derive(Default)]
pub(in super::super) struct Reader {
    last: Option<String>,
    /// Ids count for nothing.
    is_flat: bool,
}

impl Reader {
    /// Reads a line; `whole` when its text is kept as it is, so that its message needs no envelope.
    pub(in super::super) fn parse(&mut self, number: u64, text: &str, whole: bool) -> Result<Parsed, &'static str> {
        let text = object(text)?;
        let shape: Shape<'_> = serde_json::from_str(text).map_err(|_| NOT_JSON)?;
        let (made_at, moment) = time(shape.timestamp);
        let name = string(shape.kind);
        let is_header = name.as_deref() == Some("session");
        let mut says = if is_header { header(&shape) } else { Says::default() };
        if name.as_deref() == Some("session_info") {
            says.custom_title = named(shape.name);
        }
        let mut clears = false;
        let kind = match name.as_deref() {
            Some("message") => message(text, shape.message, made_at, whole),
            Some("compaction") => {
                clears = true;
                summary(text, shape.summary, made_at, whole)
            }
            Some("branch_summary") => summary(text, shape.summary, made_at, whole),
            Some("custom_message") => {
                let blocks = shape.content.map(|content| block::blocks(text, content, false)).unwrap_or_default();
                user(text, blocks, made_at, whole)
            }
            Some(name) => {
                OTHER_TYPES.iter().find(|other| **other == name).map_or(Kind::Unknown, |name| Kind::Other(name))
            }
            None => Kind::Unknown,
        };
        if let Kind::Said(said) = &kind {
            says.model.clone_from(&said.model);
            says.provider.clone_from(&said.provider);
        }
        let mut parsed =
            Parsed { made_at: moment, clears, is_compact_summary: clears, says, ..Parsed::of(number, text, kind) };
        if is_header {
            self.is_flat = shape.version.unwrap_or(1) < 2;
        }
        match named(shape.id).filter(|_| !is_header && !self.is_flat) {
            Some(id) => {
                parsed.uuid = Some(id);
                parsed.parent = named(shape.parent_id);
            }
            None if is_header || matches!(parsed.kind, Kind::Unknown) => {}
            None => {
                let id = format!("line {number}");
                parsed.parent.clone_from(&self.last);
                parsed.uuid = Some(id.clone());
                self.last = Some(id);
            }
        }
        Ok(parsed)
    }
}

fn header(shape: &Shape<'_>) -> Says {
    Says {
        session: named(shape.id),
        parent: named(shape.parent_session).or_else(|| named(shape.branched_from)),
        cwd: named(shape.cwd),
        provider: named(shape.provider),
        model: named(shape.model_id),
        version: Some(shape.version.unwrap_or(1).to_string()),
        ..Says::default()
    }
}

fn user(text: &str, blocks: Vec<Block>, made_at: Option<String>, whole: bool) -> Kind {
    if blocks.is_empty() {
        return Kind::Empty;
    }
    let template = if whole { None } else { Template::cut(text, &blocks, block::values) };
    Kind::Said(Box::new(Said { made_at, ..Said::new(MessageRole::User, blocks, template) }))
}

fn summary(text: &str, summary: Option<&RawValue>, made_at: Option<String>, whole: bool) -> Kind {
    user(text, summary.and_then(|raw| block::said(text, raw)).into_iter().collect(), made_at, whole)
}

fn message(text: &str, raw: Option<&RawValue>, made_at: Option<String>, whole: bool) -> Kind {
    let inner: Option<Inner<'_>> =
        raw.filter(|raw| raw.get().starts_with('{')).and_then(|raw| serde_json::from_str(raw.get()).ok());
    let Some(inner) = inner else { return Kind::Empty };
    let content = |is_model| inner.content.map(|content| block::blocks(text, content, is_model)).unwrap_or_default();
    match string(inner.role).as_deref() {
        Some("assistant") => answer(text, &inner, content(true), made_at, whole),
        Some("toolResult") => {
            let Some(block) = raw.and_then(|raw| result(text, raw, &inner)) else { return Kind::Empty };
            user(text, vec![block], made_at, whole)
        }
        // What a person ran in the terminal, and what it gave.
        Some("bashExecution") => {
            let said = [inner.command, inner.output].into_iter().flatten();
            user(text, said.filter_map(|raw| block::said(text, raw)).collect(), made_at, whole)
        }
        Some("branchSummary" | "compactionSummary") => summary(text, inner.summary, made_at, whole),
        Some("user" | "custom" | "hookMessage") => user(text, content(false), made_at, whole),
        _ => Kind::Unknown,
    }
}

fn answer(text: &str, inner: &Inner<'_>, mut blocks: Vec<Block>, made_at: Option<String>, whole: bool) -> Kind {
    let error = inner.error_message.and_then(|raw| {
        let (message, code) = (named(Some(raw))?, string(inner.stop_reason));
        let whole = Json::parse(raw.get()).ok()?;
        Some(Block { part: MessagePart::Error { message, code }, cuts: vec![span(text, raw)?], whole })
    });
    blocks.extend(error);
    if blocks.is_empty() {
        // An answer that nothing came of.
        return Kind::Other("message");
    }
    let template = if whole { None } else { Template::cut(text, &blocks, block::values) };
    let usage: Option<Usage<'_>> = inner.usage.and_then(|usage| serde_json::from_str(usage.get()).ok());
    let cost = usage.as_ref().and_then(|usage| usage.cost.as_ref()?.total);
    let cost =
        cost.and_then(|cost| Money::rounded(&format!("{} USD", cost.get())).ok()).filter(|cost| cost.picos() > 0);
    Kind::Said(Box::new(Said {
        model: named(inner.model),
        provider: named(inner.provider),
        stop_reason: named(inner.stop_reason),
        cost: cost.map(|cost| cost.to_string()),
        usage: usage.map(|usage| TokenUsage {
            input: usage.input,
            output: usage.output,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            ..TokenUsage::default()
        }),
        made_at,
        ..Said::new(MessageRole::Assistant, blocks, template)
    }))
}

fn result(text: &str, raw: &RawValue, inner: &Inner<'_>) -> Option<Block> {
    let content = inner.content?;
    let part = MessagePart::ToolResult(ToolResult {
        call_id: named(inner.tool_call_id)?,
        content: block::tool_content(content)?,
        is_error: inner.is_error.is_some_and(|raw| raw.get() == "true"),
    });
    Some(Block { part, cuts: vec![span(text, content)?], whole: Json::parse(raw.get()).ok()? })
}
