//! What transcripts of all programs have in common: lines of JSON that form a tree, and what becomes of a line that does not parse.
//!
//! A format says what one line is ([`line::Parsed`]); the rest is the same for all: the tree grows of the lines, parents first, results go
//! behind their calls, and every line is kept, in the messages that were made of it or as residue.
//!
//! Must not know: how a format spells its lines.

pub(super) mod envelope;
mod growth;
pub(super) mod line;
pub(super) mod object;
mod tree;
pub(super) mod writer;

use std::io::BufRead;

use sessions_domain::{ResidueLine, chain::to_hex};

pub(super) use self::tree::MainEnd;
use self::{
    envelope::Spelling,
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

/// What is different from format to format, beside its lines.
#[derive(Clone, Copy)]
pub(super) struct Dialect {
    /// The format.
    pub(super) format: Format,
    /// How it spells the values of a part.
    pub(super) values: Spelling,
    /// Where its main path ends.
    pub(super) main_end: MainEnd,
}

/// Reads a file, of which the lines up to `sealed` are in a log already (0: none are). `parse` reads one line: its number, its text, and
/// whether the text is kept as it is, so that its message needs no envelope.
pub(super) fn read(
    dialect: Dialect,
    parse: impl FnMut(u64, &str, bool) -> Result<Parsed, &'static str>,
    reader: impl BufRead,
    sealed: u64,
) -> Result<Transcript, ImportError> {
    read_within(dialect, parse, reader, sealed, MAX_LINE_BYTES)
}

fn read_within(
    dialect: Dialect,
    mut parse: impl FnMut(u64, &str, bool) -> Result<Parsed, &'static str>,
    reader: impl BufRead,
    sealed: u64,
    limit: usize,
) -> Result<Transcript, ImportError> {
    let mut lines = Lines::new(reader, limit);
    let mut reading = Reading::default();
    while let Some(line) = lines.next()? {
        reading.take(line, &mut parse);
    }
    reading.finish(&dialect, sealed, lines.digest())
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
    fn take(&mut self, line: Line, parse: &mut impl FnMut(u64, &str, bool) -> Result<Parsed, &'static str>) {
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
            let text = Some(String::from_utf8_lossy(&bytes).into_owned());
            return self.residue.push(ResidueLine { line: line.number, text, base16: None });
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
        let keep = match parse(line.number, mended.as_deref().unwrap_or(&text), mended.is_some()) {
            Ok(mut parsed) => {
                if let Kind::Said(said) = &mut parsed.kind
                    && let Some(template) = &mut said.template
                {
                    template.within(&text);
                }
                self.place(parsed) || mended.is_some()
            }
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
            Kind::Other(kind) | Kind::Counted { kind, .. } => {
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
            // A sub-agent's file bears the id of the session that began it.
            first(&mut facts.parent, &says.session);
        }
        first(&mut facts.model, &says.model);
        first(&mut facts.provider, &says.provider);
        first(&mut facts.parent, &says.parent);
        first(&mut facts.git_commit, &says.git_commit);
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

    fn finish(mut self, dialect: &Dialect, sealed: u64, digest: String) -> Result<Transcript, ImportError> {
        let Tree { entries, head } = self.tree.finish(dialect, sealed, &mut self.report);
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
        Ok(Transcript { format: dialect.format, digest, facts, entries, head, residue, report })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::claude_code, *};

    fn within(file: &[u8]) -> Result<Transcript, ImportError> {
        read_within(claude_code::DIALECT, claude_code::parse, file, 0, 500)
    }

    #[test]
    fn a_line_above_the_limit_is_passed_over_and_reported() {
        let said = r#"{"type":"user","uuid":"a","parentUuid":null,"message":{"content":"hello"}}"#;
        let file = format!("{}\n{said}\n", "x".repeat(1000));
        let transcript = within(file.as_bytes()).unwrap();
        assert_eq!(transcript.report.messages, 1);
        let aside: Vec<u64> = transcript.report.set_aside.iter().map(|aside| aside.line).collect();
        assert_eq!(aside, [1]);
        let alone = within("x".repeat(1000).as_bytes());
        assert!(matches!(alone, Err(ImportError::UnknownFormat)));
    }
}
