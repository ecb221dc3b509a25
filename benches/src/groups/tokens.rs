//! Counting: how fast messages are counted in each encoding, and whether tiktoken counts as many.
//!
//! Must not know: how a tokenizer works.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use sessions_domain::{Message, tokens};
use sessions_infra::{MemoryStore, environment::EstimateCounter, tokens::BuiltInEncodings};
use sessions_ports::{Durability, Encodings, TokenCounter};

use super::importing::{imported, real_transcripts};
use crate::{
    report::{Figure, Section, Unit},
    stage::{Outcome, Stage, ensure, manager, text},
};

/// How often everything is counted.
const ROUNDS: usize = 10;
/// How often tiktoken counts it.
const THEIR_ROUNDS: usize = 3;
/// Messages that are made up where no transcripts are named.
const MADE_UP: usize = 20_000;
/// What tiktoken is asked by; it prints JSON.
const SCRIPT: &str = include_str!("tokens.py");

/// The texts of a message that count, in their order.
type Texts = Vec<String>;

/// What we counted: tokens of each message, and the seconds of a round.
struct Counted {
    encoding: &'static str,
    counts: Vec<u64>,
    seconds: f64,
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    // Before anything else counts in this process.
    let mut figures = first_counts()?;
    let real = real_messages().await?;
    let are_real = !real.is_empty();
    let messages = if are_real { real } else { (0..MADE_UP).map(|at| vec![text(at)]).collect() };
    let bytes: usize = messages.iter().flatten().map(String::len).sum();
    let whose = if are_real { "of real transcripts" } else { "made up" };
    let mut ours = Vec::new();
    for encoding in exact() {
        let counted = count(encoding, &messages)?;
        let what = format!("tokens of messages {whose} in {encoding}, MB/s");
        let total: u64 = counted.counts.iter().sum();
        let size = Unit::Bytes.show(bytes as f64);
        let note = format!("{} messages, {size}, {total} tokens, mean of {ROUNDS}", messages.len());
        let figure = Figure::new("P9", what, bytes as f64 / counted.seconds / 1e6, Unit::Count).note(note);
        figures.push(if are_real { figure.at_least(30.0) } else { figure });
        ours.push(counted);
    }
    let appendix = beside_tiktoken(stage, &messages, bytes, &ours)?;
    Ok(Section {
        title: "Tokens",
        method: "One thread counts the texts of all messages, part by part, as contexts count them. tiktoken counts the same texts.",
        figures,
        appendix,
    })
}

/// The encodings that are counted exactly.
fn exact() -> impl Iterator<Item = &'static str> {
    BuiltInEncodings::names().filter(|name| *name != EstimateCounter.encoding())
}

/// How long the first count of a message takes when its encoding is ready, as the facade has it, and how long that takes.
fn first_counts() -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for encoding in exact() {
        let encodings = BuiltInEncodings::new();
        let begun = Instant::now();
        encodings.warm([encoding])?;
        encodings.wait();
        let ready = begun.elapsed();
        let message = Message::user(text(0));
        let begun = Instant::now();
        let counter = encodings.named(encoding).ok_or("an encoding went away")?;
        let count = tokens::message(&message, &|text| counter.count(text)).count;
        let first = begun.elapsed();
        ensure(count > 0, "a message has no tokens")?;
        let note = format!("its tables were made before, in {}", Unit::Micros.show(micros(ready)));
        let what = format!("count a message of 512 bytes in {encoding}, first call");
        figures.push(Figure::new("P16", what, micros(first), Unit::Micros).at_most(1_000.0).note(note));
    }
    Ok(figures)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The texts of all messages in the transcripts that are named, also of those that the conversation left.
async fn real_messages() -> Outcome<Vec<Texts>> {
    let sources = real_transcripts()?;
    let manager = manager(std::sync::Arc::new(MemoryStore::new()), Durability::Volatile)?;
    let mut messages = Vec::new();
    for source in sources {
        let report = imported(&manager, source.bytes).await?;
        let mut updates = manager.load(report.id).await?.subscribe(0);
        while updates.seen() < report.version {
            let Some(update) = updates.next().await? else { break };
            messages.extend(update.message().map(|stored| texts_of(&stored.message)));
        }
    }
    Ok(messages)
}

/// What counts of a message, taken from the one rule that says so.
fn texts_of(message: &Message) -> Texts {
    let texts = std::cell::RefCell::new(Vec::new());
    tokens::message(message, &|text| {
        texts.borrow_mut().push(text.to_owned());
        0
    });
    texts.into_inner()
}

fn count(encoding: &'static str, messages: &[Texts]) -> Outcome<Counted> {
    let counter = BuiltInEncodings::new().named(encoding).ok_or("an encoding went away")?;
    let round =
        || -> Vec<u64> { messages.iter().map(|texts| texts.iter().map(|text| counter.count(text)).sum()).collect() };
    let counts = round();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        ensure(std::hint::black_box(round()) == counts, "a round counted other numbers")?;
    }
    Ok(Counted { encoding, counts, seconds: begun.elapsed().as_secs_f64() / ROUNDS as f64 })
}

/// How many messages tiktoken counts otherwise, and its rate; or why it was not asked.
fn beside_tiktoken(stage: &Stage, messages: &[Texts], bytes: usize, ours: &[Counted]) -> Outcome<String> {
    let folder = stage.path("tiktoken");
    fs::create_dir_all(&folder)?;
    let mut lines = String::new();
    for texts in messages {
        lines.push_str(&serde_json::to_string(texts)?);
        lines.push('\n');
    }
    fs::write(folder.join("messages.jsonl"), lines)?;
    fs::write(folder.join("tokens.py"), SCRIPT)?;
    let Some(theirs) = ask(&folder, ours.iter().map(|ours| ours.encoding)) else {
        return Ok("\ntiktoken was not asked in this run: `python3` has none, or it has no vocabularies (`TIKTOKEN_CACHE_DIR`).\n".to_owned());
    };
    let version = theirs.get("version").and_then(Value::as_str).unwrap_or("of an unknown version");
    let mut text =
        format!("\n| beside tiktoken {version} | messages | differ | tokens | it, MB/s |\n|---|---|---|---|---|\n");
    for (ours, theirs) in ours.iter().zip(theirs.get("encodings").and_then(Value::as_array).into_iter().flatten()) {
        let counts = theirs.get("counts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        ensure(counts.len() == ours.counts.len(), "tiktoken counted another number of messages")?;
        let differ = ours.counts.iter().zip(counts).filter(|(ours, theirs)| Some(**ours) != theirs.as_u64()).count();
        let total: u64 = counts.iter().filter_map(Value::as_u64).sum();
        let rate = bytes as f64 / theirs.get("seconds").and_then(Value::as_f64).unwrap_or(f64::NAN) / 1e6;
        let verdict = if differ == 0 { "0".to_owned() } else { format!("**{differ}**") };
        let _ = writeln!(text, "| {} | {} | {verdict} | {total} | {rate:.1} |", ours.encoding, counts.len());
    }
    Ok(text)
}

/// What tiktoken prints; `None` where there is none.
fn ask(folder: &Path, encodings: impl Iterator<Item = &'static str>) -> Option<Value> {
    let output = Command::new(python())
        .arg(folder.join("tokens.py"))
        .arg(folder.join("messages.jsonl"))
        .arg(THEIR_ROUNDS.to_string())
        .args(encodings)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    serde_json::from_slice(&output.stdout).ok()
}

/// The Python of the folder with others' programs where one was made there, and else the system's.
fn python() -> PathBuf {
    let peers = env::var_os("SESSIONS_PEERS").map(|peers| PathBuf::from(peers).join("python/venv/bin/python3"));
    peers.filter(|python| python.exists()).unwrap_or_else(|| PathBuf::from("python3"))
}
