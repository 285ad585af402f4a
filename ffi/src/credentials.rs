//! Credentials from a callback, such as one that asks a vault.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use layerfi_auth::{Credentials, CredentialsProvider};

use crate::callback::{self, UserData};
use crate::error::{layerfi_error, layerfi_result};
use crate::handle;
use crate::panic::guard;
use crate::string;

/// Where a callback puts the credentials. It lives during the call only, and
/// is freed by the library.
pub struct layerfi_credentials {
    credentials: Option<Credentials>,
    trouble: Option<String>,
}

/// Reads the credentials as they are now, gives them to
/// layerfi_credentials_set(), and returns true; false where it cannot.
///
/// It is asked before each token request, and again when the server refuses
/// the credentials. It is called from a thread of the library's, from several
/// at once, and may take its time: the calls that wait for it end by their own
/// timeouts. Calls of the library that wait return
/// LAYERFI_RESULT_WOULD_DEADLOCK in it. It must not throw or longjmp.
pub type layerfi_credentials_callback = Option<
    unsafe extern "C" fn(userdata: *mut c_void, credentials: *mut layerfi_credentials) -> bool,
>;

/// Frees what a callback was given. Called once, from any thread, when the
/// builder and all its clients are freed and no call is under way.
pub type layerfi_free_callback = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

/// Answers a layerfi_credentials_callback. Both strings are copied, and the
/// copy of the secret is wiped when it is no longer needed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_credentials_set(
    credentials: *mut layerfi_credentials,
    client_id: *const c_char,
    client_secret: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header, handles and strings are null or valid.
        let (credentials, id, secret) = unsafe {
            (
                handle::borrow_mut(credentials, "credentials")?,
                string::read(client_id, "client_id")?,
                string::read(client_secret, "client_secret")?,
            )
        };
        credentials.credentials = Some(Credentials::new(id, secret));
        Ok(())
    })
}

/// Says why a layerfi_credentials_callback returns false. The text is shown in
/// errors and logs: keep secrets out of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_credentials_set_error(
    credentials: *mut layerfi_credentials,
    message: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header, handles and strings are null or valid.
        let (credentials, message) = unsafe {
            (
                handle::borrow_mut(credentials, "credentials")?,
                string::read(message, "message")?,
            )
        };
        credentials.trouble = Some(message.to_owned());
        Ok(())
    })
}

/// The engine's way to the callback.
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
        // A vault takes its time; the runtime's one thread must not.
        let asked = tokio::task::spawn_blocking(move || {
            let mut answer = layerfi_credentials {
                credentials: None,
                trouble: None,
            };
            let given = callback::inside(|| {
                // SAFETY: the function was given with this userdata, for any
                // thread, and `answer` outlives the call.
                unsafe { callback(userdata.pointer(), &mut answer) }
            });
            match answer {
                layerfi_credentials {
                    credentials: Some(credentials),
                    ..
                } if given => Ok(credentials),
                answer => Err(answer
                    .trouble
                    .unwrap_or_else(|| "it gave no credentials".to_owned())),
            }
        });
        Ok(asked.await??)
    }
}
