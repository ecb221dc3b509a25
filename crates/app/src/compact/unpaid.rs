//! What a summary took for which nobody waits any more: it goes into the ledger all the same.
//!
//! Must not know: who writes summaries, or what a call is.

use sessions_domain::Event;
use sessions_ports::Tab;
use tokio::runtime::Handle;

use crate::{error::SessionError, session::Session};

/// Notes what is on a tab when it goes away.
pub(super) struct Unpaid {
    tab: Tab,
    /// Who notes it, and where that runs; `None`: whoever brought the tab does.
    by: Option<(Session, Handle)>,
}

impl Unpaid {
    /// With the tab of somebody who notes what is on it, or with one of its own.
    pub(super) fn of(session: &Session, tab: Option<Tab>) -> Self {
        match tab {
            Some(tab) => Self { tab, by: None },
            // Without a runtime nothing is asked, either.
            None => Self { tab: Tab::default(), by: Handle::try_current().ok().map(|at| (session.clone(), at)) },
        }
    }

    pub(super) fn tab(&self) -> Tab {
        self.tab.clone()
    }
}

impl Drop for Unpaid {
    fn drop(&mut self) {
        let Some((session, runtime)) = self.by.take() else { return };
        let tab = std::mem::take(&mut self.tab);
        if tab.is_empty() {
            return;
        }
        let manager = session.manager().clone();
        // That it could not be noted, nobody is there to hear.
        let noting = async move { session.note_spent(&tab).await };
        runtime.spawn(manager.tasks().counted(noting));
    }
}

impl Session {
    /// Notes in the ledger what is on a tab.
    pub(crate) async fn note_spent(&self, tab: &Tab) -> Result<(), SessionError> {
        let spent: Vec<Event> = tab.take().into_iter().map(|call| Event::Spent(Box::new(call))).collect();
        if spent.is_empty() {
            return Ok(());
        }
        self.make(None, |_| Ok(spent.clone())).await.map(|_| ())
    }
}
