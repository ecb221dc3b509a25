//! The conformance suite: runs the laws, each on a subject of its own, and lets none pass silently.
//!
//! Must not know: what the laws say.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use futures_util::{FutureExt, future::LocalBoxFuture};
use sessions_ports::{Clock, Entropy, IdGenerator, StoreError, TokenCounter};
use tokio::sync::oneshot;

use crate::{
    fixture::Fixture,
    report::{Inapplicable, Report, Verdict, Violation},
};

/// Why a law did not simply hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exception {
    /// The subject broke it.
    Broken {
        /// What it did.
        detail: String,
    },
    /// The law says nothing about this subject.
    Skipped {
        /// Why not.
        why: String,
    },
}

impl Exception {
    /// A broken law.
    pub fn broken(detail: impl Into<String>) -> Self {
        Self::Broken { detail: detail.into() }
    }

    /// A law that does not apply.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped { why: why.into() }
    }
}

impl From<StoreError> for Exception {
    fn from(error: StoreError) -> Self {
        Self::broken(format!("the store answered: {error}"))
    }
}

/// What a law gives back.
pub type Outcome = Result<(), Exception>;

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// One law, by name. `P` is what it is about: a store's [`Fixture`], or another port.
pub struct Law<P: ?Sized = dyn Fixture> {
    /// Its group and name, as in `commits::creating_twice_is_refused`.
    pub name: &'static str,
    /// Tries it.
    pub run: for<'a> fn(&'a P) -> Running<'a>,
    /// The file that it stands in, for the words above it.
    #[doc(hidden)]
    pub source: &'static str,
}

impl<P: ?Sized> Law<P> {
    /// What it demands, in the words that stand above it.
    pub fn demands(&self) -> String {
        let function = self.name.rsplit("::").next().unwrap_or_default();
        let begins = format!("pub async fn {function}(");
        let before = self.source.lines().take_while(|line| !line.starts_with(&begins));
        let words = before.fold(Vec::new(), |mut words, line| {
            match line.strip_prefix("///") {
                Some(word) => words.push(word.trim()),
                None => words.clear(),
            }
            words
        });
        words.join(" ")
    }
}

impl<P: ?Sized> Clone for Law<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: ?Sized> Copy for Law<P> {}

impl<P: ?Sized> fmt::Debug for Law<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Law({})", self.name)
    }
}

/// How long a law may take before its subject counts as stuck. Far above what any needs, so that it says nothing about speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much longer a thread is waited for that should have ended by itself: it is blocked where no timer reaches it.
const GRACE: Duration = Duration::from_secs(5);

/// What the laws are tried on, and its name.
struct Subject<P: ?Sized> {
    name: String,
    it: Box<P>,
}

type Make<P> = Arc<dyn Fn() -> LocalBoxFuture<'static, Subject<P>> + Send + Sync>;

/// All laws of one port, and something to make what they are tried on.
///
/// Each law gets a subject, a thread and a runtime of its own: one that panics or hangs is broken, and hides no other.
pub struct Suite<P: ?Sized + 'static = dyn Fixture> {
    laws: Vec<Law<P>>,
    make: Make<P>,
    patience: Duration,
}

impl Suite<dyn Fixture> {
    /// The laws of a store, over what the closure makes. It is called once for each law.
    pub fn new<F: Fixture + 'static>(make: impl AsyncFn() -> F + Send + Sync + 'static) -> Self {
        Self::over(LAWS, make, |fixture| Subject { name: fixture.name().to_owned(), it: Box::new(fixture) })
    }
}

impl Suite<dyn Clock> {
    /// The laws of a clock.
    pub fn clock<C: Clock + 'static>(make: impl AsyncFn() -> C + Send + Sync + 'static) -> Self {
        Self::over(CLOCK_LAWS, make, |clock| Subject { name: named::<C>(), it: Box::new(clock) })
    }
}

impl Suite<dyn IdGenerator> {
    /// The laws of a generator of ids.
    pub fn ids<G: IdGenerator + 'static>(make: impl AsyncFn() -> G + Send + Sync + 'static) -> Self {
        Self::over(ID_LAWS, make, |ids| Subject { name: named::<G>(), it: Box::new(ids) })
    }
}

impl Suite<dyn Entropy> {
    /// The laws of a source of randomness.
    pub fn entropy<E: Entropy + 'static>(make: impl AsyncFn() -> E + Send + Sync + 'static) -> Self {
        Self::over(ENTROPY_LAWS, make, |entropy| Subject { name: named::<E>(), it: Box::new(entropy) })
    }
}

impl Suite<dyn TokenCounter> {
    /// The laws of a counter of tokens.
    pub fn tokens<T: TokenCounter + 'static>(make: impl AsyncFn() -> T + Send + Sync + 'static) -> Self {
        Self::over(TOKEN_LAWS, make, |counter| Subject { name: named::<T>(), it: Box::new(counter) })
    }
}

/// A type by its last name.
fn named<T>() -> String {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name).to_owned()
}

impl<P: ?Sized> Suite<P> {
    fn over<S: 'static>(
        laws: &[Law<P>],
        make: impl AsyncFn() -> S + Send + Sync + 'static,
        subject: impl Fn(S) -> Subject<P> + Copy + Send + Sync + 'static,
    ) -> Self {
        let make = Arc::new(make);
        let make: Make<P> = Arc::new(move || {
            let make = Arc::clone(&make);
            async move { subject(make().await) }.boxed_local()
        });
        Self { laws: laws.to_vec(), make, patience: PATIENCE }
    }

    /// Only the laws whose name begins so: a group, or one law.
    pub fn only(mut self, beginning: &str) -> Self {
        self.laws.retain(|law| law.name.starts_with(beginning));
        self
    }

    /// How long each law may take; two minutes when nothing is said. For subjects that are far away or slow.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Tries all laws and collects how they went, in a thread of its own.
    pub async fn run(self) -> Report {
        let (send, receive) = oneshot::channel();
        let run = move || {
            let report = self.report();
            // Whoever asked may have gone away.
            let _ = send.send(report);
        };
        match thread::Builder::new().name("conformance".to_owned()).spawn(run) {
            Ok(_) => receive.await.unwrap_or_else(|_| Report::of_nothing("the thread of the suite ended")),
            Err(error) => Report::of_nothing(&format!("no thread to run in: {error}")),
        }
    }

    /// The same for whoever does not await. Blocks the thread.
    pub fn report(&self) -> Report {
        let mut report = Report::default();
        for law in &self.laws {
            let (name, verdict) = self.try_one(law);
            if !name.is_empty() {
                report.store = name;
            }
            report.add(law.name, verdict);
        }
        report
    }

    /// Tries one law in a thread of its own, so that one that blocks it is left behind and told of.
    fn try_one(&self, law: &Law<P>) -> (String, Verdict) {
        let (send, receive) = mpsc::channel();
        let (law, make, patience) = (*law, Arc::clone(&self.make), self.patience);
        let trial = move || {
            // Nobody hears it any more when the patience is at its end.
            let _ = send.send(tried(&law, &make, patience));
        };
        let stuck = || broken(&law, format!("no answer within {patience:?}: it is stuck"));
        match thread::Builder::new().name(law.name.to_owned()).spawn(trial) {
            Ok(_) => receive.recv_timeout(patience.saturating_add(GRACE)).unwrap_or_else(|_| (String::new(), stuck())),
            Err(error) => (String::new(), broken(&law, format!("no thread to try it in: {error}"))),
        }
    }
}

impl<P: ?Sized> fmt::Debug for Suite<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("laws", &self.laws.len())
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

fn broken<P: ?Sized>(law: &Law<P>, seen: String) -> Verdict {
    Verdict::Broken(Violation { law: law.name, demands: law.demands(), seen })
}

/// Tries one law on a subject of its own, in a runtime of its own.
fn tried<P: ?Sized>(law: &Law<P>, make: &Make<P>, patience: Duration) -> (String, Verdict) {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return (String::new(), broken(law, format!("no runtime to try it in: {error}"))),
    };
    let trial = async {
        let subject = make().await;
        let outcome = (law.run)(&subject.it).await;
        (subject.name, outcome)
    };
    let guarded = AssertUnwindSafe(async { tokio::time::timeout(patience, trial).await }).catch_unwind();
    let ended = runtime.block_on(guarded);
    runtime.shutdown_background();
    match ended {
        Ok(Ok((name, Ok(())))) => (name, Verdict::Kept),
        Ok(Ok((name, Err(Exception::Skipped { why })))) => {
            (name, Verdict::Skipped(Inapplicable { law: law.name, why }))
        }
        Ok(Ok((name, Err(Exception::Broken { detail })))) => (name, broken(law, detail)),
        Ok(Err(_)) => (String::new(), broken(law, format!("no answer within {patience:?}: it is stuck"))),
        Err(panic) => (String::new(), broken(law, format!("it panicked: {}", said(&*panic)))),
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

/// Tries one law of a store.
pub fn check<F: Fixture + 'static>(law: &Law, make: impl AsyncFn() -> F + Send + Sync + 'static) -> Verdict {
    Suite::new(make).try_one(law).1
}

/// Tries all laws of a store, each on a fixture of its own, and collects how they went. Blocks the thread.
pub fn report<F: Fixture + 'static>(make: impl AsyncFn() -> F + Send + Sync + 'static) -> Report {
    Suite::new(make).report()
}

/// Tries one law, which must hold, or not apply when, and only when, `skips` names it or its group. What [`store_laws!`](crate::store_laws)
/// and its sisters call.
///
/// # Errors
/// The [`Violation`]; that a law does not apply and was not declared so is one.
#[doc(hidden)]
pub fn confirm<P: ?Sized>(suite: &Suite<P>, name: &str, skips: &[&str]) -> Result<(), Violation> {
    let Some(law) = suite.laws.iter().find(|known| known.name == name) else {
        return Err(Violation { law: "", demands: String::new(), seen: format!("there is no law {name}") });
    };
    let violation = |seen| Err(Violation { law: law.name, demands: law.demands(), seen });
    let group = name.split("::").next().unwrap_or_default();
    match (suite.try_one(law).1, skips.iter().any(|skip| *skip == name || *skip == group)) {
        (Verdict::Kept, false) | (Verdict::Skipped(_), true) => Ok(()),
        (Verdict::Kept, true) => violation("it applies and holds, so take it off `skips`".to_owned()),
        (Verdict::Skipped(Inapplicable { why, .. }), false) => {
            violation(format!("it does not apply: {why}. Should that be so, say it: skips: [\"{name}\"]"))
        }
        (Verdict::Broken(violation), _) => Err(violation),
    }
}

/// All laws of a store, in the order of their groups.
pub const LAWS: &[Law] = crate::every_law!(table);
/// All laws of a clock.
pub const CLOCK_LAWS: &[Law<dyn Clock>] = crate::every_clock_law!(table);
/// All laws of a generator of ids.
pub const ID_LAWS: &[Law<dyn IdGenerator>] = crate::every_id_law!(table);
/// All laws of a source of randomness.
pub const ENTROPY_LAWS: &[Law<dyn Entropy>] = crate::every_entropy_law!(table);
/// All laws of a counter of tokens.
pub const TOKEN_LAWS: &[Law<dyn TokenCounter>] = crate::every_token_law!(table);

/// The one list of laws: as a table, or as tests of a fixture.
#[doc(hidden)]
#[macro_export]
macro_rules! every_law {
    ($form:ident $([$($given:tt)*])?) => {
        $crate::expand_laws! { $form $([$($given)*])?
            commits {
                a_first_commit_makes_the_session
                a_session_may_begin_at_any_number
                later_commits_continue_the_log
                sessions_are_apart
                creating_twice_is_refused
                another_version_is_a_conflict
                appending_to_nothing_is_a_conflict
                a_commit_without_records_is_malformed
                a_gap_in_the_numbers_is_malformed
                nothing_is_numbered_zero
                a_commit_that_is_too_large_is_refused
                a_refused_commit_leaves_no_trace
                a_refusal_is_not_the_end
            }
            order {
                places_are_taken_at_the_first_poll
                the_queued_tail_decides
                another_record_of_the_same_number_is_a_conflict
                a_dropped_commit_still_happens
                an_unpolled_commit_does_nothing
                what_is_answered_is_visible
                a_snapshot_is_one_that_was_kept
                readers_never_see_half_a_commit
            }
            reading {
                records_come_back_as_they_were_written
                newest_first_is_the_reverse
                a_range_is_bounded_on_both_ends
                a_log_begins_where_it_begins
                a_page_is_bounded_by_count
                a_page_is_bounded_by_bytes
                elements_only_leaves_out_the_rest
                a_range_without_elements_is_empty
                a_missing_session_has_nothing
                labels_find_their_records
                label_zero_finds_nothing
            }
            claims {
                a_key_leads_to_its_session
                a_taken_key_is_refused_with_its_holder
                a_queued_key_is_taken
                a_key_comes_with_the_first_commit
                a_claim_names_its_record_and_append
                claims_are_of_one_session
                a_queued_claim_is_known
                a_claim_is_made_once
                a_conflict_comes_before_a_doubled_claim
                a_claim_beyond_the_records_is_malformed
            }
            rows {
                a_row_says_what_the_commits_said
                a_session_without_words_has_no_row
                an_empty_store_has_no_rows
                rows_come_in_the_order_of_their_last_change
                pages_of_rows_leave_none_out
                only_what_changed_comes_again
                a_row_that_changes_while_paging_is_given_again
            }
            removal {
                what_is_removed_is_gone
                what_never_was_is_not_removed
                removing_twice_is_fine
                a_removal_says_what_it_took
                an_expected_version_is_asked
                a_key_is_free_again
                a_kept_key_stays_taken
                a_removal_takes_its_place
                a_dropped_removal_still_happens
                who_waits_hears_of_a_removal
                the_feed_tells_of_a_removal_once
                pages_leave_no_removal_out
                what_others_inherit_stays
                the_last_heir_takes_it_along
                a_removed_heir_keeps_nothing_of_others
                heirs_are_known
                nothing_is_inherited_from_what_is_gone
                links_come_with_the_first_commit
                a_removal_is_not_promised_too_much
                a_reopened_store_stays_without
                a_removal_is_seen_through_other_handles
                a_closed_store_removes_nothing
                one_removal_wins
            }
            waiting {
                what_is_there_is_not_waited_for
                a_wait_ends_when_its_version_comes
                a_queued_session_can_be_waited_for
                a_wait_is_for_one_session
                a_dropped_wait_leaves_no_trace
                no_wait_is_forgotten
                two_that_take_turns_never_stall
                waiting_for_a_level_brings_it
                waiting_for_too_much_is_refused
                what_is_queued_is_settled
                a_busy_session_settles
                a_lost_race_is_settled
            }
            durability {
                the_level_that_was_asked_is_reached
                more_than_the_strongest_is_refused
                a_store_has_one_identity
                a_reopened_store_has_all_records
                a_reopened_store_has_all_names
                a_reopened_store_has_all_rows
                a_reopened_store_goes_on
            }
            close {
                a_closed_store_says_so
                closing_twice_is_fine
                closing_ends_waits
                closing_loses_nothing
            }
            handles {
                two_handles_write_one_log
                a_handle_refuses_what_the_other_took
                a_wait_hears_the_other_handle
                a_handle_outlives_the_other
            }
            races {
                one_writer_wins_each_version
                one_creator_wins
                one_session_gets_a_key
                one_claim_wins
                many_sessions_are_written_at_once
                the_feed_of_rows_misses_nothing
                writers_that_go_away_lose_and_double_nothing
            }
            faults {
                a_lost_answer_is_found_again
                what_stands_behind_a_refused_commit_is_refused
                any_call_may_fail_and_the_story_ends_the_same
                any_answer_may_be_lost_and_the_story_ends_the_same
                a_caller_may_go_away_at_any_point
            }
            survival {
                what_was_acknowledged_survives_a_kill
                names_survive_a_kill_with_their_records
                a_killed_store_goes_on
            }
            capabilities {
                the_strongest_level_is_the_one_that_is_said
                a_level_needs_something_that_keeps_it
                what_reopens_is_said_to
                what_survives_a_kill_is_said_to
                a_store_has_as_many_owners_as_it_says
            }
        }
    };
}

/// The one list of laws of a clock.
#[doc(hidden)]
#[macro_export]
macro_rules! every_clock_law {
    ($form:ident $([$($given:tt)*])?) => {
        $crate::expand_laws! { $form $([$($given)*])?
            clock {
                the_time_is_of_this_age
                time_goes_on_or_stands
                many_may_ask_at_once
            }
        }
    };
}

/// The one list of laws of a generator of ids.
#[doc(hidden)]
#[macro_export]
macro_rules! every_id_law {
    ($form:ident $([$($given:tt)*])?) => {
        $crate::expand_laws! { $form $([$($given)*])?
            ids {
                ids_are_unique
                ids_ascend
                ids_ascend_when_the_clock_goes_back
                a_race_gives_no_id_twice
                extreme_moments_give_ids
            }
        }
    };
}

/// The one list of laws of a source of randomness.
#[doc(hidden)]
#[macro_export]
macro_rules! every_entropy_law {
    ($form:ident $([$($given:tt)*])?) => {
        $crate::expand_laws! { $form $([$($given)*])?
            entropy {
                every_byte_is_filled
                no_two_draws_are_alike
                nothing_is_asked_for_nothing
                a_race_gives_each_its_own
            }
        }
    };
}

/// The one list of laws of a counter of tokens.
#[doc(hidden)]
#[macro_export]
macro_rules! every_token_law {
    ($form:ident $([$($given:tt)*])?) => {
        $crate::expand_laws! { $form $([$($given)*])?
            tokens {
                a_message_has_one_count
                more_parts_are_not_fewer_tokens
                a_long_text_has_more_than_a_short_one
                every_kind_of_part_counts
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! expand_laws {
    (table $($group:ident { $($law:ident)* })*) => {
        &[$($($crate::Law {
            name: concat!(stringify!($group), "::", stringify!($law)),
            run: |subject| ::std::boxed::Box::pin($crate::laws::$group::$law(subject)),
            source: include_str!(concat!("laws/", stringify!($group), ".rs")),
        },)*)*]
    };
    (tests [$suite:expr; $skips:expr] $($group:ident { $($law:ident)* })*) => {
        $(mod $group {
            #[allow(unused_imports, reason = "the fixture may need any name of the module that it stands in")]
            use super::*;
            $(#[test]
            fn $law() -> ::std::result::Result<(), $crate::Violation> {
                let name = concat!(stringify!($group), "::", stringify!($law));
                $crate::confirm(&$suite, name, $skips)
            })*
        })*
    };
}

/// Makes one `#[test]` of each law of a store, in a module of each group.
///
/// The expression makes a [`Fixture`]; it may await. Laws that do not apply must be declared, by name or by group, and nothing else may
/// be skipped:
///
/// ```text
/// store_laws!(MyFixture::new());
/// store_laws!(MyFixture::new(), skips: ["survival", "durability::a_reopened_store_goes_on"]);
/// ```
#[macro_export]
macro_rules! store_laws {
    ($fixture:expr) => { $crate::store_laws!($fixture, skips: []); };
    ($fixture:expr, skips: [$($skip:literal),* $(,)?]) => {
        $crate::every_law!(tests [$crate::Suite::new(async || $fixture); &[$($skip),*]]);
    };
}

/// Makes one `#[test]` of each law of a [`Clock`], which the expression makes.
#[macro_export]
macro_rules! clock_laws {
    ($clock:expr) => { $crate::every_clock_law!(tests [$crate::Suite::clock(async || $clock); &[]]); };
}

/// Makes one `#[test]` of each law of an [`IdGenerator`], which the expression makes.
#[macro_export]
macro_rules! id_laws {
    ($ids:expr) => { $crate::every_id_law!(tests [$crate::Suite::ids(async || $ids); &[]]); };
}

/// Makes one `#[test]` of each law of an [`Entropy`], which the expression makes.
#[macro_export]
macro_rules! entropy_laws {
    ($entropy:expr) => { $crate::every_entropy_law!(tests [$crate::Suite::entropy(async || $entropy); &[]]); };
}

/// Makes one `#[test]` of each law of a [`TokenCounter`], which the expression makes.
#[macro_export]
macro_rules! token_laws {
    ($counter:expr) => { $crate::every_token_law!(tests [$crate::Suite::tokens(async || $counter); &[]]); };
}
