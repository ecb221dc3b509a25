//! A store's URL: which kind of store, and where.
//!
//! Must not know: how a store is opened.

use std::{fmt, path::PathBuf, str::FromStr};

use sessions_domain::nearest::nearest;

/// Names a store.
///
/// ```
/// use sessions_api::StoreUrl;
/// let url: StoreUrl = "sled:./chats".parse()?;
/// assert_eq!(url.to_string(), "sled:./chats");
/// assert!("slead:./chats".parse::<StoreUrl>().unwrap_err().to_string().contains("sled"));
/// # Ok::<(), sessions_api::InvalidStoreUrl>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreUrl {
    /// `memory:` – as long as the process lives.
    Memory,
    /// `sled:PATH` – the default store, in a folder.
    Sled(PathBuf),
}

/// Why a text names no store that can be opened. It never repeats more of the text than its scheme, since the rest may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStoreUrl {
    /// Nothing was given.
    #[error("the store's url is empty; name one as in {AVAILABLE}")]
    Empty,
    /// A path without a kind of store.
    #[error("the store's url says no kind of store; for a folder write sled: before its path")]
    NoScheme,
    /// No such kind.
    #[error("there is no store of kind {scheme:?}{}; name one as in {AVAILABLE}", meant(.nearest))]
    UnknownScheme {
        /// What was given.
        scheme: String,
        /// The known kind that is spelled most like it.
        nearest: Option<&'static str>,
    },
    /// A kind that is known and not part of this build.
    #[error("stores of kind {scheme:?} are not built into this program yet; name one as in {AVAILABLE}")]
    NotBuilt {
        /// The kind.
        scheme: &'static str,
    },
    /// A kind that needs a path, without one.
    #[error("the store's url names no folder; write it behind the colon, as in sled:./chats")]
    NoPath,
    /// A path that begins with `~`, which only a shell knows.
    #[error("a ~ in a store's url is not replaced by your home folder; write the folder's whole path")]
    Tilde,
    /// More than the kind, where there is nothing to add.
    #[error("a store in memory has no name; write memory: alone")]
    MemoryWithName,
}

#[cfg(feature = "sled")]
const AVAILABLE: &str = "sled:PATH or memory:";
#[cfg(not(feature = "sled"))]
const AVAILABLE: &str = "memory:";

/// All kinds that the project knows, built or not, with other spellings of them.
const SCHEMES: [(&str, &str); 9] = [
    ("sled", "sled"),
    ("memory", "memory"),
    ("mem", "memory"),
    ("file", "file"),
    ("sqlite", "sqlite"),
    ("redis", "redis"),
    ("rediss", "redis"),
    ("postgres", "postgres"),
    ("postgresql", "postgres"),
];

fn meant(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!(" (did you mean {name:?}?)")).unwrap_or_default()
}

impl StoreUrl {
    /// The default store in a folder.
    pub fn sled(path: impl Into<PathBuf>) -> Self {
        Self::Sled(path.into())
    }
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        if text.is_empty() {
            return Err(InvalidStoreUrl::Empty);
        }
        let (scheme, rest) = text.split_once(':').ok_or(InvalidStoreUrl::NoScheme)?;
        if !is_scheme(scheme) {
            return Err(InvalidStoreUrl::NoScheme);
        }
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err(InvalidStoreUrl::MemoryWithName),
            "sled" if cfg!(not(feature = "sled")) => Err(InvalidStoreUrl::NotBuilt { scheme: "sled" }),
            "sled" if rest.is_empty() => Err(InvalidStoreUrl::NoPath),
            "sled" if rest.contains('\0') => Err(InvalidStoreUrl::NoPath),
            "sled" if rest == "~" || rest.starts_with("~/") => Err(InvalidStoreUrl::Tilde),
            "sled" => Ok(Self::Sled(PathBuf::from(rest))),
            other => Err(match SCHEMES.iter().find(|(name, kind)| *name == other && name.starts_with(kind)) {
                Some((_, scheme)) => InvalidStoreUrl::NotBuilt { scheme },
                None => InvalidStoreUrl::UnknownScheme { nearest: near(other), scheme },
            }),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sled(path) => write!(f, "sled:{}", path.display()),
        }
    }
}

/// A letter, then letters, digits, `+`, `-`, `.` (RFC 3986, 3.1). One letter alone is a drive.
fn is_scheme(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (2..=32).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_part)
}

fn near(scheme: &str) -> Option<&'static str> {
    let name = nearest(scheme, SCHEMES.iter().map(|(name, _)| *name))?;
    SCHEMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StoreUrl, InvalidStoreUrl> {
        text.parse()
    }

    #[test]
    fn a_memory_store_has_no_name() {
        assert_eq!(parse("memory:"), Ok(StoreUrl::Memory));
        assert_eq!(parse("Memory:"), Ok(StoreUrl::Memory));
        assert_eq!(parse("memory:a"), Err(InvalidStoreUrl::MemoryWithName));
    }

    #[cfg(feature = "sled")]
    #[test]
    fn a_store_on_disk_has_a_path() {
        for path in ["chats", "./chats", "/var/lib/chats", "a:b", "C:\\chats", "a b", "ünï"] {
            assert_eq!(parse(&format!("sled:{path}")), Ok(StoreUrl::sled(path)));
        }
        assert_eq!(parse("sled:"), Err(InvalidStoreUrl::NoPath));
        assert_eq!(parse("sled:a\0b"), Err(InvalidStoreUrl::NoPath));
        assert_eq!(parse("sled:~/chats"), Err(InvalidStoreUrl::Tilde));
    }

    #[cfg(not(feature = "sled"))]
    #[test]
    fn without_the_feature_the_default_store_is_not_built() {
        assert_eq!(parse("sled:chats"), Err(InvalidStoreUrl::NotBuilt { scheme: "sled" }));
    }

    #[test]
    fn what_names_no_store_says_what_to_write_instead() {
        let unknown = |scheme: &str, nearest| InvalidStoreUrl::UnknownScheme { scheme: scheme.to_owned(), nearest };
        for (text, error) in [
            ("", InvalidStoreUrl::Empty),
            ("./chats", InvalidStoreUrl::NoScheme),
            ("/var/lib/chats", InvalidStoreUrl::NoScheme),
            ("C:\\chats", InvalidStoreUrl::NoScheme),
            (":x", InvalidStoreUrl::NoScheme),
            ("a b:c", InvalidStoreUrl::NoScheme),
            ("slde:x", unknown("slde", Some("sled"))),
            ("mem:", unknown("mem", Some("memory"))),
            ("sqllite:x", unknown("sqllite", Some("sqlite"))),
            ("mongodb://x", unknown("mongodb", None)),
            ("file:x", InvalidStoreUrl::NotBuilt { scheme: "file" }),
            ("sqlite:x", InvalidStoreUrl::NotBuilt { scheme: "sqlite" }),
            ("REDIS://x", InvalidStoreUrl::NotBuilt { scheme: "redis" }),
            ("postgresql://x", InvalidStoreUrl::NotBuilt { scheme: "postgres" }),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_error_never_repeats_a_password() {
        for text in ["redis://me:secret@host", "mongodb://me:secret@host", "://secret", "secret"] {
            assert!(!parse(text).unwrap_err().to_string().contains("secret"));
        }
    }
}
