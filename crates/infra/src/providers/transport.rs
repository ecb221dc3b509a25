//! The way to a provider: one connection, one request, and its answer as it comes, within bounds of time.
//!
//! HTTP/1.1 by hyper, below everything that would follow a redirect, look into the environment or write a line of a log. The connection is driven
//! by whoever waits for the answer, so it ends with that future, and what is not read is not taken off the wire.
//!
//! Must not know: what is asked.

use std::{
    future::{Future, poll_fn},
    io::ErrorKind,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Uri, body::Incoming, client::conn::http1, http::response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sessions_ports::ModelError;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::remote::InvalidProvider;
use crate::certificates;

/// The most bytes that are read ahead.
const READ_AHEAD: usize = 64 << 10;
/// The most lines before a body.
const MOST_HEADERS: usize = 128;
/// So long is listened to why a request is refused.
const REFUSAL: Duration = Duration::from_secs(10);
const TOO_LATE: &str = "no connection stood in time";
const NO_ANSWER: &str = "no answer began in time";
const SILENT: &str = "nothing more came for too long";

/// How long a provider may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until a connection stands, its encryption included.
    pub connect: Duration,
    /// From then until an answer begins, with the request sent meanwhile.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
}

impl Default for Bounds {
    /// Ten seconds to connect, ten minutes until the answer begins, ten minutes between its pieces: models that think, and those that read a long
    /// request on a small machine, say nothing for minutes.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(10), first_byte: seconds(600), silence: seconds(600) }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// Where a provider is.
pub(super) struct Transport {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// As the provider has to hear it.
    pub(super) authority: String,
    /// What stands before each path; empty, or begins with a slash.
    pub(super) prefix: String,
    pub(super) bounds: Bounds,
}

impl Transport {
    /// Reads `https://HOST[:PORT][/PATH]`. Without encryption no key is sent, but to this machine.
    pub(super) fn new(base: &str, has_key: bool, trusted: Option<&Path>) -> Result<Self, InvalidProvider> {
        let invalid = |what| InvalidProvider { what };
        let uri: Uri = base.parse().map_err(|_| invalid("its address is none"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(invalid("its address begins neither with https:// nor with http://"));
        };
        if authority.as_str().contains('@') || uri.query().is_some() || base.contains('#') {
            return Err(invalid("its address may only have a host, a port and a path"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| invalid("its address has no host"))?;
        let is_here = host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let tls = match scheme {
            "https" => Some((connector(trusted)?, name)),
            "http" if has_key && !is_here => {
                return Err(invalid("its address is not encrypted, and a key would be sent there; take https"));
            }
            "http" => None,
            _ => return Err(invalid("its address begins neither with https:// nor with http://")),
        };
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port, tls, authority: authority.as_str().to_owned(), prefix, bounds: Bounds::default() })
    }

    /// Whether OpenAI's own models are there.
    pub(super) fn is_openai(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        host == "api.openai.com" || host.ends_with(".openai.azure.com")
    }

    async fn stream(&self) -> Result<Box<dyn Stream>, ModelError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|_| ModelError::Unreachable)?.collect();
        let mut left = addresses.len();
        for address in addresses {
            // One that does not answer leaves time for the others.
            let part = self.bounds.connect / u32::try_from(left).unwrap_or(u32::MAX).max(1);
            left -= 1;
            if let Ok(Ok(stream)) = timeout(part, TcpStream::connect(address)).await {
                return self.secure(stream).await;
            }
        }
        Err(ModelError::Unreachable)
    }

    async fn secure(&self, stream: TcpStream) -> Result<Box<dyn Stream>, ModelError> {
        stream.set_nodelay(true).map_err(|_| ModelError::Unreachable)?;
        let Some((connector, name)) = &self.tls else { return Ok(Box::new(stream)) };
        match connector.connect(name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(ModelError::Unsupported { what: "it is not trusted here, or speaks no TLS that we speak" })
            }
            Err(_) => Err(ModelError::Unreachable),
        }
    }

    /// Sends a request and waits until its answer begins.
    pub(super) async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Exchange, ModelError> {
        let stream = timeout(self.bounds.connect, self.stream()).await;
        let stream = stream.map_err(|_| ModelError::Slow { what: TOO_LATE })??;
        let mut settings = http1::Builder::new();
        settings.max_buf_size(READ_AHEAD).max_headers(MOST_HEADERS);
        let begun = settings.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await;
        let (mut sender, connection) = begun.map_err(|_| ModelError::Unreachable)?;
        let mut driven = Driven { connection: Box::pin(connection), is_over: false };
        let answer = timeout(self.bounds.first_byte, driven.beside(sender.send_request(request))).await;
        let answer = answer.map_err(|_| ModelError::Slow { what: NO_ANSWER })?.map_err(|error| {
            let is_nonsense = error.is_parse();
            if is_nonsense { ModelError::Broken { what: "it is no HTTP" } } else { ModelError::Unreachable }
        })?;
        let (head, body) = answer.into_parts();
        Ok(Exchange { driven, head, body, silence: self.bounds.silence })
    }
}

fn connector(trusted: Option<&Path>) -> Result<TlsConnector, InvalidProvider> {
    let config = certificates::client(trusted)
        .map_err(|_| InvalidProvider { what: "the certificates that are to be trusted cannot be used" })?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection that goes on while somebody waits beside it.
struct Driven {
    connection: Pin<Box<Connection>>,
    is_over: bool,
}

impl Driven {
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        poll_fn(|context| {
            if !self.is_over && self.connection.as_mut().poll(context).is_ready() {
                // How it ended, the work hears.
                self.is_over = true;
            }
            match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// An answer that has begun. Dropping it ends the connection.
pub(super) struct Exchange {
    driven: Driven,
    pub(super) head: response::Parts,
    body: Incoming,
    silence: Duration,
}

impl Exchange {
    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ModelError> {
        loop {
            let next = timeout(self.silence, self.driven.beside(self.body.frame())).await;
            match next.map_err(|_| ModelError::Slow { what: SILENT })? {
                None => return Ok(None),
                Some(Err(_)) => return Err(ModelError::Broken { what: "it broke off" }),
                // Trailers are of no interest.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    /// The beginning of the body, up to so many bytes, as far as it comes in time.
    pub(super) async fn beginning(&mut self, most: usize) -> Vec<u8> {
        let mut body = Vec::new();
        let reading = async {
            while let Ok(Some(piece)) = self.next().await {
                let room = most - body.len();
                body.extend(piece.iter().take(room));
                if body.len() == most {
                    break;
                }
            }
        };
        // What came until then may say enough.
        let _ = timeout(REFUSAL, reading).await;
        body
    }
}
