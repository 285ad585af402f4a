//! Cache of values that expire. A cached value is served without a wait, each
//! value is fetched once for all callers, and an expired value is never served.
//!
//! The cache gets values through [`Source`] and runs fetches through [`Spawn`].
//! It knows neither HTTP nor a runtime.

mod entry;
mod flight;
mod keyed;
mod map;
mod policy;
pub(crate) mod promise;
mod reader;
mod sieve;
mod slot;
mod source;
#[cfg(test)]
#[cfg_attr(shuttle, allow(dead_code))]
mod tests;

pub(crate) use entry::{Entry, Fetched};
pub(crate) use keyed::Keyed;
pub(crate) use policy::may_be_fixed_by_credentials;
#[cfg(feature = "redis")]
pub(crate) use policy::{REFUSED_AGE, oldest, quiet_time};
pub(crate) use reader::Reader;
pub(crate) use slot::{Borrowed, CurrentGuard, Slot};
pub(crate) use source::{Context, Failed, FetchParams, Mode, Outcome, Source, Spawn};
