//! Making a session: `new`.
//!
//! Must not know: conversations.

use serde::Serialize;
use sessions_api::{
    AppendOutcome, Durability, NewSession, Origin, SessionError, SessionId, SessionKey, SessionManager,
};

use crate::{
    arguments::{Known, New},
    failure::Failure,
    moment::moment,
    program::Program,
};

#[derive(Serialize)]
struct Made<'a> {
    id: SessionId,
    key: Option<&'a SessionKey>,
    version: u64,
    durability: Durability,
    /// False when a session with the key was there already.
    created: bool,
}

/// `new`
pub(crate) async fn new(program: &Program, wish: New) -> Result<(), Failure> {
    let key = wish.key.map(key_of).transpose()?;
    let created_at = wish.created_at.as_deref().map(moment).transpose()?;
    let mut tags = wish.tags;
    tags.sort();
    tags.dedup();
    let (title, description) = (wish.title, wish.description);
    let mut new = title.clone().map(NewSession::titled).unwrap_or_default().tags(tags.clone());
    new = description.clone().into_iter().fold(new, NewSession::description);
    new = key.clone().into_iter().fold(new, NewSession::key);
    new = wish.id.into_iter().fold(new, NewSession::id);
    new = created_at.into_iter().fold(new, NewSession::created_at);
    new = new.origin(origin_of(&wish.known));
    program
        .with_new_or_old(async |sessions| {
            check_key(sessions, key.as_ref()).await?;
            let starter = match &wish.sub_agent_of {
                Some(name) => Some(sessions.find(name).await?.id()),
                None => None,
            };
            new = starter.into_iter().fold(new, NewSession::sub_agent_of);
            let opened = sessions.open_or_create_as(new).await?;
            let version = opened.session.version().await?;
            // Of a session that was there already, its last append may have asked for less.
            opened.session.wait_durable(version, opened.durability).await?;
            let (id, durability) = (opened.session.id(), opened.durability);
            let created = opened.outcome == AppendOutcome::Inserted;
            if !created {
                let view = opened.session.fresh_view().await?;
                let (words, origin) = (view.described(), view.origin());
                let other = |given: &Option<String>, known: &Option<String>| given.is_some() && given != known;
                let Known { creator, cwd, model, provider, mode } = &wish.known;
                let differs = other(&title, &words.title)
                    || other(&description, &words.description)
                    || (!tags.is_empty() && tags != words.tags.as_deref().unwrap_or_default())
                    || other(creator, &origin.creator)
                    || other(cwd, &origin.cwd)
                    || other(model, &origin.model)
                    || other(provider, &origin.provider)
                    || other(mode, &origin.mode)
                    || created_at.is_some_and(|at| at != view.created())
                    || wish.id.is_some_and(|wished| wished != id)
                    || starter.is_some_and(|starter| view.parent().is_none_or(|known| known.session != starter));
                if differs {
                    program.out.notice(
                        "a session with this key was there already: its title, tags and all else stay as they are",
                    );
                }
            }
            if program.out.is_json() {
                return program.out.object(&Made { id, key: key.as_ref(), version, durability, created });
            }
            let what = if created { "created" } else { "opened" };
            program.out.line(&format!("{what} {id} (version {version}, {durability})"))
        })
        .await
}

/// Reads the key of a session that is to be made.
pub(crate) fn key_of(text: String) -> Result<SessionKey, Failure> {
    let key = SessionKey::new(text).map_err(SessionError::from)?;
    match ["id:", "key:"].into_iter().find(|word| key.as_str().starts_with(word)) {
        None => Ok(key),
        Some(word) => {
            let what = format!("the key begins with `{word}`, so as a SESSION it would name another one or none");
            Err(Failure::usage(&what, "give a key that begins otherwise"))
        }
    }
}

/// An id goes before any key.
pub(crate) async fn check_key(sessions: &SessionManager, key: Option<&SessionKey>) -> Result<(), Failure> {
    let Some(id) = key.and_then(|key| key.as_str().parse::<SessionId>().ok()) else { return Ok(()) };
    match sessions.load_any(id).await {
        Ok(_) => {
            let hint = "use that session by its id, or give another key";
            Err(Failure::usage("the key is the id of a session, which goes before any key", hint))
        }
        Err(SessionError::NotFound { .. } | SessionError::Gone { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn origin_of(known: &Known) -> Origin {
    let Known { creator, cwd, model, provider, mode } = known.clone();
    Origin { creator, cwd, model, provider, mode, ..Origin::default() }
}
