//! What a turn looks like: for a person at a terminal, as plain text, or as a line of JSON for each event.
//!
//! No order to a terminal comes through, wherever a piece was cut: pieces are whole letters, and each letter is judged by itself
//! ([`crate::visible`]).
//!
//! Must not know: what runs a turn.

use std::collections::HashMap;

use serde::Serialize;
use sessions_api::{
    CompactionReport, MessageId, SessionId, StopReason, ToolCall, ToolContent, ToolResult, TurnEvent, TurnOutcome,
    TurnProblem,
};

use crate::{
    context::Window,
    failure::Failure,
    output::{Output, Style},
    table::{counted, cut},
    visible::on_one_line,
};

/// The width of what is told of a call or a result where the terminal does not say its own.
const WIDTH: usize = 80;
/// It is not cut to less than this.
const NARROWEST: usize = 20;

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
    /// Whether the cursor stands at the beginning of a line.
    at_start: bool,
    /// An answer that is not whole yet, for a pipe.
    held: String,
    /// The tools of calls, by the call.
    calls: HashMap<String, String>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a Output, kind: Kind) -> Self {
        Self { out, kind, open: Open::Nothing, at_start: true, held: String::new(), calls: HashMap::new() }
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
        match event {
            TurnEvent::Answering { message } => self.tell(&Told::Answering { message }),
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
            TurnEvent::Compacted(report) => {
                self.tell(&Told::Compacted { report: &report })?;
                self.beside(&format!("compacted: {} tokens, {} from here on", report.before, report.after))
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
        self.out.piece(style, text)?;
        self.open = open;
        self.at_start = text.ends_with('\n') || (self.at_start && text.is_empty());
        Ok(())
    }

    /// Ends what was begun, so that something else begins on a line of its own.
    pub(super) fn end_line(&mut self) -> Result<(), Failure> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            let end = if held.ends_with('\n') { "" } else { "\n" };
            return self.out.piece(Style::Plain, &(held + end));
        }
        if self.open != Open::Nothing && !self.at_start {
            self.out.piece(Style::Plain, "\n")?;
        }
        (self.open, self.at_start) = (Open::Nothing, true);
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
        match (&outcome.problem, why(outcome.stop_reason)) {
            (Some(problem), _) => self.out.failure(&failure_of(problem)),
            (None, Some(why)) => self.out.aside(&format!("  {why}")),
            (None, None) => {}
        }
        if self.kind == Kind::Terminal {
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

/// A turn that went wrong, as an error of the program.
pub(super) fn failure_of(problem: &TurnProblem) -> Failure {
    let text = problem.to_string();
    let (message, hint) = text.split_once("; ").unwrap_or((text.as_str(), "what was said is kept"));
    Failure::failed(message, &format!("{hint}; /retry tries it again"))
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
