//! Counters that are made on a thread of their own, before anybody asks for one.
//!
//! Must not know: which there are.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use sessions_ports::TokenCounter;

/// The threads that make counters. No thread outlives it.
#[derive(Debug, Default)]
pub(super) struct Warming {
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Warming {
    /// Begins to make counters, one after the other.
    pub(super) fn begin(&self, counters: Vec<fn() -> Arc<dyn TokenCounter>>) {
        if counters.is_empty() {
            return;
        }
        self.spawn(move || counters.iter().for_each(|counter| drop(counter())));
    }

    /// Does this on a thread. Where the system gives none it is not done: each counter is made when it is asked for, which takes its time
    /// there and is no failure.
    pub(super) fn spawn(&self, make: impl FnOnce() + Send + 'static) {
        if let Ok(thread) = thread::Builder::new().name("sessions-tokens".to_owned()).spawn(make) {
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
    }

    /// Waits until all of them are made.
    pub(super) fn wait(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A thread that panicked has made nothing; whoever asks for its counter meets the same.
            let _ = thread.join();
        }
    }
}

impl Drop for Warming {
    fn drop(&mut self) {
        self.wait();
    }
}
