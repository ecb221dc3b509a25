//! When a conversation may be compacted, and when that may be taken away.
//!
//! Must not know: what a summary says.

use super::RuleViolation;
use crate::{
    compaction::{Compacted, InForce, Instructed, Uncompacted},
    event::Event,
    view::View,
};

/// Compacts, as it was planned on `planned`: of two who planned on the same, one wins.
///
/// # Errors
/// [`RuleViolation::CompactionOutdated`] when the conversation is compacted otherwise by now, or what was to be covered is not visible any more.
pub fn compact(view: &View, planned: InForce, compacted: Compacted) -> Result<Event, RuleViolation> {
    let ends = [compacted.covers.as_ref().map(|covers| covers.to), compacted.shortens.map(|shortens| shortens.to)];
    let is_visible = |to: u64| view.tree().is_visible(to, view.head());
    if view.compacted_now() != planned || !ends.into_iter().flatten().all(is_visible) {
        return Err(RuleViolation::CompactionOutdated);
    }
    Ok(Event::Compacted(Box::new(compacted)))
}

/// Takes the newest compaction that applies away.
///
/// # Errors
/// [`RuleViolation::NotCompacted`].
pub fn uncompact(view: &View) -> Result<Event, RuleViolation> {
    let compaction = view.compacted_now().newest.ok_or(RuleViolation::NotCompacted)?;
    Ok(Event::Uncompacted(Uncompacted { compaction }))
}

/// States what the model is told before all else; `None` when that is what it is told already.
pub fn instruct(now: Option<&str>, text: Option<String>) -> Option<Event> {
    let text = text.filter(|text| !text.trim().is_empty());
    (now != text.as_deref()).then_some(Event::Instructed(Instructed { text }))
}
