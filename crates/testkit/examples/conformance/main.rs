//! Tries all laws on the stores of this repository and writes `docs/conformance.md`: `cargo xtask conformance`.
//!
//! Must not know: what the laws say.

#[path = "../custom_backend/fixture.rs"]
mod fixture;
mod sealed;
mod sled;
#[path = "../custom_backend/store.rs"]
mod store;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use sessions_domain::Moment;
use sessions_infra::{
    MAX_COMMIT_BYTES, MemoryStore,
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    sled::Sealing,
    tokens::BuiltInEncodings,
};
use sessions_ports::{Encodings as _, TokenCounter as _};
use sessions_testkit::{
    CLOCK_LAWS, ENTROPY_LAWS, FixedClock, FixedEntropy, ID_LAWS, InMemory, LAWS, Law, Report, SequentialIds, Suite,
    TOKEN_LAWS,
};

use crate::{fixture::RedbFixture, sealed::SealedMemory, sled::SledFixture};

const HEAD: &str = "\
# Conformance

How the stores of this repository stand to the laws of `sessions-testkit`. This file is written by `cargo xtask conformance`, which tries each law on
each store; a test fails when its laws are not those of the code. What a store owes, and how to write one, is in [backends.md](backends.md).

";

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    let kit = env!("CARGO_PKG_VERSION");
    let memory = || InMemory { name: "memory", store: MemoryStore::new(), largest_commit: Some(MAX_COMMIT_BYTES) };
    let stores = [
        (format!("`MemoryStore` {kit}"), Suite::new(async move || memory()).run().await),
        (
            format!("`SledStore` {kit} over sled {}", version(&lock, "sled")),
            Suite::new(async || SledFixture::new(Sealing::Plain)).run().await,
        ),
        (format!("`SealedStore` {kit} over `MemoryStore`"), Suite::new(async || SealedMemory::default()).run().await),
        (
            format!("`SealedStore` {kit} over `SledStore`"),
            Suite::new(async || SledFixture::new(Sealing::Sealed)).run().await,
        ),
        (
            format!("the example `custom_backend` over redb {}", version(&lock, "redb")),
            Suite::new(async || RedbFixture::new()).run().await,
        ),
    ];
    let noon = Moment::from_millis(1_767_268_800_000);
    let clocks =
        [Suite::clock(async || SystemClock).run().await, Suite::clock(async move || FixedClock::at(noon)).run().await];
    let ids =
        [Suite::ids(async || UlidGenerator::new()).run().await, Suite::ids(async || SequentialIds::new()).run().await];
    let entropy = [
        Suite::entropy(async || SystemEntropy::new()).run().await,
        Suite::entropy(async || FixedEntropy::seeded(1)).run().await,
    ];
    let mut tokens = vec![Suite::tokens(async || EstimateCounter).run().await];
    for name in BuiltInEncodings::names().filter(|name| *name != EstimateCounter.encoding()) {
        let counter = BuiltInEncodings::new().named(name).ok_or_else(|| io::Error::other(name))?;
        tokens.push(Suite::tokens(async move || Arc::clone(&counter)).run().await);
    }

    let smaller = CLOCK_LAWS.len() + ID_LAWS.len() + ENTROPY_LAWS.len() + TOKEN_LAWS.len();
    let mut text = HEAD.to_owned();
    let all = LAWS.len() + smaller;
    let _ = writeln!(
        text,
        "{all} laws: {} of a store and {smaller} of the smaller ports, by sessions-testkit {kit}.\n",
        LAWS.len()
    );
    text.push_str("| store | what it is | level | kept | do not apply | broken |\n|---|---|---|---|---|---|\n");
    for (what, report) in &stores {
        let level = if report.store.ends_with("memory") { "volatile" } else { "disk" };
        let Report { store, kept, skipped, violations } = report;
        let (kept, skipped, broken) = (kept.len(), skipped.len(), violations.len());
        let _ = writeln!(text, "| {store} | {what} | {level} | {kept} | {skipped} | {broken} |");
    }
    let reports: Vec<&Report> = stores.iter().map(|(_, report)| report).collect();
    text.push_str(&reasons(&reports));
    text.push_str("\n## A store\n");
    text.push_str(&table(LAWS, &reports));
    text.push_str("\n## The smaller ports\n");
    text.push_str(&table(CLOCK_LAWS, &clocks.iter().collect::<Vec<_>>()));
    text.push_str(&table(ID_LAWS, &ids.iter().collect::<Vec<_>>()));
    text.push_str(&table(ENTROPY_LAWS, &entropy.iter().collect::<Vec<_>>()));
    text.push_str(&table(TOKEN_LAWS, &tokens.iter().collect::<Vec<_>>()));
    fs::write(root.join("docs/conformance.md"), text)?;

    let mut clean = true;
    for report in reports.into_iter().chain(&clocks).chain(&ids).chain(&entropy).chain(&tokens) {
        clean &= report.is_clean();
        let first = report.to_string().lines().next().unwrap_or_default().to_owned();
        writeln!(io::stdout(), "{first}")?;
        for violation in &report.violations {
            writeln!(io::stdout(), "  broken: {violation}")?;
        }
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The version of a package in a lock file.
fn version(lock: &str, package: &str) -> String {
    let behind = lock.split(&format!("name = \"{package}\"\nversion = \"")).nth(1);
    behind.and_then(|rest| rest.split('"').next()).unwrap_or("of an unknown version").to_owned()
}

/// Why laws do not apply, store by store.
fn reasons(reports: &[&Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let mut whys: BTreeMap<&str, usize> = BTreeMap::new();
        report.skipped.iter().for_each(|skipped| *whys.entry(&skipped.why).or_default() += 1);
        let whys: Vec<String> = whys.into_iter().map(|(why, count)| format!("{why} ({count})")).collect();
        let _ = write!(text, "\nDo not apply to {}: {}.\n", report.store, whys.join("; "));
    }
    text
}

/// One table for each group: the law, what it demands, and how each report has it.
fn table<P: ?Sized>(laws: &[Law<P>], reports: &[&Report]) -> String {
    let (mut text, mut group) = (String::new(), "");
    for law in laws {
        let (of, name) = law.name.split_once("::").unwrap_or(("", law.name));
        if of != group {
            let names: Vec<&str> = reports.iter().map(|report| report.store.as_str()).collect();
            let _ = write!(
                text,
                "\n### {of}\n\n| law | demands | {} |\n|---|---|{}\n",
                names.join(" | "),
                "---|".repeat(names.len())
            );
            group = of;
        }
        let had = |report: &&Report| match report {
            report if report.broke(law.name) => "**broken**",
            report if report.kept.contains(&law.name) => "kept",
            _ => "–",
        };
        let results: Vec<&str> = reports.iter().map(had).collect();
        let _ = writeln!(text, "| `{name}` | {} | {} |", law.demands(), results.join(" | "));
    }
    text
}
