//! Laws of names: hosts' keys for sessions, and idempotency keys.
//!
//! Must not know: any store.

use sessions_ports::{Claim, Commit, StoreError, StoredClaim};

use crate::{fixture::Fixture, polled::Started, script::Script, suite::Outcome};

const CLAIM: Claim = Claim { key: [1; 32], payload: [2; 32], offset: 0 };

/// A key leads to the session that was made with it.
pub async fn a_key_leads_to_its_session(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for number in 1..=5_u8 {
        let commit = Commit { key: Some([number; 32]), ..Script::new(u64::from(number)).say("keyed") };
        store.commit(commit).await?;
    }
    store.commit(Script::new(6).say("without a key")).await?;
    for number in 1..=5_u8 {
        let session = Script::new(u64::from(number)).session();
        ensure_eq!(store.by_key([number; 32]).await?, Some(session), "the holder of key {number}");
    }
    ensure_eq!(store.by_key([6; 32]).await?, None, "the holder of a key that nobody has");
    Ok(())
}

/// A key that is taken is refused with its holder, and the session is not made.
pub async fn a_taken_key_is_refused_with_its_holder(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let holder = Script::new(1).session();
    store.commit(Commit { key: Some([1; 32]), ..Script::new(1).say("first") }).await?;
    let second = Commit { key: Some([1; 32]), ..Script::new(2).say("second") };
    ensure_refused!(
        store.commit(second).await,
        StoreError::KeyTaken { session } if session == holder,
        "a second session with the key"
    );
    ensure_eq!(store.head(Script::new(2).session()).await?, None, "the head of the second session");
    ensure_eq!(store.by_key([1; 32]).await?, Some(holder), "the holder");
    store.commit(Commit { key: Some([2; 32]), ..Script::new(2).say("second") }).await?;
    Ok(())
}

/// A queued key is taken already.
pub async fn a_queued_key_is_taken(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let first = Started::new(store.commit(Commit { key: Some([1; 32]), ..Script::new(1).say("first") }));
    let second = Started::new(store.commit(Commit { key: Some([1; 32]), ..Script::new(2).say("second") }));
    ensure_refused!(second.finish().await, StoreError::KeyTaken { .. }, "a session with a queued key");
    first.finish().await?;
    Ok(())
}

/// A key comes with the first commit only.
pub async fn a_key_comes_with_the_first_commit(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("first")).await?;
    let later = Commit { key: Some([1; 32]), ..script.clone().say("later") };
    ensure_refused!(store.commit(later).await, StoreError::Malformed { .. }, "a key on a later commit");
    ensure_eq!(store.by_key([1; 32]).await?, None, "the holder of a refused key");
    store.commit(script.say("later")).await?;
    Ok(())
}

/// A claim names what was given, its record and the append it was made in.
pub async fn a_claim_names_its_record_and_append(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say_many(4)).await?;
    let claims: Vec<Claim> = (0..3).map(|n| Claim { key: [n; 32], payload: [n + 10; 32], offset: n.into() }).collect();
    store.commit(Commit { claims, ..script.say_many(3) }).await?;
    store.commit(script.say("later")).await?;
    for n in 0..3_u8 {
        let expected = StoredClaim { payload: [n + 10; 32], seq: 5 + u64::from(n), version: 7 };
        ensure_eq!(store.claim(script.session(), [n; 32]).await?, Some(expected), "claim {n}");
    }
    ensure_eq!(store.claim(script.session(), [3; 32]).await?, None, "a claim that nobody made");
    Ok(())
}

/// A claim of a session is none of another.
pub async fn claims_are_of_one_session(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for number in 1..=3_u8 {
        let claims = vec![Claim { payload: [number; 32], ..CLAIM }];
        store.commit(Commit { claims, ..Script::new(u64::from(number)).say("claimed") }).await?;
    }
    store.commit(Script::new(4).say("unclaimed")).await?;
    for number in 1..=3_u8 {
        let claim = store.claim(Script::new(u64::from(number)).session(), CLAIM.key).await?;
        ensure_eq!(claim.map(|claim| claim.payload), Some([number; 32]), "the claim of session {number}");
    }
    ensure_eq!(store.claim(Script::new(4).session(), CLAIM.key).await?, None, "the claim of a session without one");
    Ok(())
}

/// A queued claim is known before its commit is answered.
pub async fn a_queued_claim_is_known(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("first")).await?;
    let mut commit = Commit { claims: vec![CLAIM], ..script.say_many(2) };
    commit.durability = store.strongest();
    let queued = Started::new(store.commit(commit));
    let expected = StoredClaim { payload: CLAIM.payload, seq: 2, version: 3 };
    ensure_eq!(store.claim(script.session(), CLAIM.key).await?, Some(expected), "the claim of a queued commit");
    queued.finish().await?;
    ensure_eq!(store.claim(script.session(), CLAIM.key).await?, Some(expected), "the claim once answered");
    Ok(())
}

/// An idempotency key is claimed once in a session: a caller that claims it again did not look, which is its bug.
pub async fn a_claim_is_made_once(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(Commit { claims: vec![CLAIM], ..script.say("first") }).await?;
    let made = store.claim(script.session(), CLAIM.key).await?;
    for payload in [CLAIM.payload, [99; 32]] {
        let again = Commit { claims: vec![Claim { payload, ..CLAIM }], ..script.clone().say("again") };
        ensure_refused!(store.commit(again).await, StoreError::Malformed { .. }, "a claim that was made before");
    }
    let other = Claim { key: [7; 32], ..CLAIM };
    let twice = Commit { claims: vec![other.clone(), other], ..script.clone().say("twice") };
    ensure_refused!(store.commit(twice).await, StoreError::Malformed { .. }, "a claim twice in one commit");
    ensure_eq!(store.claim(script.session(), CLAIM.key).await?, made, "the claim");
    ensure_eq!(store.head(script.session()).await?.map(|head| head.version), Some(1), "the version");
    Ok(())
}

/// A stale commit is a conflict first: whoever lost a race learns that, and then finds the claim.
pub async fn a_conflict_comes_before_a_doubled_claim(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.say("first")).await?;
    let rival = Commit { claims: vec![CLAIM], ..script.clone().say("rival") };
    store.commit(Commit { claims: vec![CLAIM], ..script.say("winner") }).await?;
    ensure_refused!(
        store.commit(rival).await,
        StoreError::Conflict { .. },
        "a stale commit with a claim that was made"
    );
    Ok(())
}

/// A claim stands for a record of its commit.
pub async fn a_claim_beyond_the_records_is_malformed(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    for offset in [2, 3, u32::MAX] {
        let commit = Commit { claims: vec![Claim { offset, ..CLAIM }], ..Script::new(1).say_many(2) };
        ensure_refused!(
            store.commit(commit).await,
            StoreError::Malformed { .. },
            "a claim for record {offset} of 0 and 1"
        );
    }
    ensure_eq!(store.head(Script::new(1).session()).await?, None, "the head");
    Ok(())
}
