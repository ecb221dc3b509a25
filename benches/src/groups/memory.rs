//! The store in memory.
//!
//! Must not know: disks.

use std::sync::Arc;

use sessions_app::NewSession;
use sessions_infra::MemoryStore;
use sessions_ports::Durability;

use crate::{
    harness::Samples,
    report::{Figure, Section, Unit},
    stage::{Outcome, conversations, ensure, manager, message, read_all},
};

const ROUNDS: usize = 20_000;
const SESSIONS: usize = 200;
const LENGTH: usize = 100;

pub(crate) async fn run() -> Outcome<Section> {
    let store = Arc::new(MemoryStore::new());
    let writing = manager(store.clone(), Durability::Volatile)?;
    let session = writing.create(NewSession::titled("memory")).await?;
    let (mut create, mut append) = (Samples::warming_up(500), Samples::warming_up(500));
    for round in 0..ROUNDS {
        let next = message(round);
        append.wait(session.append(next)).await?;
        let new = NewSession::titled(format!("session {round}"));
        create.wait(writing.create(new)).await?;
    }
    let ids = conversations(&writing, SESSIONS, LENGTH).await?;
    let mut load = Samples::warming_up(SESSIONS);
    for id in ids.iter().cycle().take(10 * SESSIONS) {
        let reading = manager(store.clone(), Durability::Volatile)?;
        let count = load.wait(async { read_all(&reading.load(*id).await?).await }).await?;
        ensure(count == LENGTH, "a conversation of 100 was not read as one")?;
    }
    let note = |samples: &Samples| format!("p99 {}", Unit::Micros.show(samples.p99()));
    let figures = vec![
        Figure::new("P4", "create, p50", create.p50(), Unit::Micros).at_most(5.0).note(note(&create)),
        Figure::new("P4", "append, p50", append.p50(), Unit::Micros).at_most(5.0).note(note(&append)),
        Figure::new("P4", "load, a message, p50", load.p50() / LENGTH as f64, Unit::Micros)
            .at_most(1.0)
            .note(format!("100 messages in {}", Unit::Micros.show(load.p50()))),
    ];
    Ok(Section {
        title: "The store in memory",
        method: "Loading opens a session of 100 messages with a manager that has nothing cached, and reads all of them.",
        figures,
        appendix: String::new(),
    })
}
