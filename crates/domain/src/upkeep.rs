//! What is due for a session that was not used for long: nothing, unless a policy says so.
//!
//! Must not know: the time, which is given; who looks, and how often.

use std::time::Duration;

use serde::Serialize;

use crate::{life::SessionStatus, moment::Moment, view::View};

/// After how long what becomes of a session. All of it is off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgePolicy {
    /// Not used for so long: archived.
    pub archive_after: Option<Duration>,
    /// Not used for so long: put into the trash.
    pub trash_after: Option<Duration>,
    /// In the trash for so long: deleted for good.
    pub delete_after: Option<Duration>,
    /// Not used for so long: deleted for good, without the trash. For sessions that are in memory alone.
    pub remove_after: Option<Duration>,
}

impl AgePolicy {
    /// True when nothing ever becomes due.
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// A session that was used since is due for nothing, unless it is in the trash; `None`: nothing is due without the trash.
    pub fn shortest(&self) -> Option<Duration> {
        [self.archive_after, self.trash_after, self.remove_after].into_iter().flatten().min()
    }
}

/// What is to be done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Step {
    /// It is archived.
    Archive,
    /// It is put into the trash.
    Trash,
    /// It is deleted for good.
    Delete,
}

impl Step {
    /// The step's name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Trash => "trash",
            Self::Delete => "delete",
        }
    }
}

/// How old a session is, in every sense that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Its state of life.
    pub status: SessionStatus,
    /// When it was made.
    pub created: Moment,
    /// When it was last changed or touched.
    pub used: Moment,
    /// Since when it is in the trash.
    pub trashed: Option<Moment>,
}

impl Age {
    /// Of a session as it is.
    pub fn of(view: &View) -> Self {
        Self { status: view.status(), created: view.created(), used: view.accessed(), trashed: view.trashed() }
    }
}

/// What is due for a session. Of several steps it is the last one.
///
/// A session is not in the trash, nor unused, since before it was made: then a clock was wrong.
pub fn due(age: &Age, now: Moment, policy: &AgePolicy) -> Option<Step> {
    let is_over = |since: Moment, after: Option<Duration>| {
        let since = since.max(age.created);
        after.is_some_and(|after| i128::from(now.as_millis()) - i128::from(since.as_millis()) >= millis(after))
    };
    if let Some(trashed) = age.trashed {
        return is_over(trashed, policy.delete_after).then_some(Step::Delete);
    }
    if is_over(age.used, policy.remove_after) {
        Some(Step::Delete)
    } else if is_over(age.used, policy.trash_after) {
        Some(Step::Trash)
    } else if age.status != SessionStatus::Archived && is_over(age.used, policy.archive_after) {
        Some(Step::Archive)
    } else {
        None
    }
}

fn millis(duration: Duration) -> i128 {
    i128::try_from(duration.as_millis()).unwrap_or(i128::MAX)
}

/// A clock is believed so far beyond the newest thing that is known to have happened.
pub const BELIEVED: Duration = Duration::from_secs(60 * 60);

/// The time that ages are counted by: what the clock says, and at most an hour after the newest change of all sessions. A clock that jumped
/// ahead makes nothing due; nor does a long pause, until somebody uses a session again.
pub fn believed(clock: Moment, newest: Moment) -> Moment {
    clock.min(later(newest, BELIEVED))
}

/// A moment so much later.
pub fn later(moment: Moment, by: Duration) -> Moment {
    Moment::from_millis(moment.as_millis().saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

/// A moment so much earlier.
pub fn earlier(moment: Moment, by: Duration) -> Moment {
    Moment::from_millis(moment.as_millis().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    fn days(days: u64) -> Option<Duration> {
        Some(Duration::from_secs(days * DAY))
    }

    fn day(day: i64) -> Moment {
        Moment::from_millis(day * 1_000 * i64::try_from(DAY).unwrap())
    }

    #[test]
    fn each_step_is_due_from_its_day_on_and_nothing_without_a_policy() {
        use SessionStatus::{Active, Archived, Completed};
        let off = AgePolicy::default();
        let all =
            AgePolicy { archive_after: days(10), trash_after: days(20), delete_after: days(30), remove_after: None };
        let archives = AgePolicy { archive_after: days(10), ..off };
        let trashes = AgePolicy { trash_after: days(20), ..off };
        let deletes = AgePolicy { delete_after: days(30), ..off };
        let removes = AgePolicy { remove_after: days(5), ..all };
        // Status, created, used, in the trash since, now, policy.
        let cases = [
            (Active, 0, 0, None, 100_000, off, None),
            (Active, 0, 0, Some(0), 100_000, off, None),
            (Active, 0, 0, None, 9, all, None),
            (Active, 0, 0, None, 10, all, Some(Step::Archive)),
            (Completed, 0, 0, None, 19, all, Some(Step::Archive)),
            (Archived, 0, 0, None, 19, all, None),
            (Archived, 0, 0, None, 20, all, Some(Step::Trash)),
            (Active, 0, 0, None, 20, all, Some(Step::Trash)),
            (Active, 0, 15, None, 20, all, None),
            (Active, 0, 0, None, 100_000, deletes, None),
            (Active, 0, 0, Some(5), 34, all, None),
            (Active, 0, 0, Some(5), 35, all, Some(Step::Delete)),
            (Active, 0, 0, Some(5), 35, trashes, None),
            (Active, 0, 0, Some(5), 35, deletes, Some(Step::Delete)),
            (Active, 0, 0, None, 100_000, archives, Some(Step::Archive)),
            (Archived, 0, 0, None, 100_000, archives, None),
            (Active, 0, 0, None, 4, removes, None),
            (Active, 0, 0, None, 5, removes, Some(Step::Delete)),
            // In the trash it is no longer unused, it is put away.
            (Active, 0, 0, Some(1), 30, removes, None),
            // Clocks that were wrong: before it was made, and ahead of now.
            (Active, 100, 0, None, 109, all, None),
            (Active, 100, 0, Some(0), 129, all, None),
            (Active, 100, 0, Some(0), 130, all, Some(Step::Delete)),
            (Active, 0, 0, Some(90), 35, all, None),
            (Active, 0, 90, None, 35, all, None),
        ];
        for (status, created, used, trashed, now, policy, expected) in cases {
            let age = Age { status, created: day(created), used: day(used), trashed: trashed.map(day) };
            assert_eq!(due(&age, day(now), &policy), expected, "{age:?} on day {now} by {policy:?}");
        }
        assert!(off.is_off() && !deletes.is_off());
        assert_eq!(
            (off.shortest(), all.shortest(), removes.shortest(), deletes.shortest()),
            (None, days(10), days(5), None)
        );
    }

    #[test]
    fn a_clock_is_believed_an_hour_beyond_the_newest_change() {
        let hour = |hours: i64| Moment::from_millis(hours * 3_600_000);
        for (clock, newest, expected) in [(10, 10, 10), (11, 10, 11), (12, 10, 11), (99_999, 10, 11), (5, 10, 5)] {
            assert_eq!(believed(hour(clock), hour(newest)), hour(expected), "{clock} {newest}");
        }
        let (first, last) = (Moment::from_millis(i64::MIN), Moment::from_millis(i64::MAX));
        assert_eq!((later(last, Duration::MAX), earlier(first, Duration::MAX)), (last, first));
    }

    proptest! {
        #[test]
        fn what_was_used_later_is_never_due_for_more(
            used in -100_i64..100, more in 0_i64..50, now in -100_i64..200, archived: bool, in_trash: bool,
            after in prop::array::uniform4(prop::option::of(0_u64..60)),
        ) {
            let [archive_after, trash_after, delete_after, remove_after] = after.map(|after| after.and_then(days));
            let policy = AgePolicy { archive_after, trash_after, delete_after, remove_after };
            let status = if archived { SessionStatus::Archived } else { SessionStatus::Active };
            let age = |at: i64| {
                let trashed = in_trash.then(|| day(at));
                due(&Age { status, created: day(-100), used: day(at), trashed }, day(now), &policy)
            };
            let rank = |step: Option<Step>| step.map_or(0, |step| match step { Step::Archive => 1, Step::Trash => 2, Step::Delete => 3 });
            prop_assert!(rank(age(used)) >= rank(age(used + more)));
            // What is due was not used for as long as the step takes, and stays due as time goes by.
            if let Some(step) = age(used) {
                let later = due(&Age { status, created: day(-100), used: day(used), trashed: in_trash.then(|| day(used)) }, day(now + 1), &policy);
                prop_assert!(rank(later) >= rank(Some(step)));
                prop_assert!(!policy.is_off());
            }
            if !in_trash && let Some(shortest) = policy.shortest() {
                prop_assert!(age(used).is_none() || earlier(day(now), shortest) >= day(used));
            }
        }
    }
}
