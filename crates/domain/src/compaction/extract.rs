//! A summary without a model: what was asked, what was answered, what was touched, picked out of the conversation. Deterministic.
//!
//! Must not know: tokens; a caller says what fits.

use std::collections::BTreeMap;

use super::sections::{SECTIONS, Sections};
use crate::{
    json::Json,
    message::{Message, MessageRole, ToolContent},
};

/// Fields of a call's input that name a file.
const FILE_FIELDS: [&str; 7] = ["file_path", "path", "filename", "file", "notebook_path", "filepath", "target_file"];

/// The longest line of a summary, in characters.
const LINE: usize = 240;
/// The same of what was asked first and last, and of the last answer.
const PARAGRAPH: usize = 800;
/// An answer's line has so many letters, if any of its lines does: `Done!` says nothing.
const TELLING: usize = 12;

/// Picks a summary out of messages, oldest first; `previous` is the one before, which is carried on. Of each section the oldest lines are left
/// out, and then lines are cut, until `fits` takes it. `None`: nothing fits, or there is nothing to say.
pub fn extract(previous: Option<&str>, messages: &[Message], fits: impl Fn(&str) -> bool) -> Option<String> {
    let mut found = previous.map(Sections::parse).unwrap_or_default();
    found.add(&picked(messages));
    if found.is_empty() {
        return None;
    }
    let whole = [64_usize, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1].map(|keep| (keep, PARAGRAPH));
    let cut = [LINE, 120, 60, 30].map(|longest| (1, longest));
    let texts = whole.into_iter().chain(cut).map(|(keep, longest)| found.trimmed(keep).cut(longest).to_text());
    texts.into_iter().find(|text| fits(text))
}

fn picked(messages: &[Message]) -> Sections {
    let mut sections = Sections::default();
    let [goal, decisions, state, next, files] = SECTIONS;
    let users = || messages.iter().filter(|message| message.role == MessageRole::User);
    let mut asked = users().filter_map(|message| Some((first_line(&message.text())?, message)));
    if let Some((_, first)) = asked.next() {
        sections.push(goal, paragraph(&first.text()));
    }
    asked.for_each(|(line, _)| sections.push(state, format!("Asked: {line}")));
    for turn in messages.chunk_by(|_, next| next.role != MessageRole::User) {
        let answer = turn.iter().rfind(|message| message.role == MessageRole::Assistant && has_words(message));
        if let Some(line) = answer.and_then(|message| telling_line(&message.text())) {
            sections.push(decisions, line);
        }
    }
    for error in messages.iter().flat_map(Message::results).filter(|result| result.is_error) {
        let ToolContent::Text(text) = &error.content else { continue };
        if let Some(line) = first_line(text) {
            sections.push(state, format!("Failed: {line}"));
        }
    }
    let newest = |role: MessageRole| messages.iter().rfind(|message| message.role == role && has_words(message));
    let (asked, answered) = (newest(MessageRole::User), newest(MessageRole::Assistant));
    for (who, message) in [("Asked last", asked), ("Said last", answered)] {
        let text = message.map(|message| paragraph(&message.text()));
        text.into_iter().for_each(|text| sections.push(next, format!("{who}: {text}")));
    }
    for file in messages.iter().flat_map(Message::calls).flat_map(|call| files_in(&call.input)) {
        sections.push(files, file);
    }
    sections
}

fn has_words(message: &Message) -> bool {
    first_line(&message.text()).is_some()
}

/// The files that a call names in the fields of its input.
fn files_in(input: &Json) -> Vec<String> {
    let fields: BTreeMap<String, Json> = input.decode().unwrap_or_default();
    let named = FILE_FIELDS.iter().filter_map(|field| fields.get(*field)).filter_map(|value| value.decode().ok());
    named.map(|file: String| cut(file.trim())).filter(|file| !file.is_empty()).collect()
}

/// The lines that say something: no markup, no command of a program, no mere heading of what follows.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let is_worth_it = |line: &&str| {
        let is_tag = line.starts_with('<') && line.contains('>');
        let is_command = line.starts_with('/') && !line.contains(' ');
        letters(line) >= 3 && !is_tag && !is_command && !line.ends_with(':')
    };
    text.lines().map(str::trim).filter(is_worth_it)
}

fn letters(line: &str) -> usize {
    line.chars().filter(|letter| letter.is_alphanumeric()).count()
}

/// The first line that says something, cut to a length.
fn first_line(text: &str) -> Option<String> {
    lines(text).next().map(cut)
}

/// The first line of some length, or else the first.
fn telling_line(text: &str) -> Option<String> {
    lines(text).find(|line| letters(line) >= TELLING).map(cut).or_else(|| first_line(text))
}

/// All lines that say something, as one.
fn paragraph(text: &str) -> String {
    // Letters that are cut off need not be joined.
    let mut joined = String::new();
    for line in lines(text) {
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(line);
        if joined.len() > PARAGRAPH * 4 {
            break;
        }
    }
    cut_to(&joined, PARAGRAPH)
}

fn cut(line: &str) -> String {
    cut_to(line, LINE)
}

/// A line of bounded length, without what controls a terminal.
pub(super) fn cut_to(line: &str, longest: usize) -> String {
    let clean = || line.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    match clean().nth(longest) {
        None => clean().collect(),
        Some(_) => clean().take(longest.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessagePart;

    fn conversation() -> Vec<Message> {
        let read = MessagePart::tool_call("a", "read", r#"{"path":"src/lib.rs","limit":3}"#).unwrap();
        let edit = MessagePart::tool_call("b", "edit", r#"{"file_path":"src/main.rs"}"#).unwrap();
        vec![
            Message::user("Fix the build.\nIt fails since yesterday."),
            Message::assistant("I look.").with(read.clone()),
            Message::tool_result("a", "fn main() {}"),
            Message::assistant("The import is wrong; I take the other one.").with(edit),
            Message::user("And add a test"),
            Message::assistant("").with(read),
            Message::assistant("Added.\nNext I run all tests."),
        ]
    }

    #[test]
    fn a_summary_says_what_was_asked_answered_and_touched() {
        let text = extract(None, &conversation(), |_| true).unwrap();
        assert_eq!(
            text,
            "## Goal\n- Fix the build. It fails since yesterday.\n\n## Decisions\n- The import is wrong; I take the other one.\n- Next I run all tests.\n\n## State\n- Asked: And add a test\n\n## Next step\n- Asked last: And add a test\n- Said last: Added. Next I run all tests.\n\n## Files\n- src/main.rs\n- src/lib.rs\n"
        );
    }

    #[test]
    fn the_one_before_is_carried_on_and_the_oldest_leaves_first() {
        let first = extract(None, &conversation(), |_| true).unwrap();
        let more = [Message::user("Release it"), Message::assistant("Released 1.2.")];
        let second = extract(Some(&first), &more, |_| true).unwrap();
        assert!(second.starts_with("## Goal\n- Fix the build. It fails since yesterday.\n- Release it\n"), "{second}");
        assert!(second.contains("- src/main.rs\n") && second.contains("- Released 1.2.\n"));
        assert!(
            second.contains("## Next step\n- Asked last: Release it\n- Said last: Released 1.2.\n\n"),
            "of what is next only the newest counts: {second}"
        );
        let short = extract(Some(&first), &more, |text| text.len() < 200).unwrap();
        let long = [Message::user("word ".repeat(200)), Message::assistant("else ".repeat(200))];
        let least = extract(None, &long, |text| text.len() < 300).unwrap();
        assert!(least.len() < 300 && least.contains('…'), "lines are cut where nothing else can be left out: {least}");
        assert!(
            short.len() < 200 && short.contains("Released 1.2.") && !short.contains("The import is wrong"),
            "{short}"
        );
        assert_eq!(extract(Some(&first), &more, |_| false), None);
        assert_eq!(extract(None, &[Message::user("…")], |_| true), None);
    }

    #[test]
    fn what_says_nothing_is_passed_over() {
        let said = [
            Message::user("/mode"),
            Message::user(
                "<local-command-caveat>Not for you</local-command-caveat>\n<command-name>/compact</command-name>",
            ),
            Message::user("Make the tests green,\nall of them."),
            Message::assistant("Done!\nNow:\nAll 40 tests pass, the last was a race."),
        ];
        let text = extract(None, &said, |_| true).unwrap();
        assert!(
            text.starts_with("## Goal\n- Make the tests green, all of them.\n\n## Decisions\n- All 40 tests"),
            "{text}"
        );
        assert!(!text.contains("command") && !text.contains("Now:") && !text.contains("/mode"), "{text}");
    }

    #[test]
    fn lines_are_bounded_and_control_nothing() {
        let text = extract(None, &[Message::user(format!("\u{1b}[31mred {}", "x".repeat(5_000)))], |_| true).unwrap();
        assert!(text.len() < 2_000 && !text.contains('\u{1b}'), "{text}");
    }
}
