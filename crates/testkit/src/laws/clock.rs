//! Laws of a clock. It may jump, so they say little; they find the one that counts seconds, or from another year.
//!
//! Must not know: where the time comes from.

use sessions_domain::Moment;
use sessions_ports::Clock;

use crate::suite::Outcome;

/// 2000-01-01 and 2200-01-01: whoever counts seconds or microseconds, or begins to count with the process, is not between them.
const AGE: (i64, i64) = (946_684_800_000, 7_258_118_400_000);

/// The time is one of this age, in milliseconds since 1970.
pub async fn the_time_is_of_this_age(clock: &dyn Clock) -> Outcome {
    let now = clock.now();
    let (from, to) = (Moment::from_millis(AGE.0), Moment::from_millis(AGE.1));
    ensure!((from..to).contains(&now), "it says {now}, which is {} ms since 1970", now.as_millis());
    Ok(())
}

/// Asked again and again it goes on or stands; a jump back is for the one who sets it, and not for each call.
pub async fn time_goes_on_or_stands(clock: &dyn Clock) -> Outcome {
    let moments: Vec<Moment> = (0..1000).map(|_| clock.now()).collect();
    let back = moments.iter().zip(moments.iter().skip(1)).filter(|(before, after)| after < before).count();
    // One jump may be the system's, which somebody sets at this very moment.
    ensure!(back <= 1, "of 1000 calls {back} gave an earlier moment than the one before");
    Ok(())
}

/// Many may ask at once.
pub async fn many_may_ask_at_once(clock: &dyn Clock) -> Outcome {
    let sane = std::thread::scope(|scope| {
        let ask = || (0..1000).all(|_| (AGE.0..AGE.1).contains(&clock.now().as_millis()));
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().all(|thread| thread.join().unwrap_or(false))
    });
    ensure!(sane, "a moment that was asked for beside others is not of this age");
    Ok(())
}
