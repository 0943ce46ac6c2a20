// SPDX-License-Identifier: Apache-2.0
//
// An event's bytes, wherever they lie, as a Cap'n Proto message.
#pragma once

#include <cairn/log/record.hpp>

#include <capnp/serialize.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cairn::detail {

/// Opens one message after the other; the scratch that misaligned ones are copied to is kept.
///
/// Invariants
///   - open() leaves nothing of the message before it.
///
/// Threads   One.
/// Lifetime  What open() returned, and readers of it, are good until the next open(). The bytes
///           must live as long.
/// Errors    error{malformed_event}, from open(). Readers that meet damage inside of the message
///           throw kj::Exception.
class message
{
public:
    message() = default;
    explicit message(bytes_view bytes) { open(bytes); }
    message(const message&)            = delete;
    message& operator=(const message&) = delete;

    capnp::MessageReader& open(bytes_view bytes);
    capnp::MessageReader& opened() { return *reader_; }

private:
    std::vector<std::uint64_t>                   scratch_;  // words, and so aligned
    std::optional<capnp::FlatArrayMessageReader> reader_;
};

}  // namespace cairn::detail
