//! Undo, redo, fork: what they cost in a long conversation and in one with much behind it, to a short one.
//!
//! Must not know: how moves are kept.

use std::{path::Path, sync::Arc};

use sessions_app::{At, NewSession, Session, SessionManager};
use sessions_domain::SessionId;
use sessions_ports::Durability;

use crate::{
    counting::Counting,
    harness::Samples,
    report::{Figure, Section, Unit},
    stage::{Outcome, Stage, ensure, fill, manager, message, open},
};

const ROUNDS: usize = 6_000;
const BRANCHES: u64 = 100;
const UNDOS: u64 = 1_000;

/// One conversation, and what moves cost in it.
struct Subject {
    session: Session,
    undo: Samples,
    redo: Samples,
    fork: Samples,
    /// The most bytes that one move handed to the store.
    most: u64,
}

impl Subject {
    fn new(session: Session) -> Self {
        let warming = || Samples::warming_up(100);
        Self { session, undo: warming(), redo: warming(), fork: warming(), most: 0 }
    }

    async fn round(&mut self, counting: &Counting) -> Outcome<()> {
        counting.take();
        let undone = self.undo.wait(self.session.undo(1)).await?;
        self.most = self.most.max(counting.take());
        let redone = self.redo.wait(self.session.redo(1)).await?;
        self.most = self.most.max(counting.take());
        ensure(undone.messages + 1 == redone.messages, "undo and redo did not move by one")?;
        self.fork.wait(self.session.fork(At::Now)).await?;
        self.most = self.most.max(counting.take());
        Ok(())
    }
}

async fn conversation(manager: &SessionManager, messages: usize) -> Outcome<Session> {
    let session = manager.create(NewSession::titled(format!("{messages} messages"))).await?;
    fill(&session, messages).await?;
    Ok(session)
}

/// A short conversation, a long one, and a long one with many undos and branches, in a store that was closed behind them.
async fn prepared(path: &Path) -> Outcome<[SessionId; 3]> {
    let manager = manager(open(path).await?, Durability::Volatile)?;
    let short = conversation(&manager, 100).await?;
    let long = conversation(&manager, 100_000).await?;
    let branched = conversation(&manager, 100_000).await?;
    for branch in 0..BRANCHES {
        for _ in 0..UNDOS / BRANCHES {
            branched.undo(1).await?;
        }
        branched.append(message(usize::try_from(branch)?)).await?;
    }
    ensure(branched.branches().await?.len() as u64 > BRANCHES, "not as many branches as were made")?;
    manager.close().await?;
    Ok([short.id(), long.id(), branched.id()])
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let path = stage.path("store");
    let ids = prepared(&path).await?;
    let counting = Counting::default();
    let manager = manager(Arc::new(counting.before(open(&path).await?)), Durability::Volatile)?;
    let mut subjects = Vec::new();
    for id in ids {
        subjects.push(Subject::new(manager.load(id).await?));
    }
    for round in 0..ROUNDS {
        // Nobody comes first every time: who does pays for what the others left in the caches.
        for at in 0..subjects.len() {
            let next = (round + at) % subjects.len();
            subjects.get_mut(next).ok_or("no such conversation")?.round(&counting).await?;
        }
    }
    manager.close().await?;
    let [short, long, branched] = subjects.as_slice() else { return Err("three conversations were prepared".into()) };
    let mut figures = Vec::new();
    let cases = [("at 100 000 messages", long), ("after 1 000 undos and 100 branches at 100 000", branched)];
    for (case, subject) in cases {
        let works = [
            ("undo", &subject.undo, &short.undo),
            ("redo", &subject.redo, &short.redo),
            ("fork", &subject.fork, &short.fork),
        ];
        for (work, samples, of_short) in works {
            let (ours, theirs) = (samples.p50(), of_short.p50());
            let note = format!("{}; at 100: {}", Unit::Micros.show(ours), Unit::Micros.show(theirs));
            figures.push(
                Figure::new("P7", format!("{work} {case}, to 100, p50"), ours / theirs, Unit::Times)
                    .at_most(1.2)
                    .note(note),
            );
        }
    }
    for (case, subject) in cases {
        let note = format!("at 100: {}", Unit::Bytes.show(short.most as f64));
        let work = format!("the most that one move handed to the store {case}");
        figures.push(Figure::new("P7", work, subject.most as f64, Unit::Bytes).at_most(2_048.0).note(note));
    }
    Ok(Section {
        title: "Moves",
        method: "Undo, redo and a fork of the present in three conversations in turns, at `volatile`: the sync, which is the same for all, \
                 would hide\nwhat grows. Bytes are payloads, rows and snapshots.",
        figures,
        appendix: String::new(),
    })
}
