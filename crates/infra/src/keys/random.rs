//! Random bytes of the system, and keys made of them.
//!
//! Must not know: what they are for.

use ring::rand::{SecureRandom as _, SystemRandom};
use sessions_ports::{KeyError, SecretKey};
use zeroize::Zeroizing;

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::NoEntropy)?;
    Ok(bytes)
}

/// A new secret.
pub(crate) fn new_key() -> Result<SecretKey, KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| KeyError::NoEntropy)?;
    Ok(SecretKey::take(&mut bytes))
}
