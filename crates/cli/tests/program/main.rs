//! The program from outside: its words, JSON and exit codes, through the real binary and the default store.
//!
//! Must not know: the program's insides.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets what it does not expect has failed"
)]

mod program_audit;
mod program_backup;
mod program_canary;
mod program_chat;
mod program_cleanup;
mod program_config;
#[cfg(test)]
mod program_context;
mod program_core;
mod program_damage;
mod program_help;
mod program_history;
mod program_keys;
mod program_life;
mod program_lines;
mod program_once;
mod program_processes;
mod program_refusals;
mod program_shapes;
mod program_streaming;
mod program_terminal;
mod program_transfer;
mod program_trash;
#[cfg(test)]
mod program_typed;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a store of its own, and the program to use it.
struct Desk {
    folder: TempDir,
    is_plain: bool,
}

/// What a run of the program left.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), is_plain: false }
    }

    /// One with a plain store, for a test that looks for words in its files.
    fn plain() -> Self {
        Self { is_plain: true, ..Self::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    fn url(&self) -> String {
        format!("sled:{}", self.store().display())
    }

    /// The program with this desk's store, ready to be started.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(Path::new(env!("CARGO_BIN_EXE_sessions")));
        command.env("SESSIONS_STORE", self.url()).current_dir(self.folder.path());
        command.args(self.is_plain.then_some("--plain")).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// Runs with this on standard input.
    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        finish(self.command(arguments), input)
    }

    /// Runs a command that must succeed, and gives its lines of JSON.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.lines()
    }

    /// Runs a command that must succeed with one line of JSON.
    fn one(&self, arguments: &[&str]) -> Value {
        let mut lines = self.json(arguments);
        assert_eq!(lines.len(), 1, "{arguments:?}: {lines:?}");
        lines.remove(0)
    }

    /// A session with the key `k` and these messages, user and assistant in turn.
    fn talk(&self, texts: &[&str]) {
        self.one(&["new", "--key", "k"]);
        for (at, text) in texts.iter().enumerate() {
            let role = if at % 2 == 0 { "user" } else { "assistant" };
            self.one(&["append", "k", "--role", role, text]);
        }
    }

    fn texts(&self, arguments: &[&str]) -> Vec<String> {
        let text = |message: &Value| message["parts"][0]["text"].as_str().unwrap_or_default().to_owned();
        self.json(arguments).iter().map(text).collect()
    }
}

/// The program without anything of the environment that it reads.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_remove("SESSIONS_STORE").env_remove("XDG_DATA_HOME");
    for name in ["SESSIONS_PASSPHRASE", "SESSIONS_NEW_PASSPHRASE", "SESSIONS_KEY_FILE", "SESSIONS_VAULT", "VAULT_TOKEN"]
    {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", configuration());
    command
}

/// Stores are sealed by default, with one key file for all desks of a run.
fn configuration() -> &'static Path {
    static CONFIGURATION: OnceLock<TempDir> = OnceLock::new();
    CONFIGURATION.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn finish(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // On a thread of its own, since a program that answers before it has read all would wait for us, and we for it.
    let writer = std::thread::spawn(move || {
        // A program that does not read its input may be gone already.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ran {
    fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The error on standard error, which must be JSON, with a kind and a message.
    #[track_caller]
    fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        let json: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON on stderr: {self:?}"));
        let error = json["error"].clone();
        assert!(error["kind"].is_string() && error["message"].is_string(), "{self:?}");
        error
    }

    /// Asserts an error of this kind, with a hint, and this exit code.
    #[track_caller]
    fn refused(&self, code: i32, kind: &str) -> Value {
        let error = self.error();
        assert_eq!((self.code, error["kind"].as_str()), (code, Some(kind)), "{self:?}");
        assert!(error["hint"].is_string(), "no hint: {self:?}");
        error
    }
}

/// The names of an object's fields.
#[track_caller]
fn has_fields(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value.get(*name).is_some(), "{name} is missing in {value}");
    }
}
