// SPDX-License-Identifier: Apache-2.0
//
// What all stores check in the same way.
#pragma once

#include <cairn/projections/table_store.hpp>

#include <span>
#include <string>

namespace cairn::detail {

/// The shapes of all tables, a line each.
std::string text_of(std::span<const table_shape> shapes);

/// Throws shape_differs.
void check_shapes(const std::string& projection, int version, const std::string& stored,
                  std::span<const table_shape> wanted);

/// Throws fenced_generation.
void check_epoch(const projection_checkpoint& stored, const projection_checkpoint& now);

/// A checkpoint as bytes, and back.
std::string           encode(const projection_checkpoint& c);
projection_checkpoint decode_checkpoint(bytes_view bytes);

}  // namespace cairn::detail
