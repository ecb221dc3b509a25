//! The traits that a backend or a host implements, and what passes through them.
//!
//! A trait is drawn around what must commit together, and nothing more. Each method's documentation has a *Contract*: atomicity,
//! durability, order, what happens when a future is dropped. The laws of `sessions-testkit` hold an implementation to it.
//!
//! Must not know: use cases, and any technology.

mod admission;
mod backup;
mod environment;
mod error;
mod keys;
mod log;
mod model;
mod secret;
mod standing;
mod summary;
mod tokens;
mod tool;
mod witness;

pub use backup::BackupError;
pub use environment::{Clock, Entropy, EntropyError, IdGenerator};
pub use error::{BackendError, BackendErrorKind, StoreError};
pub use keys::{
    Erased, Erasure, KeyContext, KeyError, KeyHealth, KeyProvider, KeyStore, MAX_SLOT, ProviderKind, Slot, SlotChange,
    StoredRing, Wrapped,
};
pub use log::{
    Claim, Commit, Committed, Digest, Durability, Expected, Head, Heir, KindFilter, Link, Order, Page, ReadRange,
    Record, Removal, Removed, Rewrite, Rewritten, Row, RowChange, RowPage, SessionLog, StoreId, StoredClaim,
};
pub use model::{
    ModelAnswer, ModelError, ModelEvent, ModelEvents, ModelProvider, ModelRequest, ModelStop, RefusalReason, Stop,
};
pub use secret::{KeyId, Passphrase, SecretKey};
pub use standing::Standing;
pub use summary::{Summarizer, Summary, SummaryFailure, SummaryWish, Tab};
pub use tokens::{Encodings, TokenCounter, UnknownEncoding};
pub use tool::{GateAnswer, Tool, ToolConduct, ToolFailure, ToolGate, ToolRun, ToolSpec};
pub use witness::{BatchEdge, HeadWitness};
