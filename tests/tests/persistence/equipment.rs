//! What a test needs of the machine, and what happens when it is not there.
//!
//! Must not know: what it is needed for.

use std::{
    env,
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sessions_tests::chance::{Chance, SEED};
use tempfile::TempDir;

/// Set in the process that has mounts of its own.
const OWN_MOUNTS: &str = "SESSIONS_TEST_OWN_MOUNTS";

/// The chance of a test, whose seed is printed.
pub(crate) fn chance(test: &str) -> Chance {
    let seed = Chance::seed();
    println!("{test}: {SEED}={seed}");
    Chance::of(seed)
}

/// A folder that is gone afterwards; in memory where there is such a file system, because what is in a page's cache is the same there.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let begun = tempfile::Builder::new().prefix("sessions-test-").tempdir_in(memory);
    begun.or_else(|_| TempDir::new()).unwrap()
}

fn path_of(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(usual).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Whether these programs are there, and can be used.
pub(crate) fn has(test: &str, programs: &[&str], root: bool) -> bool {
    let missing = programs.iter().find(|program| path_of(program).is_none());
    let why = match missing {
        Some(program) => format!("{program} is not installed"),
        None if root && std::fs::metadata("/proc/self").unwrap().uid() != 0 => "only root can do this".to_owned(),
        None if programs.contains(&"strace") && !traces() => "strace may not trace here".to_owned(),
        None => return true,
    };
    // Not by a macro: a test that passes would keep it for itself.
    let _ = writeln!(io::stderr(), "{test} cannot run here: {why}");
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "with CI=true nothing may be left out: {why}");
    false
}

fn traces() -> bool {
    Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success())
}

/// Runs a command to its end, which must be good.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let path = path_of(program).unwrap();
    let output = Command::new(path).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a test in a process of its own that has mounts of its own, so that nothing stays mounted whatever happens. True: we are in it.
pub(crate) fn with_own_mounts(test: &str, programs: &[&str]) -> bool {
    if env::var_os(OWN_MOUNTS).is_some() {
        return true;
    }
    if !has(test, &[&["unshare", "mount", "umount"], programs].concat(), true) {
        return false;
    }
    let output = Command::new(path_of("unshare").unwrap())
        .args(["--mount", "--propagation", "private"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(OWN_MOUNTS, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The harness puts its own words before the first line.
    for line in out.lines().filter_map(|line| line.find(&format!("{test}: ")).and_then(|at| line.get(at..))) {
        println!("{line}");
    }
    let ran = out.contains("1 passed");
    assert!(output.status.success() && ran, "{test}, in a process of its own:\n{out}\n{err}");
    false
}

/// Runs a program so that strace, in the kernel's place, does something else for these system calls: the words that come before the
/// program's own. The program stays our child; strace sets itself beside it.
pub(crate) fn tampered(calls: &str, how: &str) -> Vec<String> {
    recorded(calls, how, Path::new("/dev/null"))
}

/// The same, and keeps what these calls were, with the paths of their files.
pub(crate) fn recorded(calls: &str, how: &str, record: &Path) -> Vec<String> {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{how}"));
    let record = record.to_str().unwrap();
    let words = ["strace", "-D", "-f", "-qq", "-y", "-o", record, "-e", &trace, "-e", &inject];
    let mut words = words.map(str::to_owned).to_vec();
    // Stopping at these calls alone is faster, and does not send signals.
    if !how.starts_with("signal") {
        words.push("--seccomp-bpf".to_owned());
    }
    words
}
