//! What a turn looks like: for a person at a terminal, as plain text, or as a line of JSON for each event.
//!
//! No order to a terminal comes through, wherever a piece was cut: pieces are whole letters, and each letter is judged by itself
//! ([`crate::visible`]).
//!
//! Must not know: what runs a turn.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use sessions_api::{
    CompactionRefused, CompactionReport, MessageId, OverBudget, SessionError, SessionId, StopReason, TokenUsage,
    ToolCall, ToolContent, ToolResult, TurnEvent, TurnNote, TurnOutcome, TurnProblem,
};
use unicode_width::UnicodeWidthStr;

use super::wrap::{Step, Wrap};
use crate::{
    context::Window,
    failure::Failure,
    output::{Output, Style},
    table::{counted, cut},
    visible::{on_one_line, with_lines},
};

/// The width of what is told of a call or a result where the terminal does not say its own.
const WIDTH: usize = 80;
/// It is not cut to less than this.
const NARROWEST: usize = 20;

/// For so long nothing may come before that is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a turn does before it asks, and then.
const GETTING_READY: &str = "getting ready";
const COMPACTING: &str = "making the older part shorter";
const ASKING: &str = "waiting for the model";

/// Who looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A person who types on a terminal.
    Terminal,
    /// A pipe, which gets the answers' text when they are whole.
    Text,
    /// A pipe, which gets each event as JSON.
    Json,
}

/// One event as JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Told<'a> {
    Session {
        id: SessionId,
        created: bool,
        provider: &'a str,
        model: &'a str,
        script: bool,
    },
    Answering {
        message: MessageId,
    },
    Text {
        text: &'a str,
    },
    Reasoning {
        text: &'a str,
    },
    Answered,
    Calling {
        call: &'a ToolCall,
    },
    Called {
        result: &'a ToolResult,
    },
    Retrying {
        attempt: u32,
        wait_ms: u64,
        why: String,
        anew: bool,
    },
    Compacting,
    Compacted {
        #[serde(flatten)]
        report: &'a CompactionReport,
    },
    End {
        #[serde(flatten)]
        outcome: &'a TurnOutcome,
        #[serde(skip_serializing_if = "Option::is_none")]
        window: Option<&'a Window>,
    },
}

/// What stands on the line that the cursor is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Reasoning,
}

/// Shows turns.
pub(super) struct Screen<'a> {
    out: &'a Output,
    pub(super) kind: Kind,
    open: Open,
    /// Where the cursor of a terminal stands.
    wrap: Wrap,
    /// Columns behind it of what is taken back as soon as something comes.
    waiting: usize,
    /// What is waited for.
    doing: &'static str,
    /// An answer that is not whole yet, for a pipe.
    held: String,
    /// The tools of calls, by the call.
    calls: HashMap<String, String>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a Output, kind: Kind) -> Self {
        Self {
            out,
            kind,
            open: Open::Nothing,
            wrap: Wrap::default(),
            waiting: 0,
            doing: GETTING_READY,
            held: String::new(),
            calls: HashMap::new(),
        }
    }

    /// A turn begins.
    pub(super) fn begin(&mut self) {
        self.doing = GETTING_READY;
    }

    /// Nothing came for so long. On a terminal that is told behind what stands there.
    pub(super) fn wait(&mut self, silent: Duration) -> Result<(), Failure> {
        if self.kind != Kind::Terminal || silent < PATIENCE || !self.out.moves_cursor() {
            return Ok(());
        }
        self.unwait()?;
        let (seconds, column) = (silent.as_secs(), self.wrap.column());
        let long = format!("  {} · {seconds} s · Ctrl-C ends the turn", self.doing);
        let words = [long, format!(" … {seconds} s")];
        let width = self.out.width().unwrap_or(WIDTH);
        let fits = |words: &&String| column.saturating_add(words.width()) < width;
        if let Some(words) = words.iter().skip(usize::from(column > 0)).find(fits) {
            self.out.piece(Style::Faint, words)?;
            self.waiting = words.width();
        }
        Ok(())
    }

    fn unwait(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.waiting) {
            0 => Ok(()),
            columns => self.out.back(columns),
        }
    }

    /// A line of JSON, where that was asked for.
    pub(super) fn tell(&self, told: &Told<'_>) -> Result<(), Failure> {
        if self.kind != Kind::Json {
            return Ok(());
        }
        self.out.object(told)?;
        self.out.flush()
    }

    /// What happened in a turn.
    pub(super) fn show(&mut self, event: TurnEvent) -> Result<(), Failure> {
        self.unwait()?;
        match event {
            TurnEvent::Answering { message } => {
                self.doing = ASKING;
                self.tell(&Told::Answering { message })
            }
            TurnEvent::Text(text) => {
                self.tell(&Told::Text { text: &text })?;
                self.piece(Open::Text, &text)
            }
            TurnEvent::Reasoning(text) => {
                self.tell(&Told::Reasoning { text: &text })?;
                self.piece(Open::Reasoning, &text)
            }
            TurnEvent::Answered => {
                self.tell(&Told::Answered)?;
                self.end_line()
            }
            TurnEvent::Calling(call) => {
                self.tell(&Told::Calling { call: &call })?;
                self.within(&format!("calls {} {}", call.name, call.input.as_str()))?;
                self.calls.insert(call.call_id, call.name);
                Ok(())
            }
            TurnEvent::Called(result) => {
                self.tell(&Told::Called { result: &result })?;
                let name = self.calls.remove(&result.call_id).unwrap_or_default();
                let how = if result.is_error { "failed: " } else { "" };
                self.within(&format!("{name} → {how}{}", brief(&result.content)))
            }
            TurnEvent::Retrying { attempt, wait, error, is_anew } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.tell(&Told::Retrying { attempt, wait_ms, why: error.to_string(), anew: is_anew })?;
                let why = error.to_string();
                let why = why.split_once("; ").map_or(why.as_str(), |(why, _)| why);
                self.held.clear();
                let anew = if is_anew { ", and the answer begins anew" } else { "" };
                let seconds = wait.as_secs_f64();
                self.beside(&format!("{why}: attempt {attempt} in {seconds:.1} s{anew}"))
            }
            TurnEvent::Compacting => {
                self.doing = COMPACTING;
                self.tell(&Told::Compacting)
            }
            TurnEvent::Compacted(report) => {
                self.doing = GETTING_READY;
                self.tell(&Told::Compacted { report: &report })?;
                self.beside(&format!("compacted: {}, {} from here on", counted(report.before, "token"), report.after))
            }
            _ => Ok(()),
        }
    }

    fn piece(&mut self, open: Open, text: &str) -> Result<(), Failure> {
        match self.kind {
            Kind::Json => return Ok(()),
            Kind::Text => {
                if open == Open::Text {
                    self.held.push_str(text);
                }
                return Ok(());
            }
            Kind::Terminal => {}
        }
        if self.open != open {
            self.end_line()?;
        }
        let style = if open == Open::Reasoning { Style::Faint } else { Style::Plain };
        let width = self.out.width().filter(|_| self.out.moves_cursor()).unwrap_or(usize::MAX);
        for step in self.wrap.take(&with_lines(text), width) {
            match step {
                Step::Text(text) => self.out.piece(style, &text)?,
                Step::Back(columns) => self.out.back(columns)?,
            }
        }
        self.open = open;
        Ok(())
    }

    /// Ends what was begun, so that something else begins on a line of its own.
    pub(super) fn end_line(&mut self) -> Result<(), Failure> {
        self.unwait()?;
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            let end = if held.ends_with('\n') { "" } else { "\n" };
            return self.out.piece(Style::Plain, &(held + end));
        }
        if self.open != Open::Nothing && self.wrap.column() > 0 {
            self.out.piece(Style::Plain, "\n")?;
        }
        self.open = Open::Nothing;
        self.wrap.restart();
        Ok(())
    }

    /// A line of the conversation that is no answer, cut to the terminal's width. Words of it go nowhere but to where results do.
    fn within(&mut self, text: &str) -> Result<(), Failure> {
        if self.kind != Kind::Terminal {
            return Ok(());
        }
        self.end_line()?;
        let width = self.out.width().unwrap_or(WIDTH).saturating_sub(4).max(NARROWEST);
        self.out.styled(&[(Style::Plain, "  "), (Style::Faint, &cut(&on_one_line(text), width))])
    }

    /// A line about the conversation, without a word of it.
    fn beside(&mut self, text: &str) -> Result<(), Failure> {
        match self.kind {
            Kind::Json => return Ok(()),
            Kind::Text => {}
            Kind::Terminal => self.end_line()?,
        }
        self.out.aside(&format!("  {text}"));
        Ok(())
    }

    /// How a turn ended, and what it took.
    pub(super) fn end(&mut self, outcome: &TurnOutcome, window: Option<&Window>) -> Result<(), Failure> {
        self.tell(&Told::End { outcome, window })?;
        self.end_line()?;
        if self.kind == Kind::Json {
            return Ok(());
        }
        self.out.flush()?;
        if outcome.stop_reason == StopReason::EndTurn && outcome.text.trim().is_empty() {
            self.out.aside("  (empty answer)");
        }
        match (&outcome.problem, why(outcome.stop_reason)) {
            (Some(problem), _) => self.out.failure(&failure_of(problem)),
            (None, Some(why)) => self.out.aside(&format!("  {why}")),
            (None, None) => {}
        }
        outcome.notes.iter().filter_map(noted).for_each(|note| self.out.aside(&format!("  {note}")));
        let is_nothing = outcome.usage == TokenUsage::default() && outcome.stop_reason != StopReason::EndTurn;
        if self.kind == Kind::Terminal && !is_nothing {
            self.out.aside(&format!("  {}", spent(outcome, window)));
        }
        Ok(())
    }
}

/// The beginning of what a tool said.
fn brief(content: &ToolContent) -> String {
    match content {
        ToolContent::Text(text) => text.trim().to_owned(),
        ToolContent::Parts(parts) => counted(parts.len() as u64, "part"),
    }
}

fn why(stop: StopReason) -> Option<&'static str> {
    match stop {
        StopReason::EndTurn | StopReason::Error => None,
        StopReason::MaxTokens => Some("the answer reached its longest length; say that it may go on"),
        StopReason::MaxIterations => Some("the model was called as often as a turn may call it; /retry goes on"),
        StopReason::Cancelled => Some("cancelled; what came is kept, and /retry asks again"),
        StopReason::Refusal => Some("the model declined to answer"),
    }
}

/// What is worth knowing beside how a turn ended; `None`: it was told when it happened.
fn noted(note: &TurnNote) -> Option<String> {
    Some(match note {
        TurnNote::Compacted(_) | TurnNote::Retried { .. } => return None,
        TurnNote::Cut => {
            "not all of the conversation was sent to the model: the rest does not fit its window".to_owned()
        }
        // What is too long without an older part is told by what is too long.
        TurnNote::NotCompacted { why } if *why == CompactionRefused::Nothing.to_string() => return None,
        TurnNote::NotCompacted { why } => {
            let why = why.split_once("; ").map_or(why.as_str(), |(why, _)| why);
            format!("the older part of the conversation could not be compacted: {why}")
        }
        TurnNote::UsageDiffers { reported, counted: ours } => {
            let reported = counted(*reported, "token");
            format!("the provider reports {reported} of what it was sent; our count is {ours}")
        }
        TurnNote::OutputDiffers { reported, counted: ours } => {
            let reported = counted(*reported, "token");
            format!("the provider reports {reported} of its answer; our count is {ours}")
        }
        other => serde_json::to_value(other).ok()?.get("note")?.as_str()?.replace('-', " "),
    })
}

/// A turn that came to nothing, as an error of the program.
pub(super) fn not_begun(error: SessionError) -> Failure {
    match error {
        SessionError::OverBudget(over) => no_room(over),
        error => error.into(),
    }
}

/// What must always be sent is more than the model takes. The store is this program's as long as the chat lasts, so some of what helps comes
/// behind it.
fn no_room(over: OverBudget) -> Failure {
    let unpin = if over.pinned > 0 { "unpin messages (`sessions unpin`) or " } else { "" };
    let hint = format!(
        "/model asks a model that takes more; /undo and then /fork goes on from an earlier place; after leaving, {unpin}shorten the instructions \
         (`sessions instruct`); /retry tries it again"
    );
    Failure::from(SessionError::OverBudget(over)).with_hint(&hint)
}

/// A turn that went wrong, as an error of the program.
pub(super) fn failure_of(problem: &TurnProblem) -> Failure {
    if let TurnProblem::NoRoom(over) = problem {
        return no_room(*over);
    }
    let text = problem.to_string();
    let is_to_change = matches!(problem, TurnProblem::Model(error) if !error.is_transient());
    match text.split_once("; ") {
        Some((message, hint)) => Failure::failed(message, &format!("{hint}; /retry tries it again")),
        None if is_to_change => Failure::failed(&text, "/undo takes back what was said, /model asks another model"),
        None => Failure::failed(&text, "/retry tries it again"),
    }
}

/// What a turn took, in one line.
fn spent(outcome: &TurnOutcome, window: Option<&Window>) -> String {
    let usage = outcome.usage;
    let about = if outcome.estimated { "about " } else { "" };
    let sent = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write);
    let cached = if usage.cache_read > 0 { format!(" ({} cached)", usage.cache_read) } else { String::new() };
    let mut line = format!("{about}{} in{cached}, {} out", counted(sent, "token"), usage.output);
    for money in &outcome.cost {
        line.push_str(&format!(" · {money}"));
    }
    if let Some(window) = window {
        let percent = window.tokens.saturating_mul(100) / window.usable.max(1);
        let about = if window.estimate { "about " } else { "" };
        line.push_str(&format!(" · {about}{percent} % of the window, {}", window.word()));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_where_there_is_no_room_is_what_can_be_done_in_a_chat() {
        let over = |pinned| OverBudget { needed: 9_000, pinned, newest: 10, budget: 4_000 };
        for (pinned, unpins) in [(0, false), (8_000, true)] {
            for failure in
                [failure_of(&TurnProblem::NoRoom(over(pinned))), not_begun(SessionError::OverBudget(over(pinned)))]
            {
                let hint = failure.hint().unwrap();
                assert!(failure.message().contains("9000 tokens") && !failure.message().contains("raise the budget"));
                for helps in ["/model ", "/undo and then /fork", "`sessions instruct`", "/retry"] {
                    assert!(hint.contains(helps), "{helps}: {hint}");
                }
                assert!(hint.contains("`sessions unpin`") == unpins && !hint.contains("budget"), "{hint}");
            }
        }
    }

    #[test]
    fn that_there_was_nothing_to_compact_is_no_news_of_a_turn() {
        let note = |refused: CompactionRefused| noted(&TurnNote::NotCompacted { why: refused.to_string() });
        assert_eq!(note(CompactionRefused::Nothing), None);
        let blank = note(CompactionRefused::Blank).unwrap();
        assert!(blank.ends_with("could not be compacted: the summary is blank, so nothing was changed"), "{blank}");
    }

    #[test]
    fn what_a_provider_reports_is_told_beside_what_was_counted() {
        let told = |note: TurnNote| noted(&note).unwrap();
        let sent = told(TurnNote::UsageDiffers { reported: 1, counted: 30 });
        assert_eq!(sent, "the provider reports 1 token of what it was sent; our count is 30");
        let came = told(TurnNote::OutputDiffers { reported: 30, counted: 1 });
        assert_eq!(came, "the provider reports 30 tokens of its answer; our count is 1");
    }
}
