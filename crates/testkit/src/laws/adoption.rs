//! Laws of adoption: what a log inherits becomes its own, bit by bit, until it inherits it no more.
//!
//! Must not know: any store.

use sessions_ports::{Commit, Heir, Link, Record, Rewrite, StoreError};

use super::{
    removal::{ensure_gone, heir, labelled, of},
    rewriting::{anew, ensure_log, nothing, rewritten, with_payload},
};
use crate::{
    fixture::Fixture,
    script::{Script, everything, read_all},
    suite::Outcome,
};

/// What is inherited becomes a log's own from above downwards, and the head tells how far it came.
pub async fn adopted_records_are_the_logs_own(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let owner = labelled(&*store, 1).await?;
    let (mut child, begin) = heir(2, &[(&owner, 4)]);
    store.commit(begin).await?;
    let version = child.version();
    for (numbers, first) in [([3, 4].as_slice(), 3), (&[2], 2), (&[1], 1)] {
        let session = child.session();
        let done = store.rewrite(Rewrite { session, ..anew(&owner, numbers, "own") }).await?;
        ensure_eq!(done.first, first, "the first record after an adoption");
        let head = store.head(session).await?.map(|head| (head.first, head.version, head.commit));
        ensure_eq!(head, Some((first, version, child.tip())), "the head after an adoption");
        let expected = own(&owner, &child, first);
        ensure_log(&*store, &child, &expected, "after an adoption").await?;
    }
    // An adopted one is rewritten like any other.
    let again = Rewrite { session: child.session(), ..anew(&owner, &[2], "newer") };
    store.rewrite(again.clone()).await?;
    store.commit(child.say("it goes on")).await?;
    ensure_log(&*store, &child, &rewritten(&own(&owner, &child, 1), &again), "after all").await?;
    ensure_log(&*store, &owner, owner.written(), "of the owner").await
}

/// A log that adopted what it inherited, from `first` on.
pub(super) fn own(owner: &Script, child: &Script, first: u64) -> Vec<Record> {
    let begins = child.written().first().map_or(0, |record| record.seq);
    let adopted = owner.written().iter().filter(|record| (first..begins).contains(&record.seq));
    adopted.map(|record| with_payload(record, "own")).chain(child.written().iter().cloned()).collect()
}

/// An adoption reaches up to the log's first record without gaps, or nothing of it happens.
pub async fn nothing_is_adopted_with_a_gap(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let owner = labelled(&*store, 1).await?;
    let (child, begin) = heir(2, &[(&owner, 4)]);
    store.commit(begin).await?;
    for numbers in [[1, 2, 3].as_slice(), &[3], &[1], &[2, 4], &[1, 2, 4]] {
        let rewrite = Rewrite { session: child.session(), ..anew(&owner, numbers, "own") };
        ensure_refused!(store.rewrite(rewrite).await, StoreError::Malformed { .. }, "adopting {numbers:?} below 5");
        ensure_eq!(store.head(child.session()).await?.map(|head| head.first), Some(5), "the first record");
    }
    ensure_log(&*store, &child, child.written(), "after refused adoptions").await
}

/// Who has all that it inherited from another is unlinked from it, and not before; then what that one kept for it alone goes.
pub async fn an_unlinked_owner_keeps_nothing(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let owner = labelled(&*store, 1).await?;
    let (child, begin) = heir(2, &[(&owner, 4)]);
    store.commit(begin).await?;
    let (near, begin) = heir(3, &[(&owner, 2)]);
    store.commit(begin).await?;
    store.remove(of(&owner)).await?;
    let session = child.session();
    let unlink = vec![owner.session()];
    let early = Rewrite { session, unlink: unlink.clone(), ..anew(&owner, &[2, 3, 4], "own") };
    ensure_refused!(store.rewrite(early).await, StoreError::Malformed { .. }, "unlinking before record 1 is there");
    ensure_eq!(read_all(&*store, owner.session(), everything()).await?.len(), 4, "records that are kept");
    ensure_eq!(store.head(session).await?.map(|head| head.first), Some(5), "the first record after a refusal");
    store.rewrite(Rewrite { session, ..anew(&owner, &[3, 4], "own") }).await?;
    store.rewrite(Rewrite { session, unlink: unlink.clone(), ..anew(&owner, &[1, 2], "own") }).await?;
    let left = [Heir { session: near.session(), last: 2 }];
    ensure_eq!(store.heirs(owner.session()).await?, left, "heirs that are left");
    ensure_eq!(read_all(&*store, owner.session(), everything()).await?.len(), 2, "records that the other inherits");
    store.rewrite(Rewrite { session, unlink, ..nothing(&child) }).await?;
    store.remove(of(&near)).await?;
    ensure_gone(&*store, &owner).await?;
    ensure_log(&*store, &child, &own(&owner, &child, 1), "of who inherits no more").await
}

/// Of several owners each is let go of by itself, the nearest first, and one that is there loses nothing.
pub async fn owners_are_unlinked_one_by_one(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let root = labelled(&*store, 1).await?;
    let (mut middle, begin) = heir(2, &[(&root, 3)]);
    store.commit(begin).await?;
    store.commit(middle.say("its own")).await?;
    let (leaf, begin) = heir(3, &[(&root, 3), (&middle, 5)]);
    store.commit(begin).await?;
    let (session, unlink) = (leaf.session(), vec![middle.session()]);
    let far = Rewrite { session, unlink: vec![root.session()], ..anew(&middle, &[4, 5], "own") };
    ensure_refused!(store.rewrite(far).await, StoreError::Malformed { .. }, "unlinking from the farther owner");
    store.rewrite(Rewrite { session, unlink, ..anew(&middle, &[4, 5], "own") }).await?;
    ensure_eq!(store.heirs(middle.session()).await?, [], "heirs of the middle one");
    let heirs = [Heir { session: middle.session(), last: 3 }, Heir { session, last: 3 }];
    ensure_eq!(store.heirs(root.session()).await?, heirs, "heirs of the first");
    ensure_log(&*store, &middle, middle.written(), "of the middle one").await?;
    store.remove(of(&middle)).await?;
    ensure_gone(&*store, &middle).await?;
    // What it inherits still it goes on keeping.
    store.remove(of(&root)).await?;
    ensure_eq!(read_all(&*store, root.session(), everything()).await?.len(), 3, "records that are kept");
    ensure_log(&*store, &leaf, &own(&middle, &leaf, 4), "of who inherits from the first").await
}

/// A link that is gone is not there for those who begin later: an owner that nobody inherits from any more goes with its removal.
pub async fn who_was_unlinked_inherits_nothing(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let owner = labelled(&*store, 1).await?;
    let (child, begin) = heir(2, &[(&owner, 5)]);
    store.commit(begin).await?;
    let unlink = vec![owner.session()];
    store.rewrite(Rewrite { session: child.session(), unlink, ..anew(&owner, &[1, 2, 3, 4, 5], "own") }).await?;
    let removed = store.remove(of(&owner)).await?;
    ensure_eq!((removed.records, removed.kept, removed.heirs), (5, 0, Vec::new()), "a removal without heirs");
    ensure_gone(&*store, &owner).await?;
    let late = Script::starting_at(3, 3).say("late");
    let late = Commit { links: vec![Link { owner: owner.session(), last: 2 }], ..late };
    ensure_refused!(store.commit(late).await, StoreError::Gone { .. }, "inheriting from what nobody keeps");
    // What it has of it others inherit from itself.
    let (grandchild, begin) = heir(4, &[(&child, 4)]);
    store.commit(begin).await?;
    store.remove(of(&child)).await?;
    let kept = own(&owner, &child, 1);
    ensure_log(&*store, &child, kept.get(..4).unwrap_or_default(), "that are kept for another").await?;
    store.remove(of(&grandchild)).await?;
    ensure_gone(&*store, &child).await
}
