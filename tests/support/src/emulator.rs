//! Emulators: started, described to child processes, and checked.

use std::process::Command;
use std::time::{Duration, Instant};

use layerfi_auth_emulator::{
    Counters, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Emulator, Endpoint,
};

/// How long a test waits for something that must happen. It is long because
/// the machine may be busy; a test that passes does not wait for it.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Starts an emulator with default settings and no rate limit.
pub fn emulator() -> Emulator {
    Emulator::builder()
        .rate_limit(None)
        .start_blocking()
        .unwrap()
}

/// The environment variables that direct a client to the emulator. A CA file
/// is not among them.
pub fn emulator_variables(layer: &Emulator) -> [(&'static str, String); 7] {
    [
        ("LAYER_ENVIRONMENT", "custom".to_owned()),
        ("LAYER_API_URL", layer.url()),
        ("LAYER_AUTH_URL", layer.token_url()),
        ("LAYER_SCOPE", layer.scope().to_owned()),
        ("LAYER_CLIENT_ID", DEFAULT_CLIENT_ID.to_owned()),
        ("LAYER_CLIENT_SECRET", DEFAULT_CLIENT_SECRET.to_owned()),
        ("LAYER_ALLOW_HTTP_LOOPBACK", "1".to_owned()),
    ]
}

/// Removes the `LAYER_*` and proxy variables of this process from a command's
/// environment.
pub fn remove_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("LAYER_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(&*name);
        }
    }
}

/// Asserts the number of requests per endpoint; endpoints that are not listed
/// must have received none.
#[track_caller]
pub fn assert_requests(layer: &Emulator, expected: &[(Endpoint, u64)]) {
    let counters = layer.counters();
    let actual: Vec<_> = Endpoint::ALL
        .into_iter()
        .map(|endpoint| (endpoint, counters.endpoint(endpoint).total))
        .filter(|(_, total)| *total > 0)
        .collect();
    assert_eq!(
        actual, expected,
        "the emulator received other requests than expected"
    );
}

/// Waits until a condition holds; panics with its description after [`MAX_WAIT`].
#[track_caller]
pub fn wait_for(description: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < MAX_WAIT,
            "not within {MAX_WAIT:?}: {description}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the emulator's counters satisfy a condition; panics after
/// [`MAX_WAIT`].
#[track_caller]
pub fn eventually(layer: &Emulator, condition: impl Fn(&Counters) -> bool) {
    let started = Instant::now();
    assert!(
        layer.wait_until(condition, MAX_WAIT),
        "the condition was not met within {:?}; counters: {:?}",
        started.elapsed(),
        layer.counters()
    );
}
