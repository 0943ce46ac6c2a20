// SPDX-License-Identifier: Apache-2.0
//
// One stream after the other: a decision is the records of one append, which say how many they are
// (cairn_decision). What an upcaster makes several of is compared as it is read.
#include <cairn/framework/replay.hpp>

#include "difference.hpp"
#include "instance.hpp"

#include <set>
#include <utility>

namespace cairn {

std::string replay_difference::text() const
{
    std::string all = stream.topic + "/" + stream.key + " version " + std::to_string(at.value) +
                      " (position " + std::to_string(position.value) +
                      "): what would happen now (+) is not what was recorded (-):\n";
    if (now.rejected) all += "  + rejected: " + now.rejected->reason + "\n";
    return all + detail::difference(recorded, now.events);
}

namespace detail {

namespace {

class stream_replay
{
public:
    stream_replay(event_store_core& core, const aggregate_type& type, const decide_again& again,
                  std::size_t most, replay_result& into)
        : core_{core}, type_{type}, again_{again}, most_{most}, into_{into}
    {
    }

    void run(const stream_id& stream)
    {
        ++into_.streams;
        instance     state{type_};
        event_reader reader{core_, type_.schemas};
        replay_difference one;
        std::size_t       left = 0;  // records of the decision that are still to come
        version           next;
        for (const auto& r : core_.log.read_stream(stream)) {
            if (std::exchange(next, r.version.next()) != r.version) {
                ++into_.incomplete;
                return;
            }
            if (left == 0) {
                one  = {stream, r.version, r.position, {}, {}};
                left = records_in_decision(r);
            }
            reader.read(r, [&](const event_type& type, bytes_view event) {
                keep(one.recorded, type, event);
            });
            if (--left > 0) continue;
            reader.finish([&](const event_type& type, bytes_view event) {
                keep(one.recorded, type, event);
            });
            decide(state, one);
            for (const auto& e : one.recorded) state.apply(e);
        }
    }

private:
    void keep(std::vector<any_event>& into, const event_type& type, bytes_view event) const
    {
        for (const auto schema : type_.schemas)
            if (type.is(schema)) {
                into.emplace_back(schema, event);
                return;
            }
        throw error{errc::unknown_event, "the event " + type.text() +
                                             " is not one of the aggregate's: add it, or an "
                                             "upcaster"};
    }

    void decide(instance& state, replay_difference& one)
    {
        if (one.recorded.empty()) return;
        auto now = again_(state.state(), one.recorded);
        if (!now) {
            ++into_.skipped;
            return;
        }
        ++into_.decisions;
        if (!now->rejected && now->events == one.recorded) return;
        ++into_.different;
        if (into_.differences.size() == most_) return;
        one.now = std::move(*now);
        into_.differences.push_back(one);
    }

    event_store_core&     core_;
    const aggregate_type& type_;
    const decide_again&   again_;
    std::size_t           most_;
    replay_result&        into_;
};

}  // namespace

replay_result replay(const event_store& store, const std::string& topic,
                     const aggregate_type& type, const decide_again& again,
                     std::size_t differences_max)
{
    auto&         core = store.core();
    replay_result result;
    stream_replay each{core, type, again, differences_max, result};
    for (const auto& p : core.log.partitions(topic)) {
        std::set<std::string, std::less<>> done;
        for (const auto& r : p.read(p.start_offset()))
            if (r.key && !done.contains(*r.key)) {
                done.emplace(*r.key);
                each.run({topic, std::string{*r.key}});
            }
    }
    return result;
}

}  // namespace detail
}  // namespace cairn
