// SPDX-License-Identifier: Apache-2.0
//
// Tests that read like the business. For any test framework that can print a value:
//
//     CHECK(given<Order>(order_placed("Ada"))
//               .when(AddItem{.sku = "lamp", .quantity = 2, .unit_cents = 30'00})
//               .then(item_added("lamp", 2, 30'00)));
#pragma once

#include <cairn/framework/aggregate.hpp>

#include <iosfwd>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::testing {

/// Whether it came as it should, and if not, what came instead.
struct verdict
{
    bool        ok = true;
    std::string what{};  ///< both lists of events, the difference marked

    explicit operator bool() const noexcept { return ok; }
    friend std::ostream& operator<<(std::ostream& out, const verdict& v);
};

namespace detail {

verdict expect_events(const any_decision& got, const std::vector<any_event>& wanted);
verdict expect_rejection(const any_decision& got, std::string_view reason);

}  // namespace detail

/// What a command came to.
class decided
{
public:
    explicit decided(any_decision got) : got_{std::move(got)} {}

    /// Exactly these happened, in this order.
    template <class... Es>
        requires(sizeof...(Es) > 0)
    verdict then(const event<Es>&... happened) const
    {
        return detail::expect_events(got_, {happened...});
    }

    verdict then_nothing() const { return detail::expect_events(got_, {}); }

    /// It was refused, with this reason; or with any.
    verdict then_rejected(std::string_view reason) const
    {
        return detail::expect_rejection(got_, reason);
    }
    verdict then_rejected() const { return detail::expect_rejection(got_, {}); }

private:
    any_decision got_;
};

/// An aggregate of which something has happened.
template <is_aggregate A>
class history
{
public:
    template <class... Es>
    explicit history(const event<Es>&... happened)
    {
        static_assert(cairn::detail::applies_each<A>(typename A::events{}));
        static_assert((A::events::template has<Es> && ...),
                      "given() has an event that the aggregate does not list");
        (state_.apply(happened.read()), ...);
    }

    template <class Command>
        requires decides<A, Command>
    decided when(const Command& command) const
    {
        return decided{state_.decide(command).release()};
    }

    const A& state() const noexcept { return state_; }

private:
    A state_;
};

/// The aggregate after these events; none: one that is new.
template <is_aggregate A, class... Es>
history<A> given(const event<Es>&... happened)
{
    return history<A>{happened...};
}

}  // namespace cairn::testing
