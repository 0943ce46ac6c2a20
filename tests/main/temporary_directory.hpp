// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace cairn::testing {

/// Where a temporary directory is.
enum class place {
    memory,  ///< where that can be: thousands of flushes of a real disk take minutes
    disk,    ///< where temporary files are, so that the file system is one that a user has
};

/// An empty directory that goes away with the object.
class temporary_directory
{
public:
    explicit temporary_directory(place where = place::memory)
    {
        const bool in_memory = where == place::memory && ::access("/dev/shm", W_OK) == 0;
        const auto base      = in_memory ? "/dev/shm" : std::filesystem::temp_directory_path();
        path_                = (base / "cairn-test-XXXXXX").string();
        if (!::mkdtemp(path_.data())) throw std::runtime_error{"cannot make " + path_};
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
