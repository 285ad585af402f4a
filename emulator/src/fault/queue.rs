//! The faults in force, and which of them takes a request.

use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::{Fault, Times};
use crate::endpoint::Target;
use crate::error::EmulatorError;
use crate::sync::lock;

/// More faults than any test needs; a client in a loop must not fill memory.
const CAP: usize = 1_000;

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FaultStatus {
    /// Its number, which [`Emulator::fault`](crate::Emulator::fault) answered.
    pub id: u64,
    /// How many requests it has acted on.
    pub acted: u64,
    /// The fault, with `skip` and `times` as they were given.
    pub fault: Fault,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    queue: Vec<Queued>,
}

#[derive(Debug)]
struct Queued {
    id: u64,
    passed: u32,
    acted: u64,
    fault: Arc<Fault>,
}

impl Queued {
    fn fits(&self, target: &Target<'_>) -> bool {
        let fault = &self.fault;
        let endpoint = fault
            .endpoint
            .is_none_or(|endpoint| endpoint == target.endpoint);
        let business = fault.business_id.as_deref().is_none_or(|id| {
            target
                .business
                .is_some_and(|business| business.eq_ignore_ascii_case(id))
        });
        endpoint && business
    }

    fn spent(&self) -> bool {
        matches!(self.fault.times, Times::Count(count) if self.acted >= u64::from(count))
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> Result<u64, EmulatorError> {
        fault.check().map_err(EmulatorError::Invalid)?;
        let mut state = lock(&self.state);
        if state.queue.len() >= CAP {
            return Err(EmulatorError::Invalid(format!(
                "{CAP} faults are in force already"
            )));
        }
        state.last_id += 1;
        let id = state.last_id;
        let queued = Queued {
            id,
            passed: 0,
            acted: 0,
            fault: Arc::new(fault),
        };
        if !queued.spent() {
            state.queue.push(queued);
        }
        Ok(id)
    }

    /// The fault that takes this request. Spent faults leave the queue.
    pub(crate) fn take(&self, target: &Target<'_>) -> Option<(u64, Arc<Fault>)> {
        let mut state = lock(&self.state);
        let mut taken = None;
        for queued in &mut state.queue {
            if !queued.fits(target) {
                continue;
            }
            if queued.passed < queued.fault.skip {
                queued.passed += 1;
                continue;
            }
            queued.acted += 1;
            taken = Some((queued.id, Arc::clone(&queued.fault)));
            break;
        }
        state.queue.retain(|queued| !queued.spent());
        taken
    }

    pub(crate) fn list(&self) -> Vec<FaultStatus> {
        let state = lock(&self.state);
        let status = |queued: &Queued| FaultStatus {
            id: queued.id,
            acted: queued.acted,
            fault: Fault::clone(&queued.fault),
        };
        state.queue.iter().map(status).collect()
    }

    pub(crate) fn remove(&self, id: u64) -> bool {
        let mut state = lock(&self.state);
        let before = state.queue.len();
        state.queue.retain(|queued| queued.id != id);
        state.queue.len() < before
    }

    pub(crate) fn clear(&self) {
        lock(&self.state).queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    fn target(endpoint: Endpoint, business: Option<&str>) -> Target<'_> {
        Target {
            endpoint,
            business,
            resource: "",
        }
    }

    #[test]
    fn the_first_that_fits_takes_it_and_skips_are_counted_apart() {
        let faults = Faults::default();
        let token = target(Endpoint::Token, None);
        let late = faults
            .add(Fault::status(500).on(Endpoint::Token).skip(1))
            .unwrap();
        let soon = faults.add(Fault::status(501).times(2)).unwrap();
        let whoami = target(Endpoint::Whoami, None);
        assert_eq!(faults.take(&whoami).unwrap().0, soon);
        assert_eq!(faults.take(&token).unwrap().0, soon);
        assert_eq!(faults.take(&token).unwrap().0, late);
        assert!(faults.take(&token).is_none());
        assert!(faults.list().is_empty());
    }

    #[test]
    fn a_business_is_matched_whatever_its_case() {
        let faults = Faults::default();
        let id = faults
            .add(Fault::status(500).business("ABC").forever())
            .unwrap();
        assert!(
            faults
                .take(&target(Endpoint::AuthToken, Some("def")))
                .is_none()
        );
        assert!(faults.take(&target(Endpoint::Token, None)).is_none());
        assert!(
            faults
                .take(&target(Endpoint::AuthToken, Some("abc")))
                .is_some()
        );
        assert_eq!(faults.list()[0].acted, 1);
        assert!(faults.remove(id));
        assert!(!faults.remove(id));
    }
}
