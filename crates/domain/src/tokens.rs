//! What of a message is counted in tokens, and how sure a count is.
//!
//! **Counting rule 1**. A part has the tokens of its texts, each counted by itself:
//!
//! | part | counted | exact where the counter is |
//! |---|---|---|
//! | text | its text | yes |
//! | reasoning | its text, and an estimate of its signature | without a signature |
//! | tool call | the tool's name, and the arguments as they are written | yes |
//! | tool result | its text, or its parts by this rule | as its parts |
//! | file | [`PICTURE`], or [`DOCUMENT`] for each page of a PDF that stands in its address; a text that stands there, about as a text | no |
//! | error | its message | yes |
//! | custom | its JSON, as it is written | yes |
//!
//! Roles, ids and what a provider writes around a message are not the message's: they are its model's [`Framing`].
//!
//! Must not know: any tokenizer.

mod estimate;

use std::{iter::Sum, ops::Add};

use serde::{Deserialize, Serialize};

pub use self::estimate::estimate_text;
use crate::{
    form,
    message::{FileRef, Message, MessagePart, ToolContent},
};

/// The name of the estimate that stands in where no encoding is published ([`estimate_text`]).
pub const ESTIMATE: &str = "estimate-1";

/// Tokens of a picture whose size nobody said. Providers count by pixels: about width × height / 750 and at most some 1 600 at one of
/// them (<https://platform.claude.com/docs/en/build-with-claude/vision>).
pub const PICTURE: u64 = 1_500;

/// Tokens of a page of a document, which is sent as its text and its picture: 1 500 to 3 000 by one provider's count
/// (<https://platform.claude.com/docs/en/build-with-claude/pdf-support>). A PDF tells its pages, or they are guessed by its bytes. Any other file counts as
/// one: how long a recording is, nobody said.
pub const DOCUMENT: u64 = 2_000;

/// A page of a PDF that does not tell its pages, in bytes.
const PAGE_BYTES: usize = 50_000;

/// How sure a count is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exactness {
    /// As the encoding counts.
    #[default]
    Exact,
    /// About so many.
    Estimate,
}

impl Exactness {
    /// Exact when both are.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exact, Self::Exact) => Self::Exact,
            _ => Self::Estimate,
        }
    }
}

/// A number of tokens. Sums do not overflow, and are exact when all their parts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// How many.
    pub count: u64,
    /// How sure that is.
    pub exactness: Exactness,
}

impl Tokens {
    /// As many as the encoding has.
    pub const fn exact(count: u64) -> Self {
        Self { count, exactness: Exactness::Exact }
    }

    /// About so many.
    pub const fn estimate(count: u64) -> Self {
        Self { count, exactness: Exactness::Estimate }
    }

    /// The same number, an estimate where the counter that made it gives no exact counts.
    #[must_use]
    pub const fn counted(self, by_exact_counter: bool) -> Self {
        if by_exact_counter { self } else { Self::estimate(self.count) }
    }
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { count: self.count.saturating_add(other.count), exactness: self.exactness.and(other.exactness) }
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(tokens: I) -> Self {
        tokens.fold(Self::default(), Add::add)
    }
}

/// Tokens of one part by counting rule 1, `count` being exact ([`Tokens::counted`] says so where it is not).
pub fn part(part: &MessagePart, count: &dyn Fn(&str) -> u64) -> Tokens {
    let texts = |texts: &[&str]| texts.iter().map(|text| Tokens::exact(count(text))).sum();
    match part {
        MessagePart::Text(text) => texts(&[text]),
        MessagePart::Reasoning { text, signature } => {
            texts(&[text]) + signature.as_deref().map_or_else(Tokens::default, sealed)
        }
        MessagePart::ToolCall(call) => texts(&[&call.name, call.input.as_str()]),
        MessagePart::ToolResult(result) => match &result.content {
            ToolContent::Text(text) => texts(&[text]),
            ToolContent::Parts(parts) => parts.iter().map(|inner| self::part(inner, count)).sum(),
        },
        MessagePart::File(file) => Tokens::estimate(of_file(file)),
        MessagePart::Error { message, .. } => texts(&[message]),
        MessagePart::Custom(json) => texts(&[json.as_str()]),
    }
}

/// Tokens of each part of a message, in order.
pub fn parts(message: &Message, count: &dyn Fn(&str) -> u64) -> Vec<Tokens> {
    message.parts.iter().map(|inner| part(inner, count)).collect()
}

/// Tokens of a message: the sum of its parts, without what a provider writes around it.
pub fn message(message: &Message, count: &dyn Fn(&str) -> u64) -> Tokens {
    message.parts.iter().map(|inner| part(inner, count)).sum()
}

/// A signature is reasoning that only its provider can read, and it is not billed as the letters that we see. So it is estimated by its
/// length, which an encoding would make twice as much of.
fn sealed(signature: &str) -> Tokens {
    Tokens::estimate(by_length(signature))
}

/// A token for every four bytes begun: for what is base64 of something else.
const fn by_length(encoded: &str) -> u64 {
    (encoded.len() as u64).div_ceil(4)
}

/// The pages of a PDF that is base64.
fn pages(encoded: &str) -> u64 {
    let bytes = form::decoded(encoded, usize::MAX);
    // An object of each page says that it is one, unless the objects are packed. Of all pages together, it has an s behind.
    let mut told = 0;
    let mut rest = bytes.as_slice();
    while let Some(at) = rest.windows(5).position(|five| five == b"/Type") {
        rest = rest.get(at + 5..).unwrap_or_default();
        let kind = rest.trim_ascii_start();
        told += u64::from(kind.starts_with(b"/Page") && !kind.get(5).is_some_and(u8::is_ascii_alphabetic));
    }
    if told > 0 { told } else { bytes.len().div_ceil(PAGE_BYTES).max(1) as u64 }
}

fn of_file(file: &FileRef) -> u64 {
    let kind = |beginning: &str| {
        file.media_type.get(..beginning.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(beginning))
    };
    let inside = file.url.as_deref().filter(|url| url.starts_with("data:")).and_then(|url| url.split_once(','));
    match inside {
        _ if kind("image/") => PICTURE,
        Some((head, data)) if kind("text/") || kind("application/json") => {
            if head.ends_with(";base64") {
                by_length(data)
            } else {
                estimate_text(data)
            }
        }
        Some((_, data)) if kind("application/pdf") => DOCUMENT.saturating_mul(pages(data)),
        _ => DOCUMENT,
    }
}

/// What a provider writes around messages, in tokens. Only OpenAI published any of it, and calls it an estimate itself, so a sum with
/// framing in it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framing {
    /// Once around a request.
    pub per_request: u64,
    /// Around each message.
    pub per_message: u64,
    /// Around each tool call: its id, and what sets name and arguments apart.
    pub per_call: u64,
    /// Around each result of a tool: the id of its call.
    pub per_result: u64,
}

impl Framing {
    /// Three a message and three a request, as published for chat completions (`How_to_count_tokens_with_tiktoken` in
    /// <https://github.com/openai/openai-cookbook>, section 6, for models since 2023-06). Nothing is published of calls and results inside a
    /// conversation: eight each are our estimate. It is what other providers' models get too.
    pub const CHAT: Self = Self { per_request: 3, per_message: 3, per_call: 8, per_result: 8 };

    /// None at all.
    pub const NONE: Self = Self { per_request: 0, per_message: 0, per_call: 0, per_result: 0 };

    /// What is written around this message. Always an estimate.
    pub fn around(&self, message: &Message) -> Tokens {
        let times = |each: u64, number: usize| each.saturating_mul(number as u64);
        let calls = times(self.per_call, message.calls().count());
        let results = times(self.per_result, message.results().count());
        Tokens::estimate(self.per_message.saturating_add(calls).saturating_add(results))
    }
}

impl Default for Framing {
    fn default() -> Self {
        Self::CHAT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Json, MessageMetadata, MessageRole, ToolResult};

    /// Every letter a token, so that a sum tells what was counted.
    fn letters(text: &str) -> u64 {
        text.len() as u64
    }

    fn result(content: ToolContent) -> MessagePart {
        MessagePart::ToolResult(ToolResult { call_id: "an id".to_owned(), content, is_error: true })
    }

    fn file(media_type: &str, url: Option<&str>) -> MessagePart {
        let (media_type, url) = (media_type.to_owned(), url.map(str::to_owned));
        MessagePart::File(FileRef { media_type, name: Some("a name".to_owned()), artifact: None, url })
    }

    fn pdf(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let of_three = |three: &[u8]| {
            let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            let letters = (0..=three.len()).map(move |at| LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char);
            letters.collect::<String>()
        };
        format!("data:application/pdf;base64,{}", bytes.chunks(3).map(of_three).collect::<String>())
    }

    fn cases() -> Vec<(MessagePart, Tokens)> {
        let signed = |text: &str, signature: Option<&str>| MessagePart::Reasoning {
            text: text.to_owned(),
            signature: signature.map(str::to_owned),
        };
        let error = MessagePart::Error { message: "over".to_owned(), code: Some("529".to_owned()) };
        let nested = vec![MessagePart::text("abc"), file("image/png", None), MessagePart::text("de")];
        vec![
            (MessagePart::text(""), Tokens::exact(0)),
            (MessagePart::text("four"), Tokens::exact(4)),
            (signed("hm", None), Tokens::exact(2)),
            (signed("hm", Some("123456789")), Tokens::estimate(2 + 3)),
            (MessagePart::tool_call("an id", "ls", r#"{"a":1.0}"#).unwrap(), Tokens::exact(2 + 9)),
            (result(ToolContent::Text("found".to_owned())), Tokens::exact(5)),
            (result(ToolContent::Parts(nested)), Tokens::estimate(5 + PICTURE)),
            (error, Tokens::exact(4)),
            (MessagePart::Custom(Json::parse(r#"{"type":"x"}"#).unwrap()), Tokens::exact(12)),
            (file("image/png", Some("https://example.org/a.png")), Tokens::estimate(PICTURE)),
            (file("IMAGE/JPEG", Some("data:image/jpeg;base64,AAAA")), Tokens::estimate(PICTURE)),
            (file("application/pdf", None), Tokens::estimate(DOCUMENT)),
            (file("é", None), Tokens::estimate(DOCUMENT)),
            (file("text/plain", Some("https://example.org/a.txt")), Tokens::estimate(DOCUMENT)),
            (file("text/plain", Some("data:text/plain,123456789")), Tokens::estimate(5)),
            (file("text/plain", Some("data:text/plain;base64,aGVsbG8gd29ybGQ=")), Tokens::estimate(4)),
            (
                file("application/pdf", Some(&pdf(b"/Type /Pages x /Type/Page y /Type  /Page"))),
                Tokens::estimate(2 * DOCUMENT),
            ),
            (file("application/pdf", Some(&pdf(&[7; 120_000]))), Tokens::estimate(3 * DOCUMENT)),
            (file("application/pdf", Some("data:application/pdf;base64,*")), Tokens::estimate(DOCUMENT)),
        ]
    }

    #[test]
    fn each_kind_of_part_counts_by_rule_1() {
        for (case, tokens) in cases() {
            assert_eq!(part(&case, &letters), tokens, "{case:?}");
        }
    }

    #[test]
    fn a_message_is_the_sum_of_its_parts_and_a_part_more_is_never_less() {
        let (mut whole, mut before) = (Message::user("to begin with"), Tokens::exact(13));
        for (more, tokens) in cases() {
            whole = whole.with(more);
            before = before + tokens;
            assert_eq!(message(&whole, &letters), before);
            assert_eq!(parts(&whole, &letters).into_iter().sum::<Tokens>(), before);
        }
        assert_eq!(before.exactness, Exactness::Estimate);
        let empty = Message { role: MessageRole::User, parts: Vec::new(), metadata: MessageMetadata::default() };
        assert_eq!(message(&empty, &letters), Tokens::exact(0));
    }

    #[test]
    fn sums_do_not_overflow_and_are_as_sure_as_the_least_sure_of_them() {
        let (exact, estimate) = (Tokens::exact(u64::MAX), Tokens::estimate(1));
        assert_eq!(exact + Tokens::exact(1), exact);
        for sum in [exact + estimate, estimate + exact] {
            assert_eq!(sum, Tokens::estimate(u64::MAX));
        }
        let most = |_: &str| u64::MAX;
        assert_eq!(message(&Message::user("a").with(MessagePart::text("b")), &most), exact);
        assert_eq!(Tokens::exact(3).counted(false), Tokens::estimate(3));
        assert_eq!(Tokens::exact(3).counted(true), Tokens::exact(3));
        assert_eq!(estimate.counted(true), estimate);
    }

    #[test]
    fn framing_is_of_a_message_its_calls_and_its_results() {
        let framing = Framing { per_request: 1_000, per_message: 100, per_call: 10, per_result: 1 };
        let call = MessagePart::tool_call("a", "t", "{}").unwrap();
        let calls = Message::assistant("").with(call.clone()).with(call);
        assert_eq!(framing.around(&calls), Tokens::estimate(120));
        assert_eq!(framing.around(&Message::tool_result("a", "ok")), Tokens::estimate(101));
        assert_eq!(Framing::NONE.around(&calls).count, 0);
        let most = Framing { per_call: u64::MAX, ..Framing::CHAT };
        assert_eq!(most.around(&calls).count, u64::MAX);
    }
}
