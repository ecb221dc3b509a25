//! The lists of laws, each written once: as a table for the suite, and as tests for whoever calls a macro.
//!
//! Must not know: what the laws say, or how they are tried.

use sessions_ports::{Clock, Entropy, IdGenerator, TokenCounter};

use crate::suite::Law;

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
                the_feed_tells_of_what_it_never_showed
                pages_leave_no_removal_out
                a_removal_is_not_promised_too_much
                a_reopened_store_stays_without
                a_removal_is_seen_through_other_handles
                a_closed_store_removes_nothing
                one_removal_wins
            }
            inheritance {
                what_others_inherit_stays
                the_last_heir_takes_it_along
                a_removed_heir_takes_nothing_from_a_living_owner
                a_removed_heir_keeps_nothing_of_others
                heirs_are_known
                nothing_is_inherited_from_what_is_gone
                links_come_with_the_first_commit
            }
            rewriting {
                a_rewritten_record_has_its_new_payload
                a_rewrite_may_be_repeated
                a_rewrite_says_nothing_else
                a_refused_rewrite_leaves_no_trace
                words_are_rewritten_where_they_stand
                an_expected_version_is_asked_of_a_rewrite
                a_rewrite_disturbs_no_commit
                a_dropped_rewrite_still_happens
                what_is_kept_for_others_can_be_rewritten
                a_rewrite_is_not_promised_too_much
                a_rewrite_is_seen_through_other_handles
                a_reopened_store_has_what_was_rewritten
                a_rewrite_survives_a_kill
                a_rewrite_is_whole_or_absent_after_a_kill
                rewriting_beside_writers_loses_nothing
            }
            adoption {
                adopted_records_are_the_logs_own
                nothing_is_adopted_with_a_gap
                an_unlinked_owner_keeps_nothing
                owners_are_unlinked_one_by_one
                who_was_unlinked_inherits_nothing
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
                a_level_that_was_waited_for_survives_a_kill
                what_was_removed_stays_gone_after_a_kill
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
                its_encoding_has_one_name
                a_text_has_one_count
                only_the_empty_text_has_no_tokens
                a_word_more_is_not_a_token_less
                a_long_text_has_more_than_a_short_one
                no_text_keeps_it_busy
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
    (tests [$suite:ident; $skips:expr] $($group:ident { $($law:ident)* })*) => {
        $(mod $group {
            $(#[test]
            fn $law() -> ::std::result::Result<(), $crate::Violation> {
                let name = concat!(stringify!($group), "::", stringify!($law));
                $crate::confirm(&super::$suite(), name, $skips)
            })*
        })*
    };
}

/// Makes one `#[test]` of each law of a store, in a module of each group.
///
/// The expression makes a [`Fixture`](crate::Fixture); it may await. Laws that do not apply must be declared, by the reason, the name or the group, and
/// nothing else may be skipped:
///
/// ```text
/// store_laws!(MyFixture::new());
/// store_laws!(MyFixture::new(), skips: ["the store has no limit within reach", "survival", "durability::a_reopened_store_goes_on"]);
/// ```
#[macro_export]
macro_rules! store_laws {
    ($fixture:expr) => { $crate::store_laws!($fixture, skips: []); };
    ($fixture:expr, skips: [$($skip:literal),* $(,)?]) => {
        fn suite_of_a_store() -> $crate::Suite {
            $crate::Suite::new(async || $fixture)
        }
        $crate::every_law!(tests [suite_of_a_store; &[$($skip),*]]);
    };
}

/// Makes one `#[test]` of each law of a [`Clock`], which the expression makes.
#[macro_export]
macro_rules! clock_laws {
    ($clock:expr) => {
        fn suite_of_clock() -> $crate::Suite<dyn $crate::port::Clock> {
            $crate::Suite::clock(async || $clock)
        }
        $crate::every_clock_law!(tests [suite_of_clock; &[]]);
    };
}

/// Makes one `#[test]` of each law of an [`IdGenerator`], which the expression makes.
#[macro_export]
macro_rules! id_laws {
    ($ids:expr) => {
        fn suite_of_ids() -> $crate::Suite<dyn $crate::port::IdGenerator> {
            $crate::Suite::ids(async || $ids)
        }
        $crate::every_id_law!(tests [suite_of_ids; &[]]);
    };
}

/// Makes one `#[test]` of each law of an [`Entropy`], which the expression makes.
#[macro_export]
macro_rules! entropy_laws {
    ($entropy:expr) => {
        fn suite_of_entropy() -> $crate::Suite<dyn $crate::port::Entropy> {
            $crate::Suite::entropy(async || $entropy)
        }
        $crate::every_entropy_law!(tests [suite_of_entropy; &[]]);
    };
}

/// Makes one `#[test]` of each law of a [`TokenCounter`], which the expression makes.
#[macro_export]
macro_rules! token_laws {
    ($counter:expr) => {
        fn suite_of_tokens() -> $crate::Suite<dyn $crate::port::TokenCounter> {
            $crate::Suite::tokens(async || $counter)
        }
        $crate::every_token_law!(tests [suite_of_tokens; &[]]);
    };
}
