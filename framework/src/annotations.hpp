// SPDX-License-Identifier: Apache-2.0
//
// The ids of the annotations in schema/cairn/event.capnp.
#pragma once

#include <cstdint>

namespace cairn::detail {

inline constexpr std::uint64_t tag_annotation      = 0xe3b6d9a24f7c8150;
inline constexpr std::uint64_t personal_annotation = 0x9c1e5a7d3b60f284;
inline constexpr std::uint64_t key_annotation      = 0x962eb5d7d2eac902;
inline constexpr std::uint64_t version_annotation  = 0xf9e4abc4ace1a954;

}  // namespace cairn::detail
