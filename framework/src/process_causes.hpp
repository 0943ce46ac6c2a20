// SPDX-License-Identifier: Apache-2.0
//
// What a process manager reacts to.
#pragma once

#include "event_reader.hpp"
#include "process_timers.hpp"

#include <cairn/framework/process_runner.hpp>

#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

/// One or more events that a record is read as, or a timer.
struct process_cause
{
    struct part
    {
        const process_type::heard_entry* as;
        any_event                        event;
    };

    position                at;       ///< of the record that it comes from
    std::optional<position> first{};  ///< of the one that waited to be merged with that
    timestamp               time{};   ///< what after() counts from
    stream_id               from{};
    position                next;  ///< all before it is handled afterwards
    command_context         carried{};
    std::vector<part>       parts{};
    std::exception_ptr      unreadable{};  ///< what reading it threw
    std::optional<std::pair<process_timers::id, set_timer>> timer{};
    timestamp shown{};  ///< by the clock, when the timer went off

    /// "the event at position 7 (OrderPlaced)"
    std::string text() const;
};

/// The events of a log that a process manager listens to.
///
/// Invariants
///   - They come in the order of their positions, none is left out and none comes twice, until
///     reset().
///
/// Threads   One.
/// Lifetime  Store and type outlive it.
/// Errors    What the log throws. An event that cannot be read is a cause that says so.
class process_causes
{
public:
    process_causes(event_store_core& store, const process_type& type);

    /// The next one, where its position is less than `before`; nullopt where there is none. The
    /// first time, and after reset(), it begins at `from`.
    std::optional<process_cause> next(position from, const std::optional<position>& before);

    /// Begins anew at the next next().
    void reset();
    /// At the end of what is there: holds no segment while nobody reads.
    void rest();

    /// What has not been read: where there will be more.
    record_range news() const;

private:
    const record_view* next_record(position from);
    process_cause      cause_of(const record_view& r);
    process_cause      finished();
    void               take(process_cause& into, const event_type& t, bytes_view e) const;

    event_store_core&            store_;
    const process_type&          type_;
    query                        heard_;
    std::optional<event_reader>  reader_;
    std::optional<record_range>  reading_;
    const record_view*           ahead_ = nullptr;  // read, not returned
    std::optional<process_cause> held_;             // for a second that it is merged with
    position                     read_to_;
};

}  // namespace cairn::detail
