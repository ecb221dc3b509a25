//! `docs/configuration.md`, made of the table of options.
//!
//! Must not know: values.

use std::fmt::Write as _;

use super::table::{OPTIONS, OptionRow, State, below};

const HEAD: &str = include_str!("head.md");

/// What each group is about.
const GROUPS: &[(&str, &str)] = &[
    ("storage", "Where sessions are kept, and what an acknowledgement means."),
    ("tokens", "How much is sent to a model."),
    ("model", "One option, which stands directly below `sessions:`."),
    ("models", "Models beside those that are known, or in their place. Each stands below its name."),
    ("providers", "Who runs models. Each stands below a name of your own. A key never stands here, only where it is."),
    (
        "prices",
        "A list. What it says of a model counts for all days instead of what is shipped (`crates/api/data/prices.yaml`). A class of tokens \
         without a price is not free: a call that used it has no cost that anybody knows. Costs are exact, in steps of 10⁻¹² of a unit.",
    ),
    ("limits", "How much there may be. `none` is no limit. A session may narrow what concerns its messages."),
    ("identity", "Who acts."),
    ("encryption", "Whether the store is sealed, and how its keys are looked after. See [security.md](security.md)."),
    (
        "keys",
        "Where the key of a sealed store is: exactly one of `key_file`, `passphrase_file`, `passphrase_env` and `vault`.",
    ),
    ("trash", "Sessions that nobody uses. Nothing is put aside by age unless it is said here."),
    ("cleanup", "What is done by age. Nothing is deleted unless it is said here."),
    ("artifacts", "Files of sessions."),
    ("background", "Agents that run in the background."),
    ("sharing", "Links to sessions."),
];

/// The whole document.
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    for group in below(&[]) {
        let about = GROUPS.iter().find(|(name, _)| *name == group).map_or("", |(_, about)| about);
        let _ = write!(text, "\n## {group}\n\n{about}\n\n| option | takes | default | does |\n|---|---|---|---|\n");
        for row in OPTIONS.iter().filter(|row| row.names().next() == Some(group)) {
            let _ = writeln!(text, "{}", line(row));
        }
    }
    text
}

fn line(row: &OptionRow) -> String {
    let later = match row.state {
        State::Effective => String::new(),
        State::NotBuilt { feature } => format!("*No effect yet: {feature} is not built.* "),
    };
    let cells = [format!("`{}`", row.path), row.kind.range(), row.default.to_owned(), format!("{later}{}", row.effect)];
    format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_says_what_it_is_about() {
        let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
        assert_eq!(below(&[]), names);
        assert!(document().contains("| `storage.durability` | `disk`, `process`, `volatile` |"));
    }
}
