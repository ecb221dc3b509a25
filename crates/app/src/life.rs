//! The life of a session beside its conversation: its state, its words, what is known of it, pins and checkpoints, and the trash.
//!
//! Must not know: rules; the domain decides.

use std::sync::Arc;

use sessions_domain::{
    Described, Event, Kinship, MessageId, NamedPlace, RuntimeChange, RuntimeState, SessionId, SessionStatus, View,
    decide::{self, Draft},
};
use sessions_ports::Durability;

use crate::{
    directory::Query,
    error::SessionError,
    lane::Arriving,
    manager::SessionManager,
    session::{At, Session},
    transact::Plan,
};

/// A place that has a name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Checkpoint {
    /// The name.
    pub name: String,
    /// The session's version; [`At::Version`] leads there.
    pub version: u64,
    /// Messages that were visible.
    pub messages: u64,
}

/// Where a session came from, and what came from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lineage {
    /// The sessions it was forked from, the nearest first, each with the last record that is inherited of it.
    pub ancestors: Vec<Ancestor>,
    /// The sessions that were forked from it, or that sub-agents work in for it.
    pub children: Vec<SessionId>,
}

/// A session that another came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ancestor {
    /// The session. It may be gone.
    pub session: SessionId,
    /// How they stand to each other.
    pub kinship: Kinship,
    /// The last record that is inherited; `None`: no history is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

impl Session {
    /// The state of life.
    ///
    /// # Errors
    /// The store's.
    pub async fn status(&self) -> Result<SessionStatus, SessionError> {
        Ok(self.fresh_view().await?.status())
    }

    /// Gives the session another state of life. `false`: it had it already.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::InvalidTransition`], and the store's.
    pub async fn set_status(&self, to: SessionStatus) -> Result<bool, SessionError> {
        self.set_status_because(to, None).await
    }

    /// The same, with a reason that is kept.
    ///
    /// # Errors
    /// As [`Self::set_status`].
    pub async fn set_status_because(&self, to: SessionStatus, reason: Option<String>) -> Result<bool, SessionError> {
        let wish = self.wish("status", &(to, &reason)).await?;
        self.still_view().await?;
        let decided = |view: &View| Ok(decide::set_status(view, to, reason.clone())?.into_iter().collect());
        Ok(self.make(wish, decided).await?.is_some())
    }

    /// Changes several things about the session in one append: title, description, tags, metadata, settings and state. `false`: all of it
    /// was so already.
    ///
    /// The closure may be called again, when another was faster; it then sees what that one left.
    ///
    /// ```
    /// # async fn shown(session: sessions_app::Session) -> Result<(), sessions_app::SessionError> {
    /// session
    ///     .update(|draft| {
    ///         draft.title = Some("Fix the build".into());
    ///         draft.tag("rust");
    ///         draft.metadata.mode = Some("plan".into());
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError::LimitReached`], and the store's.
    pub async fn update(&self, change: impl Fn(&mut Draft) + Send + Sync) -> Result<bool, SessionError> {
        // A closure cannot be compared. What it makes of an empty draft stands for it, with the tags that it takes away.
        let mut stands_for = Draft::default();
        change(&mut stands_for);
        let words = (&stands_for.title, &stands_for.description, &stands_for.tags, stands_for.untagged());
        let wish = self.wish("update", &(words, &stands_for.metadata, &stands_for.state)).await?;
        let limits = self.manager().limits().clone();
        let decided = |view: &View| {
            let mut draft = Draft::of(view);
            change(&mut draft);
            Ok(decide::configure(view, draft, &limits)?)
        };
        Ok(self.make(wish, decided).await?.is_some())
    }

    /// Changes title, description or tags; what is `None` stays. `false`: they were so already.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn describe(&self, words: Described) -> Result<bool, SessionError> {
        let wish = self.wish("describe", &words).await?;
        let limits = self.manager().limits();
        limits.check_words(
            words.title.as_deref(),
            words.description.as_deref(),
            words.tags.as_deref().unwrap_or_default(),
        )?;
        let decided = |view: &View| Ok(decide::describe(view, words.clone()).into_iter().collect());
        Ok(self.make(wish, decided).await?.is_some())
    }

    /// Gives the session a title.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn rename(&self, title: impl Into<String> + Send) -> Result<bool, SessionError> {
        self.describe(Described { title: Some(title.into()), ..Described::default() }).await
    }

    /// Notes that the session is used, though nothing is changed.
    ///
    /// # Errors
    /// The store's.
    pub async fn touch(&self) -> Result<(), SessionError> {
        let wish = self.wish("touch", &()).await?;
        self.make(wish, |_| Ok(vec![Event::Touched])).await?;
        Ok(())
    }

    /// Pins a message, so that it is always a part of the context, or lets it go. `false`: it was so already.
    ///
    /// # Errors
    /// [`SessionError::UnknownMessage`], [`SessionError::LimitReached`], and the store's.
    pub async fn pin(&self, message: MessageId, pinned: bool) -> Result<bool, SessionError> {
        let wish = self.wish("pin", &(message, pinned)).await?;
        let view = self.quiet_view().await?;
        let element = self.manager().read_message(&view, message).await?.element();
        let element = element.ok_or(SessionError::UnknownMessage { message })?;
        let limits = self.manager().limits();
        let decided = |view: &View| Ok(decide::pin(view, &element, pinned, limits)?.into_iter().collect());
        Ok(self.make(wish, decided).await?.is_some())
    }

    /// Gives a place in history a name; one that is in use moves. `false`: it named that place already.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::InvalidName`], [`SessionError::LimitReached`], and as [`Self::fork`].
    pub async fn checkpoint(&self, name: &str, at: At) -> Result<bool, SessionError> {
        let wish = self.wish("checkpoint", &(name, at)).await?;
        let view = self.quiet_view().await?;
        let place = self.place_at(&view, at).await?;
        let place = NamedPlace { version: place.at, head: place.head, depth: place.depth };
        let limits = self.manager().limits();
        let decided = |view: &View| Ok(decide::checkpoint(view, name, Some(place), limits)?.into_iter().collect());
        Ok(self.make(wish, decided).await?.is_some())
    }

    /// Takes a name away. The place stays.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::NoSuchCheckpoint`], and the store's.
    pub async fn remove_checkpoint(&self, name: &str) -> Result<(), SessionError> {
        let wish = self.wish("remove-checkpoint", &name).await?;
        let limits = self.manager().limits();
        self.make(wish, |view| Ok(decide::checkpoint(view, name, None, limits)?.into_iter().collect())).await?;
        Ok(())
    }

    /// The places that have a name, by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, SessionError> {
        let view = self.fresh_view().await?;
        let named = |(name, place): (&String, &NamedPlace)| Checkpoint {
            name: name.clone(),
            version: place.version,
            messages: place.depth,
        };
        Ok(view.checkpoints().iter().map(named).collect())
    }

    /// The place that has a name.
    ///
    /// # Errors
    /// [`sessions_domain::RuleViolation::NoSuchCheckpoint`], and the store's.
    pub async fn at_checkpoint(&self, name: &str) -> Result<At, SessionError> {
        let view = self.fresh_view().await?;
        let place = view.checkpoints().get(name).ok_or(sessions_domain::RuleViolation::NoSuchCheckpoint)?;
        Ok(At::Version(place.version))
    }

    /// Where the session came from, and what came from it.
    ///
    /// # Errors
    /// The store's.
    pub async fn lineage(&self) -> Result<Lineage, SessionError> {
        let mut lineage = Lineage::default();
        let mut view = self.fresh_view().await?;
        while let Some(parent) = view.parent() {
            let at = view.fork().map(|fork| fork.at);
            lineage.ancestors.push(Ancestor { session: parent.session, kinship: parent.kinship, at });
            let found = match self.manager().get(parent.session).await {
                // What it came from itself is not known any more.
                Err(error) if error.is_unreadable() => None,
                found => found?,
            };
            match found {
                // Nobody comes from himself; a file could say so all the same.
                Some(parent) if lineage.ancestors.len() < 10_000 => view = parent.fresh_view().await?,
                _ => break,
            }
        }
        let mut query = Query { parent: Some(self.id()), limit: 1_000, ..Query::default() };
        loop {
            let page = self.manager().list(&query).await?;
            lineage.children.extend(page.sessions.iter().map(|child| child.id));
            match page.cursor {
                Some(cursor) => query.cursor = Some(cursor),
                None => return Ok(lineage),
            }
        }
    }

    /// What the session does, beside its state of life. One that was busy when its process ended is interrupted.
    ///
    /// # Errors
    /// The store's.
    pub async fn runtime(&self) -> Result<RuntimeState, SessionError> {
        let view = self.fresh_view().await?;
        if let Some(stream) = view.stream() {
            if matches!(self.lane().arriving(stream.message), Arriving::Abandoned) {
                return Ok(RuntimeState::Interrupted);
            }
            let noted = view.runtime().filter(|noted| Some(noted.run) == self.manager().run()).map(|noted| &noted.to);
            // A call may be made again for a message that has begun.
            let tries = noted.filter(|to| matches!(to, RuntimeState::Retrying { .. }));
            return Ok(tries.cloned().unwrap_or(RuntimeState::Busy));
        }
        Ok(match view.runtime() {
            None => RuntimeState::Idle,
            Some(noted) if Some(noted.run) == self.manager().run() => noted.to.clone(),
            Some(_) => RuntimeState::Interrupted,
        })
    }

    /// Notes what the session does, at the level of [`Durability::Volatile`], so that it is known after a restart.
    ///
    /// # Errors
    /// The store's.
    pub async fn set_runtime(&self, to: RuntimeState) -> Result<(), SessionError> {
        let run = self.manager().named_run()?;
        let change = RuntimeChange { to, run };
        let decided = |view: &View| {
            let is_idle = change.to == RuntimeState::Idle && view.runtime().is_none();
            let is_so = is_idle || view.runtime() == Some(&change);
            Ok((!is_so).then(|| Plan::of(Event::RuntimeChanged(change.clone()))))
        };
        self.manager().transact(self.lane(), Durability::Volatile, decided).await?;
        Ok(())
    }

    /// The state of the session when none of its own commits is on its way, and no message that nobody writes any more is open.
    pub(crate) async fn still_view(&self) -> Result<Arc<View>, SessionError> {
        while self.seal_abandoned().await? {}
        self.quiet_view().await
    }
}

impl Session {
    /// Puts the session into the trash: it answers [`SessionError::InTrash`] until it is restored, and keeps all it has. `false`: it was
    /// there already.
    ///
    /// # Errors
    /// The store's. It is an append, so a session whose keys are damaged or gone is refused with that, and can only be deleted for good
    /// ([`SessionManager::delete`]).
    pub async fn trash(&self) -> Result<bool, SessionError> {
        let wish = self.wish("trash", &()).await?;
        if self.done_before(wish).await?.is_some() {
            return Ok(true);
        }
        self.still_view().await?;
        Ok(self.make(wish, |view| Ok(decide::trash(view).into_iter().collect())).await?.is_some())
    }
}

impl SessionManager {
    /// Puts a session into the trash; see [`Session::trash`].
    ///
    /// # Errors
    /// [`SessionError::NotFound`], and the store's.
    pub async fn trash(&self, id: SessionId) -> Result<bool, SessionError> {
        self.load_any(id).await?.trash().await
    }

    /// Takes a session out of the trash. One that is not there is given as it is.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], and the store's.
    pub async fn restore_from_trash(&self, id: SessionId) -> Result<Session, SessionError> {
        let session = self.load_any(id).await?;
        if session.quiet_view().await?.trashed().is_some() {
            let _room = self.room_for(id).await?;
            session.make(None, |view| Ok(decide::restore(view).into_iter().collect())).await?;
        }
        Ok(session)
    }
}
