//! Changing the key of a sealed store by itself, when it is old: all data keys are wrapped anew under the next one, and the records stay.
//!
//! Must not know: how keys are wrapped.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use sessions_app::Stopping;
use sessions_infra::sealing::{Rotated, SealedStore};
use sessions_ports::{Clock, KeyProvider, StoreError};
use tokio::{sync::watch, time::timeout};

/// How often the age of the key is looked at.
const DAILY: Duration = Duration::from_secs(24 * 60 * 60);

/// After a change that failed the next try is so long away, and each time twice as long, a day at most.
const SOON: Duration = Duration::from_secs(60);

/// How a change of the key went. One that failed changed nothing, or is finished by the next try.
pub type RotationOutcome = Arc<Result<Rotated, StoreError>>;

/// Changes of the key that are made in the background, until the manager is shut down or dropped.
#[derive(Debug)]
pub struct KeyRotation {
    last: watch::Receiver<Option<RotationOutcome>>,
    _stop: watch::Sender<()>,
}

impl KeyRotation {
    /// How the last change went; `None`: the key was not old yet.
    pub fn last(&self) -> Option<RotationOutcome> {
        self.last.borrow().clone()
    }

    /// What is to be run for them, and how they go.
    pub(crate) fn of(wish: Rotating) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (stop, stopped) = watch::channel(());
        let (told, last) = watch::channel(None);
        (Self { last, _stop: stop }, wish.run(stopped, told))
    }
}

/// What changes of the key need.
pub(crate) struct Rotating {
    pub(crate) store: SealedStore,
    pub(crate) key: Arc<dyn KeyProvider>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whole days. A key that is older is changed.
    pub(crate) after: u64,
    pub(crate) stopping: Stopping,
}

impl Rotating {
    async fn run(self, mut stopped: watch::Receiver<()>, told: watch::Sender<Option<RotationOutcome>>) {
        let mut again = SOON;
        loop {
            let facts = self.store.key_facts();
            let mut wait = DAILY;
            if !self.stopping.is_asked() && (facts.is_changing || facts.days_old(self.clock.now()) > self.after) {
                // It is not broken off: whoever waits for the end waits for the slot in hand too.
                let rotated = self.store.rotate(self.key.as_ref(), |_| ()).await;
                wait = if rotated.is_ok() { DAILY } else { again };
                again = if rotated.is_ok() { SOON } else { (again * 2).min(DAILY) };
                told.send_replace(Some(Arc::new(rotated)));
            }
            let (mut asked, mut gone) = (pin!(self.stopping.asked()), pin!(stopped.changed()));
            let ended = poll_fn(|cx| {
                let is_over = asked.as_mut().poll(cx).is_ready() || gone.as_mut().poll(cx).is_ready();
                if is_over { Poll::Ready(()) } else { Poll::Pending }
            });
            if timeout(wait, ended).await.is_ok() {
                return;
            }
        }
    }
}
