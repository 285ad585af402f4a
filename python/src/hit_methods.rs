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

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyTypeInfo};

use crate::client::{ClientBase, call_timeout};
use crate::client_state::ClientState;

/// A method that may find its result in the cache.
trait HitMethod {
    const NAME: &'static str;
    /// Whether `timeout` is a positional argument.
    const IS_POSITIONAL: bool = false;

    /// The method that PyO3 made.
    fn original() -> &'static PyOnceLock<Py<PyAny>>;

    /// The result of a hit.
    fn cached(state: &ClientState, py: Python<'_>) -> PyResult<Option<Py<PyAny>>>;
}

macro_rules! hit_method {
    ($method:ident, $name:literal, $positional:literal, $cached:ident) => {
        struct $method;

        impl HitMethod for $method {
            const NAME: &'static str = $name;
            const IS_POSITIONAL: bool = $positional;

            fn original() -> &'static PyOnceLock<Py<PyAny>> {
                static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                &ORIGINAL
            }

            #[inline]
            fn cached(state: &ClientState, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
                Ok(state.$cached(py)?.map(Py::into_any))
            }
        }
    };
}

hit_method!(Token, "token", false, cached_token);
hit_method!(Authorization, "authorization", false, cached_authorization);
hit_method!(CachedToken, "_cached_token", true, cached_token);
hit_method!(
    CachedAuthorization,
    "_cached_authorization",
    true,
    cached_authorization
);

/// Puts the methods of this file in front of those of PyO3.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let class = ClientBase::type_object(py);
    install_one::<Token>(&class)?;
    install_one::<Authorization>(&class)?;
    install_one::<CachedToken>(&class)?;
    install_one::<CachedAuthorization>(&class)
}

fn install_one<M: HitMethod>(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let original = class.getattr(M::NAME)?;
    let signature: String = original.getattr("__text_signature__")?.extract()?;
    let doc: Option<String> = original.getattr("__doc__")?.extract()?;
    // The interpreter takes the signature from the documentation.
    let doc = format!("{}{signature}\n--\n\n{}", M::NAME, doc.unwrap_or_default());
    let to_c = |text: &str| CString::new(text).map_err(|_| PyValueError::new_err("NUL in a text"));
    let definition = ffi::PyMethodDef {
        ml_name: to_c(M::NAME)?.into_raw(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: call::<M>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS as c_int,
        ml_doc: to_c(&doc)?.into_raw(),
    };
    // Never freed, like the class.
    let definition = Box::leak(Box::new(definition));
    // SAFETY: the class is a type object, and the definition and its texts stay valid.
    // `call` has the type that the flags say.
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
        // SAFETY: as the caller promises.
        if !unsafe { has_valid_timeout::<M>(py, args, positional, names) } {
            return None;
        }
        // SAFETY: the interpreter checks the type before each call of a class's method.
        let client = unsafe { Borrowed::from_ptr(py, slf).cast_unchecked::<ClientBase>() };
        M::cached(client.get().state(), py).ok()?
    };
    match catch_unwind(AssertUnwindSafe(hit)) {
        Ok(Some(object)) => object.into_ptr(),
        // SAFETY: as the caller promises.
        Ok(None) | Err(_) => unsafe { pass_on::<M>(slf, args, positional, names) },
    }
}

/// Whether there are no arguments, or only a valid timeout.
///
/// # Safety
/// As [`call`].
#[inline]
unsafe fn has_valid_timeout<M: HitMethod>(
    py: Python<'_>,
    args: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> bool {
    let has_timeout = if names.is_null() {
        if positional == 0 {
            return true;
        }
        M::IS_POSITIONAL && positional == 1
    } else {
        // SAFETY: the caller promises that this is a tuple. Names in source code are
        // interned; another object with the same text is passed on.
        positional == 0
            && unsafe {
                ffi::PyTuple_Size(names) == 1
                    && ffi::PyTuple_GetItem(names, 0) == intern!(py, "timeout").as_ptr()
            }
    };
    // SAFETY: there is one argument.
    has_timeout
        && unsafe {
            *args == ffi::Py_None() || call_timeout(Some(&Borrowed::from_ptr(py, *args))).is_ok()
        }
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
