// SPDX-License-Identifier: Apache-2.0
//
// The four codecs of Kafka's batches, as clients really frame them:
//
//     gzip     RFC 1952, one or more members; RFC 1950 (zlib) is read too
//     snappy   raw, or in snappy-java's frame: 82 "SNAPPY" 00, version and least compatible
//              version (BE32), then blocks: length (BE32), raw snappy. Written raw.
//     lz4      the LZ4 frame format, one or more frames; linked blocks and every checksum are
//              read. Written with independent blocks of 64 KB, which every client takes.
//     zstd     RFC 8878, one or more frames
#pragma once

#include <cairn/log/record_batch.hpp>

#include <cstddef>
#include <string>

namespace cairn::detail {

/// Appends `in`, packed, to `out`. Throws std::bad_alloc and nothing else.
///
/// REQUIRES: in.size() < 2^31, and the codec is one of the enumeration
void pack(codec c, bytes_view in, std::string& out);

/// Unpacks `in` into `out`, replacing what it held. False, and why, when `in` is not what the
/// codec says (corrupt_batch) or would be more than `limit` bytes (unpacks_too_large); then
/// `out` is empty.
///
/// What a frame claims of its size is never believed: `out` begins at no more than twice the
/// input (or what it has anyhow) and grows as bytes really come out, or once the input was seen
/// to be sound. (A block of zstd that lies is found out within 256 KB.) The decoders' own state,
/// which does not depend on the input, is kept for each thread. Throws std::bad_alloc and nothing
/// else.
bool unpack(codec c, bytes_view in, std::string& out, std::size_t limit,
            batch_fault* why = nullptr);

}  // namespace cairn::detail
