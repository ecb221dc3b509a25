//! Conversations as providers' APIs have them, as lines: a list of messages, a request with such a list in it, or one message a line. Each
//! message becomes a line; what else a request says is a line before them, in which the list is empty.
//!
//! Must not know: how a provider spells messages.

use std::io::{self, BufRead, Cursor, Read};

use serde::Deserialize;
use serde_json::value::RawValue;
use sessions_domain::MessageRole;

use super::{
    Format, ImportError, MAX_LINE_BYTES,
    foreign::{
        self, Dialect,
        envelope::Template,
        line::{Block, Kind, NOT_JSON, Parsed, Said, Says, named, object, span, string},
    },
    transcript::Transcript,
};

/// The fields of a message and of a request that are looked at.
#[derive(Deserialize)]
pub(super) struct Shape<'a> {
    #[serde(borrow, default)]
    pub(super) role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) tool_call_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) stop_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    system: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
}

/// A message's blocks and whose they are; `None` for a role that is not known.
pub(super) type Speaks = fn(&str, &Shape<'_>) -> Option<(MessageRole, Vec<Block>)>;

/// What else a line says of its message.
pub(super) type Tells = fn(&Shape<'_>, &mut Said);

/// How one of the formats reads a message.
#[derive(Clone, Copy)]
pub(super) struct Tongue {
    pub(super) dialect: Dialect,
    pub(super) speaks: Speaks,
    pub(super) tells: Tells,
    /// The blocks of instructions that stand beside the messages.
    pub(super) instructs: fn(&str, &RawValue) -> Vec<Block>,
}

/// Reads a file, of which the lines up to `sealed` are in a log.
pub(super) fn read(tongue: Tongue, reader: impl BufRead, sealed: u64) -> Result<Transcript, ImportError> {
    let mut last = None;
    let lines = as_lines(reader)?;
    foreign::read(tongue.dialect, |number, text, whole| line(&tongue, &mut last, number, text, whole), lines, sealed)
}

/// One line; each message follows the one before it.
fn line(
    tongue: &Tongue,
    last: &mut Option<String>,
    number: u64,
    text: &str,
    whole: bool,
) -> Result<Parsed, &'static str> {
    let text = object(text)?;
    let shape: Shape<'_> = serde_json::from_str(text).map_err(|_| NOT_JSON)?;
    let kind = kind_of(tongue, text, &shape, whole);
    let model = if shape.role.is_none() { named(shape.model) } else { None };
    let said = if let Kind::Said(said) = &kind { said.model.clone() } else { None };
    let mut parsed = Parsed::of(number, text, kind);
    parsed.says = Says { model: model.or(said), ..Says::default() };
    if matches!(parsed.kind, Kind::Said(_)) {
        let id = format!("line {number}");
        parsed.parent = last.replace(id.clone());
        parsed.uuid = Some(id);
    }
    Ok(parsed)
}

fn kind_of(tongue: &Tongue, text: &str, shape: &Shape<'_>, whole: bool) -> Kind {
    let spoken = match (shape.role, shape.messages) {
        (Some(_), None) => (tongue.speaks)(text, shape),
        // A request: its messages are lines of their own.
        (None, Some(list)) if list.get().split_ascii_whitespace().collect::<String>() == "[]" => {
            let blocks = shape.system.map(|system| (tongue.instructs)(text, system)).unwrap_or_default();
            if blocks.is_empty() {
                return Kind::Other("request");
            }
            Some((MessageRole::System, blocks))
        }
        _ => None,
    };
    let Some((role, blocks)) = spoken else { return Kind::Unknown };
    if blocks.is_empty() {
        return Kind::Empty;
    }
    let template = if whole { None } else { Template::cut(text, &blocks, tongue.dialect.values) };
    let mut said = Said::new(role, blocks, template);
    if role == MessageRole::Assistant {
        (tongue.tells)(shape, &mut said);
    }
    Kind::Said(Box::new(said))
}

/// A request with its list.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    messages: &'a RawValue,
}

/// A file as lines. One that is lines already is read as it comes, and so is what is no list of messages.
fn as_lines<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut begun = Vec::new();
    reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut begun)?;
    if !is_message(bare(&begun)) {
        let room = MAX_LINE_BYTES.saturating_sub(begun.len());
        reader.by_ref().take(room as u64).read_to_end(&mut begun)?;
        if let Some(lines) = std::str::from_utf8(bare(&begun)).ok().and_then(listed) {
            return Ok(Box::new(Cursor::new(lines.into_bytes())));
        }
    }
    Ok(Box::new(Cursor::new(begun).chain(reader)))
}

/// True for one message as JSON.
fn is_message(line: &[u8]) -> bool {
    let shape =
        Some(line).filter(|line| line.trim_ascii_start().starts_with(b"{")).map(serde_json::from_slice::<Shape<'_>>);
    matches!(shape, Some(Ok(Shape { role: Some(_), messages: None, .. })))
}

/// Bytes without the mark of an encoding before them.
fn bare(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The lines of a list, or of a request with one.
fn listed(text: &str) -> Option<String> {
    let (head, list) = match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(list) => (None, list),
        Err(_) => {
            let request: Request<'_> = Some(text)
                .filter(|text| text.trim_start().starts_with('{'))
                .and_then(|text| serde_json::from_str(text).ok())?;
            let at = span(text, request.messages)?;
            let list = serde_json::from_str(request.messages.get()).ok()?;
            (Some(format!("{}[]{}", text.get(..at.start)?.trim_start(), text.get(at.end..)?.trim_end())), list)
        }
    };
    let lines = head.iter().map(String::as_str).chain(list.iter().map(|message| message.get()));
    // Between values a line break is a blank like others, and in strings there is none.
    Some(lines.map(|line| line.replace(['\n', '\r'], " ") + "\n").collect())
}

/// A text block's type and text, as both formats have it.
#[derive(Deserialize)]
struct TextBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a RawValue,
    #[serde(borrow)]
    text: &'a RawValue,
}

/// The blocks of a content: a string, or a list of which texts are known and the rest is kept to the letter.
pub(super) fn pieces(text: &str, content: &RawValue) -> Vec<Block> {
    use sessions_domain::{Json, MessagePart};
    let block = |raw: &RawValue, found: Option<(MessagePart, &RawValue)>| {
        let whole = Json::parse(raw.get()).ok()?;
        let (part, at) = found.unwrap_or_else(|| (MessagePart::Custom(whole.clone()), raw));
        Some(Block { part, cuts: vec![span(text, at)?], whole })
    };
    if let Some(said) = named(Some(content)) {
        return block(content, Some((MessagePart::Text(said), content))).into_iter().collect();
    }
    let list: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
    let known = |raw: &'_ RawValue| -> Option<Block> {
        let piece = serde_json::from_str::<TextBlock<'_>>(raw.get()).ok().filter(|_| raw.get().starts_with('{'));
        let piece = piece.filter(|piece| string(Some(piece.kind)).as_deref() == Some("text"));
        let said = piece.and_then(|piece| Some((MessagePart::Text(string(Some(piece.text))?), piece.text)));
        block(raw, said)
    };
    list.into_iter().map(known).collect::<Option<_>>().unwrap_or_default()
}

/// Which of the formats a file begins as, by what only one of them has; where nothing tells, it is OpenAI's.
pub(super) fn detect(head: &[u8]) -> Option<Format> {
    let compact: Vec<u8> = head.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let has = |key: &str| compact.windows(key.len()).any(|window| window == key.as_bytes());
    let any = |keys: &[&str]| keys.iter().any(|key| has(key));
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_list = compact.starts_with(b"[{");
    let is_request = compact.starts_with(b"{") && has(r#""messages":[{"#);
    let is_cut = || compact.starts_with(br#"{"role":"#);
    let roles = [
        r#""role":"user""#,
        r#""role":"assistant""#,
        r#""role":"system""#,
        r#""role":"developer""#,
        r#""role":"tool""#,
    ];
    let says = any(&[r#""content":"#, r#""tool_calls":"#]);
    if !(is_list || is_request || is_message(line) || is_cut()) || !any(&roles) || !says {
        return None;
    }
    let openai = [r#""tool_calls":"#, r#""tool_call_id":"#, r#""type":"image_url""#, r#""role":"developer""#];
    let anthropic = [
        r#""type":"tool_use""#,
        r#""type":"tool_result""#,
        r#""type":"thinking""#,
        r#""type":"redacted_thinking""#,
        r#""system":"#,
        r#""source":{"#,
    ];
    Some(if any(&anthropic) && !any(&openai) { Format::Anthropic } else { Format::OpenAi })
}
