//! The engine's events as records of the Python logger `layerfi_auth`.
//!
//! An event may come from any thread, with or without the GIL. It is only
//! queued here; a worker passes it to Python's `logging`, so that a slow
//! handler delays nothing else.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::worker::{Call, Worker};

/// Name of the logger, and target of all events of the engine.
const LOGGER: &str = "layerfi_auth";

/// Python's number for `WARNING`.
const WARNING: u8 = 30;

/// Most records in the queue; more are dropped, so that slow handlers do not
/// fill the memory.
const MAX_QUEUED: usize = 10_000;

static QUEUED: AtomicUsize = AtomicUsize::new(0);

pub(crate) static WORKER: Worker<Record> = Worker::new("layerfi-logging", to_call).keep_remaining();

/// An event in the queue.
pub(crate) struct Record {
    level: u8,
    message: String,
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

struct Bridge;

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == LOGGER && *metadata.level() <= Level::DEBUG
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
            message: text.message + &text.fields,
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
        Level::DEBUG | Level::TRACE => 10,
    }
}

/// An event's text: its message, then its other fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, "; {name}: {value:?}"),
        };
    }
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
    let logger = py.import("logging")?.call_method1("getLogger", (LOGGER,))?;
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
    let times = PyDict::new(py);
    times.set_item("created", at.as_secs_f64())?;
    times.set_item("msecs", f64::from(at.subsec_millis()))?;
    for (name, value) in times {
        made.setattr(name.extract::<&str>()?, value)?;
    }
    let handle = logger.getattr("handle")?.unbind();
    Ok(Some((handle, PyTuple::new(py, [made])?.unbind())))
}
