//! What a run found: figures against bars, and the document that shows them.
//!
//! Must not know: how a figure was measured.

use std::fmt::Write as _;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Micros,
    Seconds,
    PerSecond,
    Times,
    Bytes,
    Count,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            _ if value.is_nan() => "not measured".to_owned(),
            Self::Micros if value >= 10_000.0 => format!("{:.1} ms", value / 1e3),
            Self::Micros if value >= 100.0 => format!("{value:.0} µs"),
            Self::Micros if value >= 10.0 => format!("{value:.1} µs"),
            Self::Micros => format!("{value:.2} µs"),
            Self::Seconds => format!("{value:.2} s"),
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::Times => format!("{value:.2} ×"),
            Self::Bytes if value >= 1_048_576.0 => format!("{:.1} MiB", value / 1_048_576.0),
            Self::Bytes if value >= 10_240.0 => format!("{:.1} KiB", value / 1024.0),
            Self::Bytes => format!("{} B", thousands(value)),
            Self::Count if value.fract() == 0.0 => thousands(value),
            Self::Count => format!("{value:.1}"),
        }
    }
}

/// A whole number in groups of three.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[derive(Clone, Copy, Debug)]
enum Bar {
    None,
    AtMost(f64),
    AtLeast(f64),
}

/// One figure, and the bar it is held to.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: &'static str,
    work: String,
    value: f64,
    unit: Unit,
    bar: Bar,
    note: String,
}

impl Figure {
    /// A figure of the bar called `name`.
    pub(crate) fn new(name: &'static str, work: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { name, work: work.into(), value, unit, bar: Bar::None, note: String::new() }
    }

    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.bar = Bar::AtMost(limit);
        self
    }

    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.bar = Bar::AtLeast(limit);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether the bar is met; `None` without one. What was not measured meets nothing.
    pub(crate) fn is_met(&self) -> Option<bool> {
        match self.bar {
            Bar::None => None,
            Bar::AtMost(limit) => Some(self.value <= limit),
            Bar::AtLeast(limit) => Some(self.value >= limit),
        }
    }

    fn row(&self) -> String {
        let limit = match self.bar {
            Bar::None => String::new(),
            Bar::AtMost(limit) => format!("≤ {}", self.unit.show(limit)),
            Bar::AtLeast(limit) => format!("≥ {}", self.unit.show(limit)),
        };
        let verdict = match self.is_met() {
            None => "",
            Some(true) => "met",
            Some(false) => "**MISSED**",
        };
        let Self { name, work, note, .. } = self;
        format!("| {name} | {work} | {} | {limit} | {verdict} | {note} |", self.unit.show(self.value))
    }
}

/// What one group of benchmarks found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// How it was measured.
    pub(crate) method: &'static str,
    pub(crate) figures: Vec<Figure>,
    /// Markdown that stands behind the table.
    pub(crate) appendix: String,
}

/// The figures of some sections as one table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| | work | figure | bar | | beside it |\n|---|---|---|---|---|---|\n");
    figures.iter().for_each(|figure| text.push_str(&(figure.row() + "\n")));
    text
}

/// The whole document.
pub(crate) fn document(facts: &[(&'static str, String)], sections: &[Section]) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; run it to see your machine. A machine is shared and its disk drifts, so what \
         waits for the\ndisk is a ratio to a raw append of 512 bytes with `fdatasync`, measured in turns with it in the same run. \
         Messages have 512 bytes.\nWhat is sealed says so. Benchmarks are no tests: a bar that is missed here says so and breaks nothing.\n\n",
    );
    text.push_str("| | |\n|---|---|\n");
    for (name, fact) in facts {
        let _ = writeln!(text, "| {name} | {fact} |");
    }
    let judged: Vec<bool> = sections.iter().flat_map(|section| &section.figures).filter_map(Figure::is_met).collect();
    let met = judged.iter().filter(|met| **met).count();
    let _ = writeln!(text, "\n{met} of {} bars are met.", judged.len());
    for section in sections {
        let _ = write!(text, "\n## {}\n\n{}\n", section.title, section.method);
        if !section.figures.is_empty() {
            let _ = write!(text, "\n{}", table(&section.figures));
        }
        if !section.appendix.is_empty() {
            let _ = write!(text, "\n{}\n", section.appendix.trim_end());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_says_whether_its_bar_is_met() {
        let figure = Figure::new("P0", "work", 2.0, Unit::Times);
        assert_eq!(figure.is_met(), None);
        assert_eq!(figure.clone().at_most(2.0).is_met(), Some(true));
        assert_eq!(figure.clone().at_least(2.1).is_met(), Some(false));
        assert!(figure.at_most(1.5).row().contains("| 2.00 × | ≤ 1.50 × | **MISSED** |"));
        assert_eq!(Figure::new("P0", "work", f64::NAN, Unit::Micros).at_most(1.0).is_met(), Some(false));
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(1_234_567.0), "1 234 567");
        assert_eq!(thousands(999.4), "999");
        assert_eq!(Unit::Micros.show(12_345.0), "12.3 ms");
        assert_eq!(Unit::Bytes.show(2048.0), "2 048 B");
    }
}
