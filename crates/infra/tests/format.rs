//! The log that `docs/format.md` shows byte by byte is the one that the default store writes, and a reader that knows the document
//! alone finds in it what was put there.

#[cfg(test)]
mod persistence {
    use std::{fmt::Write as _, fs, path::Path};

    use bytes::Bytes;
    use sessions_domain::{
        Actor, Appended, CommitHash, Created, Described, Event, Kind, LineageId, Message, MessageId, Moment, SessionId,
        Stamp, chain, codec,
    };
    use sessions_infra::sled::{SledOptions, SledStore, verify};
    use sessions_ports::{Commit, Durability, Expected, Record, RowChange, SessionLog};

    const DOCUMENT: &str = include_str!("../../../docs/format.md");
    const MILLIS: u64 = 1_700_000_000_000;

    fn stamp() -> Stamp {
        Stamp { at: Moment::from_millis(1_700_000_000_000), actor: Actor::default() }
    }

    fn lineage() -> LineageId {
        LineageId::from_parts(MILLIS, 2)
    }

    fn session() -> SessionId {
        SessionId::from_parts(MILLIS, 1)
    }

    /// The two events of the document's example, with the label of each.
    fn events() -> [(Event, u64); 2] {
        let described = Described { title: Some("Hello".to_owned()), ..Described::default() };
        let created = Created { described, ..Created::of(session(), lineage()) };
        let id = MessageId::from_parts(MILLIS, 3);
        let appended =
            Appended { id, parent: None, depth: 1, late: false, replaces: None, message: Message::user("hi") };
        [(Event::Created(Box::new(created)), 0), (Event::Appended(appended), MILLIS << 16 | 3)]
    }

    fn commits() -> Vec<Commit> {
        let mut before = CommitHash::ZERO;
        let commit = |(seq, (event, label)): (u64, (Event, u64))| {
            let (kind, blind) = (event.kind(), [0xA0 + seq as u8; 32]);
            let body = codec::encode(&event, &stamp()).unwrap();
            before = before.next(lineage(), seq, kind, &blind, &body);
            let payload = Bytes::from([blind.as_slice(), &body].concat());
            let words = (seq == 1).then(|| Bytes::from_static(br#"{"title":"Hello","status":"active"}"#));
            Commit {
                session: session(),
                expected: if seq == 1 { Expected::NoStream } else { Expected::Exactly(seq - 1) },
                records: vec![Record { seq, kind, commit: before, label, payload }],
                row: RowChange { updated: stamp().at, messages: seq - 1, words },
                key: None,
                claims: Vec::new(),
                links: Vec::new(),
                snapshot: None,
                durability: Durability::Disk,
            }
        };
        (1..).zip(events()).map(commit).collect()
    }

    /// A store whose id is the bytes 0 to 15, with the example in it.
    async fn written(folder: &Path) -> Vec<u8> {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("FORMAT"), "sessions-store 1\nid 000102030405060708090a0b0c0d0e0f\n").unwrap();
        let store = SledStore::open(folder, SledOptions::default()).await.unwrap();
        for commit in commits() {
            store.commit(commit).await.unwrap();
        }
        store.close().await.unwrap();
        fs::read(folder.join("log/00000001.seg")).unwrap()
    }

    fn dump(bytes: &[u8]) -> String {
        let mut out = String::new();
        for (line, row) in bytes.chunks(16).enumerate() {
            let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let text: String =
                row.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' }).collect();
            writeln!(out, "{:04x}  {:47}  {text}", line * 16, hex.join(" ")).unwrap();
        }
        out
    }

    #[tokio::test]
    async fn the_documented_segment_is_the_one_that_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = written(&folder.path().join("store")).await;
        let dump = dump(&bytes);
        assert!(DOCUMENT.contains(&dump), "docs/format.md does not show this segment:\n{dump}");
        assert!(verify(&folder.path().join("store")).unwrap().is_sound());
    }

    fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
        bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Reads one frame as the document says, and nothing else: its length, kind, seq, commit, body, and whether it ends an append.
    fn frame(bytes: &[u8]) -> (usize, u8, u64, &[u8], &[u8], bool) {
        assert_eq!(&bytes[..5], b"SSN\x01\x01");
        let flags = bytes[6];
        let mut end = 80 + number(bytes, 40, 4) as usize;
        let body = &bytes[80..end];
        end += if flags & 1 == 0 { 0 } else { 12 };
        end += if flags & 32 == 0 { 0 } else { 8 };
        end += if flags & 4 == 0 { 0 } else { 4 + number(bytes, end, 4) as usize };
        let covered = [&bytes[..44], &bytes[48..end]].concat();
        assert_eq!(u64::from(crc32c::crc32c(&covered)), number(bytes, 44, 4));
        (end, bytes[5], number(bytes, 24, 8), &bytes[48..80], body, flags & 1 != 0)
    }

    #[tokio::test]
    async fn a_reader_of_the_document_finds_the_records_and_their_chain() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = written(&folder.path().join("store")).await;
        let (mut at, mut before, mut seqs) = (64, vec![0; 32], Vec::new());
        while at < bytes.len() {
            let (length, kind, seq, commit, body, is_last) = frame(&bytes[at..]);
            at += length;
            assert!(is_last);
            if kind == 0xFE {
                continue;
            }
            let hashed = [&before, &lineage().to_bytes()[..], &seq.to_le_bytes(), &[kind], body].concat();
            before = chain::sha256(&hashed).to_vec();
            assert_eq!(commit, before);
            let documented = format!("commit {seq} = {}", chain::to_hex(commit));
            assert!(DOCUMENT.contains(&documented), "docs/format.md does not say: {documented}");
            let (event, _) = codec::decode(Kind(kind), &body[32..]).unwrap();
            seqs.push((seq, event));
        }
        let expected: Vec<(u64, Event)> = (1..).zip(events().map(|(event, _)| event)).collect();
        assert_eq!(seqs, expected);
    }
}
