// SPDX-License-Identifier: Apache-2.0
//
// Whole files, read and written past the log's own means, which are what is tested.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cairn::testing {

inline std::string read_bytes(const std::filesystem::path& file)
{
    std::ifstream in{file, std::ios::binary};
    std::string   bytes{std::istreambuf_iterator<char>{in}, {}};
    if (!in) throw std::runtime_error{"cannot read " + file.string()};
    return bytes;
}

/// Instead of what the file had, in the same inode where there was one.
inline void write_bytes(const std::filesystem::path& file, std::string_view bytes)
{
    std::ofstream out{file, std::ios::binary | std::ios::trunc};
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush();
    if (!out) throw std::runtime_error{"cannot write " + file.string()};
}

/// Whether the text stands anywhere in the files of a directory.
inline bool stands_in(const std::filesystem::path& directory, const std::string& text)
{
    for (const auto& entry : std::filesystem::recursive_directory_iterator{directory})
        if (entry.is_regular_file() && read_bytes(entry.path()).find(text) != std::string::npos)
            return true;
    return false;
}

}  // namespace cairn::testing
