//! A turn that is killed, at every point: what was said is there, what came of the answer is there and says that it is not whole, no result is
//! doubled, what a model would be sent is valid, and the next turn runs.
//!
//! Must not know: how a turn runs.

#[cfg(test)]
#[path = "../forms/rules/mod.rs"]
#[allow(dead_code, reason = "the table of rules has more than is asked of it here")]
mod rules;

#[cfg(test)]
mod turns {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        io::{BufRead as _, BufReader},
        path::Path,
        process::{Command, Stdio},
        sync::Arc,
    };

    use sessions_api::{
        ContextWish, Form, Message, MessageRole, MessageState, ModelProfile, RuntimeState, Session, SessionError,
        SessionManager, StopReason, StoredMessage,
    };
    use sessions_tests::turner::{ANSWER, At, PIECE, PIECES, SAID, agent, key};

    use crate::rules::{Api, Knows, Request, broken};

    /// What a process said before it was killed.
    struct Killed {
        said: Vec<String>,
        /// It came to its own end.
        ended: bool,
    }

    impl Killed {
        fn at(stop: u64, path: &Path, runs: &Path, form: &str, store: Store) -> Self {
            let store = if store == Store::Sealed { "sealed" } else { "plain" };
            let mut process = Command::new(env!("CARGO_BIN_EXE_sessions-test-turner"))
                .args([path, runs])
                .args([form, store, &stop.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = Vec::new();
            for line in BufReader::new(process.stdout.take().unwrap()).lines() {
                said.push(line.unwrap());
                if said.last().is_some_and(|line| line.starts_with("still ")) {
                    process.kill().unwrap();
                    break;
                }
            }
            process.wait().unwrap();
            let ended = said.last().is_some_and(|line| line.starts_with("ended "));
            Self { said, ended }
        }

        fn has_said(&self, what: &str) -> usize {
            self.said.iter().filter(|line| line.ends_with(&format!(" {what}"))).count()
        }
    }

    fn done() -> At {
        Arc::new(|_| {})
    }

    /// How the turn is kept.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Store {
        Plain,
        Sealed,
    }

    async fn open(path: &Path, store: Store) -> (SessionManager, Session) {
        let url = format!("sled:{}", path.display());
        let sessions = match store {
            Store::Plain => SessionManager::open(&url).await.unwrap(),
            Store::Sealed => {
                assert_eq!(in_the_clear(path, PIECE), 0, "a part of an answer is in no file");
                SessionManager::open_sealed(&url, key()).await.unwrap()
            }
        };
        let session = sessions.open_or_create("turn").await.unwrap();
        (sessions, session)
    }

    /// The files that have these words.
    fn in_the_clear(folder: &Path, words: &str) -> usize {
        let has = |bytes: Vec<u8>| bytes.windows(words.len()).any(|window| window == words.as_bytes());
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|at| if at.is_dir() { in_the_clear(&at, words) } else { usize::from(has(fs::read(at).unwrap())) })
            .sum()
    }

    async fn valid(session: &Session) {
        for (form, api) in [(Form::OpenAi, Api::OpenAi), (Form::Anthropic, Api::Anthropic)] {
            let profile = Arc::new(ModelProfile::of("m", "script", form, 32_000));
            let context = session.context(ContextWish::for_profile(profile)).await.unwrap();
            let body = serde_json::to_string(&context.body().unwrap()).unwrap();
            let wrong = broken(api, &Request::of(body.clone(), Knows::newest(api)));
            assert_eq!(wrong, Vec::<String>::new(), "{body}");
        }
    }

    /// The results by their calls.
    fn results(all: &[StoredMessage]) -> BTreeMap<String, usize> {
        let mut results = BTreeMap::new();
        for result in all.iter().flat_map(|message| message.results()) {
            *results.entry(result.call_id.clone()).or_default() += 1;
        }
        results
    }

    fn ran(runs: &Path) -> BTreeMap<String, usize> {
        let mut ran = BTreeMap::new();
        for id in fs::read_to_string(runs).unwrap_or_default().lines() {
            *ran.entry(id.to_owned()).or_default() += 1;
        }
        ran
    }

    /// What was promised of a turn that was killed.
    async fn look(killed: &Killed, session: &Session) {
        let all = session.last(100).await.unwrap();
        let asked = killed.has_said("asked");
        match all.first() {
            Some(first) => assert_eq!((first.role, first.text().as_str()), (MessageRole::User, SAID)),
            None => assert_eq!(asked, 0, "the model was asked and what was said is not there"),
        }
        let answers: Vec<&StoredMessage> =
            all.iter().filter(|message| message.role == MessageRole::Assistant).collect();
        assert!(answers.len() >= asked, "an answer that was asked for is there, whatever came of it");
        let whole = [PIECE.repeat(PIECES), ANSWER.to_owned()];
        for (answer, whole) in answers.iter().zip(&whole) {
            assert!(whole.starts_with(&answer.text()), "{}", answer.text());
            if answer.state == MessageState::Complete {
                assert_eq!(answer.text(), *whole);
            }
        }
        // What had come before the place is there but for what is gathered at once.
        let came = killed.has_said("told").min(PIECES) * PIECE.len();
        if let Some(first) = answers.first() {
            assert!(first.text().len() + 2 * 1024 >= came, "{} of {came} bytes are there", first.text().len());
        }
        let is_cut = answers.last().is_some_and(|last| !last.state.is_complete());
        if is_cut {
            assert_eq!(session.runtime().await.unwrap(), RuntimeState::Interrupted);
        }
        assert!(results(&all).values().all(|count| *count == 1));
        valid(session).await;
    }

    /// Kills it at every place, or at one of so many.
    async fn killed_everywhere(form: Form, name: &str, store: Store, one_of: usize) {
        let (mut places, mut cut, mut interrupted) = (0, 0, 0);
        let mut kinds: BTreeSet<String> = BTreeSet::new();
        for stop in (1..).step_by(one_of) {
            let folder = tempfile::Builder::new().prefix("sessions-test-").tempdir_in("/dev/shm");
            let folder = folder.or_else(|_| tempfile::tempdir()).unwrap();
            let (path, runs) = (folder.path().join("store"), folder.path().join("runs"));
            let killed = Killed::at(stop, &path, &runs, name, store);
            if killed.ended {
                break;
            }
            places += 1;
            kinds.extend(killed.said.last().cloned());
            let (sessions, session) = open(&path, store).await;
            look(&killed, &session).await;
            let before = session.last(100).await.unwrap();
            cut += usize::from(before.iter().any(|message| !message.state.is_complete()));
            interrupted += usize::from(session.runtime().await.unwrap() == RuntimeState::Interrupted);
            let agent = agent(form, &runs, &done());
            let resumes = stop % 2 == 0;
            let outcome = if resumes {
                match session.resume_turn(&agent).await {
                    // It was killed behind its end, or before its beginning.
                    Err(SessionError::NothingToResume) => {
                        session.send_message(&agent, Message::user(SAID)).await.unwrap()
                    }
                    done => done.unwrap(),
                }
            } else {
                session.send_message(&agent, Message::user("Go on.")).await.unwrap()
            };
            assert_eq!(outcome.stop_reason, StopReason::EndTurn, "place {stop}: {outcome:?}");
            assert_eq!(session.runtime().await.unwrap(), RuntimeState::Idle);
            let all = session.last(100).await.unwrap();
            assert_eq!(all.last().unwrap().text(), ANSWER, "place {stop}");
            if resumes {
                let said = all.iter().filter(|message| message.role == MessageRole::User).count();
                assert_eq!(said, 1, "place {stop}: nothing was said twice");
                assert!(results(&all).values().all(|count| *count == 1));
                assert!(ran(&runs).get("w1").copied().unwrap_or(0) <= 1, "place {stop}: what may not run again did");
            }
            valid(&session).await;
            sessions.close().await.unwrap();
        }
        println!(
            "{name}: killed at {places} places ({}); {cut} with a part of an answer, {interrupted} told as interrupted",
            kinds.into_iter().collect::<Vec<_>>().join(", ")
        );
        assert!(places > 60 / one_of && cut > 30 / one_of && interrupted > 50 / one_of, "{places} {cut} {interrupted}");
    }

    #[tokio::test]
    async fn a_turn_that_was_killed_anywhere_has_all_that_was_promised_and_the_next_one_runs() {
        killed_everywhere(Form::OpenAi, "openai", Store::Plain, 1).await;
    }

    #[tokio::test]
    async fn and_so_it_is_in_the_other_form() {
        killed_everywhere(Form::Anthropic, "anthropic", Store::Plain, 1).await;
    }

    #[tokio::test]
    async fn and_so_it_is_in_a_sealed_store() {
        killed_everywhere(Form::OpenAi, "openai", Store::Sealed, 1).await;
    }
}
