//! Who answers for a session: the model that was named, or the session's own, or the configured one.
//!
//! Must not know: what is asked.

use sessions_api::{ConnectedModel, Session, SessionError, Unwired};

use crate::{failure::Failure, program::Program};

pub(crate) fn wired(error: Unwired) -> Failure {
    SessionError::from(error).into()
}

/// The model's name as a session has it: what was chosen for its turns, or what it began with.
pub(crate) async fn own_model(session: &Session) -> Result<Option<String>, Failure> {
    let view = session.fresh_view().await?;
    Ok(view.origin().settings.model.clone().or_else(|| view.origin().model.clone()))
}

/// Who answers: who was named, or the session's own model, or the configured one.
pub(crate) async fn model_of(
    program: &Program,
    named: Option<&str>,
    session: Option<&Session>,
) -> Result<ConnectedModel, Failure> {
    let configuration = &program.configuration;
    if named.is_some() {
        return configuration.connected(named).map_err(wired);
    }
    let own = match session {
        Some(session) => own_model(session).await?,
        None => None,
    };
    let Some(own) = own else { return configuration.connected(None).map_err(wired) };
    let refused = match configuration.connected(Some(&own)) {
        Ok(model) => return Ok(model),
        Err(error) => error,
    };
    // Better than nothing is whoever answers elsewhere.
    let Ok(model) = configuration.connected(None) else { return Err(wired(refused)) };
    // Which model it was is among what is kept, and so is not told here.
    program.out.notice(&format!("the session's own model cannot be asked, so {} answers", model.profile.name));
    Ok(model)
}
