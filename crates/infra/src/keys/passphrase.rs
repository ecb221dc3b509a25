//! A key derived from a passphrase by Argon2id (RFC 9106), which takes time and memory so that guessing does too.
//!
//! Costs are measured once, when keys are made, and stored with the wrapped key. What is stored may have been changed by somebody, so it is
//! checked against bounds before anything is computed or any memory is taken.
//!
//! Must not know: where the passphrase comes from.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use async_trait::async_trait;
use serde_json::{Value, json};
use sessions_domain::chain;
use sessions_ports::{KeyContext, KeyError, KeyHealth, KeyProvider, Passphrase, ProviderKind, SecretKey, Wrapped};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    random, strength,
    wrapping::{self, Purpose},
};

const DOMAIN: &str = "sessions passphrase 1";
/// Every passphrase has the same name: a fingerprint would help whoever guesses.
const NAME: &str = "passphrase";
const SALT: usize = 16;

/// What one derivation costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes over it.
    pub t: u32,
    /// Lanes. They are computed one after the other here, so more make it no faster.
    pub p: u32,
}

impl Costs {
    /// The least that is ever used or read: the OWASP recommendation of 19 MiB and two passes.
    pub const FLOOR: Self = Self { m_kib: 19_456, t: 2, p: 1 };
    /// The most that is ever read: 1 GiB, 20 passes and 16 lanes.
    pub const CEILING: Self = Self { m_kib: 1 << 20, t: 20, p: 16 };
    /// The most that [`Self::calibrate`] chooses: 256 MiB, so that a smaller machine can open the store too.
    const CHOSEN: Self = Self { m_kib: 256 << 10, t: 20, p: 1 };
    /// The passes that come before more memory.
    const PASSES: u32 = 3;

    /// Costs for which one derivation takes about this long here, within bounds. Derives twice; waits meanwhile.
    ///
    /// # Errors
    /// [`KeyError::Io`] without memory for the least costs.
    pub fn calibrate(target: Duration) -> Result<Self, KeyError> {
        let passphrase = Passphrase::new("any text takes as long as any other".to_owned());
        let mut failed = None;
        let costs = Self::calibrated(target, |costs| {
            let begun = Instant::now();
            failed = derive(&passphrase, costs, &[0; SALT]).err();
            begun.elapsed()
        });
        failed.map_or(Ok(costs), Err)
    }

    /// The first measurement is of the least costs and tells roughly; the second one is near the aim.
    fn calibrated(target: Duration, mut measure: impl FnMut(Self) -> Duration) -> Self {
        let first = Self::for_time(target, Self::FLOOR, measure(Self::FLOOR));
        if first == Self::FLOOR {
            return first;
        }
        Self::for_time(target, first, measure(first))
    }

    /// What fits into the time, when these costs took so long.
    fn for_time(target: Duration, costs: Self, took: Duration) -> Self {
        let done = u128::from(costs.m_kib) * u128::from(costs.t);
        // KiB and passes that can be done in the time.
        let work = done.saturating_mul(target.as_nanos()) / took.as_nanos().max(1);
        let within =
            |value: u128, least: u32, most: u32| u32::try_from(value.min(u128::from(most))).unwrap_or(most).max(least);
        let m_kib = within(work / u128::from(Self::PASSES), Self::FLOOR.m_kib, Self::CHOSEN.m_kib);
        let t = within(work / u128::from(m_kib), Self::FLOOR.t, Self::CHOSEN.t);
        Self { m_kib, t, p: 1 }
    }

    fn check(self) -> Result<Self, KeyError> {
        let within = |name: &str, value: u32, least: u32, most: u32| match value {
            _ if value < least => Err(KeyError::Parameters { what: format!("{name} {value} is below {least}") }),
            _ if value > most => Err(KeyError::Parameters { what: format!("{name} {value} is above {most}") }),
            _ => Ok(()),
        };
        within("m_kib", self.m_kib, Self::FLOOR.m_kib, Self::CEILING.m_kib)?;
        within("t", self.t, Self::FLOOR.t, Self::CEILING.t)?;
        within("p", self.p, Self::FLOOR.p, Self::CEILING.p)?;
        Ok(self)
    }
}

/// What is stored beside a wrapped key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    costs: Costs,
    salt: Vec<u8>,
}

impl Stored {
    fn to_value(&self) -> Value {
        let Costs { m_kib, t, p } = self.costs;
        json!({"kdf": "argon2id", "v": 19, "m_kib": m_kib, "t": t, "p": p, "salt": chain::to_hex(&self.salt)})
    }

    /// Reads and checks, and computes nothing.
    fn parse(value: &Value) -> Result<Self, KeyError> {
        let wrong = |what: &str| KeyError::Parameters { what: what.to_owned() };
        let object = value.as_object().ok_or_else(|| wrong("there are none"))?;
        if object.get("kdf").and_then(Value::as_str) != Some("argon2id") {
            return Err(wrong("the kdf is not argon2id"));
        }
        if object.get("v").and_then(Value::as_u64) != Some(19) {
            return Err(wrong("v is not 19"));
        }
        let number = |name: &str| {
            let number = object.get(name).ok_or_else(|| wrong(&format!("{name} is missing")))?;
            let no_number = || wrong(&format!("{name} is no number within bounds"));
            number.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(no_number)
        };
        let costs = Costs { m_kib: number("m_kib")?, t: number("t")?, p: number("p")? }.check()?;
        let salt = object.get("salt").and_then(Value::as_str).filter(|salt| salt.len() == 2 * SALT);
        let salt = salt.and_then(chain::from_hex).ok_or_else(|| wrong("the salt is not of 16 bytes"))?;
        Ok(Self { costs, salt })
    }

    /// The same whatever way the JSON is written.
    fn to_bytes(&self) -> Vec<u8> {
        let Costs { m_kib, t, p } = self.costs;
        let numbers = [19, m_kib, t, p].into_iter().flat_map(u32::to_le_bytes);
        numbers.chain(self.salt.iter().copied()).collect()
    }
}

/// One derivation. What it computed with is wiped.
fn derive(passphrase: &Passphrase, costs: Costs, salt: &[u8]) -> Result<SecretKey, KeyError> {
    let refused = |_| KeyError::Parameters { what: "they are none of argon2id".to_owned() };
    let params = Params::new(costs.m_kib, costs.t, costs.p, Some(32)).map_err(refused)?;
    let mut memory = Vec::new();
    memory.try_reserve_exact(params.block_count()).map_err(|_| KeyError::Io {
        operation: "taking the memory that the key's derivation needs",
        source: std::io::ErrorKind::OutOfMemory.into(),
    })?;
    memory.resize(params.block_count(), Block::default());
    let mut key = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let derived =
        argon2.hash_password_into_with_memory(passphrase.expose().as_bytes(), salt, key.as_mut_slice(), &mut memory);
    memory.iter_mut().for_each(|block| block.zeroize());
    derived.map_err(refused)?;
    Ok(SecretKey::take(&mut key))
}

/// Wraps a store's key under one that is derived from a passphrase.
///
/// The passphrase is taken as its bytes in UTF-8: the same letters composed in another way are another passphrase.
pub struct PassphraseProvider {
    passphrase: Arc<Passphrase>,
    costs: Costs,
    known: Vec<String>,
    derived: AtomicU64,
}

impl PassphraseProvider {
    /// One that wraps at these costs; for [`KeyProvider::unwrap`] those count that are stored.
    ///
    /// # Errors
    /// [`KeyError::Parameters`] for costs out of bounds.
    pub fn new(passphrase: Passphrase, costs: Costs) -> Result<Self, KeyError> {
        if costs.p > 4 {
            return Err(KeyError::Parameters { what: format!("p {} is above 4", costs.p) });
        }
        let costs = costs.check()?;
        Ok(Self { passphrase: Arc::new(passphrase), costs, known: Vec::new(), derived: AtomicU64::new(0) })
    }

    /// Says what anybody knows who has the store, as its path: what a new passphrase must not be.
    #[must_use]
    pub fn known(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.known.extend(words);
        self
    }

    /// Refuses a passphrase that is no protection, as [`KeyProvider::wrap`] does.
    ///
    /// # Errors
    /// [`KeyError::Weak`].
    pub fn check(&self) -> Result<(), KeyError> {
        strength::check(self.passphrase.expose(), &self.known)
    }

    /// How often a key was derived.
    pub fn derivations(&self) -> u64 {
        self.derived.load(Ordering::Relaxed)
    }

    async fn derive(&self, stored: &Stored) -> Result<SecretKey, KeyError> {
        self.derived.fetch_add(1, Ordering::Relaxed);
        let (passphrase, costs, salt) = (Arc::clone(&self.passphrase), stored.costs, stored.salt.clone());
        let ended = |error| KeyError::Io { operation: "deriving the key", source: std::io::Error::other(error) };
        tokio::task::spawn_blocking(move || derive(&passphrase, costs, &salt)).await.map_err(ended)?
    }
}

fn purpose(bound: &[u8]) -> Purpose<'_> {
    Purpose { domain: DOMAIN, kind: ProviderKind::Passphrase, bound }
}

#[async_trait]
impl KeyProvider for PassphraseProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Passphrase
    }

    async fn current(&self) -> Result<String, KeyError> {
        Ok(NAME.to_owned())
    }

    async fn wrap(&self, secret: &SecretKey, context: &KeyContext) -> Result<Wrapped, KeyError> {
        self.check()?;
        let stored = Stored { costs: self.costs, salt: random::random::<SALT>()?.to_vec() };
        let key = self.derive(&stored).await?;
        Ok(Wrapped {
            provider: ProviderKind::Passphrase,
            key: NAME.to_owned(),
            parameters: stored.to_value(),
            bytes: wrapping::wrap(&key, &purpose(&stored.to_bytes()), secret, context)?,
        })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &KeyContext) -> Result<SecretKey, KeyError> {
        if wrapped.provider != ProviderKind::Passphrase {
            return Err(KeyError::OtherKind { needed: wrapped.provider, given: ProviderKind::Passphrase });
        }
        let stored = Stored::parse(&wrapped.parameters)?;
        let bound = stored.to_bytes();
        // What is damaged is told without a derivation.
        wrapping::check(&purpose(&bound), &wrapped.bytes)?;
        let key = self.derive(&stored).await?;
        wrapping::unwrap(&key, &purpose(&bound), &wrapped.bytes, context)
    }

    /// Nothing is derived for it.
    async fn health(&self) -> Result<KeyHealth, KeyError> {
        let begun = Instant::now();
        Ok(KeyHealth { current: NAME.to_owned(), took: begun.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tag of RFC 9106, section 5.3, has a secret and associated data too; that of our use is the reference implementation's:
    /// `echo -n password | ./argon2 somesalt -id -t 2 -m 16 -p 1` and its like from its own tests.
    #[test]
    fn the_derivation_is_argon2id() {
        for (m_kib, t, p, password, salt, expected) in [
            (65_536, 2, 1, "password", "somesalt", "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
            (256, 2, 1, "password", "somesalt", "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
            (256, 2, 2, "password", "somesalt", "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"),
            (65_536, 1, 1, "password", "somesalt", "f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98"),
            (65_536, 4, 1, "password", "somesalt", "9025d48e68ef7395cca9079da4c4ec3affb3c8911fe4f86d1a2520856f63172c"),
            (
                65_536,
                2,
                1,
                "differentpassword",
                "somesalt",
                "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde",
            ),
            (65_536, 2, 1, "password", "diffsalt", "bdf32b05ccc42eb15d58fd19b1f856b113da1e9a5874fdcc544308565aa8141c"),
        ] {
            let passphrase = Passphrase::new(password.to_owned());
            let key = derive(&passphrase, Costs { m_kib, t, p }, salt.as_bytes()).unwrap();
            assert_eq!(chain::to_hex(key.expose()), expected, "m {m_kib} t {t} p {p}");
        }
    }

    #[test]
    fn the_vector_of_the_rfc_holds_for_the_crate() {
        let params = argon2::ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
            .build()
            .unwrap();
        let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
        let mut tag = [0; 32];
        argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
        assert_eq!(chain::to_hex(&tag), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    }

    #[test]
    fn costs_are_chosen_for_the_time_and_within_bounds() {
        let aim = Duration::from_millis(500);
        // Nanoseconds for a KiB and a pass, from a machine without time to one that is a thousand times slower than ours.
        for pace in [0, 1, 10, 300, 1_000, 3_000, 10_000, 1_000_000] {
            let takes = |costs: Costs| Duration::from_nanos(pace * u64::from(costs.m_kib) * u64::from(costs.t));
            let mut measured = 0;
            let chosen = Costs::calibrated(aim, |costs| {
                measured += 1;
                costs.check().unwrap();
                takes(costs)
            });
            assert!(measured <= 2);
            assert_eq!(chosen.check().unwrap(), chosen);
            assert!(chosen.m_kib <= Costs::CHOSEN.m_kib && chosen.p == 1);
            let bounded = chosen == Costs::FLOOR || chosen == Costs::CHOSEN;
            let near = (aim * 6 / 10..=aim * 11 / 10).contains(&takes(chosen));
            assert!(bounded || near, "{pace}: {chosen:?} takes {:?}", takes(chosen));
        }
    }

    #[test]
    fn costs_are_measured_here() {
        let costs = Costs::calibrate(Duration::from_millis(1)).unwrap();
        assert_eq!(costs, Costs::FLOOR, "the least costs are never undercut");
    }
}
