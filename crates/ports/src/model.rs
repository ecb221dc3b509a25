//! Who is asked for an answer: one request to a model, what comes of it while it comes, and how it ended.
//!
//! Must not know: sessions, turns, retries, and how a provider is reached.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use sessions_domain::{Json, MessagePart, TokenUsage, form::FormBody, profile::ModelProfile, stream::push_part};

use crate::ToolSpec;

/// One request.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// The model, by the name that its provider takes, and the form of [`Self::body`].
    pub profile: Arc<ModelProfile>,
    /// Instructions and messages, as they are sent: nothing in them is spelled anew.
    pub body: FormBody,
    /// What the model may call.
    pub tools: Vec<ToolSpec>,
    /// The longest answer, in tokens.
    pub max_output: u64,
    /// An object whose entries are sent as well, and stand for ours of the same name; `null` leaves one out. `tools` are added to ours. Not
    /// `messages`, `system`, `model` and `stream`.
    pub parameters: Option<Json>,
}

/// What came of an answer, in the order in which it came.
///
/// The pieces make the parts of a message by [`Self::push_to`], which is also how [`sessions_domain::stream::Chunk`]s do it: text goes on
/// with the text before it, reasoning with the reasoning before it as long as that is not signed, and a part stands by itself. A second text
/// directly behind a first one begins as a part, and its other pieces go on with that.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    /// More text. Never empty.
    Text(String),
    /// More reasoning, or the signature that ends it (then `text` may be empty).
    Reasoning {
        /// The piece.
        text: String,
        /// What the provider wants back unchanged, for all of this reasoning.
        signature: Option<String>,
    },
    /// A part that does not go on with what came before: a whole call, a block that we do not know (`Custom`, as the provider wrote it), or the
    /// first piece of a text or reasoning of its own.
    Part(MessagePart),
    /// What the request took so far, as the provider counts: the newest stands for those before. It is no part of the message, and is all that
    /// is known of what an answer cost that does not become whole.
    Usage(TokenUsage),
}

impl ModelEvent {
    /// Takes the event into the parts of the message.
    ///
    /// ```
    /// # use sessions_domain::MessagePart;
    /// # use sessions_ports::ModelEvent;
    /// let mut parts = Vec::new();
    /// for event in [
    ///     ModelEvent::Text("It is ".into()),
    ///     ModelEvent::Text("borrowed.".into()),
    ///     ModelEvent::Part(MessagePart::text("Twice, ")),
    ///     ModelEvent::Text("in fact.".into()),
    /// ] {
    ///     event.push_to(&mut parts);
    /// }
    /// assert_eq!(parts, [MessagePart::text("It is borrowed."), MessagePart::text("Twice, in fact.")]);
    /// ```
    pub fn push_to(self, parts: &mut Vec<MessagePart>) {
        match self {
            Self::Text(text) => push_part(parts, MessagePart::Text(text), true),
            Self::Reasoning { text, signature } => push_part(parts, MessagePart::Reasoning { text, signature }, true),
            Self::Part(part) => push_part(parts, part, false),
            Self::Usage(_) => {}
        }
    }
}

/// Whoever takes the events wants no more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no more of the answer is wanted")]
pub struct Stop;

/// Takes what comes of an answer.
#[async_trait]
pub trait ModelEvents: Send {
    /// Takes the next event.
    ///
    /// **Contract**: the provider waits for it and reads no further meanwhile. After [`Stop`] it is not called again.
    ///
    /// # Errors
    /// [`Stop`]; the call then ends with [`ModelError::Stopped`].
    async fn on(&mut self, event: ModelEvent) -> Result<(), Stop>;
}

/// Why a model stopped. Whether tools are to run is told by the calls that came, not by this: providers are not of one mind about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelStop {
    /// It said what it had to say.
    EndTurn,
    /// It waits for the results of its calls.
    ToolUse,
    /// The answer reached its longest length. Its last part may be cut.
    MaxTokens,
    /// Request and answer together reached the model's window.
    WindowFull,
    /// It declined, or a filter did.
    Refusal,
    /// Anything else; see [`ModelAnswer::raw_stop`].
    Other,
}

/// What is known of an answer that came whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelAnswer {
    /// Why it ended.
    pub stop: ModelStop,
    /// The same in the provider's word, where it said one.
    pub raw_stop: Option<String>,
    /// The tokens, as the provider counts them; `None`: it did not say.
    pub usage: Option<TokenUsage>,
    /// The model that answered, as the provider calls it. It may be another than was asked.
    pub model: Option<String>,
    /// The provider's id of the request or of the answer.
    pub request_id: Option<String>,
}

/// A wait as a person says it, rounded up.
fn again(wait: &Option<Duration>, unknown: &str) -> String {
    let Some(wait) = wait else { return unknown.to_owned() };
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    let (number, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3_600), "hour"),
    };
    format!("try again in {number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// What a provider calls its reason for refusing a request: its words for the type, the code and the parameter, as
/// `invalid_request_error, unsupported_value, temperature`.
///
/// Each word is of ASCII letters, digits, `_`, `.`, `-`, `[` and `]`; together they have at most [`Self::LONGEST`] bytes. It is never a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefusalReason {
    text: [u8; Self::LONGEST],
    length: u8,
}

impl RefusalReason {
    /// The most bytes of a reason.
    pub const LONGEST: usize = 100;

    /// The reason of these words; those of another form are left out, as are those said before and those for which no room is left. `None`: no word is
    /// left.
    ///
    /// ```
    /// # use sessions_ports::RefusalReason;
    /// let reason = RefusalReason::of(["invalid_request_error", "Bad value: hello", "messages[0].role"]).unwrap();
    /// assert_eq!(reason.as_str(), "invalid_request_error, messages[0].role");
    /// assert_eq!(RefusalReason::of(["a sentence", ""]), None);
    /// ```
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let is_of_words = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-[]".contains(&byte);
        let mut kept: Vec<&str> = Vec::new();
        let mut length = 0;
        for word in words.into_iter().filter(|word| !word.is_empty() && word.bytes().all(is_of_words)) {
            let longer = length + word.len() + if kept.is_empty() { 0 } else { 2 };
            if longer <= Self::LONGEST && !kept.contains(&word) {
                kept.push(word);
                length = longer;
            }
        }
        let mut text = [0; Self::LONGEST];
        text.iter_mut().zip(kept.join(", ").bytes()).for_each(|(to, byte)| *to = byte);
        let length = u8::try_from(length).ok().filter(|length| *length > 0)?;
        Some(Self { text, length })
    }

    /// The words, with commas between.
    pub fn as_str(&self) -> &str {
        self.text.get(..usize::from(self.length)).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefusalReason({})", self.as_str())
    }
}

fn because(reason: &Option<RefusalReason>) -> String {
    reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default()
}

/// Why there is no whole answer. No variant holds a word of the conversation or of a key, and of what a provider said only a [`RefusalReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Too many requests or tokens in a stretch of time.
    #[error("the provider takes no more requests for now; {}, or send fewer", again(.retry_after, "wait"))]
    RateLimited {
        /// How long to wait, as the provider says.
        retry_after: Option<Duration>,
    },
    /// The provider has too much to do.
    #[error("the provider is overloaded; {}", again(.retry_after, "try again later"))]
    Overloaded {
        /// How long to wait, as the provider says.
        retry_after: Option<Duration>,
    },
    /// What was paid for is used up. Waiting does not help.
    #[error("the account's quota at the provider is used up; look at its plan and limits")]
    Quota,
    /// Nobody answers there, or the connection broke before an answer began.
    #[error("the provider cannot be reached; check its address and the network")]
    Unreachable,
    /// It took too long.
    #[error("the provider took too long: {what}")]
    Slow {
        /// What did not come in time.
        what: &'static str,
    },
    /// What came is no answer, or not all of one.
    #[error("the provider's answer is broken: {what}")]
    Broken {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The provider refused the request with this status of HTTP.
    #[error("the provider refused the request with status {status}{}", because(.reason))]
    Refused {
        /// The status.
        status: u16,
        /// What the provider calls its reason, where that has a fixed form.
        reason: Option<RefusalReason>,
    },
    /// The key is missing, wrong, or may not do this.
    #[error("the provider does not accept the key; check that it is right and may use this model")]
    Denied,
    /// The provider does not know the model.
    #[error("the provider does not know the model; check its name")]
    UnknownModel,
    /// The request is longer than the model's window.
    #[error("the request is longer than the model's window; compact the session, or ask with a smaller budget")]
    TooLong,
    /// More came than is taken.
    #[error("the provider's answer is too large: {what}")]
    TooLarge {
        /// What of it is, and how much of that is taken.
        what: &'static str,
        /// The limit, in bytes or, for calls and blocks, their number.
        limit: u64,
    },
    /// The provider cannot do what is asked.
    #[error("the provider cannot do this: {what}")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// The program that asks the provider panicked, which is a mistake of its own.
    #[error("what asks the provider broke down: it panicked")]
    Panicked,
    /// Whoever took the events wanted no more.
    #[error("the answer was stopped")]
    Stopped,
}

impl ModelError {
    /// Whether the same request may succeed later.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::Unreachable
            | Self::Slow { .. }
            | Self::Broken { .. } => true,
            Self::Refused { status, .. } => matches!(*status, 408 | 409 | 425 | 500..),
            Self::Quota
            | Self::Denied
            | Self::UnknownModel
            | Self::TooLong
            | Self::TooLarge { .. }
            | Self::Unsupported { .. }
            | Self::Panicked
            | Self::Stopped => false,
        }
    }

    /// How long the provider asks to wait.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Overloaded { retry_after } => *retry_after,
            _ => None,
        }
    }
}

/// Asks a model.
#[async_trait]
pub trait ModelProvider: Send + Sync {
    /// Its name, as it stands beside messages: `openai`, `anthropic`, `ollama`, `scripted`.
    fn name(&self) -> &str;

    /// Makes one request and hands on what comes of it.
    ///
    /// **Contract**: one request, and no other attempt when it fails. Events come in order and each is waited for, so a slow taker slows the wire and
    /// nothing piles up. The answer is whole only when this gives `Ok`: after an error, what came is a part of it. Calls are handed on whole or not
    /// at all. Dropping the future ends the connection. What comes is bounded in time and size, whatever the other side does.
    ///
    /// # Errors
    /// [`ModelError`].
    async fn call(&self, request: ModelRequest, events: &mut dyn ModelEvents) -> Result<ModelAnswer, ModelError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_words() {
        let told = |millis| ModelError::RateLimited { retry_after: Some(Duration::from_millis(millis)) }.to_string();
        for (millis, words) in [
            (1, "1 second"),
            (1_500, "2 seconds"),
            (119_000, "119 seconds"),
            (119_001, "2 minutes"),
            (3_600_000, "60 minutes"),
            (7_200_000, "2 hours"),
            (86_400_000, "24 hours"),
        ] {
            let expected = format!("the provider takes no more requests for now; try again in {words}, or send fewer");
            assert_eq!(told(millis), expected, "{millis}");
        }
        let unknown = ModelError::RateLimited { retry_after: None }.to_string();
        assert_eq!(unknown, "the provider takes no more requests for now; wait, or send fewer");
        let overloaded = ModelError::Overloaded { retry_after: Some(Duration::from_secs(600)) }.to_string();
        assert_eq!(overloaded, "the provider is overloaded; try again in 10 minutes");
    }

    #[test]
    fn a_reason_is_short_and_no_sentence() {
        let long = "x".repeat(RefusalReason::LONGEST);
        for (words, expected) in [
            (vec!["a", "b.c-d[0]"], Some("a, b.c-d[0]")),
            (vec!["a", "a"], Some("a")),
            (vec![long.as_str(), "a"], Some(long.as_str())),
            (vec!["a", long.as_str(), "b"], Some("a, b")),
            (vec!["no, thanks", "ä", "\u{1b}[1m", ""], None),
        ] {
            let reason = RefusalReason::of(words.iter().copied());
            assert_eq!(reason.as_ref().map(RefusalReason::as_str), expected, "{words:?}");
        }
        let reason = RefusalReason::of(["bad_value", "top_p"]);
        let told = ModelError::Refused { status: 400, reason }.to_string();
        assert_eq!(told, "the provider refused the request with status 400 (bad_value, top_p)");
    }
}
