//! Frames that count no more because others were written for their records: the log is walked from its end, and what was met is remembered.
//!
//! Must not know: files, or what is done about them.

use std::collections::{BTreeMap, HashMap, HashSet};

use sessions_domain::SessionId;

use super::frame::{self, FILLER, Frame, MARK, REMOVED, REWRITE, REWRITTEN, STRIPPED, WORDS};

/// What becomes of a frame when space is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It counts.
    Stays,
    /// Its payload counts no more, but what else it says does. True: the words of the row too.
    Stripped(bool),
    /// Nothing that it says counts.
    Goes,
}

/// What the part of a log behind a place says anew.
#[derive(Default)]
pub(super) struct Behind {
    rewritten: HashMap<SessionId, Ranges>,
    /// Sessions whose rows got other words.
    words: HashSet<SessionId>,
}

/// Numbers, as stretches from the first to the last.
#[derive(Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn has(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    fn add(&mut self, number: u64) {
        if self.has(number) {
            return;
        }
        let last = self.0.remove(&(number + 1)).unwrap_or(number);
        match self.0.range_mut(..number).next_back().filter(|(_, before)| **before + 1 == number) {
            Some((_, before)) => *before = last,
            None => drop(self.0.insert(number, last)),
        }
    }
}

impl Behind {
    /// What becomes of a frame that stands before all that was met; from then on it is behind too.
    pub(super) fn meet(&mut self, frame: &Frame<'_>) -> Fate {
        let header = frame.header;
        if [MARK, FILLER, REMOVED].contains(&header.kind) {
            return Fate::Stays;
        }
        let has = |tag| frame.fields().any(|(of, _)| of == tag);
        let words = has(WORDS);
        let keeps_words = words && self.words.insert(header.session);
        let ranges = self.rewritten.entry(header.session).or_default();
        let is_superseded = ranges.has(header.seq);
        let is_rewritten = header.flags & REWRITTEN != 0;
        let is_stripped = header.flags & STRIPPED != 0;
        if is_rewritten && !is_stripped {
            ranges.add(header.seq);
        }
        if is_stripped {
            return if words && !keeps_words { Fate::Stripped(false) } else { Fate::Stays };
        }
        if !is_superseded {
            return Fate::Stays;
        }
        let tells = has(REWRITE) && frame.fields().any(|(tag, field)| tag == REWRITE && frees(field));
        if is_rewritten && !keeps_words && !tells { Fate::Goes } else { Fate::Stripped(keeps_words) }
    }
}

/// Whether a rewrite says whom its session inherits from no more.
fn frees(field: &[u8]) -> bool {
    frame::rewrite(field).is_none_or(|(_, owners)| !owners.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_had_once_they_are_added_in_whatever_order() {
        for order in [[1_u64, 2, 3, 5, 9], [9, 5, 3, 2, 1], [3, 1, 9, 2, 5]] {
            let mut ranges = Ranges::default();
            for (at, number) in order.into_iter().enumerate() {
                let had: Vec<u64> = (0..12).filter(|number| ranges.has(*number)).collect();
                let mut expected = order[..at].to_vec();
                expected.sort_unstable();
                assert_eq!(had, expected);
                ranges.add(number);
            }
            assert_eq!(ranges.0, BTreeMap::from([(1, 3), (5, 5), (9, 9)]));
        }
    }
}
