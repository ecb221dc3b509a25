//! A store that is observed keeps every law of the store beneath, and counts what it is asked.

use std::sync::Arc;

use sessions_infra::{MAX_COMMIT_BYTES, MemoryStore, observed::ObservedStore};
use sessions_ports::{Expected, KindFilter, Order, ReadRange, SessionLog as _};
use sessions_testkit::{InMemory, Script, report};

fn observed() -> ObservedStore {
    ObservedStore::new(Arc::new(MemoryStore::new()), "memory")
}

#[test]
fn an_observed_store_keeps_the_laws_of_its_store() {
    let largest_commit = Some(MAX_COMMIT_BYTES);
    let observed = report(async move || InMemory { name: "observed", store: observed(), largest_commit });
    assert_eq!(observed.violations, []);
    let plain = report(async move || InMemory { name: "plain", store: MemoryStore::new(), largest_commit });
    assert_eq!((observed.kept.len(), observed.skipped.len()), (plain.kept.len(), plain.skipped.len()));
}

#[tokio::test]
async fn what_is_asked_is_counted_once() {
    let store = observed();
    assert_eq!(store.counters(), Default::default());
    let mut script = Script::new(1);
    let commits = [script.say("one"), script.say_many(3)];
    let bytes: usize = script.written().iter().map(|record| record.payload.len()).sum();
    for commit in commits.clone() {
        store.commit(commit).await.unwrap();
    }
    let mut late = commits[1].clone();
    late.expected = Expected::Exactly(1);
    store.commit(late).await.unwrap_err();
    // One that is never polled is no call.
    drop(store.commit(commits[0].clone()));
    let (order, kinds) = (Order::OldestFirst, KindFilter::All);
    let range = ReadRange { from: 2, to: 9, order, kinds, max_records: 9, max_bytes: usize::MAX };
    let page = store.read(script.session(), range).await.unwrap();
    store.head(script.session()).await.unwrap();
    let counted = store.counters();
    assert_eq!((counted.appends, counted.records_appended, counted.bytes_appended), (2, 4, bytes as u64));
    let read: usize = page.records.iter().map(|record| record.payload.len()).sum();
    assert_eq!((counted.reads, counted.records_read, counted.bytes_read), (1, 3, read as u64));
    assert_eq!((counted.questions, counted.removals, counted.in_flight), (1, 0, 0));
    assert_eq!(counted.errors, [("conflict", 1)]);
}
