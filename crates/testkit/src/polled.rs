//! Futures that are polled by hand, because what a store promises begins with the first poll.
//!
//! Must not know: stores.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::suite::Exception;

/// When something that nothing stands in the way of any more counts as lost. Far above what any store needs.
const LOST: Duration = Duration::from_secs(10);

/// The answer of something that nothing stands in the way of any more.
pub(crate) async fn due<T>(future: impl Future<Output = T>, what: &str) -> Result<T, Exception> {
    let lost = |_| Exception::broken(format!("{what} was never answered"));
    tokio::time::timeout(LOST, future).await.map_err(lost)
}

/// A future that has been polled once.
pub struct Started<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    done: Option<T>,
}

impl<'a, T> Started<'a, T> {
    /// Polls a future once.
    pub fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        let mut future: Pin<Box<dyn Future<Output = T> + Send + 'a>> = Box::pin(future);
        let done = match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        };
        Self { future, done }
    }

    /// True when the first poll gave the answer.
    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// The answer.
    pub async fn finish(self) -> T {
        match self.done {
            Some(output) => output,
            None => self.future.await,
        }
    }
}

impl<T> fmt::Debug for Started<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").field("done", &self.is_done()).finish_non_exhaustive()
    }
}
