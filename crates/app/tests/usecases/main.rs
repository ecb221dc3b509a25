//! Use cases over a store in memory that is made to fail, to wait or to be written by somebody else.
//!
//! Must not know: other stores.

#[cfg(test)]
mod cleanup;
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod compactions_asked;
#[cfg(test)]
mod compactions_told;
#[cfg(test)]
mod contexts;
#[cfg(test)]
mod contexts_again;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod in_flight;
#[cfg(test)]
mod instructions;
#[cfg(test)]
mod lanes;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod names;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod ranges;
#[cfg(test)]
mod rivals;
#[cfg(test)]
mod sealed;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod stale;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod turns_beside;
#[cfg(test)]
mod turns_long;
#[cfg(test)]
mod turns_resumed;
#[cfg(test)]
mod turns_told;
#[cfg(test)]
mod usage;
