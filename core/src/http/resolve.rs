//! Looks up host names on threads of its own.
//!
//! The system's lookup (`getaddrinfo`) blocks its thread. Tokio's threads for
//! blocking work are started when they are needed, and Tokio panics if no thread
//! can be started. So one thread for lookups is started in advance, together with
//! the engine's thread: if that fails, the call fails with a retryable error.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use crate::sys::fork::{PerProcess, woken_by_others};
use crate::sys::queue::{Received, Sender, queue};
use crate::sys::{descriptors, threads};

/// Most threads for lookups at the same time, so that slow names do not delay
/// the others.
const MAX_THREADS: usize = 8;

/// Descriptors that a lookup needs: for the files of the configuration, and for
/// sockets to the name servers. With fewer, the system's library reports that the
/// name does not exist, or remembers an incomplete configuration.
const DESCRIPTORS: usize = 3;

static LOOKUPS: PerProcess<Lookups> = PerProcess::new();

/// The thread that was started in advance, and the number of the others.
struct Lookups {
    queue: Sender<Lookup>,
    /// Lookups in the queue, including the one that its thread runs.
    queued: Arc<AtomicUsize>,
    /// Threads that run one lookup each.
    extra: Arc<AtomicUsize>,
}

/// Lookup of one name. Nobody waits for the answer if the call has ended.
struct Lookup {
    name: String,
    answer: oneshot::Sender<io::Result<Vec<SocketAddr>>>,
}

impl Lookup {
    fn run(self) {
        if !self.answer.is_closed() {
            let _ = self.answer.send(look_up(&self.name));
        }
    }
}

fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    descriptors::check_free(DESCRIPTORS)?;
    match (name, 0).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        // Another thread may have taken the descriptors since then.
        Err(error) => Err(descriptors::check_free(DESCRIPTORS).err().unwrap_or(error)),
    }
}

/// Starts the thread for lookups, unless this process has one.
///
/// # Errors
/// The system's error if no thread can be started. The next call tries again.
pub(crate) fn start() -> io::Result<()> {
    lookups().map(drop)
}

fn lookups() -> io::Result<&'static Lookups> {
    LOOKUPS.get_or_try_init(|| {
        let (queue, lookups) = queue::<Lookup>();
        let queued = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&queued);
        threads::start("layerfi-dns", move || {
            while let Received::Message(lookup) = lookups.receive(Duration::MAX) {
                lookup.run();
                counted.fetch_sub(1, Ordering::Relaxed);
            }
        })?;
        Ok(Lookups {
            queue,
            queued,
            extra: Arc::default(),
        })
    })
}

impl Lookups {
    /// Runs a lookup on the thread that was started in advance if that is idle, or
    /// else on a new thread. If none can be started, the lookup waits in the queue.
    fn submit(&self, lookup: Lookup) {
        let idle = self
            .queued
            .compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        let lookup = match idle {
            Ok(_) => lookup,
            Err(_) => match self.on_new_thread(lookup) {
                None => return,
                Some(lookup) => {
                    self.queued.fetch_add(1, Ordering::Relaxed);
                    lookup
                }
            },
        };
        // Not sent only if the thread has ended; then `answer` is dropped.
        self.queue.send(lookup);
    }

    /// Returns the lookup if no thread can be started for it.
    fn on_new_thread(&self, lookup: Lookup) -> Option<Lookup> {
        if self.extra.fetch_add(1, Ordering::Relaxed) + 2 > MAX_THREADS {
            self.extra.fetch_sub(1, Ordering::Relaxed);
            return Some(lookup);
        }
        let extra = Arc::clone(&self.extra);
        // Shared with the thread, because a closure of a thread that was not started
        // is lost.
        let lookup = Arc::new(Mutex::new(Some(lookup)));
        let take = |lookup: &Mutex<Option<Lookup>>| {
            let mut lookup = lookup.lock().unwrap_or_else(PoisonError::into_inner);
            lookup.take()
        };
        let threads_lookup = Arc::clone(&lookup);
        let started = threads::start("layerfi-dns", move || {
            if let Some(lookup) = take(&threads_lookup) {
                lookup.run();
            }
            extra.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_ok() {
            return None;
        }
        self.extra.fetch_sub(1, Ordering::Relaxed);
        take(&lookup)
    }
}

/// Addresses of a host, with a port.
///
/// # Errors
/// The system's error.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (answer, result) = oneshot::channel();
    lookups()?.submit(Lookup {
        name: host.to_owned(),
        answer,
    });
    let lost = |_| io::Error::other("the thread for name lookups has ended");
    let mut found = woken_by_others(result).await.map_err(lost)??;
    for address in &mut found {
        address.set_port(port);
    }
    Ok(found)
}

/// Error of a host name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address")]
pub(super) struct UnknownName(#[source] io::Error);

/// Resolver of the HTTP client.
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // reqwest replaces the port 0.
            match addresses(name.as_str(), 0).await {
                Ok(found) => Ok(Box::new(found.into_iter()) as Addrs),
                // The resolver's own errors have neither a code nor a kind.
                Err(error)
                    if error.raw_os_error().is_none() && error.kind() != io::ErrorKind::Other =>
                {
                    Err(UnknownName(error).into())
                }
                Err(error) => Err(error.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_resolved_and_unknown_names_are_an_error() {
        for host in ["localhost", "127.0.0.1", "::1"] {
            let found = addresses(host, 80).await.unwrap();
            let is_right = |at: &SocketAddr| at.ip().is_loopback() && at.port() == 80;
            assert!(found.iter().any(is_right), "{host}: {found:?}");
        }
        // A name that no server may answer (RFC 6761).
        assert!(addresses("name.invalid", 80).await.is_err());
    }

    #[tokio::test]
    async fn slow_lookup_does_not_delay_another_name() {
        let lookups = lookups().unwrap();
        // As if the thread ran a lookup that does not end.
        lookups.queued.fetch_add(1, Ordering::Relaxed);
        let mut waiting = Vec::new();
        for _ in 0..4 * MAX_THREADS {
            waiting.push(addresses("localhost", 80));
        }
        for found in futures_util::future::join_all(waiting).await {
            assert!(!found.unwrap().is_empty());
        }
        lookups.queued.fetch_sub(1, Ordering::Relaxed);
    }

    #[test]
    fn b26_lookup_of_a_call_that_has_ended_is_skipped() {
        let (answer, result) = oneshot::channel();
        drop(result);
        let name = "localhost".to_owned();
        Lookup { name, answer }.run();
    }
}
