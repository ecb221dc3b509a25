//! Frames: how a record stands in a segment. `docs/format.md` is the description; this is the code.
//!
//! ```text
//! 0   4  magic "SSN\x01"          44  4  CRC-32C of all other bytes of the frame
//! 4   1  format                   48 32  commit
//! 5   1  kind                     80  n  body (or the 40 bytes that name a blob)
//! 6   1  flags                    with LAST:  4 visible messages, 8 synced position; with TIMED: 8 updated (ms)
//! 7   1  reserved (0)             with EXTRA: 4 length, then fields of tag (1), length (4), bytes
//! 8  16  session
//! 24  8  seq
//! 32  8  label
//! 40  4  length n of the body
//! ```
//!
//! All numbers are little-endian. The frames of one append stand one behind the other, and only the last has `LAST`, so an append that was
//! cut short is told from a whole one.
//!
//! Must not know: files.

use sessions_domain::{CommitHash, Kind, SessionId};
use sessions_ports::Link;

/// The first bytes of every frame.
pub(crate) const MAGIC: [u8; 4] = *b"SSN\x01";
/// The version of the frame format.
pub(crate) const FORMAT: u8 = 1;
/// Bytes before the body.
pub(crate) const HEADER: usize = 80;
const TRAILER: usize = 12;
const TIME: usize = 8;
const CRC_AT: usize = 44;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Records have numbers below it.
pub(crate) const SEQ_BOUND: u64 = 1 << 62;

/// The last frame of an append.
pub(crate) const LAST: u8 = 1;
/// The body stands in a blob file.
pub(crate) const BLOB: u8 = 2;
/// Fields follow.
pub(crate) const EXTRA: u8 = 4;
/// The first record of its log.
pub(crate) const FIRST: u8 = 8;
/// Stands for a record that was lost, wherever in the log it is.
pub(crate) const REPAIR: u8 = 16;

/// Has another payload for a record that stands before it in the log, or for one that the log inherited.
pub(crate) const REWRITTEN: u8 = 64;
/// Its payload is gone, because another one counts. The body is what named the large body, or the payload's length.
pub(crate) const STRIPPED: u8 = 128;

/// The trailer says when; otherwise it was at the milliseconds in the upper 48 bits of the label.
pub(crate) const TIMED: u8 = 32;

/// Whether so many records of a session can have been lost before a position of the log: each took a header at least. A frame whose number
/// asks for more was never written by a store, whatever its checksum says, and marking all of them would fill any memory.
pub(crate) const fn can_be_missing(records: u64, position: u64) -> bool {
    records <= position / HEADER as u64
}

/// A frame that only tells how far the log is synced.
pub(crate) const MARK: Kind = Kind(0xFE);
/// A frame that says that its session was removed.
pub(crate) const REMOVED: Kind = Kind(0xFC);
/// A frame over damaged bytes that a repair set aside, or over those of removed sessions.
pub(crate) const FILLER: Kind = Kind(0xFD);

/// The words of the session's row.
pub(crate) const WORDS: u8 = 1;
/// The keyed hash of the host's key.
pub(crate) const KEY: u8 = 2;
/// An idempotency claim: key, payload, seq, version.
pub(crate) const CLAIM: u8 = 3;

/// What the log inherits: the owner, and the last record that is inherited of it.
pub(crate) const LINK: u8 = 4;

/// The keyed root over all heads, and the bytes from this frame on that belong to its batch.
pub(crate) const ROOT: u8 = 5;

/// What a rewrite changes of its session: the version that it had, and whom it inherits from no more.
pub(crate) const REWRITE: u8 = 6;

/// What the first frame of the log says beside its record, and goes along with what that is rewritten as.
pub(crate) const BEGINNING: u8 = 7;

/// What stands before the body, without the parts that are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) session: SessionId,
    pub(crate) seq: u64,
    pub(crate) label: u64,
    pub(crate) commit: CommitHash,
}

/// What stands behind the body of an append's last frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) updated: i64,
    pub(crate) messages: u32,
    /// Everything before this position of the log was synced when the frame was made.
    pub(crate) synced: u64,
}

/// A whole frame, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) body: &'a [u8],
    pub(crate) trailer: Option<Trailer>,
    extra: &'a [u8],
    /// Bytes of the whole frame.
    pub(crate) length: usize,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// Only zeros: nothing was written here.
    Empty,
    /// Cut short, or not as they were written.
    Damaged,
    /// A format of later versions.
    Newer(u8),
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// Appends a frame to `out`.
pub(crate) fn write(out: &mut Vec<u8>, header: &FrameHeader, body: &[u8], trailer: Option<Trailer>, extra: &[u8]) {
    let start = out.len();
    let mut flags = header.flags & !(LAST | EXTRA | TIMED);
    if let Some(trailer) = trailer {
        flags |= LAST;
        if trailer.updated != moment_in(header.label) {
            flags |= TIMED;
        }
    }
    if !extra.is_empty() {
        flags |= EXTRA;
    }
    out.reserve(HEADER + body.len() + TRAILER + TIME + 4 + extra.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[FORMAT, header.kind.0, flags, 0]);
    out.extend_from_slice(&header.session.to_bytes());
    out.extend_from_slice(&header.seq.to_le_bytes());
    out.extend_from_slice(&header.label.to_le_bytes());
    // Bodies are below 64 KiB, and fields below the largest commit, so both fit.
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(header.commit.as_bytes());
    out.extend_from_slice(body);
    if let Some(trailer) = trailer {
        out.extend_from_slice(&trailer.messages.to_le_bytes());
        out.extend_from_slice(&trailer.synced.to_le_bytes());
        if flags & TIMED != 0 {
            out.extend_from_slice(&trailer.updated.to_le_bytes());
        }
    }
    if !extra.is_empty() {
        out.extend_from_slice(&u32::try_from(extra.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(extra);
    }
    let crc = out.get(start..).map_or(0, checksum);
    if let Some(place) = out.get_mut(start + CRC_AT..start + CRC_AT + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// A frame that says how far the log is synced and nothing else.
pub(crate) fn mark(synced: u64) -> Vec<u8> {
    let header = FrameHeader {
        kind: MARK,
        flags: 0,
        session: SessionId::from_bytes([0; 16]),
        seq: 0,
        label: 0,
        commit: CommitHash::ZERO,
    };
    let mut bytes = Vec::new();
    write(&mut bytes, &header, &[], Some(Trailer { updated: 0, messages: 0, synced }), &[]);
    bytes
}

/// A frame that says that a session was removed at a version. `key`: the host's key, where it stays taken.
pub(crate) fn removal(
    session: SessionId,
    version: u64,
    commit: CommitHash,
    key: Option<&[u8; 32]>,
    synced: u64,
) -> Vec<u8> {
    let header = FrameHeader { kind: REMOVED, flags: 0, session, seq: version, label: 0, commit };
    let (mut bytes, mut extra) = (Vec::new(), Vec::new());
    if let Some(key) = key {
        write_field(&mut extra, KEY, &[key]);
    }
    write(&mut bytes, &header, &[], Some(Trailer { updated: 0, messages: 0, synced }), &extra);
    bytes
}

/// A frame without its payload, and without the words of the row unless they count. It may come to stand elsewhere, so what holds for its
/// place only is left out too.
pub(crate) fn stripped(frame: &Frame<'_>, keeps_words: bool) -> Vec<u8> {
    let mut extra = Vec::new();
    for (tag, field) in frame.fields().filter(|(tag, _)| *tag != ROOT && (*tag != WORDS || keeps_words)) {
        write_field(&mut extra, tag, &[field]);
    }
    let length = (frame.body.len() as u64).to_le_bytes();
    let has_body = frame.header.flags & (BLOB | STRIPPED) != 0;
    let header = FrameHeader { flags: frame.header.flags | STRIPPED, ..frame.header };
    let mut bytes = Vec::new();
    let trailer = frame.trailer.map(|trailer| Trailer { synced: 0, ..trailer });
    write(&mut bytes, &header, if has_body { frame.body } else { &length }, trailer, &extra);
    bytes
}

/// The first bytes of a filler of this length, whose others are zeros. No frame is shorter than these.
pub(crate) fn filler(length: usize) -> [u8; HEADER] {
    let (session, commit) = (SessionId::from_bytes([0; 16]), CommitHash::ZERO);
    let header = FrameHeader { kind: FILLER, flags: 0, session, seq: 0, label: 0, commit };
    let mut written = Vec::new();
    write(&mut written, &header, &[], None, &[]);
    let mut bytes = [0; HEADER];
    bytes.copy_from_slice(written.get(..HEADER).unwrap_or(&[0; HEADER]));
    let zeros = length.saturating_sub(HEADER);
    let mut patch = |at: usize, number: u32| {
        bytes.iter_mut().skip(at).zip(number.to_le_bytes()).for_each(|(byte, new)| *byte = new);
    };
    patch(40, u32::try_from(zeros).unwrap_or(u32::MAX));
    patch(CRC_AT, 0);
    let mut crc = checksum(&bytes);
    let mut left = zeros;
    while left > 0 {
        let piece = left.min(ZEROS.len());
        crc = crc32c::crc32c_append(crc, ZEROS.get(..piece).unwrap_or_default());
        left -= piece;
    }
    bytes.iter_mut().skip(CRC_AT).zip(crc.to_le_bytes()).for_each(|(byte, new)| *byte = new);
    bytes
}

/// What a frame says that its log inherits.
pub(crate) fn link(field: &[u8]) -> Option<Link> {
    let (owner, last) = field.split_first_chunk::<16>()?;
    Some(Link { owner: SessionId::from_bytes(*owner), last: u64::from_le_bytes(last.try_into().ok()?) })
}

/// What a frame says that a rewrite changed of its session: the version that it had then, and whom it inherits from no more.
pub(crate) fn rewrite(field: &[u8]) -> Option<(u64, Vec<SessionId>)> {
    let (version, owners) = field.split_first_chunk::<8>()?;
    let (owners, _) = owners.as_chunks::<16>();
    Some((u64::from_le_bytes(*version), owners.iter().copied().map(SessionId::from_bytes).collect()))
}

/// The milliseconds that a message's label begins with.
fn moment_in(label: u64) -> i64 {
    (label >> 16).cast_signed()
}

/// Appends a field to the fields of a frame.
pub(crate) fn write_field(extra: &mut Vec<u8>, tag: u8, bytes: &[&[u8]]) {
    let length: usize = bytes.iter().map(|part| part.len()).sum();
    extra.push(tag);
    extra.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.iter().for_each(|part| extra.extend_from_slice(part));
}

/// Bytes that one more field of this length adds to a frame with these flags.
pub(crate) const fn added_by_field(flags: u8, length: usize) -> usize {
    5 + length + if flags & EXTRA == 0 { 4 } else { 0 }
}

/// Adds a field to the frame that begins at `start` and ends where `out` does.
pub(crate) fn add_field(out: &mut Vec<u8>, start: usize, tag: u8, field: &[u8]) {
    let Some((flags, body)) = out.get(start + 6).copied().zip(u32_at(out, start + 40)) else { return };
    let trailer = if flags & LAST == 0 { 0 } else { TRAILER } + if flags & TIMED == 0 { 0 } else { TIME };
    let count_at = start + HEADER + body as usize + trailer;
    let before = if flags & EXTRA == 0 { None } else { u32_at(out, count_at) };
    let count = before.unwrap_or(0) + u32::try_from(5 + field.len()).unwrap_or(0);
    if before.is_none() {
        out.extend_from_slice(&[0; 4]);
    }
    write_field(out, tag, &[field]);
    let mut patch = |at: usize, bytes: &[u8]| {
        out.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = *new);
    };
    patch(start + 6, &[flags | EXTRA]);
    patch(count_at, &count.to_le_bytes());
    let crc = out.get(start..).map_or(0, checksum);
    out.iter_mut().skip(start + CRC_AT).zip(crc.to_le_bytes()).for_each(|(byte, new)| *byte = new);
}

/// CRC-32C over a frame without its own four bytes.
fn checksum(frame: &[u8]) -> u32 {
    let (before, after) = (frame.get(..CRC_AT).unwrap_or_default(), frame.get(CRC_AT + 4..).unwrap_or_default());
    crc32c::crc32c_append(crc32c::crc32c(before), after)
}

/// The header at the start of `bytes`, whether or not the frame is whole.
pub(crate) fn header(bytes: &[u8]) -> Option<FrameHeader> {
    if bytes.get(..4)? != MAGIC {
        return None;
    }
    Some(FrameHeader {
        kind: Kind(*bytes.get(5)?),
        flags: *bytes.get(6)?,
        session: SessionId::from_bytes(bytes.get(8..24)?.try_into().ok()?),
        seq: u64_at(bytes, 24)?,
        label: u64_at(bytes, 32)?,
        commit: CommitHash::from_bytes(bytes.get(48..80)?.try_into().ok()?),
    })
}

/// The frame at the start of `bytes`. Its checksum holds.
pub(crate) fn read(bytes: &[u8]) -> Result<Frame<'_>, NoFrame> {
    let head = bytes.get(..HEADER).unwrap_or(bytes);
    if head.iter().all(|byte| *byte == 0) {
        return Err(NoFrame::Empty);
    }
    let frame = parse(bytes).ok_or(NoFrame::Damaged)?;
    // Records are numbered from 1, and none is taken from this bound on, whatever the checksum of one that says otherwise.
    let is_numbered = (1..SEQ_BOUND).contains(&frame.header.seq) || [MARK, FILLER].contains(&frame.header.kind);
    match bytes.get(4) {
        Some(&FORMAT) if !is_numbered => Err(NoFrame::Damaged),
        Some(&FORMAT) => Ok(frame),
        Some(newer) => Err(NoFrame::Newer(*newer)),
        None => Err(NoFrame::Damaged),
    }
}

/// How long the frame at the start of `bytes` says that it is, whether or not it is whole; `None` when it has fields, or is none.
pub(crate) fn claimed_length(bytes: &[u8]) -> Option<usize> {
    let header = header(bytes)?;
    if header.flags & EXTRA != 0 {
        return None;
    }
    let trailer = if header.flags & LAST == 0 { 0 } else { TRAILER };
    let time = if header.flags & TIMED == 0 { 0 } else { TIME };
    Some(HEADER + usize::try_from(u32_at(bytes, 40)?).ok()? + trailer + time)
}

fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let header = header(bytes)?;
    let body_length = usize::try_from(u32_at(bytes, 40)?).ok()?;
    let mut end = HEADER.checked_add(body_length)?;
    let body = bytes.get(HEADER..end)?;
    let mut trailer = None;
    if header.flags & LAST != 0 {
        let (messages, synced) = (u32_at(bytes, end)?, u64_at(bytes, end + 4)?);
        end += TRAILER;
        let mut updated = moment_in(header.label);
        if header.flags & TIMED != 0 {
            updated = u64_at(bytes, end)?.cast_signed();
            end += TIME;
        }
        trailer = Some(Trailer { updated, messages, synced });
    }
    let mut extra: &[u8] = &[];
    if header.flags & EXTRA != 0 {
        let length = usize::try_from(u32_at(bytes, end)?).ok()?;
        let after = end.checked_add(4)?.checked_add(length)?;
        extra = bytes.get(end + 4..after)?;
        end = after;
    }
    let whole = bytes.get(..end)?;
    (checksum(whole) == u32_at(bytes, CRC_AT)?).then_some(Frame { header, body, trailer, extra, length: end })
}

impl<'a> Frame<'a> {
    /// The fields of the frame: tag and bytes.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.extra;
        std::iter::from_fn(move || {
            let tag = *rest.first()?;
            let length = usize::try_from(u32_at(rest, 1)?).ok()?;
            let field = rest.get(5..5 + length)?;
            rest = rest.get(5 + length..)?;
            Some((tag, field))
        })
    }

    pub(crate) fn is_last(&self) -> bool {
        self.trailer.is_some()
    }
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    /// A whole frame.
    Frame(usize, Frame<'a>),
    /// Bytes that are no frame, up to the next whole one or the end.
    Damage(usize, usize),
    /// A frame of a later format. What follows it is not looked at.
    Newer(u8),
}

impl Found<'_> {
    /// Where it begins.
    pub(crate) fn at(&self) -> Option<usize> {
        match self {
            Self::Frame(at, _) | Self::Damage(at, _) => Some(*at),
            Self::Newer(_) => None,
        }
    }

    /// Up to where the log was synced, as the frames of a segment with this base tell. None knows of what comes behind it.
    pub(crate) fn synced(found: &[Self], base: u64) -> u64 {
        let told = found.iter().filter_map(|found| match found {
            Self::Frame(at, frame) => frame.trailer.map(|trailer| trailer.synced.min(base + *at as u64)),
            Self::Damage(..) | Self::Newer(_) => None,
        });
        told.max().unwrap_or(0)
    }

    /// Where an unfinished write begins in the last segment of a log, which has this base and is known to have been synced up to a position.
    pub(crate) fn unfinished(found: &[Self], base: u64, synced: u64) -> Option<usize> {
        let mut append = None;
        let is_behind = |at: &usize| base + *at as u64 >= synced;
        for found in found {
            match found {
                Self::Damage(from, _) if is_behind(from) => return append.or(Some(*from)),
                Self::Damage(..) | Self::Newer(_) => append = None,
                Self::Frame(_, frame) if frame.header.kind == FILLER => {}
                Self::Frame(at, frame) => append = append.or(Some(*at)).filter(|_| !frame.is_last()),
            }
        }
        append.filter(is_behind)
    }

    /// The later format among what was found, if there is one: then nothing of it may be judged.
    pub(crate) fn newer(found: &[Self]) -> Option<u8> {
        found.iter().find_map(|found| if let Self::Newer(format) = found { Some(*format) } else { None })
    }
}

/// Walks the frames of a segment from `at` on. Zeros are passed over in silence behind the last one, and before another where they are
/// too few for a frame: a repair lays such over damage that no filler fits.
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next frame is looked for: behind the last one that was given.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn is_gap(&self, from: usize, to: usize) -> bool {
        to - from < HEADER && self.bytes.get(from..to).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    }

    /// The next place at or behind `from` where a whole frame begins.
    fn resync(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let rest = self.bytes.get(at..)?;
            let hit = rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
            at += hit;
            if self.bytes.get(at..).is_some_and(|bytes| matches!(read(bytes), Ok(_) | Err(NoFrame::Newer(_)))) {
                return Some(at);
            }
            at += 1;
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        match read(rest) {
            Ok(frame) => {
                let at = self.at;
                self.at += frame.length;
                return Some(Found::Frame(at, frame));
            }
            Err(NoFrame::Newer(format)) => {
                self.at = self.bytes.len();
                return Some(Found::Newer(format));
            }
            Err(NoFrame::Empty | NoFrame::Damaged) => {}
        }
        if rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        let from = self.at;
        let next = self.resync(from + 1);
        if let Some(next) = next.filter(|next| self.is_gap(from, *next)) {
            self.at = next;
            return self.next();
        }
        let to = next.unwrap_or_else(|| {
            // Zeros at the end were never written.
            let written = self.bytes.iter().rposition(|byte| *byte != 0).map_or(from, |at| at + 1);
            written.max(from + 1)
        });
        self.at = to;
        Some(Found::Damage(from, to))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(seq: u64, body: &[u8], last: bool, extra: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            kind: Kind::APPENDED,
            flags: 0,
            session: SessionId::from_bytes([3; 16]),
            seq,
            label: seq.wrapping_mul(7),
            commit: CommitHash::from_bytes([seq as u8; 32]),
        };
        let mut out = Vec::new();
        let trailer = last.then_some(Trailer { updated: -5, messages: 9, synced: 1 << 40 });
        write(&mut out, &header, body, trailer, extra);
        out
    }

    #[test]
    fn a_frame_reads_as_it_was_written() {
        let mut extra = Vec::new();
        write_field(&mut extra, WORDS, &[b"wo", b"rds"]);
        write_field(&mut extra, KEY, &[&[8; 32]]);
        let bytes = sample(5, b"body", true, &extra);
        let frame = read(&bytes).unwrap();
        assert_eq!((frame.header.seq, frame.header.label, frame.body), (5, 35, b"body".as_slice()));
        assert_eq!(frame.trailer, Some(Trailer { updated: -5, messages: 9, synced: 1 << 40 }));
        let fields: Vec<_> = frame.fields().collect();
        assert_eq!(fields, [(WORDS, b"words".as_slice()), (KEY, [8; 32].as_slice())]);
        assert_eq!(frame.length, bytes.len());
        assert_eq!(read(&[0; 200]).unwrap_err(), NoFrame::Empty);
    }

    #[test]
    fn a_field_that_is_added_is_as_one_that_was_written_with_the_others() {
        for last in [true, false] {
            for words in [None, Some(b"words")] {
                let (mut before, mut extra) = (b"bytes before it".to_vec(), Vec::new());
                words.iter().for_each(|words| write_field(&mut extra, WORDS, &[*words]));
                let start = before.len();
                before.extend(sample(5, b"body", last, &extra));
                let added = added_by_field(before[start + 6], 20);
                write_field(&mut extra, ROOT, &[&[9; 20]]);
                let length = before.len();
                add_field(&mut before, start, ROOT, &[9; 20]);
                assert_eq!(before.len(), length + added);
                assert!(before[start..] == sample(5, b"body", last, &extra));
            }
        }
    }

    #[test]
    fn a_record_without_a_number_is_no_frame() {
        let numbered =
            |seq: u64| matches!(read(&sample(seq, b"body", true, &[])), Ok(frame) if frame.header.seq == seq);
        assert!(numbered(1) && numbered(9) && numbered(SEQ_BOUND - 1));
        assert!(!numbered(0) && !numbered(SEQ_BOUND) && !numbered(u64::MAX));
    }

    #[test]
    fn a_filler_is_its_header_and_zeros() {
        for length in [HEADER, HEADER + 1, 4096, (1 << 16) + HEADER, 300_000] {
            let mut bytes = filler(length).to_vec();
            bytes.resize(length, 0);
            let frame = read(&bytes).unwrap();
            assert_eq!((frame.header.kind, frame.length, frame.body.len()), (FILLER, length, length - HEADER));
        }
    }

    #[test]
    fn a_moment_that_the_label_tells_is_not_written_again() {
        let header = FrameHeader {
            kind: Kind::APPENDED,
            flags: 0,
            session: SessionId::from_bytes([3; 16]),
            seq: 1,
            label: 1_763_690_000_000 << 16 | 0xabcd,
            commit: CommitHash::ZERO,
        };
        let length = |updated| {
            let (mut bytes, trailer) = (Vec::new(), Trailer { updated, messages: 1, synced: 2 });
            write(&mut bytes, &header, b"body", Some(trailer), &[]);
            assert_eq!(read(&bytes).unwrap().trailer, Some(trailer));
            bytes.len()
        };
        assert_eq!(length(1_763_690_000_000) + TIME, length(1_763_690_000_001));
        assert_eq!(length(-1), length(0));
    }

    #[test]
    fn a_frame_of_a_later_format_is_told_apart() {
        let mut bytes = sample(1, b"x", true, &[]);
        bytes[4] = 2;
        let crc = checksum(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read(&bytes).unwrap_err(), NoFrame::Newer(2));
        let log = [sample(1, b"ours", true, &[]), vec![7; 9], bytes, sample(2, b"behind", true, &[])].concat();
        let found: Vec<Found<'_>> = Scan::new(&log, 0).collect();
        assert!(matches!(found.as_slice(), [Found::Frame(..), Found::Damage(..), Found::Newer(2)]), "{found:?}");
    }

    /// Every bit of a log of 200 records: a flipped one never reads as data, and never hides another frame.
    #[test]
    fn persistence_every_flipped_bit_of_a_log_is_noticed() {
        let frames: Vec<Vec<u8>> = (1..=200).map(|seq| sample(seq, &seq.to_le_bytes(), seq % 3 != 0, &[])).collect();
        let mut log: Vec<u8> = frames.concat();
        let whole: Vec<(usize, u64)> = seqs(&log);
        assert_eq!(whole.len(), 200);
        let mut start = 0;
        for (at, frame) in frames.iter().enumerate() {
            for bit in 0..frame.len() * 8 {
                log[start + bit / 8] ^= 1 << (bit % 8);
                // Frames before are untouched; look from the damaged one on, over the two behind it.
                let end = (start + 3 * frame.len() + 64).min(log.len());
                let seen = seqs(&log[start..end]);
                assert!(seen.iter().all(|(_, seq)| *seq != at as u64 + 1), "bit {bit} of record {}", at + 1);
                if at + 1 < frames.len() {
                    assert_eq!(seen.first(), Some(&(frame.len(), at as u64 + 2)), "bit {bit} of record {}", at + 1);
                }
                log[start + bit / 8] ^= 1 << (bit % 8);
            }
            start += frame.len();
        }
        assert_eq!(seqs(&log), whole);
    }

    fn seqs(log: &[u8]) -> Vec<(usize, u64)> {
        Scan::new(log, 0)
            .filter_map(|found| match found {
                Found::Frame(at, frame) => Some((at, frame.header.seq)),
                Found::Damage(..) | Found::Newer(_) => None,
            })
            .collect()
    }

    #[test]
    fn a_cut_log_ends_in_damage_and_a_padded_one_in_silence() {
        let mut log = [sample(1, b"one", true, &[]), sample(2, b"two", true, &[])].concat();
        let end = log.len();
        log.extend_from_slice(&[0; 500]);
        let mut scan = Scan::new(&log, 0);
        assert_eq!(scan.by_ref().count(), 2);
        assert_eq!(scan.position(), end);
        for cut in 1..end / 2 {
            let found: Vec<_> = Scan::new(&log[..end - cut], 0).collect();
            assert!(matches!(found.last(), Some(Found::Damage(_, to)) if *to <= end - cut));
        }
    }
}
