//! The engine's events as records of the Python logger `layerfi_auth`.
//!
//! An event may come from any thread, with or without the GIL. It is only
//! queued here; a worker passes it to Python's `logging`, so that a slow
//! handler delays nothing else.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::SystemTime;

use layerfi_auth::Error;
use layerfi_auth::blocking::process_generation;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyWeakrefReference};
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::worker::{Call, Worker};

/// Name of the logger, and target of all events of the engine.
const LOGGER: &str = "layerfi_auth";

/// The thread's name in records. Python would call it `Dummy-1`, because it
/// does not know the thread.
const THREAD_NAME: &str = "layerfi-auth";

/// Python's number for `DEBUG`.
const DEBUG: u8 = 10;

/// Python's number for `WARNING`.
const WARNING: u8 = 30;

/// Most records in the queue; more are dropped, so that slow handlers do not
/// fill the memory.
const MAX_QUEUED: usize = 10_000;

static QUEUED: AtomicUsize = AtomicUsize::new(0);

pub(crate) static WORKER: Worker<Record> = Worker::new("layerfi-logging", to_call).keep_remaining();

/// Value of an event's field.
enum Value {
    Text(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

/// An event in the queue.
pub(crate) struct Record {
    level: u8,
    message: String,
    fields: Vec<(&'static str, Value)>,
    error: Option<Error>,
    file: &'static str,
    line: u32,
    at: SystemTime,
}

impl Drop for Record {
    fn drop(&mut self) {
        QUEUED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Subscribes to the engine's events, once per process.
pub(crate) fn start() {
    // Not a `Once`: in a fork's child it could wait for a thread of the parent's.
    static STARTED: AtomicBool = AtomicBool::new(false);
    if !STARTED.swap(true, Ordering::Relaxed) {
        // Fails only if there is another subscriber, which then gets the events.
        drop(tracing::subscriber::set_global_default(Bridge));
    }
}

/// The process generation in which debug events make no records now; 0 for none.
static QUIET_IN: AtomicU32 = AtomicU32::new(0);

/// Call that waits. If the logger wants no debug events when the call starts, they make
/// no records until it ends: a record wakes a worker, which takes the GIL and asks the
/// logger, and that costs more than the rest of the call. Without a call, as in a
/// refresh, the worker asks.
pub(crate) struct Quiet;

impl Quiet {
    pub(crate) fn unless_debugging(py: Python<'_>) -> Self {
        // An error is the program's: its logger may be of its own class.
        let is_quiet = matches!(wants_debug(py), Ok(false));
        let generation = if is_quiet { process_generation() } else { 0 };
        QUIET_IN.store(generation, Ordering::Relaxed);
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET_IN.store(0, Ordering::Relaxed);
    }
}

/// Whether debug events are handled.
fn wants_debug(py: Python<'_>) -> PyResult<bool> {
    static MODULES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    // Weak, so that it does not keep `logging` when the interpreter ends.
    static LOGGING: PyOnceLock<Py<PyWeakrefReference>> = PyOnceLock::new();
    let known = LOGGING.get(py).and_then(|weak| weak.bind(py).upgrade());
    let logger = match known {
        Some(logger) => logger,
        None => {
            // Not imported here; see `call_for`.
            let modules = MODULES.import(py, "sys", "modules")?;
            if !modules.contains(intern!(py, "logging"))? {
                return Ok(false);
            }
            let logger = logger(py)?;
            let _ = LOGGING.set(py, PyWeakrefReference::new(&logger)?.unbind());
            logger
        }
    };
    let wants = logger.call_method1(intern!(py, "isEnabledFor"), (DEBUG,))?;
    wants.is_truthy()
}

fn logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("logging")?.call_method1("getLogger", (LOGGER,))
}

fn is_quiet() -> bool {
    match QUIET_IN.load(Ordering::Relaxed) {
        0 => false,
        generation => generation == process_generation(),
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.target() == LOGGER && *metadata.level() <= Level::DEBUG
}

struct Bridge;

impl Subscriber for Bridge {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // `sometimes`: ask each time.
        match is_ours(metadata) {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && (*metadata.level() < Level::DEBUG || !is_quiet())
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        if QUEUED.fetch_add(1, Ordering::Relaxed) >= MAX_QUEUED {
            QUEUED.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        WORKER.submit(Record {
            level: python_level(*metadata.level()),
            message: text.message + &text.suffix,
            fields: text.fields,
            error: text.error,
            file: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
            at: SystemTime::now(),
        });
    }
}

/// The number of Python's level.
fn python_level(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => WARNING,
        Level::INFO => 20,
        Level::DEBUG | Level::TRACE => DEBUG,
    }
}

/// An event's text: its message, then its other fields; and these fields.
#[derive(Default)]
struct Text {
    message: String,
    suffix: String,
    fields: Vec<(&'static str, Value)>,
    error: Option<Error>,
}

impl Text {
    fn add(&mut self, field: &Field, shown: &dyn std::fmt::Debug, value: Value) {
        let _ = write!(self.suffix, "; {}: {shown:?}", field.name());
        self.fields.push((field.name(), value));
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.add(field, value, Value::Text(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, &value, Value::Text(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value, Value::Unsigned(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value, Value::Signed(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value, Value::Bool(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.error = value.downcast_ref::<Error>().cloned();
        let text = value.to_string();
        self.add(field, &format_args!("{text}"), Value::Text(text.clone()));
    }
}

/// Attributes of a record. Those of an error are always there, so that a format
/// and a filter can use them.
fn attributes<'py>(py: Python<'py>, record: &Record) -> PyResult<Bound<'py, PyDict>> {
    let attributes = PyDict::new(py);
    let error = record.error.as_ref();
    attributes.set_item("kind", error.map(|error| error.kind().as_str()))?;
    attributes.set_item("retryable", error.map(Error::is_retryable))?;
    attributes.set_item("http_status", error.and_then(Error::http_status))?;
    attributes.set_item("oauth_error", error.and_then(Error::oauth_error))?;
    attributes.set_item("error_enum", error.and_then(Error::error_enum))?;
    let retry_after = error.and_then(Error::retry_after);
    attributes.set_item("retry_after", retry_after.map(|delay| delay.as_secs_f64()))?;
    attributes.set_item("request_id", error.and_then(Error::request_id))?;
    attributes.set_item("attempts", error.map(Error::attempts))?;
    // Last: the number of attempts so far replaces that of the error.
    for (name, value) in &record.fields {
        match value {
            Value::Text(value) => attributes.set_item(name, value)?,
            Value::Unsigned(value) => attributes.set_item(name, value)?,
            Value::Signed(value) => attributes.set_item(name, value)?,
            Value::Float(value) => attributes.set_item(name, value)?,
            Value::Bool(value) => attributes.set_item(name, value)?,
        }
    }
    Ok(attributes)
}

fn to_call(py: Python<'_>, record: Record) -> Option<Call> {
    call_for(py, &record).ok().flatten()
}

/// The call that passes a record on, if the logger's level allows it.
fn call_for(py: Python<'_>, record: &Record) -> PyResult<Option<Call>> {
    let modules = py.import("sys")?.getattr("modules")?;
    // A program that has not imported `logging` has no handler, so `logging`
    // would print warnings to standard error and drop the rest. It must not be
    // imported on this thread: on Python 3.12 and earlier the thread that first
    // imports `threading`, as `logging` does, counts as the main thread, and
    // the interpreter waits for it at exit.
    if !modules.contains("logging")? {
        if record.level < WARNING {
            return Ok(None);
        }
        let print = py
            .import("layerfi_auth._worker")?
            .getattr("print_warning")?;
        let args = PyTuple::new(py, [&record.message])?;
        return Ok(Some((print.unbind(), args.unbind())));
    }
    let logger = logger(py)?;
    if !logger
        .call_method1("isEnabledFor", (record.level,))?
        .is_truthy()?
    {
        return Ok(None);
    }
    let made = logger.call_method1(
        "makeRecord",
        (
            LOGGER,
            record.level,
            record.file,
            record.line,
            "%s",
            (&record.message,),
            py.None(),
        ),
    )?;
    let at = record
        .at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    for (name, value) in attributes(py, record)? {
        // An event's field must not replace an attribute of every record.
        let name: String = name.extract()?;
        if !made.hasattr(name.as_str())? {
            made.setattr(name.as_str(), value)?;
        }
    }
    made.setattr("created", at.as_secs_f64())?;
    made.setattr("msecs", f64::from(at.subsec_millis()))?;
    made.setattr("threadName", THREAD_NAME)?;
    let handle = logger.getattr("handle")?.unbind();
    Ok(Some((handle, PyTuple::new(py, [made])?.unbind())))
}
