//! Where records lie, and the compact runs in which the index keeps that.
//!
//! Must not know: the index's engine.

use sessions_domain::{
    Kind,
    varint::{put, take},
};

use super::frame::Frame;

/// The place of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Locator {
    /// The segment; 0: the record is damaged, and nobody knows where it lay.
    pub(crate) segment: u32,
    /// The frame's first byte in it.
    pub(crate) offset: u32,
    /// The frame's length.
    pub(crate) length: u32,
    /// The record's kind.
    pub(crate) kind: Kind,
    /// What the record is found by.
    pub(crate) label: u64,
}

impl Locator {
    /// Stands for a record that is damaged.
    pub(crate) const LOST: Self = Self { segment: 0, offset: 0, length: 0, kind: Kind(0), label: 0 };

    /// Of a frame at an offset of a segment.
    pub(crate) fn of(segment: u32, at: usize, frame: &Frame<'_>) -> Self {
        Self {
            segment,
            offset: u32::try_from(at).unwrap_or(u32::MAX),
            length: u32::try_from(frame.length).unwrap_or(u32::MAX),
            kind: frame.header.kind,
            label: frame.header.label,
        }
    }
}

/// The largest run, in bytes: values of the index stay below four kibibytes.
pub(crate) const MAX_RUN_BYTES: usize = 3800;

/// Locators of records with ascending numbers, as one value of the index.
#[derive(Default)]
pub(crate) struct RunBuilder {
    bytes: Vec<u8>,
    count: u64,
    min_label: u64,
    max_label: u64,
    before: Option<Locator>,
}

impl RunBuilder {
    pub(crate) fn push(&mut self, locator: Locator) {
        let before = self.before.unwrap_or(Locator::LOST);
        put(&mut self.bytes, zigzag(i64::from(locator.segment) - i64::from(before.segment)));
        let expected = if locator.segment == before.segment { before.offset + before.length } else { 0 };
        put(&mut self.bytes, zigzag(i64::from(locator.offset) - i64::from(expected)));
        put(&mut self.bytes, u64::from(locator.length));
        self.bytes.push(locator.kind.0);
        put(&mut self.bytes, zigzag(locator.label.wrapping_sub(before.label).cast_signed()));
        if locator.label != 0 {
            self.max_label = self.max_label.max(locator.label);
            self.min_label = if self.min_label == 0 { locator.label } else { self.min_label.min(locator.label) };
        }
        self.before = Some(Locator { label: if locator.label == 0 { before.label } else { locator.label }, ..locator });
        self.count += 1;
    }

    pub(crate) fn is_full(&self) -> bool {
        // The largest entry has 33 bytes.
        self.bytes.len() + 40 + 24 > MAX_RUN_BYTES
    }

    /// The value: count, lowest and highest label, entries.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.bytes.len() + 24);
        put(&mut value, self.count);
        value.extend_from_slice(&self.min_label.to_le_bytes());
        value.extend_from_slice(&self.max_label.to_le_bytes());
        value.extend_from_slice(&self.bytes);
        value
    }
}

/// The first fields of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunHead {
    pub(crate) count: u64,
    pub(crate) min_label: u64,
    pub(crate) max_label: u64,
}

/// Reads the first fields of a run.
pub(crate) fn run_head(value: &[u8]) -> Option<RunHead> {
    let mut rest = value;
    head_of(&mut rest)
}

fn head_of(rest: &mut &[u8]) -> Option<RunHead> {
    let count = take(rest)?;
    let (min, after) = rest.split_first_chunk::<8>()?;
    let (max, after) = after.split_first_chunk::<8>()?;
    *rest = after;
    Some(RunHead { count, min_label: u64::from_le_bytes(*min), max_label: u64::from_le_bytes(*max) })
}

/// Reads a whole run.
pub(crate) fn run(value: &[u8]) -> Option<Vec<Locator>> {
    let mut rest = value;
    let head = head_of(&mut rest)?;
    let mut locators = Vec::with_capacity(usize::try_from(head.count.min(4096)).ok()?);
    let mut before = Locator::LOST;
    for _ in 0..head.count {
        let segment = u32::try_from(i64::from(before.segment).checked_add(unzigzag(take(&mut rest)?))?).ok()?;
        let expected = if segment == before.segment { before.offset.checked_add(before.length)? } else { 0 };
        let offset = u32::try_from(i64::from(expected).checked_add(unzigzag(take(&mut rest)?))?).ok()?;
        let length = u32::try_from(take(&mut rest)?).ok()?;
        let (kind, after) = rest.split_first()?;
        rest = after;
        let label = before.label.wrapping_add(unzigzag(take(&mut rest)?).cast_unsigned());
        let locator = Locator { segment, offset, length, kind: Kind(*kind), label };
        before = Locator { label: if label == 0 { before.label } else { label }, ..locator };
        locators.push(locator);
    }
    rest.is_empty().then_some(locators)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_reads_as_it_was_built(entries in prop::collection::vec((0_u32..9, any::<u32>(), 0_u32..1 << 20, any::<u8>(), any::<u64>()), 0..60)) {
            let locators: Vec<Locator> = entries
                .into_iter()
                .map(|(segment, offset, length, kind, label)| Locator { segment, offset: offset >> 8, length, kind: Kind(kind), label })
                .collect();
            let mut builder = RunBuilder::default();
            locators.iter().for_each(|locator| builder.push(*locator));
            let value = builder.finish();
            prop_assert_eq!(run_head(&value).unwrap().count, locators.len() as u64);
            prop_assert_eq!(run(&value), Some(locators));
        }

        #[test]
        fn damaged_runs_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = run(&bytes);
        }
    }

    #[test]
    fn a_straight_conversation_takes_few_bytes_a_record() {
        let mut builder = RunBuilder::default();
        let mut offset = 64;
        for n in 0..300_u64 {
            let label = (1_763_690_000_000 + n) << 16 | n;
            builder.push(Locator { segment: 1, offset, length: 730, kind: Kind::APPENDED, label });
            offset += 730;
        }
        let bytes = builder.finish().len();
        assert!(bytes <= 300 * 9 + 60, "{bytes}");
    }
}
