//! No core file is written of this program, and no other program of the same person looks into it: what it has in memory are keys, passphrases and messages.
//!
//! Must not know: where keys come from, or when they are needed.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Switches core dumps off for this process and all that it starts, for good: the hard limit goes too.
/// For this process alone it also says that it must not be dumped: a program that the system pipes cores into is told no limit it would have to keep.
///
/// # Errors
/// The system's, which lets everybody lower a limit of their own. What one of the two is refused for does not keep the other from being tried.
pub(crate) fn forbid() -> io::Result<()> {
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let told = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    limited.and(told).map_err(io::Error::from)
}
