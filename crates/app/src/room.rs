//! Room for one more session: a limit on their number that holds also when many are made at once.
//!
//! Whoever makes one takes room before and gives it back when the session is visible or cannot be made. **Invariant**: each is counted once,
//! as a session or as room that is taken.
//!
//! Must not know: what the sessions are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sessions_domain::{LimitReached, SessionId};

use crate::{error::SessionError, manager::SessionManager};

/// Room that was taken in a tenant.
#[derive(Default)]
pub(crate) struct Rooms(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    /// By sessions that are on their way, and how often.
    by: HashMap<SessionId, u64>,
    given_back: u64,
}

/// What becomes of who wants room.
enum Answer {
    Taken(Room),
    /// There would be so many sessions with this one.
    Full(u64),
    /// Room was given back since the count was begun, so it may be of a session that was not counted.
    CountAgain,
}

/// Room for a session; `None` inside: there is no limit.
pub(crate) struct Room(Option<(Arc<Rooms>, SessionId)>);

impl Drop for Room {
    fn drop(&mut self) {
        let Some((rooms, session)) = &self.0 else { return };
        let mut taken = rooms.lock();
        taken.given_back += 1;
        if let Some(count) = taken.by.get_mut(session) {
            *count -= 1;
            if *count == 0 {
                taken.by.remove(session);
            }
        }
    }
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often room was given back so far.
    fn given_back(&self) -> u64 {
        self.lock().given_back
    }

    /// Takes room for a session, when there is some beside those that were counted since `given_back` was asked.
    fn take(
        self: &Arc<Self>,
        session: SessionId,
        (max, given_back): (u64, u64),
        (count, is_counted): (u64, impl Fn(SessionId) -> bool),
    ) -> Answer {
        let mut taken = self.lock();
        if taken.given_back != given_back {
            return Answer::CountAgain;
        }
        let on_their_way = taken.by.keys().filter(|other| !is_counted(**other)).count() as u64;
        let actual = count + on_their_way + 1;
        if actual > max {
            return Answer::Full(actual);
        }
        *taken.by.entry(session).or_default() += 1;
        drop(taken);
        Answer::Taken(Room(Some((Arc::clone(self), session))))
    }
}

impl SessionManager {
    /// Takes room for this session, until what is given is dropped.
    pub(crate) async fn room_for(&self, session: SessionId) -> Result<Room, SessionError> {
        let Some(max) = self.limits().sessions else { return Ok(Room(None)) };
        let rooms = self.rooms();
        loop {
            let given_back = rooms.given_back();
            let answer =
                self.among_sessions(|count, is_there| rooms.take(session, (max, given_back), (count, is_there)));
            match answer.await? {
                Answer::Taken(room) => return Ok(room),
                Answer::Full(actual) => return Err(LimitReached { limit: "sessions", max, actual }.into()),
                Answer::CountAgain => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; 16])
    }

    /// One who wants room, and counted these sessions when room had been given back so often.
    fn want(rooms: &Arc<Rooms>, session: u8, given_back: u64, counted: &[u8]) -> Answer {
        let is_counted = |session| counted.iter().any(|byte| id(*byte) == session);
        rooms.take(id(session), (2, given_back), (counted.len() as u64, is_counted))
    }

    #[test]
    fn room_that_is_taken_counts_until_its_session_does_and_never_with_it() {
        let rooms = Arc::new(Rooms::default());
        let Answer::Taken(first) = want(&rooms, 1, 0, &[]) else { panic!("there is room") };
        let Answer::Taken(second) = want(&rooms, 2, 0, &[]) else { panic!("there is room for two") };
        assert!(matches!(want(&rooms, 3, 0, &[]), Answer::Full(3)));
        drop(second);
        // The first is a session by now and has not given its room back.
        let Answer::Taken(second) = want(&rooms, 2, 1, &[1]) else { panic!("the first is counted twice") };
        assert!(matches!(want(&rooms, 3, 1, &[1]), Answer::Full(3)));
        drop((first, second));
        assert!(matches!(want(&rooms, 3, 3, &[1, 2]), Answer::Full(3)));
    }

    #[test]
    fn a_count_that_may_have_missed_a_session_is_made_again() {
        let rooms = Arc::new(Rooms::default());
        let Answer::Taken(first) = want(&rooms, 1, 0, &[9]) else { panic!("there is room") };
        let before = rooms.given_back();
        // The first becomes a session behind the count, and gives its room back.
        drop(first);
        assert!(matches!(want(&rooms, 2, before, &[9]), Answer::CountAgain));
        assert!(matches!(want(&rooms, 2, rooms.given_back(), &[9, 1]), Answer::Full(3)));
    }

    #[test]
    fn room_that_is_taken_twice_for_one_session_is_kept_until_both_gave_it_back() {
        let rooms = Arc::new(Rooms::default());
        let Answer::Taken(first) = want(&rooms, 1, 0, &[]) else { panic!("there is room") };
        let Answer::Taken(again) = want(&rooms, 1, 0, &[]) else { panic!("there is room") };
        drop(first);
        assert!(matches!(want(&rooms, 2, 1, &[9]), Answer::Full(3)));
        drop(again);
        assert!(matches!(want(&rooms, 2, 2, &[9]), Answer::Taken(_)));
    }
}
