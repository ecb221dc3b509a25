//! Where records stand that repairs wrote in the place of lost ones.
//!
//! Must not know: what they say, or the index.

use std::{collections::HashMap, fs, io};

use sessions_domain::SessionId;
use sessions_ports::StoreError;

use super::{
    folder::{Folder, failed},
    frame::{self, FILLER, Found, Frame, HEADER, MARK, REMOVED, REPAIR, Scan},
    reader::read_up_to,
    segment::{self, SEGMENT_HEADER},
};

/// Most frames are shorter, and nearly all are shorter than this: large bodies stand in files.
const MOST_FRAMES: usize = 4 << 10;
const LONG_FRAMES: usize = 80 << 10;

/// Where a record of a repair stands, which takes the place of one that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StandIn {
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Its place in the whole log, where the segment's header tells.
    pub(super) position: Option<u64>,
    /// Everything that the repair had to write stands with it, up to the mark behind it.
    pub(super) is_finished: bool,
}

/// What stands for lost records, where it stands: of several for one record the last. A repair writes it into segments of their own. `each`
/// is given every one. `unfinished`: the segment and the offset from which on nothing counts, because it is an unfinished write.
pub(super) fn stand_ins(
    folder: &Folder,
    numbers: &[u32],
    unfinished: Option<(u32, usize)>,
    mut each: impl FnMut(&Frame<'_>),
) -> Result<HashMap<(SessionId, u64), StandIn>, StoreError> {
    let mut stand_ins = HashMap::new();
    for number in numbers {
        let path = segment::path_of(&folder.log(), *number);
        let reading = |error| failed("reading the log", error);
        let file = fs::File::open(&path).map_err(reading)?;
        if told_by_first(&file).map_err(reading)?.is_some_and(|is_repair| !is_repair) {
            continue;
        }
        let bytes = fs::read(&path).map_err(reading)?;
        let base = segment::base_of(&bytes, *number, folder.id);
        let end = unfinished.filter(|(of, _)| of == number).map_or(usize::MAX, |(_, at)| at);
        let found: Vec<Found<'_>> = Scan::new(&bytes, SEGMENT_HEADER as usize)
            .take_while(|found| found.at().is_some_and(|at| at < end))
            .filter(|found| !matches!(found, Found::Frame(_, frame) if is_filler(frame)))
            .collect();
        let whole =
            || found.iter().filter_map(|found| if let Found::Frame(_, frame) = found { Some(frame) } else { None });
        if !is_repairs(whole()) {
            continue;
        }
        let is_repair =
            |found: &&Found<'_>| matches!(found, Found::Frame(_, frame) if frame.header.flags & REPAIR != 0);
        let behind = found.iter().find(|found| !is_repair(found));
        let is_finished = matches!(behind, Some(Found::Frame(_, frame)) if frame.header.kind == MARK);
        for found in found.iter().filter(is_repair) {
            let Found::Frame(at, frame) = found else { continue };
            if frame.header.kind == FILLER || frame.header.kind == REMOVED {
                continue;
            }
            each(frame);
            let offset = u32::try_from(*at).unwrap_or(u32::MAX);
            let position = base.map(|base| base + *at as u64);
            let stand_in = StandIn { segment: *number, offset, position, is_finished };
            stand_ins.insert((frame.header.session, frame.header.seq), stand_in);
        }
    }
    Ok(stand_ins)
}

/// Whether a repair wrote a segment: its first whole frame says so that is not laid over bytes which nobody needs or can read. So it does not
/// matter what is damaged in it, or was set aside.
pub(super) fn is_repairs<'a>(frames: impl Iterator<Item = &'a Frame<'a>>) -> bool {
    let mut frames = frames.filter(|frame| !is_filler(frame));
    frames.next().is_some_and(|frame| frame.header.flags & REPAIR != 0)
}

/// One that stands for a lost segment is none of these: a repair wrote it, and it says so.
fn is_filler(frame: &Frame<'_>) -> bool {
    frame.header.kind == FILLER && frame.header.flags & REPAIR == 0
}

/// The same, told by the first frame alone; `None`: that is damaged, or long, so it takes the whole segment to tell. Fillers before it may be long too,
/// and are passed over by what they say of their lengths.
fn told_by_first(file: &fs::File) -> io::Result<Option<bool>> {
    let mut at = u64::from(SEGMENT_HEADER);
    let mut head = [0; HEADER];
    loop {
        let read = read_up_to(file, &mut head, at)?;
        let there = head.get(..read).unwrap_or_default();
        let is_filler = frame::header(there).is_some_and(|header| header.kind == FILLER && header.flags == 0);
        match frame::claimed_length(there).filter(|_| is_filler) {
            Some(length) => at += length as u64,
            None if read == 0 && at == file.metadata()?.len() => return Ok(Some(false)),
            None => break,
        }
    }
    for length in [MOST_FRAMES, LONG_FRAMES] {
        let mut bytes = vec![0; length];
        let read = read_up_to(file, &mut bytes, at)?;
        if let Ok(frame) = frame::read(bytes.get(..read).unwrap_or_default()) {
            return Ok(Some(frame.header.flags & REPAIR != 0));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sessions_domain::{CommitHash, Kind};
    use tempfile::TempDir;

    use super::*;
    use crate::sled::frame::{FrameHeader, Trailer};

    /// What stands in a segment.
    #[derive(Clone, Copy, Debug)]
    enum Stands {
        Record,
        Repaired,
        Filler,
    }

    fn written(stands: Stands, seq: u64, body: usize) -> Vec<u8> {
        let (kind, flags) = match stands {
            Stands::Filler => return [frame::filler(HEADER + body).as_slice(), &vec![0; body]].concat(),
            Stands::Record => (Kind::APPENDED, 0),
            Stands::Repaired => (Kind::LOST, REPAIR),
        };
        let session = SessionId::from_bytes([3; 16]);
        let header = FrameHeader { kind, flags, session, seq, label: 0, commit: CommitHash::ZERO };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &header, &vec![7; body], Some(Trailer::default()), &[]);
        bytes
    }

    /// For which records something stands in a log of one segment with these frames.
    fn found(folder: &Folder, frames: &[Vec<u8>]) -> Vec<u64> {
        let header = vec![0; SEGMENT_HEADER as usize];
        fs::write(segment::path_of(&folder.log(), 1), [header, frames.concat()].concat()).unwrap();
        let stand_ins = stand_ins(folder, &[1], None, |_| {}).unwrap();
        let mut found: Vec<u64> = stand_ins.into_keys().map(|(_, seq)| seq).collect();
        found.sort_unstable();
        found
    }

    proptest! {
        // Each is a store of its own on the disk.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn only_whole_frames_tell_what_stands_for_lost_records(
            frames in prop::collection::vec(
                (
                    prop_oneof![Just(Stands::Record), Just(Stands::Repaired), Just(Stands::Filler)],
                    prop_oneof![0..200_usize, Just(MOST_FRAMES), Just(2 * LONG_FRAMES)],
                    prop::option::of(0..HEADER),
                ),
                0..6,
            ),
        ) {
            let ground = TempDir::new().unwrap();
            let folder = Folder::open(ground.path(), || Ok([7; 16])).unwrap();
            let (mut harmed, mut set_aside, mut whole) = (Vec::new(), Vec::new(), Vec::new());
            for (seq, (stands, body, harm)) in (1..).zip(frames) {
                let frame = written(stands, seq, body);
                let mut other = frame.clone();
                if let Some(at) = harm {
                    other[at] ^= 0x55;
                    set_aside.push(written(Stands::Filler, 0, frame.len() - HEADER));
                } else {
                    set_aside.push(frame);
                    whole.push((stands, seq));
                }
                harmed.push(other);
            }
            whole.retain(|(stands, _)| !matches!(stands, Stands::Filler));
            let is_repairs = matches!(whole.first(), Some((Stands::Repaired, _)));
            whole.retain(|(stands, _)| is_repairs && matches!(stands, Stands::Repaired));
            let expected: Vec<u64> = whole.into_iter().map(|(_, seq)| seq).collect();
            prop_assert_eq!(found(&folder, &harmed), expected.clone());
            prop_assert_eq!(found(&folder, &set_aside), expected);
        }
    }
}
