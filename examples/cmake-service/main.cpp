// An HTTP service with worker threads that share one layerfi::Client. A page gets its
// business token from POST /layer-token; GET /client calls the Layer API.
#include <csignal>
#include <cstdlib>
#include <httplib.h>
#include <iostream>
#include <layerfi_auth.hpp>
#include <nlohmann/json.hpp>
#include <pthread.h>
#include <thread>

using namespace std::chrono_literals;
using nlohmann::json;

namespace {

// Ends before the page's own timeout of 10 seconds.
constexpr auto timeout = 8s;

// Your service takes the business from the session of the signed-in user, and never from
// the body of the request.
std::string business_of(const httplib::Request &) {
    const char *id = std::getenv("BUSINESS_ID");
    return id ? id : "3fa85f64-5717-4562-b3fc-2c963f66afa6";
}

void fail(httplib::Response &response, const layerfi::Error &error) {
    std::cerr << error.what() << std::endl; // One line, without a secret.
    response.status = error.is_retryable() ? 503 : 502;
    if (const auto delay = error.retry_after()) {
        response.set_header("Retry-After", std::to_string((*delay + 999ms) / 1s));
    }
    response.set_content(json{{"error", error.name()}}.dump(), "application/json");
}

layerfi::BusinessToken token_for(const layerfi::Client &client, const httplib::Request &request) {
    layerfi::BusinessTokenOptions options;
    options.session_duration = 8h;
    options.timeout = timeout;
    // The page sends {} or {"refused": "<the token that the Layer API refused>"}.
    const json body = json::parse(request.body, nullptr, false);
    if (body.is_object() && body.contains("refused") && body["refused"].is_string()) {
        const auto refused = body["refused"].get<std::string>();
        return client.renew_business_token(business_of(request), refused, options);
    }
    return client.business_token(business_of(request), options);
}

void add_routes(httplib::Server &server, const layerfi::Client &client) {
    server.set_default_headers(
        {{"Cache-Control", "no-store"}, {"Vary", "Cookie"}, {"X-Content-Type-Options", "nosniff"}});
    server.Post("/layer-token", [&](const httplib::Request &request, httplib::Response &response) {
        try {
            const layerfi::BusinessToken token = token_for(client, request);
            const layerfi::Json session = token.session_json();
            response.set_content(std::string(session.text()), "application/json");
        } catch (const layerfi::Error &error) {
            fail(response, error);
        }
    });
    server.Get("/client", [&](const httplib::Request &, httplib::Response &response) {
        try {
            // Adds the access token. After 401 it gets another one and repeats the request.
            const layerfi::Response answer = client.execute({"GET", "/whoami"}, timeout);
            response.status = static_cast<int>(answer.status());
            response.set_content(std::string(answer.body()), "application/json");
        } catch (const layerfi::Error &error) {
            fail(response, error);
        }
    });
}

} // namespace

int main() try {
    // All threads that start from here on leave these signals to sigwait() below.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    const auto client = layerfi::Client::from_env();
    client.prepare(); // The first request then finds a token.

    httplib::Server server;
    server.new_task_queue = [] { return new httplib::ThreadPool(16); };
    add_routes(server, client);
    const char *wanted = std::getenv("PORT");
    int port = wanted ? std::atoi(wanted) : 8000;
    if (port == 0) {
        port = server.bind_to_any_port("127.0.0.1");
    } else if (!server.bind_to_port("127.0.0.1", port)) {
        port = -1;
    }
    if (port < 0) {
        std::cerr << "cannot listen on 127.0.0.1: set PORT to a free port" << std::endl;
        return 1;
    }
    std::thread listener([&] { server.listen_after_bind(); });
    std::cout << "listening on http://127.0.0.1:" << port << std::endl;

    int signal = 0;
    sigwait(&signals, &signal);
    // Accepts no more connections. join() returns when the requests that run are answered.
    server.stop();
    listener.join();
    const layerfi::Stats stats = client.stats();
    std::cout << "stopped: " << stats.token_requests << " token request(s), " << stats.mints
              << " business token(s)" << std::endl;
} catch (const std::exception &error) {
    std::cerr << error.what() << std::endl;
    return 1;
}
