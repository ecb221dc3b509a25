//! Laws of closing: it ends what waits, refuses what comes later, and loses nothing.
//!
//! Must not know: any store.

use sessions_ports::{Durability, StoreError};

use crate::{
    fixture::Fixture,
    polled::{Started, due},
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

/// A closed store answers nothing but that it is closed.
pub async fn a_closed_store_says_so(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("one")).await?;
    let session = script.session();
    store.close().await?;
    ensure_refused!(store.commit(script.say("two")).await, StoreError::Closed, "a commit");
    ensure_refused!(store.commit(Script::new(2).say("one")).await, StoreError::Closed, "a new session");
    ensure_refused!(store.head(session).await, StoreError::Closed, "the head");
    ensure_refused!(store.read(session, everything()).await, StoreError::Closed, "a read");
    ensure_refused!(store.find(session, 1).await, StoreError::Closed, "a label");
    ensure_refused!(store.snapshot(session).await, StoreError::Closed, "the snapshot");
    ensure_refused!(store.by_key([1; 32]).await, StoreError::Closed, "a key");
    ensure_refused!(store.claim(session, [1; 32]).await, StoreError::Closed, "a claim");
    ensure_refused!(store.rows(0, 1).await, StoreError::Closed, "the rows");
    ensure_refused!(store.wait(session, 2, Durability::Volatile).await, StoreError::Closed, "a wait");
    ensure_refused!(store.settled(session).await, StoreError::Closed, "what is queued");
    Ok(())
}

/// Closing twice is fine, also at the same time and by another handle.
pub async fn closing_twice_is_fine(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let second = fixture.second().await;
    store.commit(Script::new(1).say("one")).await?;
    let (one, other) = (Started::new(store.close()), Started::new(second.close()));
    other.finish().await?;
    one.finish().await?;
    store.close().await?;
    Ok(())
}

/// Waits end when the store is closed.
pub async fn closing_ends_waits(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("one")).await?;
    let waits: Vec<_> = [2, 9]
        .into_iter()
        .map(|version| Started::new(store.wait(script.session(), version, Durability::Volatile)))
        .collect();
    store.close().await?;
    for wait in waits {
        ensure_refused!(due(wait.finish(), "a wait").await?, StoreError::Closed, "a wait that closing found");
    }
    Ok(())
}

/// Commits that closing finds are answered, and those that were done are there when the store is opened again.
pub async fn closing_loses_nothing(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("one")).await?;
    let commits: Vec<_> = (0..50).map(|n| script.say(&format!("queued {n}"))).collect();
    let queued: Vec<_> = commits.into_iter().map(|commit| Started::new(store.commit(commit))).collect();
    store.close().await?;
    let mut done = 1;
    for commit in queued {
        match due(commit.finish(), "a commit").await? {
            Ok(committed) => {
                ensure_eq!(committed.version, done + 1, "the version of a commit that closing found");
                done = committed.version;
            }
            Err(StoreError::Closed) => {}
            Err(other) => return Err(other.into()),
        }
    }
    let Some(store) = fixture.reopen(store).await else {
        return Err(Exception::skipped("the store keeps nothing when it is closed"));
    };
    let read = read_all(&*store, script.session(), everything()).await?;
    ensure!(read.len() as u64 >= done, "{} records are there and {done} were acknowledged", read.len());
    ensure!(script.written().starts_with(&read), "what is there is not what was written");
    Ok(())
}
