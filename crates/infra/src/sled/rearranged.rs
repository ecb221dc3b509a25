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

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use sessions_domain::Kind;
    use sessions_ports::{
        Commit, Durability, KindFilter, Order, ReadRange, Record, Rewrite, SessionLog as _, StoreError,
    };
    use sessions_testkit::Script;
    use tempfile::TempDir;

    use super::*;
    use crate::sled::{IndexReport, SledOptions, SledStore, recovery};

    async fn open(path: &Path) -> SledStore {
        let store = SledStore::open(path, SledOptions::default()).await.unwrap();
        assert_eq!((&store.report().index, store.report().damaged), (&IndexReport::Opened, 0));
        store
    }

    async fn read(store: &SledStore, session: SessionId) -> Result<Vec<Record>, StoreError> {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let range = ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: usize::MAX, max_bytes: usize::MAX };
        store.read(session, range).await.map(|page| page.records)
    }

    fn anew(script: &Script, every: u64) -> Rewrite {
        let records = script.written().iter().filter(|record| record.seq % every == 0);
        let new = |record: &Record| Record { payload: vec![7; record.seq as usize % 300].into(), ..record.clone() };
        let (session, durability) = (script.session(), Durability::Disk);
        let (expected, words, unlink) = (None, None, Vec::new());
        Rewrite { session, expected, records: records.map(new).collect(), words, unlink, durability }
    }

    fn apply(log: &mut [Record], rewrite: &Rewrite) {
        for new in &rewrite.records {
            let place = log.iter_mut().find(|old| old.seq == new.seq);
            place.into_iter().for_each(|old| *old = new.clone());
        }
    }

    /// A session of many runs in the index.
    async fn long(store: &SledStore) -> Script {
        let mut script = Script::new(1);
        for part in 0..3_u64 {
            let labels: Vec<u64> = (1..=1000).map(|at| 5_000_000 + (part * 1000 + at) * 977).collect();
            let records: Vec<_> = labels.iter().map(|label| (Kind::APPENDED, *label, b"text".as_slice())).collect();
            store.commit(Commit { durability: Durability::Disk, ..script.commit(&records) }).await.unwrap();
        }
        script
    }

    #[tokio::test]
    async fn runs_of_places_that_grow_are_split_and_the_index_stays_whole() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        let script = long(&store).await;
        store.close().await.unwrap();
        drop(store);
        let (session, mut log) = (script.session(), script.written().to_vec());
        let mut counts = Vec::new();
        for every in [3, 2, 7, 1] {
            let store = open(&path).await;
            counts.push(store.core().index.read().unwrap().as_ref().unwrap().runs(session).unwrap().len());
            let rewrite = anew(&script, every);
            apply(&mut log, &rewrite);
            assert_eq!(store.rewrite(rewrite).await.unwrap().first, 1);
            assert_eq!(read(&store, session).await.unwrap(), log);
            store.close().await.unwrap();
            drop(store);
            let store = open(&path).await;
            assert_eq!(read(&store, session).await.unwrap(), log);
            for record in log.iter().step_by(97) {
                assert_eq!(store.find(session, record.label).await.unwrap(), [record.seq]);
            }
            store.close().await.unwrap();
        }
        assert!(counts[0] > 2 && counts[1] > counts[0], "{counts:?}");
    }

    #[tokio::test]
    async fn an_index_that_is_thrown_away_is_made_again_with_what_was_rewritten() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        let script = long(&store).await;
        let (session, mut log) = (script.session(), script.written().to_vec());
        for round in [4, 5] {
            let rewrite = anew(&script, round);
            apply(&mut log, &rewrite);
            store.rewrite(rewrite).await.unwrap();
            if round == 4 {
                store.reclaim().await.unwrap();
            }
        }
        recovery::set_index_aside(store.core());
        assert_eq!(read(&store, session).await.unwrap(), log);
        store.close().await.unwrap();
        drop(store);
        let store = open(&path).await;
        assert_eq!(read(&store, session).await.unwrap(), log);
        store.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_reads_while_places_change_and_space_comes_back_reads_whole_records() {
        const ROUNDS: u8 = 12;
        let ground = TempDir::new().unwrap();
        let store = SledStore::open(ground.path().join("store"), SledOptions::default()).await.unwrap();
        let script = Arc::new(long(&store).await);
        let session = script.session();
        let large = vec![1; 70_000];
        let other = {
            let mut other = Script::new(2);
            store.commit(other.commit(&[(Kind::APPENDED, 1, &large)])).await.unwrap();
            other
        };
        let reader = {
            let (store, script) = (store.clone(), Arc::clone(&script));
            tokio::spawn(async move {
                let mut rounds = 0;
                loop {
                    let log = read(&store, session).await.unwrap();
                    assert_eq!(log.len(), script.written().len());
                    assert_eq!(store.find(session, script.written()[1500].label).await.unwrap(), [1501]);
                    rounds += 1;
                    if log[0].payload.first() == Some(&ROUNDS) {
                        return rounds;
                    }
                }
            })
        };
        for round in 1..=ROUNDS {
            let mut rewrite = anew(&script, 1);
            rewrite.records.iter_mut().for_each(|record| record.payload = vec![round; 40 + usize::from(round)].into());
            store.rewrite(rewrite).await.unwrap();
            let large = Record { payload: vec![round; 70_000].into(), ..other.written()[0].clone() };
            store.rewrite(Rewrite { session: other.session(), records: vec![large], ..anew(&other, 2) }).await.unwrap();
            store.reclaim_all().await.unwrap();
            assert_eq!(read(&store, other.session()).await.unwrap()[0].payload, vec![round; 70_000]);
        }
        assert!(reader.await.unwrap() > 0);
        assert_eq!(std::fs::read_dir(store.core().folder.blobs()).unwrap().count(), 1, "the body that is named");
        store.close().await.unwrap();
    }
}
