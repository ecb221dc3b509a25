//! The file `slots`: a header and preallocated slots that are overwritten in place, so that their old bytes are gone.
//!
//! ```text
//! 0  8  "SESSKEY\x01"     8  4  format (1)     16  16  store id     508  4  CRC-32C of bytes 0 to 508     512  512 each: the slots
//! ```
//!
//! The file grows by zeros, 256 KiB at a time, that are synced before a slot is laid there, so writing a slot moves nothing on a disk
//! that writes in place. There are as many slots as stand before the zeros at the end.
//!
//! Must not know: what is in a slot.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use sessions_ports::{KeyError, Slot, SlotChange, StoreError, StoreId};

use super::{
    memory_store::{changed_meanwhile, check_changes, check_size},
    slot::{self, Found, HALF, SLOT, Side},
};
use crate::sled::folder::failed;

const MAGIC: [u8; 8] = *b"SESSKEY\x01";
const FORMAT: u32 = 1;
/// Bytes before the first slot.
const HEADER: usize = 512;
/// By how many bytes the file grows.
const CHUNK: u64 = 256 << 10;
const ZEROS: [u8; SLOT] = [0; SLOT];
/// How often a slot that is not whole is looked at again before it counts as damaged.
const LOOKS: usize = 3;
/// Slots that are read or written at once.
const BLOCK: u64 = 512;

const WRITING: &str = "writing wrapped keys";
const READING: &str = "reading wrapped keys";

/// Where slots lie: a file, or what fails like one.
pub(super) trait Place {
    /// Bytes of it.
    fn length(&self) -> io::Result<u64>;
    /// Fills all of `into` from there.
    fn read(&self, into: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of it there.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Cuts it off.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Everything written so far survives a power cut when it answers.
    fn sync(&self) -> io::Result<()>;
}

impl Place for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(into, at)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was changed.
    Refused(StoreError),
    /// It is not known what is on the disk now: nothing may be written until all of it was read anew.
    Unknown,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Refused(error.into())
    }
}

fn unknown(_: io::Error) -> Failure {
    Failure::Unknown
}

/// The first bytes of the file.
pub(super) fn header(store: StoreId) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(FORMAT.to_le_bytes());
    header.extend([0; 4]);
    header.extend(store.0);
    header.resize(HEADER - 4, 0);
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    header
}

/// What a new file holds: the header, and zeros to lay slots over.
pub(super) fn new_file(store: StoreId) -> Vec<u8> {
    let mut file = header(store);
    file.resize(HEADER + CHUNK as usize, 0);
    file
}

/// Whether a header is as it was written.
fn check_header(bytes: &[u8], store: StoreId) -> Result<bool, KeyError> {
    let (covered, stored) = bytes.split_at_checked(HEADER - 4).unwrap_or_default();
    if stored != crc32c::crc32c(covered).to_le_bytes() || !covered.starts_with(&MAGIC) {
        return Ok(false);
    }
    let format = covered.get(8..12).and_then(|format| format.try_into().ok()).map(u32::from_le_bytes);
    if let Some(format) = format.filter(|format| *format != FORMAT) {
        return Err(KeyError::Newer { found: format!("slots of format {format}") });
    }
    if covered.get(16..32) != Some(store.0.as_slice()) {
        return Err(KeyError::Damaged { what: "they are those of another store" });
    }
    Ok(true)
}

fn place_of(number: u64) -> u64 {
    HEADER as u64 + number * SLOT as u64
}

/// The slots of a store.
pub(super) struct SlotFile<P> {
    place: P,
    count: u64,
    /// Slots that there is synced room for.
    room: u64,
    header_is_whole: bool,
}

/// Slots from one on, of a file that gives the bytes of a block from one slot to another. They lie in memory together, and are let go of together.
pub(super) fn read(
    mut from: u64,
    limit: usize,
    give: impl Fn(u64, u64, &mut Vec<u8>) -> Result<(), StoreError>,
) -> Result<Vec<Slot>, StoreError> {
    let to = from.saturating_add(limit as u64);
    let (mut all, mut ends, mut block) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        give(from, to, &mut block)?;
        if block.is_empty() {
            break;
        }
        for bytes in block.chunks_exact(SLOT) {
            all.extend_from_slice(slot::look(from, bytes)?.bytes);
            ends.push(all.len());
            from += 1;
        }
    }
    let (all, mut begin) = (Slot::from(all), 0);
    Ok(ends.into_iter().map(|end| all.slice(std::mem::replace(&mut begin, end)..end)).collect())
}

/// A change that is begun.
struct Begun {
    number: u64,
    old: Option<Side>,
    half: Vec<u8>,
}

impl Begun {
    /// Where the new half goes.
    fn new_at(&self) -> u64 {
        place_of(self.number) + self.old.map_or(Side::First, Side::other).offset()
    }
}

impl<P: Place> SlotFile<P> {
    /// Reads how many there are. With `mends`, what a change left when it was broken off is wiped before anything is given.
    pub(super) fn open(place: P, store: StoreId, mends: bool) -> Result<Self, StoreError> {
        let length = place.length().map_err(|error| failed(READING, error))?;
        if length < HEADER as u64 {
            return Err(KeyError::Damaged { what: "the file `slots` is cut off" }.into());
        }
        let mut bytes = [0; HEADER];
        place.read(&mut bytes, 0).map_err(|error| failed(READING, error))?;
        let header_is_whole = check_header(&bytes, store)?;
        let whole = (length - HEADER as u64) / SLOT as u64;
        let mut file = Self { place, count: whole, room: 0, header_is_whole };
        let (mut count, mut leftovers) = (0, Vec::new());
        file.each(0, whole, |number, bytes| {
            let (first, second) = bytes.split_at_checked(HALF).unwrap_or_default();
            let [first, second] = [first, second].map(|half| !slot::is_empty(half));
            if first || second {
                count = number + 1;
            }
            // Where one half is empty, there is nothing to finish; whether the other is whole is seen when it is read.
            match (first && second).then(|| slot::look(number, bytes)) {
                Some(Ok(Found { has_leftover: true, side: Some(side), .. })) => {
                    leftovers.push(place_of(number) + side.other().offset());
                }
                Some(Err(newer @ KeyError::Newer { .. })) => return Err(newer.into()),
                _ => {}
            }
            Ok(())
        })?;
        file.count = count;
        let synced = (length - HEADER as u64) / CHUNK * CHUNK / SLOT as u64;
        file.room = synced.max(count);
        if mends {
            match file.wipe(&leftovers) {
                // On a disk that copies on write; what can be read shall be read all the same.
                Ok(()) | Err(StoreError::NoSpace { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(file)
    }

    /// Lays zeros over halves.
    fn wipe(&self, halves: &[u64]) -> Result<(), StoreError> {
        if halves.is_empty() {
            return Ok(());
        }
        let zeros = [0; HALF];
        let mut all = halves.iter().map(|at| self.place.write(&zeros, *at));
        all.try_for_each(|done| done).map_err(|error| failed(WRITING, error))?;
        self.place.sync().map_err(|_| StoreError::Poisoned)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn header_is_whole(&self) -> bool {
        self.header_is_whole
    }

    /// Writes the header anew where it is damaged.
    pub(super) fn mend_header(&mut self, store: StoreId) -> Result<(), Failure> {
        if self.header_is_whole {
            return Ok(());
        }
        self.place.write(&header(store), 0).map_err(|error| failed(WRITING, error))?;
        self.place.sync().map_err(unknown)?;
        self.header_is_whole = true;
        Ok(())
    }

    /// Hands on the bytes of each slot from one on.
    fn each(
        &self,
        mut from: u64,
        to: u64,
        mut hand: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut block = Vec::new();
        while from < to {
            self.block(from, to, &mut block)?;
            (from..to).zip(block.chunks_exact(SLOT)).try_for_each(|(number, bytes)| hand(number, bytes))?;
            from += BLOCK;
        }
        Ok(())
    }

    /// What a slot holds, for who expects this. To who expects nothing, a damaged one holds nothing, and all of it is left over: so it can be
    /// destroyed too.
    fn found(&self, number: u64, expected: &Slot) -> Result<Found<Slot>, StoreError> {
        let mut bytes = [0; SLOT];
        self.place.read(&mut bytes, place_of(number)).map_err(|error| failed(READING, error))?;
        match slot::look(number, &bytes) {
            Err(KeyError::Damaged { .. }) if expected.is_empty() => {
                let writes = slot::writes_at_most(number, &bytes);
                Ok(Found { bytes: Slot::new(), writes, side: Some(Side::First), has_leftover: false })
            }
            found => Ok(found?.copied()),
        }
    }

    /// Reads the bytes of slots from one on, as many as are read at once.
    pub(super) fn block(&self, from: u64, to: u64, block: &mut Vec<u8>) -> Result<(), StoreError> {
        let slots = to.min(self.count).saturating_sub(from).min(BLOCK);
        block.resize(usize::try_from(slots).unwrap_or_default() * SLOT, 0);
        if block.is_empty() {
            return Ok(());
        }
        self.place.read(block, place_of(from)).map_err(|error| failed(READING, error))
    }

    /// The file as it is, without what changes left in it that were broken off, and what each slot holds; `None` stands for a damaged one.
    pub(super) fn copy(&self, store: StoreId) -> Result<(Vec<u8>, Vec<Option<Slot>>), StoreError> {
        let (mut file, mut held) = (header(store), Vec::new());
        self.each(0, self.count, |number, bytes| {
            let mut bytes = bytes.to_vec();
            let mut found = slot::look(number, &bytes).map(Found::copied);
            for _ in 0..LOOKS {
                if found.is_ok() {
                    break;
                }
                // It may be that it is just being written.
                self.place.read(&mut bytes, place_of(number)).map_err(|error| failed(READING, error))?;
                found = slot::look(number, &bytes).map(Found::copied);
            }
            if let Ok(Found { side: Some(side), .. }) = &found {
                let from = usize::try_from(side.other().offset()).unwrap_or_default();
                bytes.iter_mut().skip(from).take(HALF).for_each(|byte| *byte = 0);
            }
            file.extend(bytes);
            held.push(found.ok().map(|found| found.bytes));
            Ok(())
        })?;
        Ok((file, held))
    }

    /// The numbers of damaged slots.
    pub(super) fn damaged(&self) -> Result<Vec<u64>, StoreError> {
        let mut damaged = Vec::new();
        self.each(0, self.count, |number, bytes| {
            damaged.extend(slot::look(number, bytes).is_err().then_some(number));
            Ok(())
        })?;
        Ok(damaged)
    }

    /// Makes room for so many slots.
    fn grow(&mut self, slots: u64) -> Result<(), Failure> {
        if slots <= self.room {
            return Ok(());
        }
        let (begin, end) = (place_of(self.room), HEADER as u64 + (slots * SLOT as u64).next_multiple_of(CHUNK));
        let zeros = vec![0; usize::try_from(CHUNK).unwrap_or_default()];
        let mut at = begin;
        while at < end {
            let length = usize::try_from((end - at).min(CHUNK)).unwrap_or_default();
            if let Err(error) = self.place.write(zeros.get(..length).unwrap_or_default(), at) {
                // What is longer than it has to be does no harm.
                let _ = self.place.cut(begin);
                return Err(failed("new room for wrapped keys", error).into());
            }
            at += length as u64;
        }
        self.place.sync().map_err(unknown)?;
        self.room = (end - HEADER as u64) / SLOT as u64;
        Ok(())
    }

    /// Adds slots behind the last one, and gives the first one's number.
    pub(super) fn add(&mut self, slots: &[Slot]) -> Result<u64, Failure> {
        slots.iter().try_for_each(check_size)?;
        let first = self.count;
        if slots.is_empty() {
            return Ok(first);
        }
        self.grow(first + slots.len() as u64)?;
        let mut bytes = Vec::with_capacity(slots.len() * SLOT);
        for (number, slot) in (first..).zip(slots) {
            bytes.extend(slot::encode(number, 1, slot));
            bytes.resize(bytes.len() + HALF, 0);
        }
        if let Err(error) = self.place.write(&bytes, place_of(first)) {
            self.take_back(&[(place_of(first), bytes.len())])?;
            return Err(failed(WRITING, error).into());
        }
        self.place.sync().map_err(unknown)?;
        self.count = first + slots.len() as u64;
        Ok(first)
    }

    /// Lays zeros over what was written of a change that failed, so that it does not come back after a crash.
    fn take_back(&self, written: &[(u64, usize)]) -> Result<(), Failure> {
        for (at, length) in written {
            self.place.write(&vec![0; *length], *at).map_err(unknown)?;
        }
        self.place.sync().map_err(unknown)
    }

    /// Takes slots away from the end.
    pub(super) fn truncate(&mut self, count: u64) -> Result<(), Failure> {
        if count >= self.count {
            return Ok(());
        }
        for number in count..self.count {
            self.place.write(&ZEROS, place_of(number)).map_err(|error| failed(WRITING, error))?;
        }
        self.place.sync().map_err(unknown)?;
        self.count = count;
        Ok(())
    }

    /// Overwrites slots: all new halves, a sync, zeros over all old ones, a sync.
    pub(super) fn overwrite(&mut self, changes: &[SlotChange]) -> Result<(), Failure> {
        check_changes(changes, self.count)?;
        let mut begun = Vec::with_capacity(changes.len());
        for SlotChange { number, expected, new } in changes {
            let Found { bytes, writes, side, has_leftover } = self.found(*number, expected)?;
            if bytes != *expected {
                return Err(changed_meanwhile(writes).into());
            }
            if has_leftover {
                // Only where opening had no space to wipe it.
                let side = side.map_or(Side::First, Side::other);
                self.take_back(&[(place_of(*number) + side.offset(), HALF)])?;
            }
            let half = slot::encode(*number, writes.saturating_add(1), new);
            begun.push(Begun { number: *number, old: side, half });
        }
        if begun.is_empty() {
            return Ok(());
        }
        for (done, change) in begun.iter().enumerate() {
            if let Err(error) = self.place.write(&change.half, change.new_at()) {
                let written: Vec<_> = begun.iter().take(done + 1).map(|change| (change.new_at(), HALF)).collect();
                self.take_back(&written)?;
                return Err(failed(WRITING, error).into());
            }
        }
        self.place.sync().map_err(unknown)?;
        let zeros = [0; HALF];
        for change in &begun {
            if let Some(old) = change.old {
                self.place.write(&zeros, place_of(change.number) + old.offset()).map_err(unknown)?;
            }
        }
        self.place.sync().map_err(unknown)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const STORE: StoreId = StoreId([9; 16]);

    impl<P: Place> SlotFile<P> {
        fn read(&self, from: u64, limit: usize) -> Result<Vec<Slot>, StoreError> {
            super::read(from, limit, |from, to, block| self.block(from, to, block))
        }
    }

    /// A disk that forgets what was not synced, sector by sector as it likes, and fails where it is told to.
    #[derive(Clone, Default)]
    struct Disk {
        synced: Vec<u8>,
        /// Sectors that were written since.
        pending: Vec<(usize, Vec<u8>)>,
        /// Writes and syncs so far.
        done: usize,
        /// From which of them on each one fails, how, and how many of them.
        fails: Option<(usize, io::ErrorKind, usize)>,
    }

    #[derive(Clone, Default)]
    struct Handle(RefCell<Disk>);

    fn lay(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
        image.resize(image.len().max(at + bytes.len()), 0);
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }

    impl Disk {
        fn step(&mut self) -> io::Result<()> {
            self.done += 1;
            match self.fails {
                Some((at, kind, times)) if (at..at.saturating_add(times)).contains(&self.done) => Err(kind.into()),
                _ => Ok(()),
            }
        }

        fn seen(&self) -> Vec<u8> {
            self.with(|_| true)
        }

        /// What lies on the disk when of the pending sectors only these made it.
        fn with(&self, mut made_it: impl FnMut(usize) -> bool) -> Vec<u8> {
            let mut image = self.synced.clone();
            for (number, (at, bytes)) in self.pending.iter().enumerate() {
                if made_it(number) {
                    lay(&mut image, *at, bytes);
                }
            }
            image
        }

        /// What may lie there after a power cut: each subset of few sectors, and some of many.
        fn after_a_cut(&self) -> Vec<Vec<u8>> {
            if self.pending.len() <= 8 {
                return (0..1_u32 << self.pending.len()).map(|set| self.with(|n| set & 1 << n != 0)).collect();
            }
            let mut seed = 1_u32;
            let mut chance = move || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed & 1 << 20 != 0
            };
            (0..48).map(|_| self.with(|_| chance())).chain([self.with(|_| false), self.with(|_| true)]).collect()
        }
    }

    impl Handle {
        fn holding(image: Vec<u8>) -> Self {
            Self(RefCell::new(Disk { synced: image, ..Disk::default() }))
        }
    }

    impl Place for Handle {
        fn length(&self) -> io::Result<u64> {
            Ok(self.0.borrow().seen().len() as u64)
        }

        fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
            let seen = self.0.borrow().seen();
            into.copy_from_slice(&seen[at as usize..at as usize + into.len()]);
            Ok(())
        }

        fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
            let mut disk = self.0.borrow_mut();
            // What fails may have been written in part.
            let failed = disk.step();
            let length = if failed.is_ok() { bytes.len() } else { bytes.len() / 2 };
            let sectors = bytes[..length].chunks(SLOT);
            let sectors: Vec<_> =
                sectors.enumerate().map(|(n, sector)| (at as usize + n * SLOT, sector.to_vec())).collect();
            disk.pending.extend(sectors);
            failed
        }

        fn cut(&self, length: u64) -> io::Result<()> {
            let mut disk = self.0.borrow_mut();
            disk.step()?;
            disk.synced.truncate(length as usize);
            disk.pending.retain(|(at, _)| *at < length as usize);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            let mut disk = self.0.borrow_mut();
            disk.step()?;
            disk.synced = disk.seen();
            disk.pending.clear();
            Ok(())
        }
    }

    fn slots(word: &str, count: u64) -> Vec<Slot> {
        (0..count).map(|n| Slot::from(format!("{word} key of session {n:04}"))).collect()
    }

    fn changes(from: &str, to: &str, count: u64) -> Vec<SlotChange> {
        let pairs = slots(from, count).into_iter().zip(slots(to, count));
        (0..).zip(pairs).map(|(number, (expected, new))| SlotChange { number, expected, new }).collect()
    }

    fn with(count: u64) -> Vec<u8> {
        let mut file = SlotFile::open(Handle::holding(new_file(STORE)), STORE, true).unwrap();
        assert_eq!(file.add(&slots("old", count)).unwrap(), 0);
        file.place.0.into_inner().synced
    }

    fn open(image: Vec<u8>) -> SlotFile<Handle> {
        SlotFile::open(Handle::holding(image), STORE, true).unwrap()
    }

    fn has(image: &[u8], slot: &[u8]) -> bool {
        image.windows(slot.len()).any(|window| window == slot)
    }

    /// Does the work again and again, cut off before each of its writes and syncs, and hands on what may lie on the disk then, and whether
    /// the work was through.
    fn cut_everywhere(
        image: &[u8],
        work: impl Fn(&mut SlotFile<Handle>) -> Result<(), Failure>,
        check: impl Fn(Vec<u8>, bool, usize),
    ) -> usize {
        for at in 1.. {
            let mut file = open(image.to_vec());
            file.place.0.borrow_mut().fails = Some((at, io::ErrorKind::Other, usize::MAX));
            let is_through = work(&mut file).is_ok();
            for image in file.place.0.into_inner().after_a_cut() {
                check(image, is_through, at);
            }
            if is_through {
                return at - 1;
            }
        }
        unreachable!()
    }

    #[test]
    fn a_cut_between_any_two_writes_leaves_each_slot_old_or_new_and_no_old_one_beside_a_new_one() {
        let image = with(3);
        let work = |file: &mut SlotFile<Handle>| file.overwrite(&changes("old", "new", 3));
        let steps = cut_everywhere(&image, work, |image, is_through, at| {
            let file = open(image);
            let found = file.read(0, 9).unwrap();
            let image = file.place.0.into_inner().synced;
            for (found, (old, new)) in found.iter().zip(slots("old", 3).iter().zip(slots("new", 3).iter())) {
                assert!(found == new || found == old && !is_through, "step {at}: {found:?}");
                assert_eq!(has(&image, old), found == old, "step {at}: an old key is still there");
                assert_eq!(has(&image, new), found == new, "step {at}: a new key was left over");
            }
            assert_eq!(found.len(), 3);
        });
        assert_eq!(steps, 8, "three new halves, a sync, three old halves, a sync");
    }

    #[test]
    fn a_cut_while_slots_are_added_harms_none_and_leaves_whole_or_empty_ones() {
        let room = CHUNK / SLOT as u64;
        for before in [2, room - 1] {
            let image = with(before);
            cut_everywhere(
                &image,
                |file| file.add(&slots("new", 3)).map(|_| ()),
                |image, is_through, at| {
                    let mut file = open(image);
                    let found = file.read(0, usize::MAX).unwrap();
                    let (old, new) = found.split_at(before as usize);
                    assert_eq!(old, slots("old", before), "step {at}");
                    let allowed = |(found, new): (&Slot, &Slot)| found == new || found.is_empty() && !is_through;
                    assert!(new.iter().zip(&slots("new", 3)).all(allowed), "step {at}: {new:?}");
                    assert!(new.len() == 3 || !is_through);
                    let first = file.add(&slots("more", 2)).unwrap();
                    assert_eq!((first, file.read(first, 9).unwrap()), (found.len() as u64, slots("more", 2)));
                },
            );
        }
    }

    #[test]
    fn a_cut_while_slots_are_taken_away_harms_none_of_the_others() {
        let image = with(5);
        cut_everywhere(
            &image,
            |file| file.truncate(2),
            |image, is_through, at| {
                let file = open(image);
                assert_eq!(file.read(0, 2).unwrap(), slots("old", 2), "step {at}");
                assert!(file.count() == 2 || !is_through);
            },
        );
    }

    #[test]
    fn without_space_nothing_is_changed_now_or_after_a_cut_and_later_there_is_space() {
        let room = CHUNK / SLOT as u64;
        let image = with(room - 1);
        type Work = fn(&mut SlotFile<Handle>) -> Result<(), Failure>;
        let works: [Work; 2] =
            [|file| file.overwrite(&changes("old", "new", 3)), |file| file.add(&slots("new", 3)).map(|_| ())];
        for work in works {
            let mut refused = 0;
            for at in 1..=4 {
                let mut file = open(image.clone());
                file.place.0.borrow_mut().fails = Some((at, io::ErrorKind::StorageFull, 1));
                match work(&mut file) {
                    Err(Failure::Refused(StoreError::NoSpace { .. })) => refused += 1,
                    Err(Failure::Unknown) => continue,
                    other => panic!("step {at}: {other:?}"),
                }
                for image in file.place.0.borrow().after_a_cut() {
                    let found = open(image).read(0, usize::MAX).unwrap();
                    assert_eq!(found, slots("old", room - 1), "step {at}: what was refused came back");
                }
                work(&mut file).unwrap();
            }
            assert!(refused >= 2, "{refused}");
        }
    }

    #[test]
    fn a_damaged_slot_is_overwritten_by_who_expects_nothing_and_nothing_of_it_is_left() {
        let mut image = with(3);
        let at = HEADER + SLOT + 40;
        image[at] ^= 1;
        // Both halves may be damaged, or whole and of equal rights.
        let mut both = image.clone();
        both.copy_within(HEADER + SLOT..HEADER + SLOT + HALF, HEADER + SLOT + HALF);
        let mut twice = with(3);
        twice.copy_within(HEADER + SLOT..HEADER + SLOT + HALF, HEADER + SLOT + HALF);
        for image in [image, both, twice] {
            let change = |expected: &str| SlotChange {
                number: 1,
                expected: Slot::from(expected.to_owned()),
                new: Slot::from_static(b"tombstone"),
            };
            let refused = open(image.clone()).overwrite(&[change("old key of session 0001")]);
            assert!(matches!(refused, Err(Failure::Refused(StoreError::Key(KeyError::Damaged { .. })))), "{refused:?}");
            let work = |file: &mut SlotFile<Handle>| file.overwrite(&[change("")]);
            cut_everywhere(&image, work, |image, is_through, at| {
                let file = open(image);
                match file.read(1, 1) {
                    Ok(found) => assert!(found == ["tombstone"] || !is_through, "step {at}: {found:?}"),
                    Err(_) => assert!(!is_through, "step {at}"),
                }
                let others = [file.read(0, 1).unwrap(), file.read(2, 1).unwrap()].concat();
                assert_eq!(others, [&slots("old", 3)[..1], &slots("old", 3)[2..]].concat());
                let image = file.place.0.into_inner().synced;
                assert!(!is_through || !has(&image, b"session 0001"), "step {at}: something is left of it");
            });
        }
    }

    #[test]
    fn a_failed_sync_is_never_success() {
        let image = with(3);
        for at in [4, 8] {
            let mut file = open(image.clone());
            file.place.0.borrow_mut().fails = Some((at, io::ErrorKind::Other, 1));
            assert!(matches!(file.overwrite(&changes("old", "new", 3)), Err(Failure::Unknown)), "{at}");
        }
    }

    #[test]
    fn every_flipped_bit_is_named_or_harmless_and_leaves_the_other_slots_readable() {
        let mut file = open(with(3));
        file.overwrite(&changes("old", "new", 2)).unwrap();
        let expected = [slots("new", 2), slots("old", 3)[2..].to_vec()].concat();
        let image = file.place.0.into_inner().synced;
        for bit in 0..(HEADER + 3 * SLOT) * 8 {
            let mut flipped = image.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let file = SlotFile::open(Handle::holding(flipped), STORE, false).unwrap();
            assert_eq!(file.count(), 3);
            let damaged = file.damaged().unwrap();
            assert_eq!(file.header_is_whole(), bit / 8 >= HEADER, "bit {bit}");
            for (number, expected) in (0..).zip(&expected) {
                let is_its_place = bit / 8 / SLOT == number as usize + 1;
                match file.read(number, 1) {
                    Ok(found) => assert_eq!(found, std::slice::from_ref(expected), "bit {bit}"),
                    Err(StoreError::Key(KeyError::Damaged { .. })) => assert!(is_its_place, "bit {bit}"),
                    Err(other) => panic!("bit {bit}: {other}"),
                }
                assert_eq!(damaged.contains(&number), file.read(number, 1).is_err());
            }
        }
    }

    #[test]
    fn foreign_newer_and_cut_off_files_are_told_apart() {
        let open = |image: Vec<u8>| SlotFile::open(Handle::holding(image), STORE, true).map(|_| ());
        let foreign = open(new_file(StoreId([8; 16])));
        assert!(matches!(foreign, Err(StoreError::Key(KeyError::Damaged { .. }))), "{foreign:?}");
        let mut newer = new_file(STORE);
        newer[8] = 2;
        let checksum = crc32c::crc32c(&newer[..HEADER - 4]).to_le_bytes();
        newer[HEADER - 4..HEADER].copy_from_slice(&checksum);
        assert!(matches!(open(newer), Err(StoreError::Key(KeyError::Newer { .. }))));
        for length in [0, 1, HEADER - 1] {
            let cut = open(new_file(STORE)[..length].to_vec());
            assert!(matches!(cut, Err(StoreError::Key(KeyError::Damaged { .. }))), "{length}: {cut:?}");
        }
        // Cut off within the slots, the rest is there, and what is added lies over none of it.
        let mut file =
            super::SlotFile::open(Handle::holding(with(9)[..HEADER + 5 * SLOT + 7].to_vec()), STORE, true).unwrap();
        assert_eq!(file.read(0, 99).unwrap(), slots("old", 5));
        assert_eq!(file.add(&slots("new", 600)).unwrap(), 5);
        assert_eq!(file.read(0, 99).unwrap()[..5], slots("old", 5));
    }
}
