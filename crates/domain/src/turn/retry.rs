//! How long to wait before a call is made again, and when not to.
//!
//! Must not know: clocks, and what went wrong.

use std::time::Duration;

/// When a call that failed is made again. The defaults lie between those of the providers' own libraries (2 retries from 0.5 s on) and of
/// agents that people watch (3 to 5 retries).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often a call is made in all. 0 and 1: once.
    pub attempts: u32,
    /// The wait before the second one; it doubles with each further one.
    pub first: Duration,
    /// The longest wait of our own.
    pub longest: Duration,
    /// The longest wait that a provider may ask for. One that asks for more is not waited for: the turn ends and says so.
    pub longest_asked: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 4,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// A call is made once.
    pub const NEVER: Self =
        Self { attempts: 1, first: Duration::ZERO, longest: Duration::ZERO, longest_asked: Duration::ZERO };

    /// The wait behind so many attempts that failed; `None`: there is no other attempt.
    ///
    /// What the provider asks for is kept to, and never cut short. Without it the wait is ours, less up to a quarter of it by `jitter`, so that
    /// many who failed together do not come back together.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use sessions_domain::turn::Retry;
    /// let retry = Retry::default();
    /// assert_eq!(retry.wait(1, None, 0), Some(Duration::from_millis(500)));
    /// assert_eq!(retry.wait(3, None, 0), Some(Duration::from_secs(2)));
    /// assert_eq!(retry.wait(1, Some(Duration::from_secs(7)), 0), Some(Duration::from_secs(7)));
    /// assert_eq!(retry.wait(1, Some(Duration::from_secs(3_600)), 0), None);
    /// assert_eq!(retry.wait(4, None, 0), None);
    /// ```
    pub fn wait(&self, failed: u32, asked: Option<Duration>, jitter: u16) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        if let Some(asked) = asked {
            return (asked <= self.longest_asked).then_some(asked);
        }
        let doubled = 2_u32.checked_pow(failed.saturating_sub(1)).and_then(|times| self.first.checked_mul(times));
        let wait = doubled.unwrap_or(self.longest).min(self.longest);
        let less = u128::from(jitter) * (wait.as_nanos() / 4) / u128::from(u16::MAX);
        Some(wait.saturating_sub(Duration::from_nanos(u64::try_from(less).unwrap_or(0))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_attempts() {
        let retry = Retry { attempts: 10, ..Retry::default() };
        let millis: Vec<u128> = (1..=9).filter_map(|failed| Some(retry.wait(failed, None, 0)?.as_millis())).collect();
        assert_eq!(millis, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(retry.wait(10, None, 0), None);
        assert_eq!(retry.wait(1, None, u16::MAX), Some(Duration::from_millis(375)));
        for (asked, expected) in [(retry.longest_asked, true), (retry.longest_asked + Duration::from_millis(1), false)]
        {
            assert_eq!(retry.wait(1, Some(asked), 0), expected.then_some(asked));
        }
        assert_eq!(Retry::NEVER.wait(1, Some(Duration::ZERO), 0), None);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_it_may_be(
            failed in 1_u32..u32::MAX,
            asked in proptest::option::of(0_u64..1 << 40),
            jitter: u16,
        ) {
            let retry = Retry { attempts: u32::MAX, ..Retry::default() };
            let asked = asked.map(Duration::from_millis);
            match (retry.wait(failed, asked, jitter), asked) {
                (wait, Some(asked)) => prop_assert_eq!(wait, Some(asked).filter(|asked| *asked <= retry.longest_asked)),
                (Some(wait), None) => prop_assert!(wait <= retry.longest && wait >= retry.first * 3 / 4),
                (None, None) => prop_assert!(false, "there are attempts left"),
            }
        }
    }
}
