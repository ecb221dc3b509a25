//! What an auditor keeps elsewhere and compares: chains of ciphertext, and anchors.
//!
//! Must not know: how a store is checked.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Serialize;
use sessions_api::{
    Anchor, AnchorCheck, AnchorUnknown, ClosedEpoch, EpochChain, Finding, KeyProvider, SessionId, Severity, StoreUrl,
    VerifyReport, maintenance,
};

use crate::{
    failure::Failure,
    program::{Program, is_within},
    table::{counted, in_hex},
};

/// So many characters of a link are shown to people. Whoever compares takes the JSON.
const SHOWN: usize = 16;

/// How a data key of a session ended, and what its records were and are.
#[derive(Serialize)]
pub(crate) struct ClosedShape {
    epoch: u16,
    version: u64,
    old: String,
    new: String,
}

impl ClosedShape {
    pub(crate) fn of(closed: &ClosedEpoch) -> Self {
        let ClosedEpoch { epoch, version, old, new } = closed;
        Self { epoch: *epoch, version: *version, old: in_hex(old), new: in_hex(new) }
    }
}

#[derive(Serialize)]
struct ChainShape<'a> {
    epoch: u16,
    records: u64,
    head: &'a str,
}

/// The chains of a session.
#[derive(Serialize)]
struct ChainsShape<'a> {
    session: SessionId,
    removed: bool,
    chains: Vec<ChainShape<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<ClosedShape>,
    /// The slot whose keys were destroyed, as the session's tombstone says.
    #[serde(skip_serializing_if = "Option::is_none")]
    destroyed: Option<u32>,
}

impl<'a> ChainsShape<'a> {
    fn of(session: SessionId, removed: bool, epochs: &'a [EpochChain]) -> Self {
        let chain = |EpochChain { epoch, records, link }: &'a EpochChain| ChainShape {
            epoch: *epoch,
            records: *records,
            head: link,
        };
        Self { session, removed, chains: epochs.iter().map(chain).collect(), closed: None, destroyed: None }
    }

    fn text(&self) -> String {
        let one = |ChainShape { epoch, records, head }: &ChainShape<'_>| {
            let head = head.get(..SHOWN).unwrap_or(head);
            format!("data key {epoch}, {}, {head}…", counted(*records, "record"))
        };
        let mut said: Vec<String> = self.chains.iter().map(one).collect();
        if let Some(ClosedShape { epoch, version, old, .. }) = &self.closed {
            let old = old.get(..SHOWN).unwrap_or(old);
            said.push(format!("until record {version} data key {epoch} had {old}…"));
        }
        said.extend(self.destroyed.map(|slot| format!("its keys in slot {slot} were destroyed")));
        let removed = if self.removed { ", which was removed" } else { "" };
        format!("session {}{removed}: {}", self.session, said.join("; "))
    }
}

/// Tells the head of the ciphertext chain of each session and data key, also of sessions that are gone; with `only` of one.
pub(crate) fn print_chains(program: &Program, report: &VerifyReport, only: Option<SessionId>) -> Result<(), Failure> {
    let there = report.names.iter().map(|named| ChainsShape {
        closed: named.closed.as_ref().map(ClosedShape::of),
        ..ChainsShape::of(named.session, false, &named.epochs)
    });
    let removed = report.removed_chains.iter().map(|(session, epochs)| ChainsShape::of(*session, true, epochs));
    let mut destroyed: BTreeMap<SessionId, u32> = report.destroyed.iter().copied().collect();
    let shapes: Vec<ChainsShape<'_>> = there
        .chain(removed)
        .map(|shape| ChainsShape { destroyed: destroyed.remove(&shape.session), ..shape })
        .collect();
    // Of others nothing is left but their tombstones.
    let rest = destroyed
        .iter()
        .map(|(session, slot)| ChainsShape { destroyed: Some(*slot), ..ChainsShape::of(*session, true, &[]) });
    for shape in shapes.into_iter().chain(rest) {
        let has_any = !shape.chains.is_empty() || shape.destroyed.is_some();
        if !has_any || only.is_some_and(|only| only != shape.session) {
            continue;
        }
        if program.out.is_json() {
            program.out.object(&shape)?;
        } else {
            program.out.line(&shape.text())?;
        }
    }
    Ok(())
}

/// What an anchor told of a store.
pub(crate) struct Held {
    anchor: Anchor,
    check: AnchorCheck,
}

impl Held {
    /// What it is called with `--json`.
    pub(crate) fn name(&self) -> &'static str {
        match self.check {
            AnchorCheck::Fresh => "fresh",
            AnchorCheck::RolledBack { .. } => "rolled_back",
            AnchorCheck::Unknown(AnchorUnknown::OtherStore) => "other_store",
            AnchorCheck::Unknown(_) => "unknown",
        }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.check == AnchorCheck::Fresh
    }

    /// What a person has to hear of; `None`: the store has all that it had.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let Anchor { at, position, .. } = self.anchor;
        let (severity, what) = match self.check {
            AnchorCheck::Fresh => return None,
            AnchorCheck::RolledBack { end } => (
                Severity::Error,
                format!(
                    "the store was put back to a state from before the anchor of {at}, or the end of its log is lost: its log does not go on as \
                     it did at byte {position}, and ends at byte {end}; look for the newer copy"
                ),
            ),
            AnchorCheck::Unknown(AnchorUnknown::OtherStore) => (
                Severity::Error,
                format!(
                    "the anchor of {at} is of another store: this one was put in its place, or the anchor is the wrong one"
                ),
            ),
            AnchorCheck::Unknown(AnchorUnknown::Rewritten) => (
                Severity::Warning,
                format!(
                    "the anchor of {at} tells nothing any more: the log was repaired where it lies, or space came back there; note another one with \
                     --write-anchor"
                ),
            ),
            AnchorCheck::Unknown(AnchorUnknown::Damaged) => (
                Severity::Warning,
                format!(
                    "the anchor of {at} tells nothing: the log is damaged where it lies; run `repair`, and note another one"
                ),
            ),
        };
        Some(Finding { severity, session: None, seq: None, last: None, file: None, offset: None, what })
    }
}

/// An anchor in a file.
pub(crate) fn read(path: &Path) -> Result<Anchor, Failure> {
    // What the library says of a path is about stores.
    fs::metadata(path).map_err(|error| Failure::from(error).about(path))?;
    Anchor::read(path)
        .map_err(|error| Failure::from(error).about(path).with_hint("give the file that `verify --write-anchor` wrote"))
}

/// Holds an anchor against the store.
pub(crate) async fn hold(url: &StoreUrl, anchor: Anchor) -> Result<Held, Failure> {
    let check = maintenance::check_anchor(url, &anchor).await?;
    Ok(Held { anchor, check })
}

/// An anchor within the store would be put back with it.
pub(crate) fn check_is_elsewhere(url: &StoreUrl, file: &Path) -> Result<(), Failure> {
    if !is_within(url, file) {
        return Ok(());
    }
    let hint = "name a file elsewhere, best where who can write to the store cannot";
    Err(Failure::usage("an anchor within the store's folder is put back with it", hint))
}

/// Notes how far the store has come.
pub(crate) async fn note(url: &StoreUrl, key: Option<&dyn KeyProvider>, file: &Path) -> Result<(), Failure> {
    let Some(key) = key else {
        return Err(Failure::usage(
            "the store is plain, and only a sealed store attests how far it has come",
            "leave --write-anchor out",
        ));
    };
    let anchor = maintenance::anchor(url, key).await?;
    anchor
        .write(file)
        .map_err(|error| Failure::from(error).about(file).with_hint("name a file in a folder that is there"))
}
