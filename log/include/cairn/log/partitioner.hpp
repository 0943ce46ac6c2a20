// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/ids.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace cairn {

/// Chooses a partition, 0 ≤ p < partitions. It must always answer the same for the same key,
/// since a stream is found by it. Called from any thread.
using partitioner = std::function<std::int32_t(
    std::string_view topic, std::optional<bytes_view> key, std::int32_t partitions)>;

/// MurmurHash2, 32 bits, with the seed that Kafka's Java client uses.
std::uint32_t murmur2(bytes_view bytes) noexcept;

/// The partition that Kafka's clients choose for a key: (murmur2 & 0x7fffffff) mod partitions.
std::int32_t partition_for_key(bytes_view key, std::int32_t partitions) noexcept;

/// Keyed records by murmur2. Keyless ones stay with one partition of a topic for
/// `records_per_turn` records, then move on to the next: batches stay large.
partitioner sticky_partitioner(std::size_t records_per_turn = 100);

/// Keyed records by murmur2, keyless ones to each partition in turn.
partitioner round_robin_partitioner();

}  // namespace cairn
