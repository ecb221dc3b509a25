//! Over TLS a provider is talked to when its certificate is trusted, and hears nothing otherwise.
//!
//! Must not know: how answers are read.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use sessions_domain::MessagePart;
use sessions_infra::providers::{Bounds, Protocol, RemoteProvider};
use sessions_ports::{ModelError, ModelProvider, Passphrase};
use sessions_testkit::stub::{Api, Scenario};
use tokio::time::timeout;

use super::asking::{KEY, Taker, request};

const LOCALHOST: &str = include_str!("../stub/localhost.pem");
const LOCALHOST_KEY: &str = include_str!("../stub/localhost.key.pem");
const OTHER: &str = include_str!("../stub/other.pem");

/// Answers one request over TLS and gives what it heard of it.
fn once(reply: Vec<u8>) -> (String, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let signed = CertificateDer::from_pem_slice(LOCALHOST.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST_KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![signed], key).unwrap());
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(config).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
        while !heard.ends_with(b"}") {
            match stream.read(&mut piece) {
                Ok(read) if read > 0 => heard.extend(&piece[..read]),
                _ => return heard,
            }
        }
        stream.write_all(&reply).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        heard
    });
    (address, serving)
}

#[tokio::test]
async fn who_is_trusted_is_talked_to_and_nobody_else_hears_anything() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    let key = Passphrase::new(KEY.to_owned());
    for api in [Api::OpenAi, Api::Anthropic] {
        for trusted in [LOCALHOST, OTHER] {
            fs::write(&file, trusted).unwrap();
            let reply = api.replies(Scenario::Text).unwrap().remove(0).pieces.concat();
            let (address, serving) = once(reply);
            let protocol = if api == Api::Anthropic { Protocol::Anthropic } else { Protocol::OpenAi };
            let provider = RemoteProvider::trusting(protocol, Some(&address), Some(&key), &file).unwrap();
            let mut taker = Taker::default();
            let answer = provider.call(request(api), &mut taker).await;
            let heard = serving.join().unwrap();
            if trusted == LOCALHOST {
                assert!(answer.is_ok(), "{answer:?}");
                assert_eq!(taker.parts(), [MessagePart::text("Hi 🦀 there")]);
                assert!(heard.starts_with(b"POST /"));
            } else {
                assert!(matches!(answer, Err(ModelError::Unsupported { .. })), "{answer:?}");
                assert!(heard.is_empty());
            }
        }
    }
    fs::write(&file, "no certificate").unwrap();
    assert!(RemoteProvider::trusting(Protocol::OpenAi, Some("https://localhost:1"), None, &file).is_err());
}

#[tokio::test]
async fn who_takes_a_connection_and_says_nothing_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    fs::write(&file, LOCALHOST).unwrap();
    // The system takes connections for it, and nobody encrypts them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let bounds = Bounds { connect: Duration::from_millis(100), ..Bounds::default() };
    let provider = RemoteProvider::trusting(Protocol::OpenAi, Some(&address), None, &file).unwrap();
    let provider = provider.with_bounds(bounds);
    let mut taker = Taker::default();
    let answer = timeout(Duration::from_secs(20), provider.call(request(Api::OpenAi), &mut taker)).await;
    assert_eq!(answer.expect("it waits"), Err(ModelError::Slow { what: "no connection stood in time" }));
}
