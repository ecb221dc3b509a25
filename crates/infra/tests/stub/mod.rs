//! A stand-in for a transit engine: keys, encrypt and decrypt over HTTP on loopback, and every way to do it badly.
//!
//! Must not know: who asks.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

pub(crate) const TOKEN: &str = "hvs.a-token-that-nobody-may-see";

/// Certificates of localhost for a hundred years, each signed by itself: that of the stand-in with its key, and another one.
pub(crate) const LOCALHOST: &str = include_str!("localhost.pem");
const LOCALHOST_KEY: &str = include_str!("localhost.key.pem");
pub(crate) const OTHER: &str = include_str!("other.pem");

/// What it does instead of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers this status, body and further headers.
    Status(u16, String, Vec<String>),
    /// Sends these bytes and ends.
    Raw(Vec<u8>),
    /// Ends without a word.
    Close,
    /// Ends in the middle of an answer.
    Midway,
    /// Says nothing, and does not end.
    Hang,
    /// Stops in the middle of an answer, and does not end.
    HangMidway,
    /// Sends one byte after the other and comes to no end.
    Drip,
}

/// The engine, with one key.
pub(crate) struct Service {
    pub(crate) versions: Vec<[u8; 32]>,
    pub(crate) min_decryption_version: usize,
    pub(crate) kind: &'static str,
    pub(crate) denies: bool,
    pub(crate) namespace: Option<String>,
    pub(crate) ignores_associated_data: bool,
    /// What was asked and is not how the API is used.
    pub(crate) wrong: Vec<String>,
    asked: usize,
    next: VecDeque<Act>,
    always: Option<Act>,
}

struct Shared {
    service: Mutex<Service>,
    is_over: Mutex<bool>,
    over: Condvar,
}

/// Runs until it is dropped; then whatever hangs ends.
pub(crate) struct Stub {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        *self.shared.is_over.lock().unwrap() = true;
        self.shared.over.notify_all();
        // The one who accepts wakes up and sees it.
        let at = self.address.split("//").nth(1).unwrap();
        let _ = TcpStream::connect(at);
    }
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

impl Stub {
    pub(crate) fn start() -> Self {
        Self::listening("http://127.0.0.1", |stream| Some(Box::new(stream)))
    }

    /// One that is called localhost.
    pub(crate) fn start_with_tls() -> Self {
        let signed = CertificateDer::from_pem_slice(LOCALHOST.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(LOCALHOST_KEY.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed], key)
            .unwrap();
        let config = Arc::new(config);
        Self::listening("https://localhost", move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            Some(Box::new(rustls::StreamOwned::new(connection, stream)))
        })
    }

    fn listening(host: &str, secure: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("{host}:{}", listener.local_addr().unwrap().port());
        let service = Service {
            versions: vec![[3; 32]],
            min_decryption_version: 1,
            kind: "aes256-gcm96",
            denies: false,
            namespace: None,
            ignores_associated_data: false,
            wrong: Vec::new(),
            asked: 0,
            next: VecDeque::new(),
            always: None,
        };
        let shared =
            Arc::new(Shared { service: Mutex::new(service), is_over: Mutex::new(false), over: Condvar::new() });
        let (inside, secure) = (Arc::clone(&shared), Arc::new(secure));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if *inside.is_over.lock().unwrap() {
                    break;
                }
                let (inside, secure) = (Arc::clone(&inside), Arc::clone(&secure));
                thread::spawn(move || stream.ok().and_then(|stream| serve(secure(stream)?, &inside)));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Service) -> T) -> T {
        work(&mut self.shared.service.lock().unwrap())
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.with(|service| service.asked)
    }

    /// What it does instead of the next answers.
    pub(crate) fn next(&self, acts: Vec<Act>) {
        self.with(|service| service.next = acts.into());
    }

    /// What it does instead of every answer.
    pub(crate) fn always(&self, act: Option<Act>) {
        self.with(|service| service.always = act);
    }
}

struct Asked {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn read(stream: &mut dyn Stream) -> Option<Self> {
        let mut reader = BufReader::with_capacity(1, stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            Some(line.trim_end().to_owned())
        };
        let first = line()?;
        let mut asked = Self { line: first, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            asked.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let length = asked.header("Content-Length").map_or(0, |length| length.parse().unwrap());
        asked.body.resize(length, 0);
        reader.read_exact(&mut asked.body).ok()?;
        Some(asked)
    }
}

fn answer(status: u16, body: &str, headers: &[String]) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Some\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn wait_for_the_end(shared: &Shared) {
    let mut is_over = shared.is_over.lock().unwrap();
    while !*is_over {
        is_over = shared.over.wait(is_over).unwrap();
    }
}

/// Answers request after request, until there is none or it is to end.
fn serve(mut stream: Box<dyn Stream>, shared: &Shared) -> Option<()> {
    loop {
        let asked = Asked::read(&mut *stream)?;
        let (act, (status, body)) = {
            let mut service = shared.service.lock().unwrap();
            service.asked += 1;
            let act = service.next.pop_front().or_else(|| service.always.clone());
            let answer = if act.is_none() { service.answer(&asked) } else { (200, json!({"data": {}})) };
            (act, answer)
        };
        let whole = answer(status, &body.to_string(), &[]);
        let half = whole.get(..whole.len() - 1)?;
        match act {
            None => stream.write_all(&whole).ok()?,
            Some(Act::Status(status, body, headers)) => stream.write_all(&answer(status, &body, &headers)).ok()?,
            Some(Act::Raw(bytes)) => {
                stream.write_all(&bytes).ok()?;
                return None;
            }
            Some(Act::Close) => return None,
            Some(Act::Midway) => {
                stream.write_all(half).ok()?;
                return None;
            }
            Some(Act::Hang) => wait_for_the_end(shared),
            Some(Act::HangMidway) => {
                stream.write_all(half).and_then(|()| stream.flush()).ok()?;
                wait_for_the_end(shared);
            }
            Some(Act::Drip) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
                let mut pause = shared.is_over.lock().unwrap();
                while !*pause {
                    // Ends when who asked has gone.
                    stream.write_all(b"1\r\n \r\n").and_then(|()| stream.flush()).ok()?;
                    pause = shared.over.wait_timeout(pause, std::time::Duration::from_millis(5)).unwrap().0;
                }
            }
        }
        stream.flush().ok()?;
    }
}

fn refused(status: u16, why: &str) -> (u16, Value) {
    (status, json!({"errors": [why]}))
}

impl Service {
    pub(crate) fn rotate(&mut self) {
        let version = self.versions.len() as u8;
        self.versions.push([100 + version; 32]);
    }

    fn answer(&mut self, asked: &Asked) -> (u16, Value) {
        let is_right = asked.header("X-Vault-Token") == Some(TOKEN)
            && asked.header("X-Vault-Namespace") == self.namespace.as_deref();
        if self.denies || !is_right {
            return refused(403, "permission denied");
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let mut line = asked.line.split(' ');
        match (line.next().unwrap_or_default(), line.next().unwrap_or_default()) {
            ("GET", "/v1/transit/keys/sessions") if self.versions.is_empty() => (404, json!({"errors": []})),
            ("GET", "/v1/transit/keys/sessions") => {
                let data = json!({"latest_version": self.versions.len(), "type": self.kind, "name": "sessions",
                    "min_decryption_version": self.min_decryption_version, "keys": {"1": 1_763_690_000}});
                (200, json!({"request_id": "r", "data": data, "warnings": null}))
            }
            ("POST", "/v1/transit/encrypt/sessions") => self.encrypt(&body),
            ("POST", "/v1/transit/decrypt/sessions") => self.decrypt(&body),
            (method, path) => {
                self.wrong.push(format!("{method} {path}"));
                refused(404, "no handler for route. route entry not found.")
            }
        }
    }

    fn associated(&mut self, body: &Value) -> Vec<u8> {
        let decoded = |name: &str| body[name].as_str().and_then(|text| STANDARD.decode(text).ok());
        let (Some(context), Some(associated)) = (decoded("context"), decoded("associated_data")) else {
            self.wrong.push("no context or associated data".to_owned());
            return Vec::new();
        };
        if context != associated || context.len() != 24 {
            self.wrong.push("another context".to_owned());
        }
        if self.ignores_associated_data { Vec::new() } else { associated }
    }

    fn key(bytes: &[u8; 32]) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).unwrap())
    }

    fn encrypt(&mut self, body: &Value) -> (u16, Value) {
        let associated = self.associated(body);
        if self.versions.is_empty() {
            // As the engine does.
            self.rotate();
        }
        let Some(mut plain) = body["plaintext"].as_str().and_then(|text| STANDARD.decode(text).ok()) else {
            return refused(400, "missing plaintext to encrypt");
        };
        let mut nonce = [0; 12];
        SystemRandom::new().fill(&mut nonce).unwrap();
        let key = Self::key(self.versions.last().unwrap());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut plain).unwrap();
        let version = self.versions.len();
        let sealed = STANDARD.encode([nonce.to_vec(), plain].concat());
        (200, json!({"data": {"ciphertext": format!("vault:v{version}:{sealed}"), "key_version": version}}))
    }

    fn decrypt(&mut self, body: &Value) -> (u16, Value) {
        let associated = self.associated(body);
        if self.versions.is_empty() {
            return refused(400, "encryption key not found");
        }
        let parts: Vec<&str> = body["ciphertext"].as_str().unwrap_or_default().split(':').collect();
        let [_, version, sealed] = parts[..] else { return refused(400, "invalid ciphertext: no prefix") };
        let version: usize = version.trim_start_matches('v').parse().unwrap();
        if version < self.min_decryption_version {
            return refused(400, "ciphertext or signature version is disallowed by policy (too old)");
        }
        let Some(key) = self.versions.get(version - 1) else {
            return refused(400, "invalid ciphertext: version is too new");
        };
        let sealed = STANDARD.decode(sealed).unwrap();
        let (nonce, sealed) = sealed.split_at(12);
        let mut plain = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        match Self::key(key).open_in_place(nonce, Aad::from(associated), &mut plain) {
            Ok(plain) => (200, json!({"data": {"plaintext": STANDARD.encode(plain)}})),
            Err(_) => refused(400, "invalid ciphertext: unable to decrypt"),
        }
    }
}
