//! The one mapping between events and the bytes of a record's body (compact JSON), with upcasting of old forms on read.
//!
//! A message's body is flat, `{"at":…,"by":…,"id":…,"n":…,"p":…,"role":…,"text":…}`: `at` only where it is not the moment in `id`, and
//! `text` for the common case of a single text part, `parts` otherwise. Every other body is `{"at":…,"by":…,"e":{…}}`. `docs/format.md` lists the fields.
//!
//! Must not know: headers, chains, sealing, files.

use serde::{Deserialize, Serialize};

use crate::{
    actor::Actor,
    event::{Appended, Event, Kind, Stamp},
    identity::MessageId,
    message::{Message, MessageMetadata, MessagePart, MessageRole},
    moment::{Moment, millis},
};

/// A body that is not what its kind says.
#[derive(Debug, thiserror::Error)]
#[error("the body of a record of kind {} does not parse", kind.0)]
pub struct CodecError {
    /// The record's kind.
    pub kind: Kind,
    #[source]
    source: serde_json::Error,
}

#[derive(Serialize)]
struct MessageBodyRef<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a Actor>,
    id: MessageId,
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<MessageId>,
    role: MessageRole,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<&'a [MessagePart]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a MessageMetadata>,
}

#[derive(Deserialize)]
struct MessageBody {
    #[serde(default)]
    at: Option<i64>,
    #[serde(default)]
    by: Actor,
    id: MessageId,
    n: u64,
    #[serde(default)]
    p: Option<u64>,
    #[serde(default)]
    late: bool,
    #[serde(default)]
    replaces: Option<MessageId>,
    role: MessageRole,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    parts: Option<Vec<MessagePart>>,
    #[serde(default)]
    meta: MessageMetadata,
}

/// The fields of a message that a view needs: its text is passed over.
#[derive(Deserialize)]
struct MessageOutline {
    #[serde(default)]
    at: Option<i64>,
    #[serde(default)]
    by: Actor,
    id: MessageId,
    n: u64,
    #[serde(default)]
    p: Option<u64>,
    #[serde(default)]
    late: bool,
    role: MessageRole,
    #[serde(default)]
    parts: Vec<MessagePart>,
}

#[derive(Serialize)]
struct BodyRef<'a, T> {
    #[serde(with = "millis")]
    at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a Actor>,
    e: &'a T,
}

#[derive(Deserialize)]
struct Body<T> {
    #[serde(with = "millis")]
    at: Moment,
    #[serde(default)]
    by: Actor,
    e: T,
}

/// What is said by the kind alone.
#[derive(Serialize, Deserialize)]
struct Nothing {}

/// The body of an event.
///
/// # Errors
/// [`CodecError`] when a value of the host has no JSON form. [`Event::Unknown`] and [`Event::Lost`] have none either: they are read, never written.
pub fn encode(event: &Event, stamp: &Stamp) -> Result<Vec<u8>, CodecError> {
    let kind = event.kind();
    let by = (!stamp.actor.is_anonymous()).then_some(&stamp.actor);
    let at = stamp.at;
    let body = match event {
        Event::Appended(appended) | Event::Begun(appended) => {
            let message = &appended.message;
            let text = match message.parts.as_slice() {
                [MessagePart::Text(text)] => Some(text.as_str()),
                _ => None,
            };
            serde_json::to_vec(&MessageBodyRef {
                at: (at != appended.id.moment()).then(|| at.as_millis()),
                by,
                id: appended.id,
                n: appended.depth,
                p: appended.parent,
                late: appended.late,
                replaces: appended.replaces,
                role: message.role,
                text,
                parts: text.is_none().then_some(message.parts.as_slice()),
                meta: (!message.metadata.is_empty()).then_some(&message.metadata),
            })
        }
        Event::Created(e) => serde_json::to_vec(&BodyRef { at, by, e: &**e }),
        Event::Moved(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Cleared(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Described(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Residue(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::StatusChanged(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Configured(e) => serde_json::to_vec(&BodyRef { at, by, e: &**e }),
        Event::StateChanged(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Pinned(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Checkpointed(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Chunk(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Sealed(e) => serde_json::to_vec(&BodyRef { at, by, e: &**e }),
        Event::Trashed | Event::Restored | Event::Touched => serde_json::to_vec(&BodyRef { at, by, e: &Nothing {} }),
        Event::RuntimeChanged(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Compacted(e) => serde_json::to_vec(&BodyRef { at, by, e: &**e }),
        Event::Uncompacted(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Instructed(e) => serde_json::to_vec(&BodyRef { at, by, e }),
        Event::Spent(e) => serde_json::to_vec(&BodyRef { at, by, e: &**e }),
        Event::Unknown { .. } | Event::Lost => {
            Err(<serde_json::Error as serde::ser::Error>::custom("this event is never written"))
        }
    };
    body.map_err(|source| CodecError { kind, source })
}

/// The event and stamp of a body. An unknown kind reads as [`Event::Unknown`].
///
/// # Errors
/// [`CodecError`] when the body is not what its kind says.
pub fn decode(kind: Kind, body: &[u8]) -> Result<(Event, Stamp), CodecError> {
    let failed = |source| CodecError { kind, source };
    fn enveloped<'de, T: Deserialize<'de>>(
        body: &'de [u8],
        wrap: impl FnOnce(T) -> Event,
    ) -> Result<(Event, Stamp), serde_json::Error> {
        let Body { at, by, e } = serde_json::from_slice::<Body<T>>(body)?;
        Ok((wrap(e), Stamp { at, actor: by }))
    }
    match kind {
        Kind::APPENDED | Kind::BEGUN => {
            let body: MessageBody = from_json(body).map_err(failed)?;
            let parts = match (body.text, body.parts) {
                (Some(text), None) => vec![MessagePart::Text(text)],
                (_, parts) => parts.unwrap_or_default(),
            };
            let message = Message { role: body.role, parts, metadata: body.meta };
            let at = moment_of(body.at, body.id);
            let MessageBody { id, n: depth, p: parent, late, replaces, .. } = body;
            let appended = Appended { id, parent, depth, late, replaces, message };
            Ok((placed(kind, appended), Stamp { at, actor: body.by }))
        }
        Kind::CREATED => enveloped(body, |e| Event::Created(Box::new(e))).map_err(failed),
        Kind::MOVED => enveloped(body, Event::Moved).map_err(failed),
        Kind::CLEARED => enveloped(body, Event::Cleared).map_err(failed),
        Kind::DESCRIBED => enveloped(body, Event::Described).map_err(failed),
        Kind::RESIDUE => enveloped(body, Event::Residue).map_err(failed),
        Kind::STATUS_CHANGED => enveloped(body, Event::StatusChanged).map_err(failed),
        Kind::CONFIGURED => enveloped(body, |e| Event::Configured(Box::new(e))).map_err(failed),
        Kind::STATE_CHANGED => enveloped(body, Event::StateChanged).map_err(failed),
        Kind::PINNED => enveloped(body, Event::Pinned).map_err(failed),
        Kind::CHECKPOINTED => enveloped(body, Event::Checkpointed).map_err(failed),
        Kind::CHUNK => enveloped(body, Event::Chunk).map_err(failed),
        Kind::SEALED => enveloped(body, |e| Event::Sealed(Box::new(e))).map_err(failed),
        Kind::TRASHED => enveloped(body, |Nothing {}| Event::Trashed).map_err(failed),
        Kind::RESTORED => enveloped(body, |Nothing {}| Event::Restored).map_err(failed),
        Kind::TOUCHED => enveloped(body, |Nothing {}| Event::Touched).map_err(failed),
        Kind::RUNTIME_CHANGED => enveloped(body, Event::RuntimeChanged).map_err(failed),
        Kind::COMPACTED => enveloped(body, |e| Event::Compacted(Box::new(e))).map_err(failed),
        Kind::UNCOMPACTED => enveloped(body, Event::Uncompacted).map_err(failed),
        Kind::INSTRUCTED => enveloped(body, Event::Instructed).map_err(failed),
        Kind::SPENT => enveloped(body, |e| Event::Spent(Box::new(e))).map_err(failed),
        Kind::LOST => Ok((Event::Lost, Stamp { at: Moment::default(), actor: Actor::default() })),
        Kind(kind) => {
            let at = serde_json::from_slice::<Body<serde::de::IgnoredAny>>(body).map(|body| body.at);
            let stamp = Stamp { at: at.unwrap_or_default(), actor: Actor::default() };
            Ok((Event::Unknown { kind }, stamp))
        }
    }
}

/// As [`decode`], but a message's plain text and its metadata are left out: enough for a view, which looks at places and calls only.
///
/// # Errors
/// As [`decode`].
pub fn decode_outline(kind: Kind, body: &[u8]) -> Result<(Event, Stamp), CodecError> {
    if !matches!(kind, Kind::APPENDED | Kind::BEGUN) {
        return decode(kind, body);
    }
    let body: MessageOutline = from_json(body).map_err(|source| CodecError { kind, source })?;
    let message = Message { role: body.role, parts: body.parts, metadata: MessageMetadata::default() };
    let at = moment_of(body.at, body.id);
    let MessageOutline { id, n: depth, p: parent, late, .. } = body;
    let appended = Appended { id, parent, depth, late, replaces: None, message };
    Ok((placed(kind, appended), Stamp { at, actor: body.by }))
}

/// A message that was appended whole, or one that began to arrive.
fn placed(kind: Kind, appended: Appended) -> Event {
    if kind == Kind::BEGUN { Event::Begun(appended) } else { Event::Appended(appended) }
}

/// The value of a body. Bytes are checked once to be text, and not again for each string.
fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> serde_json::Result<T> {
    std::str::from_utf8(body).map_err(serde::de::Error::custom).and_then(serde_json::from_str)
}

/// When a message was appended: what its body says, or else the moment in its id.
fn moment_of(at: Option<i64>, id: MessageId) -> Moment {
    at.map_or_else(|| id.moment(), Moment::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::CommitHash,
        compaction::{
            CallOutcome, CallPurpose, Compacted, CompactionCause, Covers, Instructed, Shortens, Spent, SummaryText,
            Uncompacted,
        },
        event::{
            Checkpointed, Cleared, Created, Described, ForkPoint, Inherited, MoveCause, Moved, NamedPlace, Pinned,
            Residue, ResidueLine,
        },
        identity::{LineageId, SessionId},
        json::Json,
        life::{RuntimeChange, RuntimeState, SessionStatus, StatusChange},
        message::TokenUsage,
        metadata::{Kinship, MetadataChange, Origin, Parent},
        state::{StateChange, StateOwner, StateScope},
        stream::{Chunk, Sealed, StreamEnd},
    };

    fn stamp() -> Stamp {
        Stamp { at: Moment::from_millis(1_763_690_000_000), actor: Actor::named("ada") }
    }

    fn round_trip(event: Event) -> String {
        let body = encode(&event, &stamp()).unwrap();
        assert_eq!(decode(event.kind(), &body).unwrap(), (event, stamp()));
        String::from_utf8(body).unwrap()
    }

    fn appended(message: Message) -> Event {
        Event::Appended(Appended {
            id: MessageId::from_bytes([1; 16]),
            parent: None,
            depth: 3,
            late: false,
            replaces: None,
            message,
        })
    }

    #[test]
    fn a_plain_message_has_the_documented_body() {
        assert_eq!(
            round_trip(appended(Message::user("hi"))),
            r#"{"at":1763690000000,"by":{"id":"ada"},"id":"01040G2081040G2081040G2081","n":3,"role":"user","text":"hi"}"#
        );
    }

    #[test]
    fn the_moment_of_an_id_is_not_said_twice() {
        let id = MessageId::from_parts(1_763_690_000_000, 7);
        let message = Message::user("hi");
        let event = Event::Appended(Appended { id, parent: None, depth: 1, late: false, replaces: None, message });
        let body = round_trip(event.clone());
        assert_eq!(body, format!(r#"{{"by":{{"id":"ada"}},"id":"{id}","n":1,"role":"user","text":"hi"}}"#));
        assert_eq!(decode_outline(Kind::APPENDED, body.as_bytes()).unwrap().1, stamp());
        for at in [0, -1, 1_763_690_000_001, i64::MAX] {
            let stamp = Stamp { at: Moment::from_millis(at), ..stamp() };
            let body = encode(&event, &stamp).unwrap();
            assert_eq!(decode(Kind::APPENDED, &body).unwrap(), (event.clone(), stamp.clone()));
            assert_eq!(decode_outline(Kind::APPENDED, &body).unwrap().1, stamp);
        }
    }

    #[test]
    fn an_outline_has_what_a_view_looks_at() {
        let call = MessagePart::tool_call("c", "n", "{}").unwrap();
        for message in [Message::user("hi"), Message::assistant("x").with(call), Message::tool_result("c", "r")] {
            let event = appended(message.clone());
            let body = encode(&event, &stamp()).unwrap();
            let (outline, outlined) = decode_outline(Kind::APPENDED, &body).unwrap();
            let Event::Appended(outline) = outline else { panic!("a message") };
            assert_eq!(
                (outline.id, outline.depth, outline.message.role),
                (MessageId::from_bytes([1; 16]), 3, message.role)
            );
            assert!(outline.message.calls().eq(message.calls()) && outline.message.results().eq(message.results()));
            assert_eq!(outlined, stamp());
        }
        assert!(decode_outline(Kind::APPENDED, b"{").is_err());
    }

    #[test]
    fn every_event_round_trips() {
        let call = MessagePart::tool_call("c", "n", r#"{"a":1.0}"#).unwrap();
        round_trip(appended(Message::assistant("x").with(call)));
        round_trip(appended(Message { role: MessageRole::User, parts: vec![], metadata: MessageMetadata::default() }));
        round_trip(Event::Created(Box::new(Created {
            key: Some("user-123".parse().unwrap()),
            described: Described { title: Some("t".into()), description: None, tags: Some(vec!["a".into()]) },
            origin: Origin { custom: [("x".to_owned(), Json::parse("1.50").unwrap())].into(), ..Origin::default() },
            fork: Some(ForkPoint {
                parent: SessionId::from_bytes([4; 16]),
                at: 7,
                commit: CommitHash::from_bytes([5; 32]),
                head: 6,
                depth: 4,
                owners: vec![(SessionId::from_bytes([4; 16]), 7)],
                last: Some(6),
                inherits: Inherited { pins: [3].into(), ..Inherited::default() },
            }),
            ..Created::of(SessionId::from_bytes([2; 16]), LineageId::from_bytes([3; 16]))
        })));
        round_trip(Event::Moved(Moved { to: 2, depth: 1, cause: MoveCause::Undo, steps: 1 }));
        round_trip(Event::Cleared(Cleared { from: 9, depth: 5 }));
        round_trip(Event::Described(Described { tags: Some(vec![]), ..Described::default() }));
        let json = |text: &str| Json::parse(text).unwrap();
        round_trip(Event::Created(Box::new(Created {
            parent: Some(Parent { session: SessionId::from_bytes([4; 16]), kinship: Kinship::SubAgent }),
            created_at: Some(Moment::from_millis(77)),
            state_of: Some(StateOwner { scope: StateScope::User, name: "ada".into() }),
            ..Created::of(SessionId::from_bytes([2; 16]), LineageId::from_bytes([3; 16]))
        })));
        round_trip(Event::StatusChanged(StatusChange { to: SessionStatus::Paused, reason: Some("lunch".into()) }));
        let custom = [("x".to_owned(), None), ("y".to_owned(), Some(json("1.0")))].into();
        let change = MetadataChange { cwd: Some(None), mode: Some(Some("plan".into())), custom, ..Default::default() };
        round_trip(Event::Configured(Box::new(change)));
        round_trip(Event::StateChanged(StateChange { set: [("k".to_owned(), Some(json("[1.50]")))].into() }));
        round_trip(Event::Pinned(Pinned { message: 4, pinned: true }));
        let at = Some(NamedPlace { version: 9, head: 4, depth: 2 });
        round_trip(Event::Checkpointed(Checkpointed { name: "before".into(), at }));
        round_trip(Event::Checkpointed(Checkpointed { name: "before".into(), at: None }));
        let Event::Appended(begun) = appended(Message::assistant("x")) else { panic!("a message") };
        round_trip(Event::Begun(Appended { replaces: Some(MessageId::from_bytes([9; 16])), ..begun }));
        let parts = vec![MessagePart::text("more"), MessagePart::tool_call("c", "n", "{}").unwrap()];
        round_trip(Event::Chunk(Chunk { parts, apart: true }));
        round_trip(Event::Sealed(Box::new(Sealed {
            message: 2,
            end: StreamEnd::Cancelled,
            reason: Some("enough".into()),
            chunks: 3,
            digest: Some("00".into()),
            metadata: Some(MessageMetadata { model: Some("m".into()), ..MessageMetadata::default() }),
        })));
        round_trip(Event::Trashed);
        round_trip(Event::Restored);
        round_trip(Event::Touched);
        let retrying = RuntimeState::Retrying { attempt: 2, next: Moment::from_millis(5), message: "529".into() };
        for to in [RuntimeState::Idle, RuntimeState::Busy, RuntimeState::Interrupted, retrying] {
            round_trip(Event::RuntimeChanged(RuntimeChange { to, run: u64::MAX }));
        }
        let spent = Spent {
            purpose: CallPurpose::Compaction,
            outcome: CallOutcome::Rejected,
            provider: Some("p".into()),
            model: Some("m".into()),
            asked: Some("m".into()),
            usage: TokenUsage { input: 5, ..TokenUsage::default() },
            estimated: true,
            cost: Some("0.01 USD".into()),
            request_id: Some("r".into()),
        };
        let digest = "00".into();
        round_trip(Event::Compacted(Box::new(Compacted {
            covers: Some(Covers { to: 9, messages: 7, previous: Some(4), stretches: vec![(2, 5), (7, 9)], digest }),
            summary: Some(SummaryText { text: "s".into(), tokens: 1, by: "model".into(), model: Some("m".into()) }),
            shortens: Some(Shortens { to: 12, keep: 200 }),
            before: 100,
            after: 50,
            encoding: "o200k_base".into(),
            cause: CompactionCause::Overflow,
            calls: vec![spent.clone()],
        })));
        round_trip(Event::Uncompacted(Uncompacted { compaction: 13 }));
        round_trip(Event::Instructed(Instructed { text: Some("be brief".into()) }));
        round_trip(Event::Instructed(Instructed { text: None }));
        round_trip(Event::Spent(Box::new(spent)));
        round_trip(Event::Residue(Residue {
            lines: vec![ResidueLine { line: 3, text: None, base16: Some("ff00".into()) }],
        }));
    }

    #[test]
    fn an_unknown_kind_is_passed_over_and_a_broken_body_is_an_error() {
        let (event, stamp) = decode(Kind(99), br#"{"at":5,"e":{"new":true}}"#).unwrap();
        assert_eq!((event, stamp.at), (Event::Unknown { kind: 99 }, Moment::from_millis(5)));
        assert!(decode(Kind::APPENDED, b"{").is_err());
        assert!(encode(&Event::Lost, &stamp).is_err());
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let body = r#"{"at":1,"id":"01040G2081040G2081040G2081","n":1,"role":"user","text":"hi","later":{"x":1}}"#;
        assert!(decode(Kind::APPENDED, body.as_bytes()).is_ok());
    }
}
