//! Methods of `Client` that serve a cache hit without PyO3's argument parser.
//!
//! PyO3 passes the arguments of a method with keywords through a general parser, and
//! counts in thread-local storage that the thread is attached. Both together cost more
//! than a hit. So each method here stands in front of the method that PyO3 made: it
//! serves the calls that find a token in the cache, and passes all others on. Its
//! signature and its documentation are those of PyO3's method.

#![allow(unsafe_code)] // For functions that the interpreter calls.

use std::ffi::{CString, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyTypeInfo};

use crate::client::{ClientBase, business_token_options, call_timeout};
use crate::pending::ToPython as _;

/// A method that may find its result in the cache.
trait HitMethod {
    const NAME: &'static str;
    /// Whether the method has exactly one argument, which is positional. The interpreter
    /// passes it without counting arguments.
    const HAS_ONE_ARGUMENT: bool = false;

    /// The method that PyO3 made.
    fn original() -> &'static PyOnceLock<Py<PyAny>>;

    /// The result of a hit. `None` also for arguments that only PyO3's method reads.
    fn cached(client: &ClientBase, arguments: &Arguments<'_, '_>) -> PyResult<Option<Py<PyAny>>>;
}

macro_rules! hit_method {
    ($method:ident, $name:literal, $one:literal, $cached:expr) => {
        struct $method;

        impl HitMethod for $method {
            const NAME: &'static str = $name;
            const HAS_ONE_ARGUMENT: bool = $one;

            fn original() -> &'static PyOnceLock<Py<PyAny>> {
                static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                &ORIGINAL
            }

            #[inline]
            fn cached(
                client: &ClientBase,
                arguments: &Arguments<'_, '_>,
            ) -> PyResult<Option<Py<PyAny>>> {
                $cached(client, arguments)
            }
        }
    };
}

hit_method!(Token, "token", false, token);
hit_method!(Authorization, "authorization", false, authorization);
hit_method!(CachedToken, "_cached_token", true, cached_token);
hit_method!(
    CachedAuthorization,
    "_cached_authorization",
    true,
    cached_authorization
);
hit_method!(BusinessToken, "business_token", false, business_token);
hit_method!(
    CachedBusinessToken,
    "_cached_business_token",
    false,
    cached_business_token
);

type Cached = PyResult<Option<Py<PyAny>>>;

#[inline]
fn token(client: &ClientBase, arguments: &Arguments<'_, '_>) -> Cached {
    cached_if(keyword_timeout(arguments), arguments, |py| {
        client.state().cached_token(py)
    })
}

#[inline]
fn authorization(client: &ClientBase, arguments: &Arguments<'_, '_>) -> Cached {
    cached_if(keyword_timeout(arguments), arguments, |py| {
        client.state().cached_authorization(py)
    })
}

#[inline]
fn cached_token(client: &ClientBase, arguments: &Arguments<'_, '_>) -> Cached {
    cached_if(is_timeout(arguments.option(0)), arguments, |py| {
        client.state().cached_token(py)
    })
}

#[inline]
fn cached_authorization(client: &ClientBase, arguments: &Arguments<'_, '_>) -> Cached {
    cached_if(is_timeout(arguments.option(0)), arguments, |py| {
        client.state().cached_authorization(py)
    })
}

#[inline]
fn business_token(client: &ClientBase, arguments: &Arguments<'_, '_>) -> Cached {
    let names = |py| {
        [
            intern!(py, "session_duration"),
            intern!(py, "min_remaining"),
            intern!(py, "timeout"),
        ]
    };
    match arguments.keywords(1, names) {
        Some(options) => find_business_token(client, arguments, options),
        None => Ok(None),
    }
}

#[inline]
fn cached_business_token(client: &ClientBase, arguments: &Arguments<'_, '_>) -> Cached {
    if arguments.names.is_some() || arguments.count != 4 {
        return Ok(None);
    }
    let options = [1, 2, 3].map(|at| arguments.option(at));
    find_business_token(client, arguments, options)
}

/// Arguments of a call, as the interpreter passes them.
struct Arguments<'a, 'py> {
    py: Python<'py>,
    /// The positional arguments, and then a value for each name.
    values: *const *mut ffi::PyObject,
    /// Number of positional arguments.
    count: ffi::Py_ssize_t,
    /// A tuple.
    names: Option<Borrowed<'a, 'py, PyAny>>,
}

impl<'a, 'py> Arguments<'a, 'py> {
    #[inline]
    fn positional(&self, at: ffi::Py_ssize_t) -> Option<Borrowed<'a, 'py, PyAny>> {
        // SAFETY: there are `count` positional arguments.
        (at < self.count).then(|| unsafe { Borrowed::from_ptr(self.py, *self.values.offset(at)) })
    }

    /// As `positional`, without a value for `None`.
    #[inline]
    fn option(&self, at: ffi::Py_ssize_t) -> Option<Borrowed<'a, 'py, PyAny>> {
        self.positional(at).filter(|value| !value.is_none())
    }

    /// The values of keyword arguments, if there are as many positional arguments as
    /// `count` and no other names than these. Without a value for `None`.
    #[inline]
    fn keywords<const N: usize>(
        &self,
        count: ffi::Py_ssize_t,
        known: impl FnOnce(Python<'py>) -> [&'py Bound<'py, PyString>; N],
    ) -> Option<[Option<Borrowed<'a, 'py, PyAny>>; N]> {
        let mut found = [None; N];
        if self.count != count {
            return None;
        }
        let Some(names) = self.names else {
            return Some(found);
        };
        let known = known(self.py);
        // SAFETY: the names are a tuple.
        let len = unsafe { ffi::PyTuple_Size(names.as_ptr()) };
        for at in 0..len {
            // SAFETY: the tuple has a name at this position, and there is a value for it.
            // Names in source code are interned; another object with the same text is
            // passed on.
            let (name, value) = unsafe {
                (
                    ffi::PyTuple_GetItem(names.as_ptr(), at),
                    Borrowed::from_ptr(self.py, *self.values.offset(count + at)),
                )
            };
            let place = known.iter().position(|known| known.as_ptr() == name)?;
            *found.get_mut(place)? = (!value.is_none()).then_some(value);
        }
        Some(found)
    }
}

/// The result of `get` as an object, if the arguments are valid.
#[inline]
fn cached_if<'py, T>(
    are_valid: bool,
    arguments: &Arguments<'_, 'py>,
    get: impl FnOnce(Python<'py>) -> PyResult<Option<Py<T>>>,
) -> Cached {
    if !are_valid {
        return Ok(None);
    }
    Ok(get(arguments.py)?.map(Py::into_any))
}

/// Whether there are no arguments, or only a valid timeout.
#[inline]
fn keyword_timeout(arguments: &Arguments<'_, '_>) -> bool {
    let timeout = arguments.keywords(0, |py| [intern!(py, "timeout")]);
    timeout.is_some_and(|[timeout]| is_timeout(timeout))
}

#[inline]
fn is_timeout(value: Option<Borrowed<'_, '_, PyAny>>) -> bool {
    value.is_none_or(|value| call_timeout(Some(&value)).is_ok())
}

/// A hit of a business token. Only for an id that is a `str`.
#[inline]
fn find_business_token(
    client: &ClientBase,
    arguments: &Arguments<'_, '_>,
    [session_duration, min_remaining, timeout]: [Option<Borrowed<'_, '_, PyAny>>; 3],
) -> Cached {
    let Some(id) = arguments.positional(0) else {
        return Ok(None);
    };
    let Ok(id) = id.cast::<PyString>() else {
        return Ok(None);
    };
    if !is_timeout(timeout) {
        return Ok(None);
    }
    let options = business_token_options(session_duration.as_deref(), min_remaining.as_deref())?;
    let found = client.state().cached_business_token(id.to_str()?, options);
    let object = found.map(|token| token.to_python(arguments.py, client.state()));
    Ok(object.transpose()?.map(Py::into_any))
}

/// Adds the methods of this file to `layerfi_auth.Client`. They are methods of that class
/// and not of its base, because the interpreter has a fast way only for methods of an
/// object's own class.
#[pyfunction]
#[pyo3(signature = (client_class, /))]
pub(crate) fn add_hit_methods(client_class: &Bound<'_, PyType>) -> PyResult<()> {
    if !client_class.is_subclass_of::<ClientBase>()? {
        return Err(PyTypeError::new_err("not a class of clients"));
    }
    add::<Token>(client_class)?;
    add::<Authorization>(client_class)?;
    add::<CachedToken>(client_class)?;
    add::<CachedAuthorization>(client_class)?;
    add::<BusinessToken>(client_class)?;
    add::<CachedBusinessToken>(client_class)
}

fn add<M: HitMethod>(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let original = ClientBase::type_object(py).getattr(M::NAME)?;
    let signature: String = original.getattr("__text_signature__")?.extract()?;
    let doc: Option<String> = original.getattr("__doc__")?.extract()?;
    // The interpreter takes the signature from the documentation.
    let doc = format!("{}{signature}\n--\n\n{}", M::NAME, doc.unwrap_or_default());
    let to_c = |text: &str| CString::new(text).map_err(|_| PyValueError::new_err("NUL in a text"));
    let (ml_meth, ml_flags) = if M::HAS_ONE_ARGUMENT {
        let call = ffi::PyMethodDefPointer {
            PyCFunction: call_with_one::<M>,
        };
        (call, ffi::METH_O as c_int)
    } else {
        let call = ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: call::<M>,
        };
        (call, ffi::METH_FASTCALL | ffi::METH_KEYWORDS as c_int)
    };
    let definition = ffi::PyMethodDef {
        ml_name: to_c(M::NAME)?.into_raw(),
        ml_meth,
        ml_flags,
        ml_doc: to_c(&doc)?.into_raw(),
    };
    // Never freed, like the class.
    let definition = Box::leak(Box::new(definition));
    // SAFETY: the class is a type object, and the definition and its texts stay valid.
    // The function has the type that the flags say.
    let method = unsafe {
        let method = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(py, method)?
    };
    let _ = M::original().set(py, original.unbind());
    class.setattr(M::NAME, method)
}

/// What the interpreter calls.
///
/// # Safety
/// As for every function of a `METH_FASTCALL | METH_KEYWORDS` method: the thread is
/// attached, `slf` is a `ClientBase`, and `args` has the positional arguments and then
/// a value for each name in `names`, which is null or a tuple.
unsafe extern "C" fn call<M: HitMethod>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let hit = || {
        // SAFETY: the caller promises it.
        let py = unsafe { Python::assume_attached() };
        let arguments = Arguments {
            py,
            values: args,
            count: positional,
            // SAFETY: as the caller promises.
            names: unsafe { Borrowed::from_ptr_or_opt(py, names) },
        };
        // SAFETY: the interpreter checks the type before each call of a class's method.
        let client = unsafe { Borrowed::from_ptr(py, slf).cast_unchecked::<ClientBase>() };
        M::cached(client.get(), &arguments).ok()?
    };
    match catch_unwind(AssertUnwindSafe(hit)) {
        Ok(Some(object)) => object.into_ptr(),
        // SAFETY: as the caller promises.
        Ok(None) | Err(_) => unsafe { pass_on::<M>(slf, args, positional, names) },
    }
}

/// As [`call`], for a method with exactly one argument.
///
/// # Safety
/// As for every function of a `METH_O` method: the thread is attached, `slf` is a
/// `ClientBase`, and `argument` is an object.
unsafe extern "C" fn call_with_one<M: HitMethod>(
    slf: *mut ffi::PyObject,
    argument: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: there is one argument, and no name.
    unsafe { call::<M>(slf, &raw const argument, 1, std::ptr::null_mut()) }
}

/// Passes a call on to PyO3's method.
///
/// # Safety
/// As [`call`].
#[cold]
#[inline(never)]
unsafe fn pass_on<M: HitMethod>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    Python::attach(|py| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let count = usize::try_from(positional).unwrap_or_default();
            // SAFETY: as the caller promises.
            let (slf, names) = unsafe {
                (
                    Borrowed::from_ptr(py, slf),
                    Borrowed::from_ptr_or_opt(py, names),
                )
            };
            let names = names.as_deref().map(|names| names.cast::<PyTuple>());
            let names = names.transpose()?;
            let all = count + names.map_or(0, |names| names.len());
            // SAFETY: as the caller promises.
            let argument = |at| unsafe { Bound::from_borrowed_ptr(py, *args.add(at)) };
            let arguments: Vec<Bound<'_, PyAny>> = (0..all).map(argument).collect();
            pass_on_objects::<M>(&slf, arguments, count, names)
        }));
        let result = result.unwrap_or_else(|_| {
            Err(PanicException::new_err(
                "a cache hit panicked: report it as a bug in layerfi-auth",
            ))
        });
        match result {
            Ok(object) => object.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        }
    })
}

fn pass_on_objects<'py, M: HitMethod>(
    slf: &Bound<'py, PyAny>,
    arguments: Vec<Bound<'py, PyAny>>,
    positional: usize,
    names: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    let Some(original) = M::original().get(py) else {
        return Err(PyValueError::new_err("the class has not been made"));
    };
    let mut arguments = arguments.into_iter();
    let first = std::iter::once(slf.clone());
    let all_positional: Vec<_> = first.chain(arguments.by_ref().take(positional)).collect();
    let keywords = PyDict::new(py);
    for (name, value) in names.into_iter().flatten().zip(arguments) {
        keywords.set_item(name.cast::<PyString>()?, value)?;
    }
    let all_positional = PyTuple::new(py, all_positional)?;
    let result = original.bind(py).call(all_positional, Some(&keywords))?;
    Ok(result.unbind())
}
