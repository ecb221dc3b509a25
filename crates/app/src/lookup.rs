//! Finding a session by what a person types: an id, a key, or the beginning of an id.
//!
//! Must not know: where people type.

use sessions_domain::{SessionId, SessionKey};

use crate::{error::SessionError, manager::SessionManager, session::Session};

/// The shortest beginning of an id that stands for one.
const SHORTEST_PREFIX: usize = 6;

impl SessionManager {
    /// Finds by exact id, then exact key, then the beginning of an id (at least 6 characters). `id:` and `key:` force one of them.
    ///
    /// # Errors
    /// [`SessionError::NoSuchName`], [`SessionError::AmbiguousName`], [`SessionError::NameTooShort`] for less than 6 characters behind `id:`,
    /// [`SessionError::InTrash`], [`SessionError::Gone`], what is wrong with an id or a key, and the store's.
    pub async fn find(&self, name: &str) -> Result<Session, SessionError> {
        let session = self.find_any(name).await?;
        let is_trashed = session.fresh_view().await?.trashed().is_some();
        if is_trashed { Err(SessionError::InTrash { session: session.id() }) } else { Ok(session) }
    }

    /// The same, also when it is in the trash.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn find_any(&self, name: &str) -> Result<Session, SessionError> {
        if let Some(id) = name.strip_prefix("id:") {
            return match id.parse::<SessionId>() {
                Ok(id) => self.load_any(id).await,
                Err(_) if !id.is_empty() && id.len() < 26 => self.by_prefix(id).await,
                Err(error) => Err(error.into()),
            };
        }
        if let Some(key) = name.strip_prefix("key:") {
            let key = SessionKey::new(key)?;
            return self.by_key(Some(&key)).await?.ok_or(SessionError::NoSuchName);
        }
        let mut gone = None;
        if let Ok(id) = name.parse::<SessionId>() {
            match self.load_any(id).await {
                Ok(session) => return Ok(session),
                // A key may look like an id.
                Err(SessionError::NotFound { .. }) => {}
                Err(SessionError::Gone { session }) => gone = Some(session),
                Err(error) => return Err(error),
            }
        }
        let key = SessionKey::new(name)?;
        if let Some(session) = self.by_key(Some(&key)).await? {
            return Ok(session);
        }
        if let Some(session) = gone {
            return Err(SessionError::Gone { session });
        }
        // Any word may be a key, so a short one is unknown and not wrong.
        if name.len() < SHORTEST_PREFIX { Err(SessionError::NoSuchName) } else { self.by_prefix(name).await }
    }

    /// Which session a name means that [`Self::find_any`] found and could not read: it is not looked into, so that it can be deleted.
    ///
    /// # Errors
    /// As [`Self::find_any`], without what keeps a session from being read.
    pub async fn find_unread(&self, name: &str) -> Result<SessionId, SessionError> {
        if let Some(id) = name.strip_prefix("id:") {
            return match id.parse::<SessionId>() {
                Ok(id) => Ok(id),
                Err(_) => self.id_with_prefix(id).await,
            };
        }
        let by_key = name.strip_prefix("key:");
        if let (None, Ok(id)) = (by_key, name.parse::<SessionId>()) {
            return Ok(id);
        }
        let key = SessionKey::new(by_key.unwrap_or(name))?;
        match (self.ports().store.by_key(self.key_digest(&key)).await?, by_key) {
            (Some(id), _) => Ok(id),
            (None, Some(_)) => Err(SessionError::NoSuchName),
            (None, None) => self.id_with_prefix(name).await,
        }
    }

    async fn by_prefix(&self, prefix: &str) -> Result<Session, SessionError> {
        let id = self.id_with_prefix(prefix).await?;
        self.load_any(id).await
    }

    async fn id_with_prefix(&self, prefix: &str) -> Result<SessionId, SessionError> {
        if prefix.len() < SHORTEST_PREFIX {
            return Err(SessionError::NameTooShort);
        }
        let ids = self.ids_with_prefix(&prefix.to_ascii_uppercase()).await?;
        match ids.as_slice() {
            [] => Err(SessionError::NoSuchName),
            [id] => Ok(*id),
            several => Err(SessionError::AmbiguousName { matches: several.len() }),
        }
    }
}
