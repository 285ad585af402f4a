//! The time limits of the checks.

use std::time::Duration;

use tokio::time::Instant;

/// The limit for one network step.
const STEP: Duration = Duration::from_secs(5);

/// The deadline of all checks together.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// The deadline of a network step that starts now.
    pub(super) fn of_step(self) -> Instant {
        self.0.min(Instant::now() + STEP)
    }

    pub(super) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ends_at_its_own_limit_or_the_deadline_whichever_is_first() {
        let short = Deadline::after(Duration::from_secs(1));
        assert_eq!(
            short.of_step(),
            short.0,
            "the deadline does not limit the step"
        );
        let long = Deadline::after(Duration::from_secs(3_600));
        assert!(long.of_step() < long.0, "the step has no limit");
        assert!(long.remaining() <= Duration::from_secs(3_600));
        let past = Deadline(Instant::now() - Duration::from_secs(1));
        assert_eq!(past.remaining(), Duration::ZERO);
    }
}
