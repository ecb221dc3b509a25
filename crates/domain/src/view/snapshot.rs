//! A view as bytes to keep beside the log.
//!
//! Must not know: where they are kept.

use std::sync::Arc;

use super::{About, Standing, View};
use crate::{
    branches::{Run, Tree},
    chain::CommitHash,
    identity::{LineageId, SessionId},
    varint::{put, take},
};

const SNAPSHOT_FORMAT: u8 = 3;

impl View {
    /// A compact form to keep beside the log, so that opening need not begin at the beginning. Not a part of the record format:
    /// a reader that does not know it starts from the log.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut out = vec![SNAPSHOT_FORMAT];
        out.extend_from_slice(&self.session.to_bytes());
        out.extend_from_slice(&self.lineage.to_bytes());
        out.extend_from_slice(self.commit.as_bytes());
        put(&mut out, self.version);
        put(&mut out, self.tree.run_count() as u64);
        let mut before = 0;
        for run in self.tree.runs() {
            put(&mut out, run.first - before);
            put(&mut out, (run.last - run.first) << 1 | u64::from(run.cleared));
            put(&mut out, run.first - run.parent);
            put(&mut out, run.first - run.branch);
            before = run.last;
        }
        // Neither has a map with keys that are not strings, so they always serialise.
        out.extend(serde_json::to_vec(&(&self.standing, &*self.about)).unwrap_or_default());
        out
    }

    /// Reads [`Self::to_snapshot`]; `None` for anything else, which then costs a replay and nothing more.
    pub fn from_snapshot(bytes: &[u8]) -> Option<Self> {
        let (format, mut rest) = bytes.split_first()?;
        if *format != SNAPSHOT_FORMAT {
            return None;
        }
        let session = SessionId::from_bytes(take_array(&mut rest)?);
        let lineage = LineageId::from_bytes(take_array(&mut rest)?);
        let commit = CommitHash::from_bytes(take_array(&mut rest)?);
        let version = take(&mut rest)?;
        let count = take(&mut rest)?;
        let mut runs = Vec::new();
        let mut before = 0_u64;
        for _ in 0..count {
            let first = before.checked_add(take(&mut rest)?)?;
            let length = take(&mut rest)?;
            let last = first.checked_add(length >> 1)?;
            let parent = first.checked_sub(take(&mut rest)?)?;
            let branch = first.checked_sub(take(&mut rest)?)?;
            runs.push(Run { first, last, parent, branch, cleared: length & 1 == 1 });
            before = last;
        }
        let (standing, about): (Standing, About) = serde_json::from_slice(rest).ok()?;
        let tree = Tree::from_runs(runs);
        Some(Self { session, lineage, version, commit, tree, standing, about: Arc::new(about), unreadable: None })
    }
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*array)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Event, MoveCause, Moved},
        view::tests::{apply, begun, message, say},
    };

    #[test]
    fn a_snapshot_is_the_view() {
        let mut view = begun();
        for round in 0..100 {
            apply(&mut view, message(round + 1, None));
            apply(&mut view, Event::Moved(Moved { to: 0, depth: 0, cause: MoveCause::Undo, steps: 1 }));
        }
        apply(&mut view, message(1, Some(0)));
        let snapshot = view.to_snapshot();
        assert_eq!(View::from_snapshot(&snapshot), Some(view.clone()));
        for cut in 0..snapshot.len() {
            assert_ne!(View::from_snapshot(snapshot.get(..cut).unwrap()), Some(view.clone()));
        }
    }

    #[test]
    fn a_snapshot_of_a_hundred_branches_stays_below_two_kibibytes() {
        let mut view = begun();
        for _ in 0..100_000 {
            say(&mut view, None);
        }
        for _ in 0..100 {
            let to = view.head() - 5;
            apply(&mut view, Event::Moved(Moved { to, depth: 1, cause: MoveCause::Undo, steps: 1 }));
            say(&mut view, Some(to));
            for _ in 0..9 {
                say(&mut view, None);
            }
        }
        assert_eq!(view.tree().branches().len(), 101);
        assert!(view.to_snapshot().len() <= 2048, "{}", view.to_snapshot().len());
    }
}
