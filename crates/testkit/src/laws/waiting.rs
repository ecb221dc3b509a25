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

/// A session can be waited for as soon as it is queued, and not before.
pub async fn a_queued_session_can_be_waited_for(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let early = due(store.wait(script.session(), 1, VOLATILE), "a wait for a session that nobody makes").await?;
    ensure_refused!(early, StoreError::NotFound { .. }, "a wait for a session that nobody makes");
    let mut commit = script.say("one");
    commit.durability = store.strongest();
    let queued = Started::new(store.commit(commit));
    let wait = Started::new(store.wait(script.session(), 1, VOLATILE));
    ensure_eq!(due(wait.finish(), "a wait").await??.commit, script.tip(), "the head of the new session");
    queued.finish().await?;
    Ok(())
}

/// What was queued when it was asked is through, or has failed, when it is answered.
pub async fn what_is_queued_is_settled(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let commits: Vec<_> = (0..20_u64).map(|n| script.say(&format!("queued {n}"))).collect();
    let mut queued = Vec::new();
    for (mut commit, n) in commits.into_iter().zip(1..) {
        commit.durability = if n % 2 == 0 { VOLATILE } else { store.strongest() };
        queued.push(Started::new(store.commit(commit)));
        let settled = due(store.settled(script.session()), "what is queued").await??;
        ensure_eq!(settled.map(|head| head.version), Some(n), "the version when all that was queued was settled");
    }
    for commit in queued {
        due(commit.finish(), "a commit").await??;
    }
    Ok(())
}

/// What is queued later does not keep what was queued before from being settled.
pub async fn a_busy_session_settles(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let mut queued = Vec::new();
    let mut say = |queued: &mut Vec<_>| {
        let mut commit = script.say("more");
        commit.durability = store.strongest();
        let store = Arc::clone(&store);
        queued.push(Started::new(async move { store.commit(commit).await }));
        (script.session(), script.version())
    };
    for _ in 0..50 {
        let (session, version) = say(&mut queued);
        let settled = Started::new(store.settled(session));
        say(&mut queued);
        let head = due(settled.finish(), "what is queued").await??;
        ensure!(head.is_some_and(|head| head.version >= version), "settled at {head:?} with {version} on its way");
    }
    for commit in queued {
        due(commit.finish(), "a commit").await??;
    }
    Ok(())
}

/// Who lost a race finds what won when it is settled; of a session that nobody makes there is nothing.
pub async fn a_lost_race_is_settled(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    ensure_eq!(store.settled(script.session()).await?, None, "a session that nobody makes");
    for _ in 0..20 {
        let (before, tip) = (script.version(), script.tip());
        let mut commit = script.say("first");
        commit.durability = store.strongest();
        let winner = Started::new(store.commit(commit));
        if before > 0 {
            let rival = script.behind(before, tip, b"second", VOLATILE);
            ensure_refused!(store.commit(rival).await, StoreError::Conflict { .. }, "a commit that came second");
        } else {
            let rival = Script::new(1).say("second");
            ensure_refused!(store.commit(rival).await, StoreError::AlreadyExists { .. }, "a second beginning");
        }
        let settled = due(store.settled(script.session()), "what is queued").await??;
        ensure_eq!(settled.map(|head| head.commit), Some(script.tip()), "the head when the race is settled");
        due(winner.finish(), "the winner").await??;
    }
    Ok(())
}

/// A wait hears of its own session only.
pub async fn a_wait_is_for_one_session(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (mut one, mut other) = (Script::new(1), Script::new(2));
    store.commit(one.say("zero")).await?;
    let wait = Started::new(store.wait(one.session(), 3, VOLATILE));
    for _ in 0..5 {
        store.commit(other.say("elsewhere")).await?;
    }
    store.commit(one.say("one")).await?;
    let head = Started::new(store.wait(one.session(), 3, VOLATILE));
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
    store.commit(script.say("one")).await?;
    for version in 2..=50 {
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
    store.commit(script.say("one")).await?;
    for waiter in 0..4 {
        let (store, session) = (Arc::clone(&store), script.session());
        waits.push(tokio::spawn(async move {
            for version in 2..=VERSIONS {
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
    for n in 1..VERSIONS {
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
    store.commit(script.say("turn 0")).await?;
    let commits: Vec<_> = (1..200).map(|n| (n, script.say(&format!("turn {n}")))).collect();
    let (even, odd): (Vec<_>, Vec<_>) = commits.into_iter().partition(|(at, _)| at % 2 == 0);
    let turn = |store: Arc<dyn SessionLog>, mine: Vec<(u64, sessions_ports::Commit)>| async move {
        for (at, commit) in mine {
            store.wait(commit.session, at, VOLATILE).await?;
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
