//! Arguments of Python calls: the one place that converts and checks them.
//!
//! A value of a wrong type is a `TypeError` that names the parameter, what was
//! expected and the type that was given, but not the value, which may be a
//! secret that was passed to the wrong parameter. A number out of its range is
//! an `InvalidArgumentError`, or for a setting a `ConfigError`, that names the
//! parameter, its range and the number.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDelta, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::errors::{config, expected, invalid_argument};

/// A value that was passed to a parameter.
#[derive(Clone, Copy)]
pub(crate) struct Arg<'a, 'py> {
    name: &'a str,
    pub(crate) value: &'a Bound<'py, PyAny>,
    is_setting: bool,
}

/// Which numbers of seconds a parameter takes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Seconds {
    /// More than 0.
    Positive,
    /// 0 or more.
    NotNegative,
    /// Those that the engine allows for a timeout of the client. It checks them.
    Setting,
}

impl Seconds {
    const fn range(self) -> &'static str {
        match self {
            Self::Positive => "more than 0 and less than 2**64 seconds",
            Self::NotNegative => "0 or more and less than 2**64 seconds",
            Self::Setting => "0.001 to 3600 s",
        }
    }
}

impl<'a, 'py> Arg<'a, 'py> {
    /// An argument of a call.
    pub(crate) fn of_call(name: &'a str, value: &'a Bound<'py, PyAny>) -> Self {
        Self {
            name,
            value,
            is_setting: false,
        }
    }

    /// A setting that is passed to a constructor.
    pub(crate) fn setting(name: &'a str, value: &'a Bound<'py, PyAny>) -> Self {
        Self {
            name,
            value,
            is_setting: true,
        }
    }

    /// A `TypeError`: the value has a wrong type.
    pub(crate) fn expected(self, what: &str) -> PyErr {
        expected(self.name, what, self.value)
    }

    /// The error for a value of the right type that is not valid.
    pub(crate) fn invalid(self, message: &str, remedy: &str) -> PyErr {
        let new = if self.is_setting {
            config
        } else {
            invalid_argument
        };
        new(self.value.py(), self.name, message, remedy)
    }

    fn out_of_range(self, range: &str) -> PyErr {
        let message = format!("{} must be {range}, got {}", self.name, shown(self.value));
        self.invalid(&message, &format!("use {range}"))
    }

    /// Text: a `str` or a subclass.
    pub(crate) fn text(self) -> PyResult<String> {
        let text = self.value.cast::<PyString>();
        let text = text.map_err(|_| self.expected("a str"))?;
        text.extract().map_err(|_| {
            // A lone surrogate, such as Python makes of a byte that is not UTF-8.
            let message = format!("{} cannot be encoded as UTF-8", self.name);
            self.invalid(&message, "use text without lone surrogates")
        })
    }

    /// Text that is one of a few words.
    pub(crate) fn choice(self, words: &[&'static str]) -> PyResult<&'static str> {
        let text = self.text()?;
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Ok(word);
        }
        let words = words.join(", ");
        let message = format!("{} must be one of {words}", self.name);
        Err(self.invalid(&message, "use one of these words"))
    }

    /// Text or bytes.
    pub(crate) fn text_or_bytes(self) -> PyResult<Vec<u8>> {
        if self.value.is_instance_of::<PyString>() {
            return self.text().map(String::into_bytes);
        }
        // A list of numbers can be converted to bytes too, but is not an id.
        let is_list =
            self.value.is_instance_of::<PyList>() || self.value.is_instance_of::<PyTuple>();
        let bytes = (!is_list).then(|| self.value.extract().ok()).flatten();
        bytes.ok_or_else(|| self.expected("a str or bytes"))
    }

    /// A path: a `str` or an `os.PathLike`.
    pub(crate) fn path(self) -> PyResult<PathBuf> {
        self.value.extract().map_err(|error: PyErr| {
            if error.is_instance_of::<PyTypeError>(self.value.py()) {
                self.expected("a str or an os.PathLike")
            } else {
                error
            }
        })
    }

    /// `True` or `False`.
    pub(crate) fn flag(self) -> PyResult<bool> {
        self.value.extract().map_err(|_| self.expected("a bool"))
    }

    /// Seconds: an `int`, a `float`, or another number that has `__float__`.
    pub(crate) fn seconds(self, allowed: Seconds) -> PyResult<Duration> {
        let duration = match self.number()? {
            Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            None => None,
        };
        match duration {
            Some(Duration::ZERO) if allowed == Seconds::Positive => None,
            other => other,
        }
        .ok_or_else(|| self.out_of_range(allowed.range()))
    }

    /// Seconds that may be negative.
    pub(crate) fn signed_seconds(self) -> PyResult<(bool, Duration)> {
        let seconds = self.number()?.unwrap_or(f64::INFINITY);
        Duration::try_from_secs_f64(seconds.abs())
            .map(|duration| (seconds < 0.0, duration))
            .map_err(|_| self.out_of_range("finite, and less than 2**64 seconds"))
    }

    /// The value as a float; `None` if it is too large for one.
    fn number(self) -> PyResult<Option<f64>> {
        let value = self.value;
        if let Ok(seconds) = value.cast_exact::<PyFloat>() {
            return Ok(Some(seconds.value()));
        }
        let py = value.py();
        let what = "a number of seconds";
        if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyString>() {
            return Err(self.expected(what));
        }
        if is_timedelta(value) {
            return Err(PyTypeError::new_err(format!(
                "{} must be {what}, not timedelta; use its total_seconds()",
                self.name
            )));
        }
        match value.extract::<f64>() {
            Ok(seconds) => Ok(Some(seconds)),
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => Ok(None),
            Err(error)
                if error.is_instance_of::<PyTypeError>(py)
                    || error.is_instance_of::<PyValueError>(py) =>
            {
                Err(self.expected(what))
            }
            Err(error) => Err(error),
        }
    }

    /// A whole number: an `int`, or another number that has `__index__`. The
    /// unit follows the range in errors.
    pub(crate) fn int<N: TryFrom<u64>>(
        self,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> PyResult<N> {
        let number = self.whole_number()?.filter(|number| range.contains(number));
        self.within(number, &range, unit)
    }

    /// As `int`, for a number whose range the engine checks: an error of `range` is
    /// only made for a number that `N` cannot hold.
    pub(crate) fn int_for_engine<N: TryFrom<u64>>(
        self,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> PyResult<N> {
        let number = self.whole_number()?;
        self.within(number, &range, unit)
    }

    fn within<N: TryFrom<u64>>(
        self,
        number: Option<u64>,
        range: &RangeInclusive<u64>,
        unit: &str,
    ) -> PyResult<N> {
        let number = number.and_then(|number| N::try_from(number).ok());
        number.ok_or_else(|| {
            let range = format!("{} to {}{unit}", range.start(), range.end());
            self.out_of_range(&range)
        })
    }

    /// `None` for a number that is negative or does not fit in 64 bits.
    fn whole_number(self) -> PyResult<Option<u64>> {
        let value = self.value;
        let py = value.py();
        if value.is_instance_of::<PyBool>() {
            return Err(self.expected("an int"));
        }
        Ok(match value.extract::<u64>() {
            Ok(number) => Some(number),
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => None,
            Err(error) if error.is_instance_of::<PyTypeError>(py) => {
                return Err(self.expected("an int"));
            }
            Err(error) => return Err(error),
        })
    }

    /// The text of a business id: a `str` or a `uuid.UUID`.
    pub(crate) fn id(self) -> PyResult<Cow<'a, str>> {
        if let Ok(text) = self.value.cast::<PyString>() {
            // Text that cannot be encoded as UTF-8 becomes an id that is not valid.
            return Ok(text.to_string_lossy());
        }
        let uuid = self.value.py().import("uuid")?.getattr("UUID")?;
        if self.value.is_instance(&uuid)? {
            return Ok(Cow::Owned(self.value.str()?.to_string_lossy().into_owned()));
        }
        Err(self.expected("a str or a uuid.UUID"))
    }

    /// The items of an iterable that is not text.
    pub(crate) fn items(self, of: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let what = format!("an iterable of {of}");
        let is_text =
            self.value.is_instance_of::<PyString>() || self.value.is_instance_of::<PyBytes>();
        if is_text {
            return Err(self.expected(&what));
        }
        let items = self.value.try_iter().map_err(|error| {
            if error.is_instance_of::<PyTypeError>(self.value.py()) {
                self.expected(&what)
            } else {
                error
            }
        })?;
        items.collect()
    }
}

/// Whether the value is a `datetime.timedelta`, without importing `datetime`.
fn is_timedelta(value: &Bound<'_, PyAny>) -> bool {
    let kind = value.get_type();
    kind.name().is_ok_and(|name| name == "timedelta") && value.is_instance_of::<PyDelta>()
}

/// A number for an error's text.
fn shown(value: &Bound<'_, PyAny>) -> String {
    if let Ok(number) = value.cast::<PyInt>() {
        if let Ok(number) = number.extract::<i128>() {
            return number.to_string();
        }
        // Python refuses to print numbers of thousands of digits.
        let bits = number.call_method0("bit_length").and_then(|b| b.extract());
        return format!("an int of {} bits", bits.unwrap_or(0_u64));
    }
    let text = value
        .extract::<f64>()
        .and_then(|number| PyFloat::new(value.py(), number).repr());
    text.map_or_else(
        |_| "a number that is too large".to_owned(),
        |text| text.to_string_lossy().into_owned(),
    )
}

/// The error for a keyword argument that a constructor does not have.
pub(crate) fn unexpected(class: &str, name: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{class}() got an unexpected keyword argument {name:?}"
    ))
}
