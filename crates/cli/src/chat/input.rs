//! Where what is said comes from: a line that is edited on a terminal, or lines of standard input.
//!
//! The editor and the reader block, so each has a thread of its own, and is asked for one line at a time: nothing is edited while a turn runs.
//! What was typed is remembered as long as the program runs and written nowhere.
//!
//! Must not know: what a line means.

use std::{
    cell::Cell,
    io::{self, BufReader},
    sync::mpsc as blocking,
};

use rustyline::{
    CompletionType, Config, Context, Editor, Helper, completion, error::ReadlineError, highlight, hint,
    history::MemHistory, validate,
};
use tokio::sync::{mpsc, oneshot};

use super::{command, echo::Line as Edited};
use crate::{
    failure::Failure,
    lines::{Line, read_lines},
    progress::interrupted,
};

/// What stands before what is typed.
pub(super) const PROMPT: &str = "> ";

/// What came.
#[derive(Debug)]
pub(super) enum Given {
    Line(String),
    /// A line that nobody can read. Those behind it can be.
    Unreadable(Failure),
    /// Ctrl-C while it was edited.
    Dropped {
        was_empty: bool,
    },
    End,
}

/// Where lines come from.
pub(super) enum Input {
    Terminal(blocking::Sender<oneshot::Sender<Result<Given, Failure>>>),
    Lines {
        batches: mpsc::Receiver<io::Result<Vec<Line>>>,
        waiting: std::vec::IntoIter<Line>,
        /// So many were given.
        given: u64,
    },
}

impl Input {
    /// Lines that are edited.
    pub(super) fn of_terminal(line: &Edited) -> Result<Self, Failure> {
        let line = line.clone();
        let (asks, asked) = blocking::channel();
        std::thread::Builder::new().name("editor".to_owned()).spawn(move || edit(&asked, line))?;
        Ok(Self::Terminal(asks))
    }

    /// Lines as they are.
    pub(super) fn of_lines() -> Result<Self, Failure> {
        let (sender, batches) = mpsc::channel(1);
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || read_lines(BufReader::new(io::stdin()), &sender))?;
        Ok(Self::Lines { batches, waiting: Vec::new().into_iter(), given: 0 })
    }

    /// The next line. Ctrl-C ends the program where nothing is edited.
    pub(super) async fn next(&mut self) -> Result<Given, Failure> {
        match self {
            Self::Terminal(asks) => {
                let (answer, answered) = oneshot::channel();
                // Without its thread there is nothing more to come.
                if asks.send(answer).is_err() {
                    return Ok(Given::End);
                }
                answered.await.unwrap_or(Ok(Given::End))
            }
            Self::Lines { batches, waiting, given } => loop {
                if let Some(line) = waiting.next() {
                    *given += 1;
                    return Ok(text_of(line, *given).map_or_else(Given::Unreadable, Given::Line));
                }
                let batch = tokio::select! {
                    biased;
                    () = interrupted() => return Err(Failure::stopped()),
                    batch = batches.recv() => batch,
                };
                match batch {
                    None => return Ok(Given::End),
                    Some(batch) => *waiting = batch?.into_iter(),
                }
            },
        }
    }
}

fn text_of(line: Line, number: u64) -> Result<String, Failure> {
    let Line::Bytes(bytes) = line else {
        return Err(Failure::limit(&format!("line {number} is longer than 64 MiB"), "split it into several messages"));
    };
    let is_none = || Failure::usage(&format!("line {number} is no text in UTF-8"), "encode it as UTF-8");
    String::from_utf8(bytes).map_err(|_| is_none())
}

/// Edits a line for each who asks.
fn edit(asked: &blocking::Receiver<oneshot::Sender<Result<Given, Failure>>>, line: Edited) {
    let config = Config::builder().auto_add_history(true).completion_type(CompletionType::List).build();
    let history = MemHistory::with_config(&config);
    let mut editor = match Editor::<Editing, MemHistory>::with_history(config, history) {
        Ok(editor) => editor,
        Err(error) => {
            if let Ok(answer) = asked.recv() {
                let _ = answer.send(Err(failed(error)));
            }
            return;
        }
    };
    editor.set_helper(Some(Editing { is_empty: Cell::new(true), line: line.clone() }));
    while let Ok(answer) = asked.recv() {
        let given = match editor.readline(PROMPT) {
            Ok(line) => Ok(Given::Line(joined(&line))),
            Err(ReadlineError::Interrupted) => {
                Ok(Given::Dropped { was_empty: editor.helper().is_none_or(|editing| editing.is_empty.get()) })
            }
            Err(ReadlineError::Eof) => Ok(Given::End),
            Err(error) => Err(failed(error)),
        };
        line.end();
        // Nobody waits any more only when the program ends.
        if answer.send(given).is_err() {
            return;
        }
    }
}

fn failed(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Io(error) => error.into(),
        _ => Failure::failed("the terminal cannot be read", "give the lines on standard input"),
    }
}

/// A `\` at the end of a line, which goes on in the next one, is not part of what was typed.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n').filter(|line| goes_on(line)).and_then(|line| line.strip_suffix('\\')) {
            Some(line) => {
                joined.push_str(line);
                joined.push('\n');
            }
            None => joined.push_str(line),
        }
    }
    joined
}

fn goes_on(text: &str) -> bool {
    let end = text.len() - text.trim_end_matches('\\').len();
    end % 2 == 1
}

/// What the editor asks while something is typed.
struct Editing {
    is_empty: Cell<bool>,
    line: Edited,
}

impl Helper for Editing {}

impl highlight::Highlighter for Editing {}

impl hint::Hinter for Editing {
    type Hint = String;

    /// Hints nothing, and notes what is typed: whether it is anything, Ctrl-C does not tell.
    fn hint(&self, line: &str, at: usize, _: &Context<'_>) -> Option<String> {
        self.line.note(line, at);
        self.is_empty.set(line.is_empty());
        None
    }
}

impl validate::Validator for Editing {
    fn validate(&self, typed: &mut validate::ValidationContext<'_>) -> rustyline::Result<validate::ValidationResult> {
        let is_open = goes_on(typed.input());
        Ok(if is_open { validate::ValidationResult::Incomplete } else { validate::ValidationResult::Valid(None) })
    }
}

impl completion::Completer for Editing {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, line.get(..at).map(command::completions).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_behind_a_backslash_that_is_none_of_a_pair() {
        for (text, is_open) in [("", false), ("a", false), ("a\\", true), ("a\\\\", false), ("a\\\\\\", true)] {
            assert_eq!(goes_on(text), is_open, "{text}");
        }
        for (typed, said) in
            [("a\\\nb", "a\nb"), ("a\\\\\nb", "a\\\\\nb"), ("a\\\\\\\nb\\", "a\\\\\nb\\"), ("a\nb\n", "a\nb\n")]
        {
            assert_eq!(joined(typed), said, "{typed:?}");
        }
    }

    #[test]
    fn a_line_that_nobody_can_read_is_told_with_its_number() {
        for (line, code) in [(Line::TooLong, Failure::FAILED), (Line::Bytes(b"\xff".to_vec()), Failure::USAGE)] {
            let failure = text_of(line, 7).unwrap_err();
            assert!(failure.message().starts_with("line 7 is ") && failure.code() == code, "{}", failure.message());
        }
    }
}
