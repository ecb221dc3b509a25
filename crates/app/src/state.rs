//! Key-value state: of the session in its own log, of a user and of the application in logs of their own, of this run in memory.
//!
//! Must not know: what the values mean.

use std::collections::BTreeMap;

use sessions_domain::{Created, Event, Json, Stamp, StateKey, StateOwner, StateScope, View, decide};
use sessions_ports::StoreError;

use crate::{error::SessionError, keyed, lane::Lane, once::Wish, session::Session, transact::MAX_ATTEMPTS};

impl Session {
    /// The value of a key: `theme`, `user:theme`, `app:theme` or `temp:theme`.
    ///
    /// # Errors
    /// [`SessionError::InvalidStateKey`], and the store's.
    pub async fn state(&self, key: &str) -> Result<Option<Json>, SessionError> {
        let StateKey { scope, name } = StateKey::parse(key)?;
        Ok(self.state_of(scope).await?.remove(&name))
    }

    /// All of a scope, without its prefix.
    ///
    /// # Errors
    /// The store's.
    pub async fn state_of(&self, scope: StateScope) -> Result<BTreeMap<String, Json>, SessionError> {
        match scope {
            StateScope::Session => Ok(self.fresh_view().await?.state().clone()),
            StateScope::Temp => Ok(self.lane().temporary().clone()),
            StateScope::User | StateScope::App => match self.log_of(scope, false).await? {
                Some(log) => Ok(log.fresh_view().await?.state().clone()),
                None => Ok(BTreeMap::new()),
            },
        }
    }

    /// Gives a key a value. `false`: it had it already.
    ///
    /// # Errors
    /// As [`Self::set_states`].
    pub async fn set_state(&self, key: &str, value: Json) -> Result<bool, SessionError> {
        self.set_states([(key, Some(value))]).await
    }

    /// Takes a key away. `false`: there was none.
    ///
    /// # Errors
    /// As [`Self::set_states`].
    pub async fn unset_state(&self, key: &str) -> Result<bool, SessionError> {
        self.set_states([(key, None)]).await
    }

    /// Sets and takes away several keys: those of one scope in one append. `false`: all of it was so already.
    ///
    /// Keys of a user and of the application may be changed in every state of life: they are no part of the session.
    ///
    /// # Errors
    /// [`SessionError::InvalidStateKey`], [`SessionError::LimitReached`], and the store's.
    pub async fn set_states<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, Option<Json>)> + Send,
    ) -> Result<bool, SessionError> {
        let mut by_scope: BTreeMap<StateScope, BTreeMap<String, Option<Json>>> = BTreeMap::new();
        for (key, value) in values {
            let StateKey { scope, name } = StateKey::parse(key)?;
            by_scope.entry(scope).or_default().insert(name, value.filter(|json| !json.is_null()));
        }
        let mut changed = false;
        for (scope, values) in by_scope {
            changed |= match scope {
                StateScope::Session => {
                    let wish = self.wish("state", &values).await?;
                    self.set_in_log(wish, &values).await?
                }
                StateScope::Temp => self.set_temporary(&values)?,
                StateScope::User | StateScope::App => {
                    let Some(log) = self.log_of(scope, true).await? else { continue };
                    let log = log.keyed(self.key().map(Into::into));
                    let wish = log.wish("state", &values).await?;
                    log.set_in_log(wish, &values).await?
                }
            };
        }
        Ok(changed)
    }

    async fn set_in_log(&self, wish: Wish, values: &BTreeMap<String, Option<Json>>) -> Result<bool, SessionError> {
        let limits = self.manager().limits();
        let decided = |view: &View| Ok(decide::set_state(view, values, limits)?.into_iter().collect());
        Ok(self.make(wish, decided).await?.is_some())
    }

    fn set_temporary(&self, values: &BTreeMap<String, Option<Json>>) -> Result<bool, SessionError> {
        let mut state = self.lane().temporary();
        let Some(change) = sessions_domain::StateChange::wished(&state, values) else { return Ok(false) };
        let mut then = state.clone();
        change.apply_to(&mut then);
        self.manager().limits().check_state(&then)?;
        *state = then;
        Ok(true)
    }

    /// The log that keeps a scope's state, made when it is to be.
    async fn log_of(&self, scope: StateScope, make: bool) -> Result<Option<Session>, SessionError> {
        let manager = self.manager();
        let name = if scope == StateScope::User { manager.actor().id.clone() } else { String::new() };
        let owner = StateOwner { scope, name };
        let store = &manager.ports().store;
        let key = keyed::state_of(store.id(), manager.actor(), &owner);
        for _ in 0..MAX_ATTEMPTS {
            if let Some(id) = store.by_key(key).await? {
                let lane = manager.lane(id);
                manager.fresh_view(&lane).await?;
                return Ok(Some(Session::new(manager.clone(), manager.adopt_shared(lane))));
            }
            if !make {
                return Ok(None);
            }
            let now = manager.ports().clock.now();
            let (session, lineage) = (manager.ports().ids.session(now), manager.ports().ids.lineage(now));
            let created = Created { state_of: Some(owner.clone()), ..Created::of(session, lineage) };
            let stamp = Stamp { at: now, actor: manager.actor().clone() };
            let events = vec![Event::Created(Box::new(created))];
            let (mut commit, view) = manager.beginning(events, &stamp, None, manager.durability())?;
            commit.key = Some(key);
            match store.commit(commit).await {
                Ok(_) => {
                    let lane = manager.adopt(Lane::new(session, Some(view)));
                    return Ok(Some(Session::new(manager.clone(), lane)));
                }
                // Another makes it, or was about to: what fails leaves the key free again.
                Err(StoreError::KeyTaken { session }) => {
                    store.settled(session).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Malformed { what: "the log of a scope's state is made and fails, over and over" }.into())
    }
}
