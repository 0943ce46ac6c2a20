// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace cairn::bench {

/// A fixed scattering of 64 bits: random streams without a state.
constexpr std::uint64_t scatter(std::uint64_t x) noexcept
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccd;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53;
    return x ^ (x >> 33);
}

}  // namespace cairn::bench
