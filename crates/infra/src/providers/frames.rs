//! Server-sent events: bytes in, frames out, however the bytes are cut.
//!
//! The format is that of the HTML standard, "Server-sent events": lines end in LF, CR or CRLF, `data:` lines of one frame are joined by LF,
//! comments and unknown fields are passed over, and a blank line ends a frame. One thing is taken that the standard drops: a last frame
//! without its blank line, which some servers leave out.
//!
//! Must not know: what a frame says.

use sessions_ports::ModelError;

/// The most bytes of one frame.
pub const MOST_OF_FRAME: usize = 8 << 20;

const TOO_LARGE: ModelError =
    ModelError::TooLarge { what: "one event of it has more than 8 MiB", limit: MOST_OF_FRAME as u64 };

/// One event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its name, as the `event:` line says it; empty when there is none.
    pub event: String,
    /// Its data.
    pub data: String,
}

/// Puts frames together.
#[derive(Debug, Default)]
pub struct Frames {
    line: Vec<u8>,
    event: Vec<u8>,
    data: Vec<u8>,
    /// There was a `data:` line.
    has_data: bool,
    /// The last byte was a CR, with which an LF belongs together.
    is_behind_cr: bool,
    /// The first line is through.
    has_begun: bool,
}

impl Frames {
    /// Takes bytes from the front until a frame is whole or there are none left.
    ///
    /// # Errors
    /// [`ModelError::TooLarge`] above [`MOST_OF_FRAME`]; [`ModelError::Broken`] for what is no UTF-8.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, ModelError> {
        while let Some((first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.is_behind_cr) && *first == b'\n' {
                *bytes = rest;
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (piece, behind) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + self.data.len() + piece.len() > MOST_OF_FRAME {
                return Err(TOO_LARGE);
            }
            self.line.extend(piece);
            *bytes = behind;
            if let Some((ending, rest)) = behind.split_first() {
                self.is_behind_cr = *ending == b'\r';
                *bytes = rest;
                if let Some(frame) = self.line_ended()? {
                    return Ok(Some(frame));
                }
            }
        }
        Ok(None)
    }

    /// What is left when no more bytes come.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn end(&mut self) -> Result<Option<Frame>, ModelError> {
        if !self.line.is_empty()
            && let Some(frame) = self.line_ended()?
        {
            return Ok(Some(frame));
        }
        self.frame()
    }

    fn line_ended(&mut self) -> Result<Option<Frame>, ModelError> {
        let line = std::mem::take(&mut self.line);
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let line = if is_first { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line) } else { &line };
        if line.is_empty() {
            return self.frame();
        }
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(at);
        let value = value.strip_prefix(b":").unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend(value);
            }
            b"event" => self.event = value.to_vec(),
            _ => {}
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<Option<Frame>, ModelError> {
        let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        if !std::mem::take(&mut self.has_data) {
            return Ok(None);
        }
        let text = |bytes| String::from_utf8(bytes).map_err(|_| ModelError::Broken { what: "it is no UTF-8" });
        Ok(Some(Frame { event: text(event)?, data: text(data)? }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All frames, from bytes that come in pieces of these sizes; and the error that ended it.
    fn frames(bytes: &[u8], sizes: &[usize]) -> (Vec<(String, String)>, Option<ModelError>) {
        let (mut frames, mut found, mut left) = (Frames::default(), Vec::new(), bytes);
        let mut sizes = sizes.iter().copied().cycle();
        while !left.is_empty() {
            let (mut piece, rest) = left.split_at(sizes.next().unwrap_or(left.len()).clamp(1, left.len()));
            left = rest;
            loop {
                match frames.next(&mut piece) {
                    Ok(Some(frame)) => found.push((frame.event, frame.data)),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                }
            }
        }
        match frames.end() {
            Ok(last) => found.extend(last.map(|frame| (frame.event, frame.data))),
            Err(error) => return (found, Some(error)),
        }
        (found, None)
    }

    #[test]
    fn frames_are_read_as_the_standard_says() {
        for (text, expected) in [
            ("data: a\n\n", vec![("", "a")]),
            ("data:a\r\n\r\ndata:b\r\rdata: c\n\n", vec![("", "a"), ("", "b"), ("", "c")]),
            ("event: e\ndata: a\ndata: b\n\n", vec![("e", "a\nb")]),
            ("event: e\r\ndata: a\r\ndata: b\r\n\r\n", vec![("e", "a\nb")]),
            ("data: a\rdata: b\r\r", vec![("", "a\nb")]),
            (": a comment\n\ndata:  two\nid: 1\nretry: 5\nwhat\n\n", vec![("", " two")]),
            ("event: lost\n\ndata: a\n\n", vec![("", "a")]),
            ("data\n\ndata: \n\n", vec![("", ""), ("", "")]),
            ("\u{feff}data: a\n\n", vec![("", "a")]),
            ("data: a\n\ndata: no blank line", vec![("", "a"), ("", "no blank line")]),
            ("data: a:b\n\n", vec![("", "a:b")]),
            ("<html>\n<body>\n", vec![]),
        ] {
            for size in [1, 2, 3, 4096] {
                let (found, error) = frames(text.as_bytes(), &[size]);
                let found: Vec<(&str, &str)> = found.iter().map(|(event, data)| (&**event, &**data)).collect();
                assert_eq!((found, error), (expected.clone(), None), "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn a_frame_is_bounded_and_has_to_be_utf_8() {
        let long = [b"data: ".to_vec(), vec![b'a'; MOST_OF_FRAME]].concat();
        assert_eq!(frames(&long, &[65_536]).1, Some(TOO_LARGE));
        let lines = b"data: aaaaaaaaa\n".repeat(MOST_OF_FRAME / 10 + 1);
        assert_eq!(frames(&lines, &[65_536]).1, Some(TOO_LARGE));
        assert!(matches!(frames(b"data: \xff\n\n", &[1]).1, Some(ModelError::Broken { .. })));
        let cut = "data: \u{1F980}é\n\n".as_bytes();
        assert_eq!(frames(cut, &[1]).0, [(String::new(), "\u{1F980}é".to_owned())]);
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_frames_are_the_same(
            pieces in prop::collection::vec(prop_oneof![
                Just(b"data: ".to_vec()), Just(b"data:".to_vec()), Just(b"event: e".to_vec()), Just(b"\n".to_vec()), Just(b"\r\n".to_vec()),
                Just(b"\r".to_vec()), Just(b":".to_vec()), Just("é\u{1F980}".as_bytes().to_vec()), Just(b"\xff".to_vec()),
                prop::collection::vec(any::<u8>(), 0..6),
            ], 0..60),
            sizes in prop::collection::vec(1_usize..20, 1..10),
        ) {
            let bytes = pieces.concat();
            prop_assert_eq!(frames(&bytes, &sizes), frames(&bytes, &[usize::MAX]));
        }
    }
}
