//! Sealing: everything that a person wrote is encrypted before a store sees it, on every store alike.
//!
//! Must not know: use cases, or which store is beneath.

mod cipher;
mod envelope;
#[cfg(feature = "sled")]
mod in_place;
mod inheritance;
mod keyring;
#[cfg(feature = "sled")]
mod opener;
mod pass;
mod resealing;
mod ring;
mod rotation;
mod sealer;
mod search;
mod sessions;
mod slot;
mod status;
mod store;
#[cfg(test)]
mod vectors;
mod witness;
mod words;

#[cfg(feature = "sled")]
pub(crate) use self::{
    envelope::{RecordHead, is_stand_in, read_beside},
    slot::{SlotState, closed_epoch, state as slot_state},
};
#[cfg(feature = "sled")]
pub use self::{
    in_place::{SealStep, SealedInPlace, seal_in_place},
    opener::StoreOpener,
};
pub use self::{
    pass::{DataPass, InPass},
    resealing::{DataStep, Resealed},
    ring::{RingFacts, ring_facts},
    rotation::{KeyStep, Rotated},
    sealer::cipher_link,
    slot::ClosedEpoch,
    status::KeyStatus,
    store::SealedStore,
    witness::KeyedWitness,
};
