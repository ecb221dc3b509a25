//! The modes of the terminal that a chat is held on. It does not show what is typed while an answer comes, which would stand in the midst of it
//! and is read afterwards; and it is as it was found when the chat ends, by a signal too.
//!
//! Must not know: what is going on meanwhile.

use std::{future::pending, io};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// The modes of the terminal of standard input, which it has again when this is dropped.
pub(super) struct Found(Termios);

impl Found {
    /// `None`: there is no terminal.
    pub(super) fn now() -> Option<Self> {
        tcgetattr(io::stdin()).ok().map(Self)
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        // A terminal that went away needs nothing any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// The terminal is quiet as long as this is held.
pub(super) struct Quiet(#[expect(dead_code, reason = "held for what its drop does")] Found);

impl Quiet {
    /// Quiets the terminal of standard input; `None`: it is none, or it cannot be.
    pub(super) fn begin() -> Option<Self> {
        let found = Found::now()?;
        let mut quiet = found.0.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet).ok()?;
        Some(Self(found))
    }
}

/// Waits for a signal that ends the program, and gives the exit code that shells have for it. Where the system does not tell, for ever.
pub(super) async fn ended() -> u8 {
    let kinds = [SignalKind::hangup(), SignalKind::quit(), SignalKind::terminate()];
    let [Ok(mut hangup), Ok(mut quit), Ok(mut terminate)] = kinds.map(signal) else { return pending().await };
    let kind = tokio::select! {
        _ = hangup.recv() => SignalKind::hangup(),
        _ = quit.recv() => SignalKind::quit(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    u8::try_from(kind.as_raw_value()).map_or(u8::MAX, |number| number.saturating_add(128))
}
