//! The one harness: times single operations, leaves the warm-up out, and knows median, tail and mean.
//!
//! Must not know: what is timed.

use std::time::{Duration, Instant};

/// Times of one kind of work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    warm_up: usize,
    nanos: Vec<u64>,
}

impl Samples {
    /// Samples of which the first `warm_up` are forgotten.
    pub(crate) fn warming_up(warm_up: usize) -> Self {
        Self { warm_up, nanos: Vec::new() }
    }

    pub(crate) fn push(&mut self, time: Duration) {
        if self.warm_up > 0 {
            self.warm_up -= 1;
        } else {
            self.nanos.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Times work that is done at once.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.push(begun.elapsed());
        done
    }

    /// Times a future, from its first poll to its end.
    pub(crate) async fn wait<T>(&mut self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        self.push(begun.elapsed());
        done
    }

    /// The time in microseconds that `share` of the samples stay within; nearest rank.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.nanos.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.max(1) - 1).map_or(f64::NAN, |nanos| *nanos as f64 / 1e3)
    }

    /// The median, in microseconds.
    pub(crate) fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// What 99 of 100 stay within, in microseconds.
    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    /// The longest, in microseconds.
    pub(crate) fn longest(&self) -> f64 {
        self.quantile(1.0)
    }

    /// The mean, in microseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.nanos.iter().sum::<u64>() as f64 / 1e3 / self.nanos.len() as f64
    }
}

/// The median of a few values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_leave_the_warm_up_out() {
        let mut samples = Samples::warming_up(2);
        for micros in [9_000, 9_000].into_iter().chain(1..=100) {
            samples.push(Duration::from_micros(micros));
        }
        assert_eq!((samples.p50(), samples.p99(), samples.mean()), (50.0, 99.0, 50.5));
        assert!(Samples::default().p50().is_nan(), "no samples, no figure");
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
