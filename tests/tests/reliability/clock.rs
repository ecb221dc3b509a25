//! A clock that jumps by years in both directions moves nothing: order is the log's, ids are unique, lists are in order, nothing refuses.

use std::{collections::HashSet, path::Path, sync::Arc};

use sessions_app::{At, NewSession, Ports, Query, Session, SessionManager, Settings, SortBy};
use sessions_domain::{Message, Moment};
use sessions_infra::{MemoryStore, environment::UlidGenerator, sled::verify};
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::FixedEntropy;

use crate::{
    ground::{Dice, Host, folder, opened, run, seed},
    usecase::{all_messages, check_all},
};

const TEN_YEARS: i64 = 3653 * 24 * 3600 * 1000;
const STEPS: usize = 3_000;

fn manager(host: &Host, store: Arc<dyn SessionLog>, seed: u64) -> SessionManager {
    let ports = Ports {
        ids: Arc::new(UlidGenerator::drawing_from(FixedEntropy::seeded(seed))),
        ..host.manager(store, Durability::Process).ports().clone()
    };
    SessionManager::with(ports, Settings { durability: Some(Durability::Process), ..Settings::default() }).unwrap()
}

/// Every page of a list in one order, which must be that order, with every session once.
async fn check_lists(manager: &SessionManager, count: usize) {
    for sort in [SortBy::Updated, SortBy::Created, SortBy::Messages] {
        let (mut rows, mut cursor) = (Vec::new(), None);
        loop {
            let page = manager.list(&Query { sort, limit: 7, cursor, ..Query::default() }).await.unwrap();
            rows.extend(page.sessions);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let ids: HashSet<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!((rows.len(), ids.len()), (count, count), "{sort:?}");
        let in_order = rows.windows(2).all(|pair| match sort {
            SortBy::Updated => pair[0].updated >= pair[1].updated,
            SortBy::Created => pair[0].created >= pair[1].created,
            _ => pair[0].messages >= pair[1].messages,
        });
        assert!(in_order, "{sort:?}");
    }
}

fn jumps(path: Option<&Path>) {
    let seed = seed("clock");
    let mut dice = Dice::new(seed);
    let host = Host::seeded(seed);
    run(2, async {
        let memory = MemoryStore::pretending(Durability::Disk);
        let base = 1_700_000_000_000;
        let mut store = opened(path, &memory).await;
        let mut all = manager(&host, Arc::clone(&store), seed);
        let (mut sessions, mut said): (Vec<Session>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
        let mut ids = HashSet::new();
        for step in 0..STEPS {
            let jump = (dice.number() % (2 * TEN_YEARS as u64 + 1)) as i64 - TEN_YEARS;
            host.clock.set(Moment::from_millis(base + if dice.chance(30) { TEN_YEARS * jump.signum() } else { jump }));
            let at = dice.below(sessions.len());
            match dice.below(100) {
                _ if sessions.is_empty() => {
                    sessions.push(all.create(NewSession::titled(format!("{step}"))).await.unwrap());
                    said.push(Vec::new());
                }
                0..3 => {
                    sessions.push(all.create(NewSession::titled(format!("{step}"))).await.unwrap());
                    said.push(Vec::new());
                }
                3..5 => {
                    sessions.push(sessions[at].fork(At::Now).await.unwrap());
                    said.push(said[at].clone());
                }
                5..12 if !said[at].is_empty() => {
                    sessions[at].undo(1).await.unwrap();
                    said[at].pop();
                }
                12..15 => {
                    sessions[at].rename(format!("title {step}")).await.unwrap();
                }
                15..17 => {
                    let held: Vec<_> = sessions.drain(..).map(|session| session.id()).collect();
                    if path.is_some() {
                        store.close().await.unwrap();
                        store = opened(path, &memory).await;
                    }
                    // A new process knows nothing of the ids that were given; only chance keeps them apart, as on a real machine.
                    all = manager(&host, Arc::clone(&store), seed.wrapping_add(step as u64 + 1));
                    for id in held {
                        sessions.push(all.load(id).await.unwrap());
                    }
                }
                _ => {
                    let text = format!("said {step}");
                    let receipt = sessions[at].append(Message::user(&*text)).await.unwrap();
                    assert!(ids.insert(receipt.message.to_string()), "an id came twice");
                    said[at].push(text);
                }
            }
            let at = at.min(sessions.len() - 1);
            let texts: Vec<String> = sessions[at].last(5).await.unwrap().iter().map(|message| message.text()).collect();
            assert_eq!(texts, said[at][said[at].len().saturating_sub(5)..], "step {step}");
        }
        for (session, said) in sessions.iter().zip(&said) {
            let texts: Vec<String> =
                all_messages(session).await.unwrap().iter().map(|message| message.text()).collect();
            assert_eq!(&texts, said);
            assert!(ids.insert(session.id().to_string()), "an id came twice");
        }
        check_lists(&all, sessions.len()).await;
        assert_eq!(check_all(&store, &host).await, sessions.len());
        println!("{} sessions, {} ids", sessions.len(), ids.len());
        store.close().await.unwrap();
    });
    if let Some(path) = path {
        assert_eq!(verify(path).unwrap().findings, []);
    }
}

#[test]
fn jumps_of_ten_years_move_nothing_in_memory() {
    jumps(None);
}

#[test]
fn jumps_of_ten_years_move_nothing_on_the_default_store() {
    let folder = folder();
    jumps(Some(folder.path()));
}
