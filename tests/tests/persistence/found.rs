//! What a process finds in a store that it opens, against what was promised.
//!
//! Must not know: what happened to the store.

use std::{collections::BTreeMap, path::Path};

use sessions_tests::line::{Ack, Entry, Line};

use crate::child::Child;

/// Everything in a store: for each writer and number, where its append begins, and the record.
pub(crate) struct Found {
    records: BTreeMap<(u64, u64), (u64, Entry)>,
    /// What became of the index, and of the log's end.
    pub(crate) opened: String,
    /// Everything that is not as it should be, whatever was promised.
    pub(crate) wrong: Vec<String>,
}

impl Found {
    /// Opens the store in a process of its own, reads everything, closes it and verifies it.
    pub(crate) fn at(path: &Path) -> Self {
        let mut child = Child::start(&[], "dump", &[path], &[]);
        let ended = child.end();
        let mut found = Self { records: BTreeMap::new(), opened: String::new(), wrong: Vec::new() };
        for line in &child.said {
            match line {
                Line::Opened(_, how) => found.opened.clone_from(how),
                Line::Record(writer, first, entry) => {
                    if found.records.insert((*writer, entry.seq), (*first, *entry)).is_some() {
                        found.wrong.push(format!("record {} of writer {writer} is there twice", entry.seq));
                    }
                }
                Line::Done => {}
                other => found.wrong.push(other.to_string()),
            }
        }
        // Its process has said on the standard error why.
        if !ended {
            found.wrong.push("the store was not read to its end".to_owned());
        }
        let gaps = found.records.iter().filter(|((writer, seq), (first, _))| {
            seq != first && found.records.get(&(*writer, seq - 1)).is_none_or(|(before, _)| before != first)
        });
        let gaps: Vec<String> = gaps.map(|((writer, seq), _)| format!("{writer}/{seq} is half an append")).collect();
        found.wrong.extend(gaps);
        found
    }

    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    /// The promises that were not kept: records that are missing, or others.
    pub(crate) fn lost<'a>(&self, promised: impl IntoIterator<Item = &'a Ack>) -> Vec<Ack> {
        let kept = |ack: &&Ack| {
            let of_it = |seq| self.records.get(&(ack.writer, seq)).filter(|(first, _)| *first == ack.first);
            (ack.first..=ack.last.seq).all(|seq| of_it(seq).is_some())
                && of_it(ack.last.seq).is_some_and(|(_, entry)| *entry == ack.last)
        };
        promised.into_iter().filter(|ack| !kept(ack)).copied().collect()
    }

    /// Nothing is lost and nothing is wrong.
    pub(crate) fn assert_keeps<'a>(&self, promised: impl IntoIterator<Item = &'a Ack>, when: &str) {
        let lost = self.lost(promised);
        assert!(
            self.wrong.is_empty(),
            "{when}: {} of {} things are wrong: {:#?}",
            self.wrong.len(),
            self.records(),
            self.wrong
        );
        assert!(
            lost.is_empty(),
            "{when}: lost {} of {}: {:#?} ({})",
            lost.len(),
            self.records(),
            lost.first(),
            self.opened
        );
    }
}

/// After whatever happened to it, a store opens unattended, keeps what was promised, and takes more.
pub(crate) fn works(path: &Path, promised: &mut Vec<Ack>, when: &str) {
    let mut next = Child::append(path, &["writers=1", "count=1"]);
    assert!(next.end() && next.wrongs().is_empty(), "{when}: the next opening says {:?}", next.said);
    assert_eq!(next.acks().count(), 1, "{when}: {:?}", next.said);
    promised.extend(next.acks());
    Found::at(path).assert_keeps(&*promised, when);
}
