//! Whether Tokio is compiled with its feature `signal`, which another crate may enable.

/// Used in place of the module of Tokio, which exists only with that feature.
#[allow(dead_code, reason = "Tokio's own is used if there is one")]
mod signal {
    pub(super) mod unix {
        pub(crate) struct SignalKind;
    }
}

pub(crate) fn are_enabled() -> bool {
    #[allow(
        unused_imports,
        clippy::wildcard_imports,
        reason = "of interest is what it has"
    )]
    use tokio::*;

    std::any::type_name::<signal::unix::SignalKind>().starts_with("tokio::")
}
