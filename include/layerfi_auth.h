/*
 * layerfi-auth: tokens for the Layer accounting API, acquired once, always at
 * hand, never shown. Guide: docs/c.md. C++: layerfi_auth.hpp.
 *
 * THE LAWS, for every function here:
 *
 * Results.   A call that can fail returns a layerfi_result and takes, last, a
 *            nullable `layerfi_error **`. Out arguments are written only on
 *            success (the one exception says so), the error only on failure.
 *            An error that stands there from before is overwritten, not freed.
 * Ownership. What a call gives out as `T **` is yours, and is freed by T's
 *            one `_free` function, once. `_free(NULL)` is fine. No call takes
 *            over or frees an argument. Handles may be freed in any order: a
 *            token outlives its client.
 * Strings.   Strings in are NUL-terminated UTF-8, and are copied. Strings out
 *            are a layerfi_str: a view that lives as long as its handle.
 * NULL.      A NULL that is not said to be fine is LAYERFI_RESULT_NULL_POINTER;
 *            accessors, which return a value, give an empty one for it.
 * Threads.   A `const` handle may be used from many threads at once. A handle
 *            that is not const, or is being freed, belongs to one thread.
 *            The library's own threads (`layerfi-auth`, and `layerfi-auth-io`
 *            for files, names and credentials callbacks) come with the first
 *            call that needs them.
 * Fork.      A client may be used in the child of a fork() that came after its
 *            use, in a process of many threads too. The child keeps the token
 *            and shares no connection with the parent. Do not fork from a
 *            callback.
 * Enums.     Enum inputs are uint32_t, so that a wrong number is an error and
 *            not undefined. Numbers of enums are never reused.
 * Panics.    A bug in the library that panics is LAYERFI_RESULT_PANIC.
 *            Exceptions and longjmp must not pass through it.
 * Signals.   Nothing here may be called from a signal handler. All signals to
 *            the process are blocked in the library's own threads, and so in
 *            the credentials and log callbacks that run there. The program's
 *            masks and handlers stay as they are, that of SIGPIPE too.
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
 * changes when a program built against an earlier header would break.
 */
#define LAYERFI_ABI_VERSION 1

/**
 * The revision of the ABI: one more whenever something is added that a
 * program built against an earlier header does not notice.
 */
#define LAYERFI_ABI_REVISION 0

/**
 * The session duration that Layer gives by default, in seconds.
 */
#define LAYERFI_SESSION_DURATION_DEFAULT 3600

/**
 * For `min_remaining_s`: half of the life that the server gave the token.
 */
#define LAYERFI_MIN_REMAINING_DEFAULT UINT64_MAX

/**
 * What became of a call. Numbers are never reused; later versions may add
 * some, so treat one that you do not know as a failure like the others.
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
     * A setting is missing or wrong; layerfi_error_field() names it.
     */
    LAYERFI_RESULT_CONFIG = 1,
    /**
     * An argument of this call is wrong; nothing was sent.
     */
    LAYERFI_RESULT_INVALID_ARGUMENT = 2,
    /**
     * The credentials could not be read from their file or provider.
     */
    LAYERFI_RESULT_CREDENTIALS = 3,
    /**
     * The server could not be reached, or the connection broke.
     */
    LAYERFI_RESULT_TRANSPORT = 4,
    /**
     * The call's time, or an attempt's, ran out.
     */
    LAYERFI_RESULT_TIMEOUT = 5,
    /**
     * The server's certificate was not accepted, or the handshake failed.
     */
    LAYERFI_RESULT_TLS = 6,
    /**
     * The token endpoint refused; layerfi_error_oauth_error() has its code.
     */
    LAYERFI_RESULT_OAUTH = 7,
    /**
     * The Layer API refused; see layerfi_error_http_status() and
     * layerfi_error_error_enum().
     */
    LAYERFI_RESULT_API = 8,
    /**
     * Too many requests; layerfi_error_retry_after_ms() says how long to wait.
     */
    LAYERFI_RESULT_RATE_LIMITED = 9,
    /**
     * The answer is not what the protocol allows.
     */
    LAYERFI_RESULT_PROTOCOL = 10,
    /**
     * A fault in the library, such as a panic in its background thread.
     */
    LAYERFI_RESULT_INTERNAL = 11,
    /**
     * A pointer that must not be NULL is.
     */
    LAYERFI_RESULT_NULL_POINTER = 100,
    /**
     * A string is not UTF-8.
     */
    LAYERFI_RESULT_INVALID_UTF8 = 101,
    /**
     * A number is no value of its enum.
     */
    LAYERFI_RESULT_INVALID_ENUM = 102,
    /**
     * The buffer is too small for the answer.
     */
    LAYERFI_RESULT_BUFFER_TOO_SMALL = 103,
    /**
     * Nothing is at hand, in a call that does not wait.
     */
    LAYERFI_RESULT_NOT_AVAILABLE = 104,
    /**
     * A call that waits was made from a callback that its answer may depend on.
     */
    LAYERFI_RESULT_WOULD_DEADLOCK = 105,
    /**
     * The library panicked. The panic ended here, and the client stays usable.
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
 * One of Layer's environments, or one of your own.
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
     * An emulator, a staging system, a proxy. API URL, token endpoint and
     * scope must all be given.
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
 * How id and secret go into the Basic header.
 */
enum layerfi_basic_encoding
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * As they are, like `curl -u` and Layer's own documentation. The default.
     */
    LAYERFI_BASIC_ENCODING_RAW = 1,
    /**
     * Form-urlencoded first, as RFC 6749 section 2.3.1 has it.
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
 * How much a log message matters.
 */
enum layerfi_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Nothing.
     */
    LAYERFI_LOG_LEVEL_OFF = 0,
    /**
     * Something is broken.
     */
    LAYERFI_LOG_LEVEL_ERROR = 1,
    /**
     * Something failed and is dealt with.
     */
    LAYERFI_LOG_LEVEL_WARN = 2,
    /**
     * Something worth knowing.
     */
    LAYERFI_LOG_LEVEL_INFO = 3,
    /**
     * What the library does: requests, retries, refreshes.
     */
    LAYERFI_LOG_LEVEL_DEBUG = 4,
    /**
     * In detail.
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
 * A token for one business, to be handed to a browser or a mobile app. It
 * outlives the client. A const pointer to it may be used from many threads at
 * once.
 *
 * Its text is wiped from memory when the last reference to the token (this
 * handle, and the client's cache) is gone; copies are yours to wipe.
 */
typedef struct layerfi_business_token layerfi_business_token;

/**
 * One result per id of a batch, in order. A const pointer to it may be used
 * from many threads at once.
 */
typedef struct layerfi_business_tokens layerfi_business_tokens;

/**
 * A client of Layer's authentication: one per set of credentials, for the
 * whole program. A const pointer to it may be used from many threads at once,
 * and in the child after a fork().
 *
 * `timeout_ms` of a call is what it may take in all, waiting, retries and
 * back-off included, in milliseconds; 0 is the client's own timeout, and more
 * than a day is a day. A call that times out does not cancel a request that
 * others wait for.
 */
typedef struct layerfi_client layerfi_client;

/**
 * Settings of a client that is to be made. For one thread at a time. Each
 * setting has a default but the credentials and the environment; what is
 * wrong with one is told by layerfi_client_builder_build().
 *
 * All strings are copied.
 */
typedef struct layerfi_client_builder layerfi_client_builder;

/**
 * Where a callback puts the credentials. It lives during the call only, and
 * is freed by the library.
 */
typedef struct layerfi_credentials layerfi_credentials;

/**
 * Why a call failed. No text in it holds a secret, a token or the body of an
 * answer. A const pointer to it may be used from many threads at once.
 */
typedef struct layerfi_error layerfi_error;

/**
 * The answer to layerfi_client_execute(). A const pointer to it may be used
 * from many threads at once.
 */
typedef struct layerfi_response layerfi_response;

/**
 * An access token for the Layer API. It stays what it is while the client
 * goes on to others, and outlives the client. A const pointer to it may be
 * used from many threads at once.
 *
 * Its text is wiped from memory when the last reference to the token (this
 * handle, and the client's cache) is gone; copies are yours to wipe.
 */
typedef struct layerfi_token layerfi_token;

/**
 * Who the credentials belong to, as `GET /whoami` tells. A const pointer to
 * it may be used from many threads at once.
 */
typedef struct layerfi_whoami layerfi_whoami;

/**
 * A view on a string: UTF-8, with a NUL behind its last byte that `len` does
 * not count. It is valid as long as the handle that it was taken from, and
 * for ever where there was none. `data` is never NULL: what is absent is an
 * empty string.
 */
typedef struct layerfi_str {
    /**
     * The first byte.
     */
    const char *data;
    /**
     * How many bytes, without the NUL.
     */
    size_t len;
} layerfi_str;

/**
 * Reads the credentials as they are now, gives them to
 * layerfi_credentials_set(), and returns true; false where it cannot.
 *
 * It is asked before each token request, and again when the server refuses
 * the credentials. It is called from a thread of the library's, from several
 * at once, and may take its time: the calls that wait for it end by their own
 * timeouts. Calls of the library that wait return
 * LAYERFI_RESULT_WOULD_DEADLOCK in it. It must not throw or longjmp.
 */
typedef bool (*layerfi_credentials_callback)(void *userdata,
                                             struct layerfi_credentials *credentials);

/**
 * Frees what a callback was given. Called once, from any thread, when the
 * builder and all its clients are freed and no call is under way.
 */
typedef void (*layerfi_free_callback)(void *userdata);

/**
 * How far a batch has come.
 */
typedef struct layerfi_batch_progress {
    /**
     * Ids, duplicates included.
     */
    size_t total;
    /**
     * Different businesses among them, refused ids included.
     */
    size_t distinct;
    /**
     * Those of them whose result is there.
     */
    size_t done;
    /**
     * Those of them that failed.
     */
    size_t failed;
} layerfi_batch_progress;

/**
 * Told how far a batch has come, whenever a result is there. Returning false
 * ends the batch: what is missing then is LAYERFI_RESULT_TIMEOUT in its
 * place. It must not throw or longjmp.
 */
typedef bool (*layerfi_progress_callback)(void *userdata,
                                          const struct layerfi_batch_progress *progress);

/**
 * A client's counters, all since it was made (in a forked child: since the
 * parent made it). Later revisions may add fields at its end: a caller says
 * by `sizeof` which ones it knows.
 */
typedef struct layerfi_stats {
    /**
     * Calls served from the cache at once.
     */
    uint64_t hits;
    /**
     * Those of them served while a refresh was due, under way or failing.
     */
    uint64_t stale_serves;
    /**
     * Flights started because there was nothing to serve.
     */
    uint64_t misses;
    /**
     * Calls that waited for a flight, their own or another's.
     */
    uint64_t waits;
    /**
     * Flights started ahead of expiry, with nobody waiting.
     */
    uint64_t refreshes;
    /**
     * Requests sent to the token endpoint.
     */
    uint64_t token_requests;
    /**
     * Requests sent to mint business tokens.
     */
    uint64_t mints;
    /**
     * Requests that were sent again after a failure.
     */
    uint64_t retries;
    /**
     * Tokens thrown away because a server refused them.
     */
    uint64_t invalidations;
    /**
     * Business tokens in the cache.
     */
    uint64_t business_tokens;
    /**
     * When the current access token expires, in milliseconds since 1970 began
     * (UTC); -1 where there is none.
     */
    int64_t expires_at_ms;
    /**
     * Flights that failed, after their retries: `failures[r]` of them with
     * the layerfi_result `r`.
     */
    uint64_t failures[16];
} layerfi_stats;

/**
 * One header of a request.
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
 * Takes a log message. `level` is a layerfi_log_level; `message` is valid
 * during the call only, and holds no secret and no token at any level.
 *
 * It is called from any thread, from several at once, and must be quick: the
 * library's background thread waits for it. It may call the library, but what
 * waits returns LAYERFI_RESULT_WOULD_DEADLOCK there, and what is logged in
 * the meantime by its thread is dropped. It must not fork, throw or longjmp.
 */
typedef void (*layerfi_log_callback)(void *userdata,
                                     uint32_t level,
                                     struct layerfi_str message);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The ABI version of the library that is loaded. It must be the header's
 * LAYERFI_ABI_VERSION, which the loader sees to for the shared library.
 */
uint32_t layerfi_abi_version(void);

/**
 * The ABI revision of the library that is loaded. What the header of revision
 * LAYERFI_ABI_REVISION declares is there if this is not smaller.
 */
uint32_t layerfi_abi_revision(void);

/**
 * The version of the library, such as `0.1.0`.
 */
struct layerfi_str layerfi_version(void);

/**
 * The name of a result code, such as `rate_limited`; empty for a number that
 * is none.
 */
struct layerfi_str layerfi_result_name(uint32_t result);

/**
 * The same code that the call returned; LAYERFI_RESULT_OK for NULL.
 */
layerfi_result layerfi_error_result(const struct layerfi_error *error);

/**
 * The whole story in one line: what failed, after how many attempts, the
 * request's id, and what to do.
 */
struct layerfi_str layerfi_error_display(const struct layerfi_error *error);

/**
 * What failed, without the advice. For people: branch on codes instead.
 */
struct layerfi_str layerfi_error_message(const struct layerfi_error *error);

/**
 * What to do about it.
 */
struct layerfi_str layerfi_error_remedy(const struct layerfi_error *error);

/**
 * The setting or argument that is wrong, such as `client_id`; empty where it
 * is not about one.
 */
struct layerfi_str layerfi_error_field(const struct layerfi_error *error);

/**
 * The server's id for the request, to quote to Layer's support; empty where
 * there was none.
 */
struct layerfi_str layerfi_error_request_id(const struct layerfi_error *error);

/**
 * The OAuth error code, such as `invalid_client` (RFC 6749 section 5.2);
 * empty where there was none.
 */
struct layerfi_str layerfi_error_oauth_error(const struct layerfi_error *error);

/**
 * Layer's stable id of the failure; empty where there was none.
 */
struct layerfi_str layerfi_error_error_enum(const struct layerfi_error *error);

/**
 * The HTTP status of the answer; 0 where there was none.
 */
uint32_t layerfi_error_http_status(const struct layerfi_error *error);

/**
 * How long the server asked to wait, in milliseconds; -1 where it did not.
 */
int64_t layerfi_error_retry_after_ms(const struct layerfi_error *error);

/**
 * Whether the same call may succeed a little later, with nothing changed on
 * this side. The client has already retried by then.
 */
bool layerfi_error_is_retryable(const struct layerfi_error *error);

/**
 * Frees an error, and the views on its texts with it. NULL is fine.
 */
void layerfi_error_free(struct layerfi_error *error);

/**
 * Begins a client. Free with layerfi_client_builder_free(), which
 * layerfi_client_builder_build() does not do.
 */
layerfi_result layerfi_client_builder_new(struct layerfi_client_builder **out,
                                          struct layerfi_error **error);

/**
 * Begins a client with the settings that the environment has:
 * `LAYER_CLIENT_ID`, `LAYER_CLIENT_SECRET` or `LAYER_CLIENT_SECRET_FILE`,
 * `LAYER_ENVIRONMENT`, `LAYER_API_URL`, `LAYER_AUTH_URL`, `LAYER_SCOPE`,
 * `LAYER_CA_FILE`, `LAYER_ALLOW_HTTP_LOOPBACK`. An empty variable counts as
 * unset. What is missing is told by layerfi_client_builder_build().
 *
 * No other thread may change the environment (setenv) meanwhile.
 */
layerfi_result layerfi_client_builder_from_env(struct layerfi_client_builder **out,
                                               struct layerfi_error **error);

/**
 * The environment, a layerfi_environment. Required; there is no default, so
 * that nobody meets production by accident.
 */
layerfi_result layerfi_client_builder_set_environment(struct layerfi_client_builder *builder,
                                                      uint32_t environment,
                                                      struct layerfi_error **error);

/**
 * The environment by its name: `sandbox`, `production`, `production-ca` or
 * `custom`.
 */
layerfi_result layerfi_client_builder_set_environment_name(struct layerfi_client_builder *builder,
                                                           const char *name,
                                                           struct layerfi_error **error);

/**
 * The client id that Layer issued.
 */
layerfi_result layerfi_client_builder_set_client_id(struct layerfi_client_builder *builder,
                                                    const char *client_id,
                                                    struct layerfi_error **error);

/**
 * The client secret that Layer issued; takes the place of a secret file. The
 * library's copy is wiped when builder and clients are gone.
 */
layerfi_result layerfi_client_builder_set_client_secret(struct layerfi_client_builder *builder,
                                                        const char *client_secret,
                                                        struct layerfi_error **error);

/**
 * A file that holds the client secret and nothing else (a line end apart).
 * Read before each token request, so that a rotated secret is taken up. Takes
 * the place of a given secret.
 */
layerfi_result layerfi_client_builder_set_client_secret_file(struct layerfi_client_builder *builder,
                                                             const char *path,
                                                             struct layerfi_error **error);

/**
 * Your own place for id and secret, such as a vault; takes the place of both.
 * `userdata` is passed on, and freed by `free_userdata`, which may be NULL.
 * If this call fails, it is not.
 */
layerfi_result layerfi_client_builder_set_credentials_callback(struct layerfi_client_builder *builder,
                                                               layerfi_credentials_callback callback,
                                                               void *userdata,
                                                               layerfi_free_callback free_userdata,
                                                               struct layerfi_error **error);

/**
 * How id and secret go into the Basic header, a layerfi_basic_encoding.
 */
layerfi_result layerfi_client_builder_set_basic_encoding(struct layerfi_client_builder *builder,
                                                         uint32_t encoding,
                                                         struct layerfi_error **error);

/**
 * The API's base URL, in place of the environment's.
 */
layerfi_result layerfi_client_builder_set_api_url(struct layerfi_client_builder *builder,
                                                  const char *url,
                                                  struct layerfi_error **error);

/**
 * The URL of the token endpoint, in place of the environment's.
 */
layerfi_result layerfi_client_builder_set_auth_url(struct layerfi_client_builder *builder,
                                                   const char *url,
                                                   struct layerfi_error **error);

/**
 * The OAuth scope, in place of the environment's.
 */
layerfi_result layerfi_client_builder_set_scope(struct layerfi_client_builder *builder,
                                                const char *scope,
                                                struct layerfi_error **error);

/**
 * A PEM file with certificate authorities to trust beside the system's. Read
 * by layerfi_client_builder_build().
 */
layerfi_result layerfi_client_builder_set_ca_file(struct layerfi_client_builder *builder,
                                                  const char *path,
                                                  struct layerfi_error **error);

/**
 * PEM text with certificate authorities to trust beside the system's.
 */
layerfi_result layerfi_client_builder_set_ca_pem(struct layerfi_client_builder *builder,
                                                 const char *pem,
                                                 struct layerfi_error **error);

/**
 * A proxy for all requests but those to loopback,
 * `http://[user:password@]host:port`. Without one, `HTTPS_PROXY`,
 * `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are read, in either case.
 */
layerfi_result layerfi_client_builder_set_proxy(struct layerfi_client_builder *builder,
                                                const char *url,
                                                struct layerfi_error **error);

/**
 * No proxy, whatever the environment says.
 */
layerfi_result layerfi_client_builder_set_no_proxy(struct layerfi_client_builder *builder,
                                                   struct layerfi_error **error);

/**
 * Allows `http://` URLs to this machine, for an emulator. To any other host
 * plain HTTP stays refused.
 */
layerfi_result layerfi_client_builder_set_allow_http_loopback(struct layerfi_client_builder *builder,
                                                              bool allow,
                                                              struct layerfi_error **error);

/**
 * Takes business ids that are not UUIDs, for systems that stand in for Layer.
 */
layerfi_result layerfi_client_builder_set_allow_opaque_business_ids(struct layerfi_client_builder *builder,
                                                                    bool allow,
                                                                    struct layerfi_error **error);

/**
 * What a call may take in all, retries included, in milliseconds. 30 seconds
 * by default; at least 1 millisecond, at most 1 hour.
 */
layerfi_result layerfi_client_builder_set_timeout_ms(struct layerfi_client_builder *builder,
                                                     uint64_t timeout_ms,
                                                     struct layerfi_error **error);

/**
 * What connecting may take, per attempt, in milliseconds. 5 seconds by default.
 */
layerfi_result layerfi_client_builder_set_connect_timeout_ms(struct layerfi_client_builder *builder,
                                                             uint64_t timeout_ms,
                                                             struct layerfi_error **error);

/**
 * What one attempt may take, from connecting to the answer's last byte, in
 * milliseconds. 10 seconds by default.
 */
layerfi_result layerfi_client_builder_set_attempt_timeout_ms(struct layerfi_client_builder *builder,
                                                             uint64_t timeout_ms,
                                                             struct layerfi_error **error);

/**
 * Requests per call at the most, the first included. 4 by default, 1 for no
 * retry, 100 at the most.
 */
layerfi_result layerfi_client_builder_set_max_attempts(struct layerfi_client_builder *builder,
                                                       uint32_t attempts,
                                                       struct layerfi_error **error);

/**
 * How many business tokens are kept at the most. 10,000 by default.
 */
layerfi_result layerfi_client_builder_set_business_token_capacity(struct layerfi_client_builder *builder,
                                                                  size_t tokens,
                                                                  struct layerfi_error **error);

/**
 * Keeps the access token fresh with no caller present: from the first call on
 * it is refreshed in the background as long as the client lives. Off by
 * default, so that an idle program makes no requests.
 */
layerfi_result layerfi_client_builder_set_keep_warm(struct layerfi_client_builder *builder,
                                                    bool keep_warm,
                                                    struct layerfi_error **error);

/**
 * What stands before `layerfi-auth/<version>` in `User-Agent`, such as
 * `my-service/1.2`.
 */
layerfi_result layerfi_client_builder_set_user_agent(struct layerfi_client_builder *builder,
                                                     const char *product,
                                                     struct layerfi_error **error);

/**
 * Checks everything and makes a client. No request is made and no thread
 * started. The builder stays as it was, and may build others. Free the client
 * with layerfi_client_free().
 */
layerfi_result layerfi_client_builder_build(const struct layerfi_client_builder *builder,
                                            struct layerfi_client **out,
                                            struct layerfi_error **error);

/**
 * Frees a builder. NULL is fine.
 */
void layerfi_client_builder_free(struct layerfi_client_builder *builder);

/**
 * Answers a layerfi_credentials_callback. Both strings are copied, and the
 * copy of the secret is wiped when it is no longer needed.
 */
layerfi_result layerfi_credentials_set(struct layerfi_credentials *credentials,
                                       const char *client_id,
                                       const char *client_secret,
                                       struct layerfi_error **error);

/**
 * Says why a layerfi_credentials_callback returns false. The text is shown in
 * errors and logs: keep secrets out of it.
 */
layerfi_result layerfi_credentials_set_error(struct layerfi_credentials *credentials,
                                             const char *message,
                                             struct layerfi_error **error);

/**
 * Makes a client from the environment's variables; see
 * layerfi_client_builder_from_env() for which, and
 * layerfi_client_builder_build() for the rest.
 */
layerfi_result layerfi_client_from_env(struct layerfi_client **out,
                                       struct layerfi_error **error);

/**
 * A valid access token: at once where there is one, else from a request that
 * all callers share. A token about to expire is returned at once and replaced
 * in the background. Free it with layerfi_token_free().
 *
 * While nothing can be expected to have changed since the last failure (2 to
 * 60 seconds after a refusal of the credentials) that one is returned again
 * with no request.
 */
layerfi_result layerfi_client_token(const struct layerfi_client *client,
                                    uint64_t timeout_ms,
                                    struct layerfi_token **out,
                                    struct layerfi_error **error);

/**
 * The access token if it is at hand; never waits. Where there is none,
 * LAYERFI_RESULT_NOT_AVAILABLE, and a request for one is on its way; or, while
 * it is too early to ask again, what the last request failed with, as from
 * layerfi_client_token(). After either, later calls ask again by themselves.
 */
layerfi_result layerfi_client_try_token(const struct layerfi_client *client,
                                        struct layerfi_token **out,
                                        struct layerfi_error **error);

/**
 * Copies the value of the `Authorization` header, `Bearer` and the token,
 * with a NUL behind it, into a buffer of yours. As layerfi_client_token(),
 * with no handle to free; while a token is at hand threads do not slow one
 * another.
 *
 * `length`, which may be NULL, gets the value's length without the NUL. With
 * LAYERFI_RESULT_BUFFER_TOO_SMALL it gets it too, as the one out that is
 * written on failure: `length + 1` bytes are enough for this token. Layer's
 * tokens have some 1,000 bytes; 16,392 bytes are enough for any.
 *
 * The copy is yours to wipe. Where a server refuses it with 401, see
 * layerfi_client_invalidate_authorization().
 */
layerfi_result layerfi_client_copy_authorization(const struct layerfi_client *client,
                                                 uint64_t timeout_ms,
                                                 char *buffer,
                                                 size_t capacity,
                                                 size_t *length,
                                                 struct layerfi_error **error);

/**
 * layerfi_client_copy_authorization() that never waits, as
 * layerfi_client_try_token().
 */
layerfi_result layerfi_client_try_copy_authorization(const struct layerfi_client *client,
                                                     char *buffer,
                                                     size_t capacity,
                                                     size_t *length,
                                                     struct layerfi_error **error);

/**
 * Asks Layer whose credentials these are: `GET /whoami`. Free the answer with
 * layerfi_whoami_free().
 */
layerfi_result layerfi_client_whoami(const struct layerfi_client *client,
                                     uint64_t timeout_ms,
                                     struct layerfi_whoami **out,
                                     struct layerfi_error **error);

/**
 * A token for one business, to be handed to a browser: from the cache, with
 * enough of its life left, or newly minted. Free it with
 * layerfi_business_token_free().
 *
 * `business_id` is a UUID. `session_duration_s` is 1 to 86,400 seconds, or
 * LAYERFI_SESSION_DURATION_DEFAULT. `min_remaining_s` is how much life it must
 * have left, never more than nine tenths of what the server gave it, or
 * LAYERFI_MIN_REMAINING_DEFAULT for half. If minting fails in a way that a
 * retry may mend, and one with less is at hand, that one is returned.
 */
layerfi_result layerfi_client_business_token(const struct layerfi_client *client,
                                             const char *business_id,
                                             uint64_t session_duration_s,
                                             uint64_t min_remaining_s,
                                             uint64_t timeout_ms,
                                             struct layerfi_business_token **out,
                                             struct layerfi_error **error);

/**
 * A business token if one with at least half of its life is at hand; never
 * waits. Where there is none, LAYERFI_RESULT_NOT_AVAILABLE, and no request is
 * made.
 */
layerfi_result layerfi_client_try_business_token(const struct layerfi_client *client,
                                                 const char *business_id,
                                                 uint64_t session_duration_s,
                                                 struct layerfi_business_token **out,
                                                 struct layerfi_error **error);

/**
 * A new token for one business, always from Layer and cached nowhere. Free it
 * with layerfi_business_token_free().
 *
 * `business_id` is a UUID. `session_duration_s` is 1 to 86,400 seconds, or
 * LAYERFI_SESSION_DURATION_DEFAULT.
 */
layerfi_result layerfi_client_mint_business_token(const struct layerfi_client *client,
                                                  const char *business_id,
                                                  uint64_t session_duration_s,
                                                  uint64_t timeout_ms,
                                                  struct layerfi_business_token **out,
                                                  struct layerfi_error **error);

/**
 * Tokens for many businesses: one result per id, in order. Duplicates are
 * minted once; at most `max_in_flight` requests (0 for the default, 32) are
 * under way, in step with Layer's rate limit.
 *
 * `business_ids` are `count` strings; NULL is fine for none. An id that is
 * refused is a failure in its place, not of this call. `timeout_ms` bounds
 * each business from its turn at the rate limit on, not the batch. `progress`,
 * which may be NULL, is called with `userdata` from this thread. Free the
 * results with layerfi_business_tokens_free().
 */
layerfi_result layerfi_client_business_tokens(const struct layerfi_client *client,
                                              const char *const *business_ids,
                                              size_t count,
                                              uint64_t session_duration_s,
                                              size_t max_in_flight,
                                              uint64_t timeout_ms,
                                              layerfi_progress_callback progress,
                                              void *userdata,
                                              struct layerfi_business_tokens **out,
                                              struct layerfi_error **error);

/**
 * Throws the access token away because a server refused it with 401, if it is
 * still the current one; the next call gets a new one. The handle stays yours.
 *
 * `invalidated`, which may be NULL, tells whether it was. It is not, either,
 * where this happens so often that new tokens are clearly no help (five times
 * at once, then once in ten seconds).
 */
layerfi_result layerfi_client_invalidate(const struct layerfi_client *client,
                                         const struct layerfi_token *token,
                                         bool *invalidated,
                                         struct layerfi_error **error);

/**
 * layerfi_client_invalidate() for a header value that
 * layerfi_client_copy_authorization() gave.
 */
layerfi_result layerfi_client_invalidate_authorization(const struct layerfi_client *client,
                                                       const char *authorization,
                                                       bool *invalidated,
                                                       struct layerfi_error **error);

/**
 * Throws a cached business token away, if it is still the current one. The
 * handle stays yours; `invalidated` may be NULL.
 */
layerfi_result layerfi_client_invalidate_business_token(const struct layerfi_client *client,
                                                        const struct layerfi_business_token *token,
                                                        bool *invalidated,
                                                        struct layerfi_error **error);

/**
 * What has happened so far. `size` is `sizeof(layerfi_stats)`, by which the
 * library knows which fields the caller has.
 */
layerfi_result layerfi_client_stats(const struct layerfi_client *client,
                                    struct layerfi_stats *out,
                                    size_t size,
                                    struct layerfi_error **error);

/**
 * The environment it was built for, a layerfi_environment; 0 for NULL.
 */
uint32_t layerfi_client_environment(const struct layerfi_client *client);

/**
 * The API's base URL, without a slash at its end.
 */
struct layerfi_str layerfi_client_api_url(const struct layerfi_client *client);

/**
 * The URL of the token endpoint.
 */
struct layerfi_str layerfi_client_auth_url(const struct layerfi_client *client);

/**
 * The OAuth scope that is asked for.
 */
struct layerfi_str layerfi_client_scope(const struct layerfi_client *client);

/**
 * Frees a client. NULL is fine. Tokens that it gave stay valid, and requests
 * that are under way in the background go on to their end.
 */
void layerfi_client_free(struct layerfi_client *client);

/**
 * The token itself. Whoever calls this answers for where it goes.
 */
struct layerfi_str layerfi_token_secret(const struct layerfi_token *token);

/**
 * The value of the `Authorization` header, `Bearer` and the token, made once.
 */
struct layerfi_str layerfi_token_authorization(const struct layerfi_token *token);

/**
 * When it expires, in milliseconds since 1970 began (UTC), counted from
 * before it was requested; 0 for NULL.
 */
int64_t layerfi_token_expires_at_ms(const struct layerfi_token *token);

/**
 * Frees a token, and the views on it with it. NULL is fine.
 */
void layerfi_token_free(struct layerfi_token *token);

/**
 * The token itself, for `businessAccessToken` of `<LayerProvider>`.
 */
struct layerfi_str layerfi_business_token_secret(const struct layerfi_business_token *token);

/**
 * The value of the `Authorization` header, `Bearer` and the token, made once.
 */
struct layerfi_str layerfi_business_token_authorization(const struct layerfi_business_token *token);

/**
 * The business that it is good for, a UUID in lower case.
 */
struct layerfi_str layerfi_business_token_business_id(const struct layerfi_business_token *token);

/**
 * The session duration that was asked for, in seconds; 0 for NULL.
 */
uint64_t layerfi_business_token_session_duration_s(const struct layerfi_business_token *token);

/**
 * The life that the server gave it, in seconds, counted from before it was
 * requested; 0 for NULL.
 */
uint64_t layerfi_business_token_expires_in_s(const struct layerfi_business_token *token);

/**
 * When it expires, in milliseconds since 1970 began (UTC), counted from
 * before it was requested; 0 for NULL.
 */
int64_t layerfi_business_token_expires_at_ms(const struct layerfi_business_token *token);

/**
 * Frees a business token, and the views on it with it. NULL is fine.
 */
void layerfi_business_token_free(struct layerfi_business_token *token);

/**
 * How many results there are, which is how many ids were given; 0 for NULL.
 */
size_t layerfi_business_tokens_len(const struct layerfi_business_tokens *tokens);

/**
 * The result at `index`, counted from 0: the token, or what its business
 * failed with. Free the token with layerfi_business_token_free(); it outlives
 * the batch.
 */
layerfi_result layerfi_business_tokens_get(const struct layerfi_business_tokens *tokens,
                                           size_t index,
                                           struct layerfi_business_token **out,
                                           struct layerfi_error **error);

/**
 * Frees the results of a batch. NULL is fine.
 */
void layerfi_business_tokens_free(struct layerfi_business_tokens *tokens);

/**
 * The client's name, as Layer knows it.
 */
struct layerfi_str layerfi_whoami_client_name(const struct layerfi_whoami *whoami);

/**
 * The client's id, a UUID.
 */
struct layerfi_str layerfi_whoami_client_id(const struct layerfi_whoami *whoami);

/**
 * Frees what layerfi_client_whoami() gave, and the views on it with it. NULL
 * is fine.
 */
void layerfi_whoami_free(struct layerfi_whoami *whoami);

/**
 * Sends a request to the Layer API with the access token in its header. On
 * 401 the token is thrown away and the request sent once more with a new one.
 * Any other status is an answer and not an error, and so is a second 401: look
 * at layerfi_response_status(). Redirects are not followed, and nothing but the
 * 401 is tried again.
 *
 * `uri` is a path such as `/v1/businesses`, or a URL of the API: to any other
 * host the token is not sent. `headers` are `header_count` of them, `body` is
 * `body_length` bytes; NULL is fine for none. Answers over 16 MiB are
 * refused. Free the answer with layerfi_response_free().
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
 * The HTTP status; 0 for NULL.
 */
uint32_t layerfi_response_status(const struct layerfi_response *response);

/**
 * The first header of a name, in any case of letters; empty where there is
 * none. It need not be UTF-8.
 */
struct layerfi_str layerfi_response_header(const struct layerfi_response *response,
                                           const char *name);

/**
 * The body. It may hold any bytes, NUL included; one more NUL lies behind it.
 */
struct layerfi_str layerfi_response_body(const struct layerfi_response *response);

/**
 * Frees an answer, and the views on it with it. NULL is fine.
 */
void layerfi_response_free(struct layerfi_response *response);

/**
 * Sends the log of all clients of this process to `callback`, up to `level`
 * (a layerfi_log_level), in place of any before; NULL or
 * LAYERFI_LOG_LEVEL_OFF ends it.
 *
 * `userdata` is passed on. A call that is under way in another thread goes on
 * after this has returned, so keep what it points to for good. May be called
 * from any thread. A forked child keeps the callback.
 */
layerfi_result layerfi_set_log_callback(layerfi_log_callback callback,
                                        void *userdata,
                                        uint32_t level,
                                        struct layerfi_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LAYERFI_AUTH_H */
