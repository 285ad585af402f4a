//! `layerfi_json`: a business token as JSON, for a response to a browser.

use std::ffi::{CString, c_char};

use crate::business_token::layerfi_business_token;
use crate::error::layerfi_error;
use crate::guard::guard;
use crate::macros::{borrow, check_out, free, get_str, read_str, write_out};
use crate::result::layerfi_result;
use crate::str_view::{layerfi_str, owned};

/// JSON that contains a token. A const pointer to it may be used from several
/// threads at the same time. Free it with layerfi_json_free(), which wipes it from
/// memory. Wipe your own copies yourself.
pub struct layerfi_json {
    /// The library's allocator wipes it when it is freed.
    text: CString,
}

/// The token as a JSON object, for the response of an endpoint that a page gets
/// its token from: `access_token`, `token_type`, `expires_in` (the seconds that
/// are left now), `expires_at` (RFC 3339) and `business_id`. Free it with
/// layerfi_json_free().
///
/// Send it with `Cache-Control: no-store`, and only to a user of this business.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_json(
    token: *const layerfi_business_token,
    out: *mut *mut layerfi_json,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let token = borrow!(token);
        check_out!(out);
        let text = owned(token.token.to_json().expose());
        write_out!(out, layerfi_json { text });
        Ok(())
    })
}

/// The session of a page that shows Layer's components, as a JSON object: the fields of
/// layerfi_business_token_json(), `session_duration`, `layer_provider_props` (the props
/// of `<LayerProvider>`), and `renew_in`: the whole seconds after which
/// layerfi_client_business_token() returns another token. Free it with
/// layerfi_json_free().
///
/// Send it with `Cache-Control: no-store`, and only to a user of this business.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_session_json(
    token: *const layerfi_business_token,
    out: *mut *mut layerfi_json,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let token = borrow!(token);
        check_out!(out);
        let text = owned(token.token.session().to_json().expose());
        write_out!(out, layerfi_json { text });
        Ok(())
    })
}

/// The props of `<LayerProvider>` of the npm package `@layerfi/components` as a
/// JSON object: `businessId`, `businessAccessToken`, and `environment`, or
/// `environmentConfigOverride` if the client has its own URLs or scope. Free it
/// with layerfi_json_free().
///
/// `environment` replaces the name in the components' table of environments, and
/// may be NULL. The name of a custom environment is `sandbox`, unless its scope
/// says `production`. The components crash if a name is not in their table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_business_token_layer_provider_props_json(
    token: *const layerfi_business_token,
    environment: *const c_char,
    out: *mut *mut layerfi_json,
    error: *mut *mut layerfi_error,
) -> layerfi_result {
    guard(error, || {
        let token = borrow!(token);
        check_out!(out);
        let mut props = token.token.layer_provider_props();
        if !environment.is_null() {
            props = props.with_environment(read_str!(environment));
        }
        let text = owned(props.to_json().expose());
        write_out!(out, layerfi_json { text });
        Ok(())
    })
}

/// The JSON text. It contains a token: do not log it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_json_text(json: *const layerfi_json) -> layerfi_str {
    get_str!(json.text)
}

/// Frees JSON, wipes it and ends the view of its text. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn layerfi_json_free(json: *mut layerfi_json) {
    free!(json);
}
