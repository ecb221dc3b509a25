//! Looking after a store: `verify`, `repair`, `reclaim`, `doctor`.
//!
//! Must not know: what a store is made of.

use serde::Serialize;
use sessions_api::{
    Finding, IndexLook, KeyProvider, Named, RepairAction, SessionError, SessionId, SessionKey, Severity, StoreUrl,
    VerifyReport, maintenance,
};

use crate::{
    arguments::Verify,
    auditing::{self, Held},
    failure::{Failure, code_of, kind_name},
    output::Style,
    program::Program,
    progress::{Progress, Stop, told_of_interrupt, unless_interrupted},
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

/// What was checked. Of one session that was named: its records and losses, and the segments and bytes that were read for it, which are
/// those of the whole store.
#[derive(Serialize)]
struct Checked {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    segments: u64,
    records: u64,
    sessions: u64,
    bytes: u64,
    findings: usize,
    /// Records that are lost and marked as such.
    lost: u64,
    /// Whether the index could tell of an end of the log that was cut off.
    index: &'static str,
    /// What the anchor told that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<&'static str>,
    /// The file in which an anchor was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchored: Option<String>,
}

impl Checked {
    fn of(report: &VerifyReport, only: Option<&Named>, findings: usize) -> Self {
        Self {
            session: only.map(|named| named.session),
            segments: report.segments,
            records: only.map_or(report.records, |named| named.records),
            sessions: only.map_or(report.sessions, |_| 1),
            bytes: report.bytes,
            findings,
            lost: only.map_or(report.lost, |named| named.lost),
            index: match report.index {
                IndexLook::Compared => "compared",
                IndexLook::Unreadable => "unreadable",
                IndexLook::Absent => "absent",
            },
            anchor: None,
            anchored: None,
        }
    }
}

/// `verify`
pub(crate) async fn verify(program: &Program, wish: Verify) -> Result<(), Failure> {
    let url = program.url()?;
    let anchor = wish.anchor.as_deref().map(auditing::read).transpose()?;
    if let Some(file) = &wish.write_anchor {
        auditing::check_is_elsewhere(&url, file)?;
    }
    let key = program.key_to_check(&url, wish.without_key).await?;
    let report = {
        let _progress = Progress::without_end(&program.out, "reading every record");
        unless_interrupted(checked(&url, key.as_deref())).await?
    };
    let only = wish.session.as_deref().map(|name| named(&report, name)).transpose()?;
    let concerns =
        |finding: &&Finding| finding.session.is_none_or(|session| only.is_none_or(|named| named.session == session));
    let held = match anchor {
        Some(anchor) => Some(auditing::hold(&url, anchor).await?),
        None => None,
    };
    let put_back = held.as_ref().and_then(Held::finding);
    let findings: Vec<&Finding> = report.findings.iter().filter(concerns).chain(&put_back).collect();
    for finding in &findings {
        print_finding(program, finding)?;
    }
    if wish.without_key {
        auditing::print_chains(program, &report, only.map(|named| named.session))?;
    }
    let damaged = findings.iter().any(|finding| finding.severity == Severity::Error);
    let is_told = held.as_ref().is_none_or(Held::is_fresh);
    let mut checked = Checked { anchor: held.as_ref().map(Held::name), ..Checked::of(&report, only, findings.len()) };
    if let Some(file) = wish.write_anchor.filter(|_| !damaged && is_told) {
        auditing::note(&url, key.as_deref(), &file).await?;
        checked.anchored = Some(file.display().to_string());
    }
    if program.out.is_json() {
        #[derive(Serialize)]
        struct Summary {
            checked: Checked,
        }
        program.out.object(&Summary { checked })?;
    } else {
        print_checked(program, &checked, damaged)?;
    }
    match (damaged, is_told) {
        (true, _) => Err(Failure::told(Failure::DAMAGED)),
        (false, false) => Err(Failure::told(Failure::FAILED)),
        (false, true) => Ok(()),
    }
}

/// Checks a store, with its key where there is one.
async fn checked(url: &StoreUrl, key: Option<&dyn KeyProvider>) -> Result<VerifyReport, Failure> {
    let report = match key {
        Some(key) => maintenance::verify_sealed(url, key).await,
        None => maintenance::verify(url).await,
    };
    report.map_err(|error| Failure::from(error).where_no_store(&url.to_string()))
}

fn print_checked(program: &Program, checked: &Checked, damaged: bool) -> Result<(), Failure> {
    let Checked { session, segments, records, sessions, bytes, findings, lost, .. } = checked;
    let joined = |counts: &[(u64, &str)]| {
        counts.iter().map(|(number, word)| counted(*number, word)).collect::<Vec<_>>().join(", ")
    };
    let log = [(*segments, "segment"), (*bytes, "byte")];
    let read = match session {
        None => joined(&[&[(*sessions, "session"), (*records, "record")], &log[..]].concat()),
        Some(session) => {
            format!("{} of session {session}; the log was read whole, {}", counted(*records, "record"), joined(&log))
        }
    };
    let marked = format!("lost and marked so: {}", counted(*lost, "record"));
    let found = counted(*findings as u64, "finding");
    let said = match (*findings, *lost) {
        (0, 0) => "nothing is wrong".to_owned(),
        (_, 0) => found,
        _ if !damaged => format!("nothing is damaged, {marked}"),
        _ => format!("{found}, {marked}"),
    };
    program.out.line(&format!("{said}: {read}"))?;
    if checked.index != "compared" {
        program.out.line("without an index to compare with, an end of the log that was cut off would not show")?;
    }
    if checked.anchor == Some("fresh") {
        program.out.line("the store has all that it had when the anchor was noted")?;
    }
    if let Some(file) = &checked.anchored {
        program.out.line(&format!(
            "how far it has come is noted in {file}: keep that where who can write to the store cannot"
        ))?;
    }
    Ok(())
}

/// The session that a person named, by what the log says of it, with the rules of `SessionManager::find`: id, key, or the
/// beginning of an id. The list is not asked, since it may be what is damaged.
fn named<'a>(report: &'a VerifyReport, name: &str) -> Result<&'a Named, Failure> {
    let unknown = || Failure::from(SessionError::NoSuchName);
    let of_id = |id: SessionId| report.names.iter().find(|named| named.session == id);
    let of_key = |key: &str| -> Result<Option<&'a Named>, SessionError> {
        let key = SessionKey::new(key)?;
        // The program acts for the tenant without a name.
        Ok(report.names.iter().find(|named| named.tenant.is_empty() && named.key.as_ref() == Some(&key)))
    };
    if let Some(id) = name.strip_prefix("id:") {
        return match id.parse::<SessionId>() {
            Ok(id) => of_id(id).ok_or_else(unknown),
            Err(_) if !id.is_empty() && id.len() < 26 => begun(report, id),
            Err(error) => Err(SessionError::from(error).into()),
        };
    }
    if let Some(key) = name.strip_prefix("key:") {
        return of_key(key)?.ok_or_else(unknown);
    }
    let exact = match name.parse().ok().and_then(of_id) {
        Some(named) => Some(named),
        None => of_key(name)?,
    };
    match exact {
        Some(named) => Ok(named),
        // Any word may be a key, so a short one is unknown and not wrong.
        None if name.len() < SHORTEST_PREFIX => Err(unknown()),
        None => begun(report, name),
    }
}

/// The shortest beginning of an id that stands for one.
const SHORTEST_PREFIX: usize = 6;

/// The session whose id begins so.
fn begun<'a>(report: &'a VerifyReport, prefix: &str) -> Result<&'a Named, Failure> {
    if prefix.len() < SHORTEST_PREFIX {
        return Err(SessionError::NameTooShort.into());
    }
    let prefix = prefix.to_ascii_uppercase();
    let mut matches = report.names.iter().filter(|named| named.session.to_string().starts_with(&prefix));
    match (matches.next(), matches.count()) {
        (Some(named), 0) => Ok(named),
        (None, _) => Err(SessionError::NoSuchName.into()),
        (Some(_), more) => Err(SessionError::AmbiguousName { matches: more + 1 }.into()),
    }
}

pub(crate) fn print_finding(program: &Program, finding: &Finding) -> Result<(), Failure> {
    let finding = &FindingShape::of(finding);
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
    // Without a key it is repaired all the same, and whoever opens it next hears that nobody attested that.
    let key = match program.key_to_check(&url, false).await {
        Err(failure) if failure.code() == Failure::NOT_ALLOWED => {
            program.out.notice("the store is sealed and its key is not at hand: it is repaired without it");
            None
        }
        key => key?,
    };
    let report = {
        let _progress = Progress::without_end(&program.out, "repairing");
        // Half of a repair is no repair, so Ctrl-C does not end it; a dry run ends at once.
        let work = async {
            let report = match &key {
                Some(key) => maintenance::repair_sealed(&url, key.as_ref(), dry_run).await,
                None => maintenance::repair(&url, dry_run).await,
            };
            report.map_err(|error| Failure::from(error).where_no_store(&url.to_string()))
        };
        if dry_run { unless_interrupted(work).await? } else { work.await? }
    };
    // Where something would be done nobody knows yet what is left then.
    let left =
        if dry_run && !report.actions.is_empty() { Vec::new() } else { left(program, &url, key.as_deref()).await? };
    report.actions.iter().try_for_each(|action| print_action(program, action, dry_run))?;
    left.iter().try_for_each(|finding| print_finding(program, finding))?;
    if !program.out.is_json() {
        let done = if dry_run { "would be done" } else { "done" };
        let said = match (report.actions.len() as u64, left.len() as u64) {
            (0, 0) => "nothing has to be repaired".to_owned(),
            (0, found) => format!("no repair mends what is left: {}", counted(found, "finding")),
            (count, 0) => format!("{} {done}", counted(count, "step")),
            (count, found) => {
                let (steps, found) = (counted(count, "step"), counted(found, "finding"));
                format!("{steps} {done}; no repair mends what is left: {found}")
            }
        };
        program.out.line(&said)?;
        for (path, bytes) in &report.quarantine {
            program.out.line(&format!("in the quarantine: {}, {}", path.display(), counted(*bytes, "byte")))?;
        }
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::told(Failure::DAMAGED)) }
}

/// What is damaged behind a repair, as a session whose keys are gone.
async fn left(program: &Program, url: &StoreUrl, key: Option<&dyn KeyProvider>) -> Result<Vec<Finding>, Failure> {
    let _progress = Progress::without_end(&program.out, "reading what is left");
    let report = unless_interrupted(checked(url, key)).await?;
    Ok(report.findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect())
}

fn print_action(program: &Program, action: &RepairAction, dry_run: bool) -> Result<(), Failure> {
    let RepairAction { what, session, seq, last, kept_at } = action;
    let kept_at = kept_at.as_ref().map(|path| path.display().to_string());
    let shape = ActionShape { what, session: *session, seq: *seq, last: *last, kept_at, dry_run };
    if program.out.is_json() {
        return program.out.object(&shape);
    }
    let place = match (shape.session, shape.seq) {
        (Some(session), Some(seq)) => format!(": {} of session {session}", numbered(seq, shape.last)),
        (Some(session), None) => format!(": session {session}"),
        (None, _) => String::new(),
    };
    let kept = shape.kept_at.map(|path| format!(", kept at {path}")).unwrap_or_default();
    program.out.line(&format!("{what}{place}{kept}"))
}

/// `reclaim`
pub(crate) async fn reclaim(program: &Program) -> Result<(), Failure> {
    let url = program.url()?;
    let reclaimed = {
        let _progress = Progress::without_end(&program.out, "giving space back");
        // Each segment is replaced whole, so wherever this ends, the store is as it should be.
        let work = async {
            maintenance::reclaim(&url).await.map_err(|error| Failure::from(error).where_no_store(&url.to_string()))
        };
        unless_interrupted(work).await?
    };
    if program.out.is_json() {
        return program.out.object(&reclaimed);
    }
    let (segments, bodies) = (counted(reclaimed.segments, "segment"), counted(reclaimed.bodies, "large file"));
    match reclaimed.bytes {
        0 => program.out.line("nothing comes back: no deleted session has space beside what is written last"),
        bytes => program.out.line(&format!("{} came back, from {segments} and {bodies}", counted(bytes, "byte"))),
    }
}

#[derive(Serialize)]
struct ObservationShape<'a> {
    check: &'a str,
    what: &'a str,
    value: Option<u64>,
    advice: Option<&'a str>,
    /// Where it keeps the store from being used: the kind that an error would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'static str>,
}

/// `doctor`
pub(crate) async fn doctor(program: &Program) -> Result<(), Failure> {
    let url = program.url()?;
    let seen = {
        let _progress = Progress::without_end(&program.out, "looking");
        // It is waited for, since it takes away the file that it measured the disk with.
        let stop = Stop::default();
        let seen = async { Ok(maintenance::diagnose_with(&url, program.configuration.key_rotation_days()).await?) };
        let seen = told_of_interrupt(&stop, seen).await?;
        stop.check()?;
        seen
    };
    let mut code = None;
    for observation in &seen {
        let maintenance::Observation { check, what, advice, value, trouble } = observation;
        code = code.or(trouble.map(code_of));
        if program.out.is_json() {
            let trouble = trouble.map(kind_name);
            program.out.object(&ObservationShape { check, what, value: *value, advice: advice.as_deref(), trouble })?;
            continue;
        }
        program.out.styled(&[(Style::Strong, &format!("{check:<12} ")), (Style::Plain, what)])?;
        if let Some(advice) = advice {
            program.out.styled(&[(Style::Plain, &" ".repeat(13)), (Style::Good, advice)])?;
        }
    }
    code.map_or(Ok(()), |code| Err(Failure::told(code)))
}
