//! Who answers for a session: the model that was named, or the session's own, or the configured one.
//!
//! Must not know: what is asked.

use sessions_api::{ConnectedModel, NotConnected, Session, SessionError, Unwired};

use crate::{failure::Failure, program::Program};

pub(crate) fn wired(error: Unwired) -> Failure {
    SessionError::from(error).into()
}

/// The model's name as a session has it: what was chosen for its turns, or what it began with.
pub(crate) async fn own_model(session: &Session) -> Result<Option<String>, Failure> {
    let view = session.fresh_view().await?;
    Ok(view.origin().settings.model.clone().or_else(|| view.origin().model.clone()))
}

/// Who answers: who was named, or the session's own model, or the configured one. That it is not the session's own is told.
pub(crate) async fn model_of(
    program: &Program,
    named: Option<&str>,
    session: Option<&Session>,
) -> Result<ConnectedModel, Failure> {
    let (model, instead) = chosen(program, named, session).await?;
    if let Some(why) = instead {
        // Which model it was is among what is kept, and so is not told here.
        program.out.notice(&format!("{why}, so {} answers", model.profile.name));
    }
    Ok(model)
}

/// As [`model_of`], with why it is not the session's own model.
pub(crate) async fn chosen(
    program: &Program,
    named: Option<&str>,
    session: Option<&Session>,
) -> Result<(ConnectedModel, Option<&'static str>), Failure> {
    let configuration = &program.configuration;
    let own = match (named, session) {
        (None, Some(session)) => own_model(session).await?,
        _ => None,
    };
    let Some(own) = own else { return Ok((configuration.connected(named).map_err(wired)?, None)) };
    let refused = match configuration.connected(Some(&own)) {
        Ok(model) => return Ok((model, None)),
        Err(error) => error,
    };
    let Some(why) = unknown_here(&refused) else { return Err(wired(refused)) };
    // Of a conversation that comes from elsewhere; better than nothing is whoever answers here.
    match configuration.connected(None) {
        Ok(model) => Ok((model, Some(why))),
        Err(_) => Err(wired(refused)),
    }
}

/// Why a model is nobody's here; `None`: it is somebody's, whom nobody must be put in the place of, since all that was said would go to others.
fn unknown_here(refused: &Unwired) -> Option<&'static str> {
    match refused {
        Unwired::Model(NotConnected::UnknownModel { .. }) => Some("the session's own model is not known here"),
        Unwired::Model(NotConnected::NoProvider { .. }) => {
            Some("the provider of the session's own model is not configured here")
        }
        _ => None,
    }
}
