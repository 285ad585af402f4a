//! [`DataRequest`]: a request for a resource, and its query.

use std::collections::HashMap;

use time::Date;

use crate::data::book::Book;
use crate::data::calendar::{YearMonth, parse_day};
use crate::resource::Resource;

/// A request for a resource of a business.
pub(crate) struct DataRequest<'a> {
    pub(crate) resource: Resource<'a>,
    pub(crate) book: &'a Book,
    query: HashMap<String, String>,
}

impl<'a> DataRequest<'a> {
    pub(crate) fn new(resource: Resource<'a>, book: &'a Book, query: &str) -> Self {
        let query = form_urlencoded::parse(query.as_bytes()).into_owned();
        Self {
            resource,
            book,
            query: query.collect(),
        }
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// A parameter that is not valid counts as absent: the emulator does not
    /// know Layer's errors for them.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.parameter(name)?.parse().ok()
    }

    pub(crate) fn day(&self, name: &str) -> Option<Date> {
        self.parameter(name).and_then(parse_day)
    }

    /// The days from `start_date` to `end_date`; by default the current month.
    pub(crate) fn period(&self) -> (Date, Date) {
        let month = YearMonth::of(self.book.today);
        (
            self.day("start_date").unwrap_or(month.first_day()),
            self.day("end_date").unwrap_or(month.last_day()),
        )
    }
}
