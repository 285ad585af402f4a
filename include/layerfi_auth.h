/*
 * layerfi-auth: access tokens for the Layer accounting API. The library requests,
 * caches and refreshes them. Guide: docs/c.md. C++: layerfi_auth.hpp.
 *
 * CONVENTIONS for every function in this file:
 *
 * Results.   A function that can fail returns a layerfi_result. Its last
 *            parameter is a `layerfi_error **`, which may be NULL. Out
 *            parameters are written only on success (the one exception is
 *            documented at its function), the error only on failure. An earlier
 *            error in the variable is overwritten, not freed.
 * Ownership. A handle that a function returns through a `T **` belongs to the
 *            caller. Free it once, with T's `_free` function; to use it after that
 *            is undefined behavior. `_free(NULL)` does nothing. No function takes
 *            ownership of an argument or frees it. Handles may be freed in any
 *            order: a token stays valid after its client is freed.
 * Strings.   String parameters are NUL-terminated UTF-8; the library copies
 *            them. Strings are returned as layerfi_str, a view that is valid
 *            until its handle is freed. Only bodies of responses contain NULs.
 * Defaults.  LAYERFI_DEFAULT is the default of every number of a call; the comment
 *            of the function names it. 0 is never a default.
 * NULL.      A NULL argument is LAYERFI_RESULT_NULL_POINTER, unless the comment
 *            of the function allows it. Accessors (functions that return their
 *            value) return an empty value for a NULL handle.
 * Time.      `_ms` is milliseconds and `_s` is seconds. Points in time are
 *            milliseconds since 1970-01-01 00:00 UTC.
 * Threads.   A `const` handle may be used from several threads at the same
 *            time. Use a handle that is not const, or that is being freed, from
 *            one thread only. The library starts its own threads at the first
 *            call that needs them: `layerfi-auth`, `layerfi-dns` for host names,
 *            `layerfi-secrets` for files, `layerfi-creds` for callbacks.
 * Fork.      A client that was used before a fork() may be used in the child,
 *            also if the process has several threads. The child keeps the cached
 *            token and shares no connection with the parent. Do not fork in a
 *            callback.
 * Closing.   A program may close all descriptors (closefrom) while no call is in
 *            progress; the next call opens new ones. Do not close only some of
 *            the library's.
 * Enums.     Enum parameters are uint32_t, so that a wrong number is an error
 *            and not undefined behavior. Numbers are never reused.
 * Panics.    A bug that makes the library panic is LAYERFI_RESULT_PANIC.
 *            Exceptions and longjmp must not pass through the library.
 * Signals.   Call no function from a signal handler. The library's threads block
 *            all signals, and so do the credentials and log callbacks that run in
 *            them. The signal masks and handlers of the program are not changed,
 *            the one for SIGPIPE included.
 */

#ifndef LAYERFI_AUTH_H
#define LAYERFI_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version of this header. */
#define LAYERFI_VERSION "0.1.0"
#define LAYERFI_VERSION_MAJOR 0
#define LAYERFI_VERSION_MINOR 1
#define LAYERFI_VERSION_PATCH 0

/**
 * The version of the ABI, and the number in the shared library's SONAME. It
 * changes when programs that were built with an earlier header would break.
 */
#define LAYERFI_ABI_VERSION 1

/**
 * The revision of the ABI. It grows by one with every addition that does not
 * break programs that were built with an earlier header.
 */
#define LAYERFI_ABI_REVISION 5

/**
 * A value for each number of a call that has a default: session_duration_s,
 * min_remaining_s, max_in_flight and timeout_ms. The comment of the function
 * names the default. It is the largest number, so that a duration that was
 * computed, such as the 0 ms until a deadline that has passed, never means it.
 */
#define LAYERFI_DEFAULT UINT64_MAX

/**
 * The result of a call. Numbers are never reused. Later versions may add
 * codes: treat an unknown code as a failure.
 */
enum layerfi_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Success.
     */
    LAYERFI_RESULT_OK = 0,
    /**
     * A setting is missing or not valid; layerfi_error_field() names it.
     */
    LAYERFI_RESULT_CONFIG = 1,
    /**
     * An argument of this call is not valid. No request was sent.
     */
    LAYERFI_RESULT_INVALID_ARGUMENT = 2,
    /**
     * The credentials could not be read from their file or callback.
     */
    LAYERFI_RESULT_CREDENTIALS = 3,
    /**
     * The server could not be reached, or the connection was lost.
     */
    LAYERFI_RESULT_TRANSPORT = 4,
    /**
     * The call's timeout, or the timeout of its last attempt, has passed.
     */
    LAYERFI_RESULT_TIMEOUT = 5,
    /**
     * The server's certificate was not accepted, or the TLS handshake failed.
     */
    LAYERFI_RESULT_TLS = 6,
    /**
     * The token endpoint refused the request; layerfi_error_oauth_error() has
     * its OAuth error code, or is empty for a 400 or 401 without a body.
     */
    LAYERFI_RESULT_OAUTH = 7,
    /**
     * The Layer API refused the request, or the token endpoint failed without
     * an OAuth error code; see layerfi_error_http_status() and
     * layerfi_error_error_enum().
     */
    LAYERFI_RESULT_API = 8,
    /**
     * Too many requests; layerfi_error_retry_after_ms() has the time to wait.
     */
    LAYERFI_RESULT_RATE_LIMITED = 9,
    /**
     * The server's response is not valid.
     */
    LAYERFI_RESULT_PROTOCOL = 10,
    /**
     * A fault in the library, such as a panic in its background thread.
     */
    LAYERFI_RESULT_INTERNAL = 11,
    /**
     * An argument is NULL, which is not allowed.
     */
    LAYERFI_RESULT_NULL_POINTER = 100,
    /**
     * A string is not valid UTF-8.
     */
    LAYERFI_RESULT_INVALID_UTF8 = 101,
    /**
     * A number is not a value of its enum.
     */
    LAYERFI_RESULT_INVALID_ENUM = 102,
    /**
     * The buffer is too small for the value.
     */
    LAYERFI_RESULT_BUFFER_TOO_SMALL = 103,
    /**
     * The cache has no value, in a call that does not wait.
     */
    LAYERFI_RESULT_NOT_AVAILABLE = 104,
    /**
     * A call that waits was made in a callback that the call may itself wait
     * for.
     */
    LAYERFI_RESULT_WOULD_DEADLOCK = 105,
    /**
     * The library panicked. The panic was caught; the client stays usable.
     */
    LAYERFI_RESULT_PANIC = 106,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum layerfi_result layerfi_result;
#else
typedef uint32_t layerfi_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * One of Layer's environments, or another system with the same API.
 */
enum layerfi_environment
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * https://sandbox.layerfi.com
     */
    LAYERFI_ENVIRONMENT_SANDBOX = 1,
    /**
     * https://api.layerfi.com
     */
    LAYERFI_ENVIRONMENT_PRODUCTION = 2,
    /**
     * https://api-ca.layerfi.com (Canada)
     */
    LAYERFI_ENVIRONMENT_PRODUCTION_CA = 3,
    /**
     * An emulator, a staging system or a gateway. API URL, token endpoint and
     * scope are required.
     */
    LAYERFI_ENVIRONMENT_CUSTOM = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum layerfi_environment layerfi_environment;
#else
typedef uint32_t layerfi_environment;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How client id and secret are written in the Basic header.
 */
enum layerfi_basic_encoding
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Unchanged, as `curl -u` and Layer's documentation do. The default.
     */
    LAYERFI_BASIC_ENCODING_RAW = 1,
    /**
     * Form-urlencoded (RFC 6749 section 2.3.1).
     */
    LAYERFI_BASIC_ENCODING_FORM = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum layerfi_basic_encoding layerfi_basic_encoding;
#else
typedef uint32_t layerfi_basic_encoding;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Which certificate authorities are trusted besides those of the settings
 * `ca_file` and `ca_pem`.
 */
enum layerfi_trust
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Those of the system. The default.
     */
    LAYERFI_TRUST_SYSTEM = 1,
    /**
     * Mozilla's, which are compiled into the library. For container images
     * without certificates.
     */
    LAYERFI_TRUST_BUNDLED = 2,
    /**
     * No others.
     */
    LAYERFI_TRUST_CA_ONLY = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum layerfi_trust layerfi_trust;
#else
typedef uint32_t layerfi_trust;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The severity of a log message.
 */
enum layerfi_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No messages.
     */
    LAYERFI_LOG_LEVEL_OFF = 0,
    /**
     * A fault that needs attention.
     */
    LAYERFI_LOG_LEVEL_ERROR = 1,
    /**
     * A failure that the library handles.
     */
    LAYERFI_LOG_LEVEL_WARN = 2,
    /**
     * Events of general interest.
     */
    LAYERFI_LOG_LEVEL_INFO = 3,
    /**
     * Requests, retries and refreshes.
     */
    LAYERFI_LOG_LEVEL_DEBUG = 4,
    /**
     * Details.
     */
    LAYERFI_LOG_LEVEL_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum layerfi_log_level layerfi_log_level;
#else
typedef uint32_t layerfi_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whether a client's shared cache is used.
 */
enum layerfi_shared_cache_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The client has no shared cache.
     */
    LAYERFI_SHARED_CACHE_STATE_OFF = 0,
    /**
     * The store answered last, or was not asked yet.
     */
    LAYERFI_SHARED_CACHE_STATE_UP = 1,
    /**
     * The store failed last. It is asked again after a pause.
     */
    LAYERFI_SHARED_CACHE_STATE_DOWN = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum layerfi_shared_cache_state layerfi_shared_cache_state;
#else
typedef uint32_t layerfi_shared_cache_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A token for one business, for a browser or a mobile app. It stays valid after
 * the client is freed. A const pointer to it may be used from several threads at
 * the same time. Free it with layerfi_business_token_free().
 *
 * The library wipes its text from memory when the last reference to the token
 * (this handle, and the client's cache) is gone. Wipe your own copies yourself.
 */
typedef struct layerfi_business_token layerfi_business_token;

/**
 * The results of a batch, one per id, in the order of the ids. A const pointer
 * to it may be used from several threads at the same time. Free it with
 * layerfi_business_tokens_free().
 */
typedef struct layerfi_business_tokens layerfi_business_tokens;

/**
 * A client for Layer's authentication. Make one per set of credentials and use
 * it in the whole program. A const pointer to it may be used from several
 * threads at the same time, and in the child after a fork(). Free it with
 * layerfi_client_free().
 *
 * The `timeout_ms` of a call limits the whole call in milliseconds: waiting,
 * retries and back-off included. LAYERFI_DEFAULT is the client's own timeout, 0
 * is LAYERFI_RESULT_INVALID_ARGUMENT, and a value above one day is reduced to one
 * day. A call that times out does not cancel a request that other callers wait
 * for.
 */
typedef struct layerfi_client layerfi_client;

/**
 * The settings of a new client. Use it from one thread at a time. Credentials
 * and environment are required; every other setting has a default. All strings
 * are copied. Free it with layerfi_client_builder_free().
 *
 * A setting whose setter is not called has its default: LAYERFI_DEFAULT is for
 * calls, and not valid here. Most values are checked by
 * layerfi_client_builder_build(). A setter that
 * returns an error makes layerfi_client_builder_build() return the same error, so
 * that a program which ignores it does not run with a default in its place.
 */
typedef struct layerfi_client_builder layerfi_client_builder;

/**
 * Receives the credentials from a layerfi_credentials_callback. It is valid
 * during the callback only. The library frees it.
 *
 * A function that fails to set something makes the callback fail with the same
 * error, as the setters of layerfi_client_builder do for the client.
 */
typedef struct layerfi_credentials layerfi_credentials;

/**
 * Why a call failed. No text in it holds a secret, a token or the body of a
 * response. A const pointer to it may be used from several threads at the same
 * time. Free it with layerfi_error_free().
 */
typedef struct layerfi_error layerfi_error;

/**
 * JSON that contains a token. A const pointer to it may be used from several
 * threads at the same time. Free it with layerfi_json_free(), which wipes it from
 * memory. Wipe your own copies yourself.
 */
typedef struct layerfi_json layerfi_json;

/**
 * The response to layerfi_client_execute(). A const pointer to it may be used
 * from several threads at the same time. Free it with layerfi_response_free().
 */
typedef struct layerfi_response layerfi_response;

/**
 * An access token for the Layer API. It does not change when the client gets a
 * newer token, and stays valid after the client is freed. A const pointer to it
 * may be used from several threads at the same time. Free it with
 * layerfi_token_free().
 *
 * The library wipes its text from memory when the last reference to the token
 * (this handle, and the client's cache) is gone. Wipe your own copies yourself.
 */
typedef struct layerfi_token layerfi_token;

/**
 * The client that the credentials belong to: the response to `GET /whoami`. A
 * const pointer to it may be used from several threads at the same time. Free it
 * with layerfi_whoami_free().
 */
typedef struct layerfi_whoami layerfi_whoami;

/**
 * A view of a string: UTF-8, followed by a NUL byte that `len` does not count.
 *
 * It is valid until the handle that it was taken from is freed; a view from a
 * function that takes no handle is always valid. `data` is never NULL: a value
 * that is absent is an empty string.
 */
typedef struct layerfi_str {
    /**
     * The first byte.
     */
    const char *data;
    /**
     * The number of bytes, without the NUL.
     */
    size_t len;
} layerfi_str;

/**
 * Reads the current credentials, passes them to layerfi_credentials_set() and
 * returns true. Returns false if it cannot read them.
 *
 * The library calls it before each token request, and again if the server
 * refuses the credentials. It is called from a thread of the library, and may be
 * called from several threads at the same time. It may block: callers that wait
 * for it end at their own timeouts. Functions of the library that wait return
 * LAYERFI_RESULT_WOULD_DEADLOCK in it. It must not throw or longjmp.
 */
typedef bool (*layerfi_credentials_callback)(void *userdata,
                                             struct layerfi_credentials *credentials);

/**
 * Frees the `userdata` of a callback. It is called once, from any thread, when
 * the builder and all its clients are freed and no call is running.
 */
typedef void (*layerfi_free_callback)(void *userdata);

/**
 * The progress of a batch.
 */
typedef struct layerfi_batch_progress {
    /**
     * Number of ids, duplicates included.
     */
    size_t total;
    /**
     * Number of different ids, invalid ids included.
     */
    size_t distinct;
    /**
     * How many of the different ids have a result.
     */
    size_t done;
    /**
     * How many of those results are failures.
     */
    size_t failed;
} layerfi_batch_progress;

/**
 * Receives the progress of a batch after each result, and at least four times a
 * second. If it returns false, the batch ends, and missing results are
 * LAYERFI_RESULT_TIMEOUT. `progress` is valid during the call only. It must not
 * throw or longjmp.
 */
typedef bool (*layerfi_progress_callback)(void *userdata,
                                          const struct layerfi_batch_progress *progress);

/**
 * A header of a request.
 */
typedef struct layerfi_header {
    /**
     * Its name, such as `Content-Type`.
     */
    const char *name;
    /**
     * Its value.
     */
    const char *value;
} layerfi_header;

/**
 * A client's counters since it was made; in a forked child, since the parent
 * made it. Later revisions may add fields at the end: the caller passes the size
 * of its struct.
 */
typedef struct layerfi_stats {
    /**
     * Calls that returned a cached token without waiting.
     */
    uint64_t hits;
    /**
     * How many of those calls came while a refresh was due, running or failing.
     */
    uint64_t stale_serves;
    /**
     * Token fetches that started because no valid token was cached.
     */
    uint64_t misses;
    /**
     * Calls that waited for a fetch.
     */
    uint64_t waits;
    /**
     * Token fetches that started before the cached token expired.
     */
    uint64_t refreshes;
    /**
     * Requests to the token endpoint.
     */
    uint64_t token_requests;
    /**
     * Requests for business tokens.
     */
    uint64_t mints;
    /**
     * Requests that were sent again after a failure.
     */
    uint64_t retries;
    /**
     * Tokens that were removed because a server refused them.
     */
    uint64_t invalidations;
    /**
     * Number of business tokens in the cache.
     */
    uint64_t business_tokens;
    /**
     * When the cached access token expires, in milliseconds since 1970-01-01
     * 00:00 UTC; -1 if there is none.
     */
    int64_t expires_at_ms;
    /**
     * Fetches that failed after their retries: `failures[r]` of them with the
     * layerfi_result `r`.
     */
    uint64_t failures[16];
    /**
     * Tokens that came from the shared cache.
     */
    uint64_t shared_adopted;
    /**
     * Tokens that this client stored in the shared cache.
     */
    uint64_t shared_published;
    /**
     * Fetches that waited for another process.
     */
    uint64_t shared_waits;
    /**
     * Fetches that sent their own request although the client has a shared cache,
     * because the store failed or no other process came to a result.
     */
    uint64_t shared_alone;
    /**
     * Entries of the shared cache that were not accepted.
     */
    uint64_t shared_rejected;
    /**
     * Failed operations of the shared cache.
     */
    uint64_t shared_faults;
    /**
     * Whether the shared cache is used, a layerfi_shared_cache_state.
     */
    uint64_t shared_cache;
} layerfi_stats;

/**
 * Receives a log message. `level` is a layerfi_log_level; `message` is valid
 * during the call only, and contains no secret and no token at any level.
 *
 * It is called from any thread, and may be called from several threads at the
 * same time. It must be fast: the library's background thread waits for it. It
 * may call the library, but functions that wait return
 * LAYERFI_RESULT_WOULD_DEADLOCK in it, and messages that are logged by its
 * thread meanwhile are dropped. It must not fork, throw or longjmp.
 */
typedef void (*layerfi_log_callback)(void *userdata,
                                     uint32_t level,
                                     struct layerfi_str message);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The ABI version of the loaded library. It must be equal to the header's
 * LAYERFI_ABI_VERSION; for the shared library the loader checks that.
 */
uint32_t layerfi_abi_version(void);

/**
 * The ABI revision of the loaded library. If it is not less than the header's
 * LAYERFI_ABI_REVISION, the library has everything that the header declares.
 */
uint32_t layerfi_abi_revision(void);

/**
 * The version of the library, such as `0.1.0`. The view is always valid.
 */
struct layerfi_str layerfi_version(void);

/**
 * The name of a result code, such as `rate_limited`; empty for an unknown
 * number. The view is always valid.
 */
struct layerfi_str layerfi_result_name(uint32_t result);

/**
 * The code that the call returned; LAYERFI_RESULT_OK for NULL.
 */
layerfi_result layerfi_error_result(const struct layerfi_error *error);

/**
 * The whole error in one line, for a log: what failed, the number of attempts,
 * the request id, and what to do about it.
 */
struct layerfi_str layerfi_error_display(const struct layerfi_error *error);

/**
 * What failed, without the remedy. The text may change: branch on the result
 * code instead.
 */
struct layerfi_str layerfi_error_message(const struct layerfi_error *error);

/**
 * What to do about it. The text may change.
 */
struct layerfi_str layerfi_error_remedy(const struct layerfi_error *error);

/**
 * The name of the setting or argument that is not valid, such as `client_id`;
 * empty if the error is not about one.
 */
struct layerfi_str layerfi_error_field(const struct layerfi_error *error);

/**
 * The server's id for the request, for questions to Layer's support; empty if
 * the server sent none.
 */
struct layerfi_str layerfi_error_request_id(const struct layerfi_error *error);

/**
 * The OAuth error code, such as `invalid_client` (RFC 6749 section 5.2); empty
 * if the server sent none.
 */
struct layerfi_str layerfi_error_oauth_error(const struct layerfi_error *error);

/**
 * Layer's stable code for the failure (`error_enum`); empty if the server sent
 * none.
 */
struct layerfi_str layerfi_error_error_enum(const struct layerfi_error *error);

/**
 * The HTTP status of the response; 0 if there was no response. For a call that
 * timed out, the status of its last attempt.
 */
uint32_t layerfi_error_http_status(const struct layerfi_error *error);

/**
 * How many times the request was sent, retries included; 0 if it was not sent.
 */
uint32_t layerfi_error_attempts(const struct layerfi_error *error);

/**
 * How long to wait before a retry, in milliseconds, as the server requests; -1
 * if it requests nothing.
 */
int64_t layerfi_error_retry_after_ms(const struct layerfi_error *error);

/**
 * Whether the same call may succeed later without a change by the caller. The
 * client has already retried. False for NULL.
 */
bool layerfi_error_is_retryable(const struct layerfi_error *error);

/**
 * Frees an error and ends the views of its texts. NULL is allowed.
 */
void layerfi_error_free(struct layerfi_error *error);

/**
 * Makes a builder without settings. Free it with layerfi_client_builder_free().
 */
layerfi_result layerfi_client_builder_new(struct layerfi_client_builder **out,
                                          struct layerfi_error **error);

/**
 * Makes a builder with settings from environment variables: `LAYER_CLIENT_ID`,
 * `LAYER_CLIENT_SECRET` or `LAYER_CLIENT_SECRET_FILE`, `LAYER_ENVIRONMENT`,
 * `LAYER_API_URL`, `LAYER_AUTH_URL`, `LAYER_SCOPE`, `LAYER_CA_FILE`,
 * `LAYER_TRUST`, `LAYER_SHARED_CACHE`, `LAYER_SHARED_CACHE_KEY`,
 * `LAYER_ALLOW_HTTP_LOOPBACK`. An empty variable counts as not set.
 * Free the builder with layerfi_client_builder_free().
 *
 * No other thread may change the environment (setenv) during the call.
 *
 * Errors: LAYERFI_RESULT_CONFIG for a variable that is not valid. A missing one
 * is an error of layerfi_client_builder_build().
 */
layerfi_result layerfi_client_builder_from_env(struct layerfi_client_builder **out,
                                               struct layerfi_error **error);

/**
 * Sets the environment, a layerfi_environment. It is required and has no
 * default, so that no program uses production by accident.
 *
 * Errors: LAYERFI_RESULT_INVALID_ENUM for any other number.
 */
layerfi_result layerfi_client_builder_set_environment(struct layerfi_client_builder *builder,
                                                      uint32_t environment,
                                                      struct layerfi_error **error);

/**
 * Sets the environment by its name: `sandbox`, `production`, `production-ca` or
 * `custom`.
 *
 * Errors: LAYERFI_RESULT_CONFIG for any other name.
 */
layerfi_result layerfi_client_builder_set_environment_name(struct layerfi_client_builder *builder,
                                                           const char *name,
                                                           struct layerfi_error **error);

/**
 * Sets the client id that Layer issued. Required, unless a credentials callback
 * is set.
 */
layerfi_result layerfi_client_builder_set_client_id(struct layerfi_client_builder *builder,
                                                    const char *client_id,
                                                    struct layerfi_error **error);

/**
 * Sets the client secret that Layer issued. It replaces a secret file. The
 * library wipes its copy when the builder and its clients are freed.
 */
layerfi_result layerfi_client_builder_set_client_secret(struct layerfi_client_builder *builder,
                                                        const char *client_secret,
                                                        struct layerfi_error **error);

/**
 * Sets the path of a file that contains the client secret and nothing else; a
 * line end is allowed. The file is read before each token request, so that a
 * rotated secret is used. It replaces a client secret.
 */
layerfi_result layerfi_client_builder_set_client_secret_file(struct layerfi_client_builder *builder,
                                                             const char *path,
                                                             struct layerfi_error **error);

/**
 * Sets a callback that reads client id and secret, for example from a vault. It
 * replaces client id, secret and secret file.
 *
 * `userdata` is passed to the callback. When it is no longer needed, it is passed
 * to `free_userdata`, which may be NULL. If this call fails, `free_userdata` is
 * not called.
 */
layerfi_result layerfi_client_builder_set_credentials_callback(struct layerfi_client_builder *builder,
                                                               layerfi_credentials_callback callback,
                                                               void *userdata,
                                                               layerfi_free_callback free_userdata,
                                                               struct layerfi_error **error);

/**
 * Sets how client id and secret are written in the Basic header, a
 * layerfi_basic_encoding. The default is LAYERFI_BASIC_ENCODING_RAW.
 *
 * Errors: LAYERFI_RESULT_INVALID_ENUM for any other number.
 */
layerfi_result layerfi_client_builder_set_basic_encoding(struct layerfi_client_builder *builder,
                                                         uint32_t encoding,
                                                         struct layerfi_error **error);

/**
 * Sets the base URL of the API. It replaces the environment's.
 */
layerfi_result layerfi_client_builder_set_api_url(struct layerfi_client_builder *builder,
                                                  const char *url,
                                                  struct layerfi_error **error);

/**
 * Sets the URL of the token endpoint. It replaces the environment's.
 */
layerfi_result layerfi_client_builder_set_auth_url(struct layerfi_client_builder *builder,
                                                   const char *url,
                                                   struct layerfi_error **error);

/**
 * Sets the OAuth scope. It replaces the environment's.
 */
layerfi_result layerfi_client_builder_set_scope(struct layerfi_client_builder *builder,
                                                const char *scope,
                                                struct layerfi_error **error);

/**
 * Sets the path of a PEM file with certificate authorities to trust in addition
 * to those of layerfi_client_builder_set_trust(). At most 1 MiB. layerfi_client_builder_build() reads it. It is
 * read again after a certificate was not accepted, every 10 seconds at most.
 */
layerfi_result layerfi_client_builder_set_ca_file(struct layerfi_client_builder *builder,
                                                  const char *path,
                                                  struct layerfi_error **error);

/**
 * Sets PEM text with certificate authorities to trust in addition to those of
 * layerfi_client_builder_set_trust().
 */
layerfi_result layerfi_client_builder_set_ca_pem(struct layerfi_client_builder *builder,
                                                 const char *pem,
                                                 struct layerfi_error **error);

/**
 * Sets which certificate authorities are trusted besides those of `ca_file` and
 * `ca_pem`, a layerfi_trust. The default is LAYERFI_TRUST_SYSTEM.
 *
 * Errors: LAYERFI_RESULT_INVALID_ENUM for any other number.
 */
layerfi_result layerfi_client_builder_set_trust(struct layerfi_client_builder *builder,
                                                uint32_t trust,
                                                struct layerfi_error **error);

/**
 * Sets a proxy, `http://[user:password@]host:port`, for all requests except
 * those to loopback. Without it the environment variables `HTTPS_PROXY`,
 * `ALL_PROXY` and `NO_PROXY` are used, in upper or lower case.
 */
layerfi_result layerfi_client_builder_set_proxy(struct layerfi_client_builder *builder,
                                                const char *url,
                                                struct layerfi_error **error);

/**
 * Disables proxies, those of environment variables included.
 */
layerfi_result layerfi_client_builder_set_no_proxy(struct layerfi_client_builder *builder,
                                                   struct layerfi_error **error);

/**
 * Allows `http://` URLs to this machine, for an emulator. Plain HTTP to any
 * other host is always refused. The default is false.
 */
layerfi_result layerfi_client_builder_set_allow_http_loopback(struct layerfi_client_builder *builder,
                                                              bool allow,
                                                              struct layerfi_error **error);

/**
 * Allows business ids that are not UUIDs, for systems that replace Layer. The
 * default is false.
 */
layerfi_result layerfi_client_builder_set_allow_opaque_business_ids(struct layerfi_client_builder *builder,
                                                                    bool allow,
                                                                    struct layerfi_error **error);

/**
 * Sets the maximum duration of a call, retries included, in milliseconds: 1 to
 * 3,600,000. The default is 30,000 (30 seconds).
 */
layerfi_result layerfi_client_builder_set_timeout_ms(struct layerfi_client_builder *builder,
                                                     uint64_t timeout_ms,
                                                     struct layerfi_error **error);

/**
 * Sets the maximum duration of connecting, per attempt, in milliseconds: 1 to
 * 3,600,000. The default is 5,000 (5 seconds).
 */
layerfi_result layerfi_client_builder_set_connect_timeout_ms(struct layerfi_client_builder *builder,
                                                             uint64_t timeout_ms,
                                                             struct layerfi_error **error);

/**
 * Sets the maximum duration of one attempt, from connecting to the last byte of
 * the response, in milliseconds: 1 to 3,600,000. The default is 10,000 (10
 * seconds).
 */
layerfi_result layerfi_client_builder_set_attempt_timeout_ms(struct layerfi_client_builder *builder,
                                                             uint64_t timeout_ms,
                                                             struct layerfi_error **error);

/**
 * Sets the maximum number of requests per call, the first included: 1 (no
 * retry) to 100. The default is 4.
 */
layerfi_result layerfi_client_builder_set_max_attempts(struct layerfi_client_builder *builder,
                                                       uint32_t attempts,
                                                       struct layerfi_error **error);

/**
 * Sets the maximum number of cached business tokens, at least 1. The default is
 * 10,000.
 */
layerfi_result layerfi_client_builder_set_business_token_capacity(struct layerfi_client_builder *builder,
                                                                  size_t tokens,
                                                                  struct layerfi_error **error);

/**
 * Sets whether the access token is refreshed in the background without calls:
 * from the first call on, until the client is freed. The default is false, so
 * that an idle program sends no requests.
 */
layerfi_result layerfi_client_builder_set_keep_warm(struct layerfi_client_builder *builder,
                                                    bool keep_warm,
                                                    struct layerfi_error **error);

/**
 * Shares tokens with other processes and machines through a Redis or Valkey
 * server, `redis://[user:password@]host[:port][/database]`. With TLS:
 * `rediss://`. A unix socket: `redis+unix:///path`. Sentinels:
 * `redis+sentinel://host[:port],host[:port]/service[/database]`. The default is
 * no shared cache.
 *
 * One process fetches a token for all that have the same credentials, URLs and
 * scope. Tokens are stored sealed, under a key that is derived from the client
 * secret, until they expire. A store that is slow or down never fails a call:
 * then each process fetches its own tokens. The URL is treated as a secret: it is
 * in no error and no log.
 *
 * Needs a library that was built with `make lib SHARED_CACHE=1`. With any
 * other, layerfi_client_builder_build() fails with LAYERFI_RESULT_CONFIG.
 */
layerfi_result layerfi_client_builder_set_shared_cache(struct layerfi_client_builder *builder,
                                                       const char *url,
                                                       struct layerfi_error **error);

/**
 * Sets a secret that the keys of the shared cache also depend on. Only clients
 * with the same one share tokens. For client secrets that could be guessed, and
 * to separate fleets that use one store. The default is none.
 */
layerfi_result layerfi_client_builder_set_shared_cache_key(struct layerfi_client_builder *builder,
                                                           const char *key,
                                                           struct layerfi_error **error);

/**
 * Sets the text with which the names of all keys in the store begin: 1 to 64
 * letters, digits, `-`, `_`, `.` and `:`. The default is `layerfi`.
 */
layerfi_result layerfi_client_builder_set_shared_cache_prefix(struct layerfi_client_builder *builder,
                                                              const char *prefix,
                                                              struct layerfi_error **error);

/**
 * Sets whether business tokens are shared too, if there is a shared cache. One
 * takes about 2 KB of the store's memory. The default is true.
 */
layerfi_result layerfi_client_builder_set_shared_business_tokens(struct layerfi_client_builder *builder,
                                                                 bool share,
                                                                 struct layerfi_error **error);

/**
 * Sets the text before `layerfi-auth/<version>` in the `User-Agent` header, such
 * as `my-service/1.2`. Visible ASCII characters and spaces only.
 */
layerfi_result layerfi_client_builder_set_user_agent(struct layerfi_client_builder *builder,
                                                     const char *product,
                                                     struct layerfi_error **error);

/**
 * Checks all settings and makes a client. It sends no request and starts no
 * thread. The builder is not changed and may build more clients. Free the client
 * with layerfi_client_free().
 *
 * Errors: LAYERFI_RESULT_CONFIG if a setting is missing or not valid;
 * layerfi_error_field() names it. If a setter of this builder failed, the error
 * of the first one that did.
 */
layerfi_result layerfi_client_builder_build(const struct layerfi_client_builder *builder,
                                            struct layerfi_client **out,
                                            struct layerfi_error **error);

/**
 * Frees a builder. NULL is allowed.
 */
void layerfi_client_builder_free(struct layerfi_client_builder *builder);

/**
 * Passes credentials from a layerfi_credentials_callback to the library. Both
 * strings are copied. The library wipes its copy of the secret when it is no
 * longer needed.
 */
layerfi_result layerfi_credentials_set(struct layerfi_credentials *credentials,
                                       const char *client_id,
                                       const char *client_secret,
                                       struct layerfi_error **error);

/**
 * Sets why a layerfi_credentials_callback returns false. The text is copied. It
 * appears in errors and logs: do not put secrets into it.
 */
layerfi_result layerfi_credentials_set_error(struct layerfi_credentials *credentials,
                                             const char *message,
                                             struct layerfi_error **error);

/**
 * Makes a client from environment variables. It is
 * layerfi_client_builder_from_env() and layerfi_client_builder_build() in one
 * call. Free the client with layerfi_client_free().
 *
 * Errors: LAYERFI_RESULT_CONFIG if a variable is missing or not valid.
 */
layerfi_result layerfi_client_from_env(struct layerfi_client **out,
                                       struct layerfi_error **error);

/**
 * Starts to get an access token in the background, so that the first call that
 * needs one finds it. Call it where the program starts: it never waits. It does
 * nothing while there is a valid token or a request for one. In a child after a
 * fork() it starts the child's own request.
 *
 * The library's threads start, read the trusted certificates, and connect to the
 * token endpoint. The connection to the API is opened by the first request to it.
 *
 * The failure of the request is not an error here. It is logged as a warning, and
 * the calls that need a token return it, as if they had sent it.
 *
 * Errors: LAYERFI_RESULT_TRANSPORT, retryable, if the library's threads cannot be
 * started.
 */
layerfi_result layerfi_client_prepare(const struct layerfi_client *client,
                                      struct layerfi_error **error);

/**
 * The client's environment, a layerfi_environment; 0 for NULL.
 */
uint32_t layerfi_client_environment(const struct layerfi_client *client);

/**
 * The base URL of the API, without a slash at its end.
 */
struct layerfi_str layerfi_client_api_url(const struct layerfi_client *client);

/**
 * The URL of the token endpoint.
 */
struct layerfi_str layerfi_client_auth_url(const struct layerfi_client *client);

/**
 * The OAuth scope that the client requests.
 */
struct layerfi_str layerfi_client_scope(const struct layerfi_client *client);

/**
 * Frees a client. NULL is allowed. Tokens that it returned stay valid. Requests
 * that run in the background are completed.
 */
void layerfi_client_free(struct layerfi_client *client);

/**
 * Returns a valid access token. A cached token is returned at once; otherwise
 * the call waits for a request that all callers share. A token that expires
 * soon is returned at once and refreshed in the background. Free the token with
 * layerfi_token_free().
 *
 * `timeout_ms` limits the call in milliseconds; LAYERFI_DEFAULT is the client's
 * timeout.
 *
 * Errors: the failure of the token request, after its retries. After a failure
 * the same error is returned without a new request, until a new request may
 * succeed (2 to 60 seconds if the credentials were refused).
 */
layerfi_result layerfi_client_token(const struct layerfi_client *client,
                                    uint64_t timeout_ms,
                                    struct layerfi_token **out,
                                    struct layerfi_error **error);

/**
 * Returns the cached access token and never waits. Free the token with
 * layerfi_token_free().
 *
 * Errors: LAYERFI_RESULT_NOT_AVAILABLE if the cache has no valid token; a
 * request for one is started in the background. After a failed request, its
 * failure until the next request is allowed, as from layerfi_client_token(). In
 * both cases call again later: the library sends new requests by itself.
 */
layerfi_result layerfi_client_try_token(const struct layerfi_client *client,
                                        struct layerfi_token **out,
                                        struct layerfi_error **error);

/**
 * Copies the value of the `Authorization` header (`Bearer` and the token) and a
 * NUL into the caller's buffer. It is layerfi_client_token() without a handle
 * to free. Threads do not slow one another while a token is cached.
 *
 * `capacity` is the size of `buffer` in bytes. 16,392 bytes are enough for any
 * token; Layer's tokens have some 1,000 bytes. `length` may be NULL; otherwise
 * it is set to the length of the value without the NUL. `timeout_ms` limits the
 * call in milliseconds; LAYERFI_DEFAULT is the client's timeout.
 *
 * The copy belongs to the caller, which must wipe it. If a server refuses it
 * with 401, call layerfi_client_invalidate_authorization().
 *
 * Errors: as layerfi_client_token(). LAYERFI_RESULT_BUFFER_TOO_SMALL if
 * `capacity` is less than the length and the NUL; `length` is set in this case
 * too, the only out parameter that is written on failure.
 */
layerfi_result layerfi_client_copy_authorization(const struct layerfi_client *client,
                                                 uint64_t timeout_ms,
                                                 char *buffer,
                                                 size_t capacity,
                                                 size_t *length,
                                                 struct layerfi_error **error);

/**
 * layerfi_client_copy_authorization() for the cached token; never waits.
 *
 * Errors: as layerfi_client_try_token(), and LAYERFI_RESULT_BUFFER_TOO_SMALL as
 * layerfi_client_copy_authorization().
 */
layerfi_result layerfi_client_try_copy_authorization(const struct layerfi_client *client,
                                                     char *buffer,
                                                     size_t capacity,
                                                     size_t *length,
                                                     struct layerfi_error **error);

/**
 * Returns an access token other than one that a server refused with 401: the
 * current one if it is another, otherwise a new one. Until that arrives, other
 * callers get the current token, because the server may refuse it for one
 * resource only. Free the token with layerfi_token_free(); `refused` stays the
 * caller's.
 *
 * After too many refusals (allowed are five at once, then one in ten seconds) it
 * returns the refused token again, with the same text: the 401 is then final.
 *
 * `timeout_ms` and errors: as layerfi_client_token().
 */
layerfi_result layerfi_client_renew_token(const struct layerfi_client *client,
                                          const struct layerfi_token *refused,
                                          uint64_t timeout_ms,
                                          struct layerfi_token **out,
                                          struct layerfi_error **error);

/**
 * Removes an access token from the cache because a server refused it with 401,
 * if it is still the current one. The next call gets a new token. The handle
 * stays the caller's.
 *
 * `invalidated` may be NULL; otherwise it is set to whether the token was
 * removed. The number of removals is limited: five at once, then one in ten
 * seconds. Above this limit the token is not removed, because new tokens do not
 * help.
 */
layerfi_result layerfi_client_invalidate(const struct layerfi_client *client,
                                         const struct layerfi_token *token,
                                         bool *invalidated,
                                         struct layerfi_error **error);

/**
 * Removes a token from the cache that a server refused with 401, an access token
 * or a business token, given as the value of the `Authorization` header or as
 * the token alone. The values are compared in constant time. Otherwise as
 * layerfi_client_invalidate().
 */
layerfi_result layerfi_client_invalidate_authorization(const struct layerfi_client *client,
                                                       const char *authorization,
                                                       bool *invalidated,
                                                       struct layerfi_error **error);

/**
 * The token itself. It is a secret: do not log it.
 */
struct layerfi_str layerfi_token_secret(const struct layerfi_token *token);

/**
 * The value of the `Authorization` header: `Bearer` and the token. It is built
 * once per token, not per call.
 */
struct layerfi_str layerfi_token_authorization(const struct layerfi_token *token);

/**
 * When the token expires, in milliseconds since 1970-01-01 00:00 UTC, counted
 * from before it was requested; 0 for NULL.
 */
int64_t layerfi_token_expires_at_ms(const struct layerfi_token *token);

/**
 * The lifetime that the server gave the token, in seconds, counted from before
 * it was requested; 0 for NULL.
 */
uint64_t layerfi_token_expires_in_s(const struct layerfi_token *token);

/**
 * How long the token is still valid, in milliseconds: the lesser of the values
 * by the monotonic and the wall clock, so that a wall clock that is set back does
 * not extend it. 0 after the expiry, and for NULL.
 */
uint64_t layerfi_token_remaining_ms(const struct layerfi_token *token);

/**
 * Frees a token and ends the views of it. NULL is allowed.
 */
void layerfi_token_free(struct layerfi_token *token);

/**
 * Returns a token for one business: from the cache if it has enough lifetime
 * left, otherwise newly minted. Free it with layerfi_business_token_free().
 *
 * `business_id` is a UUID. `session_duration_s` is 1 to 86,400 seconds;
 * LAYERFI_DEFAULT is 3,600 (1 hour). `min_remaining_s` is the lifetime that the
 * token must have left, in seconds; it is reduced to nine tenths of the lifetime
 * that the server gave the token. LAYERFI_DEFAULT is half of that lifetime, or
 * less if minting fails with a retryable error. `timeout_ms` limits the call in
 * milliseconds; LAYERFI_DEFAULT is the client's timeout.
 *
 * Errors: LAYERFI_RESULT_INVALID_ARGUMENT for an id or a duration that is not
 * valid; otherwise as layerfi_client_token(), and LAYERFI_RESULT_API if Layer
 * refuses the request.
 */
layerfi_result layerfi_client_business_token(const struct layerfi_client *client,
                                             const char *business_id,
                                             uint64_t session_duration_s,
                                             uint64_t min_remaining_s,
                                             uint64_t timeout_ms,
                                             struct layerfi_business_token **out,
                                             struct layerfi_error **error);

/**
 * Returns another business token than one that a page reports as refused, and keeps
 * serving that one to others until the new one arrives. Free it with
 * layerfi_business_token_free().
 *
 * `refused` is the token, or the value of its `Authorization` header; it is compared in
 * constant time. The current token is returned if it is another one already, if it is
 * less than 10 seconds old, or after too many refusals. `business_id`,
 * `session_duration_s` and `timeout_ms` are as in layerfi_client_business_token().
 *
 * Errors: as layerfi_client_business_token().
 */
layerfi_result layerfi_client_renew_business_token(const struct layerfi_client *client,
                                                   const char *business_id,
                                                   uint64_t session_duration_s,
                                                   const char *refused,
                                                   uint64_t timeout_ms,
                                                   struct layerfi_business_token **out,
                                                   struct layerfi_error **error);

/**
 * Returns a cached business token that has enough lifetime left, and never
 * waits. Free it with layerfi_business_token_free().
 *
 * `business_id`, `session_duration_s` and `min_remaining_s` are as in
 * layerfi_client_business_token().
 *
 * Errors: LAYERFI_RESULT_NOT_AVAILABLE if the cache has no such token; a request
 * for one is started in the background. After a failed request, its failure
 * until the next request is allowed.
 */
layerfi_result layerfi_client_try_business_token(const struct layerfi_client *client,
                                                 const char *business_id,
                                                 uint64_t session_duration_s,
                                                 uint64_t min_remaining_s,
                                                 struct layerfi_business_token **out,
                                                 struct layerfi_error **error);

/**
 * Requests a new token for one business. The token is not cached. Free it with
 * layerfi_business_token_free().
 *
 * `business_id`, `session_duration_s` and `timeout_ms` are as in
 * layerfi_client_business_token(), and so are the errors.
 */
layerfi_result layerfi_client_mint_business_token(const struct layerfi_client *client,
                                                  const char *business_id,
                                                  uint64_t session_duration_s,
                                                  uint64_t timeout_ms,
                                                  struct layerfi_business_token **out,
                                                  struct layerfi_error **error);

/**
 * Removes a business token from the cache because a server refused it with 401,
 * if it is still the current one. The handle stays the caller's. Otherwise as
 * layerfi_client_invalidate(), with a limit of its own.
 */
layerfi_result layerfi_client_invalidate_business_token(const struct layerfi_client *client,
                                                        const struct layerfi_business_token *token,
                                                        bool *invalidated,
                                                        struct layerfi_error **error);

/**
 * The token itself, for the `businessAccessToken` property of `<LayerProvider>`.
 * It is a secret: do not log it.
 */
struct layerfi_str layerfi_business_token_secret(const struct layerfi_business_token *token);

/**
 * The value of the `Authorization` header: `Bearer` and the token. It is built
 * once per token, not per call.
 */
struct layerfi_str layerfi_business_token_authorization(const struct layerfi_business_token *token);

/**
 * The business that the token is for: a UUID in lower case.
 */
struct layerfi_str layerfi_business_token_business_id(const struct layerfi_business_token *token);

/**
 * The session duration that was requested, in seconds; 0 for NULL.
 */
uint64_t layerfi_business_token_session_duration_s(const struct layerfi_business_token *token);

/**
 * The lifetime that the server gave the token, in seconds, counted from before
 * it was requested; 0 for NULL.
 */
uint64_t layerfi_business_token_expires_in_s(const struct layerfi_business_token *token);

/**
 * When the token expires, in milliseconds since 1970-01-01 00:00 UTC, counted
 * from before it was requested; 0 for NULL.
 */
int64_t layerfi_business_token_expires_at_ms(const struct layerfi_business_token *token);

/**
 * How long the token is still valid, in milliseconds, as
 * layerfi_token_remaining_ms(); 0 after the expiry, and for NULL. A page counts
 * from this and not from the expiry, because the clocks of its users are wrong.
 */
uint64_t layerfi_business_token_remaining_ms(const struct layerfi_business_token *token);

/**
 * Frees a business token and ends the views of it. NULL is allowed.
 */
void layerfi_business_token_free(struct layerfi_business_token *token);

/**
 * The token as a JSON object, for the response of an endpoint that a page gets
 * its token from: `access_token`, `token_type`, `expires_in` (the seconds that
 * are left now), `expires_at` (RFC 3339) and `business_id`. Free it with
 * layerfi_json_free().
 *
 * Send it with `Cache-Control: no-store`, and only to a user of this business.
 */
layerfi_result layerfi_business_token_json(const struct layerfi_business_token *token,
                                           struct layerfi_json **out,
                                           struct layerfi_error **error);

/**
 * The session of a page that shows Layer's components, as a JSON object: the fields of
 * layerfi_business_token_json(), `session_duration`, `layer_provider_props` (the props
 * of `<LayerProvider>`), and `renew_in`: the whole seconds after which
 * layerfi_client_business_token() returns another token. Free it with
 * layerfi_json_free().
 *
 * Send it with `Cache-Control: no-store`, and only to a user of this business.
 */
layerfi_result layerfi_business_token_session_json(const struct layerfi_business_token *token,
                                                   struct layerfi_json **out,
                                                   struct layerfi_error **error);

/**
 * The props of `<LayerProvider>` of the npm package `@layerfi/components` as a
 * JSON object: `businessId`, `businessAccessToken`, and `environment`, or
 * `environmentConfigOverride` if the client has its own URLs or scope. Free it
 * with layerfi_json_free().
 *
 * `environment` replaces the name in the components' table of environments, and
 * may be NULL. The name of a custom environment is `sandbox`, unless its scope
 * says `production`. The components crash if a name is not in their table.
 */
layerfi_result layerfi_business_token_layer_provider_props_json(const struct layerfi_business_token *token,
                                                                const char *environment,
                                                                struct layerfi_json **out,
                                                                struct layerfi_error **error);

/**
 * The JSON text. It contains a token: do not log it.
 */
struct layerfi_str layerfi_json_text(const struct layerfi_json *json);

/**
 * Frees JSON, wipes it and ends the view of its text. NULL is allowed.
 */
void layerfi_json_free(struct layerfi_json *json);

/**
 * Requests tokens for many businesses and waits for all results. Duplicate ids
 * share one request. Requests are sent within Layer's rate limit. Free the
 * results with layerfi_business_tokens_free().
 *
 * `business_ids` is an array of `count` strings; it may be NULL if `count` is 0.
 * An id that is not valid fails in its own result, not in this call.
 * `session_duration_s` is as in layerfi_client_business_token(). `max_in_flight`
 * is the maximum number of concurrent requests, at least 1; LAYERFI_DEFAULT is
 * 32. `timeout_ms` limits each business in milliseconds, from the moment when the
 * rate limiter permits its request; it does not limit the batch. LAYERFI_DEFAULT
 * is the client's timeout. `progress` may be NULL; otherwise it is called with
 * `userdata`, from this thread.
 *
 * Errors: LAYERFI_RESULT_INVALID_ARGUMENT for a number that is not valid.
 */
layerfi_result layerfi_client_business_tokens(const struct layerfi_client *client,
                                              const char *const *business_ids,
                                              size_t count,
                                              uint64_t session_duration_s,
                                              uint64_t max_in_flight,
                                              uint64_t timeout_ms,
                                              layerfi_progress_callback progress,
                                              void *userdata,
                                              struct layerfi_business_tokens **out,
                                              struct layerfi_error **error);

/**
 * The number of results, equal to the number of ids; 0 for NULL.
 */
size_t layerfi_business_tokens_len(const struct layerfi_business_tokens *tokens);

/**
 * The result at `index`, which starts at 0: a token, or the error of its
 * business. Free the token with layerfi_business_token_free(); it stays valid
 * after the results are freed.
 *
 * Errors: the failure of this business. LAYERFI_RESULT_INVALID_ARGUMENT if
 * `index` is not less than layerfi_business_tokens_len().
 */
layerfi_result layerfi_business_tokens_get(const struct layerfi_business_tokens *tokens,
                                           size_t index,
                                           struct layerfi_business_token **out,
                                           struct layerfi_error **error);

/**
 * Frees the results of a batch. NULL is allowed.
 */
void layerfi_business_tokens_free(struct layerfi_business_tokens *tokens);

/**
 * Asks Layer which client the credentials belong to: `GET /whoami`. Free the
 * result with layerfi_whoami_free().
 *
 * `timeout_ms` limits the call in milliseconds; LAYERFI_DEFAULT is the client's
 * timeout.
 *
 * Errors: as layerfi_client_token(), and LAYERFI_RESULT_API if Layer refuses the
 * request.
 */
layerfi_result layerfi_client_whoami(const struct layerfi_client *client,
                                     uint64_t timeout_ms,
                                     struct layerfi_whoami **out,
                                     struct layerfi_error **error);

/**
 * The client's name at Layer.
 */
struct layerfi_str layerfi_whoami_client_name(const struct layerfi_whoami *whoami);

/**
 * The client's id, a UUID.
 */
struct layerfi_str layerfi_whoami_client_id(const struct layerfi_whoami *whoami);

/**
 * Frees a result of layerfi_client_whoami() and ends the views of it. NULL is
 * allowed.
 */
void layerfi_whoami_free(struct layerfi_whoami *whoami);

/**
 * Sends a request to the Layer API with the access token in its `Authorization`
 * header. If the response is 401, the token is invalidated and the request is
 * sent again with a new one. Redirects are not followed, and there is no retry
 * except after 401. Free the response with layerfi_response_free().
 *
 * A response with any status, a second 401 included, is a success of this call:
 * check layerfi_response_status().
 *
 * `method` is an HTTP method such as `GET`. `uri` is a path such as
 * `/v1/businesses`, or a URL of the API; the token is not sent to any other host.
 * `headers` is an array of `header_count` headers, `body` has `body_length`
 * bytes; each may be NULL if its count is 0. `timeout_ms` limits the call in
 * milliseconds; LAYERFI_DEFAULT is the client's timeout.
 *
 * Errors: LAYERFI_RESULT_INVALID_ARGUMENT for a method, URI or header that is
 * not valid; LAYERFI_RESULT_PROTOCOL for a response of more than 16 MiB;
 * otherwise as layerfi_client_token().
 */
layerfi_result layerfi_client_execute(const struct layerfi_client *client,
                                      const char *method,
                                      const char *uri,
                                      const struct layerfi_header *headers,
                                      size_t header_count,
                                      const uint8_t *body,
                                      size_t body_length,
                                      uint64_t timeout_ms,
                                      struct layerfi_response **out,
                                      struct layerfi_error **error);

/**
 * The HTTP status of the response; 0 for NULL.
 */
uint32_t layerfi_response_status(const struct layerfi_response *response);

/**
 * The value of the first header with this name; empty if there is none. Names
 * are not case-sensitive. The value may be other bytes than UTF-8.
 */
struct layerfi_str layerfi_response_header(const struct layerfi_response *response,
                                           const char *name);

/**
 * The body of the response. It may have any bytes, NUL included; a NUL follows
 * its last byte.
 */
struct layerfi_str layerfi_response_body(const struct layerfi_response *response);

/**
 * Frees a response and ends the views of it. NULL is allowed.
 */
void layerfi_response_free(struct layerfi_response *response);

/**
 * Copies the client's counters to a struct of the caller. `size` is
 * `sizeof(layerfi_stats)` in bytes: fields that the caller's struct does not have
 * are left out, and bytes that the library does not know are set to 0.
 *
 * Errors: LAYERFI_RESULT_BUFFER_TOO_SMALL if `size` is less than 8.
 */
layerfi_result layerfi_client_stats(const struct layerfi_client *client,
                                    struct layerfi_stats *out,
                                    size_t size,
                                    struct layerfi_error **error);

/**
 * Sends the log of all clients of this process to `callback`. It replaces an
 * earlier callback. NULL or LAYERFI_LOG_LEVEL_OFF ends the log.
 *
 * `level` is the most detailed level to send, a layerfi_log_level. `userdata` is
 * passed to the callback. A call of the old callback may still run in another
 * thread when this function returns, so never free what `userdata` points to.
 * May be called from any thread. A forked child keeps the callback.
 *
 * Errors: LAYERFI_RESULT_INVALID_ENUM for a number that is not a level.
 */
layerfi_result layerfi_set_log_callback(layerfi_log_callback callback,
                                        void *userdata,
                                        uint32_t level,
                                        struct layerfi_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LAYERFI_AUTH_H */
