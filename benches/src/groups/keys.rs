//! Keys: what another key-encryption key costs, and the processor's time that sealing takes.
//!
//! Must not know: how anything is sealed.

use std::{sync::Arc, time::Instant};

use sessions_app::{Append, NewSession};
use sessions_infra::{
    environment::SystemClock,
    keys::FileKeyStore,
    sealing::SealedStore,
    sled::{Sealing, SledOptions, SledStore},
};
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::FixedKey;

use crate::{
    machine,
    report::{Figure, Section, Unit},
    stage::{As, Outcome, Stage, ensure, fill, manager, message, open_as, prepared_as},
};

const SESSIONS: usize = 20_000;
const LONG: usize = 200;
const APPENDS: usize = 100_000;

/// Sessions a second that get their keys wrapped anew.
async fn rotated(stage: &Stage, name: &str, sessions: usize, messages: usize) -> Outcome<f64> {
    let path = stage.path(name);
    prepared_as(As::Sealed, &path, sessions, messages).await?;
    let sled = SledStore::open(&path, SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() }).await?;
    let keys = Arc::new(FileKeyStore::open(&sled.keys_folder(), sled.id()).await?);
    let sealed = SealedStore::open(Arc::new(sled), keys, &FixedKey(7), Arc::new(SystemClock)).await?;
    let begun = Instant::now();
    let done = sealed.rotate(&FixedKey(8), |_| ()).await?;
    let took = begun.elapsed().as_secs_f64();
    ensure(done.slots >= sessions as u64 && done.damaged == 0, "not all keys were wrapped anew")?;
    sealed.close().await?;
    Ok(sessions as f64 / took)
}

/// Microseconds of processor time for an append at `volatile`, with all that follows from it in the background.
async fn processor(stage: &Stage, how: As) -> Outcome<f64> {
    let (_, log) = open_as(&stage.path(&how.folder("processor")), how).await?;
    let manager = manager(log, Durability::Volatile)?;
    let session = manager.create(NewSession::titled("one")).await?;
    fill(&session, 1_000).await?;
    let before = machine::processor_time()?;
    for at in 0..APPENDS {
        let level = if at % 10_000 == 0 { Durability::Process } else { Durability::Volatile };
        session.append(Append::from(message(at)).durability(level)).await?;
    }
    manager.close().await?;
    Ok((machine::processor_time()? - before) * 1e6 / APPENDS as f64)
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let many = rotated(stage, "many", SESSIONS, 0).await?;
    let long = rotated(stage, "long", SESSIONS / 10, LONG).await?;
    let plain = processor(stage, As::Plain).await?;
    let sealed = processor(stage, As::Sealed).await?;
    let beside = format!("{} with sealing, {} without", Unit::Micros.show(sealed), Unit::Micros.show(plain));
    Ok(Section {
        title: "Keys",
        method: "Another key-encryption key for a store of 20 000 sessions without messages, and for one of 2 000 with 200 each. Processor time is that\nof the whole process, background included, for 100 000 appends of one writer.",
        figures: vec![
            Figure::new("P14", "sessions that get another key-encryption key", many, Unit::PerSecond).at_least(5_000.0),
            Figure::new("P14", "the same with 200 messages each", long, Unit::PerSecond).at_least(5_000.0),
            Figure::new("P8", "processor time that sealing adds to a message", sealed - plain, Unit::Micros)
                .at_most(2.5)
                .note(beside),
        ],
        appendix: String::new(),
    })
}
