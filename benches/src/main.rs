//! What sessions cost: figures against the project's bars, and how each grows with the work. Written to `docs/benchmarks.md`.
//!
//! `cargo xtask bench` runs everything and writes the document; `cargo xtask bench writers P7` runs these groups and prints them.
//! `SESSIONS_BENCH_DIR` names the folder to work in (default `target/bench`), so that another disk can be measured.
//!
//! Must not know: how sessions do what is measured, beyond their use cases.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a shell")]

mod counting;
mod groups;
mod harness;
mod machine;
mod raw;
mod report;
mod stage;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use groups::Group;
use report::Section;
use sessions_infra::environment::SystemClock;
use sessions_ports::Clock as _;
use stage::Outcome;

const USAGE: &str = "usage: cargo xtask bench [GROUP | BAR]... [--out FILE]";
const DOCUMENT: &str = "docs/benchmarks.md";

/// What was asked.
struct Request {
    groups: Vec<Group>,
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == groups::CHILD => in_runtime(groups::child(rest.to_vec())),
        _ => parse(&arguments).and_then(|request| in_runtime(measure(request))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a future as hosts run theirs: as a task of a runtime with as many threads as there are cores.
fn in_runtime(work: impl Future<Output = Outcome<()>> + Send + 'static) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { tokio::spawn(work).await })?
}

fn parse(arguments: &[String]) -> Outcome<Request> {
    let mut request = Request { groups: Vec::new(), out: None };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--out" {
            request.out = Some(PathBuf::from(arguments.next().ok_or(USAGE)?));
            continue;
        }
        let group = Group::named(argument).ok_or_else(|| {
            let known: Vec<&str> = Group::ALL.iter().map(|group| group.name()).collect();
            format!("there is no group {argument}; there are {}, and the bars' names\n{USAGE}", known.join(", "))
        })?;
        if !request.groups.contains(&group) {
            request.groups.push(group);
        }
    }
    if request.groups.is_empty() {
        request.groups = Group::ALL.to_vec();
        // Only a whole run replaces the document unasked.
        request.out = request.out.or_else(|| Some(workspace().join(DOCUMENT)));
    }
    Ok(request)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn measure(request: Request) -> Outcome<()> {
    let parent = env::var_os("SESSIONS_BENCH_DIR").map_or_else(|| workspace().join("target/bench"), PathBuf::from);
    fs::create_dir_all(&parent)?;
    let mut facts = vec![("date", SystemClock.now().to_string())];
    facts.extend(machine::facts(&parent));
    let mut sections: Vec<Section> = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let begun = Instant::now();
        let section = group.run(&parent).await?;
        println!("\n{} ({:.0} s)\n{}", section.title, begun.elapsed().as_secs_f64(), report::table(&section.figures));
        if !section.appendix.is_empty() {
            println!("{}", section.appendix);
        }
        sections.push(section);
    }
    if let Some(out) = request.out {
        fs::write(&out, report::document(&facts, &sections))?;
        eprintln!("bench: written to {}", out.display());
    }
    Ok(())
}
