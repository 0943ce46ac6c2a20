// SPDX-License-Identifier: Apache-2.0
//
// What all stores check in the same way.
#pragma once

#include <cairn/projections/table_store.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cairn::detail {

/// The shapes of all tables, a line each.
std::string text_of(std::span<const table_shape> shapes);

/// And back; columns without names. Throws damaged_table.
std::vector<table_shape> shapes_from(bytes_view text);

/// Throws shape_differs.
void check_shapes(const std::string& projection, int version, const std::string& stored,
                  std::span<const table_shape> wanted);

/// Throws fenced_generation.
void check_epoch(const projection_checkpoint& stored, const projection_checkpoint& now);

/// One of a row's columns.
struct column_value
{
    std::variant<std::monostate, std::int64_t, std::uint64_t, double, std::string> is;
    bool as_bytes = false;  ///< the string is bytes, not text
};

/// Reads the next column of a key, or of a value. Throws damaged_table.
column_value read_column(row_bytes& in, const column& c, bool of_key);

/// "ada -> 20", "(UK, 131) -> (3, none)"
std::string row_text(const table_shape& shape, bytes_view key, bytes_view value);

/// {"customer":"ada","cents":20}; of a row that is erased its key. Integers beyond 2^53 are
/// strings, for a reader may have no others; bytes are hexadecimal.
std::string row_json(const table_shape& shape, bytes_view key, std::optional<bytes_view> value);

/// What is no UTF-8, and zero bytes, are replaced.
std::string as_utf8(std::string_view text);

/// What the rows of each table come to, but for Cairn's own: the same where they are the same.
std::map<std::string, std::uint64_t> digests(table_reader& from, std::span<const table_shape> of);

/// Of a record's key; the same on every machine.
std::uint64_t hash_of(bytes_view bytes) noexcept;

/// A checkpoint as bytes, and back.
std::string           encode(const projection_checkpoint& c);
projection_checkpoint decode_checkpoint(bytes_view bytes);

}  // namespace cairn::detail
