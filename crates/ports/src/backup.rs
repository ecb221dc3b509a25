//! What can be wrong with a backup, or with the place that it is written to or restored into.
//!
//! Must not know: what a backup holds.

use crate::error::StoreError;

/// Why a backup was not made, not believed or not restored. Nothing was changed, and nothing is left of the try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file stands where the backup was to be written.
    #[error("a file of this name is there already, and a backup overwrites nothing; name another file")]
    Exists,
    /// Something stands where the backup was to be restored.
    #[error(
        "the place to restore into holds something already, and a backup is restored into an empty or new folder only; name another folder"
    )]
    Occupied,
    /// Another one writes to, or restores into, the same place.
    #[error("another backup or restore is at work at this place; wait for its end, or name another place")]
    Running,
    /// There is no such file.
    #[error("there is no backup of this name; check how it is spelled")]
    Missing,
    /// The file is no backup.
    #[error("the file is no backup of a store; name one that `backup` wrote")]
    Foreign,
    /// A newer version wrote it.
    #[error("the backup was written by a newer version (format {format}); restore it with that version")]
    Newer {
        /// The format it says.
        format: u32,
    },
    /// It is cut short, or not as it was written.
    #[error("the backup is damaged at byte {at} ({what}); take another one, for nothing of it is restored")]
    Damaged {
        /// Where it was noticed.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Somebody asked it to end.
    #[error("the backup was stopped before its end; start it again")]
    Stopped,
}

impl From<BackupError> for StoreError {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}
