//! What the tests of imports share: logs made of transcripts, and where real ones lie.
//!
//! Must not know: formats.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use sessions_app::{
    ImportOptions, ImportReport, Ports, Session, SessionError, SessionManager, Settings,
    transfer::{Beginning, EntryKind, ExportFormat, RESIDUE_BYTES, Transcript, restore_lines},
};
use sessions_domain::{
    Actor, Appended, CommitHash, Event, LineageId, Message, MessageId, MessagePart, MessageRole, Moment, SessionId,
    Stamp, View, codec, decide,
    pairing::{Repair, pair},
};
use sessions_infra::{MemoryStore, environment::EstimateCounter, tokens::BuiltInEncodings};
use sessions_ports::{IdGenerator, StoreId};
use sessions_testkit::{FixedClock, FixedEntropy, SequentialIds};

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(path).unwrap()
}

/// The log of a transcript: its events as a store gives them back, and the view they make.
pub(crate) struct Log {
    pub(crate) events: Vec<Event>,
    pub(crate) view: View,
    /// Bytes of all bodies.
    pub(crate) bytes: usize,
}

impl Log {
    pub(crate) fn of(transcript: Transcript) -> Self {
        let mut number = 0;
        let next_id = || {
            number += 1;
            MessageId::from_parts(1, number)
        };
        let (session, lineage) = (SessionId::from_bytes([1; 16]), LineageId::from_bytes([2; 16]));
        let events = transcript.into_events(Beginning { session, lineage, key: None, parent: None }, next_id).unwrap();
        let stamp = Stamp { at: Moment::from_millis(5), actor: Actor::default() };
        let mut view: Option<View> = None;
        let mut stored = Vec::new();
        let mut bytes = 0;
        for (at, event) in events.iter().enumerate() {
            let body = codec::encode(event, &stamp).unwrap();
            bytes += body.len();
            let (event, stamp) = codec::decode(event.kind(), &body).unwrap();
            let seq = at as u64 + 1;
            match (&mut view, &event) {
                (None, Event::Created(created)) => {
                    view = Some(View::begin(seq, created, &stamp, CommitHash::ZERO, None).unwrap());
                }
                (Some(view), event) => view.apply(seq, event, &stamp, CommitHash::ZERO).unwrap(),
                _ => panic!("the first event is no beginning"),
            }
            if let Event::Appended(appended) = &event {
                decide::check_message(&appended.message).unwrap();
            }
            if let Event::Residue(residue) = &event {
                assert!(residue.lines.len() == 1 || body.len() <= RESIDUE_BYTES + 100, "{}", body.len());
            }
            stored.push(event);
        }
        Self { events: stored, view: view.unwrap(), bytes }
    }

    pub(crate) fn message(&self, seq: u64) -> Option<&Appended> {
        let event = seq.checked_sub(1).and_then(|at| self.events.get(at as usize));
        if let Some(Event::Appended(appended)) = event { Some(appended) } else { None }
    }

    /// The messages on a path, oldest first.
    pub(crate) fn path(&self, whole: bool) -> Vec<(u64, Message)> {
        let head = self.view.head();
        let tree = self.view.tree();
        let path = if whole { tree.whole_path(head) } else { tree.path(head) };
        let mut seqs: Vec<u64> = path.flat_map(|stretch| stretch.first..=stretch.last).collect();
        seqs.sort_unstable();
        seqs.into_iter().filter_map(|seq| Some((seq, self.message(seq)?.message.clone()))).collect()
    }

    pub(crate) fn visible(&self) -> Vec<String> {
        self.path(false).iter().map(|(_, message)| shown(message)).collect()
    }

    pub(crate) fn repairs(&self, whole: bool) -> Vec<Repair> {
        pair(self.path(whole).into_iter().map(|(seq, message)| (Some(seq), false, message))).1
    }
}

pub(crate) fn shown(message: &Message) -> String {
    let part = |part: &MessagePart| match part {
        MessagePart::Text(text) => text.clone(),
        MessagePart::Reasoning { .. } => "(thinks)".to_owned(),
        MessagePart::ToolCall(call) => format!("?{}", call.call_id),
        MessagePart::ToolResult(result) => format!("!{}", result.call_id),
        other => format!("<{}>", other.type_name()),
    };
    let parts: Vec<String> = message.parts.iter().map(part).collect();
    let role = match message.role {
        MessageRole::System => 's',
        MessageRole::User => 'u',
        MessageRole::Assistant => 'a',
        MessageRole::Tool => 't',
    };
    format!("{role}: {}", parts.join(" "))
}

/// Each line of a file comes back as it was.
pub(crate) fn check_restored(file: &[u8], log: &Log) {
    let mut lines: BTreeMap<u64, Vec<u8>> = restore_lines(&log.events).unwrap().into_iter().collect();
    let whole: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
    // Behind the last line break there is no line.
    let end = if whole.last().is_some_and(|last| last.is_empty()) { whole.len() - 1 } else { whole.len() };
    for (at, line) in whole.iter().take(end).enumerate() {
        let number = at as u64 + 1;
        let restored = lines.remove(&number).unwrap_or_else(|| panic!("line {number} is lost"));
        assert_eq!(String::from_utf8_lossy(&restored), String::from_utf8_lossy(line), "line {number}");
        assert_eq!(restored, *line, "line {number}");
    }
    assert_eq!(lines.len(), 0, "lines that were never there");
}

pub(crate) fn lines_of(notes: &[impl serde::Serialize]) -> Vec<u64> {
    let line = |note| serde_json::to_value(note).unwrap().get("line").and_then(Value::as_u64).unwrap();
    notes.iter().map(line).collect()
}

/// What a transcript promises whatever it was made of.
pub(crate) fn check_any(file: &[u8], transcript: Transcript) {
    for (at, entry) in transcript.entries.iter().enumerate() {
        assert!(entry.parent.is_none_or(|parent| parent < at));
    }
    let messages = transcript.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Message(_))).count();
    assert_eq!(transcript.report.messages, messages as u64);
    let end = transcript.main_path().len();
    let is_mended = !transcript.report.repaired.is_empty();
    let log = Log::of(transcript);
    assert!(end > 0 && log.view.head() > 0);
    assert!(is_mended || log.repairs(true).is_empty(), "a repair that the report does not tell");
    let whole: usize = log
        .view
        .tree()
        .whole_path(log.view.head())
        .map(|stretch| {
            (stretch.first..=stretch.last).filter(|seq| log.events[*seq as usize - 1].kind().is_element()).count()
        })
        .sum();
    assert_eq!(whole, end);
    assert_eq!(log.path(false).len() as u64, log.view.depth());
    check_restored(file, &log);
}

/// A small generator of numbers (xorshift64*, Vigna 2014): the same for the same seed everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides.max(1)
    }
}

/// The folder of a program's real transcripts, when `SESSIONS_TEST_DATA` names the one that has it.
pub(crate) fn real_folder(program: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SESSIONS_TEST_DATA").map(|folder| PathBuf::from(folder).join(program));
    if folder.is_none() {
        println!("skipped: SESSIONS_TEST_DATA does not name the folder of real transcripts");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs SESSIONS_TEST_DATA");
    }
    folder
}

pub(crate) fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            found.push(path);
        }
    }
}

/// The real transcripts of a program.
pub(crate) fn real_files(program: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Some(folder) = real_folder(program) {
        files_below(&folder, &mut files);
        assert!(!files.is_empty(), "{} has no transcripts", folder.display());
    }
    files.sort();
    files
}

/// A host of its own: another store, another clock, other randomness and other ids.
pub(crate) fn host(number: u8) -> SessionManager {
    let ids = SequentialIds::new();
    for _ in 0..u32::from(number) * 1000 {
        let now = Moment::default();
        let _ = (ids.session(now), ids.message(now), ids.lineage(now));
    }
    let ports = Ports {
        store: Arc::new(MemoryStore::with_id(StoreId([number; 16]), Default::default())),
        clock: Arc::new(FixedClock::at(Moment::from_millis(1_700_000_000_000))),
        ids: Arc::new(ids),
        entropy: Arc::new(FixedEntropy::seeded(u64::from(number))),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    SessionManager::with(ports, Settings { actor: Actor::named("ada"), ..Settings::default() }).unwrap()
}

pub(crate) async fn import(to: &SessionManager, file: &[u8]) -> Result<ImportReport, SessionError> {
    to.import(std::io::Cursor::new(file.to_vec()), ImportOptions::default()).await
}

/// The session that a file becomes.
pub(crate) async fn session_of(to: &SessionManager, file: &[u8]) -> Session {
    let report = import(to, file).await.unwrap();
    to.load(report.id).await.unwrap()
}

pub(crate) async fn exported(session: &Session, format: ExportFormat) -> Vec<u8> {
    let mut export = session.export(format).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        bytes.extend(chunk);
    }
    bytes
}

pub(crate) async fn visible(session: &Session) -> Vec<Message> {
    session.last(100_000).await.unwrap().into_iter().map(|message| message.message).collect()
}

/// What is said, whatever messages it stands in: who speaks, and texts, calls and results in order.
pub(crate) fn meaning<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<String> {
    let mut out = Vec::new();
    for message in messages {
        let role = match message.role {
            MessageRole::System => MessageRole::User,
            role => role,
        };
        for part in &message.parts {
            match part {
                MessagePart::Text(text) if text.is_empty() => {}
                MessagePart::Text(text) => out.push(format!("{role:?} says {text}")),
                MessagePart::ToolCall(call) => out.push(format!("calls {} {}", call.call_id, call.name)),
                MessagePart::ToolResult(result) => out.push(format!("result {}", result.call_id)),
                _ => {}
            }
        }
    }
    out
}
