// Every call without exceptions. It is built with and without -fno-exceptions -fno-rtti.
#include <cstdio>
#include <cstdlib>

#include <layerfi_auth.hpp>

#if defined(EXPECT_NO_EXCEPTIONS) == LAYERFI_EXCEPTIONS
#error "LAYERFI_EXCEPTIONS does not tell whether there are exceptions"
#endif

#define CHECK(...)                                                                                 \
    do {                                                                                           \
        if (!(__VA_ARGS__)) {                                                                      \
            std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #__VA_ARGS__);   \
            std::_Exit(1);                                                                         \
        }                                                                                          \
    } while (0)

using namespace std::chrono_literals;

static const char *const business = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

// The value of a call that must succeed.
template <class T> static T get(layerfi::Expected<T> got) {
    if (!got) {
        std::fprintf(stderr, "%s\n", got.error().what());
        std::_Exit(1);
    }
    return *std::move(got);
}

static layerfi::ClientBuilder new_builder() {
    auto builder = layerfi::ClientBuilder::from_env();
    builder.timeout(20min).connect_timeout(10min).attempt_timeout(10min);
    return builder;
}

static void access_tokens(const layerfi::Client &client) {
    CHECK(client.try_token(std::nothrow).error().result() == layerfi::Result::NotAvailable);
    const auto token = get(client.token(std::nothrow));
    CHECK(token.remaining() <= token.expires_in() && token.expires_in() == 1h);
    CHECK(get(client.try_token(std::nothrow)).secret() == token.secret());
    CHECK(client.prepare(std::nothrow).has_value());
    std::string header;
    CHECK(client.copy_authorization(std::nothrow, header).has_value());
    CHECK(header == token.authorization());
    char buffer[4096];
    CHECK(get(client.copy_authorization(std::nothrow, buffer, sizeof buffer)) == header.size());
    CHECK(client.copy_authorization(std::nothrow, buffer, 4).error().result() ==
          layerfi::Result::BufferTooSmall);
    CHECK(get(client.renew_token(std::nothrow, token)).secret() != token.secret());
    CHECK(!get(client.invalidate(std::nothrow, token)));
    CHECK(!get(client.invalidate_authorization(std::nothrow, header)));
    CHECK(get(client.whoami(std::nothrow)).client_id().size() == 36);
    CHECK(get(client.stats(std::nothrow)).invalidations == 1);
}

static void business_tokens(const layerfi::Client &client) {
    const layerfi::BusinessTokenOptions options{15min, 1min, 10min};
    const auto token = get(client.business_token(std::nothrow, business, options));
    CHECK(token.session_duration() == 15min && token.remaining() <= 15min);
    CHECK(get(client.try_business_token(std::nothrow, business, options)).secret() ==
          token.secret());
    const auto minted = get(client.mint_business_token(std::nothrow, business, options));
    CHECK(minted.secret() != token.secret());
    CHECK(get(minted.json(std::nothrow)).text().front() == '{');
    CHECK(get(minted.layer_provider_props_json(std::nothrow)).text().front() == '{');
    CHECK(get(minted.session_json(std::nothrow)).text().front() == '{');
    CHECK(get(client.invalidate(std::nothrow, token)));
    int reports = 0;
    layerfi::BatchOptions batch;
    batch.max_in_flight = 2;
    batch.progress = [&](const layerfi::BatchProgress &progress) {
        reports += progress.total == 2;
        return true;
    };
    const auto tokens = get(client.business_tokens(std::nothrow, {business, "no-uuid"}, batch));
    CHECK(tokens.size() == 2 && tokens[0] && !tokens[1] && reports > 0);
    CHECK(tokens[1].error().result() == layerfi::Result::InvalidArgument);
}

static void other_calls(const layerfi::Client &client) {
    layerfi::Request request;
    request.uri = "/whoami";
    CHECK(get(client.execute(std::nothrow, request)).status() == 200);
    CHECK(client.api_url() == std::getenv("LAYER_API_URL"));
    static int lines = 0;
    CHECK(layerfi::set_log_callback(
              std::nothrow, [](layerfi::LogLevel, std::string_view) { ++lines; },
              layerfi::LogLevel::Debug)
              .has_value());
    CHECK(layerfi::set_log_callback(std::nothrow, nullptr, layerfi::LogLevel::Off).has_value());
    CHECK(lines >= 0);
}

static void failures() {
    layerfi::ClientBuilder builder;
    const auto none = builder.environment("prod").scope("\xff").build(std::nothrow);
    CHECK(!none && none.error().result() == layerfi::Result::Config);
    const auto sealed = get(new_builder()
                                .credentials_provider([]() -> layerfi::Credentials {
                                    return {"", "", "the vault is sealed"};
                                })
                                .build(std::nothrow));
    const auto token = sealed.token(std::nothrow);
    CHECK(token.error().result() == layerfi::Result::Credentials && token.error().is_retryable());
    CHECK(token.error().message().find("the vault is sealed") != std::string_view::npos);
    const auto given =
        get(new_builder()
                .credentials_provider([]() -> layerfi::Credentials {
                    return {std::getenv("LAYER_CLIENT_ID"), std::getenv("LAYER_CLIENT_SECRET")};
                })
                .build(std::nothrow));
    CHECK(given.token(std::nothrow).has_value());
}

int main() {
    const auto client = get(new_builder().build(std::nothrow));
    CHECK(layerfi::Client::from_env(std::nothrow).has_value());
    access_tokens(client);
    business_tokens(client);
    other_calls(client);
    failures();
    std::puts("ok");
}
