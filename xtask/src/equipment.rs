//! What the tests need of the machine besides Rust: programs, rights, loop devices, a folder of transcripts. Installs what it may,
//! and names each group of tests that will be skipped with the reason. With `CI=true` a skip is a failure.
//!
//! Must not know: how a test uses what it needs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{self, Failure};

/// The variable that names the folder of real transcripts.
const TEST_DATA: &str = "SESSIONS_TEST_DATA";

const POWER_CUTS: &str = "power cuts and full disks";
const SYSTEM_CALLS: &str = "failing system calls";
const TRANSCRIPTS: &str = "real transcripts";

/// A program, the Debian package that has it, and the tests that use it.
struct Tool {
    program: &'static str,
    package: &'static str,
    tests: &'static str,
}

const TOOLS: [Tool; 6] = [
    Tool { program: "strace", package: "strace", tests: SYSTEM_CALLS },
    Tool { program: "mkfs.ext4", package: "e2fsprogs", tests: POWER_CUTS },
    Tool { program: "losetup", package: "mount", tests: POWER_CUTS },
    Tool { program: "mount", package: "mount", tests: POWER_CUTS },
    Tool { program: "unshare", package: "util-linux", tests: POWER_CUTS },
    Tool { program: "perl", package: "perl", tests: POWER_CUTS },
];

/// Tests that cannot run here.
#[derive(Debug, PartialEq, Eq)]
struct Skip {
    tests: &'static str,
    why: String,
}

/// The variables under which the tests are to run.
pub(crate) type Variables = Vec<(&'static str, PathBuf)>;

/// Gets ready what can be got ready and says what cannot.
pub(crate) fn prepare() -> Result<Variables, Failure> {
    let mut skips = Vec::new();
    let root = is_root();
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !is_installed(tool.program)).collect();
    if root && !missing.is_empty() {
        install(&missing);
    }
    for tool in TOOLS.iter().filter(|tool| !is_installed(tool.program)) {
        skips.push(Skip {
            tests: tool.tests,
            why: format!("{} is not installed (as root: apt-get install {})", tool.program, tool.package),
        });
    }
    skips.extend(refused_by_the_machine(root, &skips));

    let mut variables = Variables::new();
    match data_folder(env::var_os(TEST_DATA).map(PathBuf::from))? {
        Some(folder) => variables.push((TEST_DATA, folder)),
        None => skips.push(Skip { tests: TRANSCRIPTS, why: format!("{TEST_DATA} does not name their folder") }),
    }
    report(&skips, step::is_ci()).map(|()| variables)
}

/// Whether the programs that are there can also do what they are there for.
fn refused_by_the_machine(root: bool, missing: &[Skip]) -> Vec<Skip> {
    let has_all = |tests: &str| missing.iter().all(|skip| skip.tests != tests);
    let mut skips = Vec::new();
    if !root {
        skips.push(Skip { tests: POWER_CUTS, why: "only root may mount a file system and cut its power".to_owned() });
    } else if has_all(POWER_CUTS) {
        if !step::succeeds(command("losetup").arg("--find")) {
            skips.push(Skip { tests: POWER_CUTS, why: "this machine gives no loop device".to_owned() });
        }
        if !step::succeeds(command("unshare").args(["--mount", "true"])) {
            skips.push(Skip { tests: POWER_CUTS, why: "this machine gives no mount namespace".to_owned() });
        }
    }
    if has_all(SYSTEM_CALLS) && !step::succeeds(command("strace").args(["-f", "-o", "/dev/null", "true"])) {
        skips.push(Skip { tests: SYSTEM_CALLS, why: "this machine does not let strace trace".to_owned() });
    }
    skips
}

/// The folder of transcripts as an absolute path, because tests run in the folders of their packages. A name that leads nowhere is a
/// mistake, never a skip.
fn data_folder(named: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let Some(named) = named.filter(|path| !path.as_os_str().is_empty()) else { return Ok(None) };
    match named.canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(Some(folder)),
        _ => {
            Err(Failure::new(format!("{TEST_DATA} names {}, which is no folder: correct or unset it", named.display())))
        }
    }
}

fn report(skips: &[Skip], ci: bool) -> Result<(), Failure> {
    for skip in skips {
        eprintln!("xtask: {} {}: {}", if ci { "cannot run" } else { "skipping" }, skip.tests, skip.why);
    }
    if ci && !skips.is_empty() {
        return Err(Failure::new("with CI=true nothing may be skipped: provide what is missing"));
    }
    Ok(())
}

/// Gets a program that is needed for something else than tests: installs its package where that is allowed. The error says what is missing.
pub(crate) fn get(program: &'static str, package: &'static str) -> Result<(), String> {
    let tool = Tool { program, package, tests: "" };
    if !is_installed(program) && is_root() {
        install(&[&tool]);
    }
    let missing = || format!("{program} is not installed (as root: apt-get install {package})");
    if is_installed(program) { Ok(()) } else { Err(missing()) }
}

/// Tries once; what is still missing afterwards is reported as missing.
fn install(missing: &[&Tool]) {
    if !is_installed("apt-get") {
        return;
    }
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let apt = || {
        let mut apt = command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        apt
    };
    let done = step::run(apt().arg("update"))
        .and_then(|()| step::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&packages)));
    if let Err(failure) = done {
        eprintln!("xtask: {failure}");
    }
}

fn is_root() -> bool {
    // The owner of this process, as the kernel shows it: no need for a library or a program.
    std::fs::metadata("/proc/self").is_ok_and(|about| std::os::unix::fs::MetadataExt::uid(&about) == 0)
}

fn is_installed(program: &str) -> bool {
    step::search_path().iter().any(|folder| folder.join(program).is_file())
}

/// A program of [`TOOLS`], found where [`is_installed`] looks.
fn command(program: &str) -> Command {
    let found = step::search_path().into_iter().map(|folder| folder.join(program)).find(|path| path.is_file());
    Command::new(found.as_deref().unwrap_or(Path::new(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_a_remark_at_home_and_a_failure_in_ci() {
        let skips = [Skip { tests: POWER_CUTS, why: "no root".to_owned() }];
        assert_eq!(report(&skips, false), Ok(()));
        assert!(report(&skips, true).is_err());
        assert_eq!(report(&[], true), Ok(()));
    }

    #[test]
    fn the_data_folder_is_absolute_and_a_wrong_name_is_never_a_skip() {
        assert_eq!(data_folder(None), Ok(None));
        assert_eq!(data_folder(Some(PathBuf::new())), Ok(None));
        let found = data_folder(Some(PathBuf::from("src"))).unwrap().unwrap();
        assert!(found.is_absolute() && found.ends_with("xtask/src"), "{}", found.display());
        assert!(data_folder(Some(PathBuf::from("no-such-folder"))).is_err());
        assert!(data_folder(Some(PathBuf::from("Cargo.toml"))).is_err());
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program"));
    }
}
