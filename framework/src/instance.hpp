// SPDX-License-Identifier: Apache-2.0
//
// State in memory, and what repository and decider share.
#pragma once

#include "event_reader.hpp"

#include <cairn/framework/repository.hpp>

#include <optional>
#include <string>
#include <utility>

namespace cairn::detail {

/// Throws illegal_stream_id.
stream_id checked_stream(const std::string& topic, const std::string& id);

/// What a command that was executed before came to; nullopt where it was not.
std::optional<execute_result> first_result(const event_store_core& store,
                                           const command_context&  context);

/// What the receipt of a repeat means.
execute_result result_of(const event_store_core& store, const receipt& first);

/// Adds what records a rejection, so that a repeat is answered with it.
void add_rejection(append_request& to, const std::string& command_id, const rejection& why);

/// What becomes of a command that was decided too often.
[[noreturn]] void throw_conflict(const stream_id& stream, int attempts);

/// How far a stream is read; to its end where nothing is said.
struct stream_limit
{
    std::optional<version>   at;     ///< until there have been so many
    std::optional<timestamp> until;  ///< what was recorded by then
    std::optional<position>  last;   ///< up to that one
};

/// What state in memory is true of. Where that has changed it is loaded anew.
struct state_basis
{
    std::uint64_t forgotten = 0;  ///< event_store_core::forgotten()
    topic_id      topic{};        ///< of the stream's topic

    friend bool operator==(const state_basis&, const state_basis&) = default;
};

/// An aggregate, or other state, in memory.
///
/// Invariants
///   - The state of a stream is made of all its events up to at(), or of a snapshot and all behind
///     it: where some are gone, events_removed is thrown.
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

    /// Since the newest snapshot that is known.
    std::uint64_t unsaved_events() const noexcept
    {
        return static_cast<std::uint64_t>(at_.value - saved_.value);
    }
    std::uint64_t unsaved_bytes() const noexcept { return unsaved_bytes_; }
    void          saved() noexcept
    {
        saved_         = at_;
        unsaved_bytes_ = 0;
    }

    /// False where its newest event may be read as another once the next one is there: then it is
    /// right as of now, and not to be gone on from.
    bool settled() const noexcept { return settled_; }
    void unsettle() noexcept { settled_ = false; }

    void forget() noexcept
    {
        if (state_) type_.destroy(state_);
        state_         = nullptr;
        at_            = version{0};
        last_          = position{-1};
        saved_         = version{0};
        unsaved_bytes_ = 0;
        settled_       = true;
    }

    void restore(capnp::MessageReader& snapshot, version at, position last)
    {
        type_.snapshot->restore(state(), snapshot);
        at_ = saved_   = at;
        last_          = last;
        unsaved_bytes_ = 0;
    }

    /// Applies the records of the stream that it has not got yet.
    void catch_up(event_store_core& store, const stream_id& stream, unknown_events unknown,
                  const stream_limit& limit = {});

    /// Applies the records that match and are no newer than `last`, of whatever streams. Throws
    /// events_removed where one of them is gone.
    void fold(event_store_core& store, const query::item& matching, position last);

    /// Applies an event that is about to be recorded.
    void apply(const any_event& event)
    {
        for (const auto& e : type_.events)
            if (e.schema.getProto().getId() == event.type_id()) {
                thread_local message opened;
                e.apply(state(), opened.open(event.bytes()));
            }
    }

    void recorded(std::size_t events, std::uint64_t bytes, position last) noexcept
    {
        at_   = at_ + static_cast<std::int64_t>(events);
        last_ = last;
        unsaved_bytes_ += bytes;
    }

private:
    void apply(const record_view& r, const stream_id& stream, event_reader& reader,
               unknown_events unknown);
    void finish(const stream_id& stream, event_reader& reader, unknown_events unknown);

    void take(const event_type& type, bytes_view event, event_reader& reader,
              const stream_id& stream, unknown_events unknown)
    {
        for (const auto& e : type_.events)
            if (type.is(e.schema)) return e.apply(state(), reader.open(event));
        if (unknown == unknown_events::refuse) refuse(type, stream);
    }

    [[noreturn]] void refuse(const event_type& type, const stream_id& stream) const;

    const aggregate_type& type_;
    void*                 state_ = nullptr;
    version               at_{0};
    position              last_{-1};
    version               saved_{0};
    std::uint64_t         unsaved_bytes_ = 0;
    bool                  settled_       = true;
};

}  // namespace cairn::detail
