// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/ids.hpp>

#include <cstdint>

namespace cairn {

/// CRC-32C (Castagnoli), as in RFC 3720 and in Kafka's batches: by the processor's instruction
/// where it has one, else by table.
///
/// `seed` is the CRC of the bytes before, so that crc32c(b, crc32c(a)) == crc32c(a + b).
std::uint32_t crc32c(bytes_view bytes, std::uint32_t seed = 0) noexcept;

/// The same by table only, for machines without the instruction and for the tests.
std::uint32_t crc32c_by_table(bytes_view bytes, std::uint32_t seed = 0) noexcept;

}  // namespace cairn
