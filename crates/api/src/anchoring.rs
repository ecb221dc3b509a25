//! Anchors of a store by its URL: how far it has come is noted, to be kept elsewhere, and a store is held against what was noted.
//!
//! Must not know: what an anchor says.

use std::sync::Arc;

use sessions_app::SessionError;
use sessions_infra::{
    sealing::StoreOpener,
    sled::{self, Anchor, AnchorCheck, SledStore, WitnessReport},
};
use sessions_ports::{BackendError, BackendErrorKind, KeyProvider, SessionLog as _, StoreError};

use crate::{
    maintenance::{blocking, path_of},
    url::StoreUrl,
};

/// Why there is nothing to note of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnchored {
    /// Nothing was written yet.
    #[error("nothing is written yet, so there is nothing to note; note an anchor when there is a session")]
    Empty,
    /// The sessions do not stand as they were attested.
    #[error("{0}")]
    Doubted(WitnessReport),
}

/// Notes how far a sealed store has come that nobody has open. Whoever keeps the anchor where those who can write to the store cannot, finds out with
/// [`check_anchor`] that the whole store was put back. One that is open is asked by [`SledStore::anchor`].
///
/// # Errors
/// As [`verify_sealed`](crate::maintenance::verify_sealed); one whose source is [`NotAnchored`].
pub async fn anchor(url: &StoreUrl, key: &dyn KeyProvider) -> Result<Anchor, SessionError> {
    let path = path_of(url)?;
    let witness = StoreOpener::unlock(&path, key).await?.witness().map_err(StoreError::from)?;
    let store = SledStore::open_for_upkeep(&path).await?;
    let attesting = store.clone();
    let attested = blocking(move || Ok(attesting.witness(Arc::new(witness))?)).await;
    let closed = store.close().await;
    let attested = attested?;
    closed?;
    let anchor = if attested.is_sound() { store.anchor() } else { None };
    anchor.ok_or_else(|| {
        let why = if attested.is_sound() { NotAnchored::Empty } else { NotAnchored::Doubted(attested) };
        StoreError::from(BackendError::new(BackendErrorKind::Io, "noting an anchor", why)).into()
    })
}

/// Holds an anchor against a store that nobody has open. Needs no key, since an anchor may be kept by somebody else.
///
/// # Errors
/// [`StoreError::Locked`] when somebody has it open, [`StoreError::NoStore`], and the system's.
pub async fn check_anchor(url: &StoreUrl, anchor: &Anchor) -> Result<AnchorCheck, SessionError> {
    let (path, anchor) = (path_of(url)?, *anchor);
    blocking(move || sled::check_anchor(&path, &anchor).map_err(SessionError::from)).await
}
