// SPDX-License-Identifier: Apache-2.0
//
// Queries against one run: the posting lists of an item leap over each other's gaps, the rarest
// first, until all stand at the same position.
#pragma once

#include "index/run.hpp"

#include <boost/container/small_vector.hpp>

#include <optional>

namespace cairn::detail {

/// Threads   One.
/// Lifetime  The run outlives it.
class run_query
{
public:
    run_query(const run& r, const query_terms& q);

    /// The newest match <= `bound`, or the oldest >= `bound`. One query object goes one way:
    /// no bound may lie behind the last.
    std::optional<std::int64_t> previous(std::int64_t bound);
    std::optional<std::int64_t> next(std::int64_t bound);

private:
    using cursors = boost::container::small_vector<term_cursor, 4>;
    struct item
    {
        cursors                     types;  // one of them, where there are any
        cursors                     tags;   // all of them, rarest first
        std::optional<std::int64_t> found;  // as last asked for
        bool                        exhausted = false;
    };

    bool add_item(const query_terms::item& wanted);

    /// Positions are relative to the run here; -1 where there is none.
    template <direction D>
    static std::int64_t seek(term_cursor& c, std::int64_t bound);
    template <direction D>
    static std::int64_t seek_any(cursors& types, std::int64_t bound);
    template <direction D>
    std::int64_t seek_all(item& i, std::int64_t bound) const;
    template <direction D>
    std::optional<std::int64_t> step(std::int64_t bound);

    const run*                              run_;
    boost::container::small_vector<item, 2> items_;
};

}  // namespace cairn::detail
