//! The manager, opened: which parts it is given is decided here, and nothing else.
//!
//! Must not know: use cases; those are the manager's own.

use std::{ops::Deref, sync::Arc};

use serde::Serialize;
use sessions_app::{Activity, Ports, SessionError, Settings};
use sessions_domain::Actor;
#[cfg(feature = "sled")]
use sessions_infra::sled::{SledOptions, SledStore};
use sessions_infra::{
    MemoryStore,
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    observed::{ObservedStore, StoreCounters},
};
use sessions_ports::{Clock, Durability, Entropy, IdGenerator, SessionLog, TokenCounter};

use crate::url::{InvalidStoreUrl, StoreUrl};

/// Makes, finds and lists sessions: the one entry. It is [`sessions_app::SessionManager`] with its parts wired, and clones are handles to
/// the same one.
#[derive(Clone)]
pub struct SessionManager {
    app: sessions_app::SessionManager,
    store: ObservedStore,
    #[cfg(feature = "sled")]
    sled: Option<SledStore>,
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

    /// Wires parts of one's own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What was asked of the store, and what managers over it did, since it was opened. Reading them costs next to nothing.
    pub fn counters(&self) -> Counters {
        Counters { store: self.store.counters(), sessions: self.app.activity() }
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
    settings: Settings,
    must_exist: bool,
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

    /// Counts tokens with this counter. Without one they are estimated.
    pub fn counter(mut self, counter: impl TokenCounter + 'static) -> Self {
        self.counter = Some(Arc::new(counter));
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

    /// Keeps so many sessions ready that nobody holds a handle to.
    pub fn live_sessions(mut self, count: usize) -> Self {
        self.settings.live_sessions = count;
        self
    }

    /// Opens the store and wires the manager.
    ///
    /// # Errors
    /// [`SessionError::Configuration`] when no store was named or its URL names none; [`sessions_ports::StoreError::TooWeak`] when the
    /// store cannot give the durability; [`sessions_ports::StoreError::NoStore`] after [`Self::open_existing`]; and the store's.
    pub async fn build(self) -> Result<SessionManager, SessionError> {
        #[cfg(feature = "sled")]
        let mut sled = None;
        let (store, kind): (Arc<dyn SessionLog>, _) = match self.source {
            Source::Unsaid => return Err(SessionError::Configuration(Box::new(NoStoreNamed))),
            Source::Store(store) => (store, "other"),
            Source::Url(url) => match url.map_err(|error| SessionError::Configuration(Box::new(error)))? {
                StoreUrl::Memory => (Arc::new(MemoryStore::new()), "memory"),
                #[cfg(feature = "sled")]
                StoreUrl::Sled(path) => {
                    let options = SledOptions::default();
                    let opened = if self.must_exist {
                        SledStore::open_existing(path, options).await?
                    } else {
                        SledStore::open(path, options).await?
                    };
                    sled = Some(opened.clone());
                    (Arc::new(opened), "sled")
                }
                #[cfg(not(feature = "sled"))]
                StoreUrl::Sled(_) => {
                    return Err(SessionError::Configuration(Box::new(InvalidStoreUrl::NotBuilt { scheme: "sled" })));
                }
            },
        };
        let observed = ObservedStore::new(store, kind);
        let ports = Ports {
            store: Arc::new(observed.clone()),
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            ids: self.ids.unwrap_or_else(|| Arc::new(UlidGenerator::new())),
            entropy: self.entropy.unwrap_or_else(|| Arc::new(SystemEntropy::new())),
            counter: self.counter.unwrap_or_else(|| Arc::new(EstimateCounter)),
        };
        let store = Arc::clone(&ports.store);
        match sessions_app::SessionManager::with(ports, self.settings) {
            Ok(app) => Ok(SessionManager {
                app,
                store: observed,
                #[cfg(feature = "sled")]
                sled,
            }),
            Err(error) => {
                // Nobody has a handle to close it by; what closing says is worth less than why it is closed.
                let _ = store.close().await;
                Err(error)
            }
        }
    }
}

/// A builder was given no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no store was named; give the builder a url or a store")]
pub struct NoStoreNamed;
