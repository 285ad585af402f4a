//! Queue of active faults: finds the fault for a request.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::endpoint::Endpoint;
use crate::error::EmulatorError;
use crate::fault::definition::Fault;
use crate::fault::times::Times;
use crate::lock::lock;

/// Limits memory if a program adds faults in a loop.
const MAX_FAULTS: usize = 1_000;

/// An active fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FaultStatus {
    /// Its number, as returned by [`Emulator::fault`](crate::Emulator::fault).
    pub id: u64,
    /// The number of requests it has applied to.
    pub acted: u64,
    /// The fault, with `skip` and `times` as they were set.
    pub fault: Fault,
}

/// What faults compare of a request.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) business: Option<&'a str>,
    pub(crate) resource: Option<&'static str>,
    pub(crate) path: &'a str,
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
    skipped: u32,
    acted: u64,
    /// The end of a fault with `for_ms`.
    until: Option<Instant>,
    fault: Arc<Fault>,
}

impl Queued {
    fn matches(&self, request: &Subject<'_>) -> bool {
        let fault = &self.fault;
        let on_endpoint = match fault.endpoint {
            Some(own) => own == request.endpoint,
            // The proxy is in front of all endpoints: a fault that applies to it by
            // accident would hide them.
            None => request.endpoint != Endpoint::Proxy,
        };
        let on_business = |own: &str| {
            request
                .business
                .is_some_and(|id| id.eq_ignore_ascii_case(own))
        };
        on_endpoint
            && fault.path.as_deref().is_none_or(|own| own == request.path)
            && fault
                .resource
                .as_deref()
                .is_none_or(|own| request.resource == Some(own))
            && fault.business_id.as_deref().is_none_or(on_business)
    }

    fn is_spent(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
            || matches!(self.fault.times, Times::Count(count) if self.acted >= u64::from(count))
    }
}

impl State {
    fn check_room(&self, new: usize) -> Result<(), EmulatorError> {
        if self.queue.len() + new > MAX_FAULTS {
            return Err(EmulatorError::Invalid(format!(
                "at most {MAX_FAULTS} faults can be active, got {}; remove some first",
                self.queue.len() + new
            )));
        }
        Ok(())
    }

    fn push(&mut self, fault: Fault) -> u64 {
        self.last_id += 1;
        let queued = Queued {
            id: self.last_id,
            skipped: 0,
            acted: 0,
            until: fault
                .for_ms
                .and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))),
            fault: Arc::new(fault),
        };
        if !queued.is_spent() {
            self.queue.push(queued);
        }
        self.last_id
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> Result<u64, EmulatorError> {
        fault.check().map_err(EmulatorError::Invalid)?;
        let mut state = lock(&self.state);
        state.check_room(1)?;
        Ok(state.push(fault))
    }

    /// Adds all faults, or none if one is not valid or there are too many.
    pub(crate) fn add_all(&self, faults: Vec<Fault>) -> Result<Vec<u64>, EmulatorError> {
        for fault in &faults {
            fault.check().map_err(EmulatorError::Invalid)?;
        }
        let mut state = lock(&self.state);
        state.check_room(faults.len())?;
        Ok(faults.into_iter().map(|fault| state.push(fault)).collect())
    }

    /// The first fault that applies to a request, with its number. Counts the
    /// request, and removes a fault that has applied `times` times.
    pub(crate) fn take(&self, request: &Subject<'_>) -> Option<(u64, Arc<Fault>)> {
        let mut state = lock(&self.state);
        state.queue.retain(|queued| !queued.is_spent());
        let mut taken = None;
        for queued in &mut state.queue {
            if !queued.matches(request) {
                continue;
            }
            if queued.skipped < queued.fault.skip {
                queued.skipped += 1;
                continue;
            }
            queued.acted += 1;
            taken = Some((queued.id, Arc::clone(&queued.fault)));
            break;
        }
        state.queue.retain(|queued| !queued.is_spent());
        taken
    }

    pub(crate) fn list(&self) -> Vec<FaultStatus> {
        let mut state = lock(&self.state);
        state.queue.retain(|queued| !queued.is_spent());
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

    fn request<'a>(endpoint: Endpoint, business: Option<&'a str>, path: &'a str) -> Subject<'a> {
        Subject {
            endpoint,
            business,
            resource: None,
            path,
        }
    }

    #[test]
    fn first_matching_fault_applies_and_skips_are_counted_per_fault() {
        let faults = Faults::default();
        let late = faults
            .add(Fault::status(500).on(Endpoint::Token).skip(1))
            .unwrap();
        let soon = faults.add(Fault::status(501).times(2)).unwrap();
        for (endpoint, expected) in [
            (Endpoint::Whoami, Some(soon)),
            (Endpoint::Token, Some(soon)),
            (Endpoint::Token, Some(late)),
            (Endpoint::Token, None),
        ] {
            let taken = faults.take(&request(endpoint, None, "")).map(|(id, _)| id);
            assert_eq!(taken, expected, "wrong fault for {endpoint:?}");
        }
        assert!(faults.list().is_empty(), "spent faults must be removed");
    }

    #[test]
    fn business_id_matches_in_any_case() {
        let faults = Faults::default();
        let id = faults
            .add(Fault::status(500).business("ABC").forever())
            .unwrap();
        for (business, applies) in [(Some("def"), false), (None, false), (Some("abc"), true)] {
            assert_eq!(
                faults
                    .take(&request(Endpoint::AuthToken, business, ""))
                    .is_some(),
                applies,
                "wrong match of business {business:?} with a fault for ABC"
            );
        }
        assert_eq!(
            faults.list()[0].acted,
            1,
            "only the matching request must be counted"
        );
        assert!(faults.remove(id), "an active fault must be removable");
        assert!(!faults.remove(id), "a removed fault must be unknown");
    }

    #[test]
    fn fault_with_a_path_applies_to_that_path_only() {
        let faults = Faults::default();
        faults.add(Fault::status(500).path("/whoami")).unwrap();
        for (path, applies) in [("/whoami/", false), ("/whoami", true)] {
            assert_eq!(
                faults
                    .take(&request(Endpoint::Whoami, None, path))
                    .is_some(),
                applies,
                "wrong match of {path} with a fault for /whoami"
            );
        }
    }

    #[test]
    fn fault_with_a_resource_applies_to_that_resource_only() {
        let faults = Faults::default();
        faults.add(Fault::status(500).resource("vendors")).unwrap();
        for (resource, applies) in [
            (None, false),
            (Some("customers"), false),
            (Some("vendors"), true),
        ] {
            let request = Subject {
                resource,
                ..request(Endpoint::BusinessData, None, "")
            };
            assert_eq!(
                faults.take(&request).is_some(),
                applies,
                "wrong match of {resource:?} with a fault for vendors"
            );
        }
    }

    #[test]
    fn fault_ends_after_its_time() {
        let faults = Faults::default();
        let long = Fault::status(500)
            .forever()
            .lasting(Duration::from_secs(3_600));
        faults.add(long).unwrap();
        faults
            .add(Fault::status(501).forever().lasting(Duration::ZERO))
            .unwrap();
        let statuses: Vec<_> = faults
            .list()
            .iter()
            .map(|status| status.fault.status)
            .collect();
        assert_eq!(
            statuses,
            [Some(500)],
            "only the fault that has ended must be removed"
        );
        let taken = faults
            .take(&request(Endpoint::Token, None, ""))
            .map(|(_, fault)| fault.status);
        assert_eq!(
            taken,
            Some(Some(500)),
            "a fault must apply until its time is over"
        );
    }

    #[test]
    fn list_above_the_limit_adds_no_fault() {
        let faults = Faults::default();
        faults.add(Fault::status(500).forever()).unwrap();
        let list = vec![Fault::status(501); MAX_FAULTS];
        let result = faults.add_all(list.clone());
        assert!(
            matches!(result, Err(EmulatorError::Invalid(_))),
            "{} faults must be refused, got {result:?}",
            MAX_FAULTS + 1
        );
        assert_eq!(faults.list().len(), 1, "a refused list must add no fault");
        faults.clear();
        let ids = faults.add_all(list).unwrap();
        assert_eq!(ids.len(), MAX_FAULTS, "the maximum must be accepted");
    }
}
