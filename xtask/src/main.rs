//! The chores of this workspace, as one program: `cargo xtask test`, `proofs`, `ci`, `bench`, `conformance`, `docs`, `fuzz`, `tidy`.
//!
//! What it has to say itself goes to stderr; stdout belongs to the programs it runs.
//!
//! Must not know: the crates it tests, beyond their names.

#![allow(clippy::print_stderr, reason = "a program for people at a shell: stderr is where it speaks")]

mod area;
mod bench;
mod documents;
mod equipment;
mod fuzz;
mod gate;
mod proofs;
mod step;
mod suite;
mod tidy;

use std::process::ExitCode;

use crate::step::Failure;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [AREA]                  every test of the workspace, or those of one area (a module's name, such as persistence)
  test --real-model            compacts long transcripts with a model that you run (CONTRIBUTING.md), or else with a stub
  proofs [ROW]...              the tests that docs/security.md names, with kills at every step, and what they found
  ci                           all that must be green: format, lints, docs, licences, directions, tests
  bench [GROUP] [ARGUMENT]...  the benchmarks, or one group of them
  conformance                  tries the laws on each store and writes docs/conformance.md
  docs                         the documents that are made of the program's own definitions
  fuzz [TARGET] [--seconds N]  made-up bytes for everything that reads what others wrote, 60 s a target
  tidy                         what no compiler checks: file heads, leftovers, file sizes, links";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(what)) => {
            eprintln!("xtask: {what}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(what)) => {
            eprintln!("xtask: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(Failure::Usage("no command given".to_owned()));
    };
    match command.as_str() {
        "test" => suite::run(&suite::Request::parse(rest)?),
        "proofs" => proofs::run(rest),
        "ci" => no_arguments(rest).and_then(|()| gate::run()),
        "bench" => bench::run(rest),
        "conformance" => no_arguments(rest).and_then(|()| conformance()),
        "docs" => no_arguments(rest).and_then(|()| documents::run()),
        "fuzz" => fuzz::run(&fuzz::Request::parse(rest)?),
        "tidy" => no_arguments(rest).and_then(|()| tidy::run()),
        "help" | "--help" | "-h" => {
            eprintln!("{USAGE}");
            Ok(())
        }
        other => Err(Failure::Usage(format!("there is no command {other}"))),
    }
}

/// Runs the program that tries the laws and writes the document. It fails when a law is broken, and has written the document then too.
fn conformance() -> Result<(), Failure> {
    step::run(step::cargo().args(["run", "--package", "sessions-testkit", "--example", "conformance"]))
}

fn no_arguments(rest: &[String]) -> Result<(), Failure> {
    match rest.first() {
        None => Ok(()),
        Some(extra) => Err(Failure::Usage(format!("{extra} is one argument too many"))),
    }
}
