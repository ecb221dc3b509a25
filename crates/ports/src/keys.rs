//! Keys of a sealed store: who wraps the key of all keys, and where wrapped keys lie.
//!
//! A [`KeyProvider`] is shaped like a key-management service: it wraps and unwraps one small secret under a key of its own, which never leaves it.
//! That secret is the store's *key-encryption key*; all others are wrapped under it, and lie in a [`KeyStore`].
//!
//! Must not know: how records are sealed, or with which cipher.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sessions_domain::{Moment, SessionId};

use crate::{
    error::StoreError,
    log::StoreId,
    secret::{KeyId, SecretKey},
};

/// What kind of key is behind a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProviderKind {
    /// Derived from a passphrase.
    Passphrase,
    /// In a file of its own.
    KeyFile,
    /// In a key service.
    Service,
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
            Self::Service => "key service",
        })
    }
}

/// What a wrapped secret is bound to; a service calls it the encryption context. It is no secret, and may stand in a service's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// The store whose key it is.
    pub store: StoreId,
    /// Which of the store's keys.
    pub key: KeyId,
}

impl KeyContext {
    /// The context as bytes, for a cipher's associated data.
    pub fn to_bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let (store, key) = bytes.split_at_mut(16);
        store.copy_from_slice(&self.store.0);
        key.copy_from_slice(&self.key.0);
        bytes
    }
}

/// A secret as a provider wrapped it. Nothing in it is secret, and all of it is needed to unwrap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// What kind of key it is wrapped under.
    pub provider: ProviderKind,
    /// The provider's name for that key, its version included where it has versions: a fingerprint, or a service's key.
    pub key: String,
    /// What the provider has to know to unwrap it, as a salt and costs; an empty object when nothing.
    #[serde(default)]
    pub parameters: serde_json::Value,
    /// The wrapped bytes, in lower-case hexadecimal.
    pub bytes: String,
}

/// How a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHealth {
    /// The name of the key that it would wrap under now.
    pub current: String,
    /// How long it took to answer.
    pub took: Duration,
}

/// Wraps and unwraps the key of a store.
#[async_trait]
pub trait KeyProvider: Send + Sync {
    /// What kind it is.
    fn kind(&self) -> ProviderKind;

    /// The name of the key that [`Self::wrap`] uses now, as [`Wrapped::key`] has it.
    ///
    /// **Contract**: may ask a service; bounded in time like the others.
    ///
    /// # Errors
    /// As [`Self::unwrap`].
    async fn current(&self) -> Result<String, KeyError>;

    /// Wraps a secret under the current key, bound to its context.
    ///
    /// **Contract**: the secret is in no answer, log or error; what is wrapped twice differs.
    ///
    /// # Errors
    /// As [`Self::unwrap`], and [`KeyError::Weak`].
    async fn wrap(&self, secret: &SecretKey, context: &KeyContext) -> Result<Wrapped, KeyError>;

    /// Unwraps what was wrapped, by this provider or by an earlier one of the same key.
    ///
    /// **Contract**: bounded in time, retries included; gives the very secret that was wrapped under this context, or an error.
    ///
    /// # Errors
    /// [`KeyError::OtherKind`] when another kind of key wrapped it; [`KeyError::WrongKey`] when this key did not; [`KeyError::Retired`] and
    /// [`KeyError::Destroyed`] when the key is no more; [`KeyError::Denied`]; [`KeyError::Unavailable`] and [`KeyError::TimedOut`] after the
    /// last retry; [`KeyError::Nonsense`] for an answer that is none; [`KeyError::Parameters`] for parameters outside their bounds, before anything is computed with them.
    async fn unwrap(&self, wrapped: &Wrapped, context: &KeyContext) -> Result<SecretKey, KeyError>;

    /// Asks whether it could wrap and unwrap now.
    ///
    /// # Errors
    /// What it would answer.
    async fn health(&self) -> Result<KeyHealth, KeyError>;
}

/// Why there is no key, or not this one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// So many deleted sessions are kept for others that inherit from them, that no more can be.
    #[error(
        "{most} deleted sessions are kept for forks, and no more can be; delete some of these again with `--shred --detach`, which gives their forks what \
         they inherit, or delete forks of theirs"
    )]
    ManyKept {
        /// How many there may be.
        most: usize,
    },
    /// The key is not the one that the store was sealed with.
    #[error("this is not the key that the store was sealed with; give the right {kind}")]
    WrongKey {
        /// What kind of key was given.
        kind: ProviderKind,
    },
    /// The store was sealed with another kind of key.
    #[error("the store's key is wrapped by a {needed} and a {given} was given; give the {needed}")]
    OtherKind {
        /// What kind it was sealed with.
        needed: ProviderKind,
        /// What was given.
        given: ProviderKind,
    },
    /// The store is sealed and no key was given.
    #[error("the store is sealed and no key was given; give its key, a sealed store is never opened plain")]
    Sealed,
    /// A key was given for a store that is not sealed.
    #[error("the store is plain and a key was given; open it without one, or seal it first")]
    NotSealed,
    /// There is no key whose loss makes a session unreadable.
    #[error(
        "the store is plain, so there is no key to destroy; seal the store first, or delete the session without shredding it"
    )]
    Plain,
    /// What was set aside of a plain store would be erased when it is sealed.
    #[error(
        "the quarantine holds what was set aside of the store, in the clear ({files} there), and sealing would erase it; see whether it is needed, \
         move it elsewhere, or ask for it to be erased"
    )]
    InTheClear {
        /// How many files and folders.
        files: usize,
    },
    /// A session's keys were destroyed.
    #[error("the keys of session {session} were destroyed, so nobody can read it any more; delete it")]
    SessionDestroyed {
        /// The session.
        session: SessionId,
    },
    /// What was read was sealed with an earlier data key of the session, which is no more.
    #[error(
        "record {seq} of session {session} is sealed with data key {epoch}, which was retired: what it was sealed anew as is gone, or somebody put an old record back; restore a backup, or run `repair`, which marks it as lost"
    )]
    EpochRetired {
        /// The session.
        session: SessionId,
        /// The record.
        seq: u64,
        /// The data key's epoch.
        epoch: u16,
    },
    /// A data key sealed as many records as one key may.
    #[error("the data key of session {session} has sealed as many records as one key may; rotate its data key")]
    WornOut {
        /// The session.
        session: SessionId,
    },
    /// What lies there for a session's keys does not open it, and nobody is changing them: they are of before another key took over, or another session's.
    #[error(
        "the keys that lie there for session {session} are not those that it is sealed with, as where an older copy of the folder `keys`, or of a part \
         of it, was put back; put the newest copy of the folder `keys` back, or delete the session for good"
    )]
    SessionRetired {
        /// The session.
        session: SessionId,
    },
    /// The provider's key is retired: it exists and unwraps no more. Of a session's keys it says that another handle of the store changes its key now.
    #[error(
        "key {key} is retired and unwraps no more; enable that version again or put back the folder `keys` as it was last, and open the store anew"
    )]
    Retired {
        /// Its name.
        key: String,
    },
    /// The provider's key was destroyed.
    #[error("key {key} was destroyed, so what it wrapped is lost")]
    Destroyed {
        /// Its name.
        key: String,
    },
    /// The service does not let us use the key.
    #[error("the key service refuses the use of key {key}; check the token's policy")]
    Denied {
        /// Its name.
        key: String,
    },
    /// The service cannot be reached, or is overloaded.
    #[error("the key service does not answer ({what}); try again later, nothing was written")]
    Unavailable {
        /// What happened.
        what: String,
        /// When it said to try again.
        retry_after: Option<Duration>,
    },
    /// The service took too long.
    #[error("the key service did not answer within {} ms; try again later, nothing was written", .after.as_millis())]
    TimedOut {
        /// How long was waited, retries included.
        after: Duration,
    },
    /// The service's answer is none.
    #[error("the key service gave an answer that is none ({what}); check its address")]
    Nonsense {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A passphrase that is no protection.
    #[error("the passphrase is too weak ({what}); take a longer one, as four words that do not belong together")]
    Weak {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Parameters of the key derivation outside their bounds.
    #[error(
        "the stored parameters of the key derivation are refused ({what}); somebody may have changed them, so restore the store's keys from a backup"
    )]
    Parameters {
        /// Which.
        what: String,
    },
    /// The key file is not one, or not safe.
    #[error("the key file cannot be used: {what}")]
    KeyFile {
        /// What is wrong, and what to do.
        what: String,
    },
    /// The stored keys are damaged.
    #[error("the store's keys are damaged ({what}); put the folder `keys` back from a backup")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// A newer version wrote the store's keys.
    #[error("the store's keys were written by a newer version ({found}) and were left untouched; use that version")]
    Newer {
        /// What was found.
        found: String,
    },
    /// A change of the key was broken off, and has to be finished first.
    #[error("a change of the store's key was broken off; finish it with `keys rotate` and the new key")]
    Unfinished,
    /// No randomness to make a key of.
    #[error("the system gives no randomness, so no key can be made; try again later")]
    NoEntropy,
    /// Reading or writing failed where keys lie.
    #[error("{operation} failed: {source}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl KeyError {
    /// True when the same call may succeed later without anybody changing it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TimedOut { .. })
    }
}

/// The most bytes in a slot.
pub const MAX_SLOT: usize = 224;

/// A place for one session's wrapped keys, as its bytes; at most [`MAX_SLOT`].
pub type Slot = Bytes;

/// What the ring of a store's keys is, and which version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRing {
    /// Counts the changes, from 1.
    pub version: u64,
    /// What was stored.
    pub bytes: Bytes,
}

/// A change of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotChange {
    /// Its number.
    pub number: u64,
    /// What it holds now.
    pub expected: Slot,
    /// What it shall hold.
    pub new: Slot,
}

/// How bytes that were overwritten are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Erasure {
    /// The place where they lay was written over and synced. What a file system that copies on write, a disk that remaps, or a backup
    /// still has, is outside the claim.
    Overwritten,
    /// They may lie somewhere until the engine gives their space back; only another key-encryption key makes them worthless.
    KekRotated,
    /// The key service destroyed the key that wrapped them.
    KmsDestroyed,
}

/// That a session's keys were destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// How.
    pub how: Erasure,
    /// The slot in which they lay.
    pub slot: u64,
    /// When.
    pub at: Moment,
}

impl fmt::Display for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Overwritten => "overwritten",
            Self::KekRotated => "kek-rotated",
            Self::KmsDestroyed => "kms-destroyed",
        })
    }
}

/// Where wrapped keys lie: one *ring*, which says how the key-encryption key is wrapped, and numbered *slots*, one for each session.
///
/// Nothing here is secret by itself. That a slot can be overwritten so that its old bytes are gone is what makes shredding possible, so
/// this never lies in a log, nor in an engine that gives space back late.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The ring; `None` before the first one.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] when what is there is not as it was written.
    async fn ring(&self) -> Result<Option<StoredRing>, StoreError>;

    /// Replaces the ring.
    ///
    /// **Contract**: the old or the new one is there after a crash, and the new one when it answers.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the version is not `expected` (0: there is none).
    async fn put_ring(&self, expected: u64, ring: Bytes) -> Result<(), StoreError>;

    /// How many slots there are. They are numbered from 0.
    async fn slots(&self) -> Result<u64, StoreError>;

    /// Adds slots behind the last one, and gives the first one's number.
    ///
    /// **Contract**: they survive a power cut when it answers, on a store that gives that level.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`]: none was added. [`StoreError::TooLarge`].
    async fn add(&self, slots: Vec<Slot>) -> Result<u64, StoreError>;

    /// Takes slots away from the end, those of this number and above, which nobody used.
    async fn truncate(&self, count: u64) -> Result<(), StoreError>;

    /// Reads slots, from one on, at most `limit`; fewer when there are no more.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] when one of them is not as it was written.
    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Slot>, StoreError>;

    /// Overwrites slots in place.
    ///
    /// **Contract**: after a crash each slot holds the old or the new bytes, whole. When it answers, all hold the new ones, durably, and the old ones are
    /// gone as [`Self::erasure`] says. A damaged slot holds nothing to who expects nothing, so that it can be destroyed too.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one holds other bytes than expected: none was changed. [`StoreError::NotFound`] is never given: a number
    /// without a slot is [`StoreError::Malformed`].
    async fn overwrite(&self, changes: Vec<SlotChange>) -> Result<(), StoreError>;

    /// How overwritten bytes are gone.
    fn erasure(&self) -> Erasure;
}
