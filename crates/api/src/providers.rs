//! Who answers: providers of models. A script is always there; those over the network come with the feature `providers`.
//!
//! Must not know: sessions or turns.

#[cfg(feature = "providers")]
pub use sessions_infra::providers::{ANTHROPIC, Bounds, InvalidProvider, OLLAMA, OPENAI, Protocol, RemoteProvider};
pub use sessions_infra::providers::{Answer, Gate, ScriptedProvider};
