//! A process that holds keys and messages leaves no core when it crashes, whatever limit it was started with, and nobody without rights looks into it.
//!
//! Must not know: how core dumps are switched off.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::{fs::MetadataExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::Desk;

const MARK: &str = "zqmark of a core";

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A command with as large cores as there are, and without the rights of root over other processes.
fn exposed(command: &Command) -> Command {
    let raised = r#"ulimit -c unlimited; exec "$@""#;
    let drops = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"];
    // The limit is raised by who may raise it.
    let words = ["-c", raised, "sh"].into_iter().chain(drops.into_iter().filter(|_| is_root()));
    let mut exposed = Command::new("sh");
    exposed.args(words).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => exposed.env(name, value),
            None => exposed.env_remove(name),
        };
    }
    exposed.current_dir(command.get_current_dir().unwrap());
    exposed.stdin(Stdio::piped()).stdout(Stdio::piped());
    exposed
}

/// Whether another process of the same user can look into this one: what a debugger does, and what a core is made of.
fn is_open(folder: &Path, child: &Child) -> bool {
    let mut look = Command::new("cat");
    look.arg(format!("/proc/{}/auxv", child.id())).current_dir(folder);
    let output = exposed(&look).stderr(Stdio::null()).output().unwrap();
    output.status.success() && !output.stdout.is_empty()
}

/// Largest core that a process may leave: the soft and the hard limit.
fn limits(child: &Child) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

/// Crashes it. True: the system made a core.
fn crash(mut child: Child, signal: &str) -> bool {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap();
    assert!(sent.success());
    let status = child.wait().unwrap();
    assert!(status.signal().is_some(), "{status}");
    status.core_dumped()
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Why no program leaves a core here, which a look for cores would prove nothing of. One that waits for its input is no other than ours, but for what ours does.
fn trouble(folder: &Path) -> Option<String> {
    let mut idle = Command::new("cat");
    idle.current_dir(folder);
    let idle = exposed(&idle).spawn().unwrap();
    // When it answers, it is what it was started as.
    let mut stdin = idle.stdin.as_ref().unwrap();
    writeln!(stdin, "a line").unwrap();
    let mut idle = idle;
    let mut line = String::new();
    BufReader::new(idle.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "a line\n");
    if limits(&idle)[0] != "unlimited" {
        let why = format!("the limit of cores is {:?} for all that is started here", limits(&idle));
        // Who sets up a machine for it can raise that; where cores go is the whole machine's.
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "with CI=true nothing may be left out: {why}");
        return Some(why);
    }
    if !is_open(folder, &idle) {
        return Some("no process may look into another one".to_owned());
    }
    (!crash(idle, "ABRT")).then(|| {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        format!("the system makes no cores, with the pattern {}", pattern.trim())
    })
}

#[test]
fn no_core_is_dumped_of_a_program_that_has_a_key() {
    let desk = Desk::new();
    desk.one(&["new", "--key", "k"]);
    let control = desk.path("control");
    fs::create_dir(&control).unwrap();
    let trouble = trouble(&control);
    if let Some(why) = &trouble {
        // What the process set for itself is looked at all the same.
        let _ = writeln!(
            io::stderr(),
            "no_core_is_dumped_of_a_program_that_has_a_key: not all can be looked for here: {why}"
        );
    }
    let before = files(desk.folder.path());
    for signal in ["ABRT", "ILL"] {
        let mut child = exposed(&desk.command(&["append", "k", "--jsonl", "--json"])).spawn().unwrap();
        let message = json!({"role": "user", "content": format!("{MARK} by {signal}")});
        writeln!(child.stdin.as_ref().unwrap(), "{message}").unwrap();
        let mut receipt = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut receipt).unwrap();
        assert!(receipt.contains(r#""durability""#), "it is open and has its keys: {receipt}");
        assert_eq!(limits(&child), ["0", "0"], "{signal}");
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        assert!(status.lines().any(|line| line == "CoreDumping:\t0"), "{status}");
        assert!(!is_open(desk.folder.path(), &child), "{signal}: anybody's debugger sees its keys");
        assert!(!crash(child, signal), "{signal}: a core was made");
        assert_eq!(files(desk.folder.path()), before, "{signal}");
    }
    assert_eq!(desk.texts(&["show", "k"]).len(), 2);
    // Where no core can be looked for, none was found either, which is no figure.
    if trouble.is_none() {
        println!("figure: 2 crashes, no core; of another program 1 core, in {} file", files(&control).len());
    }
}
