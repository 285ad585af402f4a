//! The emulator as a process of its own, on ports that are given, until its
//! standard input ends: for `tests/soak.rs`, which kills it and starts it again.

use std::io::Read as _;

use layerfi_auth_emulator::Emulator;

fn main() {
    let port = |number| std::env::args().nth(number).unwrap().parse().unwrap();
    let life: u64 = std::env::args().nth(3).unwrap().parse().unwrap();
    let layer = Emulator::builder()
        .port(port(1))
        .control_port(port(2))
        .rate_limit(None)
        .access_token_lifetime(std::time::Duration::from_secs(life))
        .business_token_lifetime(std::time::Duration::from_secs(life))
        .start_blocking()
        .unwrap();
    println!(
        "{} {}",
        layer.address().port(),
        layer.control_address().port()
    );
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
