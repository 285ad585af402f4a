//! Random histories: no expired value is served, no two fetches run at once, and
//! there are no more requests than the policy allows.

use std::time::Duration;

use proptest::prelude::*;

use super::{Act, Bench, permanent, settle, transient};

#[derive(Clone, Debug)]
enum Step {
    Call,
    /// Many calls at once, some of which are cancelled.
    Herd(u8),
    Pass(u64),
    Suspend(u64),
    SetWallBack(u64),
    Refuse,
    Next(Act),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Call),
        2 => (1u8..50).prop_map(Step::Herd),
        4 => (1u64..2_000_000).prop_map(Step::Pass),
        1 => (1u64..8_000_000).prop_map(Step::Suspend),
        1 => (1u64..8_000_000).prop_map(Step::SetWallBack),
        2 => Just(Step::Refuse),
        2 => (1u64..90_000).prop_map(|s| Step::Next(Act::Give(Duration::from_secs(s)))),
        1 => (1u64..3_000).prop_map(|ms| Step::Next(Act::Give(Duration::from_millis(ms)))),
        2 => Just(Step::Next(Act::Fail(transient()))),
        1 => Just(Step::Next(Act::Fail(permanent()))),
        1 => Just(Step::Next(Act::Panic)),
        1 => (0u64..4_000).prop_map(|s| Step::Next(Act::Postpone(Duration::from_secs(s)))),
        2 => (1_000_000u32.., 0u64..4_000).prop_map(|(value, s)| {
            Step::Next(Act::Adopt { value, age: Duration::from_secs(s) })
        }),
    ]
}

/// Counts that determine the maximum number of requests.
struct Model {
    /// Time passed, in milliseconds.
    mono: u64,
    /// Requests that the policy allows after these events.
    allowed: f64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn b02_b05_b09_b10_b30_random_histories(steps in proptest::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let mut model = Model { mono: 0, allowed: 0.0 };
            let mut shortest = u64::MAX;
            for step in steps {
                match step {
                    Step::Call => {
                        if let Ok(value) = bench.get().await {
                            assert!(bench.script.is_alive(value), "an expired value is returned");
                        }
                    }
                    Step::Herd(callers) => {
                        use futures_util::FutureExt as _;
                        let mut waiting = Vec::new();
                        for number in 0..callers {
                            let mut call = Box::pin(bench.get());
                            let _ = call.as_mut().now_or_never();
                            if number % 3 != 0 {
                                waiting.push(call);
                            }
                        }
                        drop(waiting);
                    }
                    Step::Pass(ms) => {
                        bench.clock.advance(Duration::from_millis(ms));
                        model.mono += ms;
                    }
                    Step::Suspend(ms) => {
                        bench.clock.suspend(Duration::from_millis(ms));
                        model.allowed += 2.0; // one extra request per jump, and its refresh
                    }
                    Step::SetWallBack(ms) => {
                        bench.clock.set_wall_back(Duration::from_millis(ms));
                    }
                    Step::Refuse => {
                        if let Some(value) = bench.slot.peek() {
                            bench.invalidate(value.value);
                        }
                    }
                    Step::Next(act) => {
                        if let Act::Give(life) = &act {
                            shortest = shortest.min(life.as_millis() as u64);
                        }
                        if !matches!(act, Act::Give(_)) {
                            // A failure, a refresh that is tried again later, or a value
                            // that is already old allows one more request.
                            model.allowed += 1.0;
                        }
                        let _ = bench.script.then(act);
                    }
                }
                settle().await;
                if let Some(value) = bench.hit() {
                    assert!(bench.script.is_alive(value), "an expired value is served");
                }
                settle().await;
            }
            // Each value is refreshed after 75 % of its lifetime at the earliest.
            // Of rejected values, five are replaced at once, and then one in ten
            // seconds.
            let life = shortest.min(3_600_000) as f64;
            let by_time = model.mono as f64 / (life * 0.75);
            let refusals = 5.0 + model.mono as f64 / 10_000.0;
            let bound = 2.0 + by_time + refusals + model.allowed;
            let fetches = f64::from(bench.script.fetches());
            assert!(fetches <= bound, "{fetches} fetches, {bound} allowed");
        });
    }
}
