//! The whole way of a conversation: into a store, back to any place of it, forked, compacted and gone on with; and whatever became of it, what
//! a provider is sent keeps the provider's rules and the budget.
//!
//! `SESSIONS_CUTS` says at how many places each history is taken up (100; 1000 for a release), `SESSIONS_SEED` which.
//!
//! Must not know: how a context is collected.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    io::Cursor,
    sync::Arc,
};

use serde_json::value::RawValue;
use sessions_app::{
    At, CompactionRefused, CompactionWish, ContextWish, Format, ImportOptions, NewSession, Ports, Session,
    SessionError, SessionManager, Settings,
};
use sessions_domain::{
    Message, MessagePart,
    context::{Budget, Context, ContextPart},
    form::{Form, FormBody, ReasoningBack, render},
    profile::{ModelProfile, Profiles},
};
use sessions_infra::{
    MemoryStore,
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    tokens::BuiltInEncodings,
};
use sessions_ports::{SessionLog, TokenCounter};
use sessions_tests::chance::Chance;

use super::{
    histories,
    laws::{self, Built, Way},
    sources,
};

/// How many histories are made up.
const MADE_UP: u64 = 12;

/// Each so many contexts, one is taken in again: that is dear.
const TAKEN_IN: u64 = 16;

/// A manager over a store, as a host has it.
pub(super) fn manager(store: Arc<dyn SessionLog>) -> SessionManager {
    let ports = Ports {
        store,
        clock: Arc::new(SystemClock),
        ids: Arc::new(UlidGenerator::new()),
        entropy: Arc::new(SystemEntropy::new()),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    SessionManager::with(ports, Settings::default()).unwrap()
}

/// What was done, and what was wrong.
#[derive(Debug, Default)]
struct Tally {
    places: u64,
    contexts: u64,
    cut: u64,
    plain: u64,
    over_budget: u64,
    compacted: u64,
    not_compacted: u64,
    said: u64,
    refused: u64,
    taken_in: u64,
    violations: Vec<String>,
}

/// A session that is looked at, with what was said in it.
struct Chat<'a> {
    session: &'a Session,
    said: BTreeMap<u64, Message>,
    name: &'a str,
    profiles: &'a [Arc<ModelProfile>],
    /// A budget that is asked for over and over, so that contexts go on from those before.
    steady: Budget,
}

#[tokio::test]
async fn a_context_is_valid_wherever_a_session_is_taken_up_and_whatever_becomes_of_it() {
    let seed = Chance::seed();
    println!("seed {seed}");
    let mut tally = Tally::default();
    let (mut histories, mut chance) = (0, Chance::of(seed));
    for source in sources::transcripts() {
        let begun = std::time::Instant::now();
        let sessions = manager(Arc::new(MemoryStore::new()));
        let model = sources::model(&source.bytes);
        let report = sessions.import(Cursor::new(source.bytes), ImportOptions::default()).await.unwrap();
        let chat = sessions.load(report.id).await.unwrap();
        taken_up(&chat, &source.name, model, &mut chance, &mut tally).await;
        println!("{}: {} messages, {:?}", source.name, report.report.messages, begun.elapsed());
        histories += 1;
    }
    let sessions = manager(Arc::new(MemoryStore::new()));
    for number in 0..MADE_UP {
        let chat = sessions.create(NewSession::default()).await.unwrap();
        for (_, message) in histories::made_up(&mut chance, 40) {
            note(chat.append(message).await, &mut tally);
        }
        taken_up(&chat, &format!("made up {number}"), histories::MODEL.to_owned(), &mut chance, &mut tally).await;
        histories += 1;
    }
    let violations = std::mem::take(&mut tally.violations);
    println!("{histories} histories, {tally:?}, {} violations", violations.len());
    let first: Vec<&String> = violations.iter().take(20).collect();
    assert!(violations.is_empty(), "seed {seed}: {} violations, the first of them {first:#?}", violations.len());
    let Tally { contexts, plain, cut, over_budget, compacted, said, taken_in, .. } = tally;
    assert!(
        contexts > over_budget && [plain, cut, over_budget, compacted, said, taken_in].iter().all(|count| *count > 0)
    );
}

/// Takes a session up at places that chance gives.
async fn taken_up(chat: &Session, name: &str, model: String, chance: &mut Chance, tally: &mut Tally) {
    let version = chat.version().await.unwrap();
    let said = said(chat).await;
    let profiles = profiles(model);
    for _ in 0..super::forms::cuts() {
        tally.places += 1;
        let at = 1 + chance.below(version);
        let place = format!("{name} at {at}");
        let session = match chance.below(3) {
            0 => {
                chat.checkout_at(At::Version(at)).await.unwrap();
                chat.clone()
            }
            1 => {
                let undone = chat.undo(1 + chance.below(20)).await;
                assert!(undone.is_ok() || matches!(undone, Err(SessionError::Rule(_))), "{undone:?}");
                chat.clone()
            }
            _ => chat.fork(At::Version(at)).await.unwrap(),
        };
        let is_fork = session.id() != chat.id();
        let mut known = said.clone();
        if is_fork {
            known.retain(|seq, _| *seq <= at);
        }
        let steady = Budget::tokens(budget(chance));
        let mut here = Chat { session: &session, said: known, name: &place, profiles: &profiles, steady };
        if is_fork && chance.below(4) == 0 {
            instruct_and_pin(&session, chance).await;
        }
        here.look(chance, tally).await;
        // All of what no summary covers is weighed for it.
        if chance.below(1 + here.said.len() as u64 / 100) == 0 {
            here.compact(chance, tally).await;
            here.look(chance, tally).await;
        }
        go_on(&session, chance, tally).await;
        here.look(chance, tally).await;
    }
}

/// The messages that a session has, also those that the conversation left.
async fn said(chat: &Session) -> BTreeMap<u64, Message> {
    let mut said = BTreeMap::new();
    let mut updates = chat.subscribe(0);
    let version = chat.version().await.unwrap();
    while updates.seen() < version {
        let Some(update) = updates.next().await.unwrap() else { break };
        said.extend(update.message().map(|stored| (stored.seq, stored.message.clone())));
    }
    said
}

/// The models that the project knows, and those that may have written the history.
fn profiles(model: String) -> Vec<Arc<ModelProfile>> {
    let own = |form, reasoning| {
        let mut own = ModelProfile::of(model.clone(), histories::PROVIDER, form, 200_000);
        own.rules.reasoning = reasoning;
        Arc::new(own)
    };
    let mut profiles: Vec<Arc<ModelProfile>> = Profiles::shipped().iter().cloned().collect();
    for _ in 0..8 {
        profiles.push(own(Form::Anthropic, ReasoningBack::LastTurn));
        profiles.push(own(Form::Anthropic, ReasoningBack::Unchanged));
    }
    profiles
}

async fn instruct_and_pin(session: &Session, chance: &mut Chance) {
    session.instruct(Some("Be careful with the database.".to_owned())).await.unwrap();
    let last = session.last(30).await.unwrap();
    if let Some(message) = last.get(chance.below(30) as usize) {
        session.pin(message.id, true).await.unwrap();
    }
}

fn note<T: Debug>(done: Result<T, SessionError>, tally: &mut Tally) {
    match done {
        Ok(_) => tally.said += 1,
        Err(SessionError::Rule(_) | SessionError::LimitReached { .. }) => tally.refused += 1,
        Err(error) => panic!("{error}"),
    }
}

/// Says some more: tidy turns, calls that nobody answers, answers that come late.
async fn go_on(session: &Session, chance: &mut Chance, tally: &mut Tally) {
    let call = |id: &str| MessagePart::tool_call(id, "read_file", r#"{"path":"src/lib.rs"}"#).unwrap();
    for _ in 0..chance.below(4) {
        let id = format!("call_{}", chance.below(1 << 40));
        let other = format!("{id}_b");
        let messages = match chance.below(6) {
            0 => vec![Message::user("And now?"), Message::assistant("Now it works.")],
            1 => vec![Message::assistant("Let me see.").with(call(&id)), Message::tool_result(&*id, "pub mod a;\n")],
            2 => vec![Message::assistant("Let me see.").with(call(&id))],
            3 => vec![
                Message::assistant("Both.").with(call(&id)).with(call(&other)),
                Message::tool_result(&*other, "found"),
                Message::user("Never mind."),
                Message::tool_result(&*id, "found as well"),
            ],
            4 => vec![
                Message::assistant("Much.").with(call(&id)),
                Message::tool_result(&*id, "a line of some length\n".repeat(chance.below(900) as usize)),
            ],
            _ => histories::made_up(chance, 4).into_iter().map(|(_, message)| message).collect(),
        };
        for message in messages {
            note(session.append(message).await, tally);
        }
    }
}

/// Any budget, from one that is too small for anything to none at all.
fn budget(chance: &mut Chance) -> u64 {
    match chance.below(20) {
        0..2 => u64::MAX,
        2 => chance.below(40),
        bits => {
            let least = 1_u64 << bits;
            least + chance.below(least)
        }
    }
}

impl Chat<'_> {
    /// Asks for contexts in both forms, and for one of a model, and holds each against what must be so.
    async fn look(&mut self, chance: &mut Chance, tally: &mut Tally) {
        for stored in self.session.last(24).await.unwrap() {
            self.said.insert(stored.seq, stored.message);
        }
        let within = Budget::tokens(budget(chance));
        let profile = Arc::clone(&self.profiles[chance.below(self.profiles.len() as u64) as usize]);
        let other = Arc::clone(&self.profiles[chance.below(self.profiles.len() as u64) as usize]);
        let in_other_form = if other.form == Form::OpenAi { Form::Anthropic } else { Form::OpenAi };
        let steady = || ContextWish::from(self.steady).in_form(Form::OpenAi);
        let wishes = [
            (steady(), self.steady, None),
            (ContextWish::from(within).in_form(Form::OpenAi), within, None),
            (ContextWish::from(within).in_form(Form::Anthropic), within, None),
            (ContextWish::for_profile(Arc::clone(&profile)).within(within), within, Some(profile)),
            (ContextWish::for_profile(Arc::clone(&other)).in_form(in_other_form).within(within), within, Some(other)),
            (steady(), self.steady, None),
        ];
        for (wish, within, profile) in wishes {
            let limit = profile.as_ref().map_or(u64::MAX, |profile| profile.usable()).min(within.as_tokens());
            let what = format!(
                "{}, {}, {limit} tokens",
                self.name,
                profile.as_ref().map_or("no model", |profile| profile.name.as_str())
            );
            tally.contexts += 1;
            match self.session.context(wish).await {
                Ok(context) => {
                    let found = self.objections(&context, limit, profile.as_deref(), chance, tally).await;
                    tally
                        .violations
                        .extend(found.into_iter().map(|found| format!("{what}, {:?}: {found}", context.form)));
                }
                Err(SessionError::OverBudget(over)) => {
                    tally.over_budget += 1;
                    if over.needed <= limit || over.budget != limit {
                        tally.violations.push(format!("{what}: {over:?}"));
                    }
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }

    /// What is wrong with a context.
    async fn objections(
        &self,
        context: &Context,
        limit: u64,
        profile: Option<&ModelProfile>,
        chance: &mut Chance,
        tally: &mut Tally,
    ) -> Vec<String> {
        let body = context.body().unwrap();
        let model = profile.map(|profile| profile.name.clone()).unwrap_or_default();
        let way = Way { form: context.form, rules: context.rules.clone(), model, from_start: true };
        let built = Built { body: body.clone(), repairs: context.repairs.clone(), thought: false };
        let mut found = laws::objections(&built, &way);
        if context.tokens > limit {
            found.push(format!("{} tokens", context.tokens));
        }
        let recounted = recounted(&body, counter(self.session, profile).as_ref());
        if recounted > context.tokens {
            found.push(format!("{} tokens are said and {recounted} are there", context.tokens));
        }
        tally.cut += u64::from(context.is_cut);
        if context.repairs.is_empty() {
            tally.plain += 1;
            found.extend(self.changes_in_silence(context, &body).await);
        }
        if chance.below(TAKEN_IN) == 0 && found.is_empty() {
            tally.taken_in += 1;
            found.extend(self.taken_in_again(&body, &way).await);
        }
        found
    }

    /// Where nothing was mended, messages are spelled as they were said.
    async fn changes_in_silence(&self, context: &Context, body: &FormBody) -> Option<String> {
        let view = self.session.fresh_view().await.unwrap();
        if view.compacted_now().shortens.is_some() {
            return None;
        }
        let as_said = |sent: &sessions_domain::context::ContextMessage| match sent.part {
            ContextPart::Turn | ContextPart::Pinned => sent.seq.and_then(|seq| self.said.get(&seq)).cloned(),
            ContextPart::Instructions | ContextPart::Summary => Some((*sent.message).clone()),
            ContextPart::Supplied => None,
        };
        let Some(said) = context.messages.iter().map(as_said).collect::<Option<Vec<Message>>>() else {
            return Some("something is there that nobody said and nobody mended".to_owned());
        };
        let numbers: Vec<u64> = context.messages.iter().filter_map(|message| message.seq).collect();
        if numbers.iter().collect::<BTreeSet<_>>().len() != context.messages.len() {
            return Some(format!("a message stands twice: {numbers:?}"));
        }
        let plain = render(&said, context.form, &context.rules).unwrap();
        (plain != *body).then(|| "changed, and nobody says so".to_owned())
    }

    /// What was sent comes in as a session, is spelled as it was, and what is sent of that is valid.
    async fn taken_in_again(&self, body: &FormBody, way: &Way) -> Vec<String> {
        let format = if way.form == Form::OpenAi { Format::OpenAi } else { Format::Anthropic };
        if body.messages.as_str() == "[]" {
            return Vec::new();
        }
        let options = ImportOptions { format: Some(format), new_id: true, ..ImportOptions::default() };
        let sent = serde_json::to_vec(body).unwrap();
        let report = match self.session.manager().import(Cursor::new(sent), options).await {
            Ok(report) if report.report.set_aside.is_empty() => report,
            Ok(report) => return vec![format!("taken in again without all of it: {:?}", report.report)],
            Err(error) => return vec![format!("not taken in again: {error}")],
        };
        let again = self.session.manager().load(report.id).await.unwrap();
        let said: Vec<Message> =
            again.last(usize::MAX).await.unwrap().into_iter().map(|stored| stored.message).collect();
        let mut found = Vec::new();
        if render(&said, way.form, &way.rules).unwrap() != *body {
            found.push("taken in again as something else".to_owned());
        }
        let wish = ContextWish::from(Budget::tokens(u64::MAX)).in_form(way.form);
        let context = again.context(wish).await.unwrap();
        let built = Built { body: context.body().unwrap(), repairs: context.repairs, thought: false };
        let way = Way { rules: context.rules, ..way.clone() };
        found.extend(laws::objections(&built, &way).into_iter().map(|found| format!("taken in again, {found}")));
        found
    }

    /// Compacts to any size, and now and then takes that away again.
    async fn compact(&self, chance: &mut Chance, tally: &mut Tally) {
        let whole = || ContextWish::from(Budget::tokens(u64::MAX));
        let before = self.session.context(whole()).await.unwrap();
        let target = 1 + chance.below(before.tokens.saturating_mul(5) / 4);
        let report = match self.session.compact(CompactionWish::default().down_to(Budget::tokens(target))).await {
            Ok(report) => report,
            Err(SessionError::Compaction(refused)) => {
                let is_expected = matches!(
                    refused,
                    CompactionRefused::Nothing
                        | CompactionRefused::NotSmaller { .. }
                        | CompactionRefused::Failed { .. }
                );
                assert!(is_expected, "{}: {refused}", self.name);
                tally.not_compacted += 1;
                return;
            }
            Err(error) => panic!("{}: {error}", self.name),
        };
        tally.compacted += 1;
        let after = self.session.context(whole()).await.unwrap();
        if (report.before, report.after) != (before.tokens, after.tokens) || report.after >= report.before {
            let told = (report.before, report.after, before.tokens, after.tokens);
            tally.violations.push(format!("{}: a compaction says other numbers than are: {told:?}", self.name));
        }
        if !self.session.check_summary(report.compaction.unwrap()).await.unwrap() {
            tally.violations.push(format!("{}: a summary that stands for something else", self.name));
        }
        if chance.below(4) == 0 {
            self.session.uncompact().await.unwrap();
            if self.session.context(whole()).await.unwrap() != before {
                tally.violations.push(format!("{}: taken away, and not as it was before", self.name));
            }
        }
    }
}

fn counter(session: &Session, profile: Option<&ModelProfile>) -> Arc<dyn TokenCounter> {
    let ports = session.manager().ports();
    profile.map_or(Arc::clone(&ports.counter), |profile| ports.encodings.named(&profile.encoding).unwrap())
}

/// The tokens of all that a body says, counted of its JSON.
fn recounted(body: &FormBody, counter: &dyn TokenCounter) -> u64 {
    let mut texts: Vec<String> = body.system.iter().flat_map(|system| said_in(system.as_str())).collect();
    for message in items(body.messages.as_str()) {
        let message = fields(message.get());
        texts.extend(message.get("content").into_iter().flat_map(|content| said_in(content.get())));
        for call in message.get("tool_calls").into_iter().flat_map(|calls| items(calls.get())) {
            let function = fields(fields(call.get())["function"].get());
            texts.extend(["name", "arguments"].into_iter().filter_map(|field| text(function[field].get())));
        }
    }
    texts.iter().map(|text| counter.count(text)).sum()
}

fn items(json: &str) -> Vec<Box<RawValue>> {
    serde_json::from_str(json).unwrap_or_default()
}

fn fields(json: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(json).unwrap()
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// The texts of a content: itself, or those of its blocks. Pictures and files are no texts.
fn said_in(content: &str) -> Vec<String> {
    if let Some(text) = text(content) {
        return vec![text];
    }
    let block = |block: Box<RawValue>| {
        let block = fields(block.get());
        let own = |field: &str| block.get(field).and_then(|value| text(value.get()));
        match own("type").unwrap_or_default().as_str() {
            "tool_use" => own("name").into_iter().chain([block["input"].get().to_owned()]).collect(),
            "tool_result" => block.get("content").map(|content| said_in(content.get())).unwrap_or_default(),
            "text" | "thinking" | "refusal" => ["text", "thinking", "refusal"].into_iter().filter_map(own).collect(),
            _ => Vec::new(),
        }
    };
    items(content).into_iter().flat_map(block).collect()
}
