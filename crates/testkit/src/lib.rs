//! For authors of stores and of hosts: what a store must keep to, and what makes a test the same each time.
//!
//! - [`store_suite!`] holds a [`SessionLog`](sessions_ports::SessionLog) to its contract, one test a law; [`report`] runs all laws in one go.
//! - [`FaultyStore`] fails a chosen call of any store, before or after it happened; [`HeldStore`] holds commits back until it is told.
//! - [`FixedClock`], [`SequentialIds`] and [`FixedEntropy`] give the same run each time.
//! - [`model`] is a session as its users see it, plain enough to be obviously right, to compare the real thing with.
//!
//! ```no_run
//! use sessions_testkit::InMemory;
//!
//! # type MyStore = sessions_testkit::FaultyStore;
//! # fn my_store() -> MyStore { loop {} }
//! // One that keeps what it is given has a `Fixture` of its own.
//! let fixture = async || InMemory { name: "my store", store: my_store(), largest_commit: None };
//! let report = sessions_testkit::report(fixture);
//! assert!(report.violations.is_empty(), "{:?}", report.violations);
//! ```
//!
//! Must not know: any adapter, any use case.

mod environment;
mod faulty;
mod fixture;
mod held;
pub mod laws;
pub mod model;
mod polled;
mod script;
mod suite;

pub use environment::{FixedClock, FixedEntropy, SequentialIds};
pub use faulty::{Call, Fault, FaultyStore, Injected, When};
pub use fixture::{Fixture, InMemory};
pub use held::HeldStore;
pub use polled::Started;
pub use script::{Script, read_all};
pub use suite::{Exception, LAWS, Law, Outcome, Report, Verdict, Violation, check, confirm, report};
