/*
 * layerfi-auth for C++17: layerfi_auth.h with owners, exceptions, views and
 * durations. Header-only; link the same library. Guide: docs/c.md.
 *
 * Each call is there twice: `client.token()` throws layerfi::Error, and
 * `client.token(std::nothrow)` returns a layerfi::Expected. Views live as long
 * as the object they are taken from, and a NUL stands behind each, so that
 * `view.data()` is a C string. Threads, forks and ownership are as in the C
 * header: const members may be called from many threads at once.
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
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "layerfi_auth.h"

/* What is returned does not outlive the object: clang warns where it is seen to. */
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

/** What became of a call; the numbers of layerfi_result. */
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

/** One of Layer's environments, or one of your own. */
enum class Environment : std::uint32_t {
    Sandbox = LAYERFI_ENVIRONMENT_SANDBOX,
    Production = LAYERFI_ENVIRONMENT_PRODUCTION,
    ProductionCa = LAYERFI_ENVIRONMENT_PRODUCTION_CA,
    Custom = LAYERFI_ENVIRONMENT_CUSTOM,
};

/** How id and secret go into the Basic header. */
enum class BasicEncoding : std::uint32_t {
    Raw = LAYERFI_BASIC_ENCODING_RAW,
    Form = LAYERFI_BASIC_ENCODING_FORM,
};

/** How much a log message matters. */
enum class LogLevel : std::uint32_t {
    Off = LAYERFI_LOG_LEVEL_OFF,
    Error = LAYERFI_LOG_LEVEL_ERROR,
    Warn = LAYERFI_LOG_LEVEL_WARN,
    Info = LAYERFI_LOG_LEVEL_INFO,
    Debug = LAYERFI_LOG_LEVEL_DEBUG,
    Trace = LAYERFI_LOG_LEVEL_TRACE,
};

using Timeout = std::chrono::milliseconds;

/** For a timeout: the client's own. */
inline constexpr Timeout default_timeout = Timeout::min();

using Stats = layerfi_stats;
using BatchProgress = layerfi_batch_progress;

namespace detail {

template <auto Free> struct Freed {
    template <class T> void operator()(T *handle) const noexcept { Free(handle); }
};

template <class T, auto Free> using Handle = std::unique_ptr<T, Freed<Free>>;

inline std::string_view view(layerfi_str text) noexcept {
    return {text.data, text.len};
}

inline std::chrono::system_clock::time_point time(std::int64_t ms) {
    return std::chrono::system_clock::time_point{std::chrono::milliseconds{ms}};
}

constexpr std::uint64_t ms(Timeout timeout) noexcept {
    if (timeout == default_timeout) {
        return 0;
    }
    // A deadline that has passed already is the shortest timeout there is.
    return timeout.count() <= 0 ? 1 : static_cast<std::uint64_t>(timeout.count());
}

inline std::uint64_t seconds(std::chrono::seconds duration) noexcept {
    // What is negative is refused as 0 is.
    return duration.count() < 0 ? 0 : static_cast<std::uint64_t>(duration.count());
}

} // namespace detail

/**
 * A string for the library: a C string or a std::string, which must not hold a
 * NUL (std::invalid_argument). No copy is made here.
 */
class ZString {
  public:
    ZString(const char *text) noexcept : text_(text) {}
    ZString(const std::string &text) : text_(text.c_str()) {
        if (text.find('\0') != std::string::npos) {
            throw std::invalid_argument("a string for layerfi-auth holds a NUL");
        }
    }
    const char *get() const noexcept { return text_; }

  private:
    const char *text_;
};

/** Why a call failed. Copies share what they hold. */
class Error : public std::exception {
  public:
    /** Takes over what a call of the C face failed with. */
    Error(layerfi_result result, layerfi_error *error)
        : result_(static_cast<Result>(result)), error_(error, layerfi_error_free) {}

    /** The whole story in one line. */
    const char *what() const noexcept LAYERFI_LIFETIMEBOUND override {
        return layerfi_error_display(error_.get()).data;
    }
    Result result() const noexcept { return result_; }
    /** The result's name, such as `rate_limited`. */
    std::string_view name() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_result_name(static_cast<std::uint32_t>(result_)));
    }
    /** What failed, without the advice. */
    std::string_view message() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_message(error_.get()));
    }
    /** What to do about it. */
    std::string_view remedy() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_remedy(error_.get()));
    }
    /** The setting or argument that is wrong; empty where it is not about one. */
    std::string_view field() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_field(error_.get()));
    }
    /** The server's id for the request; empty where there was none. */
    std::string_view request_id() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_request_id(error_.get()));
    }
    /** The OAuth error code; empty where there was none. */
    std::string_view oauth_error() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_oauth_error(error_.get()));
    }
    /** Layer's stable id of the failure; empty where there was none. */
    std::string_view error_enum() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_error_error_enum(error_.get()));
    }
    /** The HTTP status of the answer; 0 where there was none. */
    unsigned http_status() const noexcept { return layerfi_error_http_status(error_.get()); }
    /** How long the server asked to wait. */
    std::optional<std::chrono::milliseconds> retry_after() const noexcept {
        const std::int64_t delay = layerfi_error_retry_after_ms(error_.get());
        if (delay < 0) {
            return std::nullopt;
        }
        return std::chrono::milliseconds{delay};
    }
    /** Whether the same call may succeed a little later. */
    bool is_retryable() const noexcept { return layerfi_error_is_retryable(error_.get()); }

  private:
    Result result_;
    std::shared_ptr<layerfi_error> error_;
};

/** A value, or the error in its place: what the calls with std::nothrow return. */
template <class T> class [[nodiscard]] Expected {
  public:
    Expected(T value) : either_(std::in_place_index<0>, std::move(value)) {}
    Expected(Error error) : either_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return either_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    /** The value; throws the error where there is none. */
    T &value() & LAYERFI_LIFETIMEBOUND {
        check();
        return *std::get_if<0>(&either_);
    }
    const T &value() const &LAYERFI_LIFETIMEBOUND {
        check();
        return *std::get_if<0>(&either_);
    }
    T value() && {
        check();
        return std::move(*std::get_if<0>(&either_));
    }
    /** The value, where there is one. */
    T &operator*() noexcept LAYERFI_LIFETIMEBOUND { return *std::get_if<0>(&either_); }
    const T &operator*() const noexcept LAYERFI_LIFETIMEBOUND { return *std::get_if<0>(&either_); }
    T *operator->() noexcept LAYERFI_LIFETIMEBOUND { return std::get_if<0>(&either_); }
    const T *operator->() const noexcept LAYERFI_LIFETIMEBOUND { return std::get_if<0>(&either_); }
    /** The error, where there is no value. */
    const Error &error() const noexcept LAYERFI_LIFETIMEBOUND { return *std::get_if<1>(&either_); }

  private:
    void check() const {
        if (!has_value()) {
            throw error();
        }
    }
    std::variant<T, Error> either_;
};

namespace detail {

/** Makes a call that gives a handle out. */
template <class T, class Raw, class Call> Expected<T> out(Call call) {
    Raw *handle = nullptr;
    layerfi_error *error = nullptr;
    const layerfi_result result = call(&handle, &error);
    if (result != LAYERFI_RESULT_OK) {
        return Error(result, error);
    }
    return T(handle);
}

/** None where nothing is at hand; throws any other error. */
template <class T> std::optional<T> if_available(Expected<T> got) {
    if (!got && got.error().result() == Result::NotAvailable) {
        return std::nullopt;
    }
    return std::move(got).value();
}

/** Makes a call that gives nothing out. */
template <class Call> void checked(Call call) {
    layerfi_error *error = nullptr;
    const layerfi_result result = call(&error);
    if (result != LAYERFI_RESULT_OK) {
        throw Error(result, error);
    }
}

} // namespace detail

/** An access token for the Layer API. It outlives its client. */
class Token {
  public:
    /** Takes over a handle. */
    explicit Token(layerfi_token *handle) noexcept : handle_(handle) {}

    /** The token itself. Whoever calls this answers for where it goes. */
    std::string_view secret() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_token_secret(handle_.get()));
    }
    /** The value of the `Authorization` header. */
    std::string_view authorization() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_token_authorization(handle_.get()));
    }
    std::chrono::system_clock::time_point expires_at() const {
        return detail::time(layerfi_token_expires_at_ms(handle_.get()));
    }
    const layerfi_token *get() const noexcept LAYERFI_LIFETIMEBOUND { return handle_.get(); }

  private:
    detail::Handle<layerfi_token, layerfi_token_free> handle_;
};

/** A token for one business, to be handed to a browser or a mobile app. */
class BusinessToken {
  public:
    /** Takes over a handle. */
    explicit BusinessToken(layerfi_business_token *handle) noexcept : handle_(handle) {}

    /** The token itself, for `businessAccessToken` of `<LayerProvider>`. */
    std::string_view secret() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_business_token_secret(handle_.get()));
    }
    /** The value of the `Authorization` header. */
    std::string_view authorization() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_business_token_authorization(handle_.get()));
    }
    std::string_view business_id() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_business_token_business_id(handle_.get()));
    }
    /** The session duration that was asked for. */
    std::chrono::seconds session_duration() const noexcept {
        return std::chrono::seconds{layerfi_business_token_session_duration_s(handle_.get())};
    }
    /** The life that the server gave it. */
    std::chrono::seconds expires_in() const noexcept {
        return std::chrono::seconds{layerfi_business_token_expires_in_s(handle_.get())};
    }
    std::chrono::system_clock::time_point expires_at() const {
        return detail::time(layerfi_business_token_expires_at_ms(handle_.get()));
    }
    const layerfi_business_token *get() const noexcept LAYERFI_LIFETIMEBOUND {
        return handle_.get();
    }

  private:
    detail::Handle<layerfi_business_token, layerfi_business_token_free> handle_;
};

/** The results of a batch: one per id, in order. */
class BusinessTokens {
  public:
    /** Takes over a handle. */
    explicit BusinessTokens(layerfi_business_tokens *handle) noexcept : handle_(handle) {}

    std::size_t size() const noexcept { return layerfi_business_tokens_len(handle_.get()); }
    /** The token at `index`, or what its business failed with. */
    Expected<BusinessToken> operator[](std::size_t index) const {
        return detail::out<BusinessToken, layerfi_business_token>([&](auto out, auto error) {
            return layerfi_business_tokens_get(handle_.get(), index, out, error);
        });
    }

  private:
    detail::Handle<layerfi_business_tokens, layerfi_business_tokens_free> handle_;
};

/** Who the credentials belong to. */
class WhoAmI {
  public:
    /** Takes over a handle. */
    explicit WhoAmI(layerfi_whoami *handle) noexcept : handle_(handle) {}

    std::string_view client_name() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_whoami_client_name(handle_.get()));
    }
    std::string_view client_id() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_whoami_client_id(handle_.get()));
    }

  private:
    detail::Handle<layerfi_whoami, layerfi_whoami_free> handle_;
};

/** The answer to Client::execute(). */
class Response {
  public:
    /** Takes over a handle. */
    explicit Response(layerfi_response *handle) noexcept : handle_(handle) {}

    unsigned status() const noexcept { return layerfi_response_status(handle_.get()); }
    /** The first header of a name; empty where there is none. */
    std::string_view header(ZString name) const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_response_header(handle_.get(), name.get()));
    }
    std::string_view body() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_response_body(handle_.get()));
    }

  private:
    detail::Handle<layerfi_response, layerfi_response_free> handle_;
};

/** A request for Client::execute(). */
struct Request {
    std::string method = "GET";
    /** A path such as `/v1/businesses`, or a URL of the API. */
    std::string uri;
    std::vector<std::pair<std::string, std::string>> headers{};
    std::string body{};
};

/** What is wished of a business token. */
struct BusinessTokenOptions {
    std::chrono::seconds session_duration{LAYERFI_SESSION_DURATION_DEFAULT};
    /** How much life it must have left; half of what it got by default. */
    std::optional<std::chrono::seconds> min_remaining{};
    Timeout timeout = default_timeout;
};

/** How a batch is to be run. */
struct BatchOptions {
    std::chrono::seconds session_duration{LAYERFI_SESSION_DURATION_DEFAULT};
    /** Requests in flight at the most; 0 for the default, 32. */
    std::size_t max_in_flight = 0;
    /** For each business from its turn at the rate limit on, not for the batch. */
    Timeout timeout = default_timeout;
    /** Called from the calling thread; returning false ends the batch. */
    std::function<bool(const BatchProgress &)> progress{};
};

/** A client of Layer's authentication: one per set of credentials. */
class Client {
  public:
    /** Takes over a handle. */
    explicit Client(layerfi_client *handle) noexcept : handle_(handle) {}

    /** From the environment's variables; see layerfi_client_builder_from_env(). */
    static Client from_env() { return from_env(std::nothrow).value(); }
    static Expected<Client> from_env(std::nothrow_t) {
        return detail::out<Client, layerfi_client>(layerfi_client_from_env);
    }

    /** A valid access token, at once where there is one. */
    Token token(Timeout timeout = default_timeout) const {
        return token(std::nothrow, timeout).value();
    }
    Expected<Token> token(std::nothrow_t, Timeout timeout = default_timeout) const {
        return detail::out<Token, layerfi_token>([&](auto out, auto error) {
            return layerfi_client_token(handle_.get(), detail::ms(timeout), out, error);
        });
    }

    /**
     * The access token if it is at hand; never waits. None while one may come;
     * throws what the last request failed with, while it is too early for another.
     */
    std::optional<Token> try_token() const { return detail::if_available(try_token(std::nothrow)); }
    /** The same, with Result::NotAvailable for none. */
    Expected<Token> try_token(std::nothrow_t) const {
        return detail::out<Token, layerfi_token>([&](auto out, auto error) {
            return layerfi_client_try_token(handle_.get(), out, error);
        });
    }

    /**
     * Copies the `Authorization` header's value into a string of yours, whose
     * capacity is used again. The copy is yours to wipe.
     */
    void copy_authorization(std::string &value, Timeout timeout = default_timeout) const {
        layerfi_error *error = nullptr;
        // Room for Layer's tokens of some 1,000 bytes, and the NUL.
        if (value.capacity() < 2048) {
            value.reserve(2048);
        }
        for (;;) {
            // A std::string has room for a NUL behind its size.
            value.resize(value.capacity());
            std::size_t length = 0;
            const layerfi_result result =
                layerfi_client_copy_authorization(handle_.get(), detail::ms(timeout), value.data(),
                                                  value.size() + 1, &length, &error);
            if (result == LAYERFI_RESULT_OK) {
                value.resize(length);
                return;
            }
            Error failure(result, std::exchange(error, nullptr));
            value.clear();
            if (result != LAYERFI_RESULT_BUFFER_TOO_SMALL) {
                throw failure;
            }
            value.reserve(length);
        }
    }

    /** Copies it into a buffer, with a NUL behind it; its length without the NUL. */
    Expected<std::size_t> copy_authorization(std::nothrow_t, char *buffer, std::size_t capacity,
                                             Timeout timeout = default_timeout) const {
        layerfi_error *error = nullptr;
        std::size_t length = 0;
        const layerfi_result result = layerfi_client_copy_authorization(
            handle_.get(), detail::ms(timeout), buffer, capacity, &length, &error);
        if (result != LAYERFI_RESULT_OK) {
            return Error(result, error);
        }
        return length;
    }

    /** Asks Layer whose credentials these are. */
    WhoAmI whoami(Timeout timeout = default_timeout) const {
        return whoami(std::nothrow, timeout).value();
    }
    Expected<WhoAmI> whoami(std::nothrow_t, Timeout timeout = default_timeout) const {
        return detail::out<WhoAmI, layerfi_whoami>([&](auto out, auto error) {
            return layerfi_client_whoami(handle_.get(), detail::ms(timeout), out, error);
        });
    }

    /** A token for one business, from the cache or newly minted. */
    BusinessToken business_token(ZString business_id,
                                 const BusinessTokenOptions &options = {}) const {
        return business_token(std::nothrow, business_id, options).value();
    }
    Expected<BusinessToken> business_token(std::nothrow_t, ZString business_id,
                                           const BusinessTokenOptions &options = {}) const {
        const std::uint64_t min_remaining = options.min_remaining
                                                ? detail::seconds(*options.min_remaining)
                                                : LAYERFI_MIN_REMAINING_DEFAULT;
        return detail::out<BusinessToken, layerfi_business_token>([&](auto out, auto error) {
            return layerfi_client_business_token(
                handle_.get(), business_id.get(), detail::seconds(options.session_duration),
                min_remaining, detail::ms(options.timeout), out, error);
        });
    }

    /** One that is at hand with half of its life left; never waits. */
    std::optional<BusinessToken>
    try_business_token(ZString business_id,
                       std::chrono::seconds session_duration = std::chrono::seconds{
                           LAYERFI_SESSION_DURATION_DEFAULT}) const {
        return detail::if_available(
            try_business_token(std::nothrow, business_id, session_duration));
    }
    /** The same, with Result::NotAvailable for none. */
    Expected<BusinessToken>
    try_business_token(std::nothrow_t, ZString business_id,
                       std::chrono::seconds session_duration = std::chrono::seconds{
                           LAYERFI_SESSION_DURATION_DEFAULT}) const {
        return detail::out<BusinessToken, layerfi_business_token>([&](auto out, auto error) {
            return layerfi_client_try_business_token(handle_.get(), business_id.get(),
                                                     detail::seconds(session_duration), out, error);
        });
    }

    /** A new token for one business, cached nowhere. */
    BusinessToken mint_business_token(ZString business_id,
                                      std::chrono::seconds session_duration =
                                          std::chrono::seconds{LAYERFI_SESSION_DURATION_DEFAULT},
                                      Timeout timeout = default_timeout) const {
        return mint_business_token(std::nothrow, business_id, session_duration, timeout).value();
    }
    Expected<BusinessToken> mint_business_token(std::nothrow_t, ZString business_id,
                                                std::chrono::seconds session_duration =
                                                    std::chrono::seconds{
                                                        LAYERFI_SESSION_DURATION_DEFAULT},
                                                Timeout timeout = default_timeout) const {
        return detail::out<BusinessToken, layerfi_business_token>([&](auto out, auto error) {
            return layerfi_client_mint_business_token(handle_.get(), business_id.get(),
                                                      detail::seconds(session_duration),
                                                      detail::ms(timeout), out, error);
        });
    }

    /** Tokens for many businesses. What `progress` throws ends the batch and comes out here. */
    BusinessTokens business_tokens(const std::vector<std::string> &business_ids,
                                   const BatchOptions &options = {}) const {
        std::vector<const char *> ids;
        ids.reserve(business_ids.size());
        for (const std::string &id : business_ids) {
            ids.push_back(ZString(id).get());
        }
        struct Progress {
            const std::function<bool(const BatchProgress &)> &function;
            std::exception_ptr thrown;
        } progress{options.progress, nullptr};
        const layerfi_progress_callback callback = [](void *userdata,
                                                      const layerfi_batch_progress *so_far) {
            auto &self = *static_cast<Progress *>(userdata);
            try {
                return self.function(*so_far);
            } catch (...) {
                self.thrown = std::current_exception();
                return false;
            }
        };
        auto tokens = detail::out<BusinessTokens, layerfi_business_tokens>([&](auto out,
                                                                               auto error) {
            return layerfi_client_business_tokens(
                handle_.get(), ids.data(), ids.size(), detail::seconds(options.session_duration),
                options.max_in_flight, detail::ms(options.timeout),
                options.progress ? callback : nullptr, &progress, out, error);
        });
        if (progress.thrown) {
            std::rethrow_exception(progress.thrown);
        }
        return std::move(tokens).value();
    }

    /** Throws a token away that a server refused with 401, if it is still the current one. */
    bool invalidate(const Token &token) const {
        bool done = false;
        detail::checked([&](auto error) {
            return layerfi_client_invalidate(handle_.get(), token.get(), &done, error);
        });
        return done;
    }
    bool invalidate(const BusinessToken &token) const {
        bool done = false;
        detail::checked([&](auto error) {
            return layerfi_client_invalidate_business_token(handle_.get(), token.get(), &done,
                                                            error);
        });
        return done;
    }
    /** The same for a header value that copy_authorization() gave. */
    bool invalidate_authorization(ZString authorization) const {
        bool done = false;
        detail::checked([&](auto error) {
            return layerfi_client_invalidate_authorization(handle_.get(), authorization.get(),
                                                           &done, error);
        });
        return done;
    }

    /**
     * Sends a request to the Layer API, and once more with a new token on 401.
     * Any status is an answer, a second 401 as well.
     */
    Response execute(const Request &request, Timeout timeout = default_timeout) const {
        return execute(std::nothrow, request, timeout).value();
    }
    Expected<Response> execute(std::nothrow_t, const Request &request,
                               Timeout timeout = default_timeout) const {
        std::vector<layerfi_header> headers;
        headers.reserve(request.headers.size());
        for (const auto &header : request.headers) {
            headers.push_back({ZString(header.first).get(), ZString(header.second).get()});
        }
        return detail::out<Response, layerfi_response>([&](auto out, auto error) {
            return layerfi_client_execute(
                handle_.get(), ZString(request.method).get(), ZString(request.uri).get(),
                headers.data(), headers.size(),
                reinterpret_cast<const std::uint8_t *>(request.body.data()), request.body.size(),
                detail::ms(timeout), out, error);
        });
    }

    /** What has happened so far. */
    Stats stats() const {
        Stats stats{};
        detail::checked([&](auto error) {
            return layerfi_client_stats(handle_.get(), &stats, sizeof stats, error);
        });
        return stats;
    }

    Environment environment() const noexcept {
        return static_cast<Environment>(layerfi_client_environment(handle_.get()));
    }
    std::string_view api_url() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_client_api_url(handle_.get()));
    }
    std::string_view auth_url() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_client_auth_url(handle_.get()));
    }
    std::string_view scope() const noexcept LAYERFI_LIFETIMEBOUND {
        return detail::view(layerfi_client_scope(handle_.get()));
    }
    const layerfi_client *get() const noexcept LAYERFI_LIFETIMEBOUND { return handle_.get(); }

  private:
    detail::Handle<layerfi_client, layerfi_client_free> handle_;
};

/** What a credentials provider returns. Wipe what you can on your side. */
struct Credentials {
    std::string client_id;
    std::string client_secret;
};

/**
 * Settings of a client that is to be made. Setters throw Error where the value
 * is refused at once; the rest is told by build(). For one thread at a time.
 */
class ClientBuilder {
  public:
    ClientBuilder() : handle_(make(layerfi_client_builder_new)) {}

    /** With the environment's variables; see layerfi_client_builder_from_env(). */
    static ClientBuilder from_env() { return ClientBuilder(make(layerfi_client_builder_from_env)); }

    ClientBuilder &environment(Environment environment) {
        return set(layerfi_client_builder_set_environment, static_cast<std::uint32_t>(environment));
    }
    /** By its name, such as `sandbox`. */
    ClientBuilder &environment(ZString name) {
        return set(layerfi_client_builder_set_environment_name, name.get());
    }
    ClientBuilder &credentials(ZString client_id, ZString client_secret) {
        return this->client_id(client_id).client_secret(client_secret);
    }
    ClientBuilder &client_id(ZString id) {
        return set(layerfi_client_builder_set_client_id, id.get());
    }
    ClientBuilder &client_secret(ZString secret) {
        return set(layerfi_client_builder_set_client_secret, secret.get());
    }
    ClientBuilder &client_secret_file(ZString path) {
        return set(layerfi_client_builder_set_client_secret_file, path.get());
    }
    /**
     * Your own place for id and secret. Called from threads of the library's,
     * from several at once; the text of what it throws is shown in errors.
     */
    ClientBuilder &credentials_provider(std::function<Credentials()> provider) {
        using Provider = std::function<Credentials()>;
        auto owned = std::make_unique<Provider>(std::move(provider));
        const layerfi_credentials_callback callback = [](void *userdata,
                                                         layerfi_credentials *answer) {
            try {
                const Credentials got = (*static_cast<Provider *>(userdata))();
                return layerfi_credentials_set(answer, ZString(got.client_id).get(),
                                               ZString(got.client_secret).get(),
                                               nullptr) == LAYERFI_RESULT_OK;
            } catch (const std::exception &thrown) {
                layerfi_credentials_set_error(answer, thrown.what(), nullptr);
            } catch (...) {
                layerfi_credentials_set_error(answer, "it threw", nullptr);
            }
            return false;
        };
        const layerfi_free_callback free_it = [](void *userdata) {
            delete static_cast<Provider *>(userdata);
        };
        detail::checked([&](auto error) {
            return layerfi_client_builder_set_credentials_callback(handle_.get(), callback,
                                                                   owned.get(), free_it, error);
        });
        owned.release();
        return *this;
    }
    ClientBuilder &basic_encoding(BasicEncoding encoding) {
        return set(layerfi_client_builder_set_basic_encoding, static_cast<std::uint32_t>(encoding));
    }
    ClientBuilder &api_url(ZString url) {
        return set(layerfi_client_builder_set_api_url, url.get());
    }
    ClientBuilder &auth_url(ZString url) {
        return set(layerfi_client_builder_set_auth_url, url.get());
    }
    ClientBuilder &scope(ZString scope) {
        return set(layerfi_client_builder_set_scope, scope.get());
    }
    ClientBuilder &ca_file(ZString path) {
        return set(layerfi_client_builder_set_ca_file, path.get());
    }
    ClientBuilder &ca_pem(ZString pem) { return set(layerfi_client_builder_set_ca_pem, pem.get()); }
    ClientBuilder &proxy(ZString url) { return set(layerfi_client_builder_set_proxy, url.get()); }
    ClientBuilder &no_proxy() {
        detail::checked(
            [&](auto error) { return layerfi_client_builder_set_no_proxy(handle_.get(), error); });
        return *this;
    }
    ClientBuilder &allow_http_loopback(bool allow) {
        return set(layerfi_client_builder_set_allow_http_loopback, allow);
    }
    ClientBuilder &allow_opaque_business_ids(bool allow) {
        return set(layerfi_client_builder_set_allow_opaque_business_ids, allow);
    }
    ClientBuilder &timeout(std::chrono::milliseconds timeout) {
        return set(layerfi_client_builder_set_timeout_ms, setting(timeout));
    }
    ClientBuilder &connect_timeout(std::chrono::milliseconds timeout) {
        return set(layerfi_client_builder_set_connect_timeout_ms, setting(timeout));
    }
    ClientBuilder &attempt_timeout(std::chrono::milliseconds timeout) {
        return set(layerfi_client_builder_set_attempt_timeout_ms, setting(timeout));
    }
    ClientBuilder &max_attempts(std::uint32_t attempts) {
        return set(layerfi_client_builder_set_max_attempts, attempts);
    }
    ClientBuilder &business_token_capacity(std::size_t tokens) {
        return set(layerfi_client_builder_set_business_token_capacity, tokens);
    }
    ClientBuilder &keep_warm(bool keep_warm) {
        return set(layerfi_client_builder_set_keep_warm, keep_warm);
    }
    ClientBuilder &user_agent(ZString product) {
        return set(layerfi_client_builder_set_user_agent, product.get());
    }

    /** Checks everything and makes a client. No request is made. */
    Client build() const { return build(std::nothrow).value(); }
    Expected<Client> build(std::nothrow_t) const {
        return detail::out<Client, layerfi_client>([&](auto out, auto error) {
            return layerfi_client_builder_build(handle_.get(), out, error);
        });
    }

  private:
    using Handle = detail::Handle<layerfi_client_builder, layerfi_client_builder_free>;

    explicit ClientBuilder(Handle handle) noexcept : handle_(std::move(handle)) {}

    template <class Call> static Handle make(Call call) {
        layerfi_client_builder *handle = nullptr;
        detail::checked([&](auto error) { return call(&handle, error); });
        return Handle(handle);
    }
    template <class Setter, class Value> ClientBuilder &set(Setter setter, Value value) {
        detail::checked([&](auto error) { return setter(handle_.get(), value, error); });
        return *this;
    }
    // As a setting, unlike in a call, what is 0 or negative is refused.
    static std::uint64_t setting(std::chrono::milliseconds timeout) noexcept {
        return timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
    }

    Handle handle_;
};

using LogCallback = std::function<void(LogLevel, std::string_view)>;

/**
 * Sends the log of all clients to `callback`, up to `level`; an empty one ends
 * it. Called from any thread, from several at once; what it throws is dropped.
 * See layerfi_log_callback for what it may do.
 */
inline void set_log_callback(LogCallback callback, LogLevel level) {
    if (!callback || level == LogLevel::Off) {
        detail::checked([](auto error) {
            return layerfi_set_log_callback(nullptr, nullptr, LAYERFI_LOG_LEVEL_OFF, error);
        });
        return;
    }
    // Never freed: a call may be under way in another thread, at exit too.
    static auto *kept = new std::vector<std::unique_ptr<LogCallback>>;
    static std::mutex lock;
    const std::lock_guard<std::mutex> locked(lock);
    kept->push_back(std::make_unique<LogCallback>(std::move(callback)));
    const layerfi_log_callback function = [](void *userdata, std::uint32_t number,
                                             layerfi_str message) {
        try {
            (*static_cast<LogCallback *>(userdata))(static_cast<LogLevel>(number),
                                                    detail::view(message));
        } catch (...) {
        }
    };
    detail::checked([&](auto error) {
        return layerfi_set_log_callback(function, kept->back().get(),
                                        static_cast<std::uint32_t>(level), error);
    });
}

/** The version of the library that is loaded. */
inline std::string_view version() noexcept {
    return detail::view(layerfi_version());
}

/** Whether the library that is loaded has all that this header declares. */
inline bool abi_matches() noexcept {
    return layerfi_abi_version() == LAYERFI_ABI_VERSION &&
           layerfi_abi_revision() + 1 > LAYERFI_ABI_REVISION;
}

} // namespace layerfi

#endif // LAYERFI_AUTH_HPP
