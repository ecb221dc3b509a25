//! The end of a manager: what runs is told to end and waited for, and what was written is written out.
//!
//! Must not know: what runs.

use std::time::Duration;

use serde::Serialize;

use crate::{error::SessionError, manager::SessionManager};

/// [`SessionManager::close`] waits so long for what runs.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a shutdown went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[must_use = "what did not end in time goes on beside a closed store"]
pub struct Shutdown {
    /// So much of what ran had not ended at the deadline. Nothing that was acknowledged is lost by it.
    pub unfinished: usize,
}

impl SessionManager {
    /// Ends everything: what runs in the background and messages that arrive are told to end and waited for until the deadline, everything is
    /// written out, and the store is released. It is the end of managers for other actors too, which share the store.
    ///
    /// From the first moment no session is opened or made, and nothing that runs on is begun: that is refused as [`StoreError::Closed`]. What handles
    /// append is taken and acknowledged until all that runs has ended, and refused so from then on. A message that a host is still writing keeps
    /// what was gathered of it, and reads as partial until its session's next writer ends it.
    ///
    /// The deadline is for what runs. Writing out what was acknowledged takes as long as it takes. Asked for again, it waits as well.
    ///
    /// [`StoreError::Closed`]: sessions_ports::StoreError::Closed
    ///
    /// # Errors
    /// The store's.
    pub async fn shutdown(&self, deadline: Duration) -> Result<Shutdown, SessionError> {
        let tasks = self.tasks();
        tasks.stop();
        let is_late = !in_time(deadline, tasks.ended()).await;
        tasks.refuse();
        let closed = self.ports().store.close().await;
        // What was on its way is through or has failed by now, and whoever listens for it has only to hear it.
        let is_late = !in_time(if is_late { Duration::ZERO } else { deadline }, tasks.settled()).await || is_late;
        closed?;
        Ok(Shutdown { unfinished: if is_late { tasks.count() } else { 0 } })
    }

    /// [`Self::shutdown`] with a deadline of 30 seconds. Handles answer errors afterwards.
    ///
    /// # Errors
    /// The store's.
    pub async fn close(&self) -> Result<(), SessionError> {
        self.shutdown(DEADLINE).await.map(|_| ())
    }
}

/// Whether something is over before a deadline. What is over already needs no clock, which a host's runtime may not have.
async fn in_time(deadline: Duration, over: impl Future<Output = ()>) -> bool {
    let mut over = std::pin::pin!(over);
    let is_over = std::future::poll_fn(|cx| std::task::Poll::Ready(over.as_mut().poll(cx).is_ready())).await;
    is_over || tokio::time::timeout(deadline, over).await.is_ok()
}
