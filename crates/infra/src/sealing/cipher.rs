//! The primitives that everything sealed is made of: AES-256-GCM, HKDF-SHA256 and HMAC-SHA256, all of `ring`.
//!
//! Must not know: what is sealed, or where keys come from.

use std::sync::LazyLock;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, hmac,
};
use sessions_ports::{KeyError, KeyId, SecretKey};
use zeroize::Zeroizing;

pub(crate) use crate::keys::{new_key, random};

/// Bytes of a tag.
pub(crate) const TAG: usize = 16;
/// Bytes of a nonce.
pub(crate) const NONCE: usize = NONCE_LEN;

/// A key of 32 bytes for HKDF, whose length `ring` wants as a type.
struct Len32;

impl hkdf::KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

/// A subkey of a secret, for one purpose: HKDF-SHA256 (RFC 5869) without a salt, with the purpose as its info.
pub(crate) fn derive(secret: &SecretKey, purpose: &str) -> Result<SecretKey, KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    derive_into(secret.expose(), purpose, &mut bytes)?;
    Ok(SecretKey::take(&mut bytes))
}

/// The same of bytes, into these.
pub(crate) fn derive_into(secret: &[u8; 32], purpose: &str, into: &mut [u8; 32]) -> Result<(), KeyError> {
    // The beginning of each derivation is the same.
    static NO_SALT: LazyLock<hkdf::Salt> = LazyLock::new(|| hkdf::Salt::new(hkdf::HKDF_SHA256, &[]));
    let parts = [purpose.as_bytes()];
    let filled = NO_SALT.extract(secret).expand(&parts, Len32).and_then(|okm| okm.fill(into));
    filled.map_err(|_| KeyError::Damaged { what: "a key cannot be derived" })
}

/// A keyed hash.
pub(crate) fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    let mut digest = [0; 32];
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

/// The HMAC key of a secret.
pub(crate) fn mac_key(secret: &SecretKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose())
}

/// What tells that a key-encryption key is the one that is meant, without telling anything else about it: AES-GCM alone does not commit
/// to its key.
pub(crate) fn commitment(kek: &SecretKey, id: KeyId) -> [u8; 32] {
    mac(&mac_key(kek), &[b"sessions key check 1", &id.0])
}

/// Whether two digests are equal, in a time that tells nothing about where they differ.
pub(crate) fn is_same(a: &[u8], b: &[u8]) -> bool {
    // Comparing MACs of both under a key of the moment takes the same time for all inputs of one length.
    let Ok(key) = random::<32>() else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}

/// AES-256-GCM under one key.
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    pub(crate) fn new(secret: &SecretKey) -> Result<Self, KeyError> {
        Self::of(secret.expose())
    }

    /// The same of bytes.
    pub(crate) fn of(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = UnboundKey::new(&AES_256_GCM, secret);
        key.map(|key| Self(LessSafeKey::new(key))).map_err(|_| KeyError::Damaged { what: "a key has a wrong length" })
    }

    /// Seals what stands behind `from` in place, and appends the tag.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE],
        context: &[u8],
        buffer: &mut Vec<u8>,
        from: usize,
    ) -> Result<(), KeyError> {
        let broken = || KeyError::Damaged { what: "nothing can be sealed" };
        let text = buffer.get_mut(from..).ok_or_else(broken)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(context), text).map_err(|_| broken())?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens ciphertext and tag; `None` when they are not what was sealed under this key, nonce and context.
    pub(crate) fn open(&self, nonce: [u8; NONCE], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = sealed.to_vec();
        let length = self.open_in_place(nonce, context, &mut buffer)?.len();
        buffer.truncate(length);
        Some(buffer)
    }

    /// The same where it lies.
    pub(crate) fn open_in_place<'a>(
        &self,
        nonce: [u8; NONCE],
        context: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(context), sealed).ok().map(|text| &*text)
    }

    /// Seals a text under a random nonce, which stands before it.
    pub(crate) fn wrap(&self, context: &[u8], text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let nonce = random::<NONCE>()?;
        let mut sealed = Vec::with_capacity(NONCE + text.len() + TAG);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(text);
        self.seal(nonce, context, &mut sealed, NONCE)?;
        Ok(sealed)
    }

    /// Opens what [`Self::wrap`] made.
    pub(crate) fn unwrap(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        self.open(*nonce, context, sealed)
    }
}
