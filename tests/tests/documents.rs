//! The documents name things that are there.
//!
//! Must not know: any crate's code.

#[cfg(test)]
mod documents {
    use std::{fs, path::Path};

    fn sources(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                sources(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// Each test that `docs/ARCHITECTURE.md` names as the keeper of an invariant is a function somewhere.
    #[test]
    fn the_tests_that_hold_the_invariants_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let document = fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
        let (_, rest) = document.split_once("\n## Invariants\n").unwrap();
        let (invariants, _) = rest.split_once("\n## ").unwrap();
        let mut code = String::new();
        ["crates", "tests"].iter().for_each(|folder| sources(&root.join(folder), &mut code));
        let names: Vec<&str> = invariants.split('`').skip(1).step_by(2).collect();
        assert!(names.len() >= 20, "{names:?}");
        for name in names {
            assert!(code.contains(&format!("fn {name}(")), "no test {name}");
        }
    }
}
