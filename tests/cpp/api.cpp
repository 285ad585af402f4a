// The C++ header: ownership, exceptions, views, durations, callbacks.
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <thread>
#include <type_traits>

#include <layerfi_auth.hpp>

#define CHECK(...)                                                                                 \
    do {                                                                                           \
        if (!(__VA_ARGS__)) {                                                                      \
            std::cerr << __FILE__ << ':' << __LINE__ << ": check failed: " #__VA_ARGS__            \
                      << std::endl;                                                                \
            std::_Exit(1);                                                                         \
        }                                                                                          \
    } while (0)

using namespace std::chrono_literals;

static const char *const business = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

template <class T>
constexpr bool move_only =
    std::is_nothrow_move_constructible_v<T> &&std::is_nothrow_move_assignable_v<T> &&
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;

static_assert(move_only<layerfi::Client> && move_only<layerfi::ClientBuilder>);
static_assert(move_only<layerfi::Token> && move_only<layerfi::BusinessToken>);
static_assert(move_only<layerfi::WhoAmI> && move_only<layerfi::BusinessTokens>);
static_assert(move_only<layerfi::Response>);
// Exceptions must be copyable.
static_assert(std::is_copy_constructible_v<layerfi::Error>);
static_assert(std::is_base_of_v<std::exception, layerfi::Error>);

static std::string variable(const char *name) {
    const char *value = std::getenv(name);
    CHECK(value != nullptr);
    return value;
}

// Timeouts that never pass, however slow the machine is.
static layerfi::ClientBuilder new_builder() {
    auto builder = layerfi::ClientBuilder::from_env();
    builder.timeout(20min).connect_timeout(10min).attempt_timeout(10min);
    return builder;
}

static void b02_first_call_after_prepare_finds_a_token() {
    auto client = new_builder().build();
    client.prepare();
    while (client.stats().expires_at_ms < 0) {
        std::this_thread::sleep_for(1ms);
    }
    CHECK(client.try_token().has_value());
    client.prepare();
    CHECK(client.stats().token_requests == 1 && client.stats().waits == 0);

    const layerfi::Client moved = std::move(client);
    CHECK(client.prepare(std::nothrow).error().result() == layerfi::Result::NullPointer);
}

static void tokens() {
    auto client = new_builder().build();
    CHECK(!client.try_token());
    layerfi::Token token = client.token();
    CHECK(std::string(token.authorization()) == "Bearer " + std::string(token.secret()));
    CHECK(token.secret().data()[token.secret().size()] == '\0');
    const auto left = token.expires_at() - std::chrono::system_clock::now();
    CHECK(left > 59min && left <= 60min);
    CHECK(token.expires_in() == 1h && token.remaining() > 59min && token.remaining() <= 60min);
    CHECK(client.token(5min).secret() == token.secret());
    CHECK(client.try_token()->secret() == token.secret());

    std::string header;
    client.copy_authorization(header);
    CHECK(header == token.authorization());
    char small[8];
    const auto copied = client.copy_authorization(std::nothrow, small, sizeof small);
    CHECK(!copied && copied.error().result() == layerfi::Result::BufferTooSmall);
    char large[4096];
    CHECK(*client.copy_authorization(std::nothrow, large, sizeof large) == header.size());

    layerfi::Token moved = std::move(token);
    CHECK(token.get() == nullptr && token.secret().empty()); // Empty for NULL, as in C.
    layerfi::Client elsewhere = std::move(client);
    const layerfi::Token renewed = elsewhere.renew_token(moved);
    CHECK(renewed.secret() != moved.secret());
    CHECK(elsewhere.renew_token(moved).secret() == renewed.secret());
    CHECK(!elsewhere.invalidate(moved));
    CHECK(elsewhere.invalidate(renewed) && !elsewhere.invalidate(renewed));
    const layerfi::Token fresh = elsewhere.token();
    CHECK(fresh.secret() != moved.secret());
    CHECK(!elsewhere.invalidate_authorization(header));
    CHECK(elsewhere.invalidate_authorization(std::string(fresh.authorization())));

    const auto stats = elsewhere.stats();
    CHECK(stats.misses == 2 && stats.token_requests == 3 && stats.invalidations == 3);
    CHECK(elsewhere.environment() == layerfi::Environment::Custom);
    CHECK(elsewhere.api_url() == variable("LAYER_API_URL"));
    CHECK(elsewhere.auth_url() == variable("LAYER_AUTH_URL"));
    CHECK(elsewhere.scope() == variable("LAYER_SCOPE"));
}

static void calls() {
    const auto client = new_builder().build();
    CHECK(client.whoami().client_id().size() == 36);
    CHECK(!client.whoami(std::nothrow)->client_name().empty());

    CHECK(!client.try_business_token(business));
    const auto kept = client.business_token(business);
    CHECK(kept.business_id() == business && kept.session_duration() == 1h);
    CHECK(client.try_business_token(business)->secret() == kept.secret());
    layerfi::BusinessTokenOptions options;
    options.session_duration = 15min;
    options.min_remaining = 60s;
    CHECK(client.business_token(business, options).expires_in() == 15min);
    // The same options for all three calls.
    options.timeout = 5min;
    CHECK(client.try_business_token(business, options)->session_duration() == 15min);
    const auto minted = client.mint_business_token(std::string(business), options);
    CHECK(minted.secret() != kept.secret() && minted.expires_in() == 15min);
    CHECK(minted.remaining() > 0s && minted.remaining() <= 15min);
    CHECK(client.mint_business_token(business, {60s}).expires_in() == 1min);
    const auto json = minted.json();
    CHECK(minted.session_json().text().find("\"renew_in\":4") != std::string_view::npos);
    CHECK(client.renew_business_token(business, "another token", options).session_duration() ==
          15min);
    CHECK(json.text().find(minted.secret()) != std::string_view::npos);
    CHECK(minted.layer_provider_props_json().text().find("\"environment\":\"sandbox\"") !=
          std::string_view::npos);
    CHECK(minted.layer_provider_props_json("production").text().find("\"production\"") !=
          std::string_view::npos);
    CHECK(client.invalidate(kept) && !client.invalidate(kept));
    const auto by_text = client.business_token(business);
    CHECK(client.invalidate_authorization(std::string(by_text.secret())));

    const std::vector<std::string> ids{business, "no-uuid", business};
    layerfi::BatchOptions batch;
    layerfi::BatchProgress last{};
    batch.progress = [&](const layerfi::BatchProgress &so_far) {
        last = so_far;
        return so_far.total == 3;
    };
    const auto results = client.business_tokens(ids, batch);
    CHECK(results.size() == 3);
    CHECK(last.distinct == 2 && last.done == 2 && last.failed == 1);
    CHECK(results[0] && results[2] && results[0]->secret() == results[2]->secret());
    CHECK(results[1].error().result() == layerfi::Result::InvalidArgument);
    batch.progress = [](const layerfi::BatchProgress &) -> bool { throw 7; };
    bool thrown = false;
    try {
        client.business_tokens(ids, batch);
    } catch (int number) {
        thrown = number == 7;
    }
    CHECK(thrown);

    layerfi::Request request;
    request.uri = "/whoami";
    request.headers.push_back({"Accept", "application/json"});
    const auto response = client.execute(request);
    CHECK(response.status() == 200);
    CHECK(response.body().find("clientName") != std::string_view::npos);
    CHECK(response.header("content-type").find("json") != std::string_view::npos);
}

static void errors() {
    layerfi::ClientBuilder builder;
    const auto none = builder.build(std::nothrow);
    CHECK(!none && none.error().result() == layerfi::Result::Config);
    CHECK(none.error().field() == "environment");
    // A setter does not throw: build() fails with the first error.
    builder.environment("prod").client_id("\xff").max_attempts(3);
    for (int i = 0; i < 2; ++i) {
        try {
            builder.build();
            CHECK(false);
        } catch (const layerfi::Error &error) {
            CHECK(error.result() == layerfi::Result::Config);
            CHECK(std::string(error.what()).find("prod") != std::string::npos);
        }
    }
    for (const auto trust : {layerfi::Trust::System, layerfi::Trust::Bundled}) {
        layerfi::ClientBuilder trusting;
        trusting.environment(layerfi::Environment::Sandbox).credentials("a", "b").trust(trust);
        CHECK(trusting.build(std::nothrow).has_value());
    }
    layerfi::ClientBuilder untrusting;
    untrusting.environment(layerfi::Environment::Sandbox).credentials("a", "b");
    const auto without_ca = untrusting.trust(layerfi::Trust::CaOnly).build(std::nothrow);
    CHECK(!without_ca && without_ca.error().field() == "trust");
    const auto unknown = untrusting.trust(static_cast<layerfi::Trust>(9)).build(std::nothrow);
    CHECK(!unknown && unknown.error().result() == layerfi::Result::InvalidEnum);

    layerfi::ClientBuilder sharing;
    sharing.environment(layerfi::Environment::Sandbox).credentials("a", "b");
    sharing.shared_cache("redis://cache").shared_cache_key("k").shared_cache_prefix("fleet");
    const auto shared = sharing.shared_business_tokens(false).build(std::nothrow);
    CHECK(shared && shared->stats().shared_cache == LAYERFI_SHARED_CACHE_STATE_UP);
    const auto no_url = sharing.shared_cache("cache:6379").build(std::nothrow);
    CHECK(!no_url && no_url.error().field() == "shared_cache");

    const std::string with_nul("a\0b", 3);
    const auto is_refused = [](const layerfi::Error &error) {
        return error.result() == layerfi::Result::InvalidArgument &&
               error.name() == "invalid_argument" &&
               error.message() == "a string argument contains a NUL" &&
               std::string(error.what()).find("NUL") != std::string::npos &&
               error.remedy() == "pass text without a NUL" && error.field().empty() &&
               !error.is_retryable() && error.attempts() == 0 && !error.retry_after();
    };
    for (int setter = 0; setter < 4; ++setter) {
        auto bad = new_builder();
        switch (setter) {
        case 0:
            bad.client_id(with_nul);
            break;
        case 1:
            bad.environment(with_nul);
            break;
        case 2:
            bad.credentials("id", with_nul);
            break;
        default:
            bad.auth_url(with_nul);
        }
        // A later failure does not hide it.
        const auto built = bad.scope("\xff").build(std::nothrow);
        CHECK(!built && is_refused(built.error()));
    }
    const auto no_provider = new_builder().credentials_provider({}).build(std::nothrow);
    CHECK(no_provider.error().result() == layerfi::Result::NullPointer);
    const auto moved_from = [] {
        auto gone = new_builder();
        const auto kept = std::move(gone);
        return gone.build(std::nothrow);
    }();
    CHECK(moved_from.error().result() == layerfi::Result::NullPointer);

    const auto client = layerfi::Client::from_env();
    CHECK(is_refused(client.mint_business_token(std::nothrow, with_nul).error()));
    CHECK(is_refused(client.business_token(std::nothrow, with_nul).error()));
    CHECK(is_refused(client.try_business_token(std::nothrow, with_nul).error()));
    CHECK(is_refused(client.business_tokens(std::nothrow, {business, with_nul}).error()));
    CHECK(is_refused(client.invalidate_authorization(std::nothrow, with_nul).error()));
    for (int part = 0; part < 4; ++part) {
        layerfi::Request request;
        request.uri = part == 0 ? with_nul : "/whoami";
        request.method = part == 1 ? with_nul : "GET";
        request.headers.push_back({part == 2 ? with_nul : "x-a", part == 3 ? with_nul : "b"});
        CHECK(is_refused(client.execute(std::nothrow, request).error()));
    }
    try {
        client.mint_business_token("no-uuid");
        CHECK(false);
    } catch (const layerfi::Error &error) {
        const layerfi::Error copy = error;
        CHECK(copy.result() == layerfi::Result::InvalidArgument);
        CHECK(copy.name() == "invalid_argument" && copy.field() == "business_id");
        CHECK(!copy.message().empty() && !copy.remedy().empty() && copy.http_status() == 0);
        CHECK(!copy.is_retryable() && !copy.retry_after() && copy.request_id().empty());
    }
    for (const auto duration : {-1s, 0s, 86'401s}) {
        CHECK(!client.mint_business_token(std::nothrow, business, {duration}));
    }
    layerfi::BatchOptions none_in_flight;
    none_in_flight.max_in_flight = 0;
    const auto batch = client.business_tokens(std::nothrow, {business}, none_in_flight);
    CHECK(batch.error().field() == "max_in_flight");
    // The time left until a deadline may be 0: it is not the default timeout.
    static_assert(layerfi::detail::ms(layerfi::default_timeout) == LAYERFI_DEFAULT);
    static_assert(layerfi::detail::seconds({}) == LAYERFI_DEFAULT);
    static_assert(layerfi::detail::seconds(-1s) == 0 && layerfi::detail::seconds(0s) == 0);
    static_assert(layerfi::detail::ms(0ms) == 1 && layerfi::detail::ms(-1ms) == 1);
    static_assert(layerfi::detail::ms(2ms) == 2);

    // Rejected by the server.
    auto wrong = new_builder();
    const auto refused = wrong.client_secret("wrong").build();
    const auto token = refused.token(std::nothrow);
    CHECK(!token && token.error().result() == layerfi::Result::Oauth);
    CHECK(token.error().oauth_error() == "invalid_client");
    CHECK(token.error().http_status() == 400 || token.error().http_status() == 401);
    // Calls that do not wait return the failure as well.
    const auto not_cached = refused.try_token(std::nothrow);
    CHECK(!not_cached && not_cached.error().oauth_error() == "invalid_client");
    try {
        refused.try_token();
        CHECK(false);
    } catch (const layerfi::Error &error) {
        CHECK(error.result() == layerfi::Result::Oauth && !error.is_retryable());
    }

    auto moved = layerfi::Client::from_env();
    const layerfi::Client client_again = std::move(moved);
    CHECK(client_again.try_business_token(std::nothrow, business).error().result() ==
          layerfi::Result::NotAvailable);
    try {
        moved.try_token();
        CHECK(false);
    } catch (const layerfi::Error &error) {
        CHECK(error.result() == layerfi::Result::NullPointer);
    }
}

static void callbacks() {
    std::atomic<int> asked{0};
    bool sealed = false;
    {
        auto builder = new_builder();
        builder.credentials_provider([&]() -> layerfi::Credentials {
            ++asked;
            if (sealed) {
                throw std::runtime_error("the vault is sealed");
            }
            return {variable("LAYER_CLIENT_ID"), variable("LAYER_CLIENT_SECRET")};
        });
        const auto client = builder.build();
        client.invalidate(client.token());
        CHECK(asked == 1);
        sealed = true;
        const auto token = client.token(std::nothrow);
        CHECK(!token && token.error().result() == layerfi::Result::Credentials);
        CHECK(token.error().message().find("the vault is sealed") != std::string_view::npos);
        CHECK(token.error().is_retryable());
    }
    {
        // The same without an exception. A NUL does not cut a text: the call fails.
        const std::string closed = "the vault is closed", cut("cut\0here", 8);
        for (const auto &got :
             {layerfi::Credentials{"", "", closed}, layerfi::Credentials{"", "", cut},
              layerfi::Credentials{"id", cut, ""}, layerfi::Credentials{cut, "secret", ""}}) {
            const auto client = new_builder().credentials_provider([&] { return got; }).build();
            const auto token = client.token(std::nothrow);
            CHECK(token.error().result() == layerfi::Result::Credentials);
            const auto expected = got.error == closed ? closed : "contains a NUL";
            CHECK(token.error().message().find(expected) != std::string_view::npos);
        }
    }
    static std::atomic<int> lines{0};
    layerfi::set_log_callback(
        [](layerfi::LogLevel level, std::string_view message) {
            CHECK(level != layerfi::LogLevel::Off && !message.empty());
            ++lines;
            throw 1; // The header catches it.
        },
        layerfi::LogLevel::Trace);
    layerfi::Client::from_env().token();
    CHECK(lines > 0);
    layerfi::set_log_callback(nullptr, layerfi::LogLevel::Off);
}

int main() {
    CHECK(layerfi::abi_matches() && layerfi::version() == LAYERFI_VERSION);
    b02_first_call_after_prepare_finds_a_token();
    tokens();
    calls();
    errors();
    callbacks();
    std::cout << "ok" << std::endl;
}
