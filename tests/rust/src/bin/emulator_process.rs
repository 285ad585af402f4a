//! The emulator as a process of its own, for `tests/soak`, which kills it and
//! starts it again. Standard input has its settings in the first line and an
//! order to its control API in each one after; it ends with that. Each line is
//! answered by one: the port, then the answers.

use std::io::{BufRead as _, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use layerfi_auth_emulator::Emulator;
use layerfi_auth_tests::control;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: IpAddr,
    port: u16,
    life_seconds: u64,
    client_id: String,
    client_secret: String,
    /// With TLS, under an authority with this key.
    authority_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    method: String,
    path: String,
    body: Value,
}

/// A frozen process does not see its standard input end. What kills it then is
/// the kernel, when the thread that started it is gone.
#[cfg(target_os = "linux")]
fn die_with_the_parent() {
    // SAFETY: changes nothing but which signal this process gets.
    #[allow(unsafe_code)]
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    assert_eq!(done, 0);
}

#[cfg(not(target_os = "linux"))]
fn die_with_the_parent() {}

fn main() {
    die_with_the_parent();
    let mut lines = std::io::stdin().lock().lines();
    let mut answers = std::io::stdout().lock();
    let mut answer = |line: String| {
        writeln!(answers, "{line}").unwrap();
        answers.flush().unwrap();
    };
    let Some(settings) = lines.next() else {
        return;
    };
    let settings: Settings = serde_json::from_str(&settings.unwrap()).unwrap();
    let life = Duration::from_secs(settings.life_seconds);
    let mut builder = Emulator::builder()
        .api_address(settings.address)
        .port(settings.port)
        .client(settings.client_id, settings.client_secret)
        .rate_limit(None)
        .access_token_lifetime(life)
        .business_token_lifetime(life);
    if let Some(key) = settings.authority_key {
        builder = builder.authority_key(key);
    }
    let layer = builder.start_blocking().unwrap();
    answer(layer.address().port().to_string());
    for order in lines {
        let order: Order = serde_json::from_str(&order.unwrap()).unwrap();
        let at = layer.control_address();
        answer(control(at, &order.method, &order.path, &order.body).to_string());
    }
}
