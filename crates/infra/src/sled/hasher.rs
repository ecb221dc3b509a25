//! A hasher for sessions' ids, which are looked up several times with each append.
//!
//! Ids are mostly random, but a host may choose them, so each map has a seed of its own that nobody outside can know.
//!
//! Must not know: the maps it is used in.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashers with one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdHashing {
    seed: [u64; 2],
}

impl Default for IdHashing {
    fn default() -> Self {
        let random = RandomState::new();
        Self { seed: [random.hash_one(1_u8), random.hash_one(2_u8)] }
    }
}

impl BuildHasher for IdHashing {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        let [state, factor] = self.seed;
        IdHasher { state, factor }
    }
}

/// Folds what it is given into 64 bits, a multiplication for each 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdHasher {
    state: u64,
    factor: u64,
}

/// Both halves of the product in one.
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

impl Hasher for IdHasher {
    fn write_u128(&mut self, value: u128) {
        self.state = folded(self.state ^ value as u64, self.factor ^ (value >> 64) as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(16) {
            let mut value = [0; 16];
            value.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.write_u128(u128::from_le_bytes(value));
        }
    }

    fn finish(&self) -> u64 {
        folded(self.state, self.factor | 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sessions_domain::SessionId;

    use super::*;

    /// Of 4096 places, those that 4096 hashes take: with random ones it is some 2590.
    fn places(hashes: impl Iterator<Item = u64>) -> usize {
        hashes.take(4096).map(|hash| hash % 4096).collect::<HashSet<_>>().len()
    }

    #[test]
    fn ids_that_differ_in_little_lie_apart() {
        let hashing = IdHashing::default();
        let counted = |at: u64| hashing.hash_one(SessionId::from_parts(1, u128::from(at)));
        let timed = |at: u64| hashing.hash_one(SessionId::from_parts(at, 1));
        let shifted = |at: u64| hashing.hash_one(SessionId::from_parts(1, u128::from(at) << 60));
        assert!(places((0..).map(counted)) > 2_000);
        assert!(places((0..).map(timed)) > 2_000);
        assert!(places((0..).map(shifted)) > 2_000);
        let top: HashSet<u64> = (0..4096).map(|at| counted(at) >> 57).collect();
        assert_eq!(top.len(), 128, "the map tells entries of one group apart by the top bits");
    }

    #[test]
    fn each_map_has_a_seed_of_its_own() {
        let id = SessionId::from_parts(1, 1);
        assert_ne!(IdHashing::default().hash_one(id), IdHashing::default().hash_one(id));
    }
}
