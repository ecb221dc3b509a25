//! Nothing outlives a manager: no task and no thread, in whatever store, whatever was alive when it was shut down.
//!
//! It is alone in its program, so that the threads of the process are its own.

#[cfg(test)]
mod shutdown {
    use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

    use sessions_api::{
        Agent, BackupSchedule, CleanupPolicy, EndReason, Form, KeyFileProvider, Message, MessageMetadata, MessageRole,
        MessageState, ModelProfile, SessionError, SessionManager, StopReason,
        providers::{Answer, Gate, ScriptedProvider},
    };
    use tokio::runtime::{Builder, Handle, Runtime};

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        Memory,
        Plain,
        Sealed,
    }

    /// The threads of this process by name.
    fn threads() -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for thread in fs::read_dir("/proc/self/task").unwrap() {
            // One that ends meanwhile has none any more.
            if let Ok(name) = fs::read_to_string(thread.unwrap().path().join("comm")) {
                *names.entry(name.trim().to_owned()).or_default() += 1;
            }
        }
        names
    }

    async fn open(kind: Kind, folder: &Path) -> SessionManager {
        let builder = match kind {
            Kind::Memory => SessionManager::builder().url("memory:"),
            _ => SessionManager::builder().url(format!("sled:{}", folder.join("store").display())),
        };
        let builder = match kind {
            Kind::Sealed => builder.sealed(KeyFileProvider::create_or_open(&folder.join("key")).unwrap()),
            _ => builder,
        };
        let trash_after = Some(Duration::from_secs(86_400));
        builder.cleanup(CleanupPolicy { trash_after, ..CleanupPolicy::default() }).build().await.unwrap()
    }

    fn is_closed(error: &SessionError) -> bool {
        matches!(error, SessionError::Store(sessions_api::StoreError::Closed))
    }

    async fn shut_down(kind: Kind, folder: &Path, is_exact: bool) {
        let before = Handle::current().metrics().num_alive_tasks();
        let sessions = open(kind, folder).await;
        let session = sessions.open_or_create("k").await.unwrap();
        let schedule =
            || BackupSchedule { interval: Duration::from_secs(3_600), folder: folder.join("backups"), keep: 1 };
        let backups = (kind != Kind::Memory).then(|| sessions.schedule_backups(schedule()).unwrap());
        let cleaning = sessions.start_cleanup(CleanupPolicy::default()).unwrap();
        let mut updates = session.subscribe(session.version().await.unwrap());
        let following = tokio::spawn(async move {
            while updates.next().await.unwrap().is_some() {}
            updates.end_reason()
        });
        let busy = sessions.open_or_create("busy").await.unwrap();
        let appending = tokio::spawn(async move {
            let mut taken = 0_usize;
            loop {
                match busy.append(Message::user("more")).await {
                    Ok(_) => taken += 1,
                    Err(error) => return (taken, is_closed(&error)),
                }
                tokio::task::yield_now().await;
            }
        });
        let answer = Message { role: MessageRole::Assistant, parts: Vec::new(), metadata: MessageMetadata::default() };
        let mut arriving = session.begin(answer).await.unwrap();
        arriving.push_text("half of it").await.unwrap();
        let gate = Gate::new();
        let script = ScriptedProvider::new([Answer::new().text("It is ").wait(&gate)]);
        let profile = Arc::new(ModelProfile::of("m", "scripted", Form::OpenAi, 32_000));
        let asked = sessions.open_or_create("asked").await.unwrap();
        let turn = asked.turn(&Agent::of_profile(Arc::new(script), profile), Message::user("Why?"));
        gate.reached().await;
        assert_eq!(sessions.shutdown(Duration::from_secs(60)).await.unwrap().unfinished, 0, "{kind:?}");
        assert_eq!(turn.outcome().await.unwrap().stop_reason, StopReason::Cancelled);
        let refused = asked.resume_turn(&Agent::new(Arc::new(ScriptedProvider::demo()), "gpt-4o")).await;
        assert!(is_closed(&refused.unwrap_err()));
        // These are the test's own.
        assert_eq!(following.await.unwrap(), Some(EndReason::Closed));
        let (taken, was_closed) = appending.await.unwrap();
        assert!(was_closed, "{kind:?}");
        let alive = || Handle::current().metrics().num_alive_tasks() - before;
        if is_exact {
            assert_eq!(alive(), 0, "{kind:?}");
        }
        // With several threads one may be about to let go of a task that has ended.
        let gone = async {
            while alive() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap_or_else(|_| panic!("{kind:?}: {}", alive()));
        let ours: Vec<String> = threads().into_keys().filter(|name| name.starts_with("sessions-")).collect();
        assert!(ours.is_empty(), "{kind:?}: {ours:?}");
        assert!(is_closed(&session.append(Message::user("late")).await.unwrap_err()));
        drop((backups, cleaning, arriving, asked, session, sessions));
        if kind != Kind::Memory {
            let sessions = open(kind, folder).await;
            let session = sessions.open_or_create("k").await.unwrap();
            let last = session.last(1).await.unwrap().remove(0);
            assert_eq!((last.text().as_str(), last.state), ("half of it", MessageState::Partial));
            let asked = sessions.open_or_create("asked").await.unwrap();
            let last = asked.last(1).await.unwrap().remove(0);
            assert_eq!((last.text().as_str(), last.state), ("It is ", MessageState::Cancelled));
            let busy = sessions.open_or_create("busy").await.unwrap();
            assert!(busy.summary().await.unwrap().messages >= taken as u64, "what was acknowledged is there");
            sessions.close().await.unwrap();
        }
    }

    fn on(runtime: Runtime, kind: Kind, is_exact: bool) {
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(shut_down(kind, folder.path(), is_exact));
    }

    #[test]
    fn no_task_and_no_thread_outlives_a_manager() {
        let mut before = None;
        for kind in [Kind::Memory, Kind::Plain, Kind::Sealed, Kind::Memory, Kind::Plain, Kind::Sealed] {
            on(Builder::new_current_thread().enable_all().build().unwrap(), kind, true);
            on(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(), kind, false);
            // The engine of the index has threads of its own that it keeps for the next store. It makes them once.
            if kind == Kind::Sealed {
                let now = threads();
                assert_eq!(*before.get_or_insert_with(|| now.clone()), now);
            }
        }
    }
}
