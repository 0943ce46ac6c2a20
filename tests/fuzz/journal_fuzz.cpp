// SPDX-License-Identifier: Apache-2.0
// Recovery of a journal, from any bytes: it never reads outside, never allocates more than twice
// what the files have, and throws nothing but damaged_journal and newer_format. What it accepts
// is in order, is accepted again, and can be added to.
//
// The first byte of an input says which checks of the rest are made right, for random changes
// would seldom get past them, and whether the rest is one file or two; the second is `merged`.
#include "journal/format.hpp"
#include "journal/journal.hpp"
#include "log/allocation_meter.hpp"
#include "main/temporary_directory.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace cairn;
using namespace cairn::detail;

namespace {

namespace fs = std::filesystem;

enum repairs : unsigned {
    repair_file_headers  = 1,
    repair_tags          = 2,
    repair_group_headers = 4,
    repair_payloads      = 8,
    two_files            = 16,
};

void must(bool so)
{
    if (!so) std::abort();
}

/// One directory for the life of the process; empty before each input.
const std::string& directory()
{
    static const cairn::testing::temporary_directory made;
    return made.path();
}

template <class Struct>
Struct take(const std::string& bytes, std::size_t at)
{
    Struct s;
    std::memcpy(&s, bytes.data() + at, sizeof s);
    return s;
}

void repair(std::string& file, std::uint64_t generation, unsigned what)
{
    if (file.size() < journal_sector_bytes) return;
    auto header = take<journal_file_header>(file, 0);
    if ((what & repair_file_headers) != 0) {
        header.magic        = journal_file_magic;
        header.version      = journal_version;
        header.sector_bytes = journal_sector_bytes;
        header.generation   = generation;
        header.bytes        = file.size();
        std::memcpy(file.data(), &header, sizeof header);
        const auto check = crc32c(bytes_view{file}.substr(0, journal_sector_bytes - 4));
        std::memcpy(file.data() + journal_sector_bytes - 4, &check, sizeof check);
    }
    for (std::size_t i = 1; i < file.size() / journal_sector_bytes; ++i) {
        char* const sector = file.data() + i * journal_sector_bytes;
        auto        tag = take<journal_tag>(file, i * journal_sector_bytes + journal_sector_data);
        if (tag == journal_tag{}) continue;
        if ((what & repair_tags) != 0) {
            tag = make_journal_tag(journal_mark(generation, (tag.mark & 1) != 0), i);
            std::memcpy(sector + journal_sector_data, &tag, sizeof tag);
        }
        if ((tag.mark & 1) == 0) continue;
        auto group = take<journal_group_header>(file, i * journal_sector_bytes);
        if ((what & repair_payloads) != 0) {
            const auto count = journal_group_sectors(group.payload_bytes);
            if (count <= file.size() / journal_sector_bytes - i) {
                std::string body;
                for (std::uint64_t n = 0; n < count; ++n)
                    body.append(sector + n * journal_sector_bytes, journal_sector_data);
                group.payload_check = crc32c(bytes_view{body}.substr(sizeof group));
            }
        }
        if ((what & repair_group_headers) != 0) {
            group.magic = journal_group_magic;
            group.salt  = header.salt;
        }
        if ((what & (repair_payloads | repair_group_headers)) != 0)
            group.check = journal_check(group);
        std::memcpy(sector, &group, sizeof group);
    }
}

bool has_broken_sector(const std::string& file, std::uint64_t generation)
{
    for (std::size_t i = 1; i < file.size() / journal_sector_bytes; ++i)
        if (journal_sector_state(file.data() + i * journal_sector_bytes, i, generation) ==
            sector_state::broken)
            return true;
    return false;
}

struct found
{
    std::int64_t first = 0;
    std::int64_t end   = 0;
    std::string  payload;

    friend bool operator==(const found&, const found&) = default;
};

volatile std::uint32_t touched;  // so that every byte of a payload is read

/// What recover() says of the files; nothing where it refuses them.
std::optional<std::vector<found>> recover(journal& j, std::int64_t merged, bool keep)
{
    std::vector<found> groups;
    std::int64_t       end = -1;
    try {
        j.recover(position{merged}, [&](position first, bytes_view payload) {
            must(first.value >= 0 && (end < 0 || first.value == end));
            std::uint32_t count;
            // From the header, which lies before the payload in the reader's buffer.
            std::memcpy(&count, payload.data() - 16, sizeof count);
            end = first.value + count;
            must(end > merged);
            if (keep) groups.push_back({first.value, end, std::string{payload}});
            touched = crc32c(payload);
            return static_cast<std::int64_t>(count);
        });
    } catch (const storage_error& e) {
        must(e.code() == errc::damaged_journal || e.code() == errc::newer_format);
        return std::nullopt;
    }
    return groups;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    constexpr std::size_t size_max = 1 << 16;
    if (size < 2 || size > size_max) return 0;
    const unsigned what   = data[0];
    const auto     merged = std::int64_t{data[1]};
    std::string    rest{reinterpret_cast<const char*>(data) + 2, size - 2};

    for (const auto& e : fs::directory_iterator{directory()}) fs::remove_all(e);
    std::vector<std::string> files{rest};
    if ((what & two_files) != 0) {
        const auto half = rest.size() / 2 / journal_sector_bytes * journal_sector_bytes;
        files           = {rest.substr(0, half), rest.substr(half)};
    }
    for (std::size_t i = 0; i < files.size(); ++i) {
        repair(files[i], i + 1, what);
        std::ofstream out{directory() + "/000000000000000" + std::to_string(i + 1) + ".jnl",
                          std::ios::binary};
        out.write(files[i].data(), static_cast<std::streamsize>(files[i].size()));
    }

    const journal_options options{.directory = directory(), .file_bytes = 2'048, .files = 3};
    {
        journal                                j{options};
        const cairn::testing::allocation_meter meter;
        const bool                             good = recover(j, merged, false).has_value();
        must(meter.peak_bytes() <= 2 * size + 16'384);
        if (!good) return 0;
    }
    journal    first{options};
    const auto groups = recover(first, merged, true);
    must(groups.has_value());
    const auto end = groups->empty() ? merged : groups->back().end;
    // A sector that nobody wrote, behind the tail, is damage when a later tail comes there.
    for (std::size_t i = 0; i < files.size(); ++i)
        if (has_broken_sector(files[i], i + 1)) return 0;
    if (end == INT64_MAX || first.statistics().files == options.files) return 0;
    const bytes_view payload = "one more";
    first.write(position{end}, {&payload, 1}, position{end + 1});
    journal    second{options};
    const auto more = recover(second, merged, true);
    must(more.has_value() && more->size() == groups->size() + 1);
    must(std::vector(more->begin(), more->end() - 1) == *groups);
    must(more->back() == found{end, end + 1, "one more"});
    return 0;
}
