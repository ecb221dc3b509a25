//! Sessions that had made their own what they inherited, and forks of them: each goes out and comes in whole, whatever else is there.
//!
//! Must not know: how the file was written.

use sessions_app::{Deletion, Forks};

use super::*;

/// Made of a root that is gone: its child, which has all that it inherited, and forks of that one.
struct Family {
    child: Session,
    /// Of the child's present.
    fork: Session,
    /// Of a place that the child has from the root.
    early: Session,
    /// Of the fork.
    inner: Session,
}

impl Family {
    async fn of(host: &SessionManager) -> Self {
        let root = branched(host).await;
        for number in 0..300 {
            root.append(Message::user(format!("{number} of the root"))).await.unwrap();
        }
        let place = root.append(Message::user("early")).await.unwrap();
        root.append(Message::user("late")).await.unwrap();
        let child = root.fork(At::Now).await.unwrap();
        child.append(Message::user("in the child")).await.unwrap();
        let report = host.delete(root.id(), Deletion::default().forks(Forks::Detach)).await.unwrap();
        assert_eq!((report.detached, report.kept), (vec![child.id()], 0));
        let fork = child.fork(At::Now).await.unwrap();
        fork.append(Message::user("in the fork")).await.unwrap();
        let early = child.fork(At::Message(place.message)).await.unwrap();
        early.append(Message::user("beside")).await.unwrap();
        let inner = fork.fork(At::Now).await.unwrap();
        inner.append(Message::user("within")).await.unwrap();
        child.append(Message::user("the child goes on")).await.unwrap();
        Self { child, fork, early, inner }
    }

    fn all(&self) -> [&Session; 4] {
        [&self.child, &self.fork, &self.early, &self.inner]
    }
}

/// Each in the form that holds nothing but records.
async fn exports(family: &Family) -> Vec<Vec<u8>> {
    let mut exports = Vec::new();
    for session in family.all() {
        exports.push(jsonl(session).await);
    }
    exports
}

#[tokio::test]
async fn each_round_trips_and_nothing_of_it_is_called_lost() {
    let host = host(1);
    let family = Family::of(&host).await;
    for session in family.all() {
        check_round_trip(&host, session).await;
        let mut export = session.export_jsonl().await.unwrap();
        while export.next_chunk().await.unwrap().is_some() {}
        assert_eq!(export.lost(), []);
        let report = import(&super::host(2), &jsonl(session).await).await.unwrap();
        assert_eq!(report.report.lost, []);
    }
}

#[tokio::test]
async fn they_stand_beside_each_other_in_whatever_order_they_come() {
    let from = host(1);
    let family = Family::of(&from).await;
    let exports = exports(&family).await;
    for order in 0..24_usize {
        let mut left: Vec<usize> = (0..4).collect();
        let to = host(2);
        for (step, count) in [(6, 4), (2, 3), (1, 2), (1, 1)] {
            let at = left.remove((order / step) % count);
            let report = import(&to, &exports[at]).await.unwrap();
            assert_eq!(report.outcome, AppendOutcome::Inserted, "order {order}");
        }
        assert_eq!(listed(&to).await.len(), 4);
        for (session, bytes) in family.all().into_iter().zip(&exports) {
            let here = to.load(session.id()).await.unwrap();
            assert_eq!(texts(&here).await, texts(session).await, "order {order}");
            assert!(jsonl(&here).await == *bytes, "order {order}: {}", session.id());
            assert_eq!(import(&to, bytes).await.unwrap().outcome, AppendOutcome::Replayed, "order {order}");
        }
    }
}

#[tokio::test]
async fn where_they_came_from_each_is_there_already() {
    let host = host(1);
    let family = Family::of(&host).await;
    for bytes in exports(&family).await {
        assert_eq!(import(&host, &bytes).await.unwrap().outcome, AppendOutcome::Replayed);
    }
}

#[tokio::test]
async fn an_older_export_of_one_that_has_all_by_now_is_there_already() {
    let host = host(1);
    let root = branched(&host).await;
    let child = root.fork(At::Now).await.unwrap();
    child.append(Message::user("in the child")).await.unwrap();
    let before = jsonl(&child).await;
    host.delete(root.id(), Deletion::default().forks(Forks::Detach)).await.unwrap();
    assert!(jsonl(&child).await == before);
    let to = super::host(2);
    import(&to, &before).await.unwrap();
    assert_eq!(listed(&to).await, [child.id()]);
    assert_eq!(import(&to, &before).await.unwrap().outcome, AppendOutcome::Replayed);
}

#[tokio::test]
async fn what_broke_off_is_finished_by_the_next() {
    let from = host(1);
    let family = Family::of(&from).await;
    let mut broken_off = 0;
    for bytes in exports(&family).await.into_iter().skip(1) {
        for (call, when) in [
            (Call::Commit, When::Before),
            (Call::Commit, When::After),
            (Call::Rewrite, When::Before),
            (Call::Rewrite, When::After),
        ] {
            for nth in 1.. {
                let store = FaultyStore::over(Arc::new(MemoryStore::new()));
                let to = host_over(Arc::new(store.clone()), 2, Actor::named("ada"));
                store.fail(broken(call, nth, when));
                if import(&to, &bytes).await.is_ok() {
                    assert!(nth > 2, "{call:?}: two at least");
                    break;
                }
                broken_off += 1;
                store.heal();
                assert!(listed(&to).await.len() <= usize::from(call == Call::Commit && when == When::After));
                let report = import(&to, &bytes).await.unwrap();
                assert_eq!(listed(&to).await, [report.id]);
                assert!(jsonl(&to.load(report.id).await.unwrap()).await == bytes, "{call:?} {nth} {when:?}");
            }
        }
    }
    assert!(broken_off >= 24, "{broken_off}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_at_once_make_one_session() {
    let bytes = jsonl(&Family::of(&host(1)).await.inner).await;
    let to = host(2);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (to, bytes) = (to.clone(), bytes.clone());
            tokio::spawn(async move { import(&to, &bytes).await.unwrap().outcome })
        })
        .collect();
    let mut inserted = 0;
    for task in tasks {
        inserted += usize::from(task.await.unwrap() == AppendOutcome::Inserted);
    }
    assert_eq!((inserted, listed(&to).await.len()), (1, 1));
    assert!(jsonl(&to.load(listed(&to).await[0]).await.unwrap()).await == bytes);
}

#[tokio::test]
async fn a_copy_has_new_names_and_the_same_messages() {
    let host = host(1);
    let family = Family::of(&host).await;
    for session in family.all() {
        let report = import_as(&host, &jsonl(session).await, anew()).await.unwrap();
        let copy = host.load(report.id).await.unwrap();
        assert_eq!(copy.last(1000).await.unwrap(), session.last(1000).await.unwrap());
        let parent = copy.fresh_view().await.unwrap().fork().map(|fork| fork.parent);
        assert!(family.all().iter().all(|original| Some(original.id()) != parent), "its ground was copied with it");
        check_round_trip(&host, &copy).await;
    }
}

#[tokio::test]
async fn one_that_came_in_goes_on_and_is_forked_where_it_inherits() {
    let from = host(1);
    let family = Family::of(&from).await;
    for session in family.all() {
        let to = host(2);
        import(&to, &jsonl(session).await).await.unwrap();
        let here = to.load(session.id()).await.unwrap();
        here.append(Message::user("on")).await.unwrap();
        here.undo(4).await.unwrap();
        for message in here.last(5).await.unwrap() {
            let fork = here.fork(At::Message(message.id)).await.unwrap();
            assert_eq!(texts(&fork).await.last(), Some(&message.text()));
            fork.append(Message::user("beside")).await.unwrap();
            check_round_trip(&to, &fork).await;
        }
        let at = to.load(session.id()).await.unwrap().summary().await.unwrap().messages;
        assert_eq!(at, session.summary().await.unwrap().messages + 1 - 4);
    }
}

#[tokio::test]
async fn a_file_says_whose_records_were_whose() {
    let host = host(1);
    let family = Family::of(&host).await;
    let text = String::from_utf8(jsonl(&family.inner).await).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let logs: Vec<&str> =
        header["logs"].as_array().unwrap().iter().map(|log| log["session"].as_str().unwrap()).collect();
    let [child, fork, _, inner] = family.all().map(|session| session.id().to_string());
    assert_eq!((logs.len(), &logs[1..]), (4, &[child.as_str(), &fork, &inner][..]));
    let early = String::from_utf8(jsonl(&family.early).await).unwrap();
    assert!(!early.lines().next().unwrap().contains(&child), "nothing that it has was written by the child");
}

#[tokio::test]
async fn a_fork_comes_in_where_what_it_inherits_from_was_deleted() {
    for forks in [Forks::Keep, Forks::Detach] {
        let (from, to) = (host(1), host(2));
        let (root, child, grandchild) = forked(&from).await;
        let bytes = jsonl(&grandchild).await;
        for session in [&root, &child] {
            import(&to, &jsonl(session).await).await.unwrap();
            to.delete(session.id(), Deletion::default().forks(forks)).await.unwrap();
        }
        let report = import(&to, &bytes).await.unwrap();
        assert_eq!((report.id, report.outcome), (grandchild.id(), AppendOutcome::Inserted));
        let here = to.load(grandchild.id()).await.unwrap();
        assert_eq!(texts(&here).await, texts(&grandchild).await);
        assert!(jsonl(&here).await == bytes);
        assert_eq!(listed(&to).await, [grandchild.id()], "what was deleted stays deleted");
        assert_eq!(import(&to, &bytes).await.unwrap().outcome, AppendOutcome::Replayed);
        let error = import(&to, &jsonl(&root).await).await.unwrap_err();
        assert!(matches!(error, SessionError::Gone { session } if session == root.id()), "{error}");
    }
}
