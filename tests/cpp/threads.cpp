// B2: many threads use one client and get the same token.
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <layerfi_auth.hpp>

int main() {
    // Timeouts that never pass, however slow the machine is: a timeout would cause a second
    // request.
    using namespace std::chrono_literals;
    const auto client = layerfi::ClientBuilder::from_env()
                            .timeout(20min)
                            .connect_timeout(10min)
                            .attempt_timeout(10min)
                            .build();
    // A sanitizer or valgrind makes a round slow.
    const int rounds = std::getenv("LAYERFI_TEST_SLOW") != nullptr ? 20 : 200;
    std::vector<std::thread> threads;
    std::atomic<int> good{0};
    for (int i = 0; i < 16; ++i) {
        threads.emplace_back([&] {
            std::string header;
            for (int round = 0; round < rounds; ++round) {
                const auto token = client.token();
                client.copy_authorization(header);
                good += token.authorization() == header;
            }
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    const auto requests = client.stats().token_requests;
    if (good != 16 * rounds || requests != 1) {
        std::cerr << good << " of " << 16 * rounds << " calls got the same token twice, with "
                  << requests << " token requests; expected all, with 1 request" << std::endl;
        return 1;
    }
    std::cout << "ok" << std::endl;
}
