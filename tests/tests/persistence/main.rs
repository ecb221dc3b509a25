//! What is promised must hold whatever happens to the process, the power, the disk and its space: the default store under real faults.
//!
//! Each test prints its seed and takes one from `SESSIONS_SEED`. One that cannot run here says so in a line, and fails when `CI=true`.
//!
//! Must not know: the store's inside; it sees what a process was promised and what the next one finds.

#[cfg(test)]
mod backup_full;
#[cfg(test)]
mod child;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod disk_full;
#[cfg(test)]
mod equipment;
#[cfg(test)]
mod found;
#[cfg(test)]
mod full_log;
#[cfg(test)]
mod inheritance;
#[cfg(test)]
mod inside;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod large_body;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod power;
#[cfg(test)]
mod removed;
#[cfg(test)]
mod rewritten;
#[cfg(test)]
mod sealed_in_place;
#[cfg(test)]
mod space;
#[cfg(test)]
mod sync_failure;
#[cfg(test)]
mod torn;
