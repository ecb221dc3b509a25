//! The suite can fail: stores that are broken in one way each, and the law that catches it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails where it stands")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_infra::MemoryStore;
use sessions_ports::{
    Commit, Committed, Digest, Durability, Expected, Head, Heir, KindFilter, Order, Page, ReadRange, Record, Removal,
    Removed, Rewrite, Rewritten, RowPage, SessionLog, StoreError, StoreId, StoredClaim,
};
use sessions_testkit::{Capabilities, Fixture, LAWS, Verdict, check, report};

/// What a store does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    LosesARecord,
    ReordersAPage,
    ChangesAByte,
    ForgetsClaims,
    ForgetsKeys,
    LetsLaterKeysIn,
    ShowsHalfACommit,
    AnswersBeforeItIsDone,
    WritesOnTheSecondPoll,
    RetriesConflictsItself,
    LooksAtNumbersOnly,
    IgnoresTheUpperEnd,
    PagesWithoutNext,
    CountsWhatItFiltersOut,
    SaysNothingOfMissingSessions,
    SleepsThroughACommit,
    WakesTooEarly,
    SkipsARowBetweenPages,
    RepeatsRowsThatDidNotChange,
    ClaimsALevelItCannotGive,
    WorksAfterClosing,
    KeepsHandlesApart,
    GivesAwayLabelZero,
    MixesUpSnapshots,
    SettlesTooEarly,
    WaitsForNobody,
    RemovesWhateverIsThere,
    RemovesOnTheSecondPoll,
    RefusesToRemoveTwice,
    CountsWhatItKeeps,
    FreesEveryKey,
    KeepsEveryKey,
    KeepsNothingForHeirs,
    KeepsAllForHeirs,
    ForgetsWhoInherits,
    InheritsFromAnything,
    UsesAnIdAgain,
    TellsOfNoRemoval,
    TellsOnlyOfWhatItShowed,
    TakesFromTheLiving,
    LeavesWaitersAsleep,
    RewritesNothing,
    RewritesTheFirstOnly,
    RewritesTheNextToo,
    RefusesTheSameAgain,
    TakesAnyRecord,
    KeepsHalfOfWhatItRefuses,
    ForgetsNewWords,
    TellsOfARewrite,
    RewritesAnyVersion,
    RefusesWhatIsBehindARewrite,
    RewritesOnTheSecondPoll,
    ForgetsHowFarItCame,
    FindsNothingAdopted,
    AdoptsWithGaps,
    KeepsForTheUnlinked,
    UnlinksAnybody,
    UnlinksAll,
    LeavesWhatIsKeptAsItWas,
    RewritesAtAnyLevel,
    RewritesForOneHandle,
    DropsARewriteBesideAnother,
}

/// A memory store with a flaw.
#[derive(Clone)]
struct Flawed {
    inner: MemoryStore,
    flaw: Flaw,
    calls: Arc<AtomicU64>,
    latest: Arc<Mutex<Option<Bytes>>>,
    held: Arc<Mutex<Option<Commit>>>,
    /// A handle that gives again what it has read.
    remembers: bool,
    read: Arc<Mutex<Option<Page>>>,
    /// Sessions that a flaw treats apart.
    marked: Arc<Mutex<Vec<SessionId>>>,
}

impl Flawed {
    fn new(flaw: Flaw) -> Self {
        let (calls, latest, held, read, marked) = Default::default();
        Self { inner: MemoryStore::new(), flaw, calls, latest, held, remembers: false, read, marked }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// A rewrite with what is there already in the place of what it gives.
    async fn as_it_is(&self, mut rewrite: Rewrite) -> Rewrite {
        for record in &mut rewrite.records {
            let range = ReadRange { from: record.seq, to: record.seq, ..all() };
            if let Ok(Page { records, .. }) = self.inner.read(rewrite.session, range).await {
                *record = match (self.flaw, records.into_iter().next()) {
                    (Flaw::TakesAnyRecord, Some(old)) => Record { payload: record.payload.clone(), ..old },
                    (_, Some(old)) => old,
                    (_, None) => continue,
                };
            }
        }
        rewrite
    }

    async fn is_as_it_is(&self, rewrite: &Rewrite) -> bool {
        self.as_it_is(rewrite.clone()).await.records == rewrite.records
    }

    /// Writes what an earlier commit was answered for and that still waits.
    async fn catch_up(&self) {
        let held = self.held.lock().unwrap().take();
        if let Some(commit) = held {
            let _late = self.inner.commit(commit).await;
        }
    }
}

fn all() -> ReadRange {
    let (order, kinds) = (Order::OldestFirst, KindFilter::All);
    ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: usize::MAX, max_bytes: usize::MAX }
}

#[async_trait]
impl SessionLog for Flawed {
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let nth = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.flaw {
            Flaw::ForgetsClaims => commit.claims.clear(),
            Flaw::ForgetsKeys => commit.key = None,
            Flaw::LetsLaterKeysIn if commit.expected != Expected::NoStream => commit.key = None,
            Flaw::ChangesAByte => {
                if let Some(record) = commit.records.first_mut().filter(|record| record.payload.len() > 4096) {
                    let mut bytes = record.payload.to_vec();
                    bytes[4000] ^= 1;
                    record.payload = bytes.into();
                }
            }
            Flaw::MixesUpSnapshots if commit.snapshot.is_some() => {
                self.latest.lock().unwrap().clone_from(&commit.snapshot);
            }
            Flaw::ShowsHalfACommit if commit.records.len() > 1 => {
                let rest = commit.records.split_off(1);
                let mut second = Commit { records: rest, ..commit.clone() };
                let first = self.inner.commit(commit).await?;
                (second.expected, second.key, second.claims) = (Expected::Exactly(first.version), None, Vec::new());
                tokio::task::yield_now().await;
                return self.inner.commit(second).await;
            }
            Flaw::AnswersBeforeItIsDone => {
                self.catch_up().await;
                let version = commit.records.last().map_or(0, |record| record.seq);
                let head = self.inner.head(commit.session).await?.map_or(0, |head| head.version);
                if commit.expected == Expected::Exactly(head) && nth % 2 == 1 {
                    *self.held.lock().unwrap() = Some(commit);
                    return Ok(Committed { version, durability: Durability::Volatile });
                }
            }
            Flaw::WritesOnTheSecondPoll | Flaw::SettlesTooEarly => tokio::task::yield_now().await,
            Flaw::RetriesConflictsItself => {
                if let (Expected::Exactly(_), Some(head)) = (commit.expected, self.inner.head(commit.session).await?) {
                    commit.expected = Expected::Exactly(head.version);
                    for (record, seq) in commit.records.iter_mut().zip(head.version + 1..) {
                        record.seq = seq;
                    }
                }
            }
            Flaw::LooksAtNumbersOnly => {
                if let Expected::Behind { version, .. } = commit.expected {
                    commit.expected = Expected::Exactly(version);
                }
            }
            Flaw::KeepsNothingForHeirs | Flaw::InheritsFromAnything => commit.links.clear(),
            Flaw::KeepsAllForHeirs => commit.links.iter_mut().for_each(|link| link.last = 5),
            Flaw::UsesAnIdAgain => {
                if let Err(StoreError::Gone { .. }) = self.inner.head(commit.session).await {
                    let version = commit.records.last().map_or(0, |record| record.seq);
                    return Ok(Committed { version, durability: Durability::Volatile });
                }
            }
            Flaw::RefusesWhatIsBehindARewrite if self.marked.lock().unwrap().contains(&commit.session) => {
                return Err(StoreError::Conflict { expected: 0, actual: 0 });
            }
            Flaw::ClaimsALevelItCannotGive => commit.durability = Durability::Volatile,
            Flaw::TellsOnlyOfWhatItShowed if commit.row.words.is_some() => {
                self.marked.lock().unwrap().push(commit.session);
            }
            _ => {}
        }
        self.inner.commit(commit).await
    }

    async fn remove(&self, mut removal: Removal) -> Result<Removed, StoreError> {
        match self.flaw {
            Flaw::RemovesWhateverIsThere => removal.expected = None,
            Flaw::FreesEveryKey => removal.keep_key = false,
            Flaw::KeepsEveryKey => removal.keep_key = true,
            Flaw::RemovesOnTheSecondPoll => tokio::task::yield_now().await,
            Flaw::TakesFromTheLiving => {
                for row in self.inner.rows(0, usize::MAX).await?.rows {
                    let heirs = self.inner.heirs(row.session).await?;
                    if heirs.iter().any(|heir| heir.session == removal.session) {
                        self.marked.lock().unwrap().push(row.session);
                    }
                }
            }
            _ => {}
        }
        let twice = matches!(self.inner.head(removal.session).await, Err(StoreError::Gone { .. }));
        match self.inner.remove(removal).await {
            Ok(_) if twice && self.has(Flaw::RefusesToRemoveTwice) => {
                Err(StoreError::NotFound { session: removal.session })
            }
            Ok(removed) if self.has(Flaw::CountsWhatItKeeps) => {
                Ok(Removed { records: removed.records + removed.kept, ..removed })
            }
            other => other,
        }
    }

    async fn rewrite(&self, mut rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        let (session, nth) = (rewrite.session, self.calls.fetch_add(1, Ordering::SeqCst));
        let head = self.inner.head(session).await;
        let first = head.as_ref().ok().and_then(Option::as_ref).map_or(1, |head| head.first);
        let done = Ok(Rewritten { first, durability: Durability::Volatile });
        match self.flaw {
            Flaw::RewritesNothing => rewrite = self.as_it_is(rewrite).await,
            Flaw::RewritesTheFirstOnly => rewrite.records.truncate(1),
            Flaw::RewritesTheNextToo => {
                let next = rewrite.records.last().map_or(0, |record| record.seq + 1);
                let range = ReadRange { from: next, to: next, ..all() };
                if let Ok(Page { records, .. }) = self.inner.read(session, range).await {
                    rewrite
                        .records
                        .extend(records.into_iter().map(|record| Record { payload: Bytes::new(), ..record }));
                }
            }
            Flaw::RefusesTheSameAgain if self.is_as_it_is(&rewrite).await => {
                return Err(StoreError::Malformed { what: "it is so already" });
            }
            Flaw::TakesAnyRecord => rewrite = self.as_it_is(rewrite).await,
            Flaw::ForgetsNewWords => rewrite.words = None,
            Flaw::RewritesAnyVersion => rewrite.expected = None,
            Flaw::RewritesOnTheSecondPoll => tokio::task::yield_now().await,
            Flaw::KeepsForTheUnlinked => rewrite.unlink.clear(),
            Flaw::UnlinksAll if !rewrite.unlink.is_empty() => self.marked.lock().unwrap().push(session),
            Flaw::LeavesWhatIsKeptAsItWas if head.is_err() => return done,
            Flaw::RewritesAtAnyLevel => rewrite.durability = Durability::Volatile,
            Flaw::DropsARewriteBesideAnother if nth % 97 == 96 => return done,
            _ => {}
        }
        if self.has(Flaw::RewritesNothing) && rewrite.records.is_empty() {
            return done;
        }
        let parts: Vec<Record> = rewrite.records.clone();
        let bare = Rewrite { records: Vec::new(), words: None, unlink: Vec::new(), ..rewrite.clone() };
        match self.inner.rewrite(rewrite).await {
            Ok(rewritten) => {
                if matches!(self.flaw, Flaw::TellsOfARewrite | Flaw::RefusesWhatIsBehindARewrite) {
                    self.marked.lock().unwrap().push(session);
                }
                let came = rewritten.first < first;
                if came && matches!(self.flaw, Flaw::ForgetsHowFarItCame | Flaw::FindsNothingAdopted) {
                    self.marked.lock().unwrap().push(session);
                }
                Ok(rewritten)
            }
            Err(StoreError::Malformed { .. }) if self.has(Flaw::AdoptsWithGaps) && first > 1 => done,
            Err(StoreError::Malformed { .. }) if self.has(Flaw::UnlinksAnybody) && first > 1 => done,
            Err(error) if self.has(Flaw::KeepsHalfOfWhatItRefuses) => {
                for record in parts {
                    let _half = self.inner.rewrite(Rewrite { records: vec![record], ..bare.clone() }).await;
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn heirs(&self, session: SessionId) -> Result<Vec<Heir>, StoreError> {
        let heirs = self.inner.heirs(session).await?;
        let unlinked = self.marked.lock().unwrap().clone();
        Ok(match self.flaw {
            Flaw::ForgetsWhoInherits => Vec::new(),
            Flaw::UnlinksAll => heirs.into_iter().filter(|heir| !unlinked.contains(&heir.session)).collect(),
            _ => heirs,
        })
    }

    async fn head(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        let head = self.inner.head(session).await?;
        let forgets = self.has(Flaw::ForgetsHowFarItCame) && self.marked.lock().unwrap().contains(&session);
        Ok(head.map(|head| if forgets { Head { first: 5, ..head } } else { head }))
    }

    async fn read(&self, session: SessionId, mut range: ReadRange) -> Result<Page, StoreError> {
        if self.has(Flaw::IgnoresTheUpperEnd) && range.order == Order::OldestFirst {
            range.to = u64::MAX;
        }
        let is_marked = self.marked.lock().unwrap().contains(&session);
        if self.has(Flaw::TakesFromTheLiving) && is_marked {
            return Ok(Page::default());
        }
        if self.remembers && range.order == Order::OldestFirst {
            let page = self.inner.read(session, range).await?;
            return Ok(self.read.lock().unwrap().get_or_insert(page).clone());
        }
        let filtered = range.kinds == KindFilter::Elements;
        if self.has(Flaw::CountsWhatItFiltersOut) && filtered {
            range.kinds = KindFilter::All;
        }
        let mut page = match self.inner.read(session, range).await {
            Err(StoreError::NotFound { .. }) if self.has(Flaw::SaysNothingOfMissingSessions) => {
                return Ok(Page { records: Vec::new(), next: None });
            }
            other => other?,
        };
        match self.flaw {
            Flaw::LosesARecord => page.records.retain(|record| record.seq != 13),
            Flaw::ReordersAPage if page.records.len() > 20 => page.records.swap(17, 18),
            Flaw::PagesWithoutNext => page.next = None,
            Flaw::CountsWhatItFiltersOut if filtered => page.records.retain(|record| record.kind.is_element()),
            _ => {}
        }
        Ok(page)
    }

    async fn find(&self, session: SessionId, label: u64) -> Result<Vec<u64>, StoreError> {
        if self.has(Flaw::GivesAwayLabelZero) && label == 0 {
            let head = self.inner.head(session).await?;
            return Ok(head.map(|head| head.version).into_iter().collect());
        }
        if self.has(Flaw::FindsNothingAdopted) && self.marked.lock().unwrap().contains(&session) {
            return Ok(self.inner.find(session, label).await?.into_iter().filter(|seq| *seq >= 5).collect());
        }
        self.inner.find(session, label).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        if self.has(Flaw::MixesUpSnapshots) {
            return Ok(self.latest.lock().unwrap().clone());
        }
        self.inner.snapshot(session).await
    }

    async fn by_key(&self, key: Digest) -> Result<Option<SessionId>, StoreError> {
        self.inner.by_key(key).await
    }

    async fn claim(&self, session: SessionId, key: Digest) -> Result<Option<StoredClaim>, StoreError> {
        self.inner.claim(session, key).await
    }

    async fn rows(&self, since: u64, limit: usize) -> Result<RowPage, StoreError> {
        match self.flaw {
            Flaw::SkipsARowBetweenPages if since > 0 => self.inner.rows(since + 1, limit).await,
            Flaw::TellsOfNoRemoval => Ok(RowPage { removed: Vec::new(), ..self.inner.rows(since, limit).await? }),
            Flaw::TellsOnlyOfWhatItShowed => {
                let mut page = self.inner.rows(since, limit).await?;
                page.removed.retain(|session| self.marked.lock().unwrap().contains(session));
                Ok(page)
            }
            Flaw::TellsOfARewrite if !self.marked.lock().unwrap().is_empty() => self.inner.rows(0, limit).await,
            Flaw::RepeatsRowsThatDidNotChange => self.inner.rows(since.saturating_sub(1), limit).await,
            _ => self.inner.rows(since, limit).await,
        }
    }

    async fn wait(&self, session: SessionId, version: u64, level: Durability) -> Result<Head, StoreError> {
        if self.has(Flaw::SleepsThroughACommit) && self.inner.head(session).await?.is_none_or(|h| h.version < version) {
            // Begins to listen only after it looked, so it hears the next commit at the earliest.
            tokio::task::yield_now().await;
            let head = self.inner.head(session).await?.map_or(0, |head| head.version);
            return self.inner.wait(session, version.max(head + 1), level).await;
        }
        if self.has(Flaw::WaitsForNobody) && self.inner.head(session).await?.is_none() {
            return std::future::pending().await;
        }
        if self.has(Flaw::LeavesWaitersAsleep) {
            return match self.inner.wait(session, version, level).await {
                Err(StoreError::Gone { .. }) => std::future::pending().await,
                other => other,
            };
        }
        let wanted = if self.has(Flaw::WakesTooEarly) { version.saturating_sub(1) } else { version };
        self.inner.wait(session, wanted, level).await
    }

    async fn settled(&self, session: SessionId) -> Result<Option<Head>, StoreError> {
        self.inner.settled(session).await
    }

    async fn erased(&self, session: SessionId) -> Result<Option<sessions_ports::Erased>, StoreError> {
        self.inner.erased(session).await
    }

    fn erasure(&self) -> Option<sessions_ports::Erasure> {
        self.inner.erasure()
    }

    fn strongest(&self) -> Durability {
        self.inner.strongest()
    }

    fn id(&self) -> StoreId {
        self.inner.id()
    }

    async fn close(&self) -> Result<(), StoreError> {
        if self.has(Flaw::WorksAfterClosing) { Ok(()) } else { self.inner.close().await }
    }
}

#[async_trait]
impl Fixture for Flawed {
    fn name(&self) -> &'static str {
        "flawed"
    }

    async fn open(&self) -> Arc<dyn SessionLog> {
        Arc::new(self.clone())
    }

    async fn second(&self) -> Arc<dyn SessionLog> {
        let apart = self.has(Flaw::KeepsHandlesApart);
        Arc::new(match self.flaw {
            // It reads as it was before.
            Flaw::RewritesForOneHandle => Flawed { remembers: true, ..self.clone() },
            _ if apart => Flawed::new(self.flaw),
            _ => self.clone(),
        })
    }

    async fn reopen(&self, _store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        None
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::in_memory()
    }
}

/// Each flaw with a law that must see it.
const CAUGHT: &[(Flaw, &str)] = &[
    (Flaw::LosesARecord, "commits::later_commits_continue_the_log"),
    (Flaw::ReordersAPage, "reading::a_range_is_bounded_on_both_ends"),
    (Flaw::ChangesAByte, "reading::records_come_back_as_they_were_written"),
    (Flaw::ForgetsClaims, "claims::a_claim_names_its_record_and_append"),
    (Flaw::ForgetsKeys, "claims::a_key_leads_to_its_session"),
    (Flaw::LetsLaterKeysIn, "claims::a_key_comes_with_the_first_commit"),
    (Flaw::ShowsHalfACommit, "claims::a_queued_claim_is_known"),
    (Flaw::AnswersBeforeItIsDone, "handles::two_handles_write_one_log"),
    (Flaw::WritesOnTheSecondPoll, "order::places_are_taken_at_the_first_poll"),
    (Flaw::RetriesConflictsItself, "commits::another_version_is_a_conflict"),
    (Flaw::LooksAtNumbersOnly, "order::another_record_of_the_same_number_is_a_conflict"),
    (Flaw::IgnoresTheUpperEnd, "reading::a_range_is_bounded_on_both_ends"),
    (Flaw::PagesWithoutNext, "reading::a_page_is_bounded_by_count"),
    (Flaw::CountsWhatItFiltersOut, "reading::elements_only_leaves_out_the_rest"),
    (Flaw::SaysNothingOfMissingSessions, "reading::a_missing_session_has_nothing"),
    (Flaw::SleepsThroughACommit, "waiting::two_that_take_turns_never_stall"),
    (Flaw::WakesTooEarly, "waiting::a_wait_ends_when_its_version_comes"),
    (Flaw::SkipsARowBetweenPages, "rows::pages_of_rows_leave_none_out"),
    (Flaw::RepeatsRowsThatDidNotChange, "rows::only_what_changed_comes_again"),
    (Flaw::ClaimsALevelItCannotGive, "durability::more_than_the_strongest_is_refused"),
    (Flaw::WorksAfterClosing, "close::a_closed_store_says_so"),
    (Flaw::KeepsHandlesApart, "handles::two_handles_write_one_log"),
    (Flaw::GivesAwayLabelZero, "reading::label_zero_finds_nothing"),
    (Flaw::MixesUpSnapshots, "order::a_snapshot_is_one_that_was_kept"),
    (Flaw::SettlesTooEarly, "waiting::what_is_queued_is_settled"),
    (Flaw::WaitsForNobody, "waiting::a_queued_session_can_be_waited_for"),
    (Flaw::RemovesWhateverIsThere, "removal::an_expected_version_is_asked"),
    (Flaw::RemovesOnTheSecondPoll, "removal::a_removal_takes_its_place"),
    (Flaw::RefusesToRemoveTwice, "removal::removing_twice_is_fine"),
    (Flaw::CountsWhatItKeeps, "inheritance::what_others_inherit_stays"),
    (Flaw::FreesEveryKey, "removal::a_kept_key_stays_taken"),
    (Flaw::KeepsEveryKey, "removal::a_key_is_free_again"),
    (Flaw::KeepsNothingForHeirs, "inheritance::what_others_inherit_stays"),
    (Flaw::KeepsAllForHeirs, "inheritance::the_last_heir_takes_it_along"),
    (Flaw::ForgetsWhoInherits, "inheritance::heirs_are_known"),
    (Flaw::InheritsFromAnything, "inheritance::nothing_is_inherited_from_what_is_gone"),
    (Flaw::UsesAnIdAgain, "removal::what_is_removed_is_gone"),
    (Flaw::TellsOfNoRemoval, "removal::pages_leave_no_removal_out"),
    (Flaw::TellsOnlyOfWhatItShowed, "removal::the_feed_tells_of_what_it_never_showed"),
    (Flaw::TakesFromTheLiving, "inheritance::a_removed_heir_takes_nothing_from_a_living_owner"),
    (Flaw::LeavesWaitersAsleep, "removal::who_waits_hears_of_a_removal"),
    (Flaw::RewritesNothing, "rewriting::a_rewritten_record_has_its_new_payload"),
    (Flaw::RewritesTheFirstOnly, "rewriting::a_rewritten_record_has_its_new_payload"),
    (Flaw::RewritesTheNextToo, "rewriting::a_rewritten_record_has_its_new_payload"),
    (Flaw::RefusesTheSameAgain, "rewriting::a_rewrite_may_be_repeated"),
    (Flaw::TakesAnyRecord, "rewriting::a_rewrite_says_nothing_else"),
    (Flaw::KeepsHalfOfWhatItRefuses, "rewriting::a_refused_rewrite_leaves_no_trace"),
    (Flaw::ForgetsNewWords, "rewriting::words_are_rewritten_where_they_stand"),
    (Flaw::TellsOfARewrite, "rewriting::words_are_rewritten_where_they_stand"),
    (Flaw::RewritesAnyVersion, "rewriting::an_expected_version_is_asked_of_a_rewrite"),
    (Flaw::RefusesWhatIsBehindARewrite, "rewriting::a_rewrite_disturbs_no_commit"),
    (Flaw::RewritesOnTheSecondPoll, "rewriting::a_dropped_rewrite_still_happens"),
    (Flaw::ForgetsHowFarItCame, "adoption::adopted_records_are_the_logs_own"),
    (Flaw::FindsNothingAdopted, "adoption::adopted_records_are_the_logs_own"),
    (Flaw::AdoptsWithGaps, "adoption::nothing_is_adopted_with_a_gap"),
    (Flaw::KeepsForTheUnlinked, "adoption::an_unlinked_owner_keeps_nothing"),
    (Flaw::UnlinksAnybody, "adoption::an_unlinked_owner_keeps_nothing"),
    (Flaw::UnlinksAll, "adoption::owners_are_unlinked_one_by_one"),
    (Flaw::KeepsForTheUnlinked, "adoption::who_was_unlinked_inherits_nothing"),
    (Flaw::LeavesWhatIsKeptAsItWas, "rewriting::what_is_kept_for_others_can_be_rewritten"),
    (Flaw::RewritesAtAnyLevel, "rewriting::a_rewrite_is_not_promised_too_much"),
    (Flaw::RewritesForOneHandle, "rewriting::a_rewrite_is_seen_through_other_handles"),
    (Flaw::DropsARewriteBesideAnother, "rewriting::rewriting_beside_writers_loses_nothing"),
    (Flaw::ForgetsClaims, "faults::any_answer_may_be_lost_and_the_story_ends_the_same"),
    (Flaw::LooksAtNumbersOnly, "faults::what_stands_behind_a_refused_commit_is_refused"),
    (Flaw::ForgetsClaims, "faults::a_lost_answer_is_found_again"),
    (Flaw::ForgetsKeys, "faults::any_call_may_fail_and_the_story_ends_the_same"),
    (Flaw::ShowsHalfACommit, "faults::a_caller_may_go_away_at_any_point"),
    (Flaw::ForgetsClaims, "races::writers_that_go_away_lose_and_double_nothing"),
];

#[test]
fn a_store_without_a_flaw_breaks_no_law() {
    assert_eq!(report(async || Flawed::new(Flaw::None)).violations, []);
}

#[test]
fn each_flaw_is_caught_by_its_law() {
    for (flaw, name) in CAUGHT {
        let law = LAWS.iter().find(|law| law.name == *name).unwrap_or_else(|| panic!("there is no law {name}"));
        let verdict = check(law, async || Flawed::new(*flaw));
        assert!(matches!(&verdict, Verdict::Broken(violation) if violation.law == *name), "{flaw:?}: {verdict:?}");
    }
}

/// A law that hangs or panics is broken, not stuck.
#[test]
fn a_store_that_panics_breaks_its_laws() {
    struct Panics;
    #[async_trait]
    impl Fixture for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }
        async fn open(&self) -> Arc<dyn SessionLog> {
            panic!("it cannot open")
        }
        async fn second(&self) -> Arc<dyn SessionLog> {
            self.open().await
        }
        async fn reopen(&self, _store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
            None
        }
        fn capabilities(&self) -> Capabilities {
            Capabilities { largest_commit: Some(1), ..Capabilities::in_memory() }
        }
    }
    let report = report(async || Panics);
    assert_eq!((report.violations.len(), report.kept.len(), report.skipped.len()), (LAWS.len(), 0, 0));
}
