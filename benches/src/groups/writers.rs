//! Many writers at once: how many appends a second, and how many share a sync.
//!
//! Must not know: what one writer costs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sessions_app::{NewSession, Session};
use sessions_domain::Message;
use sessions_infra::sled::SledStore;
use sessions_ports::{Durability, SessionLog};

use crate::{
    harness::median,
    raw::RawLog,
    report::{Figure, Section, Unit},
    stage::{As, Outcome, Stage, ensure, fill, manager, message, open_as},
};

pub(crate) const WRITERS: usize = 64;
const MANY: usize = 10_000;
const ROUNDS: usize = 3;
/// Long enough that the work in the background is part of it.
const SPAN: Duration = Duration::from_millis(4_000);
/// So that one round's background work is not counted in the next.
const SETTLE: Duration = Duration::from_millis(1_200);

#[derive(Default)]
struct Rates {
    per_second: Vec<f64>,
    a_sync: Vec<f64>,
    errors: u64,
}

struct Arena {
    store: SledStore,
    log: Arc<dyn SessionLog>,
    writers: Vec<Vec<Session>>,
    /// Each writer to all of its sessions in turns.
    all: Rates,
    /// Each writer to one of its sessions.
    one: Rates,
}

/// To which of its sessions a writer appends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    All,
    One,
}

impl Arena {
    /// A store of so many sessions, dealt out among the writers.
    async fn new(stage: &Stage, name: &str, sessions: usize, how: As) -> Outcome<Self> {
        let (store, log) = open_as(&stage.path(name), how).await?;
        let manager = manager(Arc::clone(&log), Durability::Disk)?;
        let mut writers: Vec<Vec<Session>> = vec![Vec::new(); WRITERS];
        for (at, writer) in (0..sessions).zip((0..WRITERS).cycle()) {
            let new = NewSession::titled(format!("session {at}")).durability(Durability::Volatile);
            let session = manager.create(new).await?;
            fill(&session, 1).await?;
            writers.get_mut(writer).ok_or("no such writer")?.push(session);
        }
        Ok(Self { store, log, writers, all: Rates::default(), one: Rates::default() })
    }

    async fn round(&mut self, to: To, span: Duration) -> Outcome<()> {
        let before = self.store.figures();
        let begun = Instant::now();
        let until = begun + span;
        let count = if to == To::One { 1 } else { usize::MAX };
        let sessions = self.writers.iter().map(|sessions| sessions.iter().take(count).cloned().collect());
        let tasks: Vec<_> = sessions.map(|sessions| tokio::spawn(writer(sessions, until))).collect();
        let (mut appended, mut errors) = (0, 0);
        for task in tasks {
            let (done, failed) = task.await?;
            appended += done;
            errors += failed;
        }
        let took = begun.elapsed().as_secs_f64();
        let after = self.store.figures();
        ensure(
            after.commits - before.commits == appended,
            "the store wrote another number of appends than were answered",
        )?;
        let rates = if to == To::One { &mut self.one } else { &mut self.all };
        rates.per_second.push(appended as f64 / took);
        rates.a_sync.push(appended as f64 / (after.syncs - before.syncs).max(1) as f64);
        rates.errors += errors;
        Ok(())
    }
}

/// Appends to its sessions in turns until the time is over: how many were acknowledged, how many failed.
async fn writer(sessions: Vec<Session>, until: Instant) -> (u64, u64) {
    let messages: Vec<Message> = (0..16).map(message).collect();
    let (mut done, mut failed) = (0, 0);
    for (session, message) in sessions.iter().cycle().zip(messages.iter().cycle()) {
        match session.append(message.clone()).await {
            Ok(_) => done += 1,
            Err(_) => failed += 1,
        }
        if Instant::now() >= until {
            break;
        }
    }
    (done, failed)
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let mut log = RawLog::create(&stage.path("raw"))?;
    let mut arenas = [
        Arena::new(stage, "few", WRITERS, As::Plain).await?,
        Arena::new(stage, "many", MANY, As::Plain).await?,
        Arena::new(stage, "sealed few", WRITERS, As::Sealed).await?,
        Arena::new(stage, "sealed many", MANY, As::Sealed).await?,
    ];
    for arena in &mut arenas {
        arena.round(To::All, SPAN / 4).await?;
        (arena.all, arena.one) = (Rates::default(), Rates::default());
    }
    // One and the other way round, so that none always comes behind the same one.
    let order = [(0, To::All), (2, To::All), (1, To::One), (3, To::One), (1, To::All), (3, To::All)];
    let mut raw = Vec::new();
    for round in 0..ROUNDS {
        tokio::time::sleep(SETTLE).await;
        let begun = Instant::now();
        for _ in 0..1_000 {
            log.append(WRITERS)?;
        }
        raw.push((1_000 * WRITERS) as f64 / begun.elapsed().as_secs_f64());
        for step in 0..order.len() {
            let at = if round % 2 == 0 { step } else { order.len() - 1 - step };
            let (arena, to) = order.get(at).copied().ok_or("no such step")?;
            arenas.get_mut(arena).ok_or("no such store")?.round(to, SPAN).await?;
            tokio::time::sleep(SETTLE).await;
        }
    }
    for arena in &arenas {
        arena.store_closed().await?;
    }
    let [few, many, sealed_few, sealed_many] = &arenas;
    let raw = median(&raw);
    let ratio = |rate: f64| format!("{:.2} × raw", rate / raw);
    let (rate, sealed) = (few.all.per_second(), sealed_few.all.per_second());
    let to_few = |what, rates: &Rates, few: f64| {
        let rate = rates.per_second();
        let note = format!("{}, {}, {:.1} a sync", Unit::PerSecond.show(rate), ratio(rate), median(&rates.a_sync));
        Figure::new("P2", what, rate / few, Unit::Times).at_least(0.8).note(note)
    };
    let syncs = |what, rates: &Rates| Figure::new("P2", what, median(&rates.a_sync), Unit::Count).at_least(16.0);
    let errors: u64 = arenas.iter().map(|arena| arena.all.errors + arena.one.errors).sum();
    let figures = vec![
        Figure::new("P2", "64 writers on 64 sessions at `disk`", rate, Unit::PerSecond)
            .at_least(100_000.0)
            .note(format!("{}: one write and sync of 64 messages gives {}", ratio(rate), Unit::PerSecond.show(raw))),
        syncs("messages a sync", &few.all),
        to_few("64 writers on 64 of 10 000 sessions, to a store of 64", &many.one, rate),
        syncs("messages a sync, 64 of 10 000", &many.one),
        to_few("64 writers on all of 10 000 sessions in turns, to a store of 64", &many.all, rate),
        syncs("messages a sync, all of 10 000", &many.all),
        Figure::new("P2", "sealed: 64 writers on 64 sessions at `disk`", sealed, Unit::PerSecond)
            .at_least(100_000.0)
            .note(ratio(sealed)),
        Figure::new("P8", "sealed to plain, 64 sessions", sealed / rate, Unit::Times).at_least(0.85),
        syncs("sealed: messages a sync", &sealed_few.all),
        to_few("sealed: 64 writers on 64 of 10 000 sessions, to a store of 64", &sealed_many.one, sealed),
        syncs("sealed: messages a sync, 64 of 10 000", &sealed_many.one),
        to_few("sealed: 64 writers on all of 10 000 sessions in turns, to a store of 64", &sealed_many.all, sealed),
        syncs("sealed: messages a sync, all of 10 000", &sealed_many.all),
        Figure::new(
            "P8",
            "sealed to plain, all of 10 000 sessions",
            sealed_many.all.per_second() / many.all.per_second(),
            Unit::Times,
        ),
        Figure::new("P2", "errors", errors as f64, Unit::Count).at_most(0.0),
    ];
    Ok(Section {
        title: "64 writers",
        method: "64 tasks append, each to one session or to its share of all in turns, and wait for `disk`. Median of three rounds of four \
                 seconds; the\nstores and the raw file take turns, every second round in the other order.",
        figures,
        appendix: String::new(),
    })
}

impl Rates {
    fn per_second(&self) -> f64 {
        median(&self.per_second)
    }
}

impl Arena {
    async fn store_closed(&self) -> Outcome<()> {
        Ok(self.log.close().await?)
    }
}
