//! `cargo xtask proofs`: the tests that the table of proofs in `docs/security.md` names, whole, with what they found.
//!
//! A usual run of the tests takes a part of the kills; here each step is killed. Each test runs by itself, and says a line that begins with `figure:`.
//!
//! Must not know: what the tests test.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::equipment;
use crate::step::{self, Failure};

const DOCUMENT: &str = "docs/security.md";
/// The table stands behind this heading.
const HEADING: &str = "\n## What shows it\n";
/// Kills at every step, and not at some.
const ROUNDS: (&str, &str) = ("SESSIONS_CRASH_ROUNDS", "all");
/// What a test says of itself.
const FIGURE: &str = "figure: ";

/// A line of the table that names a test.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proof {
    row: String,
    /// The function, with the module it is in.
    test: String,
    /// The file that it stands in, from the workspace's root.
    file: String,
}

/// What became of one.
struct Outcome {
    proof: Proof,
    figures: Vec<String>,
    took: Duration,
    failure: Option<String>,
}

/// Runs the proofs of these rows, or all, and reports each with its figure and time; every one runs even when one before it failed.
pub(crate) fn run(rows: &[String]) -> Result<(), Failure> {
    let document = fs::read_to_string(step::root().join(DOCUMENT))
        .map_err(|error| Failure::new(format!("{DOCUMENT} cannot be read: {error}")))?;
    let proofs = chosen(named_in(&document)?, rows)?;
    let variables = equipment::prepare()?;
    let begun = Instant::now();
    let mut outcomes = Vec::with_capacity(proofs.len());
    for proof in proofs {
        outcomes.push(prove(proof, &variables)?);
    }
    eprintln!();
    let mut failed = Vec::new();
    for Outcome { proof, figures, took, failure } in &outcomes {
        let verdict = if failure.is_none() { "ok" } else { "FAILED" };
        eprintln!("{verdict:6} row {} {:<90} {:>12}", proof.row, proof.test, step::duration(*took));
        figures.iter().for_each(|figure| eprintln!("              {figure}"));
        failed.extend(failure);
    }
    eprintln!("\n{} proofs in {}", outcomes.len(), step::duration(begun.elapsed()));
    match failed.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Failure::new(format!("{} of them failed: {first}", failed.len()))),
    }
}

/// Those of these rows, which must be there.
fn chosen(all: Vec<Proof>, rows: &[String]) -> Result<Vec<Proof>, Failure> {
    if let Some(unknown) = rows.iter().find(|row| all.iter().all(|proof| proof.row != **row)) {
        return Err(Failure::Usage(format!("the table of proofs has no row {unknown}")));
    }
    Ok(all.into_iter().filter(|proof| rows.is_empty() || rows.contains(&proof.row)).collect())
}

/// The tests that the table names: `| row | … | [module::test](../file) | … |`.
fn named_in(document: &str) -> Result<Vec<Proof>, Failure> {
    let unread = || Failure::new(format!("{DOCUMENT} has no table of proofs behind its heading"));
    let (_, rest) = document.split_once(HEADING).ok_or_else(unread)?;
    let table = rest.split_once("\n## ").map_or(rest, |(table, _)| table);
    let proofs: Vec<Proof> = table.lines().filter_map(proof_of).collect();
    if proofs.is_empty() { Err(unread()) } else { Ok(proofs) }
}

fn proof_of(line: &str) -> Option<Proof> {
    let (row, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
    let (before, file) = rest.split_once("`](../")?;
    let (_, test) = before.rsplit_once("[`")?;
    let (file, _) = file.split_once(')')?;
    let is_row = row.bytes().all(|byte| byte.is_ascii_digit());
    is_row.then(|| Proof { row: row.to_owned(), test: test.to_owned(), file: file.to_owned() })
}

/// What of the workspace has a file's tests. Files of tests are built as by all tests, so that nothing is built twice; of a crate's own the crate is enough.
fn target_of(file: &str) -> Option<[String; 3]> {
    let (package, inside) = match file.strip_prefix("crates/") {
        Some(rest) => rest.split_once('/')?,
        None => ("tests", file.strip_prefix("tests/")?),
    };
    if inside.starts_with("src/") {
        return Some(["--lib".to_owned(), "--package".to_owned(), format!("sessions-{package}")]);
    }
    let target = inside.strip_prefix("tests/")?.split(['/', '.']).next()?;
    Some(["--workspace".to_owned(), "--test".to_owned(), target.to_owned()])
}

fn prove(proof: Proof, variables: &equipment::Variables) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let wrong = || Failure::new(format!("{DOCUMENT} names {}, which is no file of tests", proof.file));
    let target = target_of(&proof.file).ok_or_else(wrong)?;
    let mut cargo = step::cargo();
    cargo.args(["test", "--quiet", "--all-features"]).args(target).args(["--", &proof.test, "--nocapture"]);
    cargo.envs(variables.iter().map(|(name, value)| (name, value))).env(ROUNDS.0, ROUNDS.1);
    let line = step::line_of(&cargo);
    eprintln!("$ {line}");
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let (status, said) = match output {
        Ok(output) => (Ok(output.status), String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => (Err(error), String::new()),
    };
    let passed = said.lines().any(|line| line.starts_with("test result: ok. ") && !line.contains(" 0 passed"));
    let figures = figures_in(&said);
    let failure = match step::verdict(&line, status) {
        Ok(()) if !passed => Some(format!("no test ran: there is no {}", proof.test)),
        // One that cannot run here passes, and shows nothing.
        Ok(()) if figures.is_empty() => Some(format!("{} found nothing: it says above why it cannot run", proof.test)),
        Ok(()) => None,
        Err(failure) => Some(failure.to_string()),
    };
    if failure.is_some() {
        eprintln!("{said}");
    }
    Ok(Outcome { proof, figures, took: begun.elapsed(), failure })
}

/// What is behind each mark; the harness may have begun the line.
fn figures_in(said: &str) -> Vec<String> {
    said.lines().filter_map(|line| line.split_once(FIGURE)).map(|(_, figure)| figure.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let document = "# Title\n\n## What shows it\n\n| | holds | test | seen |\n|---|---|---|---|\n\
             | 15 | a [link](../x) | [`keys::wrong`](../crates/infra/tests/sealing/wrong_keys.rs) | 7 |\n\
             | 15 | quick | [a benchmark](benchmarks.md#keys) | 1 |\n\
             | 19 | gone | [`image::gone`](../tests/tests/persistence/image.rs) | |\n\n## Next\n\n\
             | 20 | not | [`of::it`](../tests/tests/x.rs) | |\n";
        let proofs = named_in(document).unwrap();
        let of = |row: &str, test: &str, file: &str| Proof {
            row: row.to_owned(),
            test: test.to_owned(),
            file: file.to_owned(),
        };
        let expected = [
            of("15", "keys::wrong", "crates/infra/tests/sealing/wrong_keys.rs"),
            of("19", "image::gone", "tests/tests/persistence/image.rs"),
        ];
        assert_eq!(proofs, expected);
        assert_eq!(chosen(proofs.clone(), &["19".to_owned()]), Ok(vec![expected[1].clone()]));
        assert!(matches!(chosen(proofs, &["20".to_owned()]), Err(Failure::Usage(_))));
        assert!(named_in("# Title\n").is_err());
    }

    #[test]
    fn a_file_tells_where_its_tests_run() {
        let target = |file| target_of(file).map(|target| target.join(" "));
        assert_eq!(target("crates/infra/tests/sealing/wrong_keys.rs").unwrap(), "--workspace --test sealing");
        assert_eq!(target("crates/infra/tests/vault.rs").unwrap(), "--workspace --test vault");
        assert_eq!(target("tests/tests/reliability/folder.rs").unwrap(), "--workspace --test reliability");
        assert_eq!(target("crates/infra/src/sled/tampered.rs").unwrap(), "--lib --package sessions-infra");
        assert_eq!(target("docs/security.md"), None);
    }

    #[test]
    fn the_documents_own_table_is_one() {
        let document = fs::read_to_string(step::root().join(DOCUMENT)).unwrap();
        let proofs = named_in(&document).unwrap();
        assert!(
            proofs.iter().all(|proof| target_of(&proof.file).is_some() && step::root().join(&proof.file).is_file())
        );
        assert!(proofs.len() > 20, "{}", proofs.len());
    }

    #[test]
    fn figures_are_found_behind_what_the_harness_says() {
        let said = "running 1 test\ntest x ... figure: 7 kills\n  figure: none lost\nok\n";
        assert_eq!(figures_in(said), ["7 kills", "none lost"]);
    }
}
