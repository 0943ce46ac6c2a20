// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/projections/table_store.hpp>

#include <span>
#include <string>
#include <vector>

namespace cairn::detail {

/// Names the columns of a table, or feed, that comes to these others. Names may be fewer than
/// columns. Throws invalid_argument.
void name_shape(const std::string& what, table_shape& shape, std::vector<std::string> columns,
                std::span<const table_shape> others);

}  // namespace cairn::detail
