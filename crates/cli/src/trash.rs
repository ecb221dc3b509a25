//! The trash, and deleting for good: `delete`, `restore`.
//!
//! Must not know: what stays for forks; the library does.

use serde::Serialize;
use sessions_api::{
    Deletion, DeletionReport, DeletionStep, Forks, LostToFork, SessionError, SessionId, SessionManager, StoreError,
};

use crate::{
    arguments::Delete,
    failure::Failure,
    life::told,
    program::Program,
    progress::{Progress, unless_interrupted},
    table::counted,
};

#[derive(Serialize)]
struct Trashed {
    id: SessionId,
    /// True when it is in the trash now.
    trashed: bool,
    /// False when it was there already.
    changed: bool,
    /// True when it had been deleted for good before.
    was_gone: bool,
}

#[derive(Serialize)]
struct Deleted {
    id: SessionId,
    #[serde(flatten)]
    report: DeletionReport,
}

/// `delete`
pub(crate) async fn delete(program: &Program, wish: Delete) -> Result<(), Failure> {
    if wish.cascade && !wish.forever && !wish.shred {
        let hint = "add --forever to delete the session and its forks for good, or --shred";
        return Err(Failure::usage("only what is deleted for good takes its forks along", hint));
    }
    program
        .with_sessions(async |sessions| {
            let id = named(sessions, &wish.session).await?;
            if wish.forever || wish.shred {
                forever(program, sessions, id, &wish).await
            } else {
                trash(program, sessions, id).await
            }
        })
        .await
}

/// The session of a name, whatever became of it: deleting twice is fine.
async fn named(sessions: &SessionManager, name: &str) -> Result<SessionId, Failure> {
    match sessions.find_any(name).await {
        Ok(session) => Ok(session.id()),
        Err(SessionError::Gone { session }) => Ok(session),
        // Nobody can read what it is. The error may name another session, of which it inherits.
        Err(error) if error.is_unreadable() || is_corrupt(&error) => Ok(sessions.find_unread(name).await?),
        Err(error) => Err(error.into()),
    }
}

fn is_corrupt(error: &SessionError) -> bool {
    matches!(error, SessionError::Store(StoreError::Corrupt { .. }))
}

fn is_unconfirmed(error: &SessionError) -> bool {
    matches!(error, SessionError::Store(error) if error.is_unconfirmed())
}

async fn trash(program: &Program, sessions: &SessionManager, id: SessionId) -> Result<(), Failure> {
    let (changed, was_gone) = match sessions.trash(id).await {
        Ok(changed) => (changed, false),
        Err(SessionError::Gone { .. }) => (false, true),
        // What is put into the trash is written to once more.
        Err(error) if is_unconfirmed(&error) => {
            let hint = "restore a backup, or delete the session for good with --forever or --shred";
            return Err(Failure::from(error).with_hint(hint));
        }
        Err(error) if error.is_unreadable() => {
            let hint =
                "put the folder `keys` back from a backup, or delete the session for good with --forever or --shred";
            return Err(Failure::from(error).with_hint(hint));
        }
        Err(error) => return Err(error.into()),
    };
    if program.out.is_json() {
        return program.out.object(&Trashed { id, trashed: !was_gone, changed, was_gone });
    }
    program.out.line(&match (changed, was_gone) {
        (_, true) => format!("{id} was deleted for good before"),
        (true, false) => format!("{id} is in the trash; `sessions restore {id}` brings it back"),
        (false, false) => format!("{id} is in the trash already"),
    })
}

async fn forever(program: &Program, sessions: &SessionManager, id: SessionId, wish: &Delete) -> Result<(), Failure> {
    let deletion = if wish.shred { Deletion::shredding() } else { Deletion::default() };
    let deletion = match (wish.cascade, wish.detach) {
        (true, _) => deletion.forks(Forks::Cascade),
        (false, true) => deletion.forks(Forks::Detach),
        (false, false) => deletion,
    };
    let deletion = if wish.forget_source { deletion.forgetting_source() } else { deletion };
    let deletion = if wish.accept_loss { deletion.accepting_loss() } else { deletion };
    let deletion = program.durability.into_iter().fold(deletion, Deletion::durability);
    let progress = Progress::of(&program.out, "giving forks what they inherit", 0);
    let step = |step| {
        if let DeletionStep::Detaching { done, of, .. } = step {
            progress.stand_at(done, of);
        }
    };
    // Broken off it is gone on with when it is asked for again.
    let work = async {
        sessions.delete_told(id, deletion, step).await.map_err(|error| match error.is_unreadable() || is_corrupt(&error) {
            true if wish.detach && !wish.accept_loss => Failure::from(error).with_hint(
                "its forks would lose what cannot be read: repair, or put back a copy of `keys`; or give --accept-loss, and they have it as lost",
            ),
            _ => error.into(),
        })
    };
    let report = unless_interrupted(work).await?;
    drop(progress);
    if program.out.is_json() {
        return program.out.object(&Deleted { id, report });
    }
    let out = &program.out;
    if report.was_gone {
        out.line(&format!("{id} was deleted for good before"))?;
    } else {
        let (records, bytes) = (counted(report.records, "record"), counted(report.bytes, "byte"));
        out.line(&format!("{id} is deleted for good: {records}, {bytes}"))?;
    }
    match report.erased {
        Some(erased) => out.line(&format!(
            "its keys are destroyed ({}): slot {} was read back at {}; backups and what the disk itself keeps aside are outside of that",
            erased.how, erased.slot, erased.at
        ))?,
        None if wish.shred && report.kept > 0 => {
            out.line("its keys are not destroyed: a fork was made meanwhile and needs them")?;
        }
        None if wish.shred => out.line(
            "nothing says that its keys are destroyed: sessions that are not yours inherit from it, or nothing told where they lay; see `verify`",
        )?,
        None => {}
    }
    if report.kept > 0 {
        let heirs: Vec<String> = report.heirs.iter().map(ToString::to_string).collect();
        out.line(&format!(
            "up to record {} it stays for {}: {}",
            report.kept,
            counted(heirs.len() as u64, "fork"),
            heirs.join(", ")
        ))?;
    }
    for ground in &report.grounds {
        out.line(&format!("and with it what an import had brought along for it: {ground}"))?;
    }
    for LostToFork { fork, records } in &report.lost {
        let records = counted(*records, "record");
        out.line(&format!("its fork {fork} has {records} of what it inherited as lost: nobody could read them"))?;
    }
    for fork in &report.detached {
        out.line(&format!("its fork {fork} has what it inherited under a key of its own now"))?;
    }
    report.cascaded.iter().try_for_each(|fork| out.line(&format!("and with it its fork {fork}")))
}

#[derive(Serialize)]
struct Nothing {}

/// `restore`
pub(crate) async fn restore(program: &Program, name: &str) -> Result<(), Failure> {
    program
        .with_any_session(name, async |sessions, session| {
            let was_trashed = session.fresh_view().await?.trashed().is_some();
            let session = sessions.restore_from_trash(session.id()).await?;
            let words = if was_trashed { "taken out of the trash" } else { "not in the trash" };
            if !was_trashed && !program.out.is_json() {
                return program.out.line("it is not in the trash");
            }
            told(program, &session, was_trashed, Nothing {}, words).await
        })
        .await
}
