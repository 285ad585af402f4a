//! `-v`: what the engine tells, on standard error.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts it, if it is wanted. Only this project's own events are let through:
/// it answers for what they hold, and for nobody else's.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let targets = Targets::new()
        .with_target("layerfi_auth", level)
        .with_target("layerfi_auth_cli", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // Whoever calls this as a library may have a subscriber already: it stays.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .try_init();
}
