//! What is sent to a model: the messages that fit a budget, always a valid sequence.
//!
//! In this order: the instructions, what is pinned, the summary of what was compacted, and the newest turns. It depends on the log, the
//! model and the budget, and on nothing else.
//!
//! Must not know: how tokens are counted (a counter is handed in), or where messages are read.

mod gather;
mod group;
mod held;
mod shorten;
mod summary;

use std::{ops::Deref, sync::Arc};

use serde::{Serialize, Serializer};

pub use self::{
    gather::{Gather, Needs, Standing},
    group::{Group, Piece, Weigher},
    held::held,
    shorten::{shortened, shortened_output, shortened_text},
    summary::{SUMMARY_END, summary_message},
};
use crate::{
    form::{Form, FormBody, FormRules, render},
    json::InvalidJson,
    message::Message,
    pairing::Repair,
    tokens::Exactness,
};

/// How much a context may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    tokens: u64,
}

impl Budget {
    /// So many tokens.
    pub const fn tokens(tokens: u64) -> Self {
        Self { tokens }
    }

    /// The number of tokens.
    pub const fn as_tokens(self) -> u64 {
        self.tokens
    }
}

/// Why a message is in a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextPart {
    /// What the model is told before all else.
    Instructions,
    /// It is pinned.
    Pinned,
    /// It stands for messages that were compacted.
    Summary,
    /// It is one of the newest turns.
    Turn,
    /// It was supplied, so that the sequence is valid.
    Supplied,
}

/// A message to send. It serialises as the message.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextMessage {
    /// The record that it comes from; `None` for what was supplied.
    pub seq: Option<u64>,
    /// The message.
    pub message: Arc<Message>,
    /// Its tokens, with what a provider writes around it.
    pub tokens: u64,
    /// Why it is here.
    pub part: ContextPart,
}

impl Deref for ContextMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Serialize for ContextMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.message.serialize(serializer)
    }
}

/// Messages to send, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Context {
    /// The messages.
    pub messages: Vec<ContextMessage>,
    /// Tokens of all of it, as the counter counts.
    pub tokens: u64,
    /// Whether that is an estimate: of texts whose encoding is not published, of files, of signed reasoning. What a provider writes around
    /// messages is counted by [`crate::tokens::Framing`] either way.
    #[serde(skip)]
    pub exactness: Exactness,
    /// What had to be mended so that the sequence is valid.
    pub repairs: Vec<Repair>,
    /// The compaction whose summary is among the messages: the number of its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<u64>,
    /// Whether older turns were left out because they do not fit.
    #[serde(rename = "cut", skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
    /// The form that the messages are shaped for.
    #[serde(skip)]
    pub form: Form,
    /// What the model's provider asks of them.
    #[serde(skip)]
    pub rules: FormRules,
}

impl Context {
    /// Whether all texts are counted in the model's own encoding.
    pub fn is_exact(&self) -> bool {
        self.exactness == Exactness::Exact
    }

    /// The messages as the provider takes them: the form of the model that the context was made for.
    ///
    /// # Errors
    /// [`InvalidJson`] when a message has no JSON form; no message has none.
    pub fn body(&self) -> Result<FormBody, InvalidJson> {
        render(self.messages.iter().map(|message| &*message.message), self.form, &self.rules)
    }
}

/// What must always be sent is larger than the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "instructions, pinned messages and the newest message take {needed} token{} ({pinned} of pinned messages, {newest} of the newest one as far as it can be cut) and the budget is {budget}; raise the budget, or shorten or unpin them",
    if *.needed == 1 { "" } else { "s" }
)]
pub struct OverBudget {
    /// Tokens of what must always be sent.
    pub needed: u64,
    /// How many of these are of pinned messages.
    pub pinned: u64,
    /// How many are of the newest message and its results, cut as far as they can be; 0 where all else alone does not fit.
    pub newest: u64,
    /// The budget.
    pub budget: u64,
}
