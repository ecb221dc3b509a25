//! Bringing sessions in and out: `import`, `export`.
//!
//! Must not know: formats.

use std::{
    fs::File,
    io::{self, BufReader, Write},
    path::Path,
};

use serde::Serialize;
use sessions_api::{
    AppendOutcome, ExportFormat, Format, ImportOptions, ImportReport, LostRecord, Session, SessionManager,
};

use crate::{
    arguments::{Export, Import},
    failure::Failure,
    found::{Found, Wanted},
    program::Program,
    progress::{Progress, unless_interrupted},
    table::counted,
};

/// So many lines of a file are named that were repaired or set aside.
const REASONS: usize = 5;

/// `import`
pub(crate) async fn import(program: &Program, wish: Import) -> Result<(), Failure> {
    let format = match wish.format.as_str() {
        "auto" => None,
        "claude-code" => Some(Format::ClaudeCode),
        "codex" => Some(Format::Codex),
        "pi" => Some(Format::Pi),
        "openai" => Some(Format::OpenAi),
        "anthropic" => Some(Format::Anthropic),
        "json" | "sessions-json" => Some(Format::SessionsJson),
        "jsonl" | "sessions-jsonl" => Some(Format::SessionsJsonl),
        _ => return Err(unknown_format("give auto, claude-code, codex, pi, openai, anthropic, json or jsonl")),
    };
    let options =
        ImportOptions { format, new_id: wish.new_id, durability: program.durability, ..ImportOptions::default() };
    let mut found = Found::default();
    let wanted = if format.is_none() { Wanted::Known } else { Wanted::Named };
    wish.paths.iter().for_each(|path| found.look_at(path, wanted));
    if let Some(agent) = wish.from {
        for folder in agent.folders()? {
            found.look_at(&folder, Wanted::Only(agent.format()));
        }
    }
    let alone = wish.paths.len() == 1 && found.files.len() + found.failures.len() == 1;
    if let Some((path, failure)) = found.failures.pop_if(|_| alone) {
        return Err(failure.about(&path));
    }
    found.unknown.tell(program, "in no known format");
    found.others.tell(program, "neither .json nor .jsonl");
    found.too_deep.tell(program, "too deep within folders");
    if found.files.is_empty() && found.failures.is_empty() {
        // A store that holds nothing would be made for it.
        program.out.notice("there is nothing to import");
        return Ok(());
    }
    program.with_new_or_old(async |sessions| import_all(program, sessions, found, &options, alone).await).await
}

/// Every file for itself: one that fails is told, and the rest goes on.
async fn import_all(
    program: &Program,
    sessions: &SessionManager,
    mut found: Found,
    options: &ImportOptions,
    alone: bool,
) -> Result<(), Failure> {
    let mut code = None;
    let mut fails = |path: &Path, failure: Failure| {
        code.get_or_insert(failure.code());
        program.out.failure(&failure.about(path));
    };
    std::mem::take(&mut found.failures).into_iter().for_each(|(path, failure)| fails(&path, failure));
    let progress = Progress::of_bytes(&program.out, "importing", found.bytes);
    for (path, was_searched) in &found.files {
        let imported = match File::open(path) {
            Ok(file) => {
                let source = BufReader::with_capacity(1 << 20, progress.reading(file));
                // Nothing of a file is visible before all of it is, so it can be broken off at any time.
                unless_interrupted(async { Ok(sessions.import(source, options.clone()).await?) }).await
            }
            Err(error) => Err(error.into()),
        };
        match imported {
            Ok(report) => {
                print(program, sessions, path, &report).await?;
                program.out.flush()?;
            }
            Err(failure) if alone || failure.code() == Failure::STOPPED => return Err(failure.about(path)),
            // A program makes a file before anybody says anything, so a search finds such.
            Err(failure) if *was_searched && failure.kind() == "no_messages" => found.silent.add(path.clone()),
            Err(failure) => fails(path, failure),
        }
    }
    found.silent.tell(program, "without a message");
    code.map_or(Ok(()), |code| Err(Failure::told(code)))
}

async fn print(
    program: &Program,
    sessions: &SessionManager,
    path: &Path,
    report: &ImportReport,
) -> Result<(), Failure> {
    if program.out.is_json() {
        return program.out.object(report);
    }
    if report.version == 0 {
        let told = format!("deleted here before: {} ({}); --new-id brings it in again", report.id, path.display());
        return program.out.line(&told);
    }
    let what = match (report.outcome, report.grown) {
        (_, Some(_)) => "grown:",
        (AppendOutcome::Inserted, None) => "imported",
        _ => "already here:",
    };
    let (id, of) = (report.id, &report.report);
    let visible = sessions.load(id).await?.summary().await?.messages;
    // A transcript that was compacted goes on from there, and side chains are branches.
    let lost = of.lost.len() as u64;
    let visible = match visible {
        visible if visible == of.messages => String::new(),
        // The places of lost messages count as visible, as far as messages behind them tell of them.
        visible if lost > 0 && visible > of.messages => format!(" (of {visible}, the others are lost)"),
        visible => format!(" ({visible} visible, the rest before a compaction or on branches)"),
    };
    let mended = format!("{} repaired, {} set aside", of.repaired.len(), of.set_aside.len());
    let lost = if lost == 0 { String::new() } else { format!(", {} lost before", counted(lost, "record")) };
    let told = format!(
        "{what} {id}: {}{visible}, {}, {mended}{lost} ({})",
        counted(of.messages, "message"),
        counted(of.tool_calls, "tool call"),
        path.display()
    );
    program.out.line(&told)?;
    if let Some(grown) = report.grown {
        let (new, branch) = (counted(grown.messages, "new message"), branch_name(grown.branch));
        let head =
            if grown.moved { "the conversation goes on with them" } else { "the conversation stays where it was" };
        program.out.notice(&format!("{new} on branch {branch}; {head}"));
    }
    let repaired = of.repaired.iter().map(|one| (one.line, "repaired", &one.what));
    let set_aside = of.set_aside.iter().map(|one| (one.line, "set aside", &one.why));
    let mut reasons = repaired.chain(set_aside);
    for (line, became, why) in reasons.by_ref().take(REASONS) {
        program.out.notice(&format!("line {line} was {became}: {why}"));
    }
    match reasons.count() {
        0 => {}
        more => program.out.notice(&format!("and {}; --json names them all", counted(more as u64, "more line"))),
    }
    Ok(())
}

fn branch_name(branch: u64) -> String {
    if branch == 0 { "main".to_owned() } else { branch.to_string() }
}

fn unknown_format(hint: &str) -> Failure {
    Failure::usage("there is no such format", hint)
}

#[derive(Serialize)]
struct Written {
    file: String,
    bytes: u64,
    #[serde(flatten)]
    losses: Losses,
}

/// What of a session is not in its export.
#[derive(Serialize)]
struct Losses {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<LostRecord>,
    /// True when some of it is damaged and no repair has given it up: a copy of the store may have it.
    #[serde(skip_serializing_if = "is_false")]
    damaged: bool,
}

fn is_false(damaged: &bool) -> bool {
    !*damaged
}

impl Losses {
    async fn of(session: &Session, lost: &[LostRecord]) -> Result<Self, Failure> {
        // Nobody else is asked when there is nothing to tell.
        let damaged = !lost.is_empty() && session.fresh_view().await?.unreadable().is_some();
        Ok(Self { lost: lost.to_vec(), damaged })
    }
}

/// Warns that an export is not all that the session once was.
fn tell_lost(program: &Program, losses: &Losses) {
    let lost = &losses.lost;
    let Some(first) = lost.first() else { return };
    let (which, place) = match lost.len() - 1 {
        0 => (format!("record {} of the session is lost", first.seq), "its place"),
        more => (format!("record {} and {more} more of the session are lost", first.seq), "their places"),
    };
    let advice = if losses.damaged {
        ", for now: a copy of the store may have more, `verify` tells what is damaged"
    } else {
        ""
    };
    let what = format!("{which}{advice}; the export says so in {place}, and an import takes it so");
    program.out.notice_with(&what, losses);
}

/// `export`
pub(crate) async fn export(program: &Program, wish: Export) -> Result<(), Failure> {
    let format = match wish.format.as_str() {
        "json" => ExportFormat::SessionsJson,
        "jsonl" => ExportFormat::SessionsJsonl,
        other => ExportFormat::ALL.into_iter().find(|format| format.name() == other).ok_or_else(|| {
            unknown_format("give json, jsonl, markdown, html, claude-code, codex, pi, openai or anthropic")
        })?,
    };
    program
        .with_session(&wish.session, async |_, session| {
            let mut export = session.export(format).await?;
            let Some(path) = wish.output.as_ref().filter(|path| path.as_os_str() != "-") else {
                while let Some(chunk) = export.next_chunk().await? {
                    program.out.bytes(&chunk)?;
                }
                tell_lost(program, &Losses::of(&session, export.lost()).await?);
                return Ok(());
            };
            let progress = Progress::of_unknown_bytes(&program.out, "exporting");
            let written = unless_interrupted(write(export, path, &progress)).await;
            drop(progress);
            let (bytes, lost) = written?;
            let losses = Losses::of(&session, &lost).await?;
            tell_lost(program, &losses);
            if program.out.is_json() {
                return program.out.object(&Written { file: path.display().to_string(), bytes, losses });
            }
            program.out.line(&format!("exported {} to {}", counted(bytes, "byte"), path.display()))
        })
        .await
}

/// Writes beside the file and puts it in its place when all of it is on disk, so that there is never half a file. Only its owner reads it.
/// What is no plain file (a device, a pipe) is written to as it is, and a link is followed.
async fn write(
    mut export: sessions_api::Export,
    path: &Path,
    progress: &Progress,
) -> Result<(u64, Vec<LostRecord>), Failure> {
    let failed = |error: io::Error| {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::not_found("there is no such folder", "name a file in a folder that exists")
            }
            _ => Failure::from(error),
        }
        .about(path)
    };
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let target = target.as_path();
    if std::fs::metadata(target).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let mut file = File::options().write(true).open(target).map_err(failed)?;
        let bytes = copy(&mut export, &mut file, progress, failed).await?;
        return Ok((bytes, export.lost().to_vec()));
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".sessions-export-").tempfile_in(folder);
    // The whole error names the temporary file, which nobody asked for.
    let mut file = temporary.map_err(|error| failed(error.kind().into()))?;
    let bytes = copy(&mut export, file.as_file_mut(), progress, failed).await?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(target).map_err(|error| failed(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok((bytes, export.lost().to_vec()))
}

async fn copy(
    export: &mut sessions_api::Export,
    file: &mut File,
    progress: &Progress,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<u64, Failure> {
    let mut bytes = 0;
    while let Some(chunk) = export.next_chunk().await? {
        file.write_all(&chunk).map_err(&failed)?;
        bytes += chunk.len() as u64;
        progress.advance(chunk.len() as u64);
    }
    Ok(bytes)
}
