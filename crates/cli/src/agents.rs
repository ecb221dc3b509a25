//! Where other programs keep their sessions on this machine.
//!
//! Must not know: what is in them.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use sessions_api::Format;

use crate::failure::Failure;

/// A program whose sessions can be imported.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Agent {
    /// Claude Code
    ClaudeCode,
    /// Codex
    Codex,
    /// pi
    Pi,
}

impl Agent {
    /// The format of its files.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::ClaudeCode => Format::ClaudeCode,
            Self::Codex => Format::Codex,
            Self::Pi => Format::Pi,
        }
    }

    /// The folders that it keeps sessions in, as far as they are there: where its own variable says, or else below the home directory.
    pub(crate) fn folders(self) -> Result<Vec<PathBuf>, Failure> {
        let (variable, below_home, within): (_, &[&str], &[&str]) = match self {
            Self::ClaudeCode => ("CLAUDE_CONFIG_DIR", &[".claude", ".config/claude"], &["projects"]),
            Self::Codex => ("CODEX_HOME", &[".codex"], &["sessions", "archived_sessions"]),
            Self::Pi => ("PI_CODING_AGENT_DIR", &[".pi/agent"], &["sessions"]),
        };
        let home = env::var_os(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).map(PathBuf::from);
        let roots = match env::var_os(variable).filter(|given| !given.is_empty()) {
            Some(given) => vec![expanded(Path::new(&given), home.as_deref())],
            None => below_home.iter().filter_map(|below| Some(home.as_ref()?.join(below))).collect(),
        };
        let folders: Vec<PathBuf> = roots
            .iter()
            .flat_map(|root| within.iter().map(|name| root.join(name)))
            .filter(|path| path.is_dir())
            .collect();
        if folders.is_empty() {
            let places: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
            let hint = format!("{variable} may name another folder, or name the files themselves: import FOLDER");
            let what =
                format!("no sessions of {} are kept on this machine (looked in {})", self.format(), places.join(", "));
            return Err(Failure::not_found(&what, &hint));
        }
        Ok(folders)
    }
}

/// A path that may begin with the home directory's short name.
fn expanded(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}
