// SPDX-License-Identifier: Apache-2.0
//
// Process managers and the dispatcher: the parts of framework_bench that are not about one
// repository.
#pragma once

#include "results.hpp"
#include "settings.hpp"

#include <cstdint>
#include <vector>

namespace cairn::bench {

/// What they are called, in the order in which they are shown.
extern const std::vector<part_name> framework_part_names;

/// Runs those that are wanted, once. A process manager catches up on so many events.
void run_framework_parts(const settings& s, int callers, std::uint64_t process_events,
                         results& into);

}  // namespace cairn::bench
