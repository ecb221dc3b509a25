//! Adapters: the ports of `sessions-ports`, each for one technology.
//!
//! [`MemoryStore`] keeps sessions as long as the process lives and is what every test can start from; [`environment`] is the system's
//! clock, ids and randomness. Each heavier store is behind a feature of its own.
//!
//! Must not know: use cases (`sessions-app`), or how a host wires things.

#[cfg(feature = "sealing")]
mod beginning;
#[cfg(any(feature = "vault", feature = "providers"))]
mod certificates;
pub mod counted;
pub mod disk;
pub mod environment;
pub mod keys;
mod memory;
pub mod observed;
pub mod providers;
#[cfg(feature = "sealing")]
pub mod sealing;
#[cfg(feature = "sled")]
pub mod sled;
pub mod tokens;

pub use memory::{MAX_COMMIT_BYTES, MemoryStore};
