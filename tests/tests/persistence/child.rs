//! The process to be killed, and what it says.
//!
//! Must not know: what is done to it, or why.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child as Process, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use sessions_tests::line::{Ack, Line};

const WRITER: &str = env!("CARGO_BIN_EXE_sessions-test-writer");

/// A running process and all it has said so far. It is killed when it is dropped.
pub(crate) struct Child {
    process: Process,
    out: BufReader<ChildStdout>,
    pub(crate) said: Vec<Line>,
    pub(crate) begun: Instant,
}

impl Child {
    /// Starts the process; `under`: the program that runs it, with its arguments, or nothing.
    pub(crate) fn start(under: &[String], mode: &str, paths: &[&Path], settings: &[&str]) -> Self {
        let mut words = under.iter().map(String::as_str).chain([WRITER]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(mode).args(paths).args(settings).stdin(Stdio::piped()).stdout(Stdio::piped());
        let begun = Instant::now();
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out, said: Vec::new(), begun }
    }

    pub(crate) fn append(path: &Path, settings: &[&str]) -> Self {
        Self::start(&[], "append", &[path], settings)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Hears one line; false at the end. A line that was cut off was not said.
    fn hear(&mut self) -> bool {
        let mut text = String::new();
        self.out.read_line(&mut text).unwrap();
        let Some(text) = text.strip_suffix('\n') else { return false };
        self.said.push(Line::read(text).unwrap_or_else(|| panic!("the process said {text:?}")));
        true
    }

    /// Listens until a line is said; false when the process ends before.
    pub(crate) fn hear_until(&mut self, wanted: impl Fn(&Line) -> bool) -> bool {
        while self.hear() {
            if self.said.last().is_some_and(&wanted) {
                return true;
            }
        }
        false
    }

    /// Lets it go on after it said that it stands still.
    pub(crate) fn go(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Kills it after some time and hears what it had still said.
    pub(crate) fn kill_after(&mut self, time: Duration) {
        // This pause is the fault itself: the instant of the kill.
        thread::sleep(time);
        self.kill();
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        while self.hear() {}
        self.process.wait().unwrap();
    }

    /// Hears everything until it ends by itself; true when it came to its own end.
    pub(crate) fn end(&mut self) -> bool {
        while self.hear() {}
        let status = self.process.wait().unwrap();
        status.success() && self.said.last() == Some(&Line::Done)
    }

    pub(crate) fn acks(&self) -> impl Iterator<Item = Ack> {
        self.said.iter().filter_map(|line| match line {
            Line::Acked(ack) => Some(*ack),
            _ => None,
        })
    }

    /// Why writers were refused.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = &str> {
        self.said.iter().filter_map(|line| match line {
            Line::Refused(_, why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// What must not have happened.
    pub(crate) fn wrongs(&self) -> Vec<&Line> {
        self.said.iter().filter(|line| matches!(line, Line::Wrong(_))).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How long a process takes from its start until it says that a store is open.
pub(crate) fn time_to_open(path: &Path) -> Duration {
    let mut child = Child::append(path, &["writers=1", "count=1"]);
    assert!(child.hear_until(|line| matches!(line, Line::Opened(..))), "a store does not open at all");
    let time = child.begun.elapsed();
    assert!(child.end());
    time
}

/// Moves the time within which faults come, so that about half of them come before the store is open, however busy the machine is.
/// 1: this one did.
pub(crate) fn aim(child: &Child, time: &mut Duration) -> usize {
    let early = !child.said.iter().any(|line| matches!(line, Line::Opened(..)));
    *time = if early { *time * 51 / 50 } else { *time * 48 / 50 };
    usize::from(early)
}
