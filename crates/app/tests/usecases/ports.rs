//! What happens when a port other than the store refuses, and how often ports are called.

use std::sync::Arc;

use mockall::mock;
use sessions_app::{Append, AppendOutcome, ErrorKind, NewSession, Ports, SessionError, SessionManager};
use sessions_domain::{Message, MessagePart, Moment};
use sessions_infra::MemoryStore;
use sessions_ports::{Clock, Entropy, EntropyError};
use sessions_testkit::{Call, FaultyStore};

use crate::ground;

mock! {
    Randomness {}
    impl Entropy for Randomness {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
    }
}

mock! {
    Time {}
    impl Clock for Time {
        fn now(&self) -> Moment;
    }
}

fn manager(entropy: MockRandomness, clock: MockTime) -> SessionManager {
    let others = ground::ports(MemoryStore::new());
    ground::with(Ports { clock: Arc::new(clock), entropy: Arc::new(entropy), ..others })
}

fn ticking() -> MockTime {
    let mut clock = MockTime::new();
    clock.expect_now().returning(|| Moment::from_millis(1_763_690_000_000));
    clock
}

#[tokio::test]
async fn without_random_bytes_nothing_is_written() {
    let mut entropy = MockRandomness::new();
    entropy.expect_fill().times(1).returning(|_| Ok(()));
    entropy.expect_fill().times(1).returning(|_| Err(EntropyError));
    entropy.expect_fill().times(1).returning(|_| Ok(()));
    let sessions = manager(entropy, ticking());
    let chat = sessions.create(NewSession::titled("t")).await.unwrap();
    let refused = chat.append(Message::user("one")).await.unwrap_err();
    assert!(matches!(refused, SessionError::Entropy(EntropyError)));
    assert_eq!(refused.kind(), ErrorKind::Failed);
    assert_eq!(chat.version().await.unwrap(), 1);
    assert_eq!(chat.append(Message::user("two")).await.unwrap().version, 2);
    assert_eq!(chat.last(9).await.unwrap().len(), 1);
}

/// One blind a record: a replayed append draws none.
#[tokio::test]
async fn a_replay_draws_no_randomness() {
    let mut entropy = MockRandomness::new();
    entropy.expect_fill().times(2).returning(|_| Ok(()));
    let sessions = manager(entropy, ticking());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    let append = || Append::from(Message::user("once")).idempotency_key("k");
    let first = chat.append(append()).await.unwrap();
    let again = chat.append(append()).await.unwrap();
    assert_eq!((first.message, first.version), (again.message, again.version));
    assert_eq!((first.outcome, again.outcome), (AppendOutcome::Inserted, AppendOutcome::Replayed));
}

#[tokio::test]
async fn two_that_use_one_key_at_once_write_one_record() {
    let mut entropy = MockRandomness::new();
    entropy.expect_fill().returning(|_| Ok(()));
    let sessions = manager(entropy, ticking());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    let append = || chat.append(Append::from(Message::user("once")).idempotency_key("k"));
    let receipts = tokio::join!(append(), append(), append());
    let versions = [receipts.0.unwrap().version, receipts.1.unwrap().version, receipts.2.unwrap().version];
    assert_eq!(versions, [2, 2, 2]);
}

/// A call of many results, each in a message of its own, is found again by reads that grow with it.
#[tokio::test]
async fn the_calls_of_a_long_step_are_known_again_by_few_reads() {
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let sessions = ground::manager(store.clone());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    let ids: Vec<String> = (0..600).map(|number| format!("call {number}")).collect();
    let call = |message: Message, id: &String| message.with(MessagePart::tool_call(id, "tool", "{}").unwrap());
    chat.append(ids.iter().fold(Message::assistant("all at once"), call)).await.unwrap();
    chat.append(Append::all(ids.iter().map(|id| Message::tool_result(id, "done")))).await.unwrap();
    chat.append(Message::user("no")).await.unwrap();
    chat.undo(1).await.unwrap();
    let before = store.calls(Call::Read);
    chat.append(Message::user("yes")).await.unwrap();
    let reads = store.calls(Call::Read) - before;
    assert!(reads < 10, "{reads} reads");
}
