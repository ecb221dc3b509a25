//! How long a provider asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date.
//!
//! Must not know: what was asked, or who waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sessions_domain::Moment;

/// The longest wait that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The wait, above zero and at most a day; `None` when nothing is asked for that makes sense. `date` is the answer's own, by which a date is
/// measured; without it the system's clock is.
pub(super) fn asked(millis: Option<&str>, after: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let of = |number: Option<&str>, unit: f64| {
        let seconds = number?.trim().parse::<f64>().ok()? * unit;
        (seconds.is_finite() && seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
    };
    let until = || {
        let now = date.and_then(moment).unwrap_or_else(now);
        let wait = moment(after?)?.as_millis().checked_sub(now.as_millis())?;
        let wait = Duration::from_millis(u64::try_from(wait).ok()?);
        (!wait.is_zero()).then_some(wait.min(LONGEST))
    };
    of(millis, 0.001).or_else(|| of(after, 1.0)).or_else(until)
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn moment(text: &str) -> Option<Moment> {
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    Moment::parse(&format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_kept_within_bounds() {
        let (now, date) = ("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:50:07 GMT"));
        let millis = Duration::from_millis;
        for (ms, after, expected) in [
            (Some("250"), Some("9"), Some(millis(250))),
            (Some("no"), Some("9"), Some(millis(9_000))),
            (None, Some("1.5"), Some(millis(1_500))),
            (None, date, Some(millis(30_000))),
            (None, Some(now), None),
            (None, Some("Sun, 06 Nov 1993 08:49:37 GMT"), None),
            (None, Some("Sun, 06 Nov 2094 08:49:37 GMT"), Some(LONGEST)),
            (None, Some("0"), None),
            (None, Some("-5"), None),
            (None, Some("NaN"), None),
            (None, Some("inf"), None),
            (None, Some("1e300"), Some(LONGEST)),
            (None, Some("soon"), None),
            (None, Some("Sun, 99 Nov 1994 08:49:37 GMT"), None),
            (None, None, None),
        ] {
            assert_eq!(asked(ms, after, Some(now)), expected, "{ms:?} {after:?}");
        }
        assert_eq!(asked(None, Some("Sun, 06 Nov 1994 08:49:37 GMT"), None), None, "by the system's clock it is over");
    }
}
