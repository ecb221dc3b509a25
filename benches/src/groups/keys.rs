//! Keys: what another key-encryption key costs, and the processor's time that sealing takes.
//!
//! Must not know: how anything is sealed.

use std::{sync::Arc, time::Instant};

use sessions_app::{Append, NewSession};
use sessions_infra::{
    environment::SystemClock,
    keys::{Costs, FileKeyStore, PassphraseProvider},
    sealing::SealedStore,
    sled::{Sealing, SledOptions, SledStore},
};
use sessions_ports::{
    Durability, KeyContext, KeyError, KeyId, KeyProvider as _, Passphrase, SecretKey, SessionLog, StoreId, Wrapped,
};
use sessions_testkit::FixedKey;

use crate::{
    harness::Samples,
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

/// Times of refusing costs of a passphrase that somebody planted, and of one derivation at the least that are used.
async fn planted() -> Outcome<(Samples, Samples)> {
    let context = KeyContext { store: StoreId([1; 16]), key: KeyId([2; 8]) };
    let passphrase = Passphrase::new("velvet anchor moss trumpet".to_owned());
    let provider = PassphraseProvider::new(passphrase, Costs::FLOOR)?;
    let honest = provider.wrap(&SecretKey::take(&mut [7; 32]), &context).await?;
    let (mut refused, mut derived) = (Samples::warming_up(10), Samples::warming_up(1));
    for _ in 0..10 {
        derived.wait(provider.unwrap(&honest, &context)).await?;
    }
    let made = provider.derivations();
    // 64 GiB; what no number of KiB is; passes and lanes without end; a salt of 1 MiB.
    let long = "0".repeat(1 << 20);
    let values = [("m_kib", 64_u64 << 20), ("m_kib", u64::MAX), ("t", u64::from(u32::MAX)), ("p", 17)];
    let with = |name: &str, value: serde_json::Value| {
        let mut planted: Wrapped = honest.clone();
        if let Some(parameters) = planted.parameters.as_object_mut() {
            parameters.insert(name.to_owned(), value);
        }
        planted
    };
    let mut planted: Vec<Wrapped> = values.map(|(name, value)| with(name, value.into())).into();
    planted.push(with("salt", long.into()));
    for planted in planted.iter().cycle().take(1_010) {
        let answer = refused.wait(provider.unwrap(planted, &context)).await;
        ensure(matches!(answer, Err(KeyError::Parameters { .. })), "planted costs were not refused")?;
    }
    ensure(provider.derivations() == made, "something was derived at planted costs")?;
    Ok((refused, derived))
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let many = rotated(stage, "many", SESSIONS, 0).await?;
    let long = rotated(stage, "long", SESSIONS / 10, LONG).await?;
    let plain = processor(stage, As::Plain).await?;
    let sealed = processor(stage, As::Sealed).await?;
    let (refused, derived) = planted().await?;
    let derivation = format!(
        "p50 {}; one derivation at the least costs {}",
        Unit::Micros.show(refused.p50()),
        Unit::Micros.show(derived.p50())
    );
    let beside = format!("{} with sealing, {} without", Unit::Micros.show(sealed), Unit::Micros.show(plain));
    Ok(Section {
        title: "Keys",
        method: "Another key-encryption key for a store of 20 000 sessions without messages, and for one of 2 000 with 200 each. Processor time is that\nof the whole process, background included, for 100 000 appends of one writer. Planted costs are refused before any\nmemory is taken for them.",
        figures: vec![
            Figure::new("P14", "sessions that get another key-encryption key", many, Unit::PerSecond).at_least(5_000.0),
            Figure::new("P14", "the same with 200 messages each", long, Unit::PerSecond).at_least(5_000.0),
            Figure::new("P8", "processor time that sealing adds to a message", sealed - plain, Unit::Micros)
                .at_most(2.5)
                .note(beside),
            Figure::new(
                "row 15",
                "refusing planted costs of a passphrase, 64 GiB among them, the longest of 1 000",
                refused.longest(),
                Unit::Micros,
            )
            .at_most(10_000.0)
            .note(derivation),
        ],
        appendix: String::new(),
    })
}
