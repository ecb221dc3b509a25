//! How a secret is wrapped under another one that we hold ourselves: AES-256-GCM, with a commitment to the key.
//!
//! ```text
//! 0   1  format (1)              33  12  nonce, random            93  16  the first bytes of a SHA-256 over all before and what is bound
//! 1  32  commitment to the key   45  48  secret, sealed, and tag
//! ```
//!
//! AES-GCM alone does not say whether the key or the bytes are wrong. The commitment does (a keyed hash under another subkey, compared in
//! constant time), and the digest tells damage from both, also of parameters that the key was derived with.
//!
//! Must not know: where the wrapping key comes from.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{Context, SHA256},
    hkdf, hmac,
};
use sessions_domain::chain;
use sessions_ports::{KeyContext, KeyError, ProviderKind, SecretKey};
use zeroize::Zeroizing;

use super::random;

const FORMAT: u8 = 1;
const COMMITMENT: usize = 32;
const SEALED: usize = 32 + 16;
/// Bytes of a digest.
pub(super) const DIGEST: usize = 16;
const BYTES: usize = 1 + COMMITMENT + NONCE_LEN + SEALED + DIGEST;
pub(super) const CHANGED: KeyError = KeyError::Damaged { what: "the wrapped key is not as it was written" };

/// What a wrapping is for: the key of one kind of provider, and what else it stands or falls with.
pub(super) struct Purpose<'a> {
    /// Tells this use of a key from every other.
    pub(super) domain: &'static str,
    pub(super) kind: ProviderKind,
    /// As parameters: changed with them, the wrapping is damaged.
    pub(super) bound: &'a [u8],
}

impl Purpose<'_> {
    fn associated(&self, context: &KeyContext) -> Vec<u8> {
        [self.domain.as_bytes(), &context.to_bytes(), self.bound].concat()
    }

    fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        digest(self.domain, bytes, self.bound)
    }
}

/// Tells whether a wrapping is as it was written; no protection against whoever changes it too.
pub(super) fn digest(domain: &str, bytes: &[u8], bound: &[u8]) -> Vec<u8> {
    let mut digest = Context::new(&SHA256);
    digest.update(domain.as_bytes());
    digest.update(bytes);
    digest.update(bound);
    digest.finish().as_ref().iter().copied().take(DIGEST).collect()
}

struct Subkeys {
    seals: LessSafeKey,
    commits: hmac::Key,
}

impl Subkeys {
    /// Of a key that has 256 bits; HKDF fails for no such lengths.
    fn of(key: &SecretKey, domain: &'static str) -> Option<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, domain.as_bytes()).extract(key.expose());
        let seals = UnboundKey::from(root.expand(&[b"seal"], &AES_256_GCM).ok()?);
        let commits = hmac::Key::from(root.expand(&[b"commit"], hmac::HMAC_SHA256).ok()?);
        Some(Self { seals: LessSafeKey::new(seals), commits })
    }
}

/// Wraps a secret under a key, as hexadecimal.
pub(super) fn wrap(
    key: &SecretKey,
    purpose: &Purpose<'_>,
    secret: &SecretKey,
    context: &KeyContext,
) -> Result<String, KeyError> {
    let subkeys = Subkeys::of(key, purpose.domain).ok_or(CHANGED)?;
    let nonce: [u8; NONCE_LEN] = random::random()?;
    let mut sealed = Zeroizing::new(Vec::with_capacity(SEALED));
    sealed.extend(secret.expose());
    let associated = Aad::from(purpose.associated(context));
    let nonce_of = Nonce::assume_unique_for_key(nonce);
    subkeys.seals.seal_in_place_append_tag(nonce_of, associated, &mut *sealed).map_err(|_| CHANGED)?;
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.push(FORMAT);
    bytes.extend(hmac::sign(&subkeys.commits, purpose.domain.as_bytes()).as_ref());
    bytes.extend(nonce);
    bytes.extend(sealed.iter());
    bytes.extend(purpose.digest(&bytes));
    Ok(chain::to_hex(&bytes))
}

/// Unwraps what [`wrap`] gave for the same purpose and context.
pub(super) fn unwrap(
    key: &SecretKey,
    purpose: &Purpose<'_>,
    wrapped: &str,
    context: &KeyContext,
) -> Result<SecretKey, KeyError> {
    let bytes = check(purpose, wrapped)?;
    let (commitment, rest) =
        bytes.get(1..BYTES - DIGEST).and_then(|b| b.split_at_checked(COMMITMENT)).ok_or(CHANGED)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(CHANGED)?;
    let subkeys = Subkeys::of(key, purpose.domain).ok_or(CHANGED)?;
    hmac::verify(&subkeys.commits, purpose.domain.as_bytes(), commitment)
        .map_err(|_| KeyError::WrongKey { kind: purpose.kind })?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CHANGED)?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let associated = Aad::from(purpose.associated(context));
    let secret = subkeys.seals.open_in_place(nonce, associated, &mut opened).map_err(|_| {
        // The key is right and nothing is damaged, so it is another store's, or somebody made it up.
        KeyError::Damaged { what: "the wrapped key is another store's" }
    })?;
    SecretKey::from_slice(secret).ok_or(CHANGED)
}

/// What needs no key: that the bytes are as they were written, and of this format.
pub(super) fn check(purpose: &Purpose<'_>, wrapped: &str) -> Result<Vec<u8>, KeyError> {
    if wrapped.len() != 2 * BYTES {
        return Err(CHANGED);
    }
    let bytes = chain::from_hex(wrapped).ok_or(CHANGED)?;
    let (covered, digest) = bytes.split_at_checked(BYTES - DIGEST).ok_or(CHANGED)?;
    if purpose.digest(covered) != digest {
        return Err(CHANGED);
    }
    match covered.first() {
        Some(&FORMAT) => Ok(bytes),
        format => Err(KeyError::Newer { found: format!("a wrapped key of format {}", format.copied().unwrap_or(0)) }),
    }
}

#[cfg(test)]
mod tests {
    use sessions_ports::{KeyId, StoreId};

    use super::*;

    const PURPOSE: Purpose<'_> = Purpose { domain: "test 1", kind: ProviderKind::KeyFile, bound: b"parameters" };
    const CONTEXT: KeyContext = KeyContext { store: StoreId([1; 16]), key: KeyId([2; 8]) };

    fn key(byte: u8) -> SecretKey {
        SecretKey::take(&mut [byte; 32])
    }

    #[test]
    fn what_is_wrapped_is_unwrapped_and_wrapped_twice_it_differs() {
        let (one, two) = (wrap(&key(1), &PURPOSE, &key(7), &CONTEXT), wrap(&key(1), &PURPOSE, &key(7), &CONTEXT));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_ne!(one, two);
        for wrapped in [one, two] {
            assert_eq!(unwrap(&key(1), &PURPOSE, &wrapped, &CONTEXT).unwrap().expose(), &[7; 32]);
            assert!(!wrapped.contains("0707070707"));
        }
    }

    #[test]
    fn a_thousand_wrong_keys_are_wrong_and_not_damage() {
        let wrapped = wrap(&key(1), &PURPOSE, &key(7), &CONTEXT).unwrap();
        for number in 0..1000_u32 {
            let mut wrong = [1; 32];
            wrong[..4].copy_from_slice(&(number + 0x0202_0202).to_le_bytes());
            let answer = unwrap(&SecretKey::take(&mut wrong), &PURPOSE, &wrapped, &CONTEXT);
            assert!(matches!(answer, Err(KeyError::WrongKey { kind: ProviderKind::KeyFile })));
        }
    }

    #[test]
    fn every_changed_bit_is_damage_and_not_a_wrong_key() {
        let wrapped = wrap(&key(1), &PURPOSE, &key(7), &CONTEXT).unwrap();
        let bytes = chain::from_hex(&wrapped).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let answer = unwrap(&key(1), &PURPOSE, &chain::to_hex(&flipped), &CONTEXT);
            assert!(matches!(answer, Err(KeyError::Damaged { .. })), "bit {bit}");
        }
        for broken in ["", "0", "zz", &wrapped[1..], &format!("{wrapped}00"), &"é".repeat(BYTES)] {
            assert!(matches!(unwrap(&key(1), &PURPOSE, broken, &CONTEXT), Err(KeyError::Damaged { .. })), "{broken}");
        }
        let other = Purpose { bound: b"parameterS", ..PURPOSE };
        assert!(matches!(unwrap(&key(1), &other, &wrapped, &CONTEXT), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn it_is_bound_to_its_store_its_name_and_its_use() {
        let wrapped = wrap(&key(1), &PURPOSE, &key(7), &CONTEXT).unwrap();
        for context in [KeyContext { store: StoreId([9; 16]), ..CONTEXT }, KeyContext { key: KeyId([9; 8]), ..CONTEXT }]
        {
            assert!(matches!(unwrap(&key(1), &PURPOSE, &wrapped, &context), Err(KeyError::Damaged { .. })));
        }
        let other = Purpose { domain: "test 2", ..PURPOSE };
        assert!(unwrap(&key(1), &other, &wrapped, &CONTEXT).is_err());
    }

    #[test]
    fn bytes_that_somebody_made_up_open_nothing() {
        // Whoever changes the bytes and the digest with them is still without the key.
        let bytes = chain::from_hex(&wrap(&key(1), &PURPOSE, &key(7), &CONTEXT).unwrap()).unwrap();
        for (at, wrong_key) in [(0, false), (1, true), (32, true), (33, false), (45, false), (92, false)] {
            let mut made_up = bytes[..BYTES - DIGEST].to_vec();
            made_up[at] ^= 4;
            made_up.extend(PURPOSE.digest(&made_up));
            match unwrap(&key(1), &PURPOSE, &chain::to_hex(&made_up), &CONTEXT) {
                Err(KeyError::WrongKey { .. }) => assert!(wrong_key, "{at}"),
                Err(KeyError::Damaged { .. }) => assert!(!wrong_key && at > 0, "{at}"),
                Err(KeyError::Newer { .. }) => assert_eq!(at, 0),
                other => panic!("{at}: {}", other.is_ok()),
            }
        }
    }
}
