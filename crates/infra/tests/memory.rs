//! The memory store keeps every law of a store.

use std::collections::BTreeSet;

use sessions_infra::{MAX_COMMIT_BYTES, MemoryStore};
use sessions_ports::Durability;
use sessions_testkit::{InMemory, LAWS, report, store_laws};

fn fixture(store: MemoryStore) -> InMemory<MemoryStore> {
    InMemory { name: "memory", store, largest_commit: Some(MAX_COMMIT_BYTES) }
}

store_laws!(
    fixture(MemoryStore::new()),
    skips: [
        "nobody else could open the store",
        "the store is gone with its process",
        "the store keeps nothing when it is closed",
        "the store promises nothing beyond its process",
    ]
);

#[test]
fn all_laws_ran_and_what_says_nothing_about_memory_says_why() {
    let report = report(async || fixture(MemoryStore::new()));
    assert_eq!(report.violations, []);
    assert_eq!((report.store.as_str(), report.laws()), ("memory", LAWS.len()));
    let whys: BTreeSet<&str> = report.skipped.iter().map(|law| law.why.as_str()).collect();
    let expected = [
        "nobody else could open the store",
        "the store is gone with its process",
        "the store keeps nothing when it is closed",
        "the store promises nothing beyond its process",
    ];
    assert_eq!(whys, BTreeSet::from(expected));
}

/// A store that claims a level which it cannot keep is found out by one law, and keeps the others.
#[test]
fn a_store_that_pretends_is_found_out() {
    for level in [Durability::Process, Durability::Disk] {
        let report = report(async move || fixture(MemoryStore::pretending(level)));
        let broken: Vec<&str> = report.violations.iter().map(|violation| violation.law).collect();
        assert_eq!(broken, ["capabilities::a_level_needs_something_that_keeps_it"], "{report}");
    }
}

mod environment {
    use sessions_infra::environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator};

    sessions_testkit::clock_laws!(SystemClock);
    sessions_testkit::id_laws!(UlidGenerator::new());
    sessions_testkit::entropy_laws!(SystemEntropy::new());
    sessions_testkit::token_laws!(EstimateCounter);
}
