/*
 * layerfi-auth for C++17: layerfi_auth.h with classes, exceptions, views and
 * durations. Header-only; link the same library. Guide: docs/c.md.
 *
 * CONVENTIONS, in addition to those of layerfi_auth.h:
 *
 * Errors.    Every call has two forms. `client.token()` throws layerfi::Error,
 *            `client.token(std::nothrow)` returns a layerfi::Expected. Without
 *            exceptions (-fno-exceptions) only the second form is declared. RTTI
 *            is not used. Both forms may throw std::bad_alloc. A std::string that
 *            contains a NUL is an error of the call.
 * Defaults.  An option that is empty has its default, which the comment of the C
 *            function names. A timeout has `layerfi::default_timeout`.
 * Ownership. Objects own their handles and are move-only. Calls on an object that
 *            was moved from fail with Result::NullPointer; accessors return an
 *            empty value.
 * Views.     A std::string_view is valid until the object that it was taken
 *            from is destroyed. A NUL follows it, so `view.data()` is a C string.
 * Threads.   const member functions may be called from several threads at the
 *            same time; all others from one thread only.
 */
#ifndef LAYERFI_AUTH_HPP
#define LAYERFI_AUTH_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "layerfi_auth.h"

/* Whether the compiler has exceptions. The forms that throw need them. */
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define LAYERFI_EXCEPTIONS 1
#else
#define LAYERFI_EXCEPTIONS 0
#endif

/* The result must not outlive the object: clang warns if it does. */
#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::lifetimebound)
#define LAYERFI_LIFETIMEBOUND [[clang::lifetimebound]]
#elif __has_cpp_attribute(msvc::lifetimebound)
#define LAYERFI_LIFETIMEBOUND [[msvc::lifetimebound]]
#endif
#endif
#ifndef LAYERFI_LIFETIMEBOUND
#define LAYERFI_LIFETIMEBOUND
#endif

namespace layerfi {
#if !LAYERFI_EXCEPTIONS
/* Another namespace, so that a program may link files with and without exceptions. */
inline namespace no_exceptions {
#endif

/** The result of a call, with the numbers and meanings of layerfi_result. */
enum class Result : std::uint32_t {
    Ok = LAYERFI_RESULT_OK,
    Config = LAYERFI_RESULT_CONFIG,
    InvalidArgument = LAYERFI_RESULT_INVALID_ARGUMENT,
    Credentials = LAYERFI_RESULT_CREDENTIALS,
    Transport = LAYERFI_RESULT_TRANSPORT,
    Timeout = LAYERFI_RESULT_TIMEOUT,
    Tls = LAYERFI_RESULT_TLS,
    Oauth = LAYERFI_RESULT_OAUTH,
    Api = LAYERFI_RESULT_API,
    RateLimited = LAYERFI_RESULT_RATE_LIMITED,
    Protocol = LAYERFI_RESULT_PROTOCOL,
    Internal = LAYERFI_RESULT_INTERNAL,
    NullPointer = LAYERFI_RESULT_NULL_POINTER,
    InvalidUtf8 = LAYERFI_RESULT_INVALID_UTF8,
    InvalidEnum = LAYERFI_RESULT_INVALID_ENUM,
    BufferTooSmall = LAYERFI_RESULT_BUFFER_TOO_SMALL,
    NotAvailable = LAYERFI_RESULT_NOT_AVAILABLE,
    WouldDeadlock = LAYERFI_RESULT_WOULD_DEADLOCK,
    Panic = LAYERFI_RESULT_PANIC,
};

/** One of Layer's environments, or another system with the same API. */
enum class Environment : std::uint32_t {
    Sandbox = LAYERFI_ENVIRONMENT_SANDBOX,
    Production = LAYERFI_ENVIRONMENT_PRODUCTION,
    ProductionCa = LAYERFI_ENVIRONMENT_PRODUCTION_CA,
    Custom = LAYERFI_ENVIRONMENT_CUSTOM,
};

/** How client id and secret are written in the Basic header. */
enum class BasicEncoding : std::uint32_t {
    Raw = LAYERFI_BASIC_ENCODING_RAW,
    Form = LAYERFI_BASIC_ENCODING_FORM,
};

/** Which certificate authorities are trusted besides those of `ca_file` and `ca_pem`. */
enum class Trust : std::uint32_t {
    System = LAYERFI_TRUST_SYSTEM,
    Bundled = LAYERFI_TRUST_BUNDLED,
    CaOnly = LAYERFI_TRUST_CA_ONLY,
};

/** The severity of a log message. */
enum class LogLevel : std::uint32_t {
    Off = LAYERFI_LOG_LEVEL_OFF,
    Error = LAYERFI_LOG_LEVEL_ERROR,
    Warn = LAYERFI_LOG_LEVEL_WARN,
    Info = LAYERFI_LOG_LEVEL_INFO,
    Debug = LAYERFI_LOG_LEVEL_DEBUG,
    Trace = LAYERFI_LOG_LEVEL_TRACE,
};

/** The maximum duration of a call. Zero or less is the shortest timeout, 1 ms. */
using Timeout = std::chrono::milliseconds;

/** A value for timeouts: the client's own timeout. */
inline constexpr Timeout default_timeout = Timeout::min();

using Stats = layerfi_stats;
using BatchProgress = layerfi_batch_progress;

namespace detail {

template <auto Free> struct Freed {
    template <class T> void operator()(T *handle) const noexcept { Free(handle); }
};

/** Owns a handle of C. */
template <class T, auto Free> class Handle {
  public:
    using Raw = T;

    /** Takes ownership of a handle. */
    explicit Handle(T *handle) noexcept : handle_(handle) {}

    /** The handle, for C functions. It stays owned by this object. */
    const T *get() const noexcept LAYERFI_LIFETIMEBOUND { return handle_.get(); }

  private:
    std::unique_ptr<T, Freed<Free>> handle_;
};

inline std::string_view view(layerfi_str text) noexcept {
    return {text.data, text.len};
}

inline std::chrono::system_clock::time_point time(std::int64_t ms) {
    return std::chrono::system_clock::time_point{std::chrono::milliseconds{ms}};
}

constexpr std::uint64_t ms(Timeout timeout) noexcept {
    if (timeout == default_timeout) {
        return LAYERFI_DEFAULT;
    }
    // A deadline that has passed is the shortest timeout.
    return timeout.count() <= 0 ? 1 : static_cast<std::uint64_t>(timeout.count());
}

constexpr std::uint64_t seconds(std::optional<std::chrono::seconds> duration) noexcept {
    if (!duration) {
        return LAYERFI_DEFAULT;
    }
    // A negative duration is 0, and not a large one.
    return duration->count() < 0 ? 0 : static_cast<std::uint64_t>(duration->count());
}

} // namespace detail

/**
 * A string parameter: a C string or a std::string. It does not copy the string. A
 * std::string that contains a NUL makes the call fail with Result::InvalidArgument.
 */
class ZString {
  public:
    ZString(const char *text) noexcept : text_(text) {}
    ZString(const std::string &text) noexcept
        : text_(text.c_str()), has_nul_(text.find('\0') != std::string::npos) {}
    const char *get() const noexcept { return text_; }
    /** Whether C would see only a part of the text. */
    bool has_nul() const noexcept { return has_nul_; }

  private:
    const char *text_;
    bool has_nul_ = false;
};

/**
 * Why a call failed. Copies share their texts. No text contains a secret, a token or
 * the body of a response.
 */
class Error : public std::exception {
  public:
    /** Takes ownership of the error of a C function. */
    Error(layerfi_result result, layerfi_error *error)
        : result_(static_cast<Result>(result)), error_(error, layerfi_error_free) {}

    /** The error of a call with a std::string that contains a NUL. */
    static Error nul_in_argument() noexcept { return Error(); }

    /** The whole error in one line, for a log. */
    const char *what() const noexcept LAYERFI_LIFETIMEBOUND override {
        return error_ ? layerfi_error_display(error_.get()).data
                      : "a string argument contains a NUL: pass text without a NUL";
    }
    /** The result code. */
    Result result() const noexcept { return result_; }
    /** The result's name, such as `rate_limited`. */
    std::string_view name() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_result_name(static_cast<std::uint32_t>(result_)));
    }
    /** What failed, without the remedy. The text may change. */
    std::string_view message() const noexcept LAYERFI_LIFETIMEBOUND {
        return error_ ? detail::view(layerfi_error_message(error_.get()))
                      : "a string argument contains a NUL";
    }
    /** What to do about it. The text may change. */
    std::string_view remedy() const noexcept LAYERFI_LIFETIMEBOUND {
        return error_ ? detail::view(layerfi_error_remedy(error_.get()))
                      : "pass text without a NUL";
    }
    /** The setting or argument that is not valid; empty if the error is not about one. */
    std::string_view field() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_field(error_.get()));
    }
    /** The server's id for the request; empty if the server sent none. */
    std::string_view request_id() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_request_id(error_.get()));
    }
    /** The OAuth error code, such as `invalid_client`; empty if the server sent none. */
    std::string_view oauth_error() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_oauth_error(error_.get()));
    }
    /** Layer's stable code for the failure; empty if the server sent none. */
    std::string_view error_enum() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_error_enum(error_.get()));
    }
    /** The HTTP status of the response; 0 if there was no response. */
    unsigned http_status() const noexcept { return layerfi_error_http_status(error_.get()); }
    /** How many times the request was sent; 0 if it was not sent. */
    unsigned attempts() const noexcept { return layerfi_error_attempts(error_.get()); }
    /** How long to wait before a retry, as the server requests; empty if it
     * requests nothing. */
    std::optional<std::chrono::milliseconds> retry_after() const noexcept {
        const std::int64_t delay = layerfi_error_retry_after_ms(error_.get());
        if (delay < 0) {
            return std::nullopt;
        }
        return std::chrono::milliseconds{delay};
    }
    /** Whether the same call may succeed later without a change by the caller. */
    bool is_retryable() const noexcept { return layerfi_error_is_retryable(error_.get()); }

  private:
    Error() noexcept : result_(Result::InvalidArgument) {}

    Result result_;
    /** Empty for a NUL in an argument. */
    std::shared_ptr<layerfi_error> error_;
};

/**
 * A value or an error: the result of calls with std::nothrow. An Expected<bool> is true
 * if there is a value: `*expected` is the value.
 */
template <class T> class [[nodiscard]] Expected {
  public:
    Expected(T value) : either_(std::in_place_index<0>, std::move(value)) {}
    Expected(Error error) : either_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return either_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    /** The value. Undefined behavior if there is none, as for std::optional. */
    T &operator*() &noexcept LAYERFI_LIFETIMEBOUND { return *std::get_if<0>(&either_); }
    const T &operator*() const &noexcept LAYERFI_LIFETIMEBOUND { return *std::get_if<0>(&either_); }
    T &&operator*() &&noexcept LAYERFI_LIFETIMEBOUND {
        return std::move(*std::get_if<0>(&either_));
    }
    T *operator->() noexcept LAYERFI_LIFETIMEBOUND { return std::get_if<0>(&either_); }
    const T *operator->() const noexcept LAYERFI_LIFETIMEBOUND { return std::get_if<0>(&either_); }
    /** The error. Undefined behavior if there is a value. */
    const Error &error() const noexcept LAYERFI_LIFETIMEBOUND { return *std::get_if<1>(&either_); }

#if LAYERFI_EXCEPTIONS
    /** The value; throws the error if there is no value. */
    T &value() & LAYERFI_LIFETIMEBOUND {
        check();
        return **this;
    }
    const T &value() const &LAYERFI_LIFETIMEBOUND {
        check();
        return **this;
    }
    T value() && {
        check();
        return *std::move(*this);
    }
#endif

  private:
#if LAYERFI_EXCEPTIONS
    void check() const {
        if (!has_value()) {
            throw error();
        }
    }
#endif
    std::variant<T, Error> either_;
};

/** Success or an error: the result of calls with std::nothrow that return nothing. */
template <> class [[nodiscard]] Expected<void> {
  public:
    Expected() = default;
    Expected(Error error) : error_(std::move(error)) {}

    bool has_value() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return has_value(); }
    /** The error. Undefined behavior if there is none. */
    const Error &error() const noexcept LAYERFI_LIFETIMEBOUND { return *error_; }
#if LAYERFI_EXCEPTIONS
    /** Throws the error if there is one. */
    void value() const {
        if (error_) {
            throw *error_;
        }
    }
#endif

  private:
    std::optional<Error> error_;
};

namespace detail {

/* An argument as C takes it: of an object, its pointer; of an enum, its number. */
inline std::uint64_t raw(Timeout timeout) noexcept {
    return ms(timeout);
}
inline std::uint64_t raw(std::optional<std::chrono::seconds> duration) noexcept {
    return seconds(duration);
}
template <class T> auto raw(const T &argument) noexcept {
    if constexpr (std::is_class_v<T>) {
        return argument.get();
    } else if constexpr (std::is_enum_v<T>) {
        return static_cast<std::uint32_t>(argument);
    } else {
        return argument;
    }
}

inline bool has_nul(const ZString &text) noexcept {
    return text.has_nul();
}
template <class T> bool has_nul(const T &) noexcept {
    return false;
}

/** Calls a C function with these arguments, and with a place for its error. */
template <class Function, class... Args>
Expected<void> call(Function function, const Args &...args) {
    if ((has_nul(args) || ...)) {
        return Error::nul_in_argument();
    }
    layerfi_error *error = nullptr;
    const layerfi_result result = function(raw(args)..., &error);
    if (result != LAYERFI_RESULT_OK) {
        return Error(result, error);
    }
    return {};
}

/** Calls a C function whose value, an `Out`, makes a `T`. */
template <class T, class Out = T, class Function, class... Args>
Expected<T> call_for(Function function, const Args &...args) {
    Out out{};
    const auto made = call(function, args..., &out);
    if (!made) {
        return made.error();
    }
    return T(out);
}

/** Calls a C function that returns the handle of a `T`. */
template <class T, class Function, class... Args>
Expected<T> make(Function function, const Args &...args) {
    return call_for<T, typename T::Raw *>(function, args...);
}

#if LAYERFI_EXCEPTIONS
/** Empty for Result::NotAvailable; throws any other error. */
template <class T> std::optional<T> if_available(Expected<T> got) {
    if (!got && got.error().result() == Result::NotAvailable) {
        return std::nullopt;
    }
    return std::move(got).value();
}
#endif

} // namespace detail

/** An access token for the Layer API. It stays valid after its client is destroyed. */
class Token : public detail::Handle<layerfi_token, layerfi_token_free> {
  public:
    using Handle::Handle;

    /** The token itself. It is a secret: do not log it. */
    std::string_view secret() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_token_secret(get()));
    }
    /** The value of the `Authorization` header: `Bearer` and the token. */
    std::string_view authorization() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_token_authorization(get()));
    }
    /** The lifetime that the server gave the token. */
    std::chrono::seconds expires_in() const noexcept {
        return std::chrono::seconds{layerfi_token_expires_in_s(get())};
    }
    /** How long the token is still valid; see layerfi_token_remaining_ms(). */
    std::chrono::milliseconds remaining() const noexcept {
        return std::chrono::milliseconds{layerfi_token_remaining_ms(get())};
    }
    /** When the token expires, counted from before it was requested. */
    std::chrono::system_clock::time_point expires_at() const noexcept {
        return detail::time(layerfi_token_expires_at_ms(get()));
    }
};

/**
 * JSON that contains a token, for a response to a browser. It is wiped from memory with
 * this object. Wipe your own copies yourself.
 */
class Json : public detail::Handle<layerfi_json, layerfi_json_free> {
  public:
    using Handle::Handle;

    /** The JSON text. It contains a token: do not log it. */
    std::string_view text() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_json_text(get()));
    }
};

/** A token for one business, for a browser or a mobile app. */
class BusinessToken : public detail::Handle<layerfi_business_token, layerfi_business_token_free> {
  public:
    using Handle::Handle;

    /**
     * The token itself, for the `businessAccessToken` property of `<LayerProvider>`.
     * It is a secret: do not log it.
     */
    std::string_view secret() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_business_token_secret(get()));
    }
    /** The value of the `Authorization` header: `Bearer` and the token. */
    std::string_view authorization() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_business_token_authorization(get()));
    }
    /** The business that the token is for: a UUID in lower case. */
    std::string_view business_id() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_business_token_business_id(get()));
    }
    /** The session duration that was requested. */
    std::chrono::seconds session_duration() const noexcept {
        return std::chrono::seconds{layerfi_business_token_session_duration_s(get())};
    }
    /** The lifetime that the server gave the token. */
    std::chrono::seconds expires_in() const noexcept {
        return std::chrono::seconds{layerfi_business_token_expires_in_s(get())};
    }
    /** How long the token is still valid; see layerfi_business_token_remaining_ms(). */
    std::chrono::milliseconds remaining() const noexcept {
        return std::chrono::milliseconds{layerfi_business_token_remaining_ms(get())};
    }
    /** When the token expires, counted from before it was requested. */
    std::chrono::system_clock::time_point expires_at() const noexcept {
        return detail::time(layerfi_business_token_expires_at_ms(get()));
    }

    /** The session of a page, as JSON; see layerfi_business_token_session_json(). */
    Expected<Json> session_json(std::nothrow_t) const {
        return detail::make<Json>(layerfi_business_token_session_json, *this);
    }
    /** The token as a JSON object, for a response; see layerfi_business_token_json(). */
    Expected<Json> json(std::nothrow_t) const {
        return detail::make<Json>(layerfi_business_token_json, *this);
    }
    /**
     * The props of `<LayerProvider>` as a JSON object. `environment` replaces its name. See
     * layerfi_business_token_layer_provider_props_json().
     */
    Expected<Json> layer_provider_props_json(std::nothrow_t, ZString environment = nullptr) const {
        return detail::make<Json>(layerfi_business_token_layer_provider_props_json, *this,
                                  environment);
    }
#if LAYERFI_EXCEPTIONS
    Json session_json() const {
        return session_json(std::nothrow).value();
    }
    Json json() const {
        return json(std::nothrow).value();
    }
    Json layer_provider_props_json(ZString environment = nullptr) const {
        return layer_provider_props_json(std::nothrow, environment).value();
    }
#endif
};

/** The results of a batch: one per id, in the order of the ids. */
class BusinessTokens
    : public detail::Handle<layerfi_business_tokens, layerfi_business_tokens_free> {
  public:
    using Handle::Handle;

    /** The number of results, equal to the number of ids. */
    std::size_t size() const noexcept { return layerfi_business_tokens_len(get()); }
    /** The result at `index`: a token, or the error of its business. */
    Expected<BusinessToken> operator[](std::size_t index) const {
        return detail::make<BusinessToken>(layerfi_business_tokens_get, *this, index);
    }
};

/** The client that the credentials belong to: the response to `GET /whoami`. */
class WhoAmI : public detail::Handle<layerfi_whoami, layerfi_whoami_free> {
  public:
    using Handle::Handle;

    /** The client's name at Layer. */
    std::string_view client_name() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_whoami_client_name(get()));
    }
    /** The client's id, a UUID. */
    std::string_view client_id() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_whoami_client_id(get()));
    }
};

/** The response to Client::execute(). */
class Response : public detail::Handle<layerfi_response, layerfi_response_free> {
  public:
    using Handle::Handle;

    /** The HTTP status. */
    unsigned status() const noexcept { return layerfi_response_status(get()); }
    /** The first header with this name, in upper or lower case; empty if there is none. */
    std::string_view header(ZString name) const noexcept LAYERFI_LIFETIMEBOUND {
        const char *text = name.has_nul() ? nullptr : name.get();
        return detail::view(layerfi_response_header(get(), text));
    }
    /** The body. It may contain any bytes. */
    std::string_view body() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_response_body(get()));
    }
};

/** A request for Client::execute(). */
struct Request {
    std::string method = "GET";
    /** A path such as `/v1/businesses`, or a URL of the API. */
    std::string uri;
    std::vector<std::pair<std::string, std::string>> headers{};
    std::string body{};
};

/**
 * Options for Client::business_token(), Client::try_business_token() and
 * Client::mint_business_token().
 */
struct BusinessTokenOptions {
    /** 1 to 86,400 seconds; by default 1 hour. */
    std::optional<std::chrono::seconds> session_duration{};
    /**
     * The lifetime that a cached token must have left; by default half of its whole
     * lifetime. A token that is minted has all of it.
     */
    std::optional<std::chrono::seconds> min_remaining{};
    /** Limits the whole call. Calls that never wait end before any timeout. */
    Timeout timeout = default_timeout;
};

/** Options for Client::business_tokens(). */
struct BatchOptions {
    /** 1 to 86,400 seconds; by default 1 hour. */
    std::optional<std::chrono::seconds> session_duration{};
    /** The maximum number of concurrent requests, at least 1; by default 32. */
    std::optional<std::size_t> max_in_flight{};
    /** Limits each business, from the moment when the rate limiter permits its request. */
    Timeout timeout = default_timeout;
    /** Called after each result, from the calling thread. If it returns false, the batch ends. */
    std::function<bool(const BatchProgress &)> progress{};
};

/**
 * A client for Layer's authentication. Make one per set of credentials and use it in
 * the whole program, in all threads.
 */
class Client : public detail::Handle<layerfi_client, layerfi_client_free> {
  public:
    using Handle::Handle;

    /** Makes a client from environment variables; see layerfi_client_builder_from_env(). */
    static Expected<Client> from_env(std::nothrow_t) {
        return detail::make<Client>(layerfi_client_from_env);
    }

    /**
     * Starts to get an access token in the background, so that the first call that needs
     * one finds it, and never waits. See layerfi_client_prepare().
     */
    Expected<void> prepare(std::nothrow_t) const {
        return detail::call(layerfi_client_prepare, *this);
    }

    /**
     * Returns a valid access token: the cached one at once, otherwise the result of a
     * request that all callers share. See layerfi_client_token().
     */
    Expected<Token> token(std::nothrow_t, Timeout timeout = default_timeout) const {
        return detail::make<Token>(layerfi_client_token, *this, timeout);
    }

    /**
     * Returns an access token other than one that a server refused with 401. See
     * layerfi_client_renew_token().
     */
    Expected<Token> renew_token(std::nothrow_t, const Token &refused,
                                Timeout timeout = default_timeout) const {
        return detail::make<Token>(layerfi_client_renew_token, *this, refused, timeout);
    }

    /**
     * Returns the cached access token and never waits. Result::NotAvailable if the cache
     * has no valid token; a request for one is started. After a failed request, its
     * failure until the next request is allowed.
     */
    Expected<Token> try_token(std::nothrow_t) const {
        return detail::make<Token>(layerfi_client_try_token, *this);
    }

    /**
     * Copies the value of the `Authorization` header to `value`, and reuses its capacity.
     * After a failure `value` is empty. Wipe the copy yourself. See
     * layerfi_client_copy_authorization().
     */
    Expected<void> copy_authorization(std::nothrow_t, std::string &value,
                                      Timeout timeout = default_timeout) const {
        // Enough for Layer's tokens, which have some 1,000 bytes.
        if (value.capacity() < 2048) {
            value.reserve(2048);
        }
        for (;;) {
            // A std::string has space for a NUL after its last character.
            value.resize(value.capacity());
            std::size_t length = 0;
            auto copied = detail::call(layerfi_client_copy_authorization, *this, timeout,
                                       value.data(), value.size() + 1, &length);
            if (copied) {
                value.resize(length);
                return copied;
            }
            value.clear();
            if (copied.error().result() != Result::BufferTooSmall) {
                return copied;
            }
            value.reserve(length);
        }
    }

    /**
     * Copies the value and a NUL to a buffer of `capacity` bytes. Returns the length
     * without the NUL, or Result::BufferTooSmall.
     */
    Expected<std::size_t> copy_authorization(std::nothrow_t, char *buffer, std::size_t capacity,
                                             Timeout timeout = default_timeout) const {
        return detail::call_for<std::size_t>(layerfi_client_copy_authorization, *this, timeout,
                                             buffer, capacity);
    }

    /** Asks Layer which client the credentials belong to: `GET /whoami`. */
    Expected<WhoAmI> whoami(std::nothrow_t, Timeout timeout = default_timeout) const {
        return detail::make<WhoAmI>(layerfi_client_whoami, *this, timeout);
    }

    /**
     * Returns a token for one business: from the cache if it has enough lifetime left,
     * otherwise newly minted. See layerfi_client_business_token().
     */
    Expected<BusinessToken> business_token(std::nothrow_t, ZString business_id,
                                           const BusinessTokenOptions &options = {}) const {
        return detail::make<BusinessToken>(layerfi_client_business_token, *this, business_id,
                                           options.session_duration, options.min_remaining,
                                           options.timeout);
    }

    /**
     * Returns another business token than one that a page reports as refused. See
     * layerfi_client_renew_business_token(). `options.min_remaining` is not used.
     */
    Expected<BusinessToken> renew_business_token(std::nothrow_t, ZString business_id,
                                                 ZString refused,
                                                 const BusinessTokenOptions &options = {}) const {
        return detail::make<BusinessToken>(layerfi_client_renew_business_token, *this, business_id,
                                           options.session_duration, refused, options.timeout);
    }

    /**
     * Returns a cached business token that has enough lifetime left, and never waits.
     * Result::NotAvailable if there is none; a request for one is started. After a failed
     * request, its failure until the next request is allowed.
     */
    Expected<BusinessToken> try_business_token(std::nothrow_t, ZString business_id,
                                               const BusinessTokenOptions &options = {}) const {
        return detail::make<BusinessToken>(layerfi_client_try_business_token, *this, business_id,
                                           options.session_duration, options.min_remaining);
    }

    /** Requests a new token for one business, which is not cached. */
    Expected<BusinessToken> mint_business_token(std::nothrow_t, ZString business_id,
                                                const BusinessTokenOptions &options = {}) const {
        return detail::make<BusinessToken>(layerfi_client_mint_business_token, *this, business_id,
                                           options.session_duration, options.timeout);
    }

    /**
     * Requests tokens for many businesses and waits for all results. An exception of
     * `progress` ends the batch and is rethrown. See layerfi_client_business_tokens().
     */
    Expected<BusinessTokens> business_tokens(std::nothrow_t,
                                             const std::vector<std::string> &business_ids,
                                             const BatchOptions &options = {}) const {
        std::vector<const char *> ids;
        ids.reserve(business_ids.size());
        for (const std::string &id : business_ids) {
            const ZString text(id);
            if (text.has_nul()) {
                return Error::nul_in_argument();
            }
            ids.push_back(text.get());
        }
        struct Progress {
            const std::function<bool(const BatchProgress &)> &function;
            std::exception_ptr thrown;
        } progress{options.progress, nullptr};
        const layerfi_progress_callback callback = [](void *userdata,
                                                      const layerfi_batch_progress *so_far) {
            auto &self = *static_cast<Progress *>(userdata);
#if LAYERFI_EXCEPTIONS
            try {
                return self.function(*so_far);
            } catch (...) {
                self.thrown = std::current_exception();
                return false;
            }
#else
            return self.function(*so_far);
#endif
        };
        const std::uint64_t max_in_flight =
            options.max_in_flight ? std::uint64_t{*options.max_in_flight} : LAYERFI_DEFAULT;
        auto tokens = detail::make<BusinessTokens>(
            layerfi_client_business_tokens, *this, ids.data(), ids.size(), options.session_duration,
            max_in_flight, options.timeout, options.progress ? callback : nullptr, &progress);
#if LAYERFI_EXCEPTIONS
        if (progress.thrown) {
            std::rethrow_exception(progress.thrown);
        }
#endif
        return tokens;
    }

    /**
     * Removes a token from the cache because a server refused it with 401, if it is still
     * the current one. The value is whether it was removed. See layerfi_client_invalidate().
     */
    Expected<bool> invalidate(std::nothrow_t, const Token &token) const {
        return detail::call_for<bool>(layerfi_client_invalidate, *this, token);
    }
    /** The same for a business token. */
    Expected<bool> invalidate(std::nothrow_t, const BusinessToken &token) const {
        return detail::call_for<bool>(layerfi_client_invalidate_business_token, *this, token);
    }
    /** The same for a header value or the text of a token, an access or a business token. */
    Expected<bool> invalidate_authorization(std::nothrow_t, ZString authorization) const {
        return detail::call_for<bool>(layerfi_client_invalidate_authorization, *this,
                                      authorization);
    }

    /**
     * Sends a request to the Layer API with the access token. After 401 it is sent
     * again with a new token. A response with any status is a success of this call, a
     * second 401 included. See layerfi_client_execute().
     */
    Expected<Response> execute(std::nothrow_t, const Request &request,
                               Timeout timeout = default_timeout) const {
        std::vector<layerfi_header> headers;
        headers.reserve(request.headers.size());
        for (const auto &header : request.headers) {
            const ZString name(header.first), value(header.second);
            if (name.has_nul() || value.has_nul()) {
                return Error::nul_in_argument();
            }
            headers.push_back({name.get(), value.get()});
        }
        const ZString method(request.method), uri(request.uri);
        return detail::make<Response>(layerfi_client_execute, *this, method, uri, headers.data(),
                                      headers.size(),
                                      reinterpret_cast<const std::uint8_t *>(request.body.data()),
                                      request.body.size(), timeout);
    }

    /** The client's counters. */
    Expected<Stats> stats(std::nothrow_t) const {
        Stats stats{};
        const auto made = detail::call(layerfi_client_stats, *this, &stats, sizeof stats);
        if (!made) {
            return made.error();
        }
        return stats;
    }

#if LAYERFI_EXCEPTIONS
    /* The same calls. They throw Error. */
    static Client from_env() {
        return from_env(std::nothrow).value();
    }
    void prepare() const {
        prepare(std::nothrow).value();
    }
    Token token(Timeout timeout = default_timeout) const {
        return token(std::nothrow, timeout).value();
    }
    BusinessToken renew_business_token(ZString business_id, ZString refused,
                                       const BusinessTokenOptions &options = {}) const {
        return renew_business_token(std::nothrow, business_id, refused, options).value();
    }
    Token renew_token(const Token &refused, Timeout timeout = default_timeout) const {
        return renew_token(std::nothrow, refused, timeout).value();
    }
    /** Empty instead of Result::NotAvailable. */
    std::optional<Token> try_token() const {
        return detail::if_available(try_token(std::nothrow));
    }
    void copy_authorization(std::string &value, Timeout timeout = default_timeout) const {
        copy_authorization(std::nothrow, value, timeout).value();
    }
    WhoAmI whoami(Timeout timeout = default_timeout) const {
        return whoami(std::nothrow, timeout).value();
    }
    BusinessToken business_token(ZString business_id,
                                 const BusinessTokenOptions &options = {}) const {
        return business_token(std::nothrow, business_id, options).value();
    }
    /** Empty instead of Result::NotAvailable. */
    std::optional<BusinessToken>
    try_business_token(ZString business_id, const BusinessTokenOptions &options = {}) const {
        return detail::if_available(try_business_token(std::nothrow, business_id, options));
    }
    BusinessToken mint_business_token(ZString business_id,
                                      const BusinessTokenOptions &options = {}) const {
        return mint_business_token(std::nothrow, business_id, options).value();
    }
    BusinessTokens business_tokens(const std::vector<std::string> &business_ids,
                                   const BatchOptions &options = {}) const {
        return business_tokens(std::nothrow, business_ids, options).value();
    }
    bool invalidate(const Token &token) const {
        return invalidate(std::nothrow, token).value();
    }
    bool invalidate(const BusinessToken &token) const {
        return invalidate(std::nothrow, token).value();
    }
    bool invalidate_authorization(ZString authorization) const {
        return invalidate_authorization(std::nothrow, authorization).value();
    }
    Response execute(const Request &request, Timeout timeout = default_timeout) const {
        return execute(std::nothrow, request, timeout).value();
    }
    Stats stats() const {
        return stats(std::nothrow).value();
    }
#endif

    /** The client's environment. */
    Environment environment() const noexcept {
        return static_cast<Environment>(layerfi_client_environment(get()));
    }
    /** The base URL of the API, without a slash at its end. */
    std::string_view api_url() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_client_api_url(get()));
    }
    /** The URL of the token endpoint. */
    std::string_view auth_url() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_client_auth_url(get()));
    }
    /** The OAuth scope that the client requests. */
    std::string_view scope() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_client_scope(get()));
    }
};

/** The result of a credentials provider. The library wipes its copy, not this one. */
struct Credentials {
    std::string client_id{};
    std::string client_secret{};
    /** Why the credentials cannot be read; empty if they could. Errors and logs contain it. */
    std::string error{};
};

/**
 * The settings of a new client. Use it from one thread at a time. Ranges and defaults
 * are those of the layerfi_client_builder_set_ functions.
 *
 * Setters and constructors do not throw: build() fails with the first error of any of
 * them, or of a setting that is missing or not valid.
 */
class ClientBuilder {
  public:
    /** A builder without settings. */
    ClientBuilder() : ClientBuilder(layerfi_client_builder_new) {}

    /** A builder with environment variables; see layerfi_client_builder_from_env(). */
    static ClientBuilder from_env() { return ClientBuilder(layerfi_client_builder_from_env); }

    /** Required; there is no default. */
    ClientBuilder &environment(Environment environment) {
        return set(layerfi_client_builder_set_environment, environment);
    }
    /** The environment by its name, such as `sandbox`. */
    ClientBuilder &environment(ZString name) {
        return set(layerfi_client_builder_set_environment_name, name);
    }
    /** The client id and the client secret that Layer issued. */
    ClientBuilder &credentials(ZString client_id, ZString client_secret) {
        return this->client_id(client_id).client_secret(client_secret);
    }
    /** The client id that Layer issued. */
    ClientBuilder &client_id(ZString id) { return set(layerfi_client_builder_set_client_id, id); }
    /** The client secret that Layer issued. It replaces a secret file. */
    ClientBuilder &client_secret(ZString secret) {
        return set(layerfi_client_builder_set_client_secret, secret);
    }
    /** A file with the client secret, read before each token request. */
    ClientBuilder &client_secret_file(ZString path) {
        return set(layerfi_client_builder_set_client_secret_file, path);
    }
    /**
     * A function that reads client id and secret, for example from a vault. It is called
     * from threads of the library, and may be called from several at the same time.
     * It fails with Credentials::error, or with an exception: errors and logs contain its
     * what().
     */
    ClientBuilder &credentials_provider(std::function<Credentials()> provider) {
        using Provider = std::function<Credentials()>;
        auto owned = std::make_unique<Provider>(std::move(provider));
        const layerfi_credentials_callback callback = [](void *userdata,
                                                         layerfi_credentials *answer) {
            const auto &ask = *static_cast<Provider *>(userdata);
#if LAYERFI_EXCEPTIONS
            try {
                return give(ask(), answer);
            } catch (const std::exception &thrown) {
                layerfi_credentials_set_error(answer, thrown.what(), nullptr);
            } catch (...) {
                layerfi_credentials_set_error(answer, "the credentials provider threw an exception",
                                              nullptr);
            }
            return false;
#else
            return give(ask(), answer);
#endif
        };
        const layerfi_free_callback free_provider = [](void *userdata) {
            delete static_cast<Provider *>(userdata);
        };
        auto set = detail::call(layerfi_client_builder_set_credentials_callback, handle_,
                                *owned ? callback : nullptr, owned.get(), free_provider);
        if (set) {
            owned.release();
        }
        return keep(std::move(set));
    }
    /** The encoding of the Basic header; by default BasicEncoding::Raw. */
    ClientBuilder &basic_encoding(BasicEncoding encoding) {
        return set(layerfi_client_builder_set_basic_encoding, encoding);
    }
    /** The base URL of the API, instead of the environment's. */
    ClientBuilder &api_url(ZString url) {
        return set(layerfi_client_builder_set_api_url, url);
    }
    /** The URL of the token endpoint, instead of the environment's. */
    ClientBuilder &auth_url(ZString url) {
        return set(layerfi_client_builder_set_auth_url, url);
    }
    /** The OAuth scope, instead of the environment's. */
    ClientBuilder &scope(ZString scope) {
        return set(layerfi_client_builder_set_scope, scope);
    }
    /** A PEM file with certificate authorities to trust in addition to those of `trust`. */
    ClientBuilder &ca_file(ZString path) {
        return set(layerfi_client_builder_set_ca_file, path);
    }
    /** PEM text with certificate authorities to trust in addition to those of `trust`. */
    ClientBuilder &ca_pem(ZString pem) {
        return set(layerfi_client_builder_set_ca_pem, pem);
    }
    /** Which certificate authorities are trusted; by default Trust::System. */
    ClientBuilder &trust(Trust trust) {
        return set(layerfi_client_builder_set_trust, trust);
    }
    /** A proxy for all requests except those to loopback. */
    ClientBuilder &proxy(ZString url) {
        return set(layerfi_client_builder_set_proxy, url);
    }
    /** Disables proxies, those of environment variables included. */
    ClientBuilder &no_proxy() {
        return keep(detail::call(layerfi_client_builder_set_no_proxy, handle_));
    }
    /** Allows `http://` URLs to this machine; by default false. */
    ClientBuilder &allow_http_loopback(bool allow) {
        return set(layerfi_client_builder_set_allow_http_loopback, allow);
    }
    /** Allows business ids that are not UUIDs; by default false. */
    ClientBuilder &allow_opaque_business_ids(bool allow) {
        return set(layerfi_client_builder_set_allow_opaque_business_ids, allow);
    }
    /** The maximum duration of a call: 1 ms to 1 hour; by default 30 seconds. */
    ClientBuilder &timeout(std::chrono::milliseconds timeout) {
        return set(layerfi_client_builder_set_timeout_ms, setting(timeout));
    }
    /** The maximum duration of connecting: 1 ms to 1 hour; by default 5 seconds. */
    ClientBuilder &connect_timeout(std::chrono::milliseconds timeout) {
        return set(layerfi_client_builder_set_connect_timeout_ms, setting(timeout));
    }
    /** The maximum duration of one attempt: 1 ms to 1 hour; by default 10 seconds. */
    ClientBuilder &attempt_timeout(std::chrono::milliseconds timeout) {
        return set(layerfi_client_builder_set_attempt_timeout_ms, setting(timeout));
    }
    /** The maximum number of requests per call: 1 to 100; by default 4. */
    ClientBuilder &max_attempts(std::uint32_t attempts) {
        return set(layerfi_client_builder_set_max_attempts, attempts);
    }
    /** The maximum number of cached business tokens, at least 1; by default 10,000. */
    ClientBuilder &business_token_capacity(std::size_t tokens) {
        return set(layerfi_client_builder_set_business_token_capacity, tokens);
    }
    /** Refreshes the access token in the background without calls; by default false. */
    ClientBuilder &keep_warm(bool keep_warm) {
        return set(layerfi_client_builder_set_keep_warm, keep_warm);
    }
    /**
     * Shares tokens with other processes through a Redis or Valkey server,
     * `redis://[user:password@]host[:port][/database]`. Needs a library that was built with
     * `make lib SHARED_CACHE=1`.
     */
    ClientBuilder &shared_cache(ZString url) {
        return set(layerfi_client_builder_set_shared_cache, url);
    }
    /** A secret that the keys of the shared cache also depend on. */
    ClientBuilder &shared_cache_key(ZString key) {
        return set(layerfi_client_builder_set_shared_cache_key, key);
    }
    /** The text with which all names in the store begin; by default `layerfi`. */
    ClientBuilder &shared_cache_prefix(ZString prefix) {
        return set(layerfi_client_builder_set_shared_cache_prefix, prefix);
    }
    /** Whether business tokens are shared too; by default true. */
    ClientBuilder &shared_business_tokens(bool share) {
        return set(layerfi_client_builder_set_shared_business_tokens, share);
    }
    /** The text before `layerfi-auth/<version>` in `User-Agent`. */
    ClientBuilder &user_agent(ZString product) {
        return set(layerfi_client_builder_set_user_agent, product);
    }

    /** Checks all settings and makes a client. It sends no request and starts no thread. */
    Expected<Client> build(std::nothrow_t) const {
        if (failure_) {
            return *failure_;
        }
        return detail::make<Client>(layerfi_client_builder_build, handle_);
    }
#if LAYERFI_EXCEPTIONS
    Client build() const {
        return build(std::nothrow).value();
    }
#endif

  private:
    using Make = layerfi_result (*)(layerfi_client_builder **, layerfi_error **);

    explicit ClientBuilder(Make make) {
        layerfi_client_builder *handle = nullptr;
        keep(detail::call(make, &handle));
        handle_.reset(handle);
    }
    /** Remembers the first failure, for build(). */
    ClientBuilder &keep(Expected<void> done) {
        if (!done && !failure_) {
            failure_ = done.error();
        }
        return *this;
    }
    template <class Setter, class Value> ClientBuilder &set(Setter setter, Value value) {
        return keep(detail::call(setter, handle_, value));
    }
    /** Passes the result of a credentials provider to the library. */
    static bool give(const Credentials &got, layerfi_credentials *answer) {
        const ZString id(got.client_id), secret(got.client_secret), why(got.error);
        const bool has_nul = id.has_nul() || secret.has_nul() || why.has_nul();
        if (has_nul || !got.error.empty()) {
            layerfi_credentials_set_error(
                answer, has_nul ? "a text of the credentials provider contains a NUL" : why.get(),
                nullptr);
            return false;
        }
        return layerfi_credentials_set(answer, id.get(), secret.get(), nullptr) ==
               LAYERFI_RESULT_OK;
    }
    // A setting of 0 is an error, and so is a negative one.
    static std::uint64_t setting(std::chrono::milliseconds timeout) noexcept {
        return timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
    }

    std::unique_ptr<layerfi_client_builder, detail::Freed<layerfi_client_builder_free>> handle_;
    std::optional<Error> failure_{};
};

/** Receives log messages. A message is valid during the call only. */
using LogCallback = std::function<void(LogLevel, std::string_view)>;

/**
 * Sends the log of all clients of this process to `callback`, up to `level`. An empty
 * callback or LogLevel::Off ends the log. It is called from any thread, and may be
 * called from several at the same time; its exceptions are ignored. See
 * layerfi_log_callback for what it may do. Callbacks are never destroyed.
 */
inline Expected<void> set_log_callback(std::nothrow_t, LogCallback callback, LogLevel level) {
    if (!callback || level == LogLevel::Off) {
        return detail::call(layerfi_set_log_callback, nullptr, nullptr, LAYERFI_LOG_LEVEL_OFF);
    }
    // Never freed: another thread may be calling it, at exit as well.
    static auto *kept = new std::vector<std::unique_ptr<LogCallback>>;
    static std::mutex lock;
    const std::lock_guard<std::mutex> locked(lock);
    kept->push_back(std::make_unique<LogCallback>(std::move(callback)));
    const layerfi_log_callback function = [](void *userdata, std::uint32_t number,
                                             layerfi_str message) {
        const auto &log = *static_cast<LogCallback *>(userdata);
#if LAYERFI_EXCEPTIONS
        try {
            log(static_cast<LogLevel>(number), detail::view(message));
        } catch (...) {
        }
#else
        log(static_cast<LogLevel>(number), detail::view(message));
#endif
    };
    return detail::call(layerfi_set_log_callback, function, kept->back().get(), level);
}
#if LAYERFI_EXCEPTIONS
inline void set_log_callback(LogCallback callback, LogLevel level) {
    set_log_callback(std::nothrow, std::move(callback), level).value();
}
#endif

/** The version of the loaded library. */
inline std::string_view version() noexcept {
    return detail::view(layerfi_version());
}

/** Whether the loaded library has everything that this header declares. */
inline bool abi_matches() noexcept {
    return layerfi_abi_version() == LAYERFI_ABI_VERSION &&
           layerfi_abi_revision() + 1 > LAYERFI_ABI_REVISION;
}

#if !LAYERFI_EXCEPTIONS
} // namespace no_exceptions
#endif
} // namespace layerfi

#endif // LAYERFI_AUTH_HPP
