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
    topic_partition in;  ///< of the event that it was made from
    offset          at;
    command_context carried;  ///< on from that event
};

/// Appends, in their order, those that were not appended before by any version of the projection
/// of this name. REQUIRES: of each partition, all that was made from events up to the last of
/// them is among them, or was given before.
void append_outputs(const event_store& events, const std::string& projection,
                    std::span<const flow_output> all);

}  // namespace cairn::detail
