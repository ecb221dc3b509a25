//! Ours beside others, on the same disk and in the same hour: the same work in the same shape, means of the same numbers of operations.
//!
//! The others' programs are no part of this workspace. `SESSIONS_PEERS` names the folder with their sources; they are built by the
//! `build.sh` there, unless `PEERS_TARGET` names a folder where they are built already. Each prints lines of a name and a number.
//!
//! Must not know: the others' code.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use sessions_app::{NewSession, SessionManager};
use sessions_domain::SessionId;
use sessions_infra::MemoryStore;
use sessions_ports::{Durability, SessionLog};

use super::writers::WRITERS;
use crate::{
    harness::Samples,
    raw::RawLog,
    report::{Section, Unit},
    stage::{Outcome, Stage, ensure, manager, message, open, read_all},
};

/// The programs.
const PROGRAMS: [&str; 5] = ["peer-raw", "peer-harn", "peer-adk", "peer-ricecoder", "peer-aisession"];

/// A row of the table: what it is, what an acknowledged append survives, and the names of its lines for each column.
struct Peer {
    program: &'static str,
    name: &'static str,
    survives: &'static str,
    lines: [&'static str; 5],
}

const COLUMNS: [(&str, Unit); 5] = [
    ("create", Unit::Micros),
    ("append", Unit::Micros),
    ("64 at once", Unit::PerSecond),
    ("load 100", Unit::Micros),
    ("last 50 of 1 000", Unit::Micros),
];

const PEERS: [Peer; 9] = [
    Peer {
        program: "peer-harn",
        name: "harn-session-store, SQLite (WAL, `synchronous=NORMAL`)",
        survives: "the process's death",
        lines: [
            "harn-sqlite create_session_us",
            "harn-sqlite append_us_serial_1000",
            "harn-sqlite append_per_s_64_writers",
            "harn-sqlite load_100_us",
            "harn-sqlite tail_50_of_1000_us",
        ],
    },
    Peer {
        program: "peer-adk",
        name: "adk-session, SQLite (rollback journal, `synchronous=FULL`)",
        survives: "a power cut",
        lines: [
            "adk-sqlite create_session_us",
            "adk-sqlite append_us_serial",
            "adk-sqlite append_per_s_64_writers",
            "adk-sqlite load_100_us",
            "adk-sqlite tail_50_of_1000_us",
        ],
    },
    Peer {
        program: "peer-adk",
        name: "adk-session, SQLite, encrypted",
        survives: "a power cut",
        lines: [
            "adk-sqlite-enc create_session_us",
            "adk-sqlite-enc append_us_serial",
            "adk-sqlite-enc append_per_s_64_writers",
            "adk-sqlite-enc load_100_us",
            "adk-sqlite-enc tail_50_of_1000_us",
        ],
    },
    Peer {
        program: "peer-adk",
        name: "adk-session, memory",
        survives: "nothing",
        lines: [
            "adk-memory create_session_us",
            "adk-memory append_us_serial",
            "adk-memory append_per_s_64_writers",
            "adk-memory load_100_us",
            "adk-memory tail_50_of_1000_us",
        ],
    },
    Peer {
        program: "peer-ricecoder",
        name: "ricecoder-sessions, a file rewritten per change, no sync",
        survives: "the process's death",
        lines: [
            "ricecoder create_session_us",
            "ricecoder append_us_serial",
            "",
            "ricecoder load_100_us",
            "ricecoder tail_50_of_1000_us",
        ],
    },
    Peer {
        program: "peer-raw",
        name: "an engine alone: SQLite (WAL, `synchronous=FULL`)",
        survives: "a power cut",
        lines: ["", "sqlite_wal_full insert_us", "", "sqlite_wal_full scan_100_us", ""],
    },
    Peer {
        program: "peer-raw",
        name: "an engine alone: redb, immediate commits",
        survives: "a power cut",
        lines: ["", "redb insert_commit_us", "", "redb scan_100_us", ""],
    },
    Peer {
        program: "peer-raw",
        name: "an engine alone: fjall, `SyncData`",
        survives: "a power cut",
        lines: ["", "fjall insert_syncdata_us", "", "fjall scan_100_us", ""],
    },
    Peer {
        program: "peer-raw",
        name: "an engine alone: sled 0.34, flushed (no fsync)",
        survives: "the process's death",
        lines: ["", "sled034 insert_flush_us", "", "sled034 scan_100_us", ""],
    },
];

/// The median of a raw append and its sync, now.
fn raw_now(log: &mut RawLog) -> Outcome<f64> {
    let mut samples = Samples::warming_up(5);
    for _ in 0..105 {
        samples.time(|| log.append(1))?;
    }
    Ok(samples.p50())
}

fn row(name: &str, survives: &str, raw: f64, figures: [f64; 5]) -> String {
    let cell =
        |(figure, (_, unit)): (f64, (&str, Unit))| if figure.is_nan() { String::new() } else { unit.show(figure) };
    let cells: Vec<String> = figures.into_iter().zip(COLUMNS).map(cell).collect();
    format!("| {name} | {survives} | {} | {} |\n", Unit::Micros.show(raw), cells.join(" | "))
}

async fn fresh_reads(store: &Arc<dyn SessionLog>, id: SessionId, times: usize, count: usize) -> Outcome<f64> {
    let mut samples = Samples::default();
    for _ in 0..times {
        let manager = manager(store.clone(), Durability::Volatile)?;
        let work = async {
            let session = manager.load(id).await?;
            if count == 50 { Ok(session.last(50).await?.len()) } else { read_all(&session).await }
        };
        let read: Outcome<usize> = samples.wait(work).await;
        ensure(read? == count, "another number of messages was read")?;
    }
    Ok(samples.mean())
}

async fn writers(manager: &SessionManager) -> Outcome<f64> {
    let mut sessions = Vec::new();
    for at in 0..WRITERS {
        sessions.push(manager.create(NewSession::titled(format!("writer {at}"))).await?);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = sessions
        .into_iter()
        .map(|session| {
            tokio::spawn(async move {
                for at in 0..50 {
                    session.append(message(at)).await?;
                }
                Ok::<(), sessions_app::SessionError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((WRITERS * 50) as f64 / begun.elapsed().as_secs_f64())
}

/// The work of the peers' programs, in their shape.
async fn ours(store: Arc<dyn SessionLog>, level: Durability) -> Outcome<[f64; 5]> {
    let manager = manager(store.clone(), level)?;
    let (mut create, mut append) = (Samples::default(), Samples::default());
    for at in 0..200 {
        create.wait(manager.create(NewSession::titled(format!("session {at}")))).await?;
    }
    let session = manager.create(NewSession::titled("1 000 messages")).await?;
    for at in 0..1_000 {
        append.wait(session.append(message(at))).await?;
    }
    let hundred = manager.create(NewSession::titled("100 messages")).await?;
    for at in 0..100 {
        hundred.append(message(at)).await?;
    }
    let load = fresh_reads(&store, hundred.id(), 100, 100).await?;
    let tail = fresh_reads(&store, session.id(), 50, 50).await?;
    let rate = writers(&manager).await?;
    manager.close().await?;
    Ok([create.mean(), append.mean(), rate, load, tail])
}

/// The programs' folder, built.
fn programs(sources: &Path) -> Outcome<PathBuf> {
    let target = env::var_os("PEERS_TARGET").map(PathBuf::from);
    let built = target.as_ref().map(|target| target.join("release")).filter(|built| built.join("peer-raw").exists());
    if let Some(built) = built {
        return Ok(built);
    }
    let output = Command::new("sh").arg(sources.join("build.sh")).output()?;
    ensure(output.status.success(), "the peers cannot be built: run their build.sh by hand")?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Runs the programs: every line that one prints, as name and number, with the raw append just before under the program's name; and
/// the times of the last.
fn run_programs(sources: &Path, folder: &Path, log: &mut RawLog) -> Outcome<(BTreeMap<String, f64>, String)> {
    let built = programs(sources)?;
    let (mut lines, mut terminals) = (BTreeMap::new(), String::new());
    for program in PROGRAMS {
        lines.insert(program.to_owned(), raw_now(log)?);
        let output = Command::new(built.join(program)).arg(folder).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(who), Some(what), Some(number)) = (words.next(), words.next(), words.next()) else { continue };
            if let Ok(number) = number.parse() {
                lines.insert(format!("{who} {what}"), number);
            }
        }
        if program == "peer-aisession" {
            // What its terminals print is of no interest here; the times are.
            for line in text.lines() {
                let times: Vec<&str> = line.split(' ').take(4).collect();
                terminals.push_str(&(times.join(" ") + "\n"));
            }
        }
    }
    Ok((lines, terminals))
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let mut text = String::from("| | an acknowledged append survives | raw `fdatasync` just before, p50 |");
    COLUMNS.iter().for_each(|(name, _)| {
        let _ = write!(text, " {name} |");
    });
    text.push_str("\n|---|---|---|---|---|---|---|---|\n");
    let mut log = RawLog::create(&stage.path("raw-log"))?;
    let (mut raw, mut raw_of_64) = (Samples::warming_up(100), Samples::warming_up(10));
    for _ in 0..1_100 {
        raw.time(|| log.append(1))?;
    }
    for _ in 0..210 {
        raw_of_64.time(|| log.append(WRITERS))?;
    }
    let nothing = f64::NAN;
    let at_once = WRITERS as f64 * 1e6 / raw_of_64.mean();
    text.push_str(&row(
        "a raw append and `fdatasync`",
        "a power cut",
        raw.p50(),
        [nothing, raw.mean(), at_once, nothing, nothing],
    ));
    let levels = [
        ("**sessions**, default store, `disk`", "a power cut", Durability::Disk),
        ("**sessions**, default store, `process`", "the process's death", Durability::Process),
    ];
    for (name, survives, level) in levels {
        let store = open(&stage.path(&level.to_string())).await?;
        let before = raw_now(&mut log)?;
        text.push_str(&row(name, survives, before, ours(store, level).await?));
    }
    let in_memory = ours(Arc::new(MemoryStore::new()), Durability::Volatile).await?;
    text.push_str(&row("**sessions**, memory", "nothing", raw_now(&mut log)?, in_memory));
    match env::var_os("SESSIONS_PEERS").map(PathBuf::from) {
        None => text.push_str(
            "\nOthers were not measured in this run: `SESSIONS_PEERS` names the folder with their programs.\n",
        ),
        Some(sources) => {
            let folder = stage.path("peers");
            fs::create_dir_all(&folder)?;
            let (lines, terminals) =
                tokio::task::spawn_blocking(move || run_programs(&sources, &folder, &mut log)).await??;
            for Peer { program, name, survives, lines: names } in PEERS {
                let before = lines.get(program).copied().unwrap_or(f64::NAN);
                let figures = names.map(|name| lines.get(name).copied().unwrap_or(f64::NAN));
                text.push_str(&row(name, survives, before, figures));
            }
            if !terminals.is_empty() {
                let _ = write!(
                    text,
                    "\nai-session keeps terminals, not conversations; what its program says:\n\n```text\n{terminals}```\n"
                );
            }
        }
    }
    Ok(Section {
        title: "Beside others",
        method: "Means, as the others' programs give them: 200 creates, 1 000 appends, 100 loads, 50 reads of the end, 64 writers with 50 \
                 appends each.\nOurs read with a manager that has nothing cached. An empty cell: it cannot, or was not asked. The disk drifts between\nrows, so each has the raw append that was measured just before it.",
        figures: Vec::new(),
        appendix: text,
    })
}
