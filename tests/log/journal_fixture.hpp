// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "journal/format.hpp"
#include "journal/journal.hpp"
#include "main/complaint.hpp"
#include "main/files.hpp"
#include "main/temporary_directory.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace journal_test {

using namespace cairn;
using namespace cairn::detail;
using cairn::testing::code_of;
using cairn::testing::complaint;
using cairn::testing::complaint_of;
using cairn::testing::read_bytes;
using cairn::testing::temporary_directory;
using cairn::testing::write_bytes;

constexpr std::size_t sector_bytes = journal_sector_bytes;

/// The largest payload in so many sectors.
constexpr std::size_t fill(std::size_t sectors)
{
    return sectors * journal_sector_data - sizeof(journal_group_header);
}

/// Bytes that name their place: no two sectors of one payload are the same, and none is zeros.
inline std::string text(std::size_t bytes, unsigned seed = 0)
{
    std::string   s(bytes, '\0');
    std::uint32_t x = seed * 2654435761u + 12345u;
    for (char& c : s) {
        x = x * 1664525u + 1013904223u;
        c = static_cast<char>('a' + (x >> 24) % 26);
    }
    return s;
}

struct written
{
    std::int64_t first = 0;
    std::int64_t end   = 0;
    std::string  payload;

    friend bool          operator==(const written&, const written&) = default;
    friend std::ostream& operator<<(std::ostream& out, const written& w)
    {
        return out << '[' << w.first << ',' << w.end << ") of " << w.payload.size() << " bytes";
    }
};

/// A journal of small files, and what was written to it.
class a_journal
{
public:
    a_journal() { options.directory = directory.path(); }

    /// Opens it, again if it is open, and returns what it holds above `merged`.
    std::vector<written> open(std::int64_t merged = 0)
    {
        close();
        log = std::make_unique<journal>(options);
        std::vector<written> found;
        log->recover(position{merged}, [&](position first, bytes_view payload) {
            const auto count = positions_of(payload);
            found.push_back({first.value, first.value + count, std::string{payload}});
            return count;
        });
        next = std::max(merged, found.empty() ? merged : found.back().end);
        return found;
    }

    /// As a crash would: without the words that closing would leave. (The files are copied.)
    void crash()
    {
        namespace fs = std::filesystem;
        temporary_directory aside;
        fs::copy(directory.path(), aside.path());
        close();
        for (const auto& e : fs::directory_iterator{directory.path()}) fs::remove_all(e);
        fs::copy(aside.path(), directory.path());
    }

    void close() { log.reset(); }

    /// Writes a group that takes as many positions as its first byte says.
    void write(const std::string& payload)
    {
        const bytes_view piece{payload};
        write_pieces({&piece, payload.empty() ? 0u : 1u});
    }

    void write_pieces(std::span<const bytes_view> pieces)
    {
        std::string payload;
        for (auto p : pieces) payload += p;
        const auto count = positions_of(payload);
        log->write(position{next}, pieces, position{next + count});
        groups.push_back({next, next + count, payload});
        next += count;
    }

    void release(std::int64_t merged) { log->release(position{merged}); }

    /// Journal files, oldest first.
    std::vector<std::string> files() const
    {
        std::vector<std::string> all;
        for (const auto& e : std::filesystem::directory_iterator{directory.path()})
            all.push_back(e.path().string());
        std::sort(all.begin(), all.end());
        return all;
    }

    static std::int64_t positions_of(bytes_view payload)
    {
        return payload.empty() ? 0 : static_cast<unsigned char>(payload.front()) % 7 + 1;
    }

    temporary_directory      directory;
    journal_options          options{.directory = {}, .file_bytes = 64 * 512, .files = 4};
    std::unique_ptr<journal> log;
    std::int64_t             next = 0;
    std::vector<written>     groups;
};

/// Changes a file's bytes in place.
template <class Change>
void edit(const std::string& path, Change change)
{
    auto bytes = read_bytes(path);
    change(bytes);
    write_bytes(path, bytes);
}

}  // namespace journal_test
