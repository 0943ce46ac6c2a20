// SPDX-License-Identifier: Apache-2.0
//
// When a timer goes off.
#pragma once

#include <cairn/log/ids.hpp>

#include <chrono>
#include <iosfwd>
#include <string>

namespace cairn {

/// A time to come, said from the moment of what one reacts to: the time of the event's record, or
/// the time at which a timer was due. Not from the moment at which it is handled: who was down for
/// an hour still reminds after 30 minutes, which is then at once.
class due
{
public:
    /// The time it stands for, where the cause was at `cause`; one that is too late for a timestamp
    /// is at the end of time.
    timestamp from(timestamp cause) const;

    friend bool          operator==(const due&, const due&) = default;
    friend std::ostream& operator<<(std::ostream& out, const due& d);

private:
    enum class kind {
        after,
        at,
        at_local,
        at_utc,
    };
    due(kind k, std::int64_t ms) : kind_{k}, ms_{ms} {}

    friend due after(std::chrono::milliseconds how_long);
    friend due at(timestamp when);
    friend due at_local(std::chrono::minutes of_day);
    friend due at_utc(std::chrono::minutes of_day);

    kind         kind_;
    std::int64_t ms_;
};

/// So much later: after(30min). Nothing, or less, is at once.
due after(std::chrono::milliseconds how_long);

/// Then. A time that is past is at once.
due at(timestamp when);

/// The next time that clocks here show it: at_local(9h), at_local(17h + 30min). Once a day, also
/// on the days on which clocks are changed: a time that such a day leaves out is an hour off.
/// REQUIRES: 0h <= of_day < 24h, else invalid_argument is thrown.
due at_local(std::chrono::minutes of_day);

/// The same by UTC, which knows no such days.
due at_utc(std::chrono::minutes of_day);

/// A timer that is set.
struct pending_timer
{
    std::string process;  ///< the id of the process
    std::string name;
    timestamp   at;

    friend auto operator<=>(const pending_timer&, const pending_timer&) = default;
};

}  // namespace cairn
