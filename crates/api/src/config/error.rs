//! What is wrong with a configuration, all of it, and what of it has no effect.
//!
//! A value never stands in a message: it may be a secret in the wrong place.
//!
//! Must not know: which options there are.

use std::fmt;

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// In a file or text of this name, at a line and a column that count from 1. Both are 0 for the file as a whole.
    File {
        /// Its path or name.
        name: String,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In a variable of the environment.
    Variable(String),
    /// In an argument of a program, or a call of its host.
    Argument(String),
    /// Nowhere: it is what counts when nobody says anything.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: 0, .. } => f.write_str(name),
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) | Self::Argument(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The way to an option: names, and the numbers of the items of lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub(super) Vec<String>);

impl Path {
    pub(super) fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    pub(super) fn below(&self, name: impl Into<String>) -> Self {
        Self(self.0.iter().cloned().chain([name.into()]).collect())
    }

    /// The names on the way.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

/// Longer names are not repeated.
const LONGEST_NAME: usize = 48;

/// A name as it may stand in a message: whatever is no name is not repeated.
pub(super) fn shown(name: &str) -> &str {
    let is_of_names = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '@');
    let is_name = !name.is_empty() && name.chars().count() <= LONGEST_NAME && name.chars().all(is_of_names);
    if is_name { name } else { "…" }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            let dot = if at > 0 { "." } else { "" };
            let name = shown(name);
            if name.contains('.') { write!(f, "{dot}\"{name}\"")? } else { write!(f, "{dot}{name}")? }
        }
        Ok(())
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// No such option.
    #[error("there is no such option")]
    Unknown,
    /// An option that is spelled another way.
    #[error("options are written in small letters with _ between words")]
    Spelling,
    /// Said twice.
    #[error("it is said twice, first at {first}")]
    Twice {
        /// Where it was said first.
        first: Place,
    },
    /// Something else than what belongs there.
    #[error("{expected} belongs here, and this is {found}")]
    Type {
        /// What belongs there.
        expected: String,
        /// What is there.
        found: &'static str,
    },
    /// Below or above what it may be.
    #[error("it has to be {range}")]
    Range {
        /// What it may be.
        range: String,
    },
    /// None of those that there are.
    #[error("it is none of {}", .names.join(", "))]
    NoneOf {
        /// Those that there are.
        names: Vec<&'static str>,
    },
    /// Not of the form that it needs.
    #[error("{0}")]
    Form(String),
    /// A value that cannot be had, with the reason.
    #[error("{0}")]
    Refused(&'static str),
    /// Something that has to be said is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No YAML, or YAML of a kind that a configuration does not need.
    #[error("{0}")]
    Yaml(String),
    /// A file that cannot be read.
    #[error("it cannot be read: {said}")]
    Unreadable {
        /// What kind of failure it was.
        kind: std::io::ErrorKind,
        /// What the system says.
        said: String,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it was said.
    pub place: Place,
    /// About which option; empty when it is about the file.
    pub path: Path,
    /// What is wrong.
    pub what: Wrong,
    /// The known name that is spelled most like it.
    pub nearest: Option<String>,
}

impl ConfigError {
    pub(super) fn new(place: Place, path: Path, what: Wrong) -> Self {
        Self { place, path, what, nearest: None }
    }

    pub(super) fn near(self, nearest: Option<String>) -> Self {
        Self { nearest, ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.what)?;
        match &self.nearest {
            Some(name) => write!(f, " (did you mean {name}?)"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a configuration, in the order of its places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// Each of them; at least one.
    pub fn all(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        match lines.as_slice() {
            [one] => f.write_str(one),
            lines => write!(f, "{} things are wrong with the configuration:\n{}", lines.len(), lines.join("\n")),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that was said and has no effect, or not the one that a person may expect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// An option of a feature that is not built yet.
    NotBuilt {
        /// Where it was said.
        place: Place,
        /// The option.
        path: Path,
        /// The feature.
        feature: &'static str,
    },
    /// A variable of the environment that looks like one of ours.
    UnknownVariable {
        /// Its name.
        name: String,
        /// The known one that is spelled most like it.
        nearest: Option<String>,
    },
    /// As much as is to be kept free of every window is more than some models have, for which it has no effect.
    ReserveTooLarge {
        /// Where it was said.
        place: Place,
        /// The models.
        models: Vec<String>,
    },
    /// Prices that were noted long ago.
    OldPrices {
        /// How many.
        rows: usize,
        /// When the oldest was.
        oldest: sessions_domain::price::Day,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt { place, path, feature } => {
                write!(f, "{place}: {path} has no effect yet: {feature} is not built")
            }
            Self::UnknownVariable { name, nearest } => {
                write!(f, "{} has no effect: no option is named so", shown(name))?;
                match nearest {
                    Some(nearest) => write!(f, " (did you mean {nearest}?)"),
                    None => Ok(()),
                }
            }
            Self::ReserveTooLarge { place, models } => write!(
                f,
                "{place}: tokens.reserve_tokens has no effect for {}: their windows are no larger",
                models.join(", ")
            ),
            Self::OldPrices { rows, oldest } => write!(
                f,
                "{rows} of the prices were noted more than {} days ago, the oldest on {oldest}: costs may be wrong",
                sessions_domain::price::PriceTable::OLD_AFTER_DAYS
            ),
        }
    }
}
