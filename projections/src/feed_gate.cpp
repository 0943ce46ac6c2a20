// SPDX-License-Identifier: Apache-2.0
#include "feed_gate.hpp"

#include <cairn/projections/detail/json_text.hpp>

#include <algorithm>
#include <charconv>
#include <span>

namespace cairn::detail {

namespace {

constexpr const char* feeds_topic = "__feeds";

std::string text_of(const topic_partition& in)
{
    return in.topic + "-" + std::to_string(in.partition);
}

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

std::string feed_gate::name_of(const topic_partition& in) const
{
    return projection_ + "/" + text_of(in);
}

stream_id feed_gate::note_of(const topic_partition& in, offset at) const
{
    return {feeds_topic, name_of(in) + "/" + std::to_string(at.value)};
}

offset feed_gate::noted(const topic_partition& in) const
{
    const stream_id note{feeds_topic, name_of(in)};
    auto            newest = events_.log().read_stream_backwards(note);
    const auto*     r      = newest.next();
    offset          upto{0};
    if (r == nullptr || !r->value) return upto;
    const auto end = r->value->data() + r->value->size();
    if (const auto read = std::from_chars(r->value->data(), end, upto.value);
        read.ec != std::errc{} || read.ptr != end)
        throw error{errc::malformed_event, "the newest record of " + note.topic + "/" + note.key +
                                               " is no offset: somebody else wrote it; delete it"};
    return upto;
}

bool feed_gate::owed(const topic_partition& in, offset at) const
{
    if (!noted_parked_) return false;
    auto        newest = events_.log().read_stream_backwards(note_of(in, at));
    const auto* r      = newest.next();
    return r != nullptr && r->value;
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
        for (const auto& [in, upto] : out) {
            // The version first: what is appended between the two reads makes ours be refused.
            const stream_id note{feeds_topic, name_of(in)};
            const auto      at = log.stream_version(note);
            if (noted(in) >= upto) continue;
            request.expect.push_back({note, expected_version::exactly(at)});
            add(note.key, std::to_string(upto.value));
        }
        for (const auto& [in, at] : paid) add(note_of(in, at).key, std::nullopt);
        for (const auto& [in, at] : owed_now) add(note_of(in, at).key, "parked");
        if (!owed_now.empty() && !noted_parked_) add(projection_ + "/parked", "ever");
        if (request.records.empty()) return;
        const auto result = log.try_append(request);
        if (result) {
            noted_parked_ = noted_parked_ || !owed_now.empty();
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
    topic_config compacted;
    compacted.cleanup_delete  = false;
    compacted.cleanup_compact = true;
    auto log                  = events_.log();
    log.ensure_topic(feeds_topic, 1, compacted);

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
    const bool is_owed = owed(in, at);
    if (!is_owed && (lines_.all().empty() || at < noted(in))) return;
    std::vector<std::vector<const emitted_line*>> of_feed(lines_.shapes().size());
    for (const auto& l : lines_.all()) of_feed[l.feed].push_back(&l);
    for (std::size_t feed = 0; feed < of_feed.size(); ++feed) deliver(feed, of_feed[feed], false);
    // One that is not owed was parked by this version alone, while it was built.
    if (is_owed)
        note({}, {}, {{in, at}});
    else
        note({{in, at.next()}}, {}, {});
}

void feed_gate::give_up(const topic_partition& in, offset at)
{
    if (!lines_.collects()) return;
    look();
    if (owed(in, at)) note({}, {}, {{in, at}});
}

}  // namespace cairn::detail
