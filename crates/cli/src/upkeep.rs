//! Looking after a store: `verify`, `repair`, `doctor`.
//!
//! Must not know: what a store is made of.

use serde::Serialize;
use sessions_api::{Finding, RepairAction, SessionError, SessionId, Severity, maintenance};

use crate::{
    arguments::Verify,
    failure::Failure,
    output::Style,
    program::Program,
    progress::{Progress, unless_interrupted},
    table::counted,
};

#[derive(Serialize)]
struct FindingShape<'a> {
    severity: &'static str,
    session: Option<SessionId>,
    seq: Option<u64>,
    file: Option<&'a str>,
    offset: Option<u64>,
    what: &'a str,
}

impl<'a> FindingShape<'a> {
    fn of(finding: &'a Finding) -> Self {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        let Finding { session, seq, file, offset, what, .. } = finding;
        Self { severity, session: *session, seq: *seq, file: file.as_deref(), offset: *offset, what }
    }
}

#[derive(Serialize)]
struct Checked {
    segments: u64,
    records: u64,
    sessions: u64,
    bytes: u64,
    findings: usize,
}

/// `verify`
pub(crate) async fn verify(program: &Program, wish: Verify) -> Result<(), Failure> {
    let only: Option<SessionId> = match wish.session.as_deref() {
        Some(name) => {
            let id = name.strip_prefix("id:").unwrap_or(name);
            let hint = "give the session's whole id, as `list` shows it: a store that is checked is not opened to look up keys";
            Some(id.parse().map_err(|error| Failure::from(SessionError::InvalidId(error)).with_hint(hint))?)
        }
        None => None,
    };
    let url = program.url()?;
    let report = {
        let _progress = Progress::without_end(&program.out, "reading every record");
        unless_interrupted(async {
            maintenance::verify(&url).await.map_err(|error| Failure::from(error).where_no_store(&url.to_string()))
        })
        .await?
    };
    let concerns = |finding: &&Finding| only.is_none() || finding.session.is_none() || finding.session == only;
    let findings: Vec<&Finding> = report.findings.iter().filter(concerns).collect();
    for finding in &findings {
        print_finding(program, &FindingShape::of(finding))?;
    }
    let (segments, records, sessions) = (report.segments as u64, report.records as u64, report.sessions as u64);
    let checked = Checked { segments, records, sessions, bytes: report.bytes as u64, findings: findings.len() };
    if program.out.is_json() {
        #[derive(Serialize)]
        struct Summary {
            checked: Checked,
        }
        program.out.object(&Summary { checked })?;
    } else {
        let Checked { segments, records, sessions, bytes, findings } = checked;
        let read = [(sessions, "session"), (records, "record"), (segments, "segment"), (bytes, "byte")];
        let read = read.map(|(number, word)| counted(number, word)).join(", ");
        let said = if findings == 0 { "nothing is wrong".to_owned() } else { counted(findings as u64, "finding") };
        program.out.line(&format!("{said}: {read}"))?;
    }
    let damaged = findings.iter().any(|finding| finding.severity == Severity::Error);
    if damaged { Err(Failure::told(Failure::DAMAGED)) } else { Ok(()) }
}

fn print_finding(program: &Program, finding: &FindingShape<'_>) -> Result<(), Failure> {
    if program.out.is_json() {
        return program.out.object(finding);
    }
    let mut place = Vec::new();
    place.extend(finding.session.map(|session| format!("session {session}")));
    place.extend(finding.seq.map(|seq| format!("record {seq}")));
    place.extend(finding.file.map(str::to_owned));
    place.extend(finding.offset.map(|offset| format!("at byte {offset}")));
    let style = if finding.severity == "error" { Style::Bad } else { Style::Strong };
    let place = if place.is_empty() { String::new() } else { format!(" ({})", place.join(", ")) };
    program.out.styled(&[
        (style, finding.severity),
        (Style::Plain, ": "),
        (Style::Plain, finding.what),
        (Style::Faint, &place),
    ])
}

#[derive(Serialize)]
struct ActionShape<'a> {
    what: &'a str,
    session: Option<SessionId>,
    seq: Option<u64>,
    kept_at: Option<String>,
    dry_run: bool,
}

/// `repair`
pub(crate) async fn repair(program: &Program, dry_run: bool) -> Result<(), Failure> {
    let url = program.url()?;
    let report = {
        let _progress = Progress::without_end(&program.out, "repairing");
        // Half of a repair is no repair, so Ctrl-C does not end it; a dry run ends at once.
        let work = async {
            maintenance::repair(&url, dry_run)
                .await
                .map_err(|error| Failure::from(error).where_no_store(&url.to_string()))
        };
        if dry_run { unless_interrupted(work).await? } else { work.await? }
    };
    for action in &report.actions {
        let RepairAction { what, session, seq, kept_at, .. } = action;
        let kept_at = kept_at.as_ref().map(|path| path.display().to_string());
        let shape = ActionShape { what, session: *session, seq: *seq, kept_at, dry_run };
        if program.out.is_json() {
            program.out.object(&shape)?;
            continue;
        }
        let session = shape.session.map(|session| format!(" (session {session})")).unwrap_or_default();
        let kept = shape.kept_at.map(|path| format!(", kept at {path}")).unwrap_or_default();
        program.out.line(&format!("{what}{session}{kept}"))?;
    }
    if !program.out.is_json() {
        let done = if dry_run { "would be done" } else { "done" };
        let count = report.actions.len();
        let said = if count == 0 { "nothing has to be repaired".to_owned() } else { format!("{count} {done}") };
        program.out.line(&said)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct ObservationShape<'a> {
    check: &'a str,
    what: &'a str,
    value: Option<u64>,
    advice: Option<&'a str>,
}

/// `doctor`
pub(crate) async fn doctor(program: &Program) -> Result<(), Failure> {
    let url = program.url()?;
    let seen = {
        let _progress = Progress::without_end(&program.out, "looking");
        unless_interrupted(async { Ok(maintenance::diagnose(&url).await?) }).await?
    };
    for observation in &seen {
        let maintenance::Observation { check, what, advice, value } = observation;
        if program.out.is_json() {
            program.out.object(&ObservationShape { check, what, value: *value, advice: *advice })?;
            continue;
        }
        program.out.styled(&[(Style::Strong, &format!("{check:<12} ")), (Style::Plain, what)])?;
        if let Some(advice) = advice {
            program.out.styled(&[(Style::Plain, &" ".repeat(13)), (Style::Good, advice)])?;
        }
    }
    Ok(())
}
