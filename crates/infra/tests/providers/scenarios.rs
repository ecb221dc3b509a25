//! Providers over HTTP against stand-ins that do everything well and badly: what comes of it is typed, whole or called partial, in time and within
//! bounds.
//!
//! Must not know: how answers are read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sessions_domain::{Json, MessagePart, TokenUsage, form::Form};
use sessions_infra::providers::{Bounds, Protocol, RemoteProvider};
use sessions_ports::{ModelError, ModelProvider as _, ModelStop, Passphrase, RefusalReason};
use sessions_testkit::stub::{Api, Scenario, Stub};

use super::asking::{KEY, Taker, provider, request, request_in};

fn custom(json: &str) -> MessagePart {
    MessagePart::Custom(Json::parse(json).unwrap())
}

fn calls(prefix: &str) -> Vec<MessagePart> {
    let call = |id: &str, name, input| MessagePart::tool_call(format!("{prefix}_{id}"), name, input).unwrap();
    vec![call("1", "read", r#"{"path":"a"}"#), call("2", "list", "{}")]
}

/// Parts, and how it ended.
type Expected = (Vec<MessagePart>, Result<ModelStop, ModelError>);

/// What comes of a scenario.
fn expected(api: Api, scenario: Scenario) -> Expected {
    let hi = || vec![MessagePart::text("Hi")];
    let ended = |parts| (parts, Ok(ModelStop::EndTurn));
    let refused = |error| (vec![], Err(error));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let prefix = if api == Api::Anthropic { "toolu" } else { "call" };
    match scenario {
        Scenario::Text | Scenario::Dripped | Scenario::ErrorThenText => ended(vec![MessagePart::text("Hi 🦀 there")]),
        Scenario::Calls => ([vec![MessagePart::text("I look.")], calls(prefix)].concat(), Ok(ModelStop::ToolUse)),
        Scenario::Reasoning => {
            let signature = (api == Api::Anthropic).then(|| "c2ln".to_owned());
            ended([vec![MessagePart::Reasoning { text: "hm, so".into(), signature }], hi()].concat())
        }
        Scenario::UnknownBlock => {
            let block =
                r#"{"id":"srvtoolu_1","input":{"query": "crabs"},"name":"web_search","type":"server_tool_use"}"#;
            ended([vec![custom(block)], hi()].concat())
        }
        Scenario::Citations => {
            let cited = r#"{"type":"citations","citations":[{"cited_text":"Hi.","type":"char_location"}]}"#;
            ended([hi(), vec![custom(cited)]].concat())
        }
        Scenario::Redacted => {
            ended([vec![custom(r#"{"data":"EuYBCoYBGAIi","type":"redacted_thinking"}"#)], hi()].concat())
        }
        Scenario::Empty => ended(vec![]),
        Scenario::BehindTheEnd | Scenario::NegativeUsage | Scenario::HugeUsage | Scenario::NoUsage => ended(hi()),
        Scenario::Limit => (hi(), Ok(ModelStop::MaxTokens)),
        Scenario::HighIndex => {
            let call = MessagePart::tool_call(format!("{prefix}_1"), "read", "{}").unwrap();
            (vec![call], Ok(ModelStop::ToolUse))
        }
        Scenario::Loaded => refused(ModelError::Broken { what: "the model was loaded and did not answer" }),
        Scenario::RateInMillis => refused(ModelError::RateLimited { retry_after: Some(Duration::from_millis(1_500)) }),
        Scenario::RateInSeconds => refused(ModelError::RateLimited { retry_after: seconds(7) }),
        Scenario::RateByDate => refused(ModelError::RateLimited { retry_after: seconds(30) }),
        Scenario::Quota => refused(ModelError::Quota),
        Scenario::Overloaded => refused(ModelError::Overloaded { retry_after: None }),
        Scenario::Denied => refused(ModelError::Denied),
        Scenario::UnknownModel => refused(ModelError::UnknownModel),
        Scenario::TooLong | Scenario::TooLarge => refused(ModelError::TooLong),
        Scenario::SlowStart => refused(ModelError::Slow { what: "no answer began in time" }),
        Scenario::SilentMidway => (hi(), Err(ModelError::Slow { what: "nothing more came for too long" })),
        Scenario::ResetMidway | Scenario::BrokenOff => (hi(), Err(ModelError::Broken { what: "it broke off" })),
        Scenario::NoEndMark => (hi(), Err(ModelError::Broken { what: "it ended without an end mark" })),
        Scenario::ErrorMidway if api == Api::Ollama => {
            (hi(), Err(ModelError::Broken { what: "the provider told of an error within it" }))
        }
        Scenario::ErrorMidway => (hi(), Err(ModelError::Overloaded { retry_after: None })),
        Scenario::BadUtf8 => (hi(), Err(ModelError::Broken { what: "it is no UTF-8" })),
        Scenario::EndlessFrame => {
            (hi(), Err(ModelError::TooLarge { what: "one event of it has more than 8 MiB", limit: 8 << 20 }))
        }
        Scenario::Html => refused(ModelError::Broken { what: "it is a page and no answer" }),
    }
}

fn usage(api: Api, scenario: Scenario) -> Option<TokenUsage> {
    let known = TokenUsage { input: 20, output: 7, cache_read: 10, ..TokenUsage::default() };
    match (api, scenario) {
        (_, Scenario::NoUsage) => None,
        (_, Scenario::NegativeUsage) => Some(TokenUsage { output: 7, ..TokenUsage::default() }),
        (_, Scenario::HugeUsage) => {
            Some(TokenUsage { input: 30, output: 1_000_000_000_000_000_000, ..TokenUsage::default() })
        }
        (Api::OpenAi, _) => Some(TokenUsage { reasoning: 2, ..known }),
        (Api::Anthropic, _) => Some(known),
        (Api::Ollama, _) => Some(TokenUsage { cache_read: 0, ..known }),
    }
}

fn bounds(scenario: Scenario) -> Bounds {
    let long = Bounds::default();
    match scenario {
        Scenario::SlowStart => Bounds { first_byte: Duration::from_millis(50), ..long },
        Scenario::SilentMidway => Bounds { silence: Duration::from_millis(50), ..long },
        _ => long,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_of_every_api_has_its_typed_outcome() {
    let mut tried = 0;
    for api in Api::ALL {
        for scenario in Scenario::ALL {
            let Some(stub) = Stub::of(KEY, *api, *scenario).unwrap() else { continue };
            tried += 1;
            let provider = provider(*api, stub.address(), bounds(*scenario));
            let mut taker = Taker::releasing(&stub);
            if *scenario == Scenario::ErrorThenText {
                let first = provider.call(request(*api), &mut taker).await;
                assert!(matches!(first, Err(ModelError::Refused { status: 500, .. })), "{api:?}");
            }
            let answer = provider.call(request(*api), &mut taker).await;
            let stop = answer.as_ref().map(|answer| answer.stop).map_err(|error| *error);
            assert_eq!((taker.parts(), stop), expected(*api, *scenario), "{api:?} {scenario:?}");
            if let Ok(answer) = answer {
                assert_eq!(answer.usage, usage(*api, *scenario), "{api:?} {scenario:?}");
                assert_eq!((answer.model.as_deref(), answer.request_id.as_deref()), (Some("m-1"), Some("req_1")));
            }
            let asked = stub.asked();
            assert_eq!(asked.len(), 1 + usize::from(*scenario == Scenario::ErrorThenText), "{api:?} {scenario:?}");
        }
    }
    assert_eq!(tried, 30 + 33 + 18, "each API tries what it has");
}

#[tokio::test]
async fn what_is_sent_is_what_was_asked_with_the_key_in_its_header() {
    for api in Api::ALL {
        let stub = Stub::of(KEY, *api, Scenario::Text).unwrap().unwrap();
        let provider = provider(*api, stub.address(), Bounds::default());
        let request = request(*api);
        let messages = request.body.messages.as_str().to_owned();
        provider.call(request, &mut Taker::default()).await.unwrap();
        let asked = stub.asked().remove(0);
        let (path, header, value) = match api {
            Api::Anthropic => ("/v1/messages", "x-api-key", "KEY"),
            Api::OpenAi | Api::Ollama => ("/v1/chat/completions", "authorization", "Bearer KEY"),
        };
        assert_eq!((asked.method.as_str(), asked.path.as_str(), asked.header(header)), ("POST", path, Some(value)));
        assert_eq!(asked.header("anthropic-version").is_some(), *api == Api::Anthropic);
        assert_eq!(asked.header("content-type"), Some("application/json"));
        let body = String::from_utf8(asked.body).unwrap();
        assert!(body.contains(&format!(r#""messages":{messages},"#)), "{body}");
        assert!(body.contains(r#""max_tokens":100,"stream":true"#), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_ends_its_connection() {
    for scenario in [Scenario::SlowStart, Scenario::SilentMidway] {
        let stub = Arc::new(Stub::of(KEY, Api::Anthropic, scenario).unwrap().unwrap());
        let provider = provider(Api::Anthropic, stub.address(), Bounds::default());
        let (mut taker, told) = Taker::telling();
        let asking = tokio::spawn(async move { provider.call(request(Api::Anthropic), &mut taker).await });
        let seen = Arc::clone(&stub);
        assert!(tokio::task::spawn_blocking(move || seen.wait_for_requests(1)).await.unwrap());
        if scenario == Scenario::SilentMidway {
            told.await.unwrap();
        }
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        let seen = Arc::clone(&stub);
        assert!(tokio::task::spawn_blocking(move || seen.wait_for_ends(1)).await.unwrap(), "{scenario:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_no_more_ends_the_call_and_its_connection() {
    for api in Api::ALL {
        let stub = Arc::new(Stub::of(KEY, *api, Scenario::SilentMidway).unwrap().unwrap());
        let provider = provider(*api, stub.address(), Bounds::default());
        let answer = provider.call(request(*api), &mut Taker::stopping_after(0)).await;
        assert_eq!(answer, Err(ModelError::Stopped));
        let waited = Arc::clone(&stub);
        assert!(tokio::task::spawn_blocking(move || waited.wait_for_ends(1)).await.unwrap(), "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_taker_slows_the_wire() {
    // More than sockets and buffers hold, so it is all written only when it was all read.
    let piece = format!("data: {}\n\n", serde_json::json!({"choices": [{"delta": {"content": "a".repeat(1 << 20)}}]}));
    let stub = sessions_testkit::stub::Reply::stream(std::iter::repeat_n(piece.into_bytes(), 40));
    let stub = Arc::new(Stub::start(KEY, vec![stub]).unwrap());
    let provider = provider(Api::OpenAi, stub.address(), Bounds::default());
    let (mut taker, gate) = Taker::waiting();
    let asking = tokio::spawn(async move { provider.call(request(Api::OpenAi), &mut taker).await });
    gate.reached().await;
    assert_eq!(stub.ended(), 0, "forty MiB are not taken in advance");
    gate.open();
    assert_eq!(asking.await.unwrap(), Err(ModelError::Broken { what: "it ended without an end mark" }));
    assert!(stub.wait_for_ends(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_the_connection_ends_behind_a_whole_answer_it_is_whole() {
    use sessions_testkit::stub::{Reply, Then, chunk};
    let said = |json: serde_json::Value| format!("data: {json}\n\n").into_bytes();
    let whole = [
        said(serde_json::json!({"choices": [{"delta": {"content": "Hi"}}]})),
        said(serde_json::json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})),
    ];
    for (behind, then) in [(vec![], Then::Close), (vec![b"data: no JSON\n\n".to_vec()], Then::Hang)] {
        let pieces: Vec<Vec<u8>> = whole.iter().cloned().chain(behind).map(|piece| chunk(&piece)).collect();
        let stub = Stub::start(KEY, vec![Reply::begun(pieces, then)]).unwrap();
        let provider = provider(Api::OpenAi, stub.address(), Bounds::default());
        let mut taker = Taker::default();
        let answer = provider.call(request(Api::OpenAi), &mut taker).await;
        assert_eq!(
            (taker.parts(), answer.map(|answer| answer.stop)),
            (vec![MessagePart::text("Hi")], Ok(ModelStop::EndTurn))
        );
    }
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let begun = Instant::now();
    let provider = provider(Api::OpenAi, &address, Bounds::default());
    let answer = provider.call(request(Api::OpenAi), &mut Taker::default()).await;
    assert_eq!(answer, Err(ModelError::Unreachable));
    assert!(begun.elapsed() < Bounds::default().connect);
}

#[tokio::test]
async fn redirects_are_not_followed_and_what_speaks_no_http_is_broken() {
    use sessions_testkit::stub::{Reply, Then};
    let other = Stub::of(KEY, Api::OpenAi, Scenario::Text).unwrap().unwrap();
    let location = format!("Location: {}/v1/chat/completions", other.address());
    let compressed = Reply::whole(200, &["Content-Type: text/event-stream", "Content-Encoding: gzip"], "x");
    let whole = r#"{"choices":[{"message":{"content":"x"}}]}"#;
    for (reply, expected) in [
        (Reply::whole(307, &[&location], ""), ModelError::Refused { status: 307, reason: None }),
        (
            Reply { pieces: vec![b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()], then: Then::Close },
            ModelError::Broken { what: "it is no HTTP" },
        ),
        (Reply { pieces: vec![], then: Then::Close }, ModelError::Unreachable),
        (compressed, ModelError::Broken { what: "it is compressed, which was not asked for" }),
        (
            Reply::whole(200, &["Content-Type: application/json"], whole),
            ModelError::Unsupported { what: "an answer that streams; the server gives it all at once" },
        ),
        (
            Reply::whole(200, &["Content-Type: application/json"], r#"{"error":{"message":"no"}}"#),
            ModelError::Broken { what: "the provider told of an error within it" },
        ),
        (Reply::whole(400, &[], &"a".repeat(1 << 20)), ModelError::Refused { status: 400, reason: None }),
        (
            Reply::whole(400, &[], r#"{"error":{"type":"invalid_request_error","param":"top_p"}}"#),
            ModelError::Refused { status: 400, reason: RefusalReason::of(["invalid_request_error", "top_p"]) },
        ),
        // A key that is repeated is not handed on.
        (
            Reply::whole(400, &[], &format!(r#"{{"error":{{"type":"invalid_request_error","code":"{KEY}"}}}}"#)),
            ModelError::Refused { status: 400, reason: None },
        ),
    ] {
        let stub = Stub::start(KEY, vec![reply.clone()]).unwrap();
        let provider = provider(Api::OpenAi, stub.address(), Bounds::default());
        let answer = provider.call(request(Api::OpenAi), &mut Taker::default()).await;
        assert_eq!(answer, Err(expected), "{:?}", reply.then);
    }
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn a_request_in_another_form_is_not_sent() {
    let stub = Stub::of(KEY, Api::OpenAi, Scenario::Text).unwrap().unwrap();
    let provider = provider(Api::OpenAi, stub.address(), Bounds::default());
    for form in [Form::Neutral, Form::Anthropic] {
        let answer = provider.call(request_in(form), &mut Taker::default()).await;
        assert!(matches!(answer, Err(ModelError::Unsupported { .. })));
    }
    assert!(stub.asked().is_empty());
}

#[test]
fn addresses_and_keys_are_checked_before_anything_is_sent() {
    let key = |text: &str| Passphrase::new(text.to_owned());
    for (base, is_taken) in [
        ("http://localhost:1", true),
        ("http://127.0.0.1:1/v1/", true),
        ("http://[::1]:1", true),
        ("https://example.com/x", true),
        ("http://example.com", false),
        ("ftp://example.com", false),
        ("example.com", false),
        ("https://user:word@example.com", false),
        ("https://example.com?key=1", false),
        ("", false),
    ] {
        for protocol in [Protocol::OpenAi, Protocol::Anthropic, Protocol::Ollama] {
            let made = RemoteProvider::new(protocol, Some(base), Some(&key(KEY)));
            assert_eq!(made.is_ok(), is_taken, "{protocol:?} {base}");
        }
    }
    assert!(RemoteProvider::new(Protocol::Ollama, Some("http://example.com"), None).is_ok());
    for wrong in ["", "a b", "a\nb", "é"] {
        let error = RemoteProvider::new(Protocol::OpenAi, None, Some(&key(wrong))).err().unwrap();
        assert!(wrong.is_empty() || !error.to_string().contains(wrong), "{error}");
    }
    let local = RemoteProvider::new(Protocol::Ollama, Some("http://localhost:11434/v1/"), Some(&key(KEY))).unwrap();
    assert_eq!(format!("{local:?}"), "RemoteProvider(ollama at localhost:11434)");
    for (protocol, name) in
        [(Protocol::OpenAi, "openai"), (Protocol::Anthropic, "anthropic"), (Protocol::Ollama, "ollama")]
    {
        assert_eq!(RemoteProvider::new(protocol, None, None).unwrap().name(), name);
    }
}
