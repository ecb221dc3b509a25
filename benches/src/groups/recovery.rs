//! Opening a store of a million messages after its process was killed, and after its index was thrown away.
//!
//! Each opening happens in a process of its own, so that its memory is its own too.
//!
//! Must not know: what opening does.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sessions_app::{NewSession, Query};
use sessions_ports::Durability;

use crate::{
    machine,
    report::{Figure, Section, Unit, thousands},
    stage::{Outcome, Stage, ensure, fill, manager, message, open},
};

/// The first argument of a process that this program starts for itself.
pub(crate) const CHILD: &str = "child-of-bench";

const SESSIONS: usize = 10_000;
const LENGTH: usize = 100;
const RECORDS: usize = SESSIONS * (LENGTH + 1);

/// What a process of our own was started for.
pub(crate) async fn child(arguments: Vec<String>) -> Outcome<()> {
    let mut arguments = arguments.iter().map(String::as_str);
    match (arguments.next(), arguments.next()) {
        (Some("fill"), Some(path)) => filling(Path::new(path)).await,
        (Some("open"), Some(path)) => opening(Path::new(path)).await,
        _ => Err("a child is started by this program only".into()),
    }
}

/// Fills a store, says so, and goes on appending until it is killed.
async fn filling(path: &Path) -> Outcome<()> {
    let manager = manager(open(path).await?, Durability::Process)?;
    let mut last = None;
    for at in 0..SESSIONS {
        let new = NewSession::titled(format!("conversation {at}")).durability(Durability::Volatile);
        let session = manager.create(new).await?;
        fill(&session, LENGTH).await?;
        last = Some(session);
    }
    let last = last.ok_or("no session was made")?;
    println!("full");
    for at in 0.. {
        last.append(message(at)).await?;
    }
    Ok(())
}

/// Opens a store and says how long it took, the peak of memory, and what was found.
async fn opening(path: &Path) -> Outcome<()> {
    let begun = Instant::now();
    let store = open(path).await?;
    let took = begun.elapsed();
    let peak = machine::peak_memory().unwrap_or(u64::MAX);
    let report = store.report().clone();
    let manager = manager(store, Durability::Process)?;
    let page = manager.list(&Query { limit: 1, ..Query::default() }).await?;
    let newest = page.sessions.first().map_or(0, |row| row.messages);
    // Closing waits until the index holds everything again.
    manager.close().await?;
    let whole = begun.elapsed();
    let (replayed, damaged) = (report.replayed, report.damaged);
    println!("{} {} {peak} {replayed} {damaged} {newest}", took.as_micros(), whole.as_micros());
    Ok(())
}

struct Opening {
    seconds: f64,
    /// Until it was closed again, with a whole index.
    whole: f64,
    peak: f64,
    replayed: u64,
    /// Messages of the session that changed last.
    newest: u64,
}

fn open_in_child(path: &Path) -> Outcome<Opening> {
    let output = Command::new(std::env::current_exe()?).args([CHILD, "open"]).arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [micros, whole, peak, replayed, damaged, newest] = numbers.as_slice() else {
        return Err(
            format!("the process that opens the store ended: {}", String::from_utf8_lossy(&output.stderr)).into()
        );
    };
    ensure(*damaged == 0, "the store was found damaged")?;
    let seconds = |micros: u64| micros as f64 / 1e6;
    let (seconds, whole) = (seconds(*micros), seconds(*whole));
    Ok(Opening { seconds, whole, peak: *peak as f64, replayed: *replayed, newest: *newest })
}

fn fill_and_kill(path: &Path) -> Outcome<()> {
    let mut filling =
        Command::new(std::env::current_exe()?).args([CHILD, "fill"]).arg(path).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let said = filling.stdout.take().map(BufReader::new).map_or(Ok(0), |mut out| out.read_line(&mut line));
    // It dies in the middle of its appends.
    std::thread::sleep(Duration::from_millis(700));
    filling.kill()?;
    filling.wait()?;
    said?;
    ensure(line.trim() == "full", "the process that fills the store did not finish")
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let path = stage.path("store");
    let opened = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || -> Outcome<[Opening; 3]> {
            fill_and_kill(&path)?;
            let killed = open_in_child(&path)?;
            let clean = open_in_child(&path)?;
            fs::remove_dir_all(path.join("index"))?;
            Ok([killed, clean, open_in_child(&path)?])
        })
        .await??
    };
    let [killed, clean, rebuilt] = opened;
    ensure(killed.newest > LENGTH as u64, "nothing was appended before the process was killed")?;
    ensure(rebuilt.replayed >= RECORDS as u64, "the index was not built from the whole log")?;
    let note = format!(
        "{} records read again; after a clean close {}",
        thousands(killed.replayed as f64),
        Unit::Seconds.show(clean.seconds)
    );
    let figures = vec![
        Figure::new("P10", "open a store of 1 000 000 messages after `kill -9`", killed.seconds, Unit::Seconds)
            .at_most(1.0)
            .note(note),
        Figure::new("P10", "peak memory of the process that opened it", killed.peak, Unit::Bytes)
            .at_most(268_435_456.0),
        Figure::new(
            "P17",
            "index thrown away: records a second until it is whole again",
            rebuilt.replayed as f64 / rebuilt.whole,
            Unit::PerSecond,
        )
        .at_least(300_000.0)
        .note(format!(
            "{} in {}; the store is open after {}, peak memory {}",
            thousands(rebuilt.replayed as f64),
            Unit::Seconds.show(rebuilt.whole),
            Unit::Seconds.show(rebuilt.seconds),
            Unit::Bytes.show(rebuilt.peak)
        )),
    ];
    Ok(Section {
        title: "Recovery",
        method: "A process fills a store with 10 000 sessions of 100 messages, goes on appending, and is killed. Other processes open it, with \
                 warm caches.",
        figures,
        appendix: String::new(),
    })
}
