//! The proofs of reliability that need no second process: what is damaged, lost, raced for, retried, dropped or moved in time.
//!
//! Each prints its seed and takes one in `SESSIONS_SEED`; a failure says which to give so that it comes first.
//!
//! Must not know: any crate's inside. What is read of the files follows `docs/format.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails where it stands, and says its seed"
)]

mod backup;
mod cancel;
mod clock;
mod damage;
mod extremes;
mod folder;
mod ground;
mod heirs;
mod history;
mod idempotency;
mod lost_summary;
mod paging;
mod persistence;
mod races;
mod rolled_back;
mod rotated_places;
mod sealed_damage;
mod sealed_repair;
mod taken_in;
mod truth;
mod usecase;
mod verbs;
