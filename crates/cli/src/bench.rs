//! `bench`: what the store gives on this disk, beside raw syncs of the same run.
//!
//! It works in a folder of its own beside the store and removes it; a person's sessions are not touched.
//!
//! Must not know: how the store commits.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use sessions_api::{Durability, Message, NewSession, Session, SessionManager, StoreUrl, SyncTimes};
use tokio::task::JoinSet;

use crate::{
    arguments::Bench,
    failure::Failure,
    program::Program,
    progress::{Progress, Stop, told_of_interrupt},
    table::counted,
};

/// Raw appends with a sync, measured before and again after the store.
const RAW_SYNCS: usize = 100;

/// What was measured. Times in microseconds.
#[derive(Serialize)]
struct Measured {
    append_per_s: u64,
    p50_us: f64,
    p99_us: f64,
    syncs: Option<u64>,
    messages_per_sync: Option<f64>,
    raw_fdatasync_us: Option<f64>,
    raw_fdatasync_p99_us: Option<f64>,
    writers: usize,
    messages: usize,
    size: usize,
    durability: Durability,
    bytes_written: Option<u64>,
}

/// `bench`
pub(crate) async fn bench(program: &Program, wish: Bench) -> Result<(), Failure> {
    let stop = Stop::default();
    let measured = match program.url()? {
        StoreUrl::Sled(path) => {
            let beside = folder_beside(&path)?;
            let folder = tempfile::Builder::new().prefix(".sessions-bench-").tempdir_in(beside)?;
            // The folder goes when this ends, also with Ctrl-C, and the store in it is closed before.
            let measured = told_of_interrupt(&stop, on_disk(program, &wish, folder.path(), &stop)).await;
            folder.close()?;
            measured?
        }
        url => told_of_interrupt(&stop, in_store(program, &wish, url, &stop)).await?,
    };
    print(program, &measured)
}

/// The nearest folder above the store's that exists, so that it is the same disk.
fn folder_beside(store: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(store)?;
    let beside = absolute.ancestors().skip(1).find(|above| above.is_dir());
    beside.map(Path::to_owned).ok_or_else(|| {
        Failure::usage("the store's path has no folder above it", "name a store within a folder, as in sled:./chats")
    })
}

async fn on_disk(program: &Program, wish: &Bench, folder: &Path, stop: &Stop) -> Result<Measured, Failure> {
    let (raw_before, size) = (folder.to_owned(), wish.size);
    let raw = move |folder: PathBuf| tokio::task::spawn_blocking(move || SyncTimes::measure(&folder, size, RAW_SYNCS));
    let before = raw(raw_before.clone()).await.map_err(std::io::Error::other)??;
    let mut measured = in_store(program, wish, StoreUrl::sled(folder.join("store")), stop).await?;
    let after = raw(raw_before).await.map_err(std::io::Error::other)??;
    let mean = |percent| (micros(before.percentile(percent)) + micros(after.percentile(percent))) / 2.0;
    measured.raw_fdatasync_us = Some(rounded(mean(50)));
    measured.raw_fdatasync_p99_us = Some(rounded(mean(99)));
    Ok(measured)
}

async fn in_store(program: &Program, wish: &Bench, url: StoreUrl, stop: &Stop) -> Result<Measured, Failure> {
    let sessions = program.open(url, true).await?;
    let outcome = measure(program, wish, &sessions, stop).await;
    let closed = sessions.close().await;
    let measured = outcome?;
    closed?;
    Ok(measured)
}

async fn measure(program: &Program, wish: &Bench, sessions: &SessionManager, stop: &Stop) -> Result<Measured, Failure> {
    let writers = wish.writers.min(wish.messages);
    let mut handles = Vec::with_capacity(writers);
    for number in 0..writers {
        handles.push(sessions.create(NewSession::titled(format!("bench {number}"))).await?);
    }
    let figures = || sessions.sled_store().map(|store| store.figures());
    let (before, begun) = (figures(), Instant::now());
    let progress = Arc::new(Progress::of(&program.out, "appending", wish.messages as u64));
    let mut running = JoinSet::new();
    for (number, session) in handles.into_iter().enumerate() {
        let share = wish.messages / writers + usize::from(number < wish.messages % writers);
        running.spawn(write(session, share, wish.size, Arc::clone(&progress), stop.clone()));
    }
    let mut times: Vec<Duration> = Vec::with_capacity(wish.messages);
    while let Some(done) = running.join_next().await {
        times.extend(done.map_err(std::io::Error::other)??);
    }
    stop.check()?;
    let (took, after) = (begun.elapsed(), figures());
    times.sort();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    let grown = |of: fn(&sessions_api::Figures) -> u64| {
        before.as_ref().zip(after.as_ref()).map(|(before, after)| of(after).saturating_sub(of(before)))
    };
    let syncs = grown(|figures| figures.syncs);
    Ok(Measured {
        append_per_s: (times.len() as f64 / took.as_secs_f64()).round() as u64,
        p50_us: rounded(at(50).copied().map_or(0.0, micros)),
        p99_us: rounded(at(99).copied().map_or(0.0, micros)),
        syncs,
        messages_per_sync: syncs.filter(|syncs| *syncs > 0).map(|syncs| rounded(times.len() as f64 / syncs as f64)),
        raw_fdatasync_us: None,
        raw_fdatasync_p99_us: None,
        writers,
        messages: times.len(),
        size: wish.size,
        durability: sessions.durability(),
        bytes_written: grown(|figures| figures.bytes),
    })
}

/// Appends one after the other, and says how long each took.
async fn write(
    session: Session,
    messages: usize,
    size: usize,
    progress: Arc<Progress>,
    stop: Stop,
) -> Result<Vec<Duration>, Failure> {
    let text = "x".repeat(size);
    let mut times = Vec::with_capacity(messages);
    for _ in 0..messages {
        stop.check()?;
        let begun = Instant::now();
        session.append(Message::user(text.as_str())).await?;
        times.push(begun.elapsed());
        progress.advance(1);
    }
    Ok(times)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn print(program: &Program, measured: &Measured) -> Result<(), Failure> {
    if program.out.is_json() {
        return program.out.object(measured);
    }
    let Measured { writers, messages, size, durability, .. } = measured;
    let named = |number: &usize, noun| counted(*number as u64, noun);
    let (messages, size, writers) = (named(messages, "message"), named(size, "byte"), named(writers, "writer"));
    program.out.line(&format!("{messages} of {size}, {writers}, durability {durability}"))?;
    program.out.line(&format!("appended       {} a second", measured.append_per_s))?;
    program.out.line(&format!("one append     {} µs (median), {} µs (99 of 100)", measured.p50_us, measured.p99_us))?;
    if let (Some(syncs), Some(each)) = (measured.syncs, measured.messages_per_sync) {
        program.out.line(&format!("syncs          {syncs}, messages in each: {each}"))?;
    }
    if let (Some(half), Some(most)) = (measured.raw_fdatasync_us, measured.raw_fdatasync_p99_us) {
        program
            .out
            .line(&format!("raw fdatasync  {half} µs (median), {most} µs (99 of 100), same folder, same run"))?;
    }
    Ok(())
}
