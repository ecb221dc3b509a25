//! Reading: a whole conversation that is not cached, and the end of a long one.
//!
//! Must not know: writing.

use std::{path::Path, time::Instant};

use sessions_domain::SessionId;
use sessions_ports::Durability;

use crate::{
    harness::{Samples, median},
    machine,
    report::{Figure, Section, Unit},
    stage::{As, Outcome, Stage, ensure, manager, open, open_as, prepared, prepared_as, read_all},
};

const SESSIONS: usize = 200;
const LENGTH: usize = 100;
const TAIL: usize = 50;
const ROUNDS: usize = 2_000;

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let path = stage.path("store");
    let ids = prepared(&path, SESSIONS, LENGTH).await?;
    let short = prepared(&path, 1, 1_000).await?;
    let long = prepared(&path, 1, 100_000).await?;
    let (Some(short), Some(long)) = (short.first(), long.first()) else { return Err("nothing was prepared".into()) };
    let mut figures = loads(As::Plain, &path, &ids).await?;
    let sealed = stage.path("sealed store");
    let ids = prepared_as(As::Sealed, &sealed, SESSIONS, LENGTH).await?;
    figures.extend(loads(As::Sealed, &sealed, &ids).await?);
    figures.extend(tails(&path, *short, *long).await?);
    Ok(Section {
        title: "Reading",
        method: "The store was closed and opened after writing. Loading uses a manager with nothing cached for each sample; reading the last \
                 50 uses\nsessions that are open, in turns.",
        figures,
        appendix: String::new(),
    })
}

async fn loads(how: As, path: &Path, ids: &[SessionId]) -> Outcome<Vec<Figure>> {
    let (_, store) = open_as(path, how).await?;
    let mut load = Samples::warming_up(SESSIONS);
    for id in ids.iter().cycle().take(ROUNDS) {
        let manager = manager(store.clone(), Durability::Disk)?;
        let count = load.wait(async { read_all(&manager.load(*id).await?).await }).await?;
        ensure(count == LENGTH, "a conversation of 100 was not read as one")?;
    }
    manager(store, Durability::Disk)?.close().await?;
    let mut first = Vec::new();
    for id in ids.iter().take(5) {
        if !machine::drop_caches() {
            break;
        }
        let manager = manager(open_as(path, how).await?.1, Durability::Disk)?;
        let begun = Instant::now();
        read_all(&manager.load(*id).await?).await?;
        first.push(begun.elapsed().as_secs_f64() * 1e6);
        manager.close().await?;
    }
    let note =
        if first.is_empty() { "only root may drop the caches" } else { "of a store that was opened just before" };
    Ok(vec![
        Figure::new("P5", format!("{}load 100 messages, p50", how.prefix()), load.p50(), Unit::Micros)
            .at_most(if how == As::Sealed { 200.0 } else { 120.0 })
            .note(format!("p99 {}", Unit::Micros.show(load.p99()))),
        Figure::new(
            "P5",
            format!("{}the same at first touch, caches dropped", how.prefix()),
            median(&first),
            Unit::Micros,
        )
        .note(note),
    ])
}

async fn tails(path: &Path, short: SessionId, long: SessionId) -> Outcome<Vec<Figure>> {
    let manager = manager(open(path).await?, Durability::Disk)?;
    let (short, long) = (manager.load(short).await?, manager.load(long).await?);
    let (mut of_short, mut of_long) = (Samples::warming_up(100), Samples::warming_up(100));
    for _ in 0..ROUNDS {
        ensure(of_short.wait(short.last(TAIL)).await?.len() == TAIL, "fewer than the last 50 were read")?;
        ensure(of_long.wait(long.last(TAIL)).await?.len() == TAIL, "fewer than the last 50 were read")?;
    }
    machine::forget_peak();
    let before = machine::memory();
    for _ in 0..100 {
        long.last(TAIL).await?;
    }
    let grown =
        machine::peak_memory().zip(before).map_or(f64::NAN, |(peak, before)| peak.saturating_sub(before) as f64);
    manager.close().await?;
    let note = format!("{}; of 1 000: {}", Unit::Micros.show(of_long.p50()), Unit::Micros.show(of_short.p50()));
    Ok(vec![
        Figure::new("P6", "last 50 of 100 000, to last 50 of 1 000, p50", of_long.p50() / of_short.p50(), Unit::Times)
            .at_most(1.2)
            .note(note),
        Figure::new("P6", "memory that reading them 100 times adds at its peak", grown, Unit::Bytes)
            .at_most(1_048_576.0),
    ])
}
