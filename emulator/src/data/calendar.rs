//! Days and months of demo data.

use time::{Date, Duration, Month, OffsetDateTime};

/// A month of a year. Months are ordered and can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct YearMonth(i32);

impl YearMonth {
    /// `month` is 1 to 12; other values count on into other years.
    pub(crate) const fn new(year: i32, month: i32) -> Self {
        Self(
            year.saturating_mul(12)
                .saturating_add(month)
                .saturating_sub(1),
        )
    }

    pub(crate) fn of(day: Date) -> Self {
        Self::new(day.year(), i32::from(u8::from(day.month())))
    }

    pub(crate) const fn plus(self, months: i32) -> Self {
        Self(self.0.saturating_add(months))
    }

    pub(crate) const fn year(self) -> i32 {
        self.0.div_euclid(12)
    }

    /// 1 to 12.
    pub(crate) const fn month(self) -> i32 {
        self.0.rem_euclid(12) + 1
    }

    /// The number of months since the year 0.
    pub(crate) const fn index(self) -> i32 {
        self.0
    }

    /// The day, limited to the month's last one.
    pub(crate) fn day(self, day: u8) -> Date {
        let month = u8::try_from(self.month())
            .ok()
            .and_then(|month| Month::try_from(month).ok())
            .unwrap_or(Month::January);
        let last = month.length(self.year());
        Date::from_calendar_date(self.year(), month, day.clamp(1, last)).unwrap_or(Date::MIN)
    }

    pub(crate) fn first_day(self) -> Date {
        self.day(1)
    }

    pub(crate) fn last_day(self) -> Date {
        self.day(31)
    }

    /// All months from this one to `last`, at most 1,200.
    pub(crate) fn until(self, last: Self) -> impl Iterator<Item = Self> {
        (self.0..=last.0).take(1_200).map(Self)
    }
}

/// The day of a time in milliseconds since the Unix epoch, in UTC.
pub(crate) fn day_of(unix_millis: i64) -> Date {
    OffsetDateTime::from_unix_timestamp(unix_millis.div_euclid(1_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .date()
}

/// Parses the day of `2026-11-02` or `2026-11-02T12:00:00Z`.
pub(crate) fn parse_day(text: &str) -> Option<Date> {
    let mut parts = text.get(..10)?.split('-');
    let year = parts.next()?.parse().ok()?;
    let month: u8 = parts.next()?.parse().ok()?;
    let day = parts.next()?.parse().ok()?;
    Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()
}

/// `2026-11-02`.
pub(crate) fn day_text(day: Date) -> String {
    format!(
        "{:04}-{:02}-{:02}",
        day.year(),
        u8::from(day.month()),
        day.day()
    )
}

/// `2026-11-02T12:00:00Z`: at noon, which is the same day in most time zones.
pub(crate) fn noon_text(day: Date) -> String {
    format!("{}T12:00:00Z", day_text(day))
}

pub(crate) fn plus_days(day: Date, days: i64) -> Date {
    day.saturating_add(Duration::days(days))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_count_over_years_and_know_their_last_day() {
        let march = YearMonth::new(2024, 3);
        assert_eq!(march.plus(-1).last_day(), parse_day("2024-02-29").unwrap());
        assert_eq!(march.plus(-3), YearMonth::new(2023, 12), "wrong year");
        assert_eq!(march.plus(-3).month(), 12, "December must be month 12");
        assert_eq!(march.until(march.plus(2)).count(), 3, "wrong length");
        assert_eq!(day_text(day_of(1_709_208_000_000)), "2024-02-29");
        for bad in ["", "2024", "2024-13-01", "2024-02-30", "not-a-day!"] {
            assert_eq!(parse_day(bad), None, "{bad:?} is not a day");
        }
    }
}
