//! The engine's events as records of the Python logger `layerfi_auth`.
//!
//! An event may come from any thread, with the GIL or without it, and from
//! within anything. So it is only put into a queue here; a courier hands it to
//! Python's `logging`, whose handlers may then take their time.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::courier::{Call, Courier};

/// The logger, and the target of all events of the engine's.
const LOGGER: &str = "layerfi_auth";

/// Records that may wait; past these they are dropped. Handlers that are so
/// slow must not fill the memory.
const MOST_WAITING: usize = 10_000;

static WAITING: AtomicUsize = AtomicUsize::new(0);

pub(crate) static COURIER: Courier<Record> = Courier::new("layerfi-logging", call);

/// An event, as it is kept until a courier comes.
pub(crate) struct Record {
    level: u8,
    message: String,
    file: &'static str,
    line: u32,
    at: SystemTime,
}

impl Drop for Record {
    /// Whether it was handed over or not, it waits no more.
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts the bridge, once per process.
pub(crate) fn start() {
    // No `Once`: nobody may wait here for a thread that a fork has left behind.
    static STARTED: AtomicBool = AtomicBool::new(false);
    if !STARTED.swap(true, Ordering::Relaxed) {
        // Refused only if there is another one, whose business the events are then.
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
        if WAITING.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        COURIER.send(Record {
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
        Level::WARN => 30,
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

fn call(py: Python<'_>, record: Record) -> Option<Call> {
    handling(py, &record).ok().flatten()
}

/// The call that hands a record to the logger, where it wants it.
fn handling(py: Python<'_>, record: &Record) -> PyResult<Option<Call>> {
    let modules = py.import("sys")?.getattr("modules")?;
    // Where nobody has imported `logging`, nobody listens below a warning.
    if record.level < 30 && !modules.contains("logging")? {
        return Ok(None);
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
