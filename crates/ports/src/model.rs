//! Who is asked for an answer: one request to a model, what comes of it while it comes, and how it ended.
//!
//! Must not know: sessions, turns, retries, and how a provider is reached.

use std::{sync::Arc, time::Duration};

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

/// Why there is no whole answer. No variant holds a word of the conversation, of what a provider said, or of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Too many requests or tokens in a stretch of time.
    #[error("the provider takes no more requests for now; wait, or send fewer")]
    RateLimited {
        /// How long to wait, as the provider says.
        retry_after: Option<Duration>,
    },
    /// The provider has too much to do.
    #[error("the provider is overloaded; try again later")]
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
    #[error("the provider refused the request with status {status}")]
    Refused {
        /// The status.
        status: u16,
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
    /// More came, or would have to be sent, than is taken.
    #[error("it is larger than {limit}, which is the most that is taken")]
    TooLarge {
        /// The limit, in bytes or, for calls and blocks, their number.
        limit: u64,
    },
    /// The provider cannot do what is asked.
    #[error("the provider cannot do this: {what}")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
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
            Self::Refused { status } => matches!(*status, 408 | 409 | 425 | 500..),
            Self::Quota
            | Self::Denied
            | Self::UnknownModel
            | Self::TooLong
            | Self::TooLarge { .. }
            | Self::Unsupported { .. }
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
