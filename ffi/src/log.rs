//! The log callback.

use std::ffi::c_void;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::callback::{self, UserData};
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::result::layerfi_result;
use crate::str_view::{layerfi_str, owned};

/// The severity of a log message.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum layerfi_log_level {
    /// No messages.
    Off = 0,
    /// A fault that needs attention.
    Error = 1,
    /// A failure that the library handles.
    Warn = 2,
    /// Events of general interest.
    Info = 3,
    /// Requests, retries and refreshes.
    Debug = 4,
    /// Details.
    Trace = 5,
}

/// Receives a log message. `level` is a layerfi_log_level; `message` is valid
/// during the call only, and contains no secret and no token at any level.
///
/// It is called from any thread, and may be called from several threads at the
/// same time. It must be fast: the library's background thread waits for it. It
/// may call the library, but functions that wait return
/// LAYERFI_RESULT_WOULD_DEADLOCK in it, and messages that are logged by its
/// thread meanwhile are dropped. It must not fork, throw or longjmp.
pub type layerfi_log_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, level: u32, message: layerfi_str)>;

type Callback = unsafe extern "C" fn(userdata: *mut c_void, level: u32, message: layerfi_str);

static SINK: ArcSwapOption<(Callback, UserData)> = ArcSwapOption::const_empty();
static LEVEL: AtomicU32 = AtomicU32::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Sends the log of all clients of this process to `callback`. It replaces an
/// earlier callback. NULL or LAYERFI_LOG_LEVEL_OFF ends the log.
///
/// `level` is the most detailed level to send, a layerfi_log_level. `userdata` is
/// passed to the callback. A call of the old callback may still run in another
/// thread when this function returns, so never free what `userdata` points to.
/// May be called from any thread. A forked child keeps the callback.
///
/// Errors: LAYERFI_RESULT_INVALID_ENUM for a number that is not a level.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_set_log_callback(
    callback: layerfi_log_callback,
    userdata: *mut c_void,
    level: u32,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        if level > layerfi_log_level::Trace as u32 {
            return Err(Failure::Enum("level", level));
        }
        let Some(callback) = callback.filter(|_| level != layerfi_log_level::Off as u32) else {
            LEVEL.store(layerfi_log_level::Off as u32, Ordering::Relaxed);
            SINK.store(None);
            return Ok(());
        };
        if !INSTALLED.swap(true, Ordering::Relaxed)
            && tracing::subscriber::set_global_default(Sink).is_err()
        {
            INSTALLED.store(false, Ordering::Relaxed);
            return Err(Failure::LogTaken);
        }
        SINK.store(Some(Arc::new((callback, UserData::new(userdata, None)))));
        LEVEL.store(level, Ordering::Relaxed);
        Ok(())
    })
}

/// Receives the engine's events. The HTTP libraries' events are left out: they may show headers.
struct Sink;

fn number(level: Level) -> u32 {
    let level = match level {
        Level::ERROR => layerfi_log_level::Error,
        Level::WARN => layerfi_log_level::Warn,
        Level::INFO => layerfi_log_level::Info,
        Level::DEBUG => layerfi_log_level::Debug,
        Level::TRACE => layerfi_log_level::Trace,
    };
    level as u32
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    let rest = metadata.target().strip_prefix("layerfi_auth");
    metadata.is_event() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl Subscriber for Sink {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) {
            // The level may change at any time, so `enabled` is called for each
            // event.
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && number(*metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        // No recursion if the callback itself causes an event.
        if callback::is_running() {
            return;
        }
        let Some(sink) = SINK.load_full() else {
            return;
        };
        let mut text = Text::default();
        event.record(&mut text);
        let message = owned(&(text.message + &text.fields));
        let (function, userdata) = &*sink;
        callback::run(|| {
            // SAFETY: the function was passed with this userdata, for any thread, and the view is
            // valid until it returns.
            unsafe {
                function(
                    userdata.pointer(),
                    number(*event.metadata().level()),
                    layerfi_str::of(&message),
                );
            }
        });
    }

    // The engine's spans have no information that its events do not have.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// An event as one line: the message, then `name=value` for each field.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }

    /// With three decimals. The standard library's code for all of them is 20 kB of the C
    /// library, and no event of the engine has such a field.
    fn record_f64(&mut self, field: &Field, value: f64) {
        let sign = if value < 0.0 { "-" } else { "" };
        let thousandths = (value.abs() * 1_000.0).round() as u64;
        let (whole, rest) = (thousandths / 1_000, thousandths % 1_000);
        self.record_debug(field, &format_args!("{sign}{whole}.{rest:03}"));
    }
}
