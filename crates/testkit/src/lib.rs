//! For authors of stores and of hosts: what a store must keep to, and what makes a test the same each time.
//!
//! - [`store_suite!`] holds a [`SessionLog`](sessions_ports::SessionLog) to its contract, one test a law; [`report`] runs all laws in one go.
//! - [`FaultyStore`] fails a chosen call of any store, before or after it happened.
//! - [`FixedClock`], [`SequentialIds`] and [`FixedEntropy`] give the same run each time.
//! - [`model`] is a session as its users see it, plain enough to be obviously right, to compare the real thing with.
//!
//! ```no_run
//! use std::sync::Arc;
//! use sessions_ports::SessionLog;
//! use sessions_testkit::Fixture;
//!
//! # type MyStore = sessions_testkit::FaultyStore;
//! # fn my_store() -> MyStore { loop {} }
//! struct MyFixture(MyStore);
//!
//! #[async_trait::async_trait]
//! impl Fixture for MyFixture {
//!     fn name(&self) -> &'static str {
//!         "my store"
//!     }
//!     async fn open(&self) -> Arc<dyn SessionLog> {
//!         Arc::new(self.0.clone())
//!     }
//!     async fn second(&self) -> Arc<dyn SessionLog> {
//!         Arc::new(self.0.clone())
//!     }
//!     async fn reopen(&self, _store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
//!         None // keeps nothing
//!     }
//!     fn largest_commit(&self) -> Option<u64> {
//!         None // no limit of its own
//!     }
//! }
//!
//! let report = sessions_testkit::report(async || MyFixture(my_store()));
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
pub use fixture::Fixture;
pub use held::HeldStore;
pub use polled::Started;
pub use script::{Script, read_all};
pub use suite::{Exception, LAWS, Law, Outcome, Report, Verdict, Violation, check, confirm, report};
