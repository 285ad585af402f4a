// The worker threads of a C++ service share one client and its token: a hundred
// calls, one token request.
//
//   c++ -std=c++17 threads.cpp $(pkg-config --cflags --libs layerfi_auth) -pthread
#include <iostream>
#include <layerfi_auth.hpp>
#include <thread>

int main() try {
    using namespace std::chrono_literals;
    const auto client = layerfi::Client::from_env();
    const std::string business = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

    std::vector<std::thread> workers;
    for (int i = 0; i < 10; ++i) {
        workers.emplace_back([&client, &business] {
            try {
                for (int call = 0; call < 10; ++call) {
                    const layerfi::Token token = client.token(5s);
                    // token.authorization() goes into the request's header.
                }
                // For the browser: cached, with at least half of its lifetime left.
                const auto for_browser = client.business_token(business);
            } catch (const layerfi::Error &error) {
                std::cerr << error.what() << std::endl;
            }
        });
    }
    for (auto &worker : workers) {
        worker.join();
    }
    const auto stats = client.stats();
    std::cout << client.whoami().client_name() << ": " << stats.token_requests << " token request, "
              << stats.mints << " minted" << std::endl;
} catch (const layerfi::Error &error) {
    std::cerr << error.name() << ": " << error.what() << std::endl;
    return 1;
}
