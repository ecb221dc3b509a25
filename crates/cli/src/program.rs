//! What every command needs: where the sessions are, how they are opened and closed, and where results go.
//!
//! Must not know: any one command.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use sessions_api::{
    Builder, Cleaning, Durability, KeyError, KeyProvider, KeysAt, ScheduledBackups, Session, SessionError,
    SessionManager, StoreError, StoreUrl, config::Configuration, maintenance,
};

use crate::{
    arguments::{Arguments, KeySource, Once},
    failure::Failure,
    output::Output,
};

/// The program, as it was started.
pub(crate) struct Program {
    pub(crate) out: Output,
    store: Option<String>,
    pub(crate) durability: Option<Durability>,
    /// Where the key of a sealed store comes from.
    pub(crate) key: KeySource,
    /// The last argument stands behind `--`: a dash is a dash.
    pub(crate) literal: bool,
    /// The arguments that somebody needs who goes on with the same store and configuration, as they are typed at a shell.
    pub(crate) again: Vec<String>,
    /// What is in force, arguments counted.
    pub(crate) configuration: Configuration,
}

impl Program {
    pub(crate) fn new(out: Output, arguments: &Arguments, configuration: Configuration) -> Self {
        let Arguments { store, literal, key, .. } = arguments;
        // Of a file, or of a variable that is younger than SESSIONS_STORE.
        let configured = || configuration.place("storage.url").and(configuration.store()).map(|url| url.to_string());
        let store = store.clone().or_else(configured);
        let (durability, key) = (configuration.durability(), key.clone().with(&configuration));
        Self { out, store, durability, literal: *literal, key, again: again(arguments), configuration }
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

    /// Opens a store, and tells what it had to mend. A sealed one is opened with its key; one that is made is sealed, unless it is to be plain.
    pub(crate) async fn open(&self, url: StoreUrl, creates: bool) -> Result<SessionManager, Failure> {
        self.prepare(&url, creates)?;
        let key = self.key_of(&url, creates).await?;
        self.opened(url, creates, key).await
    }

    /// Makes a sealed store with this key.
    pub(crate) async fn made_with(&self, url: StoreUrl, key: Arc<dyn KeyProvider>) -> Result<SessionManager, Failure> {
        self.prepare(&url, true)?;
        self.opened(url, true, Some(key)).await
    }

    fn prepare(&self, url: &StoreUrl, creates: bool) -> Result<(), Failure> {
        match url {
            StoreUrl::Sled(folder) if creates && self.is_default() => prepare_default(folder),
            _ => Ok(()),
        }
    }

    /// The key to check a store with: none where it is plain, or is to be checked as by somebody who has none.
    pub(crate) async fn key_to_check(
        &self,
        url: &StoreUrl,
        without: bool,
    ) -> Result<Option<Arc<dyn KeyProvider>>, Failure> {
        if without { Ok(None) } else { self.key_of(url, false).await }
    }

    /// The key that opens a store, or that one is made with.
    async fn key_of(&self, url: &StoreUrl, creates: bool) -> Result<Option<Arc<dyn KeyProvider>>, Failure> {
        if !matches!(url, StoreUrl::Sled(_)) {
            return Ok(None);
        }
        match maintenance::keys_at(url).await? {
            KeysAt::Sealed(_) if self.key.plain => Err(Failure::usage(
                "the store is sealed, and a sealed store is never opened plain",
                "leave --plain out",
            )),
            KeysAt::Sealed(_) if self.is_plain() => Err(Failure::usage(
                "the store is sealed, and encryption.enabled is false: a sealed store is never opened plain",
                "take encryption.enabled out of the configuration",
            )),
            KeysAt::Sealed(Some(facts)) => self.key.to_open(facts.wrapped.provider).map(Some),
            KeysAt::Nothing | KeysAt::Sealed(None) if creates && !self.is_plain() => {
                self.key.to_make(url, &self.out).map(Some)
            }
            KeysAt::Sealed(None) => {
                let what = "the folder `keys` is missing or empty";
                Err(SessionError::from(StoreError::from(KeyError::Damaged { what })).into())
            }
            // A sealed store that somebody put a plain one in the place of must not be written to in the clear.
            KeysAt::Plain if self.key.is_said()? || (!self.is_plain() && self.key.given_here()?.is_some()) => {
                Err(Failure::usage(
                    "the store is plain, and a key was given by an argument or the environment",
                    "leave the key out, or say --plain when the store is meant to be plain; `keys init` seals it",
                ))
            }
            KeysAt::Plain if !self.is_plain() && self.is_to_be_sealed() => Err(Failure::usage(
                "the store is plain, and the configuration wants a sealed one: encryption.enabled is true, or keys names a key",
                "`keys init` seals it in its place; or say --plain when it is meant to be plain",
            )),
            _ => Ok(None),
        }
    }

    /// Backups that the configuration asks for, as long as what this gives is held: for a command that goes on until it is ended.
    pub(crate) fn backups(&self, sessions: &SessionManager) -> Result<Option<ScheduledBackups>, Failure> {
        let schedule = self.configuration.backup_schedule(&self.url()?);
        Ok(schedule.map(|schedule| sessions.schedule_backups(schedule)).transpose()?)
    }

    /// Cleans up by age as the configuration says, as long: for such a command too.
    pub(crate) fn cleaning(&self, sessions: &SessionManager) -> Result<Option<Cleaning>, Failure> {
        let policy = self.configuration.cleanup_policy();
        Ok((!policy.is_off()).then(|| sessions.start_cleanup(policy)).transpose()?)
    }

    /// Whether an argument or the configuration says that the store is plain.
    pub(crate) fn is_plain(&self) -> bool {
        self.configuration.encrypts() == Some(false)
    }

    /// Whether the configuration says that the store is sealed.
    fn is_to_be_sealed(&self) -> bool {
        self.configuration.encrypts() == Some(true) || self.key.configured.is_some()
    }

    async fn opened(
        &self,
        url: StoreUrl,
        creates: bool,
        key: Option<Arc<dyn KeyProvider>>,
    ) -> Result<SessionManager, Failure> {
        let place = url.to_string();
        let configuration = &self.configuration;
        let builder = SessionManager::builder().at(url).for_models(configuration);
        let builder = builder.limits(configuration.limits()).actor(configuration.actor());
        let builder = if configuration.wants_key_service() { builder.needs_key_service() } else { builder };
        let builder = if creates { builder } else { builder.open_existing() };
        let builder = key.into_iter().fold(builder, Builder::sealed_by);
        let builder = match self.durability {
            Some(level) => builder.durability(level),
            None => builder,
        };
        let sessions = builder.build().await.map_err(|error| Failure::from(error).where_no_store(&place))?;
        if let Some(store) = sessions.sled_store() {
            // Empty when nothing happened that a person should hear of.
            store.report().to_string().lines().for_each(|line| self.out.notice(line));
        }
        if let Some(attested) = sessions.attested().filter(|attested| !attested.is_sound()) {
            self.out.notice(&attested.to_string());
        }
        Ok(sessions)
    }
}

/// What was said of the store and the configuration by arguments; what the environment says it says again.
fn again(arguments: &Arguments) -> Vec<String> {
    let of_variable = env::var("SESSIONS_STORE").ok();
    let store = arguments.store.clone().filter(|url| Some(url) != of_variable.as_ref());
    let path = |path: &Option<PathBuf>| path.as_deref().map(|path| path.display().to_string());
    let key = &arguments.key;
    let options = [
        ("--store", store),
        ("--config", path(&arguments.config)),
        ("--key-file", path(&key.key_file)),
        ("--passphrase-file", path(&key.passphrase_file)),
        ("--vault", key.vault.clone()),
        ("--vault-token-file", path(&key.vault_token_file)),
    ];
    let options = options.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", quoted(&value?))));
    options.chain(key.plain.then(|| "--plain".to_owned())).collect()
}

/// A word as it is typed at a shell.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
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
pub(crate) fn default_folder() -> Option<PathBuf> {
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

/// Whether a file would lie in a store's folder, also by way of links, and also when neither is there yet.
pub(crate) fn is_within(url: &StoreUrl, file: &Path) -> bool {
    let StoreUrl::Sled(store) = url else { return false };
    match (resolved(file), resolved(store)) {
        (Some(file), Some(store)) => file.starts_with(store),
        _ => false,
    }
}

/// A path whose links are followed as far as it is there.
fn resolved(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|there| {
        let rest = path.strip_prefix(there).ok()?;
        Some(there.canonicalize().ok()?.join(rest))
    })
}
