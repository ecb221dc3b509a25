//! Stores of format 1 as they were written when the format was frozen: `tests/golden/plain-v1` and `sealed-v1`, with what they say beside them. They open
//! for ever, say the same, and go on.
//!
//! They were written once, with `SESSIONS_WRITE_GOLDEN=FOLDER`, and are only read since. What writes them runs each time, so that it stays what it was.
//!
//! Must not know: how a store is laid out. A copy lacks the index, and the zeros behind what was written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails where it stands"
)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};
use sessions_app::{Append, At, Deletion, NewSession, Ports, SessionManager, Settings};
use sessions_domain::{Json, Message, SessionId, SessionKey, chain};
use sessions_infra::{
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    keys::{FileKeyStore, KeyFileProvider},
    sealing::SealedStore,
    sled::{Sealing, SledOptions, SledStore, WitnessReport, verify},
    tokens::BuiltInEncodings,
};
use sessions_ports::{Durability, KindFilter, Order, ReadRange, SessionLog};
use sessions_testkit::read_all;
use tempfile::TempDir;

const KEY: &str = "golden-key";
/// Longer than what a frame holds.
const LARGE: usize = 66_000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn name_of(sealing: Sealing) -> &'static str {
    match sealing {
        Sealing::Plain => "plain-v1",
        Sealing::Sealed => "sealed-v1",
    }
}

/// A store that is open.
struct Open {
    log: Arc<dyn SessionLog>,
    sealed: Option<SealedStore>,
    heads: Option<WitnessReport>,
    manager: SessionManager,
}

impl Open {
    /// Opens a store in a folder, beside which its key lies.
    async fn at(path: &Path, sealing: Sealing) -> Self {
        let sled = SledStore::open(path, SledOptions { sealing, ..SledOptions::default() }).await.unwrap();
        let (mut log, mut sealed, mut heads): (Arc<dyn SessionLog>, _, _) = (Arc::new(sled.clone()), None, None);
        if sealing == Sealing::Sealed {
            let keys = FileKeyStore::open(&sled.keys_folder(), sled.id()).await.unwrap();
            let provider = KeyFileProvider::create_or_open(&path.with_extension("key")).unwrap();
            let store = SealedStore::open_or_create(log, Arc::new(keys), &provider, Arc::new(SystemClock)).await;
            let store = store.unwrap();
            heads = Some(sled.witness(Arc::new(store.witness().unwrap())).unwrap());
            log = Arc::new(store.clone());
            sealed = Some(store);
        }
        let ports = Ports {
            store: Arc::clone(&log),
            clock: Arc::new(SystemClock),
            ids: Arc::new(UlidGenerator::new()),
            entropy: Arc::new(SystemEntropy::new()),
            counter: Arc::new(EstimateCounter),
            encodings: Arc::new(BuiltInEncodings::new()),
        };
        let settings = Settings { durability: Some(Durability::Disk), ..Settings::default() };
        Self { log, sealed, heads, manager: SessionManager::with(ports, settings).unwrap() }
    }

    async fn close(self) {
        self.manager.close().await.unwrap();
    }
}

/// Everything that a store can be asked to keep, once.
async fn fill(open: &Open) {
    let manager = &open.manager;
    let new = NewSession::titled("The first one").description("with a 🦀").tags(["rust".to_owned(), "v1".to_owned()]);
    let first = manager.create(new.key(SessionKey::new(KEY).unwrap())).await.unwrap();
    first.append(Message::user("How long is this format read?")).await.unwrap();
    first.append(Append::all([Message::assistant("For ever.")]).idempotency_key("once")).await.unwrap();
    first.append(Message::user("taken back")).await.unwrap();
    first.undo(1).await.unwrap();
    let receipt = first.append(Message::user("said instead")).await.unwrap();
    first.pin(receipt.message, true).await.unwrap();
    first.checkpoint("here", At::Now).await.unwrap();
    first.set_state("answer", Json::parse("42").unwrap()).await.unwrap();
    first.set_state("app:theme", Json::parse(r#""dark""#).unwrap()).await.unwrap();
    let fork = first.fork(At::Now).await.unwrap();
    fork.append(Message::assistant("in the fork")).await.unwrap();
    let large = manager.create(NewSession::titled("A large body")).await.unwrap();
    large.append(Message::assistant("All work and no play. ".repeat(LARGE / 22 + 1))).await.unwrap();
    let gone = manager.create(NewSession::titled("Removed")).await.unwrap();
    gone.append(Message::user("removed words")).await.unwrap();
    manager.delete(gone.id(), Deletion::default()).await.unwrap();
    let trashed = manager.create(NewSession::titled("In the trash")).await.unwrap();
    trashed.append(Message::user("not gone yet")).await.unwrap();
    trashed.trash().await.unwrap();
    let rotated = manager.create(NewSession::titled("Another data key")).await.unwrap();
    rotated.append(Message::user("sealed twice")).await.unwrap();
    if let Some(sealed) = &open.sealed {
        sealed.rotate_data(rotated.id(), |_| ()).await.unwrap();
    }
    rotated.append(Message::assistant("sealed once")).await.unwrap();
}

fn text(bytes: &[u8]) -> Value {
    if bytes.len() > 4_096 {
        return json!({"length": bytes.len(), "sha256": chain::to_hex(&chain::sha256(bytes))});
    }
    serde_json::from_slice(bytes).unwrap()
}

/// What a store says: ids, heads, records, and the conversations as a host reads them.
async fn listing(open: &Open) -> Value {
    let (order, kinds) = (Order::OldestFirst, KindFilter::All);
    let all = ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 16, max_bytes: 1 << 20 };
    let mut rows = open.log.rows(0, 1_000).await.unwrap().rows;
    rows.sort_by_key(|row| row.session);
    let mut sessions = Vec::new();
    for row in rows {
        let records = read_all(open.log.as_ref(), row.session, all).await.unwrap();
        let records = records.iter().map(|record| {
            let (commit, body) = (chain::to_hex(record.commit.as_bytes()), text(&record.payload[32..]));
            json!({"seq": record.seq, "kind": record.kind.0, "label": record.label, "commit": commit, "body": body})
        });
        let records: Vec<Value> = records.collect();
        let mut said = Vec::new();
        // A log that keeps state is no conversation.
        if let Ok(session) = open.manager.load_any(row.session).await {
            for stored in session.last(100).await.unwrap() {
                said.push(json!({"id": stored.id, "text": text(&serde_json::to_vec(&stored.message.text()).unwrap())}));
            }
        }
        sessions.push(json!({
            "session": row.session, "version": row.version, "messages": row.messages, "created": row.created, "updated": row.updated,
            "words": text(&row.words), "records": records, "said": said,
        }));
    }
    let keyed = open.manager.find(KEY).await.unwrap();
    let state = keyed.state("answer").await.unwrap().map(|state| state.as_str().to_owned());
    let theme = keyed.state("app:theme").await.unwrap().map(|theme| theme.as_str().to_owned());
    json!({"store": chain::to_hex(&open.log.id().0), "by_key": keyed.id(), "answer": state, "theme": theme, "sessions": sessions})
}

/// Copies what is the store: no index, no lock, and nothing of the zeros that are laid ahead.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "index" || entry.file_name() == "LOCK" || entry.file_name() == "quarantine" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if entry.file_name() == "slots" {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used.next_multiple_of(512));
        }
        fs::write(to, bytes).unwrap();
    }
}

/// A copy of a store and its key, as a checkout has them.
fn taken(from: &Path, sealing: Sealing, to: &Path) -> PathBuf {
    let path = to.join(name_of(sealing));
    copy(&from.join(name_of(sealing)), &path);
    if sealing == Sealing::Sealed {
        let key = path.with_extension("key");
        fs::copy(from.join(name_of(sealing)).with_extension("key"), &key).unwrap();
        fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
    }
    path
}

/// A store says what was written down, and goes on.
async fn check(from: &Path, sealing: Sealing) {
    let ground = TempDir::new().unwrap();
    let path = taken(from, sealing, ground.path());
    let expected: Value =
        serde_json::from_slice(&fs::read(from.join(name_of(sealing)).with_extension("json")).unwrap()).unwrap();
    let open = Open::at(&path, sealing).await;
    assert_eq!(open.heads, (sealing == Sealing::Sealed).then_some(WitnessReport::Confirmed));
    assert_eq!(listing(&open).await, expected);
    assert!(expected["sessions"].as_array().unwrap().len() == 5);
    let again = open.manager.find(KEY).await.unwrap();
    let before = again.last(100).await.unwrap();
    again.append(Message::assistant("It goes on.")).await.unwrap();
    open.close().await;
    if sealing == Sealing::Plain {
        let report = verify(&path).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
    let open = Open::at(&path, sealing).await;
    let after = open.manager.find(KEY).await.unwrap().last(100).await.unwrap();
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.last().unwrap().message.text(), "It goes on.");
    let ids: Vec<SessionId> = open.log.rows(0, 1_000).await.unwrap().rows.iter().map(|row| row.session).collect();
    assert_eq!(ids.len(), expected["sessions"].as_array().unwrap().len());
    open.close().await;
}

#[tokio::test]
async fn a_plain_store_of_format_1_says_what_it_said_and_goes_on() {
    check(&golden(), Sealing::Plain).await;
}

#[tokio::test]
async fn a_sealed_store_of_format_1_says_what_it_said_and_goes_on() {
    check(&golden(), Sealing::Sealed).await;
}

#[tokio::test]
async fn what_writes_them_still_does() {
    let (ground, given) = (TempDir::new().unwrap(), std::env::var_os("SESSIONS_WRITE_GOLDEN"));
    let to = given.map_or_else(|| ground.path().join("golden"), PathBuf::from);
    for sealing in [Sealing::Plain, Sealing::Sealed] {
        let path = ground.path().join(name_of(sealing));
        let open = Open::at(&path, sealing).await;
        fill(&open).await;
        let said = listing(&open).await;
        open.close().await;
        taken(ground.path(), sealing, &to);
        let said = serde_json::to_string_pretty(&said).unwrap();
        fs::write(to.join(name_of(sealing)).with_extension("json"), format!("{said}\n")).unwrap();
        check(&to, sealing).await;
    }
}
