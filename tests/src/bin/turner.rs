//! A process to be killed within a turn: it stands still at one place of it, says so, and waits.
//!
//! `PATH RUNS FORM STORE STOP`: the store, where tools write down that they ran, the provider's form, `plain` or `sealed`, and the number of the place.
//!
//! Must not know: what is done to it.

use std::{
    env,
    error::Error,
    io::{self, BufRead as _, Write as _},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sessions_app::{NewSession, Ports, SessionManager, Settings};
use sessions_domain::{Message, SessionKey, form::Form};
use sessions_infra::{
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    tokens::BuiltInEncodings,
};
use sessions_testkit::FaultyStore;
use sessions_tests::turner::{self, At, SAID, agent};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().worker_threads(4).build();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn say(words: &str) {
    let mut out = io::stdout().lock();
    // Whoever listened has gone: so can we.
    if out.write_all(format!("{words}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

async fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [path, runs, form, kind, stop] = arguments.as_slice() else { return Err("PATH RUNS FORM STORE STOP".into()) };
    let form = if form == "anthropic" { Form::Anthropic } else { Form::OpenAi };
    let stop: u64 = stop.parse()?;
    let places = Arc::new(AtomicU64::new(0));
    let at: At = Arc::new(move |what| {
        let place = places.fetch_add(1, Ordering::SeqCst) + 1;
        if place == stop {
            say(&format!("still {what}"));
            // Until it is killed, or nobody is there to do it.
            let _ = io::stdin().lock().read_line(&mut String::new());
            std::process::exit(0);
        }
        if place < stop {
            say(&format!("past {what}"));
        }
    });
    let store = FaultyStore::over(turner::store(Path::new(path), kind == "sealed").await?);
    let ports = Ports {
        store: Arc::new(store.clone()),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UlidGenerator::new()),
        entropy: Arc::new(SystemEntropy::new()),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    let sessions = SessionManager::with(ports, Settings::default())?;
    let chat = sessions.open_or_create_as(NewSession::titled("a turn").key(SessionKey::new("turn")?)).await?.session;
    say("made");
    let seen = Arc::clone(&at);
    store.watch(move |_| seen("commits"));
    let outcome = chat.send_message(&agent(form, Path::new(runs), &at), Message::user(SAID)).await?;
    say(&format!("ended {}", outcome.stop_reason.as_str()));
    sessions.close().await?;
    Ok(())
}
