// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a journal file; journal.hpp tells what they are for. All integers little-endian.
//
//     file      sector 0: the header, in its last 4 bytes the CRC-32C of the rest
//               then groups, each in whole sectors, one after the other
//     group     header of 40 bytes, payload, zeros up to a whole sector
//     sector    512 bytes: 504 of a group, then its tag
//
// Why each sector has a tag: a power cut leaves of the group that was being written some sectors
// new and the others as they were. As they were means zeros, or the tag of a former generation.
// A group that does not check although each of its sectors is new was not torn; it was damaged
// after it had been acknowledged. Without tags, damage to the last group would look like a torn
// tail and be dropped in silence. They also make a group inside a payload impossible to mistake
// for a group: the payload never reaches the place of a tag.
#pragma once

#include <cairn/log/crc32c.hpp>
#include <cairn/log/ids.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cairn::detail {

static_assert(std::endian::native == std::endian::little,
              "the journal's structs are laid out as they lie on disk");

inline constexpr std::size_t   journal_sector_bytes = 512;
inline constexpr std::size_t   journal_sector_data  = 504;  ///< before the tag
inline constexpr std::uint32_t journal_version      = 1;

inline constexpr std::array<char, 8> journal_file_magic{'C', 'A', 'I', 'R', 'N', 'J', 'N', 'L'};
inline constexpr std::array<char, 8> journal_group_magic{'C', 'A', 'I', 'R', 'N', 'G', 'R', 'P'};

/// No bound is known on what the files before this one hold.
inline constexpr std::int64_t journal_bound_unknown = INT64_MAX;

struct journal_file_header
{
    std::array<char, 8> magic        = journal_file_magic;
    std::uint32_t       version      = journal_version;
    std::uint32_t       sector_bytes = journal_sector_bytes;
    std::uint64_t       generation   = 0;
    std::uint64_t       salt         = 0;
    std::uint64_t       bytes        = 0;  ///< of the file
    /// Groups in files of earlier generations end at or below this position: with all of them
    /// merged, opening need not read those files.
    std::int64_t earlier_end = journal_bound_unknown;
};
static_assert(sizeof(journal_file_header) == 48);

struct journal_group_header
{
    std::array<char, 8> magic         = journal_group_magic;
    std::uint64_t       salt          = 0;  ///< that of the file
    std::int64_t        first         = 0;
    std::uint32_t       positions     = 0;
    std::uint32_t       payload_bytes = 0;
    std::uint32_t       payload_check = 0;  ///< CRC-32C of the payload and the zeros after it
    std::uint32_t       check         = 0;  ///< CRC-32C of the header before this
};
static_assert(sizeof(journal_group_header) == 40);
static_assert(offsetof(journal_group_header, check) == 36);

/// How many sectors a group takes.
constexpr std::uint64_t journal_group_sectors(std::uint64_t payload_bytes) noexcept
{
    return (sizeof(journal_group_header) + payload_bytes + journal_sector_data - 1) /
           journal_sector_data;
}

/// The zeros after the payload.
constexpr std::size_t journal_group_padding(std::uint64_t payload_bytes) noexcept
{
    return static_cast<std::size_t>(journal_group_sectors(payload_bytes) * journal_sector_data -
                                    sizeof(journal_group_header) - payload_bytes);
}

inline std::uint32_t journal_check(const journal_group_header& h) noexcept
{
    return crc32c({reinterpret_cast<const char*>(&h), offsetof(journal_group_header, check)});
}

/// The last 8 bytes of a sector: generation and whether a group begins here, then a check of
/// that and of the sector's number in the file (a write that went elsewhere does not pass).
struct journal_tag
{
    std::uint32_t mark  = 0;
    std::uint32_t check = 0;

    friend bool operator==(const journal_tag&, const journal_tag&) = default;
};

constexpr std::uint32_t journal_mark(std::uint64_t generation, bool begins_group) noexcept
{
    return static_cast<std::uint32_t>(generation << 1) | (begins_group ? 1u : 0u);
}

inline journal_tag make_journal_tag(std::uint32_t mark, std::uint64_t sector) noexcept
{
    const std::array<std::uint32_t, 2> bound{mark, static_cast<std::uint32_t>(sector)};
    return {mark, crc32c({reinterpret_cast<const char*>(bound.data()), sizeof bound})};
}

enum class sector_state {
    absent,   ///< zeros, or of a former generation: not written since the file was made ready
    begins,   ///< of this generation, where a group begins
    goes_on,  ///< of this generation, further on in a group
    broken,   ///< nothing that was ever written
};

inline sector_state journal_sector_state(const char* sector, std::uint64_t number,
                                         std::uint64_t generation) noexcept
{
    journal_tag tag;
    std::memcpy(&tag, sector + journal_sector_data, sizeof tag);
    if (tag == make_journal_tag(tag.mark, number)) {
        if (tag.mark == journal_mark(generation, true)) return sector_state::begins;
        if (tag.mark == journal_mark(generation, false)) return sector_state::goes_on;
        return sector_state::absent;
    }
    const bool zeros =
        std::all_of(sector, sector + journal_sector_bytes, [](char c) { return c == '\0'; });
    return zeros ? sector_state::absent : sector_state::broken;
}

}  // namespace cairn::detail
