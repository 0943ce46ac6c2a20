// SPDX-License-Identifier: Apache-2.0
//
// Records, handed to functions by the type of their events.
#pragma once

#include <cairn/framework/event_store.hpp>
#include <cairn/framework/origin.hpp>

#include <capnp/message.h>
#include <capnp/schema.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace cairn::detail {

/// Goes through records in the order of their streams: unsealed, upcast, merged.
///
/// Threads   One.
/// Lifetime  What a function is given is good until it returns.
/// Errors    malformed_event, and what the functions throw.
class event_dispatch
{
public:
    struct entry
    {
        capnp::StructSchema schema;
        void (*handle)(void* to, capnp::MessageReader& event, const origin& from);
    };

    event_dispatch(event_store store, std::vector<entry> entries);
    ~event_dispatch();
    event_dispatch(event_dispatch&&) noexcept;

    /// Calls what handles the record's event, if anything does: once, or several times where an
    /// upcaster makes several of it. Returns how often.
    std::size_t dispatch(const record_view& r, void* to);

    /// Something handles it, or what an upcaster makes of it.
    bool knows(const record_view& r) const;

    /// At the end of what there is: what waited for the event that it would be merged with.
    std::size_t finish(void* to);

    /// An event waits for that.
    bool waits() const noexcept;

    /// What a query must name to find these events.
    std::vector<std::string> query_types() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace cairn::detail
