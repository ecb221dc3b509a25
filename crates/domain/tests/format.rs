//! The bodies that `docs/format.md` shows are the ones the codec reads and writes.

#[cfg(test)]
mod persistence {
    use std::collections::BTreeSet;

    use sessions_domain::{Event, Kind, codec};

    const DOCUMENT: &str = include_str!("../../../docs/format.md");

    /// The examples of the document: each stands on one line behind a fence of the form ```` ```json kind-2 ````.
    fn examples() -> Vec<(Kind, &'static str)> {
        let fenced = DOCUMENT.split("```json kind-").skip(1);
        let example = |block: &'static str| {
            let mut lines = block.lines();
            (Kind(lines.next().unwrap().parse().unwrap()), lines.next().unwrap())
        };
        fenced.map(example).collect()
    }

    #[test]
    fn each_documented_body_is_read_and_written_to_the_letter() {
        for (kind, body) in examples() {
            let (event, stamp) = codec::decode(kind, body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {body}"));
            assert_eq!(event.kind(), kind);
            let written = codec::encode(&event, &stamp).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), body);
        }
    }

    #[test]
    fn each_kind_that_is_written_has_an_example_and_its_documented_number() {
        let shown: BTreeSet<u8> = examples().into_iter().map(|(kind, _)| kind.0).collect();
        let written = [
            (Kind::CREATED, "created"),
            (Kind::APPENDED, "appended"),
            (Kind::MOVED, "moved"),
            (Kind::CLEARED, "cleared"),
            (Kind::DESCRIBED, "described"),
            (Kind::RESIDUE, "residue"),
            (Kind::STATUS_CHANGED, "status_changed"),
            (Kind::CONFIGURED, "configured"),
            (Kind::STATE_CHANGED, "state_changed"),
            (Kind::PINNED, "pinned"),
            (Kind::CHECKPOINTED, "checkpointed"),
            (Kind::BEGUN, "begun"),
            (Kind::CHUNK, "chunk"),
            (Kind::SEALED, "sealed"),
            (Kind::TRASHED, "trashed"),
            (Kind::RESTORED, "restored"),
            (Kind::RUNTIME_CHANGED, "runtime_changed"),
            (Kind::TOUCHED, "touched"),
            (Kind::COMPACTED, "compacted"),
            (Kind::UNCOMPACTED, "uncompacted"),
            (Kind::INSTRUCTED, "instructed"),
            (Kind::SPENT, "spent"),
        ];
        assert_eq!(shown, written.iter().map(|(kind, _)| kind.0).collect());
        for (kind, name) in written {
            assert!(DOCUMENT.contains(&format!("| {} | `{name}` |", kind.0)), "{name}");
        }
        assert!(DOCUMENT.contains(&format!("| {} | `lost` |", Kind::LOST.0)));
        assert_eq!(codec::decode(Kind::LOST, b"").unwrap().0, Event::Lost);
    }
}
