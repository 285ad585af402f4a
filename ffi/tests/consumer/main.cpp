// The same in C++.
#include <iostream>

#include <layerfi_auth.hpp>

int main() try {
    layerfi::Client::from_env().token();
    std::cout << "ok" << std::endl;
} catch (const layerfi::Error &error) {
    std::cerr << error.what() << std::endl;
    return 1;
}
