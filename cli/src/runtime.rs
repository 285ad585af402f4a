//! The Tokio runtime that a command runs in.

use std::future::Future;

use crate::failure::Failure;

/// Runs a future to completion on a new runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // Without threads of its own: a runtime with several panics if it cannot start them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| {
            Failure::local(
                format!("cannot start the Tokio runtime: {error}"),
                "check the process's limits on threads and file descriptors",
            )
        })?;
    runtime.block_on(future)
}
