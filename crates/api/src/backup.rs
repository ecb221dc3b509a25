//! Backups of the store that a manager keeps its sessions in.
//!
//! Must not know: what a backup holds.

use std::path::Path;

use sessions_app::SessionError;
use sessions_infra::sled::{
    self, BackupInfo, BackupProgress, BackupReport, BackupSchedule, RestoreReport, ScheduledBackups, SledStore,
};

use crate::{
    SessionManager,
    maintenance::{NothingOnDisk, blocking},
};

impl SessionManager {
    /// Writes a backup of the store into a new file, while it is used: everything that was acknowledged when this was called.
    ///
    /// # Errors
    /// As [`SledStore::backup`]; [`SessionError::Configuration`] with [`NothingOnDisk`] when the manager was not opened by the URL of a
    /// store on disk.
    pub async fn backup(&self, file: impl AsRef<Path>) -> Result<BackupReport, SessionError> {
        self.backup_with(file, &BackupProgress::default()).await
    }

    /// The same, telling how far it is, and ended when that is asked.
    ///
    /// # Errors
    /// As [`Self::backup`], and [`sessions_ports::BackupError::Stopped`].
    pub async fn backup_with(
        &self,
        file: impl AsRef<Path>,
        progress: &BackupProgress,
    ) -> Result<BackupReport, SessionError> {
        Ok(self.on_disk()?.backup(file.as_ref(), progress).await?)
    }

    /// Makes backups in the background, until what this gives is dropped or the manager is shut down, which waits for the one that is at work to be
    /// given up.
    ///
    /// # Errors
    /// [`SessionError::Configuration`] with an [`InvalidSchedule`](sessions_infra::sled::InvalidSchedule) or [`NothingOnDisk`].
    pub fn schedule_backups(&self, schedule: BackupSchedule) -> Result<ScheduledBackups, SessionError> {
        let scheduled = self.on_disk()?.schedule_backups(schedule);
        let scheduled = scheduled.map_err(|invalid| SessionError::Configuration(Box::new(invalid)))?;
        let stopping = self.stopping();
        self.spawn(scheduled.ended_with(async move { stopping.asked().await }));
        Ok(scheduled)
    }

    fn on_disk(&self) -> Result<&SledStore, SessionError> {
        self.sled_store().ok_or_else(|| SessionError::Configuration(Box::new(NothingOnDisk)))
    }
}

/// Ends work that nobody waits for any more.
struct StopUnheard(BackupProgress);

impl Drop for StopUnheard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Checks every digest of a backup. Changes nothing.
///
/// # Errors
/// As [`sled::verify_backup`].
pub async fn verify_backup(file: impl AsRef<Path>) -> Result<BackupInfo, SessionError> {
    let (file, progress) = (file.as_ref().to_owned(), BackupProgress::default());
    let _unheard = StopUnheard(progress.clone());
    blocking(move || Ok(sled::verify_backup(&file, &progress)?)).await
}

/// Makes a store from a backup, in a folder that is empty or not there yet, and checks it. The whole store is there or nothing.
///
/// It is the same store, with the same id: receipts, places and idempotency keys hold in it. So do not go on in both: two sessions
/// of one id would grow apart, and what one of them gives would be refused, or be another record, in the other.
///
/// # Errors
/// As [`sled::restore_backup`].
pub async fn restore_backup(file: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<RestoreReport, SessionError> {
    let progress = BackupProgress::default();
    let _unheard = StopUnheard(progress.clone());
    restore_backup_with(file, folder, &progress).await
}

/// The same, telling how far it is, and ended when that is asked. Dropping the future does not end it.
///
/// # Errors
/// As [`restore_backup`], and [`sessions_ports::BackupError::Stopped`].
pub async fn restore_backup_with(
    file: impl AsRef<Path>,
    folder: impl AsRef<Path>,
    progress: &BackupProgress,
) -> Result<RestoreReport, SessionError> {
    let (file, folder, progress) = (file.as_ref().to_owned(), folder.as_ref().to_owned(), progress.clone());
    blocking(move || Ok(sled::restore_backup(&file, &folder, &progress)?)).await
}
