//! One message as a form takes it, whatever stands around it: texts, inputs, files and what only a provider understands.
//!
//! Must not know: other messages, or for which provider it is.

use super::{
    Form, FormRules,
    calls::{name, object},
    custom::{self, Stands},
    media::{corrected, media, text_of},
    words,
};
use crate::{
    json::{Json, MAX_JSON_DEPTH},
    message::{FileRef, Message, MessageMetadata, MessagePart, MessageRole, ToolCall, ToolContent, ToolResult},
    pairing::Repair,
};

/// JSON of others may nest so deep inside a request.
pub(super) const MAX_DEPTH: usize = MAX_JSON_DEPTH - 8;

/// What became of a message.
#[derive(Default)]
pub(super) struct Mended {
    /// What is left of it.
    pub(super) parts: Vec<MessagePart>,
    /// Calls that stood in a message that makes none: they make an answer behind it.
    pub(super) calls: Vec<MessagePart>,
    /// Files of results that stand behind them.
    pub(super) files: Vec<MessagePart>,
    pub(super) repairs: Vec<Repair>,
}

/// True for what providers take for no text.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(is_blank_char)
}

pub(super) fn is_blank_char(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Mends a message.
pub(super) fn mend(seq: u64, message: Message, form: Form, rules: &FormRules) -> Mended {
    let mut work = Mending { seq, form, rules, out: Mended::default() };
    match message.role {
        MessageRole::Tool => work.tool(message.parts),
        role => {
            let stands = match role {
                MessageRole::System => Stands::System,
                MessageRole::User | MessageRole::Tool => Stands::User,
                MessageRole::Assistant => Stands::Answer,
            };
            for part in message.parts {
                work.part(part, stands);
            }
            work.calls_last();
        }
    }
    work.out
}

/// A text that is no longer than the form takes.
pub(super) fn fitting(text: String, rules: &FormRules) -> Result<String, String> {
    let longest = rules.longest_text;
    if text.len() <= longest {
        return Ok(text);
    }
    let length = text.chars().count();
    if length <= longest {
        return Ok(text);
    }
    // The mark is no longer than with the largest number that it may say.
    let room = longest.saturating_sub(words::cut(length).chars().count());
    let mark: String = words::cut(length - room).chars().take(longest).collect();
    Err(text.chars().take(room).chain(mark.chars()).collect())
}

struct Mending<'a> {
    seq: u64,
    form: Form,
    rules: &'a FormRules,
    out: Mended,
}

impl Mending<'_> {
    fn part(&mut self, part: MessagePart, stands: Stands) {
        let seq = self.seq;
        match part {
            MessagePart::Text(text) => self.text(text),
            MessagePart::Reasoning { .. } if stands == Stands::Answer => self.out.parts.push(part),
            MessagePart::Reasoning { .. } => self.out.repairs.push(Repair::ReasoningLeftOut { seq }),
            MessagePart::ToolCall(call) => {
                let call = self.call(call);
                if stands == Stands::Answer {
                    self.out.parts.push(call);
                } else {
                    self.out.repairs.push(Repair::PartMoved { seq });
                    self.out.calls.push(call);
                }
            }
            MessagePart::ToolResult(result) => {
                // Nothing asked for it here: what it says stands as text.
                self.out.repairs.push(Repair::PartMoved { seq });
                match result.content {
                    ToolContent::Text(text) => self.text(text),
                    ToolContent::Parts(parts) => parts.into_iter().for_each(|part| self.stray(part, stands)),
                }
            }
            MessagePart::File(file) => {
                let part = self.file(file, stands);
                self.out.parts.push(part);
            }
            MessagePart::Error { message, code } => {
                self.out.repairs.push(Repair::ErrorAsText { seq });
                self.text(words::error(&message, code.as_deref()));
            }
            MessagePart::Custom(json) => {
                let part = self.custom(json, stands);
                self.out.parts.extend(part);
            }
        }
    }

    /// What stands in a result that is none here.
    fn stray(&mut self, part: MessagePart, stands: Stands) {
        match part {
            MessagePart::ToolCall(_) | MessagePart::Reasoning { .. } => {
                self.out.repairs.push(Repair::CustomLeftOut { seq: self.seq });
            }
            // Results in results: no provider has them, and their depth is that of the message's JSON.
            part => self.part(part, stands),
        }
    }

    fn text(&mut self, text: String) {
        if is_blank(&text) {
            self.out.repairs.push(Repair::BlankText { seq: self.seq });
            return;
        }
        let text = self.cut(text);
        self.out.parts.push(MessagePart::Text(text));
    }

    fn cut(&mut self, text: String) -> String {
        fitting(text, self.rules).unwrap_or_else(|cut| {
            self.out.repairs.push(Repair::TextCut { seq: self.seq });
            cut
        })
    }

    fn call(&mut self, call: ToolCall) -> MessagePart {
        let (seq, call_id) = (self.seq, call.call_id);
        let mut input = call.input;
        if let Some(mended) = without_half_pairs(&input) {
            self.out.repairs.push(Repair::EscapesMended { seq });
            input = mended;
        }
        if let Some(wrapped) = Some(&input).filter(|_| self.form == Form::Anthropic).and_then(object) {
            self.out.repairs.push(Repair::InputWrapped { seq, call_id: call_id.clone() });
            input = wrapped;
        }
        let name = name(call.name, self.rules).unwrap_or_else(|other| {
            self.out.repairs.push(Repair::ToolRenamed { seq, call_id: call_id.clone() });
            other
        });
        MessagePart::ToolCall(ToolCall { call_id, name, input })
    }

    /// A file where it stands, or a text in its place.
    fn file(&mut self, file: FileRef, stands: Stands) -> MessagePart {
        let seq = self.seq;
        let file = match corrected(&file) {
            Some(right) => {
                self.out.repairs.push(Repair::FileTranslated { seq });
                right
            }
            None => file,
        };
        let is_open = matches!(stands, Stands::User | Stands::Result);
        if is_open && media(&file, self.form).is_some() {
            return MessagePart::File(file);
        }
        if let Some(text) = Some(&file).filter(|_| is_open).and_then(text_of) {
            self.out.repairs.push(Repair::FileTranslated { seq });
            return MessagePart::Text(self.cut(words::contents(&file, &text)));
        }
        self.out.repairs.push(Repair::FileLeftOut { seq });
        MessagePart::Text(self.cut(words::not_sent(&file)))
    }

    /// JSON in a result, which is what the tool gave: where the form has no place for it, it stands as text.
    fn structured(&mut self, json: Json, stands: Stands) -> Option<MessagePart> {
        let seq = self.seq;
        let text = json.as_str().to_owned();
        let before = self.out.repairs.len();
        if let Some(part) = self.custom(json, stands) {
            return Some(part);
        }
        self.out.repairs.truncate(before);
        self.out.repairs.push(Repair::CustomAsText { seq });
        Some(MessagePart::Text(self.cut(text)))
    }

    fn custom(&mut self, json: Json, stands: Stands) -> Option<MessagePart> {
        let seq = self.seq;
        let json = match without_half_pairs(&json) {
            Some(mended) => {
                self.out.repairs.push(Repair::EscapesMended { seq });
                mended
            }
            None => json,
        };
        let is_thought = stands == Stands::Answer && custom::redacted(&json).is_some();
        let is_flat = crate::json::depth(json.as_str()) <= MAX_DEPTH;
        if is_flat && (is_thought || custom::is_taken(&json, self.form, stands)) {
            return Some(MessagePart::Custom(json));
        }
        if let Some(file) = custom::file(&json) {
            self.out.repairs.push(Repair::FileTranslated { seq });
            return Some(self.file(file, stands));
        }
        self.out.repairs.push(Repair::CustomLeftOut { seq });
        None
    }

    /// Puts calls behind all else that an answer says.
    fn calls_last(&mut self) {
        let is_call = |part: &MessagePart| matches!(part, MessagePart::ToolCall(_));
        let first = self.out.parts.iter().position(is_call).unwrap_or(self.out.parts.len());
        if self.out.parts.iter().skip(first).all(is_call) {
            return;
        }
        self.out.repairs.push(Repair::PartMoved { seq: self.seq });
        let (calls, rest) = std::mem::take(&mut self.out.parts).into_iter().partition(is_call);
        self.out.parts = rest;
        let mut calls: Vec<MessagePart> = calls;
        self.out.parts.append(&mut calls);
    }

    /// The results of a tool's message; what else it says stands in one of them.
    fn tool(&mut self, parts: Vec<MessagePart>) {
        let mut results: Vec<ToolResult> = Vec::new();
        let mut before: Vec<MessagePart> = Vec::new();
        for part in parts {
            match part {
                MessagePart::ToolResult(mut result) => {
                    if !before.is_empty() {
                        let behind = parts_of(std::mem::replace(&mut result.content, ToolContent::Parts(Vec::new())));
                        let parts = std::mem::take(&mut before).into_iter().chain(behind).collect();
                        result.content = ToolContent::Parts(parts);
                    }
                    results.push(result);
                }
                part => {
                    self.out.repairs.push(Repair::PartMoved { seq: self.seq });
                    match results.last_mut() {
                        Some(result) => {
                            let content = std::mem::replace(&mut result.content, ToolContent::Parts(Vec::new()));
                            let mut parts = parts_of(content);
                            parts.push(part);
                            result.content = ToolContent::Parts(parts);
                        }
                        None => before.push(part),
                    }
                }
            }
        }
        for result in results {
            let result = self.result(result);
            self.out.parts.push(MessagePart::ToolResult(result));
        }
    }

    fn result(&mut self, result: ToolResult) -> ToolResult {
        let ToolResult { call_id, content, is_error } = result;
        let mut content = match content {
            ToolContent::Text(text) if is_blank(&text) => ToolContent::Parts(Vec::new()),
            ToolContent::Text(text) => ToolContent::Text(text),
            ToolContent::Parts(parts) => {
                let kept = std::mem::take(&mut self.out.parts);
                parts.into_iter().for_each(|part| self.inner(part, is_error));
                ToolContent::Parts(std::mem::replace(&mut self.out.parts, kept))
            }
        };
        if matches!(&content, ToolContent::Parts(parts) if parts.is_empty()) {
            self.out.repairs.push(Repair::ResultEmpty { seq: self.seq, call_id: call_id.clone() });
            content = ToolContent::Text(words::NO_OUTPUT.to_owned());
        }
        let is_marked = is_error && self.form == Form::OpenAi;
        if is_marked {
            self.out.repairs.push(Repair::ErrorMarked { seq: self.seq, call_id: call_id.clone() });
            content = failed(content);
        }
        let parts = match &mut content {
            ToolContent::Text(text) => {
                *text = self.cut(std::mem::take(text));
                &mut []
            }
            ToolContent::Parts(parts) => parts.as_mut_slice(),
        };
        for part in parts {
            if let MessagePart::Text(text) = part {
                *text = self.cut(std::mem::take(text));
            }
        }
        ToolResult { call_id, content, is_error: is_error && !is_marked }
    }

    /// A part of a result's content.
    fn inner(&mut self, part: MessagePart, is_error: bool) {
        let seq = self.seq;
        // OpenAI has no files in results, and Anthropic none where a call failed.
        let is_closed = self.form == Form::OpenAi || is_error;
        let outside = if is_closed { Stands::User } else { Stands::Result };
        let part = match part {
            MessagePart::File(file) => Some(self.file(file, outside)),
            MessagePart::Custom(json) => self.structured(json, outside),
            MessagePart::ToolResult(_) | MessagePart::ToolCall(_) | MessagePart::Reasoning { .. } => {
                self.out.repairs.push(Repair::CustomLeftOut { seq });
                None
            }
            part => return self.part(part, Stands::Result),
        };
        let Some(part) = part else { return };
        let file = match &part {
            MessagePart::File(file) => Some(file.clone()),
            MessagePart::Custom(json) => Some(custom::file(json).unwrap_or_else(unnamed)),
            _ => None,
        };
        match file.filter(|_| is_closed) {
            Some(file) => {
                self.out.repairs.push(Repair::FileMoved { seq });
                let text = self.cut(words::follows(&file));
                self.out.parts.push(MessagePart::Text(text));
                self.out.files.push(part);
            }
            None => self.out.parts.push(part),
        }
    }
}

/// A file of which nothing is known here.
fn unnamed() -> FileRef {
    FileRef { media_type: "application/octet-stream".to_owned(), name: None, artifact: None, url: None }
}

/// The content of a failed call, with the words that say so.
fn failed(content: ToolContent) -> ToolContent {
    let mark = |text: &str| format!("{}{text}", words::FAILED);
    match content {
        ToolContent::Text(text) => ToolContent::Text(mark(&text)),
        ToolContent::Parts(mut parts) => {
            match parts.first_mut() {
                Some(MessagePart::Text(text)) => *text = mark(text),
                _ => parts.insert(0, MessagePart::text(words::FAILED.trim_end())),
            }
            ToolContent::Parts(parts)
        }
    }
}

fn parts_of(content: ToolContent) -> Vec<MessagePart> {
    match content {
        ToolContent::Text(text) => vec![MessagePart::Text(text)],
        ToolContent::Parts(parts) => parts,
    }
}

/// JSON with `\ufffd` for each escape that is half of a surrogate pair; `None` when it has none.
fn without_half_pairs(json: &Json) -> Option<Json> {
    let text = json.as_str();
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match unit(at) {
            Some(0xD800..0xDC00) if unit(at + 6).is_some_and(|low| (0xDC00..0xE000).contains(&low)) => at += 12,
            Some(0xD800..0xE000) => {
                out.push_str(text.get(copied..at)?);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            Some(_) => at += 6,
            // In JSON the escaped character is one byte.
            None => at += 2,
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(text.get(copied..)?);
    Json::parse(&out).ok()
}

/// The message with the most that mending and what surrounds it may make of it. Ids of calls stay as they are: they count nothing.
pub(super) fn most(message: &Message, form: Form, rules: &FormRules) -> Message {
    let Mended { mut parts, calls, files, .. } = mend(0, message.clone(), form, rules);
    parts.extend(calls);
    parts.extend(files);
    // A picture may turn out to be one too many.
    let mut labels = Vec::new();
    for part in &parts {
        let inner: &[MessagePart] = match part {
            MessagePart::ToolResult(ToolResult { content: ToolContent::Parts(parts), .. }) => parts,
            part => std::slice::from_ref(part),
        };
        labels.extend(inner.iter().filter_map(label).map(MessagePart::Text));
    }
    parts.extend(labels);
    if message.role == MessageRole::System {
        let texts = parts.iter().filter(|part| matches!(part, MessagePart::Text(_))).count();
        if texts > 0 && super::shape::may_be_users(form, rules) {
            // The parts may stand by themselves as well, so what joins them is beside them, and what a cut says.
            let whole = words::instructions(&joined(&parts));
            let is_cut = fitting(whole.clone(), rules).is_err();
            let mark = is_cut.then(|| words::cut(whole.chars().count()));
            let joins = std::iter::repeat_n("\n".to_owned(), texts - 1);
            parts.extend(std::iter::once(words::instructions("")).chain(joins).chain(mark).map(MessagePart::Text));
        }
    }
    Message { role: message.role, parts, metadata: MessageMetadata::default() }
}

/// The texts of parts.
pub(super) fn joined(parts: &[MessagePart]) -> String {
    let texts =
        parts.iter().filter_map(|part| if let MessagePart::Text(text) = part { Some(text.as_str()) } else { None });
    texts.collect::<Vec<_>>().join("\n")
}

/// What stands for a picture that is not sent after all.
pub(super) fn label(part: &MessagePart) -> Option<String> {
    match part {
        MessagePart::File(file) => Some(words::not_sent(file)),
        MessagePart::Custom(json) => custom::file(json).map(|file| words::not_sent(&file)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pairs_are_replaced_and_whole_ones_stay() {
        let cases = [
            (r#"{"a":"\ud83d\ude00"}"#, None),
            (r#"{"a":"\\ud83d"}"#, None),
            (r#"{"a":"\ud83d"}"#, Some(r#"{"a":"\ufffd"}"#)),
            (r#"["\ude00\ud83d\ude00x"]"#, Some(r#"["\ufffd\ud83d\ude00x"]"#)),
            (r#"["\uD83D\n\u00e9"]"#, Some(r#"["\ufffd\n\u00e9"]"#)),
        ];
        for (text, mended) in cases {
            let json = without_half_pairs(&Json::parse(text).unwrap());
            assert_eq!(json.as_ref().map(Json::as_str), mended, "{text}");
        }
    }

    #[test]
    fn a_text_is_cut_to_what_the_form_takes_and_stays_so() {
        for longest in [0, 5, 40, 41, 60] {
            let rules = FormRules { longest_text: longest, ..FormRules::of(Form::OpenAi) };
            let cut = fitting("é".repeat(61), &rules).unwrap_err();
            assert!(cut.chars().count() <= longest, "{longest}");
            assert_eq!(fitting(cut.clone(), &rules), Ok(cut));
        }
        assert!(fitting("é".repeat(60), &FormRules { longest_text: 60, ..FormRules::of(Form::OpenAi) }).is_ok());
    }
}
