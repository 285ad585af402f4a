//! Bodies of a business's resources: the shapes that Layer's React components
//! read, without data or with demo data. No I/O, no state.
//!
//! All figures come from one list of entries, so that reports, balances and
//! transactions agree.

pub(crate) mod accounts;
pub(crate) mod bodies;
pub(crate) mod book;
pub(crate) mod calendar;
pub(crate) mod entries;
pub(crate) mod figures;
pub(crate) mod invoices;
pub(crate) mod json;
pub(crate) mod ledger;
pub(crate) mod mileage;
pub(crate) mod people;
pub(crate) mod request;
pub(crate) mod setup;
pub(crate) mod statements;
pub(crate) mod taxes;
pub(crate) mod time_tracking;
pub(crate) mod transactions;
pub(crate) mod unified;
