//! Providers over HTTP: those that speak OpenAI's chat completions, Anthropic, and Ollama by the first of the two.
//!
//! A key is sent to the address that it was given for, in one header, and stands nowhere else; in memory its header lives as long as the
//! provider, and is not wiped. No redirect is followed, and nothing is read from the environment.
//!
//! Must not know: how an answer is read, or who asks.

use std::{borrow::Cow, fmt, path::Path, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use sessions_domain::{
    chain::{sha256, to_hex},
    form::Form,
};
use sessions_ports::{ModelAnswer, ModelError, ModelEvent, ModelEvents, ModelProvider, ModelRequest, Passphrase, Stop};

use super::{
    decoder::{Decoder, Wire},
    failure, request,
    transport::{Bounds, Exchange, Transport},
    waiting,
};

/// Where OpenAI is.
pub const OPENAI: &str = "https://api.openai.com/v1";
/// Where Anthropic is.
pub const ANTHROPIC: &str = "https://api.anthropic.com";
/// Where Ollama usually is.
pub const OLLAMA: &str = "http://localhost:11434";
/// The version of Anthropic's API that is spoken.
const VERSION: &str = "2023-06-01";
/// The most bytes of a refusal that are looked at.
const MOST_OF_REFUSAL: usize = 64 << 10;

/// A setting with which no provider can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider cannot be used: {what}")]
pub struct InvalidProvider {
    /// What is wrong with it.
    pub what: &'static str,
}

/// Which protocol a provider over the network speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OpenAI's chat completions: OpenAI, and most others.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Ollama, which is asked for chat completions at `/v1`.
    ///
    /// It cuts a prompt that is longer than its own context without a word, and that way of asking cannot set the context: the window of the
    /// model's profile has to be what the server was started with.
    Ollama,
}

impl Protocol {
    /// Its name, which is also that of a provider at its usual address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
        }
    }

    /// Where who speaks it usually is: [`OPENAI`], [`ANTHROPIC`] or [`OLLAMA`].
    #[must_use]
    pub const fn usual_address(self) -> &'static str {
        match self {
            Self::OpenAi => OPENAI,
            Self::Anthropic => ANTHROPIC,
            Self::Ollama => OLLAMA,
        }
    }

    const fn wire(self) -> Wire {
        match self {
            Self::OpenAi | Self::Ollama => Wire::OpenAi,
            Self::Anthropic => Wire::Anthropic,
        }
    }

    /// Where requests go, at a server with this path before all of its own.
    fn path(self, prefix: &str) -> String {
        let before_version = prefix.strip_suffix("/v1").unwrap_or(prefix);
        match self {
            Self::OpenAi => format!("{prefix}/chat/completions"),
            Self::Ollama => format!("{before_version}/v1/chat/completions"),
            Self::Anthropic => format!("{before_version}/v1/messages"),
        }
    }

    /// What stands before each body, with the key in it.
    fn headers(self, key: Option<&Passphrase>) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidProvider> {
        let (name, before) = match self {
            Self::OpenAi | Self::Ollama => (AUTHORIZATION, "Bearer "),
            Self::Anthropic => (HeaderName::from_static("x-api-key"), ""),
        };
        let mut headers: Vec<_> = key.map(|key| Ok((name, secret(key, before)?))).transpose()?.into_iter().collect();
        if self == Self::Anthropic {
            headers.push((HeaderName::from_static("anthropic-version"), HeaderValue::from_static(VERSION)));
        }
        Ok(headers)
    }
}

/// A provider over HTTP. It needs a tokio runtime with its network and clock enabled.
pub struct RemoteProvider {
    name: Cow<'static, str>,
    transport: Transport,
    wire: Wire,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// How the longest answer is called.
    limit: &'static str,
}

fn secret(key: &Passphrase, before: &str) -> Result<HeaderValue, InvalidProvider> {
    let text = zeroize::Zeroizing::new(format!("{before}{}", key.expose()));
    let is_one = !key.expose().is_empty() && key.expose().bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&text).ok().filter(|_| is_one);
    let mut value = value.ok_or(InvalidProvider {
        what: "its key is empty, or has blanks or other characters that no key has; write the key alone, on one line",
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl RemoteProvider {
    /// One that speaks this protocol, where it usually is or at another address, with or without a key.
    ///
    /// # Errors
    /// [`InvalidProvider`] when the address or the key cannot be one, when a key would be sent unencrypted to another machine, and when the system
    /// has no certificates.
    pub fn new(protocol: Protocol, base_url: Option<&str>, key: Option<&Passphrase>) -> Result<Self, InvalidProvider> {
        Self::of(protocol, base_url, key, None)
    }

    /// The same, trusting the certificates in this file (PEM) instead of the system's.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn trusting(
        protocol: Protocol,
        base_url: Option<&str>,
        key: Option<&Passphrase>,
        certificates: &Path,
    ) -> Result<Self, InvalidProvider> {
        Self::of(protocol, base_url, key, Some(certificates))
    }

    fn of(
        protocol: Protocol,
        base_url: Option<&str>,
        key: Option<&Passphrase>,
        trusted: Option<&Path>,
    ) -> Result<Self, InvalidProvider> {
        let transport = Transport::new(base_url.unwrap_or(protocol.usual_address()), key.is_some(), trusted)?;
        // Its newer models refuse the old name, and others do not know the new one.
        let is_openai = protocol == Protocol::OpenAi && transport.is_openai();
        let limit = if is_openai { "max_completion_tokens" } else { "max_tokens" };
        Ok(Self {
            name: Cow::Borrowed(protocol.name()),
            wire: protocol.wire(),
            path: protocol.path(&transport.prefix),
            headers: protocol.headers(key)?,
            transport,
            limit,
        })
    }

    /// The same with other bounds of time.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.transport.bounds = bounds;
        self
    }

    /// The same by another name than its protocol's, which is whose prices count, and what stands beside its answers.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Cow::Owned(name.into());
        self
    }

    fn request(&self, body: Vec<u8>) -> Result<Request<Full<Bytes>>, ModelError> {
        let mut request = Request::post(self.path.as_str())
            .header(HOST, self.transport.authority.as_str())
            .header(USER_AGENT, "sessions")
            .header(ACCEPT, "text/event-stream")
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from(body));
        request.body(body).map_err(|_| ModelError::Unsupported { what: "its address makes no request" })
    }

    /// A reason in which the provider repeats the key, or a part of it, is not handed on.
    fn without_key(&self, error: ModelError) -> ModelError {
        let ModelError::Refused { status, reason: Some(reason) } = error else { return error };
        let secrets = self.headers.iter().map(|(_, value)| value).filter(|value| value.is_sensitive());
        let mut keys = secrets.filter_map(|value| value.to_str().ok()).map(|key| key.trim_start_matches("Bearer "));
        let repeats = |word: &str, key: &str| word.contains(key) || (word.len() >= 8 && key.contains(word));
        let is_of = |key: &str| reason.as_str().split(", ").any(|word| repeats(word, key));
        ModelError::Refused { status, reason: Some(reason).filter(|_| !keys.any(is_of)) }
    }

    async fn answer(&self, asked: ModelRequest, events: &mut dyn ModelEvents) -> Result<ModelAnswer, ModelError> {
        let form = match self.wire {
            Wire::OpenAi => Form::OpenAi,
            Wire::Anthropic => Form::Anthropic,
        };
        if asked.profile.form != form {
            return Err(ModelError::Unsupported { what: "messages in this form" });
        }
        let body = request::body(&asked, self.wire, self.limit)?;
        let decoder = Decoder::new(self.wire, &to_hex(&sha256(&body)));
        drop(asked);
        let mut exchange = self.transport.ask(self.request(body)?).await?;
        judge(&mut exchange).await.map_err(|error| self.without_key(error))?;
        let id = ["request-id", "x-request-id"].iter().find_map(|name| exchange.header(name));
        let id = id.filter(|id| id.len() <= 200).map(str::to_owned);
        let mut answer = read(&mut exchange, decoder, events).await.map_err(|error| self.without_key(error))?;
        answer.request_id = id.or(answer.request_id);
        Ok(answer)
    }
}

fn asked_to_wait(exchange: &Exchange) -> Option<Duration> {
    let header = |name| exchange.header(name);
    waiting::asked(header("retry-after-ms"), header("retry-after"), header("date"))
}

/// Whether an answer comes at all.
async fn judge(exchange: &mut Exchange) -> Result<(), ModelError> {
    let status = exchange.head.status.as_u16();
    let kind = exchange.header("content-type").unwrap_or_default().to_ascii_lowercase();
    if status != 200 {
        let wait = asked_to_wait(exchange);
        let body = exchange.beginning(MOST_OF_REFUSAL).await;
        return Err(failure::refused(status, &body, wait));
    }
    if exchange.header("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(ModelError::Broken { what: "it is compressed, which was not asked for" });
    }
    if kind.starts_with("application/json") {
        let body = exchange.beginning(MOST_OF_REFUSAL).await;
        let body = String::from_utf8_lossy(&body);
        let is_answer =
            ["\"choices\"", "\"content\""].iter().any(|name| body.contains(name)) && !body.contains("\"error\"");
        if is_answer {
            return Err(ModelError::Unsupported { what: "an answer that streams; the server gives it all at once" });
        }
        return Err(failure::within(&body));
    }
    if kind.starts_with("text/html") {
        return Err(ModelError::Broken { what: "it is a page and no answer" });
    }
    Ok(())
}

/// Reads an answer to its end and hands on what comes.
async fn read(
    exchange: &mut Exchange,
    mut decoder: Decoder,
    events: &mut dyn ModelEvents,
) -> Result<ModelAnswer, ModelError> {
    let mut told = Vec::new();
    while !decoder.is_over() {
        let piece = match exchange.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            // What is missing then is not the answer.
            Err(_) if decoder.is_whole() => break,
            Err(error) => return Err(error),
        };
        let fed = decoder.feed(&piece, &mut told);
        hand_on(&mut told, events).await?;
        match fed {
            Err(_) if decoder.is_whole() => break,
            fed => fed?,
        }
    }
    let answer = decoder.end(&mut told)?;
    hand_on(&mut told, events).await?;
    Ok(answer)
}

async fn hand_on(told: &mut Vec<ModelEvent>, events: &mut dyn ModelEvents) -> Result<(), ModelError> {
    for event in told.drain(..) {
        events.on(event).await.map_err(|Stop| ModelError::Stopped)?;
    }
    Ok(())
}

impl fmt::Debug for RemoteProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteProvider({} at {})", self.name, self.transport.authority)
    }
}

#[async_trait]
impl ModelProvider for RemoteProvider {
    fn name(&self) -> &str {
        &self.name
    }

    async fn call(&self, request: ModelRequest, events: &mut dyn ModelEvents) -> Result<ModelAnswer, ModelError> {
        self.answer(request, events).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_in_a_header_that_is_not_shown() {
        let key = Passphrase::new("sk-a-key-that-nobody-may-see".to_owned());
        for (protocol, name) in [(Protocol::OpenAi, "authorization"), (Protocol::Anthropic, "x-api-key")] {
            let remote = RemoteProvider::new(protocol, Some("http://localhost:1"), Some(&key)).unwrap();
            let request = remote.request(Vec::new()).unwrap();
            let value = request.headers().get(name).unwrap();
            assert!(value.is_sensitive() && value.to_str().unwrap().ends_with(key.expose()), "{protocol:?}");
            let shown = format!("{:?} {:?}", remote.headers, request.headers());
            assert!(shown.contains(name) && !shown.contains("nobody-may-see"), "{shown}");
        }
    }
}
