//! Laws of appending: what makes a session, what is refused, and that a refusal leaves no trace.
//!
//! Must not know: any store.

use bytes::Bytes;
use sessions_domain::Kind;
use sessions_ports::{Claim, Commit, Durability, Expected, Head, SessionLog, StoreError};

use crate::{
    fixture::Fixture,
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

/// A first commit makes the session, and its answer names the version and at least the level that was asked.
pub async fn a_first_commit_makes_the_session(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let committed = store.commit(script.say_many(3)).await?;
    ensure_eq!(committed.version, 3, "the answer's version");
    let head = Head { version: 3, commit: script.tip(), first: 1 };
    ensure_eq!(store.head(script.session()).await?, Some(head), "the head");
    Ok(())
}

/// A fork's log begins at any number above 0.
pub async fn a_session_may_begin_at_any_number(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for (number, first) in [(1, 2), (2, 41), (3, 1 << 40)] {
        let mut script = Script::starting_at(number, first);
        store.commit(script.say("a fork")).await?;
        store.commit(script.say("goes on")).await?;
        let head = Head { version: first + 1, commit: script.tip(), first };
        ensure_eq!(store.head(script.session()).await?, Some(head), "the head of a log from {first}");
        let read = read_all(&*store, script.session(), everything()).await?;
        ensure_eq!(read, script.written(), "the log from {first}");
    }
    Ok(())
}

/// Commits follow each other without a gap, whatever their sizes.
pub async fn later_commits_continue_the_log(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for count in [1, 2, 1, 17, 100, 1] {
        let committed = store.commit(script.say_many(count)).await?;
        ensure_eq!(committed.version, script.version(), "the version after {count} more");
    }
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}

/// Logs of different sessions know nothing of each other.
pub async fn sessions_are_apart(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut scripts: Vec<Script> = (1..=5).map(Script::new).collect();
    for round in 0..4 {
        for (at, script) in scripts.iter_mut().enumerate() {
            store.commit(script.say(&format!("round {round} of session {at}"))).await?;
        }
    }
    for script in &scripts {
        ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "a log among five");
    }
    Ok(())
}

/// A session is made once.
pub async fn creating_twice_is_refused(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("first")).await?;
    let again = Script::new(1).say("second");
    ensure_refused!(
        store.commit(again).await,
        StoreError::AlreadyExists { session } if session == script.session(),
        "creating a session that exists"
    );
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}

/// A commit behind or ahead of the tail is a conflict that names both versions.
pub async fn another_version_is_a_conflict(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say_many(5)).await?;
    for wrong in [1, 4, 6, 1000] {
        let commit = script.behind(wrong, script.tip(), b"too late or too early", Durability::Volatile);
        ensure_refused!(
            store.commit(commit).await,
            StoreError::Conflict { expected, actual: 5 } if expected == wrong,
            "a commit that expects version {wrong} of 5"
        );
    }
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}

/// Appending to a session that does not exist is a conflict with version 0.
pub async fn appending_to_nothing_is_a_conflict(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let script = Script::new(1);
    let commit = script.behind(7, script.tip(), b"to nothing", Durability::Volatile);
    ensure_refused!(
        store.commit(commit).await,
        StoreError::Conflict { expected: 7, actual: 0 },
        "a commit to a session that does not exist"
    );
    ensure_eq!(store.head(script.session()).await?, None, "the head");
    Ok(())
}

async fn malformed(store: &dyn SessionLog, commit: Commit, what: &str) -> Outcome {
    let session = commit.session;
    let before = store.head(session).await?;
    ensure_refused!(store.commit(commit).await, StoreError::Malformed { .. }, "a commit {what}");
    ensure_eq!(store.head(session).await?, before, "the head after a commit {what}");
    Ok(())
}

/// A commit has records.
pub async fn a_commit_without_records_is_malformed(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("one")).await?;
    for expected in [Expected::Exactly(1), Expected::Exactly(2), Expected::NoStream] {
        let commit = Commit { expected, records: Vec::new(), ..script.clone().say("none") };
        malformed(&*store, commit, "without records").await?;
    }
    let first = Commit { records: Vec::new(), ..Script::new(2).say("none") };
    malformed(&*store, first, "without records, for a new session").await
}

/// Records are numbered without gaps, from the version that is expected.
pub async fn a_gap_in_the_numbers_is_malformed(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say_many(3)).await?;
    let with_numbers = |numbers: &[u64]| {
        let mut commit = script.clone().say_many(numbers.len());
        for (record, number) in commit.records.iter_mut().zip(numbers) {
            record.seq = *number;
        }
        commit
    };
    for numbers in [&[5][..], &[3], &[4, 6], &[4, 4], &[5, 4], &[4, 5, 7], &[0], &[u64::MAX]] {
        malformed(&*store, with_numbers(numbers), &format!("of records {numbers:?} behind version 3")).await?;
    }
    let mut first = Script::new(2).say_many(3);
    first.records.remove(1);
    malformed(&*store, first, "that begins a session with a gap").await
}

/// Numbers begin at 1, and version 0 is no stream.
pub async fn nothing_is_numbered_zero(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    malformed(&*store, Script::starting_at(1, 0).say("zero"), "that begins at 0").await?;
    let commit = Commit { expected: Expected::Exactly(0), ..Script::new(1).say("one") };
    malformed(&*store, commit, "that expects version 0").await
}

/// A commit beyond the store's limit is refused, with both sizes.
pub async fn a_commit_that_is_too_large_is_refused(fixture: &dyn Fixture) -> Outcome {
    let Some(limit) = fixture.capabilities().largest_commit else {
        return Err(Exception::skipped("the store has no limit within reach"));
    };
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let block = Bytes::from(vec![7; 1 << 20]);
    let blocks = usize::try_from(limit >> 20).unwrap_or(usize::MAX).saturating_add(1);
    let mut commit = script.say_many(blocks);
    for record in &mut commit.records {
        record.payload = block.clone();
    }
    ensure_refused!(
        store.commit(commit).await,
        StoreError::TooLarge { bytes, max } if bytes > max && max <= limit,
        "a commit of {blocks} MiB"
    );
    ensure_eq!(store.head(script.session()).await?, None, "the head");
    Ok(())
}

/// What is refused leaves no trace: no record, row, key, claim, snapshot or label.
pub async fn a_refused_commit_leaves_no_trace(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say_many(2)).await?;
    let since = store.rows(0, 10).await?.next;
    let loaded = |mut commit: Commit| {
        for record in &mut commit.records {
            record.label = 77;
        }
        commit.row.words = Some(Bytes::from_static(b"never"));
        commit.snapshot = Some(Bytes::from_static(b"never"));
        commit.claims = vec![Claim { key: [3; 32], payload: [4; 32], offset: 0 }];
        commit
    };
    let stale = loaded(script.behind(1, script.tip(), b"stale", Durability::Volatile));
    ensure_refused!(store.commit(stale).await, StoreError::Conflict { .. }, "a stale commit");
    let doubled = Commit { key: Some([5; 32]), ..loaded(Script::new(1).say("again")) };
    ensure_refused!(store.commit(doubled).await, StoreError::AlreadyExists { .. }, "a second beginning");
    let mut gap = loaded(Script::new(2).say_many(3));
    gap.records.remove(1);
    ensure_refused!(store.commit(Commit { key: Some([5; 32]), ..gap }).await, StoreError::Malformed { .. }, "a gap");

    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    ensure_eq!(store.head(Script::new(2).session()).await?, None, "the head of what was never made");
    ensure_eq!(store.by_key([5; 32]).await?, None, "a refused key");
    ensure_eq!(store.claim(script.session(), [3; 32]).await?, None, "a refused claim");
    ensure_eq!(store.find(script.session(), 77).await?, Vec::<u64>::new(), "a refused label");
    ensure_eq!(store.snapshot(script.session()).await?, None, "a refused snapshot");
    let page = store.rows(since, 10).await?;
    ensure!(page.rows.is_empty() && page.next == since, "a refused commit changed a row: {page:?}");
    Ok(())
}

/// After a refusal the session goes on as before.
pub async fn a_refusal_is_not_the_end(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("one")).await?;
    for round in 0..10 {
        let stale = script.behind(100 + round, script.tip(), b"ahead", Durability::Volatile);
        ensure_refused!(store.commit(stale).await, StoreError::Conflict { .. }, "a commit ahead");
        store.commit(script.commit(&[(Kind::MOVED, 0, b"on"), (Kind::APPENDED, 9, b"and on")])).await?;
    }
    ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}
