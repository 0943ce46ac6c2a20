// SPDX-License-Identifier: Apache-2.0
//
// What flows make for topics.
#pragma once

#include <cairn/framework/envelope.hpp>
#include <cairn/framework/event.hpp>
#include <cairn/framework/event_store.hpp>

#include <span>
#include <string>

namespace cairn::detail {

struct flow_output
{
    stream_id       to;
    any_event       event;
    timestamp       time;
    position        cause;    ///< of the event that it was made from
    command_context carried;  ///< on from that event
};

/// Appends, in their order, those that were not appended before by any version of the projection
/// of this name. REQUIRES: of an event whose position is not past the last cause, nothing is
/// missing.
void append_outputs(const event_store& events, const std::string& projection,
                    std::span<const flow_output> all);

}  // namespace cairn::detail
