//! The use cases of agent sessions, over any store.
//!
//! [`SessionManager`] is the one entry; [`Session`] is a handle to one conversation. Everything that changes a session goes through one
//! piece of machinery (load the view, decide in the domain, commit, apply), so a further use case is a few lines.
//!
//! Must not know: which store, clock or generator it runs on, or how anything is encrypted or drawn.

mod activity;
mod append;
mod blocking;
mod cleaning;
mod cleanup;
mod compact;
mod context;
mod creation;
mod deletion;
mod directory;
mod error;
mod history;
mod keyed;
mod lane;
mod life;
mod loading;
mod lookup;
mod manager;
mod moves;
mod once;
mod panics;
mod place;
mod range;
mod reading;
mod room;
mod session;
mod shutdown;
mod state;
mod streaming;
mod subscription;
mod tasks;
mod transact;
pub mod transfer;
mod turn;
mod usage;

pub use activity::Activity;
pub use append::{Append, AppendOutcome, InFlight, Receipt};
pub use cleaning::{Cleaning, CleanupOutcome};
pub use cleanup::{Cleaned, CleanupPolicy, CleanupReport, CleanupRun, Skipped, WhySkipped};
pub use compact::{ByModel, CompactionRefused, CompactionReport, CompactionWish, Extractive};
pub use context::ContextWish;
pub use creation::{NewSession, Opened};
pub use deletion::{Deletion, DeletionReport, DeletionStep, Forks, LostToFork};
pub use directory::{ListPage, Query, SortBy};
pub use error::{ErrorKind, SessionError};
pub use history::{Entry, EntryKind, Messages, Tally};
pub use life::{Ancestor, Checkpoint, Lineage};
pub use manager::{Ports, SessionManager, Settings};
pub use moves::{BranchInfo, Forked, MoveReceipt};
pub use place::PlaceToken;
pub use range::{MessagePage, MessageRange, MessageSize};
pub use session::{At, Session};
pub use shutdown::Shutdown;
pub use streaming::MessageStream;
pub use subscription::{EndReason, Subscription, Update};
pub use tasks::Stopping;
pub use transfer::{Export, ExportFormat, Format, ImportError, ImportOptions, ImportReport};
pub use turn::{
    Agent, Canceller, InvalidAgent, ToolEnd, Turn, TurnEvent, TurnNote, TurnOutcome, TurnProblem, TurnStep,
};
pub use usage::{ModelCall, ModelUsage, Priced, PricedBy, Usage};
