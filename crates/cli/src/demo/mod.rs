//! `demo`: the main job in plain words, on a transcript that is part of the program and a real, sealed store in a temporary folder.
//!
//! Must not know: more than any host: each step is what a host would write.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use sessions_api::{
    At, ErrorKind, ImportOptions, KeyFileProvider, Message, Session, SessionError, SessionManager, StoreError,
    StoreUrl, maintenance,
};

use crate::{
    arguments::Demo,
    failure::Failure,
    output::Style,
    program::Program,
    progress::{Stop, told_of_interrupt},
    reading,
    table::cut,
};

/// A short conversation with a coding agent, in the format of Claude Code.
const TRANSCRIPT: &[u8] = include_bytes!("transcript.jsonl");

/// The writer is killed when so many of its messages are acknowledged.
const KILLED_AFTER: usize = 200;

/// The number of the signal that Ctrl-C sends.
#[cfg(unix)]
const SIGINT: i32 = 2;

/// The key of the session that is written while its writer is killed.
const WRITTEN: &str = "demo";

/// What was said in the demo, by the transcript, in the fork, and by the writer.
const SAID: [&str; 3] = ["cargo build fails with E0502", FORKED, "message 1"];
const FORKED: &str = "Let me rewrite the parser instead.";

/// `demo`
pub(crate) async fn demo(program: &Program, wish: Demo) -> Result<(), Failure> {
    if let Some(folder) = wish.write_until_killed {
        return write(program, &folder).await;
    }
    let begun = Instant::now();
    let folder = tempfile::Builder::new().prefix("sessions-demo-").tempdir().map_err(|error| {
        Failure::from(error).with_hint("set TMPDIR to a folder that exists, and that you may write to")
    })?;
    let stop = Stop::default();
    let told = told_of_interrupt(&stop, tell(program, folder.path(), &stop)).await;
    folder.close()?;
    told?;
    let took = begun.elapsed().as_secs_f64();
    say(program, &format!("That was all, in {took:.1} seconds; the folder is removed again. Next: sessions --help"))
}

async fn tell(program: &Program, folder: &Path, stop: &Stop) -> Result<(), Failure> {
    let store = folder.join("store");
    let url = StoreUrl::sled(&store);
    let sessions = open(&store).await?;
    let outcome = history(program, &sessions, folder, stop).await;
    let closed = sessions.close().await;
    let visible = outcome?;
    closed?;
    killed(program, &url, &store, visible, stop).await?;
    sealed(program, &store, stop)
}

/// The key file beside the demo's store: as elsewhere, not in it.
fn key_of(store: &Path) -> Result<KeyFileProvider, SessionError> {
    let key = KeyFileProvider::create_or_open(&store.with_file_name("key"));
    key.map_err(|error| StoreError::from(error).into())
}

/// Opens the demo's store, or makes it.
async fn open(store: &Path) -> Result<SessionManager, SessionError> {
    SessionManager::builder().at(StoreUrl::sled(store)).sealed(key_of(store)?).build().await
}

fn step(program: &Program, stop: &Stop, number: usize, title: &str) -> Result<(), Failure> {
    stop.check()?;
    program.out.styled(&[])?;
    program.out.styled(&[(Style::Strong, &format!("{number}. {title}"))])?;
    program.out.flush()
}

fn say(program: &Program, text: &str) -> Result<(), Failure> {
    program.out.line(text)?;
    program.out.flush()
}

/// Import, show, undo, redo, fork, export. Gives the number of messages of the imported session.
async fn history(program: &Program, sessions: &SessionManager, folder: &Path, stop: &Stop) -> Result<usize, Failure> {
    step(program, stop, 1, "Import")?;
    let report = sessions.import(TRANSCRIPT, ImportOptions::default()).await?;
    let (lines, of) = (TRANSCRIPT.split(|byte| *byte == b'\n').count() - 1, &report.report);
    let tokens = of.usage.input + of.usage.output + of.usage.cache_read + of.usage.cache_written();
    say(
        program,
        &format!(
            "A transcript of a coding agent, {lines} lines, became one session: {} messages, {} tool calls, all answered; its {tokens} \
             tokens are counted once for each call of the model. Importing it again adds nothing.",
            of.messages, of.tool_calls
        ),
    )?;
    let chat = sessions.load(report.id).await?;

    step(program, stop, 2, "Show")?;
    for message in chat.last(50).await? {
        let text: String = first_words(&message);
        program
            .out
            .styled(&[(Style::Name, &format!("{:>10} ", reading::role_name(message.role))), (Style::Plain, &text)])?;
    }

    step(program, stop, 3, "Undo and redo")?;
    let before = chat.summary().await?.messages;
    let undone = chat.undo(2).await?;
    let redone = chat.redo(2).await?;
    say(
        program,
        &format!(
            "Two steps back: {before} messages became {}, since a tool call goes with its result. Two steps forward: {} again. Nothing was \
             deleted; both moves are records of the log, and version {} is the sum of all.",
            undone.messages, redone.messages, redone.version
        ),
    )?;

    step(program, stop, 4, "Fork")?;
    let first = chat.last(50).await?.first().map(|message| message.id);
    let at = first.map_or(At::Now, At::Message);
    let begun = Instant::now();
    let fork = chat.fork(at).await?;
    let took = begun.elapsed().as_micros();
    fork.append(Message::assistant(FORKED)).await?;
    say(
        program,
        &format!(
            "A second session begins at the first question and goes its own way. It cost one record and {took} µs, whatever the length; the \
             fork shows {} messages and the original still {}.",
            fork.summary().await?.messages,
            chat.summary().await?.messages
        ),
    )?;

    step(program, stop, 5, "Export")?;
    let file = folder.join("chat.jsonl");
    let bytes = export(&chat, &file).await?;
    let copy = SessionManager::open("memory:").await?;
    let brought = copy.import(BufReader::new(std::fs::File::open(&file)?), ImportOptions::default()).await?;
    let again = export(&copy.load(brought.id).await?, &folder.join("again.jsonl")).await?;
    let same = std::fs::read(&file)? == std::fs::read(folder.join("again.jsonl"))?;
    let equal = if same { "equal byte for byte" } else { "DIFFERENT, which is a bug" };
    say(
        program,
        &format!(
            "Everything, as {bytes} bytes of JSON lines. Imported into another store and exported again, {again} bytes: {equal}."
        ),
    )?;
    Ok(usize::try_from(chat.summary().await?.messages).unwrap_or(usize::MAX))
}

fn first_words(message: &Message) -> String {
    let text = message.text();
    let said = text.lines().next().filter(|line| !line.is_empty()).map(str::to_owned);
    let calls = message.calls().map(|call| format!("[calls {}]", call.name));
    let results = message
        .results()
        .map(|result| if result.is_error { "[the tool failed]".to_owned() } else { "[the tool answered]".to_owned() });
    let words: Vec<String> = said.into_iter().chain(calls).chain(results).collect();
    cut(&words.join(" "), 90)
}

async fn export(session: &Session, path: &Path) -> Result<u64, Failure> {
    let mut export = session.export_jsonl().await?;
    let mut file = std::fs::File::create(path)?;
    let mut bytes = 0;
    while let Some(chunk) = export.next_chunk().await? {
        file.write_all(&chunk)?;
        bytes += chunk.len() as u64;
    }
    Ok(bytes)
}

/// Kills a process that writes, and counts what it was promised.
async fn killed(program: &Program, url: &StoreUrl, store: &Path, visible: usize, stop: &Stop) -> Result<(), Failure> {
    step(program, stop, 6, "kill -9")?;
    let folder = store.to_owned();
    let acknowledged =
        tokio::task::spawn_blocking(move || kill_a_writer(&folder)).await.map_err(io::Error::other)??;
    say(
        program,
        &format!(
            "Another process wrote to the store, one message after the other, and said of each when it was acknowledged. It was killed with \
             kill -9 when it had said so of {acknowledged}."
        ),
    )?;

    step(program, stop, 7, "Open again")?;
    let begun = Instant::now();
    let sessions = open_after_kill(store).await?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let written = sessions.open_or_create(WRITTEN).await?;
    let kept = usize::try_from(written.summary().await?.messages).unwrap_or(0);
    let lost = acknowledged.saturating_sub(kept);
    let listed = sessions.list(&sessions_api::Query::default()).await?.sessions.len();
    sessions.close().await?;
    let report = maintenance::verify_sealed(url, &key_of(store)?).await?;
    say(
        program,
        &format!(
            "The store opened unattended in {took:.0} ms. Acknowledged: {acknowledged}, there: {kept}, lost: {lost}. All {listed} sessions are \
             there, the imported one with its {visible} messages; verify read {} records and found {} faults.",
            report.records,
            report.findings.len()
        ),
    )?;
    if lost > 0 || !report.findings.is_empty() {
        return Err(broken_promise());
    }
    Ok(())
}

fn broken_promise() -> Failure {
    Failure::failed("the store did not keep its promise", "this is a bug: please report it")
}

/// Looks for what was said, in all files of the store.
fn sealed(program: &Program, store: &Path, stop: &Stop) -> Result<(), Failure> {
    step(program, stop, 8, "Look for the words")?;
    let files = files_below(store)?;
    let (mut bytes, mut found) = (0, 0);
    for file in &files {
        let content = fs::read(file)?;
        bytes += content.len();
        found += SAID.iter().filter(|said| has(&content, said.as_bytes())).count();
    }
    say(
        program,
        &format!(
            "The store is sealed, with a key file that lies outside of it. All {} of its files were read, {bytes} bytes, and searched for what \
             was said: found {found} times.",
            files.len()
        ),
    )?;
    program.out.styled(&[])?;
    if found > 0 { Err(broken_promise()) } else { Ok(()) }
}

fn has(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|window| window == word)
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// The system frees a dead process's lock, but not always at once.
async fn open_after_kill(store: &Path) -> Result<SessionManager, Failure> {
    loop {
        match open(store).await {
            Err(error) if error.kind() == ErrorKind::Locked => {}
            opened => return Ok(opened?),
        }
    }
}

/// Starts this program as a writer, kills it after some acknowledgements, and counts all that it still said.
fn kill_a_writer(store: &Path) -> Result<usize, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "--write-until-killed"]).arg(store);
    // A Ctrl-C in a terminal goes to a whole group of processes, and this one is not to be killed by it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut acknowledged = 0;
    if let Some(stdout) = child.stdout.take() {
        let mut said = BufReader::new(stdout);
        let mut line = String::new();
        // A line that the kill cut off was not said.
        while said.read_line(&mut line)? > 0 && line.ends_with('\n') {
            acknowledged += 1;
            line.clear();
            if acknowledged == KILLED_AFTER {
                child.kill()?;
            }
        }
    }
    child.kill()?;
    let ended = child.wait()?;
    if acknowledged < KILLED_AFTER {
        // It may have been hit before it left the group.
        #[cfg(unix)]
        if std::os::unix::process::ExitStatusExt::signal(&ended) == Some(SIGINT) {
            return Err(Failure::stopped());
        }
        return Err(Failure::failed("the writer ended before it was killed", "look at what it said above"));
    }
    Ok(acknowledged)
}

/// The process that is killed.
async fn write(program: &Program, folder: &Path) -> Result<(), Failure> {
    let sessions = open(folder).await?;
    let session = sessions.open_or_create(WRITTEN).await?;
    for number in 1_u64.. {
        let receipt = session.append(Message::user(format!("message {number}"))).await?;
        say(program, &receipt.seq.to_string())?;
    }
    Ok(())
}
