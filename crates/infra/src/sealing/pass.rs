//! Another data key for all sessions, one after the other, by whoever knows which there are. When it is broken off it goes on with those that have not got theirs.
//!
//! The ring notes since when. No data key that was there when the pass began is younger than that, and each one that is made in it is, so the slots themselves say which sessions
//! are through; nothing more is written for it than two changes of the ring.
//!
//! Must not know: which sessions there are, or how records are sealed anew.

use sessions_domain::{Moment, SessionId};
use sessions_ports::StoreError;

use super::{
    resealing::{DataStep, Resealed, is_no_more},
    ring::{Resealing, Ring},
    store::SealedStore,
};

/// One that was broken off longer ago is begun anew, so that those which were through with it are not taken for changed now.
const MOST_DAYS: i64 = 7;

/// A change of the data keys of all sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataPass {
    /// Since when. Data keys that are not younger are changed.
    pub since: Moment,
    /// It goes on with one that had been broken off.
    pub resumed: bool,
}

/// What such a change did to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InPass {
    /// It has another data key now.
    Resealed(Resealed),
    /// It had got one already since the pass began, or began itself since.
    Had,
    /// Nothing is left of it.
    Gone,
}

impl SealedStore {
    /// Begins a change of the data keys of all sessions, or goes on with the one that was broken off. `anew`: begins in any case, as it does when the
    /// store has another key since then, or a week went by.
    ///
    /// # Errors
    /// Those of the store of keys.
    pub async fn begin_pass(&self, anew: bool) -> Result<DataPass, StoreError> {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        // None gets another data key meanwhile.
        let _one = self.inner.resealing.lock().await;
        let keyring = &self.inner.keyring;
        let is_recent = |since: &Moment| keyring.now().as_millis().saturating_sub(since.as_millis()) <= MOST_DAYS * DAY;
        if let Some(since) = keyring.ring().pass.filter(is_recent).filter(|_| !anew) {
            return Ok(DataPass { since, resumed: true });
        }
        let since = self.key_status().await?.newest.max(Some(keyring.now())).unwrap_or_default();
        keyring.change(|ring| Some(ring.in_pass(Some(since)))).await?;
        Ok(DataPass { since, resumed: false })
    }

    /// Gives a session another data key, as [`Self::rotate_data`] does, unless it has one since the pass began.
    ///
    /// # Errors
    /// Those of [`Self::rotate_data`], but for a session of which nothing is left.
    pub async fn rotate_data_in(
        &self,
        pass: DataPass,
        session: SessionId,
        mut told: impl FnMut(DataStep) + Send,
    ) -> Result<InPass, StoreError> {
        let outcome = async {
            let resumed = match self.unfinished().contains(&session) {
                true => Some(self.rotate_data(session, &mut told).await?),
                false => None,
            };
            // What was resumed may have been begun before the pass.
            match (self.is_younger(session, pass.since).await?, resumed) {
                (true, Some(resealed)) => Ok(InPass::Resealed(resealed)),
                (true, None) => Ok(InPass::Had),
                (false, _) => self.rotate_data(session, &mut told).await.map(InPass::Resealed),
            }
        };
        match outcome.await {
            Err(error) if is_no_more(&error) => {
                self.inner.keyring.forget_resealing(session).await?;
                Ok(InPass::Gone)
            }
            outcome => outcome,
        }
    }

    /// Ends a pass: all sessions were tried. The next one begins anew.
    ///
    /// # Errors
    /// Those of the store of keys.
    pub async fn end_pass(&self, pass: DataPass) -> Result<(), StoreError> {
        let ended = |ring: &Ring| (ring.pass == Some(pass.since)).then(|| ring.in_pass(None));
        self.inner.keyring.change(ended).await
    }

    /// Whether the data key in use of a session is younger.
    async fn is_younger(&self, session: SessionId, since: Moment) -> Result<bool, StoreError> {
        let (slot, _) = self.inner.slot_of(session).await?.ok_or(StoreError::NotFound { session })?;
        let keys = self.inner.slot_keys(Resealing { session, slot, version: 0, old: [0; 32] }).await?;
        Ok(keys.data.last().is_some_and(|key| key.made > since))
    }
}
