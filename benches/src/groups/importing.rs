//! Imports: how fast the transcripts of other programs come in, and that memory is bounded by the file.
//!
//! Must not know: how a format is read.

use std::{
    env, fs,
    io::Cursor,
    path::{Path, PathBuf},
    time::Instant,
};

use sessions_app::{ImportOptions, ImportReport, SessionManager};
use sessions_ports::Durability;

use crate::{
    machine,
    report::{Figure, Section, Unit},
    stage::{Outcome, Stage, ensure, manager, open, text},
};

/// How often everything comes in.
const ROUNDS: usize = 5;
/// Messages of the transcript that is generated.
const MESSAGES: usize = 20_000;
/// Bytes of the large one, at least.
const LARGE: usize = 64 << 20;

/// A file, and what it is called in the report.
pub(super) struct Source {
    program: &'static str,
    pub(super) bytes: Vec<u8>,
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let real = real_transcripts()?;
    let mut sources = vec![Source { program: "generated", bytes: generated(MESSAGES) }];
    let are_real = !real.is_empty();
    sources.extend(real);
    let manager = manager(open(&stage.path("store")).await?, Durability::Disk)?;
    let mut figures = Vec::new();
    for program in ["claude-code", "codex", "pi", "generated"] {
        let files: Vec<&Source> = sources.iter().filter(|source| source.program == program).collect();
        if files.is_empty() {
            continue;
        }
        let bytes: usize = files.iter().map(|source| source.bytes.len()).sum();
        let (mut best, mut least) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            let (begun, busy) = (Instant::now(), processor_seconds());
            for source in &files {
                import(&manager, source.bytes.clone()).await?;
            }
            best = best.min(begun.elapsed().as_secs_f64());
            least = least.min(processor_seconds() - busy);
        }
        let what = format!("import of {program} transcripts, MB/s");
        let size = Unit::Bytes.show(bytes as f64);
        // The clock of the processor is coarse: what took none of it has no rate.
        let busy = if least > 0.0 {
            format!("; {:.1} MB for a second of one processor", bytes as f64 / least / 1e6)
        } else {
            String::new()
        };
        let note = format!("{} files, {size}, best of {ROUNDS}{busy}", files.len());
        let figure = Figure::new("P13", what, bytes as f64 / best / 1e6, Unit::Count).note(note);
        figures.push(if program == "generated" && are_real { figure } else { figure.at_least(15.0) });
    }
    figures.push(memory(&manager).await?);
    manager.close().await?;
    Ok(Section {
        title: "Imports",
        method: "Whole transcripts come in one after the other, each in one commit at `disk`, without token counts.",
        figures,
        appendix: String::new(),
    })
}

async fn import(manager: &SessionManager, bytes: Vec<u8>) -> Outcome<()> {
    let report = imported(manager, bytes).await?;
    ensure(report.report.messages > 0, "nothing came in")
}

/// Takes in a transcript, once more where it was taken in before.
pub(super) async fn imported(manager: &SessionManager, bytes: Vec<u8>) -> Outcome<ImportReport> {
    let options = ImportOptions { new_id: true, ..ImportOptions::default() };
    Ok(manager.import(Cursor::new(bytes), options).await?)
}

/// The most memory that one large import takes beside what was taken before, to the file's length.
async fn memory(manager: &SessionManager) -> Outcome<Figure> {
    let file = generated(LARGE / text(0).len());
    let length = file.len();
    machine::forget_peak();
    let before = machine::memory().unwrap_or(0);
    import(manager, file).await?;
    let peak = machine::peak_memory().unwrap_or(0);
    let ratio = peak.saturating_sub(before) as f64 / length as f64;
    let note = format!(
        "a file of {}, {} more at most",
        Unit::Bytes.show(length as f64),
        Unit::Bytes.show((peak.saturating_sub(before)) as f64)
    );
    Ok(Figure::new("P13", "peak memory of a large import, to the file", ratio, Unit::Times).note(note))
}

/// A transcript of so many messages, of which each fourth is a call and each fourth its result.
pub(super) fn generated(messages: usize) -> Vec<u8> {
    let mut file = Vec::new();
    for at in 0..messages {
        let parent = if at == 0 { "null".to_owned() } else { format!("\"u{}\"", at - 1) };
        let said = text(at);
        let content = match at % 4 {
            1 => format!(r#"[{{"type":"tool_use","id":"c{at}","name":"read","input":{{"path":"{said}"}}}}]"#),
            2 => format!(r#"[{{"type":"tool_result","tool_use_id":"c{}","content":"{said}"}}]"#, at - 1),
            _ => format!(r#"[{{"type":"text","text":"{said}"}}]"#),
        };
        let (kind, message) = match at % 4 {
            1 | 3 => (
                "assistant",
                format!(
                    r#"{{"id":"m{at}","role":"assistant","content":{content},"usage":{{"input_tokens":10,"output_tokens":5}}}}"#
                ),
            ),
            _ => ("user", format!(r#"{{"role":"user","content":{content}}}"#)),
        };
        let line = format!(
            "{{\"type\":\"{kind}\",\"uuid\":\"u{at}\",\"parentUuid\":{parent},\"sessionId\":\"s\",\"timestamp\":\"2026-01-05T09:00:00.000Z\",\"message\":{message}}}\n"
        );
        file.extend(line.into_bytes());
    }
    file
}

/// Processor time of all threads so far, where the system tells it. In /proc/self/stat it stands in hundredths, twelve fields behind the
/// program's name (proc(5)).
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The transcripts that `SESSIONS_TEST_DATA` names the folder of.
pub(super) fn real_transcripts() -> Outcome<Vec<Source>> {
    let Some(folder) = env::var_os("SESSIONS_TEST_DATA").map(PathBuf::from) else { return Ok(Vec::new()) };
    let mut sources = Vec::new();
    for program in ["claude-code", "codex", "pi"] {
        let mut files = Vec::new();
        files_below(&folder.join(program), &mut files)?;
        for path in files {
            sources.push(Source { program, bytes: fs::read(path)? });
        }
    }
    Ok(sources)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            found.push(path);
        }
    }
    Ok(())
}
