//! What is typed in a chat: something to say, or a command that begins with `/`.
//!
//! Must not know: what a command does.

use sessions_api::{MessageId, nearest};

use crate::failure::Failure;

/// A command, what stands behind it, and what it does.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) with: &'static str,
    pub(super) does: &'static str,
}

const fn row(name: &'static str, with: &'static str, does: &'static str) -> Row {
    Row { name, with, does }
}

/// All commands, in the order of the help.
pub(super) const COMMANDS: &[Row] = &[
    row("undo", "[N]", "take back the last turn, or the last N: what you said and all that came of it"),
    row("redo", "[N]", "take undone turns up again"),
    row("retry", "", "go on with a turn that was cut off or failed, with nothing new said"),
    row("clear", "", "hide the whole conversation; /undo takes it back"),
    row("branches", "", "list the ways that the conversation took"),
    row("checkout", "BRANCH", "go to the end of one of them"),
    row("fork", "", "go on in a new session that begins with this conversation"),
    row("count", "", "tell how many messages and tokens there are"),
    row("tokens", "", "tell what the calls took and cost, and how full the window is"),
    row("compact", "[N]", "let a summary stand for the older part, down to N tokens"),
    row("uncompact", "", "take the newest compaction away"),
    row("pin", "[MESSAGE]", "keep the last message, or the one with this id, whatever else is left out"),
    row(
        "model",
        "[MODEL]",
        "tell which model answers, or let another one answer, also when this session is taken up again",
    ),
    row("title", "TEXT", "give the session a title"),
    row("help", "", "tell the commands"),
    row("exit", "", "leave, as Ctrl-D does; the conversation is kept"),
];

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Nothing,
    Said(String),
    Do(Order),
}

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Undo(u64),
    Redo(u64),
    Retry,
    Clear,
    Branches,
    Checkout(String),
    Fork,
    Count,
    Tokens,
    Compact(Option<u64>),
    Uncompact,
    Pin(Option<MessageId>),
    Model(Option<String>),
    Title(String),
    Help,
    Exit,
}

/// Reads a line. `//` at its beginning stands for a `/` that is said; so does a `/` that no word follows, as in a path.
pub(super) fn read(line: &str) -> Result<Typed, Failure> {
    let text = line.trim();
    if text.is_empty() {
        return Ok(Typed::Nothing);
    }
    if let Some(said) = text.strip_prefix("//") {
        return Ok(Typed::Said(format!("/{said}")));
    }
    let Some(typed) = text.strip_prefix('/') else { return Ok(Typed::Said(text.to_owned())) };
    let (name, rest) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
    let is_word = !name.is_empty() && name.chars().all(char::is_alphabetic);
    if !is_word {
        return Ok(Typed::Said(text.to_owned()));
    }
    let name = if name == "quit" { "exit" } else { name };
    let row = COMMANDS.iter().find(|row| row.name == name).ok_or_else(|| unknown(name))?;
    order(row, rest.trim()).map(Typed::Do)
}

fn unknown(name: &str) -> Failure {
    let near = nearest(name, COMMANDS.iter().map(|row| row.name));
    let hint = near.map_or("/help tells all of them".to_owned(), |near| format!("did you mean /{near}?"));
    Failure::usage("there is no such command", &format!("{hint} (what begins with // is said, with one /)"))
}

fn order(row: &Row, rest: &str) -> Result<Order, Failure> {
    let given = Some(rest).filter(|rest| !rest.is_empty());
    if row.with.is_empty() && given.is_some() {
        return Err(misused(row));
    }
    let count = |least: Option<u64>| match given {
        None => Ok(least),
        Some(number) => {
            number.parse().ok().filter(|number| *number > 0).map(Some).ok_or_else(|| miscounted(row, number))
        }
    };
    let text = || given.map(str::to_owned).ok_or_else(|| misused(row));
    Ok(match row.name {
        "undo" => Order::Undo(count(Some(1))?.unwrap_or(1)),
        "redo" => Order::Redo(count(Some(1))?.unwrap_or(1)),
        "retry" => Order::Retry,
        "clear" => Order::Clear,
        "branches" => Order::Branches,
        "checkout" => Order::Checkout(text()?),
        "fork" => Order::Fork,
        "count" => Order::Count,
        "tokens" => Order::Tokens,
        "compact" => Order::Compact(count(None)?),
        "uncompact" => Order::Uncompact,
        "pin" => Order::Pin(given.map(|id| id.parse().map_err(|_| misused(row))).transpose()?),
        "model" => Order::Model(given.map(str::to_owned)),
        "title" => Order::Title(text()?),
        "help" => Order::Help,
        _ => Order::Exit,
    })
}

fn misused(row: &Row) -> Failure {
    let usage = format!("type it as /{} {}", row.name, row.with);
    Failure::usage("this is not how the command is typed", usage.trim_end())
}

/// A number that is none, or none that can be.
fn miscounted(row: &Row, number: &str) -> Failure {
    let is_large = number.len() > 1 && number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    let what = if is_large { "N is too large" } else { "N is a whole number, from 1 on" };
    Failure::usage(what, &format!("type it as /{} {}, with an N from 1 to {}", row.name, row.with, u64::MAX))
}

/// The names of commands that begin so.
pub(super) fn completions(line: &str) -> Vec<String> {
    let Some(begun) = line.strip_prefix('/') else { return Vec::new() };
    let fits = COMMANDS.iter().filter(|row| row.name.starts_with(begun));
    fits.map(|row| format!("/{}{}", row.name, if row.with.is_empty() { "" } else { " " })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_what_is_said() {
        let said = |text: &str| Typed::Said(text.to_owned());
        for (line, typed) in [
            ("", Typed::Nothing),
            ("  \t", Typed::Nothing),
            (" hello ", said("hello")),
            ("//undo", said("/undo")),
            ("/usr/bin/env fails", said("/usr/bin/env fails")),
            ("/", said("/")),
            ("/2 of them", said("/2 of them")),
            ("exit", said("exit")),
            ("/undo", Typed::Do(Order::Undo(1))),
            ("/undo 3", Typed::Do(Order::Undo(3))),
            (" /redo  2 ", Typed::Do(Order::Redo(2))),
            ("/compact", Typed::Do(Order::Compact(None))),
            ("/compact 4000", Typed::Do(Order::Compact(Some(4000)))),
            ("/checkout main", Typed::Do(Order::Checkout("main".into()))),
            ("/title Why it fails", Typed::Do(Order::Title("Why it fails".into()))),
            ("/model", Typed::Do(Order::Model(None))),
            ("/quit", Typed::Do(Order::Exit)),
        ] {
            assert_eq!(read(line).unwrap(), typed, "{line:?}");
        }
    }

    #[test]
    fn what_is_typed_wrong_is_told_with_what_was_meant() {
        for (line, hint) in [
            ("/udno", "/undo?"),
            ("/tokns", "/tokens?"),
            ("/xyzzy", "/help"),
            ("/undo 0", "/undo [N]"),
            ("/undo -1", "/undo [N]"),
            ("/clear all", "/clear"),
            ("/title", "/title TEXT"),
            ("/pin 3", "/pin [MESSAGE]"),
        ] {
            let failure = read(line).unwrap_err();
            assert!(failure.hint().unwrap().contains(hint), "{line}: {:?}", failure.hint());
            assert_eq!(failure.code(), Failure::USAGE);
        }
        for (line, what) in [
            ("/undo 0", "from 1 on"),
            ("/redo 99999999999999999999999", "too large"),
            ("/compact many", "whole number"),
            ("/title", "not how the command"),
        ] {
            let failure = read(line).unwrap_err();
            assert!(failure.message().contains(what), "{line}: {}", failure.message());
        }
    }

    #[test]
    fn each_command_is_read_and_completed() {
        for row in COMMANDS {
            let with = match row.with {
                "TEXT" | "BRANCH" => " x",
                _ => "",
            };
            assert!(matches!(read(&format!("/{}{with}", row.name)), Ok(Typed::Do(_))), "{}", row.name);
            assert!(completions(&format!("/{}", row.name)).iter().any(|name| name.trim() == format!("/{}", row.name)));
        }
        assert_eq!(completions("/un"), ["/undo ", "/uncompact"]);
        assert!(completions("un").is_empty() && completions("/undo 1").is_empty());
    }
}
