//! Looking after a store: `verify`, `repair`, `doctor`.
//!
//! Must not know: what a store is made of.

use serde::Serialize;
use sessions_api::{
    Finding, IndexLook, RepairAction, SessionError, SessionId, SessionKey, Severity, VerifyReport, maintenance,
};

use crate::{
    arguments::Verify,
    failure::{Failure, code_of},
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
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    file: Option<&'a str>,
    offset: Option<u64>,
    what: &'a str,
}

impl<'a> FindingShape<'a> {
    fn of(finding: &'a Finding) -> Self {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        let Finding { session, seq, last, file, offset, what, .. } = finding;
        Self { severity, session: *session, seq: *seq, last: *last, file: file.as_deref(), offset: *offset, what }
    }
}

#[derive(Serialize)]
struct Checked {
    segments: u64,
    records: u64,
    sessions: u64,
    bytes: u64,
    findings: usize,
    /// Records that are lost and marked as such.
    lost: u64,
    /// Whether the index could tell of an end of the log that was cut off.
    index: &'static str,
}

/// `verify`
pub(crate) async fn verify(program: &Program, wish: Verify) -> Result<(), Failure> {
    let url = program.url()?;
    let report = {
        let _progress = Progress::without_end(&program.out, "reading every record");
        unless_interrupted(async {
            maintenance::verify(&url).await.map_err(|error| Failure::from(error).where_no_store(&url.to_string()))
        })
        .await?
    };
    let only = wish.session.as_deref().map(|name| named(&report, name)).transpose()?;
    let concerns = |finding: &&Finding| only.is_none() || finding.session.is_none() || finding.session == only;
    let findings: Vec<&Finding> = report.findings.iter().filter(concerns).collect();
    for finding in &findings {
        print_finding(program, &FindingShape::of(finding))?;
    }
    let checked = Checked {
        segments: report.segments,
        records: report.records,
        sessions: report.sessions,
        bytes: report.bytes,
        findings: findings.len(),
        lost: report.lost,
        index: match report.index {
            IndexLook::Compared => "compared",
            IndexLook::Unreadable => "unreadable",
            IndexLook::Absent => "absent",
        },
    };
    if program.out.is_json() {
        #[derive(Serialize)]
        struct Summary {
            checked: Checked,
        }
        program.out.object(&Summary { checked })?;
    } else {
        let Checked { segments, records, sessions, bytes, findings, lost, .. } = checked;
        let read = [(sessions, "session"), (records, "record"), (segments, "segment"), (bytes, "byte")];
        let read = read.map(|(number, word)| counted(number, word)).join(", ");
        let marked = format!("lost and marked so: {}", counted(lost, "record"));
        let found = counted(findings as u64, "finding");
        let said = match (findings, lost) {
            (0, _) => "nothing is wrong".to_owned(),
            (_, 0) => found,
            _ if report.is_sound() => format!("nothing is damaged, {marked}"),
            _ => format!("{found}, {marked}"),
        };
        program.out.line(&format!("{said}: {read}"))?;
        if report.index != IndexLook::Compared {
            program.out.line("without an index to compare with, an end of the log that was cut off would not show")?;
        }
    }
    let damaged = findings.iter().any(|finding| finding.severity == Severity::Error);
    if damaged { Err(Failure::told(Failure::DAMAGED)) } else { Ok(()) }
}

/// The session that a person named, by what the log says of it: id, key, or the beginning of an id. The list is not asked, since it may be
/// what is damaged.
fn named(report: &VerifyReport, name: &str) -> Result<SessionId, Failure> {
    let (is_key, is_id) = (name.strip_prefix("key:"), name.strip_prefix("id:"));
    let key_text = is_key.unwrap_or(name);
    let of_key = |key: &SessionKey| key.as_str() == key_text;
    let id_text = is_id.unwrap_or(name);
    if let (None, Ok(id)) = (is_key, id_text.parse::<SessionId>())
        && report.names.iter().any(|named| named.session == id)
    {
        return Ok(id);
    }
    // The program acts for the tenant without a name.
    let mut keyed =
        report.names.iter().filter(|named| named.tenant.is_empty() && named.key.as_ref().is_some_and(of_key));
    if let (None, Some(named)) = (is_id, keyed.next()) {
        return Ok(named.session);
    }
    if is_key.is_some() || id_text.len() > 26 {
        return Err(SessionError::NoSuchName.into());
    }
    if id_text.len() < 6 {
        return Err(SessionError::NameTooShort.into());
    }
    let prefix = id_text.to_ascii_uppercase();
    let matches: Vec<SessionId> =
        report.names.iter().map(|named| named.session).filter(|id| id.to_string().starts_with(&prefix)).collect();
    match matches.as_slice() {
        [id] => Ok(*id),
        [] => Err(SessionError::NoSuchName.into()),
        several => Err(SessionError::AmbiguousName { matches: several.len() }.into()),
    }
}

fn print_finding(program: &Program, finding: &FindingShape<'_>) -> Result<(), Failure> {
    if program.out.is_json() {
        return program.out.object(finding);
    }
    let mut place = Vec::new();
    place.extend(finding.session.map(|session| format!("session {session}")));
    place.extend(finding.seq.map(|seq| numbered(seq, finding.last)));
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

/// One record, or several that follow each other.
fn numbered(first: u64, last: Option<u64>) -> String {
    match last {
        Some(last) => format!("records {first} to {last}"),
        None => format!("record {first}"),
    }
}

#[derive(Serialize)]
struct ActionShape<'a> {
    what: &'a str,
    session: Option<SessionId>,
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
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
        let RepairAction { what, session, seq, last, kept_at } = action;
        let kept_at = kept_at.as_ref().map(|path| path.display().to_string());
        let shape = ActionShape { what, session: *session, seq: *seq, last: *last, kept_at, dry_run };
        if program.out.is_json() {
            program.out.object(&shape)?;
            continue;
        }
        let place = match (shape.session, shape.seq) {
            (Some(session), Some(seq)) => format!(": {} of session {session}", numbered(seq, shape.last)),
            (Some(session), None) => format!(": session {session}"),
            (None, _) => String::new(),
        };
        let kept = shape.kept_at.map(|path| format!(", kept at {path}")).unwrap_or_default();
        program.out.line(&format!("{what}{place}{kept}"))?;
    }
    if !program.out.is_json() {
        let done = if dry_run { "would be done" } else { "done" };
        let count = report.actions.len();
        let said = if count == 0 { "nothing has to be repaired".to_owned() } else { format!("{count} {done}") };
        program.out.line(&said)?;
        for (path, bytes) in &report.quarantine {
            program.out.line(&format!("in the quarantine: {}, {}", path.display(), counted(*bytes, "byte")))?;
        }
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
    let mut code = None;
    for observation in &seen {
        let maintenance::Observation { check, what, advice, value, trouble } = observation;
        code = code.or(trouble.map(code_of));
        if program.out.is_json() {
            program.out.object(&ObservationShape { check, what, value: *value, advice: *advice })?;
            continue;
        }
        program.out.styled(&[(Style::Strong, &format!("{check:<12} ")), (Style::Plain, what)])?;
        if let Some(advice) = advice {
            program.out.styled(&[(Style::Plain, &" ".repeat(13)), (Style::Good, advice)])?;
        }
    }
    code.map_or(Ok(()), |code| Err(Failure::told(code)))
}
