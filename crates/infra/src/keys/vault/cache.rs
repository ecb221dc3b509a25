//! What was unwrapped lately: few, for a short time, so that a key that is revoked stops working soon.
//!
//! Must not know: who unwraps.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sessions_ports::SecretKey;

struct Entry {
    of: [u8; 32],
    since: Instant,
    secret: SecretKey,
}

/// The newest stands last. What leaves is wiped.
pub(super) struct Cache {
    entries: VecDeque<Entry>,
    most: usize,
    life: Duration,
}

impl Cache {
    pub(super) fn new(most: usize, life: Duration) -> Self {
        Self { entries: VecDeque::new(), most, life }
    }

    /// Asking makes nothing live longer.
    pub(super) fn get(&mut self, of: &[u8; 32], now: Instant) -> Option<SecretKey> {
        self.entries.retain(|entry| now.saturating_duration_since(entry.since) < self.life);
        let found = self.entries.iter().find(|entry| entry.of == *of)?;
        SecretKey::from_slice(found.secret.expose())
    }

    /// Keeps what was asked for at this moment; the time it took counts.
    pub(super) fn put(&mut self, of: [u8; 32], asked: Instant, secret: &SecretKey) {
        self.entries.retain(|entry| entry.of != of);
        let Some(secret) = SecretKey::from_slice(secret.expose()) else { return };
        self.entries.push_back(Entry { of, since: asked, secret });
        while self.entries.len() > self.most {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::take(&mut [byte; 32])
    }

    #[test]
    fn few_are_kept_for_a_short_time_whether_or_not_they_are_asked_for() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut cache = Cache::new(2, 10 * second);
        let has = |cache: &mut Cache, of: u8, at: u32| {
            cache.get(&[of; 32], begin + at * second).is_some_and(|found| found.expose() == &[of; 32])
        };
        cache.put([1; 32], begin, &key(1));
        cache.put([2; 32], begin + 2 * second, &key(2));
        assert!(has(&mut cache, 1, 9) && has(&mut cache, 2, 9) && !has(&mut cache, 3, 9));
        assert!(!has(&mut cache, 1, 10) && has(&mut cache, 2, 11) && !has(&mut cache, 2, 12));
        for of in 4..=6 {
            cache.put([of; 32], begin + 20 * second, &key(of));
        }
        assert!(!has(&mut cache, 4, 21) && has(&mut cache, 5, 21) && has(&mut cache, 6, 21));
        cache.put([5; 32], begin + 21 * second, &key(5));
        assert!(has(&mut cache, 6, 22) && has(&mut cache, 5, 30) && !has(&mut cache, 6, 30));
    }

    #[test]
    fn without_room_or_time_nothing_is_kept() {
        for mut cache in [Cache::new(0, Duration::from_secs(9)), Cache::new(9, Duration::ZERO)] {
            let now = Instant::now();
            cache.put([1; 32], now, &key(1));
            assert!(cache.get(&[1; 32], now).is_none());
        }
    }
}
