//! `cargo xtask test`: every test of the workspace, or those of one area.
//!
//! Must not know: what the tests test.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};

use crate::area::Area;
use crate::equipment;
use crate::step::{self, Failure};

/// Compacts with a model that somebody runs on this machine.
const REAL_MODEL: &str = "sessions-test-real-model";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    area: Option<Area>,
    real_model: bool,
}

impl Request {
    /// Reads the arguments behind `test`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut request = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--real-model" => request.real_model = true,
                option if option.starts_with('-') => {
                    return Err(Failure::Usage(format!("test has no option {option}")));
                }
                name if request.area.is_none() => request.area = Some(Area::named(name)?),
                _ => return Err(Failure::Usage("test takes one area at a time".to_owned())),
            }
        }
        if request.real_model && request.area.is_some() {
            return Err(Failure::Usage("test takes an area or --real-model".to_owned()));
        }
        Ok(request)
    }
}

/// Runs the tests that were asked for, all of them even when one fails, and fails when one did or when an area has none.
pub(crate) fn run(request: &Request) -> Result<(), Failure> {
    if request.real_model {
        return step::run(step::cargo().args(["run", "--quiet", "--package", "sessions-tests", "--bin", REAL_MODEL]));
    }
    let variables = equipment::prepare()?;
    let mut passed = 0;
    let mut failures = Vec::new();
    for arguments in passes(request.area.as_ref())? {
        let mut cargo = step::cargo();
        cargo.args(["test", "--workspace", "--all-features", "--no-fail-fast"]).args(arguments);
        cargo.envs(variables.iter().map(|(name, value)| (name, value)));
        match counted(&mut cargo, io::stdout()) {
            Ok(more) => passed += more,
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    match &request.area {
        _ if !failures.is_empty() => Err(Failure::new(failures.join("; "))),
        Some(area) if passed == 0 => Err(Failure::new(format!("no test ran: there is no area {area}"))),
        _ => Ok(()),
    }
}

/// The runs of cargo that together run each wanted test once: those in modules of the area's name, and then the rest of the test
/// file of that name, whose tests carry no module's name.
fn passes(area: Option<&Area>) -> Result<Vec<Vec<String>>, Failure> {
    // Cargo's own output is piped through us, so a terminal has to be passed on by word.
    let colour = if io::stdout().is_terminal() { "--color=always" } else { "--color=never" };
    let Some(area) = area else { return Ok(vec![vec!["--".to_owned(), colour.to_owned()]]) };
    let name = area.to_string();
    let mut passes = vec![vec!["--".to_owned(), colour.to_owned(), name.clone()]];
    if area.has_a_file(&step::root())? {
        passes.push(["--test", &name, "--", colour, "--skip", &name].map(str::to_owned).to_vec());
    }
    Ok(passes)
}

/// Runs cargo test, hands its output on as it comes, and counts the tests that passed.
fn counted(cargo: &mut Command, to: impl Write) -> Result<u64, Failure> {
    let line = step::line_of(cargo);
    eprintln!("$ {line}");
    let unreadable = |error: io::Error| Failure::new(format!("the output of `{line}` cannot be passed on: {error}"));
    let mut child = match cargo.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return step::verdict(&line, Err(error)).map(|()| 0),
    };
    let passed = match child.stdout.take() {
        Some(output) => pass_through(BufReader::new(output), to).map_err(unreadable),
        None => Ok(0),
    };
    step::verdict(&line, child.wait())?;
    passed
}

/// Copies byte by byte what it reads, at once, and adds up what libtest's closing lines say.
fn pass_through(mut from: impl BufRead, mut to: impl Write) -> io::Result<u64> {
    let mut passed = 0;
    let mut line = Vec::new();
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            return Ok(passed + passed_in(&line));
        }
        to.write_all(piece)?;
        to.flush()?;
        let mut lines = piece.split(|byte| *byte == b'\n');
        line.extend_from_slice(lines.next().unwrap_or_default());
        for next in lines {
            passed += passed_in(&line);
            line.clear();
            line.extend_from_slice(next);
        }
        let length = piece.len();
        from.consume(length);
    }
}

/// The count in `test result: ok. 12 passed; 0 failed; …`; 0 for any other line.
fn passed_in(line: &[u8]) -> u64 {
    let line = String::from_utf8_lossy(line);
    if !line.starts_with("test result: ") {
        return 0;
    }
    let count = line.split_once(" passed;").and_then(|(before, _)| before.rsplit(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Request, Failure> {
        Request::parse(&arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_an_area_or_one_option() {
        assert_eq!(parse(&[]), Ok(Request::default()));
        let area = Some(Area::named("persistence").unwrap());
        assert_eq!(parse(&["persistence"]), Ok(Request { area, real_model: false }));
        assert_eq!(parse(&["--real-model"]), Ok(Request { area: None, real_model: true }));
        for wrong in [&["--fast"][..], &["a", "b"], &["../x"], &[""], &["persistence", "--real-model"]] {
            assert!(matches!(parse(wrong), Err(Failure::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn output_passes_unchanged_and_is_counted_wherever_it_is_cut() {
        let output = "running 2 tests\ntest a ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored\n\
             test result: \u{1b}[32mok\u{1b}[m. 40 passed; 0 failed\nsaid: test result: ok. 9 passed;\n\
             test result: FAILED. 1 passed; 1 failed";
        for capacity in 1..64 {
            let mut copy = Vec::new();
            let passed = pass_through(BufReader::with_capacity(capacity, output.as_bytes()), &mut copy).unwrap();
            assert_eq!((passed, copy.as_slice()), (43, output.as_bytes()), "capacity {capacity}");
        }
    }

    #[test]
    fn a_failing_test_run_fails() {
        assert!(counted(Command::new("sh").args(["-c", "exit 101"]), io::sink()).is_err());
        let two = counted(Command::new("sh").args(["-c", "echo 'test result: ok. 2 passed; 0 failed'"]), io::sink());
        assert_eq!(two, Ok(2));
    }
}
