//! The way from the engine to Python. The engine's background thread never
//! enters the interpreter, where it could wait for the GIL while requests go
//! unattended: it hands things over to couriers, threads that do nothing else.

use std::mem::ManuallyDrop;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use layerfi_auth::blocking::process_generation;
use pyo3::prelude::*;

use crate::{calls, gil, logging};

/// How long the end waits for a courier that is on its way.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that carries things to Python, of one process generation: in the
/// child of a fork it does not exist, and another takes its place.
struct Running<T> {
    generation: u32,
    /// Never dropped in another generation: its lock may be held there for ever.
    sender: ManuallyDrop<mpsc::Sender<Errand<T>>>,
}

enum Errand<T> {
    Deliver(T),
    /// Everything before it is delivered; the thread ends.
    End(mpsc::SyncSender<()>),
}

/// A kind of errands, with a thread of its own, started when first needed.
pub(crate) struct Courier<T: 'static> {
    name: &'static str,
    deliver: fn(Python<'_>, T),
    running: ArcSwapOption<Running<T>>,
}

impl<T: Send + 'static> Courier<T> {
    pub(crate) const fn new(name: &'static str, deliver: fn(Python<'_>, T)) -> Self {
        Self {
            name,
            deliver,
            running: ArcSwapOption::const_empty(),
        }
    }

    /// Hands something over, and never waits. Where no thread can be started,
    /// or the interpreter is ending, it is dropped.
    pub(crate) fn send(&'static self, thing: T) {
        if let Some(running) = self.running() {
            let _ = running.sender.send(Errand::Deliver(thing));
        }
    }

    fn current(&self) -> Option<Arc<Running<T>>> {
        self.running
            .load_full()
            .filter(|running| running.generation == process_generation())
    }

    fn running(&'static self) -> Option<Arc<Running<T>>> {
        if let Some(running) = self.current() {
            return Some(running);
        }
        if !gil::is_open() {
            return None;
        }
        let stale = self.running.load_full();
        let (sender, receiver) = mpsc::channel();
        let fresh = Arc::new(Running {
            generation: process_generation(),
            sender: ManuallyDrop::new(sender),
        });
        let before = self
            .running
            .compare_and_swap(&stale, Some(Arc::clone(&fresh)));
        if !same(before.as_ref(), stale.as_ref()) {
            // Another thread was faster, with a channel that serves as well;
            // nobody has seen ours.
            if let Some(fresh) = Arc::into_inner(fresh) {
                drop(ManuallyDrop::into_inner(fresh.sender));
            }
            return self.current();
        }
        let started = std::thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || self.run(&receiver));
        match started {
            Ok(_) => Some(fresh),
            Err(_) => {
                self.running.compare_and_swap(&fresh, None);
                None
            }
        }
    }

    fn run(&self, receiver: &mpsc::Receiver<Errand<T>>) {
        while let Ok(first) = receiver.recv() {
            // All that has come together by then goes in at once.
            let go_on = Python::try_attach(|py| {
                std::iter::once(first)
                    .chain(receiver.try_iter())
                    .all(|errand| match errand {
                        Errand::Deliver(thing) => {
                            (self.deliver)(py, thing);
                            true
                        }
                        Errand::End(ended) => {
                            let _ = ended.try_send(());
                            false
                        }
                    })
            });
            if go_on != Some(true) {
                return;
            }
        }
    }

    /// Lets the thread deliver what it has, and ends it.
    fn end(&self) {
        if let Some(running) = self.current() {
            let (ended, wait) = mpsc::sync_channel(1);
            if running.sender.send(Errand::End(ended)).is_ok() {
                let _ = wait.recv_timeout(PATIENCE);
            }
        }
    }
}

/// Whether the two are one object.
pub(crate) fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// Called when the interpreter ends.
#[pyfunction]
pub(crate) fn shut_down(py: Python<'_>) {
    gil::close(py);
    py.detach(|| {
        calls::COURIER.end();
        logging::COURIER.end();
    });
}
