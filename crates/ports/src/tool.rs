//! What a model is told of a tool that it may call.
//!
//! Must not know: how a tool runs, or who allows it.

use sessions_domain::Json;

/// A tool as it is offered to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolSpec {
    /// Its name, as calls say it. Providers take 1–64 of `A–Z a–z 0–9 _ -`.
    pub name: String,
    /// What it does and when to call it, for the model to read.
    pub description: String,
    /// The JSON Schema of its input: an object with `"type": "object"`.
    pub input_schema: Json,
}
