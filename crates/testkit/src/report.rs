//! How the laws went: what was kept, what does not apply and why, and every violation.
//!
//! Must not know: how laws are run.

use std::fmt;

use serde::Serialize;

/// A law that was broken.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The law.
    pub law: &'static str,
    /// What it demands.
    pub demands: String,
    /// What was seen instead.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    demands: {}\n    seen:    {}", self.law, self.demands, self.seen)
    }
}

/// As [`Display`](fmt::Display), since a test that fails shows this form.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Violation {}

/// A law that says nothing about what it was tried on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inapplicable {
    /// The law.
    pub law: &'static str,
    /// Why not.
    pub why: String,
}

/// How one law went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Kept,
    /// It does not apply.
    Skipped(Inapplicable),
    /// It was broken.
    Broken(Violation),
}

/// How all laws went.
///
/// Its [`Display`](fmt::Display) is for people. As JSON it is an object with `kit`, `store`, `laws` (their number), `kept` (names), `skipped` (`law`,
/// `why`) and `violations` (`law`, `demands`, `seen`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the laws were tried on, as it calls itself.
    pub store: String,
    /// Laws that held.
    pub kept: Vec<&'static str>,
    /// Laws that do not apply, with the reason.
    pub skipped: Vec<Inapplicable>,
    /// Laws that were broken, with all that is known of it.
    pub violations: Vec<Violation>,
}

/// The version of this crate, by whose laws a report was made.
const KIT: &str = env!("CARGO_PKG_VERSION");

impl Report {
    /// Laws that were tried, those that do not apply included.
    pub fn laws(&self) -> usize {
        self.kept.len() + self.skipped.len() + self.violations.len()
    }

    /// True when no law was broken, and some held.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && !self.kept.is_empty()
    }

    /// True when this law was broken.
    pub fn broke(&self, law: &str) -> bool {
        self.violations.iter().any(|violation| violation.law == law)
    }

    /// The report as one line of JSON.
    pub fn to_json(&self) -> String {
        // Names, texts and numbers: there is nothing in it that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(crate) fn add(&mut self, law: &'static str, verdict: Verdict) {
        match verdict {
            Verdict::Kept => self.kept.push(law),
            Verdict::Skipped(skipped) => self.skipped.push(skipped),
            Verdict::Broken(violation) => self.violations.push(violation),
        }
    }

    /// The report of a suite that could not run.
    pub(crate) fn of_nothing(seen: &str) -> Self {
        let demands = "The suite runs.".to_owned();
        Self { violations: vec![Violation { law: "", demands, seen: seen.to_owned() }], ..Self::default() }
    }
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            kit: &'static str,
            store: &'a str,
            laws: usize,
            kept: &'a [&'static str],
            skipped: &'a [Inapplicable],
            violations: &'a [Violation],
        }
        let Self { store, kept, skipped, violations } = self;
        Written { kit: KIT, store, laws: self.laws(), kept, skipped, violations }.serialize(serializer)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, kept, skipped, violations } = self;
        writeln!(
            f,
            "{store}: {} laws of sessions-testkit {KIT}: {} kept, {} do not apply, {} broken",
            self.laws(),
            kept.len(),
            skipped.len(),
            violations.len()
        )?;
        for violation in violations {
            write!(f, "\nbroken: {violation}")?;
        }
        for Inapplicable { law, why } in skipped {
            write!(f, "\ndoes not apply: {law}: {why}")?;
        }
        let mut group = "";
        for (of, law) in kept.iter().filter_map(|law| law.split_once("::")) {
            let begins = of != group;
            group = of;
            if begins { write!(f, "\nkept: {of}: {law}")? } else { write!(f, ", {law}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report { store: "mine".to_owned(), ..Report::default() };
        let violation = Violation { law: "a::three", demands: "Three.".to_owned(), seen: "four".to_owned() };
        report.add("a::one", Verdict::Kept);
        report.add("a::two", Verdict::Kept);
        report.add("a::three", Verdict::Broken(violation));
        report.add("b::one", Verdict::Kept);
        report.add("b::two", Verdict::Skipped(Inapplicable { law: "b::two", why: "it has no disk".to_owned() }));
        report
    }

    #[test]
    fn a_report_tells_people_all_there_is() {
        let expected = format!(
            "mine: 5 laws of sessions-testkit {KIT}: 3 kept, 1 do not apply, 1 broken\n\
             \nbroken: a::three\n    demands: Three.\n    seen:    four\
             \ndoes not apply: b::two: it has no disk\
             \nkept: a: one, two\nkept: b: one"
        );
        assert_eq!(report().to_string(), expected);
        assert!(!report().is_clean() && report().broke("a::three") && !report().broke("a::one"));
    }

    #[test]
    fn a_report_tells_programs_all_there_is() {
        let expected = format!(
            r#"{{"kit":"{KIT}","store":"mine","laws":5,"kept":["a::one","a::two","b::one"],"skipped":[{{"law":"b::two","why":"it has no disk"}}],"violations":[{{"law":"a::three","demands":"Three.","seen":"four"}}]}}"#
        );
        assert_eq!(report().to_json(), expected);
    }

    #[test]
    fn a_suite_that_did_not_run_is_not_clean() {
        assert!(!Report::default().is_clean());
        assert!(!Report::of_nothing("no thread").is_clean());
    }
}
