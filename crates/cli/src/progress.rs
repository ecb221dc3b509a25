//! How far long work is, on a terminal; and Ctrl-C, which ends it.
//!
//! Must not know: what the work is.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{failure::Failure, output::Output};

/// What is drawn while something is done.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Work of so many pieces.
    pub(crate) fn of(out: &Output, what: &'static str, pieces: u64) -> Self {
        let template = "{msg} {bar:30} {pos}/{len} {per_sec} {eta} left";
        Self::drawn(out, ProgressBar::new(pieces), what, template)
    }

    /// Work whose end is not known.
    pub(crate) fn without_end(out: &Output, what: &'static str) -> Self {
        Self::drawn(out, ProgressBar::new_spinner(), what, "{spinner} {msg} {elapsed}")
    }

    fn drawn(out: &Output, bar: ProgressBar, what: &'static str, template: &str) -> Self {
        if !out.draws_progress() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            return Self(bar);
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Work of so many bytes.
    pub(crate) fn of_bytes(out: &Output, what: &'static str, bytes: u64) -> Self {
        let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        Self::drawn(out, ProgressBar::new(bytes), what, template)
    }

    /// Work of bytes whose number is not known.
    pub(crate) fn of_unknown_bytes(out: &Output, what: &'static str) -> Self {
        Self::drawn(out, ProgressBar::new_spinner(), what, "{spinner} {msg} {bytes} {bytes_per_sec} {elapsed}")
    }

    /// The reader, whose bytes are counted.
    pub(crate) fn reading<R: std::io::Read>(&self, reader: R) -> impl std::io::Read + use<R> {
        self.0.wrap_read(reader)
    }

    /// So much of so much is done.
    pub(crate) fn stand_at(&self, done: u64, total: u64) {
        self.0.set_length(total.max(done));
        self.0.set_position(done);
    }

    /// So many pieces more are done.
    pub(crate) fn advance(&self, pieces: u64) {
        self.0.inc(pieces);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Waits for Ctrl-C. Where the system does not tell, for ever.
pub(crate) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The work's outcome, or that Ctrl-C came first.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        // In this order, so that it is listened for before the work begins.
        biased;
        () = interrupted() => Err(Failure::stopped()),
        outcome = work => outcome,
    }
}

/// Tells work that has something to put in order at its end that Ctrl-C was pressed.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// True when the work should come to its end.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error when the work should come to its end.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.is_asked() { Err(Failure::stopped()) } else { Ok(()) }
    }
}

/// How often what is drawn is brought up to date, and Ctrl-C is passed on.
const TICK: Duration = Duration::from_millis(100);

/// Does work of bytes, draws how far it is, and has it end at Ctrl-C. It is waited for, since it takes away what it began.
pub(crate) async fn drawn<T>(
    out: &Output,
    what: &'static str,
    stands_at: impl Fn() -> (u64, u64),
    stops: impl Fn(),
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let (bar, stop) = (Progress::of_bytes(out, what, 0), Stop::default());
    let ticking = async {
        let mut ticks = tokio::time::interval(TICK);
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                _ = ticks.tick() => {}
            }
            let (done, total) = stands_at();
            bar.stand_at(done, total);
            if stop.is_asked() {
                stops();
            }
        }
    };
    told_of_interrupt(&stop, ticking).await
}

/// As [`unless_interrupted`], for work that must not be broken off: it is told, and waited for.
pub(crate) async fn told_of_interrupt<T>(
    stop: &Stop,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    tokio::select! {
        // From the first moment on, so that nothing is left behind by a Ctrl-C that nobody waits for yet.
        biased;
        () = interrupted() => stop.0.store(true, Ordering::Relaxed),
        outcome = &mut work => return outcome,
    }
    // What a command that was stopped complains of is that it was stopped.
    work.await.map_err(|_| Failure::stopped())
}
