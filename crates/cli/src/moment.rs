//! A time, as people write it.
//!
//! Must not know: what happened then.

use sessions_api::{Clock, Moment, SystemClock};

use crate::failure::Failure;

/// Reads a moment, a day, or how long ago.
pub(crate) fn moment(text: &str) -> Result<Moment, Failure> {
    let parsed = Moment::parse(text)
        .or_else(|| Moment::parse(&format!("{text}T00:00:00Z")))
        .or_else(|| ago(text, SystemClock.now()));
    parsed.ok_or_else(|| {
        Failure::usage("this is no time", "write 2026-01-31, 2026-01-31T12:00:00Z (years 0000 to 9999), 30m, 24h or 7d")
    })
}

fn ago(text: &str, now: Moment) -> Option<Moment> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
    let minutes: i64 = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        "w" => 7 * 24 * 60,
        _ => return None,
    };
    let millis = number.checked_mul(minutes)?.checked_mul(60_000)?;
    let then = now.as_millis().checked_sub(millis).map(Moment::from_millis)?;
    // What has no year of four digits could be read by nobody who reads times as they are written.
    Moment::parse(&then.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_a_while_ago() {
        assert_eq!(moment("2026-01-31T12:00:00Z").unwrap().to_string(), "2026-01-31T12:00:00.000Z");
        assert_eq!(moment("2026-01-31").unwrap().to_string(), "2026-01-31T00:00:00.000Z");
        let now = Moment::from_millis(1_000_000_000);
        let before = |text: &str| ago(text, now).map(|then| (now.as_millis() - then.as_millis()) / 1000);
        assert_eq!(
            (before("30m"), before("24h"), before("7d"), before("1w")),
            (Some(1_800), Some(86_400), Some(604_800), Some(604_800))
        );
        for bad in
            ["", "m", "7", "-7d", "7y", "99999999999999d", "999999d", "é", "2026-02-30", "10000-01-01", "+10000-01-01"]
        {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
