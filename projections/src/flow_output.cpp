// SPDX-License-Identifier: Apache-2.0
//
// What flows make goes to its topics before the tables, and how far they have come, are committed:
//
//     one append to the log:   the events, and "all that offsets before p of this partition
//                              caused is there", of each partition that they are from
//     one commit of the store: the rows, and "all before q of this partition is in the tables"
//
// A crash between the two leaves q behind p. The events from q on are handled again, and come to
// the same, as the tables are what they were then; what offsets before p caused is not appended a
// second time. Where batches begin and end does not matter, nor which version of the tables it is,
// nor who handles which partition. (In a group others may have changed the tables meanwhile. What
// is in the topic stays as it is.)
//
// It is in __flows, the newest record of each key:
//
//     <projection>/<topic>-<partition>   all that events before this offset caused is there
//
// By partition and not by position: in a group one member may be past what another comes to only
// now. Offsets only grow; of two that append at once one looks again.
#include <cairn/projections/detail/flow_output.hpp>

#include "partition_note.hpp"

#include <cairn/framework/detail/event_record.hpp>

#include <algorithm>
#include <map>

namespace cairn::detail {

namespace {

constexpr const char* flows_topic = "__flows";

/// Of a partition that outputs are from.
struct partition_progress
{
    stream_id note;
    version   at;
    offset    done, upto;  // as it is noted; as it will be
};

}  // namespace

void append_outputs(const event_store& events, const std::string& projection,
                    std::span<const flow_output> all)
{
    auto log = events.log();
    ensure_notes(log, flows_topic);

    for (;;) {
        append_request                                request;
        std::map<topic_partition, partition_progress> partitions;
        std::map<stream_id, version>                  next;
        for (const auto& o : all) {
            auto [from, seen_first] = partitions.try_emplace(o.in);
            auto& p                 = from->second;
            if (seen_first) {
                // The version first: what is appended between the two reads makes ours be refused.
                p.note = note_of(flows_topic, projection, o.in);
                p.at   = log.stream_version(p.note);
                p.done = p.upto = noted_in(log, p.note);
            }
            if (o.at < p.done) continue;
            p.upto           = std::max(p.upto, o.at.next());
            auto [in, first] = next.try_emplace(o.to);
            if (first) {
                in->second = log.stream_version(o.to);
                request.expect.push_back({o.to, expected_version::exactly(in->second)});
            }
            auto r      = record_of(events, o.event, o.to, in->second, o.carried);
            r.timestamp = o.time;
            in->second  = in->second.next();
            request.records.push_back({o.to.topic, std::move(r)});
        }
        if (request.records.empty()) return;
        for (const auto& [in, p] : partitions) {
            if (p.upto == p.done) continue;
            request.expect.push_back({p.note, expected_version::exactly(p.at)});
            request.records.push_back({p.note.topic, {p.note.key, std::to_string(p.upto.value)}});
        }
        const auto result = log.try_append(request);
        if (result) return;
        if (result.error().code != errc::wrong_expected_version)
            throw append_refused{result.error()};
        // Another has written meanwhile. Each time one of us got on, so this ends.
    }
}

}  // namespace cairn::detail
