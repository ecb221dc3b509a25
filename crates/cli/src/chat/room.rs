//! What a chat stands on: the store, the model that answers, and the session, once there is one.
//!
//! Must not know: what is typed, or how anything looks.

use sessions_api::{
    AppendOutcome, At, CompactionWish, ConnectedModel, MessageRole, NewSession, Origin, RuntimeState, Session,
    SessionError, SessionKey, SessionManager, SessionSettings,
};

use crate::{
    answering::{model_of, wired},
    arguments::Chat,
    creation::{check_key, key_of},
    failure::Failure,
    program::Program,
    table::cut,
};

/// A title that nobody gave is the beginning of what was said first, so wide at most.
const TITLE: usize = 60;

/// A chat's session and model.
pub(super) struct Room<'a> {
    pub(super) program: &'a Program,
    sessions: &'a SessionManager,
    pub(super) session: Option<Session>,
    /// The name that a person gave it.
    pub(super) name: Option<String>,
    key: Option<SessionKey>,
    title: Option<String>,
    /// The model that was chosen before there was a session.
    chosen: Option<String>,
    pub(super) model: ConnectedModel,
}

impl<'a> Room<'a> {
    pub(super) async fn enter(
        program: &'a Program,
        sessions: &'a SessionManager,
        wish: &Chat,
    ) -> Result<Self, Failure> {
        let (session, key) = match (&wish.session, wish.new) {
            (None, _) => (None, None),
            (Some(name), false) => (Some(sessions.find(name).await?), None),
            (Some(name), true) => {
                let key = key_of(name.clone())?;
                check_key(sessions, Some(&key)).await?;
                match sessions.find(&format!("key:{name}")).await {
                    Ok(session) => (Some(session), None),
                    Err(SessionError::NoSuchName) => (None, Some(key)),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let model = model_of(program, wish.model.as_deref(), session.as_ref()).await?;
        let name = wish.session.clone();
        Ok(Self { program, sessions, session, name, key, title: None, chosen: None, model })
    }

    /// The session, where something was said.
    pub(super) fn known(&self) -> Result<&Session, Failure> {
        let none = || Failure::usage("nothing was said yet, so there is no session", "say something first");
        self.session.as_ref().ok_or_else(none)
    }

    /// The session, made where there is none, and whether it was.
    pub(super) async fn begun(&mut self, said: &str) -> Result<(Session, bool), Failure> {
        if let Some(session) = &self.session {
            return Ok((session.clone(), false));
        }
        let first = said.lines().next().unwrap_or_default();
        let title = self.title.take().unwrap_or_else(|| cut(first.trim(), TITLE));
        let mut new = NewSession::titled(title);
        new = self.key.take().into_iter().fold(new, NewSession::key);
        let settings = SessionSettings { model: self.chosen.take(), ..SessionSettings::default() };
        let mut origin = Origin { settings, ..Origin::default() };
        if !self.model.is_script {
            origin.model = Some(self.model.profile.name.clone());
            origin.provider = Some(self.model.provider.name().to_owned());
        }
        new = new.origin(origin);
        let opened = self.sessions.open_or_create_as(new).await?;
        self.session = Some(opened.session.clone());
        Ok((opened.session, opened.outcome == AppendOutcome::Inserted))
    }

    /// Gives the session a title, now or when it is made.
    pub(super) async fn entitle(&mut self, title: String) -> Result<(), Failure> {
        match &self.session {
            Some(session) => session.rename(title).await.map(drop)?,
            None => self.title = Some(title),
        }
        Ok(())
    }

    /// Lets another model answer, here and when somebody talks to the session again.
    pub(super) async fn ask_another(&mut self, name: &str) -> Result<(), Failure> {
        let model = self.program.configuration.connected(Some(name)).map_err(wired)?;
        let chosen = model.profile.name.clone();
        match &self.session {
            Some(session) => {
                session.update(|draft| draft.metadata.settings.model = Some(chosen.clone())).await.map(drop)?;
            }
            None => self.chosen = Some(chosen),
        }
        self.model = model;
        Ok(())
    }

    /// Goes on in a fork.
    pub(super) async fn fork(&mut self) -> Result<sessions_api::Forked, Failure> {
        let forked = self.known()?.fork_as(At::Now, NewSession::default()).await?;
        (self.session, self.name) = (Some(forked.session.clone()), None);
        Ok(forked)
    }

    /// How the older part of the conversation is made shorter.
    pub(super) fn compaction(&self) -> CompactionWish {
        CompactionWish::default().for_profile(self.model.profile.clone()).with(self.model.summarizer())
    }

    /// Whether the conversation ends within a turn.
    pub(super) async fn is_cut_off(&self) -> Result<bool, Failure> {
        let Some(session) = &self.session else { return Ok(false) };
        if session.runtime().await? == RuntimeState::Interrupted {
            return Ok(true);
        }
        let last = session.last(1).await?;
        Ok(last.first().is_some_and(|last| match last.role {
            MessageRole::Assistant => !last.state.is_complete() || last.calls().next().is_some(),
            MessageRole::User | MessageRole::Tool => true,
            MessageRole::System => false,
        }))
    }
}
