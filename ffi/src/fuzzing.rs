//! Fuzz target for the functions that take strings, arrays, numbers and buffers. Compiled for
//! `fuzz/` (`--cfg fuzzing`), and for this crate's tests, which run the corpus.
//!
//! No request is sent: functions that wait are called as in a callback, where they fail after
//! their arguments are read. Only two tokens are fetched, at the start, from a server in this
//! file.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A panic is how a failure is reported.

use std::ffi::{CStr, c_char, c_void};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use crate::batch::*;
use crate::builder::*;
use crate::business_token::*;
use crate::callback;
use crate::client::*;
use crate::credentials::*;
use crate::default::LAYERFI_DEFAULT;
use crate::error::*;
use crate::json::*;
use crate::log::{layerfi_log_level, layerfi_set_log_callback};
use crate::response::*;
use crate::result::{layerfi_result, layerfi_result_name};
use crate::stats::{layerfi_client_stats, layerfi_stats};
use crate::str_view::layerfi_str;
use crate::token::*;
use crate::whoami::{layerfi_client_whoami, layerfi_whoami};

/// A secret in the corpus, which no error and no log line may contain.
const SECRET: &str = "canary-9f1c";

/// The cached token. Its header value has 25 bytes with the NUL.
const TOKEN: &str = "canary-9f1c-token";

/// Initial value of bytes that a call must not write.
const UNTOUCHED: u8 = 0xEE;

/// A string for C in an allocation of exactly its size, or NULL.
struct Text(Option<Box<[u8]>>);

impl Text {
    fn new(bytes: &[u8]) -> Self {
        let mut text = Vec::with_capacity(bytes.len() + 1);
        text.extend_from_slice(bytes);
        text.push(0);
        Self(Some(text.into_boxed_slice()))
    }

    fn pointer(&self) -> *const c_char {
        self.0.as_ref().map_or(null(), |text| text.as_ptr().cast())
    }
}

/// The text of a view. C reads it up to its NUL, C++ by its length: both must be equal.
fn text<'a>(view: layerfi_str) -> &'a str {
    assert!(!view.data.is_null());
    // SAFETY: views end with a NUL, and the owner of this one outlives the check.
    let text = unsafe { CStr::from_ptr(view.data) };
    assert_eq!(
        text.count_bytes(),
        view.len,
        "the length of the view is not the length up to its NUL"
    );
    text.to_str().unwrap()
}

/// Makes a call and checks that its result and its error agree, and that it did not panic.
/// Returns the result.
fn check(
    wants_error: bool,
    call: impl FnOnce(*mut *mut layerfi_error) -> layerfi_result,
) -> layerfi_result {
    let mut error = null_mut();
    let result = call(if wants_error { &mut error } else { null_mut() });
    assert_ne!(result, layerfi_result::Panic);
    assert!(!text(layerfi_result_name(result as u32)).is_empty());
    let failed = result != layerfi_result::Ok;
    assert_eq!(error.is_null(), !(failed && wants_error));
    // SAFETY: null or an error that the call wrote; freed once.
    unsafe {
        if !error.is_null() {
            assert_eq!(layerfi_error_result(error), result);
            for needed in [
                layerfi_error_display(error),
                layerfi_error_message(error),
                layerfi_error_remedy(error),
            ] {
                assert!(!text(needed).is_empty());
                assert!(!text(needed).contains(SECRET), "an error contains a secret");
            }
            assert!(text(layerfi_error_field(error)).len() < 64);
            for none in [
                layerfi_error_request_id(error),
                layerfi_error_oauth_error(error),
                layerfi_error_error_enum(error),
            ] {
                assert!(
                    text(none).is_empty(),
                    "a field of a response without a request"
                );
            }
            assert_eq!(layerfi_error_http_status(error), 0);
            assert_eq!(layerfi_error_attempts(error), 0);
            assert_eq!(layerfi_error_retry_after_ms(error), -1);
        }
        layerfi_error_free(error);
    }
    result
}

/// Makes a call with an out parameter and checks that it is written on success only.
fn check_out<T>(
    wants_error: bool,
    call: impl FnOnce(*mut *mut T, *mut *mut layerfi_error) -> layerfi_result,
) -> Option<*mut T> {
    let untouched = std::ptr::without_provenance_mut(usize::from(UNTOUCHED) << 4);
    let mut out = untouched;
    let result = check(wants_error, |error| call(&mut out, error));
    assert_eq!(result == layerfi_result::Ok, out != untouched);
    (out != untouched).then_some(out)
}

type LogCallback = unsafe extern "C" fn(*mut c_void, u32, layerfi_str);

type SetText = unsafe extern "C" fn(
    *mut layerfi_client_builder,
    *const c_char,
    *mut *mut layerfi_error,
) -> layerfi_result;

/// The setters that take text, by letter.
const SETTERS: [(u8, SetText); 14] = [
    (b'e', layerfi_client_builder_set_environment_name),
    (b'a', layerfi_client_builder_set_api_url),
    (b'u', layerfi_client_builder_set_auth_url),
    (b'f', layerfi_client_builder_set_client_secret_file),
    (b'c', layerfi_client_builder_set_ca_file),
    (b'i', layerfi_client_builder_set_client_id),
    (b's', layerfi_client_builder_set_client_secret),
    (b'o', layerfi_client_builder_set_scope),
    (b'p', layerfi_client_builder_set_ca_pem),
    (b'x', layerfi_client_builder_set_proxy),
    (b'g', layerfi_client_builder_set_user_agent),
    (b'h', layerfi_client_builder_set_shared_cache),
    (b'#', layerfi_client_builder_set_shared_cache_key),
    (b'r', layerfi_client_builder_set_shared_cache_prefix),
];

/// One command of the input: a letter and a text. An upper-case letter means NULL instead of the
/// text, a `!` before it means no error object.
struct Command<'a> {
    letter: u8,
    is_null: bool,
    wants_error: bool,
    bytes: &'a [u8],
}

impl<'a> Command<'a> {
    fn read(part: &'a [u8]) -> Option<Self> {
        let (wants_error, part) = match part.strip_prefix(b"!") {
            Some(rest) => (false, rest),
            None => (true, part),
        };
        let (letter, bytes) = part.split_first()?;
        Some(Self {
            letter: letter.to_ascii_lowercase(),
            is_null: letter.is_ascii_uppercase(),
            wants_error,
            bytes,
        })
    }

    fn text(&self) -> Text {
        if self.is_null {
            Text(None)
        } else {
            Text::new(self.bytes)
        }
    }

    /// The texts between commas; an upper-case letter makes the last one NULL.
    fn texts(&self) -> Vec<Text> {
        let mut texts: Vec<_> = self
            .bytes
            .split(|byte| *byte == b',')
            .map(Text::new)
            .collect();
        if self.is_null {
            texts.pop();
            texts.push(Text(None));
        }
        texts
    }

    /// Whether an error may contain the secret, because the input put it into a text that errors
    /// contain: a name, a host, a path, a method, a URI, a business id, or the callback's
    /// error.
    fn puts_secret_into_errors(&self) -> bool {
        let mut texts = self.bytes.split(|byte| *byte == b',');
        let shown = match self.letter {
            b'e' | b'a' | b'u' | b'f' | b'c' | b'y' | b't' => self.bytes.to_vec(),
            b'm' => texts.take(2).flatten().copied().collect(),
            b'd' => texts.nth(2).unwrap_or_default().to_vec(),
            _ => return false,
        };
        String::from_utf8_lossy(&shown).contains(SECRET)
    }
}

/// The objects that commands use.
struct State {
    builder: *mut layerfi_client_builder,
    client: *mut layerfi_client,
    number: u64,
}

/// Runs commands that are separated by `|`.
pub fn c_strings(data: &[u8]) {
    run(data);
}

/// The same; false if the input was skipped.
fn run(data: &[u8]) -> bool {
    static LOGGED: OnceLock<()> = OnceLock::new();
    LOGGED.get_or_init(start_log);
    let commands: Vec<_> = data
        .split(|byte| *byte == b'|')
        .filter_map(Command::read)
        .collect();
    if commands.iter().any(Command::puts_secret_into_errors) {
        return false;
    }
    // Fetches the tokens, while waiting is allowed.
    business_token();
    let mut state = State {
        // SAFETY: the out argument is `check_out`'s.
        builder: check_out(true, |out, error| unsafe {
            layerfi_client_builder_new(out, error)
        })
        .unwrap(),
        client: null_mut(),
        number: 0,
    };
    for command in &commands {
        state.run(command);
    }
    // SAFETY: both are null or came from the library, and are freed once.
    unsafe {
        layerfi_client_builder_free(state.builder);
        layerfi_client_free(state.client);
    }
    true
}

fn start_log() {
    let level = layerfi_log_level::Trace as u32;
    // SAFETY: the callback uses no userdata.
    check(true, |error| unsafe {
        layerfi_set_log_callback(Some(take_log), null_mut(), level, error)
    });
}

unsafe extern "C" fn take_log(_: *mut c_void, level: u32, message: layerfi_str) {
    assert!((1..=5).contains(&level));
    assert!(!text(message).contains(SECRET), "the log contains a secret");
}

impl State {
    fn run(&mut self, command: &Command<'_>) {
        if let Some((_, set)) = SETTERS.iter().find(|(letter, _)| *letter == command.letter) {
            let text = command.text();
            // SAFETY: the builder is valid, and the text null or ended by a NUL.
            check(command.wants_error, |error| unsafe {
                set(self.builder, text.pointer(), error)
            });
            return;
        }
        match command.letter {
            b'n' => self.number = number(command.bytes),
            b'0'..=b'9' | b'w' | b'+' => self.set_number(command),
            b'l' => self.log_level(command),
            b'j' => json(command),
            b'b' => self.build(command),
            b'y' => self.business(command),
            b't' => self.batch(command),
            b'm' => self.execute(command),
            b'v' => self.invalidate(command),
            b'k' => self.copy(command),
            b'z' => self.stats(command),
            b'd' => ask_vault(command),
            _ => self.names(command),
        }
    }

    fn set_number(&mut self, command: &Command<'_>) {
        let (builder, number) = (self.builder, self.number);
        #[allow(clippy::cast_possible_truncation)] // Any number is possible.
        let (short, size, flag) = (number as u32, number as usize, number & 1 == 1);
        // SAFETY: the builder is valid.
        check(command.wants_error, |error| unsafe {
            match command.letter {
                b'0' => layerfi_client_builder_set_environment(builder, short, error),
                b'1' => layerfi_client_builder_set_basic_encoding(builder, short, error),
                b'2' => layerfi_client_builder_set_allow_http_loopback(builder, flag, error),
                b'3' => layerfi_client_builder_set_allow_opaque_business_ids(builder, flag, error),
                b'4' => layerfi_client_builder_set_timeout_ms(builder, number, error),
                b'5' => layerfi_client_builder_set_connect_timeout_ms(builder, number, error),
                b'6' => layerfi_client_builder_set_attempt_timeout_ms(builder, number, error),
                b'7' => layerfi_client_builder_set_max_attempts(builder, short, error),
                b'8' => layerfi_client_builder_set_business_token_capacity(builder, size, error),
                b'9' => layerfi_client_builder_set_trust(builder, short, error),
                b'w' => layerfi_client_builder_set_keep_warm(builder, flag, error),
                b'+' => layerfi_client_builder_set_shared_business_tokens(builder, flag, error),
                _ => layerfi_client_builder_set_no_proxy(builder, error),
            }
        });
    }

    /// Ends the log and starts it again, with any level.
    fn log_level(&self, command: &Command<'_>) {
        let off = layerfi_log_level::Off as u32;
        let level = u32::try_from(self.number).unwrap_or(u32::MAX);
        let callback = (!command.is_null).then_some(take_log as LogCallback);
        // SAFETY: the callback uses no userdata.
        let result = check(command.wants_error, |error| unsafe {
            layerfi_set_log_callback(callback, null_mut(), level, error)
        });
        let is_level = level <= layerfi_log_level::Trace as u32;
        assert_eq!(result == layerfi_result::Ok, is_level);
        if is_level && (command.is_null || level == off) {
            start_log();
        }
    }

    fn build(&mut self, command: &Command<'_>) {
        let builder = if command.is_null {
            null()
        } else {
            self.builder
        };
        // SAFETY: the builder is null or valid.
        let built = check_out(command.wants_error, |out, error| unsafe {
            layerfi_client_builder_build(builder, out, error)
        });
        let Some(client) = built else { return };
        // SAFETY: both are null or valid, and the old one is freed once.
        unsafe {
            layerfi_client_free(std::mem::replace(&mut self.client, client));
            assert!((1..=4).contains(&layerfi_client_environment(client)));
            for url in [
                layerfi_client_api_url(client),
                layerfi_client_auth_url(client),
            ] {
                let (scheme, rest) = text(url).split_once("://").unwrap();
                assert!(scheme == "https" || scheme == "http");
                let host = rest.split('/').next().unwrap_or_default();
                assert!(
                    !host.contains('@'),
                    "the URL shows a user name or a password: {host}"
                );
                assert!(!rest.contains(['?', '#']), "{rest}");
            }
            assert!(!text(layerfi_client_scope(client)).contains(char::is_control));
        }
    }

    /// Passes a business id to all functions that take one.
    fn business(&self, command: &Command<'_>) {
        let (client, wants_error, duration) = (self.any_client(), command.wants_error, self.number);
        let id = command.text();
        let mut valid = false;
        refused::<layerfi_business_token>(wants_error, |out, error| {
            // SAFETY: the client is valid, and the text null or ended by a NUL.
            let result = unsafe {
                layerfi_client_mint_business_token(
                    client,
                    id.pointer(),
                    duration,
                    LAYERFI_DEFAULT,
                    out,
                    error,
                )
            };
            valid = result == layerfi_result::WouldDeadlock;
            result
        });
        for min_remaining in [0, duration, LAYERFI_DEFAULT] {
            refused::<layerfi_business_token>(wants_error, |out, error| {
                // SAFETY: as above.
                unsafe {
                    layerfi_client_business_token(
                        client,
                        id.pointer(),
                        duration,
                        min_remaining,
                        duration,
                        out,
                        error,
                    )
                }
            });
        }
        // With valid arguments it would start a request.
        if !valid {
            // SAFETY: as above.
            let found = check_out::<layerfi_business_token>(wants_error, |out, error| unsafe {
                layerfi_client_try_business_token(
                    client,
                    id.pointer(),
                    duration,
                    LAYERFI_DEFAULT,
                    out,
                    error,
                )
            });
            assert!(found.is_none(), "a business token for an invalid id");
        }
    }

    fn batch(&self, command: &Command<'_>) {
        let texts = command.texts();
        let ids: Box<[_]> = texts.iter().map(Text::pointer).collect();
        refused::<layerfi_business_tokens>(command.wants_error, |out, error| {
            // SAFETY: the array has that many texts, each null or ended by a NUL.
            unsafe {
                layerfi_client_business_tokens(
                    self.any_client(),
                    ids.as_ptr(),
                    ids.len(),
                    self.number,
                    self.number,
                    LAYERFI_DEFAULT,
                    None,
                    null_mut(),
                    out,
                    error,
                )
            }
        });
        // SAFETY: null is allowed.
        assert_eq!(unsafe { layerfi_business_tokens_len(null()) }, 0);
    }

    /// The texts are method, URI, body, then names and values of headers.
    fn execute(&self, command: &Command<'_>) {
        let texts = command.texts();
        let at = |place: usize| texts.get(place).map_or(null(), Text::pointer);
        let body = texts.get(2).and_then(|text| text.0.as_deref());
        let headers: Box<[_]> = texts
            .get(3..)
            .unwrap_or_default()
            .chunks(2)
            .map(|pair| layerfi_header {
                name: pair[0].pointer(),
                value: pair.get(1).map_or(null(), Text::pointer),
            })
            .collect();
        refused::<layerfi_response>(command.wants_error, |out, error| {
            // SAFETY: the texts are null or ended by a NUL, and the arrays have these lengths.
            unsafe {
                layerfi_client_execute(
                    self.any_client(),
                    at(0),
                    at(1),
                    headers.as_ptr(),
                    headers.len(),
                    body.map_or(null(), <[u8]>::as_ptr),
                    body.map_or(0, <[u8]>::len),
                    self.number,
                    out,
                    error,
                )
            }
        });
    }

    /// Invalidates a header value. The value of the cached token is skipped, so that it stays.
    fn invalidate(&self, command: &Command<'_>) {
        let mut value = command.bytes.to_vec();
        value.retain(|byte| *byte != 0);
        if value == format!("Bearer {TOKEN}").as_bytes() {
            return;
        }
        let value = command.text();
        for client in [self.any_client(), client_with_token()] {
            let mut invalidated = true;
            // SAFETY: the client is valid, and the text null or ended by a NUL.
            let result = check(command.wants_error, |error| unsafe {
                layerfi_client_invalidate_authorization(
                    client,
                    value.pointer(),
                    &mut invalidated,
                    error,
                )
            });
            assert_eq!(invalidated, result != layerfi_result::Ok);
        }
    }

    /// Copies to buffers of any size: the whole value and its NUL, or nothing.
    fn copy(&self, command: &Command<'_>) {
        let expected = format!("Bearer {TOKEN}\0");
        let capacity = usize::try_from(self.number % 64).unwrap();
        let mut memory = vec![UNTOUCHED; capacity + 64];
        let buffer = if command.is_null {
            null_mut()
        } else {
            memory.as_mut_ptr().cast()
        };
        let nothing = usize::MAX;
        let mut length = nothing;
        let result = check(command.wants_error, |error| {
            // SAFETY: the client is valid, the buffer null or of that capacity.
            unsafe {
                if self.number & 64 == 0 {
                    layerfi_client_copy_authorization(
                        client_with_token(),
                        LAYERFI_DEFAULT,
                        buffer,
                        capacity,
                        &mut length,
                        error,
                    )
                } else {
                    layerfi_client_try_copy_authorization(
                        client_with_token(),
                        buffer,
                        capacity,
                        &mut length,
                        error,
                    )
                }
            }
        });
        let written = match result {
            layerfi_result::Ok => expected.len(),
            layerfi_result::BufferTooSmall => 0,
            layerfi_result::NullPointer => {
                assert!(command.is_null && capacity > 0 && length == nothing);
                return;
            }
            other => panic!("a copy returned {other:?}"),
        };
        assert_eq!(written > 0, capacity >= expected.len());
        assert_eq!(length, expected.len() - 1);
        assert_eq!(&memory[..written], &expected.as_bytes()[..written]);
        assert!(memory[written..].iter().all(|byte| *byte == UNTOUCHED));
    }

    fn stats(&self, command: &Command<'_>) {
        let whole = size_of::<layerfi_stats>();
        let size = usize::try_from(self.number).unwrap_or(0) % (2 * whole);
        let mut memory = vec![u64::from_ne_bytes([UNTOUCHED; 8]); whole / 4 + 8];
        let out = if command.is_null {
            null_mut()
        } else {
            memory.as_mut_ptr().cast()
        };
        // SAFETY: null, or aligned and larger than `size`.
        let result = check(command.wants_error, |error| unsafe {
            layerfi_client_stats(self.any_client(), out, size, error)
        });
        let written = if result == layerfi_result::Ok {
            size
        } else {
            0
        };
        let bytes: Vec<u8> = memory.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(bytes[written..].iter().all(|byte| *byte == UNTOUCHED));
    }

    /// The functions that take a name or a number and cannot fail, and the calls without arguments.
    fn names(&self, command: &Command<'_>) {
        #[allow(clippy::cast_possible_truncation)] // Any number is possible.
        let name = layerfi_result_name(self.number as u32);
        assert!(text(name).len() < 32);
        let header = command.text();
        // SAFETY: the text is null or ended by a NUL, and a null response is allowed.
        unsafe {
            // Without a request, because there is a token.
            let prepared = check(command.wants_error, |error| {
                layerfi_client_prepare(client_with_token(), error)
            });
            assert_eq!(prepared, layerfi_result::Ok);
            assert!(text(layerfi_response_header(null(), header.pointer())).is_empty());
            refused::<layerfi_token>(command.wants_error, |out, error| {
                layerfi_client_token(self.client, self.number, out, error)
            });
            refused::<layerfi_token>(command.wants_error, |out, error| {
                layerfi_client_renew_token(self.client, null(), self.number, out, error)
            });
            refused::<layerfi_whoami>(command.wants_error, |out, error| {
                layerfi_client_whoami(self.any_client(), self.number, out, error)
            });
        }
    }

    fn any_client(&self) -> *const layerfi_client {
        if self.client.is_null() {
            client_with_token()
        } else {
            self.client
        }
    }
}

/// Makes a call that waits as in a callback: it must fail before it sends a request.
fn refused<T>(
    wants_error: bool,
    call: impl FnOnce(*mut *mut T, *mut *mut layerfi_error) -> layerfi_result,
) {
    let got = callback::run(|| check_out(wants_error, call));
    assert!(got.is_none(), "a call waited in a callback");
}

fn number(bytes: &[u8]) -> u64 {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    text.parse().unwrap_or_else(|_| {
        let mix = |sum: u64, byte: &u8| sum.wrapping_mul(256).wrapping_add(u64::from(*byte));
        bytes.iter().fold(0, mix)
    })
}

/// What the callback passes to the library: id, secret, and an error.
struct Vault {
    texts: Vec<Text>,
    wants_error: bool,
}

unsafe extern "C" fn answer(userdata: *mut c_void, credentials: *mut layerfi_credentials) -> bool {
    // SAFETY: `ask_vault` gave it, and waits for the end of the call.
    let vault = unsafe { &*userdata.cast::<Vault>() };
    let at = |place: usize| vault.texts.get(place).map_or(null(), Text::pointer);
    // SAFETY: the handle is the library's, the texts null or ended by a NUL.
    let (given, _) = unsafe {
        (
            check(vault.wants_error, |error| {
                layerfi_credentials_set(credentials, at(0), at(1), error)
            }),
            check(vault.wants_error, |error| {
                layerfi_credentials_set_error(credentials, at(2), error)
            }),
        )
    };
    // Never true with valid credentials: a request would be sent.
    given != layerfi_result::Ok
}

/// A client whose callback never succeeds.
fn ask_vault(command: &Command<'_>) {
    let mut vault = Vault {
        texts: command.texts(),
        wants_error: command.wants_error,
    };
    let userdata: *mut Vault = &mut vault;
    let client = client_of("http://127.0.0.1:9", |builder, error| {
        // SAFETY: the builder is valid, and the callback knows its userdata.
        unsafe {
            layerfi_client_builder_set_credentials_callback(
                builder,
                Some(answer),
                userdata.cast(),
                None,
                error,
            )
        }
    });
    let mut token = null_mut();
    // SAFETY: the client is valid, and freed once.
    unsafe {
        let result = check(true, |error| {
            layerfi_client_token(client, LAYERFI_DEFAULT, &mut token, error)
        });
        assert_eq!(result, layerfi_result::Credentials);
        layerfi_client_free(client);
    }
}

/// A client for a server on this machine.
fn client_of(
    url: &str,
    credentials: impl FnOnce(*mut layerfi_client_builder, *mut *mut layerfi_error) -> layerfi_result,
) -> *mut layerfi_client {
    let url = Text::new(url.as_bytes());
    let text = |text: &CStr| Text::new(text.to_bytes());
    // SAFETY: the builder is valid and freed once, and the texts end with a NUL.
    unsafe {
        let builder = check_out(true, |out, error| layerfi_client_builder_new(out, error)).unwrap();
        for (set, value) in [
            (
                layerfi_client_builder_set_environment_name as SetText,
                &text(c"custom"),
            ),
            (layerfi_client_builder_set_api_url, &url),
            (layerfi_client_builder_set_auth_url, &url),
            (layerfi_client_builder_set_scope, &text(c"scope")),
            (layerfi_client_builder_set_client_id, &text(c"id")),
            (
                layerfi_client_builder_set_client_secret,
                &Text::new(SECRET.as_bytes()),
            ),
        ] {
            let result = check(true, |error| set(builder, value.pointer(), error));
            assert_eq!(result, layerfi_result::Ok);
        }
        check(true, |error| {
            layerfi_client_builder_set_allow_http_loopback(builder, true, error)
        });
        check(true, |error| {
            layerfi_client_builder_set_max_attempts(builder, 1, error)
        });
        check(true, |error| credentials(builder, error));
        let built = check_out(true, |out, error| {
            layerfi_client_builder_build(builder, out, error)
        });
        layerfi_client_builder_free(builder);
        built.unwrap()
    }
}

/// A business token as JSON, with any name of an environment.
fn json(command: &Command<'_>) {
    let environment = command.text();
    let token = business_token();
    // SAFETY: the token is valid, the text null or ended by a NUL, and both results are freed
    // once.
    unsafe {
        for json in [
            check_out(command.wants_error, |out, error| {
                layerfi_business_token_json(token, out, error)
            }),
            check_out(command.wants_error, |out, error| {
                layerfi_business_token_session_json(token, out, error)
            }),
            check_out(command.wants_error, |out, error| {
                let name = environment.pointer();
                layerfi_business_token_layer_provider_props_json(token, name, out, error)
            }),
        ] {
            let Some(json) = json else { continue };
            let text = text(layerfi_json_text(json));
            assert!(text.starts_with('{') && text.ends_with('}') && text.contains(TOKEN));
            // Those that JSON does not allow (RFC 8259, section 7): DEL is allowed.
            assert!(
                !text.contains(|c: char| c < ' '),
                "JSON has control characters"
            );
            layerfi_json_free(json);
        }
    }
}

/// A business token; it is never freed.
fn business_token() -> *const layerfi_business_token {
    static BUSINESS_TOKEN: OnceLock<usize> = OnceLock::new();
    let address = *BUSINESS_TOKEN.get_or_init(|| {
        let id = Text::new(b"3fa85f64-5717-4562-b3fc-2c963f66afa6");
        let token = check_out(true, |out, error| {
            let client = client_with_token();
            // SAFETY: the client is valid, and the text ends with a NUL.
            unsafe {
                layerfi_client_mint_business_token(
                    client,
                    id.pointer(),
                    LAYERFI_DEFAULT,
                    LAYERFI_DEFAULT,
                    out,
                    error,
                )
            }
        });
        token.unwrap().expose_provenance()
    });
    std::ptr::with_exposed_provenance(address)
}

/// The client with a cached token; it is never freed.
fn client_with_token() -> *const layerfi_client {
    static CLIENT: OnceLock<usize> = OnceLock::new();
    let address = *CLIENT.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream);
            }
        });
        let client = client_of(&url, |_, _| layerfi_result::Ok);
        let mut token = null_mut();
        // SAFETY: the client is valid, and the token freed once.
        unsafe {
            let result = check(true, |error| {
                layerfi_client_token(client, LAYERFI_DEFAULT, &mut token, error)
            });
            assert_eq!(result, layerfi_result::Ok);
            layerfi_token_free(token);
        }
        client.expose_provenance()
    });
    std::ptr::with_exposed_provenance(address)
}

/// Answers any token request with a token that is valid for a day, and so any request for a
/// business token.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut some = [0; 4096];
    // The bodies have no line end: a request is complete when it contains its last word.
    let is_complete = |request: &[u8]| {
        let request = String::from_utf8_lossy(request);
        ["scope=scope", "session_duration"]
            .iter()
            .any(|word| request.contains(word))
    };
    while !is_complete(&request) {
        match stream.read(&mut some)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&some[..count]),
        }
    }
    let body = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":86400}}"#);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    /// Runs the first inputs of the fuzzer, and all inputs that it found.
    #[test]
    fn b18_b20_b23_corpus_of_c_strings_passes() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/c_strings");
        let mut count = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let ran = super::run(&std::fs::read(&path).unwrap());
            assert!(ran, "{} was skipped", path.display());
            count += 1;
        }
        assert!(count > 3, "the corpus has only {count} inputs");
    }
}
