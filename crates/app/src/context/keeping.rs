//! Which lanes keep a context: those that were used last, within a bound for the whole manager. A host may have thousands of sessions in use.
//!
//! Must not know: what a context is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::lane::Lane;

/// So much may be kept in all, in bytes.
const MOST: usize = 64 << 20;

/// One lane may keep so much, in bytes: more would push out what many others keep.
const MOST_OF_ONE: usize = MOST / 4;

/// What a lane keeps counts as so much at least, in bytes, so that few have to be looked through.
const LEAST: usize = 64 << 10;

/// The lanes that keep something.
#[derive(Default)]
pub(crate) struct Keeping {
    order: Mutex<Order>,
}

#[derive(Default)]
struct Order {
    /// The one that was used longest ago first, each with what it keeps, in bytes.
    lanes: VecDeque<(Weak<Lane>, usize)>,
    total: usize,
}

impl Keeping {
    /// Whether one lane may keep so much, in bytes.
    pub(crate) const fn takes(bytes: usize) -> bool {
        bytes <= MOST_OF_ONE
    }

    /// Notes that a lane keeps counts, beside what it may keep already.
    pub(crate) fn note_counts(&self, lane: &Arc<Lane>) {
        self.note_what(lane, |before| before);
    }

    /// Notes that a lane keeps so much, and lets those forget that were used longest ago.
    pub(crate) fn note(&self, lane: &Arc<Lane>, bytes: usize) {
        self.note_what(lane, |_| bytes);
    }

    /// `keeps`: what it keeps now of what it kept before, in bytes.
    fn note_what(&self, lane: &Arc<Lane>, keeps: impl FnOnce(usize) -> usize) {
        let mut forgotten = Vec::new();
        {
            let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            let known = order.lanes.iter().position(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(lane)));
            let before = known.and_then(|at| order.lanes.remove(at)).map_or(0, |(_, before)| before);
            let bytes = keeps(before).max(LEAST);
            order.total = order.total.saturating_sub(before).saturating_add(bytes);
            order.lanes.push_back((Arc::downgrade(lane), bytes));
            while order.total > MOST && order.lanes.len() > 1 {
                let Some((oldest, bytes)) = order.lanes.pop_front() else { break };
                order.total = order.total.saturating_sub(bytes);
                forgotten.extend(oldest.upgrade());
            }
        }
        forgotten.iter().for_each(|lane| lane.forget_context());
    }
}

#[cfg(test)]
mod tests {
    use sessions_domain::SessionId;

    use super::*;

    #[test]
    fn one_lane_keeps_a_quarter_at_most() {
        assert!(Keeping::takes(0) && Keeping::takes(MOST / 4) && !Keeping::takes(MOST / 4 + 1));
    }

    #[test]
    fn who_was_used_longest_ago_forgets_first() {
        let lanes: Vec<Arc<Lane>> =
            (1..=3).map(|id| Arc::new(Lane::new(SessionId::from_bytes([id; 16]), None))).collect();
        let counts: Vec<_> = lanes.iter().map(|lane| lane.counted("e")).collect();
        let knows = |at: usize| Arc::ptr_eq(&lanes[at].counted("e"), &counts[at]);
        let keeping = Keeping::default();
        keeping.note(&lanes[0], MOST / 2);
        keeping.note(&lanes[1], MOST / 2);
        keeping.note(&lanes[0], MOST / 2);
        assert!(knows(0) && knows(1), "the same lane counts once");
        keeping.note(&lanes[2], 1);
        assert!(knows(0) && !knows(1) && knows(2));
        keeping.note(&lanes[2], 2 * MOST);
        assert!(!knows(0) && knows(2), "the newest stays, however large");
    }
}
