//! `layerfi_client_builder`: settings in, a client out.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use layerfi_auth::{BasicEncoding, ClientBuilder, Environment, Secret};

use crate::callback::UserData;
use crate::client::layerfi_client;
use crate::credentials::{Provider, layerfi_credentials_callback, layerfi_free_callback};
use crate::error::{layerfi_error, layerfi_result};
use crate::failure::Failure;
use crate::handle;
use crate::panic::{self, guard};
use crate::string;

/// One of Layer's environments, or one of your own.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum layerfi_environment {
    /// https://sandbox.layerfi.com
    Sandbox = 1,
    /// https://api.layerfi.com
    Production = 2,
    /// https://api-ca.layerfi.com (Canada)
    ProductionCa = 3,
    /// An emulator, a staging system, a proxy. API URL, token endpoint and
    /// scope must all be given.
    Custom = 4,
}

impl layerfi_environment {
    pub(crate) const fn of(environment: Environment) -> Self {
        match environment {
            Environment::Sandbox => Self::Sandbox,
            Environment::Production => Self::Production,
            Environment::ProductionCa => Self::ProductionCa,
            Environment::Custom => Self::Custom,
        }
    }
}

/// How id and secret go into the Basic header.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum layerfi_basic_encoding {
    /// As they are, like `curl -u` and Layer's own documentation. The default.
    Raw = 1,
    /// Form-urlencoded first, as RFC 6749 section 2.3.1 has it.
    Form = 2,
}

/// Settings of a client that is to be made. For one thread at a time. Each
/// setting has a default but the credentials and the environment; what is
/// wrong with one is told by layerfi_client_builder_build().
///
/// All strings are copied.
pub struct layerfi_client_builder {
    builder: ClientBuilder,
}

/// Runs a setter's body, which gives the change to make.
///
/// # Safety
/// As [`handle::borrow_mut`] for `builder`.
unsafe fn set<F>(
    builder: *mut layerfi_client_builder,
    error: *mut *mut layerfi_error,
    change: impl FnOnce() -> Result<F, Failure>,
) -> layerfi_result
where
    F: FnOnce(ClientBuilder) -> ClientBuilder,
{
    guard(error, || {
        // SAFETY: as the caller promises.
        let builder = unsafe { handle::borrow_mut(builder, "builder")? };
        let change = change()?;
        builder.builder = change(std::mem::take(&mut builder.builder));
        Ok(())
    })
}

/// Runs the body of a setter that takes a string.
///
/// # Safety
/// As [`set`], and as [`string::read`] for `text`.
unsafe fn set_text(
    builder: *mut layerfi_client_builder,
    text: *const c_char,
    argument: &'static str,
    error: *mut *mut layerfi_error,
    change: impl FnOnce(ClientBuilder, String) -> ClientBuilder,
) -> layerfi_result {
    // SAFETY: as the caller promises.
    unsafe {
        set(builder, error, || {
            let text = string::read(text, argument)?.to_owned();
            Ok(move |builder| change(builder, text))
        })
    }
}

/// Begins a client. Free with layerfi_client_builder_free(), which
/// layerfi_client_builder_build() does not do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_new(
    out: *mut *mut layerfi_client_builder,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        handle::check_out(out, "out")?;
        let builder = ClientBuilder::default();
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_client_builder { builder }) };
        Ok(())
    })
}

/// Begins a client with the settings that the environment has:
/// `LAYER_CLIENT_ID`, `LAYER_CLIENT_SECRET` or `LAYER_CLIENT_SECRET_FILE`,
/// `LAYER_ENVIRONMENT`, `LAYER_API_URL`, `LAYER_AUTH_URL`, `LAYER_SCOPE`,
/// `LAYER_CA_FILE`, `LAYER_ALLOW_HTTP_LOOPBACK`. An empty variable counts as
/// unset. What is missing is told by layerfi_client_builder_build().
///
/// No other thread may change the environment (setenv) meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_from_env(
    out: *mut *mut layerfi_client_builder,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        handle::check_out(out, "out")?;
        let builder = ClientBuilder::from_env()?;
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, layerfi_client_builder { builder }) };
        Ok(())
    })
}

/// The environment, a layerfi_environment. Required; there is no default, so
/// that nobody meets production by accident.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_environment(
    builder: *mut layerfi_client_builder,
    environment: u32,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            let environment = Environment::ALL
                .into_iter()
                .find(|known| layerfi_environment::of(*known) as u32 == environment)
                .ok_or(Failure::Enum("environment", environment))?;
            Ok(move |builder: ClientBuilder| builder.environment(environment))
        })
    }
}

/// The environment by its name: `sandbox`, `production`, `production-ca` or
/// `custom`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_environment_name(
    builder: *mut layerfi_client_builder,
    name: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe {
        set(builder, error, || {
            let environment: Environment = string::read(name, "name")?.parse()?;
            Ok(move |builder: ClientBuilder| builder.environment(environment))
        })
    }
}

/// The client id that Layer issued.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_client_id(
    builder: *mut layerfi_client_builder,
    client_id: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe {
        set_text(
            builder,
            client_id,
            "client_id",
            error,
            ClientBuilder::client_id,
        )
    }
}

/// The client secret that Layer issued; takes the place of a secret file. The
/// library's copy is wiped when builder and clients are gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_client_secret(
    builder: *mut layerfi_client_builder,
    client_secret: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe {
        set(builder, error, || {
            let secret = Secret::from(string::read(client_secret, "client_secret")?);
            Ok(move |builder: ClientBuilder| builder.client_secret(secret))
        })
    }
}

/// A file that holds the client secret and nothing else (a line end apart).
/// Read before each token request, so that a rotated secret is taken up. Takes
/// the place of a given secret.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_client_secret_file(
    builder: *mut layerfi_client_builder,
    path: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe {
        set_text(
            builder,
            path,
            "path",
            error,
            ClientBuilder::client_secret_file,
        )
    }
}

/// Your own place for id and secret, such as a vault; takes the place of both.
/// `userdata` is passed on, and freed by `free_userdata`, which may be NULL.
/// If this call fails, it is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_credentials_callback(
    builder: *mut layerfi_client_builder,
    callback: layerfi_credentials_callback,
    userdata: *mut c_void,
    free_userdata: layerfi_free_callback,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            let callback = callback.ok_or(Failure::Null("callback"))?;
            let provider = Provider::new(callback, UserData::new(userdata, free_userdata));
            Ok(move |builder: ClientBuilder| builder.credentials_provider(provider))
        })
    }
}

/// How id and secret go into the Basic header, a layerfi_basic_encoding.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_basic_encoding(
    builder: *mut layerfi_client_builder,
    encoding: u32,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    const RAW: u32 = layerfi_basic_encoding::Raw as u32;
    const FORM: u32 = layerfi_basic_encoding::Form as u32;
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            let encoding = match encoding {
                RAW => BasicEncoding::Raw,
                FORM => BasicEncoding::Form,
                other => return Err(Failure::Enum("basic_encoding", other)),
            };
            Ok(move |builder: ClientBuilder| builder.basic_encoding(encoding))
        })
    }
}

/// The API's base URL, in place of the environment's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_api_url(
    builder: *mut layerfi_client_builder,
    url: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe { set_text(builder, url, "url", error, ClientBuilder::api_url) }
}

/// The URL of the token endpoint, in place of the environment's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_auth_url(
    builder: *mut layerfi_client_builder,
    url: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe { set_text(builder, url, "url", error, ClientBuilder::auth_url) }
}

/// The OAuth scope, in place of the environment's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_scope(
    builder: *mut layerfi_client_builder,
    scope: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe { set_text(builder, scope, "scope", error, ClientBuilder::scope) }
}

/// A PEM file with certificate authorities to trust beside the system's. Read
/// by layerfi_client_builder_build().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_ca_file(
    builder: *mut layerfi_client_builder,
    path: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe { set_text(builder, path, "path", error, ClientBuilder::ca_file) }
}

/// PEM text with certificate authorities to trust beside the system's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_ca_pem(
    builder: *mut layerfi_client_builder,
    pem: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe { set_text(builder, pem, "pem", error, ClientBuilder::ca_pem) }
}

/// A proxy for all requests but those to loopback,
/// `http://[user:password@]host:port`. Without one, `HTTPS_PROXY`,
/// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are read, in either case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_proxy(
    builder: *mut layerfi_client_builder,
    url: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe { set_text(builder, url, "url", error, ClientBuilder::proxy) }
}

/// No proxy, whatever the environment says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_no_proxy(
    builder: *mut layerfi_client_builder,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe { set(builder, error, || Ok(ClientBuilder::no_proxy)) }
}

/// Allows `http://` URLs to this machine, for an emulator. To any other host
/// plain HTTP stays refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_allow_http_loopback(
    builder: *mut layerfi_client_builder,
    allow: bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            Ok(move |builder: ClientBuilder| builder.allow_http_loopback(allow))
        })
    }
}

/// Takes business ids that are not UUIDs, for systems that stand in for Layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_allow_opaque_business_ids(
    builder: *mut layerfi_client_builder,
    allow: bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            Ok(move |builder: ClientBuilder| builder.allow_opaque_business_ids(allow))
        })
    }
}

/// What a call may take in all, retries included, in milliseconds. 30 seconds
/// by default; at least 1 millisecond, at most 1 hour.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_timeout_ms(
    builder: *mut layerfi_client_builder,
    timeout_ms: u64,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            Ok(move |builder: ClientBuilder| builder.timeout(Duration::from_millis(timeout_ms)))
        })
    }
}

/// What connecting may take, per attempt, in milliseconds. 5 seconds by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_connect_timeout_ms(
    builder: *mut layerfi_client_builder,
    timeout_ms: u64,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            Ok(move |builder: ClientBuilder| {
                builder.connect_timeout(Duration::from_millis(timeout_ms))
            })
        })
    }
}

/// What one attempt may take, from connecting to the answer's last byte, in
/// milliseconds. 10 seconds by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_attempt_timeout_ms(
    builder: *mut layerfi_client_builder,
    timeout_ms: u64,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            Ok(move |builder: ClientBuilder| {
                builder.attempt_timeout(Duration::from_millis(timeout_ms))
            })
        })
    }
}

/// Requests per call at the most, the first included. 4 by default, 1 for no
/// retry, 100 at the most.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_max_attempts(
    builder: *mut layerfi_client_builder,
    attempts: u32,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            Ok(move |builder: ClientBuilder| builder.max_attempts(attempts))
        })
    }
}

/// How many business tokens are kept at the most. 10,000 by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_business_token_capacity(
    builder: *mut layerfi_client_builder,
    tokens: usize,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            Ok(move |builder: ClientBuilder| builder.business_token_capacity(tokens))
        })
    }
}

/// Keeps the access token fresh with no caller present: from the first call on
/// it is refreshed in the background as long as the client lives. Off by
/// default, so that an idle program makes no requests.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_keep_warm(
    builder: *mut layerfi_client_builder,
    keep_warm: bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header a handle is null or valid.
    unsafe {
        set(builder, error, || {
            Ok(move |builder: ClientBuilder| builder.keep_warm(keep_warm))
        })
    }
}

/// What stands before `layerfi-auth/<version>` in `User-Agent`, such as
/// `my-service/1.2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_user_agent(
    builder: *mut layerfi_client_builder,
    product: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    // SAFETY: by the laws of the header, handles and strings are null or valid.
    unsafe {
        set_text(
            builder,
            product,
            "product",
            error,
            ClientBuilder::user_agent,
        )
    }
}

/// Checks everything and makes a client. No request is made and no thread
/// started. The builder stays as it was, and may build others. Free the client
/// with layerfi_client_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_build(
    builder: *const layerfi_client_builder,
    out: *mut *mut layerfi_client,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        // SAFETY: by the laws of the header a handle is null or valid.
        let builder = unsafe { handle::borrow(builder, "builder")? };
        handle::check_out(out, "out")?;
        let client = layerfi_client::new(builder.builder.clone().build_blocking()?);
        // SAFETY: not null, and by the laws of the header it may be written.
        unsafe { handle::write(out, client) };
        Ok(())
    })
}

/// Frees a builder. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_free(builder: *mut layerfi_client_builder) {
    panic::value((), || {
        // SAFETY: by the laws of the header a handle is null or valid, and freed once.
        unsafe { handle::free(builder) };
    });
}
