//! What is asked of everything that reads bytes which others wrote: no panic, bounded memory, and what was understood survives being
//! written and read again.
//!
//! Must not know: how bytes are made up.

pub mod answers;
pub mod backup;
pub mod codec;
pub mod import;
pub mod log;
pub mod snapshot;
pub mod words;
