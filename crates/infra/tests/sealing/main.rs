//! Sealed stores as others see them: who reads the document alone, who has a wrong key, who can write every file but lacks the key, who kills the process at
//! any step, and who keeps whole images of the disk. What must hold of faults and threats to what is sealed.
//!
//! A seed is printed and taken from `SESSIONS_SEED`.
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

#[path = "../shared/copy.rs"]
mod copy;
mod crashes;
mod detaching;
mod disk_image;
mod ground;
#[path = "../shared/keys.rs"]
mod keys;
mod lists;
mod meanwhile;
mod reader;
mod shredding;
mod talk;
mod tampering;
mod upkeep;
mod vectors;
mod wrong_keys;
