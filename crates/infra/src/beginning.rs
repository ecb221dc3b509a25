//! What stands for a session's lost beginning: it is named as the session's row still says.
//!
//! Must not know: stores, or how a beginning was lost.

use sessions_domain::{Created, Described, Origin, Stamp, SummaryWords};

/// A beginning with the names that a session's words have. `stamp` gets their tenant.
pub(crate) fn named(created: Created, stamp: &mut Stamp, words: &SummaryWords) -> Created {
    stamp.actor.tenant.clone_from(&words.tenant);
    let described = Described {
        title: words.title.clone(),
        description: words.description.clone(),
        tags: (!words.tags.is_empty()).then(|| words.tags.clone()),
    };
    let origin = Origin { creator: words.creator.clone(), cwd: words.cwd.clone(), ..Origin::default() };
    Created { key: words.key.clone(), described, origin, ..created }
}
