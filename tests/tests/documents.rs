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

    /// The rows of faults and threats to what is sealed.
    const ROWS: std::ops::RangeInclusive<u8> = 15..=20;

    /// Each test that the table of proofs in `docs/security.md` names is a test in the file that it links to, which nobody switched off, and says a figure.
    #[test]
    fn the_tests_that_show_what_is_sealed_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let document = fs::read_to_string(root.join("docs/security.md")).unwrap();
        let (_, rest) = document.split_once("\n## What shows it\n").unwrap();
        let (table, _) = rest.split_once("\n## ").unwrap();
        let rows: Vec<Vec<&str>> =
            table.lines().filter(|line| line.starts_with("| ")).map(|line| line.split(" | ").collect()).collect();
        // Behind the heading.
        let rows = &rows[1..];
        assert!(rows.len() >= 30, "{}", rows.len());
        let mut shown = std::collections::BTreeSet::new();
        for row in rows {
            let [number, holds, test, seen] = row.as_slice() else { panic!("four cells: {row:?}") };
            shown.insert(number.trim_start_matches("| ").parse::<u8>().unwrap());
            assert!(!holds.is_empty() && !seen.trim_end_matches('|').trim().is_empty(), "{row:?}");
            let Some((name, file)) = test.strip_prefix("[`").and_then(|test| test.split_once("`](../")) else {
                assert_eq!(*test, "[benchmark](benchmarks.md#keys)");
                continue;
            };
            let file = file.strip_suffix(')').unwrap();
            let code = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let name = name.rsplit("::").next().unwrap();
            let (before, behind) =
                code.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("{file} has no {name}"));
            let attributes = before.rsplit("\n\n").next().unwrap();
            assert!(attributes.contains("#[test]") || attributes.contains("#[tokio::test"), "{name} is no test");
            assert!(!attributes.contains("ignore"), "{name} is switched off");
            let body = behind.split("#[t").next().unwrap();
            assert!(body.contains("figure"), "{name} says no figure");
        }
        assert!(ROWS.eq(shown), "each row is shown");
    }
}
