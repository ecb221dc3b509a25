//! Which sessions' keys are at hand, and what waits until they are.
//!
//! **Invariant**: what is asked of a session while its keys are not at hand is begun in the order in which it was asked.
//!
//! Must not know: what is asked, or how keys are found.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use sessions_domain::SessionId;
use sessions_ports::StoreError;
use tokio::sync::oneshot;

use super::slot::{InUse, SessionKeys};

/// So many sessions' keys are kept at hand. Each takes some two KiB.
const MOST: usize = 16_384;

/// A future that is on its way by itself.
pub(crate) type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What makes or unmakes keys: it is given those that are known, and gives those that are there then.
pub(crate) type Change = dyn FnOnce(Option<Arc<SessionKeys>>) -> Running<Option<Arc<SessionKeys>>> + Send;

/// A session's keys to seal with, or why there are none.
pub(crate) type Found = Result<InUse, StoreError>;

/// What waits for its turn.
pub(crate) enum Errand {
    /// Needs the keys. What comes behind it begins when it has begun.
    Shared(Box<dyn FnOnce(Found) -> Running<()> + Send>),
    /// Makes or unmakes the keys, and gives those that are there then, as far as it knows. What comes behind it begins when it is over.
    Alone(Box<Change>),
    /// Wants to know that what came before has begun.
    Wake(oneshot::Sender<()>),
}

enum Entry {
    Ready {
        keys: Arc<SessionKeys>,
        was_used: bool,
    },
    /// Somebody takes care of the queue.
    Pending {
        keys: Option<Arc<SessionKeys>>,
        queue: VecDeque<Errand>,
        is_ending: bool,
    },
}

type ById = HashMap<SessionId, Entry, RandomState>;

/// The keys that are at hand.
#[derive(Default)]
pub(crate) struct Sessions {
    by_id: Mutex<ById>,
}

/// What becomes of an errand.
pub(crate) enum Turn {
    /// The keys are at hand: it is not needed.
    Now(InUse),
    /// It is in a queue that somebody takes care of.
    Queued,
    /// It is in a queue that the caller has to take care of.
    Drive,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, ById> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys to read with, when they are at hand and nothing is on its way.
    pub(crate) fn get(&self, session: SessionId) -> Option<Arc<SessionKeys>> {
        self.ready(session, Arc::clone)
    }

    /// The same to seal with.
    pub(crate) fn get_to_seal(&self, session: SessionId) -> Option<InUse> {
        // Counted under the lock: whoever changes the keys enters the queue first, and waits for all that were counted before.
        self.ready(session, InUse::of)
    }

    fn ready<T>(&self, session: SessionId, take: impl FnOnce(&Arc<SessionKeys>) -> T) -> Option<T> {
        match self.lock().get_mut(&session) {
            Some(Entry::Ready { keys, was_used }) => {
                *was_used = true;
                Some(take(keys))
            }
            _ => None,
        }
    }

    /// The keys now, or else the errand waits for its turn.
    pub(crate) fn enter(&self, session: SessionId, errand: impl FnOnce() -> Errand) -> Turn {
        let mut sessions = self.lock();
        match sessions.get_mut(&session) {
            Some(Entry::Ready { keys, was_used }) => {
                *was_used = true;
                Turn::Now(InUse::of(keys))
            }
            Some(Entry::Pending { queue, .. }) => {
                queue.push_back(errand());
                Turn::Queued
            }
            None => {
                sessions.insert(session, Entry::Pending { keys: None, queue: [errand()].into(), is_ending: false });
                Turn::Drive
            }
        }
    }

    /// The errand waits for its turn, also when the keys are at hand. `ends`: it may end the session. `true`: the caller has to take care of the
    /// queue.
    pub(crate) fn enter_alone(&self, session: SessionId, ends: bool, errand: Errand) -> bool {
        let mut sessions = self.lock();
        let keys = match sessions.get_mut(&session) {
            Some(Entry::Pending { queue, is_ending, .. }) => {
                *is_ending |= ends;
                queue.push_back(errand);
                return false;
            }
            Some(Entry::Ready { keys, .. }) => Some(Arc::clone(keys)),
            None => None,
        };
        sessions.insert(session, Entry::Pending { keys, queue: [errand].into(), is_ending: ends });
        true
    }

    /// The errand waits for its turn when there is a queue.
    pub(crate) fn join(&self, session: SessionId, errand: impl FnOnce() -> Errand) -> bool {
        match self.lock().get_mut(&session) {
            Some(Entry::Pending { queue, .. }) => {
                queue.push_back(errand());
                true
            }
            _ => false,
        }
    }

    /// Whether something that may end the session waits for its turn, or has it.
    pub(crate) fn is_ending(&self, session: SessionId) -> bool {
        matches!(self.lock().get(&session), Some(Entry::Pending { is_ending: true, .. }))
    }

    /// Sessions with a queue.
    pub(crate) fn pending(&self) -> Vec<SessionId> {
        let is_pending = |entry: &Entry| matches!(entry, Entry::Pending { .. });
        self.lock().iter().filter(|(_, entry)| is_pending(entry)).map(|(session, _)| *session).collect()
    }

    /// The next errand of a queue and the keys that are known; `None`: the queue is over.
    pub(crate) fn next(&self, session: SessionId) -> Option<(Errand, Option<Arc<SessionKeys>>)> {
        let mut sessions = self.lock();
        let keys = match sessions.get_mut(&session) {
            Some(Entry::Pending { keys, queue, .. }) => match queue.pop_front() {
                Some(errand) => return Some((errand, keys.clone())),
                None => keys.take(),
            },
            _ => return None,
        };
        sessions.remove(&session);
        if let Some(keys) = keys {
            insert(&mut sessions, session, keys);
        }
        None
    }

    /// Notes the keys of a session whose queue is taken care of.
    pub(crate) fn found(&self, session: SessionId, now: Option<Arc<SessionKeys>>) {
        match self.lock().get_mut(&session) {
            Some(Entry::Pending { keys, .. }) => *keys = now,
            Some(Entry::Ready { .. }) | None => {}
        }
    }

    /// Keeps keys that a reader found, unless somebody has others or looks for them.
    pub(crate) fn offer(&self, session: SessionId, keys: &Arc<SessionKeys>) {
        let mut sessions = self.lock();
        if !sessions.contains_key(&session) {
            insert(&mut sessions, session, Arc::clone(keys));
        }
    }

    /// Forgets the keys of a session that is gone; who waits for them looks for them.
    pub(crate) fn forget(&self, session: SessionId) {
        let mut sessions = self.lock();
        match sessions.get_mut(&session) {
            Some(Entry::Ready { .. }) => {
                sessions.remove(&session);
            }
            Some(Entry::Pending { keys, .. }) => *keys = None,
            None => {}
        }
    }
}

fn insert(sessions: &mut ById, session: SessionId, keys: Arc<SessionKeys>) {
    if sessions.len() >= MOST {
        // Those that were not used since the last time go; when all were, all of them begin anew. What somebody seals with stays: there is one
        // of each session's keys, or else nobody could tell when the last one is done with them.
        sessions.retain(|_, entry| match entry {
            Entry::Pending { .. } => true,
            Entry::Ready { keys, was_used } => std::mem::take(was_used) || keys.is_in_use(),
        });
        if sessions.len() >= MOST {
            sessions.retain(|_, entry| match entry {
                Entry::Pending { .. } => true,
                Entry::Ready { keys, .. } => keys.is_in_use(),
            });
        }
    }
    sessions.insert(session, Entry::Ready { keys, was_used: false });
}
