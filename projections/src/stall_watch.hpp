// SPDX-License-Identifier: Apache-2.0
//
// Whether a projection stands still.
#pragma once

#include <cairn/log/ids.hpp>

#include <chrono>
#include <cstdint>
#include <optional>

namespace cairn::detail {

/// Looks at a projection now and then, and says when it has not moved for too long: it has had one
/// event in its handler all the time, or it is behind and has read nothing (Burrow's rule: what is
/// committed stays, while what is not stays or grows).
///
/// Invariants
///   - What has nothing to do does not stand still, nor what has moved since the last look.
///   - It is a function of what it was shown and of the times that were passed in.
///
/// Threads   One.
/// Lifetime  A value.
class stall_watch
{
public:
    using time_point = std::chrono::steady_clock::time_point;

    /// What there is to see at one moment.
    struct sight
    {
        std::uint64_t           read = 0;    ///< events, since it began
        position                upto{0};     ///< committed
        std::uint64_t           behind = 0;  ///< events that it should go on with
        std::optional<position> handling{};  ///< the event that is in its handler

        friend bool operator==(const sight&, const sight&) = default;
    };

    explicit stall_watch(std::chrono::milliseconds after) : after_{after} {}

    /// Since when it stands still; nullopt: it does not, or not for long enough.
    std::optional<time_point> look(const sight& now, time_point at)
    {
        const bool moved =
            now.read != last_.read || now.upto != last_.upto || now.handling != last_.handling;
        if (moved || !since_ || (now.behind == 0 && !now.handling)) since_ = at;
        last_ = now;
        return at - *since_ >= after_ ? since_ : std::nullopt;
    }

private:
    std::chrono::milliseconds after_;
    sight                     last_{};
    std::optional<time_point> since_;
};

}  // namespace cairn::detail
