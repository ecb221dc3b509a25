//! A session as the messages of a request to a provider: all that is visible, without a budget.
//!
//! Must not know: how a form is spelled.

use std::sync::Arc;

use sessions_domain::{
    Message, StoredMessage, View,
    form::{self, Form, FormRules, Target},
    pairing,
};

use crate::{blocking::off_the_runtime, error::SessionError, history::Messages, session::Session};

/// The session as it is in a view.
pub(super) async fn of(session: &Session, view: &Arc<View>, form: Form) -> Result<Vec<u8>, SessionError> {
    let mut visible: Vec<StoredMessage> = Vec::new();
    let mut messages = Messages::of(session, Arc::clone(view));
    while let Some(page) = messages.next_page().await? {
        visible.extend(page);
    }
    off_the_runtime(move || spelled(visible, form)).await?
}

/// The body of the request, on one line. Reasoning is for the model that answered last.
fn spelled(visible: Vec<StoredMessage>, form: Form) -> Result<Vec<u8>, SessionError> {
    let rules = FormRules::of(form);
    let told = |of: fn(&Message) -> Option<&String>| {
        visible.iter().rev().find_map(|stored| of(&stored.message)).cloned().unwrap_or_default()
    };
    let provider = told(|message| message.metadata.provider.as_ref());
    let model = told(|message| message.metadata.model.as_ref());
    let target = Target { provider: &provider, model: &model, aliases: &[], unchanged_since: Some(0) };
    let (paired, _) = pairing::pair(visible.into_iter().map(|stored| (Some(stored.seq), stored.late, stored.message)));
    let shaped = form::shape(paired, form, &rules, &target);
    let body = form::render(shaped.messages.iter().map(|(_, message)| message), form, &rules);
    let body = body.map_err(|error| SessionError::Unexportable(serde::ser::Error::custom(error)))?;
    let mut line = serde_json::to_vec(&body).map_err(SessionError::Unexportable)?;
    line.push(b'\n');
    Ok(line)
}
