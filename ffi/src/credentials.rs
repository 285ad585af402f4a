//! Credentials from a callback, for example from a vault.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use layerfi_auth::blocking::start_thread;
use layerfi_auth::{Credentials, CredentialsProvider};
use tokio::sync::oneshot;

use crate::callback::{self, UserData};
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::macros::{borrow_mut, read_str};
use crate::result::layerfi_result;

/// Receives the credentials from a layerfi_credentials_callback. It is valid
/// during the callback only. The library frees it.
///
/// A function that fails to set something makes the callback fail with the same
/// error, as the setters of layerfi_client_builder do for the client.
pub struct layerfi_credentials {
    credentials: Option<Credentials>,
    error: Option<String>,
    /// The first failure of a setter.
    failure: Option<Failure>,
}

impl layerfi_credentials {
    /// Remembers the failure of a setter.
    fn keep<T>(&mut self, read: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &read {
            self.failure.get_or_insert_with(|| failure.clone());
        }
        read
    }

    /// What the callback passed to the library.
    fn into_result(self, succeeded: bool) -> Result<Credentials, String> {
        match self {
            Self {
                failure: Some(failure),
                ..
            } => Err(failure.display()),
            Self {
                credentials: Some(credentials),
                ..
            } if succeeded => Ok(credentials),
            Self { error, .. } => {
                Err(error.unwrap_or_else(|| "the callback returned no credentials".to_owned()))
            }
        }
    }
}

/// Reads the current credentials, passes them to layerfi_credentials_set() and
/// returns true. Returns false if it cannot read them.
///
/// The library calls it before each token request, and again if the server
/// refuses the credentials. It is called from a thread of the library, and may be
/// called from several threads at the same time. It may block: callers that wait
/// for it end at their own timeouts. Functions of the library that wait return
/// LAYERFI_RESULT_WOULD_DEADLOCK in it. It must not throw or longjmp.
pub type layerfi_credentials_callback = Option<
    unsafe extern "C" fn(userdata: *mut c_void, credentials: *mut layerfi_credentials) -> bool,
>;

/// Frees the `userdata` of a callback. It is called once, from any thread, when
/// the builder and all its clients are freed and no call is running.
pub type layerfi_free_callback = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

/// Passes credentials from a layerfi_credentials_callback to the library. Both
/// strings are copied. The library wipes its copy of the secret when it is no
/// longer needed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_credentials_set(
    credentials: *mut layerfi_credentials,
    client_id: *const c_char,
    client_secret: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let credentials = borrow_mut!(credentials);
        let read = || {
            Ok(Credentials::new(
                read_str!(client_id),
                read_str!(client_secret),
            ))
        };
        credentials.credentials = Some(credentials.keep(read())?);
        Ok(())
    })
}

/// Sets why a layerfi_credentials_callback returns false. The text is copied. It
/// appears in errors and logs: do not put secrets into it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_credentials_set_error(
    credentials: *mut layerfi_credentials,
    message: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let credentials = borrow_mut!(credentials);
        let read = || Ok(read_str!(message).to_owned());
        credentials.error = Some(credentials.keep(read())?);
        Ok(())
    })
}

/// Calls the callback for the engine.
pub(crate) struct Provider {
    callback: unsafe extern "C" fn(*mut c_void, *mut layerfi_credentials) -> bool,
    userdata: Arc<UserData>,
}

impl Provider {
    pub(crate) fn new(
        callback: unsafe extern "C" fn(*mut c_void, *mut layerfi_credentials) -> bool,
        userdata: UserData,
    ) -> Self {
        Self {
            callback,
            userdata: Arc::new(userdata),
        }
    }
}

impl CredentialsProvider for Provider {
    async fn credentials(&self) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
        let (callback, userdata) = (self.callback, Arc::clone(&self.userdata));
        let (sender, asked) = oneshot::channel();
        // The callback may block, and the call must end at its timeout all the same.
        // Not `spawn_blocking`, which panics if no thread can be started.
        start_thread("layerfi-creds", move || {
            let mut answer = layerfi_credentials {
                credentials: None,
                error: None,
                failure: None,
            };
            let succeeded = callback::run(|| {
                // SAFETY: the function was passed with this userdata, for any thread, and
                // `answer` outlives the call.
                unsafe { callback(userdata.pointer(), &mut answer) }
            });
            let _ = sender.send(answer.into_result(succeeded));
        })
        .map_err(|why| format!("no thread could be started for the callback: {why}"))?;
        Ok(asked.await??)
    }
}
