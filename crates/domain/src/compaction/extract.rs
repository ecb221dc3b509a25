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

/// Picks a summary out of messages, oldest first; `previous` is the one before, which is carried on. Of each section the oldest lines are left
/// out until `fits` takes it. `None`: nothing fits, or there is nothing to say.
pub fn extract(previous: Option<&str>, messages: &[Message], fits: impl Fn(&str) -> bool) -> Option<String> {
    let mut found = previous.map(Sections::parse).unwrap_or_default();
    found.add(&picked(messages));
    if found.is_empty() {
        return None;
    }
    for keep in [64_usize, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1] {
        let text = found.trimmed(keep).to_text();
        if fits(&text) {
            return Some(text);
        }
    }
    None
}

fn picked(messages: &[Message]) -> Sections {
    let mut sections = Sections::default();
    let [goal, decisions, state, next, files] = SECTIONS;
    let users = || messages.iter().filter(|message| message.role == MessageRole::User);
    for (at, message) in users().enumerate() {
        if let Some(line) = first_line(&message.text()) {
            sections.push(if at == 0 { goal } else { state }, if at == 0 { line } else { format!("Asked: {line}") });
        }
    }
    for turn in messages.chunk_by(|_, next| next.role != MessageRole::User) {
        let answer = turn.iter().rfind(|message| message.role == MessageRole::Assistant && has_words(message));
        if let Some(line) = answer.and_then(|message| first_line(&message.text())) {
            sections.push(decisions, line);
        }
    }
    for error in messages.iter().flat_map(Message::results).filter(|result| result.is_error) {
        let ToolContent::Text(text) = &error.content else { continue };
        if let Some(line) = first_line(text) {
            sections.push(state, format!("Failed: {line}"));
        }
    }
    let last = messages.iter().rfind(|message| matches!(message.role, MessageRole::User | MessageRole::Assistant));
    if let Some(line) = last.and_then(|message| last_line(&message.text())) {
        sections.push(next, line);
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

/// The first line that has words, cut to a length.
fn first_line(text: &str) -> Option<String> {
    text.lines().map(str::trim).find(|line| is_worth_a_line(line)).map(cut)
}

fn last_line(text: &str) -> Option<String> {
    text.lines().map(str::trim).rfind(|line| is_worth_a_line(line)).map(cut)
}

fn is_worth_a_line(line: &str) -> bool {
    line.chars().filter(|letter| letter.is_alphanumeric()).count() >= 3
}

/// A line of bounded length, without what controls a terminal.
fn cut(line: &str) -> String {
    let clean: String =
        line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LINE + 1).collect();
    if clean.chars().count() <= LINE { clean } else { clean.chars().take(LINE - 1).chain(['…']).collect() }
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
            "## Goal\n- Fix the build.\n\n## Decisions\n- The import is wrong; I take the other one.\n- Added.\n\n## State\n- Asked: And add a test\n\n## Next step\n- Next I run all tests.\n\n## Files\n- src/main.rs\n- src/lib.rs\n"
        );
    }

    #[test]
    fn the_one_before_is_carried_on_and_the_oldest_leaves_first() {
        let first = extract(None, &conversation(), |_| true).unwrap();
        let more = [Message::user("Release it"), Message::assistant("Released 1.2.")];
        let second = extract(Some(&first), &more, |_| true).unwrap();
        assert!(second.starts_with("## Goal\n- Fix the build.\n- Release it\n"), "{second}");
        assert!(second.contains("- src/main.rs\n") && second.contains("- Released 1.2.\n"));
        assert!(second.contains("## Next step\n- Released 1.2.\n"), "of what is next only the newest counts: {second}");
        let short = extract(Some(&first), &more, |text| text.len() < 200).unwrap();
        assert!(
            short.len() < 200 && short.contains("Released 1.2.") && !short.contains("The import is wrong"),
            "{short}"
        );
        assert_eq!(extract(Some(&first), &more, |_| false), None);
        assert_eq!(extract(None, &[Message::user("…")], |_| true), None);
    }

    #[test]
    fn lines_are_bounded_and_control_nothing() {
        let text = extract(None, &[Message::user(format!("\u{1b}[31mred {}", "x".repeat(5_000)))], |_| true).unwrap();
        assert!(text.len() < 800 && !text.contains('\u{1b}'), "{text}");
    }
}
