//! `cargo xtask fuzz`: feeds made-up bytes to everything that reads what others wrote, with libFuzzer and the stable compiler.
//!
//! Must not know: what a target reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use crate::equipment;
use crate::step::{self, Failure};

/// The coverage that libFuzzer follows, which the stable compiler makes too when LLVM is asked.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares";

/// So many targets run beside each other.
const AT_ONCE: usize = 2;
/// More memory than this is a finding.
const MEMORY_MIB: u32 = 1_024;
/// A single input that takes longer is a finding.
const SECONDS_AN_INPUT: u32 = 25;
/// Lines of a failed run that are shown.
const LAST_LINES: usize = 40;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    target: Option<String>,
    seconds: u32,
}

impl Default for Request {
    fn default() -> Self {
        Self { target: None, seconds: 60 }
    }
}

impl Request {
    /// Reads the arguments behind `fuzz`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut request = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => {
                    let given = arguments.next().and_then(|seconds| seconds.parse().ok()).filter(|given| *given > 0);
                    request.seconds =
                        given.ok_or_else(|| Failure::Usage("--seconds takes a number above 0".to_owned()))?;
                }
                option if option.starts_with('-') => {
                    return Err(Failure::Usage(format!("fuzz has no option {option}")));
                }
                name if request.target.is_none() => request.target = Some(name.to_owned()),
                _ => return Err(Failure::Usage("fuzz takes one target at a time".to_owned())),
            }
        }
        Ok(request)
    }
}

/// Builds all targets once and runs those that were asked for; fails when one found something.
pub(crate) fn run(request: &Request) -> Result<(), Failure> {
    let all = targets(&step::root())?;
    let wanted: Vec<String> = match &request.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => return Err(Failure::Usage(format!("there is no target {name}; there are {}", all.join(", ")))),
    };
    if let Err(why) = equipment::get("g++", "g++") {
        let failure = format!("cannot fuzz: {why}");
        if step::is_ci() {
            return Err(Failure::new(failure));
        }
        eprintln!("xtask: {failure}");
        return Ok(());
    }
    let host = host()?;
    let built = step::root().join("target/fuzz");
    let mut cargo = step::cargo();
    cargo.args(["build", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml", "--target", &host]);
    step::run(cargo.arg("--target-dir").arg(&built).env("RUSTFLAGS", COVERAGE))?;
    let queue = Mutex::new(wanted.into_iter());
    let programs = built.join(host).join("release");
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let work = || {
        let mut found = Vec::new();
        while let Some(target) = next() {
            found.extend(fuzz(&target, &programs, &built, request.seconds).err());
        }
        found
    };
    let found: Vec<Failure> = thread::scope(|scope| {
        let runs: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        runs.into_iter().flat_map(|run| run.join().unwrap_or_else(|_| vec![Failure::new("a run broke off")])).collect()
    });
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::new(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}

/// The names of all targets.
fn targets(root: &Path) -> Result<Vec<String>, Failure> {
    let unreadable = |error| Failure::new(format!("the targets cannot be read: {error}"));
    let mut names = Vec::new();
    for entry in root.join("fuzz/src/bin").read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The machine that the compiler compiles for when it is told none. It must be told one here, or the coverage would go into what the
/// compiler runs itself.
fn host() -> Result<String, Failure> {
    let said = Command::new("rustc").arg("-vV").output().ok().map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("rustc does not say which machine it is on"))
}

/// Runs one target. What it learns stays in `target/fuzz/corpus`, and what it finds in `target/fuzz/found`.
fn fuzz(target: &str, programs: &Path, built: &Path, seconds: u32) -> Result<(), Failure> {
    let place = |kind: &str| {
        let folder = built.join(kind).join(target);
        let failed = |error| Failure::new(format!("{} cannot be made: {error}", folder.display()));
        fs::create_dir_all(&folder).map_err(failed).map(|()| folder.clone())
    };
    let (corpus, found) = (place("corpus")?, place("found")?);
    let log = built.join(format!("{target}.log"));
    let unwritable = |error| Failure::new(format!("{} cannot be written: {error}", log.display()));
    let output = fs::File::create(&log).map_err(unwritable)?;
    let mut run = Command::new(programs.join(target));
    run.arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={SECONDS_AN_INPUT}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1")
        .arg(corpus)
        .args(Some(step::root().join("fuzz/seeds").join(target)).filter(|seeds| seeds.is_dir()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    let line = step::line_of(&run);
    let ended = step::verdict(&line, run.status());
    let said = fs::read(&log).map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    match ended {
        Ok(()) => {
            eprintln!("xtask: fuzz {target}: {}", summary(&said));
            Ok(())
        }
        Err(_) => {
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
            eprintln!("xtask: fuzz {target} found something:\n{}", last.join("\n"));
            Err(Failure::new(format!("fuzz {target} found something; see {} and {}", log.display(), found_in(&found))))
        }
    }
}

fn found_in(folder: &Path) -> String {
    let newest = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let time = |path: &PathBuf| fs::metadata(path).and_then(|about| about.modified()).ok();
    newest.max_by_key(time).unwrap_or_else(|| folder.to_owned()).display().to_string()
}

/// How much a run tried, from what libFuzzer says at its end.
fn summary(said: &str) -> String {
    let stat = |name: &str| {
        let line = said.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.map_or("?", |value| value.trim_start_matches(':').trim()).to_owned()
    };
    let covered = said.lines().rev().find_map(|line| line.split(" cov: ").nth(1)?.split(' ').next());
    let (runs, memory) = (stat("number_of_executed_units"), stat("peak_rss_mb"));
    format!("{runs} inputs, {} edges reached, {memory} MiB at most", covered.unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Request, Failure> {
        Request::parse(&arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_a_target_and_a_time() {
        assert_eq!(parse(&[]), Ok(Request { target: None, seconds: 60 }));
        assert_eq!(parse(&["codec", "--seconds", "5"]), Ok(Request { target: Some("codec".to_owned()), seconds: 5 }));
        for wrong in [&["--fast"][..], &["a", "b"], &["--seconds"], &["--seconds", "0"], &["--seconds", "x"]] {
            assert!(matches!(parse(wrong), Err(Failure::Usage(_))), "{wrong:?}");
        }
        assert!(matches!(run(&parse(&["no-such-target"]).unwrap()), Err(Failure::Usage(_))));
    }

    #[test]
    fn every_target_has_seeds() {
        let root = step::root();
        let targets = targets(&root).unwrap();
        assert!(targets.contains(&"codec".to_owned()));
        for target in targets {
            let seeds = root.join("fuzz/seeds").join(&target);
            assert!(seeds.read_dir().is_ok_and(|mut seeds| seeds.next().is_some()), "{target} has none");
        }
    }

    #[test]
    fn the_end_of_a_run_is_understood() {
        let said = "#9 pulse  cov: 71 ft: 9\n#12\tDONE   cov: 82 ft: 94 corp: 3/4b\nstat::number_of_executed_units: 12\n\
                    stat::peak_rss_mb:              40\n";
        assert_eq!(summary(said), "12 inputs, 82 edges reached, 40 MiB at most");
        assert_eq!(summary(""), "? inputs, ? edges reached, ? MiB at most");
    }
}
