//! Laws of failure: a call that fails, an answer that is lost and a caller that goes away leave a store with which a careful caller comes
//! to the same end.
//!
//! The failures come from a [`FaultyStore`] before the store, once before a call happens and once after; a commit is never cut in two.
//!
//! Must not know: any store.

use std::{sync::Arc, task::Poll};

use bytes::Bytes;
use sessions_domain::Kind;
use sessions_ports::{Claim, Commit, Durability, Expected, SessionLog, StoreError};

use crate::{
    faulty::{Call, Fault, FaultyStore, Injected, When},
    fixture::Fixture,
    polled::Started,
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

/// What happens to a session: it is made with a key, goes on with claims, labels and a snapshot, and is read in every way there is.
struct Story {
    script: Script,
    commits: Vec<Commit>,
    key: [u8; 32],
}

const CLAIM: [u8; 32] = [9; 32];

impl Story {
    fn new(number: u8, strongest: Durability) -> Self {
        let (mut script, key) = (Script::new(u64::from(number) + 1), [number; 32]);
        let mut commits = vec![script.say("the beginning"), script.say_many(3)];
        commits.push(script.commit(&[(Kind::APPENDED, 7, b"labelled"), (Kind::MOVED, 0, b"moved")]));
        commits.push(script.say("the end"));
        for (commit, n) in commits.iter_mut().zip(0_u8..) {
            commit.key = (n == 0).then_some(key);
            commit.claims = if n == 1 { vec![Claim { key: CLAIM, payload: key, offset: 2 }] } else { Vec::new() };
            commit.snapshot = (n == 2).then(|| Bytes::from_static(b"a view"));
            commit.durability = if n % 2 == 0 { strongest } else { Durability::Volatile };
        }
        Self { script, commits, key }
    }

    /// Tells it to a store of which any call may fail once.
    async fn tell(&self, store: &dyn SessionLog) -> Outcome {
        for commit in &self.commits {
            appended(store, commit).await?;
        }
        let session = self.script.session();
        again(async || store.wait(session, self.script.version(), store.strongest()).await).await?;
        let read = again(async || read_all(store, session, everything()).await).await?;
        ensure_eq!(read, self.script.written(), "the log that was read");
        again(async || store.find(session, 7).await).await?;
        again(async || store.snapshot(session).await).await?;
        again(async || store.by_key(self.key).await).await?;
        again(async || store.claim(session, CLAIM).await).await?;
        again(async || store.rows(0, 10).await).await?;
        again(async || store.head(session).await).await?;
        Ok(())
    }

    /// The store has what was told, once, with all its names.
    async fn check(&self, store: &dyn SessionLog, what: &str) -> Outcome {
        let session = self.script.session();
        let read = read_all(store, session, everything()).await?;
        ensure!(read == self.script.written(), "{what}: the log is not what was told: {} records", read.len());
        let head = store.head(session).await?.map(|head| (head.version, head.commit));
        ensure_eq!(head, Some((self.script.version(), self.script.tip())), "{what}: the head");
        ensure_eq!(store.by_key(self.key).await?, Some(session), "{what}: the key's holder");
        let claim = store.claim(session, CLAIM).await?.map(|claim| (claim.payload, claim.seq, claim.version));
        ensure_eq!(claim, Some((self.key, 4, 4)), "{what}: the claim");
        ensure_eq!(store.find(session, 7).await?, [5], "{what}: the label");
        let rows = store.rows(0, usize::MAX).await?.rows;
        let versions: Vec<u64> = rows.iter().filter(|row| row.session == session).map(|row| row.version).collect();
        ensure_eq!(versions, [self.script.version()], "{what}: the rows");
        Ok(())
    }
}

/// A call that is made again when it failed. Of one fault that strikes once, twice is enough.
async fn again<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    match call().await {
        Ok(answer) => Ok(answer),
        Err(_) => call().await,
    }
}

/// An append by somebody who looks before trying again, as the contract lets anybody do.
async fn appended(store: &dyn SessionLog, commit: &Commit) -> Outcome {
    let Some(last) = commit.records.last() else { return Ok(()) };
    for _ in 0..3 {
        let Err(error) = store.commit(commit.clone()).await else { return Ok(()) };
        let head = again(async || store.settled(commit.session).await).await?;
        if head.is_some_and(|head| head.version >= last.seq) {
            return Ok(());
        }
        if !matches!(error, StoreError::Backend(_)) {
            return Err(Exception::broken(format!(
                "record {} is not there, and to commit it again: {error}",
                last.seq
            )));
        }
    }
    Err(Exception::broken(format!("record {} did not get in by three tries", last.seq)))
}

/// Tells a story once for each call that it makes, and lets that call fail.
async fn every_call_fails_once(fixture: &dyn Fixture, when: When) -> Outcome {
    let store = fixture.open().await;
    let undisturbed = FaultyStore::over(Arc::clone(&store));
    let story = Story::new(0, store.strongest());
    story.tell(&undisturbed).await?;
    let calls = undisturbed.total();
    for (nth, number) in (1..=calls).zip(1_u8..) {
        let faulty = FaultyStore::over(Arc::clone(&store));
        faulty.fail(Fault { call: None, nth, when, answer: Injected::Unavailable });
        let (story, what) = (Story::new(number, store.strongest()), format!("call {nth} of {calls} failed"));
        story.tell(&faulty).await.map_err(|exception| told(&what, exception))?;
        ensure_eq!(faulty.struck(), 1, "{what}: failures");
        story.check(&*store, &what).await?;
    }
    Ok(())
}

fn told(what: &str, exception: Exception) -> Exception {
    match exception {
        Exception::Broken { detail } => Exception::broken(format!("{what}: {detail}")),
        skipped => skipped,
    }
}

/// Whichever call fails before it happens, a caller who makes it again comes to the same end.
pub async fn any_call_may_fail_and_the_story_ends_the_same(fixture: &dyn Fixture) -> Outcome {
    every_call_fails_once(fixture, When::Before).await
}

/// Whichever answer is lost, a caller who looks and goes on comes to the same end, and nothing is written twice.
pub async fn any_answer_may_be_lost_and_the_story_ends_the_same(fixture: &dyn Fixture) -> Outcome {
    every_call_fails_once(fixture, When::After).await
}

/// A commit whose answer was lost is found by its head, its key and its claim, and a second try of it is refused.
pub async fn a_lost_answer_is_found_again(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let faulty = FaultyStore::over(Arc::clone(&store));
    let mut script = Script::new(1);
    let session = script.session();
    let claim = |key| vec![Claim { key, payload: [2; 32], offset: 0 }];
    let first = Commit { key: Some([1; 32]), claims: claim([3; 32]), ..script.say("one") };
    let second = Commit { claims: claim([4; 32]), ..script.say("two") };
    for (commit, version) in [(&first, 1), (&second, 2)] {
        faulty.fail(Fault { call: Some(Call::Commit), nth: 1, when: When::After, answer: Injected::Io });
        ensure_refused!(faulty.commit(commit.clone()).await, StoreError::Backend(_), "a commit without an answer");
        ensure_eq!(
            store.head(session).await?.map(|head| head.version),
            Some(version),
            "the version after a lost answer"
        );
    }
    ensure_eq!(store.by_key([1; 32]).await?, Some(session), "the holder of the key");
    for key in [[3; 32], [4; 32]] {
        ensure!(store.claim(session, key).await?.is_some(), "the claim of a commit without an answer is not known");
    }
    ensure_refused!(store.commit(first).await, StoreError::AlreadyExists { .. }, "a beginning that is made again");
    ensure_refused!(store.commit(second).await, StoreError::Conflict { .. }, "a commit that is made again");
    ensure_eq!(read_all(&*store, session, everything()).await?, script.written(), "the log");
    Ok(())
}

/// What is queued behind a commit that is refused is refused too, and the place is free for another.
pub async fn what_stands_behind_a_refused_commit_is_refused(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for (number, level) in [(1, Durability::Volatile), (2, store.strongest())] {
        let mut script = Script::new(number);
        let claims = vec![Claim { key: CLAIM, payload: [1; 32], offset: 0 }];
        store.commit(Commit { claims: claims.clone(), ..script.say("one") }).await?;
        let mut other = script.clone();
        let refused = Commit { claims, durability: level, ..other.say("claims what is claimed") };
        let behind = Expected::Behind { version: other.version(), commit: other.tip() };
        let behind = Commit { expected: behind, durability: level, ..other.say("behind it") };
        let (refused, early) = (Started::new(store.commit(refused)), Started::new(store.commit(behind.clone())));
        let free = Started::new(store.commit(Commit { durability: level, ..script.say("in its place") }));
        let late = Started::new(store.commit(behind));
        ensure_refused!(refused.finish().await, StoreError::Malformed { .. }, "a claim that was made before");
        for behind in [early, late] {
            ensure_refused!(behind.finish().await, StoreError::Conflict { .. }, "a commit behind one that is refused");
        }
        ensure_eq!(free.finish().await?.version, 2, "the version of a commit in the place of one that was refused");
        ensure_eq!(read_all(&*store, script.session(), everything()).await?, script.written(), "the log");
    }
    Ok(())
}

/// Polls a future so many times at most, and drops it.
async fn left_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut polled) = (Box::pin(future), 0);
    std::future::poll_fn(|context| {
        if polled >= polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if polled >= polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A caller may go away at any point of a story: another finds each commit whole or absent, and comes to the same end.
pub async fn a_caller_may_go_away_at_any_point(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for number in 0..=u8::MAX {
        let (story, hesitating) = (Story::new(number, store.strongest()), FaultyStore::hesitating(Arc::clone(&store)));
        let what = format!("a caller who was polled {number} times");
        let ended = left_after(usize::from(number), story.tell(&hesitating)).await;
        let ended = ended.transpose().map_err(|exception| told(&what, exception))?;
        let session = story.script.session();
        let head = store.settled(session).await?.map_or(0, |head| head.version);
        let whole = head == 0 || story.commits.iter().any(|c| c.records.last().is_some_and(|last| last.seq == head));
        ensure!(whole, "{what} left {head} records, which is within a commit");
        story.tell(&*store).await.map_err(|exception| told(&what, exception))?;
        story.check(&*store, &what).await?;
        if ended.is_some() {
            return Ok(());
        }
    }
    Ok(())
}
