//! Compactions that were refused because of what their summary was or would win, so that nobody pays for the same refusal at each turn.
//!
//! Must not know: who writes summaries, or where it is kept.

use std::sync::Arc;

use sessions_domain::{
    compaction::{CompactionPolicy, InForce},
    context::Budget,
    profile::ModelProfile,
};

/// So many are remembered of one session: one for each model and policy that somebody goes on with.
const MOST: usize = 8;

/// What was to be compacted: for which model, by which policy, behind which compaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    pub(super) profile: Option<Arc<ModelProfile>>,
    pub(super) policy: CompactionPolicy,
    pub(super) target: Option<Budget>,
    pub(super) in_force: InForce,
    /// Who was to write the summary.
    pub(super) summarizer: String,
}

/// The attempts that came to nothing, each with the tokens of the context then, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Vec<(Attempt, u64)>);

impl Refusals {
    /// The tokens at which the same was refused.
    pub(crate) fn of(&self, attempt: &Attempt) -> Option<u64> {
        self.0.iter().find(|(refused, _)| refused == attempt).map(|(_, tokens)| *tokens)
    }

    /// Notes that an attempt was refused at so many tokens.
    pub(crate) fn note(&mut self, attempt: Attempt, tokens: u64) {
        let of = |attempt: &Attempt| (attempt.profile.clone(), attempt.policy, attempt.summarizer.clone());
        let is_another = |refused: &Attempt| of(refused) != of(&attempt);
        self.0.retain(|(refused, _)| is_another(refused));
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push((attempt, tokens));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(threshold_percent: u8) -> Attempt {
        let policy = CompactionPolicy { threshold_percent, ..CompactionPolicy::default() };
        Attempt { profile: None, policy, target: None, in_force: InForce::default(), summarizer: String::new() }
    }

    #[test]
    fn the_newest_refusal_of_each_policy_counts_and_few_are_kept() {
        let mut refusals = Refusals::default();
        refusals.note(attempt(1), 10);
        refusals.note(attempt(2), 20);
        refusals.note(attempt(1), 30);
        assert_eq!(
            (refusals.of(&attempt(1)), refusals.of(&attempt(2)), refusals.of(&attempt(3))),
            (Some(30), Some(20), None)
        );
        let behind = Attempt { in_force: InForce { newest: Some(7), ..InForce::default() }, ..attempt(1) };
        assert_eq!(refusals.of(&behind), None, "a compaction since then makes another context of it");
        (10..20).for_each(|percent| refusals.note(attempt(percent), 1));
        assert_eq!((refusals.0.len(), refusals.of(&attempt(1)), refusals.of(&attempt(19))), (MOST, None, Some(1)));
    }
}
