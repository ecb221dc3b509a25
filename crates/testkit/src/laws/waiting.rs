//! Laws of waiting: no wait is lost, none ends too early, and a dropped one leaves nothing behind.
//!
//! Must not know: any store.

use std::sync::Arc;

use sessions_ports::{Durability, Head, SessionLog, StoreError};

use crate::{
    fixture::Fixture,
    polled::{Started, due},
    script::Script,
    suite::{Exception, Outcome},
};

const VOLATILE: Durability = Durability::Volatile;

/// Waiting for what is there ends at once, with the head.
pub async fn what_is_there_is_not_waited_for(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let mut commit = script.say_many(5);
    commit.durability = store.strongest();
    store.commit(commit).await?;
    let head = Head { version: 5, commit: script.tip(), first: 1 };
    for version in [1, 3, 5] {
        for level in [VOLATILE, store.strongest()] {
            let waited = store.wait(script.session(), version, level).await?;
            ensure_eq!(waited, head, "the head when waiting for version {version} at {level}");
        }
    }
    Ok(())
}

/// A wait ends when its version comes, not before.
pub async fn a_wait_ends_when_its_version_comes(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("one")).await?;
    let wait = Started::new(store.wait(script.session(), 3, VOLATILE));
    ensure!(!wait.is_done(), "a wait for version 3 ended at version 1");
    store.commit(script.say("two")).await?;
    let second = Started::new(store.wait(script.session(), 3, VOLATILE));
    ensure!(!second.is_done(), "a wait for version 3 ended at version 2");
    store.commit(script.say("three")).await?;
    ensure_eq!(due(wait.finish(), "a wait").await??.version, 3, "the version that was waited for");
    ensure_eq!(due(second.finish(), "a wait").await??.version, 3, "the version that was waited for by another");
    Ok(())
}

/// A session that does not exist yet can be waited for.
pub async fn a_session_can_be_waited_for(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let wait = Started::new(store.wait(script.session(), 1, VOLATILE));
    ensure!(!wait.is_done(), "a wait for a session that does not exist ended");
    store.commit(script.say("one")).await?;
    ensure_eq!(due(wait.finish(), "a wait").await??.commit, script.tip(), "the head of the new session");
    Ok(())
}

/// A wait hears of its own session only.
pub async fn a_wait_is_for_one_session(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (mut one, mut other) = (Script::new(1), Script::new(2));
    let wait = Started::new(store.wait(one.session(), 2, VOLATILE));
    for _ in 0..5 {
        store.commit(other.say("elsewhere")).await?;
    }
    store.commit(one.say("one")).await?;
    let head = Started::new(store.wait(one.session(), 2, VOLATILE));
    ensure!(!head.is_done(), "a wait ended by another session's commits");
    store.commit(one.say("two")).await?;
    ensure_eq!(due(wait.finish(), "a wait").await??.commit, one.tip(), "the head that was waited for");
    ensure_eq!(due(head.finish(), "a wait").await??.commit, one.tip(), "the head that was waited for by another");
    Ok(())
}

/// Dropped waits leave nothing behind.
pub async fn a_dropped_wait_leaves_no_trace(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for version in 1..=50 {
        drop(Started::new(store.wait(script.session(), version, VOLATILE)));
        let kept = Started::new(store.wait(script.session(), version, VOLATILE));
        drop(Started::new(store.wait(script.session(), version + 1, VOLATILE)));
        store.commit(script.say("more")).await?;
        ensure_eq!(due(kept.finish(), "a wait").await??.version, version, "the version of the wait that was kept");
    }
    Ok(())
}

/// However waits and commits interleave, no wait is forgotten.
pub async fn no_wait_is_forgotten(fixture: &dyn Fixture) -> Outcome {
    const VERSIONS: u64 = 200;
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let mut waits = Vec::new();
    for waiter in 0..4 {
        let (store, session) = (Arc::clone(&store), script.session());
        waits.push(tokio::spawn(async move {
            for version in 1..=VERSIONS {
                if version % 4 <= waiter {
                    let head = store.wait(session, version, VOLATILE).await?;
                    if head.version < version {
                        return Ok(Some((version, head.version)));
                    }
                }
            }
            Ok::<_, StoreError>(None)
        }));
    }
    for n in 0..VERSIONS {
        store.commit(script.say("more")).await?;
        if n % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for wait in waits {
        let early = due(wait, "a wait").await?.map_err(|error| Exception::broken(error.to_string()))??;
        ensure_eq!(early, None, "a wait that ended too early (for, at)");
    }
    Ok(())
}

/// Two that wait for each other's commits go on in turn: nobody sleeps through the other's.
pub async fn two_that_take_turns_never_stall(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let commits: Vec<_> = (0..200).map(|n| script.say(&format!("turn {n}"))).collect();
    let (even, odd): (Vec<_>, Vec<_>) = commits.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let turn = |store: Arc<dyn SessionLog>, mine: Vec<(usize, sessions_ports::Commit)>| async move {
        for (at, commit) in mine {
            if at > 0 {
                store.wait(commit.session, at as u64, VOLATILE).await?;
            }
            store.commit(commit).await?;
        }
        Ok::<(), StoreError>(())
    };
    let one = tokio::spawn(turn(Arc::clone(&store), even));
    let other = tokio::spawn(turn(Arc::clone(&store), odd));
    for player in [one, other] {
        due(player, "a wait").await?.map_err(|error| Exception::broken(error.to_string()))??;
    }
    ensure_eq!(store.head(script.session()).await?.map(|head| head.version), Some(200), "the version in the end");
    Ok(())
}

/// Waiting for a level makes the store reach it.
pub async fn waiting_for_a_level_brings_it(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for _ in 0..10 {
        store.commit(script.say("weak")).await?;
        let head = store.wait(script.session(), script.version(), store.strongest()).await?;
        ensure_eq!(head.version, script.version(), "the version at the strongest level");
    }
    Ok(())
}

/// Waiting for a level that the store cannot give is refused, not waited for.
pub async fn waiting_for_too_much_is_refused(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    if store.strongest() == Durability::Disk {
        return Err(Exception::skipped("the store gives the strongest level there is"));
    }
    let mut script = Script::new(1);
    store.commit(script.say("one")).await?;
    ensure_refused!(
        store.wait(script.session(), 1, Durability::Disk).await,
        StoreError::TooWeak { asked: Durability::Disk, .. },
        "waiting for a level that the store does not give"
    );
    Ok(())
}
