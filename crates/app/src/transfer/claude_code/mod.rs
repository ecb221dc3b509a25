//! Claude Code's transcripts: JSON lines, one file a session, and one for each of its sub-agents.
//!
//! **What becomes of a file**
//! - A `user` or `assistant` line is a message. Lines that share `message.id` are one answer of the model and become one message, with
//!   their parts in order and their usage once (the last line's, which is the final count). Tool results are messages of their own and
//!   stand directly behind the message that made the calls, also where the file has further lines of that message between.
//! - The tree is the one of `parentUuid`, with the lines between messages (`progress`, `system` and so on) passed through. The main path
//!   ends at the last message that is on no side chain; what is on no main path stays as branches.
//! - A compaction (`compact_boundary`) becomes a clear behind the message that `logicalParentUuid` names; the summary follows it. So what
//!   is visible starts at the summary, and undo reaches all before.
//! - Blocks we have no part for are kept to the letter as custom parts.
//! - Every other line is kept to the letter as residue.
//!
//! **Fidelity**: values. Each message keeps the envelopes of its lines, with what became its parts cut out of them, so that
//! [`super::restore_lines`] gives every line back as an equal JSON value, and byte by byte where it became no message.
//!
//! **Tolerance**: no line fails the file. What does not parse is set aside and kept; what is no valid Unicode (half of a surrogate pair)
//! is kept and shown with U+FFFD; parents that are missing, doubled or in a circle are mended; all of it is reported.
//!
//! Must not know: where the files lie, or who reads them.

mod block;
pub(super) mod envelope;
mod growth;
mod line;
mod tree;

use std::io::BufRead;

use sessions_domain::{ResidueLine, chain::to_hex};

use self::{
    line::{Kind, Parsed},
    tree::{Builder, Tree},
};
use super::{
    ImportError, MAX_LINE_BYTES,
    format::Format,
    lines::{Content, Line, Lines},
    report::Report,
    transcript::{Facts, Transcript, title_of},
};

pub(super) use line::knows_type;

/// Reads one file.
///
/// ```
/// let file = br#"{"type":"user","uuid":"a","parentUuid":null,"sessionId":"s","message":{"role":"user","content":"Hello"}}"#;
/// let transcript = sessions_app::transfer::claude_code::read(&file[..]).unwrap();
/// assert_eq!(transcript.report.messages, 1);
/// assert_eq!(transcript.facts.title.as_deref(), Some("Hello"));
/// ```
///
/// # Errors
/// [`ImportError`] when the file cannot be read, is no such file, or has no message.
pub fn read(reader: impl BufRead) -> Result<Transcript, ImportError> {
    read_within(reader, MAX_LINE_BYTES)
}

fn read_within(reader: impl BufRead, limit: usize) -> Result<Transcript, ImportError> {
    let mut lines = Lines::new(reader, limit);
    let mut reading = Reading::default();
    while let Some(line) = lines.next()? {
        reading.take(line);
    }
    reading.finish(lines.digest())
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    tree: Builder,
    report: Report,
    residue: Vec<ResidueLine>,
    facts: Facts,
    titles: Titles,
    /// Lines that are not blank.
    lines: u64,
    /// Lines of a type we know.
    known: u64,
    /// Lines that are no text.
    binary: u64,
}

/// What a session may be called, best first.
#[derive(Default)]
struct Titles {
    custom: Option<String>,
    generated: Option<String>,
    summary: Option<String>,
}

impl Reading {
    fn take(&mut self, line: Line) {
        let bytes = match line.content {
            Content::Bytes(bytes) => bytes,
            Content::TooLong { bytes } => {
                self.lines += 1;
                let why =
                    format!("the line has {bytes} bytes, more than is read at once; it was not kept: keep the file");
                return self.report.set_aside(line.number, why);
            }
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.lines += 1;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                self.binary += 1;
                self.report.set_aside(line.number, "the line is not UTF-8");
                let base16 = Some(to_hex(error.as_bytes()));
                return self.residue.push(ResidueLine { line: line.number, text: None, base16 });
            }
        };
        let mended = line::without_half_pairs(&text);
        if mended.is_some() {
            let what = "half of a surrogate pair stands in the line; it reads as U+FFFD, and the line was kept";
            self.report.repaired(line.number, what);
        }
        let keep = match line::parse(line.number, mended.as_deref().unwrap_or(&text), mended.is_some()) {
            Ok(parsed) => self.place(parsed) || mended.is_some(),
            Err(why) => {
                let cut = !line.ended && why == line::NOT_JSON;
                self.binary += u64::from(text.contains('\0'));
                self.report.set_aside(line.number, if cut { "the file ends within this line" } else { why });
                true
            }
        };
        if keep {
            self.residue.push(ResidueLine { line: line.number, text: Some(text), base16: None });
        }
    }

    /// Takes in a line that parses; true when it is to be kept as residue.
    fn place(&mut self, parsed: Parsed) -> bool {
        self.learn(&parsed);
        let becomes_message = matches!(parsed.kind, Kind::Said(_));
        match &parsed.kind {
            Kind::Said(_) => self.known += 1,
            Kind::Boundary => {
                self.known += 1;
                self.report.keep("system");
            }
            Kind::Other(kind) => {
                self.known += 1;
                self.report.keep(kind);
            }
            Kind::Empty => {
                self.known += 1;
                self.report.set_aside(parsed.number, "the message has no content");
            }
            Kind::Unknown => self.report.set_aside(parsed.number, "the line's type is not known"),
        }
        let placed = self.tree.push(parsed, &mut self.report);
        !(becomes_message && placed)
    }

    fn learn(&mut self, parsed: &Parsed) {
        let facts = &mut self.facts;
        let says = &parsed.says;
        let first = |known: &mut Option<String>, new: &Option<String>| {
            if known.is_none() {
                known.clone_from(new);
            }
        };
        first(&mut facts.session, &says.session);
        first(&mut facts.cwd, &says.cwd);
        first(&mut facts.git_branch, &says.git_branch);
        first(&mut facts.version, &says.version);
        if parsed.is_sidechain && self.lines == 1 {
            first(&mut facts.agent, &says.agent);
        }
        if let Kind::Said(said) = &parsed.kind {
            first(&mut facts.model, &said.model);
        }
        if let Some(at) = parsed.made_at {
            facts.created.get_or_insert(at);
            facts.updated = facts.updated.max(Some(at));
        }
        let last = |known: &mut Option<String>, new: &Option<String>| {
            if let Some(title) = new.as_deref().and_then(title_of) {
                *known = Some(title);
            }
        };
        last(&mut self.titles.custom, &says.custom_title);
        last(&mut self.titles.generated, &says.ai_title);
        last(&mut self.titles.summary, &says.summary);
    }

    fn finish(mut self, digest: String) -> Result<Transcript, ImportError> {
        let Tree { entries, head } = self.tree.finish(&mut self.report);
        let messages = || entries.iter().filter_map(|entry| entry.message());
        self.report.messages = messages().count() as u64;
        if self.report.messages == 0 {
            return Err(match (self.lines, self.known, self.binary) {
                (0, ..) => ImportError::Empty,
                (_, 0, 1..) => ImportError::Binary,
                (_, 0, 0) => ImportError::UnknownFormat,
                (lines, ..) => ImportError::NoMessages { lines, set_aside: self.report.set_aside.len() as u64 },
            });
        }
        self.report.tool_calls = messages().map(|message| message.calls().count() as u64).sum();
        let usages = messages().filter_map(|message| message.metadata.usage);
        self.report.usage = usages.fold(Default::default(), sessions_domain::TokenUsage::plus);
        self.report.repaired.sort();
        self.report.set_aside.sort();
        self.residue.sort_by_key(|line| line.line);
        let Titles { custom, generated, summary } = self.titles;
        self.facts.title = custom.or(generated).or(summary).or_else(|| tree::first_words(&entries));
        let Self { report, residue, facts, .. } = self;
        Ok(Transcript { format: Format::ClaudeCode, digest, facts, entries, head, residue, report })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_above_the_limit_is_passed_over_and_reported() {
        let said = r#"{"type":"user","uuid":"a","parentUuid":null,"message":{"content":"hello"}}"#;
        let file = format!("{}\n{said}\n", "x".repeat(1000));
        let transcript = read_within(file.as_bytes(), 500).unwrap();
        assert_eq!(transcript.report.messages, 1);
        let aside: Vec<u64> = transcript.report.set_aside.iter().map(|aside| aside.line).collect();
        assert_eq!(aside, [1]);
        let alone = read_within("x".repeat(1000).as_bytes(), 500);
        assert!(matches!(alone, Err(ImportError::UnknownFormat)));
    }
}
