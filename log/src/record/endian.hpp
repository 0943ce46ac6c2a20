// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace cairn::detail {

template <class Integer>
constexpr Integer swap_bytes(Integer v) noexcept
{
    using U = std::make_unsigned_t<Integer>;
    if constexpr (sizeof(U) == 2) return static_cast<Integer>(__builtin_bswap16(static_cast<U>(v)));
    if constexpr (sizeof(U) == 4) return static_cast<Integer>(__builtin_bswap32(static_cast<U>(v)));
    if constexpr (sizeof(U) == 8) return static_cast<Integer>(__builtin_bswap64(static_cast<U>(v)));
    return v;
}

/// A big-endian integer at `at`, however that is aligned.
template <class Integer>
inline Integer load_big(const char* at) noexcept
{
    Integer v;
    std::memcpy(&v, at, sizeof v);
    if constexpr (std::endian::native == std::endian::little) v = swap_bytes(v);
    return v;
}

template <class Integer>
inline void store_big(char* at, std::type_identity_t<Integer> v) noexcept
{
    if constexpr (std::endian::native == std::endian::little) v = swap_bytes(v);
    std::memcpy(at, &v, sizeof v);
}

/// The same for a little-endian one.
template <class Integer>
inline Integer load_little(const char* at) noexcept
{
    Integer v;
    std::memcpy(&v, at, sizeof v);
    if constexpr (std::endian::native == std::endian::big) v = swap_bytes(v);
    return v;
}

}  // namespace cairn::detail
