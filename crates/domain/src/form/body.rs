//! Shaped messages as a provider reads them.
//!
//! Must not know: what had to be changed so that they are valid (see [`super::shape`]).

use serde::Serialize;

use super::{Form, FormRules};
use crate::{
    json::{InvalidJson, Json},
    message::Message,
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

/// Spells messages in a form. Of shaped messages nothing is left out, and no text is added.
///
/// # Errors
/// [`InvalidJson`] when a message has no JSON form; no message has none.
pub fn render<'a>(
    messages: impl IntoIterator<Item = &'a Message>,
    _form: Form,
    _rules: &FormRules,
) -> Result<FormBody, InvalidJson> {
    let messages: Vec<&Message> = messages.into_iter().collect();
    Ok(FormBody { system: None, messages: Json::of(&messages)? })
}
