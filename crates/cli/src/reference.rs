//! The reference of the program, as `docs/cli.md` has it: made of the same definitions as its help, so that both say the same.
//!
//! Must not know: what the commands do.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use crate::{arguments::Arguments, failure::Failure, program::Program};

/// What stands before the commands.
const HEAD: &str = include_str!("reference_head.md");

/// `reference`
pub(crate) fn print(program: &Program) -> Result<(), Failure> {
    program.out.bytes(document().as_bytes())
}

fn document() -> String {
    let mut all = Arguments::command();
    all.build();
    let mut text = HEAD.to_owned();
    let mut commands = Vec::new();
    collect(&all, "", &mut commands);
    text.push_str("\n## Options of every command\n\n");
    let global: Vec<&Arg> = all.get_arguments().filter(|arg| arg.is_global_set()).collect();
    arguments(&mut text, &global);
    text.push_str("\n## Commands\n");
    for (name, command) in commands {
        section(&mut text, &name, command);
    }
    text
}

/// The commands that do something, in the order of the help, those of a command as `state set`.
fn collect<'a>(command: &'a Command, prefix: &str, all: &mut Vec<(String, &'a Command)>) {
    let shown = |inner: &&Command| !inner.is_hide_set() && inner.get_name() != "help";
    for inner in command.get_subcommands().filter(shown) {
        let name = format!("{prefix}{}", inner.get_name());
        if inner.get_subcommands().next().is_some() {
            collect(inner, &format!("{name} "), all);
        } else {
            all.push((name, inner));
        }
    }
}

fn section(text: &mut String, name: &str, command: &Command) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let own: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_global_set() && !arg.is_hide_set()).collect();
    let own: Vec<&Arg> = own.into_iter().filter(|arg| arg.get_id() != "help" && arg.get_id() != "version").collect();
    let mut usage = format!("sessions {name}");
    for arg in own.iter().filter(|arg| arg.is_positional()) {
        let value = shape(arg);
        usage += &if arg.is_required_set() { format!(" {value}") } else { format!(" [{value}]") };
    }
    if own.iter().any(|arg| !arg.is_positional()) {
        usage.push_str(" [OPTION]…");
    }
    // Writing into a text never fails.
    let _ = write!(text, "\n### `{name}`\n\n{about}.\n\n```text\n{usage}\n```\n");
    if !own.is_empty() {
        text.push('\n');
        arguments(text, &own);
    }
    if let Some(after) = command.get_after_help() {
        let after = after.to_string();
        let (before, json) = match after.strip_prefix("With --json") {
            Some(json) => ("With `--json`", json),
            None => ("", after.as_str()),
        };
        let _ = write!(text, "\n{before}{}\n", code(json));
    }
}

/// How an argument is written.
fn shape(arg: &Arg) -> String {
    let values: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let value = if arg.get_action().takes_values() { values.join(" ") } else { String::new() };
    let dots = if matches!(arg.get_action(), clap::ArgAction::Append) { "…" } else { "" };
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    match (short, long) {
        (None, None) => format!("{value}{dots}"),
        (short, long) => {
            let names: Vec<String> = short.into_iter().chain(long).collect();
            format!("{} {value}", names.join(", ")).trim_end().to_owned() + dots
        }
    }
}

fn arguments(text: &mut String, all: &[&Arg]) {
    text.push_str("| argument | means |\n|---|---|\n");
    for arg in all {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let mut help = help.replace('|', "\\|").replace('\n', " ");
        let values: Vec<String> =
            arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        if arg.get_action().takes_values() && !values.is_empty() {
            let _ = write!(help, ": {}", values.join(", "));
        }
        let default: Vec<String> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        if arg.get_action().takes_values() && !default.is_empty() {
            let _ = write!(help, " (`{}` unless said)", default.join(" "));
        }
        if let Some(names) = arg.get_visible_aliases() {
            names.iter().for_each(|name| help.push_str(&format!("; also `--{name}`")));
        }
        let _ = writeln!(text, "| `{}` | {help} |", shape(arg).replace('|', "\\|"));
    }
}

/// The text with what stands in braces as code.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_u32;
    for c in text.chars() {
        if c == '{' {
            if depth == 0 {
                out.push('`');
            }
            depth += 1;
        }
        out.push(c);
        if c == '}' {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                out.push('`');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_what_the_definitions_say() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == document(), "docs/cli.md is behind the program: run `cargo xtask docs`");
    }

    #[test]
    fn every_command_that_tells_a_result_says_its_json() {
        let mut all = Arguments::command();
        all.build();
        let mut commands = Vec::new();
        collect(&all, "", &mut commands);
        let without: Vec<&str> = commands
            .iter()
            .filter(|(_, command)| command.get_after_help().is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(without, ["export", "demo", "completions", "man"]);
    }

    #[test]
    fn json_becomes_code() {
        assert_eq!(code(": {\"a\":[{\"b\"}]}, and {\"c\"}."), ": `{\"a\":[{\"b\"}]}`, and `{\"c\"}`.");
    }
}
