//! Turns: what a person says is kept, a model is asked, its answer is written while it arrives, the tools that it calls run, and so on until
//! it has no more calls.
//!
//! Whatever is cut off, and wherever: what was said is in the log before a model hears of it, what came of an answer stays and says that it is
//! not whole, results of tools are written one by one, and the next turn begins from there.
//!
//! Must not know: how a provider is reached, what a tool does, or how anything is drawn.

mod agent;
mod answer;
mod handle;
mod outcome;
mod resume;
mod run;
mod telling;
mod tools;

pub(crate) use self::handle::Running;
pub use self::{
    agent::{Agent, InvalidAgent},
    handle::{Canceller, Turn},
    outcome::{ToolEnd, TurnEvent, TurnNote, TurnOutcome, TurnProblem, TurnStep},
};
use self::{
    handle::Place,
    run::{Begin, Runner},
};
use sessions_domain::RuntimeState;

use crate::{append::Append, error::SessionError, session::Session};

impl Session {
    /// Says something and lets the agent answer: one turn, up to its end.
    ///
    /// What was said is durable at the manager's level before the model is called. The answer is written while it arrives; results of tools
    /// are appended as they come. Where the model or the network fails, the turn has an outcome all the same
    /// ([`sessions_domain::turn::StopReason::Error`]), and the next one goes on. Dropping the future stops the turn.
    ///
    /// ```
    /// # async fn shown(sessions: sessions_app::SessionManager) -> Result<(), sessions_app::SessionError> {
    /// # use std::sync::Arc;
    /// # use sessions_app::{Agent, NewSession};
    /// # use sessions_domain::{Message, turn::StopReason};
    /// # use sessions_infra::providers::ScriptedProvider;
    /// let agent = Agent::new(Arc::new(ScriptedProvider::demo()), "gpt-4o");
    /// let session = sessions.create(NewSession::default()).await?;
    /// let outcome = session.send_message(&agent, Message::user("Why does E0502 happen?")).await?;
    /// assert_eq!(outcome.stop_reason, StopReason::EndTurn);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Under an idempotency key ([`Append::idempotency_key`], or [`Session::once`]) the turn runs once: asked again, it is
    /// [`SessionError::TurnBegun`], and [`Self::resume_turn`] goes on where it was cut off. A turn that was stopped, or dropped, is waited for.
    ///
    /// # Errors
    /// [`SessionError::TurnRunning`], [`SessionError::TurnBegun`], [`SessionError::Agent`], [`SessionError::UnknownModel`], as
    /// [`Session::append`] and as [`Session::context`], and the store's. Nothing of the model's or of a tool's is an error here: whatever they
    /// do, the turn has an outcome.
    pub async fn send_message(
        &self,
        agent: &Agent,
        message: impl Into<Append> + Send,
    ) -> Result<TurnOutcome, SessionError> {
        self.turn(agent, message).outcome().await
    }

    /// The same, with at most so many calls of the model.
    ///
    /// # Errors
    /// As [`Self::send_message`].
    pub async fn send_message_with_iterations(
        &self,
        agent: &Agent,
        message: impl Into<Append> + Send,
        most: u32,
    ) -> Result<TurnOutcome, SessionError> {
        self.turn(&agent.clone().iterations(most), message).outcome().await
    }

    /// Starts a turn, for whoever wants to see it happen or to stop it. Use it within a tokio runtime.
    ///
    /// ```
    /// # use sessions_app::{Agent, Session, SessionError, TurnEvent};
    /// # async fn shown(session: Session, agent: Agent) -> Result<(), SessionError> {
    /// let mut turn = session.turn(&agent, sessions_domain::Message::user("Go on."));
    /// let mut shown = String::new();
    /// while let Some(event) = turn.next_event().await {
    ///     match event {
    ///         TurnEvent::Text(piece) => shown.push_str(&piece),
    ///         TurnEvent::Retrying { is_anew: true, .. } => shown.clear(),
    ///         _ => {}
    ///     }
    /// }
    /// let outcome = turn.outcome().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn(&self, agent: &Agent, message: impl Into<Append>) -> Turn {
        self.start(agent, Begin::Said(Box::new(message.into())))
    }

    /// Goes on with a turn that was cut off or ended early, from where the conversation stands, with nothing new said: after a crash, a
    /// failure of the provider, or when the model wanted to be called more often.
    ///
    /// An answer that is not whole is made anew (the old one stays, on a branch of its own). Calls without a result are done now, where
    /// their tools may run again ([`sessions_ports::ToolConduct::is_repeatable`]); of others the model is told that nobody knows whether they ran.
    ///
    /// # Errors
    /// [`SessionError::NothingToResume`] when the conversation ends with a whole answer, or is empty; as [`Self::send_message`].
    pub async fn resume_turn(&self, agent: &Agent) -> Result<TurnOutcome, SessionError> {
        self.resumed_turn(agent).outcome().await
    }

    /// The same, for whoever wants to see it happen or to stop it.
    pub fn resumed_turn(&self, agent: &Agent) -> Turn {
        self.start(agent, Begin::Resumed)
    }

    /// Stops the turn that runs in this session by this manager, whoever started it. `false`: none runs.
    pub fn cancel_turn(&self) -> bool {
        let running = self.lane().turn();
        running.as_ref().inspect(|running| running.stop()).is_some()
    }

    fn start(&self, agent: &Agent, begin: Begin) -> Turn {
        let running = Running::new();
        let begun = self.lane().begin_turn(&running);
        let (session, agent, place) = (self.clone(), agent.clone(), Place::of(&running));
        Turn::start(&running, self.manager(), move |events| async move {
            session.manager().check_going_on()?;
            let running = place.running();
            let mut begun = begun;
            while let Err(before) = begun {
                if !before.is_stopped() {
                    return Err(SessionError::TurnRunning);
                }
                // It is on its way out: whoever dropped or cancelled it need not know when that is done.
                before.ended().await;
                begun = session.lane().begin_turn(&running);
            }
            // Whoever hears that no more events come may begin the next turn.
            let open = events.clone();
            let runs = Runner::run(session.clone(), agent, begin, running, events);
            let ended = match tokio::spawn(runs).await {
                Ok(ended) => ended,
                // The answer that was being written ends by itself.
                Err(_) => session.set_runtime(RuntimeState::Idle).await.and(Err(SessionError::BrokenOff)),
            };
            drop(place);
            drop(open);
            ended
        })
    }
}
