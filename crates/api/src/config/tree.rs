//! A configuration's file as a tree, with the place of everything in it: maps, lists and words, and nothing else of YAML.
//!
//! Must not know: which options there are.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::{
    error::{ConfigError, Path, Place, Wrong},
    value::kind_of,
};

/// Bytes of a file, at most.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// Maps and lists within each other, at most.
const DEEPEST: usize = 32;

/// A part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, or `~`, or `null`.
    Nothing,
    /// A word that is not quoted, which may be a number or `true`.
    Plain(String),
    /// A text that is quoted or stands in a block, which is a text whatever is in it.
    Text(String),
    /// What may be said twice is still there twice.
    Map(Vec<(Name, Node)>),
    List(Vec<Node>),
}

/// A name in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Value {
    /// What it is, for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Plain(word) => kind_of(word),
            Self::Text(_) => "a text in quotes",
            Self::Map(_) => "a group of options",
            Self::List(_) => "a list",
        }
    }
}

/// Reads a file's bytes; `None`: there is nothing in it.
///
/// # Errors
/// What is no YAML, and what of YAML a configuration does not need: anchors, aliases, tags, a second document. Also too much of it. It
/// ends at the first, since what comes behind may be anything.
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Option<Node>, Box<ConfigError>> {
    if bytes.len() > MOST_BYTES {
        let whole = Place::File { name: name.to_owned(), line: 0, column: 0 };
        return Err(no_yaml(whole, format!("the file has more than {MOST_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(name, bytes, error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { name, parser: Parser::new_from_str(text), depth: 0 };
    reader.document()
}

fn no_yaml(place: Place, what: impl Into<String>) -> Box<ConfigError> {
    Box::new(ConfigError::new(place, Path::default(), Wrong::Yaml(what.into())))
}

fn not_utf8(name: &str, bytes: &[u8], valid: usize) -> Box<ConfigError> {
    let before = bytes.get(..valid).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let column = String::from_utf8_lossy(last).chars().count() + 1;
    let place = Place::File { name: name.to_owned(), line, column };
    no_yaml(place, "this is not UTF-8")
}

struct Reader<'a> {
    name: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn place(&self, at: &Marker) -> Place {
        Place::File { name: self.name.to_owned(), line: at.line(), column: at.col() + 1 }
    }

    fn refused(&self, at: &Marker, what: impl Into<String>) -> Box<ConfigError> {
        no_yaml(self.place(at), what)
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Box<ConfigError>> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.broken(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// What the parser says, of which only its own words are told: it repeats nothing but names of anchors and tags.
    fn broken(&self, error: &ScanError) -> Box<ConfigError> {
        if error.info().contains("tab") {
            return self.refused(error.marker(), "a tab where YAML takes none; use spaces");
        }
        let words = error.info().split([',', ':', '\'', '"']).next().unwrap_or_default();
        self.refused(error.marker(), format!("this is no YAML: {words}"))
    }

    fn document(&mut self) -> Result<Option<Node>, Box<ConfigError>> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(self.refused(&span.start, "a second document begins here; a configuration is one"));
                }
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Box<ConfigError>> {
        let place = self.place(&span.start);
        let value = match event {
            Event::Alias(_) => return Err(self.refused(&span.start, "an alias; write out what it stands for")),
            Event::Scalar(.., anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                return Err(self.refused(&span.start, "an anchor; a configuration has none"));
            }
            Event::Scalar(.., Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return Err(self.refused(&span.start, "a tag; a configuration has none"));
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => {
                Value::Nothing
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => Value::Plain(text.into_owned()),
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => self.deeper(&span, Self::list)?,
            Event::MappingStart(..) => self.deeper(&span, Self::map)?,
            _ => return Err(self.refused(&span.start, "this is no YAML")),
        };
        Ok(Node { place, value })
    }

    fn deeper(
        &mut self,
        span: &Span,
        read: impl FnOnce(&mut Self) -> Result<Value, Box<ConfigError>>,
    ) -> Result<Value, Box<ConfigError>> {
        if self.depth == DEEPEST {
            return Err(self.refused(&span.start, format!("more than {DEEPEST} groups and lists within each other")));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value, Box<ConfigError>> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self) -> Result<Value, Box<ConfigError>> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(Value::Map(entries));
            }
            let key = self.node(event, span)?;
            let (Value::Plain(text) | Value::Text(text)) = key.value else {
                return Err(no_yaml(key.place, "a name belongs here"));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            entries.push((Name { place: key.place, text }, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> Value {
        Value::Plain(text.to_owned())
    }

    fn at(line: usize, column: usize) -> Place {
        Place::File { name: "f".to_owned(), line, column }
    }

    fn refused(text: &[u8]) -> String {
        read("f", text).unwrap_err().to_string()
    }

    #[test]
    fn everything_has_its_place() {
        let tree = read("f", b"# a word first\na:\n  b: 1 # c\n  \"d\": [x, '5']\n").unwrap().unwrap();
        let Value::Map(outer) = &tree.value else { panic!("{tree:?}") };
        let [(a, inner)] = outer.as_slice() else { panic!("{outer:?}") };
        assert_eq!((a.text.as_str(), &a.place), ("a", &at(2, 1)));
        let Value::Map(inner) = &inner.value else { panic!("{inner:?}") };
        let [(b, one), (d, list)] = inner.as_slice() else { panic!("{inner:?}") };
        assert_eq!((b.text.as_str(), &b.place, &one.place, &one.value), ("b", &at(3, 3), &at(3, 6), &plain("1")));
        assert_eq!((d.text.as_str(), &d.place), ("d", &at(4, 3)));
        let Value::List(items) = &list.value else { panic!("{list:?}") };
        assert_eq!(items[0], Node { place: at(4, 9), value: plain("x") });
        assert_eq!(items[1].value, Value::Text("5".to_owned()));
    }

    #[test]
    fn what_is_empty_is_fine() {
        for text in ["", "\n\n", "# a word\n", "\u{feff}", "---\n", "~", "null\n"] {
            let tree = read("f", text.as_bytes()).unwrap();
            assert!(tree.is_none_or(|tree| tree.value == Value::Nothing), "{text:?}");
        }
    }

    #[test]
    fn what_a_configuration_does_not_need_is_refused_with_its_place() {
        for (text, place, word) in [
            (&b"a: &x 1\n"[..], "f:1:", "an anchor"),
            (b"a: &x\n  b: 1\n", "f:", "an anchor"),
            (b"a: 1\nb: *x\n", "f:2:", "YAML"),
            (b"a: &x 1\nb: *x\n", "f:1:", "an anchor"),
            (b"a: !!str 1\n", "f:1:", "a tag"),
            (b"a: !secret 1\n", "f:1:", "a tag"),
            (b"a: 1\n---\nb: 1\n", "f:2:1", "second document"),
            (b"a:\n\tb: 1\n", "f:2:", "use spaces"),
            (b"a:\n  b:\n\tc: 1\n", "f:", "use spaces"),
            (b"a: [1\n", "f:", "no YAML"),
            (b"a: 'x\n", "f:", "no YAML"),
            (b"[a]: 1\n", "f:1:", "a name belongs here"),
            (b"{a: 1}: 1\n", "f:1:", "a name belongs here"),
            (b"a: 1\nb: \xff\n", "f:2:4", "not UTF-8"),
            ("ä: 1\nää \u{0}".as_bytes(), "f:", "YAML"),
        ] {
            let said = refused(text);
            assert!(said.starts_with(place) && said.contains(word), "{:?}: {said}", String::from_utf8_lossy(text));
        }
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read("f", deep(DEEPEST).as_bytes()).is_ok());
        assert!(refused(deep(DEEPEST + 1).as_bytes()).contains("within each other"));
        let long = vec![b'#'; MOST_BYTES + 1];
        assert!(read("f", &long[1..]).is_ok());
        assert!(refused(&long).contains("more than 1048576 bytes"));
    }

    #[test]
    fn no_error_of_the_parser_repeats_what_it_read() {
        for text in [
            "a: *hunter2",
            "a: !hunter2!x 1",
            "%hunter2 x\n---\n",
            "a: [hunter2",
            "a: 'hunter2",
            "a: b: hunter2",
            "a: \"\\hunter2\"",
        ] {
            if let Err(error) = read("f", text.as_bytes()) {
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]
        #[test]
        fn any_bytes_are_a_tree_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read("f", &bytes);
        }

        #[test]
        fn what_looks_like_yaml_is_a_tree_or_an_error(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "a", "b:", ": ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ",", "'", "\"", "|", ">", "#", " #", "&x ", "*x",
                    "!!t ", "!", "%", "---", "...", "?", "\t", "\r\n", "\u{85}", "\u{feff}", "1", "-5", "\\", "\\u12", "~", "null", "é", "\0", "@", "`",
                ]),
                0..60,
            )
        ) {
            let _ = read("f", pieces.concat().as_bytes());
        }
    }
}
