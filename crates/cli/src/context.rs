//! What a model is sent: `context`, `compact`, `uncompact`, `instruct`, `tokens`.
//!
//! Must not know: what fits, what is compacted, or what a call costs; the library does.

use std::sync::Arc;

use serde::Serialize;
use sessions_api::{
    Budget, CompactionPlan, CompactionReport, CompactionWish, Context, ContextPart, ContextWish, Json, ModelProfile,
    ModelUsage, Repair, Session, SessionError, Summarizer, Usage, WindowState, money::Money, window_state,
};

use crate::{
    answering::{chosen, own_model},
    arguments::{Changed, Compact, ContextArguments, Instruct, Tokens},
    failure::Failure,
    input,
    output::Style,
    place::Place,
    program::Program,
    progress::{Progress, unless_interrupted},
    reading::{print_parts, role_name},
    table::{Column, Table, counted},
};

/// What is sent, as its provider takes it.
#[derive(Serialize)]
struct Sent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Json>,
    messages: Json,
    tokens: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimate: bool,
    repairs: &'a [Repair],
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// `context`
pub(crate) async fn context(program: &Program, wish: ContextArguments) -> Result<(), Failure> {
    let place = Place::read(wish.at.as_deref())?;
    program
        .with_session(&wish.session, async |_, session| {
            let context = session.context(asked(&wish).at(place.of(&session).await?)).await?;
            if program.out.is_json() { print_sent(program, &context) } else { print_context(program, &context) }
        })
        .await
}

fn asked(wish: &ContextArguments) -> ContextWish {
    let budget = wish.max_tokens.map(Budget::tokens);
    let asked = match &wish.model {
        Some(model) => ContextWish::for_model(model),
        None => ContextWish::from(Budget::tokens(u64::MAX)),
    };
    let asked = budget.into_iter().fold(asked, ContextWish::within);
    wish.format.into_iter().fold(asked, |asked, form| asked.in_form(form.into()))
}

fn print_sent(program: &Program, context: &Context) -> Result<(), Failure> {
    let body = context
        .body()
        .map_err(|_| Failure::failed("the context has no JSON form", "`context` without --json shows it"))?;
    program.out.object(&Sent {
        system: body.system,
        messages: body.messages,
        tokens: context.tokens,
        estimate: !context.is_exact(),
        repairs: &context.repairs,
        summary: context.summary,
        cut: context.is_cut,
    })
}

fn print_context(program: &Program, context: &Context) -> Result<(), Failure> {
    let out = &program.out;
    for message in &context.messages {
        let seq = message.seq.map_or_else(|| "      ".to_owned(), |seq| format!("{seq:>5} "));
        let part = match message.part {
            ContextPart::Instructions => "  instructions",
            ContextPart::Pinned => "  pinned",
            ContextPart::Summary => "  summary",
            ContextPart::Supplied => "  supplied",
            _ => "",
        };
        let rest = format!("{part}  {}", counted(message.tokens, "token"));
        out.styled(&[(Style::Faint, &seq), (Style::Name, role_name(message.role)), (Style::Faint, &rest)])?;
        print_parts(program, message, "      ")?;
    }
    let messages = counted(context.messages.len() as u64, "message");
    let about = if context.is_exact() { "" } else { "about " };
    let cut = if context.is_cut { "; older turns do not fit" } else { "" };
    out.line(&format!("{messages}, {about}{}{cut}", counted(context.tokens, "token")))?;
    for repair in &context.repairs {
        let repair = serde_json::to_string(repair).unwrap_or_default();
        out.line(&format!("mended: {repair}"))?;
    }
    Ok(())
}

/// `compact`
pub(crate) async fn compact(program: &Program, wish: Compact) -> Result<(), Failure> {
    let asked = wish.model.iter().fold(CompactionWish::default(), CompactionWish::for_model);
    let asked = wish.max_tokens.into_iter().fold(asked, |asked, tokens| asked.down_to(Budget::tokens(tokens)));
    program
        .changing(&wish.session, wish.once, async |session| {
            if wish.dry_run {
                return compacted(program, &session.plan_compaction(asked).await?);
            }
            let asked = if wish.by_model { asked.with(writer(program, &session, wish.model).await?) } else { asked };
            let report = written(program, session.compact(asked)).await?;
            compacted(program, &report)
        })
        .await
}

/// The model that writes a summary.
async fn writer(program: &Program, session: &Session, named: Option<String>) -> Result<Arc<dyn Summarizer>, Failure> {
    let (model, instead) = chosen(program, named.as_deref(), Some(session)).await?;
    if model.is_script {
        let hint = "name one with --model, or with `model` and `providers` in the configuration; without --by-model none is needed";
        return Err(Failure::usage("there is no model to write the summary", hint));
    }
    if let Some(why) = instead {
        program.out.notice(&format!("{why}, so {} writes the summary", model.profile.name));
    }
    Ok(model.summarizer())
}

/// A compaction while it is made. Whoever sits at a terminal sees that something is done; ended with Ctrl-C it leaves everything as it is.
pub(crate) async fn written(
    program: &Program,
    work: impl Future<Output = Result<CompactionReport, SessionError>>,
) -> Result<CompactionReport, Failure> {
    let _drawn = Progress::without_end(&program.out, "making it shorter");
    unless_interrupted(async { Ok(work.await?) }).await
}

/// Tells what a compaction did, and when it did not get as far as it should.
pub(crate) fn compacted(program: &Program, report: &CompactionReport) -> Result<(), Failure> {
    let told = if program.out.is_json() { program.out.object(report) } else { print_compacted(program, report) };
    if report.is_missed() {
        let not = if report.version.is_some() { "was not" } else { "may not be" };
        let what = "instructions, what is pinned, the summary and the newest message stay";
        program.out.flush()?;
        program.out.notice(&format!("the target of {} {not} reached: {what}", counted(report.target, "token")));
    }
    told
}

fn print_compacted(program: &Program, report: &CompactionReport) -> Result<(), Failure> {
    let what = match report.plan {
        CompactionPlan::Nothing => {
            let tokens = counted(report.before, "token");
            return program.out.line(&format!("there is nothing to compact: the conversation takes {tokens}"));
        }
        CompactionPlan::Shorten { to } => format!("results of tools up to message {to} are shown shortened"),
        CompactionPlan::Summarise { .. } => {
            let by = report.by.as_deref().map(|by| made_by(by, report)).unwrap_or_default();
            format!("a summary{by} stands for {}", counted(report.covers, "message"))
        }
    };
    let (most, would) = if report.version.is_some() { ("", "") } else { ("at most ", "would be: ") };
    let tokens = format!("{}, {most}{} from here on", counted(report.before, "token"), report.after);
    let version = report.version.map(|version| format!(" (version {version})")).unwrap_or_default();
    program.out.line(&format!("{would}{what}; {tokens}{version}"))?;
    match &report.summary {
        Some(summary) => program.out.paragraph(summary, "  "),
        None => Ok(()),
    }
}

/// Who made a summary.
fn made_by(by: &str, report: &CompactionReport) -> String {
    match (by, report.calls.last().and_then(|call| call.model.as_deref())) {
        (_, Some(model)) => format!(" by {model}"),
        ("extractive", None) => " that no model wrote".to_owned(),
        (by, None) => format!(" by {by}"),
    }
}

#[derive(Serialize)]
pub(crate) struct Version {
    pub(crate) version: u64,
}

/// `uncompact`
pub(crate) async fn uncompact(program: &Program, wish: Changed) -> Result<(), Failure> {
    program.changing(&wish.session, wish.once, async |session| taken_away(program, session.uncompact().await?)).await
}

pub(crate) fn taken_away(program: &Program, version: u64) -> Result<(), Failure> {
    if program.out.is_json() {
        return program.out.object(&Version { version });
    }
    program.out.line(&format!("the newest compaction is taken away (version {version})"))
}

#[derive(Serialize)]
struct Told {
    instructions: Option<String>,
    version: u64,
    changed: bool,
}

/// `instruct`
pub(crate) async fn instruct(program: &Program, wish: Instruct) -> Result<(), Failure> {
    let is_asked = wish.text.is_none() && !wish.none;
    let text = match wish.text {
        Some(dash) if dash == "-" && !program.literal => Some(input::some_text(program, Some(dash)).await?),
        text => text,
    };
    program
        .changing(&wish.session, wish.once, async |session| {
            let changed = if is_asked { false } else { session.instruct(text).await? };
            let instructions = session.instructions().await?;
            let version = session.version().await?;
            if program.out.is_json() {
                return program.out.object(&Told { instructions, version, changed });
            }
            match (instructions, is_asked) {
                (Some(text), true) => program.out.paragraph(&text, ""),
                (None, _) => program.out.line("the model is told nothing before all else"),
                (Some(_), false) if changed => program.out.line(&format!("instructions noted (version {version})")),
                (Some(_), false) => program.out.line("these are its instructions already"),
            }
        })
        .await
}

/// How full a model's window is.
#[derive(Serialize)]
pub(crate) struct Window {
    model: String,
    window: u64,
    pub(crate) usable: u64,
    pub(crate) tokens: u64,
    pub(crate) estimate: bool,
    pub(crate) state: WindowState,
}

impl Window {
    /// Asks for the context that a turn asks for, which the session has at hand behind one.
    pub(crate) async fn of(session: &Session, profile: &Arc<ModelProfile>) -> Result<Self, Failure> {
        let (tokens, estimate) = match session.context(ContextWish::for_profile(Arc::clone(profile))).await {
            Ok(context) if !context.is_cut => (context.tokens, !context.is_exact()),
            // What fits says nothing of how much there is.
            Ok(context) => (whole(session, profile).await?, !context.is_exact()),
            Err(SessionError::OverBudget(_)) => (whole(session, profile).await?, true),
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            model: profile.name.clone(),
            window: profile.window,
            usable: profile.usable(),
            tokens,
            estimate,
            state: window_state(tokens, profile),
        })
    }

    /// The state's name.
    pub(crate) fn word(&self) -> &'static str {
        match self.state {
            WindowState::Normal => "normal",
            WindowState::Warning => "warning",
            WindowState::Critical => "critical",
        }
    }
}

/// Tokens of the whole context, whatever the model takes.
async fn whole(session: &Session, profile: &Arc<ModelProfile>) -> Result<u64, Failure> {
    let wish = CompactionWish::default().for_profile(Arc::clone(profile));
    Ok(session.plan_compaction(wish).await?.before)
}

#[derive(Serialize)]
struct Ledger {
    #[serde(flatten)]
    usage: Usage,
    context: Option<Window>,
}

/// `tokens`
pub(crate) async fn tokens(program: &Program, wish: Tokens) -> Result<(), Failure> {
    program
        .with_session(&wish.session, async |_, session| {
            if wish.calls {
                return calls(program, &session).await;
            }
            let context = window(&session, wish.model.as_deref()).await?;
            spent(program, &session, context).await
        })
        .await
}

/// What the session's calls took, and how full a window is.
pub(crate) async fn spent(program: &Program, session: &Session, context: Option<Window>) -> Result<(), Failure> {
    let ledger = Ledger { usage: session.usage().await?, context };
    if program.out.is_json() { program.out.object(&ledger) } else { print_ledger(program, &ledger) }
}

/// How full the window is: of the model that was named, or of the session's where that is known.
async fn window(session: &Session, model: Option<&str>) -> Result<Option<Window>, Failure> {
    let own = own_model(session).await?;
    let Some(name) = model.map(str::to_owned).or(own) else { return Ok(None) };
    let profile = match session.manager().profiles().find(&name) {
        Ok(profile) => profile,
        Err(error) if model.is_some() => return Err(SessionError::from(error).into()),
        Err(_) => return Ok(None),
    };
    Window::of(session, &profile).await.map(Some)
}

fn print_ledger(program: &Program, ledger: &Ledger) -> Result<(), Failure> {
    let out = &program.out;
    let columns = [
        Column::Cut("MODEL"),
        Column::Right("CALLS"),
        Column::Right("INPUT"),
        Column::Right("CACHED"),
        Column::Right("CACHE WRITTEN"),
        Column::Right("OUTPUT"),
        Column::Right("COST"),
    ];
    let mut table = Table::new(columns);
    let mut row = |name: String, of: &ModelUsage| {
        let usage = of.usage;
        let numbers = [of.calls, usage.input, usage.cache_read, usage.cache_written(), usage.output];
        table.row([name].into_iter().chain(numbers.map(|number| number.to_string())).chain([cost(of)]));
    };
    for model in &ledger.usage.models {
        row(model.model.clone().unwrap_or_else(|| "not known".to_owned()), model);
    }
    if ledger.usage.models.len() != 1 {
        row("all".to_owned(), &ledger.usage.total);
    }
    table.print(out)?;
    if let Some(window) = &ledger.context {
        let about = if window.estimate { "about " } else { "" };
        let (Window { model, usable, tokens, .. }, state) = (window, window.word());
        let usable = counted(*usable, "token");
        out.line(&format!("the conversation takes {about}{tokens} of {usable} that {model} takes: {state}"))?;
    }
    Ok(())
}

/// What calls cost; with a plus where that is not known of all of them.
fn cost(of: &ModelUsage) -> String {
    let known: Vec<String> = of.cost.iter().map(Money::to_string).collect();
    match (known.is_empty(), of.unpriced) {
        (_, 0) => known.join(" + "),
        (true, _) => "not known".to_owned(),
        (false, _) => format!("{} +", known.join(" + ")),
    }
}

async fn calls(program: &Program, session: &Session) -> Result<(), Failure> {
    let columns = [
        Column::Right("RECORD"),
        Column::Left("FOR"),
        Column::Left("OUTCOME"),
        Column::Cut("MODEL"),
        Column::Right("INPUT"),
        Column::Right("OUTPUT"),
        Column::Left("COST"),
    ];
    let (mut table, mut from) = (Table::new(columns), Some(0));
    while let Some(next) = from {
        let (page, more) = session.calls(next).await?;
        for call in page {
            if program.out.is_json() {
                program.out.object(&call)?;
                continue;
            }
            let spent = call.spent;
            table.row([
                call.seq.to_string(),
                word(&spent.purpose),
                word(&spent.outcome),
                spent.model.unwrap_or_default(),
                spent.usage.input.to_string(),
                spent.usage.output.to_string(),
                call.priced.map_or_else(|| "not known".to_owned(), |priced| priced.amount.to_string()),
            ]);
        }
        from = more;
    }
    if program.out.is_json() { Ok(()) } else { table.print(&program.out) }
}

/// The word that something serialises as.
fn word(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use sessions_api::{Form, MemoryStore, Message, MessageRole, NewSession, SessionManager};

    use super::*;

    fn profile(window: u64) -> Arc<ModelProfile> {
        Arc::new(ModelProfile::of("house", "mine", Form::OpenAi, window))
    }

    async fn talked(turns: usize) -> (SessionManager, Session) {
        let sessions = SessionManager::builder().store(MemoryStore::new()).build().await.unwrap();
        let session = sessions.create(NewSession::default()).await.unwrap();
        for turn in 0..turns {
            let role = if turn % 2 == 0 { MessageRole::User } else { MessageRole::Assistant };
            session.append(Message::text_of(role, format!("message {turn} of a long conversation"))).await.unwrap();
        }
        (sessions, session)
    }

    #[tokio::test]
    async fn how_full_a_window_is_is_told_without_reading_the_conversation_anew() {
        let (sessions, session) = talked(200).await;
        let profile = profile(32_768);
        let sent = session.context(ContextWish::for_profile(Arc::clone(&profile))).await.unwrap();
        let before = sessions.counters().store.records_read;
        let window = Window::of(&session, &profile).await.unwrap();
        session.context(ContextWish::for_profile(Arc::clone(&profile))).await.unwrap();
        let read = sessions.counters().store.records_read - before;
        assert!(window.tokens == sent.tokens && read < 10, "{read} records were read again");
    }

    #[tokio::test]
    async fn a_window_that_is_too_small_is_told_with_all_that_there_is() {
        let (_sessions, session) = talked(200).await;
        let all = session.context(ContextWish::for_profile(profile(32_768)).whole()).await.unwrap();
        for small in [1_000, 40] {
            let window = Window::of(&session, &profile(small)).await.unwrap();
            assert_eq!((window.tokens, window.word()), (all.tokens, "critical"));
        }
    }
}
