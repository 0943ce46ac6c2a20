// SPDX-License-Identifier: Apache-2.0
#include <cairn/projections/stored_projections.hpp>

#include "parked_events.hpp"

#include <algorithm>
#include <chrono>
#include <set>
#include <span>
#include <utility>

namespace cairn {

namespace {

/// A projection of which nothing is known but what may be parked.
struct only_parked : projection_base
{
    detail::parked_events parked{*this};
};

/// Reads and writes the tables of what is parked among those of a version.
class parked_tables final : public table_writer
{
public:
    parked_tables(table_reader& of, table_writer* to, std::span<const table_shape> shapes,
                  const std::vector<table_shape>& wanted)
        : of_{of}, to_{to}
    {
        for (const auto& w : wanted)
            for (std::size_t n = 0; n < shapes.size(); ++n)
                if (shapes[n].name == w.name) numbers_.push_back(n);
        if (numbers_.size() != wanted.size())
            throw error{errc::damaged_table,
                        "the tables of what is parked are missing: another version of Cairn made "
                        "them; rebuild the projection"};
    }

    projection_checkpoint checkpoint() override { return of_.checkpoint(); }
    bool                  get(std::size_t table, bytes_view key, std::string& value) override
    {
        return of_.get(numbers_[table], key, value);
    }
    std::unique_ptr<row_cursor> scan(std::size_t table, const key_range& rows) override
    {
        return of_.scan(numbers_[table], rows);
    }
    std::uint64_t count(std::size_t table) override { return of_.count(numbers_[table]); }
    void commit(std::span<const row_change> changes, const projection_checkpoint& c) override
    {
        std::vector<row_change> there{changes.begin(), changes.end()};
        for (auto& change : there) change.table = numbers_[change.table];
        to_->commit(there, c);
    }

private:
    table_reader&            of_;
    table_writer*            to_;
    std::vector<std::size_t> numbers_;
};

std::vector<table_shape> parked_shapes()
{
    only_parked one;
    return detail::access_of(one).shapes();
}

struct lag
{
    std::uint64_t             done = 0, left = 0;
    std::chrono::milliseconds time{0};
    position                  upto{0};
};

/// Of the topics of which something was counted: which others it wants its code knows.
lag lag_of(const commit_log& log, const projection_checkpoint& c)
{
    lag                      l;
    std::set<std::string>    topics;
    std::optional<position>  upto;
    std::optional<timestamp> oldest;
    for (const auto& [at, p] : c.partitions) {
        topics.insert(at.topic);
        upto = std::min(upto.value_or(p.upto), p.upto);
    }
    if (upto) l.upto = *upto;
    for (const auto& topic : topics) {
        if (!log.try_describe_topic(topic)) continue;  // it was deleted
        for (const auto& p : log.partitions(topic)) {
            const auto known = c.partitions.find(p.id());
            const auto start = p.start_offset();
            const auto next =
                known == c.partitions.end() ? start : std::max(start, known->second.next);
            const auto end = p.end_offset();
            l.done += static_cast<std::uint64_t>(next - start);
            if (next >= end) continue;
            l.left += static_cast<std::uint64_t>(end - next);
            auto records = p.read(next);
            if (const auto* r = records.next(); r && (!oldest || r->timestamp < *oldest))
                oldest = r->timestamp;
        }
    }
    if (oldest) {
        using namespace std::chrono;
        const auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch());
        l.time         = std::max(milliseconds{0}, now - milliseconds{oldest->value});
    }
    return l;
}

[[noreturn]] void refuse(const std::string& projection, const std::string& why)
{
    throw error{errc::invalid_argument, "projection " + projection + ": " + why};
}

}  // namespace

stored_projections::stored_projections(commit_log log, std::shared_ptr<table_store> tables)
    : log_{std::move(log)}, store_{std::move(tables)}
{
}

std::vector<std::string> stored_projections::names() const
{
    return store_->projections();
}

std::vector<stored_version> stored_projections::versions_of(const std::string& projection) const
{
    auto all = store_->versions(projection);
    if (!all.empty()) return all;
    std::string known;
    for (const auto& n : names()) known += (known.empty() ? "" : ", ") + n;
    throw error{errc::invalid_argument, "there is no projection '" + projection +
                                            "': these tables are of " +
                                            (known.empty() ? "none" : known)};
}

std::shared_ptr<projection_tables> stored_projections::open(const std::string& projection,
                                                            int                number) const
{
    auto shapes = store_->shapes(projection, number);
    if (shapes.empty()) refuse(projection, "there is no version " + std::to_string(number));
    // The columns of what may be written have their names.
    for (auto& s : shapes)
        for (const auto& named : parked_shapes())
            if (named.name == s.name) s = named;
    return store_->open(projection, number, 0, shapes);
}

template <class Ask>
auto stored_projections::with_parked(const std::string& projection, int number, Ask&& ask) const
{
    const auto  tables = open(projection, number);
    const auto  reader = tables->read();
    const auto  shapes = store_->shapes(projection, number);
    only_parked one;
    auto&       access = detail::access_of(one);

    parked_tables of{*reader, nullptr, shapes, access.shapes()};
    access.read(&of);
    return ask(std::as_const(one.parked));
}

std::vector<projection_status> stored_projections::status() const
{
    std::vector<projection_status> all;
    for (const auto& n : names()) all.push_back(status(n));
    return all;
}

projection_status stored_projections::status(const std::string& projection) const
{
    projection_status s;
    s.name     = projection;
    s.end      = log_.end_position();
    s.versions = versions_of(projection);
    for (const auto& v : s.versions) {
        if (!v.active) continue;
        s.version = v.number;
        if (v.checkpoint.paused) s.state = projection_state::paused;
        const auto lag = lag_of(log_, v.checkpoint);
        s.upto         = lag.upto;
        s.lag_events   = lag.left;
        s.lag_time     = lag.time;
        s.parked       = with_parked(projection, v.number, [](const auto& p) { return p.count(); });
    }
    // What a rebuild has left goes on when the code runs.
    for (const auto& v : s.versions)
        if (v.number > s.version && !v.checkpoint.complete) {
            const auto lag = lag_of(log_, v.checkpoint);
            s.rebuild.emplace();
            s.rebuild->version = v.number;
            s.rebuild->events  = lag.done;
            s.rebuild->total   = lag.done + lag.left;
        }
    return s;
}

int stored_projections::active_of(const std::string& projection) const
{
    for (const auto& v : versions_of(projection))
        if (v.active) return v.number;
    refuse(projection, "none of its versions answers; start the service that has its code");
}

void stored_projections::set_paused(const std::string& projection, bool paused)
{
    for (const auto& v : versions_of(projection)) {
        const auto tables = open(projection, v.number);
        const auto writer = tables->write();
        auto       now    = writer->checkpoint();
        now.paused        = paused;
        ++now.epoch;
        writer->commit({}, now);
    }
}

void stored_projections::pause(const std::string& projection)
{
    set_paused(projection, true);
}

void stored_projections::resume(const std::string& projection)
{
    set_paused(projection, false);
}

void stored_projections::swap_to(const std::string& projection, int number)
{
    const auto all = versions_of(projection);
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const auto& v) { return v.number == number; });
    if (found == all.end()) refuse(projection, "there is no version " + std::to_string(number));
    const auto active =
        std::find_if(all.begin(), all.end(), [](const auto& v) { return v.active; });
    if (!found->checkpoint.complete && active != all.end() && number > active->number)
        refuse(projection, "version " + std::to_string(number) +
                               " is not built yet; start the service, and it is");
    store_->activate(projection, number);
}

void stored_projections::drop(const std::string& projection, int number)
{
    const auto all = versions_of(projection);
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const auto& v) { return v.number == number; });
    if (found == all.end()) refuse(projection, "there is no version " + std::to_string(number));
    if (found->active)
        refuse(projection,
               "version " + std::to_string(number) + " is what answers: swap to another first");
    store_->drop(projection, number);
}

std::vector<parked_event> stored_projections::parked(const std::string&                 projection,
                                                     std::size_t                        at_most,
                                                     const std::optional<parked_event>& after) const
{
    return with_parked(projection, active_of(projection),
                       [&](const auto& p) { return p.list(at_most, after); });
}

void stored_projections::skip_parked(const std::string& projection, const topic_partition& in,
                                     offset at)
{
    const int   number = active_of(projection);
    const auto  tables = open(projection, number);
    const auto  writer = tables->write();
    const auto  shapes = store_->shapes(projection, number);
    only_parked one;
    auto&       access = detail::access_of(one);

    parked_tables of{*writer, writer.get(), shapes, access.shapes()};
    access.write(&of);
    if (!one.parked.remove(in, at))
        refuse(projection, "nothing is parked of " + in.topic + "-" + std::to_string(in.partition) +
                               " offset " + std::to_string(at.value) + "; list what is");
    auto now = of.checkpoint();
    ++now.epoch;
    of.commit(access.changes(), now);
}

}  // namespace cairn
