// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace cairn::testing {

/// An empty directory that goes away with the object. In memory where that can be: what is
/// tested is which calls are made, and thousands of flushes of a real disk take minutes.
class temporary_directory
{
public:
    temporary_directory()
    {
        const std::filesystem::path base =
            ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path();
        path_ = (base / "cairn-test-XXXXXX").string();
        if (!::mkdtemp(path_.data())) throw std::runtime_error{"no temporary directory"};
    }
    ~temporary_directory()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    temporary_directory(const temporary_directory&)            = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;

    const std::string& path() const { return path_; }
    std::string        operator/(const std::string& name) const { return path_ + "/" + name; }

private:
    std::string path_;
};

}  // namespace cairn::testing
