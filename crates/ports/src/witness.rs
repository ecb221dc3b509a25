//! Who attests the heads of all sessions of a store, with a key that the store never sees.
//!
//! Must not know: where roots are kept, or which sessions there are.

use sessions_domain::{CommitHash, SessionId};

/// Attests the heads of all sessions at once: a store keeps the XOR of the elements of all of them, and writes a root over that with each
/// batch. So whoever puts one session back, or takes one out, has to make a root that only the key makes.
///
/// The sum is a multiset hash (MSet-XOR-Hash of Clarke, Devadas, van Dijk, Gassend and Suh, 2003). Sums can be combined, so it holds only
/// as long as no sum is known: a store keeps its own in memory, and writes roots alone.
///
/// *Contract.* Pure and cheap: the same arguments give the same bytes, in every process that has the same key, and nothing is waited for.
/// Whoever lacks the key can neither make nor tell apart what is given. Different arguments give different bytes.
pub trait HeadWitness: Send + Sync {
    /// What a session adds to the sum. `head`: its version and the commit of that; `None`: it was removed.
    fn element(&self, session: SessionId, head: Option<(u64, CommitHash)>) -> [u8; 32];

    /// The root over the sum before or behind a batch. `position` and `length` say where in the log the batch stands, so that a root is worth
    /// nothing at any other place.
    fn root(&self, edge: BatchEdge, sum: &[u8; 32], position: u64, length: u32) -> [u8; 16];
}

/// Which sum of a batch a root is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEdge {
    /// The one that it goes on from. It tells a batch that was cut short from one that never was.
    Before,
    /// The one that it leads to.
    Behind,
    /// The one that it leads to, where whoever has the key takes it for right whatever roots before it say: a person looked, or a repair was made.
    Settled,
}
