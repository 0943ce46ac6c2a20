// SPDX-License-Identifier: Apache-2.0
//
// The timers of one process manager that are set: a fold of the topic __timers.
#pragma once

#include "event_store_core.hpp"

#include <cairn/framework/timers.hpp>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace cairn::detail {

inline constexpr const char* timers_topic = "__timers";

/// A timer, and what is carried on from its cause when it goes off.
struct set_timer
{
    timestamp       at;
    position        set_at;  ///< of its record: no other timer ever has it
    command_context carried;
    int             chain = 0;  ///< timers that led to it, one by the other, no time between them
};

/// Threads   One.
/// Errors    From folding: what the log throws, malformed_event.
class process_timers
{
public:
    using id = std::pair<std::string, std::string>;  ///< process, name

    /// What the record of a timer has as its key. A name has no '/', so keys are distinct.
    static std::string key_of(const std::string& topic, const id& timer)
    {
        return topic + "/" + timer.first + "/" + timer.second;
    }

    void fold(event_store_core& store, const std::string& topic);

    bool has(const id& timer) const { return by_id_.count(timer) > 0; }
    void set(const id& timer, set_timer as);
    void remove(const id& timer);

    /// The one that is due first; of several the one that was set first.
    std::optional<std::pair<id, set_timer>> first() const;

    /// The one that this record set; nullopt where it is set no longer.
    std::optional<std::pair<id, set_timer>> set_at(position record) const;

    std::vector<pending_timer> pending() const;

private:
    std::map<id, set_timer>                       by_id_;
    std::set<std::tuple<timestamp, position, id>> by_time_;
};

}  // namespace cairn::detail
