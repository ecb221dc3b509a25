//! A store of one's own, from the first line to the report of the suite: [`store`] is the store, [`fixture`] is what the suite is given.
//!
//! `cargo run -p sessions-testkit --example custom_backend` tries all laws on it and prints the report; with `--json` as one line of JSON. The
//! same laws are tests in `crates/testkit/tests/custom_backend.rs`.

mod fixture;
mod store;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use sessions_testkit::Suite;

use crate::fixture::RedbFixture;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<ExitCode> {
    let report = Suite::new(async || RedbFixture::new()).run().await;
    let as_json = std::env::args().nth(1).is_some_and(|argument| argument == "--json");
    let text = if as_json { report.to_json() } else { report.to_string() };
    writeln!(io::stdout(), "{text}")?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
