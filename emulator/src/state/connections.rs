//! Open connections, and orders to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::lock::lock;

/// What happens to open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectionAction {
    /// Closes them (FIN; over TLS `close_notify` first). Requests in flight get no
    /// response.
    Close,
    /// Resets them.
    Reset,
    /// Ends them in order: requests in flight are answered, and the client is asked
    /// not to send more (`GOAWAY`, or `Connection: close` on HTTP/1.1).
    Finish,
    /// Freezes them until the next release: they accept bytes and send none.
    Freeze,
}

/// Senders of orders to all open connections, by number.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<BTreeMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    orders: mpsc::UnboundedSender<ConnectionAction>,
    in_flight: watch::Receiver<usize>,
}

impl Connections {
    pub(crate) fn register(self: &Arc<Self>, number: u64) -> RegisteredConnection {
        let (sender, orders) = mpsc::unbounded_channel();
        let in_flight = watch::Sender::new(0);
        let open = Open {
            orders: sender,
            in_flight: in_flight.subscribe(),
        };
        lock(&self.open).insert(number, open);
        RegisteredConnection {
            connections: Arc::clone(self),
            number,
            orders,
            in_flight: Arc::new(in_flight),
        }
    }

    /// Gives an order to one connection or to all, or only to those without a
    /// request in flight. Returns the number of connections.
    pub(crate) fn order(
        &self,
        action: ConnectionAction,
        number: Option<u64>,
        only_idle: bool,
    ) -> usize {
        lock(&self.open)
            .iter()
            .filter(|(own, _)| number.is_none_or(|number| number == **own))
            .filter(|(_, open)| !only_idle || *open.in_flight.borrow() == 0)
            .filter(|(_, open)| open.orders.send(action).is_ok())
            .count()
    }
}

/// An open connection that receives orders until it is dropped.
pub(crate) struct RegisteredConnection {
    connections: Arc<Connections>,
    number: u64,
    pub(crate) orders: mpsc::UnboundedReceiver<ConnectionAction>,
    pub(crate) in_flight: Arc<watch::Sender<usize>>,
}

impl Drop for RegisteredConnection {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.number);
    }
}

/// Counts a request as in flight on its connection until it is dropped.
pub(crate) struct InFlight(Arc<watch::Sender<usize>>);

impl InFlight {
    pub(crate) fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
