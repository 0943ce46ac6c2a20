// SPDX-License-Identifier: Apache-2.0
//
// Where lines leave a version of a projection. Before its tables and its checkpoint are committed:
//
//     each sink:               the lines of the batch
//     one append to the log:   "of this partition all lines before that offset are out"
//     one commit of the store: the rows, and how far it is
//
// A crash after the first makes the lines come again, with the ids that they had. One after the
// second does not. What is out is kept in the log, not with the tables, so that it is the same for
// all versions of them: one that is made again, swapped back to, or kept in memory does not deliver
// what another has.
//
// It is the newest record of __feeds whose key is <projection>/<topic>-<partition>: the offset, as
// text. It only grows; of two that append at once one looks again.
#pragma once

#include <cairn/projections/detail/feed_lines.hpp>
#include <cairn/projections/feed_sink.hpp>

#include <cairn/framework/event_store.hpp>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

using feed_sinks = std::map<std::string, std::shared_ptr<feed_sink>>;

/// Throws invalid_argument where a feed has no sink, or a sink no feed.
void check_sinks(const std::string& projection, const feed_lines& feeds, const feed_sinks& sinks);

/// Invariants
///   - Shut, as it is at first, it lets nothing pass.
///   - What has passed once does not pass again in this process; nor in another once pass() has
///     returned.
///
/// Threads   One at a time.
/// Lifetime  Not longer than the lines and the sinks.
/// Errors    The sinks'; what an append to the log throws.
class feed_gate
{
public:
    feed_gate(event_store events, std::string projection, feed_lines& lines,
              const feed_sinks& sinks);

    void open() { lines_.collect(true); }

    /// Delivers what there is, but for what is out.
    void pass();
    /// The same of an event that was parked: that later ones are out says nothing of it.
    void pass_parked();

private:
    using place = std::pair<std::size_t, topic_partition>;  // feed, partition
    struct line_number
    {
        offset        at;
        std::uint64_t number;
        friend auto   operator<=>(const line_number&, const line_number&) = default;
    };

    stream_id note_of(const topic_partition& in) const;
    offset    noted(const topic_partition& in) const;
    void      note(const std::map<topic_partition, offset>& out) const;
    feed_line whole(const emitted_line& l) const;
    void deliver(std::size_t feed, const std::vector<const emitted_line*>& lines, bool remembered);

    event_store       events_;
    const std::string projection_;
    feed_lines&       lines_;
    const feed_sinks& sinks_;

    /// Out, and not yet noted: of a delivery that failed half-way.
    std::map<place, line_number> out_;
};

}  // namespace cairn::detail
