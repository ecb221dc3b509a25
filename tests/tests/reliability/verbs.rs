//! Whatever changes a session is made once under a key: a retry after an answer that was lost, by another writer too, gives the first outcome
//! and writes nothing.

use std::sync::Arc;

use sessions_app::{At, Session, SessionError};
use sessions_domain::{Json, Message, MessageId, SessionStatus};
use sessions_infra::MemoryStore;
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::{Call, Fault, FaultyStore, Injected, When};

use crate::{
    ground::{Dice, Host, beside_other_keys, due, folder, open, open_sealed, run, seed},
    usecase::check_chain,
};

/// Wishes, each of which is tried, lost on its way, and tried again by two writers.
const WISHES: usize = 2_500;

/// A change, as a wish that can be made again.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Undo(u64),
    Redo(u64),
    Clear,
    Checkout(u64),
    CheckoutAt(u64),
    Edit(MessageId, u64),
    Rename(u64),
    Update(u64),
    Status(SessionStatus),
    Pin(MessageId, bool),
    Checkpoint(u64),
    State(u64),
    Touch,
}

impl Wish {
    fn any(dice: &mut Dice, message: MessageId, version: u64) -> Self {
        let some = 1 + dice.below(3) as u64;
        match dice.below(13) {
            0 => Self::Undo(some),
            1 => Self::Redo(some),
            2 => Self::Clear,
            3 => Self::Checkout(0),
            4 => Self::CheckoutAt(1 + dice.below(version as usize) as u64),
            5 => Self::Edit(message, some),
            6 => Self::Rename(dice.number()),
            7 => Self::Update(dice.number()),
            8 => Self::Status(if dice.chance(50) { SessionStatus::Active } else { SessionStatus::Paused }),
            9 => Self::Pin(message, dice.chance(50)),
            10 => Self::Checkpoint(dice.number()),
            11 => Self::State(dice.number()),
            _ => Self::Touch,
        }
    }

    /// The outcome in words, for two of them to be compared.
    async fn make(self, session: &Session) -> Result<String, SessionError> {
        let moved = |receipt: sessions_app::MoveReceipt| {
            let sessions_app::MoveReceipt { version, moved_to, steps, messages, head, .. } = receipt;
            format!("{version} {moved_to} {steps} {messages} {head}")
        };
        Ok(match self {
            Self::Undo(steps) => moved(session.undo(steps).await?),
            Self::Redo(steps) => moved(session.redo(steps).await?),
            Self::Clear => moved(session.clear().await?),
            Self::Checkout(branch) => moved(session.checkout(branch).await?),
            Self::CheckoutAt(version) => moved(session.checkout_at(At::Version(version)).await?),
            Self::Edit(message, text) => {
                let receipt = session.edit(message, Message::user(text.to_string())).await?;
                format!("{} {} {}", receipt.message, receipt.version, receipt.head)
            }
            Self::Rename(title) => session.rename(title.to_string()).await?.to_string(),
            Self::Update(mode) => {
                session.update(|draft| draft.metadata.mode = Some(mode.to_string())).await?.to_string()
            }
            Self::Status(to) => session.set_status(to).await?.to_string(),
            Self::Pin(message, pinned) => session.pin(message, pinned).await?.to_string(),
            Self::Checkpoint(name) => session.checkpoint(&name.to_string(), At::Now).await?.to_string(),
            Self::State(value) => session.set_state("key", Json::of(&value).unwrap()).await?.to_string(),
            Self::Touch => {
                session.touch().await?;
                String::new()
            }
        })
    }
}

async fn retries(store: Arc<dyn SessionLog>, host: &Host, mut dice: Dice) {
    let faulty = [0, 1].map(|_| FaultyStore::over(Arc::clone(&store)));
    let managers = faulty.clone().map(|faulty| host.manager(Arc::new(faulty), Durability::Process));
    let session = managers[0].open_or_create("once").await.unwrap();
    let other = managers[1].load(session.id()).await.unwrap();
    let (mut lost, mut made, mut refused) = (0, 0, 0);
    for number in 0..WISHES {
        if dice.chance(60) && session.status().await.unwrap() == SessionStatus::Active {
            session.append(Message::user(number.to_string())).await.unwrap();
        }
        let Some(message) = session.last(5).await.unwrap().pop().map(|message| message.id) else { continue };
        let before = session.version().await.unwrap();
        let wish = Wish::any(&mut dice, message, before);
        let key = format!("wish-{number}");
        let when = if dice.chance(50) { When::After } else { When::Before };
        let call = if dice.chance(70) { Call::Commit } else { Call::Claim };
        faulty[0].fail(Fault { call: Some(call), nth: 1 + dice.below(2) as u64, when, answer: Injected::Unavailable });
        let before_loss = faulty[0].struck();
        let first = wish.make(&session.once(key.as_str())).await;
        lost += usize::from(faulty[0].struck() > before_loss);
        faulty[0].heal();
        let again = due("a retry", wish.make(&other.once(key.as_str()))).await;
        let version = other.version().await.unwrap();
        assert!(version <= before + 1, "{wish:?} was written twice");
        match (&first, &again) {
            (Ok(first), Ok(again)) if version == before + 1 => assert_eq!(first, again, "{wish:?}"),
            (Err(error), Ok(_)) => assert!(error.is_transient(), "{wish:?}: {error}"),
            (_, Err(SessionError::Rule(_))) => refused += 1,
            (_, Err(error)) => panic!("{wish:?}: {error}"),
            _ => {}
        }
        if let Ok(again) = &again
            && version == before + 1
        {
            made += 1;
            let third = due("another retry", wish.make(&session.once(key.as_str()))).await.unwrap();
            assert_eq!((&third, session.version().await.unwrap()), (again, version), "{wish:?}");
            let reused = session.once(key.as_str()).rename(format!("another wish {number}")).await;
            assert!(matches!(reused, Err(SessionError::KeyReused)), "{reused:?}");
        }
    }
    check_chain(store.as_ref(), session.id()).await;
    println!("{made} changes made once, {refused} refused, {lost} answers lost");
    assert!(made > WISHES / 3 && lost > WISHES / 4, "{made} made, {lost} lost");
}

#[test]
fn every_change_is_made_once_in_memory() {
    let seed = seed("verbs");
    let store = Arc::new(MemoryStore::pretending(Durability::Disk));
    run(2, async { retries(store, &Host::seeded(seed), Dice::new(seed)).await });
}

#[test]
fn every_change_is_made_once_on_the_default_store() {
    let seed = seed("verbs");
    run(2, async {
        let folder = folder();
        let store = Arc::new(open(folder.path()).await);
        retries(Arc::clone(&store) as _, &Host::seeded(seed), Dice::new(seed)).await;
        store.close().await.unwrap();
    });
}

#[test]
fn every_change_is_made_once_on_the_sealed_store_while_its_keys_change() {
    let seed = seed("verbs");
    run(2, async {
        let folder = folder();
        let store = open_sealed(folder.path(), 1).await;
        let host = Host::seeded(seed);
        beside_other_keys(&store, retries(Arc::new(store.clone()), &host, Dice::new(seed))).await;
        store.close().await.unwrap();
    });
}
