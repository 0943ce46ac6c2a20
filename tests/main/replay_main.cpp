// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target over a corpus without libFuzzer, so that any compiler can: each argument is
// a file or a directory of files.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

int replay(const fs::path& file)
{
    std::ifstream     in{file, std::ios::binary};
    std::vector<char> bytes{std::istreambuf_iterator<char>{in}, {}};
    if (!in) {
        std::cerr << "cannot read " << file << '\n';
        return 0;
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    return 1;
}

}  // namespace

int main(int argc, char** argv)
{
    int replayed = 0;
    for (int i = 1; i < argc; ++i) {
        if (!fs::is_directory(argv[i])) {
            replayed += replay(argv[i]);
            continue;
        }
        for (const auto& entry : fs::recursive_directory_iterator{argv[i]})
            if (entry.is_regular_file()) replayed += replay(entry.path());
    }
    std::cout << replayed << " inputs replayed\n";
    return replayed > 0 ? 0 : 1;
}
