//! Worker threads: they take jobs from the engine and call Python functions.
//!
//! The engine's background thread never enters the interpreter, because a wait
//! for the GIL would delay every request. It submits a job to a worker
//! instead, which does nothing else.
//!
//! Functions of the user's program, such as a log handler, may still run when
//! the interpreter shuts down. Python then ends their threads as `gil.rs`
//! describes. They are therefore called from Python threads, by
//! `layerfi_auth/_worker.py`, with no frame of this module on the stack.

use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use layerfi_auth::blocking::{process_generation, start_thread};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyTuple};

use crate::fork::{self, Inside};
use crate::gil;

/// Longest time that `stop` waits for the jobs that were submitted before it.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two checks of `stop` for a channel that was discarded because its
/// thread failed to start.
const STOP_INTERVAL: Duration = Duration::from_millis(10);

/// A Python function and the arguments to call it with.
pub(crate) type Call = (Py<PyAny>, Py<PyTuple>);

/// Converts a job into a call; `None` if there is nothing to call.
type ToCall<T> = fn(Python<'_>, T) -> Option<Call>;

/// A worker for jobs of type `T`. Its thread starts when first needed.
pub(crate) struct Worker<T: 'static> {
    name: &'static str,
    to_call: ToCall<T>,
    /// Whether `run_remaining` is called at exit.
    runs_remaining: bool,
    channel: ArcSwapOption<Channel<T>>,
    /// Jobs whose thread failed to start, for `run_remaining`.
    remaining: ArcSwapOption<Remaining>,
}

/// Jobs of one process whose threads failed to start, in order.
struct Remaining {
    generation: u32,
    queues: Vec<Py<Jobs>>,
}

/// The sending side of a worker's queue. The child of a fork has no thread that
/// reads it and opens another channel.
struct Channel<T> {
    generation: u32,
    /// Never dropped in another process: its lock may be held there forever.
    sender: ManuallyDrop<mpsc::Sender<Message<T>>>,
}

enum Message<T> {
    Job(T),
    /// Ends the thread; answered when all earlier jobs are done.
    Stop(mpsc::SyncSender<()>),
}

/// The receiving side of a worker's queue.
struct JobQueue<T> {
    receiver: mpsc::Receiver<Message<T>>,
    to_call: ToCall<T>,
    /// While the thread does not wait for a job.
    inside: Option<Inside>,
}

/// A worker's channel, with its queue if this caller has to start the thread.
type Opened<T> = (Arc<Channel<T>>, Option<JobQueue<T>>);

impl<T: Send + 'static> Worker<T> {
    pub(crate) const fn new(name: &'static str, to_call: ToCall<T>) -> Self {
        Self {
            name,
            to_call,
            runs_remaining: false,
            channel: ArcSwapOption::const_empty(),
            remaining: ArcSwapOption::const_empty(),
        }
    }

    /// Keeps jobs whose thread failed to start, for `run_remaining`.
    pub(crate) const fn keep_remaining(mut self) -> Self {
        self.runs_remaining = true;
        self
    }

    /// Submits a job without waiting. The job is dropped if the interpreter is
    /// shutting down or the thread fails to start (but see `keep_remaining`).
    pub(crate) fn submit(&'static self, job: T) {
        let mut message = Message::Job(job);
        // A thread that has ended (out of memory, for example) is replaced once.
        for _ in 0..2 {
            let Some(channel) = self.channel() else {
                return;
            };
            match channel.sender.send(message) {
                Ok(()) => return,
                Err(mpsc::SendError(unsent)) => message = unsent,
            }
            self.discard(&channel);
        }
    }

    /// Starts the thread if it does not run; fails if it cannot be started.
    /// Called before a job whose result a caller waits for.
    pub(crate) fn ensure_started(&'static self, py: Python<'_>) -> PyResult<()> {
        if self.current().is_some() {
            return Ok(());
        }
        let threads = has_threads(py)?;
        match self.open() {
            Some((channel, Some(queue))) if threads => {
                let started = Bound::new(py, Jobs::new(queue)).and_then(|jobs| run_jobs(&jobs));
                started.inspect_err(|_| self.discard(&channel))
            }
            Some((channel, Some(queue))) => Ok(self.spawn(&channel, queue)?),
            _ => Ok(()),
        }
    }

    /// Forgets a channel; the next job opens another.
    fn discard(&self, channel: &Arc<Channel<T>>) {
        self.channel.compare_and_swap(channel, None);
    }

    /// The channel of this process, if it is open.
    fn current(&self) -> Option<Arc<Channel<T>>> {
        self.channel
            .load_full()
            .filter(|channel| channel.generation == process_generation())
    }

    fn channel(&'static self) -> Option<Arc<Channel<T>>> {
        if let Some(channel) = self.current() {
            return Some(channel);
        }
        match self.open()? {
            (channel, Some(queue)) => self.spawn(&channel, queue).ok().map(|()| channel),
            (channel, None) => Some(channel),
        }
    }

    /// Opens a channel. The caller that gets the queue starts the thread.
    fn open(&'static self) -> Option<Opened<T>> {
        if !gil::is_open() {
            return None;
        }
        let stale = self.channel.load_full();
        let (sender, receiver) = mpsc::channel();
        let opened = Arc::new(Channel {
            generation: process_generation(),
            sender: ManuallyDrop::new(sender),
        });
        let before = self
            .channel
            .compare_and_swap(&stale, Some(Arc::clone(&opened)));
        if !ptr_eq(before.as_ref(), stale.as_ref()) {
            // Another thread opened one first. No other thread has a reference
            // to this one.
            if let Some(unused) = Arc::into_inner(opened) {
                drop(ManuallyDrop::into_inner(unused.sender));
            }
            return self.current().map(|channel| (channel, None));
        }
        let queue = JobQueue {
            receiver,
            to_call: self.to_call,
            inside: None,
        };
        Some((opened, Some(queue)))
    }

    /// Starts the thread from a caller that does not hold the GIL and must not
    /// wait for it.
    fn spawn(&'static self, channel: &Arc<Channel<T>>, queue: JobQueue<T>) -> std::io::Result<()> {
        let opened = Arc::clone(channel);
        let started = start_thread(self.name, move || {
            let _inside = Inside::enter();
            let started = Python::try_attach(|py| {
                let jobs = Bound::new(py, Jobs::new(queue))?;
                let started = run_jobs(&jobs);
                if started.is_err() && self.runs_remaining {
                    self.keep(jobs);
                }
                started
            });
            if !matches!(started, Some(Ok(()))) {
                self.discard(&opened);
            }
        });
        started.inspect_err(|_| self.discard(channel))
    }

    /// Ends the thread after the jobs that were submitted before.
    pub(crate) fn stop(&self) {
        if let Some(channel) = self.current() {
            let (done, wait) = mpsc::sync_channel(1);
            if channel.sender.send(Message::Stop(done)).is_err() {
                return;
            }
            let until = Instant::now() + STOP_TIMEOUT;
            while wait.recv_timeout(STOP_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout)
                && ptr_eq(self.channel.load().as_ref(), Some(&channel))
                && Instant::now() < until
            {}
        }
    }

    fn keep(&self, jobs: Bound<'_, Jobs>) {
        let py = jobs.py();
        let generation = process_generation();
        let earlier = self.remaining.load_full();
        let earlier = earlier
            .iter()
            .filter(|earlier| earlier.generation == generation);
        let mut queues: Vec<_> = earlier
            .flat_map(|earlier| earlier.queues.iter().map(|queue| queue.clone_ref(py)))
            .collect();
        queues.push(jobs.unbind());
        let remaining = Remaining { generation, queues };
        self.remaining.store(Some(Arc::new(remaining)));
    }

    /// Runs the jobs whose thread failed to start, on the current thread.
    /// Python 3.12 starts no thread once the interpreter shuts down.
    pub(crate) fn run_remaining(&self, py: Python<'_>) {
        let Some(remaining) = self.remaining.swap(None) else {
            return;
        };
        if remaining.generation == process_generation() {
            for jobs in &remaining.queues {
                while let Some((function, args)) = jobs.get().next(py, Wait::No) {
                    // A log handler has reported its error.
                    let _ = function.call1(py, args);
                }
            }
        }
    }
}

/// Starts a Python thread that runs `jobs`.
fn run_jobs(jobs: &Bound<'_, Jobs>) -> PyResult<()> {
    in_thread(jobs.py(), "run_worker", (jobs.clone(),))
}

trait NextCall: Send {
    /// The next call; `None` at the end. Waits for it without the GIL.
    fn next_call(&mut self, py: Python<'_>, wait: Wait) -> Option<Call>;
}

/// Whether to wait for a job if the queue is empty.
#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Yes,
    No,
}

impl<T: Send> NextCall for JobQueue<T> {
    fn next_call(&mut self, py: Python<'_>, wait: Wait) -> Option<Call> {
        loop {
            // Jobs that are already queued are run without releasing the GIL, unless
            // a fork waits for it.
            if fork::is_forking() && wait == Wait::Yes {
                let inside = &mut self.inside;
                gil::WORKERS.released(py, || {
                    drop(inside.take());
                    *inside = Some(Inside::enter());
                });
            }
            let message = match self.receiver.try_recv() {
                Ok(message) => message,
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) if wait == Wait::No => return None,
                Err(mpsc::TryRecvError::Empty) => {
                    let (receiver, inside) = (&mut self.receiver, &mut self.inside);
                    let received = gil::WORKERS.released(py, move || {
                        drop(inside.take());
                        let received = receiver.recv();
                        *inside = Some(Inside::enter());
                        received
                    });
                    received.ok()?
                }
            };
            match message {
                Message::Job(job) => {
                    if let Some(call) = (self.to_call)(py, job) {
                        return Some(call);
                    }
                }
                Message::Stop(done) => {
                    let _ = done.try_send(());
                    return None;
                }
            }
        }
    }
}

/// Iterator over the calls of one worker, for its thread only.
#[pyclass(frozen, module = "layerfi_auth._native")]
pub(crate) struct Jobs(Mutex<Box<dyn NextCall>>);

impl Jobs {
    fn new<T: Send + 'static>(mut queue: JobQueue<T>) -> Self {
        queue.inside = Some(Inside::now());
        Self(Mutex::new(Box::new(queue)))
    }

    fn next(&self, py: Python<'_>, wait: Wait) -> Option<Call> {
        // A second thread would wait for the lock with the GIL held.
        self.0.try_lock().ok()?.next_call(py, wait)
    }
}

#[pymethods]
impl Jobs {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> Option<Call> {
        self.next(py, Wait::Yes)
    }
}

/// Calls a function of `layerfi_auth/_worker.py` in a new Python thread. Where
/// something unknown replaces Python's threads, it is called on the current
/// thread, which must be a thread of this module.
pub(crate) fn in_thread<'py, A>(py: Python<'py>, function: &str, args: A) -> PyResult<()>
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
{
    let function = py.import("layerfi_auth._worker")?.getattr(function)?;
    let args = args.into_pyobject(py)?;
    if has_threads(py)? {
        start_new_thread(py)?.call1((function, args))?;
    } else {
        function.call1(args)?;
    }
    Ok(())
}

/// The function that starts threads, also where gevent or eventlet have
/// replaced it with one that starts greenlets.
fn start_new_thread(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let start = py.import("_thread")?.getattr("start_new_thread")?;
    if is_native(&start) {
        return Ok(start);
    }
    py.import("layerfi_auth._worker")?
        .call_method1("unpatched", (start,))
}

fn is_native(function: &Bound<'_, PyAny>) -> bool {
    function.is_instance_of::<PyCFunction>()
}

/// Whether threads can be started, and not only greenlets.
fn has_threads(py: Python<'_>) -> PyResult<bool> {
    Ok(is_native(&start_new_thread(py)?))
}

/// Whether both are the same object, or both `None`.
pub(crate) fn ptr_eq<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}
