// SPDX-License-Identifier: Apache-2.0
#include "feed_gate.hpp"

#include "partition_note.hpp"

#include <cairn/projections/detail/json_text.hpp>

#include <algorithm>
#include <span>

namespace cairn::detail {

namespace {

constexpr const char* feeds_topic = "__feeds";

/// So many of what is parked are looked at together.
constexpr std::size_t parked_at_once = 256;

}  // namespace

void check_sinks(const std::string& projection, const feed_lines& feeds, const feed_sinks& sinks)
{
    for (const auto& feed : feeds.shapes())
        if (const auto to = sinks.find(feed.name); to == sinks.end() || !to->second)
            throw error{errc::invalid_argument,
                        "feed " + feed.name + " of projection " + projection +
                            " goes nowhere: give its sink in projection_options::feeds"};
    for (const auto& [name, sink] : sinks)
        if (std::none_of(feeds.shapes().begin(), feeds.shapes().end(),
                         [&, &wanted = name](const table_shape& s) { return s.name == wanted; }))
            throw error{errc::invalid_argument, "projection " + projection + " has no feed '" +
                                                    name + "': leave its sink out"};
}

feed_gate::feed_gate(event_store events, std::string projection, feed_lines& lines,
                     const feed_sinks& sinks)
    : events_{std::move(events)}, projection_{std::move(projection)}, lines_{lines}, sinks_{sinks}
{
}

stream_id feed_gate::note_of(const topic_partition& in) const
{
    return detail::note_of(feeds_topic, projection_, in);
}

stream_id feed_gate::note_of(const topic_partition& in, offset at) const
{
    auto note = note_of(in);
    note.key += "/" + std::to_string(at.value);
    return note;
}

offset feed_gate::noted(const topic_partition& in) const
{
    return noted_in(events_.log(), note_of(in));
}

bool feed_gate::owed(const topic_partition& in, offset at) const
{
    if (!noted_parked_) return false;
    auto        newest = events_.log().read_stream_backwards(note_of(in, at));
    const auto* r      = newest.next();
    return r != nullptr && r->value;
}

void feed_gate::open(const parked_list& parked)
{
    if (lines_.shapes().empty()) return;
    look();
    std::optional<parked_event> last;
    for (auto some = parked(parked_at_once, last); !some.empty();
         some      = parked(parked_at_once, last)) {
        ensure_notes(events_.log(), feeds_topic);
        std::map<topic_partition, offset> before, after;
        events_of                         owed_now;
        for (const auto& e : some) {
            const auto [known, first] = before.try_emplace(e.in);
            if (first) known->second = noted(e.in);
            if (e.at < known->second) continue;
            owed_now.emplace_back(e.in, e.at);
            after[e.in] = e.at.next();
        }
        note(after, owed_now, {});
        // Nor need the others be looked at that are before the note of their partition.
        last     = std::move(some.back());
        last->at = std::max(last->at, before.at(last->in) - 1);
    }
    lines_.collect();
}

void feed_gate::look()
{
    const auto& log = events_.log();
    if (lines_.shapes().empty() || !log.try_describe_topic(feeds_topic)) return;
    noted_parked_ = log.stream_version({feeds_topic, projection_ + "/parked"}) > version{0};
}

bool feed_gate::withholds(const topic_partition& in, offset at) const
{
    return !lines_.collects() && owed(in, at);
}

void feed_gate::note(const std::map<topic_partition, offset>& out, const events_of& owed_now,
                     const events_of& paid)
{
    auto log = events_.log();
    for (;;) {
        append_request request;
        const auto     add = [&](std::string key, std::optional<std::string> value) {
            record r;
            r.key   = std::move(key);
            r.value = std::move(value);
            request.records.push_back({feeds_topic, std::move(r)});
        };
        std::map<topic_partition, offset> before;
        for (const auto& [in, upto] : out) {
            // The version first: what is appended between the two reads makes ours be refused.
            const auto progress = note_of(in);
            const auto at       = log.stream_version(progress);
            if ((before[in] = noted(in)) >= upto) continue;
            request.expect.push_back({progress, expected_version::exactly(at)});
            add(progress.key, std::to_string(upto.value));
        }
        bool owes = false;
        for (const auto& [in, at] : owed_now)
            if (at >= before.at(in)) {
                add(note_of(in, at).key, "parked");
                owes = true;
            }
        for (const auto& [in, at] : paid) add(note_of(in, at).key, std::nullopt);
        if (owes && !noted_parked_) add(projection_ + "/parked", "ever");
        if (request.records.empty()) return;
        const auto result = log.try_append(request);
        if (result) {
            noted_parked_ = noted_parked_ || owes;
            return;
        }
        if (result.error().code != errc::wrong_expected_version)
            throw append_refused{result.error()};
        // Another has noted something meanwhile. Notes only grow, so this ends.
    }
}

feed_line feed_gate::whole(const emitted_line& l) const
{
    const auto& feed = lines_.shape(l.feed).name;
    feed_line   line{projection_ + "/" + feed + "/" + text_of(l.in) + "/" +
                       std::to_string(l.at.value) + "/" + std::to_string(l.number),
                   {}};
    auto&       json = line.json;
    json             = "{\"id\":";
    put_json_text(json, line.id);
    json += ",\"feed\":";
    put_json_text(json, feed);
    json += ",\"projection\":";
    put_json_text(json, projection_);
    json += ",\"topic\":";
    put_json_text(json, l.in.topic);
    json += ",\"partition\":" + std::to_string(l.in.partition) +
            ",\"offset\":" + std::to_string(l.at.value) +
            ",\"position\":" + std::to_string(l.where.value) + "," + l.text + "}";
    return line;
}

void feed_gate::deliver(std::size_t feed, const std::vector<const emitted_line*>& lines,
                        bool remembered)
{
    std::vector<feed_line> whole_ones;
    for (const auto* l : lines) whole_ones.push_back(whole(*l));
    auto&       sink = *sinks_.at(lines_.shape(feed).name);
    std::size_t done = 0;
    while (done < lines.size()) {
        const auto taken =
            std::min(sink.deliver(std::span{whole_ones}.subspan(done)), lines.size() - done);
        for (const auto end = done + std::max(taken, std::size_t{1}); done < end; ++done)
            if (remembered) out_[{feed, lines[done]->in}] = {lines[done]->at, lines[done]->number};
    }
}

void feed_gate::pass()
{
    if (lines_.empty()) return;
    ensure_notes(events_.log(), feeds_topic);

    std::map<topic_partition, offset>             before;  // out before this batch
    std::map<topic_partition, offset>             after;
    events_of                                     paid, owed_now;
    std::vector<std::vector<const emitted_line*>> of_feed(lines_.shapes().size());
    const auto                                    out_before = [&](const topic_partition& in) {
        const auto [known, first] = before.try_emplace(in);
        if (first) known->second = noted(in);
        return known->second;
    };
    for (const auto& l : lines_.all()) {
        const std::pair event{l.in, l.at};
        if (l.at >= out_before(l.in))
            after[l.in] = l.at.next();
        else if (paid.empty() || paid.back() != event) {
            if (!owed(l.in, l.at)) continue;
            paid.push_back(event);
        }
        const auto done = out_.find({l.feed, l.in});
        if (done == out_.end() || done->second < line_number{l.at, l.number})
            of_feed[l.feed].push_back(&l);
    }
    for (const auto& [in, at] : lines_.parked())
        if (at >= out_before(in)) {
            owed_now.emplace_back(in, at);
            after[in] = std::max(after[in], at.next());
        }
    for (std::size_t feed = 0; feed < of_feed.size(); ++feed) deliver(feed, of_feed[feed], true);
    note(after, owed_now, paid);
    out_.clear();
}

void feed_gate::pass_parked(const topic_partition& in, offset at)
{
    if (!lines_.collects()) return;
    look();
    if (!owed(in, at)) return;
    std::vector<std::vector<const emitted_line*>> of_feed(lines_.shapes().size());
    for (const auto& l : lines_.all()) of_feed[l.feed].push_back(&l);
    for (std::size_t feed = 0; feed < of_feed.size(); ++feed) deliver(feed, of_feed[feed], false);
    note({}, {}, {{in, at}});
}

void feed_gate::give_up(const topic_partition& in, offset at)
{
    if (!lines_.collects()) return;
    look();
    if (owed(in, at)) note({}, {}, {{in, at}});
}

}  // namespace cairn::detail
