//! One request to the key service: bounded in time and size, tried again within bounds, to one host.
//!
//! Must not know: what is asked.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use sessions_ports::{KeyError, Passphrase};
use ureq::{
    Agent, Error,
    http::{HeaderMap, HeaderValue, Request, Uri},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};
use zeroize::Zeroizing;

use super::{
    super::wrapping,
    answer::{Failure, Passing, judge, nonsense, unavailable},
};

/// The most bytes of an answer. A key with a hundred versions has a few thousand.
const MOST_BYTES: usize = 64 << 10;
/// The most bytes of a token.
const MOST_OF_TOKEN: usize = 8 << 10;
/// Where systems keep the certificates that they trust.
const CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// What proves to the service who asks.
pub enum Token {
    /// The token itself.
    Given(Passphrase),
    /// A file that holds it, read anew for each request, so that an agent may renew it.
    File(PathBuf),
}

/// How long, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until a connection stands, its encryption included.
    pub connect: Duration,
    /// For one try.
    pub each: Duration,
    /// For all tries together, and the pauses between them.
    pub overall: Duration,
    /// How often it is tried at most.
    pub tries: u32,
    /// The first pause is up to this long, and each further one up to twice as long as the one before; never above ten times the first.
    pub pause: Duration,
}

impl Default for Bounds {
    /// Two seconds to connect, five for a try, fifteen in all, five tries, pauses from 0.1 s.
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self { connect: millis(2_000), each: millis(5_000), overall: millis(15_000), tries: 5, pause: millis(100) }
    }
}

/// A setting that cannot work.
pub(super) fn unusable(what: &'static str) -> KeyError {
    KeyError::Io { operation: "setting up the key service", source: io::Error::new(ErrorKind::InvalidInput, what) }
}

/// Checks an address, and gives it without a slash at the end.
pub(super) fn check_address(address: &str, allows_plain: bool) -> Result<(String, bool), KeyError> {
    let uri: Uri = address.parse().map_err(|_| unusable("its address is none"))?;
    let host = uri.host().ok_or_else(|| unusable("its address has no host"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) || uri.query().is_some() {
        return Err(unusable("its address may only have a host, a port and a path"));
    }
    let is_near = || {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    };
    let is_plain = match uri.scheme_str() {
        Some("https") => false,
        Some("http") if allows_plain || is_near() => true,
        Some("http") => return Err(unusable("its address is not encrypted; take https")),
        _ => return Err(unusable("its address begins neither with https nor with http")),
    };
    Ok((address.trim_end_matches('/').to_owned(), is_plain))
}

/// The certificates in a file.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, KeyError> {
    let failed = |source| KeyError::Io { operation: "reading the certificates for the key service", source };
    let mut pem = Vec::new();
    File::open(path).map_err(failed)?.take(16 << 20).read_to_end(&mut pem).map_err(failed)?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(unusable("there is no certificate in the file of certificates"));
    }
    Ok(found)
}

fn tls(trusted: Option<&Path>) -> Result<TlsConfig, KeyError> {
    let path = trusted.or_else(|| CERTIFICATES.iter().map(Path::new).find(|path| path.is_file()));
    let path = path.ok_or_else(|| unusable("the system has no certificates where others have them; name a file"))?;
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::from(certificates(path)?))
        .build())
}

/// Text as a header's value.
pub(super) fn header(text: &str, what: &'static str) -> Result<HeaderValue, KeyError> {
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(text).ok().filter(|_| is_visible);
    value.ok_or_else(|| unusable(what))
}

impl Token {
    fn header(&self) -> Result<HeaderValue, KeyError> {
        const WHAT: &str = "the token for it is none";
        let mut value = match self {
            Self::Given(token) => header(token.expose(), WHAT)?,
            Self::File(path) => {
                let failed = |source| KeyError::Io { operation: "reading the token for the key service", source };
                if !fs::metadata(path).map_err(failed)?.is_file() {
                    return Err(unusable("the token for it is not in a file"));
                }
                let mut token = Zeroizing::new(Vec::with_capacity(MOST_OF_TOKEN + 2));
                let file = File::open(path).map_err(failed)?;
                file.take(MOST_OF_TOKEN as u64 + 1).read_to_end(&mut token).map_err(failed)?;
                let text = std::str::from_utf8(token.trim_ascii()).ok().filter(|_| token.len() <= MOST_OF_TOKEN);
                header(text.unwrap_or_default(), WHAT)?
            }
        };
        value.set_sensitive(true);
        Ok(value)
    }
}

/// What one request asks.
pub(super) struct Call<'a> {
    /// Below the mount.
    pub(super) path: String,
    /// None: it only reads.
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
    /// The key's name, for errors.
    pub(super) key: &'a str,
}

/// The way to the service.
pub(super) struct Transport {
    agent: Agent,
    /// Up to the mount, and a slash.
    base: String,
    namespace: Option<HeaderValue>,
    token: Token,
    bounds: Bounds,
}

impl Transport {
    pub(super) fn new(
        base: String,
        namespace: Option<HeaderValue>,
        token: Token,
        bounds: Bounds,
        trusted: Option<&Path>,
        is_plain: bool,
    ) -> Result<Self, KeyError> {
        let config = Agent::config_builder()
            // Nothing is taken from the environment.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .https_only(!is_plain)
            .timeout_connect(Some(bounds.connect))
            .max_response_header_size(16 << 10)
            .max_idle_connections(2)
            .user_agent("sessions");
        let config = if is_plain { config } else { config.tls_config(tls(trusted)?) };
        Ok(Self { agent: config.build().into(), base, namespace, token, bounds })
    }

    /// Asks, and again as long as it may help and the time is not over. Waits for it.
    pub(super) fn ask(&self, call: &Call<'_>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let begun = Instant::now();
        let mut tried = 0;
        loop {
            let left = self.bounds.overall.saturating_sub(begun.elapsed());
            let passing = match self.ask_once(call, left.min(self.bounds.each)) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(passing)) => passing,
            };
            let asked_to_wait = match &passing {
                Passing::Unavailable { retry_after, .. } => retry_after.unwrap_or_default(),
                Passing::TimedOut => Duration::ZERO,
            };
            let pause = self.pause(tried)?.max(asked_to_wait);
            tried += 1;
            let left = self.bounds.overall.saturating_sub(begun.elapsed());
            if tried >= self.bounds.tries || pause >= left {
                return Err(match passing {
                    Passing::TimedOut => KeyError::TimedOut { after: begun.elapsed() },
                    Passing::Unavailable { what, retry_after } => KeyError::Unavailable { what, retry_after },
                });
            }
            thread::sleep(pause);
        }
    }

    /// Any time between none and the longest, so that many who failed together do not come back together.
    fn pause(&self, tried: u32) -> Result<Duration, KeyError> {
        let longest = self.bounds.pause.saturating_mul(1 << tried.min(8)).min(self.bounds.pause.saturating_mul(10));
        let chance = u32::from_le_bytes(wrapping::random()?);
        Ok(longest.mul_f64(f64::from(chance) / f64::from(u32::MAX)))
    }

    fn ask_once(&self, call: &Call<'_>, time: Duration) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if time.is_zero() {
            return Err(Failure::Passing(Passing::TimedOut));
        }
        let mut request = Request::builder().uri(format!("{}{}", self.base, call.path));
        if let Some(headers) = request.headers_mut() {
            headers.insert("X-Vault-Token", self.token.header().map_err(Failure::Final)?);
            headers.insert("X-Vault-Request", HeaderValue::from_static("true"));
            if let Some(namespace) = &self.namespace {
                headers.insert("X-Vault-Namespace", namespace.clone());
            }
            if call.body.is_some() {
                headers.insert("Content-Type", HeaderValue::from_static("application/json"));
            }
        }
        let none = |_| nonsense("its address is none");
        let response = match &call.body {
            None => {
                let request = request.method("GET").body(()).map_err(none)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(time)).build())
            }
            Some(body) => {
                let request = request.method("POST").body(body.as_slice()).map_err(none)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(time)).build())
            }
        };
        let mut response = response.map_err(failure_of)?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        let mut body = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 2));
        let read = response.body_mut().as_reader().take(MOST_BYTES as u64 + 1).read_to_end(&mut body);
        // What is no success is told by its status already, however its body ended.
        if (200..300).contains(&status) {
            read.map_err(|error| failure_of(Error::from(error)))?;
        }
        if body.len() > MOST_BYTES {
            return Err(nonsense("it is too large"));
        }
        judge(status, &body, retry_after, call.key)?;
        Ok(body)
    }
}

/// In seconds. The other form, a date, would need the service's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("Retry-After")?.to_str().ok()?.trim().parse::<u32>().ok()?;
    Some(Duration::from_secs(u64::from(seconds)))
}

const NO_TLS: &str = "it is no TLS that we speak";

fn of_tls(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => "its certificate is not one that is trusted here",
        _ => NO_TLS,
    }
}

fn failure_of(error: Error) -> Failure {
    match error {
        Error::Timeout(_) => Failure::Passing(Passing::TimedOut),
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => Failure::Passing(Passing::TimedOut),
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => nonsense(of_tls(error)),
            None => unavailable(error.kind().to_string()),
        },
        Error::HostNotFound => unavailable("its host was not found"),
        Error::ConnectionFailed => unavailable("no connection"),
        Error::Rustls(error) => nonsense(of_tls(&error)),
        Error::Tls(_) | Error::Pem(_) | Error::TlsRequired => nonsense(NO_TLS),
        _ => nonsense("it is no HTTP"),
    }
}
