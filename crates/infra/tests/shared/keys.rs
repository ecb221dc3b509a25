//! A store of keys around whose calls something happens: all of it is the store's beneath, but for what a test does in between.
//!
//! Must not know: what happens.

use async_trait::async_trait;
use bytes::Bytes;
use sessions_ports::{Erasure, KeyStore, Slot, SlotChange, StoreError, StoredRing};

/// A call of a store of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyCall {
    Ring,
    PutRing,
    Slots,
    Add,
    Truncate,
    Read,
    Overwrite,
}

/// What happens around calls. An error is the call's answer: before it in its place, and behind it when it was made.
#[async_trait]
pub(crate) trait Around: Send + Sync {
    async fn before(&self, _call: KeyCall) -> Result<(), StoreError> {
        Ok(())
    }

    async fn behind(&self, _call: KeyCall) -> Result<(), StoreError> {
        Ok(())
    }

    /// Before each slot of a change of several, when these are changed one after the other, as a store may do it. False: they are changed at once.
    fn before_slot(&self, _number: u64) -> bool {
        false
    }

    /// Slots that are read in the place of those that are there.
    fn read_instead(&self, _from: u64, _limit: usize) -> Option<Vec<Slot>> {
        None
    }
}

/// A store of keys, and what happens around its calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys<K, A> {
    pub(crate) keys: K,
    pub(crate) around: A,
}

impl<K: KeyStore, A: Around> Keys<K, A> {
    async fn within<T>(
        &self,
        call: KeyCall,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.around.before(call).await?;
        let answer = work.await?;
        self.around.behind(call).await?;
        Ok(answer)
    }
}

#[async_trait]
impl<K: KeyStore, A: Around> KeyStore for Keys<K, A> {
    async fn ring(&self) -> Result<Option<StoredRing>, StoreError> {
        self.within(KeyCall::Ring, self.keys.ring()).await
    }

    async fn put_ring(&self, expected: u64, ring: Bytes) -> Result<(), StoreError> {
        self.within(KeyCall::PutRing, self.keys.put_ring(expected, ring)).await
    }

    async fn slots(&self) -> Result<u64, StoreError> {
        self.within(KeyCall::Slots, self.keys.slots()).await
    }

    async fn add(&self, slots: Vec<Slot>) -> Result<u64, StoreError> {
        self.within(KeyCall::Add, self.keys.add(slots)).await
    }

    async fn truncate(&self, count: u64) -> Result<(), StoreError> {
        self.within(KeyCall::Truncate, self.keys.truncate(count)).await
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<Slot>, StoreError> {
        match self.around.read_instead(from, limit) {
            Some(slots) => Ok(slots),
            None => self.within(KeyCall::Read, self.keys.read(from, limit)).await,
        }
    }

    async fn overwrite(&self, changes: Vec<SlotChange>) -> Result<(), StoreError> {
        let work = async {
            if changes.len() < 2 {
                return self.keys.overwrite(changes).await;
            }
            let mut left = Vec::new();
            for change in changes {
                if self.around.before_slot(change.number) {
                    self.keys.overwrite(vec![change]).await?;
                } else {
                    left.push(change);
                }
            }
            if left.is_empty() { Ok(()) } else { self.keys.overwrite(left).await }
        };
        self.within(KeyCall::Overwrite, work).await
    }

    fn erasure(&self) -> Erasure {
        self.keys.erasure()
    }
}
