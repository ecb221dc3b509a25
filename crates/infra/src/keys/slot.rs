//! The bytes of one slot: two halves, of which one holds the slot and the other is zeros.
//!
//! A slot is changed by writing the other half and then laying zeros over this one, so at every moment one of them is whole. A half:
//!
//! ```text
//! 0  1  format (1)     8    8  how often the slot was written, from 1     252  4  CRC-32C of the slot's number (8) and bytes 0 to 252
//! 1  1  length        16  224  the slot's bytes, then zeros
//! ```
//!
//! The number is in the checksum, so a slot that lies in another's place is damage. A half of zeros alone is empty.
//!
//! Must not know: what is in a slot, or which file it lies in.

use sessions_ports::{KeyError, MAX_SLOT, Slot};

/// Bytes of a half.
pub(super) const HALF: usize = 256;
/// Bytes of a slot.
pub(super) const SLOT: usize = 2 * HALF;
/// The version of this format.
const FORMAT: u8 = 1;
const BYTES: usize = 16;
const CHECKSUM: usize = HALF - 4;

/// One of the two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    First,
    Second,
}

impl Side {
    /// The one that is written next.
    pub(super) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Where it begins within its slot.
    pub(super) fn offset(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Second => HALF as u64,
        }
    }
}

/// What a half holds.
#[derive(Debug, PartialEq, Eq)]
enum Half<'a> {
    Empty,
    Whole { writes: u64, bytes: &'a [u8] },
    Damaged,
    Newer(u8),
}

/// What a slot holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<B> {
    /// Its bytes; none when it was never written.
    pub(super) bytes: B,
    /// How often it was written.
    pub(super) writes: u64,
    /// The half that holds it.
    pub(super) side: Option<Side>,
    /// Whether something lies in the other half that a change left when it was broken off.
    pub(super) has_leftover: bool,
}

impl Found<&[u8]> {
    /// The same, to be kept.
    pub(super) fn copied(self) -> Found<Slot> {
        let Self { bytes, writes, side, has_leftover } = self;
        Found { bytes: Slot::copy_from_slice(bytes), writes, side, has_leftover }
    }
}

fn checksum(number: u64, half: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), half)
}

/// A half that holds these bytes, which are at most [`MAX_SLOT`].
pub(super) fn encode(number: u64, writes: u64, bytes: &[u8]) -> Vec<u8> {
    let mut half = Vec::with_capacity(HALF);
    half.extend([FORMAT, u8::try_from(bytes.len()).unwrap_or(u8::MAX), 0, 0, 0, 0, 0, 0]);
    half.extend(writes.to_le_bytes());
    half.extend(bytes);
    half.resize(CHECKSUM, 0);
    half.extend(checksum(number, &half).to_le_bytes());
    half
}

/// Whether a half is zeros. Compared as a whole, since there are as many halves as sessions twice, and nearly all of these are.
pub(super) fn is_empty(half: &[u8]) -> bool {
    const ZEROS: [u8; HALF] = [0; HALF];
    half == ZEROS.get(..half.len()).unwrap_or_default()
}

fn decode(number: u64, half: &[u8]) -> Half<'_> {
    if is_empty(half) {
        return Half::Empty;
    }
    whole(number, half).unwrap_or(Half::Damaged)
}

fn whole(number: u64, half: &[u8]) -> Option<Half<'_>> {
    let (covered, stored) = half.split_at_checked(CHECKSUM)?;
    if stored != checksum(number, covered).to_le_bytes() {
        return None;
    }
    let [format, length, ..] = covered else { return None };
    if *format != FORMAT {
        return Some(Half::Newer(*format));
    }
    let writes = u64::from_le_bytes(covered.get(8..BYTES)?.try_into().ok()?);
    let length = usize::from(*length);
    let bytes = covered.get(BYTES..BYTES + length).filter(|_| length <= MAX_SLOT)?;
    Some(Half::Whole { writes, bytes })
}

/// What lies in a slot's place.
pub(super) fn look<'a>(number: u64, slot: &'a [u8]) -> Result<Found<&'a [u8]>, KeyError> {
    const DAMAGED: KeyError = KeyError::Damaged { what: "a session's slot is not as it was written" };
    let (first, second) = slot.split_at_checked(HALF).ok_or(DAMAGED)?;
    let found = |writes, bytes: &'a [u8], side, has_leftover| Ok(Found { bytes, writes, side, has_leftover });
    match (decode(number, first), decode(number, second)) {
        (Half::Newer(format), _) | (_, Half::Newer(format)) => {
            Err(KeyError::Newer { found: format!("a slot of format {format}") })
        }
        (Half::Empty, Half::Empty) => found(0, &[], None, false),
        (Half::Whole { writes, bytes }, Half::Whole { writes: other, .. }) if writes > other => {
            found(writes, bytes, Some(Side::First), true)
        }
        (Half::Whole { writes: other, .. }, Half::Whole { writes, bytes }) if writes > other => {
            found(writes, bytes, Some(Side::Second), true)
        }
        (Half::Whole { .. }, Half::Whole { .. }) => Err(DAMAGED),
        (Half::Whole { writes, bytes }, other) => found(writes, bytes, Some(Side::First), other == Half::Damaged),
        (other, Half::Whole { writes, bytes }) => found(writes, bytes, Some(Side::Second), other == Half::Damaged),
        (Half::Empty | Half::Damaged, Half::Empty | Half::Damaged) => Err(DAMAGED),
    }
}

/// How often a slot was written at most, whatever became of it.
pub(super) fn writes_at_most(number: u64, slot: &[u8]) -> u64 {
    let writes = |half| match decode(number, half) {
        Half::Whole { writes, .. } => writes,
        Half::Empty | Half::Damaged | Half::Newer(_) => 0,
    };
    slot.chunks(HALF).map(writes).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(first: Vec<u8>, second: Vec<u8>) -> Vec<u8> {
        [first, second].concat()
    }

    #[test]
    fn a_half_holds_what_it_was_given_and_no_bit_of_it_can_change() {
        for length in [0, 1, MAX_SLOT] {
            let bytes = vec![0xA5; length];
            let whole = slot(encode(7, 3, &bytes), vec![0; HALF]);
            let found = look(7, &whole).unwrap();
            let expected = Found { bytes: bytes.as_slice(), writes: 3, side: Some(Side::First), has_leftover: false };
            assert_eq!(found, expected);
            assert!(look(8, &whole).is_err(), "a slot that lies in another's place is damage");
            for bit in 0..HALF * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(look(7, &flipped), Err(KeyError::Damaged { .. })), "bit {bit}");
            }
        }
    }

    #[test]
    fn of_two_halves_the_newer_whole_one_counts() {
        let (old, new) = (encode(7, 3, b"old"), encode(7, 4, b"new"));
        let of = |first: &Vec<u8>, second: &Vec<u8>| look(7, &slot(first.clone(), second.clone())).map(Found::copied);
        let (zeros, mut torn) = (vec![0; HALF], new.clone());
        torn[40..].fill(0);
        for (first, second, bytes, has_leftover) in [
            (&old, &zeros, "old", false),
            (&zeros, &new, "new", false),
            (&old, &new, "new", true),
            (&new, &old, "new", true),
            (&old, &torn, "old", true),
            (&torn, &old, "old", true),
        ] {
            let found = of(first, second).unwrap();
            assert_eq!((found.bytes.as_ref(), found.has_leftover), (bytes.as_bytes(), has_leftover));
        }
        assert_eq!(of(&zeros, &zeros).unwrap().side, None);
        assert!(of(&torn, &zeros).is_err() && of(&torn, &torn).is_err() && of(&old, &old).is_err());
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut newer = encode(7, 3, b"old");
        newer[0] = 2;
        let damaged = slot(newer.clone(), vec![0; HALF]);
        assert!(matches!(look(7, &damaged), Err(KeyError::Damaged { .. })));
        let checksum = checksum(7, &newer[..CHECKSUM]).to_le_bytes();
        newer[CHECKSUM..].copy_from_slice(&checksum);
        assert!(matches!(look(7, &slot(newer, vec![0; HALF])), Err(KeyError::Newer { .. })));
    }
}
