//! The runtime of one command.

use std::future::Future;

use crate::failure::Failure;

/// Runs a command's future on a runtime of its own.
pub(crate) fn block_on<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::local(
                format!("no runtime can be started ({error})"),
                "check the process's limits on threads and file descriptors",
            )
        })?;
    let result = runtime.block_on(call);
    // Not waited for: a name that is still being looked up can take half a minute.
    runtime.shutdown_background();
    result
}
