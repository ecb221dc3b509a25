//! The sections that every summary has, whoever writes it.
//!
//! Must not know: how they are filled.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::extract::cut_to;

/// Their headings, in order.
pub const SECTIONS: [&str; 5] = ["Goal", "Decisions", "State", "Next step", "Files"];

/// The lines of each section.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    lines: [Lines; SECTIONS.len()],
}

impl PartialEq for Sections {
    fn eq(&self, other: &Self) -> bool {
        self.lines.iter().zip(&other.lines).all(|(own, other)| own.in_order().eq(other.in_order()))
    }
}

impl Eq for Sections {}

/// Lines in the order in which each was said last. However many there are, none is compared with all others when one is said.
#[derive(Clone, Debug, Default)]
struct Lines {
    by_number: BTreeMap<u64, Arc<str>>,
    numbers: HashMap<Arc<str>, u64>,
    next: u64,
}

impl Lines {
    /// A line that is said again is newer.
    fn put(&mut self, line: Arc<str>) {
        if let Some(before) = self.numbers.insert(Arc::clone(&line), self.next) {
            self.by_number.remove(&before);
        }
        self.by_number.insert(self.next, line);
        self.next += 1;
    }

    /// The lines, oldest first.
    fn in_order(&self) -> impl DoubleEndedIterator<Item = &Arc<str>> {
        self.by_number.values()
    }

    fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// So many of the oldest and of the newest; `None`: there are no more than these.
    fn ends(&self, oldest: usize, newest: usize) -> Option<Self> {
        let left_out = self.by_number.len().checked_sub(oldest + newest).filter(|left_out| *left_out > 0)?;
        let mut ends = Self::default();
        let kept = self.in_order().take(oldest).chain(self.in_order().skip(oldest + left_out));
        kept.for_each(|line| ends.put(Arc::clone(line)));
        Some(ends)
    }
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
            lines.put(line.into());
        }
    }

    /// Adds the lines of newer sections. Of what comes next only the newest counts.
    pub(super) fn add(&mut self, newer: &Self) {
        for ((section, lines), own) in SECTIONS.iter().zip(&newer.lines).zip(&mut self.lines) {
            if *section == "Next step" && !lines.is_empty() {
                *own = Lines::default();
            }
            lines.in_order().for_each(|line| own.put(Arc::clone(line)));
        }
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(Lines::is_empty)
    }

    /// At most so many lines of each section: the newest, and the first goal.
    #[must_use]
    pub(super) fn trimmed(&self, keep: usize) -> Self {
        let mut after = Self::default();
        for ((section, lines), kept) in SECTIONS.iter().zip(&self.lines).zip(&mut after.lines) {
            let first = usize::from(*section == "Goal" && keep > 1);
            *kept = lines.ends(first, keep.saturating_sub(first)).unwrap_or_else(|| lines.clone());
        }
        after
    }

    /// The same with no line longer than this, in letters.
    #[must_use]
    pub(super) fn cut(&self, longest: usize) -> Self {
        let mut after = Self::default();
        for (lines, cut) in self.lines.iter().zip(&mut after.lines) {
            lines.in_order().for_each(|line| cut.put(cut_to(line, longest).into()));
        }
        after
    }

    /// The text of it.
    pub fn to_text(&self) -> String {
        let section = |(name, lines): (&&str, &Lines)| {
            let lines: String = lines.in_order().map(|line| format!("- {line}\n")).collect();
            format!("## {name}\n{lines}")
        };
        SECTIONS.iter().zip(&self.lines).map(section).collect::<Vec<_>>().join("\n")
    }
}

/// The section that a line begins: its name alone, as a heading of any form.
fn heading(line: &str) -> Option<&'static str> {
    let name = line.trim_matches(['#', '*', ':', ' ']);
    SECTIONS.into_iter().find(|section| section.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn each_line_stands_where_it_was_said_last(said in prop::collection::vec("[a-h]", 0..40), keep in 1_usize..12) {
            let (mut sections, mut plain) = (Sections::default(), Vec::new());
            for line in said {
                sections.push("Goal", line.clone());
                plain.retain(|known| *known != line);
                plain.push(line);
            }
            let (whole, again) = (sections.trimmed(usize::MAX), Sections::parse(&sections.to_text()));
            prop_assert!(whole == sections && again == sections);
            if plain.len() > keep {
                let first = usize::from(keep > 1);
                plain.drain(first..plain.len() - keep + first);
            }
            let lines: String = plain.iter().map(|line| format!("- {line}\n")).collect();
            let text = sections.trimmed(keep).to_text();
            prop_assert!(text.starts_with(&format!("## Goal\n{lines}\n## ")), "{}", text);
        }
    }
}
