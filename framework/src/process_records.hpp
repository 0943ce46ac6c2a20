// SPDX-License-Identifier: Apache-2.0
//
// What the runner of a process manager keeps on the log: what its causes came to, the timers that
// are set, how far it is, and what it was told to skip.
//
//     <topic>/<process>          the processes' own events
//     <topic>/cairn-skipped      CauseSkipped: what was skipped, and why
//     <another>/<key>            messages that were posted
//     __timers/<topic>/…         TimerSet; a tombstone where it went off or was cancelled
//     __processes/<topic>        ProcessCheckpoint
#pragma once

#include "checkpoint.hpp"
#include "process_timers.hpp"

#include <cairn/framework/process_manager.hpp>

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

/// The stream of what was skipped; no process may be called so.
inline constexpr const char* skipped_id = "cairn-skipped";

/// What causes came to, in the order in which they came to it. Each has with it what it carries on
/// from its cause.
struct process_changes
{
    struct own_event
    {
        std::string     process;
        any_event       happened;
        command_context carried;
    };
    struct posting
    {
        any_reaction::posting what;
        command_context       carried;
    };
    struct timer_change
    {
        std::optional<timestamp> at;  ///< none: it is cancelled, or went off
        int                      chain = 0;
        command_context          carried{};
    };

    std::vector<own_event>                     events{};
    std::vector<posting>                       posted{};
    std::map<process_timers::id, timer_change> timers{};  ///< the last change of each
    int                                        sent = 0;  ///< commands, which are on their way

    bool nothing() const noexcept
    {
        return events.empty() && posted.empty() && timers.empty() && sent == 0;
    }

    void add(process_changes&& later);
};

/// Invariants
///   - What is recorded is recorded whole, in one append, with how far that brings the runner; or
///     not at all.
///   - Of several that have begun for one topic, the one that began last records.
///   - A timer that has begun to send is the next to be handled, until it is recorded or skipped.
///   - The timers here are those of the records of __timers.
///
/// Threads   next() and pending() from any; one at a time for the rest.
/// Lifetime  The store outlives it.
/// Errors    fenced_generation where another has begun; what the log throws.
class process_records
{
public:
    process_records(event_store_core& store, std::string topic);

    /// Begins, and so ends others: where the last one was, or `from` where there was none.
    void claim(position from);
    /// Throws fenced_generation where another has begun.
    void check() const { progress_.check(); }

    enum class answer {
        recorded,
        repeated,  ///< it had been before: what is in memory is not what is on the log
        moved,     ///< a process's stream has another version than in `seen`; nothing is recorded
    };
    /// Records what causes came to that read processes at the versions in `seen`, and that all
    /// before `next` is handled. `command_id` is of the last of them. `before_append` may be called
    /// several times, and its throw is passed on.
    answer record(const process_changes& what, const std::map<std::string, version>& seen,
                  position next, const std::string& command_id,
                  const std::function<void()>& before_append);

    /// A timer that has begun to send commands.
    struct going_off
    {
        process_timers::id id;
        set_timer          timer;
        timestamp          shown;  ///< by the clock, when it did
    };
    /// Records that it has: it is what is handled next, also by one that begins later.
    void begin(const set_timer& timer, timestamp shown);
    /// The one that has, until what came of it is recorded, or it is skipped.
    std::optional<going_off> begun() const;

    /// That all before `next` is handled, of which so many causes came to nothing. It is recorded
    /// now and then, so that a start does not go through all of them again; handled again, they
    /// come to nothing again.
    void pass_over(std::size_t causes, position next);

    struct skipped
    {
        std::vector<position>             records;  ///< that the cause is made of
        std::optional<process_timers::id> timer;    ///< where it is one: it does not go off
        std::string                       reason, failure;
        command_context                   carried;
    };
    /// Records that the cause is not handled, and that all before `next` is done with.
    void skip(const skipped& what, position next);

    position                   next() const noexcept;
    std::vector<pending_timer> pending() const;

    std::optional<std::pair<process_timers::id, set_timer>> first_timer() const
    {
        return timers_.first();
    }

private:
    stream_id stream_of(const process_timers::id& timer) const
    {
        return {timers_topic, process_timers::key_of(topic_, timer)};
    }
    struct begun_timer
    {
        position  set_at;
        timestamp shown;
    };
    any_event     checkpoint_at(position next, const std::optional<begun_timer>& begun = {}) const;
    append_record record_of(const process_timers::id&            timer,
                            const process_changes::timer_change& change) const;

    /// In memory what is on disk now, the records of timers from there on.
    void keep(const process_changes& what, position next, position timers_from);

    event_store_core& store_;
    commit_log&       log_;
    const std::string topic_;
    checkpoint        progress_;
    std::int64_t      generation_ = 0;
    std::size_t       unrecorded_ = 0;  // causes that came to nothing

    std::optional<begun_timer> begun_;

    // The thread that works changes them under the mutex, and reads them without.
    mutable std::mutex mutex_;
    position           next_;
    process_timers     timers_;
};

}  // namespace cairn::detail
