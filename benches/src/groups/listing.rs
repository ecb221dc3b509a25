//! The list of sessions, in a store with many.
//!
//! Must not know: how rows are kept.

use std::time::Instant;

use sessions_app::Query;
use sessions_ports::Durability;

use crate::{
    harness::{Samples, median},
    report::{Figure, Section, Unit},
    stage::{As, Outcome, Stage, ensure, manager, message, open_as, prepared_as},
};

const SESSIONS: usize = 100_000;

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let mut figures = Vec::new();
    for how in As::BOTH {
        figures.extend(lists(stage, how).await?);
    }
    Ok(Section {
        title: "The list",
        method: "Pages are in the system's cache. Before each later list one of the sessions changes.",
        figures,
        appendix: String::new(),
    })
}

async fn lists(stage: &Stage, how: As) -> Outcome<Vec<Figure>> {
    let path = stage.path(&how.folder("store"));
    let ids = prepared_as(how, &path, SESSIONS, 0).await?;
    let query = Query { limit: 50, ..Query::default() };
    let (mut opens, mut firsts, mut later) = (Vec::new(), Vec::new(), Samples::default());
    for _ in 0..3 {
        let begun = Instant::now();
        let manager = manager(open_as(&path, how).await?.1, Durability::Volatile)?;
        opens.push(begun.elapsed().as_secs_f64());
        ensure(manager.list(&query).await?.sessions.len() == 50, "the first list is not of 50")?;
        firsts.push(begun.elapsed().as_secs_f64());
        for (at, id) in ids.iter().step_by(SESSIONS / 200).enumerate() {
            manager.load(*id).await?.append(message(at)).await?;
            let page = later.wait(manager.list(&query)).await?;
            // Changes of one millisecond are ordered by id, so the last of them need not be among the first when there are many.
            let listed = page.sessions.iter().any(|row| row.id == *id && row.messages > 0);
            let ends = page.sessions.first().zip(page.sessions.last());
            let listed = listed || ends.is_some_and(|(first, last)| first.updated == last.updated);
            ensure(listed, "the newest change is not among the newest 50")?;
        }
        manager.close().await?;
    }
    let name = |what: &str| format!("{}{what}", how.prefix());
    Ok(vec![
        Figure::new(
            "P10",
            name("open, and first list of the newest 50 of 100 000 sessions"),
            median(&firsts),
            Unit::Seconds,
        )
        .at_most(0.5)
        .note(format!("open alone {}", Unit::Seconds.show(median(&opens)))),
        Figure::new("P10", name("later lists, p50"), later.p50(), Unit::Micros)
            .at_most(1_000.0)
            .note(format!("p99 {}", Unit::Micros.show(later.p99()))),
    ])
}
