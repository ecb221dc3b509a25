//! Laws of inheritance: what a fork inherits is kept for it, as far as it needs it and as long as it is there.
//!
//! Must not know: any store.

use sessions_ports::{Commit, Durability, Heir, Link, Order, ReadRange, Removal, Removed, StoreError};

use super::removal::{ensure_gone, heir, labelled, of, payload_bytes};
use crate::{
    fixture::Fixture,
    polled::{Started, due},
    script::{Script, everything, read_all},
    suite::Outcome,
};

const VOLATILE: Durability = Durability::Volatile;

/// What others inherit is kept for them, and nothing else.
pub async fn what_others_inherit_stays(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let owner = labelled(&*store, 1).await?;
    let (near, near_commit) = heir(2, &[(&owner, 2)]);
    let (far, far_commit) = heir(3, &[(&owner, 3)]);
    store.commit(near_commit).await?;
    store.commit(far_commit).await?;
    let removed = store.remove(of(&owner)).await?;
    let (kept, dead) = owner.written().split_at(3);
    let heirs = vec![near.session(), far.session()];
    let expected = Removed { was_there: true, records: 2, bytes: payload_bytes(dead), kept: 3, heirs: heirs.clone() };
    ensure_eq!(removed, expected, "a removal with heirs");
    let again = Removed { kept: 3, heirs, ..Removed::default() };
    ensure_eq!(store.remove(of(&owner)).await?, again, "the same again");
    ensure_refused!(store.head(owner.session()).await, StoreError::Gone { .. }, "the head of what is kept for others");
    ensure_eq!(read_all(&*store, owner.session(), everything()).await?, kept, "what others inherit");
    let newest = ReadRange { order: Order::NewestFirst, max_records: 1, ..everything() };
    let newest = store.read(owner.session(), newest).await?.records;
    ensure_eq!(newest.iter().map(|record| record.seq).collect::<Vec<_>>(), [3], "the newest that others inherit");
    let behind = store.read(owner.session(), ReadRange { from: 4, ..everything() }).await?;
    ensure!(behind.records.is_empty(), "records that nobody inherits: {:?}", behind.records.len());
    for label in 1..=5 {
        let found: &[u64] = if label <= 3 { &[label] } else { &[] };
        ensure_eq!(store.find(owner.session(), label).await?, found, "label {label} of a removed session");
    }
    let later = owner.behind(3, kept.last().map_or(owner.tip(), |record| record.commit), b"later", VOLATILE);
    ensure_refused!(store.commit(later).await, StoreError::Gone { .. }, "going on behind what others inherit");
    Ok(())
}

/// When an heir is removed, what was kept for it alone goes, and with the last one all of it.
pub async fn the_last_heir_takes_it_along(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let owner = labelled(&*store, 1).await?;
    let (near, near_commit) = heir(2, &[(&owner, 2)]);
    store.commit(near_commit).await?;
    let (far, far_commit) = heir(3, &[(&owner, 4)]);
    store.commit(far_commit).await?;
    store.remove(of(&owner)).await?;
    let left = async || read_all(&*store, owner.session(), everything()).await.map(|records| records.len());
    ensure_eq!(left().await?, 4, "records that two inherit");
    store.remove(of(&far)).await?;
    ensure_eq!(left().await?, 2, "records that one inherits");
    store.remove(of(&near)).await?;
    ensure_gone(&*store, &owner).await
}

/// An heir that is removed takes nothing from an owner that is there: its records, its labels and its going on are as they were.
pub async fn a_removed_heir_takes_nothing_from_a_living_owner(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut owner = labelled(&*store, 1).await?;
    let (near, near_commit) = heir(2, &[(&owner, 2)]);
    store.commit(near_commit).await?;
    let (far, far_commit) = heir(3, &[(&owner, 4)]);
    store.commit(far_commit).await?;
    for (gone, which) in [(&far, "one of two heirs"), (&near, "the last heir")] {
        store.remove(of(gone)).await?;
        let kept = read_all(&*store, owner.session(), everything()).await?;
        ensure_eq!(kept.len() as u64, owner.version(), "records of an owner that is there, without {which}");
        for label in 1..=5 {
            ensure_eq!(store.find(owner.session(), label).await?.len(), 1, "records of label {label}, without {which}");
        }
        store.commit(owner.say("goes on")).await?;
    }
    Ok(())
}

/// A chain of owners: what a removed session inherited itself is let go of, and what others inherit from it is not.
pub async fn a_removed_heir_keeps_nothing_of_others(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let root = labelled(&*store, 1).await?;
    let (mut middle, begin) = heir(2, &[(&root, 4)]);
    store.commit(begin).await?;
    store.commit(middle.say("its own")).await?;
    let (leaf, begin) = heir(3, &[(&root, 2), (&middle, 5)]);
    store.commit(begin).await?;
    store.remove(of(&root)).await?;
    let removed = store.remove(of(&middle)).await?;
    ensure_eq!((removed.records, removed.kept), (1, 5), "records and the last that is kept of the middle one");
    ensure_eq!(read_all(&*store, root.session(), everything()).await?.len(), 2, "records of the first that are kept");
    ensure_eq!(read_all(&*store, middle.session(), everything()).await?.len(), 1, "records of the middle one");
    store.remove(of(&leaf)).await?;
    for script in [&root, &middle, &leaf] {
        ensure_gone(&*store, script).await?;
    }
    Ok(())
}

/// Who inherits is known, from when it is queued until it is removed.
pub async fn heirs_are_known(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let owner = labelled(&*store, 1).await?;
    ensure_eq!(store.heirs(owner.session()).await?, [], "heirs of a session without any");
    let (late, commit) = heir(7, &[(&owner, 2)]);
    let queued = Started::new(store.commit(Commit { durability: store.strongest(), ..commit }));
    let (early, commit) = heir(3, &[(&owner, 4)]);
    store.commit(commit).await?;
    let both = [Heir { session: early.session(), last: 4 }, Heir { session: late.session(), last: 2 }];
    ensure_eq!(store.heirs(owner.session()).await?, both, "heirs, one of them queued");
    due(queued.finish(), "a commit").await??;
    store.remove(of(&owner)).await?;
    ensure_eq!(store.heirs(owner.session()).await?, both, "heirs of a removed session");
    store.remove(of(&early)).await?;
    ensure_eq!(store.heirs(owner.session()).await?, both.get(1..).unwrap_or_default(), "heirs that are left");
    Ok(())
}

/// Nothing is inherited from a session that was removed, but what is kept of it, nor from one that never was.
pub async fn nothing_is_inherited_from_what_is_gone(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (gone, kept) = (labelled(&*store, 1).await?, labelled(&*store, 2).await?);
    store.commit(heir(3, &[(&kept, 3)]).1).await?;
    store.remove(of(&kept)).await?;
    let removal = Started::new(store.remove(Removal { durability: store.strongest(), ..of(&gone) }));
    let early = due(store.commit(heir(4, &[(&gone, 1)]).1), "a commit").await?;
    ensure_refused!(
        early,
        StoreError::Gone { session } if session == gone.session(),
        "inheriting from a session that is being removed"
    );
    due(removal.finish(), "a removal").await??;
    let late = store.commit(heir(4, &[(&kept, 2), (&gone, 3)]).1).await;
    ensure_refused!(
        late,
        StoreError::Gone { session } if session == gone.session(),
        "inheriting from a session that was removed"
    );
    let beyond = store.commit(heir(4, &[(&kept, 4)]).1).await;
    ensure_refused!(
        beyond,
        StoreError::Gone { session } if session == kept.session(),
        "inheriting more than what is kept"
    );
    let never = store.commit(heir(4, &[(&Script::new(9), 1)]).1).await;
    ensure_refused!(
        never,
        StoreError::NotFound { session } if session == Script::new(9).session(),
        "inheriting from what never was"
    );
    ensure_eq!(store.heirs(kept.session()).await?.len(), 1, "heirs behind refused ones");
    store.commit(heir(4, &[(&kept, 3)]).1).await?;
    ensure_eq!(store.heirs(kept.session()).await?.len(), 2, "heirs of what is kept");
    Ok(())
}

/// Only a session's first commit says what it inherits, and not from itself.
pub async fn links_come_with_the_first_commit(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (owner, script) = (labelled(&*store, 1).await?, labelled(&*store, 2).await?);
    let links = vec![Link { owner: owner.session(), last: 1 }];
    let later = Commit { links, ..script.clone().say("later") };
    ensure_refused!(store.commit(later).await, StoreError::Malformed { .. }, "a later commit that inherits");
    let mut itself = Script::starting_at(3, 2);
    let links = vec![Link { owner: itself.session(), last: 1 }];
    let commit = Commit { links, ..itself.say("itself") };
    ensure_refused!(store.commit(commit).await, StoreError::Malformed { .. }, "a session that inherits from itself");
    ensure_eq!(store.heirs(owner.session()).await?, [], "heirs behind a refused commit");
    Ok(())
}
