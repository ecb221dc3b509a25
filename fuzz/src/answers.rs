//! Answers of providers of models, as they come over the wire.

use sessions_infra::providers::decoder::{Decoder, MOST_CALLS, Wire};
use sessions_ports::{ModelAnswer, ModelError, ModelEvent};

fn decoded(wire: Wire, bytes: &[u8], at_once: usize) -> (Vec<ModelEvent>, Result<ModelAnswer, ModelError>) {
    let (mut decoder, mut events) = (Decoder::new(wire, "request"), Vec::new());
    for piece in bytes.chunks(at_once) {
        if let Err(error) = decoder.feed(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let answer = decoder.end(&mut events);
    (events, answer)
}

/// The first byte says whose form it is and how the rest is cut. However it is cut, it tells the same; what it tells makes a message that is written and
/// read again.
pub fn run(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let wire = if how & 1 == 0 { Wire::OpenAi } else { Wire::Anthropic };
    let whole = decoded(wire, bytes, usize::MAX);
    assert_eq!(decoded(wire, bytes, usize::from(how >> 1).max(1)), whole);
    let mut parts = Vec::new();
    whole.0.into_iter().for_each(|event| event.push_to(&mut parts));
    let is_call = |part: &&sessions_domain::MessagePart| part.type_name() == "tool-call";
    assert!(parts.iter().filter(is_call).count() <= MOST_CALLS);
    let written = serde_json::to_vec(&parts).expect("parts can be written");
    let read: Vec<sessions_domain::MessagePart> =
        serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(read, parts);
}
