//! Moments as Postgres keeps them.

use chrono::{DateTime, Utc};
use pbx::moment::Moment;

/// The end of the year 9999: what both sides can hold and print.
const LAST: i64 = 253_402_300_799_000_000;

/// A moment as a `timestamptz`; later than the year 9999 is its end.
pub(crate) fn stamp(moment: Moment) -> DateTime<Utc> {
    let micros = i64::try_from(moment.as_micros()).unwrap_or(LAST).min(LAST);
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// A `timestamptz` as a moment; before 1970 is 1970.
pub(crate) fn moment(stamp: DateTime<Utc>) -> Moment {
    Moment::from_micros(u64::try_from(stamp.timestamp_micros()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_back_to_the_microsecond_and_never_overflows() {
        let now = Moment::from_micros(1_795_000_000_123_456);
        assert_eq!(moment(stamp(now)), now);
        assert_eq!(moment(stamp(Moment::EPOCH)), Moment::EPOCH);
        assert_eq!(stamp(Moment::from_micros(u64::MAX)).timestamp_micros(), LAST);
    }
}
