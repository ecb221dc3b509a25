//! Laws of honesty: what a store is said to be able to is what it does, no more and no less.
//!
//! Must not know: any store.

use sessions_ports::{BackendErrorKind, Durability, StoreError};

use crate::{
    fixture::{Fixture, Owners},
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

/// The strongest level that the store names is the one that it is said to give.
pub async fn the_strongest_level_is_the_one_that_is_said(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    ensure_eq!(store.strongest(), fixture.capabilities().strongest, "the level that `strongest` names");
    Ok(())
}

/// A level above `volatile` is given only by a store that survives a kill and is there when it is opened again.
pub async fn a_level_needs_something_that_keeps_it(fixture: &dyn Fixture) -> Outcome {
    let (store, said) = (fixture.open().await, fixture.capabilities());
    let level = store.strongest();
    if level == Durability::Volatile {
        return Err(Exception::skipped("the store promises nothing beyond its process"));
    }
    ensure!(said.reopens, "it gives {level} and is said to keep nothing when it is closed");
    ensure!(said.survives_kill, "it gives {level} and is said to be gone when its process is killed");
    Ok(())
}

/// A store that is said to reopen has what it had, and one that has it is said to.
pub async fn what_reopens_is_said_to(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("kept")).await?;
    match (fixture.reopen(store).await, fixture.capabilities().reopens) {
        (Some(store), true) => {
            ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
            Ok(())
        }
        (None, true) => Err(Exception::broken("it is said to reopen, and the fixture reopens nothing")),
        (Some(_), false) => Err(Exception::broken("the fixture reopens it, and it is not said to reopen")),
        (None, false) => Err(Exception::skipped("the store keeps nothing when it is closed")),
    }
}

/// A store that is said to survive a kill has what was acknowledged, and one that has it is said to.
pub async fn what_survives_a_kill_is_said_to(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    let mut commit = script.say("kept");
    commit.durability = store.strongest();
    store.commit(commit).await?;
    match (fixture.killed(&store).await, fixture.capabilities().survives_kill) {
        (Some(store), true) => {
            ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
            Ok(())
        }
        (None, true) => Err(Exception::broken("it is said to survive a kill, and the fixture kills nothing")),
        (Some(_), false) => Err(Exception::broken("the fixture kills it, and it is not said to survive that")),
        (None, false) => Err(Exception::skipped("the store is gone with its process")),
    }
}

/// A place that one process owns is refused to another, and one that many own shows each what the others write.
pub async fn a_store_has_as_many_owners_as_it_says(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("by the first")).await?;
    match (fixture.again().await, fixture.capabilities().owners) {
        (None, Owners::Apart) => Err(Exception::skipped("nobody else could open the store")),
        (Some(Err(StoreError::Locked { .. })), Owners::One) => Ok(()),
        (Some(Err(StoreError::Backend(error))), Owners::One) if error.kind == BackendErrorKind::Unavailable => Ok(()),
        (Some(Ok(other)), Owners::Many) => {
            ensure_eq!(read_all(&*other, script.session(), everything()).await?, script.written(), "the other's log");
            other.commit(script.say("by the other")).await?;
            ensure_eq!(
                read_all(&*store, script.session(), everything()).await?,
                script.written(),
                "the first one's log"
            );
            Ok(())
        }
        (Some(Err(other)), _) => Err(other.into()),
        (Some(Ok(_)), said) => {
            Err(Exception::broken(format!("it is said to have {said:?}, and a second opening took it")))
        }
        (None, said) => {
            Err(Exception::broken(format!("it is said to have {said:?}, and the fixture opens nothing again")))
        }
    }
}
