// SPDX-License-Identifier: Apache-2.0
//
// What flows make goes to its topics before the tables, and how far they have come, are committed:
//
//     one append to the log:   the events, and "all that positions up to p caused is there"
//     one commit of the store: the rows, and "all up to q is in the tables"
//
// A crash between the two leaves q behind p. The events from q on are handled again, and come to
// the same, as the tables are what they were then; what positions up to p caused is not appended a
// second time. Where batches begin and end does not matter, nor which version of the tables it is.
//
// p is the newest record of __flows under the projection's name: the position as text. Of two that
// append at once, only one finds it as it was; the other looks again.
#include <cairn/projections/detail/flow_output.hpp>

#include <cairn/framework/detail/event_record.hpp>

#include <algorithm>
#include <charconv>
#include <map>

namespace cairn::detail {

namespace {

constexpr const char* flows_topic = "__flows";

position appended_upto(const commit_log& log, const stream_id& progress)
{
    auto        newest = log.read_stream_backwards(progress);
    const auto* r      = newest.next();
    position    p{-1};
    if (r == nullptr || !r->value) return p;
    const auto end = r->value->data() + r->value->size();
    if (const auto read = std::from_chars(r->value->data(), end, p.value);
        read.ec != std::errc{} || read.ptr != end)
        throw error{errc::malformed_event, "the newest record of " + progress.topic + "/" +
                                               progress.key +
                                               " is no position: somebody else "
                                               "wrote it; delete it"};
    return p;
}

}  // namespace

void append_outputs(const event_store& events, const std::string& projection,
                    std::span<const flow_output> all)
{
    auto            log = events.log();
    const stream_id progress{flows_topic, projection};
    topic_config    compacted;
    compacted.cleanup_delete  = false;
    compacted.cleanup_compact = true;
    log.ensure_topic(progress.topic, 1, compacted);

    for (;;) {
        // The version first: what is appended between the two reads makes ours be refused.
        const auto at   = log.stream_version(progress);
        const auto done = appended_upto(log, progress);
        auto       upto = done;

        append_request               request;
        std::map<stream_id, version> next;
        for (const auto& o : all) {
            if (o.cause <= done) continue;
            upto             = std::max(upto, o.cause);
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
        if (upto == done) return;
        request.expect.push_back({progress, expected_version::exactly(at)});
        request.records.push_back({progress.topic, {progress.key, std::to_string(upto.value)}});
        const auto result = log.try_append(request);
        if (result) return;
        if (result.error().code != errc::wrong_expected_version)
            throw append_refused{result.error()};
        // Another has written meanwhile. Each time one of us got on, so this ends.
    }
}

}  // namespace cairn::detail
