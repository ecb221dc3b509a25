//! Messages as a form takes them, still in our own terms: what rendering them needs is in them, so that all of it can be counted.
//!
//! Must not know: budgets, or how a form is spelled.

use super::{Form, FormRules};
use crate::{
    message::Message,
    pairing::{Paired, Repair},
};

/// For whom messages are shaped.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The provider, as the metadata of messages names it.
    pub provider: &'a str,
    /// The model, as the metadata of messages names it.
    pub model: &'a str,
    /// Whether nothing before the first message was left out or changed ([`super::ReasoningBack::Unchanged`] asks for it).
    pub from_start: bool,
}

/// Messages that a form can spell, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Shaped {
    /// The messages, each with the record it comes from (`None` for what was supplied).
    pub messages: Vec<Paired>,
    /// What had to be changed.
    pub repairs: Vec<Repair>,
}

/// The messages as `form` takes them. The whole sequence, oldest first, as [`crate::pairing::pair`] gives it.
pub fn shape(messages: Vec<Paired>, _form: Form, _rules: &FormRules, _target: &Target<'_>) -> Shaped {
    Shaped { messages, repairs: Vec::new() }
}

/// A message with the most that [`shape`] may leave of it and add to it: whatever surrounds it, what becomes of it costs no more.
pub fn upper(message: &Message, _form: Form, _rules: &FormRules) -> Message {
    message.clone()
}

/// How many messages may become of one.
pub fn upper_messages(_message: &Message, _form: Form, _rules: &FormRules) -> u64 {
    1
}

/// Texts that may be added once to a request, each as a message of its own.
pub fn reserve(_form: Form, _rules: &FormRules) -> Vec<String> {
    Vec::new()
}
