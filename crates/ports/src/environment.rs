//! What a pure core is given from outside: time, identities, randomness.
//!
//! Must not know: where they come from.

use sessions_domain::{LineageId, MessageId, Moment, SessionId};

/// Tells the time. Order never depends on it.
pub trait Clock: Send + Sync {
    /// The moment now.
    ///
    /// **Contract**: never blocks. It may jump in both directions.
    fn now(&self) -> Moment;
}

/// Makes identities.
pub trait IdGenerator: Send + Sync {
    /// A session's id.
    ///
    /// **Contract** (all three): never blocks; never gives the same id twice in one process, also under a race and when the clock jumps; the
    /// ids of one kind ascend.
    fn session(&self, now: Moment) -> SessionId;
    /// A message's id.
    fn message(&self, now: Moment) -> MessageId;
    /// A log's id.
    fn lineage(&self, now: Moment) -> LineageId;
}

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes; nothing was written")]
pub struct EntropyError;

/// Gives random bytes fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    ///
    /// **Contract**: cryptographically secure, except in tests.
    ///
    /// # Errors
    /// [`EntropyError`] when the source fails; `bytes` is then not to be used.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}
