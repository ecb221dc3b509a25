//! Appending: one message from the command line, or one for each line of standard input.
//!
//! The lines are read on a thread of their own, appended in order with many in flight, and answered in order, each when it is durable.
//! A line that is wrong is passed over. A store that fails ends it: what is appended then ends with the line before, without holes.
//!
//! Must not know: rules of conversations.

use std::{
    collections::VecDeque,
    io::{self, BufReader},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use serde::Serialize;
use sessions_api::{Append, InFlight, Message, Receipt, Session, SessionError};
use tokio::sync::mpsc;

use crate::{
    arguments::{self, Once},
    failure::{ErrorShape, Failure},
    input,
    lines::{Line, parse, read_lines},
    program::Program,
    progress::interrupted,
    streaming,
};

/// So many appends are in flight at most.
const IN_FLIGHT: usize = 256;

/// And so many bytes of their lines.
const BYTES_IN_FLIGHT: usize = 64 << 20;

/// `append`
pub(crate) async fn append(program: &Program, wish: arguments::Append) -> Result<(), Failure> {
    if wish.jsonl {
        return program.with_session(&wish.session, async |_, session| Lines::append(program, session).await).await;
    }
    let Some(role) = wish.role else { return Err(Failure::usage("nobody speaks", "say who, as in --role user")) };
    let once = Once { key: wish.once };
    if wish.stream {
        return program
            .changing(&wish.session, once, async |session| streaming::append(program, &session, role).await)
            .await;
    }
    let text = input::some_text(program, wish.text).await?;
    // A key of the append's own, since it is that of the message whatever command appends it.
    let append = once.key.into_iter().fold(Append::from(Message::text_of(role, text)), Append::idempotency_key);
    program
        .with_session(&wish.session, async |_, session| told(program, &session.append(append).await?, "appended"))
        .await
}

/// Tells of a message that is stored, or that it is and could not be told.
pub(crate) fn told(program: &Program, receipt: &Receipt, what: &str) -> Result<(), Failure> {
    let Receipt { message, seq, version, durability, .. } = receipt;
    let told = if program.out.is_json() {
        program.out.object(receipt)
    } else {
        program.out.line(&format!("{what} {message} at {seq} (version {version}, {durability})"))
    };
    told.and_then(|()| program.out.flush())
        .map_err(|failure| failure.though(&format!("message {message} is stored, at {seq}")))
}

/// A line on its way, with its number.
struct Slot {
    line: u64,
    bytes: usize,
    append: Result<InFlight, Failure>,
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
    bytes: usize,
    read: u64,
    failed: u64,
    /// The last line whose message is stored.
    stored: Option<u64>,
    /// The line that the store did not take, and why: no later one may be stored.
    ended: Option<(u64, Failure)>,
    /// Nobody hears the answers any more.
    unheard: Option<Failure>,
    /// The input could not be read to its end.
    unread: Option<Failure>,
}

impl<'a> Lines<'a> {
    async fn append(program: &'a Program, session: Session) -> Result<(), Failure> {
        let (sender, mut batches) = mpsc::channel(2);
        std::thread::spawn(move || read_lines(BufReader::with_capacity(64 << 10, io::stdin().lock()), &sender));
        let mut lines = Self {
            program,
            session,
            slots: VecDeque::new(),
            bytes: 0,
            read: 0,
            failed: 0,
            stored: None,
            ended: None,
            unheard: None,
            unread: None,
        };
        let mut waiting: VecDeque<Line> = VecDeque::new();
        let (mut open, mut stopped) = (true, false);
        // One for all rounds, so that no Ctrl-C falls between two of them.
        let interrupt = interrupted();
        tokio::pin!(interrupt);
        loop {
            while lines.has_room()
                && let Some(line) = waiting.pop_front()
            {
                lines.start(line).await;
            }
            lines.answer_ready();
            if lines.is_over() {
                // What is in flight is waited for and answered; what was not begun is left.
                open = false;
                waiting.clear();
            }
            if !open && waiting.is_empty() && lines.slots.is_empty() {
                break;
            }
            tokio::select! {
                // In this order, so that it is listened for before anything is answered.
                biased;
                () = &mut interrupt, if !stopped => {
                    (open, stopped) = (false, true);
                    waiting.clear();
                }
                () = lines.next_answer(), if !lines.slots.is_empty() => {}
                batch = batches.recv(), if open && waiting.is_empty() => match batch {
                    Some(Ok(batch)) => waiting.extend(batch),
                    Some(Err(error)) => lines.unread = Some(error.into()),
                    None => open = false,
                },
            }
        }
        lines.outcome(stopped)
    }

    fn is_over(&self) -> bool {
        self.ended.is_some() || self.unheard.is_some()
    }

    fn has_room(&self) -> bool {
        self.slots.len() < IN_FLIGHT && self.bytes < BYTES_IN_FLIGHT && !self.is_over()
    }

    fn outcome(self, stopped: bool) -> Result<(), Failure> {
        let stored = match self.stored {
            Some(line) => format!("the messages up to line {line} are stored"),
            None => "nothing is stored".to_owned(),
        };
        match (self.unheard, self.ended.map(|(line, failure)| failure.going_on_with(line)).or(self.unread)) {
            (Some(failure), _) => Err(failure.though(&stored)),
            (None, Some(failure)) => Err(failure),
            (None, None) if stopped => Err(Failure::stopped()),
            (None, None) if self.failed > 0 => Err(Failure::told(Failure::FAILED)),
            (None, None) => Ok(()),
        }
    }

    async fn start(&mut self, line: Line) {
        self.read += 1;
        if matches!(&line, Line::Bytes(bytes) if bytes.iter().all(u8::is_ascii_whitespace)) {
            return;
        }
        let bytes = if let Line::Bytes(bytes) = &line { bytes.len() } else { 0 };
        let append = match parse(line) {
            Ok(append) => self.session.enqueue(self.behind_others(append)).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        self.bytes += bytes;
        self.slots.push_back(Slot { line: self.read, bytes, append });
    }

    /// Were it not behind the one before it, a line could take the place of one that failed a moment ago, and there would be a hole.
    fn behind_others(&self, append: Append) -> Append {
        self.slots.iter().filter_map(|slot| slot.append.as_ref().ok()).fold(append, Append::behind)
    }

    /// Waits for the oldest line. Dropped before it is through, it loses nothing.
    async fn next_answer(&mut self) {
        if let Some(Slot { append: Ok(append), .. }) = self.slots.front_mut() {
            let outcome = append.await;
            self.answer(Some(outcome));
        }
        self.answer_ready();
    }

    /// Answers the lines that are through, and hands the answers on.
    fn answer_ready(&mut self) {
        loop {
            match self.slots.front_mut() {
                None => break,
                Some(Slot { append: Err(_), .. }) => self.answer(None),
                Some(Slot { append: Ok(append), .. }) => {
                    // The waker is the waiting future's affair, which polls again.
                    match Pin::new(append).poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(outcome) => self.answer(Some(outcome)),
                        Poll::Pending => break,
                    }
                }
            }
        }
        let flushed = self.program.out.flush();
        self.heard(flushed);
    }

    /// Answers the oldest line.
    fn answer(&mut self, outcome: Option<Result<Receipt, SessionError>>) {
        let Some(Slot { line, bytes, append }) = self.slots.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(bytes);
        let failure = match (append, outcome) {
            (_, Some(Ok(receipt))) => {
                self.stored = Some(line);
                let told = self.program.out.object(&receipt);
                return self.heard(told);
            }
            (_, Some(Err(error))) => Failure::from(error),
            (Err(failure), None) => failure,
            (Ok(_), None) => return,
        };
        self.failed += 1;
        let failure = match &self.ended {
            Some((before, first)) if failure.ends_the_input() => first.behind_line(*before),
            _ => failure,
        };
        let told = self.program.out.object(&BadLine { error: failure.shape(), line });
        self.heard(told);
        if self.ended.is_none() && failure.ends_the_input() {
            self.ended = Some((line, failure));
        }
    }

    /// Remembers when an answer does not arrive.
    fn heard(&mut self, told: Result<(), Failure>) {
        if let Err(failure) = told {
            self.unheard.get_or_insert(failure);
        }
    }
}
