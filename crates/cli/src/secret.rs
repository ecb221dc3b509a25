//! Secrets as people give them: in a file, in the environment, typed. From its first byte on each lies in memory that is wiped.
//!
//! Must not know: what a secret opens.

use std::{env, fs, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

use sessions_api::Passphrase;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A secret has no more bytes than this.
const MOST_BYTES: usize = 4096;

/// Whether the environment has such a variable.
pub(crate) fn is_in_environment(name: &str) -> bool {
    taken(name).is_some()
}

/// The secret in a variable of the environment; `None`: there is none. The environment itself keeps it as long as the process is there.
pub(crate) fn of_environment(name: &str) -> Result<Option<Passphrase>, Failure> {
    let Some(bytes) = taken(name) else { return Ok(None) };
    let text = text_of(&bytes);
    let wrong = || Failure::usage(&format!("{name} is not UTF-8"), "give what is in it in a file instead");
    text.ok_or_else(wrong).map(Some)
}

/// Asking for a variable copies it.
fn taken(name: &str) -> Option<Zeroizing<Vec<u8>>> {
    env::var_os(name).map(|value| Zeroizing::new(value.into_encoded_bytes()))
}

fn text_of(bytes: &[u8]) -> Option<Passphrase> {
    std::str::from_utf8(bytes).ok().map(|text| Passphrase::new(text.to_owned()))
}

/// A secret in a file: its first line.
pub(crate) fn in_file(path: &Path) -> Result<Passphrase, Failure> {
    let about = |error: std::io::Error| Failure::from(error).about(path);
    let file = fs::File::open(path).map_err(about)?;
    let found = file.metadata().map_err(about)?;
    if found.is_file() && found.permissions().mode() & 0o077 != 0 {
        let hint = format!("run: chmod 600 {}", path.display());
        return Err(Failure::usage("others may read the file with the secret", &hint).about(path));
    }
    // With room for all of it, so that no copy is left where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 64));
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(about)?;
    first_line(&bytes).map_err(|failure| failure.about(path))
}

fn first_line(bytes: &[u8]) -> Result<Passphrase, Failure> {
    let line = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => bytes.get(..end).map(|line| line.strip_suffix(b"\r").unwrap_or(line)),
        None => (bytes.len() <= MOST_BYTES).then_some(bytes),
    };
    let too_long = || {
        Failure::usage(&format!("the first line of the file has more than {MOST_BYTES} bytes"), "give a shorter secret")
    };
    let line = line.ok_or_else(too_long)?;
    text_of(line).ok_or_else(|| Failure::usage("the first line of the file is not UTF-8", "write the secret as UTF-8"))
}

/// A passphrase that a person types; one that is new twice.
pub(crate) fn typed(is_new: bool) -> Result<Passphrase, Failure> {
    let nobody = |_| {
        let (variable, option) = if is_new {
            ("SESSIONS_NEW_PASSPHRASE", "--to-passphrase-file or --new-passphrase-file")
        } else {
            ("SESSIONS_PASSPHRASE", "--passphrase-file")
        };
        let hint = format!("give it in a file with {option}, or in {variable}");
        Failure::usage("there is no terminal to type a passphrase at", &hint)
    };
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(Passphrase::new).map_err(nobody);
    if !is_new {
        return ask("Passphrase: ");
    }
    let first = ask("New passphrase: ")?;
    if ask("The same again: ")?.expose() == first.expose() {
        Ok(first)
    } else {
        Err(Failure::usage("the two passphrases differ", "type the same one twice"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_and_never_a_part_of_it() {
        for (bytes, line) in [
            (&b"a b\nc"[..], "a b"),
            (b"a b\r\nc", "a b"),
            (b" a b", " a b"),
            (b"", ""),
            (b"\n", ""),
            ("\u{fc}\n\u{ff}".as_bytes(), "\u{fc}"),
            (b"a\n\xff", "a"),
        ] {
            assert_eq!(first_line(bytes).map(|secret| secret.expose().to_owned()).ok().as_deref(), Some(line));
        }
        let long = [b'x'; MOST_BYTES + 1];
        assert_eq!(first_line(&long[1..]).ok().map(|secret| secret.expose().len()), Some(MOST_BYTES));
        for bytes in [&long[..], b"\xff\xfe\n"] {
            let refused = first_line(bytes).err().map(|failure| failure.message().to_owned()).unwrap_or_default();
            assert!(refused.contains("the first line") && !refused.contains("xxx"), "{refused}");
        }
    }
}
