//! Where each option of the configuration meets its effect on what a builder makes.
//!
//! Must not know: where a value was said, or how a file is read.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use sessions_app::{CleanupPolicy, SessionError};
use sessions_domain::compaction::CompactionPolicy;
use sessions_infra::keys::KeyFileProvider;
use sessions_ports::{KeyError, KeyProvider, Passphrase, StoreError};

use crate::{
    Builder, StoreUrl,
    config::{CleanupWish, Configuration, KeyAt},
};

/// A secret has no more bytes than this.
const LONGEST_SECRET: u64 = 4096;

/// Why a configuration that is right in itself cannot be wired here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unwired {
    /// Something that is not part of this build.
    #[error("{what} is not built into this program; build it with the feature {feature}")]
    NotBuilt {
        /// What.
        what: &'static str,
        /// The feature of this crate.
        feature: &'static str,
    },
    /// A file with a secret that cannot be read.
    #[error("{option} names the file {}, which cannot be read ({source}); write it there, or name another", .path.display())]
    Unreadable {
        /// The option.
        option: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file with a secret that others may read.
    #[error("others may read the file {} that {option} names; run chmod 600", .path.display())]
    Open {
        /// The option.
        option: String,
        /// The file.
        path: PathBuf,
    },
    /// No secret where one should be.
    #[error("{option} names {at}, and no secret is there; write it there as one line of UTF-8, of 4096 bytes at most")]
    NoSecret {
        /// The option.
        option: String,
        /// The variable or the file, by its name.
        at: String,
    },
    /// No folder for a key file is known.
    #[error("no folder for your configuration is known; name a key file with keys.key_file")]
    NoFolder,
    /// Backups of a store that is not on disk.
    #[error(
        "backups are made of a store on disk; name one with storage.url, or leave storage.backup_interval_minutes out"
    )]
    NothingToCopy,
    /// A model for which nobody answers: see [`Configuration::connected`].
    #[error(transparent)]
    Model(#[from] crate::connecting::NotConnected),
}

impl From<Unwired> for SessionError {
    fn from(error: Unwired) -> Self {
        Self::Configuration(Box::new(error))
    }
}

fn key_error(error: KeyError) -> SessionError {
    StoreError::from(error).into()
}

impl Builder {
    /// Takes what the configuration says of the store, its key, limits and who acts. What is said to the builder afterwards counts more.
    ///
    /// Reads the file of a key or passphrase, and waits for it. A key file that is not there is made only for a store that is not there
    /// either. Providers are asked of the configuration by whoever calls models.
    ///
    #[cfg_attr(feature = "sled", doc = "```")]
    #[cfg_attr(not(feature = "sled"), doc = "```ignore")]
    /// # use sessions_api::{SessionManager, config::{Environment, Sources}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let file = format!("sessions: {{ storage: {{ url: \"sled:{}\" }} }}", folder.path().join("chats").display());
    /// let configuration = Sources::of(Environment::of_process()).text("config.yaml", file).load()?;
    /// for notice in configuration.notices() {
    ///     eprintln!("{notice}");
    /// }
    /// let sessions = SessionManager::builder().configured(&configuration)?.build().await?;
    /// # sessions.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError::Configuration`] with an [`Unwired`], and the key provider's.
    pub fn configured(self, configuration: &Configuration) -> Result<Self, SessionError> {
        let url = configuration.store();
        let builder = match &url {
            Some(url) => self.at(url.clone()),
            None => self,
        };
        let builder = match configuration.durability() {
            Some(level) => builder.durability(level),
            None => builder,
        };
        let builder = builder.for_models(configuration);
        let builder = builder.limits(configuration.limits()).actor(configuration.actor());
        let builder = builder.cleanup(configuration.cleanup_policy());
        let builder = if configuration.wants_key_service() { builder.needs_key_service() } else { builder };
        let builder = match configuration.rotates_by_itself() {
            true => builder.rotating_key(configuration.key_rotation_days()),
            false => builder,
        };
        let builder = match key(configuration, url.as_ref())? {
            Some(key) => builder.sealed_by(key),
            None => builder,
        };
        builder.copied(configuration, url.as_ref())
    }

    /// Takes what the configuration says of models, their prices, contexts and compaction.
    pub fn for_models(self, configuration: &Configuration) -> Self {
        let threshold_percent = configuration.compaction_threshold_percent();
        let policy = CompactionPolicy::default().at(threshold_percent);
        let profiles = configuration.profiles().clone();
        let builder = self.profiles(profiles).prices(configuration.prices()).compaction(policy);
        match configuration.max_context_tokens() {
            Some(most) => builder.max_context_tokens(most.get()),
            None => builder,
        }
    }

    #[cfg(feature = "sled")]
    fn copied(mut self, configuration: &Configuration, url: Option<&StoreUrl>) -> Result<Self, SessionError> {
        if configuration.backups().is_some() {
            let schedule = url.and_then(|url| configuration.backup_schedule(url));
            self.backups = Some(schedule.ok_or(Unwired::NothingToCopy)?);
        }
        Ok(self)
    }

    #[cfg(not(feature = "sled"))]
    fn copied(self, configuration: &Configuration, _: Option<&StoreUrl>) -> Result<Self, SessionError> {
        if configuration.backups().is_some() { Err(Unwired::NothingToCopy.into()) } else { Ok(self) }
    }
}

impl Configuration {
    /// What is cleaned up by age, and how often: nothing, unless it is said.
    pub fn cleanup_policy(&self) -> CleanupPolicy {
        let CleanupWish { interval, idle, trash_after, delete_after } = self.cleanup();
        CleanupPolicy { interval, idle, trash_after, delete_after, ..CleanupPolicy::default() }
    }
}

#[cfg(feature = "sled")]
impl Configuration {
    /// The backups that are asked for of a store, to be made as long as it is open; `None`: none, or the store is not on disk.
    pub fn backup_schedule(&self, url: &StoreUrl) -> Option<sessions_infra::sled::BackupSchedule> {
        let wish = self.backups()?;
        let StoreUrl::Sled(store) = url else { return None };
        let folder = wish.folder.unwrap_or_else(|| beside(store));
        Some(sessions_infra::sled::BackupSchedule { interval: wish.interval, folder, keep: wish.keep })
    }
}

#[cfg(feature = "sled")]
impl crate::SessionManager {
    /// Begins the backups that were asked for.
    pub(crate) async fn scheduling(
        mut self,
        schedule: Option<sessions_infra::sled::BackupSchedule>,
    ) -> Result<Self, SessionError> {
        let Some(schedule) = schedule else { return Ok(self) };
        match self.schedule_backups(schedule) {
            Ok(scheduled) => {
                self.scheduled = Some(Arc::new(scheduled));
                Ok(self)
            }
            Err(error) => {
                // Nobody has a handle to close it by.
                let _ = self.close().await;
                Err(error)
            }
        }
    }
}

/// The folder of backups beside a store.
#[cfg(feature = "sled")]
fn beside(store: &Path) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push("-backups");
    store.with_file_name(name)
}

/// The key that the configuration names; `None`: the store is plain.
fn key(configuration: &Configuration, url: Option<&StoreUrl>) -> Result<Option<Arc<dyn KeyProvider>>, SessionError> {
    let at = match (configuration.encrypts(), configuration.key()) {
        (Some(false), _) | (None, None) => return Ok(None),
        (_, Some(at)) => at,
        (Some(true), None) => KeyAt::KeyFile(configuration.usual_key_file().ok_or(Unwired::NoFolder)?),
    };
    match at {
        KeyAt::KeyFile(path) => key_file(&path, url).map(Some),
        KeyAt::PassphraseFile(path) => passphrase(in_file(&path, "keys.passphrase_file")?, url).map(Some),
        KeyAt::PassphraseVariable(name) => {
            passphrase(in_variable(configuration, &name, "keys.passphrase_env")?, url).map(Some)
        }
        KeyAt::Vault { url, key, token_file, ca_file } => {
            service(configuration, &url, key, token_file, ca_file).map(Some)
        }
    }
}

/// Whether a store is made by opening it, or its making was broken off.
fn is_new(url: Option<&StoreUrl>) -> bool {
    match url {
        #[cfg(feature = "sled")]
        Some(StoreUrl::Sled(path)) => {
            use sessions_infra::sled::{KeysAt, keys_at};

            matches!(keys_at(path), Ok(KeysAt::Nothing | KeysAt::Sealed(None)))
        }
        _ => true,
    }
}

fn key_file(path: &Path, url: Option<&StoreUrl>) -> Result<Arc<dyn KeyProvider>, SessionError> {
    let opened = if is_new(url) { KeyFileProvider::create_or_open(path) } else { KeyFileProvider::open(path) };
    opened.map(|key| Arc::new(key) as Arc<dyn KeyProvider>).map_err(key_error)
}

/// The first line of a file that nobody else may read.
pub(crate) fn in_file(path: &Path, option: &str) -> Result<Passphrase, Unwired> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let unreadable = |source| Unwired::Unreadable { option: option.to_owned(), path: whole.clone(), source };
    let file = File::open(path).map_err(unreadable)?;
    if others_may_read(&file).map_err(unreadable)? {
        return Err(Unwired::Open { option: option.to_owned(), path: whole });
    }
    let mut text = String::with_capacity(usize::try_from(LONGEST_SECRET).unwrap_or(0) + 64);
    let none = || Unwired::NoSecret { option: option.to_owned(), at: format!("the file {}", whole.display()) };
    file.take(LONGEST_SECRET + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => none(),
        _ => unreadable(error),
    })?;
    let end = text.find('\n').unwrap_or(text.len());
    let is_whole = end < text.len() || text.len() as u64 <= LONGEST_SECRET;
    // Its memory becomes the passphrase's, which is wiped.
    text.truncate(end);
    if text.ends_with('\r') {
        text.pop();
    }
    let secret = Passphrase::new(text);
    if is_whole && !secret.expose().is_empty() { Ok(secret) } else { Err(none()) }
}

#[cfg(unix)]
fn others_may_read(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;

    let about = file.metadata()?;
    Ok(about.is_file() && about.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_: &File) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn in_variable(configuration: &Configuration, name: &str, option: &str) -> Result<Passphrase, Unwired> {
    let value = configuration.environment().secret(name);
    value.ok_or_else(|| Unwired::NoSecret { option: option.to_owned(), at: format!("the variable {name}") })
}

#[cfg(feature = "passphrase")]
fn passphrase(passphrase: Passphrase, url: Option<&StoreUrl>) -> Result<Arc<dyn KeyProvider>, SessionError> {
    use sessions_infra::keys::{Costs, PassphraseProvider};

    /// A key's derivation shall take about this long on the machine that makes it.
    const DERIVATION: std::time::Duration = std::time::Duration::from_millis(500);

    let makes = is_new(url);
    // What is stored says the costs of a key that is there.
    let costs = if makes { Costs::calibrate(DERIVATION).map_err(key_error)? } else { Costs::FLOOR };
    let provider = PassphraseProvider::new(passphrase, costs).map_err(key_error)?;
    if makes {
        provider.check().map_err(key_error)?;
    }
    Ok(Arc::new(provider))
}

#[cfg(not(feature = "passphrase"))]
fn passphrase(_: Passphrase, _: Option<&StoreUrl>) -> Result<Arc<dyn KeyProvider>, SessionError> {
    Err(Unwired::NotBuilt { what: "a key from a passphrase", feature: "passphrase" }.into())
}

#[cfg(feature = "vault")]
fn service(
    configuration: &Configuration,
    url: &str,
    key: String,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
) -> Result<Arc<dyn KeyProvider>, SessionError> {
    use sessions_infra::keys::{Token, VaultTransit, VaultTransitProvider};

    let (address, mount) = url.rsplit_once('/').unwrap_or((url, "transit"));
    // What stands behind the last / of https:// is no mount.
    let (address, mount) = if address.ends_with('/') { (url, "transit") } else { (address, mount) };
    let token = match token_file {
        Some(file) => Token::File(file),
        None => {
            Token::Given(in_variable(configuration, "VAULT_TOKEN", "the configuration without keys.vault.token_file")?)
        }
    };
    let mut settings = VaultTransit::new(address, mount, key, token);
    settings.certificates = ca_file;
    VaultTransitProvider::new(settings).map(|key| Arc::new(key) as Arc<dyn KeyProvider>).map_err(key_error)
}

#[cfg(not(feature = "vault"))]
fn service(
    _: &Configuration,
    _: &str,
    _: String,
    _: Option<PathBuf>,
    _: Option<PathBuf>,
) -> Result<Arc<dyn KeyProvider>, SessionError> {
    Err(Unwired::NotBuilt { what: "a key in a key service", feature: "vault" }.into())
}
