//! The one place that prints. Results go to standard output, everything else to standard error, and no content reaches a terminal as
//! anything but text.
//!
//! Must not know: what is printed.

use std::{
    io::{self, BufWriter, IsTerminal, Stdout, Write},
    os::fd::AsFd,
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::{
    failure::{ErrorShape, Failure},
    table::folded,
    visible,
};

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
    Name,
}

impl Style {
    /// The parameters of the terminal's SGR sequence (ECMA-48, 8.3.117).
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Name => "36",
        }
    }
}

/// Prints.
pub(crate) struct Output {
    json: bool,
    colour: bool,
    stdout: Mutex<BufWriter<Stdout>>,
}

#[derive(Serialize)]
struct Failed<'a> {
    error: ErrorShape<'a>,
}

#[derive(Serialize)]
struct Noted<'a, D: Serialize> {
    notice: &'a str,
    #[serde(flatten)]
    detail: &'a D,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { json, colour, stdout: Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout())) }
    }

    /// True when results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// True when long work may draw how far it is.
    pub(crate) fn draws_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// The width of the terminal that the results go to.
    pub(crate) fn width(&self) -> Option<usize> {
        terminal_size::terminal_size_of(io::stdout()).map(|(terminal_size::Width(width), _)| usize::from(width))
    }

    fn lock(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A result as one line of JSON.
    pub(crate) fn object(&self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(value)?;
        written(writeln!(self.lock(), "{}", visible::json_on_one_line(&json)))
    }

    /// A line for people.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        written(writeln!(self.lock(), "{}", visible::on_one_line(text)))
    }

    /// A line of pieces, each with its style.
    pub(crate) fn styled(&self, pieces: &[(Style, &str)]) -> Result<(), Failure> {
        let mut line = String::new();
        for (style, text) in pieces {
            self.paint(&mut line, *style, &visible::on_one_line(text));
        }
        written(writeln!(self.lock(), "{}", line.trim_end()))
    }

    /// Text of several lines, indented.
    pub(crate) fn paragraph(&self, text: &str, indent: &str) -> Result<(), Failure> {
        let mut stdout = self.lock();
        for line in visible::with_lines(text).lines() {
            written(writeln!(stdout, "{indent}{line}"))?;
        }
        Ok(())
    }

    /// Text of our own, as it is: the help.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        written(self.lock().write_all(visible::with_lines(text).as_bytes()))
    }

    /// A piece of a text that goes on: nothing stands behind it, and whoever reads gets it at once.
    pub(crate) fn piece(&self, style: Style, text: &str) -> Result<(), Failure> {
        let mut painted = String::new();
        self.paint(&mut painted, style, &visible::with_lines(text));
        let mut stdout = self.lock();
        written(stdout.write_all(painted.as_bytes()).and_then(|()| stdout.flush()))
    }

    /// True when the cursor of the terminal that the results go to can be moved.
    pub(crate) fn moves_cursor(&self) -> bool {
        !self.json && io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
    }

    /// Takes back so many columns, above 0, of the line that the cursor is on.
    pub(crate) fn back(&self, columns: usize) -> Result<(), Failure> {
        let mut stdout = self.lock();
        written(write!(stdout, "\u{1b}[{columns}D\u{1b}[K").and_then(|()| stdout.flush()))
    }

    /// Leaves a line that was being edited when the program was ended: below it, and with pastes no longer marked as such.
    pub(crate) fn end_edit(&self) {
        let mut stdout = self.lock();
        // Whoever went away is told nothing.
        let _ = stdout.write_all(b"\x1b[?2004l\n").and_then(|()| stdout.flush());
    }

    /// Draws a line anew that goes on being edited, with the cursor so many columns before its end.
    pub(crate) fn edit_again(&self, prompt: &str, text: &str, behind: usize) {
        let back = if behind > 0 { format!("\x1b[{behind}D") } else { String::new() };
        let line = format!("\x1b[?2004h\r\x1b[K{prompt}{}{back}", visible::on_one_line(text));
        let mut stdout = self.lock();
        // As above.
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    }

    /// A line beside the results and behind those so far, for whoever sits at a terminal.
    pub(crate) fn aside(&self, text: &str) {
        // That it failed shows with the next result.
        let _ = self.lock().flush();
        let width = terminal_size::terminal_size_of(io::stderr()).map(|(terminal_size::Width(width), _)| width);
        let style = if width.is_some() { Style::Faint } else { Style::Plain };
        for text in folded(&visible::on_one_line(text), width.map_or(usize::MAX, usize::from)) {
            let mut line = String::new();
            self.paint(&mut line, style, &text);
            // As of notices.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Bytes of a file, as they are; on a terminal, JSON that it does not obey.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = self.lock();
        if !io::stdout().is_terminal() {
            return written(stdout.write_all(bytes));
        }
        for line in String::from_utf8_lossy(bytes).split_inclusive('\n') {
            let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
            written(write!(stdout, "{}{end}", visible::json_on_one_line(text)))?;
        }
        Ok(())
    }

    /// Adds text that is visible already.
    pub(crate) fn paint(&self, line: &mut String, style: Style, text: &str) {
        if self.colour && style != Style::Plain && !text.is_empty() {
            line.push_str(&format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()));
        } else {
            line.push_str(text);
        }
    }

    /// A line that was painted.
    pub(crate) fn painted(&self, line: &str) -> Result<(), Failure> {
        written(writeln!(self.lock(), "{}", line.trim_end()))
    }

    /// Hands everything on to whoever reads.
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        written(self.lock().flush())
    }

    /// Something that is worth knowing and no result.
    pub(crate) fn notice(&self, text: &str) {
        self.notice_with(text, &());
    }

    /// As [`Self::notice`], with what programs want to know of it: an object, whose fields stand beside the notice.
    pub(crate) fn notice_with(&self, text: &str, detail: &impl Serialize) {
        let line = if self.json {
            let json = serde_json::to_string(&Noted { notice: text, detail }).unwrap_or_default();
            visible::json_on_one_line(&json).into_owned()
        } else {
            folded_for(io::stderr(), &visible::on_one_line(text))
        };
        // There is nobody left to tell that telling failed.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// An error that does not end the program.
    pub(crate) fn failure(&self, failure: &Failure) {
        let text = if self.json {
            let json = serde_json::to_string(&Failed { error: failure.shape() }).unwrap_or_default();
            visible::json_on_one_line(&json).into_owned()
        } else {
            let hint = failure.hint().map(|hint| format!("\nhint: {}", visible::with_lines(hint))).unwrap_or_default();
            folded_for(io::stderr(), &format!("error: {}{hint}", visible::with_lines(failure.message())))
        };
        // As above.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Ends the program: the last of the output, the error if there is one, the exit code.
    pub(crate) fn finish(&self, outcome: Result<(), Failure>) -> ExitCode {
        let flushed = self.flush();
        match outcome.and(flushed) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if !failure.is_silent() {
                    self.failure(&failure);
                }
                ExitCode::from(failure.code())
            }
        }
    }
}

/// The text with its lines ended between words, where they are longer than the terminal is wide.
fn folded_for(terminal: impl AsFd, text: &str) -> String {
    let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size_of(terminal) else {
        return text.to_owned();
    };
    let lines = text.split('\n').map(|line| {
        if line.width() > usize::from(width) { folded(line, width.into()).join("\n") } else { line.to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Waits until whoever reads the results went away, which is not noticed otherwise while there is nothing to print. For ever where the
/// system does not tell, or where the results go to a file.
pub(crate) async fn reader_gone() {
    #[cfg(unix)]
    {
        use tokio::{io::Interest, net::unix::pipe::Sender};

        let stdout = io::stdout().as_fd().try_clone_to_owned();
        // Unchecked, since it is watched only: whoever writes to it must still be made to wait.
        let watched = stdout.and_then(Sender::from_owned_fd_unchecked);
        if let Ok(watched) = watched
            && watched.ready(Interest::ERROR).await.is_ok()
        {
            return;
        }
    }
    std::future::pending().await
}

/// What became of something that was printed.
fn written(printed: io::Result<()>) -> Result<(), Failure> {
    printed.map_err(|error| Failure::output(&error))
}
