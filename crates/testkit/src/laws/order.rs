//! Laws of order and visibility: places are taken at the first poll, and what is seen is whole.
//!
//! Must not know: any store.

use std::sync::Arc;

use bytes::Bytes;
use sessions_domain::{CommitHash, Kind};
use sessions_ports::{Claim, Durability, Expected, StoreError};

use crate::{
    fixture::Fixture,
    polled::{Started, due},
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

/// Commits of one session take their places in the order of their first polls, and need not wait for each other.
pub async fn places_are_taken_at_the_first_poll(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let commits: Vec<_> = (0..20).map(|n| script.say(&format!("queued {n}"))).collect();
    let mut started: Vec<_> = commits.into_iter().map(|commit| Started::new(store.commit(commit))).collect();
    for expected in (1..=20).rev() {
        let Some(last) = started.pop() else { break };
        ensure_eq!(last.finish().await?.version, expected, "the version of a queued commit, awaited last first");
    }
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}

/// Expected versions are checked against the queued tail.
pub async fn the_queued_tail_decides(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("one")).await?;
    let rival = script.behind(1, script.tip(), b"rival", Durability::Volatile);
    let first = Started::new(store.commit(script.say("two")));
    let second = Started::new(store.commit(rival));
    ensure_refused!(
        second.finish().await,
        StoreError::Conflict { expected: 1, actual: 2 },
        "a commit that expects what a queued one expects too"
    );
    ensure_eq!(first.finish().await?.version, 2, "the queued commit");
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}

/// Where the commit of the tail is expected, another record in its place is a conflict, visible or queued.
pub async fn another_record_of_the_same_number_is_a_conflict(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for (number, level) in (1..=40).zip([Durability::Volatile, store.strongest()].into_iter().cycle()) {
        let mut commit = script.say("the one that is there");
        commit.durability = level;
        let queued = Started::new(store.commit(commit));
        let (version, commit) = (script.version(), script.tip());
        let another = CommitHash::from_bytes([number; 32]);
        let mut behind = script.behind(version, another, b"behind another", level);
        behind.expected = Expected::Behind { version, commit: another };
        ensure_refused!(
            Started::new(store.commit(behind)).finish().await,
            StoreError::Conflict { .. },
            "a commit behind another record than the one that is there"
        );
        let mut next = script.say("behind it");
        (next.expected, next.durability) = (Expected::Behind { version, commit }, level);
        let next = Started::new(store.commit(next));
        ensure_eq!(queued.finish().await?.version, version, "the queued commit");
        ensure_eq!(next.finish().await?.version, version + 1, "the commit behind it");
    }
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}

/// Once polled, a commit happens, whether or not anybody awaits it.
pub async fn a_dropped_commit_still_happens(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for n in 0..20 {
        let level = if n % 2 == 0 { Durability::Volatile } else { store.strongest() };
        let mut commit = script.say(&format!("dropped {n}"));
        commit.durability = level;
        drop(Started::new(store.commit(commit)));
    }
    let wait = store.wait(script.session(), 20, Durability::Volatile);
    let head = due(wait, "a wait for dropped commits").await??;
    ensure_eq!((head.version, head.commit), (20, script.tip()), "the head after twenty dropped commits");
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}

/// A commit that was never polled does nothing.
pub async fn an_unpolled_commit_does_nothing(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let script = Script::new(1);
    drop(store.commit(script.clone().say("never polled")));
    ensure_eq!(store.head(script.session()).await?, None, "the head");
    store.commit(script.clone().say("polled")).await?;
    Ok(())
}

/// When a commit is answered, everything that reads sees all of it.
pub async fn what_is_answered_is_visible(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for (number, level) in [(1_u8, Durability::Volatile), (2, store.strongest())] {
        let mut script = Script::new(u64::from(number));
        let session = script.session();
        let mut commit = script.commit(&[(Kind::APPENDED, 0, b"a"), (Kind::APPENDED, 50, b"b")]);
        commit.key = Some([number; 32]);
        commit.claims = vec![Claim { key: [9; 32], payload: [8; 32], offset: 1 }];
        commit.durability = level;
        store.commit(commit).await?;
        ensure_eq!(store.head(session).await?.map(|head| head.version), Some(2), "the head at {level}");
        ensure_eq!(read_all(&*store, session, everything()).await?, script.written(), "the log at {level}");
        ensure_eq!(store.find(session, 50).await?, [2], "the label at {level}");
        ensure_eq!(store.by_key([number; 32]).await?, Some(session), "the key at {level}");
        ensure!(store.claim(session, [9; 32]).await?.is_some(), "the claim is missing at {level}");
        let rows = store.rows(0, 10).await?.rows;
        ensure!(rows.iter().any(|row| row.session == session && row.version == 2), "the row is missing at {level}");
    }
    Ok(())
}

/// The newest snapshot that was kept is given, or an older one, or none; never another.
pub async fn a_snapshot_is_one_that_was_kept(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let mut kept: Vec<Option<Bytes>> = vec![None];
    let mut newest = 0;
    for n in 0..12 {
        let mut commit = script.say("more");
        commit.snapshot = (n % 3 == 0).then(|| Bytes::from(format!("snapshot {n}")));
        if commit.snapshot.is_some() {
            kept.push(commit.snapshot.clone());
        }
        store.commit(commit).await?;
        let given = store.snapshot(script.session()).await?;
        let Some(at) = kept.iter().position(|known| *known == given) else {
            return Err(Exception::broken(format!("a snapshot that was never given: {given:?}")));
        };
        ensure!(at == 0 || at >= newest, "an older snapshot came back after a newer one");
        newest = newest.max(at);
    }
    ensure_eq!(store.snapshot(Script::new(2).session()).await?, None, "the snapshot of another session");
    Ok(())
}

/// Readers see commits whole, and heads that only go forward.
pub async fn readers_never_see_half_a_commit(fixture: &dyn Fixture) -> Outcome {
    const SIZE: u64 = 7;
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let session = script.session();
    store.commit(script.say_many(7)).await?;
    let writer = {
        let (store, mut script) = (Arc::clone(&store), script.clone());
        tokio::spawn(async move {
            for _ in 0..150 {
                store.commit(script.say_many(7)).await?;
                tokio::task::yield_now().await;
            }
            Ok::<Script, StoreError>(script)
        })
    };
    let mut before = 0;
    while before < 151 * SIZE && !writer.is_finished() {
        let read = read_all(&*store, session, everything()).await?;
        let version = read.last().map_or(0, |record| record.seq);
        ensure!(version % SIZE == 0, "a reader saw {version} records of commits of {SIZE}");
        ensure!(version >= before, "a reader saw {version} after {before}");
        ensure!(read.iter().zip(1..).all(|(record, seq)| record.seq == seq), "a reader saw a gap before {version}");
        let head = store.head(session).await?.map_or(0, |head| head.version);
        ensure!(head % SIZE == 0 && head >= version, "a head of {head} after a read up to {version}");
        before = head;
        tokio::task::yield_now().await;
    }
    let script = writer.await.map_err(|error| Exception::broken(error.to_string()))??;
    ensure_eq!(read_all(&*store, session, everything()).await?, script.written(), "the log");
    Ok(())
}
