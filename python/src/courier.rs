//! The way from the engine to Python. The engine's background thread never
//! enters the interpreter, where it could wait for the GIL while requests go
//! unattended: it hands things over to couriers, threads that do nothing else.
//!
//! Functions of the program's, such as a handler of its log, may take longer
//! than the interpreter lives, and then Python ends their threads as `gil.rs`
//! tells. So they are called from threads of Python's own, in
//! `layerfi_auth/_threads.py`, with no frame of this module below them.

use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use layerfi_auth::blocking::process_generation;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyTuple};

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

/// A Python function that is to be called, and its arguments.
pub(crate) type Call = (Py<PyAny>, Py<PyTuple>);

/// Makes a call of a thing, or sees that none is wanted.
type MakeCall<T> = fn(Python<'_>, T) -> Option<Call>;

/// A kind of errands, with a thread of its own, started when first needed.
pub(crate) struct Courier<T: 'static> {
    name: &'static str,
    call: MakeCall<T>,
    running: ArcSwapOption<Running<T>>,
}

impl<T: Send + 'static> Courier<T> {
    pub(crate) const fn new(name: &'static str, call: MakeCall<T>) -> Self {
        Self {
            name,
            call,
            running: ArcSwapOption::const_empty(),
        }
    }

    /// Hands something over, and never waits. Where no thread can be started,
    /// or the interpreter is ending, it is dropped.
    pub(crate) fn send(&'static self, thing: T) {
        let mut errand = Errand::Deliver(thing);
        // A thread that has ended (out of memory, say) is replaced, once.
        for _ in 0..2 {
            let Some(running) = self.running() else {
                return;
            };
            match running.sender.send(errand) {
                Ok(()) => return,
                Err(mpsc::SendError(unsent)) => errand = unsent,
            }
            self.forget(&running);
        }
    }

    /// Sees to it that there is a thread, or says why there is none: before
    /// something is asked for that somebody will wait for.
    pub(crate) fn ready(&'static self, py: Python<'_>) -> PyResult<()> {
        if self.current().is_some() {
            return Ok(());
        }
        let threads = has_threads(py)?;
        match self.open() {
            Some((running, Some(inbox))) if threads => {
                let started = inbox.carry(py);
                started.inspect_err(|_| self.forget(&running))
            }
            Some((running, Some(inbox))) => Ok(self.spawn(&running, inbox)?),
            _ => Ok(()),
        }
    }

    /// The next to send something starts another thread.
    fn forget(&self, running: &Arc<Running<T>>) {
        self.running.compare_and_swap(running, None);
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
        match self.open()? {
            (running, Some(inbox)) => self.spawn(&running, inbox).ok().map(|()| running),
            (running, None) => Some(running),
        }
    }

    /// Makes a channel. Whoever gets the inbox starts the thread that reads it.
    fn open(&'static self) -> Option<Opened<T>> {
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
            return self.current().map(|running| (running, None));
        }
        let inbox = Inbox {
            receiver,
            call: self.call,
        };
        Some((fresh, Some(inbox)))
    }

    /// Starts the thread from one that has not the GIL, and must not wait for it.
    fn spawn(&'static self, running: &Arc<Running<T>>, inbox: Inbox<T>) -> std::io::Result<()> {
        let opened = Arc::clone(running);
        let started = std::thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || {
                // Where no thread can be started, the inbox goes, and what is in it.
                let started = Python::try_attach(|py| inbox.carry(py));
                if !matches!(started, Some(Ok(()))) {
                    self.forget(&opened);
                }
            });
        started.map(drop).inspect_err(|_| self.forget(running))
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

/// A channel to a courier's thread, with the inbox where there is none yet.
type Opened<T> = (Arc<Running<T>>, Option<Inbox<T>>);

/// What a courier's thread reads its errands from.
struct Inbox<T> {
    receiver: mpsc::Receiver<Errand<T>>,
    call: MakeCall<T>,
}

impl<T: Send + 'static> Inbox<T> {
    fn carry(self, py: Python<'_>) -> PyResult<()> {
        let errands = Errands(Mutex::new(Box::new(self)));
        in_thread(py, "carry", (errands,))
    }
}

trait NextCall: Send {
    /// Waits for the next call, without the GIL; `None` is the end.
    fn next_call(&mut self, py: Python<'_>) -> Option<Call>;
}

impl<T: Send> NextCall for Inbox<T> {
    fn next_call(&mut self, py: Python<'_>) -> Option<Call> {
        loop {
            // What has come together is delivered together, and the GIL kept meanwhile.
            let errand = match self.receiver.try_recv() {
                Ok(errand) => errand,
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) => {
                    let receiver = &mut self.receiver;
                    gil::COURIERS.released(py, move || receiver.recv()).ok()?
                }
            };
            match errand {
                Errand::Deliver(thing) => {
                    if let Some(call) = (self.call)(py, thing) {
                        return Some(call);
                    }
                }
                Errand::End(ended) => {
                    let _ = ended.try_send(());
                    return None;
                }
            }
        }
    }
}

/// The errands of one courier: an iterator that waits, for one thread.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct Errands(Mutex<Box<dyn NextCall>>);

#[pymethods]
impl Errands {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> Option<Call> {
        // Its thread has it; another would wait for it with the GIL.
        self.0.try_lock().ok()?.next_call(py)
    }
}

/// Calls a function of `layerfi_auth/_threads.py` in a thread of Python's own.
/// Where greenlets took the place of threads (gevent), there is no other way
/// than this one, which is to be a thread of ours.
pub(crate) fn in_thread<'py, A>(py: Python<'py>, function: &str, args: A) -> PyResult<()>
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
{
    let function = py.import("layerfi_auth._threads")?.getattr(function)?;
    let args = args.into_pyobject(py)?;
    if has_threads(py)? {
        start_new_thread(py)?.call1((function, args))?;
    } else {
        function.call1(args)?;
    }
    Ok(())
}

fn start_new_thread(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("_thread")?.getattr("start_new_thread")
}

/// Whether greenlets have not taken the place of threads.
fn has_threads(py: Python<'_>) -> PyResult<bool> {
    Ok(start_new_thread(py)?.is_instance_of::<PyCFunction>())
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
    gil::CALLS.close(py);
    py.detach(|| {
        calls::COURIER.end();
        logging::COURIER.end();
    });
    gil::COURIERS.close(py);
}
