//! Sessions of several tenants in one store: what another tenant asks for is not there, and what he asks for changes and tells nothing.
//!
//! Must not know: other stores.

use std::io::Cursor;

use sessions_app::{
    At, Deletion, DeletionReport, ErrorKind, Forks, ImportOptions, NewSession, Query, Session, SessionError,
    SessionManager,
};
use sessions_domain::{
    Actor, CommitHash, Created, Event, Kind, LineageId, Message, Moment, Place, SessionId, Stamp, codec, decide,
};
use sessions_infra::MemoryStore;
use sessions_ports::{Commit, Durability, Expected, Link, Record, RowChange, SessionLog as _};

use crate::ground::{self, texts};

const BLIND: [u8; 32] = [7; 32];

fn actor(tenant: &str) -> Actor {
    Actor { tenant: tenant.into(), id: "x".into() }
}

/// Managers of two tenants over one store.
fn two() -> (MemoryStore, SessionManager, SessionManager) {
    let store = MemoryStore::new();
    let sessions = ground::manager(store.clone());
    (store, sessions.acting_for(actor("ours")), sessions.acting_for(actor("theirs")))
}

/// A session that a fork inherits from.
async fn forked(sessions: &SessionManager) -> (Session, Session) {
    let session = sessions.create(NewSession::titled("t")).await.unwrap();
    session.append(Message::user("a")).await.unwrap();
    let fork = session.fork(At::Now).await.unwrap();
    fork.append(Message::user("b")).await.unwrap();
    (session, fork)
}

/// The first record of a log, and its payload's bytes.
fn first(seq: u64, before: CommitHash, created: Created, tenant: &str) -> Record {
    let lineage = created.lineage;
    let stamp = Stamp { at: Moment::from_millis(5), actor: actor(tenant) };
    let body = codec::encode(&Event::Created(Box::new(created)), &stamp).unwrap();
    let commit = before.next(lineage, seq, Kind::CREATED, &BLIND, &body);
    Record { seq, kind: Kind::CREATED, commit, label: 0, payload: [&BLIND, body.as_slice()].concat().into() }
}

/// A fork of a session that belongs to another tenant.
async fn fork_of_another(store: &MemoryStore, parent: &Session, tenant: &str) -> SessionId {
    let view = parent.fresh_view().await.unwrap();
    let (at, session) = (view.version(), SessionId::from_bytes([9; 16]));
    let point = decide::fork_point(&view, at, view.commit(), view.head(), view.depth());
    let created = Created { fork: Some(point), ..Created::of(session, LineageId::from_bytes([8; 16])) };
    let made = Commit {
        session,
        expected: Expected::NoStream,
        records: vec![first(at + 1, view.commit(), created, tenant)],
        row: RowChange { updated: Moment::from_millis(5), messages: 1, words: None },
        key: None,
        claims: Vec::new(),
        links: vec![Link { owner: parent.id(), last: at }],
        snapshot: None,
        durability: Durability::Volatile,
    };
    store.commit(made).await.unwrap();
    session
}

fn ways() -> [Deletion; 5] {
    let of = |forks| Deletion::default().forks(forks);
    let all = [Forks::Keep, Forks::Refuse, Forks::Detach, Forks::Cascade].map(of);
    [all[0], all[1], all[2], all[3], all[2].at_version(1)]
}

#[tokio::test]
async fn deleting_another_tenants_session_tells_and_changes_nothing() {
    let (store, ours, theirs) = two();
    let (session, fork) = forked(&ours).await;
    for deletion in ways() {
        let refused = theirs.delete(session.id(), deletion).await.unwrap_err();
        assert!(matches!(refused, SessionError::NotFound { .. }), "{deletion:?}: {refused}");
        assert_eq!(store.heirs(session.id()).await.unwrap().len(), 1, "{deletion:?}: the fork inherits as before");
        assert_eq!(store.head(fork.id()).await.unwrap().unwrap().first, 3, "{deletion:?}: it was not detached");
    }
    assert_eq!((texts(&session).await.len(), texts(&fork).await.len()), (1, 2));
}

#[tokio::test]
async fn another_tenants_call_finds_no_session_and_leaves_it_as_it_is() {
    let (_, ours, theirs) = two();
    let (session, _) = forked(&ours).await;
    ours.trash(session.id()).await.unwrap();
    let before = ours.load_any(session.id()).await.unwrap().version().await.unwrap();
    let id = session.id().to_string();
    for error in [
        theirs.load(session.id()).await.err().unwrap(),
        theirs.load_any(session.id()).await.err().unwrap(),
        theirs.trash(session.id()).await.err().unwrap(),
        theirs.restore_from_trash(session.id()).await.err().unwrap(),
    ] {
        assert!(matches!(error, SessionError::NotFound { .. }), "{error}");
    }
    for name in [id.clone(), format!("id:{id}"), format!("id:{}", &id[..20])] {
        let error = theirs.find_any(&name).await.err().unwrap();
        assert!(matches!(error, SessionError::NotFound { .. } | SessionError::NoSuchName), "{name}: {error}");
    }
    let copy = theirs.create(NewSession::default().sub_agent_of(session.id())).await.unwrap();
    assert_eq!(copy.lineage().await.unwrap().ancestors.len(), 1, "what it was told, and nothing behind it");
    let session = ours.load_any(session.id()).await.unwrap();
    assert_eq!(session.version().await.unwrap(), before);
    assert_eq!(session.lineage().await.unwrap().children.len(), 1, "another tenant's child is none");
    assert_eq!(theirs.list(&Query::default()).await.unwrap().sessions.len(), 1);
}

#[tokio::test]
async fn forks_of_another_tenant_are_neither_named_nor_changed_nor_deleted() {
    let (store, ours, theirs) = two();
    let (session, fork) = forked(&ours).await;
    let foreign = fork_of_another(&store, &session, "theirs").await;
    for forks in [Forks::Refuse, Forks::Detach, Forks::Cascade] {
        let refused = ours.delete(session.id(), Deletion::default().forks(forks)).await.unwrap_err();
        let SessionError::HasForks { forks: named, .. } = &refused else { panic!("{forks:?}: {refused}") };
        assert_eq!((named.as_slice(), refused.kind()), (&[fork.id()][..], ErrorKind::Conflict), "{forks:?}");
        assert!(!refused.to_string().contains(&foreign.to_string()));
        assert_eq!(texts(&fork).await, ["a", "b"], "{forks:?}: none went");
        assert_eq!(store.head(foreign).await.unwrap().unwrap().first, 3, "{forks:?}: it was not detached");
    }
    let report = ours.delete(session.id(), Deletion::default()).await.unwrap();
    assert_eq!(report.heirs, [fork.id()]);
    assert_eq!(texts(&theirs.load(foreign).await.unwrap()).await, ["a"]);
    // Of what is gone it is not known any more whose it was: whoever deletes it again hears of his own alone.
    ours.delete(fork.id(), Deletion::default()).await.unwrap();
    let again = ours.delete(session.id(), Deletion::default().forks(Forks::Refuse)).await.unwrap();
    assert_eq!(again, DeletionReport { was_gone: true, ..DeletionReport::default() });
    assert_eq!(texts(&theirs.load(foreign).await.unwrap()).await, ["a"]);
}

#[tokio::test]
async fn a_cascade_stops_before_anything_goes_when_a_fork_of_a_fork_is_another_tenants() {
    let (store, ours, _) = two();
    let (session, fork) = forked(&ours).await;
    let other = session.fork(At::Now).await.unwrap();
    fork_of_another(&store, &fork, "theirs").await;
    let refused = ours.delete(other.id(), Deletion::default().forks(Forks::Cascade)).await;
    assert_eq!(refused.unwrap().cascaded, [], "another fork has nothing to do with it");
    let refused = ours.delete(session.id(), Deletion::default().forks(Forks::Cascade)).await.unwrap_err();
    assert!(matches!(refused, SessionError::HasForks { .. }), "{refused}");
    assert_eq!((texts(&session).await.len(), texts(&fork).await.len()), (1, 2));
}

#[tokio::test]
async fn a_version_that_passed_keeps_the_forks_too() {
    let sessions = ground::manager(MemoryStore::new());
    let (session, fork) = forked(&sessions).await;
    let version = session.version().await.unwrap();
    for forks in [Forks::Detach, Forks::Cascade] {
        let refused = sessions.delete(session.id(), Deletion::default().forks(forks).at_version(version - 1)).await;
        assert!(matches!(refused, Err(SessionError::Conflict { .. })), "{refused:?}");
        assert_eq!(texts(&fork).await, ["a", "b"], "{forks:?}");
        assert_eq!(sessions.ports().store.heirs(session.id()).await.unwrap().len(), 1, "{forks:?}");
    }
    let deletion = Deletion::default().forks(Forks::Cascade).at_version(version);
    assert_eq!(sessions.delete(session.id(), deletion).await.unwrap().cascaded, [fork.id()]);
}

/// A line of a file.
fn line(session: SessionId, lineage: LineageId, record: &Record) -> String {
    let (blind, body) = match record.payload.split_first_chunk::<32>() {
        Some((blind, body)) => (*blind, format!(r#""body":{}"#, std::str::from_utf8(body).unwrap())),
        None => ([0; 32], r#""body_hex":"""#.to_owned()),
    };
    let blind = CommitHash::from_bytes(blind);
    let Record { seq, kind, commit, .. } = record;
    let kind = kind.0;
    format!(
        r#"{{"session":"{session}","lineage":"{lineage}","seq":{seq},"kind":{kind},"commit":"{commit}","blind":"{blind}",{body}}}"#
    )
}

/// A file of a fork of somebody's session by one who knows the token of a place there, and nothing of what was said: all records are lost.
async fn forged(sessions: &SessionManager, place: Place, tenant: &str) -> String {
    let (owner, lineage) = (LineageId::from_bytes([5; 16]), LineageId::from_bytes([6; 16]));
    let session = SessionId::from_bytes([4; 16]);
    let begun = first(1, CommitHash::ZERO, Created::of(place.session, owner), tenant);
    let mut records = vec![begun];
    for seq in 2..=place.seq {
        let commit = if seq == place.seq { place.hash } else { CommitHash::from_bytes([3; 32]) };
        records.push(Record { seq, kind: Kind::LOST, commit, label: 0, payload: Vec::new().into() });
    }
    let fork = sessions_domain::ForkPoint {
        parent: place.session,
        at: place.seq,
        commit: place.hash,
        head: 0,
        depth: 0,
        owners: vec![(place.session, place.seq)],
        last: None,
        inherits: Default::default(),
    };
    let created = Created { fork: Some(fork), ..Created::of(session, lineage) };
    let own = first(place.seq + 1, place.hash, created, tenant);
    let extent = |session, lineage, first, last: &Record| {
        let (seq, commit) = (last.seq, last.commit);
        format!(r#"{{"session":"{session}","lineage":"{lineage}","first":{first},"last":{seq},"commit":"{commit}"}}"#)
    };
    // The first line is as a file of ours has it.
    let mut export = sessions.create(NewSession::default()).await.unwrap().export_jsonl().await.unwrap();
    let bytes = export.next_chunk().await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let head = text.split(r#""session""#).next().unwrap();
    let extents = [extent(place.session, owner, 1, records.last().unwrap()), extent(session, lineage, own.seq, &own)];
    let head = format!(r#"{head}"session":"{session}","lineage":"{lineage}","logs":[{}]}}"#, extents.join(","));
    let lines = records.iter().map(|record| line(place.session, owner, record));
    let lines: Vec<String> = [head].into_iter().chain(lines).chain([line(session, lineage, &own)]).collect();
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn a_file_inherits_nothing_of_another_tenants_session_and_hears_nothing_of_it() {
    let (store, ours, theirs) = two();
    let session = ours.create(NewSession::titled("t")).await.unwrap();
    let receipt = session.append(Message::user("a secret")).await.unwrap();
    let place = session.token(&receipt).place;
    for place in [place, Place { hash: CommitHash::from_bytes([2; 32]), ..place }] {
        let file = forged(&theirs, place, "theirs").await;
        let refused = theirs.import(Cursor::new(file.into_bytes()), ImportOptions::default()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        assert!(!refused.to_string().contains("version 2"), "{refused}");
        assert_eq!(store.heirs(session.id()).await.unwrap(), [], "nobody inherits from it");
        assert!(theirs.get(SessionId::from_bytes([4; 16])).await.unwrap().is_none());
    }
    // In a store that has no such session the file is what it says: a session of which all is lost.
    let elsewhere = ground::manager(MemoryStore::new()).acting_for(actor("theirs"));
    let file = forged(&elsewhere, place, "theirs").await;
    let taken = elsewhere.import(Cursor::new(file.into_bytes()), ImportOptions::default()).await.unwrap();
    assert_eq!(taken.id, SessionId::from_bytes([4; 16]));
}
