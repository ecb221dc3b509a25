//! A tool that a model may call, and a gate that is asked before it runs.
//!
//! `cargo run -p sessions-api --example tool_with_gate`. A script stands for the model: it calls the tool twice, and the gate lets one of the calls
//! through. A host puts its own tools, its own gate (a person, or a policy) and a provider of the configuration in their places.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, Write},
    sync::Arc,
};

use sessions_api::{
    Agent, Form, GateAnswer, Json, Message, ModelProfile, SessionManager, Tool, ToolConduct, ToolContent, ToolFailure,
    ToolGate, ToolRun, ToolSpec, async_trait,
    providers::{Answer, ScriptedProvider},
};

/// Reads the notes that it was made with, and nothing else.
struct ReadNote {
    spec: ToolSpec,
    notes: BTreeMap<String, String>,
}

impl ReadNote {
    fn new() -> Result<Self, Box<dyn Error>> {
        let input_schema = Json::parse(
            r#"{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}"#,
        )?;
        let description = "Reads a note. Call it with the note's name.".to_owned();
        let notes = [("shopping", "Apples, and flour."), ("diary", "Nobody may read this.")];
        Ok(Self {
            spec: ToolSpec { name: "read_note".to_owned(), description, input_schema },
            notes: notes.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        })
    }
}

/// The name in a call's input, which is whatever the model wrote.
fn name_in(run: &ToolRun) -> Option<String> {
    let input: BTreeMap<String, String> = run.call.input.decode().ok()?;
    input.get("name").cloned()
}

#[async_trait]
impl Tool for ReadNote {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn conduct(&self) -> ToolConduct {
        // It only reads, so it may run again when nobody knows whether it ran.
        ToolConduct { is_repeatable: true, ..ToolConduct::default() }
    }

    async fn run(&self, run: &ToolRun) -> Result<ToolContent, ToolFailure> {
        let name = name_in(run).ok_or_else(|| ToolFailure::new("say which note, as in {\"name\": \"shopping\"}"))?;
        let note = self.notes.get(&name).ok_or_else(|| ToolFailure::new("there is no note of this name"))?;
        Ok(ToolContent::Text(note.clone()))
    }
}

/// A policy: the diary is nobody's business.
struct NotTheDiary;

#[async_trait]
impl ToolGate for NotTheDiary {
    async fn ask(&self, run: &ToolRun) -> GateAnswer {
        if name_in(run).as_deref() == Some("diary") { GateAnswer::NotNow } else { GateAnswer::Once }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout()).await
}

/// The program.
pub async fn run(shown: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let sessions = SessionManager::open("memory:").await?;
    let chat = sessions.open_or_create("notes").await?;
    let script = ScriptedProvider::new([
        Answer::new().call("call-1", "read_note", r#"{"name":"shopping"}"#)?,
        Answer::new().call("call-2", "read_note", r#"{"name":"diary"}"#)?,
        Answer::new().text("Apples and flour; the diary stays closed."),
    ]);
    let profile = ModelProfile::of("script", ScriptedProvider::NAME, Form::Neutral, 32_768);
    let agent = Agent::of_profile(Arc::new(script), Arc::new(profile))
        .tool(Arc::new(ReadNote::new()?))
        .gate(Arc::new(NotTheDiary));
    let outcome = chat.send_message(&agent, Message::user("What do I have to buy?")).await?;
    for message in chat.last(10).await? {
        for result in message.results() {
            if let ToolContent::Text(text) = &result.content {
                writeln!(shown, "{}: {text}", result.call_id)?;
            }
        }
    }
    writeln!(shown, "{}", outcome.text)?;
    sessions.close().await?;
    Ok(())
}
