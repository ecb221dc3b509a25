//! What a message keeps of the lines it was made of: each line's JSON with the values that became parts cut out, so that no text is
//! kept twice, and everything else is kept to the letter. A value is cut out only where it is spelled as we would spell it, so a line comes
//! back byte by byte.
//!
//! It stands in the message's metadata under the name of the format, as
//! `{"claude-code":{"marks":["sidechain"…],"lines":[{"line":5,"blocks":[0],"cuts":[[410]],"json":{…}}]}}`: `blocks` are the numbers of the
//! blocks of the line that this message's next parts were, `cuts` has, for each block of the line, the places in `json` where a `0` stands
//! for a value of its part (`null`: it was left in `json`). `json` and `cuts` are absent where another message of the same line has them, or
//! the line is residue. `around` has what stands before and behind the JSON, where that is something.
//!
//! Must not know: the meaning of a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sessions_domain::{Json, Message, MessagePart};

use super::line::{Block, inner};
use crate::transfer::Format;

/// The values of a part, as a format spells them.
pub(in super::super) type Spelling = fn(&MessagePart) -> Vec<String>;

/// The keys in a message's own metadata.
#[derive(Deserialize)]
struct Custom {
    #[serde(default, rename = "claude-code")]
    claude_code: Option<Envelope>,
    #[serde(default)]
    codex: Option<Envelope>,
    #[serde(default)]
    pi: Option<Envelope>,
    #[serde(default)]
    openai: Option<Envelope>,
    #[serde(default)]
    anthropic: Option<Envelope>,
}

/// What a message keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct Envelope {
    /// `sidechain`, `meta`, `compact-summary`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in super::super) marks: Vec<String>,
    /// Its lines, in the order of their parts.
    pub(in super::super) lines: Vec<LineOf>,
}

impl Envelope {
    /// The metadata's JSON.
    pub(super) fn to_json(&self, format: Format) -> Option<Json> {
        Json::of(&BTreeMap::from([(format.name(), self)])).ok()
    }
}

/// One line of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct LineOf {
    /// Its number in the file.
    pub(in super::super) line: u64,
    /// The blocks that became parts of this message.
    pub(in super::super) blocks: Vec<usize>,
    /// The places of the cuts, for each block of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cuts: Option<Cuts>,
    /// What stands around the line's JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    around: Option<(String, String)>,
    /// The line with its cuts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<Json>,
}

impl LineOf {
    /// A message's share of a line.
    pub(super) fn new(line: u64, blocks: Vec<usize>, template: Option<Template>) -> Self {
        match template {
            Some(Template { cuts, json, around, .. }) => {
                Self { line, blocks, cuts: Some(cuts), around, json: Some(json) }
            }
            None => Self { line, blocks, cuts: None, around: None, json: None },
        }
    }
}

/// For each block the place of each of its values; `None`: the value was not cut out.
type Cuts = Vec<Vec<Option<usize>>>;

/// A line without the values of its parts.
#[derive(Clone, Debug)]
pub(in super::super) struct Template {
    cuts: Cuts,
    json: Json,
    around: Option<(String, String)>,
    values: Spelling,
}

impl Template {
    /// Cuts the values of the blocks out of a line's JSON.
    pub(in super::super) fn cut(text: &str, blocks: &[Block], values: Spelling) -> Option<Self> {
        let mut spans = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            let spelled = values(&block.part);
            let as_we_would = |value: usize| {
                let raw = block.cuts.get(value).and_then(|span| text.get(span.clone()));
                raw.is_some() && raw == spelled.get(value).map(String::as_str)
            };
            let cuts = block.cuts.iter().enumerate().filter(|(value, _)| as_we_would(*value));
            spans.extend(cuts.map(|(value, span)| (span.clone(), at, value)));
        }
        spans.sort_by_key(|(at, ..)| at.start);
        let mut cuts: Cuts = blocks.iter().map(|block| vec![None; block.cuts.len()]).collect();
        let (mut out, mut copied) = (String::new(), 0);
        for (at, block, value) in spans {
            out.push_str(text.get(copied..at.start)?);
            *cuts.get_mut(block)?.get_mut(value)? = Some(out.len());
            out.push('0');
            copied = at.end;
        }
        out.push_str(text.get(copied..)?);
        Some(Self { cuts, json: Json::parse(&out).ok()?, around: None, values })
    }

    /// Notes what stands around the JSON in the whole line.
    pub(super) fn within(&mut self, line: &str) {
        let json = inner(line);
        let around = line.split_once(json).filter(|_| json.len() < line.len());
        self.around = around.map(|(before, behind)| (before.to_owned(), behind.to_owned()));
    }

    /// The template with the values of one block left in it.
    pub(super) fn uncut(mut self, block: usize, part: &MessagePart) -> Option<Self> {
        let places = std::mem::take(self.cuts.get_mut(block)?);
        let own = places.into_iter().zip((self.values)(part));
        let mut own: Vec<_> = own.filter_map(|(at, value)| Some((at?, value))).collect();
        own.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut json = self.json.as_str().to_owned();
        for (at, value) in own {
            json = format!("{}{value}{}", json.get(..at)?, json.get(at.checked_add(1)?..)?);
            for cut in self.cuts.iter_mut().flatten().flatten().filter(|cut| **cut > at) {
                *cut = (*cut + value.len()).checked_sub(1)?;
            }
        }
        Some(Self { json: Json::parse(&json).ok()?, ..self })
    }

    /// Puts the values back.
    fn fill(&self, parts: &BTreeMap<usize, MessagePart>) -> Option<Vec<u8>> {
        let mut fillings = Vec::new();
        for (block, cuts) in self.cuts.iter().enumerate() {
            if cuts.iter().all(Option::is_none) {
                continue;
            }
            let values = (self.values)(parts.get(&block)?);
            if cuts.len() > values.len() {
                return None;
            }
            fillings.extend(cuts.iter().copied().zip(values).filter_map(|(at, value)| Some((at?, value))));
        }
        fillings.sort_by_key(|(at, _)| *at);
        let json = self.json.as_str();
        let (before, behind) = self.around.as_ref().map_or(("", ""), |(before, behind)| (before, behind));
        let (mut out, mut copied) = (before.to_owned(), 0);
        for (at, value) in fillings {
            out.push_str(json.get(copied..at)?);
            copied = at.checked_add(1)?;
            json.get(at..copied).filter(|mark| *mark == "0")?;
            out.push_str(&value);
        }
        out.push_str(json.get(copied..)?);
        out.push_str(behind);
        Some(out.into_bytes())
    }
}

/// What a message keeps of a file of this format, if it was imported from one.
pub(in super::super) fn envelope_of(message: &Message, format: Format) -> Option<Envelope> {
    let custom = message.metadata.custom.as_ref()?;
    // Most metadata is no envelope, and decoding is not free.
    custom.as_str().contains(format.name()).then_some(())?;
    let custom: Custom = custom.decode().ok()?;
    match format {
        Format::ClaudeCode => custom.claude_code,
        Format::Codex => custom.codex,
        Format::Pi => custom.pi,
        Format::OpenAi => custom.openai,
        Format::Anthropic => custom.anthropic,
        _ => None,
    }
}

/// What is known of one line, from the messages it became.
#[derive(Debug, Default)]
pub(in super::super) struct Pieces {
    template: Option<LineOf>,
    parts: BTreeMap<usize, MessagePart>,
}

impl Pieces {
    /// Adds one message's share. What another message said of a block before holds.
    pub(in super::super) fn add(&mut self, line: LineOf, parts: &[MessagePart]) {
        for (block, part) in line.blocks.iter().zip(parts) {
            self.parts.entry(*block).or_insert_with(|| part.clone());
        }
        if self.template.is_none() && line.json.is_some() {
            self.template = Some(line);
        }
    }

    /// True when these blocks are spoken for.
    pub(in super::super) fn has(&self, line: &LineOf) -> bool {
        line.blocks.iter().any(|block| self.parts.contains_key(block))
    }

    /// True when the line can be put together from messages.
    pub(in super::super) fn is_whole(&self) -> bool {
        self.template.is_some()
    }

    /// The line.
    pub(in super::super) fn join(&self, values: Spelling) -> Option<Vec<u8>> {
        let line = self.template.as_ref()?;
        let (cuts, json, around) = (line.cuts.clone()?, line.json.clone()?, line.around.clone());
        Template { cuts, json, around, values }.fill(&self.parts)
    }
}
