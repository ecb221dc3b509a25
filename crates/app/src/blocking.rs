//! Work that takes a processor for a while goes beside the runtime's threads.
//!
//! Must not know: what is done there.

use crate::error::SessionError;

/// More text than this is counted, shaped or compared beside the runtime, in bytes.
const AT_ONCE: usize = 64 << 10;

/// Does work beside the runtime.
pub(crate) async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SessionError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SessionError::BrokenOff)
}

/// Does work on so many bytes of text: at once where they are few.
pub(crate) async fn off_if_large<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SessionError> {
    if bytes <= AT_ONCE { Ok(work()) } else { off_the_runtime(work).await }
}
