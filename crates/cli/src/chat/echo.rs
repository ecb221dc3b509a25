//! The modes of the terminal that a chat is held on. It does not show what is typed while an answer comes, which would stand in the midst of it
//! and is read afterwards; and it is as it was found when the chat ends, by a signal too, and while it is suspended.
//!
//! Must not know: what is going on meanwhile.

use std::{
    future::pending,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    process::{Signal, getpgrp, getpid, getsid, kill_process},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use tokio::signal::unix::{self, SignalKind, signal};
use unicode_width::UnicodeWidthStr;

use crate::output::Output;

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
        set(&self.0);
    }
}

fn set(modes: &Termios) {
    // A terminal that went away needs nothing any more.
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
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

/// The line that is being edited.
#[derive(Clone, Debug)]
struct Edited {
    /// The modes that the editor has set.
    modes: Termios,
    text: String,
    /// Columns of it behind the cursor.
    behind: usize,
}

/// The line that is being edited, if one is, for whoever has to draw it again.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Arc<Mutex<Option<Edited>>>);

impl Line {
    /// The editor has this line now, with the cursor at this byte.
    pub(super) fn note(&self, text: &str, at: usize) {
        let modes = tcgetattr(io::stdin()).ok().filter(|modes| !modes.local_modes.contains(LocalModes::ICANON));
        let behind = text.get(at..).map_or(0, UnicodeWidthStr::width);
        self.set(modes.map(|modes| Edited { modes, text: text.to_owned(), behind }));
    }

    /// Nothing is edited any more.
    pub(super) fn end(&self) {
        self.set(None);
    }

    fn set(&self, edited: Option<Edited>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = edited;
    }

    fn now(&self) -> Option<Edited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Wishes that the program be suspended: Ctrl-Z.
pub(super) struct Suspensions(Option<unix::Signal>);

impl Suspensions {
    /// Listens from now on, where there is a terminal: what listens has to stop the program itself.
    pub(super) fn of(found: Option<&Found>) -> Self {
        Self(found.and_then(|_| signal(SignalKind::from_raw(Signal::TSTP.as_raw())).ok()))
    }

    /// Waits for one.
    pub(super) async fn next(&mut self) {
        if let Some(listening) = &mut self.0
            && listening.recv().await.is_some()
        {
            return;
        }
        pending().await
    }
}

/// Stops the program until it is gone on with, with the terminal as it was found. To be called on the program's first thread, which takes the signal
/// before it does anything else.
pub(super) fn suspend(found: &Found, line: &Line, prompt: &str, out: &Output) {
    // Without a shell that made a group of its own for it, nobody would go on with it; the system passes such a wish over too.
    let is_job = getsid(None).is_ok_and(|leader| leader != getpgrp());
    let Some(before) = tcgetattr(io::stdin()).ok().filter(|_| is_job) else { return };
    set(&found.0);
    out.end_edit();
    // Nobody is refused it for himself.
    let _ = kill_process(getpid(), Signal::STOP);
    match line.now() {
        // Its modes as they were noted: the editor may have been about to set them.
        Some(Edited { modes, text, behind }) => {
            set(&modes);
            out.edit_again(prompt, &text, behind);
        }
        None => set(&before),
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
