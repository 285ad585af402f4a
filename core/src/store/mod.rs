//! Shared cache: processes and machines share tokens through a Redis or Valkey server.
//!
//! Before a slot's fetch sends a request, it looks into the store. A token that is good
//! enough is adopted. Otherwise one process gets a lease and sends the request, and the
//! others wait for what it publishes. Entries are sealed under keys that are derived from
//! the client secret. A failing or slow store never fails a call: the process then sends
//! its own request.

mod breaker;
#[cfg(test)]
mod cases;
pub(crate) mod check;
mod connection;
mod failure;
pub(crate) mod fetch;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod memory;
pub(crate) mod policy;
pub(crate) mod redis;
pub(crate) mod seal;
mod stream;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

/// A store that processes share.
pub(crate) trait TokenStore: Send + Sync {
    /// Runs an operation on the keys of a token. It is atomic at the store.
    fn run<'a>(&'a self, operation: Operation<'a>) -> BoxFuture<'a, Result<Reply, StoreError>>;

    /// Whether the store answered last.
    fn is_up(&self) -> bool;

    /// See [`Action::LookUp`].
    fn look_up<'a>(
        &'a self,
        names: &'a Names,
        seen: &'a [u8],
        owner: &'a Owner,
        lease: Duration,
    ) -> BoxFuture<'a, Result<LookUp, StoreError>> {
        let action = Action::LookUp { seen, lease };
        let run = self.run(Operation::new(names, owner, action));
        Box::pin(async move {
            match run.await? {
                Reply::LookUp(look) => Ok(look),
                _ => Err(StoreError::other_reply()),
            }
        })
    }

    /// See [`Action::Publish`].
    fn publish<'a>(
        &'a self,
        names: &'a Names,
        owner: &'a Owner,
        entry: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<Published, StoreError>> {
        let action = Action::Publish { entry, keep };
        let run = self.run(Operation::new(names, owner, action));
        Box::pin(async move {
            match run.await? {
                Reply::Published(published) => Ok(published),
                _ => Err(StoreError::other_reply()),
            }
        })
    }

    /// See [`Action::Release`].
    fn release<'a>(
        &'a self,
        names: &'a Names,
        owner: &'a Owner,
        note: &'a [u8],
        keep: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let action = Action::Release { note, keep };
        let run = self.run(Operation::new(names, owner, action));
        Box::pin(async move { run.await.map(drop) })
    }
}

/// An operation on the keys of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) names: &'a Names,
    pub(crate) owner: &'a Owner,
    pub(crate) action: Action<'a>,
}

impl<'a> Operation<'a> {
    fn new(names: &'a Names, owner: &'a Owner, action: Action<'a>) -> Self {
        Self {
            names,
            owner,
            action,
        }
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    /// Looks for an entry with another mark than `seen` (empty for any entry). If no
    /// entry is there and no failure note forbids it, takes the lease for `lease`; with a lease
    /// of zero, only looks.
    LookUp { seen: &'a [u8], lease: Duration },
    /// Stores an entry for `keep`, if the owner has the lease or the stored entry was not
    /// requested later (by the time at which its lease was granted). Ends the owner's
    /// lease, and removes the failure note.
    Publish { entry: &'a [u8], keep: Duration },
    /// Ends the owner's lease. Stores a failure note for `keep`, unless it is empty.
    Release { note: &'a [u8], keep: Duration },
}

/// Reply to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    LookUp(LookUp),
    Published(Published),
    Released,
}

/// Names of a token's keys in the store. The part in braces is the same, so that a
/// cluster keeps them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The sealed token.
    pub(crate) value: String,
    /// The owner of the lease.
    pub(crate) lease: String,
    /// The failure note.
    pub(crate) note: String,
}

/// Random id of a fetch, which owns its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) [u8; 16]);

/// Identifies a token without telling it.
pub(crate) type Mark = [u8; 16];

/// Answer to a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LookUp {
    /// The store's time, in milliseconds since 1970.
    pub(crate) now: u64,
    pub(crate) found: Found,
    /// The failure note, also if its time is over.
    pub(crate) note: Option<Vec<u8>>,
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An entry with another mark than the one that was seen.
    Entry(Vec<u8>),
    /// A failure note whose time is not over.
    Note,
    /// The lease is the owner's now, or was so already.
    Lease,
    /// Another owner has the lease for this long; `None` if it has no end.
    Held(Option<Duration>),
    /// The store took no lease: it is full, or read-only.
    Refused,
}

/// Answer to a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    Stored,
    /// There is an entry that was requested later, and the store's time.
    Younger {
        now: u64,
        entry: Vec<u8>,
    },
}

/// Failure of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreError {
    pub(crate) kind: StoreErrorKind,
    /// What happened, without a password and without any content of the store.
    pub(crate) what: Arc<str>,
    /// What to do about it, if more is known than the kind.
    pub(crate) remedy: Option<Cow<'static, str>>,
}

/// Kinds of failures of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreErrorKind {
    /// No connection.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// Wrong user name or password, or missing rights.
    Auth,
    /// No answer in time.
    Timeout,
    /// The connection was closed.
    Closed,
    /// The server is loading, busy, out of connections, or its cluster is down.
    Busy,
    /// Too many redirects of a cluster.
    Moved,
    /// An answer that is not expected.
    Protocol,
    /// It failed shortly before, so it was not asked.
    Down,
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, what: impl Into<Arc<str>>) -> Self {
        let what = what.into();
        let remedy = None;
        Self { kind, what, remedy }
    }

    fn with_remedy(self, remedy: impl Into<Cow<'static, str>>) -> Self {
        let remedy = Some(remedy.into());
        Self { remedy, ..self }
    }

    fn other_reply() -> Self {
        Self::new(StoreErrorKind::Protocol, "a reply to another operation")
    }
}

impl StoreErrorKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Busy => "busy",
            Self::Moved => "moved",
            Self::Protocol => "protocol",
            Self::Down => "down",
        }
    }
}
