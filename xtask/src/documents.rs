//! `cargo xtask docs`: the documents that are made of the program's own definitions.
//!
//! Must not know: what they say.

use std::fs;

use crate::step::{self, Failure};

/// Each document that the program tells, and the arguments with which it does.
const DOCUMENTS: [(&str, &[&str]); 2] =
    [("docs/cli.md", &["reference"]), ("docs/configuration.md", &["config", "--reference"])];

/// Writes each document as the program tells it, and `docs/forms.md` as the tests of forms have its rules.
pub(crate) fn run() -> Result<(), Failure> {
    let forms = ["test", "--quiet", "--package", "sessions-tests", "--test", "forms", "the_document_is_the_table"];
    step::run(step::cargo().args(forms).env("SESSIONS_WRITE_DOCS", "1"))?;
    DOCUMENTS.iter().try_for_each(|(document, arguments)| write(document, arguments))
}

fn write(document: &str, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = step::cargo();
    command.args(["run", "--quiet", "--package", "sessions-cli", "--"]).args(arguments);
    let told = command
        .output()
        .map_err(|error| Failure::new(format!("{} cannot be run: {error}", step::line_of(&command))))?;
    if !told.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&told.stderr)));
    }
    let path = step::root().join(document);
    fs::write(&path, told.stdout)
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
}
