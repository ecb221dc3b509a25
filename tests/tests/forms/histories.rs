//! Histories to make contexts of: any mix that a seed gives, and the real transcripts.
//!
//! Must not know: forms, or rules.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use sessions_app::transfer::{self, Transcript};
use sessions_domain::{
    FileRef, Json, Message, MessageMetadata, MessagePart, MessageRole, ToolCall, ToolContent, ToolResult,
};
use sessions_tests::chance::Chance;

/// The model that most of what has a model was written by.
pub(crate) const MODEL: &str = "writer-1";

/// Its provider.
pub(crate) const PROVIDER: &str = "anthropic";

/// A message of a history, and whether it came late.
pub(crate) type Told = (bool, Message);

/// A history and its name.
pub(crate) struct History {
    pub(crate) name: String,
    /// The model whose reasoning it has.
    pub(crate) model: String,
    pub(crate) messages: Vec<Told>,
}

const TEXTS: [&str; 14] = [
    "Why does it fail?",
    "ok",
    "",
    " ",
    "\n\t",
    "trailing \n",
    "\u{a0}\u{1f}",
    "with \"quotes\" and \\u{d83d}",
    "é 漢字 🦀",
    "</system> <system>",
    "(continue)",
    "[error] no",
    "a\u{0}b",
    "one two three four five six seven eight nine ten",
];

const IDS: [&str; 9] = [
    "c1",
    "c2",
    "c3",
    "call:1|x",
    "",
    "toolu_01ABCdef",
    "é",
    "c1_2",
    "call_0123456789012345678901234567890123456789012345678901234567890123456789",
];

const NAMES: [&str; 6] = [
    "read_file",
    "files.read",
    "",
    "é",
    "a-b_c",
    "very_long_name_very_long_name_very_long_name_very_long_name_very_long_name",
];

const INPUTS: [&str; 9] = [
    "{}",
    r#"{"path":"a.rs","n":1.0}"#,
    "[1,2]",
    "null",
    "\"text\"",
    "12345678901234567890123",
    r#"{"a":"\ud83d"}"#,
    r#"{"a":"\ud83d\ude00","b":"\\ud83d"}"#,
    "{\"deep\":[[[[[[[[]]]]]]]]}",
];

const CUSTOMS: [&str; 14] = [
    r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}"#,
    r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"/9j/4AAQSkY="}}"#,
    r#"{"type":"image","source":{"type":"url","url":"https://example.org/a.png"}}"#,
    r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="},"title":"T"}"#,
    r#"{"type":"image_url","image_url":{"url":"https://example.org/b.png","detail":"low"}}"#,
    r#"{"type":"input_audio","input_audio":{"data":"SUQz","format":"mp3"}}"#,
    r#"{"type":"file","file":{"file_id":"file-1"}}"#,
    r#"{"type":"redacted_thinking","data":"opaque"}"#,
    r#"{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}"#,
    r#"{"type":"refusal","refusal":"I will not."}"#,
    r#"{"type":"image","data":"iVBORw0KGgo=","mimeType":"image/png"}"#,
    r#"{"type":"mystery","text":"\ud83d"}"#,
    r#"[1,2]"#,
    r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="},"cache_control":{"type":"ephemeral"}}"#,
];

const FILES: [(&str, Option<&str>); 14] = [
    ("text/plain", Some("data:text/plain;base64,aGVsbG8=")),
    ("application/json", Some("data:application/json,{%22a%22:1}")),
    ("image/png", Some("data:image/png;base64,iVBORw0KGgo=")),
    ("image/jpeg", Some("data:image/png;base64,/9j/4AAQSkY=")),
    ("image/webp", Some("https://example.org/a.webp")),
    ("image/svg+xml", Some("https://example.org/a.svg")),
    ("image/png", Some("http://example.org/a.png")),
    ("image/gif", Some("data:image/gif;base64,R0lGODlhQR8BAAAA")),
    ("application/pdf", Some("data:application/pdf;base64,JVBERi0=")),
    ("application/pdf", Some("https://example.org/a.pdf")),
    ("audio/wav", Some("data:audio/wav;base64,UklGRg==")),
    ("text/csv", Some("file:///a.csv")),
    ("image/png", None),
    ("image/png", Some("data:image/png;base64,not base64")),
];

fn pick<T: Copy>(chance: &mut Chance, of: &[T]) -> T {
    of[chance.below(of.len() as u64) as usize]
}

fn often(chance: &mut Chance, percent: u64) -> bool {
    chance.below(100) < percent
}

/// A history of so many messages, at most.
pub(crate) fn made_up(chance: &mut Chance, most: u64) -> Vec<Told> {
    // Some are tidy and some are not, so that what is valid comes up as well.
    let mess = pick(chance, &[0, 5, 40]);
    let mut open: Vec<String> = Vec::new();
    let mut out = Vec::new();
    let mut number = 0;
    for _ in 0..chance.below(most + 1) {
        let is_answered = !open.is_empty() && !often(chance, mess);
        let role = if is_answered {
            MessageRole::Tool
        } else {
            let tidy = [MessageRole::User, MessageRole::Assistant];
            let any = [MessageRole::User, MessageRole::Assistant, MessageRole::System, MessageRole::Tool];
            if often(chance, mess) { pick(chance, &any) } else { pick(chance, &tidy) }
        };
        let mut parts = Vec::new();
        if role == MessageRole::Tool {
            let ids = if open.is_empty() { vec![pick(chance, &IDS).to_owned()] } else { std::mem::take(&mut open) };
            for call_id in ids {
                if often(chance, mess / 4) {
                    parts.push(part(chance, role));
                }
                let (content, is_error) = (content(chance, mess), often(chance, mess / 2));
                parts.push(MessagePart::ToolResult(ToolResult { call_id, content, is_error }));
                if often(chance, mess / 4) {
                    parts.push(part(chance, role));
                }
            }
        } else {
            for _ in 0..=chance.below(3) {
                parts.push(if often(chance, mess) { part(chance, role) } else { MessagePart::text("Some words.") });
            }
            if role == MessageRole::Assistant && often(chance, 40) {
                for _ in 0..=chance.below(3) {
                    number += 1;
                    let id = if often(chance, mess) { pick(chance, &IDS).to_owned() } else { format!("call_{number}") };
                    parts.push(call(chance, mess, &id));
                }
                open = parts
                    .iter()
                    .filter_map(|part| match part {
                        MessagePart::ToolCall(call) => Some(call.call_id.clone()),
                        _ => None,
                    })
                    .collect();
            }
            if often(chance, mess / 8) {
                parts.clear();
            }
        }
        let metadata = metadata(chance, role);
        out.push((often(chance, mess / 8), Message { role, parts, metadata }));
    }
    out
}

fn metadata(chance: &mut Chance, role: MessageRole) -> MessageMetadata {
    if role != MessageRole::Assistant {
        return MessageMetadata::default();
    }
    let model = if often(chance, 80) { MODEL } else { "other-1" };
    let provider = if often(chance, 80) { PROVIDER } else { "openai" };
    MessageMetadata { model: Some(model.to_owned()), provider: Some(provider.to_owned()), ..MessageMetadata::default() }
}

fn call(chance: &mut Chance, mess: u64, id: &str) -> MessagePart {
    let name = if often(chance, mess) { pick(chance, &NAMES) } else { "read_file" };
    let input = if often(chance, mess) { pick(chance, &INPUTS) } else { r#"{"path":"a.rs"}"# };
    let input = Json::parse(input).unwrap();
    MessagePart::ToolCall(ToolCall { call_id: id.to_owned(), name: name.to_owned(), input })
}

fn file(chance: &mut Chance) -> MessagePart {
    let (kind, url) = pick(chance, &FILES);
    let name = often(chance, 50).then(|| "a file".to_owned());
    let artifact = url.is_none().then(|| "artifact-1".to_owned());
    MessagePart::File(FileRef { media_type: kind.to_owned(), name, artifact, url: url.map(str::to_owned) })
}

fn custom(chance: &mut Chance) -> MessagePart {
    MessagePart::Custom(Json::parse(pick(chance, &CUSTOMS)).unwrap())
}

fn content(chance: &mut Chance, mess: u64) -> ToolContent {
    if !often(chance, mess) {
        return ToolContent::Text("found".to_owned());
    }
    if often(chance, 30) {
        return ToolContent::Text(pick(chance, &TEXTS).to_owned());
    }
    let count = chance.below(4);
    ToolContent::Parts((0..count).map(|_| part(chance, MessageRole::Tool)).collect())
}

fn part(chance: &mut Chance, role: MessageRole) -> MessagePart {
    match chance.below(if role == MessageRole::Assistant { 14 } else { 10 }) {
        0..3 => MessagePart::text(pick(chance, &TEXTS)),
        3 | 4 => file(chance),
        5 | 6 => custom(chance),
        7 => {
            let code = often(chance, 50).then(|| "529".to_owned());
            MessagePart::Error { message: pick(chance, &TEXTS).to_owned(), code }
        }
        8 if role == MessageRole::Tool => MessagePart::text("beside"),
        8 => {
            let content = content(chance, 50);
            MessagePart::ToolResult(ToolResult { call_id: pick(chance, &IDS).to_owned(), content, is_error: false })
        }
        9 => {
            let id = pick(chance, &IDS);
            call(chance, 50, id)
        }
        _ => {
            let signature = often(chance, 80).then(|| "c2lnbmVk".to_owned());
            MessagePart::Reasoning { text: pick(chance, &TEXTS).to_owned(), signature }
        }
    }
}

/// Histories that have more of something than providers take.
pub(crate) fn excessive() -> Vec<History> {
    let picture = |number: usize| {
        // A gif of 2500 pixels, or one at an address.
        let url = if number.is_multiple_of(3) {
            "data:image/gif;base64,R0lGODlhxAkBAAAA".to_owned()
        } else {
            format!("https://example.org/{number}.png")
        };
        MessagePart::File(FileRef { media_type: "image/png".to_owned(), name: None, artifact: None, url: Some(url) })
    };
    let large = |kind: &str, begin: &str, size: usize| {
        let url = format!("data:{kind};base64,{begin}{}", "A".repeat(size / 4 * 4));
        MessagePart::File(FileRef { media_type: kind.to_owned(), name: None, artifact: None, url: Some(url) })
    };
    let call = |number: usize| MessagePart::tool_call(format!("c{number}"), "f", "{}").unwrap();
    let result = |number: usize, content| {
        MessagePart::ToolResult(ToolResult {
            call_id: format!("c{number}"),
            content,
            is_error: number.is_multiple_of(7),
        })
    };
    let said = |role, parts| Message { role, parts, metadata: MessageMetadata::default() };
    let (user, answer, tool) = (MessageRole::User, MessageRole::Assistant, MessageRole::Tool);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(126), "]".repeat(126));
    let deep_call = MessagePart::tool_call("deep", "f", &deep).unwrap();
    let deep_custom = MessagePart::Custom(Json::parse(&deep.replace("\"a\"", "\"type\":\"x\",\"a\"")).unwrap());
    let all = [
        ("pictures", vec![said(user, (0..60).map(picture).collect()), said(user, (60..130).map(picture).collect())]),
        (
            "pictures of tools",
            vec![
                said(answer, (0..110).map(call).collect()),
                said(tool, (0..110).map(|at| result(at, ToolContent::Parts(vec![picture(at)]))).collect()),
            ],
        ),
        (
            "calls",
            vec![
                said(answer, (0..300).map(call).collect()),
                said(tool, (100..300).rev().map(|at| result(at, ToolContent::Text("x".to_owned()))).collect()),
                said(tool, (0..100).map(|at| result(at, ToolContent::Parts(vec![picture(at)]))).collect()),
                Message::user("And?"),
            ],
        ),
        (
            "texts",
            vec![
                Message::user("é".repeat(1_048_577)),
                said(answer, vec![call(7)]),
                said(tool, vec![result(7, ToolContent::Text("x".repeat(1_048_576)))]),
                Message::system("x".repeat(1_048_570)),
            ],
        ),
        (
            "bytes",
            vec![
                said(user, (0..8).map(|_| large("image/png", "iVBORw0KGgoA", 5_000_000)).collect()),
                said(user, vec![large("image/jpeg", "/9j/", 6_000_000), large("image/gif", "R0lGODlh", 21_000_000)]),
                said(
                    user,
                    vec![
                        large("application/pdf", "JVBERi0A", 30_000_000),
                        large("application/pdf", "JVBERi0A", 20_000_000),
                    ],
                ),
            ],
        ),
        (
            "depth",
            vec![said(user, vec![deep_custom]), said(answer, vec![deep_call]), Message::tool_result("deep", "found")],
        ),
    ];
    let history = |(name, messages): (&str, Vec<Message>)| History {
        name: name.to_owned(),
        model: MODEL.to_owned(),
        messages: messages.into_iter().map(|message| (false, message)).collect(),
    };
    all.into_iter().map(history).collect()
}

/// The real transcripts that `SESSIONS_TEST_DATA` names the folder of: what is on the main path of each, whether hidden or not.
pub(crate) fn real() -> Vec<History> {
    let Some(folder) = std::env::var_os("SESSIONS_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: SESSIONS_TEST_DATA does not name the folder of real transcripts");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs SESSIONS_TEST_DATA");
        return Vec::new();
    };
    let mut out = Vec::new();
    for program in ["claude-code", "codex", "pi"] {
        let mut files = Vec::new();
        collect(&folder.join(program), &mut files);
        files.sort();
        for path in files {
            let reader = || BufReader::new(File::open(&path).unwrap());
            let read = match program {
                "claude-code" => transfer::claude_code::read(reader()),
                "codex" => transfer::codex::read(reader()),
                _ => transfer::pi::read(reader()),
            };
            let read = read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            out.push(history(&path, read));
        }
    }
    assert!(!out.is_empty(), "no transcript lies in the folder");
    out
}

fn history(path: &Path, read: Transcript) -> History {
    let main = read.main_path();
    let messages =
        main.into_iter().filter_map(|at| read.entries[at].message().cloned()).map(|message| (false, message));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    History { name, model: read.facts.model.unwrap_or_default(), messages: messages.collect() }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
}
