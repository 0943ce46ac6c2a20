// SPDX-License-Identifier: Apache-2.0
//
// A projection that is kept nowhere: folded from the log when it is asked for.
#pragma once

#include <cairn/projections/view.hpp>

#include <cairn/framework/event_store.hpp>

#include <optional>
#include <string>
#include <vector>

namespace cairn {

struct fold_options
{
    /// As of this position; none: now.
    std::optional<position> upto{};

    /// Of this stream only.
    std::optional<stream_id> stream{};

    /// Else of these topics; none: all that are not internal.
    std::vector<std::string> topics{};

    /// Of these only the events that match; an item without types means all that are listed.
    std::optional<cairn::query> query{};
};

namespace detail {

bound_projection fold(const event_store& events, const projection_type& type,
                      const fold_options& o);

}  // namespace detail

/// The read model as the log says it now, or as of a position: in memory, for this reading.
///
///     const auto order = cairn::fold<OrderDetail>(log, {.stream = {{"orders", "o-1"}}});
///     const auto then  = cairn::fold<Revenue>(log, {.upto = position{4'711}});
///
/// It takes as long as its events take to read: of a stream microseconds, of a whole log as long as
/// a rebuild. What is asked for often is better kept by a projection_runner.
///
/// Threads   Any.
/// Errors    What on() throws; the log's.
template <is_projection P>
reading<P> fold(const event_store& events, const fold_options& o = {})
{
    return reading<P>{
        detail::fold(events, detail::describe_projection<P>(typename P::events{}), o)};
}

}  // namespace cairn
