//! Shaped messages as a provider reads them.
//!
//! Must not know: what had to be changed so that they are valid (see [`super::shape()`]).

use serde::Serialize;

use super::{Form, FormRules, anthropic, openai};
use crate::{
    json::{InvalidJson, Json},
    message::{Message, MessagePart, MessageRole, ToolResult},
};

/// The messages of a request. What else a request says (model, tools, limits) is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FormBody {
    /// The instructions, where the form keeps them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Json>,
    /// The list of messages.
    pub messages: Json,
}

/// Spells messages in a form. Of what [`super::shape()`] gives nothing is left out, and no text is added; numbers stay to the letter.
///
/// # Errors
/// [`InvalidJson`] when a message has no JSON form; no message has none.
pub fn render<'a>(
    messages: impl IntoIterator<Item = &'a Message>,
    form: Form,
    rules: &FormRules,
) -> Result<FormBody, InvalidJson> {
    let messages: Vec<&Message> = messages.into_iter().collect();
    match form {
        Form::Neutral => Ok(FormBody { system: None, messages: Json::of(&messages)? }),
        Form::OpenAi => Ok(FormBody { system: None, messages: Json::of(&openai::spelled(&messages, rules))? }),
        Form::Anthropic => {
            let (system, messages) = anthropic::spelled(&messages);
            Ok(FormBody { system: system.map(|system| Json::of(&system)).transpose()?, messages: Json::of(&messages)? })
        }
    }
}

/// A text, or a list of parts.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a, T> {
    Text(&'a str),
    Parts(Vec<T>),
}

/// Messages that stand together: those of one role, and what tools say in the order of the calls before.
pub(super) struct Results<'a> {
    order: Vec<&'a str>,
}

impl<'a> Results<'a> {
    /// Of the calls of the answer before.
    pub(super) fn of(answer: Option<&'a Message>) -> Self {
        let calls = answer.into_iter().flat_map(Message::calls);
        Self { order: calls.map(|call| call.call_id.as_str()).collect() }
    }

    /// The results of tools' messages, in the calls' order.
    pub(super) fn sorted(&self, tools: &[&'a Message]) -> Vec<&'a ToolResult> {
        let place = |result: &&ToolResult| self.order.iter().position(|id| *id == result.call_id);
        let mut results: Vec<&ToolResult> = tools.iter().flat_map(|message| message.results()).collect();
        results.sort_by_key(|result| place(result).unwrap_or(usize::MAX));
        results
    }
}

/// The messages in stretches of one kind: each role by itself.
pub(super) fn stretches<'a>(messages: &[&'a Message]) -> Vec<(MessageRole, Vec<&'a Message>)> {
    let mut out: Vec<(MessageRole, Vec<&'a Message>)> = Vec::new();
    for message in messages {
        match out.last_mut().filter(|(role, _)| *role == message.role) {
            Some((_, stretch)) => stretch.push(message),
            None => out.push((message.role, vec![message])),
        }
    }
    out
}

/// The text, when there is nothing else.
pub(super) fn lone_text<'a>(parts: &[&'a MessagePart]) -> Option<&'a str> {
    match parts {
        [MessagePart::Text(text)] => Some(text),
        _ => None,
    }
}
