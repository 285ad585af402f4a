//! Events at the level DEBUG.
//!
//! The C library is compiled without the level DEBUG of `tracing`: the HTTP libraries'
//! events, which nobody receives there, are 80 kB. The engine's own are kept, by the
//! feature `debug-events`.

/// Sends an event at the level DEBUG: fields in brackets, then the message with its
/// arguments.
#[cfg(not(feature = "debug-events"))]
macro_rules! debug {
    ([$($name:ident = $value:expr),*], $($message:tt)+) => {
        ::tracing::debug!(target: "layerfi_auth", $($name = $value,)* $($message)+)
    };
}

/// The same without the check of the level that `tracing` was compiled with. Otherwise it
/// does what the macro of `tracing` does.
#[cfg(feature = "debug-events")]
macro_rules! debug {
    ([$($name:ident = $value:expr),*], $($message:tt)+) => {{
        use ::tracing::callsite::DefaultCallsite;
        use ::tracing::metadata::{Kind, LevelFilter};
        use ::tracing::{Event, Level, Metadata, Value};

        static CALLSITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
        static METADATA: Metadata<'static> = ::tracing::metadata! {
            name: concat!("event ", file!(), ":", line!()),
            target: "layerfi_auth",
            level: Level::DEBUG,
            fields: &["message", $(stringify!($name)),*],
            callsite: &CALLSITE,
            kind: Kind::EVENT,
        };
        if Level::DEBUG <= LevelFilter::current() {
            let interest = CALLSITE.interest();
            if interest.is_always()
                || interest.is_sometimes()
                    && ::tracing::dispatcher::get_default(|wants| wants.enabled(&METADATA))
            {
                let message = format_args!($($message)+);
                let values = [Some(&message as &dyn Value), $(Some(&$value as &dyn Value)),*];
                Event::dispatch(&METADATA, &METADATA.fields().value_set_all(&values));
            }
        }
    }};
}

pub(crate) use debug;

#[cfg(test)]
mod tests {
    use std::fmt::{self, Write as _};
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    /// Events of one level, as text.
    struct Log(Level, Arc<Mutex<String>>);

    impl Subscriber for Log {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "layerfi_auth" && *metadata.level() <= self.0
        }
        fn event(&self, event: &Event<'_>) {
            let mut text = self.1.lock().unwrap();
            write!(text, "{}", event.metadata().level()).unwrap();
            event.record(&mut Text(&mut text));
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    struct Text<'a>(&'a mut String);

    impl Visit for Text<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            write!(self.0, " {field}={value:?}").unwrap();
        }
    }

    #[test]
    fn an_event_has_its_level_its_message_and_its_fields() {
        let text_at = |level| {
            let text = Arc::default();
            tracing::subscriber::with_default(Log(level, Arc::clone(&text)), || {
                debug!([], "without fields");
                debug!(
                    [count = 2, path = tracing::field::debug("/x")],
                    "after {} s", 3
                );
            });
            let text = text.lock().unwrap();
            text.clone()
        };
        let expected = "DEBUG message=without fieldsDEBUG message=after 3 s count=2 path=\"/x\"";
        assert_eq!(text_at(Level::DEBUG), expected);
        assert_eq!(text_at(Level::INFO), "");
    }
}
