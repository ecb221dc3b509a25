//! Which key opens a store: where it comes from is said by arguments and the environment, and what is needed by the store.
//!
//! Must not know: what is done with the store.

use std::{
    env,
    io::{ErrorKind, IsTerminal as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use sessions_api::{
    Costs, KeyError, KeyFileProvider, KeyProvider, Passphrase, PassphraseProvider, ProviderKind, SessionError,
    StoreError, StoreUrl, Token, VaultTransit, VaultTransitProvider,
    config::{Configuration, KeyAt},
};

use crate::{arguments::KeySource, failure::Failure, output::Output, program::is_within, secret};

/// A key's derivation from a passphrase shall take about this long on the machine that makes it.
const DERIVATION: std::time::Duration = std::time::Duration::from_millis(500);

/// Where a key is to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A key file, here.
    KeyFile(PathBuf),
    /// A passphrase in this file.
    PassphraseFile(PathBuf),
    /// A passphrase in the environment.
    PassphraseOf(String),
    /// A passphrase that a person types.
    Prompt,
    /// A key in a key service: its address, the mount, the key.
    Service(String),
}

/// What a program is told of a key file that was made.
#[derive(Serialize)]
struct MadeKeyFile {
    key_file: String,
}

fn key_error(error: KeyError) -> Failure {
    SessionError::from(StoreError::from(error)).into()
}

impl KeySource {
    /// What is said by arguments; `None` when nothing is.
    fn said(&self) -> Result<Option<Source>, Failure> {
        let key_file = self.key_file.clone().map(Source::KeyFile);
        let passphrase = self.passphrase_file.clone().map(Source::PassphraseFile);
        let service = self.vault.clone().map(Source::Service);
        one_of([key_file, passphrase, service].into_iter().flatten())
    }

    /// The same arguments, with what the configuration names behind them.
    pub(crate) fn with(mut self, configuration: &Configuration) -> Self {
        self.configured = configuration.key().and_then(|at| match at {
            KeyAt::KeyFile(path) => Some(Source::KeyFile(path)),
            KeyAt::PassphraseFile(path) => Some(Source::PassphraseFile(path)),
            KeyAt::PassphraseVariable(name) => Some(Source::PassphraseOf(name)),
            KeyAt::Vault { url, key, token_file, ca_file } => {
                self.vault_token_file = self.vault_token_file.take().or(token_file);
                self.trusted = ca_file;
                Some(Source::Service(format!("{url}/{key}")))
            }
            _ => None,
        });
        self
    }

    /// What is said by arguments, the environment or the configuration; `None` when nothing is.
    pub(crate) fn given(&self) -> Result<Option<Source>, Failure> {
        Ok(self.given_here()?.or_else(|| self.configured.clone()))
    }

    /// What is said by arguments and the environment; `None` when nothing is.
    pub(crate) fn given_here(&self) -> Result<Option<Source>, Failure> {
        let text = |name: &'static str| env::var_os(name).filter(|value| !value.is_empty());
        let of_environment = [
            secret::is_in_environment(PASSPHRASE).then(|| Source::PassphraseOf(PASSPHRASE.to_owned())),
            text("SESSIONS_KEY_FILE").map(|path| Source::KeyFile(path.into())),
            text("SESSIONS_VAULT").and_then(|url| url.into_string().ok()).map(Source::Service),
        ];
        one_of(self.said()?.into_iter().chain(of_environment.into_iter().flatten()))
    }

    /// Whether an argument names a key.
    pub(crate) fn is_said(&self) -> Result<bool, Failure> {
        Ok(self.said()?.is_some())
    }

    /// The key that a sealed store asks for. What is given counts, also where it is of another kind, which the store then says.
    pub(crate) fn to_open(&self, needed: ProviderKind) -> Result<Arc<dyn KeyProvider>, Failure> {
        let source = match (self.given()?, needed) {
            (Some(source), _) => source,
            (None, ProviderKind::KeyFile) => Source::KeyFile(default_key_file()?),
            (None, ProviderKind::Passphrase) if std::io::stdin().is_terminal() => Source::Prompt,
            (None, ProviderKind::Passphrase) => {
                return Err(Failure::key_needed(
                    "the store is sealed with a passphrase and none was given",
                    "set SESSIONS_PASSPHRASE, or give --passphrase-file",
                ));
            }
            (None, _) => {
                return Err(Failure::key_needed(
                    "the store's key is in a key service and none was named",
                    "give --vault ADDRESS/MOUNT/KEY, or set SESSIONS_VAULT",
                ));
            }
        };
        self.provider(&source, None)
    }

    /// The key for a store that is made now: what is given, or else the key file that is this person's. One that is made is told.
    pub(crate) fn to_make(&self, url: &StoreUrl, out: &Output) -> Result<Arc<dyn KeyProvider>, Failure> {
        let source = match self.given()? {
            Some(source) => source,
            None => Source::KeyFile(default_key_file()?),
        };
        check_is_elsewhere(url, &source)?;
        self.provider(&source, Some(out))
    }

    /// The key that is given now, for a new key-encryption key under the same.
    pub(crate) fn again(&self, kind: ProviderKind, out: &Output) -> Result<Arc<dyn KeyProvider>, Failure> {
        match (self.given()?, kind) {
            (Some(source), _) => self.provider(&source, Some(out)),
            (None, ProviderKind::Passphrase) => self.provider(&Source::Prompt, Some(out)),
            (None, kind) => self.to_open(kind),
        }
    }

    /// The provider of a source. With somebody to tell it to, a key file that is not there is made, and a passphrase is typed twice.
    pub(crate) fn provider(&self, source: &Source, out: Option<&Output>) -> Result<Arc<dyn KeyProvider>, Failure> {
        let makes = out.is_some();
        match source {
            Source::KeyFile(path) => key_file(path, out),
            Source::PassphraseFile(path) => passphrase(secret::in_file(path)?, makes),
            Source::PassphraseOf(name) => {
                let unset = || Failure::key_needed(&format!("{name} is not set"), "set it, or give --passphrase-file");
                passphrase(secret::of_environment(name)?.ok_or_else(unset)?, makes)
            }
            Source::Prompt => passphrase(secret::typed(makes)?, makes),
            Source::Service(url) => self.service(url),
        }
    }

    fn service(&self, url: &str) -> Result<Arc<dyn KeyProvider>, Failure> {
        let hint = "write it as https://HOST:PORT/MOUNT/KEY";
        let mut parts = url.trim_end_matches('/').rsplitn(3, '/');
        let (Some(key), Some(mount), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Failure::usage("that is no key of a key service", hint));
        };
        let token = match &self.vault_token_file {
            Some(path) => Token::File(path.clone()),
            None => {
                let hint = "set VAULT_TOKEN, or give --vault-token-file";
                let token = secret::of_environment("VAULT_TOKEN")?;
                Token::Given(token.ok_or_else(|| Failure::key_needed("the key service wants a token", hint))?)
            }
        };
        let mut settings = VaultTransit::new(address, mount, key, token);
        settings.namespace = env::var("VAULT_NAMESPACE").ok().filter(|name| !name.is_empty());
        let of_environment = env::var_os("VAULT_CACERT").filter(|path| !path.is_empty()).map(PathBuf::from);
        settings.certificates = of_environment.or_else(|| self.trusted.clone());
        let provider = VaultTransitProvider::new(settings).map_err(key_error)?;
        Ok(Arc::new(provider))
    }
}

/// The name of the variable that holds a passphrase.
pub(crate) const PASSPHRASE: &str = "SESSIONS_PASSPHRASE";
/// The name of the one that holds the next.
pub(crate) const NEW_PASSPHRASE: &str = "SESSIONS_NEW_PASSPHRASE";

/// Refuses a key file that would lie in the store that it opens.
pub(crate) fn check_is_elsewhere(url: &StoreUrl, source: &Source) -> Result<(), Failure> {
    match source {
        Source::KeyFile(file) if is_within(url, file) => Err(Failure::usage(
            "the key file would lie in the store that it opens",
            "name a file elsewhere: whoever has the store's folder would have its key",
        )),
        _ => Ok(()),
    }
}

/// The one source that was given. Of two nobody knows which is meant.
pub(crate) fn one_of(sources: impl Iterator<Item = Source>) -> Result<Option<Source>, Failure> {
    let mut sources: Vec<Source> = sources.collect();
    sources.dedup();
    match sources.len() {
        0 | 1 => Ok(sources.pop()),
        _ => Err(Failure::usage(
            "two sources of a key are given",
            "give one: --key-file, --passphrase-file, --vault, or a variable of the environment",
        )),
    }
}

fn is_missing(error: &KeyError) -> bool {
    matches!(error, KeyError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// Makes a key file and says so: whoever does not know of it has no copy of it.
fn made_key_file(path: &Path, out: &Output) -> Result<KeyFileProvider, KeyError> {
    let made = match KeyFileProvider::create(path) {
        // Somebody was faster.
        Err(KeyError::KeyFile { .. }) => return KeyFileProvider::open(path),
        made => made?,
    };
    let key_file = path.display().to_string();
    let text = format!("a key file was made: {key_file}; back it up, without it nobody can read what it seals");
    out.notice_with(&text, &MadeKeyFile { key_file });
    Ok(made)
}

/// The key in a file. With somebody to tell it to, one that is not there is made.
fn key_file(path: &Path, makes: Option<&Output>) -> Result<Arc<dyn KeyProvider>, Failure> {
    let opened = match (KeyFileProvider::open(path), makes) {
        (Err(error), Some(out)) if is_missing(&error) => made_key_file(path, out),
        (opened, _) => opened,
    };
    match opened {
        Ok(provider) => Ok(Arc::new(provider)),
        Err(error) if is_missing(&error) => {
            let message = format!("the store is sealed, and its key file is not at {}", path.display());
            Err(Failure::key_needed(&message, "name the key file: --key-file FILE"))
        }
        Err(error) => Err(key_error(error).about(path)),
    }
}

fn passphrase(passphrase: Passphrase, makes: bool) -> Result<Arc<dyn KeyProvider>, Failure> {
    if passphrase.expose().is_empty() {
        return Err(key_error(KeyError::Weak { what: "it is empty" }));
    }
    // What is stored says the costs of a key that is there.
    let costs = if makes { Costs::calibrate(DERIVATION).map_err(key_error)? } else { Costs::FLOOR };
    let provider = PassphraseProvider::new(passphrase, costs).map_err(key_error)?;
    if makes {
        provider.check().map_err(key_error)?;
    }
    Ok(Arc::new(provider))
}

/// A person's key file, which the program makes when it first seals a store: never beside a store.
pub(crate) fn default_key_file() -> Result<PathBuf, Failure> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = if cfg!(windows) {
        folder("APPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))
    };
    config.map(|config| config.join("sessions").join("key")).ok_or_else(|| {
        Failure::usage("no folder for your configuration is known", "name a key file, as in --key-file ~/sessions.key")
    })
}
