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
// It is in __feeds, the newest record of each key:
//
//     <projection>/<topic>-<partition>            all before this offset is out,
//     <projection>/<topic>-<partition>/<offset>   but for this event, which was parked
//     <projection>/parked                         one ever was
//
// Lines of what was handled while a version was built are nobody's, and count as out. What it has
// parked then is noted so when it begins to deliver.
//
// Offsets only grow; of two that append at once one looks again.
#pragma once

#include <cairn/projections/detail/feed_lines.hpp>
#include <cairn/projections/feed_sink.hpp>
#include <cairn/projections/view.hpp>

#include <cairn/framework/event_store.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

using feed_sinks = std::map<std::string, std::shared_ptr<feed_sink>>;

/// What is parked, in the order of its places: behind that one, so many at the most.
using parked_list = std::function<std::vector<parked_event>(
    std::size_t at_most, const std::optional<parked_event>& after)>;

/// Throws invalid_argument where a feed has no sink, or a sink no feed.
void check_sinks(const std::string& projection, const feed_lines& feeds, const feed_sinks& sinks);

/// Invariants
///   - Shut, as it is at first, it lets nothing pass.
///   - What has passed once does not pass again in this process; nor in another once pass() has
///     returned.
///   - An event that was parked while it was open, or when it opened and nobody had delivered it,
///     is owed until its lines have passed, through whichever gate, or it is given up.
///   - What is in memory does not grow with how many are parked.
///
/// Threads   One at a time.
/// Lifetime  Not longer than the lines and the sinks.
/// Errors    The sinks'; what an append to the log throws.
class feed_gate
{
public:
    feed_gate(event_store events, std::string projection, feed_lines& lines,
              const feed_sinks& sinks);

    /// Notes what is owed of what is parked. Throws: it is shut, and can be opened again.
    void open(const parked_list& parked);

    /// Sees what others have noted. To be called before events are handled.
    void look();
    /// It is shut, and that event's lines have not passed an open one, which is past it.
    bool withholds(const topic_partition& in, offset at) const;

    /// Delivers what there is, but for what is out, and notes it and what is parked.
    void pass();
    /// Delivers what an event made that was parked, where it is owed.
    void pass_parked(const topic_partition& in, offset at);
    /// Nobody will deliver that parked event.
    void give_up(const topic_partition& in, offset at);

private:
    using events_of = std::vector<std::pair<topic_partition, offset>>;
    using place     = std::pair<std::size_t, topic_partition>;  // feed, partition
    struct line_number
    {
        offset        at;
        std::uint64_t number;
        friend auto   operator<=>(const line_number&, const line_number&) = default;
    };

    /// Of a partition; of an event that is owed.
    stream_id note_of(const topic_partition& in) const;
    stream_id note_of(const topic_partition& in, offset at) const;
    offset    noted(const topic_partition& in) const;
    bool      owed(const topic_partition& in, offset at) const;
    /// All before those offsets is out, but for what is newly owed; and what is paid is. What
    /// another has noted meanwhile to be out, or owed, stays so. REQUIRES: `out` is past all that
    /// is newly owed.
    void      note(const std::map<topic_partition, offset>& out, const events_of& owed_now,
                   const events_of& paid);
    feed_line whole(const emitted_line& l) const;
    void deliver(std::size_t feed, const std::vector<const emitted_line*>& lines, bool remembered);

    event_store       events_;
    const std::string projection_;
    feed_lines&       lines_;
    const feed_sinks& sinks_;

    /// Out, and not yet noted: of a delivery that failed half-way.
    std::map<place, line_number> out_;
    bool                         noted_parked_ = false;  ///< something was ever parked
};

}  // namespace cairn::detail
