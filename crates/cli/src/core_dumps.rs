//! No core file is written of this program: what it has in memory are keys, passphrases and messages.
//!
//! Must not know: where keys come from, or when they are needed.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Switches core dumps off for this process and all that it starts, for good: the hard limit goes too.
///
/// # Errors
/// The system's, which lets everybody lower a limit of their own.
pub(crate) fn forbid() -> io::Result<()> {
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}
