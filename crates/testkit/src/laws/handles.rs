//! Laws of two handles: whatever one does, the other sees.
//!
//! Must not know: any store.

use std::sync::Arc;

use sessions_ports::{Claim, Commit, Durability, SessionLog, StoreError};

use crate::{
    fixture::Fixture,
    polled::{Started, due},
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

async fn two(fixture: &dyn Fixture) -> [Arc<dyn SessionLog>; 2] {
    let one = fixture.open().await;
    [one, fixture.second().await]
}

/// Two handles write one log in turn.
pub async fn two_handles_write_one_log(fixture: &dyn Fixture) -> Outcome {
    let [one, other] = two(fixture).await;
    let mut script = Script::new(1);
    for _ in 0..20 {
        one.commit(script.say("by one")).await?;
        ensure_eq!(read_all(&*other, script.session(), everything()).await?, script.written(), "the other's log");
        other.commit(script.say("by the other")).await?;
        ensure_eq!(read_all(&*one, script.session(), everything()).await?, script.written(), "the one's log");
    }
    Ok(())
}

/// Versions, keys and claims are checked against what the other handle did.
pub async fn a_handle_refuses_what_the_other_took(fixture: &dyn Fixture) -> Outcome {
    let [one, other] = two(fixture).await;
    let mut script = Script::new(1);
    let claim = Claim { key: [3; 32], payload: [4; 32], offset: 0 };
    let first = Commit { key: Some([1; 32]), claims: vec![claim], ..script.say("one") };
    one.commit(first.clone()).await?;
    ensure_refused!(other.commit(first).await, StoreError::AlreadyExists { .. }, "a second beginning");
    let taken = Commit { key: Some([1; 32]), ..Script::new(2).say("one") };
    ensure_refused!(other.commit(taken).await, StoreError::KeyTaken { .. }, "a taken key");
    let stale = script.behind(9, script.tip(), b"ahead", Durability::Volatile);
    ensure_refused!(other.commit(stale).await, StoreError::Conflict { actual: 1, .. }, "a commit ahead");
    ensure_eq!(other.by_key([1; 32]).await?, Some(script.session()), "the key's holder");
    ensure!(other.claim(script.session(), [3; 32]).await?.is_some(), "the other handle does not know the claim");
    ensure_eq!(other.rows(0, 10).await?.rows, one.rows(0, 10).await?.rows, "the rows");
    Ok(())
}

/// A wait on one handle hears the other's commit.
pub async fn a_wait_hears_the_other_handle(fixture: &dyn Fixture) -> Outcome {
    let [one, other] = two(fixture).await;
    let mut script = Script::new(1);
    one.commit(script.say("by one")).await?;
    for version in 2..=20 {
        let wait = Started::new(one.wait(script.session(), version, Durability::Volatile));
        ensure!(!wait.is_done(), "a wait for version {version} ended before it came");
        other.commit(script.say("by the other")).await?;
        ensure_eq!(due(wait.finish(), "a wait").await??.version, version, "the version that was waited for");
    }
    Ok(())
}

/// A handle does not need the other to live.
pub async fn a_handle_outlives_the_other(fixture: &dyn Fixture) -> Outcome {
    let [one, other] = two(fixture).await;
    let mut script = Script::new(1);
    let commit = script.say("by one");
    one.commit(commit).await?;
    let wait_for = (script.session(), 2);
    let wait = {
        let other = Arc::clone(&other);
        tokio::spawn(async move { other.wait(wait_for.0, wait_for.1, Durability::Volatile).await })
    };
    drop(one);
    other.commit(script.say("by the other")).await?;
    let head = due(wait, "a wait").await?.map_err(|error| Exception::broken(error.to_string()))??;
    ensure_eq!(head.version, 2, "the version after the first handle was dropped");
    ensure_eq!(read_all(&*other, script.session(), everything()).await?, script.written(), "the log");
    Ok(())
}
