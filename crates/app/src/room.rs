//! Room for one more session: a limit on their number that holds also when many are made at once.
//!
//! Whoever makes one takes room before and gives it back when the session is visible, so each is counted once: as room or as a session.
//!
//! Must not know: what the sessions are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sessions_domain::LimitReached;

use crate::{error::SessionError, manager::SessionManager};

/// Room that was taken in a tenant, and how often it was given back.
#[derive(Default)]
pub(crate) struct Rooms {
    taken: AtomicU64,
    given_back: AtomicU64,
}

/// Room for a session; `None` inside: there is no limit.
pub(crate) struct Room(Option<Arc<Rooms>>);

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(rooms) = &self.0 {
            rooms.taken.fetch_sub(1, Ordering::SeqCst);
            rooms.given_back.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl SessionManager {
    /// Takes room for a session, until what is given is dropped.
    pub(crate) async fn room_for_a_session(&self) -> Result<Room, SessionError> {
        let Some(max) = self.limits().sessions else { return Ok(Room(None)) };
        let rooms = &self.rooms();
        loop {
            let before = rooms.given_back.load(Ordering::SeqCst);
            let sessions = self.count_sessions().await?;
            // Room that was given back since the sessions were counted may be a session that was not counted: count again.
            let actual = sessions + rooms.taken.fetch_add(1, Ordering::SeqCst) + 1;
            let is_counted = rooms.given_back.load(Ordering::SeqCst) == before;
            if is_counted && actual <= max {
                return Ok(Room(Some(Arc::clone(rooms))));
            }
            rooms.taken.fetch_sub(1, Ordering::SeqCst);
            if is_counted {
                return Err(LimitReached { limit: "sessions", max, actual }.into());
            }
        }
    }
}
