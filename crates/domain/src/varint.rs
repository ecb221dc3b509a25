//! A number in as few bytes as it needs: LEB128, as in DWARF, seven bits a byte, least significant first.
//!
//! Must not know: what is counted.

/// Writes a number behind what is there.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number from the front; `None` when it does not end within what is there, or within ten bytes.
pub fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_was_written() {
        let cases: [(u64, &[u8]); 6] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (624_485, &[0xe5, 0x8e, 0x26]),
            (1 << 63, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (value, bytes) in cases {
            let mut written = Vec::new();
            put(&mut written, value);
            assert_eq!(written, bytes);
            written.push(9);
            let mut rest = written.as_slice();
            assert_eq!((take(&mut rest), rest), (Some(value), &[9_u8][..]));
        }
    }

    #[test]
    fn what_does_not_end_is_no_number() {
        for length in 0..12 {
            assert_eq!(take(&mut vec![0x80; length].as_slice()), None);
        }
    }
}
