//! The system's clock, ids and randomness, and an estimate of tokens.
//!
//! Must not know: what they are used for.

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use ring::rand::{SecureRandom, SystemRandom};
use sessions_domain::{LineageId, MessageId, Moment, SessionId, tokens};
use sessions_ports::{Clock, Entropy, EntropyError, IdGenerator, TokenCounter};

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let millis = |since: std::time::Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Moment::from_millis(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }
}

/// The system's source of random bytes. Nothing is buffered, so no secret lingers.
#[derive(Clone, Debug)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The system's source.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(bytes).map_err(|_| EntropyError)
    }
}

/// ULIDs: 48 bits of milliseconds and 80 random bits.
///
/// Within the generator each kind's ids ascend, also when the clock goes back: then the last moment stays and the random part counts up.
pub struct UlidGenerator {
    random: Box<dyn Entropy>,
    sessions: Mutex<Option<Last>>,
    messages: Mutex<Option<Last>>,
    lineages: Mutex<Option<Last>>,
}

/// What was given last.
#[derive(Clone, Copy)]
struct Last {
    millis: u64,
    random: u128,
}

const MAX_MILLIS: u64 = (1 << 48) - 1;
const MAX_RANDOM: u128 = (1 << 80) - 1;

impl UlidGenerator {
    /// A generator that draws from the system.
    pub fn new() -> Self {
        Self::drawing_from(SystemEntropy::new())
    }

    /// A generator that draws from `random`. Should that fail, ids count up from the last one and stay unique in the process.
    pub fn drawing_from(random: impl Entropy + 'static) -> Self {
        Self {
            random: Box::new(random),
            sessions: Mutex::default(),
            messages: Mutex::default(),
            lineages: Mutex::default(),
        }
    }

    fn next(&self, last: &Mutex<Option<Last>>, now: Moment) -> (u64, u128) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0).min(MAX_MILLIS);
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match *last {
            None => Last { millis, random: self.draw().unwrap_or(0) },
            Some(Last { millis: before, random }) if millis > before => {
                Last { millis, random: self.draw().unwrap_or(random) }
            }
            Some(Last { millis, random }) if random < MAX_RANDOM => Last { millis, random: random + 1 },
            Some(Last { millis, .. }) => Last { millis: (millis + 1).min(MAX_MILLIS), random: 0 },
        };
        *last = Some(next);
        (next.millis, next.random)
    }

    fn draw(&self) -> Option<u128> {
        let mut bytes = [0; 16];
        self.random.fill(bytes.get_mut(6..)?).ok()?;
        Some(u128::from_be_bytes(bytes))
    }
}

impl Default for UlidGenerator {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for UlidGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UlidGenerator").finish_non_exhaustive()
    }
}

impl IdGenerator for UlidGenerator {
    fn session(&self, now: Moment) -> SessionId {
        let (millis, random) = self.next(&self.sessions, now);
        SessionId::from_parts(millis, random)
    }

    fn message(&self, now: Moment) -> MessageId {
        let (millis, random) = self.next(&self.messages, now);
        MessageId::from_parts(millis, random)
    }

    fn lineage(&self, now: Moment) -> LineageId {
        let (millis, random) = self.next(&self.lineages, now);
        LineageId::from_parts(millis, random)
    }
}

/// Counts tokens by a rule of thumb ([`tokens::estimate_text`]), for when no exact counter is wired.
#[derive(Clone, Copy, Debug, Default)]
pub struct EstimateCounter;

impl TokenCounter for EstimateCounter {
    fn encoding(&self) -> &str {
        tokens::ESTIMATE
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn count(&self, text: &str) -> u64 {
        tokens::estimate_text(text)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc, thread};

    use super::*;

    /// Gives the same byte always, or nothing.
    struct Stuck(Option<u8>);

    impl Entropy for Stuck {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(self.0.ok_or(EntropyError)?);
            Ok(())
        }
    }

    fn at(millis: i64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn ids_ascend_whatever_the_clock_does() {
        let ids = UlidGenerator::new();
        let times = [5, 5, 6, 1, -7, 0, 1_763_690_000_000, 3, i64::MAX, i64::MAX, i64::MIN, 8];
        let given: Vec<MessageId> = times.iter().map(|millis| ids.message(at(*millis))).collect();
        assert!(given.is_sorted() && given.windows(2).all(|pair| pair[0] != pair[1]), "{given:?}");
    }

    #[test]
    fn an_id_has_its_moment_and_random_bits() {
        let id = UlidGenerator::new().session(at(1_763_690_000_123)).to_bytes();
        assert_eq!(id[..6], 1_763_690_000_123_u64.to_be_bytes()[2..]);
        let others: HashSet<[u8; 16]> =
            (0..100).map(|_| UlidGenerator::new().session(at(1_763_690_000_123)).to_bytes()).collect();
        assert_eq!(others.len(), 100);
    }

    #[test]
    fn ids_are_never_given_twice_under_a_race_or_without_randomness() {
        for random in [Some(0xff), Some(0), None] {
            let ids = Arc::new(UlidGenerator::drawing_from(Stuck(random)));
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let ids = Arc::clone(&ids);
                    thread::spawn(move || {
                        (0..2_000).map(|n| ids.lineage(at((n * 7 + thread) % 11))).collect::<Vec<_>>()
                    })
                })
                .collect();
            let given: Vec<LineageId> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            assert_eq!(given.iter().collect::<HashSet<_>>().len(), given.len(), "{random:?}");
        }
    }

    #[test]
    fn the_system_gives_time_and_randomness() {
        assert!(SystemClock.now() > at(1_700_000_000_000));
        let (mut one, mut other) = ([0; 32], [0; 32]);
        SystemEntropy::new().fill(&mut one).unwrap();
        SystemEntropy::new().fill(&mut other).unwrap();
        assert_ne!(one, other);
        assert_eq!((EstimateCounter.count("12345678"), EstimateCounter.is_exact()), (4, false));
    }
}
