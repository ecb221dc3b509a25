//! Snapshots of views, which an index may give back as anything.

use sessions_domain::{SummaryWords, View};

/// A snapshot that is believed is written as one that is believed too and the same, and asking it anything is no danger.
pub fn run(data: &[u8]) {
    if let Some(words) = SummaryWords::from_json(data) {
        let again = SummaryWords::from_json(&words.to_json());
        assert_eq!(again.as_ref(), Some(&words));
    }
    let Some(view) = View::from_snapshot(data) else { return };
    let again = View::from_snapshot(&view.to_snapshot());
    assert_eq!(again.as_ref(), Some(&view));
    let (head, version) = (view.head(), view.version());
    for seq in [0, 1, head, version, version.saturating_add(1), u64::MAX] {
        let _ = (view.owner_of(seq), view.owners_up_to(seq), view.tree().run_count());
    }
    let _ = (view.place(), view.described(), view.fork(), view.first_own(), view.lost());
    let _ = view.tree().branches();
}
