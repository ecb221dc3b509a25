//! Work that goes on beside whoever asked for it: it is counted, so that it can be waited for, and it is told when it is to end.
//!
//! Must not know: what the work is.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sessions_ports::StoreError;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{error::SessionError, manager::SessionManager};

/// Says when everything that runs for a manager is to end: its shutdown has begun, or the last handle to it is gone.
///
/// ```
/// # async fn shown(sessions: sessions_app::SessionManager) -> Result<(), sessions_app::SessionError> {
/// let stopping = sessions.stopping();
/// sessions.spawn(async move { stopping.asked().await });
/// // It has ended when this answers.
/// sessions.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Whether it is to end now.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until it is to end. Cancel-safe.
    pub async fn asked(&self) {
        // The sender goes with the manager.
        let _ = self.0.clone().wait_for(|asked| *asked).await;
    }
}

/// How much of a kind of work runs.
#[derive(Clone, Default)]
struct Running(Arc<Count>);

#[derive(Default)]
struct Count {
    now: AtomicUsize,
    ended: Notify,
}

impl Running {
    fn one_more(&self) -> OneOf {
        self.0.now.fetch_add(1, Ordering::Relaxed);
        OneOf(Arc::clone(&self.0))
    }

    fn count(&self) -> usize {
        self.0.now.load(Ordering::Acquire)
    }

    async fn none(&self) {
        loop {
            let ended = self.0.ended.notified();
            tokio::pin!(ended);
            // It listens before it looks, so no end falls between.
            ended.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Counts as long as it lives.
struct OneOf(Arc<Count>);

impl Drop for OneOf {
    fn drop(&mut self) {
        if self.0.now.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

/// What runs for a manager. It is in no list: what begins and ends with each append costs a count up and one down.
pub(crate) struct Tasks {
    stop: watch::Sender<bool>,
    work: Running,
    commits: Running,
    refuses: AtomicBool,
}

impl Default for Tasks {
    fn default() -> Self {
        let (stop, _) = watch::channel(false);
        Self { stop, work: Running::default(), commits: Running::default(), refuses: AtomicBool::new(false) }
    }
}

impl Tasks {
    /// Says to all that runs that it is to end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// From here on nothing is committed.
    pub(crate) fn refuse(&self) {
        self.refuses.store(true, Ordering::Release);
    }

    /// Waits until all work but commits has ended.
    pub(crate) async fn ended(&self) {
        self.work.none().await;
    }

    /// Waits until nobody listens for a commit any more.
    pub(crate) async fn settled(&self) {
        self.commits.none().await;
    }

    /// How much has not ended.
    pub(crate) fn count(&self) -> usize {
        self.work.count() + self.commits.count()
    }

    /// The same work, counted until it has ended or was dropped.
    pub(crate) fn counted<W: Future + Send>(&self, work: W) -> impl Future<Output = W::Output> + Send + use<W> {
        until_ended(self.work.one_more(), work)
    }

    /// What is left of a commit, counted apart: others may go on appending while work ends.
    pub(crate) fn committing<W: Future + Send>(&self, rest: W) -> impl Future<Output = W::Output> + Send + use<W> {
        until_ended(self.commits.one_more(), rest)
    }
}

async fn until_ended<W: Future>(one: OneOf, work: W) -> W::Output {
    let outcome = work.await;
    drop(one);
    outcome
}

impl SessionManager {
    /// Says when everything that runs for this manager, and for others with its store, is to end.
    pub fn stopping(&self) -> Stopping {
        Stopping(self.tasks().stop.subscribe())
    }

    /// Does something beside the caller, on the runtime that this is called in. [`Self::shutdown`] waits for it, so it is to end soon after
    /// [`Self::stopping`] asks; and as it is to end with the manager, it does not hold a handle to it while it waits.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        tokio::spawn(self.tasks().counted(work))
    }

    /// Refuses what is not to begin any more.
    pub(crate) fn check_going_on(&self) -> Result<(), SessionError> {
        if *self.tasks().stop.borrow() { Err(StoreError::Closed.into()) } else { Ok(()) }
    }

    /// Refuses what is not to be written any more.
    pub(crate) fn check_writable(&self) -> Result<(), SessionError> {
        if self.tasks().refuses.load(Ordering::Acquire) { Err(StoreError::Closed.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_end_hears_of_the_last_one_and_of_what_was_dropped() {
        let tasks = Tasks::default();
        tasks.ended().await;
        let (go, gone) = oneshot::channel::<()>();
        let first = tokio::spawn(tasks.counted(gone));
        let dropped = tasks.counted(std::future::pending::<()>());
        let mut ended = std::pin::pin!(tasks.ended());
        assert!(!is_ready(ended.as_mut()).await);
        assert_eq!(tasks.count(), 2);
        drop(dropped);
        assert!(!is_ready(ended.as_mut()).await);
        go.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert!(is_ready(ended).await);
        assert_eq!(tasks.count(), 0);
    }

    /// Whether a future is ready when it is asked once.
    async fn is_ready(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn all_who_listen_hear_that_it_is_to_end_also_when_nobody_says_it_any_more() {
        let tasks = Tasks::default();
        let (before, gone) = (Stopping(tasks.stop.subscribe()), Stopping(tasks.stop.subscribe()));
        assert!(!before.is_asked());
        tasks.stop();
        before.asked().await;
        assert!(before.is_asked() && Stopping(tasks.stop.subscribe()).is_asked());
        let silent = Tasks::default();
        let left = Stopping(silent.stop.subscribe());
        assert!(!left.is_asked());
        drop(silent);
        left.asked().await;
        assert!(left.is_asked());
        drop(gone);
    }
}
