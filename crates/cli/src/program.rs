//! What every command needs: where the sessions are, how they are opened and closed, and where results go.
//!
//! Must not know: any one command.

use std::{env, path::PathBuf};

use sessions_api::{Durability, Session, SessionError, SessionManager, StoreUrl};

use crate::{
    arguments::{Arguments, Once},
    failure::Failure,
    output::Output,
};

/// The program, as it was started.
pub(crate) struct Program {
    pub(crate) out: Output,
    store: Option<String>,
    pub(crate) durability: Option<Durability>,
    /// The last argument stands behind `--`: a dash is a dash.
    pub(crate) literal: bool,
}

impl Program {
    pub(crate) fn new(out: Output, arguments: &Arguments) -> Self {
        let Arguments { store, durability, literal, .. } = arguments;
        Self { out, store: store.clone(), durability: *durability, literal: *literal }
    }

    /// The store's URL, given or default.
    pub(crate) fn url(&self) -> Result<StoreUrl, Failure> {
        match &self.store {
            Some(url) => url.parse().map_err(|error| SessionError::Configuration(Box::new(error)).into()),
            None => default_folder().map(StoreUrl::sled).ok_or_else(|| {
                Failure::usage("no folder for your data is known", "name a store, as in --store sled:./chats")
            }),
        }
    }

    /// Opens the store, or makes it, does the work, and closes the store whatever came of it. For commands that write something first.
    pub(crate) async fn with_new_or_old<T>(
        &self,
        work: impl AsyncFnOnce(&SessionManager) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        within(self.open(self.url()?, true).await?, work).await
    }

    /// As [`Self::with_new_or_old`], with a store that is there: a wrong path must not pass for an empty store.
    pub(crate) async fn with_sessions<T>(
        &self,
        work: impl AsyncFnOnce(&SessionManager) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        within(self.open(self.url()?, false).await?, work).await
    }

    /// As [`Self::with_sessions`], with the session that a person named.
    pub(crate) async fn with_session<T>(
        &self,
        name: &str,
        work: impl AsyncFnOnce(&SessionManager, Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.with_sessions(async |sessions| {
            let session = sessions.find(name).await?;
            work(sessions, session).await
        })
        .await
    }

    /// As [`Self::with_session`], also one that is in the trash.
    pub(crate) async fn with_any_session<T>(
        &self,
        name: &str,
        work: impl AsyncFnOnce(&SessionManager, Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.with_sessions(async |sessions| {
            let session = sessions.find_any(name).await?;
            work(sessions, session).await
        })
        .await
    }

    /// As [`Self::with_session`], for a change that is made once where that was asked for.
    pub(crate) async fn changing<T>(
        &self,
        name: &str,
        once: Once,
        work: impl AsyncFnOnce(Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.with_session(name, async |_, session| match once.key {
            Some(key) => work(session.once(key)).await,
            None => work(session).await,
        })
        .await
    }

    /// True when no store was named, so that the default one is meant.
    pub(crate) fn is_default(&self) -> bool {
        self.store.is_none()
    }

    /// Opens a store, and tells what it had to mend.
    pub(crate) async fn open(&self, url: StoreUrl, creates: bool) -> Result<SessionManager, Failure> {
        if let (true, true, StoreUrl::Sled(folder)) = (creates, self.is_default(), &url) {
            prepare_default(folder)?;
        }
        let place = url.to_string();
        let builder = SessionManager::builder().at(url);
        let builder = if creates { builder } else { builder.open_existing() };
        let builder = match self.durability {
            Some(level) => builder.durability(level),
            None => builder,
        };
        let sessions = builder.build().await.map_err(|error| Failure::from(error).where_no_store(&place))?;
        if let Some(store) = sessions.sled_store() {
            // Empty when nothing happened that a person should hear of.
            store.report().to_string().lines().for_each(|line| self.out.notice(line));
        }
        Ok(sessions)
    }
}

/// Does the work and closes the store, whatever came of it.
async fn within<T>(
    sessions: SessionManager,
    work: impl AsyncFnOnce(&SessionManager) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let outcome = work(&sessions).await;
    let closed = sessions.close().await;
    let value = outcome?;
    closed?;
    Ok(value)
}

/// `sessions` under the folder that the system keeps a person's data in.
fn default_folder() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("sessions"))
}

/// Nobody typed the default folder's path, so nobody made the folders above it.
fn prepare_default(folder: &std::path::Path) -> Result<(), Failure> {
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above)
            .map_err(|error| Failure::from(error).about(above).with_hint("name a store, as in --store sled:./chats"))?;
    }
    Ok(())
}
