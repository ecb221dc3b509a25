//! Counts of short pieces of text, remembered to the byte: most of a text is made of few different words.
//!
//! A piece of up to seven bytes, its length and its count are one number of 64 bits, so a place is read and written whole, by any number of
//! threads and without a lock. Whoever comes later to a taken place takes it over; a piece that is not found is counted again.
//!
//! Must not know: how pieces are made or counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the longest piece that is remembered.
const LONGEST: usize = 7;
/// The count begins behind seven bytes and three bits of their length.
const COUNT_AT: u32 = 59;
/// Places, as a power of two: 128 KiB.
const PLACES: u32 = 14;

/// Remembers counts of pieces.
#[derive(Debug)]
pub(super) struct Memo {
    places: Vec<AtomicU64>,
}

impl Memo {
    pub(super) fn new() -> Self {
        Self { places: (0..1 << PLACES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The count of this piece, which `count` makes where it is not remembered.
    pub(super) fn count(&self, piece: &[u8], count: impl FnOnce(&[u8]) -> u64) -> u64 {
        let place = key_of(piece).and_then(|key| Some((key, self.places.get(place_of(key))?)));
        let Some((key, place)) = place else { return count(piece) };
        let held = place.load(Ordering::Relaxed);
        if held & ((1 << COUNT_AT) - 1) == key {
            return held >> COUNT_AT;
        }
        let counted = count(piece);
        if counted < 1 << (u64::BITS - COUNT_AT) {
            place.store(key | counted << COUNT_AT, Ordering::Relaxed);
        }
        counted
    }
}

/// The piece and its length as a number, which is never 0; `None` for pieces that are not remembered.
fn key_of(piece: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes.get_mut(..LONGEST)?.get_mut(..piece.len())?.copy_from_slice(piece);
    (!piece.is_empty()).then(|| u64::from_le_bytes(bytes) | (piece.len() as u64) << (8 * LONGEST))
}

/// Where a key has its place: the upper bits of a product with the golden ratio, in which all its bits have a part.
fn place_of(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - PLACES)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count that tells pieces apart, also those whose bytes are zeros.
    fn counted(piece: &[u8]) -> u64 {
        piece.iter().fold(piece.len() as u64, |sum, byte| sum * 31 + u64::from(*byte)) % 40
    }

    #[test]
    fn a_piece_has_the_count_of_no_other_though_places_are_shared() {
        let memo = Memo::new();
        let pieces: Vec<Vec<u8>> = (0..=u16::MAX)
            .flat_map(|n| {
                [n.to_le_bytes().to_vec(), [b"0123".as_slice(), &n.to_be_bytes()].concat(), vec![0; n as usize % 12]]
            })
            .collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for piece in pieces.iter().chain(&pieces) {
                        assert_eq!(memo.count(piece, counted), counted(piece), "{piece:?}");
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_remembered_is_not_counted_again() {
        let memo = Memo::new();
        let never = |_: &[u8]| -> u64 { panic!("it is remembered") };
        for piece in [b" the".as_slice(), b"\0", b"\0\0", b"sevenby"] {
            assert_eq!(memo.count(piece, |_| 31), 31);
            assert_eq!(memo.count(piece, never), 31);
        }
        // Not the empty one, none that is too long, and no count that has no room.
        for (piece, first) in [(b"".as_slice(), 3), (b"eight by", 3), (b"many", 32)] {
            assert_eq!(memo.count(piece, |_| first), first);
            assert_eq!(memo.count(piece, |_| 4), 4);
        }
    }
}
