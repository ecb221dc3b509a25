//! `cargo xtask tidy`: what no compiler checks. Every source says what it is for, nothing is left half done, no file grows without a
//! reason, and no link leads nowhere.
//!
//! Must not know: what the sources do.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::step::{self, Failure};

/// Lines of code a file may have: neither blank nor comment, its tests not counted.
const MAX_CODE_LINES: usize = 500;

/// Files that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// What must not stay in a source. Put together here, so that this file does not find itself.
const LEFTOVERS: [&str; 4] =
    [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore"), concat!("FIX", "ME")];

/// Checks the workspace and names all that is untidy.
pub(crate) fn run() -> Result<(), Failure> {
    let findings = findings(&step::root())?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { Err(Failure::new(format!("{} untidy places", findings.len()))) }
}

fn findings(root: &Path) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut findings = Vec::new();
    for path in &files {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let is = |extension: &str| path.extension().is_some_and(|found| found == extension);
        if is("rs") {
            findings.extend(source_findings(&name, &read(path)?));
        } else if is("md") {
            findings.extend(link_findings(path, &name, &read(path)?)?);
        }
    }
    for (name, reason) in LONG_FILES {
        let still_long = read(&root.join(name)).is_ok_and(|text| code_lines(&text) > MAX_CODE_LINES);
        if !still_long || reason.is_empty() {
            findings.push(format!("{name}: needs no exception for its length any more, or has none to give"));
        }
    }
    Ok(findings)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error| Failure::new(format!("{} cannot be read: {error}", folder.display()));
    for entry in folder.read_dir().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if entry.file_type().map_err(unreadable)?.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                collect(&entry.path(), files)?;
            }
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display())))
}

fn source_findings(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(format!("{name}:1: says not what it is for: begin with a line of //!"));
    }
    for (index, line) in text.lines().enumerate() {
        for leftover in LEFTOVERS.iter().filter(|leftover| line.contains(**leftover)) {
            findings.push(format!("{name}:{}: {leftover} is left over", index + 1));
        }
    }
    let lines = code_lines(text);
    if !is_all_tests(name) && lines > MAX_CODE_LINES && !LONG_FILES.iter().any(|(long, _)| *long == name) {
        findings.push(format!("{name}: {lines} lines of code: split it by what it is about, or list it with a reason"));
    }
    findings
}

/// Lines that are neither blank nor comment, up to the file's tests.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

fn is_all_tests(name: &str) -> bool {
    let path = Path::new(name);
    path.file_name().is_some_and(|file| file == "tests.rs")
        || path.parent().is_some_and(|folder| folder.components().any(|part| part.as_os_str() == "tests"))
}

fn link_findings(path: &Path, name: &str, text: &str) -> Result<Vec<String>, Failure> {
    let mut findings = Vec::new();
    let folder = path.parent().unwrap_or(path);
    for (line, link) in links(text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
        let target = if file.is_empty() { path.to_path_buf() } else { folder.join(file) };
        if !target.exists() {
            findings.push(format!("{name}:{line}: the link {link} leads nowhere"));
        } else if let Some(anchor) = anchor
            && target.extension().is_some_and(|found| found == "md")
            && !anchors(&read(&target)?).contains(anchor)
        {
            findings.push(format!("{name}:{line}: the link {link} leads to no heading"));
        }
    }
    Ok(findings)
}

/// The lines of a document that are not in a fenced block, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

/// The targets of a document's links, each with its line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece between backticks is code.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for piece in plain.split("](").skip(1) {
            let target = piece.split([')', ' ']).next().unwrap_or_default();
            links.push((number, target.trim_matches(['<', '>']).to_owned()));
        }
    }
    links
}

/// The names under which a document's headings can be linked to.
fn anchors(text: &str) -> HashSet<String> {
    let anchor = |heading: &str| -> String {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
    };
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| anchor(line.trim_start_matches('#')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        assert_eq!(findings(&step::root()), Ok(Vec::new()));
    }

    #[test]
    fn a_source_must_say_what_it_is_for_and_leave_nothing_over() {
        assert_eq!(source_findings("a.rs", "//! What.\nfn main() {}\n"), Vec::<String>::new());
        assert_eq!(source_findings("a.rs", "fn main() {}\n").len(), 1);
        for leftover in LEFTOVERS {
            let findings = source_findings("a.rs", &format!("//! What.\n\n    {leftover}\n"));
            assert_eq!(findings, [format!("a.rs:3: {leftover} is left over")]);
        }
    }

    #[test]
    fn only_code_before_the_tests_counts() {
        let code = "//! What.\n".to_owned() + &"let a = 1;\n".repeat(MAX_CODE_LINES);
        let more = format!("{code}let b = 2;\n");
        let tests = format!("{code}\n// why\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x();\n".repeat(900));
        assert_eq!(source_findings("crates/a/src/b.rs", &code), Vec::<String>::new());
        assert_eq!(source_findings("crates/a/src/b.rs", &tests), Vec::<String>::new());
        assert_eq!(source_findings("crates/a/src/b.rs", &more).len(), 1);
        for exempt in ["crates/a/tests/b.rs", "tests/tests/b.rs", "crates/a/src/b/tests.rs"] {
            assert_eq!(source_findings(exempt, &more), Vec::<String>::new());
        }
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "[a](b.md) and [c](<d.md>) `[no](no.md)`\n```text\n[no](no.md)\n```\n![e](f.png \"title\")\n";
        assert_eq!(links(text), [(1, "b.md".to_owned()), (1, "d.md".to_owned()), (5, "f.png".to_owned())]);
    }

    #[test]
    fn a_link_must_lead_to_a_file_and_a_heading() {
        let readme = step::root().join("README.md");
        let text = "# One `two`, three\n[a](LICENSE) [b](#one-two-three) [c](https://example.org/x)\n";
        fs::metadata(&readme).unwrap();
        assert_eq!(link_findings(&readme, "x", "[a](LICENSE) [c](https://example.org/x)"), Ok(Vec::new()));
        assert_eq!(link_findings(&readme, "x", "[a](no-such.md)").unwrap(), ["x:1: the link no-such.md leads nowhere"]);
        assert_eq!(
            link_findings(&readme, "x", "[a](#no-such)").unwrap(),
            ["x:1: the link #no-such leads to no heading"]
        );
        assert!(anchors(text).contains("one-two-three"));
    }
}
