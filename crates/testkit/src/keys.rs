//! A key provider that protects nothing, for tests of what is sealed.
//!
//! Must not know: any cipher.

use std::time::Duration;

use async_trait::async_trait;
use sessions_domain::chain;
use sessions_ports::{KeyContext, KeyError, KeyHealth, KeyProvider, ProviderKind, SecretKey, Wrapped};

/// Wraps by laying one byte over the secret, so that every byte is another key and nothing takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedKey(pub u8);

#[async_trait]
impl KeyProvider for FixedKey {
    fn kind(&self) -> ProviderKind {
        ProviderKind::KeyFile
    }

    async fn current(&self) -> Result<String, KeyError> {
        Ok(format!("fixed-{}", self.0))
    }

    async fn wrap(&self, secret: &SecretKey, context: &KeyContext) -> Result<Wrapped, KeyError> {
        let bytes: Vec<u8> = secret.expose().iter().chain(&context.to_bytes()).map(|byte| byte ^ self.0).collect();
        let (key, bytes) = (self.current().await?, chain::to_hex(&bytes));
        Ok(Wrapped { provider: self.kind(), key, parameters: serde_json::Value::default(), bytes })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &KeyContext) -> Result<SecretKey, KeyError> {
        if wrapped.provider != self.kind() {
            return Err(KeyError::OtherKind { needed: wrapped.provider, given: self.kind() });
        }
        let bytes = chain::from_hex(&wrapped.bytes).ok_or(KeyError::Damaged { what: "the wrapped key is none" })?;
        let bytes: Vec<u8> = bytes.iter().map(|byte| byte ^ self.0).collect();
        let wrong = || KeyError::WrongKey { kind: self.kind() };
        let (secret, of) = bytes.split_at_checked(32).ok_or_else(wrong)?;
        if of != context.to_bytes() {
            return Err(wrong());
        }
        SecretKey::from_slice(secret).ok_or_else(wrong)
    }

    async fn health(&self) -> Result<KeyHealth, KeyError> {
        Ok(KeyHealth { current: self.current().await?, took: Duration::ZERO })
    }
}
