//! Bodies of records: the first byte is the kind, the rest the body.

use sessions_domain::{Event, Kind, codec};

/// A body that is understood is understood again, and the same, when it is written anew; its outline says what the whole says.
pub fn run(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let kind = Kind(*kind);
    let outline = codec::decode_outline(kind, body);
    let Ok((event, stamp)) = codec::decode(kind, body) else { return };
    let (in_outline, its_stamp) = outline.expect("what can be read has an outline");
    assert_eq!(stamp, its_stamp);
    assert_eq!(in_outline.kind(), event.kind());
    if matches!(event, Event::Unknown { .. } | Event::Lost) {
        return;
    }
    let written = codec::encode(&event, &stamp).expect("what was read can be written");
    let again = codec::decode(kind, &written).expect("what was written can be read");
    assert_eq!(again, (event.clone(), stamp.clone()));
    assert_eq!(codec::encode(&again.0, &again.1).expect("as before"), written);
}
