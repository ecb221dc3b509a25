//! An alarm that does not hang on the runtime: where a tool blocks a thread, nobody may be left to look at the runtime's clock.
//!
//! Must not know: what it is for.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

/// The thread only waits.
const STACK: usize = 64 << 10;

/// Goes off after a while. Dropping it turns it off.
pub(super) struct Alarm {
    rings: oneshot::Receiver<()>,
    _off: mpsc::Sender<()>,
}

impl Alarm {
    /// One for this while; `None` where there is no thread for it.
    pub(super) fn after(time: Duration) -> Option<Self> {
        let (off, is_off) = mpsc::channel::<()>();
        let (ring, rings) = oneshot::channel();
        let waits = move || {
            if is_off.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                // Nobody may wait for it any more.
                let _ = ring.send(());
            }
        };
        thread::Builder::new().name("sessions-alarm".to_owned()).stack_size(STACK).spawn(waits).ok()?;
        Some(Self { rings, _off: off })
    }

    /// Waits until it goes off.
    pub(super) async fn rings(&mut self) {
        if (&mut self.rings).await.is_err() {
            std::future::pending().await
        }
    }
}
