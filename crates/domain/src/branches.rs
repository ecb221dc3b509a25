//! The tree of messages as runs of the log: which elements are on the path to a head, and which branches there are.
//!
//! An *element* is a record that is a place on the tree: a message, a clear, a lost record. A *run* is a stretch of the log in
//! which each element follows the one before it, so a conversation that was never undone is one run however long it is.
//!
//! **Invariant**: runs are ordered by `first`, and their ranges do not overlap.
//!
//! Must not know: messages.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A stretch of elements that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Sequence number of the first element.
    pub first: u64,
    /// Sequence number of the last element.
    pub last: u64,
    /// The element that the first one follows (0: the beginning).
    pub parent: u64,
    /// The branch the run belongs to: the first element's number of its first run; the first branch is [`Tree::MAIN`].
    pub branch: u64,
    /// True when the first element is a clear, which hides all before it.
    pub cleared: bool,
}

/// A stretch of sequence numbers, both ends included. Other records than elements may stand between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// A branch of a session's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its number: the first element on it; [`Tree::MAIN`] for the first.
    pub id: u64,
    /// The element it left at (0: the beginning).
    pub left_at: u64,
    /// Its last element.
    pub tip: u64,
}

/// The parent of an element is not an element before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("element {seq} follows {parent}, which is not a message before it")]
pub struct NotAnElement {
    /// The element.
    pub seq: u64,
    /// What it claims to follow.
    pub parent: u64,
}

/// All runs of a log. Its size grows with the number of times the conversation took another way, not with its length.
///
/// Clones share the runs until one of them takes in an element, so that moves and forks do not copy them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    runs: Arc<Vec<Run>>,
}

impl Tree {
    /// The number of the first branch.
    pub const MAIN: u64 = 0;

    /// The runs, by their first element.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The tree made of these runs, as a snapshot kept them.
    pub(crate) fn from_runs(runs: Vec<Run>) -> Self {
        Self { runs: Arc::new(runs) }
    }

    /// The last element of the log (0: none).
    pub fn last(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.last)
    }

    /// The run that holds an element.
    pub fn run_of(&self, seq: u64) -> Option<&Run> {
        let at = self.runs.partition_point(|run| run.first <= seq);
        self.runs.get(at.checked_sub(1)?).filter(|run| seq <= run.last)
    }

    /// Adds an element at the end of the log.
    ///
    /// # Errors
    /// [`NotAnElement`] when `parent` lies on no run.
    pub fn add(&mut self, seq: u64, parent: u64, clears: bool) -> Result<(), NotAnElement> {
        if seq <= self.last() || (parent != 0 && self.run_of(parent).is_none()) {
            return Err(NotAnElement { seq, parent });
        }
        let is_last = parent == self.last() && !clears;
        if is_last && let Some(run) = Arc::make_mut(&mut self.runs).last_mut() {
            run.last = seq;
            return Ok(());
        }
        let branch = match self.run_of(parent) {
            None if self.runs.is_empty() => Self::MAIN,
            Some(run) if run.last == parent && self.tip_of(run.branch) == Some(parent) => run.branch,
            _ => seq,
        };
        Arc::make_mut(&mut self.runs).push(Run { first: seq, last: seq, parent, branch, cleared: clears });
        Ok(())
    }

    fn tip_of(&self, branch: u64) -> Option<u64> {
        self.runs.iter().rev().find(|run| run.branch == branch).map(|run| run.last)
    }

    /// The branches, oldest first.
    pub fn branches(&self) -> Vec<Branch> {
        let mut branches: Vec<Branch> = Vec::new();
        for run in self.runs() {
            match branches.iter_mut().find(|branch| branch.id == run.branch) {
                Some(branch) => branch.tip = run.last,
                None => branches.push(Branch { id: run.branch, left_at: run.parent, tip: run.last }),
            }
        }
        branches
    }

    /// The stretches of the path that ends at `head`, newest first, back to the last clear (which is not part of them).
    pub fn path(&self, head: u64) -> Path<'_> {
        Path { tree: self, next: head, through_clears: false }
    }

    /// The stretches of the path that ends at `head`, newest first, clears and what they hide included.
    pub fn whole_path(&self, head: u64) -> Path<'_> {
        Path { tree: self, next: head, through_clears: true }
    }

    /// True when `seq` lies on the path that ends at `head` (clears and what they hide included).
    pub fn is_on_path(&self, seq: u64, head: u64) -> bool {
        seq == 0 || self.whole_path(head).any(|stretch| stretch.first <= seq && seq <= stretch.last)
    }

    /// The tree as it was when `at`, a place on it, was the last.
    #[must_use]
    pub fn clipped(&self, at: u64) -> Self {
        if self.last() <= at {
            return self.clone();
        }
        let runs = self.runs.iter().filter(|run| run.first <= at).map(|run| Run { last: run.last.min(at), ..*run });
        Self { runs: Arc::new(runs.collect()) }
    }
}

/// Walks a path from its head to the beginning; see [`Tree::path`].
#[derive(Clone, Debug)]
pub struct Path<'a> {
    tree: &'a Tree,
    next: u64,
    through_clears: bool,
}

impl Path<'_> {
    /// The head from which a new walk gives the stretches that this one has not given yet (0: none).
    pub fn rest(&self) -> u64 {
        self.next
    }
}

impl Iterator for Path<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        let run = self.tree.run_of(self.next)?;
        let last = self.next;
        if run.cleared && !self.through_clears {
            self.next = 0;
            return (run.first < last).then_some(Stretch { first: run.first + 1, last });
        }
        self.next = run.parent;
        Some(Stretch { first: run.first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(elements: &[(u64, u64)]) -> Tree {
        let mut tree = Tree::default();
        for (seq, parent) in elements {
            tree.add(*seq, *parent, false).unwrap();
        }
        tree
    }

    fn path(tree: &Tree, head: u64) -> Vec<(u64, u64)> {
        tree.path(head).map(|stretch| (stretch.first, stretch.last)).collect()
    }

    #[test]
    fn a_straight_conversation_is_one_run() {
        let tree = tree(&[(2, 0), (3, 2), (5, 3), (9, 5)]);
        assert_eq!(tree.runs().len(), 1);
        assert_eq!(path(&tree, 9), [(2, 9)]);
        assert_eq!(path(&tree, 3), [(2, 3)]);
        assert_eq!(path(&tree, 0), []);
    }

    #[test]
    fn another_way_is_a_branch_and_the_old_one_stays() {
        let tree = tree(&[(2, 0), (3, 2), (4, 3), (6, 2), (7, 6), (9, 4)]);
        assert_eq!(path(&tree, 7), [(6, 7), (2, 2)]);
        assert_eq!(path(&tree, 9), [(9, 9), (2, 4)]);
        let branches = tree.branches();
        assert_eq!(branches, [Branch { id: 0, left_at: 0, tip: 9 }, Branch { id: 6, left_at: 2, tip: 7 }]);
        assert!(tree.is_on_path(3, 9) && !tree.is_on_path(3, 7));
    }

    #[test]
    fn two_branches_may_leave_at_the_same_place() {
        let tree = tree(&[(2, 0), (3, 2), (5, 2), (7, 2), (9, 0)]);
        let ids: Vec<u64> = tree.branches().iter().map(|branch| branch.id).collect();
        assert_eq!(ids, [0, 5, 7, 9]);
    }

    #[test]
    fn a_clear_ends_the_path_and_is_part_of_the_whole_one() {
        let mut tree = tree(&[(2, 0), (3, 2)]);
        tree.add(4, 3, true).unwrap();
        assert_eq!(path(&tree, 4), []);
        tree.add(5, 4, false).unwrap();
        assert_eq!(path(&tree, 5), [(5, 5)]);
        let whole: Vec<Stretch> = tree.whole_path(5).collect();
        assert_eq!(whole, [Stretch { first: 4, last: 5 }, Stretch { first: 2, last: 3 }]);
        assert_eq!(tree.branches().len(), 1);
    }

    #[test]
    fn an_element_follows_only_an_element_before_it() {
        let mut tree = tree(&[(2, 0), (3, 2), (6, 2)]);
        assert!(tree.add(7, 4, false).is_err(), "between runs");
        assert!(tree.add(7, 7, false).is_err(), "itself");
        assert!(tree.add(6, 2, false).is_err(), "not behind the last");
    }

    #[test]
    fn a_clipped_tree_is_the_tree_of_that_time() {
        let elements = [(2, 0), (3, 2), (4, 3), (6, 2), (7, 6), (9, 4)];
        let whole = tree(&elements);
        for at in 0..10 {
            let then: Vec<_> = elements.iter().copied().filter(|(seq, _)| *seq <= at).collect();
            assert_eq!(whole.clipped(at), tree(&then), "at {at}");
        }
    }
}
