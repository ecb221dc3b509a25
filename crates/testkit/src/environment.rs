//! A clock, ids and randomness that are the same in every run.
//!
//! Must not know: what they are used for.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use sessions_domain::{LineageId, MessageId, Moment, SessionId};
use sessions_ports::{Clock, Entropy, EntropyError, IdGenerator};

/// A clock that stands until it is set. A clone is the same clock.
#[derive(Clone, Debug, Default)]
pub struct FixedClock(Arc<AtomicI64>);

impl FixedClock {
    /// A clock that stands at a moment.
    pub fn at(moment: Moment) -> Self {
        Self(Arc::new(AtomicI64::new(moment.as_millis())))
    }

    /// Sets it.
    pub fn set(&self, moment: Moment) {
        self.0.store(moment.as_millis(), Ordering::SeqCst);
    }

    /// Moves it by so many milliseconds, back when negative.
    pub fn jump(&self, milliseconds: i64) {
        let moved = |now: i64| Some(now.saturating_add(milliseconds));
        // The closure always gives a value, so this cannot fail.
        let _moved = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Moment {
        Moment::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Ids that count from 1, each kind on its own, whatever the time. A clone goes on with the same numbers.
#[derive(Clone, Debug, Default)]
pub struct SequentialIds(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    sessions: AtomicU64,
    messages: AtomicU64,
    lineages: AtomicU64,
}

impl SequentialIds {
    /// Ids from 1.
    pub fn new() -> Self {
        Self::default()
    }
}

fn next(counter: &AtomicU64) -> u128 {
    u128::from(counter.fetch_add(1, Ordering::SeqCst)) + 1
}

impl IdGenerator for SequentialIds {
    fn session(&self, _now: Moment) -> SessionId {
        SessionId::from_parts(0, next(&self.0.sessions))
    }

    fn message(&self, _now: Moment) -> MessageId {
        MessageId::from_parts(0, next(&self.0.messages))
    }

    fn lineage(&self, _now: Moment) -> LineageId {
        LineageId::from_parts(0, next(&self.0.lineages))
    }
}

/// Bytes that follow from a seed. Never for keys: anybody who knows the seed knows the bytes. A clone goes on with the same stream.
#[derive(Clone, Debug)]
pub struct FixedEntropy(Arc<AtomicU64>);

impl FixedEntropy {
    /// The stream of a seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }
}

/// SplitMix64's increment and finaliser (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

impl Entropy for FixedEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            let state = self.0.fetch_add(GAMMA, Ordering::SeqCst).wrapping_add(GAMMA);
            for (byte, random) in chunk.iter_mut().zip(mixed(state).to_le_bytes()) {
                *byte = random;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_until_it_is_moved() {
        let clock = FixedClock::at(Moment::from_millis(100));
        let same = clock.clone();
        assert_eq!((clock.now(), clock.now()), (Moment::from_millis(100), Moment::from_millis(100)));
        same.jump(-150);
        assert_eq!(clock.now(), Moment::from_millis(-50));
        same.set(Moment::from_millis(7));
        assert_eq!(clock.now(), Moment::from_millis(7));
        clock.jump(i64::MAX);
        assert_eq!(same.now(), Moment::from_millis(i64::MAX));
    }

    #[test]
    fn ids_count_in_each_kind() {
        let ids = SequentialIds::new();
        let now = Moment::from_millis(5);
        assert_eq!(ids.session(now).to_string(), "00000000000000000000000001");
        assert_eq!(ids.clone().session(now).to_string(), "00000000000000000000000002");
        assert_eq!(ids.message(now).to_string(), "00000000000000000000000001");
        assert_eq!(ids.lineage(now).to_string(), "00000000000000000000000001");
    }

    #[test]
    fn a_seed_gives_the_same_bytes_each_time() {
        let draw = |seed| {
            let mut bytes = [0; 40];
            FixedEntropy::seeded(seed).fill(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        // The first output for seed 0, as the generator's authors give it.
        assert_eq!(draw(0)[..8], 0xe220_a839_7b1d_cdaf_u64.to_le_bytes());
        let entropy = FixedEntropy::seeded(1);
        let (mut one, mut other) = ([0; 32], [0; 32]);
        entropy.fill(&mut one).unwrap();
        entropy.clone().fill(&mut other).unwrap();
        assert_ne!(one, other, "a clone goes on");
    }
}
