//! `backup` and `restore-backup`.
//!
//! Must not know: what a backup holds.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;
use sessions_api::{BackupProgress, Finding, SessionError, StoreUrl, maintenance};

use crate::{
    failure::Failure,
    program::Program,
    progress,
    table::{counted, in_hex},
    upkeep::print_finding,
};

#[derive(Serialize)]
struct BackupShape {
    file: String,
    sessions: u64,
    segments: u64,
    bodies: u64,
    bytes: u64,
    digest: String,
    took_ms: u64,
}

#[derive(Serialize)]
struct RestoreShape {
    store: String,
    sessions: u64,
    records: u64,
    bytes: u64,
    digest: String,
    findings: usize,
    took_ms: u64,
}

/// `backup`
pub(crate) async fn backup(program: &Program, file: PathBuf) -> Result<(), Failure> {
    let report = program
        .with_sessions(async |sessions| {
            let progress = BackupProgress::default();
            let work = async { Ok(sessions.backup_with(&file, &progress).await?) };
            drawn(program, "writing the backup", &progress, work).await.map_err(|failure| failure.about(&file))
        })
        .await?;
    let shape = BackupShape {
        file: report.path.display().to_string(),
        sessions: report.sessions,
        segments: report.info.segments,
        bodies: report.info.bodies,
        bytes: report.info.bytes,
        digest: in_hex(&report.info.digest),
        took_ms: millis(report.took),
    };
    if program.out.is_json() {
        return program.out.object(&shape);
    }
    let (sessions, bytes) = (counted(shape.sessions, "session"), counted(shape.bytes, "byte"));
    program.out.line(&format!("{}: {sessions}, {bytes}, read back as it was written", shape.file))?;
    program.out.line(&format!("sha-256 {}", shape.digest))
}

/// `restore-backup`
pub(crate) async fn restore(program: &Program, file: PathBuf) -> Result<(), Failure> {
    let StoreUrl::Sled(folder) = program.url()? else {
        return Err(SessionError::Configuration(Box::new(maintenance::NothingOnDisk)).into());
    };
    let progress = BackupProgress::default();
    let work = async { Ok(maintenance::restore_backup_with(&file, &folder, &progress).await?) };
    let report = drawn(program, "restoring", &progress, work).await.map_err(|failure| failure.about(&file))?;
    let verified = &report.verified;
    let shape = RestoreShape {
        store: program.url()?.to_string(),
        sessions: verified.sessions,
        records: verified.records,
        bytes: report.info.bytes,
        digest: in_hex(&report.info.digest),
        findings: verified.findings.len(),
        took_ms: millis(report.took),
    };
    let findings: Vec<&Finding> = verified.findings.iter().collect();
    for finding in findings {
        print_finding(program, finding)?;
    }
    if program.out.is_json() {
        program.out.object(&shape)?;
    } else {
        let (sessions, records) = (counted(shape.sessions, "session"), counted(shape.records, "record"));
        program.out.line(&format!("{}: {sessions}, {records}, made from {}", shape.store, file.display()))?;
        program.out.notice("it is the same store with the same id: go on in one of the two, not in both");
    }
    if verified.is_sound() { Ok(()) } else { Err(Failure::told(Failure::DAMAGED)) }
}

/// Does the work, draws how far it is, and ends it at Ctrl-C.
async fn drawn<T>(
    program: &Program,
    what: &'static str,
    progress: &BackupProgress,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    progress::drawn(&program.out, what, || (progress.done(), progress.total()), || progress.stop(), work).await
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
