//! Work of a host's that may panic, which is to be told and not to end what waits for it.
//!
//! Must not know: whose work it is, or what becomes of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// The work panicked.
pub(crate) struct Panicked;

/// Does the work, and tells when it panics. It is not polled again then, so nobody sees what it left in disorder.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}
