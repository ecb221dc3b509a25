//! Laws of the list of sessions: rows, and the feed of their changes.
//!
//! Must not know: any store.

use std::collections::BTreeMap;

use bytes::Bytes;
use sessions_domain::{Moment, SessionId};
use sessions_ports::{Commit, Row, RowChange, SessionLog, StoreError};

use crate::{fixture::Fixture, script::Script, suite::Outcome};

fn change(updated: i64, messages: u64, words: Option<&'static str>) -> RowChange {
    RowChange {
        updated: Moment::from_millis(updated),
        messages,
        words: words.map(|text| Bytes::from_static(text.as_bytes())),
    }
}

async fn feed(store: &dyn SessionLog, mut since: u64, limit: usize) -> Result<(Vec<Row>, u64), StoreError> {
    let mut rows = Vec::new();
    loop {
        let page = store.rows(since, limit).await?;
        if page.more && page.next <= since {
            return Err(StoreError::Malformed { what: "the page of rows does not lead on" });
        }
        rows.extend(page.rows);
        since = page.next;
        if !page.more {
            return Ok((rows, since));
        }
    }
}

fn sessions(rows: &[Row]) -> Vec<SessionId> {
    rows.iter().map(|row| row.session).collect()
}

/// A session with words has a row, which says what its commits said.
pub async fn a_row_says_what_the_commits_said(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(Commit { row: change(100, 1, Some("one")), ..script.say_many(2) }).await?;
    store.commit(Commit { row: change(300, 2, None), ..script.say("more") }).await?;
    let mut expected = Row {
        session: script.session(),
        version: 3,
        created: Moment::from_millis(100),
        updated: Moment::from_millis(300),
        messages: 2,
        words: Bytes::from_static(b"one"),
    };
    ensure_eq!(store.rows(0, 10).await?.rows, [expected.clone()], "the row after a commit without words");
    store.commit(Commit { row: change(200, 0, Some("two")), ..script.say("still more") }).await?;
    expected.version = 4;
    expected.updated = Moment::from_millis(200);
    expected.messages = 0;
    expected.words = Bytes::from_static(b"two");
    ensure_eq!(store.rows(0, 10).await?.rows, [expected], "the row after new words and an earlier time");
    Ok(())
}

/// A session without words has no row until it gets some.
pub async fn a_session_without_words_has_no_row(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(Commit { row: change(1, 0, None), ..script.say("hidden") }).await?;
    store.commit(Commit { row: change(2, 0, None), ..script.say("still hidden") }).await?;
    let page = store.rows(0, 10).await?;
    ensure!(page.rows.is_empty() && !page.more, "a session without words has a row: {page:?}");
    store.commit(Commit { row: change(3, 0, Some("seen")), ..script.say("seen") }).await?;
    let rows = store.rows(page.next, 10).await?.rows;
    ensure_eq!(sessions(&rows), [script.session()], "rows once there are words");
    let created = rows.first().map(|row| row.created);
    ensure_eq!(created, Some(Moment::from_millis(1)), "the time of the first commit");
    Ok(())
}

/// An empty store has no rows, and nothing more.
pub async fn an_empty_store_has_no_rows(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let page = store.rows(0, 10).await?;
    ensure!(page.rows.is_empty() && !page.more, "{page:?}");
    Ok(())
}

/// Rows come in the order of their last change, each once.
pub async fn rows_come_in_the_order_of_their_last_change(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut scripts: Vec<Script> = (1..=5).map(Script::new).collect();
    for script in &mut scripts {
        store.commit(script.say("first")).await?;
    }
    let ids: Vec<SessionId> = scripts.iter().map(Script::session).collect();
    ensure_eq!(sessions(&store.rows(0, 10).await?.rows), ids, "rows in the order of creation");
    for script in scripts.iter_mut().rev().skip(1) {
        store.commit(script.say("second")).await?;
    }
    let expected: Vec<SessionId> = ids.iter().rev().take(1).chain(ids.iter().rev().skip(1)).copied().collect();
    ensure_eq!(sessions(&store.rows(0, 10).await?.rows), expected, "rows after changes in another order");
    Ok(())
}

/// Pages of any size give all rows.
pub async fn pages_of_rows_leave_none_out(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut ids = Vec::new();
    for number in 1..=17 {
        let mut script = Script::new(number);
        store.commit(script.say("first")).await?;
        ids.push(script.session());
    }
    for limit in [1, 2, 3, 16, 17, 18, 1000] {
        let page = store.rows(0, limit).await?;
        ensure!(page.rows.len() <= limit, "{} rows for at most {limit}", page.rows.len());
        ensure_eq!(page.more, limit < 17, "whether there are more than {limit} of 17 rows");
        ensure_eq!(sessions(&feed(&*store, 0, limit).await?.0), ids, "all rows in pages of {limit}");
    }
    Ok(())
}

/// After a page only what changed since is given.
pub async fn only_what_changed_comes_again(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut scripts: Vec<Script> = (1..=6).map(Script::new).collect();
    for script in &mut scripts {
        store.commit(script.say("first")).await?;
    }
    let (_, since) = feed(&*store, 0, 4).await?;
    let (rows, unchanged) = feed(&*store, since, 4).await?;
    ensure!(rows.is_empty() && unchanged == since, "rows of no change: {rows:?}");
    let mut expected = Vec::new();
    for at in [4, 1, 4] {
        if let Some(script) = scripts.get_mut(at) {
            store.commit(script.say("again")).await?;
            expected.retain(|id| *id != script.session());
            expected.push(script.session());
        }
    }
    let (rows, _) = feed(&*store, since, 4).await?;
    ensure_eq!(sessions(&rows), expected, "rows that changed");
    Ok(())
}

/// A row that changes while somebody pages is given again, and none is left out.
pub async fn a_row_that_changes_while_paging_is_given_again(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut scripts: Vec<Script> = (1..=20).map(Script::new).collect();
    for script in &mut scripts {
        store.commit(script.say("first")).await?;
    }
    let (mut since, mut seen, mut pages) = (0, BTreeMap::new(), 0);
    loop {
        let page = store.rows(since, 3).await?;
        seen.extend(page.rows.iter().map(|row| (row.session, row.version)));
        since = page.next;
        if !page.more {
            break;
        }
        pages += 1;
        ensure!(pages < 1000, "paging does not end");
        for script in scripts.iter_mut().skip(pages % 5).step_by(7).filter(|_| pages < 8) {
            store.commit(script.say("while paging")).await?;
        }
    }
    for script in &scripts {
        ensure_eq!(seen.get(&script.session()), Some(&script.version()), "the last row of {}", script.session());
    }
    Ok(())
}
