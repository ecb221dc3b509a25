//! A list that is cheap to clone: clones share all of it, and a change copies one short stretch and the way to it.
//!
//! It is a tree of fixed fan-out over the positions, as the vectors of Clojure are: reading, setting and adding take steps by the
//! logarithm (to base 32) of the length.
//!
//! Must not know: what is in it.

use std::sync::Arc;

/// Elements in a leaf, and children of a node.
const FAN_OUT: usize = 32;

/// The positions that a level takes of a place in the list.
const BITS: u32 = FAN_OUT.trailing_zeros();

#[derive(Clone, Debug)]
enum Node<T> {
    Leaf(Vec<T>),
    Inner(Vec<Arc<Self>>),
}

/// The list.
#[derive(Clone, Debug)]
pub(crate) struct SharedList<T> {
    root: Arc<Node<T>>,
    /// Levels above the leaves.
    height: u32,
    length: usize,
}

impl<T> Default for SharedList<T> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), height: 0, length: 0 }
    }
}

/// Which child leads to a position, at a level above the leaves.
fn child(at: usize, level: u32) -> usize {
    (at >> (BITS * level)) % FAN_OUT
}

impl<T> SharedList<T> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        if at >= self.length {
            return None;
        }
        let (mut node, mut level) = (&self.root, self.height);
        loop {
            match node.as_ref() {
                Node::Leaf(elements) => return elements.get(child(at, 0)),
                Node::Inner(children) => node = children.get(child(at, level))?,
            }
            level = level.checked_sub(1)?;
        }
    }

    /// How many elements the condition holds for, when it holds for the first ones and for no other.
    pub(crate) fn partition_point(&self, holds: impl Fn(&T) -> bool) -> usize {
        let (mut from, mut to) = (0, self.length);
        while from < to {
            let middle = from + (to - from) / 2;
            if self.get(middle).is_some_and(&holds) { from = middle + 1 } else { to = middle }
        }
        from
    }
}

impl<T: Clone> SharedList<T> {
    /// The element, to be changed; clones keep theirs.
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        if at >= self.length {
            return None;
        }
        let (mut node, mut level) = (&mut self.root, self.height);
        loop {
            match Arc::make_mut(node) {
                Node::Leaf(elements) => return elements.get_mut(child(at, 0)),
                Node::Inner(children) => node = children.get_mut(child(at, level))?,
            }
            level = level.checked_sub(1)?;
        }
    }

    /// Adds an element at the end.
    pub(crate) fn push(&mut self, element: T) {
        let at = self.length;
        if at >> (BITS * self.height) >= FAN_OUT {
            self.root = Arc::new(Node::Inner(vec![Arc::clone(&self.root)]));
            self.height += 1;
        }
        add(&mut self.root, self.height, at, element);
        self.length += 1;
    }
}

fn add<T: Clone>(node: &mut Arc<Node<T>>, level: u32, at: usize, element: T) {
    match Arc::make_mut(node) {
        Node::Leaf(elements) => elements.push(element),
        Node::Inner(children) => {
            let below = level.saturating_sub(1);
            if children.get(child(at, level)).is_none() {
                children.push(Arc::new(if below == 0 { Node::Leaf(Vec::new()) } else { Node::Inner(Vec::new()) }));
            }
            if let Some(last) = children.last_mut() {
                add(last, below, at, element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    #[test]
    fn it_is_a_list() {
        let mut list = SharedList::default();
        for number in 0..40_000_usize {
            assert_eq!((list.len(), list.get(number)), (number, None));
            list.push(number);
        }
        assert!((0..40_000).all(|at| list.get(at) == Some(&at)));
        for bound in [0, 1, 31, 32, 33, 1023, 1024, 1025, 32_768, 39_999, 40_000, 50_000] {
            assert_eq!(list.partition_point(|number| *number < bound), bound.min(40_000));
        }
    }

    #[test]
    fn a_change_is_not_seen_by_clones() {
        let mut list = SharedList::default();
        (0..2_000).for_each(|number| list.push(number));
        let before = list.clone();
        *list.get_mut(7).unwrap() = 0;
        *list.get_mut(1_999).unwrap() = 1;
        list.push(2);
        assert_eq!(list.get_mut(2_001), None);
        assert_eq!((list.get(7), list.get(1_999), list.get(2_000)), (Some(&0), Some(&1), Some(&2)));
        assert_eq!((before.get(7), before.get(1_999), before.get(2_000)), (Some(&7), Some(&1_999), None));
    }

    /// Counts how often it is copied.
    struct Counted(Rc<Cell<usize>>);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.set(self.0.get() + 1);
            Self(Rc::clone(&self.0))
        }
    }

    #[test]
    fn a_change_beside_a_clone_copies_one_leaf_however_long_the_list() {
        let copied = Rc::new(Cell::new(0));
        let mut list = SharedList::default();
        for _ in 0..100_000 {
            let kept = list.clone();
            list.push(Counted(Rc::clone(&copied)));
            drop(kept);
            assert!(copied.take() < FAN_OUT);
        }
        for at in (0..100_000).step_by(991) {
            let kept = list.clone();
            assert!(list.get_mut(at).is_some());
            drop(kept);
            assert!(copied.take() <= FAN_OUT);
        }
    }
}
