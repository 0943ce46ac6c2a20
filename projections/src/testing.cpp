// SPDX-License-Identifier: Apache-2.0
#include <cairn/projections/testing.hpp>

#include "projection_run.hpp"
#include "stored_tables.hpp"

#include <algorithm>
#include <random>

namespace cairn::testing::detail {

namespace {

using cairn::detail::access_of;
using cairn::detail::projection_run;
using cairn::detail::projection_type;

/// One event and where it belongs.
struct step
{
    const stream_id* stream;
    const any_event* event;
};

/// A log with these events in that order; each stream in a partition of its own.
event_store told(const std::vector<step>& steps)
{
    log_options o;
    o.clock = [] { return timestamp{1'700'000'000'000}; };
    const event_store store{commit_log::in_memory(o)};
    auto              log = store.log();
    for (const auto& s : steps) {
        log.ensure_topic(s.stream->topic, 8);
        record_in(store, *s.stream, {*s.event});
    }
    return store;
}

struct outcome_of_way
{
    std::map<std::string, std::uint64_t> digests;
    std::vector<std::string>             rows;
};

class ways
{
public:
    ways(const projection_type& type, std::size_t number) : type_{type}, number_{number}
    {
        const auto                         one = type.create();
        const cairn::detail::parked_events parked{*one};
        shapes_ = access_of(*one).shapes();
    }

    const std::vector<table_shape>& shapes() const noexcept { return shapes_; }

    /// All there is, with commits of at most so many events; `restarts`: by a new run each.
    outcome_of_way run(const event_store& store, std::size_t commit, bool restarts,
                       std::size_t threads = 1) const
    {
        const auto         tables = memory_tables()->open("spec", 1, type_.code_version, shapes_);
        projection_options o;
        o.commit_events_max = commit;
        o.threads           = threads;
        std::vector<position> ends;
        if (restarts)
            for (const auto& r : store.log().read_all()) ends.push_back(r.position.next());
        ends.push_back(store.log().end_position());
        for (const auto end : ends) {
            projection_run run{store, "spec", 1, tables, type_, o};
            run.worth_a_team = 0;
            run.catch_up_to(end);
        }
        const auto     reader = tables->read();
        outcome_of_way out{cairn::detail::digests(*reader, shapes_), {}};
        for (auto row = reader->scan(number_, {}); row->next();)
            out.rows.push_back(cairn::detail::row_text(shapes_[number_], row->key(), row->value()));
        return out;
    }

private:
    const projection_type&   type_;
    std::size_t              number_;
    std::vector<table_shape> shapes_;
};

/// The streams' events, each stream in its order, otherwise mixed.
std::vector<step> mixed(const std::vector<told_stream>& streams, std::mt19937& random)
{
    std::vector<std::size_t> turns;
    for (std::size_t i = 0; i < streams.size(); ++i)
        turns.insert(turns.end(), streams[i].events.size(), i);
    std::shuffle(turns.begin(), turns.end(), random);
    std::vector<std::size_t> next(streams.size());
    std::vector<step>        steps;
    for (const auto i : turns) steps.push_back({&streams[i].id, &streams[i].events[next[i]++]});
    return steps;
}

}  // namespace

std::string row_text(const table_shape& shape, bytes_view key, bytes_view value)
{
    return cairn::detail::row_text(shape, key, value);
}

projected project(const cairn::detail::projection_type& type,
                  const std::vector<told_stream>& streams, std::size_t number, bool any_order)
{
    constexpr int orders = 16;

    std::vector<step> as_told;
    for (const auto& s : streams)
        for (const auto& e : s.events) as_told.push_back({&s.id, &e});
    const ways ways_of{type, number};
    const auto store = told(as_told);
    const auto first = ways_of.run(store, 1'000'000, false);
    projected  result{first.rows, {}};
    const auto same = [&](const outcome_of_way& other, const std::string& way) {
        if (!result.wrong.empty()) return;
        for (const auto& [table, digest] : first.digests)
            if (other.digests.at(table) != digest) {
                result.wrong = "table " + table + " comes out differently " + way;
                if (table != ways_of.shapes()[number].name) return;
                result.wrong += ":";
                for (const auto& r : other.rows) result.wrong += "\n    " + r;
                return;
            }
    };
    same(ways_of.run(store, 1'000'000, false), "the second time");
    same(ways_of.run(store, 1, false), "with a commit after each event");
    same(ways_of.run(store, 1, true), "with a restart after each event");
    try {
        same(ways_of.run(store, 1'000'000, false, 8), "with the partitions handled side by side");
        same(ways_of.run(store, 1, false, 8), "with the partitions side by side, event by event");
    } catch (const error& e) {
        if (e.code() != errc::rows_not_apart) throw;
        result.wrong = e.what();
    }
    if (any_order && streams.size() > 1) {
        std::mt19937 random{1};  // the same orders each time
        for (int i = 0; i < orders; ++i) {
            const auto  steps = mixed(streams, random);
            std::string order;
            for (const auto& s : steps)
                order += " " + s.stream->key + ":" + std::string{s.event->type_name()};
            same(ways_of.run(told(steps), 1'000'000, false),
                 "when the streams are mixed like this:" + order);
        }
    }
    return result;
}

verdict compare_rows(const std::vector<std::string>& wanted, const projected& got)
{
    if (!got.wrong.empty()) return {false, got.wrong};
    auto sorted = wanted;
    auto found  = got.rows;
    std::sort(sorted.begin(), sorted.end());
    std::sort(found.begin(), found.end());
    if (sorted == found) return {};
    std::string text = "the rows are not those that were expected (- expected, + found)";
    std::vector<std::string> all;
    std::set_union(sorted.begin(), sorted.end(), found.begin(), found.end(),
                   std::back_inserter(all));
    for (const auto& r : all) {
        const bool was_wanted = std::binary_search(sorted.begin(), sorted.end(), r);
        const bool was_found  = std::binary_search(found.begin(), found.end(), r);
        text += std::string{"\n  "} +
                (was_wanted && was_found ? "  "
                 : was_wanted            ? "- "
                                         : "+ ") +
                r;
    }
    return {false, text};
}

}  // namespace cairn::testing::detail
