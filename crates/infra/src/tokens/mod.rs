//! The counters that are built in, by the names of their encodings.
//!
//! Must not know: models, messages.

use std::sync::Arc;

use sessions_domain::tokens::ESTIMATE;
use sessions_ports::{Encodings, TokenCounter};

use crate::environment::EstimateCounter;

/// The counters that this build has: [`BuiltInEncodings::names`].
#[derive(Clone, Debug, Default)]
pub struct BuiltInEncodings {}

impl BuiltInEncodings {
    /// All of them.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of the encodings that this build counts in: the estimate, and one for each feature that is switched on.
    pub fn names() -> impl Iterator<Item = &'static str> {
        [ESTIMATE].into_iter()
    }
}

impl Encodings for BuiltInEncodings {
    fn named(&self, name: &str) -> Option<Arc<dyn TokenCounter>> {
        (name == ESTIMATE).then(|| Arc::new(EstimateCounter) as _)
    }
}
