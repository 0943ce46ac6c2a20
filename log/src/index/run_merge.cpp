// SPDX-License-Identifier: Apache-2.0
#include "index/run_merge.hpp"

#include <algorithm>

namespace cairn::detail {
namespace {

constexpr std::uint32_t work_between_ticks = 1 << 16;

/// Counts work and ticks when it is due.
class pace
{
public:
    explicit pace(const merge_tick& tick) : tick_{tick} {}
    void did(std::uint32_t work)
    {
        done_ += work;
        if (done_ < work_between_ticks) return;
        done_ = 0;
        if (tick_) tick_();
    }

private:
    const merge_tick& tick_;
    std::uint64_t     done_ = 0;
};

/// One input, and what of it is wanted.
struct source
{
    const run*    from;
    bool          whole;   // all of it is wanted
    std::uint64_t begin;   // relative to the input's first position
    std::uint64_t end;
    std::int64_t  shift;   // to be relative to the result's
    stream_cursor events;
    term_cursor   positions;

    source(const run& r, const merge_job& job)
        : from{&r}
        , whole{job.first <= r.first() && r.end() <= job.end}
        , begin{static_cast<std::uint64_t>(std::max<std::int64_t>(job.first - r.first(), 0))}
        , end{static_cast<std::uint64_t>(std::min(job.end, r.end()) - r.first())}
        , shift{r.first() - job.first}
        , events{r}
        , positions{r}
    {
    }

    std::uint32_t shifted(std::uint64_t position) const noexcept
    {
        return static_cast<std::uint32_t>(static_cast<std::int64_t>(position) + shift);
    }
};

std::vector<source> sources_of(const merge_job& job)
{
    std::vector<source> v;
    v.reserve(job.sources.size());
    for (const auto& r : job.sources)
        v.emplace_back(*r, job);
    return v;
}

/// Which of an entry's postings are wanted: [begin, end).
struct wanted
{
    std::uint32_t begin = 0;
    std::uint32_t end   = 0;

    std::uint32_t count() const noexcept { return end - begin; }
};

wanted wanted_of(source& s, const stream_entry& e)
{
    if (s.whole) return {0, e.count};
    return {s.events.count_before(e, s.begin), s.events.count_before(e, s.end)};
}

wanted wanted_of(source& s, const term_entry& e)
{
    if (s.whole) return {0, e.count};
    s.positions.reset(e);
    return {s.positions.count_before(s.begin), s.positions.count_before(s.end)};
}

wanted wanted_of(source& s, const command_entry& e)
{
    const auto end = std::uint64_t{e.first} + e.count;
    const auto a   = std::clamp(s.begin, std::uint64_t{e.first}, end);
    const auto z   = std::clamp(s.end, a, end);
    return {static_cast<std::uint32_t>(a - e.first), static_cast<std::uint32_t>(z - e.first)};
}

const run_table<stream_entry>& table_of(const run& r, const stream_entry*)
{
    return r.streams();
}
const run_table<term_entry>& table_of(const run& r, const term_entry*)
{
    return r.terms();
}
const run_table<command_entry>& table_of(const run& r, const command_entry*)
{
    return r.commands();
}

/// Goes through the entries of all sources, ascending by hash, those of one hash together.
template <class Entry>
class table_merge
{
public:
    /// What one source has of the current hash.
    struct part
    {
        std::size_t source;
        Entry       entry;
    };

    /// `checked`: every entry's check is made; not needed where a checked pass follows.
    table_merge(const std::vector<source>& sources, bool checked) : checked_{checked}
    {
        for (std::size_t i = 0; i < sources.size(); ++i) {
            const auto& table = table_of(*sources[i].from, static_cast<const Entry*>(nullptr));
            if (table.size() != 0) inputs_.push_back({&table, 0, {i, read(table, 0)}});
        }
    }

    /// The next hash's parts, oldest source first; empty at the end.
    const std::vector<part>& next()
    {
        parts_.clear();
        if (inputs_.empty()) return parts_;
        const term* least = &inputs_.front().current.entry.hash;
        for (const auto& in : inputs_)
            if (in.current.entry.hash < *least) least = &in.current.entry.hash;
        const term hash      = *least;
        bool       exhausted = false;
        for (auto& in : inputs_) {
            if (in.current.entry.hash != hash) continue;
            parts_.push_back(in.current);
            if (++in.number == in.table->size()) {
                exhausted = true;
                continue;
            }
            in.current.entry = read(*in.table, in.number);
            if (!(hash < in.current.entry.hash)) throw_run_contradicts();
        }
        if (exhausted)
            std::erase_if(inputs_, [](const input& in) { return in.number == in.table->size(); });
        return parts_;
    }

private:
    struct input
    {
        const run_table<Entry>* table;
        std::uint64_t           number;
        part                    current;
    };

    Entry read(const run_table<Entry>& t, std::uint64_t number) const
    {
        return checked_ ? t.at(number) : t.peek(number);
    }

    std::vector<input> inputs_;
    std::vector<part>  parts_;
    bool               checked_;
};

/// Calls f(parts, what is wanted of each, how many that is together) for each hash of which
/// something is wanted.
template <class Entry, class F>
void for_each_hash(std::vector<source>& sources, bool checked, pace& p, F&& f)
{
    table_merge<Entry>  merge{sources, checked};
    std::vector<wanted> wants;
    for (;;) {
        const auto& parts = merge.next();
        if (parts.empty()) return;
        wants.clear();
        std::uint64_t total = 0;
        for (const auto& part : parts) {
            wants.push_back(wanted_of(sources[part.source], part.entry));
            total += wants.back().count();
        }
        p.did(static_cast<std::uint32_t>(parts.size()));
        if (total > static_cast<std::uint64_t>(run_positions_max)) throw_run_contradicts();
        if (total != 0) f(parts, wants, static_cast<std::uint32_t>(total));
    }
}

void merge_streams(std::vector<source>& sources, run_writer& to, pace& p)
{
    for_each_hash<stream_entry>(sources, true, p, [&](auto& parts, auto& wants, auto total) {
        bool         begun = false;
        std::int64_t next_version = 0;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            auto&      from = sources[parts[i].source];
            const auto want = wants[i];
            const auto& e   = parts[i].entry;
            if (want.count() == 0) continue;
            if (!begun)
                to.begin_stream(
                    {e.hash, e.partition_uid, e.first_version + want.begin, total});
            else if (next_version != e.first_version + want.begin)
                throw_run_contradicts();
            begun        = true;
            next_version = e.first_version + want.end;
            for (auto n = want.begin; n < want.end; ++n) {
                const auto posting = from.events.at(e, n);
                to.event(from.shifted(posting.position), e.first_offset + posting.offset,
                         posting.at, posting.check);
                if ((n & 0xffff) == 0xffff) p.did(work_between_ticks);
            }
        }
        to.end_stream();
    });
}

void merge_terms(std::vector<source>& sources, run_writer& to, pace& p)
{
    for_each_hash<term_entry>(sources, true, p, [&](auto& parts, auto& wants, auto total) {
        to.begin_term(parts.front().entry.hash, total);
        for (std::size_t i = 0; i < parts.size(); ++i) {
            auto& from = sources[parts[i].source];
            from.positions.reset(parts[i].entry);
            for (auto n = wants[i].begin; n < wants[i].end; ++n) {
                to.posting(from.shifted(from.positions.at(n)));
                if ((n & 0xffff) == 0xffff) p.did(work_between_ticks);
            }
        }
        to.end_term();
    });
}

void merge_commands(std::vector<source>& sources, run_writer& to, pace& p)
{
    for_each_hash<command_entry>(sources, true, p, [&](auto& parts, auto& wants, auto) {
        std::uint32_t first = 0;
        std::uint32_t count = 0;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            if (wants[i].count() == 0) continue;
            const auto at = sources[parts[i].source].shifted(std::uint64_t{parts[i].entry.first} +
                                                             wants[i].begin);
            // An append may lie across two runs; an id that came back later is not the same one.
            if (count == 0) first = at;
            if (at == first + count) count += wants[i].count();
        }
        to.command(parts.front().entry.hash, first, count);
    });
}

}  // namespace

run_counts count_merged(const merge_job& job, const merge_tick& tick)
{
    auto        sources = sources_of(job);
    pace        p{tick};
    run_counter counter;
    for_each_hash<stream_entry>(sources, false, p,
                                [&](auto&, auto&, auto total) { counter.stream(total); });
    for_each_hash<term_entry>(sources, false, p,
                              [&](auto&, auto&, auto total) { counter.term(total); });
    for_each_hash<command_entry>(sources, false, p,
                                 [&](auto&, auto&, auto) { counter.command(); });
    return counter.counts();
}

void write_merged(const merge_job& job, run_writer& to, const merge_tick& tick)
{
    auto sources = sources_of(job);
    pace p{tick};
    merge_streams(sources, to, p);
    merge_terms(sources, to, p);
    merge_commands(sources, to, p);
    to.finish();
}

void each_stream_head(const run_list& runs,
                      const std::function<bool(const term&, const stream_head&)>& f)
{
    if (runs.empty()) return;
    const auto sources = sources_of({runs, runs.front()->first(), runs.back()->end()});
    table_merge<stream_entry> merge{sources, true};
    for (;;) {
        const auto& parts = merge.next();
        if (parts.empty()) return;
        const auto& newest = parts.back();
        const auto& e      = newest.entry;
        const auto  first  = runs[newest.source]->first();
        if (!f(e.hash, {e.first_version + e.count, first + e.last,
                        offset{e.first_offset + e.last_offset}}))
            return;
    }
}

std::optional<std::pair<std::size_t, std::size_t>> pick_merge(
    const std::vector<std::uint64_t>& sizes, std::size_t fan_in,
    const std::function<bool(std::size_t first, std::size_t end)>& fits)
{
    for (std::size_t end = sizes.size(); end >= fan_in && end > 1; --end) {
        std::size_t   first = end - 1;
        std::uint64_t sum   = sizes[first];
        // Flushed runs differ a little in size: the first step allows for that.
        std::uint64_t allowed = sum + sum / 2;
        while (first > 0 && sizes[first - 1] <= allowed && fits(first - 1, end)) {
            sum += sizes[--first];
            allowed = std::max(allowed, sum);
        }
        if (end - first >= fan_in) return std::pair{first, end};
    }
    return std::nullopt;
}

}  // namespace cairn::detail
