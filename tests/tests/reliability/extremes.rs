//! The ends of what a host can ask for: forks of forks without end, and the smallest and the largest of each number.

use sessions_app::{Append, At, MoveReceipt, Query, Session, SessionError};
use sessions_domain::{Message, RuleViolation, context::Budget};
use sessions_infra::MemoryStore;
use sessions_ports::Durability;

use crate::ground::{self, Host};

/// More than a thread's stack has room for, were each loaded within the one that it came from.
const GENERATIONS: u64 = 400;

#[test]
fn a_line_of_forks_is_loaded_however_long_it_is() {
    let ground = ground::folder();
    let path = ground.path().join("store");
    let host = Host::seeded(1);
    let manager = async || host.manager(ground::opened(Some(&path), &MemoryStore::new()).await, Durability::Volatile);
    ground::run(0, async {
        let sessions = manager().await;
        let mut youngest = sessions.open_or_create("first").await.unwrap();
        for generation in 0..GENERATIONS {
            youngest.append(Message::user(generation.to_string())).await.unwrap();
            youngest = youngest.fork(At::Now).await.unwrap();
        }
        let id = youngest.id();
        sessions.close().await.unwrap();
        // The views that were kept go with it, so each is made of its log again.
        std::fs::remove_dir_all(path.join("index")).unwrap();
        let sessions = manager().await;
        let youngest = sessions.load(id).await.unwrap();
        let texts: Vec<String> =
            youngest.last(usize::MAX).await.unwrap().iter().map(|message| message.text()).collect();
        assert_eq!(texts, (0..GENERATIONS).map(|generation| generation.to_string()).collect::<Vec<_>>());
        assert_eq!(youngest.undo(GENERATIONS).await.unwrap().messages, 0);
        sessions.close().await.unwrap();
    });
}

/// A session with three messages.
async fn three(host: &Host, store: Option<&std::path::Path>) -> Session {
    let sessions = host.manager(ground::opened(store, &MemoryStore::new()).await, Durability::Volatile);
    let session = sessions.open_or_create("three").await.unwrap();
    let messages = ["one", "two", "three"].map(Message::user);
    session.append(Append::all(messages)).await.unwrap();
    session
}

fn moved(outcome: Result<MoveReceipt, SessionError>) -> (u64, u64) {
    let receipt = outcome.unwrap();
    (receipt.steps, receipt.messages)
}

#[test]
fn the_smallest_and_the_largest_numbers_are_answered() {
    let ground = ground::folder();
    let path = ground.path().join("store");
    for store in [None, Some(path.as_path())] {
        let host = Host::seeded(2);
        ground::run(0, async {
            let session = three(&host, store).await;
            assert_eq!(moved(session.undo(u64::MAX).await), (3, 0));
            assert_eq!(moved(session.redo(u64::MAX).await), (3, 3));
            assert_eq!(moved(session.undo_turns(u64::MAX).await), (3, 0));
            assert_eq!(moved(session.redo(u64::MAX).await), (3, 3));
            for none in [session.undo(0).await, session.redo(0).await, session.undo_turns(0).await] {
                assert!(matches!(none, Err(SessionError::Rule(RuleViolation::NoSteps))), "{none:?}");
            }
            assert!(matches!(
                session.checkout(u64::MAX).await,
                Err(SessionError::Rule(RuleViolation::NoSuchBranch { .. }))
            ));
            for version in [0, u64::MAX] {
                let unknown = session.last_at(At::Version(version), 1).await;
                assert!(matches!(unknown, Err(SessionError::UnknownVersion { .. })), "{unknown:?}");
                let unknown = session.fork(At::Version(version)).await.map(|fork| fork.id());
                assert!(matches!(unknown, Err(SessionError::UnknownVersion { .. })), "{unknown:?}");
            }
            assert_eq!((session.last(0).await.unwrap().len(), session.last(usize::MAX).await.unwrap().len()), (0, 3));
            let version = session.version().await.unwrap();
            assert_eq!(session.entries(0).await.unwrap().len() as u64, version);
            assert!(session.entries(u64::MAX).await.unwrap().is_empty());
            let nothing = session.context(Budget::tokens(0)).await;
            assert!(matches!(nothing, Err(SessionError::OverBudget(_))), "{nothing:?}");
            assert_eq!(session.context(Budget::tokens(u64::MAX)).await.unwrap().messages.len(), 3);
            let all = Query { limit: usize::MAX, ..Query::default() };
            assert_eq!(session.manager().list(&all).await.unwrap().sessions.len(), 1);
            // There is nothing behind the last of all numbers, so the first update of such a follower never comes.
            let mut follower = session.subscribe(u64::MAX);
            let mut next = Box::pin(follower.next());
            assert!(ground::polled(1, &mut next).await.is_none());
            session.append(Message::user("four")).await.unwrap();
            assert!(ground::polled(1, &mut next).await.is_none());
            drop(next);
            session.manager().close().await.unwrap();
        });
    }
}
