//! Undo, redo, fork: what they cost in a long conversation and in one with much behind it, to a short one.
//!
//! Must not know: how moves are kept.

use std::sync::Arc;

use sessions_app::{At, NewSession, Session};
use sessions_ports::Durability;

use crate::{
    counting::CountingStore,
    harness::Samples,
    report::{Figure, Section, Unit},
    stage::{Outcome, Stage, ensure, fill, manager, message, open},
};

const ROUNDS: usize = 2_000;
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

    async fn round(&mut self, counting: &CountingStore) -> Outcome<()> {
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

async fn conversation(counting: &Arc<CountingStore>, messages: usize) -> Outcome<Session> {
    let manager = manager(counting.clone(), Durability::Volatile)?;
    let session = manager.create(NewSession::titled(format!("{messages} messages"))).await?;
    fill(&session, messages).await?;
    Ok(session)
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let counting = Arc::new(CountingStore::before(open(&stage.path("store")).await?));
    let mut short = Subject::new(conversation(&counting, 100).await?);
    let mut long = Subject::new(conversation(&counting, 100_000).await?);
    let branched = conversation(&counting, 100_000).await?;
    for branch in 0..BRANCHES {
        for _ in 0..UNDOS / BRANCHES {
            branched.undo(1).await?;
        }
        let head = branched.append(message(usize::try_from(branch)?)).await?;
        branched.wait_durable(head.version, Durability::Process).await?;
    }
    ensure(branched.branches().await?.len() as u64 > BRANCHES, "not as many branches as were made")?;
    let mut branched = Subject::new(branched);
    for _ in 0..ROUNDS {
        short.round(&counting).await?;
        long.round(&counting).await?;
        branched.round(&counting).await?;
    }
    manager(counting.clone(), Durability::Volatile)?.close().await?;
    let mut figures = Vec::new();
    let cases = [("at 100 000 messages", &long), ("after 1 000 undos and 100 branches at 100 000", &branched)];
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
