//! Names and ids of calls as a form takes them, and which results belong to which.
//!
//! Must not know: what is called.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{Form, FormRules, mend::MAX_DEPTH, shape::Item, words};
use crate::{
    chain::{sha256, to_hex},
    json::{Json, depth},
    message::{Message, MessageMetadata, MessagePart, MessageRole},
    pairing::Repair,
};

/// How many calls OpenAI takes in one answer.
pub(super) const MOST_CALLS: usize = 128;

/// Hexadecimal digits that stand for what was left out of an id.
const DIGITS: usize = 8;

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if u8::try_from(c).is_ok_and(is_plain) { c } else { '_' }).collect()
}

/// A tool's name, as it is or as another.
pub(super) fn name(name: String, rules: &FormRules) -> Result<String, String> {
    if name.is_empty() {
        return Err(words::NO_NAME.to_owned());
    }
    let longest = rules.longest_name.max(words::NO_NAME.len());
    if name.len() <= longest && name.bytes().all(is_plain) {
        return Ok(name);
    }
    Err(plain(&name).chars().take(longest).collect())
}

/// An object for an input that is none, or that nests too deep; `None` when the input can stay.
pub(super) fn object(input: &Json) -> Option<Json> {
    let text = input.as_str().trim_ascii();
    if depth(text) >= MAX_DEPTH {
        return Json::of(&HashMap::from([("value", text)])).ok();
    }
    (!text.starts_with('{')).then(|| Json::of(&HashMap::from([("value", input)])).ok()).flatten()
}

/// How long an id may be. None is shorter than what tells ids apart.
fn limit(rules: &FormRules) -> usize {
    rules.longest_call_id.max(DIGITS)
}

fn is_taken(id: &str, form: Form, rules: &FormRules) -> bool {
    let is_known = form == Form::OpenAi || id.bytes().all(is_plain);
    is_known && !id.is_empty() && id.chars().count() <= limit(rules)
}

/// Another id for a call, the same whenever it is asked for: `number` tells those of one id apart.
fn other(id: &str, number: usize, rules: &FormRules) -> String {
    let digest = to_hex(&sha256(format!("{number} {id}").as_bytes()));
    let room = limit(rules).saturating_sub(DIGITS + 1);
    let kept: String = plain(id).chars().take(room.min(64)).collect();
    let digits: String = digest.chars().take(DIGITS).collect();
    if kept.is_empty() { digits } else { format!("{kept}_{digits}") }
}

/// Gives each call an id that the form takes and that no other call has, and its result the same.
pub(super) fn rename(items: &mut [Item], form: Form, rules: &FormRules, repairs: &mut Vec<Repair>) {
    let mut used: HashSet<String> = HashSet::new();
    let mut names: HashMap<String, VecDeque<String>> = HashMap::new();
    // How often each id was given another one, so that one that comes again and again is not tried from the beginning.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for item in items {
        if item.message.role != MessageRole::Tool {
            names.clear();
            if form == Form::OpenAi {
                // There ids need to differ within an answer only.
                used.clear();
                numbers.clear();
            }
        }
        let seq = item.number();
        for part in &mut item.message.parts {
            match part {
                MessagePart::ToolCall(call) => {
                    let old = call.call_id.clone();
                    let mut number = numbers.get(&old).copied().unwrap_or(0);
                    while !is_taken(&call.call_id, form, rules) || used.contains(&call.call_id) {
                        number += 1;
                        call.call_id = other(&old, number, rules);
                    }
                    used.insert(call.call_id.clone());
                    if call.call_id != old {
                        repairs.push(Repair::CallRenamed { seq, call_id: old.clone() });
                        numbers.insert(old.clone(), number);
                        item.is_changed = true;
                    }
                    names.entry(old).or_default().push_back(call.call_id.clone());
                }
                MessagePart::ToolResult(result) => {
                    let new = names.get_mut(&result.call_id).and_then(VecDeque::pop_front);
                    if let Some(new) = new.filter(|new| *new != result.call_id) {
                        result.call_id = new;
                        item.is_changed = true;
                    }
                }
                _ => {}
            }
        }
    }
}

/// Makes several answers of one with too many calls, each with its results behind it.
pub(super) fn split(items: Vec<Item>, form: Form, repairs: &mut Vec<Repair>) -> Vec<Item> {
    let many = |item: &Item| form == Form::OpenAi && item.message.calls().count() > MOST_CALLS;
    if !items.iter().any(many) {
        return items;
    }
    let mut out = Vec::with_capacity(items.len());
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        if !many(&item) {
            out.push(item);
            continue;
        }
        repairs.push(Repair::CallsSplit { seq: item.number() });
        let mut results: Vec<(Option<u64>, MessagePart)> = Vec::new();
        while let Some(tool) = items.next_if(|next| next.message.role == MessageRole::Tool) {
            results.extend(tool.message.parts.into_iter().map(|part| (tool.seq, part)));
        }
        out.extend(in_pieces(item, results));
    }
    out
}

fn in_pieces(item: Item, mut results: Vec<(Option<u64>, MessagePart)>) -> Vec<Item> {
    let Item { seq, message, .. } = item;
    let is_call = |part: &MessagePart| matches!(part, MessagePart::ToolCall(_));
    let (calls, mut said): (Vec<MessagePart>, Vec<MessagePart>) = message.parts.into_iter().partition(is_call);
    let mut out = Vec::new();
    for calls in calls.chunks(MOST_CALLS) {
        let ids: HashSet<&str> = calls.iter().filter_map(call_id).collect();
        let parts = std::mem::take(&mut said).into_iter().chain(calls.iter().cloned()).collect();
        let metadata = message.metadata.clone();
        out.push(Item::changed(seq, Message { role: MessageRole::Assistant, parts, metadata }));
        let (own, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut results)
            .into_iter()
            .partition(|(_, part)| answers(part).is_some_and(|id| ids.contains(id)));
        results = rest;
        let first = own.first().and_then(|(seq, _)| *seq);
        let parts = own.into_iter().map(|(_, part)| part).collect();
        let metadata = MessageMetadata::default();
        out.push(Item::changed(first, Message { role: MessageRole::Tool, parts, metadata }));
    }
    out
}

fn call_id(part: &MessagePart) -> Option<&str> {
    if let MessagePart::ToolCall(call) = part { Some(&call.call_id) } else { None }
}

fn answers(part: &MessagePart) -> Option<&str> {
    if let MessagePart::ToolResult(result) = part { Some(&result.call_id) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_become_what_the_form_takes() {
        let rules = FormRules::of(Form::Anthropic);
        assert_eq!(name("read_file-2".into(), &rules), Ok("read_file-2".into()));
        assert_eq!(name("files.réad".into(), &rules), Err("files_r_ad".into()));
        assert_eq!(name(String::new(), &rules), Err("tool".into()));
        assert_eq!(name("x".repeat(65), &rules), Err("x".repeat(64)));
        for id in ["", "a|b", &"y".repeat(200), "ééé"] {
            let other = other(id, 1, &rules);
            assert!(is_taken(&other, Form::Anthropic, &rules), "{id}: {other}");
        }
    }

    #[test]
    fn an_input_is_an_object_or_becomes_one() {
        let wrapped = |text: &str| object(&Json::parse(text).unwrap()).map(|json| json.as_str().to_owned());
        assert_eq!(wrapped(r#" {"a":1.0}"#), None);
        assert_eq!(wrapped("[1.0]").as_deref(), Some(r#"{"value":[1.0]}"#));
        assert_eq!(wrapped("null").as_deref(), Some(r#"{"value":null}"#));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(wrapped(&deep), Some(serde_json::json!({ "value": deep }).to_string()));
    }

    #[test]
    fn calls_of_one_id_are_told_apart_however_many_there_are() {
        let call = MessagePart::tool_call("c", "f", "{}").unwrap();
        let messages = (0..5_000).flat_map(|at| {
            let pair = [Message::assistant("a").with(call.clone()), Message::tool_result("c", "x")];
            pair.into_iter().map(move |message| Item { seq: Some(at), message, is_changed: false })
        });
        let mut items: Vec<Item> = messages.collect();
        let mut repairs = Vec::new();
        rename(&mut items, Form::Anthropic, &FormRules::of(Form::Anthropic), &mut repairs);
        let called: HashSet<&str> = items.iter().flat_map(|item| item.message.calls()).map(|it| &*it.call_id).collect();
        assert_eq!((called.len(), repairs.len()), (5_000, 4_999));
        let asks = |item: &Item| item.message.calls().next().map(|call| call.call_id.clone());
        let says = |item: &Item| item.message.results().next().map(|result| result.call_id.clone());
        assert!(items.chunks(2).all(|pair| asks(&pair[0]) == says(&pair[1])));
    }
}
