//! How a rewrite is taken: what it replaces is looked at, its frames are encoded, and it gets its place.
//!
//! Must not know: how it is written, or where the index keeps places.

use std::{
    os::unix::fs::FileExt as _,
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use sessions_domain::CommitHash;
use sessions_ports::{
    BackendError, BackendErrorKind, Durability, KindFilter, Order, ReadRange, Record, Rewrite, Rewritten, StoreError,
};
use tokio::sync::oneshot;

use super::{
    INLINE_BODY, MAX_COMMIT_BYTES, SledStore, blob_name,
    core::Core,
    frame::{self, FrameHeader, Trailer},
    index::CoreRow,
    locator::Locator,
    log_state::{Job, Place},
    reader::{self, Unread},
    rewriting::Rewriting,
    stood_for::BesideFirst,
};

impl SledStore {
    /// Does a rewrite. Its place is taken at the first poll, unless the index fails just then.
    pub(super) async fn rewrite_records(&self, mut rewrite: Rewrite) -> Result<Rewritten, StoreError> {
        let frames = (rewrite.records.len() as u64).saturating_mul(128);
        rewrite.check(MAX_COMMIT_BYTES.saturating_sub(frames))?;
        let (first, _) = self.core().lock().admit_rewrite(&rewrite)?;
        let looked = {
            let mut looking = std::pin::pin!(self.look_at_old(&mut rewrite, first));
            looking.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        match looked {
            Poll::Ready(old) => self.place_rewrite(rewrite, old?).await,
            Poll::Pending => {
                // Like a commit it goes on when nobody waits for it any more.
                let store = self.clone();
                let late = async move {
                    let old = store.look_at_old(&mut rewrite, first).await?;
                    store.place_rewrite(rewrite, old).await
                };
                let Ok(runtime) = tokio::runtime::Handle::try_current() else { return late.await };
                let failed = |error| BackendError::new(BackendErrorKind::Internal, "rewriting", error).into();
                runtime.spawn(late).await.unwrap_or_else(|error| Err(failed(error)))
            }
        }
    }

    /// Where the records lie that are replaced, each of which says what its new one says. One that changes nothing but the session is given a record
    /// to go with.
    ///
    /// Only headers are read, here where it is asked: whoever rewrites records has just read them.
    async fn look_at_old(&self, rewrite: &mut Rewrite, first: u64) -> Result<Vec<Locator>, StoreError> {
        if rewrite.records.is_empty() {
            let (order, kinds) = (Order::OldestFirst, KindFilter::All);
            let range = ReadRange { from: first, to: first, order, kinds, max_records: 1, max_bytes: 1 };
            rewrite.records = self.read_unmoved(rewrite.session, range).await?.records;
        }
        let rewrite = &*rewrite;
        loop {
            let reclaimed = self.core().reclaimed.load(Ordering::Acquire);
            match reader::look_up(self.core(), |core| replaced(core, rewrite, first)).await {
                // What it was to replace was replaced meanwhile, and its space came back.
                Err(StoreError::Corrupt { .. }) if self.core().reclaimed.load(Ordering::Acquire) != reclaimed => {}
                outcome => return outcome,
            }
        }
    }

    async fn place_rewrite(&self, rewrite: Rewrite, old: Vec<Locator>) -> Result<Rewritten, StoreError> {
        let (done, outcome) = oneshot::channel();
        let waits = {
            let mut ledger = self.core().lock();
            // Others may have come between, when it was not polled to here at once.
            let (first, version) = ledger.admit_rewrite(&rewrite)?;
            let beside = ledger.beside_first(&rewrite, first);
            let job = self.encode_rewrite(rewrite, (first, version), Rewriting::waited_for(old, done), beside);
            if !ledger.has_room(&job) {
                return Err(StoreError::NoSpace { operation: "what waits to be written" });
            }
            ledger.enqueue_rewrite(job);
            !ledger.bodies.is_empty()
        };
        if waits {
            self.core().bodies.notify_one();
        }
        self.core().wake_writer();
        outcome.await.unwrap_or(Err(StoreError::Poisoned))
    }

    fn encode_rewrite(
        &self,
        rewrite: Rewrite,
        (first, version): (u64, u64),
        rewriting: Rewriting,
        beside: Option<BesideFirst>,
    ) -> Job {
        let session = rewrite.session;
        let synced = self.core().synced_position.load(Ordering::Acquire);
        let mut extra = Vec::new();
        if let Some(words) = &rewrite.words {
            frame::write_field(&mut extra, frame::WORDS, &[words]);
        }
        if rewrite.words.is_some() || !rewrite.unlink.is_empty() {
            let owners = rewrite.unlink.iter().flat_map(|owner| owner.to_bytes()).collect::<Vec<u8>>();
            frame::write_field(&mut extra, frame::REWRITE, &[&version.to_le_bytes(), &owners]);
        }
        if let Some(beside) = beside {
            frame::write_field(&mut extra, frame::BEGINNING, &[&beside.encoded()]);
        }
        let adopted = rewrite.records.iter().filter(|record| record.seq < first);
        let bytes = adopted.map(|record| record.payload.len() as u64).sum();
        let row = CoreRow { version, bytes, ..CoreRow::none(first) };
        let mut job = Job::bare(session, Bytes::new(), row);
        let (mut frames, last) = (Vec::new(), rewrite.records.last().map(|record| record.seq));
        let begins = rewrite.records.first().map_or(first, |record| record.seq.min(first));
        for record in rewrite.records {
            let offset = frames.len();
            let is_last = Some(record.seq) == last;
            let (mut flags, mut named) = (frame::REWRITTEN, Vec::new());
            if record.seq == begins {
                flags |= frame::FIRST;
            }
            if record.payload.len() > INLINE_BODY {
                flags |= frame::BLOB;
                let name = blob_name(self.core().folder.id, &record.payload);
                named.extend_from_slice(&name);
                named.extend_from_slice(&(record.payload.len() as u64).to_le_bytes());
                job.blobs.push((record.seq, name));
                job.bodies.push(record.payload.clone());
            }
            let body: &[u8] = if named.is_empty() { &record.payload } else { &named };
            let Record { seq, kind, commit, label, .. } = record;
            let header = FrameHeader { kind, flags, session, seq, label, commit };
            let trailer = is_last.then_some(Trailer { updated: 0, messages: 0, synced });
            frame::write(&mut frames, &header, body, trailer, if is_last { &extra } else { &[] });
            let within = Locator {
                segment: u32::MAX,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                length: u32::try_from(frames.len() - offset).unwrap_or(u32::MAX),
                kind,
                label,
            };
            job.records.push((seq, within));
        }
        // It is seen when it is synced, so that nobody reads what a power cut could take back.
        let rewrites = Some(Box::new(Rewriting { words: rewrite.words, unlink: rewrite.unlink, ..rewriting }));
        Job { frames: Bytes::from(frames), durability: Durability::Disk, rewrites, ..job }
    }
}

/// Where the records lie that a rewrite replaces.
fn replaced(core: &Core, rewrite: &Rewrite, first: u64) -> Result<Vec<Locator>, Unread> {
    let session = rewrite.session;
    let mut records = rewrite.records.iter().filter(|record| record.seq >= first).peekable();
    let mut old = Vec::new();
    while let Some(record) = records.next() {
        // Records that follow each other are looked up together.
        let mut stretch = vec![record];
        while let Some(next) = records.next_if(|next| next.seq == record.seq + stretch.len() as u64) {
            stretch.push(next);
        }
        let last = record.seq + stretch.len() as u64 - 1;
        let places = reader::places(core, session, record.seq, last)?;
        if places.len() != stretch.len() {
            return Err(StoreError::Malformed { what: "it rewrites a record that is not there" }.into());
        }
        for (record, (seq, place)) in stretch.into_iter().zip(places) {
            let commit = commit_of(core, &place).ok_or(StoreError::Corrupt {
                session,
                seq,
                what: "it cannot be told what it says",
            })?;
            let locator = place.locator();
            record.stands_for(locator.kind, locator.label, commit)?;
            old.extend(matches!(place, Place::Disk(_)).then_some(locator));
        }
    }
    Ok(old)
}

/// The commit in the frame at a place.
fn commit_of(core: &Core, place: &Place) -> Option<CommitHash> {
    match place {
        Place::Memory(_, frame) => frame::header(frame).map(|header| header.commit),
        Place::Disk(locator) if *locator == Locator::LOST => None,
        Place::Disk(locator) => {
            let mut bytes = vec![0; (locator.length as usize).min(INLINE_BODY + 4096)];
            let file = core.segment_file(locator.segment).ok()?;
            file.read_exact_at(&mut bytes, u64::from(locator.offset)).ok()?;
            // One whose fields are too long to read here is believed by its header.
            let is_all = bytes.len() == locator.length as usize;
            let commit = frame::header(&bytes).map(|header| header.commit);
            commit.filter(|_| !is_all || frame::read(&bytes).is_ok())
        }
    }
}
