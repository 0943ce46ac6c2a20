// SPDX-License-Identifier: Apache-2.0
//
// Kafka's variable-length integers: seven bits a byte, low ones first, the high bit says that
// more follow. A signed one is zigzagged first (0, -1, 1, -2, … as 0, 1, 2, 3, …), so that small
// numbers of either sign are short. A varint has 32 bits and at most 5 bytes, a varlong 64 and 10.
//
// A longer form than need be is read (some clients pad), bits beyond the width are refused.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace cairn::detail {

constexpr std::size_t max_varint_bytes  = 5;
constexpr std::size_t max_varlong_bytes = 10;

constexpr std::uint32_t zigzag(std::int32_t v) noexcept
{
    return (static_cast<std::uint32_t>(v) << 1) ^ static_cast<std::uint32_t>(v >> 31);
}
constexpr std::uint64_t zigzag(std::int64_t v) noexcept
{
    return (static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63);
}
constexpr std::int32_t unzigzag(std::uint32_t u) noexcept
{
    return static_cast<std::int32_t>((u >> 1) ^ (0u - (u & 1u)));
}
constexpr std::int64_t unzigzag(std::uint64_t u) noexcept
{
    return static_cast<std::int64_t>((u >> 1) ^ (0ull - (u & 1ull)));
}

/// The general case of read_unsigned(); kept out of line so that the short cases stay small.
template <class Unsigned>
[[gnu::noinline]] bool read_long_unsigned(const char*& at, const char* end,
                                          Unsigned& value) noexcept
{
    constexpr unsigned width = sizeof(Unsigned) * 8;

    const char* p = at;
    Unsigned    v = 0;
    for (unsigned shift = 0; shift < width && p != end; shift += 7) {
        const auto byte = static_cast<std::uint8_t>(*p++);
        const auto low  = static_cast<Unsigned>(byte & 0x7f);
        if (shift + 7 > width && (low >> (width - shift)) != 0) return false;
        v |= static_cast<Unsigned>(low << shift);
        if (byte < 0x80) {
            at    = p;
            value = v;
            return true;
        }
    }
    return false;
}

/// Reads at `at`, not at or after `end`, and moves `at` behind. False, and nothing is changed,
/// when the number does not end in time.
template <class Unsigned>
inline bool read_unsigned(const char*& at, const char* end, Unsigned& value) noexcept
{
    // Nearly all numbers of a record have one byte, the lengths of values two.
    if (end - at >= 2) [[likely]] {
        const auto first = static_cast<std::uint8_t>(at[0]);
        if (first < 0x80) [[likely]] {
            at += 1;
            value = first;
            return true;
        }
        const auto second = static_cast<std::uint8_t>(at[1]);
        if (second < 0x80) {
            at += 2;
            value = static_cast<Unsigned>((first & 0x7fu) | (static_cast<unsigned>(second) << 7));
            return true;
        }
    }
    return read_long_unsigned(at, end, value);
}

inline bool read_varint(const char*& at, const char* end, std::int32_t& value) noexcept
{
    std::uint32_t u;
    if (!read_unsigned(at, end, u)) return false;
    value = unzigzag(u);
    return true;
}

inline bool read_varlong(const char*& at, const char* end, std::int64_t& value) noexcept
{
    std::uint64_t u;
    if (!read_unsigned(at, end, u)) return false;
    value = unzigzag(u);
    return true;
}

constexpr std::size_t unsigned_bytes(std::uint64_t u) noexcept
{
    return (static_cast<std::size_t>(std::bit_width(u | 1)) + 6) / 7;
}
constexpr std::size_t varint_bytes(std::int32_t v) noexcept
{
    return unsigned_bytes(zigzag(v));
}
constexpr std::size_t varlong_bytes(std::int64_t v) noexcept
{
    return unsigned_bytes(zigzag(v));
}

/// Writes at `at`, where there must be room, and returns what is behind.
template <class Unsigned>
inline char* write_unsigned(char* at, Unsigned u) noexcept
{
    while (u >= 0x80) {
        *at++ = static_cast<char>(static_cast<std::uint8_t>(u | 0x80));
        u     = static_cast<Unsigned>(u >> 7);
    }
    *at++ = static_cast<char>(static_cast<std::uint8_t>(u));
    return at;
}
inline char* write_varint(char* at, std::int32_t v) noexcept
{
    return write_unsigned(at, zigzag(v));
}
inline char* write_varlong(char* at, std::int64_t v) noexcept
{
    return write_unsigned(at, zigzag(v));
}

}  // namespace cairn::detail
