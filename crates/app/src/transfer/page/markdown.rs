//! A session as Markdown (CommonMark 0.31).
//!
//! A text keeps its own marks where they cannot do harm: emphasis, lists, code. Code between fences that begin at the left edge, and between
//! backticks on one line, is left as it is. Elsewhere what would make HTML, links, images, headings or fences is escaped.
//!
//! Must not know: other pages.

use sessions_domain::{MessagePart, StoredMessage, ToolContent, View};

use super::{facts, file_name, plain, role_name, title};

/// What stands before the messages.
pub(super) fn begin(view: &View) -> String {
    let mut out = format!("# {}\n\n", line_of(&title(view)));
    for (name, value) in facts(view) {
        out.push_str(&format!("- {name}: {}\n", line_of(&value)));
    }
    out
}

/// One message.
pub(super) fn message(message: &StoredMessage) -> String {
    let mut out = format!("\n## {} · {}\n", role_name(message.role), message.said_at());
    for part in &message.parts {
        out.push('\n');
        out.push_str(&part_of(part));
    }
    out
}

fn part_of(part: &MessagePart) -> String {
    match part {
        MessagePart::Text(said) => text(said),
        MessagePart::Reasoning { text, .. } if text.is_empty() => {
            "*reasoning, which the provider keeps to itself*\n".into()
        }
        MessagePart::Reasoning { text, .. } => format!("*reasoning*\n\n{}", fenced("text", text)),
        MessagePart::ToolCall(call) => {
            format!(
                "*calls* {} *({})*\n\n{}",
                code(&call.name),
                code(&call.call_id),
                fenced("json", call.input.as_str())
            )
        }
        MessagePart::ToolResult(result) => {
            let what = if result.is_error { "error of" } else { "result of" };
            let mut out = format!("*{what}* {}\n\n", code(&result.call_id));
            match &result.content {
                ToolContent::Text(text) => out.push_str(&fenced("text", text)),
                ToolContent::Parts(parts) => parts.iter().for_each(|part| match part {
                    MessagePart::Text(text) => out.push_str(&fenced("text", text)),
                    other => out.push_str(&part_of(other)),
                }),
            }
            out
        }
        MessagePart::File(file) => format!("*file* {}\n", code(&file_name(file))),
        MessagePart::Error { message, .. } => format!("*error*\n\n{}", fenced("text", message)),
        MessagePart::Custom(json) => fenced("json", json.as_str()),
        other => format!("*{}*\n", other.type_name()),
    }
}

/// A short text as code on one line.
fn code(text: &str) -> String {
    let text = plain(text).replace('\n', " ");
    let fence = "`".repeat(longest_run(&text, '`') + 1);
    format!("{fence} {text} {fence}")
}

/// A block of code between fences that are longer than any within.
fn fenced(kind: &str, text: &str) -> String {
    let text = plain(text);
    let fence = "`".repeat((longest_run(&text, '`') + 1).max(3));
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{fence}{kind}\n{text}{end}{fence}\n")
}

fn longest_run(text: &str, of: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == of { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// A text that stands behind something on its line, where no fence can begin.
fn line_of(text: &str) -> String {
    let mut out = String::new();
    escape_line(text, &mut out);
    out
}

/// A text with its own marks, as far as they can do no harm.
fn text(said: &str) -> String {
    let said = plain(said);
    let mut out = String::with_capacity(said.len() + 16);
    let mut open: Option<(char, usize)> = None;
    for line in said.lines() {
        match open {
            Some((mark, length)) => {
                out.push_str(line);
                if closes(line, mark, length) {
                    open = None;
                }
            }
            None => {
                open = opens(line);
                if open.is_some() { out.push_str(line) } else { escape_line(line, &mut out) }
            }
        }
        out.push('\n');
    }
    if let Some((mark, length)) = open {
        out.extend(std::iter::repeat_n(mark, length));
        out.push('\n');
    }
    out
}

/// The fence that a line opens. One that is indented may stand in a list, which ends it early, so it does not count.
fn opens(line: &str) -> Option<(char, usize)> {
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    let info = line.get(length..).unwrap_or_default();
    (length >= 3 && !(mark == '`' && info.contains('`'))).then_some((mark, length))
}

fn closes(line: &str, mark: char, length: usize) -> bool {
    let indent = line.chars().take_while(|c| *c == ' ').count();
    let rest = line.get(indent..).unwrap_or_default().trim_end_matches([' ', '\t']);
    indent <= 3 && rest.chars().count() >= length && rest.chars().all(|c| c == mark)
}

/// A line that is no code: what would be more than words is escaped, but for code between backticks.
fn escape_line(line: &str, out: &mut String) {
    let body = line.trim_start_matches([
        ' ', '\t', '>', '*', '+', '-', '.', ')', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
    ]);
    let (before, rest) = line.split_at(line.len() - body.len());
    let is_rule =
        body.trim_end().chars().all(|c| c == '=') && (!body.is_empty() || before.trim().chars().all(|c| c == '-'));
    if is_rule && !line.trim().is_empty() {
        out.push('\\');
        out.push_str(line.trim_start());
        return;
    }
    out.push_str(before);
    if rest.starts_with(['#', '=']) {
        out.push('\\');
    }
    let mut left = rest;
    while let Some(at) = left.find('`') {
        let (words, code) = left.split_at(at);
        escape_words(words, out);
        let run = code.chars().take_while(|c| *c == '`').count();
        let inner = code.get(run..).unwrap_or_default();
        match closing(inner, run) {
            Some(end) => {
                let (span, rest) = code.split_at(run + end + run);
                out.push_str(span);
                left = rest;
            }
            None => {
                (0..run).for_each(|_| out.push_str("\\`"));
                left = inner;
            }
        }
    }
    escape_words(left, out);
}

/// Where a run of exactly so many backticks stands.
fn closing(text: &str, run: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text.get(at..)?.find('`') {
        let start = at + found;
        let length = text.get(start..)?.chars().take_while(|c| *c == '`').count();
        if length == run {
            return Some(start);
        }
        at = start + length;
    }
    None
}

fn escape_words(words: &str, out: &mut String) {
    for c in words.chars() {
        if matches!(c, '\\' | '<' | '[' | ']' | '~' | '&') {
            out.push('\\');
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_marks_and_code_its_letters() {
        assert_eq!(text("*a* `Vec<u8>` - b"), "*a* `Vec<u8>` - b\n");
        assert_eq!(text("```rust\nlet a: Vec<u8>;\n```\n<b>"), "```rust\nlet a: Vec<u8>;\n```\n\\<b>\n");
        assert_eq!(text("```\nopen"), "```\nopen\n```\n");
        assert_eq!(text("a ` b"), "a \\` b\n");
        assert_eq!(text("\\`<b>`"), "\\\\`<b>`\n");
        assert_eq!(text("# no\n> # no\n---\n==="), "\\# no\n> \\# no\n\\---\n\\===\n");
        assert_eq!(text("![x](http://e)"), "!\\[x\\](http://e)\n");
        assert_eq!(text("- ```\n<b>"), "- \\`\\`\\`\n\\<b>\n");
    }

    #[test]
    fn a_fence_is_longer_than_any_within() {
        assert_eq!(fenced("text", "a\n````\nb"), "`````text\na\n````\nb\n`````\n");
        assert_eq!(code("a``b"), "``` a``b ```");
    }
}
