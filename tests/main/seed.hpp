// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <random>
#include <string>

namespace cairn::testing {

/// CAIRN_SEED, where somebody wants a run again.
inline std::optional<std::uint64_t> given_seed()
{
    const char* const text = std::getenv("CAIRN_SEED");
    if (text == nullptr || *text == '\0') return std::nullopt;
    return std::stoull(text);
}

/// What all that is random in this process begins with: CAIRN_SEED, else another number each
/// time. Printed when it is first asked for, as a test that dies has no other chance to say it.
inline std::uint64_t seed()
{
    static const std::uint64_t chosen = [] {
        const std::uint64_t n = given_seed().value_or(std::random_device{}());
        std::cout << "CAIRN_SEED=" << n << std::endl;
        return n;
    }();
    return chosen;
}

}  // namespace cairn::testing
