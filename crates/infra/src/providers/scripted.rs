//! A provider that answers from a script: for tests and demonstrations, without a network, a key or a model.
//!
//! Must not know: who asks. Time passes in it only by [`Gate`]s.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use sessions_domain::{InvalidJson, MessagePart, TokenUsage};
use sessions_ports::{ModelAnswer, ModelError, ModelEvent, ModelEvents, ModelProvider, ModelRequest, ModelStop, Stop};
use tokio::sync::watch;

use super::demo;

/// A place in an answer at which the provider waits until somebody opens it. Clones are one gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<Passage>>);

#[derive(Clone, Copy, Debug, Default)]
struct Passage {
    is_open: bool,
    reached: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// One that is closed.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Passage::default())))
    }

    /// Lets through whoever waits, and whoever comes later.
    pub fn open(&self) {
        self.0.send_modify(|passage| passage.is_open = true);
    }

    /// Waits until a provider has come to the gate, however often it went through since.
    pub async fn reached(&self) {
        self.until(|passage| passage.reached > 0).await;
    }

    /// Comes to the gate and waits until it is open.
    pub async fn pass(&self) {
        self.0.send_modify(|passage| passage.reached += 1);
        self.until(|passage| passage.is_open).await;
    }

    async fn until(&self, holds: impl FnMut(&Passage) -> bool) {
        // The sender is held here, so it does not go away.
        let _ = self.0.subscribe().wait_for(holds).await;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Tell(ModelEvent),
    Wait(Gate),
}

/// One answer of a script: what comes, in order, and how it ends.
///
/// ```
/// # use sessions_infra::providers::Answer;
/// let answer = Answer::new().reasoning("It wants a file.", Some("sig")).text("I ").text("look.").call("c1", "read", r#"{"path":"a"}"#)?;
/// # Ok::<(), sessions_domain::InvalidJson>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Answer {
    steps: Vec<Step>,
    stop: Option<(ModelStop, Option<String>)>,
    usage: Option<TokenUsage>,
    fails: Option<ModelError>,
}

impl Answer {
    /// One of which nothing comes.
    pub fn new() -> Self {
        Self::default()
    }

    /// One of which nothing comes but an error.
    pub fn failed(error: ModelError) -> Self {
        Self::new().fails(error)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Then comes this piece of text.
    #[must_use]
    pub fn text(self, piece: impl Into<String>) -> Self {
        self.step(Step::Tell(ModelEvent::Text(piece.into())))
    }

    /// Then comes this piece of reasoning, and its signature.
    #[must_use]
    pub fn reasoning(self, piece: impl Into<String>, signature: Option<&str>) -> Self {
        self.step(Step::Tell(ModelEvent::Reasoning { text: piece.into(), signature: signature.map(Into::into) }))
    }

    /// Then comes a call. Its input is JSON.
    ///
    /// # Errors
    /// [`InvalidJson`] when it is none.
    pub fn call(self, id: impl Into<String>, name: impl Into<String>, input: &str) -> Result<Self, InvalidJson> {
        Ok(self.part(MessagePart::tool_call(id, name, input)?))
    }

    /// Then comes a part of its own.
    #[must_use]
    pub fn part(self, part: MessagePart) -> Self {
        self.step(Step::Tell(ModelEvent::Part(part)))
    }

    /// Then nothing comes until the gate is open.
    #[must_use]
    pub fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// Then it says what it took so far.
    #[must_use]
    pub fn used(self, so_far: TokenUsage) -> Self {
        self.step(Step::Tell(ModelEvent::Usage(so_far)))
    }

    /// What the provider says it cost; without this it says nothing.
    #[must_use]
    pub fn usage(mut self, usage: TokenUsage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Why it ends, and in which word. Without this it is `tool_use` where calls came, else `end_turn`.
    #[must_use]
    pub fn stop(mut self, stop: ModelStop, raw: impl Into<String>) -> Self {
        self.stop = Some((stop, Some(raw.into())));
        self
    }

    /// In the end it fails, after all that came.
    #[must_use]
    pub fn fails(mut self, error: ModelError) -> Self {
        self.fails = Some(error);
        self
    }

    fn stopped(&self) -> (ModelStop, Option<String>) {
        let is_call = |step: &Step| matches!(step, Step::Tell(ModelEvent::Part(MessagePart::ToolCall(_))));
        let (stop, raw) = if self.steps.iter().any(is_call) {
            (ModelStop::ToolUse, "tool_use")
        } else {
            (ModelStop::EndTurn, "end_turn")
        };
        self.stop.clone().unwrap_or_else(|| (stop, Some(raw.to_owned())))
    }

    async fn play(self, events: &mut dyn ModelEvents) -> Result<ModelAnswer, ModelError> {
        let (stop, raw_stop) = self.stopped();
        for step in self.steps {
            match step {
                Step::Tell(event) => events.on(event).await.map_err(|Stop| ModelError::Stopped)?,
                Step::Wait(gate) => gate.pass().await,
            }
        }
        let whole = ModelAnswer { stop, raw_stop, usage: self.usage, model: None, request_id: None };
        self.fails.map_or(Ok(whole), Err)
    }
}

enum Script {
    List(VecDeque<Answer>),
    Demo,
}

/// Gives the answers of a list, one a request, and keeps what it was asked.
pub struct ScriptedProvider {
    script: Mutex<Script>,
    asked: Mutex<Vec<ModelRequest>>,
}

impl ScriptedProvider {
    /// Its name.
    pub const NAME: &str = "scripted";

    /// One that gives these answers. Behind the last one each request fails with [`ModelError::Unsupported`].
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::of(Script::List(answers.into_iter().collect()))
    }

    /// One that answers whatever it is asked: it says that it is a script and no model, repeats the beginning of what it was asked, and calls a tool
    /// when that has the word `tool` in it. The same request has the same answer.
    pub fn demo() -> Self {
        Self::of(Script::Demo)
    }

    fn of(script: Script) -> Self {
        Self { script: Mutex::new(script), asked: Mutex::default() }
    }

    /// The requests so far, oldest first. A demonstration keeps none.
    pub fn asked(&self) -> Vec<ModelRequest> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn next(&self, request: ModelRequest) -> Result<Answer, ModelError> {
        match &mut *self.script.lock().unwrap_or_else(PoisonError::into_inner) {
            Script::Demo => Ok(demo::answer(&request)),
            Script::List(answers) => {
                self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                answers.pop_front().ok_or(ModelError::Unsupported { what: "the script has no further answer" })
            }
        }
    }
}

#[async_trait]
impl ModelProvider for ScriptedProvider {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn call(&self, request: ModelRequest, events: &mut dyn ModelEvents) -> Result<ModelAnswer, ModelError> {
        self.next(request)?.play(events).await
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[tokio::test]
    async fn a_script_is_played_as_it_is_written() {
        let usage = TokenUsage { input: 7, output: 3, ..TokenUsage::default() };
        let provider = ScriptedProvider::new([
            Answer::new().reasoning("hm", Some("sig")).text("I ").text("look.").usage(usage),
            Answer::new().call("c", "read", r#"{"a":1.0}"#).unwrap(),
            Answer::new().text("half").fails(ModelError::Unreachable),
            Answer::new().text("a").stop(ModelStop::MaxTokens, "length"),
        ]);
        let (answer, parts) = ask(&provider, request("hello", &[])).await;
        let hm = MessagePart::Reasoning { text: "hm".into(), signature: Some("sig".into()) };
        assert_eq!(parts, [hm, MessagePart::text("I look.")]);
        let answer = answer.unwrap();
        assert_eq!((answer.stop, answer.usage), (ModelStop::EndTurn, Some(usage)));
        let (answer, parts) = ask(&provider, request("on", &[])).await;
        assert_eq!(parts, [MessagePart::tool_call("c", "read", r#"{"a":1.0}"#).unwrap()]);
        assert_eq!(answer.unwrap().stop, ModelStop::ToolUse);
        let (answer, parts) = ask(&provider, request("on", &[])).await;
        assert_eq!((answer, parts), (Err(ModelError::Unreachable), vec![MessagePart::text("half")]));
        let (answer, _) = ask(&provider, request("on", &[])).await;
        assert_eq!(answer.unwrap().raw_stop.as_deref(), Some("length"));
        let (answer, parts) = ask(&provider, request("on", &[])).await;
        assert!(matches!(answer, Err(ModelError::Unsupported { .. })) && parts.is_empty());
        assert_eq!(provider.asked().len(), 5);
    }

    #[tokio::test]
    async fn it_waits_at_a_gate_and_ends_when_no_more_is_wanted() {
        let gate = Gate::new();
        let script = Answer::new().text("before").wait(&gate).text("after");
        let provider = Arc::new(ScriptedProvider::new([script.clone(), script]));
        let asked = Arc::clone(&provider);
        let asking = tokio::spawn(async move { ask(&*asked, request("x", &[])).await });
        gate.reached().await;
        assert!(!asking.is_finished());
        gate.open();
        assert_eq!(asking.await.unwrap().1, [MessagePart::text("beforeafter")]);

        let mut one = Taker { parts: vec![], most: 1 };
        let answer = provider.call(request("x", &[]), &mut one).await;
        assert_eq!((answer, one.parts), (Err(ModelError::Stopped), vec![MessagePart::text("before")]));
    }
}
