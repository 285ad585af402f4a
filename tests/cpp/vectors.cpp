// Makes the calls of the shared table in C++; see ../c/commands.h.
#include <iostream>
#include <map>
#include <thread>

#include <layerfi_auth.hpp>

#include "../c/commands.h"

// Only in a library with the feature `test-hooks`.
extern "C" layerfi_result layerfi_test_panic(const layerfi_client *client, layerfi_error **error);

namespace {

using Words = std::vector<std::string>;
using Fields = std::vector<std::pair<std::string, std::string>>;

struct Case {
    layerfi::ClientBuilder builder;
    std::optional<layerfi::Client> client;
    std::optional<layerfi::Error> setter_error;
    std::map<std::string, layerfi::Token> tokens;
};

void print_reply(const char *outcome, const Fields &fields) {
    std::fputs(outcome, stdout);
    for (const auto &field : fields) {
        print_field(field.first.c_str(), field.second.data(), field.second.size());
    }
    std::putchar('\n');
    std::fflush(stdout);
}

void print_error(const layerfi::Error &error) {
    const auto retry_after = error.retry_after();
    print_reply("error",
                {
                    {"kind", std::string(error.name())},
                    {"display", error.what()},
                    {"message", std::string(error.message())},
                    {"remedy", std::string(error.remedy())},
                    {"field", std::string(error.field())},
                    {"oauth_error", std::string(error.oauth_error())},
                    {"error_enum", std::string(error.error_enum())},
                    {"request_id", std::string(error.request_id())},
                    {"http_status", std::to_string(error.http_status())},
                    {"retry_after_ms", std::to_string(retry_after ? retry_after->count() : -1)},
                    {"retryable", std::to_string(error.is_retryable())},
                });
}

std::string ms(std::chrono::system_clock::time_point time) {
    const auto since = time.time_since_epoch();
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

std::chrono::seconds seconds(const std::string &word, std::chrono::seconds otherwise) {
    return word == "-" ? otherwise : std::chrono::seconds{std::stoll(word)};
}

void set(layerfi::ClientBuilder &builder, const std::string &name, const std::string &value) {
    using Builder = layerfi::ClientBuilder;
    using Text = Builder &(Builder::*)(layerfi::ZString);
    using Time = Builder &(Builder::*)(std::chrono::milliseconds);
    static const std::map<std::string, Text> texts{
        {"environment", static_cast<Text>(&Builder::environment)},
        {"api_url", &Builder::api_url},
        {"auth_url", &Builder::auth_url},
        {"scope", &Builder::scope},
        {"client_id", &Builder::client_id},
        {"client_secret", &Builder::client_secret},
        {"client_secret_file", &Builder::client_secret_file},
        {"ca_file", &Builder::ca_file},
        {"ca_pem", &Builder::ca_pem},
        {"proxy", &Builder::proxy},
        {"user_agent", &Builder::user_agent},
        {"shared_cache", &Builder::shared_cache},
        {"shared_cache_key", &Builder::shared_cache_key},
        {"shared_cache_prefix", &Builder::shared_cache_prefix},
    };
    static const std::map<std::string, Time> times{
        {"timeout_ms", &Builder::timeout},
        {"connect_timeout_ms", &Builder::connect_timeout},
        {"attempt_timeout_ms", &Builder::attempt_timeout},
    };
    if (const auto text = texts.find(name); text != texts.end()) {
        (builder.*text->second)(value);
    } else if (const auto time = times.find(name); time != times.end()) {
        (builder.*time->second)(std::chrono::milliseconds{std::stoll(value)});
    } else if (name == "no_proxy") {
        builder.no_proxy();
    } else if (name == "basic_encoding") {
        builder.basic_encoding(value == "form" ? layerfi::BasicEncoding::Form
                                               : layerfi::BasicEncoding::Raw);
    } else if (name == "trust") {
        builder.trust(value == "bundled"   ? layerfi::Trust::Bundled
                      : value == "ca_only" ? layerfi::Trust::CaOnly
                                           : layerfi::Trust::System);
    } else if (name == "allow_http_loopback") {
        builder.allow_http_loopback(value == "true");
    } else if (name == "allow_opaque_business_ids") {
        builder.allow_opaque_business_ids(value == "true");
    } else if (name == "max_attempts") {
        builder.max_attempts(static_cast<std::uint32_t>(std::stoul(value)));
    } else if (name == "business_token_capacity") {
        builder.business_token_capacity(std::stoul(value));
    } else {
        std::cerr << name << " is not a setting" << std::endl;
        std::exit(2);
    }
}

// The outcome of one call: the fields to print, and a token to keep.
struct Outcome {
    Fields fields;
    std::optional<layerfi::Token> token;
    std::optional<layerfi::Error> error;
};

Fields fields(const layerfi::BusinessToken &token) {
    return {
        {"secret", std::string(token.secret())},
        {"business_id", std::string(token.business_id())},
        {"expires_at_ms", ms(token.expires_at())},
        {"expires_in", std::to_string(token.expires_in().count())},
        {"session_duration", std::to_string(token.session_duration().count())},
    };
}

void make_call(const Case &current, const Words &words, Outcome &outcome) try {
    const layerfi::Client &client = *current.client;
    const std::string &command = words[0];
    constexpr std::chrono::hours hour{1};
    if (command == "token") {
        outcome.token = client.token();
        outcome.fields = {
            {"secret", std::string(outcome.token->secret())},
            {"expires_at_ms", ms(outcome.token->expires_at())},
        };
    } else if (command == "whoami") {
        const auto whoami = client.whoami();
        outcome.fields = {
            {"client_name", std::string(whoami.client_name())},
            {"client_id", std::string(whoami.client_id())},
        };
    } else if (command == "mint") {
        outcome.fields = fields(client.mint_business_token(words[2], {seconds(words[3], hour)}));
    } else if (command == "business") {
        layerfi::BusinessTokenOptions options;
        options.session_duration = seconds(words[3], hour);
        if (words[4] != "-") {
            options.min_remaining = std::chrono::seconds{std::stoll(words[4])};
        }
        outcome.fields = fields(client.business_token(words[2], options));
    } else if (command == "invalidate") {
        const bool done = client.invalidate(current.tokens.at(words[2]));
        outcome.fields = {{"invalidated", std::to_string(done)}};
    } else {
        std::cerr << command << " is not a command" << std::endl;
        std::exit(2);
    }
} catch (const layerfi::Error &error) {
    outcome.error = error;
}

void call(Case &current, const Words &words) {
    std::vector<Outcome> outcomes(std::stoul(words[1]));
    if (outcomes.size() == 1) {
        make_call(current, words, outcomes[0]);
    } else {
        std::vector<std::thread> threads;
        for (auto &outcome : outcomes) {
            threads.emplace_back([&] { make_call(current, words, outcome); });
        }
        for (auto &thread : threads) {
            thread.join();
        }
    }
    for (auto &outcome : outcomes) {
        if (outcome.error) {
            print_error(*outcome.error);
            continue;
        }
        print_reply("ok", outcome.fields);
        if (outcome.token) {
            current.tokens.insert_or_assign(words.back(), std::move(*outcome.token));
        }
    }
}

void build(Case &current) {
    if (!current.setter_error) {
        auto client = current.builder.build(std::nothrow);
        if (client) {
            current.client = std::move(*client);
            print_reply("ok", {});
            return;
        }
        current.setter_error = client.error();
    }
    print_error(*current.setter_error);
}

void panic(const layerfi::Client &client) {
    layerfi_error *error = nullptr;
    const layerfi_result result = layerfi_test_panic(client.get(), &error);
    print_error(layerfi::Error(result, error));
}

void print_stats(const layerfi::Client &client) {
    const auto stats = client.stats();
    print_reply("ok", {
                          {"hits", std::to_string(stats.hits)},
                          {"stale_serves", std::to_string(stats.stale_serves)},
                          {"misses", std::to_string(stats.misses)},
                          {"waits", std::to_string(stats.waits)},
                          {"refreshes", std::to_string(stats.refreshes)},
                          {"token_requests", std::to_string(stats.token_requests)},
                          {"mints", std::to_string(stats.mints)},
                          {"retries", std::to_string(stats.retries)},
                          {"invalidations", std::to_string(stats.invalidations)},
                      });
}

} // namespace

int main() {
    static char line[1 << 18];
    char *parts[8];
    layerfi::set_log_callback(
        [](layerfi::LogLevel level, std::string_view message) {
            std::fprintf(stderr, "log %d %s\n", static_cast<int>(level), message.data());
        },
        layerfi::LogLevel::Trace);
    auto current = std::make_unique<Case>();
    for (;;) {
        const int count = read_command(line, sizeof line, parts, 8);
        if (count < 0) {
            return 0;
        }
        const Words words(parts, parts + count);
        if (words[0] == "env") {
            if (words.size() > 2) {
                setenv(words[1].c_str(), words[2].c_str(), 1);
            } else {
                unsetenv(words[1].c_str());
            }
        } else if (words[0] == "from_env") {
            try {
                current->builder = layerfi::ClientBuilder::from_env();
            } catch (const layerfi::Error &error) {
                current->setter_error = error;
            }
        } else if (words[0] == "set") {
            try {
                set(current->builder, words.at(1), words.at(2));
            } catch (const layerfi::Error &error) {
                if (!current->setter_error) {
                    current->setter_error = error;
                }
            }
        } else if (words[0] == "build") {
            build(*current);
        } else if (words[0] == "stats") {
            print_stats(*current->client);
        } else if (words[0] == "panic") {
            panic(*current->client);
        } else if (words[0] == "end") {
            current = std::make_unique<Case>();
            print_reply("ok", {});
        } else {
            call(*current, words);
        }
    }
}
