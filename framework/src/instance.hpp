// SPDX-License-Identifier: Apache-2.0
//
// State in memory, and what repository and decider share.
#pragma once

#include <cairn/framework/detail/message.hpp>
#include <cairn/framework/repository.hpp>

#include "codec.hpp"

#include <string>
#include <utility>

namespace cairn::detail {

constexpr std::size_t stream_id_bytes_max = 1024;

/// Throws illegal_stream_id.
inline stream_id checked_stream(const std::string& topic, const std::string& id)
{
    if (id.empty() || id.size() > stream_id_bytes_max)
        throw error{errc::illegal_stream_id, "a stream id of " + std::to_string(id.size()) +
                                                 " bytes, for topic " + topic + ": it has 1 to " +
                                                 std::to_string(stream_id_bytes_max)};
    return {topic, id};
}

/// What a command that was executed before came to.
inline outcome repeated(const receipt& first)
{
    return {first.last(), first.records.back().version.next(), first.records.size(), true};
}

/// An aggregate in memory.
class instance
{
public:
    explicit instance(const aggregate_type& type) : type_{type} {}
    ~instance() { forget(); }
    instance(const instance&)            = delete;
    instance& operator=(const instance&) = delete;

    void*    state() { return state_ ? state_ : state_ = type_.create(); }
    version  at() const noexcept { return at_; }
    position last() const noexcept { return last_; }

    void forget() noexcept
    {
        if (state_) type_.destroy(state_);
        state_ = nullptr;
        at_    = version{0};
        last_  = position{-1};
    }

    /// Applies an event of the stream; its type is looked for in the aggregate's list.
    void apply(const record_view& r, const stream_id& stream)
    {
        const auto type = event_type_of(r);
        for (const auto& e : type_.events)
            if (type.is(e.schema)) {
                apply(e, r.value.value_or(bytes_view{}));
                at_   = at_.next();
                last_ = r.position;
                return;
            }
        throw error{errc::unknown_event,
                    stream.topic + "/" + stream.key + " version " +
                        std::to_string(at_.value) + ": the event " + type.text() +
                        " is not one of the aggregate's: add it to aggregate<...>"};
    }

    /// Applies an event that is about to be recorded.
    void apply(const any_event& event)
    {
        for (const auto& e : type_.events)
            if (e.schema.getProto().getId() == event.type_id()) return apply(e, event.bytes());
    }

    void recorded(std::size_t events, position last) noexcept
    {
        at_   = at_ + static_cast<std::int64_t>(events);
        last_ = last;
    }

private:
    void apply(const aggregate_type::event_entry& e, bytes_view bytes)
    {
        thread_local message opened;
        e.apply(state(), opened.open(bytes));
    }

    const aggregate_type& type_;
    void*                 state_ = nullptr;
    version               at_{0};
    position              last_{-1};
};

}  // namespace cairn::detail
