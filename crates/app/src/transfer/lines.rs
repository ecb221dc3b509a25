//! A file as numbered lines, each in bounded memory, with the digest of all its bytes.
//!
//! Must not know: what a line says.

use std::io::{self, BufRead};

use ring::digest::{Context, SHA256};
use sessions_domain::chain::to_hex;

/// The longest line that is read. A longer one is passed over and reported; its bytes are not kept.
pub const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// One line.
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// What it holds.
    pub(super) content: Content,
    /// True when a line break ends it; false for the end of the file.
    pub(super) ended: bool,
}

/// What a line holds.
pub(super) enum Content {
    /// Its bytes without the line break.
    Bytes(Vec<u8>),
    /// It is longer than the limit.
    TooLong {
        /// Its length.
        bytes: u64,
    },
}

/// Reads lines.
pub(super) struct Lines<R> {
    reader: R,
    digest: Context,
    number: u64,
    limit: usize,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self { reader, digest: Context::new(&SHA256), number: 0, limit }
    }

    /// The next line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut kept = Vec::new();
        let mut length = 0_u64;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let at = buffer.iter().position(|byte| *byte == b'\n');
            let (piece, used) = match at {
                Some(at) => (buffer.get(..at).unwrap_or_default(), at + 1),
                None => (buffer, buffer.len()),
            };
            if used == 0 && length == 0 {
                return Ok(None);
            }
            length += piece.len() as u64;
            if length <= self.limit as u64 {
                kept.extend_from_slice(piece);
            } else {
                kept = Vec::new();
            }
            self.digest.update(buffer.get(..used).unwrap_or_default());
            self.reader.consume(used);
            if at.is_some() || used == 0 {
                self.number += 1;
                let fits = length <= self.limit as u64;
                let content = if fits { Content::Bytes(kept) } else { Content::TooLong { bytes: length } };
                return Ok(Some(Line { number: self.number, content, ended: at.is_some() }));
            }
        }
    }

    /// SHA-256 of all that was read, in hexadecimal.
    pub(super) fn digest(self) -> String {
        to_hex(self.digest.finish().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = (u64, Result<Vec<u8>, u64>, bool);

    fn read(bytes: &[u8], limit: usize) -> (Vec<Seen>, String) {
        let mut lines = Lines::new(io::BufReader::with_capacity(3, bytes), limit);
        let mut out = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let content = match line.content {
                Content::Bytes(bytes) => Ok(bytes),
                Content::TooLong { bytes } => Err(bytes),
            };
            out.push((line.number, content, line.ended));
        }
        (out, lines.digest())
    }

    #[test]
    fn lines_are_numbered_bounded_and_digested() {
        let text = b"ab\n\nlonger than ten\r\n0123456789\nend";
        let (lines, digest) = read(text, 10);
        let expected = [
            (1, Ok(b"ab".to_vec()), true),
            (2, Ok(Vec::new()), true),
            (3, Err(16), true),
            (4, Ok(b"0123456789".to_vec()), true),
            (5, Ok(b"end".to_vec()), false),
        ];
        assert_eq!(lines, expected);
        assert_eq!(digest, to_hex(&sessions_domain::chain::sha256(text)));
        assert_eq!(read(b"", 10).0, []);
        assert_eq!(read(b"\n", 10).0, [(1, Ok(Vec::new()), true)]);
    }
}
