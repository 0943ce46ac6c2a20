// SPDX-License-Identifier: Apache-2.0
//
// Tests of projections that read like the business:
//
//     CHECK(given<Revenue>(confirmed("Ada", 30'00), confirmed("Bob", 5'00))
//               .expect(&Revenue::spent, {{"Ada", 3000}, {"Bob", 500}}));
#pragma once

#include <cairn/projections/projection_runner.hpp>

#include <cairn/framework/testing.hpp>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::testing {

namespace detail {

/// Events of one stream.
struct told_stream
{
    stream_id              id;
    std::vector<any_event> events;
};

/// The rows of one table, a line each; "" where all is well, else what is not.
struct projected
{
    std::vector<std::string> rows;
    std::string              wrong;
};

/// Projects them in every way that must come to the same, and returns what `number`, a table, has.
projected project(const cairn::detail::projection_type& type,
                  const std::vector<told_stream>& streams, std::size_t number, bool any_order);

verdict compare_rows(const std::vector<std::string>& wanted, const projected& got);

std::string row_text(const table_shape& shape, bytes_view key, bytes_view value);

}  // namespace detail

/// A read model of which something has happened.
///
/// expect() projects the events in several ways, which must all come to the same tables: at once;
/// with a commit and a restart after each event; a second time from the beginning; and with the
/// events of different streams in other orders, since these may be in different partitions. In each
/// way every event has the same time; its position differs with the order. Where a projection is
/// meant for one order (one partition), say in_this_order().
///
/// Invariants
///   - What it comes to in one way and not in another is a failed verdict, which says in which.
///
/// Threads   One.
/// Lifetime  A value.
/// Errors    What on() throws, as projection_failed.
template <is_projection P>
class projection_history
{
public:
    template <class... Es>
    explicit projection_history(const event<Es>&... happened)
    {
        in({"given", "given"}, happened...);
    }

    /// Adds events of a stream of their own.
    template <class... Es>
    projection_history& in(stream_id stream, const event<Es>&... happened)
    {
        static_assert((P::events::template has<Es> && ...),
                      "given() has an event that the projection does not list");
        if constexpr (sizeof...(Es) > 0) streams_.push_back({std::move(stream), {happened...}});
        return *this;
    }

    /// Streams are not to be mixed in other orders.
    projection_history& in_this_order()
    {
        any_order_ = false;
        return *this;
    }

    /// A table has these rows, and no others.
    template <class Key, class Value>
    verdict expect(table<Key, Value> P::*which, const std::vector<row<Key, Value>>& rows) const
    {
        const P                  one;
        const auto               number = (one.*which).number();
        auto&                    base   = const_cast<P&>(one);
        const auto&              shape  = cairn::detail::access_of(base).shapes()[number];
        std::vector<std::string> wanted;
        for (const auto& r : rows) {
            std::string key, value;
            cairn::detail::put_key(key, r.key);
            cairn::detail::put_row(value, r.value);
            wanted.push_back(detail::row_text(shape, key, value));
        }
        return detail::compare_rows(
            wanted, detail::project(cairn::detail::describe_projection<P>(typename P::events{}),
                                    streams_, number, any_order_));
    }

private:
    std::vector<detail::told_stream> streams_;
    bool                             any_order_ = true;
};

/// The read model after these events, of one stream.
template <is_projection P, class... Es>
projection_history<P> given(const event<Es>&... happened)
{
    return projection_history<P>{happened...};
}

}  // namespace cairn::testing
