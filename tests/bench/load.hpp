// SPDX-License-Identifier: Apache-2.0
//
// The events that are appended, and what disk and memory can do by themselves.
#pragma once

#include "bench/measure.hpp"
#include "stores.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace cairn::bench {

/// The event of a stream of orders at a version, with the tags of its order and its customer
/// where `tagged`. A value has `bytes`; key, headers and tags come on top.
event order_event(std::uint64_t stream, std::int64_t version, std::size_t bytes, bool tagged);

std::string order_stream(std::uint64_t stream);
std::string order_tag(std::uint64_t stream);

/// Writes blocks of so many bytes, each with an fdatasync: over a file that is there already, one
/// after the other, or at the end of a file that grows.
figure raw_blocks(const std::string& directory, std::size_t block_bytes, bool grows,
                  duration how_long);

/// Writes 1 MiB after 1 MiB and flushes once at the end; bytes a second.
double raw_sequential(const std::string& directory, std::uint64_t bytes);

/// One core copies memory that no cache holds; bytes a second.
double memory_copy(duration how_long);

}  // namespace cairn::bench
