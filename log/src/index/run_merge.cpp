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
    std::uint32_t begin;
    std::uint32_t end;
};

wanted wanted_of(source& s, const stream_entry& e)
{
    return {s.events.count_before(e, s.begin), s.events.count_before(e, s.end)};
}

wanted wanted_of(source& s, const term_entry& e)
{
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
    /// What one source has of the current hash, and which postings of it are wanted.
    struct part
    {
        source*       from;
        const Entry*  entry;
        std::uint32_t begin;
        std::uint32_t end;

        std::uint32_t count() const noexcept { return end - begin; }
    };

    /// `checked`: every entry's check is made; not needed where a checked pass follows.
    table_merge(std::vector<source>& sources, bool checked) : checked_{checked}
    {
        for (auto& s : sources) {
            const auto& table = table_of(*s.from, static_cast<const Entry*>(nullptr));
            if (table.size() == 0) continue;
            inputs_.push_back({&s, &table, 0, read(table, 0)});
            highs_.push_back(inputs_.back().current.hash.high);
        }
        parts_.reserve(inputs_.size());
        taken_.reserve(inputs_.size());
    }

    /// The next hash of which something is wanted: its parts, oldest source first. Empty at
    /// the end. Good until the next call.
    const std::vector<part>& next()
    {
        do {
            advance();
            parts_.clear();
            if (inputs_.empty()) return parts_;
            take();
        } while (parts_.empty());
        return parts_;
    }

private:
    struct input
    {
        source*                 from;
        const run_table<Entry>* table;
        std::uint64_t           number;
        Entry                   current;
    };

    Entry read(const run_table<Entry>& t, std::uint64_t number) const
    {
        return checked_ ? t.at(number) : t.peek(number);
    }

    /// Goes on in the inputs whose entry was taken.
    void advance()
    {
        bool exhausted = false;
        for (const auto i : taken_) {
            auto& in = inputs_[i];
            if (++in.number == in.table->size()) {
                exhausted = true;
                continue;
            }
            const auto before = in.current.hash;
            in.current        = read(*in.table, in.number);
            highs_[i]         = in.current.hash.high;
            if (!(before < in.current.hash)) throw_run_contradicts();
        }
        taken_.clear();
        if (!exhausted) return;
        std::erase_if(inputs_, [](const input& in) { return in.number == in.table->size(); });
        highs_.clear();
        for (const auto& in : inputs_)
            highs_.push_back(in.current.hash.high);
    }

    /// Takes the inputs that stand at the least hash. Which one that is cannot be predicted, so
    /// there is no branch on it.
    void take()
    {
        auto high = highs_[0];
        for (const auto h : highs_)
            high = std::min(high, h);
        auto low = ~std::uint64_t{0};
        for (std::uint32_t i = 0; i < highs_.size(); ++i)
            if (highs_[i] == high) low = std::min(low, inputs_[i].current.hash.low);
        for (std::uint32_t i = 0; i < highs_.size(); ++i) {
            if (highs_[i] != high || inputs_[i].current.hash.low != low) continue;
            auto& in = inputs_[i];
            taken_.push_back(i);
            part p{in.from, &in.current, 0, in.current.count};
            if (!in.from->whole) {
                const auto want = wanted_of(*in.from, in.current);
                p.begin         = want.begin;
                p.end           = want.end;
            }
            if (p.count() != 0) parts_.push_back(p);
        }
    }

    std::vector<input>         inputs_;
    std::vector<std::uint64_t> highs_;  // of the inputs' current hashes
    std::vector<std::uint32_t> taken_;
    std::vector<part>          parts_;
    bool                       checked_;
};

/// Calls f(parts, how many postings that is together) for each hash of which something is
/// wanted.
template <class Entry, class F>
void for_each_hash(std::vector<source>& sources, bool checked, pace& p, F&& f)
{
    table_merge<Entry> merge{sources, checked};
    for (;;) {
        const auto& parts = merge.next();
        if (parts.empty()) return;
        std::uint64_t total = 0;
        for (const auto& part : parts)
            total += part.count();
        if (total > static_cast<std::uint64_t>(run_positions_max)) throw_run_contradicts();
        f(parts, static_cast<std::uint32_t>(total));
        p.did(static_cast<std::uint32_t>(parts.size()));
    }
}

void merge_streams(std::vector<source>& sources, run_writer& to, pace& p)
{
    for_each_hash<stream_entry>(sources, true, p, [&](auto& parts, auto total) {
        const auto& first        = parts.front();
        auto        next_version = first.entry->first_version + first.begin;
        to.begin_stream({first.entry->hash, first.entry->partition_uid, next_version, total});
        for (const auto& part : parts) {
            const auto& e = *part.entry;
            if (next_version != e.first_version + part.begin) throw_run_contradicts();
            next_version = e.first_version + part.end;
            for (auto n = part.begin; n < part.end; ++n) {
                const auto posting = part.from->events.at(e, n);
                to.event(part.from->shifted(posting.position), e.first_offset + posting.offset,
                         posting.at, posting.check);
                if ((n & 0xffff) == 0xffff) p.did(work_between_ticks);
            }
        }
        to.end_stream();
    });
}

void merge_terms(std::vector<source>& sources, run_writer& to, pace& p)
{
    for_each_hash<term_entry>(sources, true, p, [&](auto& parts, auto total) {
        to.begin_term(parts.front().entry->hash, total);
        for (const auto& part : parts) {
            auto& positions = part.from->positions;
            positions.reset(*part.entry);
            for (auto n = part.begin; n < part.end; ++n) {
                to.posting(part.from->shifted(positions.at(n)));
                if ((n & 0xffff) == 0xffff) p.did(work_between_ticks);
            }
        }
        to.end_term();
    });
}

void merge_commands(std::vector<source>& sources, run_writer& to, pace& p)
{
    for_each_hash<command_entry>(sources, true, p, [&](auto& parts, auto) {
        std::uint32_t first = 0;
        std::uint32_t count = 0;
        for (const auto& part : parts) {
            const auto at = part.from->shifted(std::uint64_t{part.entry->first} + part.begin);
            // An append may lie across two runs; an id that came back later is not the same one.
            if (count == 0) first = at;
            if (at == first + count) count += part.count();
        }
        to.command(parts.front().entry->hash, first, count);
    });
}

}  // namespace

run_counts count_merged(const merge_job& job, const merge_tick& tick)
{
    auto        sources = sources_of(job);
    pace        p{tick};
    run_counter counter;
    for_each_hash<stream_entry>(sources, false, p,
                                [&](auto&, auto total) { counter.stream(total); });
    for_each_hash<term_entry>(sources, false, p,
                              [&](auto&, auto total) { counter.term(total); });
    for_each_hash<command_entry>(sources, false, p,
                                 [&](auto&, auto) { counter.command(); });

    // These entries were not checked. A damaged one is found when it is written; until then it
    // must not have room made for more than there can be.
    std::uint64_t events    = 0;
    std::uint64_t positions = 0;
    for (const auto& r : job.sources) {
        const auto c = r->counts();
        events += c.stream_postings + c.streams;
        positions += c.term_postings + c.terms * term_inline_max;
    }
    if (counter.counts().stream_postings > events || counter.counts().term_postings > positions)
        throw_run_contradicts();
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
    auto sources = sources_of({runs, runs.front()->first(), runs.back()->end()});
    table_merge<stream_entry> merge{sources, true};
    for (;;) {
        const auto& parts = merge.next();
        if (parts.empty()) return;
        const auto& newest = parts.back();
        const auto& e      = *newest.entry;
        if (!f(e.hash, {e.first_version + e.count, newest.from->from->first() + e.last,
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
