// SPDX-License-Identifier: Apache-2.0
//
// What a command comes to: events, nothing, or a refusal with its reason.
#pragma once

#include <cairn/framework/event.hpp>

#include <iosfwd>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn {

/// Why not: an answer of the domain, no fault.
struct rejection
{
    std::string reason;  ///< a sentence for whoever asked

    friend bool          operator==(const rejection&, const rejection&) = default;
    friend std::ostream& operator<<(std::ostream& out, const rejection& r);
};

inline rejection reject(std::string reason) { return {std::move(reason)}; }

/// A decision without its types: what is executed.
struct any_decision
{
    std::vector<any_event>   events;
    std::optional<rejection> rejected;
};

/// What decide() returns. Converts from
///   - an event:               return item_added("lamp", 2);
///   - several, in order:      return {order_placed("Ada"), item_added("lamp", 2)};
///   - nothing happens:        return {};
///   - a refusal:              return reject("the order is not open");
template <class... Events>
class decision
{
public:
    decision() = default;
    decision(rejection why) { all_.rejected = std::move(why); }

    template <class... Es>
        requires(sizeof...(Es) > 0)
    decision(event<Es>... happened)
    {
        static_assert((event_list<Events...>::template has<Es> && ...),
                      "decide() returns an event that its aggregate does not list: "
                      "name it in aggregate<...>");
        all_.events.reserve(sizeof...(Es));
        (all_.events.push_back(std::move(happened)), ...);
    }

    /// One event more; for decisions of which the number is not known beforehand.
    template <class E>
    decision& add(event<E> happened)
    {
        static_assert(event_list<Events...>::template has<E>,
                      "decide() adds an event that its aggregate does not list: "
                      "name it in aggregate<...>");
        all_.events.push_back(std::move(happened));
        return *this;
    }

    const std::vector<any_event>&   events() const noexcept { return all_.events; }
    const std::optional<rejection>& rejected() const noexcept { return all_.rejected; }

    any_decision release() && { return std::move(all_); }

private:
    any_decision all_;
};

}  // namespace cairn
