//! What to compact: a pure policy over what messages weigh.
//!
//! Results of tools are shortened first. When that is not enough, a summary stands for all but the newest turns.
//!
//! Must not know: what messages say, or who writes summaries.

use serde::{Deserialize, Serialize};

/// How a conversation is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionPolicy {
    /// The share of what a context may hold at which it is compacted, in percent.
    pub threshold_percent: u8,
    /// The share that it is brought down to, in percent.
    pub target_percent: u8,
    /// The share of that which the newest turns keep, in percent: what is not summarised.
    pub tail_percent: u8,
    /// What is left of an old result of a tool, in bytes.
    pub keep_result_bytes: u64,
    /// The longest summary, in tokens.
    pub summary_tokens: u64,
    /// What must be won by it, in percent of the tokens before.
    pub gain_percent: u8,
}

impl Default for CompactionPolicy {
    /// At 80 % of what a context may hold, down to half of it; as much of it as three quarters is kept as it was said; 400 bytes of each old result; a summary of at
    /// most 4 000 tokens; at least 5 % won.
    fn default() -> Self {
        Self {
            threshold_percent: 80,
            target_percent: 50,
            tail_percent: 75,
            keep_result_bytes: 400,
            summary_tokens: 4_000,
            gain_percent: 5,
        }
    }
}

impl CompactionPolicy {
    /// The same at another threshold: where what it is brought down to would be above five eighths of that, it is these, so that a
    /// compaction that is due always has something to do.
    #[must_use]
    pub fn at(self, threshold_percent: u8) -> Self {
        let most = u8::try_from(u16::from(threshold_percent) * 5 / 8).unwrap_or(u8::MAX);
        Self { threshold_percent, target_percent: self.target_percent.min(most), ..self }
    }

    /// Whether a context of so many tokens is to be compacted, of which `usable` may be used.
    pub fn is_due(&self, tokens: u64, usable: u64) -> bool {
        tokens >= share(usable, self.threshold_percent)
    }

    /// The tokens that a context is brought down to.
    pub fn target(&self, usable: u64) -> u64 {
        share(usable, self.target_percent)
    }

    /// Whether so little is left that it was worth it.
    pub fn is_gain(&self, before: u64, after: u64) -> bool {
        before.checked_sub(share(before, self.gain_percent).max(1)).is_some_and(|most| after <= most)
    }
}

/// A share of a number, in percent, rounded down.
fn share(of: u64, percent: u8) -> u64 {
    u64::try_from(u128::from(of) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// A message with the results of its calls, as a plan sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// The first record.
    pub first: u64,
    /// The last record.
    pub last: u64,
    /// Its tokens as it is sent now.
    pub tokens: u64,
    /// Its tokens with results shortened.
    pub shortened: u64,
    /// Whether it begins with what a person says.
    pub starts_turn: bool,
}

/// What weighs how much in a context that nothing is left out of.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// What no compaction changes: instructions, pinned messages and what a request needs by itself, in tokens.
    pub fixed: u64,
    /// The summary that is in force, in tokens.
    pub summary: u64,
    /// What was asked last, as it is shown where what it stands with is covered, in tokens.
    pub question: u64,
    /// What stands behind it, oldest first.
    pub groups: Vec<Weighed>,
}

impl Weights {
    /// All of it.
    pub fn total(&self) -> u64 {
        let groups = self.groups.iter().fold(0_u64, |sum, group| sum.saturating_add(group.tokens));
        self.fixed.saturating_add(self.summary).saturating_add(groups)
    }

    /// What no summary up to a record stands for.
    fn behind(&self, to: u64) -> u64 {
        let groups = self.groups.iter().filter(|group| group.last > to);
        groups.fold(self.fixed, |sum, group| sum.saturating_add(group.tokens))
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// Nothing: there is nothing that could be shortened or summarised.
    Nothing,
    /// Results of tools up to a record are shown shortened.
    Shorten {
        /// The last record whose results are.
        to: u64,
    },
    /// A summary stands for everything up to a record.
    Summarise {
        /// The last record that it covers.
        to: u64,
    },
}

/// Results of tools stay as they are in the newest third of the tail, as long as shortening the others is enough.
const RECENT: u64 = 3;
/// What stands around a summary, in tokens.
const AROUND_SUMMARY: u64 = 120;
/// A summary and what stands around it have so many tokens, at least.
const LEAST_SUMMARY: u64 = 80;

/// Plans a compaction down to `target` tokens.
///
/// The newest groups stay as they are, as many as fit the tail, from a user's message on. Where even the newest turn does not fit, it is cut
/// between groups, and at least the newest group stays: a call in it may still be answered.
pub fn plan(weights: &Weights, policy: &CompactionPolicy, target: u64) -> Plan {
    let room = target.saturating_sub(weights.fixed);
    let tail = share(target, policy.tail_percent);
    if let Some(to) = before(&weights.groups, tail / RECENT) {
        let cost = |group: &Weighed| if group.last <= to { group.shortened } else { group.tokens };
        let groups = weights.groups.iter().map(cost).fold(0, u64::saturating_add);
        let shortened = groups.saturating_add(weights.fixed).saturating_add(weights.summary);
        if shortened <= target && policy.is_gain(weights.total(), shortened) {
            return Plan::Shorten { to };
        }
    }
    let summary = policy.summary_tokens.saturating_add(policy.summary_tokens / 10).saturating_add(AROUND_SUMMARY);
    let tail = tail.min(room.saturating_sub(summary)).max(room / 4);
    let to = before(&weights.groups, tail);
    let keeps_question = |to: u64| weights.groups.iter().any(|group| group.last > to && group.starts_turn);
    let to = match to {
        Some(to) if !keeps_question(to) => before(&weights.groups, tail.saturating_sub(weights.question)),
        to => to,
    };
    let wins = |to: &u64| {
        let question = if keeps_question(*to) { 0 } else { weights.question };
        let after = weights.behind(*to).saturating_add(question).saturating_add(LEAST_SUMMARY);
        policy.is_gain(weights.total(), after)
    };
    // The shortest summary that there is would win too little: nobody is paid for one.
    to.filter(wins).map_or(Plan::Nothing, |to| Plan::Summarise { to })
}

/// The last record before the tail that this room gives; `None`: nothing stands before it.
fn before(groups: &[Weighed], tail: u64) -> Option<u64> {
    groups.get(..tail_start(groups, tail))?.last().map(|group| group.last)
}

/// Where the tail starts: where what fits does, or at the first user's message in that.
fn tail_start(groups: &[Weighed], tail: u64) -> usize {
    let (mut used, mut fits) = (0_u64, groups.len());
    for (at, group) in groups.iter().enumerate().rev() {
        used = used.saturating_add(group.tokens);
        if used > tail {
            break;
        }
        fits = at;
    }
    // The newest group always stays.
    let fits = fits.min(groups.len().saturating_sub(1));
    let kept: Vec<(bool, u64)> = groups.iter().skip(fits).map(|group| (group.starts_turn, group.tokens)).collect();
    fits + first_turn(&kept)
}

/// Where a row of groups begins, of each of which it is said whether it begins with what a person says, and its tokens: at the first that does,
/// unless that keeps less than half of them.
pub(crate) fn first_turn(groups: &[(bool, u64)]) -> usize {
    let kept = |start: usize| groups.iter().skip(start).map(|(_, tokens)| *tokens).fold(0, u64::saturating_add);
    let first = groups.iter().position(|(starts_turn, _)| *starts_turn);
    first.filter(|first| kept(*first) >= kept(0) / 2).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Groups of these tokens; a `u` begins a turn, and an `r` can be shortened to 10.
    fn weights(groups: &[(char, u64)]) -> Weights {
        let group = |(at, (kind, tokens)): (usize, &(char, u64))| Weighed {
            first: at as u64 * 2 + 2,
            last: at as u64 * 2 + 3,
            tokens: *tokens,
            shortened: if *kind == 'r' { 10.min(*tokens) } else { *tokens },
            starts_turn: *kind == 'u',
        };
        Weights { fixed: 0, summary: 0, question: 0, groups: groups.iter().enumerate().map(group).collect() }
    }

    fn planned(groups: &[(char, u64)], target: u64) -> Plan {
        plan(&weights(groups), &CompactionPolicy { summary_tokens: 100, ..CompactionPolicy::default() }, target)
    }

    #[test]
    fn old_results_are_shortened_first_and_the_rest_is_summarised() {
        let with_results = [('u', 50), ('r', 900), ('r', 900), ('a', 50), ('u', 50), ('a', 100)];
        assert_eq!(planned(&with_results, 1_000), Plan::Shorten { to: 9 });
        let all_words = [('u', 50), ('a', 900), ('a', 900), ('a', 50), ('u', 50), ('a', 100)];
        assert_eq!(planned(&all_words, 1_000), Plan::Summarise { to: 9 });
    }

    #[test]
    fn the_tail_starts_at_a_user_and_within_a_turn_only_where_it_must() {
        let turns = [('u', 100), ('a', 500), ('u', 100), ('a', 500), ('u', 100), ('a', 20), ('a', 20)];
        assert_eq!(planned(&turns, 1_000), Plan::Summarise { to: 5 }, "the two newest turns fit");
        let one_turn = [('u', 100), ('a', 300), ('a', 300), ('a', 300), ('a', 100), ('a', 100)];
        assert_eq!(planned(&one_turn, 1_000), Plan::Summarise { to: 7 }, "one turn is cut within");
        let asked = Weights { question: 400, ..weights(&one_turn) };
        let policy = CompactionPolicy { summary_tokens: 100, ..CompactionPolicy::default() };
        assert_eq!(plan(&asked, &policy, 1_000), Plan::Summarise { to: 9 }, "what was asked has its room beside");
        let long_turn = [('u', 600), ('a', 500), ('a', 100), ('a', 100), ('u', 10)];
        assert_eq!(planned(&long_turn, 1_000), Plan::Summarise { to: 3 }, "not only the last question is kept");
        let huge = [('u', 100), ('a', 600), ('a', 5_000)];
        assert_eq!(planned(&huge, 1_000), Plan::Summarise { to: 5 }, "the newest group stays");
        assert_eq!(planned(&[('a', 5_000)], 1_000), Plan::Nothing);
        let large_result = [('u', 10), ('a', 20), ('a', 5_000)];
        assert_eq!(planned(&large_result, 1_000), Plan::Nothing, "no summary is shorter than so little");
        assert_eq!(planned(&[], 1_000), Plan::Nothing);
    }

    #[test]
    fn the_tail_has_its_share_of_what_nothing_else_takes() {
        let groups = [('u', 100), ('a', 500), ('u', 100), ('a', 50), ('a', 50)];
        // What else takes room, the longest summary, and the last record that is covered.
        for (fixed, summary_tokens, to) in [
            (0, 100, 5),
            // However long a summary may be, a quarter of the room is for the tail.
            (0, 950, 5),
            (600, 350, 7),
            (500, 100, 5),
            (1_000, 100, 9),
        ] {
            let weights = Weights { fixed, ..weights(&groups) };
            let policy = CompactionPolicy { summary_tokens, tail_percent: 25, ..CompactionPolicy::default() };
            assert_eq!(plan(&weights, &policy, 1_000), Plan::Summarise { to }, "{fixed} {summary_tokens}");
        }
    }

    #[test]
    fn shortened_results_are_enough_when_all_that_is_sent_fits() {
        // What weighs less, then the tail, which just fits.
        let groups = |old: u64| [('u', 50), ('r', 900), ('a', old), ('u', 10), ('r', 240)];
        for (old, fixed, summary, expected) in [
            (690, 0, 0, Plan::Shorten { to: 9 }),
            (691, 0, 0, Plan::Summarise { to: 7 }),
            (590, 0, 100, Plan::Shorten { to: 9 }),
            (591, 0, 100, Plan::Summarise { to: 7 }),
            (691, 0, 100, Plan::Summarise { to: 7 }),
        ] {
            let weights = Weights { fixed, summary, ..weights(&groups(old)) };
            let policy = CompactionPolicy { summary_tokens: 100, tail_percent: 25, ..CompactionPolicy::default() };
            assert_eq!(plan(&weights, &policy, 1_000), expected, "{old} {fixed} {summary}");
        }
        let fixed = |fixed| Weights { fixed, ..weights(&[('u', 50), ('r', 900), ('u', 10)]) };
        let policy = CompactionPolicy { summary_tokens: 100, tail_percent: 25, ..CompactionPolicy::default() };
        assert_eq!(plan(&fixed(930), &policy, 1_000), Plan::Shorten { to: 5 });
        assert_eq!(plan(&fixed(931), &policy, 1_000), Plan::Summarise { to: 5 });
    }

    #[test]
    fn whatever_is_due_is_brought_down() {
        for threshold in 1..=100 {
            let policy = CompactionPolicy::default().at(threshold);
            let (due, target) = (share(100_000, threshold), policy.target(100_000));
            assert!(policy.is_due(due, 100_000) && target < due, "{threshold}: {target} of {due}");
        }
        assert_eq!(CompactionPolicy::default().at(80), CompactionPolicy::default());
        assert_eq!(CompactionPolicy::default().at(40).target_percent, 25);
    }

    #[test]
    fn shares_are_of_whole_numbers() {
        let policy = CompactionPolicy::default();
        assert!(policy.is_due(80, 100) && !policy.is_due(79, 100));
        assert_eq!(policy.target(u64::MAX), u64::MAX / 2);
        let gains = [(100, 95, true), (100, 96, false), (1, 1, false), (1, 0, true), (0, 0, false)];
        for (before, after, is_gain) in gains {
            assert_eq!(policy.is_gain(before, after), is_gain, "{before} {after}");
        }
    }

    proptest! {
        #[test]
        fn a_plan_cuts_between_groups_and_keeps_the_newest(
            groups in prop::collection::vec((prop::sample::select(vec!['u', 'a', 'r']), 0_u64..2_000), 0..30),
            target in 0_u64..5_000,
        ) {
            let weights = weights(&groups);
            let to = match planned(&groups, target) {
                Plan::Nothing => return Ok(()),
                Plan::Shorten { to } | Plan::Summarise { to } => to,
            };
            let at = weights.groups.iter().position(|group| group.last == to);
            prop_assert!(at.is_some_and(|at| at + 1 < groups.len()), "the newest group stays");
        }
    }
}
