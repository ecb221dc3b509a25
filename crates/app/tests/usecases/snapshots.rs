//! Views go with some commits, so that a session in use again is not read from its beginning.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sessions_app::Append;
use sessions_domain::Message;
use sessions_infra::MemoryStore;
use sessions_testkit::FaultyStore;

use crate::ground;

/// What keeping views costs for each record of a history that goes another way at each step, in bytes.
async fn cost_of_branches(count: usize) -> usize {
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let handed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&handed);
    store.watch(move |commit| {
        counted.fetch_add(commit.snapshot.as_ref().map_or(0, |view| view.len()), Ordering::Relaxed);
    });
    let session = ground::manager(store).open_or_create("branches").await.unwrap();
    session.append(Append::all(["one", "two"].map(Message::user))).await.unwrap();
    for _ in 0..count {
        session.undo(1).await.unwrap();
        session.append(Message::user("another two")).await.unwrap();
    }
    assert_eq!(session.branches().await.unwrap().len(), count + 1);
    handed.load(Ordering::Relaxed) / (2 * count)
}

#[tokio::test]
async fn a_view_of_many_branches_goes_with_fewer_commits() {
    let (few, many) = (cost_of_branches(200).await, cost_of_branches(2_000).await);
    assert!(0 < few && many <= 2 * few.max(16), "{few} bytes a record with few branches, {many} with many");
}
