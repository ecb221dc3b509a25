//! Laws of rewriting: records get other payloads, and nothing else changes by it. Inherited ones have laws of their own (`adoption`).
//!
//! Must not know: any store.

use std::sync::Arc;

use bytes::Bytes;
use sessions_domain::{CommitHash, Kind};
use sessions_ports::{Commit, Durability, Order, ReadRange, Record, Rewrite, Rewritten, SessionLog, StoreError};

use super::{
    adoption::own,
    removal::{ensure_gone, heir, labelled, of},
};
use crate::{
    fixture::Fixture,
    polled::{Started, due},
    script::{Script, everything, read_all},
    suite::{Exception, Outcome},
};

const VOLATILE: Durability = Durability::Volatile;

/// What makes another record of one.
type Change = fn(&mut Record);

/// Other payloads for these records of a script, and nothing else.
pub(super) fn anew(script: &Script, numbers: &[u64], text: &str) -> Rewrite {
    let records = script.written().iter().filter(|record| numbers.contains(&record.seq));
    Rewrite { records: records.map(|record| with_payload(record, text)).collect(), ..nothing(script) }
}

pub(super) fn with_payload(record: &Record, text: &str) -> Record {
    // As long as the old one, or longer, or shorter: each number has another length.
    let payload = format!("{text} of {} {}", record.seq, "-".repeat(record.seq as usize * 7 % 90));
    Record { payload: Bytes::from(payload), ..record.clone() }
}

/// A rewrite that has nothing in it yet.
pub(super) fn nothing(script: &Script) -> Rewrite {
    let (session, durability) = (script.session(), VOLATILE);
    Rewrite { session, expected: None, records: Vec::new(), words: None, unlink: Vec::new(), durability }
}

/// What a log of these records is after a rewrite.
pub(super) fn rewritten(before: &[Record], rewrite: &Rewrite) -> Vec<Record> {
    let new = |old: &Record| rewrite.records.iter().find(|new| new.seq == old.seq).unwrap_or(old).clone();
    before.iter().map(new).collect()
}

/// Breaks the law unless a log has these records and no others, each found by its label.
pub(super) async fn ensure_log(store: &dyn SessionLog, script: &Script, records: &[Record], when: &str) -> Outcome {
    let session = script.session();
    ensure_eq!(read_all(store, session, everything()).await?, records, "the records {when}");
    let mut back =
        read_all(store, session, ReadRange { order: Order::NewestFirst, max_records: 2, ..everything() }).await?;
    back.reverse();
    ensure_eq!(back, records, "the records {when}, newest first");
    for record in records.iter().filter(|record| record.label != 0) {
        let same = records.iter().filter(|other| other.label == record.label).map(|other| other.seq);
        let found = store.find(session, record.label).await?;
        ensure_eq!(found, same.collect::<Vec<_>>(), "records of label {} {when}", record.label);
    }
    Ok(())
}

/// A script whose first and last records are small and others large.
async fn of_all_sizes(store: &dyn SessionLog, number: u64) -> Result<Script, StoreError> {
    let mut script = Script::new(number);
    for (label, size) in (1..).zip([10, 300, 70_000, 5000, 200_000, 40]) {
        store.commit(script.commit(&[(Kind::APPENDED, label, &vec![b'x'; size])])).await?;
    }
    Ok(script)
}

/// A rewritten record has its new payload, and is found as before; all other records, the head and what else is known are as they were.
pub async fn a_rewritten_record_has_its_new_payload(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (script, other) = (of_all_sizes(&*store, 1).await?, labelled(&*store, 2).await?);
    let head = store.head(script.session()).await?;
    let first = anew(&script, &[2, 3, 6], "new");
    let done = store.rewrite(first.clone()).await?;
    ensure!(done.first == 1 && done.durability >= VOLATILE, "a rewrite was answered with {done:?}");
    let after = rewritten(script.written(), &first);
    ensure_log(&*store, &script, &after, "after a rewrite").await?;
    // Each of them again, from one that is large to one that is small and the other way round.
    let mut second = anew(&script, &[1, 3, 4, 5], "newer");
    if let Some(large) = second.records.get_mut(2) {
        large.payload = Bytes::from(vec![b'y'; 90_000]);
    }
    store.rewrite(second.clone()).await?;
    ensure_log(&*store, &script, &rewritten(&after, &second), "after a second rewrite").await?;
    ensure_eq!(store.head(script.session()).await?, head, "the head after rewrites");
    ensure_log(&*store, &other, other.written(), "of another session").await
}

/// The same rewrite again is fine.
pub async fn a_rewrite_may_be_repeated(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let script = labelled(&*store, 1).await?;
    let rewrite = anew(&script, &[1, 4, 5], "new");
    let answers = [store.rewrite(rewrite.clone()).await?.first, store.rewrite(rewrite.clone()).await?.first];
    ensure_eq!(answers, [1, 1], "the first record, after the same twice");
    ensure_log(&*store, &script, &rewritten(script.written(), &rewrite), "after the same twice").await
}

/// What a record says is not changed: another kind, label or commit is refused, and a record that is not there is not made.
pub async fn a_rewrite_says_nothing_else(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let script = labelled(&*store, 1).await?;
    let changes: [(&str, Change); 5] = [
        ("another commit", |record| record.commit = CommitHash::from_bytes([9; 32])),
        ("another kind", |record| record.kind = Kind::MOVED),
        ("another label", |record| record.label += 1),
        ("the number of the next", |record| record.seq += 1),
        ("a number behind the last", |record| record.seq = 6),
    ];
    for (what, change) in changes {
        let mut rewrite = anew(&script, &[4], "new");
        rewrite.records.iter_mut().for_each(change);
        ensure_refused!(store.rewrite(rewrite).await, StoreError::Malformed { .. }, "a rewrite with {what}");
    }
    ensure_refused!(store.rewrite(nothing(&script)).await, StoreError::Malformed { .. }, "a rewrite of nothing");
    let mut backwards = anew(&script, &[2, 3], "new");
    backwards.records.reverse();
    ensure_refused!(store.rewrite(backwards).await, StoreError::Malformed { .. }, "a rewrite in another order");
    let never = Script::new(9);
    let missing = Rewrite { session: never.session(), ..anew(&script, &[1], "new") };
    ensure_refused!(store.rewrite(missing).await, StoreError::NotFound { .. }, "a rewrite of what never was");
    ensure_log(&*store, &script, script.written(), "after refused rewrites").await
}

/// A rewrite that is refused for one of its parts leaves no trace of any.
pub async fn a_refused_rewrite_leaves_no_trace(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = labelled(&*store, 1).await?;
    let rows = store.rows(0, 10).await?.rows;
    let mut wrong = anew(&script, &[1, 2, 5], "new");
    wrong.words = Some(Bytes::from_static(b"other words"));
    if let Some(last) = wrong.records.last_mut() {
        last.commit = CommitHash::from_bytes([9; 32]);
    }
    ensure_refused!(store.rewrite(wrong).await, StoreError::Malformed { .. }, "a rewrite with another commit");
    ensure_log(&*store, &script, script.written(), "after a refused rewrite").await?;
    ensure_eq!(store.rows(0, 10).await?.rows, rows, "the rows after a refused rewrite");
    store.commit(script.say("it goes on")).await?;
    ensure_log(&*store, &script, script.written(), "of a session that goes on").await
}

/// A rewrite can give the row other words. Nothing else of the row changes, nor its place in the order of changes.
pub async fn words_are_rewritten_where_they_stand(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (mut script, other) = (labelled(&*store, 1).await?, labelled(&*store, 2).await?);
    let before = store.rows(0, 10).await?;
    let words = Some(Bytes::from_static(b"other words"));
    store.rewrite(Rewrite { words: words.clone(), ..anew(&script, &[5], "new") }).await?;
    store.rewrite(Rewrite { words: words.clone(), ..nothing(&script) }).await?;
    let mut expected = before.rows.clone();
    for row in expected.iter_mut().filter(|row| row.session == script.session()) {
        row.words = Bytes::from_static(b"other words");
    }
    ensure_eq!(store.rows(0, 10).await?.rows, expected, "the rows after a rewrite of words");
    ensure_eq!(store.rows(before.next, 10).await?.rows, [], "changes of rows by a rewrite");
    store.commit(script.say("goes on")).await?;
    let after = store.rows(before.next, 10).await?.rows;
    let told: Vec<_> = after.iter().map(|row| (row.session, Some(row.words.clone()))).collect();
    ensure_eq!(told, [(script.session(), words)], "the row with the next change");
    let mut bare = Script::new(3);
    store
        .commit(Commit {
            row: sessions_ports::RowChange { words: None, ..bare.clone().say("").row },
            ..bare.say("no words")
        })
        .await?;
    let given = Rewrite { words: Some(Bytes::from_static(b"words")), ..nothing(&bare) };
    ensure_refused!(store.rewrite(given).await, StoreError::Malformed { .. }, "words for a session without any");
    ensure_log(&*store, &other, other.written(), "of another session").await
}

/// Who says which version it decided about is refused when there is another, queued commits included.
pub async fn an_expected_version_is_asked_of_a_rewrite(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = labelled(&*store, 1).await?;
    let at = |version, script: &Script| Rewrite { expected: Some(version), ..anew(script, &[2], "new") };
    for version in [4, 6] {
        let refused = store.rewrite(at(version, &script)).await;
        ensure_refused!(refused, StoreError::Conflict { expected, actual: 5 } if expected == version, "another version");
    }
    let behind = at(5, &script);
    let queued = Started::new(store.commit(Commit { durability: store.strongest(), ..script.say("on its way") }));
    let late = due(store.rewrite(behind), "a rewrite").await?;
    ensure_refused!(late, StoreError::Conflict { actual: 6, .. }, "a version with a commit behind it");
    due(queued.finish(), "a commit").await??;
    ensure_log(&*store, &script, script.written(), "after refused rewrites").await?;
    let rewrite = at(6, &script);
    store.rewrite(rewrite.clone()).await?;
    ensure_log(&*store, &script, &rewritten(script.written(), &rewrite), "after a rewrite").await
}

/// Commits that are queued before a rewrite and behind it go through, and so does the rewrite.
pub async fn a_rewrite_disturbs_no_commit(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = labelled(&*store, 1).await?;
    let strongest = store.strongest();
    let rewrite = Rewrite { durability: strongest, ..anew(&script, &[1, 2, 3, 4, 5], "new") };
    let commits = [script.say("before it"), script.say("behind it"), script.say("and on")];
    let [before, behind, last] = commits.map(|commit| Commit { durability: strongest, ..commit });
    let before = Started::new(store.commit(before));
    let rewriting = Started::new(store.rewrite(rewrite.clone()));
    let behind = Started::new(store.commit(behind));
    due(store.commit(last), "a commit behind a rewrite").await??;
    due(before.finish(), "a commit before a rewrite").await??;
    due(rewriting.finish(), "a rewrite").await??;
    due(behind.finish(), "a commit behind a rewrite").await??;
    ensure_log(&*store, &script, &rewritten(script.written(), &rewrite), "among commits").await?;
    ensure_eq!(store.settled(script.session()).await?.map(|head| head.version), Some(8), "the version that is settled");
    Ok(())
}

/// A rewrite whose future was dropped after the first poll happens.
pub async fn a_dropped_rewrite_still_happens(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = labelled(&*store, 1).await?;
    let rewrite = Rewrite { durability: store.strongest(), ..anew(&script, &[1, 3], "new") };
    drop(Started::new(store.rewrite(rewrite.clone())));
    // What comes behind it in the session is through when it is.
    due(store.commit(Commit { durability: store.strongest(), ..script.say("behind it") }), "a commit").await??;
    ensure_log(&*store, &script, &rewritten(script.written(), &rewrite), "after a dropped rewrite").await
}

/// What is kept of a removed session can be rewritten, and nothing else of it.
pub async fn what_is_kept_for_others_can_be_rewritten(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (owner, gone) = (labelled(&*store, 1).await?, labelled(&*store, 2).await?);
    store.commit(heir(3, &[(&owner, 3)]).1).await?;
    store.remove(of(&owner)).await?;
    store.remove(of(&gone)).await?;
    let kept = owner.written().get(..3).unwrap_or_default();
    let words = Some(Bytes::from_static(b"words"));
    let refused = [
        anew(&gone, &[1], "new"),
        anew(&owner, &[4], "new"),
        anew(&owner, &[1, 2, 3, 4], "new"),
        Rewrite { words, ..anew(&owner, &[1], "new") },
        Rewrite { unlink: vec![gone.session()], ..nothing(&owner) },
    ];
    for rewrite in refused {
        ensure_refused!(store.rewrite(rewrite).await, StoreError::Gone { .. }, "a rewrite of what is gone");
    }
    let mut wrong = anew(&owner, &[1, 2], "new");
    wrong.records.iter_mut().for_each(|record| record.label += 1);
    ensure_refused!(store.rewrite(wrong).await, StoreError::Malformed { .. }, "a rewrite with another label");
    ensure_log(&*store, &owner, kept, "after refused rewrites").await?;
    let rewrite = anew(&owner, &[1, 3], "new");
    store.rewrite(rewrite.clone()).await?;
    ensure_log(&*store, &owner, &rewritten(kept, &rewrite), "that are kept for others").await
}

/// No level is promised that the store does not give, and a closed store rewrites nothing.
pub async fn a_rewrite_is_not_promised_too_much(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let script = labelled(&*store, 1).await?;
    let strongest = store.strongest();
    for durability in [VOLATILE, Durability::Process, Durability::Disk] {
        let rewrite = Rewrite { durability, ..anew(&script, &[1], "new") };
        match store.rewrite(rewrite).await {
            Ok(Rewritten { durability: reached, .. }) if durability <= strongest && reached >= durability => {}
            Err(StoreError::TooWeak { asked, best })
                if durability > strongest && (asked, best) == (durability, strongest) => {}
            other => return Err(Exception::broken(format!("a rewrite at {durability}: {other:?}"))),
        }
    }
    store.close().await?;
    ensure_refused!(store.rewrite(anew(&script, &[2], "new")).await, StoreError::Closed, "a rewrite in a closed store");
    Ok(())
}

/// What one handle rewrites the other reads.
pub async fn a_rewrite_is_seen_through_other_handles(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let other = fixture.second().await;
    let script = labelled(&*store, 1).await?;
    let rewrite = anew(&script, &[1, 2, 5], "new");
    ensure_log(&*other, &script, script.written(), "through the other handle").await?;
    store.rewrite(rewrite.clone()).await?;
    ensure_log(&*other, &script, &rewritten(script.written(), &rewrite), "through the other handle").await
}

/// What was rewritten, adopted and unlinked, all at once.
struct Story {
    owner: Script,
    child: Script,
    large: Script,
    rewrite: Rewrite,
    adoption: Rewrite,
    words: Bytes,
}

/// A store in which everything was done that a rewrite can do.
async fn told(store: &dyn SessionLog) -> Result<Story, StoreError> {
    let (owner, mut large) = (labelled(store, 1).await?, of_all_sizes(store, 4).await?);
    let (child, begin) = heir(2, &[(&owner, 4)]);
    store.commit(begin).await?;
    store.remove(of(&owner)).await?;
    let durability = Durability::Process.min(store.strongest());
    let words = Bytes::from_static(b"other words");
    let mut rewrite = Rewrite { durability, words: Some(words.clone()), ..anew(&large, &[1, 2, 3, 5, 6], "new") };
    if let Some(first) = rewrite.records.first_mut() {
        first.payload = Bytes::from(vec![b'z'; 80_000]);
    }
    store.rewrite(rewrite.clone()).await?;
    store.commit(Commit { durability, ..large.say("it goes on") }).await?;
    let unlink = vec![owner.session()];
    let adoption = Rewrite { session: child.session(), unlink, durability, ..anew(&owner, &[1, 2, 3, 4], "own") };
    store.rewrite(adoption.clone()).await?;
    Ok(Story { owner, child, large, rewrite, adoption, words })
}

/// Breaks the law unless all is as it was told.
async fn ensure_told(store: &dyn SessionLog, story: &Story, when: &str) -> Outcome {
    let Story { owner, child, large, rewrite, words, .. } = story;
    ensure_log(store, large, &rewritten(large.written(), rewrite), when).await?;
    ensure_log(store, child, &own(owner, child, 1), when).await?;
    ensure_gone(store, owner).await?;
    let heads = [store.head(large.session()).await?, store.head(child.session()).await?];
    let heads = heads.map(|head| head.map(|head| (head.first, head.version, head.commit)));
    let expected = [large, child].map(|script| Some((1, script.version(), script.tip())));
    ensure_eq!(heads, expected, "the heads {when}");
    let rows = store.rows(0, 10).await?.rows;
    let told = rows.into_iter().find(|row| row.session == large.session()).map(|row| row.words);
    ensure_eq!(told.as_ref(), Some(words), "the words {when}");
    Ok(())
}

/// A store that is opened again has what was rewritten, adopted and unlinked, and goes on.
pub async fn a_reopened_store_has_what_was_rewritten(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut story = told(&*store).await?;
    ensure_told(&*store, &story, "after all").await?;
    let Some(store) = fixture.reopen(store).await else {
        return Err(Exception::skipped("the store keeps nothing when it is closed"));
    };
    ensure_told(&*store, &story, "after reopening").await?;
    store.rewrite(story.adoption.clone()).await?;
    store.commit(story.large.say("and on")).await?;
    ensure_told(&*store, &story, "after going on").await?;
    let Some(store) = fixture.reopen(store).await else {
        return Err(Exception::broken("it keeps nothing the second time"));
    };
    ensure_told(&*store, &story, "after reopening twice").await
}

/// What is there after a kill.
async fn killed(fixture: &dyn Fixture, store: &Arc<dyn SessionLog>) -> Result<Arc<dyn SessionLog>, Exception> {
    fixture.killed(store).await.ok_or_else(|| Exception::skipped("the store is gone with its process"))
}

/// A rewrite that was acknowledged at `process` survives a kill.
pub async fn a_rewrite_survives_a_kill(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let story = told(&*store).await?;
    let after = killed(fixture, &store).await?;
    ensure_told(&*after, &story, "after a kill").await
}

/// A rewrite that was on its way when the store was killed is whole or absent.
pub async fn a_rewrite_is_whole_or_absent_after_a_kill(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (script, owner) = (of_all_sizes(&*store, 1).await?, labelled(&*store, 2).await?);
    let (child, begin) = heir(3, &[(&owner, 4)]);
    store.commit(begin).await?;
    let durability = store.strongest();
    store.wait(child.session(), child.version(), durability).await?;
    store.wait(script.session(), script.version(), durability).await?;
    let rewrite = Rewrite { durability, ..anew(&script, &[1, 2, 3, 4, 5, 6], "new") };
    let adoption = Rewrite { session: child.session(), durability, ..anew(&owner, &[1, 2, 3, 4], "own") };
    let on_their_way = [Started::new(store.rewrite(rewrite.clone())), Started::new(store.rewrite(adoption))];
    let after = killed(fixture, &store).await?;
    let read = read_all(&*after, script.session(), everything()).await?;
    let is_whole = read == rewritten(script.written(), &rewrite) || read == script.written();
    ensure!(is_whole, "half of a rewrite is there after a kill: {} records", read.len());
    let first = after.head(child.session()).await?.map(|head| head.first);
    match first {
        Some(first @ (1 | 5)) => ensure_log(&*after, &child, &own(&owner, &child, first), "after a kill").await?,
        other => return Err(Exception::broken(format!("half of an adoption is there after a kill: {other:?}"))),
    }
    for rewrite in on_their_way {
        due(rewrite.finish(), "a rewrite").await??;
    }
    Ok(())
}

/// Rewrites beside writers lose nothing, double nothing, and keep nobody from going on.
pub async fn rewriting_beside_writers_loses_nothing(fixture: &dyn Fixture) -> Outcome {
    const WRITERS: u64 = 16;
    const ROUNDS: u64 = 12;
    let store = fixture.open().await;
    let mut scripts = Vec::new();
    for number in 1..=WRITERS {
        scripts.push(labelled(&*store, number).await?);
    }
    let write = async |store: Arc<dyn SessionLog>, mut script: Script| {
        for round in 0..ROUNDS {
            let durability = if round % 3 == 0 { store.strongest() } else { VOLATILE };
            store.commit(Commit { durability, ..script.say("beside it") }).await?;
        }
        Ok::<Script, StoreError>(script)
    };
    let rewrite = async |store: Arc<dyn SessionLog>, script: Script| {
        for round in 0..ROUNDS {
            store.rewrite(anew(&script, &[round % 5 + 1, 5], &format!("round {round}"))).await?;
            let page = store.read(script.session(), ReadRange { to: 5, ..everything() }).await?;
            if page.records.len() != 5 {
                return Err(StoreError::Malformed { what: "a record is missing beside a rewrite" });
            }
        }
        Ok::<(), StoreError>(())
    };
    let writers =
        futures_util::future::join_all(scripts.iter().map(|script| write(Arc::clone(&store), script.clone())));
    let rewriters =
        futures_util::future::join_all(scripts.iter().map(|script| rewrite(Arc::clone(&store), script.clone())));
    let (written, rewritten) = futures_util::future::join(writers, rewriters).await;
    rewritten.into_iter().collect::<Result<Vec<()>, StoreError>>()?;
    for script in written {
        let script = script?;
        let mut expected = script.written().to_vec();
        for (record, at) in expected.iter_mut().zip(0..5) {
            let last = (0..ROUNDS).rev().find(|round| round % 5 == at || at == 4).unwrap_or(0);
            *record = with_payload(record, &format!("round {last}"));
        }
        ensure_log(&*store, &script, &expected, "behind writers and rewriters").await?;
    }
    Ok(())
}
