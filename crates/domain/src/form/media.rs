//! Files that providers take as such: which, and what of them is said in a request.
//!
//! Must not know: where in a message a file stands.

use super::Form;
use crate::message::FileRef;

/// The pictures that both providers take.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The largest picture of Anthropic, in bytes of base64.
const ANTHROPIC_PICTURE: usize = 5 * 1024 * 1024;

/// The largest picture of OpenAI, in bytes of base64.
const OPENAI_PICTURE: usize = 20 * 1000 * 1000;

/// The longest side of a picture of Anthropic, in pixels.
const ANTHROPIC_SIDE: u32 = 8000;

/// As much of a picture as is looked into for its size, in bytes.
const HEAD: usize = 64 * 1024;

/// The largest document, in bytes of base64.
const DOCUMENT: usize = 24 * 1024 * 1024;

/// A file as a request says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media<'a> {
    /// A picture at an address.
    PictureAt(&'a str),
    /// A picture's media type and base64.
    Picture(&'a str, &'a str),
    /// A PDF at an address.
    DocumentAt(&'a str),
    /// A PDF's base64.
    Document(&'a str),
    /// Audio: `wav` or `mp3`, and base64.
    Audio(&'static str, &'a str),
}

impl Media<'_> {
    pub(super) fn is_picture(self) -> bool {
        matches!(self, Self::PictureAt(_) | Self::Picture(..))
    }

    /// The longer side of a picture in pixels, where its bytes tell.
    pub(super) fn longest_side(self) -> Option<u32> {
        if let Self::Picture(kind, data) = self { longest_side(kind, data) } else { None }
    }

    /// Bytes of base64 that it carries.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Picture(_, data) | Self::Document(data) | Self::Audio(_, data) => data.len(),
            Self::PictureAt(_) | Self::DocumentAt(_) => 0,
        }
    }
}

/// What a form takes of a file; `None`: it does not take it.
pub(super) fn media(file: &FileRef, form: Form) -> Option<Media<'_>> {
    let url = file.url.as_deref()?;
    let (kind, data) = match data_of(url) {
        Some((kind, data)) => (kind, Some(data)),
        None => (file.media_type.as_str(), None),
    };
    let is_address = is_https(url);
    let known = PICTURES.contains(&kind);
    let largest = if form == Form::Anthropic { ANTHROPIC_PICTURE } else { OPENAI_PICTURE };
    match (kind, data) {
        (_, Some(data)) if known => {
            let is_long = form == Form::Anthropic && longest_side(kind, data).is_some_and(|side| side > ANTHROPIC_SIDE);
            let fits = data.len() <= largest && found(data) == Some(kind) && !is_long;
            fits.then_some(Media::Picture(kind, data))
        }
        (_, None) if known => is_address.then_some(Media::PictureAt(url)),
        ("application/pdf", Some(data)) => (data.len() <= DOCUMENT).then_some(Media::Document(data)),
        ("application/pdf", None) => (is_address && form == Form::Anthropic).then_some(Media::DocumentAt(url)),
        ("audio/wav" | "audio/x-wav" | "audio/wave", Some(data)) if form == Form::OpenAi => {
            Some(Media::Audio("wav", data))
        }
        ("audio/mpeg" | "audio/mp3", Some(data)) if form == Form::OpenAi => Some(Media::Audio("mp3", data)),
        _ => None,
    }
}

/// The file with the type that its bytes have, when it says another.
pub(super) fn corrected(file: &FileRef) -> Option<FileRef> {
    let (kind, data) = data_of(file.url.as_deref()?)?;
    let is = found(data).filter(|is| *is != kind && kind.starts_with("image/"))?;
    Some(FileRef { media_type: is.to_owned(), url: Some(format!("data:{is};base64,{data}")), ..file.clone() })
}

/// Types of text that do not begin with `text/`.
const TEXTS: [&str; 6] = [
    "application/json",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/javascript",
];

/// What a file says that is text and lies in its own address; `None` for every other.
pub(super) fn text_of(file: &FileRef) -> Option<String> {
    let (head, data) = file.url.as_deref()?.strip_prefix("data:")?.split_once(',')?;
    let kind = head.split(';').next().unwrap_or_default().to_ascii_lowercase();
    if !kind.starts_with("text/") && !TEXTS.contains(&kind.as_str()) {
        return None;
    }
    let bytes = match head.ends_with(";base64") {
        true => is_base64(data).then(|| decoded(data, usize::MAX))?,
        false => without_percents(data)?,
    };
    String::from_utf8(bytes).ok()
}

/// The bytes of a text in which some are written as `%20`.
fn without_percents(data: &str) -> Option<Vec<u8>> {
    let mut pieces = data.split('%');
    let mut out = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        out.push(u8::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))?);
        out.extend_from_slice(rest.as_bytes());
    }
    Some(out)
}

/// An address that a provider can fetch from.
pub(super) fn is_https(url: &str) -> bool {
    let host = url.strip_prefix("https://");
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) && !url.contains(|c: char| c.is_whitespace())
}

/// The media type and the base64 of a `data:` address.
pub(super) fn data_of(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let kind = head.strip_suffix(";base64")?;
    let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind);
    is_base64(data).then_some((kind, data))
}

fn is_base64(data: &str) -> bool {
    let bare = data.strip_suffix("==").or_else(|| data.strip_suffix('=')).unwrap_or(data);
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    !bare.is_empty() && data.len().is_multiple_of(4) && bare.bytes().all(known)
}

/// The picture's type, as its first bytes tell.
fn found(data: &str) -> Option<&'static str> {
    let head = decoded(data, 12);
    let [png, jpeg, gif, webp] = PICTURES;
    match head.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => Some(png),
        [0xff, 0xd8, 0xff, ..] => Some(jpeg),
        [b'G', b'I', b'F', b'8', ..] => Some(gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(webp),
        _ => None,
    }
}

/// The longer side of a picture in pixels, where its bytes tell (png, gif, jpeg).
fn longest_side(kind: &str, data: &str) -> Option<u32> {
    let sides = match kind {
        "image/png" => {
            let head = decoded(data, 24);
            [four(&head, 16)?, four(&head, 20)?]
        }
        "image/gif" => {
            let head = decoded(data, 10);
            [two(&head, 6)?.swap_bytes().into(), two(&head, 8)?.swap_bytes().into()]
        }
        "image/jpeg" => in_jpeg(&decoded(data, HEAD))?,
        _ => return None,
    };
    sides.into_iter().max()
}

/// The sides of a jpeg: they stand in the first segment that begins a frame.
fn in_jpeg(head: &[u8]) -> Option<[u32; 2]> {
    let mut at = 2_usize;
    loop {
        let mark = two(head, at)?;
        match mark {
            0xffc0..=0xffcf if !matches!(mark, 0xffc4 | 0xffc8 | 0xffcc) => {
                return Some([two(head, at + 5)?.into(), two(head, at + 7)?.into()]);
            }
            0xff00..=0xffff => at += 2 + usize::from(two(head, at + 2)?),
            _ => return None,
        }
    }
}

/// Two bytes as a number, the larger first.
fn two(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn four(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// The first bytes of base64.
pub(crate) fn decoded(data: &str, most: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in data.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
        if out.len() == most {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(media_type: &str, url: &str) -> FileRef {
        FileRef { media_type: media_type.into(), name: None, artifact: None, url: Some(url.into()) }
    }

    #[test]
    fn what_a_form_takes_is_told_from_what_it_does_not() {
        let png = "data:image/png;base64,iVBORw0KGgo=";
        let jpeg = "data:image/jpeg;base64,/9j/4AAQSkY=";
        let said_wrong = "data:image/png;base64,/9j/4AAQSkY=";
        let takes = |kind, url, form| media(&file(kind, url), form).is_some();
        for form in [Form::OpenAi, Form::Anthropic] {
            assert!(takes("image/png", png, form));
            assert!(takes("image/jpeg", jpeg, form));
            assert!(takes("image/webp", "https://example.org/a.webp", form));
            assert!(takes("application/pdf", "data:application/pdf;base64,JVBERg==", form));
            assert!(!takes("image/png", said_wrong, form));
            assert!(!takes("image/svg+xml", "https://example.org/a.svg", form));
            assert!(!takes("image/png", "http://example.org/a.png", form));
            assert!(!takes("image/png", "data:image/png;base64,*", form));
            assert!(!takes("text/csv", "https://example.org/a.csv", form));
        }
        assert!(takes("audio/mpeg", "data:audio/mpeg;base64,SUQz", Form::OpenAi));
        assert!(!takes("audio/mpeg", "data:audio/mpeg;base64,SUQz", Form::Anthropic));
        assert!(!takes("application/pdf", "https://example.org/a.pdf", Form::OpenAi));
        let right = corrected(&file("image/png", said_wrong)).unwrap();
        assert_eq!((right.media_type.as_str(), right.url.as_deref()), ("image/jpeg", Some(jpeg)));
        assert_eq!(corrected(&right), None);
    }

    #[test]
    fn a_file_of_text_says_it() {
        for (url, text) in [
            ("data:text/plain;base64,aGVsbG8=", Some("hello")),
            ("data:text/markdown;charset=utf-8;base64,w6k=", Some("é")),
            ("data:application/json,{\"a\":%20\"50%25\"}", Some("{\"a\": \"50%\"}")),
            ("data:text/plain,", Some("")),
            ("data:text/plain;base64,/w==", None),
            ("data:text/plain;base64,not base64", None),
            ("data:text/plain,100%", None),
            ("data:text/plain,%+1", None),
            ("data:text/plain,%é", None),
            ("data:application/octet-stream;base64,aGVsbG8=", None),
            ("https://example.org/a.txt", None),
        ] {
            assert_eq!(text_of(&file("text/plain", url)).as_deref(), text, "{url}");
        }
    }

    #[test]
    fn a_picture_tells_its_size() {
        let cases = [
            ("image/gif", "R0lGODlhQR8BAAAA", Some(8001)),
            ("image/png", "iVBORw0KGgoAAAANSUhEUgAAAAEAAB9BAAAA", Some(8001)),
            ("image/png", "iVBORw0KGgo=", None),
            // An empty comment before the frame.
            ("image/jpeg", "/9j//gAC/8AAEQgfQQAB", Some(8001)),
            ("image/jpeg", "/9j/4AAQSkY=", None),
            ("image/jpeg", "/9j/AAAA", None),
            ("image/webp", "UklGRgAAAABXRUJQ", None),
        ];
        for (kind, data, side) in cases {
            assert_eq!(longest_side(kind, data), side, "{data}");
        }
        let long = file("image/gif", "data:image/gif;base64,R0lGODlhQR8BAAAA");
        assert!(media(&long, Form::OpenAi).is_some() && media(&long, Form::Anthropic).is_none());
    }
}
