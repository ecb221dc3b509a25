//! Where the keys of a sealed store lie, and who wraps the key of all keys.
//!
//! Must not know: how records are sealed.

#[cfg(feature = "sled")]
mod file_store;
mod memory_store;
#[cfg(feature = "sled")]
mod ring_file;
#[cfg(feature = "sled")]
mod slot;
#[cfg(feature = "sled")]
mod slot_file;

#[cfg(feature = "sled")]
pub use file_store::{FileKeyStore, KeyFinding};
pub use memory_store::MemoryKeyStore;
