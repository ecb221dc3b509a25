//! The one entry: what a manager is given, who acts, and the live sessions.
//!
//! Must not know: which store it runs on.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use sessions_domain::{
    Actor, Limits, Message, SessionId, SessionKey, View, compaction::CompactionPolicy, price::PriceTable,
    profile::Profiles, tokens,
};
use sessions_ports::{
    Clock, Digest, Durability, Encodings, Entropy, IdGenerator, SessionLog, StoreError, TokenCounter,
};

use crate::{
    activity::Counts, context::Keeping, directory::Directory, error::SessionError, keyed, lane::Lane, session::Session,
    tasks::Tasks,
};

/// What a manager is given from outside.
#[derive(Clone)]
pub struct Ports {
    /// Keeps the logs.
    pub store: Arc<dyn SessionLog>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes identities.
    pub ids: Arc<dyn IdGenerator>,
    /// Gives random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Counts tokens where no model is named.
    pub counter: Arc<dyn TokenCounter>,
    /// Has the counters of models, by their encoding.
    pub encodings: Arc<dyn Encodings>,
}

impl Ports {
    /// Tokens of a message for no model in particular: its parts, and what is usually written around it.
    pub(crate) fn tokens_of(&self, message: &Message) -> u64 {
        let parts = tokens::message(message, &|text| self.counter.count(text));
        (parts + tokens::Framing::CHAT.around(message)).count
    }
}

/// How a manager behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who acts.
    pub actor: Actor,
    /// The level of appends that name none; `None`: the strongest that the store gives.
    pub durability: Option<Durability>,
    /// How many sessions to keep ready that nobody holds a handle to.
    pub live_sessions: usize,
    /// How much there may be.
    pub limits: Limits,
    /// The models that are known.
    pub profiles: Profiles,
    /// What their calls cost.
    pub prices: PriceTable,
    /// Tokens of a context, at most; `None`: what the model takes.
    pub max_context_tokens: Option<u64>,
    /// How conversations are compacted where nobody says otherwise.
    pub compaction: CompactionPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            actor: Actor::default(),
            durability: None,
            live_sessions: 4096,
            limits: Limits::default(),
            profiles: Profiles::shipped(),
            prices: PriceTable::default(),
            max_context_tokens: None,
            compaction: CompactionPolicy::default(),
        }
    }
}

/// Makes, finds and lists sessions. Clones are handles to the same manager.
#[derive(Clone)]
pub struct SessionManager {
    inner: Arc<Inner>,
}

/// A manager that is there as long as others hold it.
pub(crate) struct WeakManager(Weak<Inner>);

impl WeakManager {
    pub(crate) fn upgrade(&self) -> Option<SessionManager> {
        self.0.upgrade().map(|inner| SessionManager { inner })
    }
}

struct Inner {
    shared: Arc<Shared>,
    actor: Actor,
    directory: Arc<Mutex<Directory>>,
}

/// What managers for different actors have in common.
struct Shared {
    ports: Ports,
    durability: Durability,
    live_sessions: usize,
    limits: Limits,
    profiles: Profiles,
    prices: PriceTable,
    max_context_tokens: Option<u64>,
    compaction: CompactionPolicy,
    keeping: Keeping,
    counts: Counts,
    tasks: Tasks,
    /// Names this run: what it noted as busy is interrupted for any other.
    run: OnceLock<u64>,
    lanes: Mutex<Lanes>,
    /// By tenant, as long as anybody acts for it.
    directories: Mutex<HashMap<String, Weak<Mutex<Directory>>>>,
}

impl Shared {
    fn directory_of(&self, tenant: &str) -> Arc<Mutex<Directory>> {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = directories.get(tenant).and_then(Weak::upgrade) {
            return known;
        }
        directories.retain(|_, directory| directory.strong_count() > 0);
        let directory = Arc::new(Mutex::new(Directory::default()));
        directories.insert(tenant.to_owned(), Arc::downgrade(&directory));
        directory
    }

    fn acting(self: Arc<Self>, actor: Actor) -> SessionManager {
        let directory = self.directory_of(&actor.tenant);
        SessionManager { inner: Arc::new(Inner { shared: self, actor, directory }) }
    }
}

/// The live sessions.
#[derive(Default)]
struct Lanes {
    by_id: HashMap<SessionId, Arc<Lane>>,
    /// Those that nobody holds are let go of when there are so many. It grows with the number that somebody holds, so that looking
    /// for the others stays rare.
    sweep_at: usize,
}

impl SessionManager {
    /// A manager over these parts. Use it within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::TooWeak`] when the settings ask for more than the store gives.
    pub fn with(ports: Ports, settings: Settings) -> Result<Self, SessionError> {
        let best = ports.store.strongest();
        let durability = settings.durability.unwrap_or(best);
        if durability > best {
            return Err(StoreError::TooWeak { asked: durability, best }.into());
        }
        let shared = Shared {
            ports,
            durability,
            live_sessions: settings.live_sessions,
            limits: settings.limits,
            profiles: settings.profiles,
            prices: settings.prices,
            max_context_tokens: settings.max_context_tokens,
            compaction: settings.compaction,
            keeping: Keeping::default(),
            counts: Counts::default(),
            tasks: Tasks::default(),
            run: OnceLock::new(),
            lanes: Mutex::new(Lanes::default()),
            directories: Mutex::new(HashMap::new()),
        };
        Ok(Arc::new(shared).acting(settings.actor))
    }

    /// The same manager for another actor. What is in use is shared: appends of several actors to one session queue behind each other.
    #[must_use]
    pub fn acting_for(&self, actor: Actor) -> Self {
        Arc::clone(&self.inner.shared).acting(actor)
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.inner.shared.counts
    }

    /// What runs beside whoever asked for it.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.inner.shared.tasks
    }

    /// The sessions that are kept ready. No lane may be locked meanwhile.
    pub(crate) fn lanes<T>(&self, look: impl FnOnce(&mut HashMap<SessionId, Arc<Lane>>) -> T) -> T {
        look(&mut self.inner.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).by_id)
    }

    /// For what ends when nobody holds a handle to the manager any more.
    pub(crate) fn weak(&self) -> WeakManager {
        WeakManager(Arc::downgrade(&self.inner))
    }

    /// Sessions that are kept ready.
    pub(crate) fn live_count(&self) -> usize {
        self.lanes(|lanes| lanes.len())
    }

    /// What the manager was given.
    pub fn ports(&self) -> &Ports {
        &self.inner.shared.ports
    }

    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.inner.actor
    }

    /// The level of appends that name none.
    pub fn durability(&self) -> Durability {
        self.inner.shared.durability
    }

    /// How much there may be.
    pub fn limits(&self) -> &Limits {
        &self.inner.shared.limits
    }

    /// The models that are known.
    pub fn profiles(&self) -> &Profiles {
        &self.inner.shared.profiles
    }

    /// Which lanes keep a context.
    pub(crate) fn keeping(&self) -> &Keeping {
        &self.inner.shared.keeping
    }

    /// What calls of models cost.
    pub fn prices(&self) -> &PriceTable {
        &self.inner.shared.prices
    }

    /// Tokens of a context of a session, at most: what the manager says, which the session may have narrowed.
    pub(crate) fn max_context_tokens(&self, view: &View) -> Option<u64> {
        let own = view.origin().settings.max_context_tokens;
        self.inner.shared.max_context_tokens.into_iter().chain(own).min()
    }

    /// How a session is compacted where nobody says otherwise.
    pub(crate) fn compaction(&self, view: &View) -> CompactionPolicy {
        let policy = self.inner.shared.compaction;
        let own = view.origin().settings.compaction_threshold_percent.unwrap_or(u8::MAX);
        policy.at(policy.threshold_percent.min(own))
    }

    /// How much there may be in a session, which may have narrowed it.
    pub(crate) fn limits_of(&self, view: &View) -> Cow<'_, Limits> {
        let settings = &view.origin().settings;
        if settings.is_empty() { Cow::Borrowed(self.limits()) } else { Cow::Owned(self.limits().narrowed(settings)) }
    }

    /// What names this run, once it has noted anything.
    pub(crate) fn run(&self) -> Option<u64> {
        self.inner.shared.run.get().copied()
    }

    /// The same, drawn now when it is the first time.
    pub(crate) fn named_run(&self) -> Result<u64, SessionError> {
        let mut drawn = [0; 8];
        if self.run().is_none() {
            self.ports().entropy.fill(&mut drawn)?;
        }
        Ok(*self.inner.shared.run.get_or_init(|| u64::from_le_bytes(drawn)))
    }

    pub(crate) fn directory(&self) -> &Mutex<Directory> {
        &self.inner.directory
    }

    pub(crate) async fn by_key(&self, key: Option<&SessionKey>) -> Result<Option<Session>, SessionError> {
        let Some(key) = key else { return Ok(None) };
        let found = self.ports().store.by_key(self.key_digest(key)).await?;
        match found {
            Some(id) => self.load_any(id).await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn key_digest(&self, key: &SessionKey) -> Digest {
        keyed::session_key(self.ports().store.id(), self.actor(), key)
    }

    /// The session, if there is one that is neither in the trash nor gone.
    ///
    /// # Errors
    /// The store's, and what makes its log unreadable.
    pub async fn get(&self, id: SessionId) -> Result<Option<Session>, SessionError> {
        match self.load(id).await {
            Ok(session) => Ok(Some(session)),
            Err(SessionError::NotFound { .. } | SessionError::InTrash { .. } | SessionError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The session.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] when there is none, or when it belongs to another tenant; [`SessionError::InTrash`].
    pub async fn load(&self, id: SessionId) -> Result<Session, SessionError> {
        let session = self.load_any(id).await?;
        let is_trashed = session.lane().lock().visible().is_some_and(|view| view.trashed().is_some());
        if is_trashed { Err(SessionError::InTrash { session: id }) } else { Ok(session) }
    }

    /// The session, also when it is in the trash.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] when there is none, or when it belongs to another tenant.
    pub async fn load_any(&self, id: SessionId) -> Result<Session, SessionError> {
        self.check_going_on()?;
        let lane = self.lane(id);
        if !self.may_see(&*self.fresh_view(&lane).await?) {
            return Err(SessionError::NotFound { session: id });
        }
        lane.note_use(self.ports().clock.now());
        Ok(Session::new(self.clone(), self.adopt_shared(lane)))
    }

    /// Whether a session that is there is one of the actor's tenant.
    pub(crate) async fn is_ours(&self, id: SessionId) -> Result<bool, SessionError> {
        Ok(self.may_see(&*self.fresh_view(&self.lane(id)).await?))
    }

    pub(crate) fn may_see(&self, view: &View) -> bool {
        view.tenant() == self.actor().tenant && view.state_of().is_none()
    }

    pub(crate) fn lane(&self, id: SessionId) -> Arc<Lane> {
        let lanes = self.inner.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.by_id.get(&id).cloned().unwrap_or_else(|| Arc::new(Lane::new(id, None)))
    }

    pub(crate) fn adopt(&self, lane: Lane) -> Arc<Lane> {
        self.adopt_shared(Arc::new(lane))
    }

    /// Lets go of a session that is gone. Whoever holds a handle hears it from the store.
    pub(crate) fn let_go(&self, id: SessionId) {
        self.inner.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(&id);
    }

    /// What could not be read of a session may be there by now: whoever holds it reads it again.
    pub(crate) fn reread(&self, id: SessionId) {
        let lane = self.inner.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned();
        if let Some(lane) = lane {
            lane.lock().forget_views();
        }
    }

    /// Keeps a lane, and lets go of others that nobody holds when there are too many. The one that was kept first wins.
    pub(crate) fn adopt_shared(&self, lane: Arc<Lane>) -> Arc<Lane> {
        let most = self.inner.shared.live_sessions;
        let mut lanes = self.inner.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = lanes.by_id.get(&lane.id) {
            return Arc::clone(kept);
        }
        if lanes.by_id.len() >= lanes.sweep_at.max(most) {
            lanes.by_id.retain(|_, lane| Arc::strong_count(lane) > 1);
            lanes.sweep_at = lanes.by_id.len().saturating_mul(2);
        }
        lanes.by_id.insert(lane.id, Arc::clone(&lane));
        lane
    }

    /// Makes a lane's view the store's, unless commits of its own are on their way.
    pub(crate) async fn refresh(&self, lane: &Arc<Lane>) -> Result<(), SessionError> {
        loop {
            let (cached, is_quiet) = {
                let state = lane.lock();
                (state.visible(), state.is_quiet())
            };
            match (&cached, is_quiet) {
                (Some(_), false) => return Ok(()),
                // A commit failed, and those behind it are about to.
                (None, false) => lane.quiet().await,
                (_, true) => {}
            }
            let head = self.ports().store.head(lane.id).await?;
            let head = head.ok_or(SessionError::NotFound { session: lane.id })?;
            if cached.as_ref().is_some_and(|view| view.version() == head.version && view.commit() == head.commit) {
                lane.lock().confirm();
                return Ok(());
            }
            let behind = cached.clone().filter(|view| view.version() < head.version);
            let view = match behind {
                Some(view) => self.replay(View::clone(&view), head.version).await?,
                None => self.read_view(lane.id, head, head.version).await?,
            };
            let mut state = lane.lock();
            let unchanged = match (&state.visible(), &cached) {
                (Some(now), Some(then)) => Arc::ptr_eq(now, then),
                (None, None) => true,
                _ => false,
            };
            if state.is_quiet() && unchanged {
                state.load(view);
                return Ok(());
            }
        }
    }

    /// The view that readers may see, as the store has it now.
    pub(crate) async fn fresh_view(&self, lane: &Arc<Lane>) -> Result<Arc<View>, SessionError> {
        loop {
            self.refresh(lane).await?;
            // A commit that failed meanwhile made the lane forget it.
            let visible = lane.lock().visible();
            if let Some(view) = visible {
                return Ok(view);
            }
        }
    }
}
