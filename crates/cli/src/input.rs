//! A text that was typed, or that comes on standard input.
//!
//! Must not know: what it is for.

use std::io::{self, Read};

use crate::{failure::Failure, lines::MAX_LINE_BYTES, program::Program, progress::unless_interrupted};

/// The text of an argument, or without one, or with `-`, that of standard input without the end of its last line.
pub(crate) async fn text(program: &Program, given: Option<String>) -> Result<String, Failure> {
    match given.filter(|text| text != "-" || program.literal) {
        Some(text) => Ok(text),
        None => {
            // Begun only when it is listened for Ctrl-C.
            let read = async { tokio::task::spawn_blocking(read_text).await.map_err(io::Error::other)? };
            unless_interrupted(read).await
        }
    }
}

/// The same, of which something must be there.
pub(crate) async fn some_text(program: &Program, given: Option<String>) -> Result<String, Failure> {
    let text = text(program, given).await?;
    if text.is_empty() {
        return Err(Failure::usage("the text is empty", "give one, as an argument or on standard input"));
    }
    Ok(text)
}

fn read_text() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_LINE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_LINE_BYTES {
        return Err(Failure::limit(
            "the text has more than 67108864 bytes (64 MiB), which is the most that a message may have",
            "split it into several messages, or keep its file elsewhere",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::usage("standard input is no text in UTF-8", "encode it, or append it as a file part with --jsonl")
    })?;
    Ok(text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()).unwrap_or(text))
}
