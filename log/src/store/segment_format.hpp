// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a segment, as segment.hpp draws them: written and taken apart. No LMDB here.
#pragma once

#include <cairn/log/crc32c.hpp>
#include <cairn/log/ids.hpp>
#include <cairn/log/record_batch.hpp>

#include "record/endian.hpp"
#include "store/segment.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

namespace cairn::detail {

template <class Integer>
inline void store_little(char* at, std::type_identity_t<Integer> v) noexcept
{
    if constexpr (std::endian::native == std::endian::big) v = swap_bytes(v);
    std::memcpy(at, &v, sizeof v);
}

constexpr std::size_t run_header_bytes       = 16;
constexpr std::size_t run_entry_bytes        = 8;
constexpr std::size_t envelope_bytes         = 32;
constexpr std::size_t block_entry_bytes      = 20;
constexpr std::size_t partition_record_bytes = 56;
constexpr std::size_t state_record_bytes     = 72;

// ---- Batches. ------------------------------------------------------------------------------

struct batch_numbers
{
    offset        base;
    std::uint32_t offsets = 0;
    timestamp     base_timestamp;
    timestamp     max_timestamp;
};

/// The numbers in a batch's header; nullopt unless it is exactly one batch by its length.
inline std::optional<batch_numbers> numbers_of(bytes_view batch) noexcept
{
    if (batch.size() < batch_header_bytes) return std::nullopt;
    const char* const at    = batch.data();
    const auto        delta = load_big<std::int32_t>(at + 23);
    if (load_big<std::int32_t>(at + 8) + std::int64_t{12} !=
            static_cast<std::int64_t>(batch.size()) ||
        delta < 0)
        return std::nullopt;
    return batch_numbers{offset{load_big<std::int64_t>(at)}, static_cast<std::uint32_t>(delta) + 1,
                         timestamp{load_big<std::int64_t>(at + 27)},
                         timestamp{load_big<std::int64_t>(at + 35)}};
}

inline bool crc_holds(bytes_view batch) noexcept
{
    return load_big<std::uint32_t>(batch.data() + 17) == crc32c(batch.substr(21));
}

// ---- Searching. ----------------------------------------------------------------------------

/// The last of n ascending numbers that is <= wanted. REQUIRES: the first one is.
///
/// Numbers of batches are spaced almost evenly, so this looks first where evenness would have it
/// and goes on from there: most often two looks, where halving takes a cache miss for each.
template <class At>
std::uint32_t floor_of(std::uint32_t n, std::uint64_t wanted, const At& at) noexcept
{
    if (n == 1) return 0;
    const std::uint64_t last = at(n - 1);
    if (wanted >= last) return n - 1;
    if (n == 2) return 0;

    // Invariant: at(low) <= wanted < at(high).
    std::uint32_t low = 0, high = n - 1;
    const auto    guess = static_cast<std::uint32_t>(
        static_cast<double>(wanted) * static_cast<double>(n - 1) / static_cast<double>(last));
    std::uint32_t look = std::clamp<std::uint32_t>(guess, 1, n - 2);
    for (std::uint32_t step = 1; low + 1 < high; step *= 2) {
        if (at(look) <= wanted) {
            low = look;
            if (high - low <= step) break;
            look = low + step;
        } else {
            high = look;
            if (high - low <= step) break;
            look = high - step;
        }
    }
    while (low + 1 < high) {
        const auto middle                   = low + (high - low) / 2;
        (at(middle) <= wanted ? low : high) = middle;
    }
    return low;
}

// ---- Keys. ---------------------------------------------------------------------------------

template <std::size_t Size>
struct key_bytes
{
    std::array<char, Size> bytes;

    operator bytes_view() const noexcept { return {bytes.data(), Size}; }
};

inline key_bytes<12> run_key(std::uint32_t uid, offset base) noexcept
{
    key_bytes<12> k;
    store_big<std::uint32_t>(k.bytes.data(), uid);
    store_big<std::int64_t>(k.bytes.data() + 4, base.value);
    return k;
}

inline key_bytes<8> block_key(position p) noexcept
{
    key_bytes<8> k;
    store_big<std::int64_t>(k.bytes.data(), p.value);
    return k;
}

inline key_bytes<4> number_key(std::uint32_t n) noexcept
{
    key_bytes<4> k;
    store_big<std::uint32_t>(k.bytes.data(), n);
    return k;
}

// ---- Envelopes and runs. -------------------------------------------------------------------

struct envelope
{
    cairn::position position;
    std::int64_t    previous_offset   = -1;
    std::int64_t    previous_position = -1;
};

/// Writes the envelope in front of a batch that already lies behind it.
inline void write_envelope(char* at, std::uint32_t uid, const envelope& e) noexcept
{
    store_little<std::uint32_t>(at + 4, 0);
    store_little<std::int64_t>(at + 8, e.position.value);
    store_little<std::int64_t>(at + 16, e.previous_offset);
    store_little<std::int64_t>(at + 24, e.previous_position);
    store_little<std::uint32_t>(at, crc32c({at + 4, envelope_bytes - 4 + batch_header_bytes}, uid));
}

/// A batch as it lies in a run, its envelope checked, its own CRC not yet.
struct stored_batch
{
    cairn::position position;
    offset          base;
    std::uint32_t   offsets = 0;
    timestamp       base_timestamp;
    timestamp       max_timestamp;
    std::int64_t    previous_offset   = -1;
    std::int64_t    previous_position = -1;
    bytes_view      bytes;

    offset          end_offset() const noexcept { return base + offsets; }
    cairn::position end_position() const noexcept { return position + offsets; }
};

/// A run: a value of "batches" and its key. Whatever its bytes are, nothing outside is read.
class run_view
{
public:
    run_view() = default;

    /// nullopt where key or value cannot be a run's.
    static std::optional<run_view> parse(bytes_view key, bytes_view value) noexcept
    {
        if (key.size() != 12 || value.size() < run_header_bytes) return std::nullopt;
        run_view r;
        r.uid_   = load_big<std::uint32_t>(key.data());
        r.base_  = offset{load_big<std::int64_t>(key.data() + 4)};
        r.value_ = value;
        r.count_ = load_little<std::uint32_t>(value.data() + 4);
        if (r.count_ == 0 || r.count_ > (value.size() - run_header_bytes) / run_entry_bytes)
            return std::nullopt;
        return r;
    }

    std::uint32_t uid() const noexcept { return uid_; }
    offset        base() const noexcept { return base_; }
    std::uint32_t count() const noexcept { return count_; }
    bytes_view    value() const noexcept { return value_; }
    timestamp     max_timestamp() const noexcept
    {
        return timestamp{load_little<std::int64_t>(value_.data() + 8)};
    }

    /// Header and directory are as they were written.
    bool check_holds() const noexcept
    {
        return load_little<std::uint32_t>(value_.data()) ==
               crc32c(value_.substr(4, directory_end() - 4), uid_);
    }

    /// Which batch has the last base offset <= at. REQUIRES: base() <= at.
    std::uint32_t floor(offset at) const noexcept
    {
        return floor_of(count_, static_cast<std::uint64_t>(at - base_),
                        [this](std::uint32_t i) { return entry(i); });
    }

    /// The batch, if its envelope says that it belongs here.
    std::optional<stored_batch> batch(std::uint32_t i) const noexcept
    {
        if (i >= count_) return std::nullopt;
        const std::size_t at  = place(i);
        const std::size_t end = i + 1 < count_ ? place(i + 1) : value_.size();
        if (at < directory_end() || end > value_.size() || at > end ||
            end - at < envelope_bytes + batch_header_bytes)
            return std::nullopt;
        const char* const p = value_.data() + at;
        if (load_little<std::uint32_t>(p) !=
            crc32c({p + 4, envelope_bytes - 4 + batch_header_bytes}, uid_))
            return std::nullopt;
        const bytes_view bytes{p + envelope_bytes, end - at - envelope_bytes};
        const auto       n = numbers_of(bytes);
        if (!n || n->base != base_ + static_cast<std::int64_t>(entry(i))) return std::nullopt;
        return stored_batch{position{load_little<std::int64_t>(p + 8)},
                            n->base,
                            n->offsets,
                            n->base_timestamp,
                            n->max_timestamp,
                            load_little<std::int64_t>(p + 16),
                            load_little<std::int64_t>(p + 24),
                            bytes};
    }

    /// Where batch i should begin: to have it fetched, not to be believed. Null: nowhere here.
    const char* where(std::uint32_t i) const noexcept
    {
        return i < count_ && place(i) < value_.size() ? value_.data() + place(i) : nullptr;
    }

    /// Where a damaged batch should be, as well as the directory can tell.
    offset about(std::uint32_t i) const noexcept
    {
        return base_ + static_cast<std::int64_t>(i < count_ ? entry(i) : 0);
    }

private:
    std::size_t directory_end() const noexcept
    {
        return run_header_bytes + run_entry_bytes * std::size_t{count_};
    }
    std::uint32_t entry(std::uint32_t i) const noexcept
    {
        return load_little<std::uint32_t>(value_.data() + run_header_bytes + run_entry_bytes * i);
    }
    std::size_t place(std::uint32_t i) const noexcept
    {
        return load_little<std::uint32_t>(value_.data() + run_header_bytes + run_entry_bytes * i +
                                          4);
    }

    std::uint32_t uid_ = 0;
    offset        base_;
    std::uint32_t count_ = 0;
    bytes_view    value_;
};

// ---- Blocks of "commits". ------------------------------------------------------------------

struct block_entry
{
    cairn::position position;
    std::uint32_t   uid = 0;
    offset          run;
    std::uint32_t   index = 0;
};

inline void write_block_entry(char* at, position first, const block_entry& e) noexcept
{
    store_little<std::uint32_t>(at, static_cast<std::uint32_t>(e.position - first));
    store_little<std::uint32_t>(at + 4, e.uid);
    store_little<std::int64_t>(at + 8, e.run.value);
    store_little<std::uint32_t>(at + 16, e.index);
}

class block_view
{
public:
    block_view() = default;

    static std::optional<block_view> parse(bytes_view key, bytes_view value) noexcept
    {
        if (key.size() != 8 || value.empty() || value.size() % block_entry_bytes != 0)
            return std::nullopt;
        block_view b;
        b.first_ = position{load_big<std::int64_t>(key.data())};
        b.value_ = value;
        return b;
    }

    position    first() const noexcept { return first_; }
    std::size_t count() const noexcept { return value_.size() / block_entry_bytes; }

    position at(std::size_t i) const noexcept
    {
        return first_ + load_little<std::uint32_t>(value_.data() + block_entry_bytes * i);
    }
    block_entry operator[](std::size_t i) const noexcept
    {
        const char* const p = value_.data() + block_entry_bytes * i;
        return {at(i), load_little<std::uint32_t>(p + 4), offset{load_little<std::int64_t>(p + 8)},
                load_little<std::uint32_t>(p + 16)};
    }

    /// The last entry with a position <= p. REQUIRES: first() <= p.
    std::size_t floor(position p) const noexcept
    {
        return floor_of(
            static_cast<std::uint32_t>(count()), static_cast<std::uint64_t>(p - first_),
            [this](std::uint32_t i) {
                return load_little<std::uint32_t>(value_.data() + block_entry_bytes * i);
            });
    }

private:
    position   first_;
    bytes_view value_;
};

// ---- "partitions" and "meta". --------------------------------------------------------------

inline key_bytes<partition_record_bytes> encode(std::uint32_t          uid,
                                                const partition_slice& s) noexcept
{
    key_bytes<partition_record_bytes> r;
    char* const                       at = r.bytes.data();
    store_little<std::uint32_t>(at + 4, 0);
    store_little<std::int64_t>(at + 8, s.first.value);
    store_little<std::int64_t>(at + 16, s.end.value);
    store_little<std::uint64_t>(at + 24, s.bytes);
    store_little<std::uint64_t>(at + 32, s.batches);
    store_little<std::int64_t>(at + 40, s.max_timestamp.value);
    store_little<std::int64_t>(at + 48, s.min_timestamp.value);
    store_little<std::uint32_t>(at, crc32c({at + 4, partition_record_bytes - 4}, uid));
    return r;
}

inline std::uint32_t check_in(bytes_view record) noexcept
{
    return load_little<std::uint32_t>(record.data());
}

inline std::optional<partition_slice> decode_partition(std::uint32_t uid, bytes_view r) noexcept
{
    if (r.size() != partition_record_bytes || check_in(r) != crc32c(r.substr(4), uid))
        return std::nullopt;
    const char* const at = r.data();
    partition_slice   s;
    s.first         = offset{load_little<std::int64_t>(at + 8)};
    s.end           = offset{load_little<std::int64_t>(at + 16)};
    s.bytes         = load_little<std::uint64_t>(at + 24);
    s.batches       = load_little<std::uint64_t>(at + 32);
    s.max_timestamp = timestamp{load_little<std::int64_t>(at + 40)};
    s.min_timestamp = timestamp{load_little<std::int64_t>(at + 48)};
    return s;
}

/// The segment's own numbers.
struct segment_state
{
    std::int64_t  first            = -1;  // not yet given
    std::int64_t  end              = 0;
    std::int64_t  last             = -1;  // end position of the last batch
    bool          sealed           = false;
    std::uint32_t partitions       = 0;
    std::uint64_t partition_checks = 0;  // their sum
    std::uint64_t batches          = 0;
    std::uint64_t slice_bytes      = 0;
    std::uint32_t slice_check      = 0;

    static constexpr std::uint32_t format = 1;
};

inline key_bytes<state_record_bytes> encode(const segment_state& s) noexcept
{
    key_bytes<state_record_bytes> r;
    char* const                   at = r.bytes.data();
    store_little<std::uint32_t>(at + 4, segment_state::format);
    store_little<std::int64_t>(at + 8, s.first);
    store_little<std::int64_t>(at + 16, s.end);
    store_little<std::int64_t>(at + 24, s.last);
    store_little<std::uint32_t>(at + 32, s.sealed ? 1 : 0);
    store_little<std::uint32_t>(at + 36, s.partitions);
    store_little<std::uint64_t>(at + 40, s.partition_checks);
    store_little<std::uint64_t>(at + 48, s.batches);
    store_little<std::uint64_t>(at + 56, s.slice_bytes);
    store_little<std::uint32_t>(at + 64, s.slice_check);
    store_little<std::uint32_t>(at + 68, 0);
    store_little<std::uint32_t>(at, crc32c({at + 4, state_record_bytes - 4}));
    return r;
}

/// nullopt where it is damaged. A later format has format_of() > segment_state::format.
inline std::optional<segment_state> decode_state(bytes_view r) noexcept
{
    if (r.size() != state_record_bytes || check_in(r) != crc32c(r.substr(4))) return std::nullopt;
    const char* const at = r.data();
    segment_state     s;
    s.first            = load_little<std::int64_t>(at + 8);
    s.end              = load_little<std::int64_t>(at + 16);
    s.last             = load_little<std::int64_t>(at + 24);
    s.sealed           = (load_little<std::uint32_t>(at + 32) & 1) != 0;
    s.partitions       = load_little<std::uint32_t>(at + 36);
    s.partition_checks = load_little<std::uint64_t>(at + 40);
    s.batches          = load_little<std::uint64_t>(at + 48);
    s.slice_bytes      = load_little<std::uint64_t>(at + 56);
    s.slice_check      = load_little<std::uint32_t>(at + 64);
    return s;
}

inline std::uint32_t format_of(bytes_view state_record) noexcept
{
    return state_record.size() < 8 ? 0 : load_little<std::uint32_t>(state_record.data() + 4);
}

}  // namespace cairn::detail
