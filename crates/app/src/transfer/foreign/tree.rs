//! The tree of messages, from the parents that lines name.
//!
//! Must not know: JSON, or what a line becomes.

use std::collections::{HashMap, HashSet};

use sessions_domain::{Message, MessageRole};

use super::{
    Dialect,
    growth::Growth,
    line::{Kind, Parsed},
};
use crate::transfer::{
    report::Report,
    transcript::{Entry, title_of},
};

/// The entries, each behind its parent, and the end of the main path.
pub(super) struct Tree {
    pub(super) entries: Vec<Entry>,
    pub(super) head: Option<usize>,
}

/// A line that has a place or gives one.
pub(super) struct Node {
    pub(super) parsed: Parsed,
    /// The line it follows, as an index.
    pub(super) parent: Option<usize>,
    /// The parent that is named is not there, or was cut from a circle.
    pub(super) adrift: bool,
}

/// Where the main path of a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum MainEnd {
    /// Behind the last message that is on no side chain, and what follows it.
    LastMessage,
    /// Where its last line stands.
    LastLine,
}

/// Collects lines, and makes a tree of them in the end.
#[derive(Default)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    by_uuid: HashMap<String, usize>,
}

impl Builder {
    /// Takes a line; false when it is to be kept as it is, because its messages do not hold all of it.
    pub(super) fn push(&mut self, mut parsed: Parsed, report: &mut Report) -> bool {
        if let Some(first) = parsed.uuid.as_ref().and_then(|uuid| self.by_uuid.get(uuid)) {
            let first = self.nodes.get(*first).map(|node| (node.parsed.number, node.parsed.digest));
            if first.is_some_and(|(_, digest)| digest == parsed.digest) {
                let number = first.map_or(0, |(number, _)| number);
                report.set_aside(parsed.number, format!("the line is line {number} again"));
                return false;
            }
            report.repaired(
                parsed.number,
                "its uuid stands on an earlier line too; what names it follows the earlier one",
            );
            parsed.uuid = None;
        } else if let Some(uuid) = parsed.uuid.clone() {
            self.by_uuid.insert(uuid, self.nodes.len());
        }
        let is_placed = match &parsed.kind {
            Kind::Said(said) => said.template.is_some(),
            _ => false,
        };
        let has_place = parsed.uuid.is_some() || parsed.parent.is_some() || matches!(parsed.kind, Kind::Said(_));
        if has_place {
            self.nodes.push(Node { parsed, parent: None, adrift: false });
        }
        is_placed
    }

    /// The tree.
    pub(super) fn finish(mut self, dialect: &Dialect, sealed: u64, report: &mut Report) -> Tree {
        for node in &mut self.nodes {
            let Some(parent) = &node.parsed.parent else { continue };
            node.parent = self.by_uuid.get(parent).copied();
            if node.parent.is_none() {
                node.adrift = true;
                report.repaired(node.parsed.number, "its parent is not in the file; it follows what stood before it");
            }
        }
        let order = parents_first(&mut self.nodes, report);
        let mut nodes: Vec<Option<Node>> = self.nodes.into_iter().map(Some).collect();
        let mut growth = Growth::of(dialect.format, sealed, nodes.len());
        for at in order {
            if let Some(node) = nodes.get_mut(at).and_then(Option::take) {
                growth.place(at, node, report);
            }
        }
        let (entries, last) = growth.finish(report);
        let head = match dialect.main_end {
            MainEnd::LastMessage => main_end(&entries),
            // A last line that follows nothing says nothing about where the conversation stands.
            MainEnd::LastLine => last.or_else(|| main_end(&entries)),
        };
        Tree { entries, head }
    }
}

/// The nodes in an order in which each parent comes before its children, and otherwise in the file's. Circles are cut at their first line.
fn parents_first(nodes: &mut [Node], report: &mut Report) -> Vec<usize> {
    let mut order = Vec::with_capacity(nodes.len());
    let mut done = vec![false; nodes.len()];
    let is_done = |done: &[bool], at: usize| done.get(at).copied().unwrap_or(true);
    for start in 0..nodes.len() {
        let mut chain: Vec<usize> = Vec::new();
        let mut in_chain: HashSet<usize> = HashSet::new();
        let mut next = Some(start);
        while let Some(at) = next.filter(|at| !is_done(&done, *at)) {
            if in_chain.insert(at) {
                chain.push(at);
                next = nodes.get(at).and_then(|node| node.parent);
                continue;
            }
            let circle = chain.iter().position(|other| *other == at).unwrap_or(0);
            let first = chain.get(circle..).and_then(|circle| circle.iter().copied().min()).unwrap_or(at);
            if let Some(node) = nodes.get_mut(first) {
                node.parent = None;
                node.adrift = true;
                report.repaired(node.parsed.number, "its parents form a circle; it follows what stood before it");
            }
            chain.clear();
            in_chain.clear();
            next = Some(start);
        }
        for at in chain.into_iter().rev() {
            if let Some(done) = done.get_mut(at) {
                *done = true;
            }
            order.push(at);
        }
    }
    order
}

/// The end of the main path: behind the last message that is on no side chain. Where all are, as in a sub-agent's file, the last of all.
fn main_end(entries: &[Entry]) -> Option<usize> {
    let is_main = |entry: &Entry| entry.message().is_some() && !entry.is_sidechain;
    let all = !entries.iter().any(is_main);
    let counts = |entry: &Entry| entry.message().is_some() && (all || !entry.is_sidechain);
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
    let mut latest: Vec<u64> = entries.iter().map(|entry| if counts(entry) { entry.last_line() } else { 0 }).collect();
    for (at, entry) in entries.iter().enumerate().rev() {
        let own = latest.get(at).copied().unwrap_or(0);
        let Some(parent) = entry.parent else { continue };
        if let Some(slot) = latest.get_mut(parent) {
            *slot = own.max(*slot);
        }
        children.get_mut(parent)?.push(at);
    }
    let value = |at: &usize| latest.get(*at).copied().unwrap_or(0);
    let last = |(_, entry): &(usize, &Entry)| entry.last_line();
    let mut end = entries.iter().enumerate().filter(|(_, entry)| counts(entry)).max_by_key(last)?.0;
    while let Some(next) = children.get(end)?.iter().copied().filter(|at| value(at) > 0).max_by_key(value) {
        end = next;
    }
    Some(end)
}

/// A title made of what the person said first.
pub(super) fn first_words(entries: &[Entry]) -> Option<String> {
    let said = |entry: &&Entry| !entry.is_meta && !entry.is_compact_summary;
    let texts = || {
        let messages = entries.iter().filter(said).filter_map(Entry::message);
        messages.filter(|message| message.role == MessageRole::User).map(Message::text)
    };
    texts().find(|text| !text.trim_start().starts_with('<')).or_else(|| texts().next()).and_then(|text| title_of(&text))
}
