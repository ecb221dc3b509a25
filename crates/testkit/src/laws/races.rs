//! Laws of races: of those who want the same thing one gets it, and the others learn that.
//!
//! Must not know: any store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use sessions_domain::SessionId;
use sessions_ports::{Claim, Commit, Durability, SessionLog, StoreError};

use crate::{
    fixture::Fixture,
    polled::Started,
    script::{Script, body, everything, read_all},
    suite::{Exception, Outcome},
};

const WRITERS: usize = 8;
const COMMITS: usize = 200;

/// Eight handles to one store, of two kinds.
async fn crowd(fixture: &dyn Fixture) -> Vec<Arc<dyn SessionLog>> {
    let one = fixture.open().await;
    let other = fixture.second().await;
    (0..WRITERS).map(|n| Arc::clone(if n % 2 == 0 { &one } else { &other })).collect()
}

/// Runs something in a task for each handle.
async fn race<T, F>(
    stores: &[Arc<dyn SessionLog>],
    run: impl Fn(usize, Arc<dyn SessionLog>) -> F,
) -> Result<Vec<T>, Exception>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks = stores.iter().enumerate().map(|(n, store)| tokio::spawn(run(n, Arc::clone(store))));
    let ended = join_all(tasks).await;
    ended.into_iter().map(|end| end.map_err(|error| Exception::broken(format!("a writer ended: {error}")))).collect()
}

/// Appends one body, trying again after each conflict. Gives the version it became.
async fn insist(store: &dyn SessionLog, script: &Script, text: &[u8], level: Durability) -> Result<u64, StoreError> {
    loop {
        let head = store.head(script.session()).await?.ok_or(StoreError::NotFound { session: script.session() })?;
        match store.commit(script.behind(head.version, head.commit, text, level)).await {
            Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
            other => return other.map(|committed| committed.version),
        }
    }
}

/// Eight writers of one session: one wins each version, nothing is lost or doubled, each writer's own order holds.
pub async fn one_writer_wins_each_version(fixture: &dyn Fixture) -> Outcome {
    let stores = crowd(fixture).await;
    let Some(store) = stores.first() else { return Ok(()) };
    let mut script = Script::new(1);
    store.commit(script.say("the beginning")).await?;
    let strongest = store.strongest();
    let won = race(&stores, |writer, store| {
        let script = script.clone();
        let level = if writer % 4 == 0 { strongest } else { Durability::Volatile };
        async move {
            let mut versions = Vec::new();
            for n in 0..COMMITS {
                versions.push(insist(&*store, &script, format!("{writer} {n}").as_bytes(), level).await?);
            }
            Ok::<_, StoreError>(versions)
        }
    })
    .await?;
    let read = read_all(&**store, script.session(), everything()).await?;
    ensure_eq!(read.len(), 1 + WRITERS * COMMITS, "the number of records");
    ensure!(read.iter().zip(1..).all(|(record, seq)| record.seq == seq), "the numbers have a gap");
    for (writer, versions) in won.into_iter().enumerate() {
        let versions = versions?;
        ensure!(versions.is_sorted(), "writer {writer}'s commits are out of order");
        for (n, version) in versions.iter().enumerate() {
            let at = usize::try_from(version - 1).unwrap_or(usize::MAX);
            let found = read.get(at).map(|record| String::from_utf8_lossy(body(record)).into_owned());
            ensure_eq!(found, Some(format!("{writer} {n}")), "version {version}");
        }
    }
    Ok(())
}

/// Of eight who make the same session one does, and the others learn that it exists.
pub async fn one_creator_wins(fixture: &dyn Fixture) -> Outcome {
    let stores = crowd(fixture).await;
    for number in 1..=20 {
        let answers = race(&stores, |writer, store| async move {
            let mut script = Script::new(number);
            let commit = script.say_many(writer + 1);
            store.commit(commit).await.map(|_| script)
        })
        .await?;
        let mut winner = None;
        for answer in answers {
            match answer {
                Ok(script) => {
                    ensure!(winner.is_none(), "session {number} was made twice");
                    winner = Some(script);
                }
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        let (Some(winner), Some(store)) = (winner, stores.last()) else {
            return Err(Exception::broken(format!("nobody made session {number}")));
        };
        ensure_eq!(read_all(&**store, winner.session(), everything()).await?, winner.written(), "the winner's log");
    }
    Ok(())
}

/// Of eight sessions that want one key one gets it, and the others learn which.
pub async fn one_session_gets_a_key(fixture: &dyn Fixture) -> Outcome {
    let stores = crowd(fixture).await;
    for round in 0..20_u8 {
        let answers = race(&stores, |writer, store| async move {
            let mut script = Script::new(u64::from(round) * 100 + writer as u64 + 1);
            let commit = Commit { key: Some([round; 32]), ..script.say("keyed") };
            store.commit(commit).await.map(|_| script.session())
        })
        .await?;
        let winners: Vec<SessionId> = answers.iter().filter_map(|answer| answer.as_ref().ok()).copied().collect();
        let [winner] = winners.as_slice() else {
            return Err(Exception::broken(format!("{} sessions got one key", winners.len())));
        };
        for answer in answers {
            match answer {
                Ok(_) => {}
                Err(StoreError::KeyTaken { session }) => ensure_eq!(session, *winner, "the holder that was named"),
                Err(other) => return Err(other.into()),
            }
        }
    }
    Ok(())
}

/// Of eight who try one idempotency key again and again one writes, and all end with the same claim.
pub async fn one_claim_wins(fixture: &dyn Fixture) -> Outcome {
    let stores = crowd(fixture).await;
    let Some(store) = stores.first() else { return Ok(()) };
    let mut script = Script::new(1);
    store.commit(script.say("the beginning")).await?;
    for round in 0..20_u8 {
        let claims = race(&stores, |writer, store| {
            let script = script.clone();
            async move { claim_or_find(&*store, &script, round, writer).await }
        })
        .await?;
        let claims: BTreeSet<u64> = claims.into_iter().collect::<Result<_, _>>()?;
        ensure_eq!(claims.len(), 1, "claims of one key in round {round}");
        let version = store.head(script.session()).await?.map(|head| head.version);
        ensure_eq!(version, Some(u64::from(round) + 2), "the version after round {round}");
    }
    Ok(())
}

async fn claim_or_find(store: &dyn SessionLog, script: &Script, key: u8, writer: usize) -> Result<u64, StoreError> {
    loop {
        let head = store.head(script.session()).await?.ok_or(StoreError::NotFound { session: script.session() })?;
        if let Some(claim) = store.claim(script.session(), [key; 32]).await? {
            return Ok(claim.seq);
        }
        let text = format!("claimed by {writer}");
        let mut commit = script.behind(head.version, head.commit, text.as_bytes(), Durability::Volatile);
        commit.claims = vec![Claim { key: [key; 32], payload: [1; 32], offset: 0 }];
        match store.commit(commit).await {
            Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
            other => return other.map(|committed| committed.version),
        }
    }
}

/// Writers of many sessions at once: each log is whole and its own.
pub async fn many_sessions_are_written_at_once(fixture: &dyn Fixture) -> Outcome {
    let stores = crowd(fixture).await;
    let scripts = race(&stores, |writer, store| async move {
        let mut scripts: Vec<Script> = (0..4).map(|n| Script::new(writer as u64 * 10 + n + 1)).collect();
        for n in 0..50 {
            for script in &mut scripts {
                store.commit(script.say(&format!("{writer} {n}"))).await?;
            }
        }
        Ok::<_, StoreError>(scripts)
    })
    .await?;
    for (scripts, store) in scripts.into_iter().zip(stores.iter().rev()) {
        for script in scripts? {
            let read = read_all(&**store, script.session(), everything()).await?;
            ensure!(read == script.written(), "the log of {} is not what was written", script.session());
        }
    }
    Ok(())
}

/// Whoever follows the rows while others write ends with the last row of each session.
pub async fn the_feed_of_rows_misses_nothing(fixture: &dyn Fixture) -> Outcome {
    let stores = crowd(fixture).await;
    let Some(store) = stores.first() else { return Ok(()) };
    let writers = race(&stores, |writer, store| async move {
        let mut script = Script::new(writer as u64 + 1);
        for _ in 0..100 {
            store.commit(script.say("more")).await?;
            tokio::task::yield_now().await;
        }
        Ok::<_, StoreError>(())
    });
    let follower = async {
        let (mut since, mut seen) = (0, BTreeMap::new());
        while seen.len() < WRITERS || seen.values().any(|version| *version < 100) {
            let page = store.rows(since, 3).await?;
            for row in page.rows {
                let before = seen.insert(row.session, row.version).unwrap_or(0);
                ensure!(before <= row.version, "a row went back from {before} to {}", row.version);
            }
            since = page.next;
            tokio::task::yield_now().await;
        }
        Ok::<_, Exception>(())
    };
    let (written, followed) = futures_util::future::join(writers, follower).await;
    for writer in written? {
        writer?;
    }
    followed
}

/// Eight writers who go away from every other commit, look whether it happened and try again when it did not: nothing is lost or doubled.
pub async fn writers_that_go_away_lose_and_double_nothing(fixture: &dyn Fixture) -> Outcome {
    const EACH: u8 = 40;
    let stores = crowd(fixture).await;
    let Some(store) = stores.first() else { return Ok(()) };
    let mut script = Script::new(1);
    store.commit(script.say("the beginning")).await?;
    let strongest = store.strongest();
    let ended = race(&stores, |writer, store| {
        let script = script.clone();
        async move {
            for n in 0..EACH {
                let level = if n % 8 == 0 { strongest } else { Durability::Volatile };
                let mark = [writer.try_into().unwrap_or(u8::MAX), n];
                let mut tries = 0;
                while !hasty(&*store, &script, mark, level).await? {
                    tries += 1;
                    ensure!(tries < 2000, "writer {writer} is not told that commit {n} happened, by {tries} tries");
                    tokio::task::yield_now().await;
                }
            }
            Ok::<_, Exception>(())
        }
    })
    .await?;
    ended.into_iter().collect::<Result<(), _>>()?;
    let read = read_all(&**store, script.session(), everything()).await?;
    let bodies: BTreeSet<&[u8]> = read.iter().map(body).collect();
    ensure_eq!(
        (read.len(), bodies.len()),
        (1 + WRITERS * usize::from(EACH), read.len()),
        "records, and different ones"
    );
    Ok(())
}

/// One try, which is left after its first poll when its number is odd. True when it is known to have happened.
async fn hasty(store: &dyn SessionLog, script: &Script, mark: [u8; 2], level: Durability) -> Result<bool, StoreError> {
    let session = script.session();
    let mut key = [0; 32];
    key[..2].copy_from_slice(&mark);
    let settled = store.settled(session).await?;
    if store.claim(session, key).await?.is_some() {
        return Ok(true);
    }
    let head = settled.ok_or(StoreError::NotFound { session })?;
    let mut commit = script.behind(head.version, head.commit, &mark, level);
    commit.claims = vec![Claim { key, payload: [1; 32], offset: 0 }];
    let started = Started::new(store.commit(commit));
    if mark[1] % 2 == 1 {
        return Ok(false);
    }
    match started.finish().await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}
