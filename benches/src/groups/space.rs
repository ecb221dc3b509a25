//! What messages take on the disk.
//!
//! Must not know: files and their formats.

use std::{path::Path, time::Duration};

use sessions_app::{Append, NewSession, Session};
use sessions_ports::Durability;

use crate::{
    machine,
    report::{Figure, Section, Unit},
    stage::{As, Outcome, Stage, manager, message, open_as},
};

const MESSAGES: usize = 100_000;

/// What the store takes, as a multiple of the messages' texts: all of it, and its log alone.
fn taken(path: &Path) -> Outcome<[f64; 2]> {
    let payload = (MESSAGES * 512) as f64;
    Ok([machine::disk_used(path)? as f64 / payload, machine::disk_used(&path.join("log"))? as f64 / payload])
}

/// The same after a clean close, and before it.
async fn used(how: As, stage: &Stage, name: &str, sessions: usize) -> Outcome<[[f64; 2]; 2]> {
    let path = stage.path(&how.folder(name));
    let manager = manager(open_as(&path, how).await?.1, Durability::Volatile)?;
    let mut open_sessions: Vec<Session> = Vec::with_capacity(sessions);
    for at in 0..sessions {
        open_sessions.push(manager.create(NewSession::titled(format!("session {at}"))).await?);
    }
    for (at, session) in (0..MESSAGES).zip(open_sessions.iter().cycle()) {
        // Some wait for the log, so that not all of them wait in memory.
        let level = if at % 10_000 == 0 { Durability::Process } else { Durability::Volatile };
        session.append(Append::from(message(at)).durability(level)).await?;
    }
    // The background work of a store that rests is over after two seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let while_open = taken(&path)?;
    manager.close().await?;
    Ok([taken(&path)?, while_open])
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let mut figures = Vec::new();
    let cases = [("one session", "one", 1), ("1 000 sessions interleaved", "many", 1_000)];
    for (how, (case, name, sessions)) in As::BOTH.into_iter().flat_map(|how| cases.map(|case| (how, case))) {
        let [closed, open] = used(how, stage, name, sessions).await?;
        let figure = |state: &str, [all, log]: [f64; 2]| {
            Figure::new("P12", format!("{}disk used to payload, {case}, {state}", how.prefix()), all, Unit::Times)
                .at_most(1.5)
                .note(format!("log {log:.3} ×, index {:.3} ×", all - log))
        };
        figures.extend([figure("closed", closed), figure("open and at rest", open)]);
    }
    Ok(Section {
        title: "Space",
        method: "100 000 messages of 512 bytes, each appended by itself; blocks of all files and folders of the store.",
        figures,
        appendix: String::new(),
    })
}
