// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace cairn::testing {

/// Measures what `new` gives out on this thread while it lives: how much at once at most, beyond
/// what was there before. Linking allocation_meter.cpp replaces the program's operator new.
class allocation_meter
{
public:
    allocation_meter() noexcept;

    std::size_t peak_bytes() const noexcept;
    std::size_t allocations() const noexcept;

private:
    std::ptrdiff_t bytes_before_;
    std::size_t    allocations_before_;
};

}  // namespace cairn::testing
