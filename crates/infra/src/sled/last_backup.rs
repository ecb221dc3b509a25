//! How the last backup of a store went, in a small file of its folder (`BACKUP`). It belongs to no log and goes into no backup.
//!
//! Must not know: how backups are made.

use std::{fs, path::Path};

use sessions_domain::{Moment, chain};
use sessions_ports::{BackupError, StoreError};

use super::{backup::BackupReport, folder};

const NAME: &str = "BACKUP";

/// How the last backup of a store went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastBackup {
    /// When it was begun.
    pub at: Moment,
    /// The file that it was to be, as it was named.
    pub file: String,
    /// What became of it.
    pub outcome: LastOutcome,
}

/// What became of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastOutcome {
    /// It was written, read back and found as it was written.
    Verified {
        /// Bytes of the file.
        bytes: u64,
        /// The digest over all of it.
        digest: [u8; 32],
    },
    /// There is none.
    Failed(String),
}

impl LastBackup {
    /// What is kept of an outcome.
    pub(crate) fn of(at: Moment, path: &Path, outcome: &Result<BackupReport, StoreError>) -> Self {
        let outcome = match outcome {
            Ok(report) => LastOutcome::Verified { bytes: report.info.bytes, digest: report.info.digest },
            Err(error) => LastOutcome::Failed(in_one_line(&error.to_string())),
        };
        Self { at, file: in_one_line(&path.display().to_string()), outcome }
    }

    /// Whether an outcome is worth to be kept: that somebody stopped it, or closed the store, says nothing about backups.
    pub(crate) fn is_worth(outcome: &Result<BackupReport, StoreError>) -> bool {
        let is_nobodys = |error: &StoreError| {
            matches!(error, StoreError::Closed | StoreError::Backup(BackupError::Stopped | BackupError::Running))
        };
        !outcome.as_ref().is_err_and(is_nobodys)
    }

    pub(crate) fn write(&self, root: &Path) -> Result<(), StoreError> {
        let outcome = match &self.outcome {
            LastOutcome::Verified { bytes, digest } => format!("verified {bytes} {}", chain::to_hex(digest)),
            LastOutcome::Failed(why) => format!("failed {why}"),
        };
        let text = format!("at {}\n{outcome}\nfile {}\n", self.at, self.file);
        let new = root.join(NAME).with_extension("new");
        folder::write_durably(&new, &root.join(NAME), text.as_bytes(), "keeping how the backup went")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let at = Moment::parse(lines.next()?.strip_prefix("at ")?)?;
        let outcome = match lines.next()?.split_once(' ')? {
            ("verified", what) => {
                let (bytes, digest) = what.split_once(' ')?;
                LastOutcome::Verified { bytes: bytes.parse().ok()?, digest: chain::from_hex(digest)?.try_into().ok()? }
            }
            ("failed", why) => LastOutcome::Failed(why.to_owned()),
            _ => return None,
        };
        Some(Self { at, file: lines.next()?.strip_prefix("file ")?.to_owned(), outcome })
    }
}

/// How the last backup of the store in a folder went; `None` when there was none, or nothing tells of it. The store may be open.
pub fn last_backup(root: &Path) -> Option<LastBackup> {
    LastBackup::parse(&fs::read_to_string(root.join(NAME)).ok()?)
}

fn in_one_line(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last_backup(folder.path()), None);
        let at = Moment::from_millis(1_763_690_000_000);
        let verified = LastOutcome::Verified { bytes: 7, digest: [9; 32] };
        for outcome in [verified, LastOutcome::Failed("no space; free some".to_owned())] {
            let last = LastBackup { at, file: "/a b/c.sessions".to_owned(), outcome };
            last.write(folder.path()).unwrap();
            assert_eq!(last_backup(folder.path()), Some(last));
        }
        let refused = Err(StoreError::Backup(BackupError::Exists));
        let last = LastBackup::of(at, Path::new("a\nfile b"), &refused);
        last.write(folder.path()).unwrap();
        assert_eq!(last_backup(folder.path()).unwrap().file, "a\u{fffd}file b");
        fs::write(folder.path().join(NAME), "at noon").unwrap();
        assert_eq!(last_backup(folder.path()), None);
    }
}
