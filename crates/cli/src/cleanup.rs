//! Cleaning up by age as the configuration says: `cleanup`.
//!
//! Must not know: what is due when; the library does.

use serde::Serialize;
use sessions_api::{CleanupPolicy, CleanupReport, CleanupRun, CleanupStep, Moment, SessionId, WhySkipped};

use crate::{arguments::Cleanup, failure::Failure, program::Program, table::counted};

#[derive(Serialize)]
struct Told {
    id: SessionId,
    step: CleanupStep,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<WhySkipped>,
}

#[derive(Serialize)]
struct Ended {
    cleaned: Sums,
}

#[derive(Serialize)]
struct Sums {
    done: usize,
    skipped: usize,
    more: bool,
    dry_run: bool,
    now: Moment,
}

/// `cleanup`
pub(crate) async fn cleanup(program: &Program, wish: Cleanup) -> Result<(), Failure> {
    let policy = CleanupPolicy { trusts_clock: wish.trust_clock, ..program.configuration.cleanup_policy() };
    if policy.trash_after.is_none() && policy.delete_after.is_none() {
        program.out.notice(
            "nothing is cleaned up, since the configuration says neither trash.after_days nor cleanup.delete_after_days",
        );
    }
    let run = if wish.dry_run { CleanupRun::Dry } else { CleanupRun::Real };
    program
        .with_sessions(async |sessions| {
            let report = sessions.clean_up(&policy, run).await?;
            if program.out.is_json() { as_json(program, &report, run) } else { as_text(program, &report, run) }
        })
        .await
}

fn as_json(program: &Program, report: &CleanupReport, run: CleanupRun) -> Result<(), Failure> {
    for done in &report.done {
        program.out.object(&Told { id: done.session, step: done.step, done: run == CleanupRun::Real, why: None })?;
    }
    for skipped in &report.skipped {
        let why = Some(skipped.why);
        program.out.object(&Told { id: skipped.session, step: skipped.step, done: false, why })?;
    }
    let CleanupReport { done, skipped, more, now, .. } = report;
    let (done, skipped, dry_run) = (done.len(), skipped.len(), run == CleanupRun::Dry);
    program.out.object(&Ended { cleaned: Sums { done, skipped, more: *more, dry_run, now: *now } })
}

fn as_text(program: &Program, report: &CleanupReport, run: CleanupRun) -> Result<(), Failure> {
    let is_dry = run == CleanupRun::Dry;
    for done in &report.done {
        program.out.line(&format!("{} {}", done.session, words(done.step, is_dry)))?;
    }
    for skipped in &report.skipped {
        program.out.line(&format!("{} is left alone: {}", skipped.session, reason(skipped.why)))?;
    }
    let sessions = counted(report.done.len() as u64, "session");
    let sum = if is_dry { format!("{sessions} would be cleaned up") } else { format!("{sessions} cleaned up") };
    let more = if report.more { "; more is due, run it again" } else { "" };
    program.out.line(&format!("{sum}, {} left alone{more}", report.skipped.len()))
}

fn words(step: CleanupStep, is_dry: bool) -> &'static str {
    match (step, is_dry) {
        (CleanupStep::Archive, true) => "would be archived",
        (CleanupStep::Archive, false) => "is archived",
        (CleanupStep::Trash, true) => "would go to the trash",
        (CleanupStep::Trash, false) => "is in the trash",
        (_, true) => "would be deleted for good",
        (_, false) => "is deleted for good",
    }
}

fn reason(why: WhySkipped) -> &'static str {
    match why {
        WhySkipped::Changed => "it was used meanwhile",
        WhySkipped::InUse => "it is in use",
        WhySkipped::TurnOpen => "a message of it is open",
        WhySkipped::Pinned => "messages of it are pinned",
        WhySkipped::HasForks => "others inherit from it",
        _ => "it cannot be read whole; run `verify`",
    }
}
