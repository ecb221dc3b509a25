//! Appending: one message from the command line, or one for each line of standard input.
//!
//! The lines are read on a thread of their own, appended in order with many in flight, and answered in order, each when it is durable.
//!
//! Must not know: rules of conversations.

use std::{
    borrow::Cow,
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use serde::{Deserialize, Serialize};
use sessions_api::{
    Append, InFlight, Message, MessageMetadata, MessagePart, MessageRole, Receipt, Session, SessionError, ToolContent,
    json_depth,
};
use tokio::sync::mpsc;

use crate::{
    arguments,
    failure::{ErrorShape, Failure},
    program::Program,
    progress::interrupted,
};

/// The longest line, and the longest text from standard input.
const MAX_LINE_BYTES: usize = 64 << 20;

/// So many appends are in flight at most.
const IN_FLIGHT: usize = 256;

/// Lines are handed over when there are so many bytes of them, or when there is nothing more to read at once.
const BATCH_BYTES: usize = 1 << 20;

/// A line may nest as deep as a message's JSON may, and the message around it.
const MAX_LINE_DEPTH: usize = 140;

/// `append`
pub(crate) async fn append(program: &Program, wish: arguments::Append) -> Result<(), Failure> {
    if wish.jsonl {
        return program.with_session(&wish.session, async |_, session| Lines::append(program, session).await).await;
    }
    let Some(role) = wish.role else { return Err(Failure::usage("nobody speaks", "say who, as in --role user")) };
    let text = match wish.text {
        Some(text) => text,
        None => tokio::task::spawn_blocking(read_text).await.map_err(io::Error::other)??,
    };
    let mut append = Append::from(Message::text_of(role, text));
    if let Some(key) = wish.idempotency_key {
        append = append.idempotency_key(key);
    }
    program
        .with_session(&wish.session, async |_, session| {
            let receipt = session.append(append).await?;
            if program.out.is_json() {
                return program.out.object(&receipt);
            }
            let Receipt { message, seq, version, durability, .. } = receipt;
            program.out.line(&format!("appended {message} at {seq} (version {version}, {durability})"))
        })
        .await
}

fn read_text() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_LINE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_LINE_BYTES {
        return Err(Failure::failed("the text is longer than 64 MiB", "split it into several messages"));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::usage("standard input is no text in UTF-8", "encode it, or append it as a file part with --jsonl")
    })?;
    Ok(text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()).unwrap_or(text))
}

/// One line of input.
#[derive(Debug)]
enum Line {
    Bytes(Vec<u8>),
    TooLong,
}

/// Reads lines and hands them on, until the input ends or nobody listens.
fn read_lines(mut input: BufReader<impl Read>, lines: &mpsc::Sender<io::Result<Vec<Line>>>) {
    loop {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let outcome = loop {
            match read_line(&mut input) {
                Ok(Some(line)) => {
                    if let Line::Bytes(line) = &line {
                        bytes += line.len();
                    }
                    batch.push(line);
                }
                Ok(None) => break Ok(true),
                Err(error) => break Err(error),
            }
            // Whoever writes a line and waits for its receipt must not wait for more lines.
            let more = input.buffer().contains(&b'\n');
            if bytes > BATCH_BYTES || !more {
                break Ok(false);
            }
        };
        let ended = !matches!(outcome, Ok(false));
        let sent = batch.is_empty() || lines.blocking_send(Ok(batch)).is_ok();
        if let Err(error) = outcome {
            // When nobody listens there is nobody to tell.
            let _ = lines.blocking_send(Err(error));
        }
        if ended || !sent {
            return;
        }
    }
}

/// The next line without its end; `None` behind the last. Never keeps more than the longest line in memory.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE_BYTES {
        drop(line);
        skip_line(input)?;
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(Line::Bytes(line)))
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let rest = input.fill_buf()?;
        if rest.is_empty() {
            return Ok(());
        }
        let end = rest.iter().position(|byte| *byte == b'\n');
        let bytes = end.map_or(rest.len(), |at| at + 1);
        input.consume(bytes);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// A line as it is written: the shape of a message, of which only what is ours to take is read.
#[derive(Deserialize)]
struct Given<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(default)]
    parts: Option<Vec<MessagePart>>,
    #[serde(default)]
    content: Option<ToolContent>,
    #[serde(default)]
    metadata: Option<MessageMetadata>,
    #[serde(default)]
    idempotency_key: Option<String>,
}

fn parse(line: Line) -> Result<Append, Failure> {
    let bad = |message: &str, hint: &str| Failure::usage(message, hint);
    let Line::Bytes(bytes) = line else {
        return Err(bad("the line is longer than 64 MiB", "split the message, or keep its file elsewhere"));
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("the line is no text in UTF-8", "encode it as UTF-8"))?;
    if json_depth(text) > MAX_LINE_DEPTH {
        return Err(bad("the line nests too deep", "flatten it, or keep the deep part in a string"));
    }
    let given: Given<'_> = serde_json::from_str(text).map_err(|error| {
        let hint = "write {\"role\":\"user\",\"content\":\"…\"} or {\"role\",\"parts\":[…]}";
        // Where it is wrong, without what stands there.
        bad(&format!("the line is no message ({})", place_of(&error)), hint)
    })?;
    let role: MessageRole =
        arguments::role(&given.role).map_err(|names| bad("the message has no known role", &format!("give {names}")))?;
    let parts = match (given.parts, given.content) {
        (Some(_), Some(_)) => return Err(bad("the line has parts and content", "give one of them")),
        (Some(parts), None) | (None, Some(ToolContent::Parts(parts))) => parts,
        (None, Some(ToolContent::Text(text))) => vec![MessagePart::text(text)],
        (None, None) => return Err(bad("the line has neither parts nor content", "give one of them")),
    };
    let append = Append::from(Message { role, parts, metadata: given.metadata.unwrap_or_default() });
    Ok(match given.idempotency_key {
        Some(key) => append.idempotency_key(key),
        None => append,
    })
}

fn place_of(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax => "it is not JSON",
        _ => "a field is missing or of another kind",
    };
    if error.column() == 0 { what.to_owned() } else { format!("{what}, at column {}", error.column()) }
}

/// A line on its way.
enum Slot {
    Failed { line: u64, failure: Failure },
    InFlight { line: u64, append: InFlight },
}

#[derive(Serialize)]
struct BadLine<'a> {
    error: ErrorShape<'a>,
    line: u64,
}

/// Lines that are being appended.
struct Lines<'a> {
    program: &'a Program,
    session: Session,
    slots: VecDeque<Slot>,
    read: u64,
    failed: u64,
}

impl<'a> Lines<'a> {
    async fn append(program: &'a Program, session: Session) -> Result<(), Failure> {
        let (sender, mut batches) = mpsc::channel(2);
        std::thread::spawn(move || read_lines(BufReader::with_capacity(64 << 10, io::stdin().lock()), &sender));
        let mut lines = Self { program, session, slots: VecDeque::new(), read: 0, failed: 0 };
        let mut waiting: VecDeque<Line> = VecDeque::new();
        let (mut open, mut stopped) = (true, false);
        // One for all rounds, so that no Ctrl-C falls between two of them.
        let interrupt = interrupted();
        tokio::pin!(interrupt);
        loop {
            while lines.slots.len() < IN_FLIGHT
                && let Some(line) = waiting.pop_front()
            {
                lines.start(line).await;
            }
            lines.answer_ready()?;
            if !open && waiting.is_empty() && lines.slots.is_empty() {
                break;
            }
            tokio::select! {
                answered = lines.next_answer(), if !lines.slots.is_empty() => answered?,
                batch = batches.recv(), if open && waiting.is_empty() => match batch {
                    Some(batch) => waiting.extend(batch?),
                    None => open = false,
                },
                () = &mut interrupt, if !stopped => {
                    // What is in flight is waited for and answered; what was not begun is left.
                    (open, stopped) = (false, true);
                    waiting.clear();
                }
            }
        }
        match (stopped, lines.failed) {
            (true, _) => Err(Failure::stopped()),
            (false, 0) => Ok(()),
            (false, _) => Err(Failure::told(Failure::FAILED)),
        }
    }

    async fn start(&mut self, line: Line) {
        self.read += 1;
        let line_number = self.read;
        if matches!(&line, Line::Bytes(bytes) if bytes.iter().all(u8::is_ascii_whitespace)) {
            return;
        }
        let slot = match parse(line) {
            Ok(append) => self.session.enqueue(append).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        self.slots.push_back(match slot {
            Ok(append) => Slot::InFlight { line: line_number, append },
            Err(failure) => Slot::Failed { line: line_number, failure },
        });
    }

    /// Waits for the oldest line. Dropped before it is through, it loses nothing.
    async fn next_answer(&mut self) -> Result<(), Failure> {
        if let Some(Slot::InFlight { append, .. }) = self.slots.front_mut() {
            let outcome = append.await;
            self.answer(Some(outcome))?;
        }
        self.answer_ready()?;
        self.program.out.flush()
    }

    /// Answers the lines that are through, and hands the answers on.
    fn answer_ready(&mut self) -> Result<(), Failure> {
        let mut answered = false;
        loop {
            match self.slots.front_mut() {
                None => break,
                Some(Slot::Failed { .. }) => self.answer(None)?,
                Some(Slot::InFlight { append, .. }) => {
                    // The waker is the waiting future's affair, which polls again.
                    match Pin::new(append).poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(outcome) => self.answer(Some(outcome))?,
                        Poll::Pending => break,
                    }
                }
            }
            answered = true;
        }
        if answered { self.program.out.flush() } else { Ok(()) }
    }

    fn answer(&mut self, outcome: Option<Result<Receipt, SessionError>>) -> Result<(), Failure> {
        let (line, failure) = match (self.slots.pop_front(), outcome) {
            (Some(Slot::InFlight { .. }), Some(Ok(receipt))) => return self.program.out.object(&receipt),
            (Some(Slot::InFlight { line, .. }), Some(Err(error))) => (line, Failure::from(error)),
            (Some(Slot::Failed { line, failure }), _) => (line, failure),
            _ => return Ok(()),
        };
        self.failed += 1;
        self.program.out.object(&BadLine { error: failure.shape(), line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_whatever_their_end() {
        let mut input = io::Cursor::new(b"one\n\ntwo\r\nthree".to_vec());
        let mut lines = Vec::new();
        while let Some(Line::Bytes(line)) = read_line(&mut input).unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(lines, ["one", "", "two\r", "three"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let long = io::repeat(b'x').take(MAX_LINE_BYTES as u64 + 10);
        let mut input = io::BufReader::new(long.chain(&b"\nnext\n"[..]));
        assert!(matches!(read_line(&mut input).unwrap(), Some(Line::TooLong)));
        assert!(matches!(read_line(&mut input).unwrap(), Some(Line::Bytes(line)) if line == b"next"));
        assert!(read_line(&mut input).unwrap().is_none());
    }

    #[test]
    fn a_bad_line_is_told_without_its_content() {
        let deep = format!("{{\"role\":\"user\",\"parts\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for line in [
            "",
            "secret",
            "{}",
            "[]",
            "null",
            "{\"role\":\"secret\",\"content\":\"x\"}",
            "{\"role\":\"user\"}",
            "{\"role\":\"user\",\"content\":7}",
            "{\"role\":\"user\",\"content\":\"\\ud800 secret\"}",
            "{\"role\":\"user\",\"parts\":[{\"type\":\"text\"}]}",
            "{\"role\":\"user\",\"parts\":[],\"content\":\"secret\"}",
            "{\"role\":\"user\",\"content\":\"secret",
            deep.as_str(),
        ] {
            let failure = parse(Line::Bytes(line.as_bytes().to_vec())).unwrap_err();
            assert!(!format!("{} {:?}", failure.message(), failure.hint()).contains("secret"), "{line}");
        }
        assert!(parse(Line::Bytes(b"{\"role\":\"user\",\"content\":\"\xff\"}".to_vec())).is_err());
        assert!(parse(Line::TooLong).is_err());
    }
}
