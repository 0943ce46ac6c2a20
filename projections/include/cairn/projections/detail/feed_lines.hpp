// SPDX-License-Identifier: Apache-2.0
//
// What a projection's feeds were given, until it is delivered.
#pragma once

#include <cairn/projections/table_store.hpp>

#include <cairn/framework/origin.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

struct emitted_line
{
    std::size_t     feed;  ///< its number
    topic_partition in;
    offset          at;
    position        where;
    std::uint64_t   number;  ///< among the lines of that feed and event, from 0
    std::string     text;    ///< "key":…,"value":…
};

/// Invariants
///   - Lines are kept in the order in which they were emitted, and only while they are collected.
///
/// Threads   One at a time.
/// Errors    not_writing, invalid_argument.
class feed_lines
{
public:
    std::size_t add(table_shape shape, std::vector<std::string> columns);

    const std::vector<table_shape>& shapes() const noexcept { return shapes_; }
    const table_shape&              shape(std::size_t feed) const { return shapes_[feed]; }

    /// From now on somebody will deliver them.
    void collect() noexcept { collects_ = !shapes_.empty(); }
    bool collects() const noexcept { return collects_; }

    /// As long as it lives, lines are that event's.
    class of_event
    {
    public:
        of_event(feed_lines& lines, const origin& from) noexcept : lines_{lines}
        {
            lines_.from_ = &from;
        }
        ~of_event() { lines_.from_ = nullptr; }
        of_event(const of_event&)            = delete;
        of_event& operator=(const of_event&) = delete;

    private:
        feed_lines& lines_;
    };

    /// False: a line would go nowhere. Throws not_writing where no event is handled.
    bool wants(std::size_t feed) const;
    /// REQUIRES: wants().
    void emit(std::size_t feed, std::string text);

    /// That event makes its lines another time.
    void park(const topic_partition& in, offset at);

    const std::vector<emitted_line>&                       all() const noexcept { return all_; }
    const std::vector<std::pair<topic_partition, offset>>& parked() const noexcept
    {
        return parked_;
    }
    bool        empty() const noexcept { return bytes_ == 0; }
    std::size_t bytes() const noexcept { return bytes_; }

    void clear() noexcept;

private:
    std::vector<table_shape>                        shapes_;
    std::vector<emitted_line>                       all_;
    std::vector<std::pair<topic_partition, offset>> parked_;
    /// The newest line of each feed, by its number in all_.
    std::vector<std::optional<std::size_t>> newest_;
    const origin*                           from_     = nullptr;
    std::size_t                             bytes_    = 0;
    bool                                    collects_ = false;
};

}  // namespace cairn::detail
