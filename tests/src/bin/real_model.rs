//! Compacts the longest transcripts with a model that somebody runs, and tells what came of it: `cargo xtask test --real-model`.
//!
//! `SESSIONS_REAL_MODEL_URL` names an API like OpenAI's on this machine (`http://127.0.0.1:8080/v1`), `SESSIONS_REAL_MODEL_NAME` and
//! `SESSIONS_REAL_MODEL_WINDOW` its model and that one's window in tokens, `SESSIONS_REAL_MODEL_KEY_FILE` a file with a key, where one is needed.
//! Without a URL a stub answers, which says so. `SESSIONS_TEST_DATA` names the folder of transcripts; without it one is made up.
//!
//! Must not know: what a summary is to say.

use std::{
    env, fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use sessions_infra::providers::{Protocol, RemoteProvider};
use sessions_ports::Passphrase;
use sessions_tests::{
    summarising::{Failure, Line, READER, TARGET, Writer, held, longest},
    transcripts,
};

/// So many transcripts are compacted.
const LONGEST: usize = 2;
/// Turns of the one that is made up.
const TURNS: usize = 400;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let writer = writer()?;
    let folder = env::var_os("SESSIONS_TEST_DATA").map(PathBuf::from);
    let transcripts = match &folder {
        Some(folder) => transcripts::below(folder)?,
        None => vec![transcripts::made_up(TURNS)],
    };
    say(&format!("to {TARGET} tokens of {READER}, with summaries by {}", writer.name))?;
    say(
        "| conversation | tokens before | after | messages | sent as they are | summary, tokens | calls | in | out | seconds |",
    )?;
    say("|---|---|---|---|---|---|---|---|---|---|")?;
    let mut answered = 0;
    for (name, chat) in longest(transcripts, LONGEST).await? {
        let line = held(&chat, &writer).await.map_err(|error| format!("{name}: {error}"))?;
        answered += line.calls;
        tell(&name, &line)?;
    }
    if answered == 0 { Err("the model never answered".into()) } else { Ok(()) }
}

fn writer() -> Result<Writer, Failure> {
    let Some(url) = text("SESSIONS_REAL_MODEL_URL")? else {
        say("no model is named by SESSIONS_REAL_MODEL_URL: a stub answers, and these figures are the stub's")?;
        return Writer::stub();
    };
    let host = url.strip_prefix("http://").unwrap_or_default();
    if !["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|own| host.strip_prefix(own).is_some_and(|rest| rest.starts_with([':', '/'])))
    {
        return Err("SESSIONS_REAL_MODEL_URL must name this machine, as http://127.0.0.1:PORT/v1 does".into());
    }
    let needed = |name: &str| {
        text(name)?.ok_or_else(|| Failure::from(format!("{name} is needed beside SESSIONS_REAL_MODEL_URL")))
    };
    let model = needed("SESSIONS_REAL_MODEL_NAME")?;
    let window = needed("SESSIONS_REAL_MODEL_WINDOW")?
        .parse()
        .map_err(|_| "SESSIONS_REAL_MODEL_WINDOW must be a number of tokens")?;
    let key = match text("SESSIONS_REAL_MODEL_KEY_FILE")? {
        Some(file) => Some(Passphrase::new(fs::read_to_string(file)?.trim().to_owned())),
        None => None,
    };
    Ok(Writer::new(&model, window, RemoteProvider::new(Protocol::OpenAi, Some(&url), key.as_ref())?))
}

fn text(name: &str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("{name}: {error}").into()),
    }
}

fn tell(name: &str, line: &Line) -> io::Result<()> {
    let Line { came, messages, kept, summary, calls, usage, seconds } = line;
    let spent = format!("{calls} | {} | {} | {seconds:.1}", usage.input, usage.output);
    match came {
        Ok(report) => {
            let (before, after) = (report.before, report.after);
            say(&format!("| {name} | {before} | {after} | {messages} | {kept} | {summary} | {spent} |"))
        }
        Err(refused) => {
            say(&format!("| {name} | refused, and nothing changed: {refused} | | {messages} | {kept} | | {spent} |"))
        }
    }
}

fn say(words: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{words}")
}
