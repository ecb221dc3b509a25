//! `cargo xtask ci`: all that must be green before a change is taken. Each step runs even when one before it failed, so that one run
//! tells everything.
//!
//! Must not know: how a step does its work.

use std::time::{Duration, Instant};

use crate::step::{self, Failure};
use crate::{fuzz, suite, tidy};

/// The version that is installed where there is none, so that a run today and one next year judge alike.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

type Step = (&'static str, fn() -> Result<(), Failure>);

// What takes seconds comes first. Lints come before tests, because both share what they compile.
const STEPS: [Step; 9] = [
    ("format", || step::run(step::cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", tidy::run),
    ("licences, bans, sources", deny),
    ("lints", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
        step::run(step::cargo().args(arguments))
    }),
    ("docs", || {
        let arguments = ["doc", "--no-deps", "--workspace", "--all-features"];
        step::run(step::cargo().env("RUSTDOCFLAGS", "-D warnings").args(arguments))
    }),
    ("facade without features", || {
        step::run(step::cargo().args(["check", "--package", "sessions-api", "--no-default-features"]))
    }),
    ("directions", || step::run(step::cargo().args(["test", "--workspace", "--all-features", "--test", "directions"]))),
    ("tests", || suite::run(&suite::Request::default())),
    ("fuzz", || fuzz::run(&fuzz::Request::default())),
];

/// Runs all steps and reports each with its time.
pub(crate) fn run() -> Result<(), Failure> {
    let mut results: Vec<(&str, Result<(), Failure>, Duration)> = Vec::with_capacity(STEPS.len());
    for (name, work) in STEPS {
        eprintln!("\n== {name}");
        let begun = Instant::now();
        let result = work();
        if let Err(failure) = &result {
            eprintln!("xtask: {failure}");
        }
        results.push((name, result, begun.elapsed()));
    }
    eprintln!();
    for (name, result, time) in &results {
        eprintln!("{:6} {name:<24} {:>12}", if result.is_ok() { "ok" } else { "FAILED" }, step::duration(*time));
    }
    let failed: Vec<&str> = results.iter().filter(|(_, result, _)| result.is_err()).map(|(name, ..)| *name).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(format!("not green: {}", failed.join("; ")))) }
}

fn deny() -> Result<(), Failure> {
    if !step::succeeds(step::cargo().args(["deny", "--version"])) {
        // Unoptimised, it is ready in a fifth of the time and still needs less than a second for its work.
        step::run(step::cargo().args(["install", CARGO_DENY, "--locked", "--debug"]))?;
    }
    step::run(step::cargo().args(["deny", "--workspace", "--all-features", "check", "licenses", "bans", "sources"]))
}
