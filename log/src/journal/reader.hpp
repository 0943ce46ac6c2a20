// SPDX-License-Identifier: Apache-2.0
//
// Reading a journal file after a crash, and telling a torn tail from damage.
#pragma once

#include "file.hpp"
#include "journal/format.hpp"

#include <cairn/log/ids.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace cairn::detail {

struct journal_group
{
    position      first;
    position      end;
    bytes_view    payload;
    std::uint64_t at    = 0;  ///< byte in the file
    std::uint64_t bytes = 0;  ///< in the file, header, tags and padding included
};

/// The header of a journal file, or what is wrong with it. Throws newer_format.
struct journal_file_opening
{
    journal_file_header     header;
    std::string             complaint;  ///< empty: the header is good
    std::optional<position> first;      ///< of the first group, where its header is good
};
journal_file_opening read_journal_opening(const file& f, std::uint64_t generation);

/// Walks the groups of one file whose header is good.
///
/// Memory    A window of 1 MiB, or the largest group; never more than the file has.
/// Lifetime  A group's payload is good until the next next().
class journal_reader
{
public:
    enum class step {
        group,   ///< group() is the next one
        end,     ///< nothing more; what follows was never written, or is a torn tail
        damage,  ///< damage() tells; next() goes on behind it
    };

    struct fault
    {
        std::uint64_t at = 0;  ///< byte in the file
        std::string   what;
    };

    journal_reader(const file& f, const journal_file_header& header);

    step                 next();
    const journal_group& group() const noexcept { return group_; }
    const fault&         damage() const noexcept { return fault_; }

private:
    sector_state state(std::uint64_t sector);
    bool         read_header(std::uint64_t sector, journal_group_header& h);
    step         read_group(const journal_group_header& h);
    step         end_unless_more_follows(std::string what);
    bool         seek_group(std::uint64_t sector);
    step         fail(std::uint64_t sector, std::string what);
    char*        window(std::uint64_t sector, std::uint64_t count);

    const file&         file_;
    journal_file_header header_;
    std::uint64_t       sectors_;  // whole ones that are there
    std::uint64_t       at_ = 1;   // sector where the next group begins

    std::unique_ptr<char[]> buffer_;
    std::size_t             buffer_sectors_ = 0;
    std::uint64_t           window_begin_   = 0;
    std::uint64_t           window_end_     = 0;

    journal_group group_;
    fault         fault_;
};

}  // namespace cairn::detail
