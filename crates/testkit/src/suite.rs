//! The conformance suite: runs the laws, each on a store of its own, and lets none pass silently.
//!
//! Must not know: what the laws say.

use std::{fmt, future::Future, panic::AssertUnwindSafe, pin::Pin, time::Duration};

use futures_util::FutureExt;
use sessions_ports::StoreError;

use crate::fixture::Fixture;

/// Why a law did not simply hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exception {
    /// The store broke it.
    Broken {
        /// What the store did.
        detail: String,
    },
    /// The law says nothing about this store.
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

/// One law, by name.
#[derive(Clone, Copy)]
pub struct Law {
    /// Its group and name, as in `commits::creating_twice_is_refused`.
    pub name: &'static str,
    /// Tries it.
    pub run: for<'a> fn(&'a dyn Fixture) -> Running<'a>,
}

impl fmt::Debug for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Law({})", self.name)
    }
}

/// A law that a store broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law.
    pub law: &'static str,
    /// What the store did.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.detail)
    }
}

impl std::error::Error for Violation {}

/// How one law went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Kept,
    /// It says nothing about this store.
    Skipped {
        /// Why not.
        why: String,
    },
    /// The store broke it.
    Broken(Violation),
}

/// How all laws went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The store, as its fixture names it.
    pub store: &'static str,
    /// Laws that held.
    pub kept: Vec<&'static str>,
    /// Laws that say nothing about this store, with the reason.
    pub skipped: Vec<(&'static str, String)>,
    /// Laws that were broken.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Laws that were tried, skipped ones included. Always all of [`LAWS`].
    pub fn laws(&self) -> usize {
        self.kept.len() + self.skipped.len() + self.violations.len()
    }

    /// True when this law was broken.
    pub fn broke(&self, law: &str) -> bool {
        self.violations.iter().any(|violation| violation.law == law)
    }
}

/// How long a law may take before the store counts as stuck. Far above what any needs, so that it says nothing about speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tries one law on a store of its own, in a runtime of its own.
pub fn check<F: Fixture>(law: &Law, make: impl AsyncFn() -> F) -> Verdict {
    run(law, make).1
}

fn run<F: Fixture>(law: &Law, make: impl AsyncFn() -> F) -> (&'static str, Verdict) {
    let broken = |detail: String| Verdict::Broken(Violation { law: law.name, detail });
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ("", broken(format!("no runtime to try it in: {error}"))),
    };
    let trial = async {
        let fixture = make().await;
        (fixture.name(), (law.run)(&fixture).await)
    };
    let guarded = AssertUnwindSafe(async { tokio::time::timeout(PATIENCE, trial).await }).catch_unwind();
    let (name, outcome) = match runtime.block_on(guarded) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => return ("", broken(format!("no answer within {PATIENCE:?}: the store is stuck"))),
        Err(_) => return ("", broken("it panicked".to_owned())),
    };
    runtime.shutdown_background();
    let verdict = match outcome {
        Ok(()) => Verdict::Kept,
        Err(Exception::Skipped { why }) => Verdict::Skipped { why },
        Err(Exception::Broken { detail }) => broken(detail),
    };
    (name, verdict)
}

/// Tries one law, which must hold, or be skipped when, and only when, it stands among `skips`. What [`store_suite!`](crate::store_suite) calls.
///
/// # Errors
/// The [`Violation`]; a skip that was not declared is one.
pub fn confirm<F: Fixture>(law: &str, skips: &[&str], make: impl AsyncFn() -> F) -> Result<(), Violation> {
    let Some(law) = LAWS.iter().find(|known| known.name == law) else {
        return Err(Violation { law: "", detail: format!("there is no law {law}") });
    };
    let broken = |detail| Err(Violation { law: law.name, detail });
    match (check(law, make), skips.contains(&law.name)) {
        (Verdict::Kept, false) | (Verdict::Skipped { .. }, true) => Ok(()),
        (Verdict::Kept, true) => broken("it holds, so it is not to be declared as skipped".to_owned()),
        (Verdict::Skipped { why }, false) => broken(format!("it was skipped, which was not declared: {why}")),
        (Verdict::Broken(violation), _) => Err(violation),
    }
}

/// Tries all laws, each on a fixture of its own, and collects how they went.
pub fn report<F: Fixture>(make: impl AsyncFn() -> F) -> Report {
    let mut report = Report::default();
    for law in LAWS {
        let (name, verdict) = run(law, &make);
        if !name.is_empty() {
            report.store = name;
        }
        match verdict {
            Verdict::Kept => report.kept.push(law.name),
            Verdict::Skipped { why } => report.skipped.push((law.name, why)),
            Verdict::Broken(violation) => report.violations.push(violation),
        }
    }
    report
}

/// All laws, in the order of their groups.
pub const LAWS: &[Law] = crate::every_law!(table);

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
            run: |fixture| ::std::boxed::Box::pin($crate::laws::$group::$law(fixture)),
        },)*)*]
    };
    (tests [$fixture:expr; $skips:expr] $($group:ident { $($law:ident)* })*) => {
        $(mod $group {
            #[allow(unused_imports, reason = "the fixture may need any name of the module that it stands in")]
            use super::*;
            $(#[test]
            fn $law() -> ::std::result::Result<(), $crate::Violation> {
                let name = concat!(stringify!($group), "::", stringify!($law));
                $crate::confirm(name, $skips, async || $fixture)
            })*
        })*
    };
}

/// Makes one `#[test]` of each law, in a module of each group.
///
/// The expression makes a [`Fixture`]; it may await. Laws that do not apply must be declared, and nothing else may be skipped:
///
/// ```text
/// store_suite!(MyFixture::new());
/// store_suite!(MyFixture::new(), skips: ["durability::a_reopened_store_goes_on"]);
/// ```
#[macro_export]
macro_rules! store_suite {
    ($fixture:expr) => { $crate::store_suite!($fixture, skips: []); };
    ($fixture:expr, skips: [$($skip:literal),* $(,)?]) => {
        $crate::every_law!(tests [$fixture; &[$($skip),*]]);
    };
}
