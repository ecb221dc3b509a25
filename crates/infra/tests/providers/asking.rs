//! Requests, and who takes what comes of them.
//!
//! Must not know: what is expected.

use std::sync::Arc;

use async_trait::async_trait;
use sessions_domain::{
    Json, Message, MessagePart,
    form::{Form, FormRules, render},
    profile::ModelProfile,
};
use sessions_infra::providers::{Bounds, Gate, Protocol, RemoteProvider};
use sessions_ports::{ModelEvent, ModelEvents, ModelProvider, ModelRequest, Passphrase, Stop, ToolSpec};
use sessions_testkit::stub::{Api, Stub};
use tokio::sync::oneshot;

pub(crate) const KEY: &str = "sk-a-key-that-nobody-may-see";

pub(crate) fn provider(api: Api, address: &str, bounds: Bounds) -> Box<dyn ModelProvider> {
    let key = Passphrase::new(KEY.to_owned());
    let (protocol, base) = match api {
        Api::OpenAi => (Protocol::OpenAi, format!("{address}/v1")),
        Api::Anthropic => (Protocol::Anthropic, address.to_owned()),
        Api::Ollama => (Protocol::Ollama, address.to_owned()),
    };
    Box::new(RemoteProvider::new(protocol, Some(&base), Some(&key)).unwrap().with_bounds(bounds))
}

pub(crate) fn request_in(form: Form) -> ModelRequest {
    let body = render(&[Message::user("PROMPT that nobody may see")], form, &FormRules::of(form)).unwrap();
    let tools = vec![ToolSpec {
        name: "read".into(),
        description: "Reads a file.".into(),
        input_schema: Json::parse(r#"{"type":"object"}"#).unwrap(),
    }];
    let profile = Arc::new(ModelProfile::of("m", "p", form, 8_000));
    ModelRequest { profile, body, tools, max_output: 100, parameters: None }
}

pub(crate) fn request(api: Api) -> ModelRequest {
    request_in(if api == Api::Anthropic { Form::Anthropic } else { Form::OpenAi })
}

/// Keeps what comes.
#[derive(Default)]
pub(crate) struct Taker<'a> {
    parts: Vec<MessagePart>,
    /// Is released when the first event comes.
    stub: Option<&'a Stub>,
    /// Is told then.
    tells: Option<oneshot::Sender<()>>,
    /// Each event waits for it.
    gate: Option<Gate>,
    /// So many events are taken.
    most: Option<usize>,
}

impl<'a> Taker<'a> {
    pub(crate) fn releasing(stub: &'a Stub) -> Self {
        Self { stub: Some(stub), ..Self::default() }
    }

    pub(crate) fn stopping_after(most: usize) -> Self {
        Self { most: Some(most), ..Self::default() }
    }

    pub(crate) fn telling() -> (Self, oneshot::Receiver<()>) {
        let (tells, told) = oneshot::channel();
        (Self { tells: Some(tells), ..Self::default() }, told)
    }

    pub(crate) fn waiting() -> (Self, Gate) {
        let gate = Gate::new();
        (Self { gate: Some(gate.clone()), ..Self::default() }, gate)
    }

    pub(crate) fn parts(self) -> Vec<MessagePart> {
        self.parts
    }
}

#[async_trait]
impl ModelEvents for Taker<'_> {
    async fn on(&mut self, event: ModelEvent) -> Result<(), Stop> {
        if let Some(stub) = self.stub {
            stub.release();
        }
        self.tells.take().map(|tells| tells.send(()));
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        if let Some(most) = &mut self.most {
            *most = most.checked_sub(1).ok_or(Stop)?;
        }
        event.push_to(&mut self.parts);
        Ok(())
    }
}
