//! The Tokio runtime that a command runs in.

use std::future::Future;

use crate::failure::Failure;

/// Runs a future to completion on a new runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::local(
                format!("cannot start the Tokio runtime: {error}"),
                "check the process's limits on threads and file descriptors",
            )
        })?;
    let result = runtime.block_on(future);
    // Does not wait for blocking tasks: a DNS lookup can take 30 seconds.
    runtime.shutdown_background();
    result
}
