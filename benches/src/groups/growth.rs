//! How each cost grows with the length of the conversation.
//!
//! Must not know: bars.

use std::fmt::Write as _;

use sessions_app::{At, Session};
use sessions_domain::SessionId;
use sessions_ports::Durability;

use crate::{
    harness::Samples,
    report::{Section, Unit, thousands},
    stage::{Outcome, Stage, ensure, manager, message, open, prepared},
};

const LENGTHS: [usize; 4] = [100, 1_000, 10_000, 100_000];
const WORKS: [&str; 5] = ["open", "append", "last 50", "undo", "fork"];
const ROUNDS: usize = 500;
/// Appends are fewer, so that the conversation stays about as long as it is called.
const APPENDS: usize = 50;
/// The bar of the shortest conversation has so many characters.
const WIDTH: f64 = 20.0;
const WIDEST: f64 = 60.0;

/// Costs at one length, in the order of [`WORKS`].
struct Costs {
    id: SessionId,
    session: Session,
    samples: [Samples; 5],
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let path = stage.path("store");
    let mut ids = Vec::new();
    for length in LENGTHS {
        ids.extend(prepared(&path, 1, length).await?);
    }
    let store = open(&path).await?;
    let writing = manager(store.clone(), Durability::Volatile)?;
    let mut lengths: Vec<Costs> = Vec::new();
    for id in ids {
        let samples = std::array::from_fn(|_| Samples::warming_up(10));
        lengths.push(Costs { id, session: writing.load(id).await?, samples });
    }
    for round in 0..ROUNDS {
        for Costs { id, session, samples: [opened, append, last, undo, fork] } in &mut lengths {
            let fresh = manager(store.clone(), Durability::Volatile)?;
            opened.wait(fresh.load(*id)).await?;
            if round < APPENDS {
                let next = message(round);
                append.wait(session.append(next)).await?;
            }
            ensure(last.wait(session.last(50)).await?.len() == 50, "fewer than the last 50 were read")?;
            fork.wait(session.fork(At::Now)).await?;
            undo.wait(session.undo(1)).await?;
            session.redo(1).await?;
        }
    }
    writing.close().await?;
    let medians: Vec<Vec<f64>> = lengths.iter().map(|costs| costs.samples.iter().map(Samples::p50).collect()).collect();
    Ok(Section {
        title: "How cost grows with the conversation",
        method: "The same work in conversations of 100 to 100 000 messages, in turns, at `volatile`. A bar is as long as the time it stands \
                 for, and the\nfirst of each work has the same length: where bars stay the same, length costs nothing.",
        figures: Vec::new(),
        appendix: chart(&medians),
    })
}

fn chart(medians: &[Vec<f64>]) -> String {
    let mut text = String::from("```text\n");
    for (at, work) in WORKS.into_iter().enumerate() {
        let first = medians.first().and_then(|of_length| of_length.get(at)).copied().unwrap_or(f64::NAN);
        for (row, (length, of_length)) in LENGTHS.into_iter().zip(medians).enumerate() {
            let micros = of_length.get(at).copied().unwrap_or(f64::NAN);
            let width = (micros / first * WIDTH).clamp(0.0, WIDEST).round() as usize;
            let name = if row == 0 { work } else { "" };
            let bar = "█".repeat(width);
            let _ = writeln!(text, "{name:8} {:>8}  {bar} {}", thousands(length as f64), Unit::Micros.show(micros));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push_str("\n```\n");
    text
}
