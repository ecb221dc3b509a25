//! What was rewritten, on its way into the index: its runs of places are written anew, and what records named before is noted as nobody's.
//!
//! Must not know: segments, when this happens.

use std::collections::BTreeMap;

use sessions_domain::SessionId;
use sessions_ports::Link;

use super::{
    changes::Changes,
    index::{Index, IndexFailure, LINKS, NamedBlob, STALE},
    ledger::Ledger,
    locator::{self, Locator, RunBuilder},
    rewriting::Moved,
};

/// What was rewritten of one session.
#[derive(Default)]
pub(super) struct Rearranged {
    pub(super) moved: BTreeMap<u64, Moved>,
    stale: Vec<NamedBlob>,
    swept: Vec<NamedBlob>,
    /// What it inherits, when it inherits less than it did.
    links: Option<Vec<Link>>,
}

impl Rearranged {
    /// Copies what the ledger has for the index; `None`: nothing of this session was rewritten.
    pub(super) fn of(ledger: &Ledger, session: SessionId) -> Option<Box<Self>> {
        let rewrites = &ledger.rewrites;
        let moved = rewrites.of(session);
        let mine = |bodies: &[NamedBlob]| bodies.iter().filter(|(of, ..)| *of == session).copied().collect::<Vec<_>>();
        let (stale, swept) = (mine(&rewrites.stale), mine(&rewrites.swept));
        let links =
            rewrites.unlinked.contains(&session).then(|| ledger.sessions.get(&session).map(|log| log.links.clone()));
        let links = links.map(Option::unwrap_or_default);
        if moved.is_none() && stale.is_empty() && swept.is_empty() && links.is_none() {
            return None;
        }
        Some(Box::new(Self { moved: moved.cloned().unwrap_or_default(), stale, swept, links }))
    }

    /// Whether it has the links of its session.
    pub(super) const fn has_links(&self) -> bool {
        self.links.is_some()
    }

    /// The index holds it now.
    pub(super) fn release(&self, ledger: &mut Ledger, session: SessionId) {
        ledger.rewrites.release(session, &self.moved, &self.stale);
        ledger.rewrites.swept.retain(|body| !self.swept.contains(body));
        let links = ledger.sessions.get(&session).map(|log| &log.links);
        if self.links.as_ref() == links {
            ledger.rewrites.unlinked.remove(&session);
        }
    }

    /// What changes in the index. Places of records from `before` on are put there apart.
    pub(super) fn collect(
        &self,
        index: &Index,
        changes: &mut Changes,
        session: SessionId,
        before: u64,
    ) -> Result<(), IndexFailure> {
        self.runs(index, changes, session, before)?;
        self.bodies(index, changes, session)?;
        if let Some(links) = &self.links {
            index.about(LINKS, session)?.into_iter().for_each(|(key, value)| changes.take_out(key, &value));
            if !links.is_empty() {
                changes.links(session, links);
            }
        }
        Ok(())
    }

    fn runs(&self, index: &Index, changes: &mut Changes, session: SessionId, before: u64) -> Result<(), IndexFailure> {
        let lowest = index.lowest_run(session)?.unwrap_or(before).min(before);
        let mut adopted = self.moved.range(..lowest).peekable();
        while let Some((first, moved)) = adopted.next() {
            let mut locators = vec![moved.locator];
            while let Some((_, next)) = adopted.next_if(|(seq, _)| **seq == first + locators.len() as u64) {
                locators.push(next.locator);
            }
            put(changes, session, *first, &locators);
        }
        let mut replaced = self.moved.range(lowest..before).peekable();
        while let Some((seq, _)) = replaced.peek().copied() {
            let missing = IndexFailure::Damaged("a run is missing");
            let (first, value) = index.run_at(session, *seq)?.ok_or(missing.clone())?;
            let mut locators = locator::run(&value).ok_or(IndexFailure::Damaged("a run is not one"))?;
            let mut is_in = false;
            let end = first + locators.len() as u64;
            while let Some((seq, moved)) = replaced.next_if(|(seq, _)| **seq < end) {
                let at = usize::try_from(seq - first).ok().and_then(|at| locators.get_mut(at));
                at.into_iter().for_each(|place| *place = moved.locator);
                is_in = true;
            }
            if !is_in {
                return Err(missing);
            }
            changes.take_out_run(session, first, &value);
            put(changes, session, first, &locators);
        }
        Ok(())
    }

    /// Of each record that was rewritten only the large body counts that it names now.
    fn bodies(&self, index: &Index, changes: &mut Changes, session: SessionId) -> Result<(), IndexFailure> {
        let mut numbers: Vec<u64> = self.stale.iter().chain(&self.swept).map(|(_, seq, _)| *seq).collect();
        numbers.extend(self.moved.keys());
        numbers.sort_unstable();
        numbers.dedup();
        for seq in numbers {
            let known = index.bodies_of(session, seq)?;
            let moved = self.moved.get(&seq);
            let current = moved.and_then(|moved| moved.body.as_deref());
            let mut names: Vec<[u8; 32]> = known.iter().map(|(name, _)| *name).chain(current.copied()).collect();
            names.extend(self.stale.iter().filter(|(_, at, _)| *at == seq).map(|(.., name)| *name));
            names.sort_unstable();
            names.dedup();
            for name in names {
                let old = known.iter().find(|(of, _)| *of == name).map(|(_, value)| value.as_slice());
                let blob = (session, seq, name);
                let is_current = current == Some(&name);
                let is_stale = !is_current && (moved.is_some() || old == Some(STALE) || self.stale.contains(&blob));
                let value = if is_stale { STALE } else { &[] };
                match old {
                    Some(old) if is_stale && self.swept.contains(&blob) => changes.forget_body(blob, old),
                    None if is_stale && self.swept.contains(&blob) => {}
                    Some(old) if old == value => {}
                    old => changes.body(blob, value, old),
                }
            }
        }
        Ok(())
    }
}

/// Puts places into runs.
fn put(changes: &mut Changes, session: SessionId, first: u64, locators: &[Locator]) {
    let (mut run, mut begins) = (RunBuilder::default(), first);
    for (seq, locator) in (first..).zip(locators) {
        if run.is_full() {
            changes.run(session, begins, &std::mem::take(&mut run).finish());
            begins = seq;
        }
        run.push(*locator);
    }
    changes.run(session, begins, &run.finish());
}
