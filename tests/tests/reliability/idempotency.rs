//! A retry after an answer that was lost gives the first receipt again and writes nothing, whoever asks and whenever.

use std::{collections::HashMap, path::Path, sync::Arc};

use sessions_app::{Append, AppendOutcome, NewSession, Receipt, Session, SessionError};
use sessions_domain::{Event, Message, SessionId, codec};
use sessions_infra::MemoryStore;
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::{Call, Fault, FaultyStore, Injected, When};

use crate::{
    ground::{Dice, Host, due, folder, opened, polled, run, seed},
    usecase::check_chain,
};

const KEYS: usize = 2_500;
/// The store is opened anew after so many keys.
const ROUND: usize = 250;

fn keyed(number: usize) -> Append {
    Append::from(Message::user(format!("wish {number}"))).idempotency_key(format!("key-{number}"))
}

/// What must be the same in every receipt of one append.
fn same(receipt: &Receipt) -> (sessions_domain::MessageId, u64, u64, sessions_domain::CommitHash) {
    (receipt.message, receipt.seq, receipt.version, receipt.head)
}

struct Retries {
    dice: Dice,
    receipts: HashMap<usize, Receipt>,
    retries: usize,
    lost: [usize; 4],
}

impl Retries {
    /// Appends so that the answer does not arrive, in one of the ways in which that happens.
    async fn lose(&mut self, faulty: &FaultyStore, session: &Session, number: usize) {
        let way = self.dice.below(4);
        let fault = |call, when| Fault { call: Some(call), nth: 1, when, answer: Injected::Unavailable };
        match way {
            0 => faulty.fail(fault(Call::Commit, When::After)),
            1 => faulty.fail(fault(Call::Commit, When::Before)),
            2 => faulty.fail(fault(Call::Claim, When::After)),
            _ => {}
        }
        if way == 3 {
            let polls = 1 + self.dice.below(12);
            self.lost[way] += usize::from(polled(polls, session.append(keyed(number))).await.is_none());
        } else {
            let before = faulty.struck();
            // Where the append itself finds that its claim was made, the first answer that arrives is its receipt.
            if let Ok(receipt) = session.append(keyed(number)).await {
                self.receipts.insert(number, receipt);
            }
            self.lost[way] += usize::from(faulty.struck() > before);
        }
        faulty.heal();
    }

    async fn retry(&mut self, session: &Session, number: usize) {
        self.retries += 1;
        let receipt = due("a retry", session.append(keyed(number))).await.unwrap();
        match self.receipts.get(&number) {
            Some(first) => {
                assert_eq!(receipt.outcome, AppendOutcome::Replayed, "key {number}");
                assert_eq!(same(&receipt), same(first), "key {number}");
            }
            None => {
                self.receipts.insert(number, receipt);
            }
        }
    }

    async fn round(
        &mut self,
        store: &Arc<dyn SessionLog>,
        host: &Host,
        id: SessionId,
        numbers: std::ops::Range<usize>,
    ) {
        // Answers that take their time, so that a future can be dropped before they come.
        let faulty = [0, 1].map(|_| FaultyStore::hesitating(Arc::clone(store)));
        let sessions = faulty.clone().map(|faulty| host.manager(Arc::new(faulty), Durability::Process));
        let sessions = [sessions[0].load(id).await.unwrap(), sessions[1].load(id).await.unwrap()];
        for number in numbers {
            let mine = number % 2;
            self.lose(&faulty[mine], &sessions[mine], number).await;
            self.retry(&sessions[1 - mine], number).await;
            let before = self.dice.below(number + 1);
            self.retry(&sessions[mine], before).await;
            let other = Append::from(Message::user("something else")).idempotency_key(format!("key-{before}"));
            let reused = sessions[self.dice.below(2)].append(other).await;
            assert!(matches!(reused, Err(SessionError::KeyReused)), "{reused:?}");
        }
    }

    async fn finish(&self, store: &Arc<dyn SessionLog>, id: SessionId) {
        let mut wishes: HashMap<String, Vec<u64>> = HashMap::new();
        for record in check_chain(store.as_ref(), id).await {
            let (event, _) = codec::decode(record.kind, &record.payload[32..]).unwrap();
            if let Event::Appended(appended) = event {
                wishes.entry(appended.message.text()).or_default().push(record.seq);
            }
        }
        assert_eq!(wishes.len(), KEYS, "nothing else was written");
        for (number, receipt) in &self.receipts {
            assert_eq!(wishes[&format!("wish {number}")], [receipt.seq], "one record for key {number}");
        }
        println!("{} retries, answers lost {:?}", self.retries, self.lost);
        assert!(self.retries >= 5_000);
        assert!(self.lost.iter().all(|lost| *lost > 50), "{:?}", self.lost);
    }
}

fn retries(path: Option<&Path>) {
    let seed = seed("idempotency");
    let host = Host::seeded(seed);
    let mut retries = Retries { dice: Dice::new(seed), receipts: HashMap::new(), retries: 0, lost: [0; 4] };
    run(2, async {
        let memory = MemoryStore::pretending(Durability::Disk);
        let mut store = opened(path, &memory).await;
        let first = host.manager(Arc::clone(&store), Durability::Process);
        let id = first.create(NewSession::titled("retries")).await.unwrap().id();
        for round in 0..KEYS / ROUND {
            retries.round(&store, &host, id, round * ROUND..(round + 1) * ROUND).await;
            if path.is_some() {
                store.close().await.unwrap();
                drop(store);
                store = opened(path, &memory).await;
            }
        }
        retries.finish(&store, id).await;
        store.close().await.unwrap();
    });
}

#[test]
fn a_retry_gives_the_first_receipt_in_memory() {
    retries(None);
}

#[test]
fn a_retry_gives_the_first_receipt_on_the_default_store() {
    let folder = folder();
    retries(Some(folder.path()));
}
