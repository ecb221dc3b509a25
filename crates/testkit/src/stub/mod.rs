//! Stand-ins for providers of models, on loopback: they answer as [`Scenario`]s say and keep what they were asked.
//!
//! Threads and sockets of the standard library, HTTP/1.1, one request a connection. Nothing in them takes time but a [`Then::Hang`].
//!
//! Must not know: who asks, and how the answers are read.

mod anthropic;
mod ollama;
mod openai;
mod scenario;

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

pub use scenario::{Api, Scenario};

/// The longest time that a caller waits for what a stub did not see yet.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens behind the last bytes of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection ends.
    Close,
    /// Nothing, until the other side goes.
    Hang,
    /// Once it is [released](Stub::release), the connection is reset.
    Reset,
    /// These bytes again and again, until the other side goes.
    Repeat(Vec<u8>),
}

/// What is answered to one request: bytes, written piece by piece, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The pieces, head and chunks included.
    pub pieces: Vec<Vec<u8>>,
    /// What happens then.
    pub then: Then,
}

impl Reply {
    /// A whole answer that does not come bit by bit.
    pub fn whole(status: u16, headers: &[&str], body: &str) -> Self {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let head = format!("HTTP/1.1 {status} Some\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        Self { pieces: vec![head.into_bytes(), body.as_bytes().to_vec()], then: Then::Close }
    }

    /// A stream of events that has begun and does not end by itself.
    pub fn begun(pieces: impl IntoIterator<Item = Vec<u8>>, then: Then) -> Self {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\nx-request-id: req_1\r\n\r\n";
        let chunks = pieces.into_iter().map(|piece| chunk(&piece));
        Self { pieces: [head.as_bytes().to_vec()].into_iter().chain(chunks).collect(), then }
    }

    /// A stream of events that comes to its end.
    pub fn stream(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut reply = Self::begun(pieces, Then::Close);
        reply.pieces.push(b"0\r\n\r\n".to_vec());
        reply
    }

    /// Nothing at all.
    pub fn silence() -> Self {
        Self { pieces: Vec::new(), then: Then::Hang }
    }
}

/// A chunk of a body.
pub fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// As in `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// Names in small letters. The stub's key stands as `KEY`, and another one as `another key`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    replies: VecDeque<Reply>,
    asked: Vec<Asked>,
    open: Vec<TcpStream>,
    ended: usize,
    is_released: bool,
    is_over: bool,
}

struct Shared {
    key: String,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until it is dropped; then whatever hangs ends.
pub struct Stub {
    address: String,
    shared: Arc<Shared>,
}

impl Stub {
    /// One whose key is this, that gives these replies, one a request, and the last one for ever.
    ///
    /// # Errors
    /// The system's, when there is no port.
    pub fn start(key: &str, replies: Vec<Reply>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}", listener.local_addr()?);
        let state = State { replies: replies.into(), ..State::default() };
        let shared = Arc::new(Shared { key: key.to_owned(), state: Mutex::new(state), changed: Condvar::new() });
        let inside = Arc::clone(&shared);
        thread::Builder::new().name("stub".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                if inside.state().is_over {
                    break;
                }
                let inside = Arc::clone(&inside);
                thread::spawn(move || {
                    let served = serve(&stream, &inside);
                    // Others hold the stream too.
                    if served.is_ok_and(|then| then != Then::Reset) {
                        let _ = stream.shutdown(Shutdown::Write);
                    }
                    drop(stream);
                    inside.state().ended += 1;
                    inside.changed.notify_all();
                });
            }
        })?;
        Ok(Self { address, shared })
    }

    /// One that answers as an API does in a scenario; `None` where the API has no such thing.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn of(key: &str, api: Api, scenario: Scenario) -> io::Result<Option<Self>> {
        api.replies(scenario).map(|replies| Self::start(key, replies)).transpose()
    }

    /// Where it is, as in `http://127.0.0.1:4711`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// Lets whoever waits for it go on.
    pub fn release(&self) {
        self.shared.state().is_released = true;
        self.shared.changed.notify_all();
    }

    /// How many connections ended so far.
    pub fn ended(&self) -> usize {
        self.shared.state().ended
    }

    /// Waits, and blocks meanwhile, until so many requests came; false when that takes too long.
    pub fn wait_for_requests(&self, count: usize) -> bool {
        self.wait(|state| state.asked.len() >= count)
    }

    /// Waits, and blocks meanwhile, until so many connections ended; false when that takes too long.
    pub fn wait_for_ends(&self, count: usize) -> bool {
        self.wait(|state| state.ended >= count)
    }

    fn wait(&self, holds: impl Fn(&State) -> bool) -> bool {
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), PATIENCE, |state| !holds(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        holds(&state)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_over = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        // The one who accepts wakes up and sees it.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

/// Reads a request, but for its last `unread` bytes.
fn read(stream: &TcpStream, key: &str, unread: usize) -> io::Result<Asked> {
    let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = || {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 { Err(nonsense()) } else { Ok(line.trim_end().to_owned()) }
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(nonsense)?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        let is_key = ["authorization", "x-api-key"].contains(&name.as_str());
        let value = match is_key {
            true if value.contains(key) && !key.is_empty() => value.replace(key, "KEY"),
            true => "another key".to_owned(),
            false => value.to_owned(),
        };
        headers.push((name, value));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, length)| length.parse::<usize>().ok()).unwrap_or(0);
    let mut body = vec![0; length.saturating_sub(unread)];
    reader.read_exact(&mut body)?;
    Ok(Asked { method, path, headers, body })
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<Then> {
    stream.set_nodelay(true)?;
    let reply = {
        let mut state = shared.state();
        state.open.push(stream.try_clone()?);
        let next = if state.replies.len() > 1 { state.replies.pop_front() } else { state.replies.front().cloned() };
        next.unwrap_or_else(Reply::silence)
    };
    // Closing a connection of which something is unread resets it.
    let unread = usize::from(reply.then == Then::Reset);
    let asked = read(stream, &shared.key, unread)?;
    shared.state().asked.push(asked);
    shared.changed.notify_all();
    match reply.then {
        // At once: what the other side waits for is the silence, and not this thread.
        Then::Hang => stream.write_all(&reply.pieces.concat())?,
        _ => reply.pieces.iter().try_for_each(|piece| stream.write_all(piece))?,
    }
    match &reply.then {
        Then::Close => {}
        // Ends with the other side, or with the stub.
        Then::Hang => while stream.read(&mut [0; 1024])? > 0 {},
        Then::Reset => {
            let waits = |state: &mut State| !state.is_released && !state.is_over;
            drop(shared.changed.wait_while(shared.state(), waits));
            shared.state().open.clear();
        }
        Then::Repeat(bytes) => loop {
            stream.write_all(bytes)?;
        },
    }
    Ok(reply.then)
}
