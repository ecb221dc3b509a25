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

struct Rates {
    per_second: Vec<f64>,
    a_sync: Vec<f64>,
    errors: u64,
}

struct Arena {
    store: SledStore,
    log: Arc<dyn SessionLog>,
    writers: Vec<Vec<Session>>,
    rates: Rates,
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
        let rates = Rates { per_second: Vec::new(), a_sync: Vec::new(), errors: 0 };
        Ok(Self { store, log, writers, rates })
    }

    async fn round(&mut self, span: Duration) -> Outcome<()> {
        let before = self.store.figures();
        let begun = Instant::now();
        let until = begun + span;
        let tasks: Vec<_> = self.writers.iter().map(|sessions| tokio::spawn(writer(sessions.clone(), until))).collect();
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
        self.rates.per_second.push(appended as f64 / took);
        self.rates.a_sync.push(appended as f64 / (after.syncs - before.syncs).max(1) as f64);
        self.rates.errors += errors;
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
    let mut few = Arena::new(stage, "few", WRITERS, As::Plain).await?;
    let mut many = Arena::new(stage, "many", MANY, As::Plain).await?;
    let mut sealed_few = Arena::new(stage, "sealed few", WRITERS, As::Sealed).await?;
    let mut sealed_many = Arena::new(stage, "sealed many", MANY, As::Sealed).await?;
    let mut raw = Vec::new();
    for arena in [&mut few, &mut many, &mut sealed_few, &mut sealed_many] {
        arena.round(SPAN / 4).await?;
    }
    for arena in [&mut few, &mut many, &mut sealed_few, &mut sealed_many] {
        arena.rates.per_second.clear();
        arena.rates.a_sync.clear();
    }
    for _ in 0..ROUNDS {
        tokio::time::sleep(SETTLE).await;
        let begun = Instant::now();
        for _ in 0..1_000 {
            log.append(WRITERS)?;
        }
        raw.push((1_000 * WRITERS) as f64 / begun.elapsed().as_secs_f64());
        for arena in [&mut few, &mut sealed_few, &mut many, &mut sealed_many] {
            arena.round(SPAN).await?;
            tokio::time::sleep(SETTLE).await;
        }
    }
    for arena in [&few, &many, &sealed_few, &sealed_many] {
        arena.store_closed().await?;
    }
    let raw = median(&raw);
    let (rate, rate_of_many) = (median(&few.rates.per_second), median(&many.rates.per_second));
    let (sealed, sealed_of_many) = (median(&sealed_few.rates.per_second), median(&sealed_many.rates.per_second));
    let ratio = |rate: f64| format!("{:.2} × raw", rate / raw);
    let figures = vec![
        Figure::new("P2", "64 writers on 64 sessions at `disk`", rate, Unit::PerSecond)
            .at_least(100_000.0)
            .note(format!("{}: one write and sync of 64 messages gives {}", ratio(rate), Unit::PerSecond.show(raw))),
        Figure::new("P2", "messages a sync", median(&few.rates.a_sync), Unit::Count).at_least(16.0),
        Figure::new("P2", "64 writers in a store of 10 000 sessions, to 64 sessions", rate_of_many / rate, Unit::Times)
            .at_least(0.8)
            .note(format!("{}, {}", Unit::PerSecond.show(rate_of_many), ratio(rate_of_many))),
        Figure::new("P2", "messages a sync, 10 000 sessions", median(&many.rates.a_sync), Unit::Count).at_least(16.0),
        Figure::new("P2", "sealed: 64 writers on 64 sessions at `disk`", sealed, Unit::PerSecond)
            .at_least(100_000.0)
            .note(ratio(sealed)),
        Figure::new("P8", "sealed to plain, 64 sessions", sealed / rate, Unit::Times).at_least(0.85),
        Figure::new("P2", "sealed: messages a sync", median(&sealed_few.rates.a_sync), Unit::Count).at_least(16.0),
        Figure::new(
            "P2",
            "sealed: 64 writers in a store of 10 000 sessions, to 64 sessions",
            sealed_of_many / sealed,
            Unit::Times,
        )
        .at_least(0.8)
        .note(format!("{}, {}", Unit::PerSecond.show(sealed_of_many), ratio(sealed_of_many))),
        Figure::new("P8", "sealed to plain, 10 000 sessions", sealed_of_many / rate_of_many, Unit::Times),
        Figure::new(
            "P2",
            "errors",
            (few.rates.errors + many.rates.errors + sealed_few.rates.errors + sealed_many.rates.errors) as f64,
            Unit::Count,
        )
        .at_most(0.0),
    ];
    Ok(Section {
        title: "64 writers",
        method: "64 tasks append, each to its own sessions in turns, and wait for `disk`. Median of three rounds of four seconds; the two \
                 stores and the\nraw file take turns.",
        figures,
        appendix: String::new(),
    })
}

impl Arena {
    async fn store_closed(&self) -> Outcome<()> {
        Ok(self.log.close().await?)
    }
}
