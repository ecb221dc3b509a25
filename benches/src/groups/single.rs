//! One writer: what creating and appending cost at each level of durability.
//!
//! Must not know: other writers.

use sessions_app::{Append, NewSession};
use sessions_ports::Durability;

use crate::{
    harness::Samples,
    raw::RawLog,
    report::{Figure, Section, Unit},
    stage::{As, Outcome, Stage, manager, message, open_as},
};

const ROUNDS: usize = 150;
/// Operations of one kind in a row.
const IN_A_ROW: usize = 20;

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let mut figures = Vec::new();
    for how in As::BOTH {
        figures.extend(levels(stage, how).await?);
    }
    Ok(Section {
        title: "One writer",
        method: "One task appends to one session and makes others, in turns with a raw append to a file beside the store.",
        figures,
        appendix: String::new(),
    })
}

async fn levels(stage: &Stage, how: As) -> Outcome<Vec<Figure>> {
    let (_, store) = open_as(&stage.path(&how.folder("store")), how).await?;
    let manager = manager(store, Durability::Disk)?;
    let mut log = RawLog::create(&stage.path(&how.folder("raw")))?;
    let session = manager.create(NewSession::titled("one writer")).await?;
    let warming = || Samples::warming_up(10 * IN_A_ROW);
    let (mut raw, mut create, mut append) = (warming(), warming(), warming());
    let (mut process, mut volatile, mut volatile_create) = (warming(), warming(), warming());
    for round in 0..ROUNDS {
        for at in 0..IN_A_ROW {
            // In turns, one by one: whatever the disk does at the moment, it does to all three.
            let number = round * IN_A_ROW + at;
            raw.time(|| log.append(1))?;
            let new = NewSession::titled(format!("session {number}"));
            create.wait(manager.create(new)).await?;
            let next = message(number);
            append.wait(session.append(next)).await?;
        }
        for at in 0..IN_A_ROW {
            let next = Append::from(message(round * IN_A_ROW + at)).durability(Durability::Process);
            process.wait(session.append(next)).await?;
        }
        for at in 0..4 * IN_A_ROW {
            let next = Append::from(message(round * IN_A_ROW + at)).durability(Durability::Volatile);
            volatile.wait(session.append(next)).await?;
            let new = NewSession::titled(format!("volatile {at}")).durability(Durability::Volatile);
            volatile_create.wait(manager.create(new)).await?;
        }
    }
    manager.close().await?;
    let figures = [("create", &create), ("append", &append)].into_iter().flat_map(|(work, samples)| {
        let ratio = |name, ours: f64, raw: f64| {
            let note = format!("{}; raw {}", Unit::Micros.show(ours), Unit::Micros.show(raw));
            let what = format!("{}{work} at `disk`, {name}, to raw {name}", how.prefix());
            Figure::new("P1", what, ours / raw, Unit::Times).note(note)
        };
        [ratio("p50", samples.p50(), raw.p50()).at_most(1.5), ratio("p99", samples.p99(), raw.p99()).at_most(2.0)]
    });
    let level = |work: &str, samples: &Samples| {
        let note = format!("p99 {}", Unit::Micros.show(samples.p99()));
        Figure::new("P3", format!("{}{work}, p50", how.prefix()), samples.p50(), Unit::Micros).note(note)
    };
    let levels = [
        level("append at `volatile`", &volatile).at_most(15.0),
        level("append at `process`", &process).at_most(70.0),
        level("create at `volatile`", &volatile_create).at_most(24.0),
    ];
    Ok(figures.chain(levels).collect())
}
