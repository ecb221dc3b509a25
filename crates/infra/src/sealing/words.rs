//! The words of rows, opened for a list. A list may be of very many sessions, and asks for no more of their keys than for the one that words are sealed with;
//! none of these is kept.
//!
//! Must not know: what words say.

use std::{
    sync::{Arc, LazyLock},
    thread,
};

use bytes::Bytes;
use sessions_domain::SessionId;
use sessions_ports::{KeyError, Row, Slot, StoreError};
use tokio::{runtime::Handle, task};
use zeroize::Zeroizing;

use super::{
    envelope::{self, Beside},
    ring::Ring,
    slot::{self, SlotState},
    store::{Inner, ended},
};

/// What stands in a row whose words nobody can open.
const NO_WORDS: Bytes = Bytes::new();
/// Slots that are read at once.
const LOT: u32 = 2048;
/// Reading some slots that nobody wants costs less than another call.
const GAP: u32 = 64;
/// So few rows are opened where they are asked for.
const FEW: usize = 32;

/// So many lots are opened at a time, each on a thread that may wait.
static AT_ONCE: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, |cores| cores.get().min(4)));

/// Words that are to be opened.
struct Wanted {
    /// The row's place in its page.
    at: usize,
    session: SessionId,
    slot: u32,
    sealed: Bytes,
}

/// What became of a lot: words by the row's place, and what has to be looked at one by one.
#[derive(Default)]
struct Opened {
    words: Vec<(usize, Bytes)>,
    left: Vec<Wanted>,
}

impl Inner {
    /// Opens the words of rows; they are empty where nobody can. One session whose keys are gone keeps no other out of the list.
    pub(super) async fn open_words(self: &Arc<Self>, rows: &mut [Row]) -> Result<(), StoreError> {
        let mut wanted = Vec::new();
        for (at, Row { session, words, .. }) in rows.iter_mut().enumerate() {
            let (session, sealed) = (*session, std::mem::replace(words, NO_WORDS));
            match self.sessions.get(session) {
                Some(keys) => *words = keys.open_beside(Beside::Words, session, &sealed).unwrap_or(NO_WORDS),
                None => {
                    let slot = envelope::read_beside(&sealed).map(|(slot, _)| slot);
                    wanted.extend(slot.map(|slot| Wanted { at, session, slot, sealed }));
                }
            }
        }
        let mut open = |opened: Vec<(usize, Bytes)>| {
            for (at, opened) in opened {
                if let Some(row) = rows.get_mut(at) {
                    row.words = opened;
                }
            }
        };
        let is_few = wanted.len() <= FEW;
        let lots = lots_of(wanted);
        if is_few || Handle::try_current().is_err() {
            for lot in lots {
                open(Arc::clone(self).open_lot(lot, false).await?);
            }
            return Ok(());
        }
        let mut running = task::JoinSet::new();
        for lot in lots {
            if running.len() >= *AT_ONCE
                && let Some(done) = running.join_next().await
            {
                open(done.unwrap_or_else(|_| Err(ended(OPENING)))?);
            }
            running.spawn(Arc::clone(self).open_lot(lot, true));
        }
        while let Some(done) = running.join_next().await {
            open(done.unwrap_or_else(|_| Err(ended(OPENING)))?);
        }
        Ok(())
    }

    /// Opens the words of sessions whose slots lie near each other. `beside`: on another thread.
    async fn open_lot(self: Arc<Self>, lot: Vec<Wanted>, beside: bool) -> Result<Vec<(usize, Bytes)>, StoreError> {
        let (Some(first), Some(last)) = (lot.first(), lot.last()) else { return Ok(Vec::new()) };
        let (first, length) = (first.slot, usize::try_from(last.slot - first.slot).unwrap_or(0) + 1);
        let slots = match self.keyring.store().read(u64::from(first), length).await {
            Ok(slots) => slots,
            // One damaged slot must not take the others along.
            Err(StoreError::Key(KeyError::Damaged { .. })) => Vec::new(),
            Err(error) => return Err(error),
        };
        let ring = self.keyring.ring();
        let opened = if beside {
            let work = task::spawn_blocking(move || open_all(&ring, first, &slots, lot));
            work.await.map_err(|_| ended(OPENING))?
        } else {
            open_all(&ring, first, &slots, lot)
        };
        let Opened { mut words, left } = opened;
        for Wanted { at, session, slot, sealed } in left {
            match self.keyring.load(session, slot).await {
                Ok(keys) => words.extend(keys.open_beside(Beside::Words, session, &sealed).map(|words| (at, words))),
                Err(StoreError::Key(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(words)
    }
}

const OPENING: &str = "opening the words of sessions";

/// Those whose slots lie near each other together, in the order of their slots.
fn lots_of(mut wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    wanted.sort_unstable_by_key(|wanted| wanted.slot);
    let mut lots: Vec<Vec<Wanted>> = Vec::new();
    for one in wanted {
        let fits = |lot: &&mut Vec<Wanted>| match (lot.first(), lot.last()) {
            (Some(first), Some(last)) => one.slot - last.slot <= GAP && one.slot - first.slot < LOT,
            _ => false,
        };
        match lots.last_mut().filter(fits) {
            Some(lot) => lot.push(one),
            None => lots.push(vec![one]),
        }
    }
    lots
}

/// Opens what these slots open; `first` is the first one's number.
fn open_all(ring: &Ring, first: u32, slots: &[Slot], lot: Vec<Wanted>) -> Opened {
    let mut opened = Opened { words: Vec::with_capacity(lot.len()), left: Vec::new() };
    let (mut room, mut text) = (Zeroizing::new(slot::ROOM), Vec::new());
    for wanted in lot {
        let bytes = usize::try_from(wanted.slot - first).ok().and_then(|at| slots.get(at));
        let words = match bytes.map(|bytes| (bytes, slot::state(bytes))) {
            // Nobody opens them any more.
            Some((_, Ok(SlotState::Destroyed(_)))) => continue,
            Some((bytes, Ok(SlotState::Live(id)))) => ring.named(id).and_then(|kek| {
                let keys = (bytes.as_ref(), ring.store(), wanted.slot, &kek.cipher);
                let sealed = (Beside::Words, wanted.session, wanted.sealed.as_ref());
                slot::open_beside(keys, sealed, &mut room, &mut text).ok()
            }),
            _ => None,
        };
        match words {
            Some(words) => opened.words.extend(words.map(|words| (wanted.at, Bytes::copy_from_slice(words)))),
            // Its slot was damaged, or wrapped anew meanwhile.
            None => opened.left.push(wanted),
        }
    }
    opened
}
