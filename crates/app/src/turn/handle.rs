//! A turn that runs, as whoever started it holds it: what happens in it, how to stop it, and what comes of it.
//!
//! Must not know: what a turn does.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::outcome::{TurnEvent, TurnOutcome};
use crate::{error::SessionError, manager::SessionManager};

/// Events that wait for whoever takes them. When there are more, the turn waits.
const WAITING: usize = 64;

/// A turn that runs. Who stops it holds it for a moment too, so that it is over is said apart.
#[derive(Debug)]
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    over: watch::Sender<bool>,
}

/// A turn's place in its session: when this goes, another one may run there.
pub(super) struct Place(Arc<Running>);

impl Place {
    pub(super) fn of(running: &Arc<Running>) -> Self {
        Self(Arc::clone(running))
    }

    pub(super) fn running(&self) -> Arc<Running> {
        Arc::clone(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Running {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { stop: watch::Sender::new(false), over: watch::Sender::new(false) })
    }

    /// Notes that it is over.
    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until it is over.
    pub(super) async fn ended(&self) {
        // The sender is held here, so it does not go away.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until somebody stops it.
    pub(super) async fn stopped(&self) {
        // The sender is held here, so it does not go away.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

/// Stops a turn. Clones stop the same one; when it is over, nothing happens.
#[derive(Clone, Debug)]
pub struct Canceller(Weak<Running>);

impl Canceller {
    /// Stops the turn: the request to the model ends, tools that run are ended, and what came of the answer is kept.
    /// [`Turn::outcome`] tells when that is done.
    pub fn cancel(&self) {
        if let Some(running) = self.0.upgrade() {
            running.stop();
        }
    }
}

/// A turn that was started. It runs by itself; dropping this stops it, unless it was let go of ([`Self::detach`]).
#[must_use = "dropping a turn stops it"]
pub struct Turn {
    canceller: Canceller,
    events: mpsc::Receiver<TurnEvent>,
    task: Option<JoinHandle<Result<TurnOutcome, SessionError>>>,
}

impl Turn {
    pub(super) fn start<W>(
        running: &Arc<Running>,
        manager: &SessionManager,
        work: impl FnOnce(mpsc::Sender<TurnEvent>) -> W,
    ) -> Self
    where
        W: Future<Output = Result<TurnOutcome, SessionError>> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(WAITING);
        let task = manager.spawn(work(sender));
        Self { canceller: Canceller(Arc::downgrade(running)), events, task: Some(task) }
    }

    /// What happens next; `None`: the turn is over. As long as somebody asks, the turn waits for him when he is slow.
    pub async fn next_event(&mut self) -> Option<TurnEvent> {
        self.events.recv().await
    }

    /// Stops it from elsewhere.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Waits for its end. Events that nobody took are dropped. Dropping the future stops the turn.
    ///
    /// # Errors
    /// As [`crate::Session::send_message`].
    pub async fn outcome(mut self) -> Result<TurnOutcome, SessionError> {
        self.events.close();
        while self.events.try_recv().is_ok() {}
        let Some(task) = &mut self.task else { return Err(SessionError::BrokenOff) };
        task.await.unwrap_or(Err(SessionError::BrokenOff))
    }

    /// Lets it run to its end with nobody listening.
    pub fn detach(mut self) {
        self.task = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.task.is_some() {
            self.canceller.cancel();
        }
    }
}

/// Does work unless something else is ready first; the work is then dropped.
pub(super) async fn unless<T, S>(work: impl Future<Output = T>, stopped: impl Future<Output = S>) -> Result<T, S> {
    let (mut work, mut stopped) = (pin!(work), pin!(stopped));
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => stopped.as_mut().poll(context).map(Err),
    })
    .await
}
