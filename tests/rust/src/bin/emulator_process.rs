//! Runs the emulator in a separate process for the soak test, which kills and
//! restarts it. The first line of standard input contains the settings, each later
//! line a request to the control API. Every line is answered with one line: first
//! the port, then the responses. The process ends when standard input is closed.

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
    /// Enables TLS with a certificate authority that has this key.
    authority_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlRequest {
    method: String,
    path: String,
    body: Value,
}

/// Lets the kernel kill this process when the thread that started it ends. A stopped
/// process (SIGSTOP) would not notice that its standard input was closed.
#[cfg(target_os = "linux")]
fn end_with_parent() {
    // SAFETY: only sets the signal that this process receives.
    #[allow(unsafe_code)]
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    assert_eq!(done, 0, "prctl failed");
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() {}

fn main() {
    end_with_parent();
    let mut lines = std::io::stdin().lock().lines();
    let mut output = std::io::stdout().lock();
    let mut respond = |line: String| {
        writeln!(output, "{line}").unwrap();
        output.flush().unwrap();
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
    respond(layer.address().port().to_string());
    for line in lines {
        let request: ControlRequest = serde_json::from_str(&line.unwrap()).unwrap();
        let at = layer.control_address();
        respond(control(at, &request.method, &request.path, &request.body).to_string());
    }
}
