//! Random numbers for jitter.

/// Number in 0..1. Constant, because the model checker must be able to repeat a
/// run.
#[cfg(shuttle)]
pub(crate) fn random() -> f64 {
    0.5
}

#[cfg(not(shuttle))]
pub(crate) use generator::random;
#[cfg(all(not(shuttle), feature = "redis", any(test, feature = "test-util")))]
pub(crate) use generator::set_seed;

#[cfg(not(shuttle))]
mod generator {
    use std::cell::Cell;
    use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
    use std::time::SystemTime;

    use fastrand::Rng;

    use crate::sys::fork;

    thread_local! {
        /// Generator of this thread, and the process generation that it belongs to.
        /// Not the global one of `fastrand`, which the program may use and seed.
        static GENERATOR: Cell<Option<(u32, Rng)>> = const { Cell::new(None) };
    }

    /// Number in 0..1. All jitter uses this function. A fork copies a thread's
    /// generator, so forked siblings would otherwise draw the same numbers and
    /// retry or refresh together.
    pub(crate) fn random() -> f64 {
        let this = fork::generation();
        let mut rng = match GENERATOR.take() {
            Some((generation, rng)) if generation == this => rng,
            _ => Rng::with_seed(seed()),
        };
        let number = rng.f64();
        GENERATOR.set(Some((this, rng)));
        number
    }

    /// Makes this thread draw the same numbers in each run, until it forks.
    #[cfg(all(feature = "redis", any(test, feature = "test-util")))]
    pub(crate) fn set_seed(seed: u64) {
        GENERATOR.set(Some((fork::generation(), Rng::with_seed(seed))));
    }

    /// Differs between machines, processes and threads.
    fn seed() -> u64 {
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        // Its keys are random, but a fork copies them.
        let mut hasher = std::hash::RandomState::new().build_hasher();
        since_1970.as_nanos().hash(&mut hasher);
        std::process::id().hash(&mut hasher);
        std::thread::current().id().hash(&mut hasher);
        hasher.finish()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn b13_a_forked_child_draws_other_numbers_than_its_parent_and_siblings() {
            random();
            let parents = GENERATOR.take();
            let draw = || {
                GENERATOR.set(parents.clone());
                random().to_bits()
            };
            let in_parent = draw();
            assert_eq!(draw(), in_parent, "the generator was not restored");
            fork::pretend::fork();
            let children = [draw(), draw()];
            assert!(
                children[0] != children[1] && !children.contains(&in_parent),
                "forked processes draw the same numbers"
            );
        }

        #[test]
        fn b28_numbers_do_not_depend_on_the_programs_own_generator() {
            fastrand::seed(7);
            let first = random();
            fastrand::seed(7);
            let expected = fastrand::u64(..);
            fastrand::seed(7);
            assert_ne!(random().to_bits(), first.to_bits());
            assert_eq!(fastrand::u64(..), expected, "the program's generator moved");
        }
    }
}
