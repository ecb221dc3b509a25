//! One exchange over HTTP/1.1: one connection, one request, one answer, until one moment and up to one size.
//!
//! It is ours because of what passes through it: clients that can do everything log the bytes of requests and answers when somebody asks for
//! traces, and here these are a token and a store's key. What is read and written lies in buffers that are wiped, but for those of TLS.
//!
//! Must not know: what is asked.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use zeroize::Zeroizing;

use super::answer::{Failure, Passing, nonsense, unavailable};

/// The most bytes of the lines before a body.
const MOST_OF_HEAD: usize = 16 << 10;
/// The most bytes of a body. A key with a hundred versions has a few thousand.
const MOST_OF_BODY: usize = 64 << 10;
/// The most bytes of an answer as it comes, in however small chunks.
const MOST: usize = MOST_OF_HEAD + 2 * MOST_OF_BODY;
/// Bytes that are read at once.
const STEP: usize = 8 << 10;
const NO_HTTP: &str = "it is no HTTP";
const TOO_LARGE: &str = "it is too large";
const NO_TLS: &str = "it is no TLS that we speak";

/// Who is talked to.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
    /// None: the way is not encrypted.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// An answer, whose body is whole unless [`Self::broken`] says otherwise.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) broken: Option<Failure>,
}

/// A connection that is used until a moment.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// A time that is over is told in this way by some systems.
fn in_time(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(into).map_err(in_time)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes).map_err(in_time)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn failure_of(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::TimedOut {
        return Failure::Passing(Passing::TimedOut);
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => nonsense("its certificate is not one that is trusted here"),
        Some(_) => nonsense(NO_TLS),
        None => unavailable(error.kind().to_string()),
    }
}

impl Host {
    /// Asks the system for the addresses, which may take as long as it likes, and waits until a moment.
    fn addresses(&self, until: Instant) -> Result<Vec<SocketAddr>, Failure> {
        let (name, port) = (self.name.clone(), self.port);
        let (tell, told) = mpsc::channel();
        let ask = move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            // Nobody listens any more when it took too long.
            let _ = tell.send(found);
        };
        let thread = thread::Builder::new().name("sessions-resolve".to_owned()).spawn(ask);
        thread.map_err(|error| failure_of(&error))?;
        match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(found)) if !found.is_empty() => Ok(found),
            Ok(_) => Err(unavailable("its host was not found")),
            Err(_) => Err(Failure::Passing(Passing::TimedOut)),
        }
    }

    fn connect(&self, connected_by: Instant, until: Instant) -> Result<Box<dyn Stream>, Failure> {
        let mut last = unavailable("no connection");
        let addresses = self.addresses(connected_by)?;
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for (tried, address) in (0..).zip(addresses) {
            // Each of those that are left gets the same part of the time.
            let left = connected_by.saturating_duration_since(Instant::now()) / (count - tried).max(1);
            if left.is_zero() {
                return Err(Failure::Passing(Passing::TimedOut));
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => return self.secure(Timed { stream, until: connected_by }, until),
                Err(error) => last = failure_of(&error),
            }
        }
        Err(last)
    }

    fn secure(&self, mut stream: Timed, until: Instant) -> Result<Box<dyn Stream>, Failure> {
        // A request is one write, so there is nothing to gather.
        stream.stream.set_nodelay(true).map_err(|error| failure_of(&error))?;
        let Some(config) = &self.tls else {
            stream.until = until;
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.name.clone()).map_err(|_| nonsense(NO_TLS))?;
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(|_| nonsense(NO_TLS))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|error| failure_of(&error))?;
        }
        stream.until = until;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }

    /// Sends a request, whole, and reads the answer to it.
    pub(super) fn exchange(&self, request: &[u8], connected_by: Instant, until: Instant) -> Result<Answer, Failure> {
        let mut stream = self.connect(connected_by, until)?;
        stream.write_all(request).and_then(|()| stream.flush()).map_err(|error| failure_of(&error))?;
        Incoming { stream: &mut *stream, bytes: Zeroizing::new(Vec::with_capacity(MOST + STEP)), at: 0 }.answer()
    }
}

/// What came so far, and how much of it was looked at.
struct Incoming<'a> {
    stream: &'a mut dyn Stream,
    bytes: Zeroizing<Vec<u8>>,
    at: usize,
}

/// What the lines before a body say of it.
struct Head {
    status: u16,
    retry_after: Option<Duration>,
    length: Option<usize>,
    is_chunked: bool,
}

impl Incoming<'_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Reads some more; false at the end.
    fn more(&mut self) -> Result<bool, Failure> {
        if self.bytes.len() >= MOST {
            return Err(nonsense(TOO_LARGE));
        }
        let mut step = Zeroizing::new([0; STEP]);
        loop {
            match self.stream.read(step.as_mut_slice()) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.bytes.extend(step.get(..read).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failure_of(&error)),
            }
        }
    }

    /// Reads more, where the end would come too early.
    fn must_more(&mut self) -> Result<(), Failure> {
        if self.more()? { Ok(()) } else { Err(unavailable("the connection ended within the answer")) }
    }

    fn answer(mut self) -> Result<Answer, Failure> {
        let head = loop {
            let head = self.head()?;
            // What comes before the answer proper, as a hint.
            if head.status != 101 && (100..200).contains(&head.status) {
                continue;
            }
            break head;
        };
        let mut body = Zeroizing::new(Vec::with_capacity(MOST_OF_BODY));
        let read = match head {
            Head { status: 101 | 204 | 304, .. } => Ok(()),
            Head { is_chunked: true, .. } => self.chunks(&mut body),
            Head { length: Some(length), .. } => self.take(length, &mut body),
            Head { .. } => self.all(&mut body),
        };
        Ok(Answer { status: head.status, retry_after: head.retry_after, body, broken: read.err() })
    }

    fn head(&mut self) -> Result<Head, Failure> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(self.rest()) {
                Ok(httparse::Status::Complete(length)) => {
                    let head = Head::of(&response).ok_or_else(|| nonsense(NO_HTTP))?;
                    self.at += length;
                    return Ok(head);
                }
                Ok(httparse::Status::Partial) if self.rest().len() > MOST_OF_HEAD => return Err(nonsense(TOO_LARGE)),
                Ok(httparse::Status::Partial) => self.must_more()?,
                Err(httparse::Error::TooManyHeaders) => return Err(nonsense(TOO_LARGE)),
                Err(_) => return Err(nonsense(NO_HTTP)),
            }
        }
    }

    /// So many bytes.
    fn take(&mut self, length: usize, body: &mut Vec<u8>) -> Result<(), Failure> {
        if body.len().saturating_add(length) > MOST_OF_BODY {
            return Err(nonsense(TOO_LARGE));
        }
        while self.rest().len() < length {
            self.must_more()?;
        }
        body.extend(self.rest().get(..length).unwrap_or_default());
        self.at += length;
        Ok(())
    }

    /// Everything up to the end.
    fn all(&mut self, body: &mut Vec<u8>) -> Result<(), Failure> {
        while self.more()? {
            if self.rest().len() > MOST_OF_BODY {
                return Err(nonsense(TOO_LARGE));
            }
        }
        self.take(self.rest().len(), body)
    }

    /// Chunk after chunk, up to the empty one. What may follow that is of no interest.
    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<(), Failure> {
        loop {
            let length = match httparse::parse_chunk_size(self.rest()) {
                Ok(httparse::Status::Complete((line, length))) => {
                    self.at += line;
                    usize::try_from(length).map_err(|_| nonsense(TOO_LARGE))?
                }
                Ok(httparse::Status::Partial) => {
                    self.must_more()?;
                    continue;
                }
                Err(_) => return Err(nonsense(NO_HTTP)),
            };
            if length == 0 {
                return Ok(());
            }
            self.take(length, body)?;
            while self.rest().len() < 2 {
                self.must_more()?;
            }
            if !self.rest().starts_with(b"\r\n") {
                return Err(nonsense(NO_HTTP));
            }
            self.at += 2;
        }
    }
}

impl Head {
    /// `None` where the lines contradict each other.
    fn of(response: &httparse::Response<'_, '_>) -> Option<Self> {
        let mut head = Self { status: response.code?, retry_after: None, length: None, is_chunked: false };
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse::<usize>().ok())??;
                if head.length.is_some_and(|known| known != length) {
                    return None;
                }
                head.length = Some(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                head.is_chunked = value.eq_ignore_ascii_case("chunked").then_some(true)?;
            } else if header.name.eq_ignore_ascii_case("retry-after") {
                // In seconds. The other form, a date, would need the service's clock.
                let seconds = value.parse::<u32>().ok().map(|seconds| Duration::from_secs(u64::from(seconds)));
                head.retry_after = seconds;
            }
        }
        // Two ways to say where it ends are how one answer is slipped in behind another.
        (!head.is_chunked || head.length.is_none()).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at once, and takes everything.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(into.len());
            let (piece, rest) = self.0.split_at(length);
            into[..length].copy_from_slice(piece);
            self.0 = rest;
            Ok(length)
        }
    }

    impl Write for Pieces<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The status and body of an answer, or `broken`, or what it is taken for.
    fn read(text: &[u8], at_once: usize) -> String {
        let incoming =
            Incoming { stream: &mut Pieces(text, at_once), bytes: Zeroizing::new(Vec::with_capacity(MOST)), at: 0 };
        let told = |failure| match failure {
            Failure::Final(error) => error.to_string(),
            Failure::Passing(passing) => format!("{passing:?}"),
        };
        match incoming.answer() {
            Ok(Answer { status, body, broken: None, .. }) => format!("{status} {}", String::from_utf8_lossy(&body)),
            Ok(Answer { status, broken: Some(why), .. }) => format!("{status} broken {}", told(why)),
            Err(failure) => told(failure),
        }
    }

    #[test]
    fn an_answer_is_read_however_it_comes() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200 hello"),
            ("HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello and more", "200 hello"),
            ("HTTP/1.0 403 Forbidden\r\n\r\nto the end", "403 to the end"),
            ("HTTP/1.1 204 No Content\r\n\r\n", "204 "),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
                "200 hello world",
            ),
            ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "200 ok"),
            ("HTTP/1.1 200\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "200 ok"),
        ] {
            for at_once in [1, 2, 3, 7, 4096] {
                assert_eq!(read(text.as_bytes(), at_once), expected, "{text:?} by {at_once}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_never_taken_for_whole() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for whole in [length, &chunks[..chunks.len() - 2]] {
            for end in 0..whole.len() {
                let told = read(&whole.as_bytes()[..end], 4096);
                assert!(told.contains("Unavailable"), "{end}: {told}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(
            head in "(HTTP/1\\.[01] [0-9]{3}( [a-z]*)?\r\n)?((content-length|transfer-encoding|x): ?(chunked|[0-9]{1,6}|[a-z]*)\r\n){0,3}(\r\n)?",
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            at_once in 1_usize..64,
        ) {
            read(&[head.as_bytes(), &rest].concat(), at_once);
        }
    }

    #[test]
    fn what_contradicts_itself_or_is_too_large_is_refused() {
        let long = "x".repeat(MOST_OF_BODY + 1);
        let chunk = format!("1\r\n{}\r\n", "x").repeat(40_000);
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", NO_HTTP),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab", NO_HTTP),
            ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab", NO_HTTP),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nab", NO_HTTP),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nab", NO_HTTP),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nab", NO_HTTP),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", NO_HTTP),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", NO_HTTP),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc", TOO_LARGE),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nab", TOO_LARGE),
            (&format!("HTTP/1.1 200 OK\r\n\r\n{long}"), TOO_LARGE),
            (&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"), TOO_LARGE),
            (&format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n"), TOO_LARGE),
            (&format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(65)), TOO_LARGE),
            (&"HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000), TOO_LARGE),
            ("SSH-2.0-x\r\n", NO_HTTP),
            ("\0\0\0\0", NO_HTTP),
        ] {
            let told = read(text.as_bytes(), 4096);
            assert!(told.contains(expected), "{:?}: {told}", &text[..text.len().min(80)]);
        }
    }
}
