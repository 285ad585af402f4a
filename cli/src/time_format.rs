//! Text formats of points in time and durations.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Formats a time as RFC 3339 in UTC with whole seconds: `2026-11-24T08:20:01Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    time.replace_nanosecond(0)
        .unwrap_or(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// Formats a duration with about two digits: `1.2 ms`.
pub(crate) fn short(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..10_000 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", duration.as_millis()),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_have_the_documented_format() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_508_401_900);
        assert_eq!(rfc3339(time), "2026-11-24T08:20:01Z");
        for (micros, text) in [
            (12, "12 us"),
            (1_240, "1.2 ms"),
            (18_400, "18 ms"),
            (1_500_000, "1.5 s"),
        ] {
            assert_eq!(short(Duration::from_micros(micros)), text, "{micros} us");
        }
    }
}
