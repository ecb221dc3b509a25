//! `cargo xtask bench`: hands over to the package of benchmarks.
//!
//! Must not know: what is measured.

use crate::step::{self, Failure};

const PACKAGE: &str = "sessions-bench";

/// Runs the benchmarks, optimised, with the arguments as they were given.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if !step::succeeds(step::cargo().args(["pkgid", "--package", PACKAGE])) {
        return Err(Failure::new(format!("there are no benchmarks yet: this workspace has no package {PACKAGE}")));
    }
    step::run(step::cargo().args(["run", "--release", "--package", PACKAGE, "--"]).args(arguments))
}
