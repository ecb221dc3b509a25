//! Laws of a source of randomness. They cannot show that it is random; they find the one that is not.
//!
//! Must not know: where the bytes come from.

use std::collections::BTreeSet;

use sessions_ports::{Entropy, EntropyError};

use crate::suite::{Exception, Outcome};

impl From<EntropyError> for Exception {
    fn from(error: EntropyError) -> Self {
        Self::broken(error.to_string())
    }
}

/// Every byte of what it is given is drawn, whatever the length.
pub async fn every_byte_is_filled(entropy: &dyn Entropy) -> Outcome {
    for length in [1_usize, 7, 8, 9, 16, 31, 32, 33, 1000, 65_537] {
        let mut touched = vec![false; length];
        // A byte that is drawn is zero once in 256 draws, so 32 draws leave none zero by chance.
        for _ in 0..32 {
            let mut bytes = vec![0; length];
            entropy.fill(&mut bytes)?;
            touched.iter_mut().zip(bytes).for_each(|(touched, byte)| *touched |= byte != 0);
        }
        let left = touched.iter().filter(|touched| !**touched).count();
        ensure_eq!(left, 0, "bytes of {length} that were never drawn");
    }
    Ok(())
}

/// No two draws are alike.
pub async fn no_two_draws_are_alike(entropy: &dyn Entropy) -> Outcome {
    let mut seen = BTreeSet::new();
    for _ in 0..1000 {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes)?;
        ensure!(seen.insert(bytes), "16 bytes came twice in 1000 draws");
    }
    Ok(())
}

/// Filling nothing is fine.
pub async fn nothing_is_asked_for_nothing(entropy: &dyn Entropy) -> Outcome {
    entropy.fill(&mut [])?;
    Ok(())
}

/// Of many who draw at the same time each gets bytes of its own.
pub async fn a_race_gives_each_its_own(entropy: &dyn Entropy) -> Outcome {
    let draw = || {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes).map(|()| bytes)
    };
    let drawn: Vec<Result<[u8; 16], EntropyError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..500).map(|_| draw()).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let different: BTreeSet<[u8; 16]> = drawn.into_iter().collect::<Result<_, _>>()?;
    ensure_eq!(different.len(), 4000, "different draws of a race");
    Ok(())
}
