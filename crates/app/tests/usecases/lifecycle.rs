//! A session's life beside its conversation: states, words, metadata, state, names, the trash and the end.

use std::sync::Arc;

use sessions_app::{
    At, Deletion, EndReason, ErrorKind, Forks, NewSession, PlaceToken, Query, SessionError, SessionManager, Settings,
};
use sessions_domain::{
    Actor, CommitHash, Json, Limits, Message, MessagePart, Moment, RuleViolation, RuntimeState, SessionSettings,
    SessionStatus, StateScope,
};
use sessions_infra::MemoryStore;
use sessions_ports::Durability;
use sessions_testkit::{HeldStore, Injected};

use crate::ground::{self, due, texts};

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn limited(limits: Limits) -> SessionManager {
    SessionManager::with(ground::ports(MemoryStore::new()), Settings { limits, ..Settings::default() }).unwrap()
}

#[tokio::test]
async fn a_paused_session_takes_words_and_no_messages() {
    let sessions = ground::manager(MemoryStore::new());
    let session = sessions.create(NewSession::default()).await.unwrap();
    session.append(Message::user("a")).await.unwrap();
    assert!(session.set_status(SessionStatus::Paused).await.unwrap());
    assert!(!session.set_status(SessionStatus::Paused).await.unwrap());
    let refused = session.append(Message::user("b")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    session.rename("still").await.unwrap();
    let fork = session.fork(At::Now).await.unwrap();
    assert_eq!(fork.status().await.unwrap(), SessionStatus::Active);
    fork.append(Message::user("b")).await.unwrap();
    session.set_status_because(SessionStatus::Archived, Some("old".into())).await.unwrap();
    let wrong = session.set_status(SessionStatus::Completed).await.unwrap_err();
    assert!(matches!(wrong, SessionError::Rule(RuleViolation::InvalidTransition { .. })));
    let query = Query { status: Some(SessionStatus::Archived), ..Query::default() };
    assert_eq!(sessions.list(&query).await.unwrap().sessions[0].id, session.id());
}

#[tokio::test]
async fn many_things_change_in_one_append_and_survive_a_reload() {
    let store = MemoryStore::new();
    let sessions = ground::manager(store.clone());
    let session = sessions.create(NewSession::titled("t")).await.unwrap();
    let before = session.version().await.unwrap();
    let mut updates = session.subscribe(before);
    let change = |draft: &mut sessions_domain::decide::Draft| {
        draft.title = Some("better".into());
        draft.tag("b");
        draft.tag("a");
        draft.metadata.mode = Some("plan".into());
        draft.metadata.files = ["x", "y", "x"].map(String::from).to_vec();
        draft.metadata.custom.insert("k".into(), json("1.50"));
        draft.state.insert("step".into(), json("3"));
    };
    assert!(session.update(change).await.unwrap());
    assert!(!session.update(change).await.unwrap(), "all of it is so already");
    updates.next().await.unwrap().unwrap();
    let again = ground::manager(store).load(session.id()).await.unwrap();
    let view = again.fresh_view().await.unwrap();
    assert_eq!(
        (view.origin().files.as_slice(), view.origin().mode.as_deref()),
        (&["x".into(), "y".into()][..], Some("plan"))
    );
    assert_eq!(view.origin().custom["k"].as_str(), "1.50");
    assert_eq!(again.state("step").await.unwrap(), Some(json("3")));
    let row = sessions.list(&Query::default()).await.unwrap().sessions.remove(0);
    assert_eq!((row.title.as_deref(), row.tags), (Some("better"), vec!["a".to_owned(), "b".to_owned()]));
}

#[tokio::test]
async fn each_scope_of_state_lives_as_long_as_it_should() {
    let store = MemoryStore::new();
    let sessions = ground::manager(store.clone());
    let one = sessions.create(NewSession::default()).await.unwrap();
    let keys = ["step", "user:theme", "app:motd", "temp:cursor"];
    assert!(one.set_states(keys.map(|key| (key, Some(json("1"))))).await.unwrap());
    assert!(!one.set_states(keys.map(|key| (key, Some(json("1"))))).await.unwrap());
    let two = sessions.create(NewSession::default()).await.unwrap();
    for (key, expected) in keys.into_iter().zip([None, Some(json("1")), Some(json("1")), None]) {
        assert_eq!(two.state(key).await.unwrap(), expected, "{key}");
    }
    let ada = sessions.acting_for(Actor::named("ada")).load(two.id()).await.unwrap();
    assert_eq!(ada.state("user:theme").await.unwrap(), None, "another user's");
    assert_eq!(ada.state("app:motd").await.unwrap(), Some(json("1")));
    ada.set_state("user:theme", json("2")).await.unwrap();
    assert_eq!(two.state("user:theme").await.unwrap(), Some(json("1")));
    sessions.delete(one.id(), Deletion::default()).await.unwrap();
    let later = ground::manager(store).load(two.id()).await.unwrap();
    assert_eq!(later.state_of(StateScope::User).await.unwrap().len(), 1);
    assert!(later.unset_state("user:theme").await.unwrap());
    assert!(!later.unset_state("user:theme").await.unwrap());
    let listed = sessions.list(&Query::default()).await.unwrap().sessions.len();
    assert_eq!(listed, 1, "logs of state are no sessions");
}

#[tokio::test]
async fn writers_of_one_scope_lose_nothing() {
    let sessions = ground::manager(MemoryStore::new());
    let mut tasks = Vec::new();
    for n in 0..32 {
        let session = sessions.create(NewSession::default()).await.unwrap();
        tasks.push(tokio::spawn(async move {
            session.set_state(&format!("user:k{n}"), Json::parse("true").unwrap()).await.unwrap()
        }));
    }
    for task in tasks {
        assert!(task.await.unwrap());
    }
    let session = sessions.create(NewSession::default()).await.unwrap();
    assert_eq!(session.state_of(StateScope::User).await.unwrap().len(), 32);
}

#[tokio::test]
async fn sessions_that_are_on_their_way_count_toward_their_number() {
    let store = HeldStore::over(Arc::new(MemoryStore::new()));
    let limits = Limits { sessions: Some(2), ..Limits::default() };
    let sessions =
        SessionManager::with(ground::ports(store.clone()), Settings { limits, ..Settings::default() }).unwrap();
    let make = || {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.create(NewSession::default()).await.map(|session| session.id()) })
    };
    let first = make();
    store.until_held(1).await;
    let second = make();
    store.until_held(2).await;
    let full = due("refusing", make()).await.unwrap().unwrap_err();
    assert!(matches!(full, SessionError::LimitReached { limit: "sessions", max: 2, actual: 3 }), "{full}");
    store.write_one();
    let trashed = first.await.unwrap().unwrap();
    store.fail_all(Injected::NoSpace);
    assert!(second.await.unwrap().is_err(), "what cannot be made gives its room back");
    let another = make();
    store.until_held(1).await;
    store.write_all();
    another.await.unwrap().unwrap();
    let trashing = {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.trash(trashed).await })
    };
    store.until_held(1).await;
    store.write_all();
    assert!(trashing.await.unwrap().unwrap());
    // One that is taken out of the trash is on its way too.
    let restoring = {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.restore_from_trash(trashed).await.map(|session| session.id()) })
    };
    store.until_held(1).await;
    assert_eq!(due("refusing", make()).await.unwrap().unwrap_err().kind(), ErrorKind::Limit);
    store.write_all();
    assert_eq!(restoring.await.unwrap().unwrap(), trashed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_number_of_sessions_is_never_above_its_limit() {
    let sessions = limited(Limits { sessions: Some(10), ..Limits::default() });
    let mut tasks = Vec::new();
    for _ in 0..64 {
        let sessions = sessions.clone();
        tasks.push(tokio::spawn(
            async move { sessions.create(NewSession::default()).await.map(|session| session.id()) },
        ));
    }
    let (mut made, mut refused) = (Vec::new(), 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => made.push(id),
            Err(SessionError::LimitReached { limit: "sessions", max: 10, .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((made.len(), refused), (10, 54));
    sessions.trash(made[0]).await.unwrap();
    sessions.create(NewSession::default()).await.unwrap();
    let full = sessions.restore_from_trash(made[0]).await.err().unwrap();
    assert_eq!(full.kind(), ErrorKind::Limit);
    sessions.delete(made[1], Deletion::default()).await.unwrap();
    sessions.restore_from_trash(made[0]).await.unwrap();
}

#[tokio::test]
async fn limits_of_messages_hold_and_a_session_narrows_them() {
    let sessions = limited(Limits { messages: Some(5), parts: Some(2), ..Limits::default() });
    let session = sessions.create(NewSession::default()).await.unwrap();
    let wide = Message::user("a").with(MessagePart::text("b")).with(MessagePart::text("c"));
    assert_eq!(session.append(wide).await.unwrap_err().kind(), ErrorKind::Limit);
    let settings = SessionSettings { max_messages: Some(2), ..SessionSettings::default() };
    session.update(|draft| draft.metadata.settings = settings.clone()).await.unwrap();
    session.append(Message::user("a")).await.unwrap();
    session.append(Message::user("b")).await.unwrap();
    let full = session.append(Message::user("c")).await.unwrap_err();
    assert!(matches!(full, SessionError::LimitReached { max: 2, actual: 3, .. }), "{full}");
    session.undo(1).await.unwrap();
    session.append(Message::user("c")).await.unwrap();
    assert_eq!(texts(&session).await, ["a", "c"]);
}

#[tokio::test]
async fn the_trash_keeps_everything_and_an_open_by_key_brings_it_back() {
    let sessions = ground::manager(MemoryStore::new());
    let session = sessions.open_or_create("k").await.unwrap();
    session.append(Message::user("a")).await.unwrap();
    assert!(sessions.trash(session.id()).await.unwrap());
    assert!(!sessions.trash(session.id()).await.unwrap());
    assert!(sessions.get(session.id()).await.unwrap().is_none());
    let error = session.append(Message::user("b")).await.unwrap_err();
    assert!(matches!(error, SessionError::InTrash { .. }) && error.kind() == ErrorKind::NotFound);
    assert!(sessions.list(&Query::default()).await.unwrap().sessions.is_empty());
    let trash = Query { trash: true, ..Query::default() };
    assert_eq!(sessions.list(&trash).await.unwrap().sessions.len(), 1);
    let again = sessions.open_or_create("k").await.unwrap();
    assert_eq!((again.id(), texts(&again).await), (session.id(), vec!["a".to_owned()]));
    assert!(sessions.list(&trash).await.unwrap().sessions.is_empty());
    session.append(Message::user("b")).await.unwrap();
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_forks_keep_what_they_need() {
    let sessions = ground::manager(MemoryStore::new());
    let session = sessions.open_or_create("k").await.unwrap();
    session.append(Message::user("a")).await.unwrap();
    session.append(Message::assistant("b")).await.unwrap();
    let fork = session.fork(At::Now).await.unwrap();
    let inner = fork.fork(At::Version(2)).await.unwrap();
    session.append(Message::user("only here")).await.unwrap();
    let mut updates = session.subscribe(session.version().await.unwrap());
    let report = sessions.delete(session.id(), Deletion::default()).await.unwrap();
    assert_eq!((report.was_gone, report.kept, report.heirs.len()), (false, 3, 2));
    assert!(due("the end", updates.next()).await.unwrap().is_none());
    assert_eq!(updates.end_reason(), Some(EndReason::Deleted));
    assert!(sessions.delete(session.id(), Deletion::default()).await.unwrap().was_gone);
    for error in [
        sessions.load(session.id()).await.err().unwrap(),
        session.append(Message::user("x")).await.unwrap_err(),
        session.last(1).await.unwrap_err(),
        sessions.create(NewSession::default().id(session.id())).await.err().unwrap(),
    ] {
        assert!(matches!(error, SessionError::Gone { .. }), "{error}");
    }
    let other = sessions.open_or_create("k").await.unwrap();
    assert_ne!(other.id(), session.id(), "its key is free");
    // Others read the forks from the log.
    let fork = sessions.load(fork.id()).await.unwrap();
    fork.append(Message::user("c")).await.unwrap();
    assert_eq!(texts(&fork).await, ["a", "b", "c"]);
    assert_eq!(texts(&inner).await, ["a"]);
    let ancestors = inner.lineage().await.unwrap().ancestors;
    assert_eq!(ancestors.iter().map(|known| known.session).collect::<Vec<_>>(), [fork.id(), session.id()]);
}

#[tokio::test]
async fn a_fork_of_what_was_deleted_is_read_by_who_never_saw_it() {
    let store = MemoryStore::new();
    let sessions = ground::manager(store.clone());
    let session = sessions.create(NewSession::default()).await.unwrap();
    for n in 0..200 {
        session.append(Message::user(n.to_string())).await.unwrap();
    }
    session.undo(50).await.unwrap();
    session.append(Message::user("another way")).await.unwrap();
    let fork = session.fork(At::Now).await.unwrap();
    let seen = texts(&fork).await;
    sessions.delete(session.id(), Deletion::default()).await.unwrap();
    let later = ground::manager(store).load(fork.id()).await.unwrap();
    assert_eq!(texts(&later).await, seen);
    assert_eq!(later.branches().await.unwrap().len(), 2);
    later.undo(1).await.unwrap();
    later.append(Message::user("on")).await.unwrap();
    let inner = later.fork(At::Version(100)).await.unwrap();
    assert_eq!(inner.last(1).await.unwrap()[0].text(), "98");
}

#[tokio::test]
async fn a_cascade_takes_forks_of_forks_and_nothing_else() {
    let sessions = ground::manager(MemoryStore::new());
    let session = sessions.create(NewSession::default()).await.unwrap();
    session.append(Message::user("a")).await.unwrap();
    let fork = session.fork(At::Now).await.unwrap();
    let inner = fork.fork(At::Now).await.unwrap();
    let apart = sessions.create(NewSession::default()).await.unwrap();
    let deletion = Deletion::default().forks(Forks::Cascade);
    let report = sessions.delete(session.id(), deletion).await.unwrap();
    let mut cascaded = report.cascaded.clone();
    cascaded.sort_unstable();
    let mut forks = vec![fork.id(), inner.id()];
    forks.sort_unstable();
    assert_eq!((cascaded, report.kept), (forks, 0));
    let left = sessions.list(&Query::default()).await.unwrap().sessions;
    assert_eq!(left.iter().map(|row| row.id).collect::<Vec<_>>(), [apart.id()]);
    let stale = Deletion::default().at_version(7);
    let conflict = sessions.delete(apart.id(), stale).await.unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn an_edit_is_a_branch_that_ends_there() {
    let sessions = ground::manager(MemoryStore::new());
    let session = sessions.create(NewSession::default()).await.unwrap();
    let first = session.append(Message::user("first")).await.unwrap();
    let second = session.append(Message::user("second")).await.unwrap();
    session.append(Message::assistant("answer")).await.unwrap();
    let receipt = session.edit(second.message, Message::user("better")).await.unwrap();
    assert_eq!(texts(&session).await, ["first", "better"]);
    let edited = session.last(1).await.unwrap().remove(0);
    assert_eq!((edited.id, edited.replaces, edited.depth), (receipt.message, Some(second.message), 2));
    session.edit(first.message, Message::user("anew")).await.unwrap();
    assert_eq!(texts(&session).await, ["anew"]);
    assert_eq!(session.branches().await.unwrap().len(), 3);
    session.checkout(0).await.unwrap();
    assert_eq!(texts(&session).await, ["first", "second", "answer"]);
    let call = Message::assistant("x").with(MessagePart::tool_call("c", "t", "{}").unwrap());
    let called = session.append(call).await.unwrap();
    session.append(Message::tool_result("c", "r")).await.unwrap();
    let refused = session.edit(called.message, Message::assistant("y")).await.unwrap_err();
    assert!(matches!(refused, SessionError::Rule(RuleViolation::NotEditable)));
}

#[tokio::test]
async fn a_checkpoint_names_a_place_to_look_at_fork_from_and_go_back_to() {
    let sessions = ground::manager(MemoryStore::new());
    let session = sessions.create(NewSession::default()).await.unwrap();
    session.append(Message::user("a")).await.unwrap();
    session.checkpoint("before", At::Now).await.unwrap();
    session.append(Message::user("b")).await.unwrap();
    let at = session.at_checkpoint("before").await.unwrap();
    assert_eq!(session.last_at(at, 9).await.unwrap().len(), 1);
    assert_eq!(texts(&session.fork(at).await.unwrap()).await, ["a"]);
    session.checkout_at(at).await.unwrap();
    session.append(Message::user("c")).await.unwrap();
    assert_eq!(texts(&session).await, ["a", "c"]);
    assert_eq!(session.checkpoints().await.unwrap()[0].name, "before");
    session.remove_checkpoint("before").await.unwrap();
    let error = session.at_checkpoint("before").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_token_is_its_place_or_says_why_not() {
    let sessions = ground::manager(MemoryStore::pretending(Durability::Disk));
    let session = sessions.create(NewSession::default()).await.unwrap();
    let receipt = session.append(Message::user("a")).await.unwrap();
    session.append(Message::user("b")).await.unwrap();
    let token: PlaceToken = session.token(&receipt).to_string().parse().unwrap();
    assert_eq!(session.last_at(At::Token(token), 9).await.unwrap().len(), 1);
    let fork = session.fork(At::Now).await.unwrap();
    assert_eq!(fork.last_at(At::Token(token), 9).await.unwrap().len(), 1, "an inherited place");
    let apart = sessions.create(NewSession::default()).await.unwrap();
    let foreign = apart.last_at(At::Token(token), 9).await.unwrap_err();
    assert!(matches!(foreign, SessionError::ForeignPlace));
    let mut changed = token;
    changed.place.hash = CommitHash::ZERO;
    assert!(matches!(session.last_at(At::Token(changed), 9).await.unwrap_err(), SessionError::RolledBack));
    changed.durability = Durability::Process;
    assert!(matches!(session.last_at(At::Token(changed), 9).await.unwrap_err(), SessionError::LostPlace));
    changed.place.seq = 99;
    assert!(matches!(session.last_at(At::Token(changed), 9).await.unwrap_err(), SessionError::LostPlace));
}

#[tokio::test]
async fn every_change_is_made_once_under_a_key() {
    let store = MemoryStore::new();
    let sessions = ground::manager(store.clone());
    let session = sessions.create(NewSession::default()).await.unwrap();
    let ids = ["a", "b", "c"].map(Message::user);
    let mut last = None;
    for message in ids {
        last = Some(session.append(message).await.unwrap().message);
    }
    let (last, other) = (last.unwrap(), ground::manager(store));
    let other = other.load(session.id()).await.unwrap();
    macro_rules! twice {
        ($key:literal, $session:ident => $call:expr) => {{
            let first = {
                let $session = session.once($key);
                $call.await.unwrap()
            };
            let version = session.version().await.unwrap();
            let again = {
                let $session = other.once($key);
                $call.await.unwrap()
            };
            assert_eq!(session.version().await.unwrap(), version, $key);
            (first, again)
        }};
    }
    let (first, again) = twice!("undo", s => s.undo(2));
    assert_eq!((first.moved_to, first.steps, first.version), (again.moved_to, again.steps, again.version));
    twice!("redo", s => s.redo(1));
    twice!("clear", s => s.clear());
    twice!("checkout", s => s.checkout(0));
    twice!("checkout-at", s => s.checkout_at(At::Version(2)));
    let (first, again) = twice!("edit", s => s.edit(last, Message::user("better")));
    assert_eq!(first.message, again.message);
    let (first, again) = twice!("append", s => s.append(Message::user("d")));
    assert_eq!(first.message, again.message);
    twice!("rename", s => s.rename("t"));
    twice!("update", s => s.update(|draft| draft.metadata.mode = Some("plan".into())));
    twice!("status", s => s.set_status(SessionStatus::Paused));
    twice!("pin", s => s.pin(last, true));
    twice!("checkpoint", s => s.checkpoint("n", At::Now));
    twice!("state", s => s.set_state("k", json("1")));
    twice!("touch", s => s.touch());
    twice!("untag", s => s.update(|draft| draft.untag("x")));
    let reused = session.once("status").trash().await.unwrap_err();
    assert!(matches!(reused, SessionError::KeyReused), "another verb");
    let (first, again) = twice!("fork", s => s.fork(At::Version(2)));
    assert_eq!(first.id(), again.id());
    let reused = session.once("undo").undo(3).await.unwrap_err();
    assert!(matches!(reused, SessionError::KeyReused));
    let reused = session.once("undo").redo(2).await.unwrap_err();
    assert!(matches!(reused, SessionError::KeyReused), "another verb");
}

#[tokio::test]
async fn a_session_that_was_busy_is_interrupted_for_whoever_comes_later() {
    let store = MemoryStore::new();
    let sessions = ground::manager(store.clone());
    let session = sessions.create(NewSession::default()).await.unwrap();
    assert_eq!(session.runtime().await.unwrap(), RuntimeState::Idle);
    let next = Moment::from_millis(5);
    let retrying = RuntimeState::Retrying { attempt: 2, next, message: "529".into() };
    for state in [RuntimeState::Busy, retrying] {
        session.set_runtime(state.clone()).await.unwrap();
        assert_eq!(session.runtime().await.unwrap(), state);
        let later = ground::manager(store.clone()).load(session.id()).await.unwrap();
        assert_eq!(later.runtime().await.unwrap(), RuntimeState::Interrupted);
    }
    session.set_runtime(RuntimeState::Idle).await.unwrap();
    let later = ground::manager(store).load(session.id()).await.unwrap();
    assert_eq!(later.runtime().await.unwrap(), RuntimeState::Idle);
}

#[tokio::test]
async fn a_session_that_moves_in_keeps_its_time_as_data() {
    let clock = Arc::new(sessions_testkit::FixedClock::at(Moment::from_millis(2_000)));
    let ports = sessions_app::Ports { clock: clock.clone() as _, ..ground::ports(MemoryStore::new()) };
    let sessions = ground::with(ports);
    let new = NewSession::titled("old").created_at(Moment::from_millis(1_000));
    let session = sessions.create(new).await.unwrap();
    let row = session.summary().await.unwrap();
    assert_eq!((row.created, row.updated), (Moment::from_millis(1_000), Moment::from_millis(2_000)));
    clock.set(Moment::from_millis(3_000));
    session.touch().await.unwrap();
    let row = sessions.list(&Query::default()).await.unwrap().sessions.remove(0);
    assert_eq!((row.updated, row.last_accessed), (Moment::from_millis(2_000), Moment::from_millis(3_000)));
    let made = Query { created_until: Some(Moment::from_millis(1_500)), ..Query::default() };
    assert_eq!(sessions.list(&made).await.unwrap().sessions.len(), 1);
    let prefix = Query { title_prefix: Some("o".into()), title: Some("old".into()), ..Query::default() };
    assert_eq!(sessions.list(&prefix).await.unwrap().sessions.len(), 1);
    let none = Query { key_prefix: Some("x".into()), ..Query::default() };
    assert!(sessions.list(&none).await.unwrap().sessions.is_empty());
}
