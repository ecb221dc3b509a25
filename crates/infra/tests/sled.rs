//! The default store keeps every law of a store.

#[cfg(test)]
mod persistence {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use sessions_infra::{
        MAX_COMMIT_BYTES,
        sled::{SledOptions, SledStore},
    };
    use sessions_ports::SessionLog;
    use sessions_testkit::{Fixture, LAWS, report, store_suite};
    use tempfile::TempDir;

    struct OnDisk {
        folder: TempDir,
        open: Mutex<Option<SledStore>>,
    }

    impl OnDisk {
        fn new() -> Self {
            Self { folder: TempDir::new().unwrap(), open: Mutex::new(None) }
        }

        async fn opened(&self) -> Arc<dyn SessionLog> {
            let store = SledStore::open(self.folder.path().join("store"), SledOptions::default()).await.unwrap();
            *self.open.lock().unwrap() = Some(store.clone());
            Arc::new(store)
        }
    }

    #[async_trait]
    impl Fixture for OnDisk {
        fn name(&self) -> &'static str {
            "sled"
        }

        async fn open(&self) -> Arc<dyn SessionLog> {
            self.opened().await
        }

        async fn second(&self) -> Arc<dyn SessionLog> {
            Arc::new(self.open.lock().unwrap().clone().unwrap())
        }

        async fn reopen(&self, store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
            store.close().await.unwrap();
            Some(self.opened().await)
        }

        fn largest_commit(&self) -> Option<u64> {
            Some(MAX_COMMIT_BYTES)
        }
    }

    store_suite!(
        OnDisk::new(),
        skips: ["durability::more_than_the_strongest_is_refused", "waiting::waiting_for_too_much_is_refused"]
    );

    #[test]
    fn all_laws_ran() {
        let report = report(async || OnDisk::new());
        assert_eq!(report.violations, []);
        assert_eq!((report.store, report.kept.len(), report.skipped.len()), ("sled", LAWS.len() - 2, 2));
    }
}
