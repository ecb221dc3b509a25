//! For authors of stores and of hosts: what a store must keep to, and what makes a test the same each time.
//!
//! - [`store_laws!`] holds a [`SessionLog`](sessions_ports::SessionLog) to its contract, one test a law; a [`Suite`] runs all laws in one go and gives a
//!   [`Report`] of every violation.
//! - [`clock_laws!`], [`id_laws!`], [`entropy_laws!`] and [`token_laws!`] do so for the smaller ports.
//! - [`FaultyStore`] fails a chosen call of any store, before or after it happened; [`HeldStore`] holds commits back until it is told.
//! - [`FixedClock`], [`SequentialIds`] and [`FixedEntropy`] give the same run each time.
//! - [`stub`] stands in for providers of models, on loopback, and does what they do badly.
//! - [`model`] is a session as its users see it, plain enough to be obviously right, to compare the real thing with.
//!
//! ```no_run
//! use sessions_testkit::{InMemory, Suite};
//!
//! # type MyStore = sessions_testkit::FaultyStore;
//! # fn my_store() -> MyStore { loop {} }
//! # async fn run() {
//! // One that keeps what it is given has a `Fixture` of its own.
//! let suite = Suite::new(async || InMemory { name: "my store", store: my_store(), largest_commit: None });
//! let report = suite.run().await;
//! assert!(report.is_clean(), "{report}");
//! # }
//! ```
//!
//! How to write a store, step by step, is in `docs/backends.md` of the repository.
//!
//! Must not know: any adapter, any use case.

mod environment;
mod faulty;
mod fixture;
mod held;
mod keys;
pub mod laws;
mod list;
pub mod model;
mod polled;
mod report;
mod script;
pub mod stub;
mod suite;

pub use environment::{FixedClock, FixedEntropy, SequentialIds};
pub use faulty::{Call, Fault, FaultyStore, Injected, When};
pub use fixture::{Capabilities, Fixture, InMemory, Owners};
pub use held::HeldStore;
pub use keys::FixedKey;
pub use list::{CLOCK_LAWS, ENTROPY_LAWS, ID_LAWS, LAWS, TOKEN_LAWS};
pub use polled::Started;
pub use report::{Inapplicable, Report, Verdict, Violation};
pub use script::{Script, read_all};
pub use suite::{Exception, Law, Outcome, Suite, check, confirm, report};

/// The ports that the macros name.
#[doc(hidden)]
pub mod port {
    pub use sessions_ports::{Clock, Entropy, IdGenerator, TokenCounter};
}

/// What the guide for authors of stores shows compiles and does what it says.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/backends.md")]
pub struct Guide;
