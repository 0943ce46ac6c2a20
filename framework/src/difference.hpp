// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/framework/event.hpp>

#include <string>
#include <vector>

namespace cairn::detail {

/// Two lists of events as JSON, a line each: "    " in both, "  - " only wanted, "  + " only got;
/// by their longest common part.
std::string difference(const std::vector<any_event>& wanted, const std::vector<any_event>& got);

}  // namespace cairn::detail
