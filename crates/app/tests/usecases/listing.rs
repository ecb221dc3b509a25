//! Lists are of now: what changes is first, pages do not repeat, and a cursor is one that a list gave.

use std::sync::Arc;

use sessions_app::{NewSession, Ports, Query, SessionError, SessionManager, SortBy};
use sessions_domain::{Actor, Message, Moment};
use sessions_infra::MemoryStore;
use sessions_testkit::FixedClock;

use crate::ground;

fn manager() -> (SessionManager, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::at(Moment::from_millis(1_763_690_000_000)));
    let ports = Ports { clock: Arc::clone(&clock) as _, ..ground::ports(MemoryStore::new()) };
    (ground::with(ports), clock)
}

#[tokio::test]
async fn what_changes_comes_first() {
    let (sessions, clock) = manager();
    let mut all = Vec::new();
    for n in 0..200 {
        all.push(sessions.create(NewSession::titled(n.to_string())).await.unwrap());
    }
    let query = Query { limit: 3, ..Query::default() };
    assert_eq!(sessions.list(&query).await.unwrap().sessions.len(), 3);
    for (at, session) in all.iter().step_by(17).enumerate() {
        clock.set(Moment::from_millis(1_763_690_000_001 + at as i64));
        session.append(Message::user("x")).await.unwrap();
        let page = sessions.list(&query).await.unwrap();
        let first = page.sessions.first().unwrap();
        assert_eq!((first.id, first.messages), (session.id(), 1), "change {at}");
    }
}

#[tokio::test]
async fn pages_hold_every_session_once_in_every_order() {
    let (sessions, _) = manager();
    for n in 0..137 {
        sessions.create(NewSession::titled(format!("t{}", n % 10))).await.unwrap();
    }
    for sort in [SortBy::Updated, SortBy::Created, SortBy::Title, SortBy::Messages] {
        let mut query = Query { limit: 10, sort, ..Query::default() };
        let mut seen = Vec::new();
        loop {
            let page = sessions.list(&query).await.unwrap();
            seen.extend(page.sessions.iter().map(|row| row.id));
            let Some(cursor) = page.cursor else { break };
            query.cursor = Some(cursor);
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((count, seen.len()), (137, 137), "{sort:?}");
    }
}

#[tokio::test]
async fn a_cursor_is_short_and_no_order_to_a_shell_whatever_the_titles() {
    let (sessions, _) = manager();
    let long = "日".repeat(1_000);
    let titles = ["'; rm -rf ~; '", "\"$(x)\" `y` \\", "a\n\u{1b}[2J\u{202e}", "", &long, &long, "b.c.d"];
    for title in titles {
        sessions.create(NewSession::titled(title)).await.unwrap();
    }
    let mut query = Query { limit: 1, sort: SortBy::Title, ..Query::default() };
    let mut seen = Vec::new();
    loop {
        let page = sessions.list(&query).await.unwrap();
        seen.extend(page.sessions.into_iter().filter_map(|row| row.title));
        let Some(cursor) = page.cursor else { break };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        assert!(cursor.len() < 1000 && cursor.chars().all(is_plain) && !cursor.starts_with('-'), "{cursor}");
        query.cursor = Some(cursor);
    }
    let mut sorted = titles;
    sorted.sort_unstable();
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn a_cursor_of_ones_own_making_is_refused() {
    let (sessions, _) = manager();
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for cursor in
        ["next", "", "..", id, &format!("{id}.1"), &format!("{id}.x."), &format!("{id}.0.f"), &format!("{id}.0.ff")]
    {
        let query = Query { cursor: Some(cursor.into()), ..Query::default() };
        assert!(matches!(sessions.list(&query).await, Err(SessionError::InvalidCursor)), "{cursor}");
    }
}

#[tokio::test]
async fn another_tenants_sessions_are_not_listed() {
    let (sessions, _) = manager();
    let tricky = r#""tenant":"a""#;
    sessions.create(NewSession::titled(tricky)).await.unwrap();
    let theirs = sessions.acting_for(Actor { tenant: "a".into(), id: "x".into() });
    let made = theirs.create(NewSession::titled("theirs")).await.unwrap();
    let titles =
        |page: sessions_app::ListPage| page.sessions.into_iter().filter_map(|row| row.title).collect::<Vec<String>>();
    assert_eq!(titles(sessions.list(&Query::default()).await.unwrap()), [tricky]);
    assert_eq!(titles(theirs.list(&Query::default()).await.unwrap()), ["theirs"]);
    assert!(sessions.get(made.id()).await.unwrap().is_none());
}
