// SPDX-License-Identifier: Apache-2.0
//
// Makes allocations fail: link failing_allocations.cpp, which takes the place of operator new.
#pragma once

#include <atomic>

namespace cairn::testing {

/// The one that fails is so many away; below 0: none does. It is one that fails, of whichever
/// thread, and those after it succeed.
extern std::atomic<long> allocations_left;

}  // namespace cairn::testing
