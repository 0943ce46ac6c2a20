// SPDX-License-Identifier: Apache-2.0
//
// A run: the index of the positions [first, end), sorted, never changed once it is there. All
// integers little-endian. Positions are counted from `first`, so that 32 bits do.
//
//     header            512 bytes
//     stream blocks     64 each   }  a table: hash -> entry
//     stream entries    64 each   }
//     stream postings   blocks of 512: 31 postings of 16, 12 zeros, check
//     term blocks       64 each   }  types and tags
//     term entries      40 each   }
//     term postings     blocks of 512: 127 positions of 4, check
//     command blocks    64 each   }
//     command entries   32 each   }
//
// Each section begins at a multiple of 512; between them are zeros. Where they begin follows
// from the counts in the header.
//
// A table is its entries, ascending by hash, and blocks that lead to them. The hash's place
// among all hashes says which block (hash.high * blocks / 2^64), and the block says which
// entries are its own: where they start, how many, and 16 bits of each one's hash. So a term
// that is not there costs one cache line, one that is there costs two.
//
//     block   at size                          stream entry  at size
//              0   4  check                                   0   4  check
//              4   4  number of its first entry               4   4  count of events
//              8   4  how many                                8  16  hash
//             12  52  low 16 bits of the hashes              24   8  version of the first
//                     of the first 26                        32   8  offset of the first
//                                                            40   4  partition uid
//     posting of a stream                                    44   4  position of the first
//              0   4  offset from the first's                48   4  position of the last
//              4   4  position                               52   4  offset of the last - first
//              8   4  at       }  as in index_entry          56   4  count 1: at,    else its
//             12   4  check    }                             60   4          check   postings
//
//     term entry at size                       command entry  0   4  check
//              0   4  check                                   4   4  count of records
//              4   4  count                                   8  16  hash
//              8  16  hash                                   24   4  position of the first
//             24  16  count <= 4: the positions              28   4  0
//                     else: first, last, its postings, 0
//
// Every check is a CRC-32C over the rest of its block, entry or header, and is bound to its
// place: it starts from a seed of the run's positions, the section and the number in it. So a
// block that was written to, or read from, the wrong place does not check either; and "not
// found" is an answer that was checked, like any other.
#pragma once

#include "index/index.hpp"

#include <array>
#include <bit>
#include <cstdint>

namespace cairn::detail {

static_assert(std::endian::native == std::endian::little,
              "runs are read as they lie in the map; a big-endian machine would have to swap");

inline constexpr std::size_t run_header_bytes = 512;
inline constexpr std::size_t run_section_align = 512;
inline constexpr std::uint32_t run_format_version = 1;

/// Positions are 32-bit in a run, and so is the number of a posting.
inline constexpr std::int64_t run_positions_max = 0xffff'ffff;

struct run_header
{
    std::array<char, 8> magic{'C', 'A', 'I', 'R', 'N', 'R', 'U', 'N'};
    std::uint32_t       version = run_format_version;
    std::uint32_t       check   = 0;  ///< over the header with this field zero
    std::int64_t        first   = 0;
    std::int64_t        end     = 0;
    std::uint64_t       key_check = 0;  ///< tells whether the hashes are of our key
    std::uint64_t       bytes     = 0;  ///< of the whole run
    std::uint64_t       streams          = 0;
    std::uint64_t       stream_postings  = 0;  ///< those in posting blocks
    std::uint64_t       terms            = 0;
    std::uint64_t       term_postings    = 0;
    std::uint64_t       commands         = 0;
    std::array<char, 424> zeros{};
};
static_assert(sizeof(run_header) == run_header_bytes);

struct stream_entry
{
    std::uint32_t crc   = 0;
    std::uint32_t count = 0;
    term          hash;
    std::int64_t  first_version = 0;
    std::int64_t  first_offset  = 0;
    std::uint32_t partition_uid = 0;
    std::uint32_t first         = 0;
    std::uint32_t last          = 0;
    std::uint32_t last_offset   = 0;
    std::uint32_t at_or_postings = 0;
    std::uint32_t check          = 0;
};
static_assert(sizeof(stream_entry) == 64);

inline constexpr std::uint32_t term_inline_max = 4;

struct term_entry
{
    std::uint32_t crc   = 0;
    std::uint32_t count = 0;
    term          hash;
    std::array<std::uint32_t, term_inline_max> positions{};

    bool          is_inline() const noexcept { return count <= term_inline_max; }
    std::uint32_t first() const noexcept { return positions[0]; }
    std::uint32_t last() const noexcept
    {
        return is_inline() ? positions[count - 1] : positions[1];
    }
    std::uint32_t postings() const noexcept { return positions[2]; }
};
static_assert(sizeof(term_entry) == 40);

struct command_entry
{
    std::uint32_t crc   = 0;
    std::uint32_t count = 0;
    term          hash;
    std::uint32_t first = 0;
    std::uint32_t zero  = 0;
};
static_assert(sizeof(command_entry) == 32);

/// What a posting of a stream is in its block.
struct packed_posting
{
    std::uint32_t offset   = 0;
    std::uint32_t position = 0;
    std::uint32_t at       = 0;
    std::uint32_t check    = 0;
};
static_assert(sizeof(packed_posting) == 16);

inline constexpr std::uint32_t fingerprints_max = 26;

struct table_block
{
    std::uint32_t crc   = 0;
    std::uint32_t start = 0;
    std::uint32_t count = 0;
    std::array<std::uint16_t, fingerprints_max> fingerprints{};

    static std::uint16_t fingerprint(const term& t) noexcept
    {
        return static_cast<std::uint16_t>(t.low);
    }
};
static_assert(sizeof(table_block) == 64);

inline constexpr std::size_t   posting_block_bytes = 512;
inline constexpr std::size_t   posting_block_check_at = 508;
inline constexpr std::uint32_t stream_postings_per_block = 31;
inline constexpr std::uint32_t term_postings_per_block   = 127;

/// The more entries share a block, the smaller the table and the more often one overflows; at
/// 16 one in 150 does.
inline constexpr std::uint64_t entries_per_block = 16;

enum class run_section : std::uint32_t
{
    stream_blocks,
    stream_entries,
    stream_postings,
    term_blocks,
    term_entries,
    term_postings,
    command_blocks,
    command_entries,
};
inline constexpr std::size_t run_sections = 8;

/// How much of each kind a run has.
struct run_counts
{
    std::uint64_t streams         = 0;
    std::uint64_t stream_postings = 0;
    std::uint64_t terms           = 0;
    std::uint64_t term_postings   = 0;
    std::uint64_t commands        = 0;

    friend bool operator==(const run_counts&, const run_counts&) = default;
};

/// Where each section is, and how many items (blocks, entries) it has.
struct run_layout
{
    struct place
    {
        std::uint64_t at    = 0;
        std::uint64_t items = 0;
        std::uint64_t bytes = 0;
    };
    std::array<place, run_sections> sections{};
    std::uint64_t                   bytes = run_header_bytes;

    explicit run_layout(const run_counts& c) noexcept
    {
        put(run_section::stream_blocks, blocks(c.streams, entries_per_block), sizeof(table_block));
        put(run_section::stream_entries, c.streams, sizeof(stream_entry));
        put(run_section::stream_postings, blocks(c.stream_postings, stream_postings_per_block),
            posting_block_bytes);
        put(run_section::term_blocks, blocks(c.terms, entries_per_block), sizeof(table_block));
        put(run_section::term_entries, c.terms, sizeof(term_entry));
        put(run_section::term_postings, blocks(c.term_postings, term_postings_per_block),
            posting_block_bytes);
        put(run_section::command_blocks, blocks(c.commands, entries_per_block),
            sizeof(table_block));
        put(run_section::command_entries, c.commands, sizeof(command_entry));
    }

    const place& operator[](run_section s) const noexcept
    {
        return sections[static_cast<std::size_t>(s)];
    }

private:
    static std::uint64_t blocks(std::uint64_t items, std::uint64_t per_block) noexcept
    {
        return (items + per_block - 1) / per_block;
    }

    void put(run_section s, std::uint64_t items, std::uint64_t item_bytes) noexcept
    {
        const auto size = items * item_bytes;
        sections[static_cast<std::size_t>(s)] = {bytes, items, size};
        bytes += (size + run_section_align - 1) / run_section_align * run_section_align;
    }
};

/// Which block of a table a hash belongs to; ascending with the hash.
inline std::uint64_t block_of(const term& t, std::uint64_t blocks) noexcept
{
    __extension__ using wide = unsigned __int128;
    return static_cast<std::uint64_t>(wide{t.high} * blocks >> 64);
}

/// What binds a check to its place.
class check_seed
{
public:
    check_seed(std::int64_t first, std::int64_t end) noexcept;

    std::uint32_t operator()(run_section s, std::uint64_t number) const noexcept
    {
        return run_ ^ (static_cast<std::uint32_t>(number) * 0x9e3779b1u +
                       static_cast<std::uint32_t>(s) * 0x85ebca6bu);
    }

private:
    std::uint32_t run_;
};

/// The check of an entry or table block, whose first four bytes it is.
template <class Item>
std::uint32_t check_of(const Item& item, std::uint32_t seed) noexcept;

/// The check of a block of postings, whose last four bytes it is.
std::uint32_t check_of_postings(const char* block, std::uint32_t seed) noexcept;

std::uint32_t check_of_header(run_header h) noexcept;

}  // namespace cairn::detail
