// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::cli {

/// A field of a line, `number` from 1; nullopt where the line has fewer. `scratch` holds it where
/// it had to be put together.
///
/// A field that begins with a double quote is read as in CSV: it ends at the next lone double
/// quote, may hold the separator, and "" in it is one double quote. One whose quote is never
/// closed, or goes on after the closing one, is taken as it stands, up to the separator.
std::optional<std::string_view> field_of(std::string_view line, std::size_t number,
                                         std::string_view separator, std::string& scratch);

}  // namespace cairn::cli
