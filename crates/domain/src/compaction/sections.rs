//! The sections that every summary has, whoever writes it.
//!
//! Must not know: how they are filled.

/// Their headings, in order.
pub const SECTIONS: [&str; 5] = ["Goal", "Decisions", "State", "Next step", "Files"];

/// The lines of each section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    lines: [Vec<String>; SECTIONS.len()],
}

impl Sections {
    /// Reads a summary. What stands before the first heading is of its state.
    pub fn parse(text: &str) -> Self {
        let mut sections = Self::default();
        let mut section = "State";
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match heading(line) {
                Some(known) => section = known,
                None => sections.push(section, line.trim_start_matches(['-', '*']).trim().to_owned()),
            }
        }
        sections
    }

    /// Whether a text has all headings.
    pub fn are_all_in(text: &str) -> bool {
        let found: Vec<&str> = text.lines().map(str::trim).filter_map(heading).collect();
        SECTIONS.iter().all(|section| found.contains(section))
    }

    /// Adds a line to a section, the same once.
    pub fn push(&mut self, section: &str, line: String) {
        let lines = SECTIONS.iter().position(|known| *known == section).and_then(|at| self.lines.get_mut(at));
        if let Some(lines) = lines.filter(|_| !line.is_empty()) {
            put(lines, line);
        }
    }

    /// Adds the lines of newer sections. Of what comes next only the newest counts.
    pub(super) fn add(&mut self, newer: &Self) {
        for ((section, lines), own) in SECTIONS.iter().zip(&newer.lines).zip(&mut self.lines) {
            if *section == "Next step" && !lines.is_empty() {
                own.clear();
            }
            lines.iter().for_each(|line| put(own, line.clone()));
        }
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(Vec::is_empty)
    }

    /// At most so many lines of each section: the newest, and the first goal.
    #[must_use]
    pub(super) fn trimmed(&self, keep: usize) -> Self {
        let mut after = self.clone();
        for (section, lines) in SECTIONS.iter().zip(&mut after.lines) {
            let first = usize::from(*section == "Goal" && keep > 1);
            if lines.len() > keep {
                lines.drain(first..lines.len() - keep + first);
            }
        }
        after
    }

    /// The text of it.
    pub fn to_text(&self) -> String {
        let section = |(name, lines): (&&str, &Vec<String>)| {
            let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
            format!("## {name}\n{lines}")
        };
        SECTIONS.iter().zip(&self.lines).map(section).collect::<Vec<_>>().join("\n")
    }
}

/// A line that is said again is newer.
fn put(lines: &mut Vec<String>, line: String) {
    lines.retain(|known| *known != line);
    lines.push(line);
}

/// The section that a line begins: its name alone, as a heading of any form.
fn heading(line: &str) -> Option<&'static str> {
    let name = line.trim_matches(['#', '*', ':', ' ']);
    SECTIONS.into_iter().find(|section| section.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_reads_back() {
        let text = "## Goal\n- a\n- b\n\n## Decisions\n\n## State\n- c\n\n## Next step\n\n## Files\n- x.rs\n";
        assert_eq!(Sections::parse(text).to_text(), text);
        assert!(Sections::are_all_in(text) && !Sections::are_all_in("## Goal\n- Decisions: none"));
        let other = "loose words\n**Goal:**\n* a\n### next STEP\n1. go on";
        assert_eq!(
            Sections::parse(other).to_text(),
            "## Goal\n- a\n\n## Decisions\n\n## State\n- loose words\n\n## Next step\n- 1. go on\n\n## Files\n"
        );
    }

    #[test]
    fn of_many_lines_the_newest_stay_and_the_first_goal() {
        let mut sections = Sections::default();
        for n in 0..9 {
            sections.push("Goal", format!("goal {n}"));
            sections.push("State", format!("state {n}"));
        }
        sections.push("State", "state 3".into());
        let text = sections.trimmed(2).to_text();
        assert!(text.starts_with("## Goal\n- goal 0\n- goal 8\n\n"), "{text}");
        assert!(text.contains("## State\n- state 8\n- state 3\n\n"), "said again is newer: {text}");
    }
}
