//! A process to be killed, starved and cut off: it works on the default store and says what the store promised, at once.
//!
//! `append PATH [level=] [size=] [writers=] [count=] [then=]`, `churn PATH [count=]`, `dump PATH`, `race PATH…`. Lines are those of `sessions_tests::line`.
//!
//! Must not know: what is done to it.

use std::{
    env,
    error::Error,
    io::{self, BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sessions_app::{Append, At, NewSession, Ports, Session, SessionError, SessionManager, Settings};
use sessions_domain::{Event, Message, SessionKey, codec};
use sessions_infra::{
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    sealing::KeyedWitness,
    sled::{IndexReport, OpenReport, SledOptions, SledStore, verify_with},
    tokens::BuiltInEncodings,
};
use sessions_ports::{Durability, KindFilter, Order, ReadRange, Removal, SecretKey, SessionLog as _, StoreError};
use sessions_tests::{
    chance::Chance,
    content::{Content, Size},
    line::{Ack, Entry, Line, level},
};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_time().worker_threads(4).max_blocking_threads(64).build();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(&arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The reason is for whoever reads a test's output; the test itself sees the exit code.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<(), Failure> {
    let (mode, rest) = arguments.split_first().ok_or("say what to do")?;
    let (settings, paths): (Vec<_>, Vec<_>) = rest.iter().partition(|argument| argument.contains('='));
    let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
    let path = paths.first().ok_or("give the path of a store")?;
    match mode.as_str() {
        "append" => append(path, &Plan::of(&settings)?).await,
        "churn" => churn(path, Plan::of(&settings)?.count).await,
        "dump" => dump(path).await,
        "race" => race(&paths).await,
        other => Err(format!("{other} is nothing to do").into()),
    }
}

/// Says a line, whole and at once.
fn say(line: &Line) {
    let text = format!("{line}\n");
    let mut out = io::stdout().lock();
    // Whoever listened has gone: so can we.
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Waits for a line, or for the end of lines.
fn hear() {
    let _ = io::stdin().lock().read_line(&mut String::new());
}

/// What all writers do.
#[derive(Clone, Debug)]
struct Plan {
    level: String,
    size: Size,
    writers: u64,
    count: u64,
    then: String,
    seed: u64,
}

impl Plan {
    fn of(settings: &[&String]) -> Result<Self, Failure> {
        let mut plan = Self {
            level: "disk".to_owned(),
            size: Size::Small,
            writers: 16,
            count: u64::MAX,
            then: "close".to_owned(),
            seed: u64::from(std::process::id()),
        };
        for (name, value) in settings.iter().filter_map(|setting| setting.split_once('=')) {
            match name {
                "level" => plan.level = value.to_owned(),
                "size" => plan.size = value.parse()?,
                "writers" => plan.writers = value.parse()?,
                "count" => plan.count = value.parse()?,
                "then" => plan.then = value.to_owned(),
                "seed" => plan.seed = value.parse()?,
                _ => return Err(format!("{name} cannot be set").into()),
            }
        }
        Ok(plan)
    }

    /// The level a writer appends at, and whether it then waits for the disk.
    fn level_of(&self, writer: u64) -> (Durability, bool) {
        let all = [Durability::Disk, Durability::Process, Durability::Volatile];
        let nth = |count: u64| all.get(usize::try_from(writer % count).unwrap_or(0)).copied().unwrap_or_default();
        match self.level.as_str() {
            "mixed" => (nth(2), false),
            "any" => (nth(3), false),
            "wait" => (nth(3), true),
            name => (level(name).unwrap_or_default(), false),
        }
    }
}

fn manager(store: SledStore) -> Result<SessionManager, SessionError> {
    let ports = Ports {
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UlidGenerator::new()),
        entropy: Arc::new(SystemEntropy::new()),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    SessionManager::with(ports, Settings::default())
}

/// Who attests the heads of all sessions, with a key that every process here has.
fn witness() -> Arc<KeyedWitness> {
    let witness = KeyedWitness::new(&SecretKey::take(&mut [7; 32]));
    Arc::new(witness.unwrap_or_else(|| unreachable!("a key of this length is taken")))
}

async fn open(path: &Path) -> Result<SledStore, StoreError> {
    let store = SledStore::open(path, SledOptions { cache_bytes: 8 << 20, ..SledOptions::default() }).await?;
    let found = store.witness(witness())?;
    if !found.is_sound() {
        say(&Line::Wrong(format!("witness: {found}")));
    }
    Ok(store)
}

fn told(report: &OpenReport) -> String {
    let index = match &report.index {
        IndexReport::Opened => "index opened",
        IndexReport::Rebuilt { .. } => "index rebuilt",
        IndexReport::Absent { .. } => "index absent",
    };
    let torn = if report.torn_tail.is_some() { ", end torn" } else { "" };
    format!("{index}{torn}, {} damaged, {} replayed", report.damaged, report.replayed)
}

fn reason(error: &SessionError) -> String {
    match error {
        SessionError::Store(StoreError::NoSpace { .. }) => "no-space".to_owned(),
        SessionError::Store(StoreError::Poisoned) => "poisoned".to_owned(),
        other => format!("otherwise: {other}"),
    }
}

/// One writer and its session.
#[derive(Clone)]
struct Writer {
    number: u64,
    plan: Plan,
    session: Session,
    chance: Chance,
    /// Set once any writer was refused, and once one was because a sync had failed.
    refused: Arc<AtomicBool>,
    poisoned: Arc<AtomicBool>,
}

impl Writer {
    async fn begin(
        manager: &SessionManager,
        number: u64,
        plan: &Plan,
        [refused, poisoned]: &[Arc<AtomicBool>; 2],
    ) -> Result<Self, SessionError> {
        let key = SessionKey::new(format!("writer-{number}"))?;
        let new = NewSession::titled("to be killed").key(key).durability(plan.level_of(number).0);
        let session = manager.open_or_create_as(new).await?.session;
        let chance = Chance::of(plan.seed ^ number << 32);
        Ok(Self {
            number,
            plan: plan.clone(),
            session,
            chance,
            refused: Arc::clone(refused),
            poisoned: Arc::clone(poisoned),
        })
    }

    /// Appends behind the last record; what it says is known before it is written.
    async fn append(&mut self) -> Result<(), SessionError> {
        let first = self.session.version().await? + 1;
        let last = first + if self.chance.below(8) == 0 { 2 } else { 0 };
        let messages: Vec<Message> = (first..=last)
            .map(|seq| {
                let length = self.plan.size.length(&mut self.chance);
                Message::user(Content { writer: self.number, first, last, seq, length }.text())
            })
            .collect();
        let (level, waits) = self.plan.level_of(self.number);
        let after_poison = self.poisoned.load(Ordering::SeqCst);
        let receipt = self.session.append(Append::all(messages).durability(level)).await?;
        if receipt.seq != last || receipt.durability < level {
            say(&Line::Wrong(format!("{receipt:?} for records {first} to {last} at {level}")));
        }
        if waits {
            self.session.wait_durable(last, Durability::Disk).await?;
        }
        let level = if waits { Durability::Disk } else { level };
        let last = Entry { seq: receipt.seq, id: receipt.message, commit: receipt.head };
        say(&Line::Acked(Ack { writer: self.number, first, last, level }));
        if after_poison {
            say(&Line::Wrong(format!("writer {} was acknowledged after a failed sync", self.number)));
        }
        Ok(())
    }

    async fn work(mut self, count: u64) -> Self {
        for _ in 0..count {
            // A poisoned store has to refuse everybody, so everybody goes on until then.
            let goes_on = self.plan.then == "insist" && self.poisoned.load(Ordering::SeqCst);
            if self.refused.load(Ordering::SeqCst) && !goes_on {
                break;
            }
            if !self.try_once().await {
                break;
            }
        }
        self
    }

    async fn try_once(&mut self) -> bool {
        let Err(error) = self.append().await else { return true };
        let why = reason(&error);
        self.poisoned.fetch_or(why == "poisoned", Ordering::SeqCst);
        self.refused.store(true, Ordering::SeqCst);
        say(&Line::Refused(self.number, why));
        false
    }

    /// Reads everything back.
    async fn read(&self) -> Result<(), Failure> {
        let mut messages = self.session.messages().await?;
        let mut seq = 1;
        while let Some(page) = messages.next_page().await? {
            for message in page {
                seq += 1;
                let content = Content::of(&message.text()).ok_or("a message is not what was written")?;
                if (content.writer, content.seq, message.seq) != (self.number, seq, seq) {
                    return Err(format!("record {seq} is another").into());
                }
            }
        }
        if seq == self.session.version().await? { Ok(()) } else { Err("the newest messages are missing".into()) }
    }
}

async fn append(path: &Path, plan: &Plan) -> Result<(), Failure> {
    let store = match open(path).await {
        Ok(store) => store,
        Err(error) => {
            say(&Line::Refused(u64::MAX, reason(&error.into())));
            return Ok(());
        }
    };
    say(&Line::Opened(0, told(store.report())));
    let manager = manager(store.clone())?;
    let flags: [Arc<AtomicBool>; 2] = Default::default();
    let [refused, poisoned] = &flags;
    let mut writers = Vec::new();
    let mut tasks = Vec::new();
    for number in 0..plan.writers {
        match Writer::begin(&manager, number, plan, &flags).await {
            Ok(writer) => tasks.push(tokio::spawn(writer.work(plan.count))),
            Err(error) => {
                refused.store(true, Ordering::SeqCst);
                say(&Line::Refused(number, reason(&error)));
            }
        }
    }
    for task in tasks {
        writers.push(task.await?);
    }
    match plan.then.as_str() {
        // Everybody tries once more.
        "insist" => {
            for writer in &mut writers {
                writer.try_once().await;
            }
        }
        "resume" => resume(writers, refused).await?,
        "recover" => recover(writers, &store, &path.join("index/db")).await?,
        _ => {}
    }
    match manager.close().await {
        Err(error) if poisoned.load(Ordering::SeqCst) && reason(&error) == "poisoned" => {}
        closed => closed?,
    }
    say(&Line::Done);
    Ok(())
}

/// While there is no space everything can be read; when there is again, everybody can go on.
async fn resume(writers: Vec<Writer>, refused: &AtomicBool) -> Result<(), Failure> {
    for writer in &writers {
        writer.read().await?;
    }
    say(&Line::Still);
    hear();
    refused.store(false, Ordering::SeqCst);
    let tasks: Vec<_> = writers.into_iter().map(|writer| tokio::spawn(writer.work(4))).collect();
    for task in tasks {
        task.await?.read().await?;
    }
    Ok(())
}

/// Waits until the index could not be kept for want of space, and then until it is kept again.
async fn recover(writers: Vec<Writer>, store: &SledStore, index: &Path) -> Result<(), Failure> {
    let checkpoints = || store.figures().checkpoints;
    let mut writers = writers;
    while index.exists() {
        let Some(writer) = writers.pop() else { break };
        // Each append is followed by a checkpoint, once there is a pause. Nothing tells of it but a figure and a file.
        let before = checkpoints();
        writers.insert(0, writer.work(1).await);
        while index.exists() && checkpoints() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let before = checkpoints();
    for writer in &writers {
        writer.read().await?;
    }
    say(&Line::Still);
    hear();
    while !index.exists() || checkpoints() == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for writer in writers {
        writer.work(1).await.read().await?;
    }
    Ok(())
}

/// Makes sessions, removes most of them again, and gives their space back, over and over. Forks hold on to some of what is removed.
async fn churn(path: &Path, count: u64) -> Result<(), Failure> {
    let store = open(path).await?;
    say(&Line::Opened(0, told(store.report())));
    let manager = manager(store.clone())?;
    let mut made = Vec::new();
    for number in 0..count {
        let session = manager.create(NewSession::default()).await?;
        say(&Line::Made(number, session.id()));
        for first in (2..18).step_by(4) {
            // Some are large bodies.
            let length = if first == 6 && number % 4 == 0 { 100_000 } else { 40_000 };
            let content = |seq| Content { writer: number, first, last: first + 3, seq, length };
            let messages: Vec<Message> = (first..first + 4).map(|seq| Message::user(content(seq).text())).collect();
            let receipt = session.append(Append::all(messages).durability(Durability::Disk)).await?;
            let last = Entry { seq: receipt.seq, id: receipt.message, commit: receipt.head };
            say(&Line::Acked(Ack { writer: number, first, last, level: Durability::Disk }));
            if first == 6 && number % 5 == 0 {
                let fork = session.fork(At::Now).await?;
                say(&Line::Made(number, fork.id()));
            }
        }
        made.push(session.id());
        if number % 4 == 3 {
            for session in made.drain(..3) {
                let (expected, keep_key, durability) = (None, false, Durability::Disk);
                store.remove(Removal { session, expected, keep_key, durability }).await?;
                say(&Line::Gone(session));
            }
            made.clear();
        }
        if number % 24 == 23 {
            let reclaimed = store.reclaim().await?;
            say(&Line::Still);
            if number > 100 && reclaimed.bytes == 0 {
                say(&Line::Wrong("nothing came back".to_owned()));
            }
        }
    }
    manager.close().await?;
    say(&Line::Done);
    Ok(())
}

/// Opens the store and says everything that is in it.
async fn dump(path: &Path) -> Result<(), Failure> {
    let store = open(path).await?;
    say(&Line::Opened(0, told(store.report())));
    let rows = store.rows(0, usize::MAX).await?;
    for row in rows.rows {
        let head = store.head(row.session).await?.ok_or("a session of the list has no head")?;
        let mut range = ReadRange {
            from: 1,
            to: head.version,
            order: Order::OldestFirst,
            kinds: KindFilter::All,
            max_records: 1 << 16,
            max_bytes: 8 << 20,
        };
        let mut seq = 0;
        let mut commit = None;
        loop {
            let page = store.read(row.session, range).await?;
            for record in page.records {
                seq += 1;
                commit = Some(record.commit);
                let body = record.payload.get(32..).ok_or("a record is too short")?;
                let (event, _) = codec::decode(record.kind, body)?;
                match event {
                    Event::Appended(appended) => match Content::of(&appended.message.text()) {
                        Some(content) if content.seq == seq && record.seq == seq && content.last <= head.version => {
                            let entry = Entry { seq, id: appended.id, commit: record.commit };
                            say(&Line::Record(content.writer, content.first, entry));
                        }
                        _ => say(&Line::Wrong(format!(
                            "record {} of {} of session {}",
                            record.seq, head.version, row.session
                        ))),
                    },
                    Event::Created(_) if seq == 1 => {}
                    _ => say(&Line::Wrong(format!(
                        "record {} of session {} is of another kind",
                        record.seq, row.session
                    ))),
                }
            }
            match page.next {
                Some(next) => range.from = next,
                None => break,
            }
        }
        if (seq, commit) != (head.version, Some(head.commit)) {
            say(&Line::Wrong(format!("session {} ends at {seq}, and its head is at {}", row.session, head.version)));
        }
    }
    manager(store.clone())?.close().await?;
    drop(store);
    let report = verify_with(path, witness().as_ref())?;
    for finding in report.findings.iter().filter(|_| !report.is_sound()) {
        say(&Line::Wrong(format!("verify: {finding}")));
    }
    say(&Line::Done);
    Ok(())
}

/// Opens many stores at once, keeps those it gets until it is told to let go, and leaves a message in each.
async fn race(paths: &[PathBuf]) -> Result<(), Failure> {
    hear();
    let mut tasks = Vec::new();
    for (number, path) in paths.iter().cloned().enumerate() {
        tasks.push(tokio::spawn(async move {
            let begun = Instant::now();
            match open(&path).await {
                Ok(store) => {
                    say(&Line::Opened(number, told(store.report())));
                    Some(store)
                }
                Err(StoreError::Locked { pid, since }) => {
                    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    say(&Line::Locked(number, pid, millis, since));
                    None
                }
                Err(error) => {
                    say(&Line::Wrong(error.to_string()));
                    None
                }
            }
        }));
    }
    let mut stores = Vec::new();
    for task in tasks {
        stores.extend(task.await?);
    }
    say(&Line::Still);
    hear();
    let plan = Plan::of(&[])?;
    for store in stores {
        let manager = manager(store)?;
        let mut writer = Writer::begin(&manager, u64::from(std::process::id()), &plan, &Default::default()).await?;
        writer.append().await?;
        manager.close().await?;
    }
    say(&Line::Done);
    Ok(())
}
