//! The manager, opened: which parts it is given is decided here, and nothing else.
//!
//! Must not know: use cases; those are the manager's own.

#[cfg(feature = "sled")]
use std::path::Path;
use std::{ops::Deref, sync::Arc};

use serde::Serialize;
use sessions_app::{Activity, Cleaning, CleanupPolicy, Ports, SessionError, Settings};
use sessions_domain::{Actor, Limits, compaction::CompactionPolicy, price::PriceTable, profile::Profiles};
#[cfg(all(feature = "sled", feature = "config"))]
use sessions_infra::sled::{BackupSchedule, ScheduledBackups};
use sessions_infra::{
    MemoryStore,
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    keys::MemoryKeyStore,
    observed::{ObservedStore, StoreCounters},
    sealing::SealedStore,
};
#[cfg(feature = "sled")]
use sessions_infra::{
    keys::FileKeyStore,
    sled::{KeysAt, Sealing, SledOptions, SledStore, WitnessReport, keys_at},
};
#[cfg(feature = "sled")]
use sessions_ports::{BackendError, BackendErrorKind, StoreError};
use sessions_ports::{
    Clock, Durability, Encodings, Entropy, IdGenerator, KeyProvider, KeyStore, ProviderKind, SessionLog, TokenCounter,
};

use crate::{
    encodings::Warming,
    rotation::{KeyRotation, Rotating},
    url::{InvalidStoreUrl, StoreUrl},
};

/// Makes, finds and lists sessions: the one entry. It is [`sessions_app::SessionManager`] with its parts wired, and clones are handles to
/// the same one.
#[derive(Clone)]
pub struct SessionManager {
    app: sessions_app::SessionManager,
    store: ObservedStore,
    sealed: Option<Unlocked>,
    #[cfg(feature = "sled")]
    sled: Option<SledStore>,
    /// Made until the last clone is dropped or the store is closed.
    #[cfg(all(feature = "sled", feature = "config"))]
    pub(crate) scheduled: Option<Arc<ScheduledBackups>>,
    /// Goes on as long.
    cleaning: Option<Arc<Cleaning>>,
    rotation: Option<Arc<KeyRotation>>,
}

impl SessionManager {
    /// Opens the store of this URL, or makes it, with the system's clock, ids and randomness.
    ///
    /// Appends wait for the strongest level that the store gives: with `sled:PATH` they survive a power cut.
    ///
    /// # Errors
    /// [`SessionError::Configuration`] with an [`InvalidStoreUrl`] when the URL names no store, and the store's.
    pub async fn open(url: impl AsRef<str>) -> Result<Self, SessionError> {
        Self::builder().url(url).build().await
    }

    /// Opens the sealed store of this URL, or makes one, with the key that its keys are wrapped under: a passphrase's, a key file's or a key
    /// service's. Everything that people write is encrypted before the store sees it.
    ///
    #[cfg_attr(feature = "sled", doc = "```")]
    #[cfg_attr(not(feature = "sled"), doc = "```ignore")]
    /// use sessions_api::{KeyFileProvider, NewSession, SessionManager};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let (url, key) = (format!("sled:{}", folder.path().join("chats").display()), folder.path().join("chats.key"));
    /// let sessions = SessionManager::open_sealed(&url, KeyFileProvider::create_or_open(&key)?).await?;
    /// sessions.create(NewSession::titled("nobody reads this on the disk")).await?;
    /// sessions.close().await?;
    /// assert!(SessionManager::open(&url).await.is_err(), "a sealed store is never opened plain");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::open`]; [`sessions_ports::StoreError::Key`] with [`sessions_ports::KeyError::NotSealed`] for a plain store, with
    /// [`sessions_ports::KeyError::WrongKey`] for another key, and the provider's.
    pub async fn open_sealed(url: impl AsRef<str>, key: impl KeyProvider + 'static) -> Result<Self, SessionError> {
        Self::builder().url(url).sealed(key).build().await
    }

    /// Wires parts of one's own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What was asked of the store, and what managers over it did, since it was opened. Reading them costs next to nothing.
    pub fn counters(&self) -> Counters {
        Counters { store: self.store.counters(), sessions: self.app.activity() }
    }

    /// The sealed store, when the manager was opened with a key: its keys are looked after there.
    pub fn sealed_store(&self) -> Option<&SealedStore> {
        self.sealed.as_ref().map(|unlocked| &unlocked.store)
    }

    /// Whether all sessions of a sealed store stood as they were attested when it was opened; `None` for a plain store, and for one that keeps no roots. A
    /// host shows what is not sound to a person ([`SledStore::witness`]).
    #[cfg(feature = "sled")]
    pub fn attested(&self) -> Option<WitnessReport> {
        self.sealed.as_ref().and_then(|unlocked| unlocked.attested)
    }

    /// The cleanup that the builder was asked for.
    pub fn cleaning(&self) -> Option<&Cleaning> {
        self.cleaning.as_deref()
    }

    /// The changes of the key that the builder was asked for; `None` also for a plain store.
    pub fn key_rotation(&self) -> Option<&KeyRotation> {
        self.rotation.as_deref()
    }

    /// The backups that the configuration asked for.
    #[cfg(all(feature = "sled", feature = "config"))]
    pub fn scheduled_backups(&self) -> Option<&ScheduledBackups> {
        self.scheduled.as_deref()
    }

    /// The default store, when the manager was opened by a URL that names it: what it found when it was opened, and what it did since.
    #[cfg(feature = "sled")]
    pub fn sled_store(&self) -> Option<&SledStore> {
        self.sled.as_ref()
    }
}

impl Deref for SessionManager {
    type Target = sessions_app::SessionManager;

    fn deref(&self) -> &Self::Target {
        &self.app
    }
}

/// What a manager and its store did since it was opened. It serialises with these names, which stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// What was asked of the store.
    pub store: StoreCounters,
    /// What was done with sessions.
    pub sessions: Activity,
}

/// Where the sessions are kept.
#[derive(Default)]
enum Source {
    #[default]
    Unsaid,
    Url(Result<StoreUrl, InvalidStoreUrl>),
    Store(Arc<dyn SessionLog>),
}

/// Takes the parts of a manager. What is not given is the system's.
///
/// ```
/// # use sessions_api::{Actor, Durability, MemoryStore, SessionError, SessionManager};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), SessionError> {
/// let sessions = SessionManager::builder().store(MemoryStore::new()).actor(Actor::named("ana")).build().await?;
/// assert_eq!(sessions.durability(), Durability::Volatile);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use = "a builder makes nothing until it is built"]
pub struct Builder {
    source: Source,
    clock: Option<Arc<dyn Clock>>,
    ids: Option<Arc<dyn IdGenerator>>,
    entropy: Option<Arc<dyn Entropy>>,
    counter: Option<Arc<dyn TokenCounter>>,
    encodings: Option<Arc<dyn Encodings>>,
    warm: Vec<String>,
    key: Option<Arc<dyn KeyProvider>>,
    key_store: Option<Arc<dyn KeyStore>>,
    settings: Settings,
    must_exist: bool,
    /// Only a key in a key service opens or makes the store.
    needs_key_service: bool,
    cleanup: Option<CleanupPolicy>,
    rotates_after: Option<u64>,
    #[cfg(all(feature = "sled", feature = "config"))]
    pub(crate) backups: Option<BackupSchedule>,
}

impl Builder {
    /// Opens the store of this URL.
    pub fn url(mut self, url: impl AsRef<str>) -> Self {
        self.source = Source::Url(url.as_ref().parse());
        self
    }

    /// Opens the store that a parsed URL names.
    pub fn at(mut self, url: StoreUrl) -> Self {
        self.source = Source::Url(Ok(url));
        self
    }

    /// Opens only a store that is there, and makes none: for a host that was asked to read, and must not take a wrong path for an
    /// empty store. A store in memory is always there.
    ///
    #[cfg_attr(feature = "sled", doc = "```")]
    #[cfg_attr(not(feature = "sled"), doc = "```ignore")]
    /// # use sessions_api::{ErrorKind, SessionManager};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let url = format!("sled:{}", folder.path().join("chats").display());
    /// let missing = SessionManager::builder().url(url).open_existing().build().await;
    /// assert_eq!(missing.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    /// # assert!(!folder.path().join("chats").exists());
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_existing(mut self) -> Self {
        self.must_exist = true;
        self
    }

    /// Keeps the sessions in this store.
    pub fn store(self, store: impl SessionLog + 'static) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Keeps the sessions in this store, which others hold too.
    pub fn shared_store(mut self, store: Arc<dyn SessionLog>) -> Self {
        self.source = Source::Store(store);
        self
    }

    /// Seals the store with a key of this provider.
    pub fn sealed(self, key: impl KeyProvider + 'static) -> Self {
        self.sealed_by(Arc::new(key))
    }

    /// Seals the store with a key of this provider, which others use too.
    pub fn sealed_by(mut self, key: Arc<dyn KeyProvider>) -> Self {
        self.key = Some(key);
        self
    }

    /// Opens and makes only stores whose key is in a key service that its owner runs: any other provider is refused, and so is none.
    pub fn needs_key_service(mut self) -> Self {
        self.needs_key_service = true;
        self
    }

    /// Keeps the wrapped keys of a store of one's own here. The stores that a URL names bring a place for them.
    pub fn key_store(mut self, keys: impl KeyStore + 'static) -> Self {
        self.key_store = Some(Arc::new(keys));
        self
    }

    /// Tells the time by this clock.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Makes identities with this generator.
    pub fn ids(mut self, ids: impl IdGenerator + 'static) -> Self {
        self.ids = Some(Arc::new(ids));
        self
    }

    /// Draws random bytes from this source.
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.entropy = Some(Arc::new(entropy));
        self
    }

    /// Counts tokens with this counter where no model is named. Without one they are estimated.
    pub fn counter(mut self, counter: impl TokenCounter + 'static) -> Self {
        self.counter = Some(Arc::new(counter));
        self
    }

    /// Finds the counters of models here, by their encodings. Without it: those that are built in ([`crate::BuiltInEncodings`]).
    pub fn encodings(mut self, encodings: impl Encodings + 'static) -> Self {
        self.encodings = Some(Arc::new(encodings));
        self
    }

    /// Has the counters of these encodings made while the store is opened, as those of the models that are to be used: without it, the
    /// first count in an encoding takes some 50 milliseconds more.
    ///
    /// ```
    /// # use sessions_api::{ErrorKind, MemoryStore, SessionManager};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let known = SessionManager::builder().store(MemoryStore::new()).warm_tokens(["estimate-1"]).build().await;
    /// assert!(known.is_ok());
    /// let unknown = SessionManager::builder().store(MemoryStore::new()).warm_tokens(["o200k"]).build().await;
    /// assert_eq!(unknown.err().map(|error| error.kind()), Some(ErrorKind::Invalid));
    /// # }
    /// ```
    pub fn warm_tokens(mut self, encodings: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.warm.extend(encodings.into_iter().map(Into::into));
        self
    }

    /// Knows these models, in place of those that are shipped.
    pub fn profiles(mut self, profiles: Profiles) -> Self {
        self.settings.profiles = profiles;
        self
    }

    /// Knows what calls of models cost.
    pub fn prices(mut self, prices: PriceTable) -> Self {
        self.settings.prices = prices;
        self
    }

    /// Gives no context more tokens than this, whatever the model takes.
    pub fn max_context_tokens(mut self, tokens: u64) -> Self {
        self.settings.max_context_tokens = Some(tokens);
        self
    }

    /// Compacts conversations like this where nobody says otherwise.
    pub fn compaction(mut self, policy: CompactionPolicy) -> Self {
        self.settings.compaction = policy;
        self
    }

    /// Acts for this person or program.
    pub fn actor(mut self, actor: Actor) -> Self {
        self.settings.actor = actor;
        self
    }

    /// Waits for this level where an append names none. Without it: the strongest that the store gives.
    pub fn durability(mut self, level: Durability) -> Self {
        self.settings.durability = Some(level);
        self
    }

    /// Holds this much and no more.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Keeps so many sessions ready that nobody holds a handle to.
    pub fn live_sessions(mut self, count: usize) -> Self {
        self.settings.live_sessions = count;
        self
    }

    /// Cleans up in the background, as long as a handle to the manager is there ([`sessions_app::SessionManager::start_cleanup`]).
    pub fn cleanup(mut self, policy: CleanupPolicy) -> Self {
        self.cleanup = Some(policy).filter(|policy| !policy.is_off());
        self
    }

    /// Changes the key of a sealed store in the background once it is more than so many days old, with the provider that opens it. A change that
    /// fails is told by [`SessionManager::key_rotation`] and tried again.
    pub fn rotating_key(mut self, days: u64) -> Self {
        self.rotates_after = Some(days);
        self
    }

    /// Opens the store and wires the manager.
    ///
    /// # Errors
    /// [`SessionError::Configuration`] when no store was named, its URL names none, or there is no counter of an encoding that is to be
    /// warm; [`sessions_ports::StoreError::TooWeak`] when the
    /// store cannot give the durability; [`sessions_ports::StoreError::NoStore`] after [`Self::open_existing`]; and the store's.
    pub async fn build(self) -> Result<SessionManager, SessionError> {
        if self.needs_key_service && self.key.as_ref().is_none_or(|key| key.kind() != ProviderKind::Service) {
            return Err(SessionError::Configuration(Box::new(NeedsKeyService)));
        }
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let encodings = Warming::begin(self.encodings, self.warm).await?;
        #[cfg(feature = "sled")]
        if let (Some(key), Source::Url(Ok(StoreUrl::Sled(path))), false) = (&self.key, &self.source, self.must_exist) {
            is_of_use(key.as_ref(), path).await?;
        }
        let opened = Opened::of(self.source, self.must_exist, self.key.is_some(), self.key_store).await?;
        let Opened { store, kind, .. } = &opened;
        let (kind, plain) = (*kind, Arc::clone(store));
        let (key, rotates_after) = (self.key.clone(), self.rotates_after);
        let sealed = match self.key {
            None => None,
            Some(key) => match opened.unlocked(key.as_ref(), Arc::clone(&clock)).await {
                Ok(unlocked) => Some(unlocked),
                Err(error) => {
                    // Nobody has a handle to close it by; what closing says is worth less than why it is closed.
                    let _ = plain.close().await;
                    return Err(error);
                }
            },
        };
        let store: Arc<dyn SessionLog> = match &sealed {
            Some(Unlocked { store, .. }) => Arc::new(store.clone()),
            None => plain,
        };
        let observed = ObservedStore::new(store, kind);
        let ports = Ports {
            store: Arc::new(observed.clone()),
            clock,
            ids: self.ids.unwrap_or_else(|| Arc::new(UlidGenerator::new())),
            entropy: self.entropy.unwrap_or_else(|| Arc::new(SystemEntropy::new())),
            counter: self.counter.unwrap_or_else(|| Arc::new(EstimateCounter)),
            encodings: encodings.ready().await,
        };
        let store = Arc::clone(&ports.store);
        match sessions_app::SessionManager::with(ports, self.settings) {
            Ok(app) => {
                // Nothing is in hand yet that could refuse it.
                let cleaning = self.cleanup.map(|policy| app.start_cleanup(policy)).transpose()?;
                let rotation = rotates_after.zip(key).zip(sealed.as_ref()).map(|((after, key), unlocked)| {
                    let (store, clock) = (unlocked.store.clone(), Arc::clone(&app.ports().clock));
                    let wish = Rotating { store, key, clock, after, stopping: app.stopping() };
                    let (rotation, work) = KeyRotation::of(wish);
                    app.spawn(work);
                    Arc::new(rotation)
                });
                let opened = SessionManager {
                    app,
                    rotation,
                    cleaning: cleaning.map(Arc::new),
                    store: observed,
                    sealed,
                    #[cfg(feature = "sled")]
                    sled: opened.sled,
                    #[cfg(all(feature = "sled", feature = "config"))]
                    scheduled: None,
                };
                #[cfg(all(feature = "sled", feature = "config"))]
                let opened = opened.scheduling(self.backups).await?;
                Ok(opened)
            }
            Err(error) => {
                let _ = store.close().await;
                Err(error)
            }
        }
    }
}

/// A sealed store, unlocked.
#[derive(Clone)]
struct Unlocked {
    store: SealedStore,
    #[cfg(feature = "sled")]
    attested: Option<WitnessReport>,
}

/// A store that was opened, and where its keys would lie.
struct Opened {
    store: Arc<dyn SessionLog>,
    kind: &'static str,
    keys: Option<Arc<dyn KeyStore>>,
    #[cfg(feature = "sled")]
    sled: Option<SledStore>,
}

impl Opened {
    async fn of(
        source: Source,
        must_exist: bool,
        is_sealed: bool,
        keys: Option<Arc<dyn KeyStore>>,
    ) -> Result<Self, SessionError> {
        let with = |store, kind, keys| Self {
            store,
            kind,
            keys,
            #[cfg(feature = "sled")]
            sled: None,
        };
        match source {
            Source::Unsaid => Err(SessionError::Configuration(Box::new(NoStoreNamed))),
            Source::Store(_) if is_sealed && keys.is_none() => Err(SessionError::Configuration(Box::new(NoKeyStore))),
            Source::Store(store) => Ok(with(store, "other", keys)),
            Source::Url(url) => match url.map_err(|error| SessionError::Configuration(Box::new(error)))? {
                StoreUrl::Memory => {
                    let keys = keys.unwrap_or_else(|| Arc::new(MemoryKeyStore::new()));
                    Ok(with(Arc::new(MemoryStore::new()), "memory", Some(keys)))
                }
                #[cfg(feature = "sled")]
                StoreUrl::Sled(path) => {
                    let sealing = if is_sealed { Sealing::Sealed } else { Sealing::Plain };
                    let options = SledOptions { sealing, ..SledOptions::default() };
                    let sled = if must_exist {
                        SledStore::open_existing(path, options).await?
                    } else {
                        SledStore::open(path, options).await?
                    };
                    let keys = match keys {
                        None if is_sealed => match keys_of(&sled).await {
                            Ok(keys) => Some(keys),
                            Err(error) => {
                                let _ = sled.close().await;
                                return Err(error);
                            }
                        },
                        keys => keys,
                    };
                    Ok(Self { store: Arc::new(sled.clone()), kind: "sled", keys, sled: Some(sled) })
                }
                #[cfg(not(feature = "sled"))]
                StoreUrl::Sled(_) => {
                    let _ = must_exist;
                    Err(SessionError::Configuration(Box::new(InvalidStoreUrl::NotBuilt { scheme: "sled" })))
                }
            },
        }
    }

    async fn unlocked(&self, key: &dyn KeyProvider, clock: Arc<dyn Clock>) -> Result<Unlocked, SessionError> {
        let store = self.sealed(key, clock).await?;
        Ok(Unlocked {
            #[cfg(feature = "sled")]
            attested: self.attested(&store).await?,
            store,
        })
    }

    async fn sealed(&self, key: &dyn KeyProvider, clock: Arc<dyn Clock>) -> Result<SealedStore, SessionError> {
        let Some(keys) = &self.keys else { return Err(SessionError::Configuration(Box::new(NoKeyStore))) };
        Ok(SealedStore::open_or_create(Arc::clone(&self.store), Arc::clone(keys), key, clock).await?)
    }

    /// Lets the default store attest the heads of all sessions from here on, and says whether they stand as they were attested.
    #[cfg(feature = "sled")]
    async fn attested(&self, sealed: &SealedStore) -> Result<Option<WitnessReport>, SessionError> {
        let Some(sled) = self.sled.clone() else { return Ok(None) };
        let witness = Arc::new(sealed.witness().map_err(StoreError::from)?);
        let attested = tokio::task::spawn_blocking(move || sled.witness(witness)).await;
        let ended = |error| BackendError::new(BackendErrorKind::Internal, "attesting the sessions' heads", error);
        Ok(Some(attested.map_err(|error| StoreError::from(ended(error)))??))
    }
}

/// Asks for the key of a store that is to be made whether it is of use, so that nothing is left of one that cannot be made.
#[cfg(feature = "sled")]
async fn is_of_use(key: &dyn KeyProvider, path: &Path) -> Result<(), SessionError> {
    let path = path.to_owned();
    let at = tokio::task::spawn_blocking(move || keys_at(&path)).await;
    // What else is there is told when it is opened.
    if matches!(at, Ok(Ok(KeysAt::Nothing))) {
        key.health().await.map_err(StoreError::from)?;
    }
    Ok(())
}

/// Where the keys of the default store lie.
#[cfg(feature = "sled")]
async fn keys_of(sled: &SledStore) -> Result<Arc<dyn KeyStore>, SessionError> {
    let keys = FileKeyStore::open(&sled.keys_folder(), sled.id()).await?;
    Ok(Arc::new(keys))
}

/// A store of a host's own is to be sealed, and there is no place for its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a store of your own is to be sealed, and there is no place for its keys; give the builder a key store")]
pub struct NoKeyStore;

/// Only a key in a key service is to open or make the store, and another one was given, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only a key in a key service may open this store, and none of that kind was given; name one")]
pub struct NeedsKeyService;

/// A builder was given no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no store was named; give the builder a url or a store")]
pub struct NoStoreNamed;
