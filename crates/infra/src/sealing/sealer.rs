//! How what a store is given is sealed, and what it gives is opened.
//!
//! Must not know: the order in which things are asked.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sessions_domain::{CommitHash, Created, Event, Kind, SessionId, SummaryWords, codec};
use sessions_ports::{
    Claim, Commit, Committed, KeyError, KindFilter, Order, Page, ReadRange, Record, Removed, StoreError,
};

use super::{
    cipher::TAG,
    envelope::{self, Beside, RecordContext, RecordHead},
    slot::SessionKeys,
    store::Inner,
};
use crate::beginning;

impl SessionKeys {
    /// Seals a record. `begins`: it says where the session's keys lie.
    pub(super) fn seal(&self, session: SessionId, record: Record, begins: bool) -> Result<Record, StoreError> {
        let (epoch, cipher) = self.current(record.seq).ok_or(KeyError::WornOut { session })?;
        let head = RecordHead { epoch, slot: begins.then_some(self.slot) };
        let Record { seq, kind, commit, label, payload } = record;
        let context = RecordContext::of(session, head, seq, kind, label, commit);
        let mut sealed = Vec::with_capacity(head.length() + payload.len() + TAG);
        head.write(&mut sealed);
        sealed.extend_from_slice(&payload);
        cipher.seal(envelope::record_nonce(seq, commit), context.as_bytes(), &mut sealed, head.length())?;
        Ok(Record { seq, kind, commit, label, payload: Bytes::from(sealed) })
    }

    /// Opens a record.
    pub(super) fn open(&self, session: SessionId, record: Record) -> Result<Record, StoreError> {
        let mut room = BytesMut::with_capacity(record.payload.len());
        self.open_in(&mut room, session, record)
    }

    /// The same in room that records share.
    fn open_in(&self, room: &mut BytesMut, session: SessionId, record: Record) -> Result<Record, StoreError> {
        if envelope::is_stand_in(&record) {
            return Ok(record);
        }
        let Record { seq, kind, commit, label, payload } = record;
        let corrupt = |what| StoreError::Corrupt { session, seq, what };
        let (head, sealed) = RecordHead::read(&payload).ok_or(corrupt("it is not sealed as it should be"))?;
        let Some(cipher) = self.of(head.epoch) else {
            return Err(if self.is_over(head.epoch) {
                KeyError::EpochRetired { session, seq, epoch: head.epoch }.into()
            } else {
                corrupt(
                    "it is sealed with a data key that the session's slot does not have, as where `keys` was put back to an earlier state",
                )
            });
        };
        let context = RecordContext::of(session, head, seq, kind, label, commit);
        room.clear();
        room.extend_from_slice(sealed);
        let opened = cipher.open_in_place(envelope::record_nonce(seq, commit), context.as_bytes(), room);
        let length = opened.ok_or(corrupt("its seal is broken: it is not what was sealed here"))?.len();
        let payload = room.split_to(length).freeze();
        room.clear();
        Ok(Record { seq, kind, commit, label, payload })
    }

    pub(super) fn seal_beside(&self, what: Beside, session: SessionId, text: &[u8]) -> Result<Bytes, KeyError> {
        let sealed = self.root().wrap(&what.context(session, self.slot), text)?;
        Ok(Bytes::from(envelope::beside(self.slot, &sealed)))
    }

    pub(super) fn open_beside(&self, what: Beside, session: SessionId, bytes: &[u8]) -> Option<Bytes> {
        let (slot, sealed) = envelope::read_beside(bytes)?;
        let opened = self.root().unwrap(&what.context(session, slot), sealed)?;
        Some(Bytes::from(opened))
    }
}

/// What sealing adds to `removed` records; the first one of a log has a little more.
pub(super) fn added_bytes(removed: &Removed) -> u64 {
    let of = |head: RecordHead| (head.length() + TAG) as u64;
    let (each, first) = (of(RecordHead { epoch: 1, slot: None }), of(RecordHead { epoch: 1, slot: Some(0) }));
    let with_first = removed.records > 0 && removed.kept == 0;
    removed.records.saturating_mul(each) + if with_first { first - each } else { 0 }
}

impl Inner {
    /// Seals a commit, and gives it to the store beneath. It takes its place there at the first poll.
    pub(super) async fn sealed_commit(&self, keys: &SessionKeys, commit: Commit) -> Result<Committed, StoreError> {
        let session = commit.session;
        let begins = commit.expected.version().is_none();
        if let Some(first) = commit.records.first().filter(|_| begins) {
            keys.begin_at(first.seq);
        }
        let records = commit.records.into_iter().enumerate();
        let records = records.map(|(at, record)| keys.seal(session, record, begins && at == 0));
        let records = records.collect::<Result<Vec<_>, StoreError>>()?;
        let claims = commit.claims.into_iter().map(|claim| {
            let key = keys.claim_key(&claim.key);
            Claim { payload: keys.mask(&key, &claim.payload), key, ..claim }
        });
        let mut row = commit.row;
        if let Some(words) = &mut row.words {
            *words = keys.seal_beside(Beside::Words, session, words)?;
        }
        let snapshot = commit.snapshot.map(|view| keys.seal_beside(Beside::Snapshot, session, &view)).transpose()?;
        let key = commit.key.map(|key| self.keyring.name(&key));
        self.log.commit(Commit { records, claims: claims.collect(), row, snapshot, key, ..commit }).await
    }

    /// The first record that the store has of a session, also of one that was removed and from which others inherit; `None`: it is damaged.
    pub(super) async fn first_record(&self, session: SessionId) -> Result<Option<Record>, StoreError> {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let range = ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 1, max_bytes: 1 };
        match self.log.read(session, range).await {
            Ok(page) => Ok(page.records.into_iter().next()),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where a session's keys lie, and the first record of its log (0: that is lost): that record says it, or what is kept beside the log, or what is
    /// left of the session opens with them alone.
    pub(super) async fn slot_of(&self, session: SessionId) -> Result<Option<(u32, u64)>, StoreError> {
        if let Some(first) = self.first_record(session).await?
            && let Some(slot) = RecordHead::read(&first.payload).and_then(|(head, _)| head.slot)
        {
            return Ok(Some((slot, first.seq)));
        }
        if let Some(snapshot) = self.log.snapshot(session).await?
            && let Some((slot, _)) = envelope::read_beside(&snapshot)
        {
            return Ok(Some((slot, 0)));
        }
        // Its beginning is lost, and so is its snapshot: the list of sessions still says it, or else trying does.
        let words = self.row_words(session).await?;
        let said = words.and_then(|words| envelope::read_beside(&words).map(|(slot, _)| slot));
        let slot = match said {
            Some(slot) => Some(slot),
            None => self.search_slot(session).await?,
        };
        Ok(slot.map(|slot| (slot, 0)))
    }

    /// The sealed words of a session's row.
    pub(super) async fn row_words(&self, session: SessionId) -> Result<Option<Bytes>, StoreError> {
        let mut since = 0;
        loop {
            let page = self.log.rows(since, 4096).await?;
            if let Some(row) = page.rows.iter().find(|row| row.session == session) {
                return Ok(Some(row.words.clone()));
            }
            if !page.more {
                return Ok(None);
            }
            since = page.next;
        }
    }

    /// What stands for a session's lost beginning says nothing in a sealed store. It is named as the session's row is, and without that it belongs
    /// to the tenant of the records behind it. That of another session came with what this one took over, and this one's own
    /// beginning says whose that was.
    pub(super) async fn named_beginning(
        &self,
        session: SessionId,
        keys: &SessionKeys,
        record: Record,
    ) -> Result<Record, StoreError> {
        let Some((Event::Created(created), mut stamp)) =
            record.payload.get(32..).and_then(|body| codec::decode(record.kind, body).ok())
        else {
            return Ok(record);
        };
        let words = self.row_words(session).await?.and_then(|words| keys.open_beside(Beside::Words, session, &words));
        let words = match words.and_then(|words| SummaryWords::from_json(&words)) {
            Some(words) => words,
            None => {
                let tenant = self.tenant_behind(session, keys, record.seq).await?;
                SummaryWords { tenant, ..SummaryWords::default() }
            }
        };
        let created = match created.session == session {
            true => self.checked_beginning(session, &record, *created, &words).await?,
            false => Created { fork: None, ..*created },
        };
        let created = beginning::named(created, &mut stamp, &words);
        let Ok(body) = codec::encode(&Event::Created(Box::new(created)), &stamp) else { return Ok(record) };
        Ok(Record { payload: Bytes::from([&[0; 32], body.as_slice()].concat()), ..record })
    }

    /// Whose the first record is that can be read behind one.
    async fn tenant_behind(&self, session: SessionId, keys: &SessionKeys, seq: u64) -> Result<String, StoreError> {
        const LOT: usize = 64;
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let mut range = ReadRange { from: seq + 1, to: u64::MAX, order, kinds, max_records: LOT, max_bytes: 1 << 20 };
        loop {
            let page = match self.log.read(session, range).await {
                Ok(page) => page,
                Err(StoreError::Corrupt { .. }) => return Ok(String::new()),
                Err(error) => return Err(error),
            };
            let sealed = page.records.into_iter().filter(|record| !envelope::is_stand_in(record));
            let mut opened = sealed.filter_map(|record| keys.open(session, record).ok());
            let stamp = opened.find_map(|record| Some(codec::decode(record.kind, record.payload.get(32..)?).ok()?.1));
            match (stamp, page.next) {
                (Some(stamp), _) => return Ok(stamp.actor.tenant),
                (None, Some(next)) => range.from = next,
                (None, None) => return Ok(String::new()),
            }
        }
    }

    /// A session's keys, from its slot.
    pub(super) async fn find_keys(&self, session: SessionId) -> Result<Arc<SessionKeys>, StoreError> {
        match self.slot_of(session).await? {
            Some((slot, first)) => {
                let keys = self.keyring.load(session, slot).await?;
                keys.begin_at(first);
                Ok(keys)
            }
            None => Err(match self.log.head(session).await? {
                None => StoreError::NotFound { session },
                Some(_) => KeyError::Damaged {
                    what: "nothing tells where the keys of a session lie, and none that are there open it",
                }
                .into(),
            }),
        }
    }

    pub(super) async fn keys_to_read(&self, session: SessionId) -> Result<Arc<SessionKeys>, StoreError> {
        if let Some(keys) = self.sessions.get(session) {
            return Ok(keys);
        }
        let keys = self.find_keys(session).await?;
        self.sessions.offer(session, &keys);
        Ok(keys)
    }

    /// Opens the records of a page.
    pub(super) async fn open_page(&self, session: SessionId, page: Page) -> Result<Page, StoreError> {
        if page.records.iter().all(|record| record.kind == Kind::LOST && envelope::is_stand_in(record)) {
            return Ok(page);
        }
        match self.keys_to_read(session).await {
            Ok(keys) => self.open_page_with(session, &keys, page).await,
            // What is left of a session that was removed needs no keys where all of it is lost.
            Err(StoreError::Gone { .. }) if page.records.iter().all(envelope::is_stand_in) => {
                let records = page.records.into_iter().map(envelope::unsaid).collect();
                Ok(Page { records, ..page })
            }
            Err(error) => Err(error),
        }
    }

    /// The same with these keys.
    pub(super) async fn open_page_with(
        &self,
        session: SessionId,
        keys: &SessionKeys,
        page: Page,
    ) -> Result<Page, StoreError> {
        let mut records = Vec::with_capacity(page.records.len());
        let mut room = BytesMut::with_capacity(page.records.iter().map(|record| record.payload.len()).sum());
        for record in page.records {
            records.push(match record.kind {
                Kind::CREATED if envelope::is_stand_in(&record) => self.named_beginning(session, keys, record).await?,
                _ => keys.open_in(&mut room, session, record)?,
            });
        }
        Ok(Page { records, next: page.next })
    }

    /// Opens a snapshot. One that does not open is none: a view can be made anew.
    pub(super) async fn open_snapshot(&self, session: SessionId, sealed: &[u8]) -> Option<Bytes> {
        let keys = self.keys_to_read(session).await.ok()?;
        keys.open_beside(Beside::Snapshot, session, sealed)
    }
}

/// One link of the ciphertext chain: what whoever has no key checks.
///
/// `link_i = SHA-256(link_{i-1} ‖ session ‖ seq ‖ kind ‖ commit_i ‖ sealed payload_i)`; before the first record of an epoch it is 32 zero bytes.
#[must_use]
pub fn cipher_link(before: &[u8; 32], session: SessionId, record: &Record) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(before);
    context.update(&session.to_bytes());
    context.update(&record.seq.to_le_bytes());
    context.update(&[record.kind.0]);
    context.update(CommitHash::as_bytes(&record.commit));
    context.update(&record.payload);
    let mut link = [0; 32];
    link.copy_from_slice(context.finish().as_ref());
    link
}
