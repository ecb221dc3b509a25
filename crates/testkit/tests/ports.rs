//! The laws of the smaller ports, and those of what a store is said to be able to, can fail: one flaw each, and the law that catches it.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use async_trait::async_trait;
use sessions_domain::{LineageId, MessageId, Moment, SessionId};
use sessions_infra::MemoryStore;
use sessions_ports::{Clock, Durability, Entropy, EntropyError, IdGenerator, SessionLog, StoreError, TokenCounter};
use sessions_testkit::{Capabilities, FixedEntropy, Fixture, Owners, Report, Suite};

fn caught(report: &Report, law: &str) {
    assert!(report.broke(law), "{law} did not see it: {report}");
    let violation = report.violations.iter().find(|violation| violation.law == law).unwrap();
    assert!(!violation.demands.is_empty() && !violation.seen.is_empty());
}

struct Seconds;

impl Clock for Seconds {
    fn now(&self) -> Moment {
        Moment::from_millis(1_767_268_800)
    }
}

/// Goes back with every second call.
#[derive(Default)]
struct Trembling(AtomicI64);

impl Clock for Trembling {
    fn now(&self) -> Moment {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        Moment::from_millis(1_767_268_800_000 + n % 2)
    }
}

#[test]
fn clocks_are_caught() {
    caught(&Suite::clock(async || Seconds).report(), "clock::the_time_is_of_this_age");
    caught(&Suite::clock(async || Seconds).report(), "clock::many_may_ask_at_once");
    caught(&Suite::clock(async || Trembling::default()).report(), "clock::time_goes_on_or_stands");
}

/// The id is the moment and a number; what is wrong with the number is the flaw.
struct Numbered(fn(&AtomicU64, Moment) -> (u64, u128), AtomicU64);

impl Numbered {
    fn next(&self, now: Moment) -> (u64, u128) {
        (self.0)(&self.1, now)
    }
}

impl IdGenerator for Numbered {
    fn session(&self, now: Moment) -> SessionId {
        let (millis, random) = self.next(now);
        SessionId::from_parts(millis, random)
    }

    fn message(&self, now: Moment) -> MessageId {
        let (millis, random) = self.next(now);
        MessageId::from_parts(millis, random)
    }

    fn lineage(&self, now: Moment) -> LineageId {
        let (millis, random) = self.next(now);
        LineageId::from_parts(millis, random)
    }
}

fn millis(now: Moment) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0) & ((1 << 48) - 1)
}

fn ids(next: fn(&AtomicU64, Moment) -> (u64, u128)) -> Report {
    Suite::ids(async move || Numbered(next, AtomicU64::new(1 << 40))).report()
}

#[test]
fn generators_are_caught() {
    caught(&ids(|_, now| (millis(now), 7)), "ids::ids_are_unique");
    caught(&ids(|_, now| (millis(now), 7)), "ids::extreme_moments_give_ids");
    caught(&ids(|count, now| (millis(now), count.fetch_sub(1, Ordering::SeqCst).into())), "ids::ids_ascend");
    // Unique and ascending as long as the clock does.
    let by_clock = ids(|count, now| (millis(now), count.fetch_add(1, Ordering::SeqCst).into()));
    caught(&by_clock, "ids::ids_ascend_when_the_clock_goes_back");
    assert!(!by_clock.broke("ids::ids_ascend") && !by_clock.broke("ids::ids_are_unique"), "{by_clock}");
    // Looks and adds in two steps.
    let racy = ids(|count, _| {
        let next = count.load(Ordering::SeqCst);
        std::thread::yield_now();
        count.store(next + 1, Ordering::SeqCst);
        (0, next.into())
    });
    caught(&racy, "ids::a_race_gives_no_id_twice");
}

/// Draws well, and then does what is wrong.
struct Spoilt(fn(&mut [u8]), FixedEntropy);

impl Entropy for Spoilt {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if bytes.is_empty() {
            return Err(EntropyError);
        }
        self.1.fill(bytes)?;
        (self.0)(bytes);
        Ok(())
    }
}

#[test]
fn sources_of_randomness_are_caught() {
    let spoilt = |spoil: fn(&mut [u8])| Suite::entropy(async move || Spoilt(spoil, FixedEntropy::seeded(1))).report();
    caught(&spoilt(|bytes| *bytes.last_mut().unwrap() = 0), "entropy::every_byte_is_filled");
    caught(&spoilt(|bytes| bytes.fill(9)), "entropy::no_two_draws_are_alike");
    caught(&spoilt(|bytes| bytes.fill(9)), "entropy::a_race_gives_each_its_own");
    caught(&spoilt(|_| ()), "entropy::nothing_is_asked_for_nothing");
}

struct Counting(fn(&str, u64) -> u64, AtomicU64);

impl TokenCounter for Counting {
    fn encoding(&self) -> &str {
        "counting"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn count(&self, text: &str) -> u64 {
        (self.0)(text, self.1.fetch_add(1, Ordering::SeqCst))
    }
}

/// Says another name, or another exactness, with each call.
struct Fickle(&'static [&'static str], [AtomicU64; 2]);

impl TokenCounter for Fickle {
    fn encoding(&self) -> &str {
        let at = self.1[0].fetch_add(1, Ordering::SeqCst) as usize % self.0.len();
        self.0.get(at).copied().unwrap_or_default()
    }

    fn is_exact(&self) -> bool {
        self.0.len() == 1 && self.1[1].fetch_add(1, Ordering::SeqCst).is_multiple_of(2)
    }

    fn count(&self, text: &str) -> u64 {
        text.len() as u64
    }
}

#[test]
fn counters_are_caught() {
    let counting =
        |count: fn(&str, u64) -> u64| Suite::tokens(async move || Counting(count, AtomicU64::new(0))).report();
    assert!(counting(|text, _| text.len() as u64).violations.is_empty());
    caught(&counting(|_, calls| calls), "tokens::a_text_has_one_count");
    caught(&counting(|text, _| text.len() as u64 + 4), "tokens::only_the_empty_text_has_no_tokens");
    // Leaves the blanks out, and what looks like a special token.
    caught(&counting(|text, _| text.trim().len() as u64), "tokens::only_the_empty_text_has_no_tokens");
    caught(
        &counting(|text, _| text.split("<|").next().map_or(0, str::len) as u64),
        "tokens::only_the_empty_text_has_no_tokens",
    );
    caught(&counting(|text, _| text.len() as u64 % 1_000), "tokens::a_word_more_is_not_a_token_less");
    caught(&counting(|text, _| (text.len() as u64).min(1_000)), "tokens::a_long_text_has_more_than_a_short_one");
    for names in [&["one", "two"][..], &[""], &["two words"], &["exact"]] {
        let report = Suite::tokens(async move || Fickle(names, Default::default())).report();
        caught(&report, "tokens::its_encoding_has_one_name");
    }
    // Never ends with a long text that has no blanks.
    let endless = Suite::tokens(async || {
        let park = |text: &str, _| {
            if text.len() > 1_000_000 && !text.contains("word") {
                std::thread::park();
            }
            text.len() as u64
        };
        Counting(park, AtomicU64::new(0))
    });
    let patience = std::time::Duration::from_millis(500);
    let report = endless.patience(patience).report();
    caught(&report, "tokens::no_text_keeps_it_busy");
    assert_eq!(report.violations.len(), 1, "{report}");
}

/// A store in memory, said to be something else, with a fixture that shows what it is told to.
#[derive(Clone, Copy)]
struct Said {
    capabilities: Capabilities,
    shows: bool,
}

struct Liar(Said, MemoryStore);

#[async_trait]
impl Fixture for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    async fn open(&self) -> Arc<dyn SessionLog> {
        Arc::new(self.1.clone())
    }

    async fn second(&self) -> Arc<dyn SessionLog> {
        self.open().await
    }

    async fn reopen(&self, _store: Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        // Another store, which has nothing of the one before.
        self.0.shows.then(|| Arc::new(MemoryStore::new()) as Arc<dyn SessionLog>)
    }

    async fn killed(&self, store: &Arc<dyn SessionLog>) -> Option<Arc<dyn SessionLog>> {
        self.reopen(Arc::clone(store)).await
    }

    async fn again(&self) -> Option<Result<Arc<dyn SessionLog>, StoreError>> {
        self.0.shows.then(|| Ok(Arc::new(MemoryStore::new()) as Arc<dyn SessionLog>))
    }
}

#[test]
fn what_is_said_and_is_not_so_is_caught() {
    let memory = Capabilities::in_memory();
    let report = |capabilities, shows| {
        let said = Said { capabilities, shows };
        Suite::new(async move || Liar(said, MemoryStore::new())).only("capabilities").report()
    };
    let level = Capabilities { strongest: Durability::Disk, ..memory };
    caught(&report(level, false), "capabilities::the_strongest_level_is_the_one_that_is_said");
    for shows in [false, true] {
        let reopens = Capabilities { reopens: true, ..memory };
        caught(&report(reopens, shows), "capabilities::what_reopens_is_said_to");
        let survives = Capabilities { survives_kill: true, ..memory };
        caught(&report(survives, shows), "capabilities::what_survives_a_kill_is_said_to");
        for owners in [Owners::One, Owners::Many] {
            let owned = Capabilities { owners, ..memory };
            caught(&report(owned, shows), "capabilities::a_store_has_as_many_owners_as_it_says");
        }
    }
    // What it can and does not say is not so either.
    for law in ["what_reopens_is_said_to", "what_survives_a_kill_is_said_to", "a_store_has_as_many_owners_as_it_says"] {
        caught(&report(memory, true), &format!("capabilities::{law}"));
    }
}

/// A store that has lost everything breaks each law of survival.
#[test]
fn what_a_kill_takes_along_is_caught() {
    let said = Said { capabilities: Capabilities { survives_kill: true, ..Capabilities::in_memory() }, shows: true };
    let report = Suite::new(async move || Liar(said, MemoryStore::new())).only("survival").report();
    assert!(report.kept.is_empty() && report.skipped.is_empty() && report.violations.len() >= 5, "{report}");
}

/// A store that blocks its thread, where no timer reaches it, is left behind, and the other laws are tried.
#[test]
fn who_blocks_hides_no_other() {
    struct Blocks(AtomicU64);
    impl Clock for Blocks {
        fn now(&self) -> Moment {
            if self.0.fetch_add(1, Ordering::SeqCst) == 500 {
                std::thread::park();
            }
            Moment::from_millis(1_767_268_800_000)
        }
    }
    let suite = Suite::clock(async || Blocks(AtomicU64::new(0))).patience(std::time::Duration::from_millis(500));
    let report = suite.report();
    caught(&report, "clock::time_goes_on_or_stands");
    assert_eq!(report.kept, ["clock::the_time_is_of_this_age"], "{report}");
}
