//! Writing one message while its text arrives: `append --stream`.
//!
//! The input is read on a thread of its own. What came is kept whatever happens: Ctrl-C ends the message as cancelled, and an input that
//! cannot be read as failed.
//!
//! Must not know: when what arrives is written; the library does.

use std::io::{self, Read};

use serde::Serialize;
use sessions_api::{
    Message, MessageMetadata, MessageRole, MessageState, MessageStream, Receipt, RuleViolation, Session, SessionError,
};
use tokio::sync::mpsc;

use crate::{append::told, failure::Failure, program::Program, progress::interrupted};

/// So much is read at once.
const READ_BYTES: usize = 8 << 10;

#[derive(Serialize)]
struct Streamed<'a> {
    #[serde(flatten)]
    receipt: &'a Receipt,
    state: MessageState,
}

/// Text as it arrives in pieces that may end within a letter, and whose last end of line is not a part of it.
#[derive(Default)]
struct Text {
    /// The beginning of a letter.
    letter: Vec<u8>,
    /// An end of line that may be the last.
    end: String,
}

impl Text {
    /// More of the text; where it is none, what stands before that.
    fn take(&mut self, bytes: &[u8]) -> Result<String, String> {
        self.letter.extend_from_slice(bytes);
        let (whole, is_text) = match std::str::from_utf8(&self.letter) {
            Ok(_) => (self.letter.len(), true),
            Err(error) => (error.valid_up_to(), error.error_len().is_none()),
        };
        let rest = self.letter.split_off(whole);
        let read = String::from_utf8(std::mem::replace(&mut self.letter, rest)).unwrap_or_default();
        let mut text = std::mem::take(&mut self.end) + &read;
        if !is_text {
            return Err(text);
        }
        let kept = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).len();
        // Of `\r` and `\n` the first may come alone.
        let kept = if kept == text.len() && text.ends_with('\r') { kept - 1 } else { kept };
        self.end = text.split_off(kept);
        Ok(text)
    }

    /// What is left when there is no more; an error when that is a part of a letter.
    fn finish(self) -> Result<String, String> {
        let rest = if self.end == "\r" { self.end } else { String::new() };
        if self.letter.is_empty() { Ok(rest) } else { Err(rest) }
    }
}

/// How the input ended.
enum End {
    Over,
    Stopped,
    Failed(Failure),
}

/// `append --stream`
pub(crate) async fn append(program: &Program, session: &Session, role: MessageRole) -> Result<(), Failure> {
    let (sender, mut pieces) = mpsc::channel(16);
    std::thread::spawn(move || read(&sender));
    let mut text = Text::default();
    let mut stream: Option<MessageStream> = None;
    let interrupt = interrupted();
    tokio::pin!(interrupt);
    let end = loop {
        let piece = tokio::select! {
            // In this order, so that it is listened for before anything is written.
            biased;
            () = &mut interrupt => break End::Stopped,
            piece = pieces.recv() => piece,
        };
        let (delta, is_last) = match piece {
            Some(Ok(bytes)) => (text.take(&bytes), false),
            Some(Err(error)) => break End::Failed(error.into()),
            None => (std::mem::take(&mut text).finish(), true),
        };
        let (delta, is_text) = delta.map_or_else(|delta| (delta, false), |delta| (delta, true));
        if let Err(failure) = push(&mut stream, session, role, &delta).await {
            break End::Failed(failure);
        }
        if !is_text {
            let hint = "encode it as UTF-8; what came before is kept";
            break End::Failed(Failure::usage("standard input is no text in UTF-8", hint));
        }
        if is_last {
            break End::Over;
        }
    };
    finish(program, stream, end).await
}

/// Writes more of the message, which begins with its first letter.
async fn push(
    stream: &mut Option<MessageStream>,
    session: &Session,
    role: MessageRole,
    delta: &str,
) -> Result<(), Failure> {
    if delta.is_empty() {
        return Ok(());
    }
    let open = match stream {
        Some(open) => open,
        None => {
            let message = Message { role, parts: Vec::new(), metadata: MessageMetadata::default() };
            let begun = session.begin(message).await.map_err(|error| match error {
                SessionError::Rule(RuleViolation::TurnEnded) => Failure::from(error)
                    .with_hint("it was begun before under this key: look at it, and take a new key for a new message"),
                error => error.into(),
            });
            stream.insert(begun?)
        }
    };
    Ok(open.push_text(delta).await?)
}

async fn finish(program: &Program, stream: Option<MessageStream>, end: End) -> Result<(), Failure> {
    let Some(stream) = stream else {
        return match end {
            End::Over => Err(Failure::usage("the text is empty", "give one on standard input")),
            End::Stopped => Err(Failure::stopped()),
            End::Failed(failure) => Err(failure),
        };
    };
    let (receipt, state, outcome) = match end {
        End::Over => (stream.finish(None).await?, MessageState::Complete, Ok(())),
        End::Stopped => (stream.cancel(None).await?, MessageState::Cancelled, Err(Failure::stopped())),
        End::Failed(failure) => {
            // When the end cannot be written either, why the input ended is the better answer.
            let Ok(receipt) = stream.fail(failure.message()).await else { return Err(failure) };
            (receipt, MessageState::Failed, Err(failure))
        }
    };
    if program.out.is_json() {
        let Receipt { message, seq, .. } = receipt;
        let heard = program.out.object(&Streamed { receipt: &receipt, state }).and_then(|()| program.out.flush());
        heard.map_err(|failure| failure.though(&format!("message {message} is stored, at {seq}")))?;
    } else {
        told(program, &receipt, if state.is_complete() { "appended" } else { "appended, as far as it came," })?;
    }
    outcome
}

/// Reads until the input ends or nobody listens.
fn read(pieces: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let piece = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => Ok(buffer.get(..read).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let ended = piece.is_err();
        if pieces.blocking_send(piece).is_err() || ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of pieces of so many bytes.
    fn read_in(size: usize, bytes: &[u8]) -> Result<String, String> {
        let mut text = Text::default();
        let mut read = String::new();
        for piece in bytes.chunks(size) {
            read += &text.take(piece)?;
        }
        Ok(read + &text.finish()?)
    }

    #[test]
    fn the_text_is_the_same_however_it_is_cut() {
        for whole in ["", "a", "ünï 日本\n👩‍💻", "a\r\nb\r\n\r\n", "\n\n", "a\r", "\r\n", "a\rb\n"] {
            let expected = whole.strip_suffix('\n').map_or(whole, |line| line.strip_suffix('\r').unwrap_or(line));
            for size in 1..=9 {
                assert_eq!(read_in(size, whole.as_bytes()).as_deref(), Ok(expected), "{whole:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for bytes in [&b"a\xff"[..], b"a\xc3", b"\xe6\x97", b"\xed\xa0\x80"] {
            assert!((1..=4).all(|size| read_in(size, bytes).is_err()), "{bytes:?}");
        }
    }
}
