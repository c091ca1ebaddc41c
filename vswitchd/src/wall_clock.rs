//! The host's clock and time zone, for schedules.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::commit::WallClock;

/// The host's clock. Its time zone is read each time, so that a change of `/etc/localtime` counts at once; where there is
/// none, it is universal time, as for the rest of the host.
pub fn host_clock() -> WallClock {
    Box::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        (second, offset_s(second))
    })
}

fn offset_s(second: i64) -> i64 {
    let Ok(zone) = tz::TimeZone::local() else { return 0 };
    zone.find_local_time_type(second).map_or(0, |kind| i64::from(kind.ut_offset()))
}
