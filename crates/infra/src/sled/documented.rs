//! `docs/format.md` names the numbers that the code has.

use super::{
    INLINE_BODY, MAX_COMMIT_BYTES,
    frame::{self, FILLER, HEADER, MARK, REMOVED},
    segment::{SEGMENT_BYTES, SEGMENT_HEADER},
};

const DOCUMENT: &str = include_str!("../../../../docs/format.md");

#[test]
fn persistence_the_documented_constants_are_those_of_the_code() {
    let constants = [
        ("bytes of a segment's header", u64::from(SEGMENT_HEADER)),
        ("bytes of a frame's header", HEADER as u64),
        ("bytes that a segment takes", u64::from(SEGMENT_BYTES)),
        ("largest payload in a frame", INLINE_BODY as u64),
        ("largest append", MAX_COMMIT_BYTES),
        ("kind of a mark", u64::from(MARK.0)),
        ("kind of a filler", u64::from(FILLER.0)),
        ("kind of a removal", u64::from(REMOVED.0)),
    ];
    for (name, value) in constants {
        assert!(DOCUMENT.contains(&format!("| {name} | {value} |")), "{name} is {value}");
    }
    let flags = [
        (frame::LAST, "LAST"),
        (frame::BLOB, "BLOB"),
        (frame::EXTRA, "EXTRA"),
        (frame::FIRST, "FIRST"),
        (frame::REPAIR, "REPAIR"),
        (frame::REWRITTEN, "REWRITTEN"),
        (frame::STRIPPED, "STRIPPED"),
    ];
    for (flag, name) in flags {
        assert!(DOCUMENT.contains(&format!("| {flag} | {name} |")), "{name} is {flag}");
    }
    let fields = [
        (frame::WORDS, "the words of"),
        (frame::KEY, "the keyed hash"),
        (frame::CLAIM, "an idempotency claim"),
        (frame::LINK, "a link"),
        (frame::REWRITE, "what a rewrite changes"),
        (frame::BEGINNING, "what the first frame"),
    ];
    for (tag, name) in fields {
        assert!(DOCUMENT.contains(&format!("| {tag} | {name}")), "{name} is {tag}");
    }
}
