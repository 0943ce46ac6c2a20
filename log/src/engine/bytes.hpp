// SPDX-License-Identifier: Apache-2.0
//
// Small big-endian writing and reading, as Kafka's formats have it.
#pragma once

#include <cairn/log/ids.hpp>

#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>

namespace cairn::detail {

template <std::integral T>
void put(std::string& out, T value)
{
    using bits   = std::make_unsigned_t<T>;
    const auto u = static_cast<bits>(value);
    for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8)
        out += static_cast<char>(static_cast<std::uint8_t>(u >> shift));
}

/// Kafka's STRING: a 16-bit length and the bytes.
inline void put_string(std::string& out, bytes_view text)
{
    put(out, static_cast<std::int16_t>(text.size()));
    out += text;
}

/// Reads from the front. Errors are sticky: after the first that does not fit all reads give
/// zero or nothing, and ok() is false.
class byte_reader
{
public:
    explicit byte_reader(bytes_view bytes) noexcept : rest_{bytes} {}

    template <std::integral T>
    T get() noexcept
    {
        const auto bytes = get_bytes(sizeof(T));
        using bits       = std::make_unsigned_t<T>;
        std::uint64_t u  = 0;
        for (const char c : bytes) u = u << 8 | static_cast<std::uint8_t>(c);
        return static_cast<T>(static_cast<bits>(u));
    }

    bytes_view get_bytes(std::size_t n) noexcept
    {
        if (n > rest_.size()) {
            ok_   = false;
            rest_ = {};
            return {};
        }
        const auto bytes = rest_.substr(0, n);
        rest_.remove_prefix(n);
        return bytes;
    }

    bytes_view get_string() noexcept
    {
        const auto length = get<std::int16_t>();
        if (length < 0) {
            ok_ = false;
            return {};
        }
        return get_bytes(static_cast<std::size_t>(length));
    }

    bool ok() const noexcept { return ok_; }
    bool empty() const noexcept { return rest_.empty(); }

private:
    bytes_view rest_;
    bool       ok_ = true;
};

}  // namespace cairn::detail
