// SPDX-License-Identifier: Apache-2.0
//
// Records, opened as the events that the code knows today: unsealed, upcast, merged.
#pragma once

#include "event_store_core.hpp"

#include <cairn/framework/detail/message.hpp>

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

/// Goes through records in the order of their streams.
///
/// Invariants
///   - What two events are merged depends on where they are recorded, and not on which records are
///     read in between.
///
/// Threads   One.
/// Lifetime  What `each` is given is good until it returns.
/// Errors    malformed_event, also from open().
class event_reader
{
public:
    /// `known` names the types that `each` takes.
    event_reader(event_store_core& store, std::span<const capnp::StructSchema> known)
        : store_{store}, known_{known}, plain_{store.options.upcasters.empty()}
    {
    }

    /// Calls each(const event_type&, bytes_view message) for what the record is read as: once,
    /// several times, or not at all.
    template <class Each>
    void read(const record_view& r, Each&& each)
    {
        const auto type = event_type_of(r);
        if (plain_ && !type.personal) {
            each(type, r.value.value_or(bytes_view{}));
            return;
        }
        each_of(unfold(r, type), each);
        if (unknown_) each(type, r.value.value_or(bytes_view{}));
    }

    /// Whether an event waits for the one that it would be merged with: which that is, only the
    /// next position can tell.
    bool waits() const noexcept { return waiting_.has_value(); }
    /// Whether this record is that one.
    bool waits_for(const record_view& r) const;

    /// At the end: what waited for the event that it would be merged with.
    template <class Each>
    void finish(Each&& each)
    {
        if (!waiting_) return;
        auto alone = std::exchange(waiting_, std::nullopt);
        each_of(change(std::move(alone->event)), each);
    }

    /// It is one of the known types, or an upcaster makes something of it.
    bool knows(const event_type& type) const { return schema_of(type).has_value(); }

    /// Opens what `each` was given.
    capnp::MessageReader& open(bytes_view event) { return message_.open(event); }

private:
    template <class Each>
    void each_of(const std::vector<any_event>& events, Each&& each)
    {
        for (const auto& e : events) {
            event_type type;
            type.id   = e.type_id();
            type.name = e.type_name();
            each(std::as_const(type), e.bytes());
        }
    }

    std::optional<capnp::StructSchema> schema_of(const event_type& type) const;

    /// The type that is merged with the event that waits, where it would be this record's.
    std::optional<std::uint64_t> second_at(const record_view& r) const;

    any_event opened(const record_view& r, const event_type& type,
                     capnp::StructSchema schema) const;

    /// Sets unknown_ where the record's type has no schema here.
    std::vector<any_event> unfold(const record_view& r, const event_type& type);
    /// Follows the chain of changes to its end.
    std::vector<any_event> change(any_event e) const { return change(std::move(e), nullptr); }
    /// Or, while it comes to one event, to one that is the first of two, or of the type `second`.
    std::vector<any_event> change_to_merge(any_event                           e,
                                           const std::optional<std::uint64_t>& second) const
    {
        return change(std::move(e), &second);
    }
    std::vector<any_event> change(any_event e, const std::optional<std::uint64_t>* second) const;

    struct first_of_two
    {
        stream_id stream;
        position  at;
        any_event event;
    };

    event_store_core&                    store_;
    std::span<const capnp::StructSchema> known_;
    const bool                           plain_;
    bool                                 unknown_ = false;
    std::optional<first_of_two>          waiting_;
    message                              message_;
};

}  // namespace cairn::detail
