//! Lists of 100 000 sessions, paged in every order while 16 writers change half of them: what nobody touches appears exactly once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use sessions_app::{NewSession, Query, SessionManager, SortBy};
use sessions_domain::{Message, SessionId};
use sessions_infra::MemoryStore;
use sessions_ports::{Durability, SessionLog};

use crate::ground::{Dice, Host, folder, open, run, seed};

const SESSIONS: usize = 100_000;
const WRITERS: usize = 16;
/// Large, because an order by title looks at all sessions for each page.
const PAGE: usize = 4_000;

/// Half of the sessions are touched while pages are read, the others are not.
struct Crowd {
    still: Vec<SessionId>,
    moving: Vec<SessionId>,
}

async fn crowd(sessions: &SessionManager) -> Crowd {
    let mut crowd = Crowd { still: Vec::new(), moving: Vec::new() };
    for number in 0..SESSIONS {
        let is_still = number % 2 == 0;
        let tag = if is_still { "still" } else { "moving" };
        let new = NewSession::titled(format!("{:03} {tag}", number % 1_000)).tags([tag.to_owned()]);
        let session = sessions.create(new.durability(Durability::Volatile)).await.unwrap();
        if is_still { crowd.still.push(session.id()) } else { crowd.moving.push(session.id()) }
    }
    crowd
}

async fn write(
    sessions: SessionManager,
    mine: Vec<SessionId>,
    mut dice: Dice,
    end: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) {
    while !end.load(Ordering::Relaxed) {
        let id = *dice.pick(&mine).unwrap();
        let session = sessions.load_any(id).await.unwrap();
        match dice.below(6) {
            0..=2 => drop(session.append(Message::user("more")).await),
            3 => drop(session.rename(format!("{:03} renamed", dice.below(1_000))).await),
            4 => drop(sessions.trash(id).await),
            _ => drop(sessions.restore_from_trash(id).await),
        }
        done.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

/// How often each session appears on the pages of a query.
async fn paged(sessions: &SessionManager, mut query: Query) -> HashMap<SessionId, u32> {
    let mut seen = HashMap::new();
    query.limit = PAGE;
    loop {
        let page = sessions.list(&query).await.unwrap();
        for row in page.sessions {
            *seen.entry(row.id).or_default() += 1;
        }
        // Writers get their turn between pages.
        tokio::task::yield_now().await;
        match page.cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return seen,
        }
    }
}

async fn pages_beside_writers(store: Arc<dyn SessionLog>, host: &Host, seed: u64) {
    let sessions = host.manager(Arc::clone(&store), Durability::Volatile);
    let crowd = crowd(&sessions).await;
    let (end, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mine = crowd.moving.iter().copied().skip(writer).step_by(WRITERS).collect();
            // Every other writer has a manager of its own, as another part of a host would.
            let manager =
                if writer % 2 == 0 { sessions.clone() } else { host.manager(Arc::clone(&store), Durability::Volatile) };
            let dice = Dice::new(seed.wrapping_add(writer as u64));
            tokio::spawn(write(manager, mine, dice, Arc::clone(&end), Arc::clone(&done)))
        })
        .collect();
    for sort in [SortBy::Updated, SortBy::Created, SortBy::Title, SortBy::Messages] {
        let before = done.load(Ordering::Relaxed);
        let seen = paged(&sessions, Query { sort, ..Query::default() }).await;
        let missed = crowd.still.iter().filter(|id| seen.get(id) != Some(&1)).count();
        assert_eq!(missed, 0, "{sort:?}: of {} untouched sessions", crowd.still.len());
        assert!(done.load(Ordering::Relaxed) > before, "{sort:?}: nobody wrote meanwhile");
    }
    for query in [
        Query { tags: vec!["still".into()], ..Query::default() },
        Query { title_prefix: Some("0".into()), text: Some("STILL".into()), sort: SortBy::Title, ..Query::default() },
    ] {
        let wanted = if query.tags.is_empty() { SESSIONS / 20 } else { SESSIONS / 2 };
        let seen = paged(&sessions, query).await;
        assert!(seen.values().all(|times| *times == 1));
        assert_eq!(seen.len(), wanted);
    }
    end.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    println!("{} changes by {WRITERS} writers while {SESSIONS} sessions were paged", done.load(Ordering::Relaxed));
}

#[test]
fn what_nobody_touches_is_listed_once_in_memory() {
    let seed = seed("paging");
    run(2, async { pages_beside_writers(Arc::new(MemoryStore::new()), &Host::seeded(seed), seed).await });
}

#[test]
fn what_nobody_touches_is_listed_once_on_the_default_store() {
    let seed = seed("paging");
    run(2, async {
        let folder = folder();
        let store = Arc::new(open(folder.path()).await);
        pages_beside_writers(Arc::clone(&store) as _, &Host::seeded(seed), seed).await;
        store.close().await.unwrap();
    });
}
