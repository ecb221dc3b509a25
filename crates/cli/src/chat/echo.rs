//! A terminal that does not show what is typed while an answer comes: it would stand in the midst of it. What was typed is read afterwards.
//!
//! Must not know: what is going on meanwhile.

use std::io;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal is quiet as long as this is held.
pub(super) struct Quiet(Termios);

impl Quiet {
    /// Quiets the terminal of standard input; `None`: it is none, or it cannot be.
    pub(super) fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that went away needs nothing any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
