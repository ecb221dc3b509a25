//! What stands in the log for a frame that is lost: another record in its place, or what was said with it and goes along in another frame.
//!
//! Must not know: how the log is read, or what was damaged.

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{Digest, Link};

use super::{
    frame::{self, BEGINNING, FIRST, Frame, KEY, LINK, WORDS},
    ledger::Ledger,
    locator::Locator,
    log_state::{LogState, Place},
    replay::inherited,
};

/// What the first frame of a log says beside its record, and since then words of the row. It goes along with what that record is rewritten as,
/// because nobody needs that frame for its record any more, and nobody tells of damage to it in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BesideFirst {
    /// When the log began.
    pub(crate) created: i64,
    pub(crate) key: Option<Digest>,
    pub(crate) links: Vec<Link>,
    /// `None`: newer ones than those that are known may be on their way.
    pub(crate) words: Option<Bytes>,
}

impl BesideFirst {
    /// As the field of a frame holds it.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut field = self.created.to_le_bytes().to_vec();
        field.push(u8::from(self.key.is_some()));
        field.extend(self.key.iter().flatten());
        field.extend(u32::try_from(self.links.len()).unwrap_or(u32::MAX).to_le_bytes());
        for Link { owner, last } in &self.links {
            field.extend(owner.to_bytes());
            field.extend(last.to_le_bytes());
        }
        field.extend(self.words.iter().flatten());
        field
    }

    /// What a frame carries; `None`: nothing, or nothing that can be read.
    pub(crate) fn of(frame: &Frame<'_>) -> Option<Self> {
        let (_, field) = frame.fields().find(|(tag, _)| *tag == BEGINNING)?;
        let (created, rest) = field.split_first_chunk()?;
        let (key, rest) = match rest.split_first()? {
            (0, rest) => (None, rest),
            (_, rest) => rest.split_first_chunk().map(|(key, rest)| (Some(*key), rest))?,
        };
        let (count, rest) = rest.split_first_chunk()?;
        let bytes = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(24)?;
        let (links, words) = rest.split_at_checked(bytes)?;
        let links = links.chunks_exact(24).map(frame::link).collect::<Option<Vec<Link>>>()?;
        let words = (!words.is_empty()).then(|| Bytes::copy_from_slice(words));
        Some(Self { created: i64::from_le_bytes(*created), key, links, words })
    }

    /// Takes it for what the log says of a session whose first frame was not met.
    pub(super) fn stand_in(self, ledger: &mut Ledger, session: SessionId) {
        let Some(log) = ledger.sessions.get_mut(&session) else { return };
        log.row.created = self.created;
        log.links = self.links;
        if self.words.is_some() {
            log.synced_words.clone_from(&self.words);
            log.words = self.words;
        }
        called(log, self.key);
        ledger.keys.extend(self.key.map(|digest| (digest, session)));
    }

    /// Whom the log inherited from no more when this was carried, it does not inherit from, also where what said so first is lost.
    pub(super) fn let_go(&self, ledger: &mut Ledger, session: SessionId) {
        let Some(log) = ledger.sessions.get_mut(&session) else { return };
        let before = log.links.len();
        log.links.retain(|link| self.links.iter().any(|carried| carried.owner == link.owner));
        if log.links.len() < before {
            ledger.rewrites.unlinked.insert(session);
        }
    }
}

fn called(log: &mut LogState, key: Option<Digest>) {
    log.new_key = key.or(log.new_key);
    log.key = log.new_key.map(Box::new);
}

/// A repair knew from the index how a log began of which that is lost.
pub(super) fn recalled(ledger: &mut Ledger, frame: &Frame<'_>) {
    let session = frame.header.session;
    let Some(log) = ledger.sessions.get_mut(&session) else { return };
    let Some(beside) = BesideFirst::of(frame) else { return };
    if beside.created != 0 {
        log.row.created = beside.created;
    }
    if log.links.is_empty() {
        log.links = beside.links;
    }
    called(log, beside.key);
    ledger.keys.extend(beside.key.map(|digest| (digest, session)));
}

/// A record takes the place of one before it in the log that was lost.
pub(super) fn stand_in(ledger: &mut Ledger, frame: &Frame<'_>, locator: Locator) {
    let header = frame.header;
    ledger.mark(header.session);
    recalled(ledger, frame);
    let begins = header.flags & FIRST != 0;
    let Some(log) = ledger.sessions.get_mut(&header.session) else { return };
    if let Some(place) = log.recent_mut(header.seq) {
        *place = Place::Disk(locator);
    }
    ledger.rewrites.stand_in(header.session, header.seq, locator);
    if header.seq == log.row.version {
        log.row.commit = header.commit;
    }
    for (tag, field) in frame.fields() {
        match tag {
            // What stands for an older record does not know of newer words.
            WORDS if log.words.is_none() || header.seq == log.row.version => {
                log.words = Some(Bytes::copy_from_slice(field));
                log.synced_words.clone_from(&log.words);
            }
            KEY => {
                let digest: Option<Digest> = field.try_into().ok();
                called(log, digest);
                ledger.keys.extend(digest.map(|digest| (digest, header.session)));
            }
            LINK if begins && log.links.is_empty() => log.links = inherited(frame),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sessions_domain::{CommitHash, Kind};

    use super::*;
    use crate::sled::frame::{FrameHeader, REWRITTEN, Trailer};

    #[test]
    fn what_a_frame_carries_is_read_as_it_was_written_and_cut_short_is_nothing() {
        let session = SessionId::from_bytes([3; 16]);
        let links =
            vec![Link { owner: SessionId::from_bytes([4; 16]), last: 7 }, Link { owner: session, last: u64::MAX }];
        let words = Some(Bytes::from_static(b"words"));
        let all = BesideFirst { created: -5, key: Some([9; 32]), links, words };
        let header =
            FrameHeader { kind: Kind::CREATED, flags: REWRITTEN, session, seq: 1, label: 0, commit: CommitHash::ZERO };
        let read = |field: &[u8]| {
            let (mut bytes, mut extra) = (Vec::new(), Vec::new());
            frame::write_field(&mut extra, BEGINNING, &[field]);
            frame::write(&mut bytes, &header, &[], Some(Trailer::default()), &extra);
            BesideFirst::of(&frame::read(&bytes).unwrap())
        };
        for one in [all.clone(), BesideFirst { key: None, words: None, ..all.clone() }, BesideFirst::default()] {
            assert_eq!(read(&one.encoded()), Some(one));
        }
        // To the byte, as docs/format.md has it.
        let links = [[4; 16].as_slice(), &[7, 0, 0, 0, 0, 0, 0, 0], &[3; 16], &[0xff; 8]].concat();
        let expected = [[0xfb].as_slice(), &[0xff; 7], &[1], &[9; 32], &[2, 0, 0, 0], &links, b"words"].concat();
        assert_eq!(all.encoded(), expected);
        let whole = BesideFirst { words: None, ..all }.encoded();
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
    }
}
