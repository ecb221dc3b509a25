//! Cleaning up again and again, in the background.
//!
//! Must not know: what is cleaned up.

use std::{fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use sessions_domain::{Moment, upkeep};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    cleanup::{CleanupPolicy, CleanupReport, CleanupRun},
    error::SessionError,
    manager::{SessionManager, WeakManager},
    tasks::Stopping,
};

/// From one cleanup to the next, at least.
const SHORTEST: Duration = Duration::from_secs(1);

/// How a cleanup in the background went.
pub type CleanupOutcome = Arc<Result<CleanupReport, SessionError>>;

/// Cleanups that are made in the background until this is dropped or stopped, the manager is shut down, or the last handle to it is gone.
#[must_use = "cleanups end when this is dropped"]
pub struct Cleaning {
    stop: watch::Sender<bool>,
    last: watch::Receiver<Option<CleanupOutcome>>,
    task: Option<JoinHandle<()>>,
}

impl Cleaning {
    /// How the last one went; `None` before the first.
    pub fn last(&self) -> Option<CleanupOutcome> {
        self.last.borrow().clone()
    }

    /// Waits for the next one to end, and gives how it went; `None` when no more are made.
    pub async fn next(&mut self) -> Option<CleanupOutcome> {
        self.last.changed().await.ok()?;
        self.last.borrow_and_update().clone()
    }

    /// Ends them, and waits for what is in hand.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for Cleaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaning").field("last", &self.last()).finish_non_exhaustive()
    }
}

impl SessionManager {
    /// Cleans up in the background, on the runtime that this is called in: now, and then each time the policy's interval has passed. One
    /// that fails is told, and the next is made at its time.
    ///
    /// However far the clock jumps while it goes on, ages are counted by no more than the time that the machine was awake, and an hour.
    ///
    /// # Errors
    /// [`StoreError::Closed`](sessions_ports::StoreError::Closed) once the manager is shut down.
    pub fn start_cleanup(&self, policy: CleanupPolicy) -> Result<Cleaning, SessionError> {
        self.check_going_on()?;
        let (stop, stopped) = watch::channel(false);
        let (told, last) = watch::channel(None);
        let began = (Instant::now(), self.ports().clock.now());
        let rounds = Rounds { manager: self.weak(), policy, stopping: self.stopping(), stopped, began };
        let task = self.spawn(rounds.run(told));
        Ok(Cleaning { stop, last, task: Some(task) })
    }
}

struct Rounds {
    manager: WeakManager,
    policy: CleanupPolicy,
    stopping: Stopping,
    stopped: watch::Receiver<bool>,
    /// When this began, and what the clock said then.
    began: (Instant, Moment),
}

impl Rounds {
    async fn run(self, told: watch::Sender<Option<CleanupOutcome>>) {
        loop {
            let next = Instant::now() + self.policy.interval.max(SHORTEST);
            if self.is_over() {
                return;
            }
            let Some(manager) = self.manager.upgrade() else { return };
            let (began, clock) = self.began;
            let latest = upkeep::later(clock, began.elapsed() + upkeep::BELIEVED);
            let outcome =
                manager.clean_up_until(&self.policy, CleanupRun::Real, Some(latest), &|| self.is_over()).await;
            drop(manager);
            told.send_replace(Some(Arc::new(outcome)));
            if timeout_at(next, self.ended()).await.is_ok() {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stopping.is_asked() || *self.stopped.borrow()
    }

    /// Waits until somebody ends it.
    async fn ended(&self) {
        let mut stopped = self.stopped.clone();
        let (mut stopping, mut stopped) = (pin!(self.stopping.asked()), pin!(stopped.wait_for(|stopped| *stopped)));
        poll_fn(|cx| {
            let is_over = stopping.as_mut().poll(cx).is_ready() || stopped.as_mut().poll(cx).is_ready();
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
