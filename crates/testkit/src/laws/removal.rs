//! Laws of removal: what is removed stays away, and its id is never used again. What others inherit has laws of its own (`inheritance`).
//!
//! Must not know: any store.

use std::sync::Arc;

use bytes::Bytes;
use sessions_domain::{Kind, SessionId};
use sessions_ports::{
    Claim, Commit, Durability, Expected, Heir, Link, Record, Removal, Removed, RowChange, SessionLog, StoreError,
};

use crate::{
    fixture::Fixture,
    polled::{Started, due},
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

const VOLATILE: Durability = Durability::Volatile;

/// Removes whatever is there.
pub(super) fn of(script: &Script) -> Removal {
    Removal { session: script.session(), expected: None, keep_key: false, durability: VOLATILE }
}

/// A session of `count` records that begins behind what it inherits.
pub(super) fn heir(number: u64, links: &[(&Script, u64)]) -> (Script, Commit) {
    let first = links.iter().map(|(_, last)| last + 1).max().unwrap_or(1);
    let mut script = Script::starting_at(number, first);
    let links = links.iter().map(|(owner, last)| Link { owner: owner.session(), last: *last }).collect();
    let commit = Commit { links, ..script.say("inherits") };
    (script, commit)
}

/// A session of five commits of one record, each with the label of its number.
pub(super) async fn labelled(store: &dyn SessionLog, number: u64) -> Result<Script, StoreError> {
    let mut script = Script::new(number);
    for label in 1..=5 {
        store.commit(script.commit(&[(Kind::APPENDED, label, b"labelled")])).await?;
    }
    Ok(script)
}

pub(super) fn payload_bytes(records: &[Record]) -> u64 {
    records.iter().map(|record| record.payload.len() as u64).sum()
}

/// Breaks the law unless nothing is left of a session.
pub(super) async fn ensure_gone(store: &dyn SessionLog, script: &Script) -> Outcome {
    let session = script.session();
    let head = store.head(session).await;
    ensure_refused!(head, StoreError::Gone { session: gone } if gone == session, "the head of what was removed");
    let read = store.read(session, everything()).await;
    ensure_refused!(read, StoreError::Gone { .. }, "reading what was removed");
    let settled = due(store.settled(session), "a removed session").await?;
    ensure_refused!(settled, StoreError::Gone { .. }, "settling what was removed");
    for version in [1, script.version() + 1] {
        let waited = due(store.wait(session, version, VOLATILE), "a wait for a removed session").await?;
        ensure_refused!(waited, StoreError::Gone { .. }, "waiting for version {version} of what was removed");
    }
    let again = Commit { session, expected: Expected::NoStream, ..Script::new(0).say("again") };
    ensure_refused!(store.commit(again).await, StoreError::Gone { .. }, "making a removed session again");
    let later = script.behind(script.version(), script.tip(), b"later", VOLATILE);
    ensure_refused!(store.commit(later).await, StoreError::Gone { .. }, "going on with a removed session");
    for label in 0..=5 {
        ensure_eq!(store.find(session, label).await?, [0_u64; 0], "records of a removed session with label {label}");
    }
    ensure_eq!(store.snapshot(session).await?, None, "the snapshot of a removed session");
    Ok(())
}

/// What is removed is gone, and no other session with it.
pub async fn what_is_removed_is_gone(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let claims = vec![Claim { key: [1; 32], payload: [2; 32], offset: 0 }];
    let snapshot = Some(Bytes::from_static(b"a view"));
    store.commit(Commit { claims, snapshot, ..script.commit(&[(Kind::APPENDED, 3, b"said")]) }).await?;
    store.commit(script.say_many(5)).await?;
    let other = labelled(&*store, 2).await?;
    store.remove(of(&script)).await?;
    ensure_gone(&*store, &script).await?;
    ensure_eq!(store.claim(script.session(), [1; 32]).await?, None, "a claim of a removed session");
    ensure_eq!(read_all(&*store, other.session(), everything()).await?, other.written(), "another session");
    Ok(())
}

/// What was never there cannot be removed.
pub async fn what_never_was_is_not_removed(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    ensure_refused!(store.remove(of(&script)).await, StoreError::NotFound { .. }, "removing what never was");
    ensure_refused!(store.heirs(script.session()).await, StoreError::NotFound { .. }, "heirs of what never was");
    store.commit(script.say("made afterwards")).await?;
    ensure_eq!(store.head(script.session()).await?.map(|head| head.version), Some(1), "a session made afterwards");
    Ok(())
}

/// Removing twice is fine, and the second time says so.
pub async fn removing_twice_is_fine(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let script = labelled(&*store, 1).await?;
    ensure!(store.remove(of(&script)).await?.was_there, "a session that was there was not");
    ensure_eq!(store.remove(of(&script)).await?, Removed::default(), "removing it again");
    let (first, second) = (labelled(&*store, 2).await?, store.strongest());
    let queued = Started::new(store.remove(Removal { durability: second, ..of(&first) }));
    let behind = Started::new(store.remove(of(&first)));
    ensure!(due(queued.finish(), "a removal").await??.was_there, "a session that was there was not");
    ensure!(!due(behind.finish(), "a second removal").await??.was_there, "a session was removed by two");
    Ok(())
}

/// A removal says what it took.
pub async fn a_removal_says_what_it_took(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for size in [1, 300, 70_000, 200_000] {
        store.commit(script.commit(&[(Kind::APPENDED, 0, &vec![b'x'; size])])).await?;
    }
    store.commit(script.say_many(3)).await?;
    let (records, bytes) = (script.written().len() as u64, payload_bytes(script.written()));
    let expected = Removed { was_there: true, records, bytes, kept: 0, heirs: Vec::new() };
    ensure_eq!(store.remove(of(&script)).await?, expected, "what a removal took");
    Ok(())
}

/// Who decided about a version removes that version only, queued commits included.
pub async fn an_expected_version_is_asked(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = labelled(&*store, 1).await?;
    for wrong in [4, 6] {
        let removal = Removal { expected: Some(wrong), ..of(&script) };
        ensure_refused!(
            store.remove(removal).await,
            StoreError::Conflict { expected, actual: 5 } if expected == wrong,
            "removing version {wrong} of 5"
        );
    }
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "what was not removed");
    let commit = Commit { durability: store.strongest(), ..script.say("queued") };
    let queued = Started::new(store.commit(commit));
    let removal = Removal { expected: Some(5), ..of(&script) };
    ensure_refused!(
        store.remove(removal).await,
        StoreError::Conflict { .. },
        "removing what is not the queued version"
    );
    let removal = Removal { expected: Some(6), ..of(&script) };
    let removed = Started::new(store.remove(removal));
    due(queued.finish(), "a commit").await??;
    ensure_eq!(due(removed.finish(), "a removal").await??.records, 6, "records that were removed");
    Ok(())
}

/// The key of a removed session is free, and can be claimed again.
pub async fn a_key_is_free_again(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (mut first, mut second) = (Script::new(1), Script::new(2));
    store.commit(Commit { key: Some([1; 32]), ..first.say("first") }).await?;
    let early = Commit { key: Some([1; 32]), ..second.clone().say("too early") };
    ensure_refused!(store.commit(early).await, StoreError::KeyTaken { .. }, "a key before its session is removed");
    store.remove(of(&first)).await?;
    ensure_eq!(store.by_key([1; 32]).await?, None, "the key of a removed session");
    store.commit(Commit { key: Some([1; 32]), ..second.say("second") }).await?;
    ensure_eq!(store.by_key([1; 32]).await?, Some(second.session()), "a key that was claimed again");
    store.remove(of(&first)).await?;
    ensure_eq!(store.by_key([1; 32]).await?, Some(second.session()), "that key when the first is removed again");
    Ok(())
}

/// A key that was to be kept leads to the id that is gone, and nobody else gets it.
pub async fn a_kept_key_stays_taken(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut first = Script::new(1);
    store.commit(Commit { key: Some([1; 32]), ..first.say("first") }).await?;
    store.remove(Removal { keep_key: true, ..of(&first) }).await?;
    ensure_eq!(store.by_key([1; 32]).await?, Some(first.session()), "a key that was to be kept");
    let other = Commit { key: Some([1; 32]), ..Script::new(2).say("second") };
    ensure_refused!(
        store.commit(other).await,
        StoreError::KeyTaken { session } if session == first.session(),
        "claiming a key that was to be kept"
    );
    Ok(())
}

/// A removal has its place: what was queued before it goes through, and what comes behind it is refused.
pub async fn a_removal_takes_its_place(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for number in 1..=20 {
        let mut script = Script::new(number);
        let commits: Vec<Commit> = (0..6).map(|n| script.say(&format!("queued {n}"))).collect();
        let mut before = Vec::new();
        for (mut commit, n) in commits.into_iter().zip(number..) {
            commit.durability = if n % 3 == 0 { VOLATILE } else { store.strongest() };
            before.push(Started::new(store.commit(commit)));
        }
        let durability = if number % 2 == 0 { VOLATILE } else { store.strongest() };
        let removal = Started::new(store.remove(Removal { expected: Some(6), durability, ..of(&script) }));
        let behind = store.commit(script.clone().say("behind it"));
        let behind = due(behind, "a commit behind a removal").await?;
        ensure_refused!(behind, StoreError::Gone { .. }, "a commit behind a removal");
        for commit in before {
            due(commit.finish(), "a commit before a removal").await??;
        }
        ensure_eq!(due(removal.finish(), "a removal").await??.records, 6, "records that were removed");
        ensure_gone(&*store, &script).await?;
    }
    Ok(())
}

/// A removal whose future was dropped after the first poll happens.
pub async fn a_dropped_removal_still_happens(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for number in 1..=10 {
        let mut script = Script::new(number);
        store.commit(script.say("to be removed")).await?;
        drop(store.remove(of(&script)));
        ensure!(store.head(script.session()).await?.is_some(), "a removal that was never polled happened");
        drop(Started::new(store.remove(Removal { durability: store.strongest(), ..of(&script) })));
        let settled = due(store.settled(script.session()), "what is queued").await?;
        ensure_refused!(settled, StoreError::Gone { .. }, "settling behind a dropped removal");
        ensure_gone(&*store, &script).await?;
    }
    Ok(())
}

/// Who waits for a session hears that it is removed.
pub async fn who_waits_hears_of_a_removal(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (script, other) = (labelled(&*store, 1).await?, labelled(&*store, 2).await?);
    let levels = [VOLATILE, store.strongest()];
    let waits = levels.map(|level| Started::new(store.wait(script.session(), 6, level)));
    let mut apart = Started::new(store.wait(other.session(), 6, VOLATILE));
    store.remove(Removal { durability: store.strongest(), ..of(&script) }).await?;
    for wait in waits {
        let waited = due(wait.finish(), "a wait for a session that was removed").await?;
        ensure_refused!(waited, StoreError::Gone { .. }, "a wait for a session that was removed");
    }
    let mut other = other;
    ensure!(!apart.is_done(), "a wait for another session ended");
    store.commit(other.say("six")).await?;
    apart = Started::new(apart.finish());
    ensure_eq!(due(apart.finish(), "a wait").await??.version, 6, "the version that was waited for elsewhere");
    Ok(())
}

/// The feed of rows tells a removal once, and shows no row of the session any more.
pub async fn the_feed_tells_of_a_removal_once(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (script, mut other) = (labelled(&*store, 1).await?, labelled(&*store, 2).await?);
    let since = store.rows(0, 100).await?.next;
    store.remove(of(&script)).await?;
    let page = store.rows(since, 100).await?;
    ensure_eq!(page.removed, [script.session()], "what the feed tells of a removal");
    ensure!(page.rows.is_empty() && !page.more && page.next > since, "a removal in the feed: {page:?}");
    let rows: Vec<SessionId> = store.rows(0, 100).await?.rows.iter().map(|row| row.session).collect();
    ensure_eq!(rows, [other.session()], "rows behind a removal");
    store.remove(of(&script)).await?;
    store.commit(other.say("more")).await?;
    let page = store.rows(page.next, 100).await?;
    ensure_eq!(page.removed, [], "a removal that was told before");
    Ok(())
}

/// The feed tells of the removal of a session without words too, which it never showed.
pub async fn the_feed_tells_of_what_it_never_showed(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let first = script.say("first");
    let row = RowChange { words: None, ..first.row.clone() };
    store.commit(Commit { row, ..first }).await?;
    let since = store.rows(0, 100).await?.next;
    store.remove(of(&script)).await?;
    ensure_eq!(store.rows(since, 100).await?.removed, [script.session()], "the removal of a session without words");
    Ok(())
}

/// Pages of any size give all rows and all removals, each once, also while it changes.
pub async fn pages_leave_no_removal_out(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for (round, limit) in [1, 2, 3, 7, 1000].into_iter().enumerate() {
        let number = round as u64 * 1000;
        let mut scripts: Vec<Script> = (number + 1..=number + 20).map(Script::new).collect();
        let mut since = loop {
            let page = store.rows(0, usize::MAX).await?;
            if !page.more {
                break page.next;
            }
        };
        for script in &mut scripts {
            store.commit(script.say("first")).await?;
        }
        for script in scripts.iter().step_by(3) {
            store.remove(of(script)).await?;
        }
        let (mut seen, mut removed, mut pages) = (Vec::new(), Vec::new(), 0);
        loop {
            let page = store.rows(since, limit).await?;
            let count = page.rows.len() + page.removed.len();
            ensure!(count <= limit, "{count} rows and removals for at most {limit}");
            seen.extend(page.rows.iter().map(|row| row.session));
            removed.extend(page.removed);
            since = page.next;
            pages += 1;
            ensure!(pages < 200, "paging does not end");
            if pages == 3 || (pages == 1 && !page.more) {
                for script in scripts.iter().skip(1).step_by(3) {
                    store.remove(of(script)).await?;
                }
            } else if !page.more {
                break;
            }
        }
        removed.sort_unstable();
        let gone = |at: usize| at % 3 != 2;
        let expected: Vec<SessionId> =
            scripts.iter().enumerate().filter(|(at, _)| gone(*at)).map(|(_, script)| script.session()).collect();
        ensure_eq!(removed, expected, "removals in pages of {limit}");
        let left = scripts.iter().enumerate().filter(|(at, _)| !gone(*at));
        for (_, script) in left {
            ensure!(seen.contains(&script.session()), "no row of {} in pages of {limit}", script.session());
        }
    }
    Ok(())
}

/// No level is promised that the store does not give.
pub async fn a_removal_is_not_promised_too_much(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let script = labelled(&*store, 1).await?;
    for durability in [Durability::Process, Durability::Disk] {
        if durability > store.strongest() {
            let removal = Removal { durability, ..of(&script) };
            ensure_refused!(store.remove(removal).await, StoreError::TooWeak { .. }, "removing at {durability}");
        }
    }
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "what was not removed");
    Ok(())
}

/// What was removed stays so when the store is opened again, with what is kept for others and what became of the keys.
pub async fn a_reopened_store_stays_without(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (mut freed, mut kept) = (Script::new(1), Script::new(2));
    store.commit(Commit { key: Some([1; 32]), ..freed.say_many(3) }).await?;
    store.commit(Commit { key: Some([2; 32]), ..kept.say("one") }).await?;
    let (owner, left) = (labelled(&*store, 3).await?, labelled(&*store, 4).await?);
    let (inherits, commit) = heir(5, &[(&owner, 3)]);
    store.commit(commit).await?;
    store.remove(of(&freed)).await?;
    store.remove(Removal { keep_key: true, durability: store.strongest(), ..of(&kept) }).await?;
    store.remove(of(&owner)).await?;
    let Some(store) = fixture.reopen(store).await else {
        return Err(Exception::skipped("the store keeps nothing when it is closed"));
    };
    ensure_gone(&*store, &freed).await?;
    ensure_gone(&*store, &kept).await?;
    ensure_eq!(store.by_key([1; 32]).await?, None, "a key that was freed");
    ensure_eq!(store.by_key([2; 32]).await?, Some(kept.session()), "a key that was to be kept");
    let records = read_all(&*store, owner.session(), everything()).await?;
    ensure_eq!(Some(records.as_slice()), owner.written().get(..3), "what another inherits");
    ensure_refused!(store.head(owner.session()).await, StoreError::Gone { .. }, "the head of what is kept for others");
    ensure_eq!(store.heirs(owner.session()).await?, [Heir { session: inherits.session(), last: 3 }], "its heirs");
    ensure_eq!(read_all(&*store, left.session(), everything()).await?, left.written(), "what was not removed");
    let rows: Vec<SessionId> = store.rows(0, 100).await?.rows.iter().map(|row| row.session).collect();
    ensure!(rows.len() == 2 && !rows.contains(&owner.session()), "rows of what is there: {rows:?}");
    ensure_eq!(store.remove(of(&freed)).await?, Removed::default(), "removing it again");
    store.remove(of(&inherits)).await?;
    ensure_gone(&*store, &owner).await
}

/// What one handle removes is gone for the other.
pub async fn a_removal_is_seen_through_other_handles(fixture: &dyn Fixture) -> Outcome {
    let (store, other) = (fixture.open().await, fixture.second().await);
    let script = labelled(&*store, 1).await?;
    let wait = Started::new(store.wait(script.session(), 6, VOLATILE));
    other.remove(of(&script)).await?;
    ensure_refused!(due(wait.finish(), "a wait").await?, StoreError::Gone { .. }, "a wait at the other handle");
    ensure_gone(&*store, &script).await
}

/// A closed store removes nothing.
pub async fn a_closed_store_removes_nothing(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let script = labelled(&*store, 1).await?;
    store.close().await?;
    ensure_refused!(store.remove(of(&script)).await, StoreError::Closed, "removing from a closed store");
    ensure_refused!(store.heirs(script.session()).await, StoreError::Closed, "heirs in a closed store");
    Ok(())
}

/// Among writers and removers of one session nothing comes behind the removal, and one remover does it.
pub async fn one_removal_wins(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for round in 1..=20 {
        let mut script = Script::new(round);
        store.commit(script.say("zero")).await?;
        let commits: Vec<Commit> = (0..20).map(|n| script.say(&format!("{n}"))).collect();
        let writer = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                let mut refused = false;
                for commit in commits {
                    match store.commit(commit).await {
                        Ok(_) if !refused => {}
                        Err(StoreError::Gone { .. }) => refused = true,
                        other => return Err(format!("a commit beside removals: {other:?}")),
                    }
                }
                Ok(())
            }
        });
        let removers: Vec<_> = (0..3)
            .map(|_| {
                let (store, removal) = (Arc::clone(&store), of(&script));
                tokio::spawn(async move { store.remove(removal).await.map(|removed| removed.was_there) })
            })
            .collect();
        let mut won = 0;
        for remover in removers {
            let was_there =
                due(remover, "a removal").await?.map_err(|error| Exception::broken(error.to_string()))??;
            won += u64::from(was_there);
        }
        ensure_eq!(won, 1, "removals that found the session");
        let written = due(writer, "a writer").await?.map_err(|error| Exception::broken(error.to_string()))?;
        written.map_err(Exception::broken)?;
        ensure_gone(&*store, &script).await?;
    }
    Ok(())
}
