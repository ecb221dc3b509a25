//! What holds for every context in a form, whatever makes it.
//!
//! Must not know: which histories there are.

use sessions_app::transfer::{Format, anthropic, detect, openai};
use sessions_domain::{
    Message, MessagePart, MessageRole, ToolContent,
    form::{self, Form, FormBody, FormRules, ReasoningBack, Target},
    pairing::{Paired, Repair, pair},
};

use super::{
    histories::{PROVIDER, Told},
    rules::{self, Api, Knows, Request},
};

/// A context in a form.
pub(crate) struct Built {
    pub(crate) body: FormBody,
    pub(crate) repairs: Vec<Repair>,
    /// Whether the last answer made calls, and the model's own reasoning stands before them.
    pub(crate) thought: bool,
}

/// A way to ask for a form: the form, what its model takes, and the model.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) form: Form,
    pub(crate) rules: FormRules,
    pub(crate) model: String,
    pub(crate) from_start: bool,
}

impl Way {
    pub(crate) fn target(&self) -> Target<'_> {
        Target { provider: PROVIDER, model: &self.model, aliases: &[], unchanged_since: self.from_start.then_some(0) }
    }
}

/// The forms as they are, and with each rule of a model the other way.
pub(crate) fn ways(model: &str) -> Vec<Way> {
    use sessions_domain::form::InstructionsAs;
    let of = |form, change: fn(&mut FormRules)| {
        let mut rules = FormRules::of(form);
        change(&mut rules);
        Way { form, rules, model: model.to_owned(), from_start: true }
    };
    vec![
        of(Form::OpenAi, |_| {}),
        of(Form::OpenAi, |rules| rules.instructions = InstructionsAs::User),
        of(Form::OpenAi, |rules| (rules.instructions, rules.longest_text) = (InstructionsAs::Developer, 40)),
        of(Form::OpenAi, |rules| (rules.system_inside, rules.prefill) = (false, false)),
        of(Form::OpenAi, |rules| (rules.longest_call_id, rules.longest_name) = (9, 9)),
        of(Form::Anthropic, |_| {}),
        of(Form::Anthropic, |rules| (rules.prefill, rules.longest_text) = (true, 60)),
        of(Form::Anthropic, |rules| (rules.system_inside, rules.reasoning) = (true, ReasoningBack::Unchanged)),
        of(Form::Anthropic, |rules| (rules.prefill, rules.reasoning) = (true, ReasoningBack::Unchanged)),
        of(Form::Anthropic, |rules| {
            (rules.instructions, rules.reasoning) = (InstructionsAs::User, ReasoningBack::Never)
        }),
    ]
}

fn api(form: Form) -> Api {
    if form == Form::OpenAi { Api::OpenAi } else { Api::Anthropic }
}

/// All that a provider would object to in a context.
pub(crate) fn objections(built: &Built, way: &Way) -> Vec<String> {
    let knows = Knows {
        prefill: way.rules.prefill,
        system_inside: way.rules.system_inside,
        system: way.rules.instructions != form::InstructionsAs::User,
        thought: built.thought,
    };
    let text = serde_json::to_string(&built.body).unwrap();
    rules::broken(api(way.form), &Request::of(text, knows))
}

/// The sequence that a form is made of.
pub(crate) fn paired(history: &[Told]) -> (Vec<Paired>, Vec<Repair>) {
    pair(history.iter().enumerate().map(|(at, (late, message))| (Some(at as u64 + 1), *late, message.clone())))
}

/// The form of a history, as it is made without a budget.
pub(crate) fn built(history: &[Told], way: &Way) -> Built {
    let (messages, mut repairs) = paired(history);
    let thought = has_thought(&messages, way);
    let shaped = form::shape(messages, way.form, &way.rules, &way.target());
    repairs.extend(shaped.repairs);
    let body = form::render(shaped.messages.iter().map(|(_, message)| message), way.form, &way.rules).unwrap();
    let is_apart = !repairs.iter().any(|repair| matches!(repair, Repair::EmptyMessage { .. }));
    Built { body, repairs, thought: thought && is_apart }
}

/// Whether the model that a context is for owes its reasoning to the calls that were answered last.
fn has_thought(messages: &[Paired], way: &Way) -> bool {
    let is_answer = |(_, message): &Paired| message.role == MessageRole::Assistant;
    let strays = messages.iter().any(|paired| !is_answer(paired) && paired.1.calls().count() > 0);
    let Some(last) = messages.iter().rposition(is_answer).filter(|_| way.rules.reasoning == ReasoningBack::LastTurn)
    else {
        return false;
    };
    let (answer, by) = (&messages[last].1, &messages[last].1.metadata);
    let is_own = by.model.as_deref() == Some(way.model.as_str()) && by.provider.as_deref() == Some(PROVIDER);
    let is_signed = |part: &MessagePart| match part {
        MessagePart::Reasoning { signature, .. } => signature.as_ref().is_some_and(|signature| !signature.is_empty()),
        _ => true,
    };
    let begins = matches!(answer.parts.first(), Some(MessagePart::Reasoning { .. }));
    let is_answered = messages.get(last + 1).is_some_and(|(_, next)| next.role == MessageRole::Tool);
    let is_alone = last == 0 || !is_answer(&messages[last - 1]);
    !strays && is_own && begins && answer.parts.iter().all(is_signed) && is_answered && is_alone
}

/// A history as it stands, spelled without being shaped.
pub(crate) fn plain(history: &[Told], way: &Way) -> FormBody {
    form::render(history.iter().map(|(_, message)| message), way.form, &way.rules).unwrap()
}

/// The texts of a message that a counter counts: ids are none of them.
fn texts(message: &Message) -> Vec<String> {
    message.parts.iter().flat_map(part_texts).collect()
}

fn part_texts(part: &MessagePart) -> Vec<String> {
    match part {
        MessagePart::Text(text) => vec![text.clone()],
        MessagePart::Reasoning { text, signature } => vec![text.clone(), signature.clone().unwrap_or_default()],
        MessagePart::ToolCall(call) => vec![call.name.clone(), call.input.as_str().to_owned()],
        MessagePart::ToolResult(result) => match &result.content {
            ToolContent::Text(text) => vec![text.clone()],
            ToolContent::Parts(parts) => parts.iter().flat_map(part_texts).collect(),
        },
        MessagePart::File(file) => vec![file.url.clone().unwrap_or_default()],
        MessagePart::Error { message, .. } => vec![message.clone()],
        MessagePart::Custom(json) => vec![json.as_str().to_owned()],
        _ => Vec::new(),
    }
}

type Counter = fn(&str) -> u64;

/// Counters of text: bytes, and words.
pub(crate) const COUNTERS: [Counter; 2] = [|text| text.len() as u64, |text| text.split_whitespace().count() as u64];

pub(crate) fn cost(message: &Message, count: Counter) -> u64 {
    texts(message).iter().map(|text| count(text)).sum()
}

/// Shaping changes what is shaped in nothing, and says when it changed something.
pub(crate) fn shaping_is_stable(messages: &[Paired], way: &Way) {
    let once = form::shape(messages.to_vec(), way.form, &way.rules, &way.target());
    assert_eq!(once.repairs.is_empty(), once.messages == messages, "{:?}", once.repairs);
    let again = form::shape(once.messages.clone(), way.form, &way.rules, &way.target());
    assert_eq!(again.repairs, [], "shaping twice");
    assert_eq!(again.messages, once.messages);
}

/// What shaping makes of messages costs no more than the most of each, and what may be added once.
pub(crate) fn shaping_is_bounded(messages: &[Paired], way: &Way) {
    let shaped = form::shape(messages.to_vec(), way.form, &way.rules, &way.target()).messages;
    let reserve = form::reserve(way.form, &way.rules);
    for count in COUNTERS {
        let now: u64 = shaped.iter().map(|(_, message)| cost(message, count)).sum();
        let most = |message: &Message| cost(&form::upper(message, way.form, &way.rules), count);
        let bound = messages.iter().map(|(_, message)| most(message)).sum::<u64>();
        let bound = bound + reserve.iter().map(|text| count(text)).sum::<u64>();
        assert!(now <= bound, "{now} > {bound}: {shaped:?}");
    }
    let most = |message: &Message| form::upper_messages(message, way.form, &way.rules);
    let bound = messages.iter().map(|(_, message)| most(message)).sum::<u64>() + reserve.len() as u64;
    assert!(shaped.len() as u64 <= bound, "{} messages > {bound}", shaped.len());
}

/// What a provider takes as it stands is not touched.
pub(crate) fn valid_stays(messages: &[Paired], way: &Way) -> bool {
    let (own, usual) = (&way.rules, FormRules::of(way.form));
    let limits = |rules: &FormRules| (rules.longest_call_id, rules.longest_name, rules.longest_text);
    if limits(own) != limits(&usual) {
        // The rules know the forms' own limits only.
        return false;
    }
    let body = form::render(messages.iter().map(|(_, message)| message), way.form, &way.rules).unwrap();
    let built = Built { body, repairs: Vec::new(), thought: false };
    let is_plain = |part: &MessagePart| match part {
        MessagePart::Text(_) | MessagePart::ToolCall(_) => true,
        MessagePart::ToolResult(result) => match &result.content {
            ToolContent::Text(_) => way.form == Form::Anthropic || !result.is_error,
            ToolContent::Parts(_) => false,
        },
        _ => false,
    };
    let has_place = |message: &Message| {
        let result = |part: &&MessagePart| matches!(part, MessagePart::ToolResult(_));
        let results = message.parts.iter().filter(result).count();
        let calls = message.calls().count();
        match message.role {
            MessageRole::Tool => results == message.parts.len(),
            MessageRole::Assistant => {
                results == 0
                    && message.parts.iter().rev().take(calls).all(|part| matches!(part, MessagePart::ToolCall(_)))
            }
            _ => results == 0 && calls == 0,
        }
    };
    let is_plain =
        |(_, message): &Paired| !message.parts.is_empty() && has_place(message) && message.parts.iter().all(is_plain);
    if !messages.iter().all(is_plain) || !objections(&built, way).is_empty() {
        return false;
    }
    let shaped = form::shape(messages.to_vec(), way.form, &way.rules, &way.target());
    assert_eq!(shaped.repairs, [], "valid as it stands: {}", built.body.messages.as_str());
    true
}

/// Reasoning that goes back is the model's own, as it was.
pub(crate) fn reasoning_is_its_own(history: &[Told], way: &Way) {
    let (messages, _) = paired(history);
    let shaped = form::shape(messages.clone(), way.form, &way.rules, &way.target());
    for (seq, message) in &shaped.messages {
        let own = |part: &&MessagePart| matches!(part, MessagePart::Reasoning { .. });
        let thoughts: Vec<&MessagePart> = message.parts.iter().filter(own).collect();
        if thoughts.is_empty() {
            continue;
        }
        let (_, came) = messages.iter().find(|(other, _)| other == seq).unwrap();
        assert_eq!(thoughts, came.parts.iter().filter(own).collect::<Vec<_>>(), "all of a message or nothing");
        assert_eq!(came.metadata.model.as_deref(), Some(way.model.as_str()));
    }
}

/// What was sent comes in as a conversation, and is sent as it was.
pub(crate) fn comes_in_again(built: &Built, way: &Way) {
    let sent = serde_json::to_string(&built.body).unwrap();
    let read = match way.form {
        Form::OpenAi => openai::read(sent.as_bytes()),
        _ => anthropic::read(sent.as_bytes()),
    };
    let read = read.unwrap_or_else(|error| panic!("{error}: {sent}"));
    assert_eq!(read.report.set_aside, [], "{sent}");
    let messages = read.main_path().into_iter().filter_map(|at| read.entries[at].message().cloned());
    let history: Vec<Told> = messages.map(|message| (false, message)).collect();
    assert!(plain(&history, way) == built.body, "{sent} is not {}", plain(&history, way).messages.as_str());
    let name = detect(sent.as_bytes()).map(Format::name);
    // Where nothing tells the two apart, it is no matter.
    let is_told = sent.contains("tool_calls") || sent.contains("tool_use") || sent.contains("\"system\":");
    let own = if way.form == Form::OpenAi { "openai" } else { "anthropic" };
    assert!(name.is_some() && (!is_told || name == Some(own)), "{sent} looks like {name:?}");
}
