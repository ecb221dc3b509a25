//! Laws of a generator of ids: none is given twice, and they ascend, whatever the clock does.
//!
//! Must not know: how ids are made.

use std::collections::BTreeSet;

use sessions_domain::Moment;
use sessions_ports::IdGenerator;

use crate::suite::Outcome;

const NOON: i64 = 1_767_268_800_000;
const COUNT: usize = 2000;

type Kind = (&'static str, fn(&dyn IdGenerator, Moment) -> String);

/// The written form of an id orders as the id does.
const KINDS: [Kind; 3] = [
    ("session", |ids, now| ids.session(now).to_string()),
    ("message", |ids, now| ids.message(now).to_string()),
    ("lineage", |ids, now| ids.lineage(now).to_string()),
];

fn at(offset: i64) -> Moment {
    Moment::from_millis(NOON.saturating_add(offset))
}

/// No id is given twice, within a moment and from one to the next.
pub async fn ids_are_unique(ids: &dyn IdGenerator) -> Outcome {
    for (kind, make) in KINDS {
        let given: BTreeSet<String> = (0..COUNT).map(|n| make(ids, at(i64::from(n % 100 == 99)))).collect();
        ensure_eq!(given.len(), COUNT, "different ids of {COUNT} of kind {kind}");
    }
    Ok(())
}

/// Each id of a kind is above the one before, also within a moment.
pub async fn ids_ascend(ids: &dyn IdGenerator) -> Outcome {
    for (kind, make) in KINDS {
        let given: Vec<String> = (0..COUNT).map(|n| make(ids, at(i64::try_from(n / 50).unwrap_or(0)))).collect();
        ensure!(given.is_sorted(), "the ids of kind {kind} do not ascend");
    }
    Ok(())
}

/// They ascend and stay unique when the clock goes back.
pub async fn ids_ascend_when_the_clock_goes_back(ids: &dyn IdGenerator) -> Outcome {
    for (kind, make) in KINDS {
        let jumps = [0, 5, -1, 5, -86_400_000, 6, 6, -NOON, 7];
        let given: Vec<String> = jumps.into_iter().cycle().take(COUNT).map(|offset| make(ids, at(offset))).collect();
        ensure!(given.is_sorted(), "the ids of kind {kind} do not ascend when the clock goes back");
        ensure_eq!(given.iter().collect::<BTreeSet<_>>().len(), COUNT, "different ids of kind {kind}");
    }
    Ok(())
}

/// Of many who ask at the same time no two get the same.
pub async fn a_race_gives_no_id_twice(ids: &dyn IdGenerator) -> Outcome {
    for (kind, make) in KINDS {
        let all: Vec<String> = std::thread::scope(|scope| {
            let ask = || (0..COUNT).map(|_| make(ids, at(0))).collect::<Vec<_>>();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        ensure_eq!(all.iter().collect::<BTreeSet<_>>().len(), 8 * COUNT, "different ids of a race for kind {kind}");
    }
    Ok(())
}

/// Moments before 1970 and at the ends of what can be told give ids like any other.
pub async fn extreme_moments_give_ids(ids: &dyn IdGenerator) -> Outcome {
    for (kind, make) in KINDS {
        let mut given = BTreeSet::new();
        for millis in [-1, 0, i64::MIN, i64::MAX, i64::MAX, i64::MAX - 1, 0] {
            given.insert(make(ids, Moment::from_millis(millis)));
        }
        ensure_eq!(given.len(), 7, "different ids of kind {kind} at extreme moments");
    }
    Ok(())
}
