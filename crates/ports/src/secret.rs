//! Secrets in memory: wiped when they are dropped, and never shown, copied or written by accident.
//!
//! Must not know: what a secret is for.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

/// 32 secret bytes. They are wiped when this is dropped.
///
/// It cannot be shown, cloned, compared with `==` or serialised, so none of that happens by accident:
///
/// ```compile_fail
/// fn shown(key: &sessions_ports::SecretKey) -> String { format!("{key:?}") }
/// ```
/// ```compile_fail
/// fn copied(key: &sessions_ports::SecretKey) -> sessions_ports::SecretKey { key.clone() }
/// ```
/// ```compile_fail
/// fn compared(a: &sessions_ports::SecretKey, b: &sessions_ports::SecretKey) -> bool { a == b }
/// ```
/// ```compile_fail
/// fn written(key: &sessions_ports::SecretKey) -> impl serde::Serialize + '_ { key }
/// ```
pub struct SecretKey(Box<Zeroizing<[u8; 32]>>);

impl SecretKey {
    /// Takes these bytes, and wipes the place they came from.
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let mut taken = Box::new(Zeroizing::new([0; 32]));
        taken.copy_from_slice(bytes);
        bytes.zeroize();
        Self(taken)
    }

    /// Takes 32 bytes of a longer secret, which stays as it is; `None` when there are not as many.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 32 {
            return None;
        }
        let mut taken = Box::new(Zeroizing::new([0; 32]));
        taken.copy_from_slice(bytes);
        Some(Self(taken))
    }

    /// The bytes, for the cipher that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A passphrase. It is wiped when this is dropped, and cannot be shown, cloned or serialised.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a text. Its memory becomes this one's, so no copy of it stays.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the function that derives a key from it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The name of a key-encryption key: tells keys apart and nothing about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sessions_domain::chain::to_hex(&self.0))
    }
}
