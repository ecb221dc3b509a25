//! The memory store keeps every law of a store.

use sessions_infra::{MAX_COMMIT_BYTES, MemoryStore};
use sessions_ports::Durability;
use sessions_testkit::{InMemory, LAWS, report, store_suite};

fn fixture(store: MemoryStore) -> InMemory<MemoryStore> {
    InMemory { name: "memory", store, largest_commit: Some(MAX_COMMIT_BYTES) }
}

store_suite!(
    fixture(MemoryStore::new()),
    skips: [
        "durability::a_reopened_store_has_all_records",
        "durability::a_reopened_store_has_all_names",
        "durability::a_reopened_store_has_all_rows",
        "durability::a_reopened_store_goes_on",
        "close::closing_loses_nothing",
        "removal::a_reopened_store_stays_without",
    ]
);

#[test]
fn all_laws_ran_and_six_say_nothing_about_memory() {
    let report = report(async || fixture(MemoryStore::new()));
    assert_eq!(report.violations, []);
    assert_eq!((report.store, report.kept.len(), report.skipped.len()), ("memory", 99, 6));
    assert_eq!(report.laws(), LAWS.len());
}

#[test]
fn a_store_that_pretends_keeps_the_laws_of_its_level() {
    let report = report(async || fixture(MemoryStore::pretending(Durability::Disk)));
    assert_eq!(report.violations, []);
    assert_eq!((report.kept.len(), report.skipped.len()), (97, 8));
}
