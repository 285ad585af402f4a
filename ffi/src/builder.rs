//! `layerfi_client_builder`: settings for a client.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use layerfi_auth::{BasicEncoding, ClientBuilder, Environment, Secret, Trust};

use crate::callback::UserData;
use crate::client::layerfi_client;
use crate::credentials::{Provider, layerfi_credentials_callback, layerfi_free_callback};
use crate::environment::layerfi_environment;
use crate::error::layerfi_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::macros::{borrow, borrow_mut, check_out, free, read_str, write_out};
use crate::result::layerfi_result;

/// How client id and secret are written in the Basic header.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum layerfi_basic_encoding {
    /// Unchanged, as `curl -u` and Layer's documentation do. The default.
    Raw = 1,
    /// Form-urlencoded (RFC 6749 section 2.3.1).
    Form = 2,
}

impl layerfi_basic_encoding {
    fn read(number: u32) -> Result<BasicEncoding, Failure> {
        const RAW: u32 = layerfi_basic_encoding::Raw as u32;
        const FORM: u32 = layerfi_basic_encoding::Form as u32;
        match number {
            RAW => Ok(BasicEncoding::Raw),
            FORM => Ok(BasicEncoding::Form),
            other => Err(Failure::Enum("basic_encoding", other)),
        }
    }
}

/// Which certificate authorities are trusted besides those of the settings
/// `ca_file` and `ca_pem`.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum layerfi_trust {
    /// Those of the system. The default.
    System = 1,
    /// Mozilla's, which are compiled into the library. For container images
    /// without certificates.
    Bundled = 2,
    /// No others.
    CaOnly = 3,
}

impl layerfi_trust {
    fn read(number: u32) -> Result<Trust, Failure> {
        const SYSTEM: u32 = layerfi_trust::System as u32;
        const BUNDLED: u32 = layerfi_trust::Bundled as u32;
        const CA_ONLY: u32 = layerfi_trust::CaOnly as u32;
        match number {
            SYSTEM => Ok(Trust::System),
            BUNDLED => Ok(Trust::Bundled),
            CA_ONLY => Ok(Trust::CaOnly),
            other => Err(Failure::Enum("trust", other)),
        }
    }
}

/// The settings of a new client. Use it from one thread at a time. Credentials
/// and environment are required; every other setting has a default. All strings
/// are copied. Free it with layerfi_client_builder_free().
///
/// A setting whose setter is not called has its default: LAYERFI_DEFAULT is for
/// calls, and not valid here. Most values are checked by
/// layerfi_client_builder_build(). A setter that
/// returns an error makes layerfi_client_builder_build() return the same error, so
/// that a program which ignores it does not run with a default in its place.
pub struct layerfi_client_builder {
    settings: ClientBuilder,
    /// The first failure of a setter.
    failure: Option<Failure>,
}

impl layerfi_client_builder {
    fn new(settings: ClientBuilder) -> Self {
        Self {
            settings,
            failure: None,
        }
    }
}

/// Changes the settings, or remembers the failure of the setter. Compiled once and not for each
/// setter, so that the library is smaller.
#[inline(never)]
fn set(
    builder: *mut layerfi_client_builder,
    error: *mut *mut layerfi_error,
    change: &mut dyn FnMut(ClientBuilder) -> Result<ClientBuilder, Failure>,
) -> layerfi_result {
    guard(error, || {
        let builder = borrow_mut!(builder);
        // A copy: a change that fails must not lose the other settings.
        match change(builder.settings.clone()) {
            Ok(settings) => {
                builder.settings = settings;
                Ok(())
            }
            Err(failure) => {
                builder.failure.get_or_insert_with(|| failure.clone());
                Err(failure)
            }
        }
    })
}

/// Makes a builder without settings. Free it with layerfi_client_builder_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_new(
    out: *mut *mut layerfi_client_builder,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        check_out!(out);
        let settings = ClientBuilder::default();
        write_out!(out, layerfi_client_builder::new(settings));
        Ok(())
    })
}

/// Makes a builder with settings from environment variables: `LAYER_CLIENT_ID`,
/// `LAYER_CLIENT_SECRET` or `LAYER_CLIENT_SECRET_FILE`, `LAYER_ENVIRONMENT`,
/// `LAYER_API_URL`, `LAYER_AUTH_URL`, `LAYER_SCOPE`, `LAYER_CA_FILE`,
/// `LAYER_TRUST`, `LAYER_SHARED_CACHE`, `LAYER_SHARED_CACHE_KEY`,
/// `LAYER_ALLOW_HTTP_LOOPBACK`. An empty variable counts as not set.
/// Free the builder with layerfi_client_builder_free().
///
/// No other thread may change the environment (setenv) during the call.
///
/// Errors: LAYERFI_RESULT_CONFIG for a variable that is not valid. A missing one
/// is an error of layerfi_client_builder_build().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_from_env(
    out: *mut *mut layerfi_client_builder,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        check_out!(out);
        let settings = ClientBuilder::from_env()?;
        write_out!(out, layerfi_client_builder::new(settings));
        Ok(())
    })
}

/// Sets the environment, a layerfi_environment. It is required and has no
/// default, so that no program uses production by accident.
///
/// Errors: LAYERFI_RESULT_INVALID_ENUM for any other number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_environment(
    builder: *mut layerfi_client_builder,
    environment: u32,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.environment(layerfi_environment::read(environment)?))
    })
}

/// Sets the environment by its name: `sandbox`, `production`, `production-ca` or
/// `custom`.
///
/// Errors: LAYERFI_RESULT_CONFIG for any other name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_environment_name(
    builder: *mut layerfi_client_builder,
    name: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        let environment: Environment = read_str!(name, "environment").parse()?;
        Ok(settings.environment(environment))
    })
}

/// Sets the client id that Layer issued. Required, unless a credentials callback
/// is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_client_id(
    builder: *mut layerfi_client_builder,
    client_id: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.client_id(read_str!(client_id)))
    })
}

/// Sets the client secret that Layer issued. It replaces a secret file. The
/// library wipes its copy when the builder and its clients are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_client_secret(
    builder: *mut layerfi_client_builder,
    client_secret: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.client_secret(Secret::from(read_str!(client_secret))))
    })
}

/// Sets the path of a file that contains the client secret and nothing else; a
/// line end is allowed. The file is read before each token request, so that a
/// rotated secret is used. It replaces a client secret.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_client_secret_file(
    builder: *mut layerfi_client_builder,
    path: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.client_secret_file(read_str!(path, "client_secret_file")))
    })
}

/// Sets a callback that reads client id and secret, for example from a vault. It
/// replaces client id, secret and secret file.
///
/// `userdata` is passed to the callback. When it is no longer needed, it is passed
/// to `free_userdata`, which may be NULL. If this call fails, `free_userdata` is
/// not called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_credentials_callback(
    builder: *mut layerfi_client_builder,
    callback: layerfi_credentials_callback,
    userdata: *mut c_void,
    free_userdata: layerfi_free_callback,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        let callback = callback.ok_or(Failure::Null("credentials_callback"))?;
        let provider = Provider::new(callback, UserData::new(userdata, free_userdata));
        Ok(settings.credentials_provider(provider))
    })
}

/// Sets how client id and secret are written in the Basic header, a
/// layerfi_basic_encoding. The default is LAYERFI_BASIC_ENCODING_RAW.
///
/// Errors: LAYERFI_RESULT_INVALID_ENUM for any other number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_basic_encoding(
    builder: *mut layerfi_client_builder,
    encoding: u32,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.basic_encoding(layerfi_basic_encoding::read(encoding)?))
    })
}

/// Sets the base URL of the API. It replaces the environment's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_api_url(
    builder: *mut layerfi_client_builder,
    url: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.api_url(read_str!(url, "api_url")))
    })
}

/// Sets the URL of the token endpoint. It replaces the environment's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_auth_url(
    builder: *mut layerfi_client_builder,
    url: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.auth_url(read_str!(url, "auth_url")))
    })
}

/// Sets the OAuth scope. It replaces the environment's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_scope(
    builder: *mut layerfi_client_builder,
    scope: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.scope(read_str!(scope)))
    })
}

/// Sets the path of a PEM file with certificate authorities to trust in addition
/// to those of layerfi_client_builder_set_trust(). At most 1 MiB. layerfi_client_builder_build() reads it. It is
/// read again after a certificate was not accepted, every 10 seconds at most.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_ca_file(
    builder: *mut layerfi_client_builder,
    path: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.ca_file(read_str!(path, "ca_file")))
    })
}

/// Sets PEM text with certificate authorities to trust in addition to those of
/// layerfi_client_builder_set_trust().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_ca_pem(
    builder: *mut layerfi_client_builder,
    pem: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.ca_pem(read_str!(pem, "ca_pem")))
    })
}

/// Sets which certificate authorities are trusted besides those of `ca_file` and
/// `ca_pem`, a layerfi_trust. The default is LAYERFI_TRUST_SYSTEM.
///
/// Errors: LAYERFI_RESULT_INVALID_ENUM for any other number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_trust(
    builder: *mut layerfi_client_builder,
    trust: u32,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.trust(layerfi_trust::read(trust)?))
    })
}

/// Sets a proxy, `http://[user:password@]host:port`, for all requests except
/// those to loopback. Without it the environment variables `HTTPS_PROXY`,
/// `ALL_PROXY` and `NO_PROXY` are used, in upper or lower case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_proxy(
    builder: *mut layerfi_client_builder,
    url: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.proxy(read_str!(url, "proxy")))
    })
}

/// Disables proxies, those of environment variables included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_no_proxy(
    builder: *mut layerfi_client_builder,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| Ok(settings.no_proxy()))
}

/// Allows `http://` URLs to this machine, for an emulator. Plain HTTP to any
/// other host is always refused. The default is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_allow_http_loopback(
    builder: *mut layerfi_client_builder,
    allow: bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.allow_http_loopback(allow))
    })
}

/// Allows business ids that are not UUIDs, for systems that replace Layer. The
/// default is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_allow_opaque_business_ids(
    builder: *mut layerfi_client_builder,
    allow: bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.allow_opaque_business_ids(allow))
    })
}

/// Sets the maximum duration of a call, retries included, in milliseconds: 1 to
/// 3,600,000. The default is 30,000 (30 seconds).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_timeout_ms(
    builder: *mut layerfi_client_builder,
    timeout_ms: u64,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.timeout(Duration::from_millis(timeout_ms)))
    })
}

/// Sets the maximum duration of connecting, per attempt, in milliseconds: 1 to
/// 3,600,000. The default is 5,000 (5 seconds).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_connect_timeout_ms(
    builder: *mut layerfi_client_builder,
    timeout_ms: u64,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.connect_timeout(Duration::from_millis(timeout_ms)))
    })
}

/// Sets the maximum duration of one attempt, from connecting to the last byte of
/// the response, in milliseconds: 1 to 3,600,000. The default is 10,000 (10
/// seconds).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_attempt_timeout_ms(
    builder: *mut layerfi_client_builder,
    timeout_ms: u64,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.attempt_timeout(Duration::from_millis(timeout_ms)))
    })
}

/// Sets the maximum number of requests per call, the first included: 1 (no
/// retry) to 100. The default is 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_max_attempts(
    builder: *mut layerfi_client_builder,
    attempts: u32,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.max_attempts(attempts))
    })
}

/// Sets the maximum number of cached business tokens, at least 1. The default is
/// 10,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_business_token_capacity(
    builder: *mut layerfi_client_builder,
    tokens: usize,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        if tokens == usize::MAX {
            return Err(Failure::Argument(
                "business_token_capacity",
                "must be a number of tokens, got the largest number",
                "leave this setter out for the default",
            ));
        }
        Ok(settings.business_token_capacity(tokens))
    })
}

/// Sets whether the access token is refreshed in the background without calls:
/// from the first call on, until the client is freed. The default is false, so
/// that an idle program sends no requests.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_keep_warm(
    builder: *mut layerfi_client_builder,
    keep_warm: bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.keep_warm(keep_warm))
    })
}

/// Shares tokens with other processes and machines through a Redis or Valkey
/// server, `redis://[user:password@]host[:port][/database]`. With TLS:
/// `rediss://`. A unix socket: `redis+unix:///path`. Sentinels:
/// `redis+sentinel://host[:port],host[:port]/service[/database]`. The default is
/// no shared cache.
///
/// One process fetches a token for all that have the same credentials, URLs and
/// scope. Tokens are stored sealed, under a key that is derived from the client
/// secret, until they expire. A store that is slow or down never fails a call:
/// then each process fetches its own tokens. The URL is treated as a secret: it is
/// in no error and no log.
///
/// Needs a library that was built with `make lib SHARED_CACHE=1`. With any
/// other, layerfi_client_builder_build() fails with LAYERFI_RESULT_CONFIG.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_shared_cache(
    builder: *mut layerfi_client_builder,
    url: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.shared_cache(Secret::from(read_str!(url, "shared_cache"))))
    })
}

/// Sets a secret that the keys of the shared cache also depend on. Only clients
/// with the same one share tokens. For client secrets that could be guessed, and
/// to separate fleets that use one store. The default is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_shared_cache_key(
    builder: *mut layerfi_client_builder,
    key: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.shared_cache_key(Secret::from(read_str!(key, "shared_cache_key"))))
    })
}

/// Sets the text with which the names of all keys in the store begin: 1 to 64
/// letters, digits, `-`, `_`, `.` and `:`. The default is `layerfi`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_shared_cache_prefix(
    builder: *mut layerfi_client_builder,
    prefix: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.shared_cache_prefix(read_str!(prefix, "shared_cache_prefix")))
    })
}

/// Sets whether business tokens are shared too, if there is a shared cache. One
/// takes about 2 KB of the store's memory. The default is true.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_shared_business_tokens(
    builder: *mut layerfi_client_builder,
    share: bool,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.shared_business_tokens(share))
    })
}

/// Sets the text before `layerfi-auth/<version>` in the `User-Agent` header, such
/// as `my-service/1.2`. Visible ASCII characters and spaces only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_set_user_agent(
    builder: *mut layerfi_client_builder,
    product: *const c_char,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    set(builder, error, &mut |settings| {
        Ok(settings.user_agent(read_str!(product, "user_agent")))
    })
}

/// Checks all settings and makes a client. It sends no request and starts no
/// thread. The builder is not changed and may build more clients. Free the client
/// with layerfi_client_free().
///
/// Errors: LAYERFI_RESULT_CONFIG if a setting is missing or not valid;
/// layerfi_error_field() names it. If a setter of this builder failed, the error
/// of the first one that did.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_build(
    builder: *const layerfi_client_builder,
    out: *mut *mut layerfi_client,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let builder = borrow!(builder);
        check_out!(out);
        if let Some(failure) = &builder.failure {
            return Err(failure.clone());
        }
        let client = builder.settings.clone().build_blocking()?;
        write_out!(out, layerfi_client::new(client));
        Ok(())
    })
}

/// Frees a builder. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_client_builder_free(builder: *mut layerfi_client_builder) {
    free!(builder);
}
