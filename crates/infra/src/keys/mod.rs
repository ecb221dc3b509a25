//! Where the keys of a sealed store lie, and who wraps the key of all keys.
//!
//! Must not know: how records are sealed.

#[cfg(feature = "sled")]
mod file_store;
mod key_file;
mod memory_store;
#[cfg(feature = "keys-passphrase")]
mod passphrase;
mod random;
#[cfg(feature = "sled")]
mod ring_file;
#[cfg(feature = "sled")]
mod slot;
#[cfg(feature = "sled")]
mod slot_file;
#[cfg(feature = "keys-passphrase")]
mod strength;
#[cfg(feature = "vault")]
mod vault;
mod wrapping;

#[cfg(feature = "sled")]
pub use file_store::{FileKeyStore, KeyFinding};
#[cfg(feature = "sled")]
pub(crate) use file_store::{KeysCopy, is_ring};
pub use key_file::KeyFileProvider;
pub use memory_store::MemoryKeyStore;
#[cfg(feature = "keys-passphrase")]
pub use passphrase::{Costs, PassphraseProvider};
#[cfg(feature = "sealing")]
pub(crate) use random::{new_key, random};
#[cfg(feature = "vault")]
pub use vault::{Bounds, Token, VaultTransit, VaultTransitProvider};
