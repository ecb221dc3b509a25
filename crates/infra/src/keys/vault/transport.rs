//! The way to the key service: its address, who asks, how long and how often. One host, tried again within bounds.
//!
//! Must not know: what is asked.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, pki_types::ServerName};
use sessions_ports::{KeyError, Passphrase};
use zeroize::Zeroizing;

use crate::certificates;

use super::{
    super::random,
    answer::{Failure, Passing, judge},
    http::Host,
};

/// The most bytes of a token.
const MOST_OF_TOKEN: usize = 8 << 10;
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

const SETTING_UP: &str = "setting up the key service";

/// A setting that cannot work.
pub(super) fn unusable(what: &'static str) -> KeyError {
    KeyError::Io { operation: SETTING_UP, source: io::Error::new(ErrorKind::InvalidInput, what) }
}

/// Where a service is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
    is_plain: bool,
    /// As the service has to hear it.
    authority: String,
    /// What stands before each path; empty, or begins with a slash.
    prefix: String,
}

impl Address {
    /// Reads `https://HOST[:PORT][/PATH]`.
    pub(super) fn parse(text: &str, allows_plain: bool) -> Result<Self, KeyError> {
        if text.bytes().any(|byte| !byte.is_ascii_graphic() || b"@?#\\%\"<>".contains(&byte)) {
            return Err(unusable("its address may only have a host, a port and a path"));
        }
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| unusable("its address does not begin with https://"))?;
        let is_plain = match scheme.to_ascii_lowercase().as_str() {
            "https" => false,
            "http" => true,
            _ => return Err(unusable("its address begins neither with https nor with http")),
        };
        let (authority, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let wrong = || unusable("its address is none");
        let port = match port {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None if is_plain => 80,
            None => 443,
        };
        ServerName::try_from(host).map_err(|_| wrong())?;
        if is_plain && !allows_plain && !is_here(host) {
            return Err(unusable("its address is not encrypted; take https"));
        }
        let prefix = path.trim_end_matches('/').to_owned();
        let (host, authority) = (host.to_owned(), authority.to_owned());
        Ok(Self { host, port, is_plain, authority, prefix })
    }
}

/// Whether a host is this machine, whatever a name server says.
fn is_here(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn tls(trusted: Option<&Path>) -> Result<ClientConfig, KeyError> {
    certificates::client(trusted).map_err(|source| match source.kind() {
        ErrorKind::InvalidInput => KeyError::Io { operation: SETTING_UP, source },
        _ => KeyError::Io { operation: "reading the certificates for the key service", source },
    })
}

/// Checks what is to be a header's value.
pub(super) fn header(text: &str, what: &'static str) -> Result<(), KeyError> {
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(()) } else { Err(unusable(what)) }
}

impl Token {
    /// Hands on the token, as a header's value.
    fn with<T>(&self, work: impl FnOnce(&str) -> T) -> Result<T, KeyError> {
        const WHAT: &str = "the token for it is none";
        match self {
            Self::Given(token) => header(token.expose(), WHAT).map(|()| work(token.expose())),
            Self::File(path) => {
                let failed = |source| KeyError::Io { operation: "reading the token for the key service", source };
                if !fs::metadata(path).map_err(failed)?.is_file() {
                    return Err(unusable("the token for it is not in a file"));
                }
                // With room for all of it, so that no copy is left where it grew.
                let mut token = Zeroizing::new(Vec::with_capacity(MOST_OF_TOKEN + 2));
                let file = File::open(path).map_err(failed)?;
                file.take(MOST_OF_TOKEN as u64 + 1).read_to_end(&mut token).map_err(failed)?;
                let text = std::str::from_utf8(token.trim_ascii()).ok().filter(|_| token.len() <= MOST_OF_TOKEN);
                let text = text.unwrap_or_default();
                header(text, WHAT).map(|()| work(text))
            }
        }
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
    host: Host,
    authority: String,
    /// Up to the mount, and a slash.
    base: String,
    namespace: Option<String>,
    token: Token,
    bounds: Bounds,
}

impl Transport {
    pub(super) fn new(
        address: Address,
        mount: &str,
        namespace: Option<String>,
        token: Token,
        bounds: Bounds,
        trusted: Option<&Path>,
    ) -> Result<Self, KeyError> {
        let Address { host, port, is_plain, authority, prefix } = address;
        let tls = if is_plain { None } else { Some(Arc::new(tls(trusted)?)) };
        let base = format!("{prefix}/v1/{mount}/");
        Ok(Self { host: Host { name: host, port, tls }, authority, base, namespace, token, bounds })
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
        let chance = u32::from_le_bytes(random::random()?);
        Ok(longest.mul_f64(f64::from(chance) / f64::from(u32::MAX)))
    }

    fn ask_once(&self, call: &Call<'_>, time: Duration) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // However long a host allows: a moment that is too far away is none.
        let (begun, time) = (Instant::now(), time.min(Duration::from_secs(3_600)));
        let request = self.token.with(|token| self.request(call, token)).map_err(Failure::Final)?;
        let (connected_by, until) = (begun + time.min(self.bounds.connect), begun + time);
        let answer = self.host.exchange(&request, connected_by, until)?;
        // What is no success is told by its status already, however its body ended.
        judge(answer.status, &answer.body, answer.retry_after, call.key)?;
        answer.broken.map_or(Ok(answer.body), Err)
    }

    /// The bytes of a request, in memory that is wiped.
    fn request(&self, call: &Call<'_>, token: &str) -> Zeroizing<Vec<u8>> {
        let length = call.body.as_ref().map_or(0, |body| body.len());
        let method = if call.body.is_some() { "POST" } else { "GET" };
        let length_line = format!("Content-Length: {length}\r\n");
        let mut lines = vec![method, " ", &self.base, &call.path, " HTTP/1.1\r\nHost: ", &self.authority, "\r\n"];
        lines.push("Connection: close\r\nAccept: application/json\r\nUser-Agent: sessions\r\n");
        lines.extend(["X-Vault-Request: true\r\nX-Vault-Token: ", token, "\r\n"]);
        if let Some(namespace) = &self.namespace {
            lines.extend(["X-Vault-Namespace: ", namespace, "\r\n"]);
        }
        if call.body.is_some() {
            lines.extend(["Content-Type: application/json\r\n", &length_line]);
        }
        lines.push("\r\n");
        let room = lines.iter().map(|line| line.len()).sum::<usize>() + length;
        let mut request = Zeroizing::new(Vec::with_capacity(room));
        lines.iter().for_each(|line| request.extend(line.as_bytes()));
        request.extend(call.body.iter().flat_map(|body| body.iter()));
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let address = |text| {
            let Address { host, port, is_plain, authority, prefix } = Address::parse(text, false).ok()?;
            Some(format!("{host} {port} {is_plain} {authority} {prefix}"))
        };
        for (text, expected) in [
            ("https://vault.example.com", "vault.example.com 443 false vault.example.com "),
            ("HTTPS://vault.example.com:8200/", "vault.example.com 8200 false vault.example.com:8200 "),
            ("https://10.1.2.3:1/a/b//", "10.1.2.3 1 false 10.1.2.3:1 /a/b"),
            ("https://[2001:db8::1]:8200", "2001:db8::1 8200 false [2001:db8::1]:8200 "),
            ("https://[2001:db8::1]", "2001:db8::1 443 false [2001:db8::1] "),
            ("http://[::1]", "::1 80 true [::1] "),
            ("http://localhost:8200", "localhost 8200 true localhost:8200 "),
        ] {
            assert_eq!(address(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "https://",
            "https://:1",
            "https://a:b",
            "https://a:70000",
            "https://[::1",
            "https://::1",
            "https://a b",
            "//a",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let address = Address::parse("http://localhost", false).unwrap();
        let token = Token::Given(Passphrase::new("t".to_owned()));
        let transport = Transport::new(address, "transit", None, token, Bounds::default(), None).unwrap();
        let longest = |tried| (0..200).map(|_| transport.pause(tried).unwrap()).max().unwrap();
        let first = Bounds::default().pause;
        assert!(longest(0) <= first && longest(0) > first / 2);
        assert!(longest(1) <= first * 2 && longest(2) > first * 2);
        assert!(longest(40) <= first * 10 && longest(40) > first * 5);
        let shortest = (0..200).map(|_| transport.pause(3).unwrap()).min().unwrap();
        assert!(shortest < first, "they come at any time, and not at the same");
    }
}
