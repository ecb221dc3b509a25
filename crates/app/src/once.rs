//! Doing a thing once: whatever changes a session can be done under an idempotency key, and then gives the first outcome again.
//!
//! The key's scope is the session's own log, and it is kept as long as the record that it was claimed with. It is looked up before anything
//! else is checked.
//!
//! Must not know: what is done.

use std::sync::Arc;

use serde::Serialize;
use sessions_domain::{CommitHash, Event, View};
use sessions_ports::{Digest, Durability, StoredClaim};

use crate::{
    append::AppendOutcome,
    error::SessionError,
    keyed,
    session::Session,
    transact::{MAX_ATTEMPTS, Plan, lost_every_race},
};

/// Keyed hashes of an idempotency key, and of what was asked for with it.
pub(crate) type Wish = Option<(Digest, Digest)>;

/// What was done, now or before.
pub(crate) struct Done {
    /// The first record's number.
    pub(crate) first: u64,
    pub(crate) version: u64,
    pub(crate) head: CommitHash,
    pub(crate) durability: Durability,
    pub(crate) outcome: AppendOutcome,
    /// The first record's event.
    pub(crate) event: Event,
}

impl Session {
    /// The same session, whose next change happens once: asked for again under the same key, it gives the first outcome and changes
    /// nothing, also after a restart. The same key for another wish is [`SessionError::KeyReused`].
    ///
    /// A change that found nothing to do claims no key.
    ///
    /// ```
    /// # async fn shown(session: sessions_app::Session) -> Result<(), sessions_app::SessionError> {
    /// let moved = session.once("request-7").undo(1).await?;
    /// let again = session.once("request-7").undo(1).await?;
    /// assert_eq!((moved.version, moved.moved_to), (again.version, again.moved_to));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn once(&self, key: impl Into<Arc<str>>) -> Self {
        self.keyed(Some(key.into()))
    }

    /// What is claimed for a verb with these arguments, when the session is to do it once.
    pub(crate) async fn wish(&self, verb: &'static str, arguments: &impl Serialize) -> Result<Wish, SessionError> {
        let Some(key) = self.key() else { return Ok(None) };
        if key.is_empty() {
            return Err(SessionError::EmptyIdempotencyKey);
        }
        let lineage = self.fresh_view().await?.lineage();
        let store = self.manager().ports().store.id();
        let asked = keyed::wish(store, lineage, verb, arguments);
        Ok(Some((keyed::idempotency_key(store, lineage, key), asked)))
    }

    pub(crate) async fn is_claimed(&self, wish: Wish) -> Result<bool, SessionError> {
        let Some((key, _)) = wish else { return Ok(false) };
        Ok(self.manager().ports().store.claim(self.id(), key).await?.is_some())
    }

    /// The claim that was made for a wish, once its records have reached a level.
    pub(crate) async fn claimed(
        &self,
        wish: Wish,
        durability: Durability,
    ) -> Result<Option<StoredClaim>, SessionError> {
        let Some((key, asked)) = wish else { return Ok(None) };
        let store = &self.manager().ports().store;
        let Some(made) = store.claim(self.id(), key).await? else { return Ok(None) };
        if made.payload != asked {
            return Err(SessionError::KeyReused);
        }
        // The claim may be of a commit that is on its way and fails; another commit may then take its place.
        store.settled(self.id()).await?;
        if store.claim(self.id(), key).await? != Some(made) {
            return Ok(None);
        }
        store.wait(self.id(), made.version, durability).await?;
        self.manager().counts().replayed();
        Ok(Some(made))
    }

    /// What was done for a wish before.
    pub(crate) async fn done_before(&self, wish: Wish) -> Result<Option<Done>, SessionError> {
        let durability = self.manager().durability();
        let Some(made) = self.claimed(wish, durability).await? else { return Ok(None) };
        let view = self.fresh_view().await?;
        let unknown = || SessionError::UnknownVersion { version: made.version, first: 1, last: view.version() };
        let first = self.manager().read_one(&view, made.seq).await?.ok_or_else(unknown)?;
        let last = self.manager().read_one(&view, made.version).await?.ok_or_else(unknown)?;
        Ok(Some(Done {
            first: made.seq,
            version: made.version,
            head: last.record.commit,
            durability,
            outcome: AppendOutcome::Replayed,
            event: first.event,
        }))
    }

    /// Decides and commits, once where that was asked for. `None`: there was nothing to do.
    pub(crate) async fn make(
        &self,
        wish: Wish,
        mut decide: impl FnMut(&View) -> Result<Vec<Event>, SessionError> + Send,
    ) -> Result<Option<Done>, SessionError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(done) = self.done_before(wish).await? {
                return Ok(Some(done));
            }
            let mut first: Option<Event> = None;
            let decided = |view: &View| {
                let events = decide(view)?;
                first = events.first().cloned();
                Ok((!events.is_empty()).then_some(Plan { events, claim: wish }))
            };
            let done = self.manager().transact(self.lane(), self.manager().durability(), decided).await;
            match done {
                Ok(done) => {
                    let outcome = AppendOutcome::Inserted;
                    return Ok(done.zip(first).map(|(done, event)| Done {
                        first: done.first,
                        version: done.version,
                        head: done.head,
                        durability: done.durability,
                        outcome,
                        event,
                    }));
                }
                // Another with the same key was faster: its outcome is ours.
                Err(error) if !self.is_claimed(wish).await? => return Err(error),
                Err(_) => {}
            }
        }
        Err(lost_every_race(self.lane()))
    }
}
