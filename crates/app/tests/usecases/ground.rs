//! What the tests stand on: a manager over a store that is given, and what is seen of a session.
//!
//! Must not know: what is tested.

use std::{sync::Arc, time::Duration};

use sessions_app::{Ports, Session, SessionManager, Settings};
use sessions_infra::{
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    tokens::BuiltInEncodings,
};
use sessions_ports::SessionLog;

/// Ports as a host has them, over this store.
pub(crate) fn ports(store: impl SessionLog + 'static) -> Ports {
    Ports {
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UlidGenerator::new()),
        entropy: Arc::new(SystemEntropy::new()),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    }
}

/// A manager with these ports.
pub(crate) fn with(ports: Ports) -> SessionManager {
    SessionManager::with(ports, Settings::default()).unwrap()
}

/// A manager over this store.
pub(crate) fn manager(store: impl SessionLog + 'static) -> SessionManager {
    with(ports(store))
}

/// The visible messages.
pub(crate) async fn texts(session: &Session) -> Vec<String> {
    session.last(100).await.unwrap().iter().map(|message| message.text()).collect()
}

/// The answer of something that nothing stands in the way of any more.
pub(crate) async fn due<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("{what}: never answered"))
}
