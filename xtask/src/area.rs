//! An area of the tests: the name of a module of tests, or of a file of them.
//!
//! Must not know: which areas there are.

use std::fmt;
use std::path::Path;

use crate::step::Failure;

/// The name of an area, safe to be put on a command line and into a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area(String);

impl Area {
    /// Checks a name: it must be one that a Rust module can have.
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(sound) {
            return Err(Failure::Usage(format!("{name:?} cannot be an area: give the name of a module of tests")));
        }
        Ok(Self(name.to_owned()))
    }

    /// Whether a package has a file of tests by this name (`tests/NAME.rs`, `tests/NAME/main.rs`).
    pub(crate) fn has_a_file(&self, root: &Path) -> Result<bool, Failure> {
        let unreadable = |error| Failure::new(format!("the folder crates cannot be read: {error}"));
        let mut packages = vec![root.join("tests"), root.join("xtask")];
        for entry in root.join("crates").read_dir().map_err(unreadable)? {
            packages.push(entry.map_err(unreadable)?.path());
        }
        let is_in = |package: &Path| {
            let folder = package.join("tests");
            folder.join(format!("{self}.rs")).is_file() || folder.join(&self.0).join("main.rs").is_file()
        };
        Ok(packages.iter().any(|package| is_in(package)))
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step;

    #[test]
    fn files_of_tests_are_found_by_their_name() {
        let has = |name| Area::named(name).unwrap().has_a_file(&step::root()).unwrap();
        assert!(has("directions"));
        assert!(!has("no_such_area"));
    }
}
