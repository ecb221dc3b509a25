//! A key in the transit engine of Vault (or what speaks its HTTP API): it wraps the store's key there and never leaves it.
//!
//! `GET keys/NAME`, `POST encrypt/NAME`, `POST decrypt/NAME` below the mount. What is encrypted there is
//!
//! ```text
//! 0  10  "sessions 1"     10  24  the context     34  32  the secret
//! ```
//!
//! and the context goes along as `context` (for keys that are derived) and as `associated_data`. Older services ignore the latter, so the
//! context stands inside as well.
//!
//! Must not know: what the store's key is for.

mod answer;
mod cache;
mod http;
mod transport;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, de::DeserializeOwned};
use sessions_domain::chain;
use sessions_ports::{KeyContext, KeyError, KeyHealth, KeyId, KeyProvider, ProviderKind, SecretKey, StoreId, Wrapped};
use zeroize::Zeroizing;

use self::{
    cache::Cache,
    transport::{Address, Call, Transport},
};
use super::{
    random,
    wrapping::{self, CHANGED, DIGEST},
};

pub use self::transport::{Bounds, Token};

const DOMAIN: &str = "sessions service 1";
const MAGIC: &[u8; 10] = b"sessions 1";
const PLAIN: usize = MAGIC.len() + 24 + 32;
/// The most characters of a ciphertext; it has about 150.
const MOST_OF_CIPHERTEXT: usize = 4096;
/// The kinds of keys that encrypt with associated data.
const KINDS: [&str; 4] = ["aes256-gcm96", "aes128-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// Where a key is, and how to get at it.
pub struct VaultTransit {
    /// The service's address, as `https://vault.example.com:8200`. Only a loopback address may begin with `http`.
    pub address: String,
    /// Where the engine is mounted, as `transit`.
    pub mount: String,
    /// The key's name. It has to be there: none is made.
    pub key: String,
    /// The namespace, where the service has them.
    pub namespace: Option<String>,
    /// What proves who asks.
    pub token: Token,
    /// A file with the certificates that are trusted (PEM); `None`: those of the system.
    pub certificates: Option<PathBuf>,
    /// Allows an address that is neither encrypted nor on this machine, where something else encrypts the way there.
    pub allows_plain: bool,
    /// How long, and how often.
    pub bounds: Bounds,
    /// How many unwrapped keys are kept at most.
    pub keeps: usize,
    /// How long each is kept. A key that is revoked works for so long.
    pub keeps_for: Duration,
}

impl VaultTransit {
    /// With the usual bounds; 16 keys are kept for five minutes.
    pub fn new(address: impl Into<String>, mount: impl Into<String>, key: impl Into<String>, token: Token) -> Self {
        Self {
            address: address.into(),
            mount: mount.into(),
            key: key.into(),
            namespace: None,
            token,
            certificates: None,
            allows_plain: false,
            bounds: Bounds::default(),
            keeps: 16,
            keeps_for: Duration::from_secs(300),
        }
    }
}

/// Wraps a store's key under one in a transit engine.
pub struct VaultTransitProvider(Arc<Inner>);

struct Inner {
    transport: Transport,
    mount: String,
    key: String,
    cache: Mutex<Cache>,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct KeyData {
    latest_version: u64,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}

const NO_ANSWER: KeyError = KeyError::Nonsense { what: "it is not what the transit engine answers" };

fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, KeyError> {
    serde_json::from_slice::<Answer<T>>(answer).map(|answer| answer.data).map_err(|_| NO_ANSWER)
}

/// A name that can stand in a path and leads nowhere else.
fn check_name(name: &str, slash: bool) -> bool {
    let is_part = |part: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && part.chars().all(is_plain) && part.chars().any(|c| c != '.')
    };
    if slash { name.split('/').all(is_part) } else { is_part(name) }
}

/// `{"NAME":"VALUE"…}` of values that need no escapes, in memory that is wiped.
fn body_of(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let room = fields.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    for (name, value) in fields {
        let before: &[u8] = if body.is_empty() { b"{\"" } else { b",\"" };
        for part in [before, name.as_bytes(), b"\":\"", value.as_bytes(), b"\""] {
            body.extend(part);
        }
    }
    body.push(b'}');
    body
}

impl Inner {
    fn name(&self, version: u64) -> String {
        format!("{}/{}:v{version}", self.mount, self.key)
    }

    /// The newest version of the key, which encrypts.
    fn version(&self) -> Result<u64, KeyError> {
        let key = format!("{}/{}", self.mount, self.key);
        let call = Call { path: format!("keys/{}", self.key), body: None, key: &key };
        let KeyData { latest_version, kind } = parse(&self.transport.ask(&call)?)?;
        if !KINDS.contains(&kind.as_str()) {
            return Err(KeyError::Nonsense { what: "the key is of a kind that cannot wrap; take aes256-gcm96" });
        }
        Ok(latest_version)
    }

    fn wrap(&self, secret: &SecretKey, context: &KeyContext) -> Result<Wrapped, KeyError> {
        // Without this the service would make a key where there is none.
        let name = self.name(self.version()?);
        let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN));
        for part in [&MAGIC[..], &context.to_bytes(), secret.expose()] {
            plain.extend(part);
        }
        let (plain, context) = (Zeroizing::new(STANDARD.encode(&*plain)), STANDARD.encode(context.to_bytes()));
        let body = body_of(&[("plaintext", &plain), ("context", &context), ("associated_data", &context)]);
        let call = Call { path: format!("encrypt/{}", self.key), body: Some(body), key: &name };
        let Encrypted { ciphertext } = parse(&self.transport.ask(&call)?)?;
        let is_one = (1..=MOST_OF_CIPHERTEXT).contains(&ciphertext.len())
            && ciphertext.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if !is_one {
            return Err(NO_ANSWER);
        }
        let mut bytes = ciphertext.as_bytes().to_vec();
        bytes.extend(wrapping::digest(DOMAIN, ciphertext.as_bytes(), b""));
        // The version that was really used: the key may have been rotated between the two requests.
        let used = ciphertext.split(':').nth(1).and_then(|version| version.strip_prefix('v')?.parse().ok());
        Ok(Wrapped {
            provider: ProviderKind::Service,
            key: used.map_or(name, |version| self.name(version)),
            parameters: serde_json::Value::Object(serde_json::Map::new()),
            bytes: chain::to_hex(&bytes),
        })
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &KeyContext) -> Result<SecretKey, KeyError> {
        let bytes = Some(&wrapped.bytes).filter(|bytes| bytes.len() <= 2 * (MOST_OF_CIPHERTEXT + DIGEST));
        let bytes = bytes.and_then(|bytes| chain::from_hex(bytes)).ok_or(CHANGED)?;
        let end = bytes.len().checked_sub(DIGEST).ok_or(CHANGED)?;
        let (ciphertext, digest) = bytes.split_at_checked(end).ok_or(CHANGED)?;
        if wrapping::digest(DOMAIN, ciphertext, b"") != digest {
            return Err(CHANGED);
        }
        let ciphertext = std::str::from_utf8(ciphertext).ok();
        let is_one = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        let ciphertext = ciphertext.filter(is_one).ok_or(CHANGED)?;
        let bound = STANDARD.encode(context.to_bytes());
        let body = body_of(&[("ciphertext", ciphertext), ("context", &bound), ("associated_data", &bound)]);
        let call = Call { path: format!("decrypt/{}", self.key), body: Some(body), key: &wrapped.key };
        let Decrypted { plaintext } = parse(&self.transport.ask(&call)?)?;
        let plaintext = Zeroizing::new(plaintext);
        let mut plain = Zeroizing::new([0; PLAIN + 3]);
        let length = STANDARD.decode_slice(plaintext.as_bytes(), plain.as_mut_slice()).map_err(|_| NO_ANSWER)?;
        let plain = plain.get(..length).and_then(|plain| plain.strip_prefix(MAGIC)).ok_or(NO_ANSWER)?;
        let (found, secret) = plain.split_at_checked(24).ok_or(NO_ANSWER)?;
        if found != context.to_bytes() {
            return Err(KeyError::Damaged { what: "the wrapped key is another store's" });
        }
        SecretKey::from_slice(secret).ok_or(NO_ANSWER)
    }

    /// As [`Self::unwrap`], from what was unwrapped lately.
    fn unwrap_cached(&self, wrapped: &Wrapped, context: &KeyContext) -> Result<SecretKey, KeyError> {
        let mut of = [0; 32];
        let bytes = [wrapped.bytes.as_bytes(), &context.to_bytes()].concat();
        of.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        let asked = Instant::now();
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = cache().get(&of, asked) {
            return Ok(secret);
        }
        let secret = self.unwrap(wrapped, context)?;
        cache().put(of, asked, &secret);
        Ok(secret)
    }

    /// Wraps and unwraps something, because a token may allow one and not the other.
    fn health(&self) -> Result<KeyHealth, KeyError> {
        let begun = Instant::now();
        let (secret, context) = (random::new_key()?, KeyContext { store: StoreId([0; 16]), key: KeyId([0; 8]) });
        let wrapped = self.wrap(&secret, &context)?;
        let unwrapped = self.unwrap(&wrapped, &context)?;
        // Nothing was ever sealed with it, so how long this takes tells nobody anything.
        if secret.expose() != unwrapped.expose() {
            return Err(NO_ANSWER);
        }
        Ok(KeyHealth { current: wrapped.key, took: begun.elapsed() })
    }
}

impl VaultTransitProvider {
    /// Gets everything ready, and asks nothing yet. Reads the certificates, so it waits for the disk.
    ///
    /// # Errors
    /// [`KeyError::Io`] for settings that cannot work.
    pub fn new(settings: VaultTransit) -> Result<Self, KeyError> {
        let address = Address::parse(&settings.address, settings.allows_plain)?;
        let mount = settings.mount.trim_matches('/').to_owned();
        if !check_name(&mount, true) || !check_name(&settings.key, false) {
            return Err(transport::unusable("the name of its mount or key is none"));
        }
        let namespace = settings.namespace;
        namespace.as_deref().map_or(Ok(()), |name| transport::header(name, "its namespace is none"))?;
        let certificates = settings.certificates.as_deref();
        let transport = Transport::new(address, &mount, namespace, settings.token, settings.bounds, certificates)?;
        let cache = Mutex::new(Cache::new(settings.keeps, settings.keeps_for));
        Ok(Self(Arc::new(Inner { transport, mount, key: settings.key, cache })))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let inner = Arc::clone(&self.0);
        let ended = |error| KeyError::Io { operation: "asking the key service", source: std::io::Error::other(error) };
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(ended)?
    }
}

#[async_trait]
impl KeyProvider for VaultTransitProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Service
    }

    async fn current(&self) -> Result<String, KeyError> {
        self.with(|inner| Ok(inner.name(inner.version()?))).await
    }

    async fn wrap(&self, secret: &SecretKey, context: &KeyContext) -> Result<Wrapped, KeyError> {
        let secret = SecretKey::from_slice(secret.expose()).ok_or(CHANGED)?;
        let context = *context;
        self.with(move |inner| inner.wrap(&secret, &context)).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &KeyContext) -> Result<SecretKey, KeyError> {
        if wrapped.provider != ProviderKind::Service {
            return Err(KeyError::OtherKind { needed: wrapped.provider, given: ProviderKind::Service });
        }
        let (wrapped, context) = (wrapped.clone(), *context);
        self.with(move |inner| inner.unwrap_cached(&wrapped, &context)).await
    }

    async fn health(&self) -> Result<KeyHealth, KeyError> {
        self.with(Inner::health).await
    }
}
