//! What a message keeps of the lines it was made of: each line's JSON with the values that became parts cut out, so that no text is
//! kept twice, and everything else is kept to the letter.
//!
//! It stands in the message's metadata as
//! `{"claude-code":{"marks":["sidechain"…],"lines":[{"line":5,"blocks":[0],"cuts":[[410]],"json":{…}}]}}`: `blocks` are the numbers of the
//! blocks of the line that this message's next parts were, `cuts` has, for each block of the line, the places in `json` where a `0` stands
//! for a value of its part. `json` and `cuts` are absent where another message of the same line has them, or the line is residue.
//!
//! Must not know: the meaning of a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sessions_domain::{Json, Message, MessagePart};

use super::block::{Block, values};

/// The key in a message's own metadata.
#[derive(Serialize, Deserialize)]
struct Custom {
    #[serde(rename = "claude-code")]
    envelope: Envelope,
}

/// What a message keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Envelope {
    /// `sidechain`, `meta`, `compact-summary`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) marks: Vec<String>,
    /// Its lines, in the order of their parts.
    pub(super) lines: Vec<LineOf>,
}

impl Envelope {
    /// The metadata's JSON.
    pub(super) fn into_json(self) -> Option<Json> {
        Json::of(&Custom { envelope: self }).ok()
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
    cuts: Option<Vec<Vec<usize>>>,
    /// The line with its cuts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<Json>,
}

impl LineOf {
    /// A message's share of a line.
    pub(super) fn new(line: u64, blocks: Vec<usize>, template: Option<Template>) -> Self {
        let (cuts, json) = template.map(|template| (template.cuts, template.json)).unzip();
        Self { line, blocks, cuts, json }
    }
}

/// A line without the values of its parts.
#[derive(Clone, Debug)]
pub(super) struct Template {
    cuts: Vec<Vec<usize>>,
    json: Json,
}

impl Template {
    /// Cuts the values of the blocks out of a line.
    pub(super) fn cut(text: &str, blocks: &[Block]) -> Option<Self> {
        let mut spans = Vec::new();
        for (block, cuts) in blocks.iter().map(|block| &block.cuts).enumerate() {
            spans.extend(cuts.iter().enumerate().map(|(value, at)| (at.clone(), block, value)));
        }
        spans.sort_by_key(|(at, ..)| at.start);
        let mut cuts: Vec<Vec<usize>> = blocks.iter().map(|block| vec![0; block.cuts.len()]).collect();
        let (mut out, mut copied) = (String::new(), 0);
        for (at, block, value) in spans {
            out.push_str(text.get(copied..at.start)?);
            *cuts.get_mut(block)?.get_mut(value)? = out.len();
            out.push('0');
            copied = at.end;
        }
        out.push_str(text.get(copied..)?);
        Some(Self { cuts, json: Json::parse(&out).ok()? })
    }

    /// The template with the values of one block left in it.
    pub(super) fn uncut(mut self, block: usize, part: &MessagePart) -> Option<Self> {
        let mut own: Vec<_> = std::mem::take(self.cuts.get_mut(block)?).into_iter().zip(values(part)).collect();
        own.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut json = self.json.as_str().to_owned();
        for (at, value) in own {
            json = format!("{}{value}{}", json.get(..at)?, json.get(at.checked_add(1)?..)?);
            for cut in self.cuts.iter_mut().flatten().filter(|cut| **cut > at) {
                *cut = (*cut + value.len()).checked_sub(1)?;
            }
        }
        Some(Self { json: Json::parse(&json).ok()?, ..self })
    }

    /// Puts the values back.
    fn fill(&self, parts: &BTreeMap<usize, MessagePart>) -> Option<Vec<u8>> {
        let mut fillings = Vec::new();
        for (block, cuts) in self.cuts.iter().enumerate() {
            let values = values(parts.get(&block)?);
            if cuts.len() > values.len() {
                return None;
            }
            fillings.extend(cuts.iter().copied().zip(values));
        }
        fillings.sort_by_key(|(at, _)| *at);
        let json = self.json.as_str();
        let (mut out, mut copied) = (String::new(), 0);
        for (at, value) in fillings {
            out.push_str(json.get(copied..at)?);
            copied = at.checked_add(1)?;
            json.get(at..copied).filter(|mark| *mark == "0")?;
            out.push_str(&value);
        }
        out.push_str(json.get(copied..)?);
        Some(out.into_bytes())
    }
}

/// The lines a message was made of; none for a message that was not imported.
pub(in super::super) fn lines_of(message: &Message) -> Vec<LineOf> {
    let custom = message.metadata.custom.as_ref();
    custom.and_then(|custom| custom.decode::<Custom>().ok()).map(|custom| custom.envelope.lines).unwrap_or_default()
}

/// What is known of one line, from the messages it became.
#[derive(Debug, Default)]
pub(in super::super) struct Pieces {
    template: Option<Template>,
    parts: BTreeMap<usize, MessagePart>,
}

impl Pieces {
    /// Adds one message's share.
    pub(in super::super) fn add(&mut self, line: LineOf, parts: &[MessagePart]) {
        self.parts.extend(line.blocks.into_iter().zip(parts.iter().cloned()));
        let template = line.cuts.zip(line.json).map(|(cuts, json)| Template { cuts, json });
        self.template = self.template.take().or(template);
    }

    /// The line.
    pub(in super::super) fn join(&self) -> Option<Vec<u8>> {
        self.template.as_ref()?.fill(&self.parts)
    }
}
