//! One line of a rollout, and what the lines before it say about it: which answer it belongs to, and which tokens are new.
//!
//! Must not know: the tree.

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::{Json, MessagePart, MessageRole, Moment, TokenUsage};

use super::block::{self, Item};
use crate::transfer::foreign::{
    envelope::Template,
    line::{Block, Kind, NOT_JSON, Parsed, Said, Says, named, object, span, string, time},
};

/// The types of lines that are no messages, of all the versions we know.
const OTHER_TYPES: [&str; 6] =
    ["session_meta", "turn_context", "event_msg", "world_state", "inter_agent_communication", "security_risk_score"];

/// How long after its beginning a forked file may still repeat what its parent counted, in milliseconds: the history is copied at once.
const COPIED_WITHIN_MS: i64 = 1_000;

/// True for the type of a line of these files.
pub(in super::super) fn knows_type(kind: &str) -> bool {
    matches!(kind, "response_item" | "compacted") || OTHER_TYPES.contains(&kind)
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    record_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    instructions: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    forked_from_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cwd: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cli_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model_provider: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    git: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Git<'a> {
    #[serde(borrow, default)]
    branch: Option<&'a RawValue>,
    #[serde(borrow, default)]
    commit_hash: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct EventMsg<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    info: Option<&'a RawValue>,
    #[serde(default)]
    num_turns: Option<u64>,
    #[serde(borrow, default)]
    thread_name: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    total_token_usage: Option<Tokens>,
    #[serde(default)]
    last_token_usage: Option<Tokens>,
}

/// The names that Codex uses. Cached ones are among the input, reasoning ones among the output.
#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
struct Tokens {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    cached_input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    reasoning_output_tokens: u64,
}

impl Tokens {
    /// What was used since; `None` when a total went down, so that it is another count.
    fn since(self, before: Self) -> Option<Self> {
        Some(Self {
            input_tokens: self.input_tokens.checked_sub(before.input_tokens)?,
            cached_input_tokens: self.cached_input_tokens.checked_sub(before.cached_input_tokens)?,
            output_tokens: self.output_tokens.checked_sub(before.output_tokens)?,
            reasoning_output_tokens: self.reasoning_output_tokens.checked_sub(before.reasoning_output_tokens)?,
        })
    }

    fn usage(self) -> TokenUsage {
        TokenUsage {
            input: self.input_tokens.saturating_sub(self.cached_input_tokens),
            output: self.output_tokens,
            cache_read: self.cached_input_tokens,
            reasoning: self.reasoning_output_tokens,
            ..TokenUsage::default()
        }
    }
}

#[derive(Deserialize)]
struct Compacted<'a> {
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    replacement_history: Option<&'a RawValue>,
}

/// Reads the lines of one file, in order.
#[derive(Default)]
pub(in super::super) struct Reader {
    /// The id of the line that the next one follows.
    last: Option<String>,
    /// The answer that is going on.
    answer: Option<String>,
    /// The last answer, also when it is over.
    answered: Option<String>,
    /// Tokens that were counted before there was an answer.
    unclaimed: TokenUsage,
    total: Tokens,
    model: Option<String>,
    /// Where the person's turns began: the line before each.
    turns: Vec<Option<String>>,
    /// What the last thing that a person said follows.
    asked: Option<Option<String>>,
    began: Option<Moment>,
    is_fork: bool,
    has_meta: bool,
}

impl Reader {
    /// Reads a line; `whole` when its text is kept as it is, so that its message needs no envelope.
    pub(in super::super) fn parse(&mut self, number: u64, text: &str, whole: bool) -> Result<Parsed, &'static str> {
        let text = object(text)?;
        let shape: Shape<'_> = serde_json::from_str(text).map_err(|_| NOT_JSON)?;
        let (made_at, moment) = time(shape.timestamp);
        self.began = self.began.or(moment);
        let kind = string(shape.kind);
        let mut parsed = Parsed::of(number, text, Kind::Unknown);
        parsed.made_at = moment;
        let whole_line: Option<&RawValue> = serde_json::from_str(text).ok();
        match (kind.as_deref(), shape.payload) {
            (Some("response_item"), Some(payload)) => self.item(&mut parsed, text, payload, made_at, whole),
            (Some("compacted"), Some(payload)) => self.compacted(&mut parsed, text, payload, made_at, whole),
            (Some(kind), Some(payload)) => self.other(&mut parsed, kind, payload),
            // The first versions wrote items without anything around them.
            (Some(kind), None) if block::is_item(kind) => {
                if let Some(item) = whole_line {
                    self.item(&mut parsed, text, item, made_at, whole);
                }
            }
            (None, None) if shape.record_type.is_some() => parsed.kind = Kind::Other("state"),
            (None, None) if shape.instructions.is_some() || number == 1 => {
                if let Some(meta) = whole_line.filter(|_| shape.timestamp.is_some()) {
                    parsed.kind = Kind::Other("session_meta");
                    self.meta(&mut parsed.says, meta);
                }
            }
            _ => {}
        }
        Ok(parsed)
    }

    /// Gives the line the place behind the last.
    fn place(&mut self, parsed: &mut Parsed) {
        let id = parsed.number.to_string();
        parsed.parent.clone_from(&self.last);
        parsed.uuid = Some(id.clone());
        self.last = Some(id);
    }

    fn item(&mut self, parsed: &mut Parsed, text: &str, raw: &RawValue, made_at: Option<String>, whole: bool) {
        let (role, blocks) = match block::item(text, raw) {
            Item::Said(role, blocks) => (role, blocks),
            Item::Aside => return parsed.kind = Kind::Other("ghost_snapshot"),
            Item::Empty => return parsed.kind = Kind::Empty,
            Item::Unknown => return,
        };
        let is_answer = role == MessageRole::Assistant;
        let message_id = if is_answer {
            let id = self.answer.get_or_insert_with(|| format!("answer {}", parsed.number)).clone();
            self.answered = Some(id.clone());
            Some(id)
        } else {
            self.answer = None;
            None
        };
        if role == MessageRole::User && !blocks.iter().any(|block| matches!(block.part, MessagePart::ToolResult(_))) {
            self.asked = Some(self.last.clone());
        }
        self.place(parsed);
        let template = if whole { None } else { Template::cut(text, &blocks, block::values) };
        let model = self.model.clone().filter(|_| is_answer);
        let usage =
            is_answer.then(|| std::mem::take(&mut self.unclaimed)).filter(|usage| *usage != TokenUsage::default());
        parsed.kind =
            Kind::Said(Box::new(Said { message_id, model, usage, made_at, ..Said::new(role, blocks, template) }));
    }

    /// A compaction: what the model is given instead of all before.
    fn compacted(&mut self, parsed: &mut Parsed, text: &str, raw: &RawValue, made_at: Option<String>, whole: bool) {
        let Ok(payload) = serde_json::from_str::<Compacted<'_>>(raw.get()) else { return };
        let Ok(json) = Json::parse(raw.get()) else { return };
        let text_of = |raw: &RawValue| Some((MessagePart::Text(named(Some(raw))?), vec![span(text, raw)?]));
        let found = payload.message.and_then(text_of);
        let blocks = match found {
            Some((part, cuts)) => vec![Block { part, cuts, whole: json }],
            None => {
                let history: Vec<&RawValue> = payload
                    .replacement_history
                    .and_then(|raw| serde_json::from_str(raw.get()).ok())
                    .unwrap_or_default();
                let texts = history.into_iter().filter_map(|raw| match block::item(text, raw) {
                    Item::Said(_, blocks) => Some(blocks),
                    _ => None,
                });
                let mut texts: Vec<Block> =
                    texts.flatten().filter(|block| matches!(block.part, MessagePart::Text(_))).collect();
                if texts.is_empty() {
                    let cuts = span(text, raw).into_iter().collect();
                    texts.push(Block { part: MessagePart::Custom(json.clone()), cuts, whole: json });
                }
                texts
            }
        };
        self.answer = None;
        self.place(parsed);
        parsed.clears = true;
        parsed.is_compact_summary = true;
        let template = if whole { None } else { Template::cut(text, &blocks, block::values) };
        parsed.kind = Kind::Said(Box::new(Said { made_at, ..Said::new(MessageRole::User, blocks, template) }));
    }

    fn other(&mut self, parsed: &mut Parsed, kind: &str, payload: &RawValue) {
        let Some(name) = OTHER_TYPES.iter().find(|other| **other == kind) else { return };
        parsed.kind = Kind::Other(name);
        match *name {
            "session_meta" => self.meta(&mut parsed.says, payload),
            "turn_context" => {
                if let Ok(meta) = serde_json::from_str::<Meta<'_>>(payload.get()) {
                    self.model = named(meta.model).or(self.model.take());
                    parsed.says.model.clone_from(&self.model);
                    parsed.says.cwd = named(meta.cwd);
                }
            }
            "event_msg" => self.event(parsed, payload),
            _ => {}
        }
    }

    /// The first one speaks for the file; a fork has its parent's behind it.
    fn meta(&mut self, says: &mut Says, payload: &RawValue) {
        let Ok(meta) = serde_json::from_str::<Meta<'_>>(payload.get()) else { return };
        if std::mem::replace(&mut self.has_meta, true) {
            return;
        }
        let git: Option<Git<'_>> = meta.git.and_then(|git| serde_json::from_str(git.get()).ok());
        let parent = named(meta.forked_from_id);
        self.is_fork = parent.is_some();
        says.session = named(meta.id);
        says.parent = parent.or_else(|| meta.source.and_then(spawned_by));
        says.cwd = named(meta.cwd);
        says.version = named(meta.cli_version);
        says.provider = named(meta.model_provider);
        says.git_branch = git.as_ref().and_then(|git| named(git.branch));
        says.git_commit = git.as_ref().and_then(|git| named(git.commit_hash));
    }

    fn event(&mut self, parsed: &mut Parsed, payload: &RawValue) {
        let Ok(event) = serde_json::from_str::<EventMsg<'_>>(payload.get()) else { return };
        match string(event.kind).as_deref() {
            Some("user_message") => {
                let before = self.asked.take().unwrap_or_else(|| self.last.clone());
                self.turns.push(before);
            }
            Some("thread_rolled_back") => {
                let kept = self
                    .turns
                    .len()
                    .saturating_sub(usize::try_from(event.num_turns.unwrap_or(1)).unwrap_or(usize::MAX));
                if let Some(before) = self.turns.get(kept).cloned() {
                    self.turns.truncate(kept);
                    self.last = before;
                    self.answer = None;
                    // The line itself stands where the conversation goes on.
                    self.place(parsed);
                }
            }
            Some("token_count") => self.count(parsed, event.info),
            Some("thread_name_updated") => parsed.says.custom_title = named(event.thread_name),
            _ => {}
        }
    }

    /// Totals grow, and are told again and again; what counts is by how much. A fork repeats its parent's.
    fn count(&mut self, parsed: &mut Parsed, info: Option<&RawValue>) {
        let Some(info) = info.and_then(|info| serde_json::from_str::<Info>(info.get()).ok()) else { return };
        let new = match info.total_token_usage {
            Some(total) => {
                let new = total.since(self.total).or(info.last_token_usage).unwrap_or(total);
                self.total = total;
                new
            }
            None => info.last_token_usage.unwrap_or_default(),
        };
        let copied =
            |at: Moment| self.began.is_some_and(|began| at.as_millis() <= began.as_millis() + COPIED_WITHIN_MS);
        if new == Tokens::default() || (self.is_fork && parsed.made_at.is_some_and(copied)) {
            return;
        }
        self.answer = None;
        match &self.answered {
            Some(message_id) => {
                let (message_id, usage) = (message_id.clone(), new.usage());
                parsed.kind = Kind::Counted { kind: "event_msg", message_id, usage };
                self.place(parsed);
            }
            None => self.unclaimed = self.unclaimed.plus(new.usage()),
        }
    }
}

/// The session that began a sub-agent's.
fn spawned_by(source: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(borrow)]
        subagent: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Subagent<'a> {
        #[serde(borrow)]
        thread_spawn: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Spawn<'a> {
        #[serde(borrow)]
        parent_thread_id: &'a RawValue,
    }
    let source: Source<'_> = serde_json::from_str(source.get()).ok()?;
    let subagent: Subagent<'_> = serde_json::from_str(source.subagent.get()).ok()?;
    let spawn: Spawn<'_> = serde_json::from_str(subagent.thread_spawn.get()).ok()?;
    named(Some(spawn.parent_thread_id))
}
