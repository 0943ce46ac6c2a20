// SPDX-License-Identifier: Apache-2.0
//
// What rooms above write events with.
#pragma once

#include <cairn/framework/envelope.hpp>
#include <cairn/framework/event.hpp>
#include <cairn/framework/event_store.hpp>

namespace cairn::detail {

/// The event as a record of that stream, of which it is to be version `at`. Registers its type.
record record_of(const event_store& store, const any_event& e, const stream_id& stream, version at,
                 const command_context& context);

}  // namespace cairn::detail
