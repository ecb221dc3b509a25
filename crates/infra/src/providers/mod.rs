//! Providers of models: a script, and those behind the feature `providers`.
//!
//! Must not know: sessions, turns, or retries.

#[cfg(feature = "providers")]
mod anthropic;
#[cfg(feature = "providers")]
pub mod decoder;
mod demo;
#[cfg(feature = "providers")]
mod failure;
#[cfg(feature = "providers")]
pub mod frames;
#[cfg(feature = "providers")]
mod openai;
#[cfg(feature = "providers")]
mod remote;
#[cfg(feature = "providers")]
mod request;
pub mod scripted;
#[cfg(feature = "providers")]
mod strings;
#[cfg(feature = "providers")]
mod transport;
#[cfg(feature = "providers")]
mod waiting;

#[cfg(feature = "providers")]
pub use remote::{ANTHROPIC, InvalidProvider, OLLAMA, OPENAI, Protocol, RemoteProvider};
pub use scripted::{Answer, Gate, ScriptedProvider};
#[cfg(feature = "providers")]
pub use transport::Bounds;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use sessions_domain::{
        Json, Message, MessagePart,
        form::{Form, FormRules, render},
        profile::ModelProfile,
    };
    use sessions_ports::{
        ModelAnswer, ModelError, ModelEvent, ModelEvents, ModelProvider, ModelRequest, Stop, ToolSpec,
    };

    /// Takes so many events.
    pub(crate) struct Taker {
        pub(crate) parts: Vec<MessagePart>,
        pub(crate) most: usize,
    }

    #[async_trait]
    impl ModelEvents for Taker {
        async fn on(&mut self, event: ModelEvent) -> Result<(), Stop> {
            self.most = self.most.checked_sub(1).ok_or(Stop)?;
            event.push_to(&mut self.parts);
            Ok(())
        }
    }

    pub(crate) fn request_of(messages: &[Message], form: Form, tools: Vec<ToolSpec>) -> ModelRequest {
        let profile = Arc::new(ModelProfile::of("m", "p", form, 8_000));
        let body = render(messages, form, &FormRules::of(form)).unwrap();
        ModelRequest { profile, body, tools, max_output: 100, parameters: None }
    }

    pub(crate) fn request(asked: &str, tools: &[&str]) -> ModelRequest {
        let input_schema = Json::parse(r#"{"type":"object"}"#).unwrap();
        let tool = |name: &&str| ToolSpec {
            name: (*name).to_owned(),
            description: "d".to_owned(),
            input_schema: input_schema.clone(),
        };
        request_of(&[Message::user(asked)], Form::OpenAi, tools.iter().map(tool).collect())
    }

    pub(crate) async fn ask(
        provider: &dyn ModelProvider,
        request: ModelRequest,
    ) -> (Result<ModelAnswer, ModelError>, Vec<MessagePart>) {
        let mut taker = Taker { parts: Vec::new(), most: usize::MAX };
        let answer = provider.call(request, &mut taker).await;
        (answer, taker.parts)
    }
}
