//! The tree of messages as runs of the log: which elements are on the path to a head, and which branches there are.
//!
//! An *element* is a record that is a place on the tree: a message, a clear, a lost record. A *run* is a stretch of the log in
//! which each element follows the one before it, so a conversation that was never undone is one run however long it is.
//!
//! **Invariant**: runs are ordered by `first`, and their ranges do not overlap.
//!
//! Must not know: messages.

use serde::{Deserialize, Serialize};

use crate::shared_list::SharedList;

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

/// A run behind which others began.
#[derive(Clone, Copy, Debug)]
struct Closed {
    run: Run,
    /// Where the branch that begins with this run ends: the place of its last run. Meaningless for other runs.
    ends: usize,
}

/// All runs of a log. Its size grows with the number of times the conversation took another way, not with its length.
///
/// Clones share the runs, and an element copies at most a few of them, so that neither a move nor a fork nor a message costs more
/// where there are many branches. Adding, and finding a run or a branch, take steps by the logarithm of the number of runs.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    closed: SharedList<Closed>,
    /// The last run, which nearly every element goes to.
    open: Option<Run>,
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.run_count() == other.run_count() && self.runs().eq(other.runs())
    }
}

impl Eq for Tree {}

impl Tree {
    /// The number of the first branch.
    pub const MAIN: u64 = 0;

    /// The runs, by their first element.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        (0..self.run_count()).filter_map(|at| self.run(at))
    }

    /// How many runs there are.
    pub fn run_count(&self) -> usize {
        self.closed.len() + usize::from(self.open.is_some())
    }

    /// The tree made of these runs, as a snapshot kept them.
    pub(crate) fn from_runs(runs: impl IntoIterator<Item = Run>) -> Self {
        let mut tree = Self::default();
        runs.into_iter().for_each(|run| tree.push(run));
        tree
    }

    /// The last element of the log (0: none).
    pub fn last(&self) -> u64 {
        self.open.map_or(0, |run| run.last)
    }

    fn run(&self, at: usize) -> Option<&Run> {
        if at == self.closed.len() { self.open.as_ref() } else { self.closed.get(at).map(|closed| &closed.run) }
    }

    /// The run that holds an element.
    pub fn run_of(&self, seq: u64) -> Option<&Run> {
        if let Some(open) = self.open.as_ref().filter(|open| open.first <= seq) {
            return Some(open).filter(|open| seq <= open.last);
        }
        let at = self.closed.partition_point(|closed| closed.run.first <= seq);
        self.run(at.checked_sub(1)?).filter(|run| seq <= run.last)
    }

    /// Adds an element at the end of the log.
    ///
    /// # Errors
    /// [`NotAnElement`] when `parent` lies on no run.
    pub fn add(&mut self, seq: u64, parent: u64, clears: bool) -> Result<(), NotAnElement> {
        let last = self.last();
        if seq <= last {
            return Err(NotAnElement { seq, parent });
        }
        if let Some(open) = self.open.as_mut().filter(|_| parent == last && !clears) {
            open.last = seq;
            return Ok(());
        }
        let from = self.run_of(parent);
        if parent != 0 && from.is_none() {
            return Err(NotAnElement { seq, parent });
        }
        let branch = match from {
            None if self.open.is_none() => Self::MAIN,
            Some(run) if run.last == parent && self.tip_of(run.branch) == Some(parent) => run.branch,
            _ => seq,
        };
        self.push(Run { first: seq, last: seq, parent, branch, cleared: clears });
        Ok(())
    }

    /// Closes the last run and begins another.
    fn push(&mut self, run: Run) {
        let before = self.open.replace(run);
        let Some(before) = before else { return };
        let at = self.closed.len();
        self.closed.push(Closed { run: before, ends: at });
        if let Some(begins) = self.beginning_of(run.branch).and_then(|begins| self.closed.get_mut(begins)) {
            begins.ends = at + 1;
        }
    }

    /// The place of a branch's first run.
    fn beginning_of(&self, branch: u64) -> Option<usize> {
        let at = if branch == Self::MAIN {
            0
        } else if self.open.is_some_and(|open| open.first == branch) {
            self.closed.len()
        } else {
            self.closed.partition_point(|closed| closed.run.first < branch)
        };
        self.run(at).filter(|run| run.branch == branch).map(|_| at)
    }

    fn tip_of(&self, branch: u64) -> Option<u64> {
        let begins = self.beginning_of(branch)?;
        let ends = self.closed.get(begins).map_or(begins, |closed| closed.ends);
        self.run(ends).map(|run| run.last)
    }

    /// The branch of this number.
    pub fn branch(&self, id: u64) -> Option<Branch> {
        let begins = self.beginning_of(id)?;
        let (run, tip) = (self.run(begins)?, self.tip_of(id)?);
        Some(Branch { id, left_at: run.parent, tip })
    }

    /// The branches, oldest first.
    pub fn branches(&self) -> Vec<Branch> {
        let is_first = |(at, run): &(usize, &Run)| *at == 0 || run.branch == run.first;
        self.runs().enumerate().filter(is_first).filter_map(|(_, run)| self.branch(run.branch)).collect()
    }

    /// The stretches of the path that ends at `head`, newest first, back to the last clear (which is not part of them).
    pub fn path(&self, head: u64) -> Path<'_> {
        Path { tree: self, next: head, through_clears: false }
    }

    /// How many messages may be visible at `head` at most: numbers of records that are no messages may lie within its runs.
    pub fn span(&self, head: u64) -> u64 {
        self.path(head).map(|shown| shown.last - shown.first + 1).sum()
    }

    /// The stretches of the path that ends at `head`, newest first, clears and what they hide included.
    pub fn whole_path(&self, head: u64) -> Path<'_> {
        Path { tree: self, next: head, through_clears: true }
    }

    /// True when `seq` lies on the path that ends at `head` (clears and what they hide included).
    pub fn is_on_path(&self, seq: u64, head: u64) -> bool {
        seq == 0 || self.whole_path(head).any(|stretch| stretch.first <= seq && seq <= stretch.last)
    }

    /// Whether an element is visible at a head: on its path, and not behind a clear.
    pub fn is_visible(&self, seq: u64, head: u64) -> bool {
        self.path(head).any(|stretch| stretch.first <= seq && seq <= stretch.last)
    }

    /// The tree as it was when `at`, a place on it, was the last.
    #[must_use]
    pub fn clipped(&self, at: u64) -> Self {
        if self.last() <= at {
            return self.clone();
        }
        let clip = |run: &Run| Run { last: run.last.min(at), ..*run };
        Self::from_runs(self.runs().take_while(|run| run.first <= at).map(clip))
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
        assert_eq!(tree.run_count(), 1);
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

    /// What a tree is, without any care for how long it takes.
    fn plain_branches(runs: &[Run]) -> Vec<Branch> {
        let mut branches: Vec<Branch> = Vec::new();
        for run in runs {
            match branches.iter_mut().find(|branch| branch.id == run.branch) {
                Some(branch) => branch.tip = run.last,
                None => branches.push(Branch { id: run.branch, left_at: run.parent, tip: run.last }),
            }
        }
        branches
    }

    fn plain_add(runs: &mut Vec<Run>, seq: u64, parent: u64, clears: bool) {
        if let Some(run) = runs.last_mut().filter(|run| run.last == parent && !clears) {
            run.last = seq;
            return;
        }
        let goes_on = runs.iter().find(|run| run.last == parent).map(|run| run.branch);
        let goes_on =
            goes_on.filter(|id| plain_branches(runs).iter().any(|known| known.id == *id && known.tip == parent));
        let branch = if runs.is_empty() { Tree::MAIN } else { goes_on.unwrap_or(seq) };
        runs.push(Run { first: seq, last: seq, parent, branch, cleared: clears });
    }

    #[test]
    fn thousands_of_branches_are_those_of_a_plain_list() {
        let (mut tree, mut runs, mut elements) = (Tree::default(), Vec::new(), vec![0_u64]);
        let mut chance = 7_u64;
        let mut draw = move |below: usize| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) as usize % below
        };
        for seq in (2..9_000_u64).step_by(3) {
            let parent = match draw(4) {
                0 => elements[draw(elements.len())],
                1 => runs.get(draw(runs.len().max(1))).map_or(0, |run: &Run| run.last),
                2 => elements[elements.len() - 1 - draw(elements.len().min(3))],
                _ => tree.last(),
            };
            let clears = draw(20) == 0;
            let before = tree.clone();
            tree.add(seq, parent, clears).unwrap();
            plain_add(&mut runs, seq, parent, clears);
            elements.push(seq);
            assert_eq!(before.last(), elements[elements.len() - 2], "a clone keeps what it was");
            if seq % 97 == 0 {
                assert_eq!(tree.branches(), plain_branches(&runs));
                let at = elements[draw(elements.len())];
                let clipped: Vec<Run> = tree.clipped(at).runs().copied().collect();
                assert_eq!(tree.clipped(at).branches(), plain_branches(&clipped), "clipped at {at}");
            }
        }
        assert!(tree.runs().eq(&runs) && tree.branches().len() > 1_000);
        assert_eq!(Tree::from_runs(runs.iter().copied()), tree);
        assert_eq!(Tree::from_runs(runs.iter().copied()).branches(), plain_branches(&runs));
        for branch in plain_branches(&runs) {
            assert_eq!(tree.branch(branch.id), Some(branch));
        }
        assert_eq!((tree.branch(1), tree.branch(u64::MAX)), (None, None));
    }

    #[test]
    fn runs_that_no_log_makes_do_no_harm() {
        let run = |first, last, branch| Run { first, last, parent: 0, branch, cleared: false };
        let tree = Tree::from_runs([run(9, 3, 5), run(2, 2, 0), run(2, 7, 2), run(1, 1, 77)]);
        assert!(tree.branches().len() <= 4);
        assert!((0..100).all(|at| tree.branch(at).is_none_or(|branch| branch.id == at)));
    }
}
