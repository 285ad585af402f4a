// One client and many threads, in C++.
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <layerfi_auth.hpp>

int main() {
    const auto client = layerfi::Client::from_env();
    std::vector<std::thread> threads;
    std::atomic<int> good{0};
    for (int i = 0; i < 16; ++i) {
        threads.emplace_back([&] {
            std::string header;
            for (int round = 0; round < 200; ++round) {
                const auto token = client.token();
                client.copy_authorization(header);
                good += token.authorization() == header;
            }
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    if (good != 16 * 200 || client.stats().token_requests != 1) {
        std::cerr << "not all threads got the one token" << std::endl;
        return 1;
    }
    std::cout << "ok" << std::endl;
}
