// SPDX-License-Identifier: Apache-2.0
//
// What would a changed decider have decided? History, decided once more.
#pragma once

#include <cairn/framework/repository.hpp>

#include <concepts>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace cairn {

/// A decision of the past that would be another now.
struct replay_difference
{
    stream_id              stream;
    version                at;  ///< of its first event
    cairn::position        position;
    std::vector<any_event> recorded;
    any_decision           now;

    /// Both, as JSON, the difference marked.
    std::string text() const;
};

struct replay_result
{
    std::uint64_t streams    = 0;
    std::uint64_t incomplete = 0;  ///< of them: left where retention or compaction took an event
    std::uint64_t decisions  = 0;  ///< that were made again
    std::uint64_t skipped    = 0;  ///< `again` had no answer

    /// At most `differences_max`; `different` counts all.
    std::vector<replay_difference> differences;
    std::uint64_t                  different = 0;
};

namespace detail {

/// What to decide again, of the events that were recorded; nullopt: not to be asked.
using decide_again = std::function<std::optional<any_decision>(
    const void* state, const std::vector<any_event>& recorded)>;

replay_result replay(const event_store& store, const std::string& topic,
                     const aggregate_type& type, const decide_again& again,
                     std::size_t differences_max);

}  // namespace detail

/// Goes through all streams of a topic, decision by decision, and asks `again` what would be
/// decided now, on the state as it was then; tells where that is not what was recorded. Nothing is
/// recorded. Commands are not on the log, so `again` makes one of the events that it came to:
///
///     auto changes = cairn::replay<Account>(store, "accounts",
///         [](const Account& then, const std::vector<cairn::any_event>& recorded)
///             -> std::optional<Account::decision> {
///             if (const auto e = recorded.front().as<Withdrawn>())
///                 return then.decide(Withdraw{e->read()->getCents()});
///             return std::nullopt;
///         });
///     for (const auto& d : changes.differences) std::cout << d.text();
///
/// Each decision is decided on what was recorded, not on what would have come of the others. Behind
/// an event that was removed nothing of its stream is.
///
/// Threads  Any; the log may go on meanwhile.
/// Errors   unknown_event and what reading throws; what `again` throws.
template <is_aggregate A, class Again>
    requires std::is_invocable_r_v<std::optional<typename A::decision>, const Again&, const A&,
                                   const std::vector<any_event>&>
replay_result replay(const event_store& store, const std::string& topic, const Again& again,
                     std::size_t differences_max = 100)
{
    return detail::replay(
        store, topic, detail::describe<A>(typename A::events{}),
        [&](const void* state,
            const std::vector<any_event>& recorded) -> std::optional<any_decision> {
            std::optional<typename A::decision> d =
                again(*static_cast<const A*>(state), recorded);
            if (!d) return std::nullopt;
            return std::move(*d).release();
        },
        differences_max);
}

}  // namespace cairn
