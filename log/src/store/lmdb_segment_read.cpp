// SPDX-License-Identifier: Apache-2.0
//
// Reading. Each batch that is handed out has been checked by itself; and each has been checked
// against its neighbour, so that none is left out: where damage to LMDB's own pages, which have
// no checksums, hides a batch or leads astray, two that follow one another do not connect.
#include "store/lmdb_segment.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace cairn::detail {

using lmdb::environment;
using lmdb::reading;

namespace {

constexpr std::size_t runs_remembered = 1024;

// Gives small batches, which move when LMDB writes, a place of their own: many in one buffer.
class copies
{
public:
    explicit copies(std::size_t chunk_bytes) : chunk_bytes_{chunk_bytes} {}

    bytes_view copy(bytes_view b, std::shared_ptr<const void>& owner)
    {
        if (b.size() > left_) {
            left_        = std::max(b.size(), chunk_bytes_);
            chunk_       = std::make_shared_for_overwrite<char[]>(left_);
            at_          = chunk_.get();
            chunk_bytes_ = std::min<std::size_t>(chunk_bytes_ * 4, 64 * 1024);
        }
        std::memcpy(at_, b.data(), b.size());
        owner = chunk_;
        const bytes_view copied{at_, b.size()};
        at_ += b.size();
        left_ -= b.size();
        return copied;
    }

private:
    std::shared_ptr<char[]> chunk_;
    char*                   at_   = nullptr;
    std::size_t             left_ = 0;
    std::size_t             chunk_bytes_;
};

// Makes what is handed out of what is stored.
class giver
{
public:
    giver(const reading& r, std::shared_ptr<const environment> e, std::size_t chunk_bytes = 0)
        : reading_{r}, environment_{std::move(e)}, small_{chunk_bytes}
    {
    }

    placed_batch operator()(const run_view& run, const stored_batch& b)
    {
        placed_batch p{b.position, run.uid(), b.base, b.offsets, b.bytes, nullptr, b.max_timestamp};
        if (reading_.lasts(run.value()))
            p.owner = environment_;
        else
            p.bytes = small_.copy(b.bytes, p.owner);
        return p;
    }

private:
    const reading&                     reading_;
    std::shared_ptr<const environment> environment_;
    copies                             small_;
};

// Takes batches until there are enough.
class taker
{
public:
    taker(const reading& r, std::shared_ptr<const environment> e, const read_limits& limits,
          std::vector<placed_batch>& out)
        : give_{r, e, 4096}, path_{e->path()}, limits_{limits}, out_{out}
    {
    }

    /// False when there are enough; whether this one is among them does not matter then.
    bool take(const run_view& run, const stored_batch& b)
    {
        if (count_ > 0 && bytes_ + b.bytes.size() > limits_.bytes) return false;
        if (!crc_holds(b.bytes)) [[unlikely]]
            throw_damaged(path_, run.uid(), b.base, "a batch's CRC does not hold");
        out_.push_back(give_(run, b));
        bytes_ += b.bytes.size();
        return ++count_ < limits_.batches && bytes_ < limits_.bytes;
    }

    std::size_t count() const noexcept { return count_; }

private:
    giver                      give_;
    const std::string&         path_;
    const read_limits&         limits_;
    std::vector<placed_batch>& out_;
    std::size_t                count_ = 0;
    std::size_t                bytes_ = 0;
};

// Lets `f` take batches. Where it meets damage, what is good comes first: who reads on from there
// meets the damage again, with nothing before it.
template <class F>
std::size_t good_ones_first(taker& t, const F& f)
{
    try {
        f();
    } catch (const storage_error&) {
        if (t.count() == 0) throw;
    }
    return t.count();
}

constexpr const char* missing = "a batch is missing";

}  // namespace

// `b`, where the walk stands, ends before `at`, and no other batch holds it: either the next one
// begins after it and says that `b` came before, or `b` is the last. Moves the walk.
void lmdb_segment::must_not_hide(partition_walk& w, const stored_batch& b, offset at,
                                 offset end) const
{
    const auto uid = w.run().uid();
    if (w.next()) {
        const auto next = w.batch();
        if (next.previous_offset == b.end_offset().value && next.base > at) return;
    } else if (b.end_offset() >= end) {
        return;
    }
    throw_damaged(path_, uid, b.end_offset(), missing);
}

void lmdb_segment::must_not_hide(position_walk& w, const stored_batch& b, position at,
                                 position end) const
{
    if (w.next()) {
        const auto next = w.batch();
        if (next.previous_position == b.end_position().value && next.position > at) return;
    } else if (b.end_position() >= end) {
        return;
    }
    throw_damaged(path_, b.end_position(), missing);
}

// ---- One partition. --------------------------------------------------------------------------

std::size_t lmdb_segment::read(std::uint32_t uid, offset from, const read_limits& limits,
                               std::vector<placed_batch>& out) const
{
    const auto slice = slice_of(uid);
    if (!slice || from >= slice->end) return 0;

    const auto     e = acquire();
    const reading  r{*e};
    partition_walk walk{r, uid};
    taker          t{r, e, limits, out};
    return good_ones_first(t, [&] {
        if (!walk.floor(from) && !walk.first())
            throw_damaged(path_, uid, std::max(from, slice->first), missing);
        auto b = walk.batch();
        if (b.end_offset() <= from) {
            if (!walk.next()) throw_damaged(path_, uid, b.end_offset(), missing);
            b = walk.batch();
        }
        if (b.previous_offset > from.value || b.end_offset() <= from)
            throw_damaged(path_, uid, from, missing);
        while (t.take(walk.run(), b)) {
            const auto end = b.end_offset();
            if (!walk.next()) {
                if (end < slice->end) throw_damaged(path_, uid, end, missing);
                return;
            }
            b = walk.batch();
            if (b.previous_offset != end.value) throw_damaged(path_, uid, end, missing);
        }
    });
}

std::size_t lmdb_segment::read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                                         std::vector<placed_batch>& out) const
{
    const auto slice = slice_of(uid);
    if (!slice || from < slice->first) return 0;

    const auto     e = acquire();
    const reading  r{*e};
    partition_walk walk{r, uid};
    taker          t{r, e, limits, out};
    return good_ones_first(t, [&] {
        if (!walk.floor(from)) throw_damaged(path_, uid, from, missing);
        auto b = walk.batch();
        if (b.end_offset() <= from) {
            must_not_hide(walk, b, from, slice->end);
            walk.floor(from);
        }
        while (t.take(walk.run(), b)) {
            const auto expected = b.previous_offset;
            if (!walk.previous()) {
                if (expected != -1) throw_damaged(path_, uid, offset{expected - 1}, missing);
                return;
            }
            b = walk.batch();
            if (b.end_offset().value != expected)
                throw_damaged(path_, uid, b.end_offset(), missing);
        }
    });
}

std::optional<placed_batch> lmdb_segment::find(std::uint32_t uid, offset at) const
{
    const auto slice = slice_of(uid);
    if (!slice || at < slice->first || at >= slice->end) return std::nullopt;

    const auto     e = acquire();
    const reading  r{*e};
    partition_walk walk{r, uid};
    if (!walk.floor(at)) throw_damaged(path_, uid, at, missing);
    const auto b = walk.batch();
    if (b.end_offset() <= at) {
        must_not_hide(walk, b, at, slice->end);
        return std::nullopt;
    }
    return giver{r, e}(walk.run(), b);
}

// Each step touches memory that the step before had fetched for all of them. What does not go
// smoothly is looked up by itself, which says what is wrong.
void lmdb_segment::find(std::uint32_t uid, std::span<const record_place> wanted,
                        std::span<std::optional<placed_batch>> out) const
{
    struct step
    {
        bytes_view              key, value;
        std::optional<run_view> run;
        std::uint32_t           index = 0;
    };
    constexpr std::size_t at_once = 16;
    constexpr std::size_t line    = 64;
    const auto            fetch   = [](const char* from, std::size_t lines) {
        for (std::size_t i = 0; i < lines; ++i) __builtin_prefetch(from + i * line);
    };

    const auto            e = acquire();
    const reading         r{*e};
    giver                 give{r, e};
    std::array<step, at_once> steps;
    for (; !wanted.empty();
         wanted = wanted.subspan(std::min(at_once, wanted.size())),
         out    = out.subspan(std::min(at_once, out.size()))) {
        const auto n = std::min(at_once, wanted.size());
        for (std::size_t i = 0; i < n; ++i) {
            auto& s           = steps[i];
            s                 = {};
            if (!r.locate_floor(batches_db, run_key(uid, wanted[i].at), s.key, s.value)) {
                s.key = {};
                continue;
            }
            fetch(s.value.data() - 16, 2);  // LMDB's page header, and the run's directory
        }
        for (std::size_t i = 0; i < n; ++i) {
            auto& s = steps[i];
            if (s.key.empty()) continue;
            s.run = run_view::parse(s.key, r.bounded(s.value));
            if (!s.run || s.run->uid() != uid || s.run->base() > wanted[i].at) {
                s.run.reset();
                continue;
            }
            s.index = s.run->floor(wanted[i].at);
            if (const char* const batch = s.run->where(s.index)) {
                fetch(batch, 2);
                fetch(batch + envelope_bytes + batch_header_bytes + wanted[i].in_payload, 5);
            }
        }
        for (std::size_t i = 0; i < n; ++i) {
            const auto& s = steps[i];
            const auto  b = s.run ? s.run->batch(s.index) : std::nullopt;
            if (b && wanted[i].at < b->end_offset())
                out[i] = give(*s.run, *b);
            else
                out[i] = find(uid, wanted[i].at);
        }
    }
}

std::optional<offset> lmdb_segment::offset_for_time(std::uint32_t uid, timestamp t) const
{
    const auto slice = slice_of(uid);
    if (!slice || slice->max_timestamp < t) return std::nullopt;

    const auto     e = acquire();
    const reading  r{*e};
    partition_walk walk{r, uid};
    std::int64_t   previous = -1;
    for (bool more = walk.first(); more; more = walk.next_run()) {
        const auto& run = walk.run();
        if (!run.check_holds())
            throw_damaged(path_, uid, run.base(), "the directory of a run is damaged");
        if (walk.batch(0).previous_offset != previous)
            throw_damaged(path_, uid, run.base(), missing);
        if (run.max_timestamp() >= t)
            for (std::uint32_t i = 0; i < run.count(); ++i)
                if (const auto b = walk.batch(i); b.max_timestamp >= t) return b.base;
        previous = walk.batch(run.count() - 1).end_offset().value;
    }
    throw_damaged(path_, uid, offset{previous}, missing);
}

// ---- All partitions, by position. ------------------------------------------------------------

std::size_t lmdb_segment::read_all(position from, const read_limits& limits,
                                   std::vector<placed_batch>& out) const
{
    const auto last_end = last();
    if (from >= last_end) return 0;

    const auto    e = acquire();
    const reading r{*e};
    position_walk walk{r, runs_remembered};
    taker         t{r, e, limits, out};
    return good_ones_first(t, [&] {
        if (!walk.floor(from) && !walk.first()) throw_damaged(path_, from, missing);
        auto b = walk.batch();
        if (b.end_position() <= from) {
            if (!walk.next()) throw_damaged(path_, b.end_position(), missing);
            b = walk.batch();
        }
        if (b.previous_position > from.value || b.end_position() <= from)
            throw_damaged(path_, from, missing);
        while (t.take(walk.run(), b)) {
            const auto end = b.end_position();
            if (!walk.next()) {
                if (end < last_end) throw_damaged(path_, end, missing);
                return;
            }
            b = walk.batch();
            if (b.previous_position != end.value) throw_damaged(path_, end, missing);
        }
    });
}

std::size_t lmdb_segment::read_all_backwards(position from, const read_limits& limits,
                                             std::vector<placed_batch>& out) const
{
    const auto last_end = last();
    if (last_end.value < 0 || from.value < 0) return 0;

    const auto    e = acquire();
    const reading r{*e};
    position_walk walk{r, runs_remembered};
    taker         t{r, e, limits, out};
    return good_ones_first(t, [&] {
        if (!walk.floor(from)) return must_begin_after(walk, from);
        auto b = walk.batch();
        if (b.end_position() <= from) {
            must_not_hide(walk, b, from, last_end);
            walk.floor(from);
            walk.batch();
        }
        while (t.take(walk.run(), b)) {
            const auto expected = b.previous_position;
            if (!walk.previous()) {
                if (expected != -1) throw_damaged(path_, position{expected - 1}, missing);
                return;
            }
            b = walk.batch();
            if (b.end_position().value != expected) throw_damaged(path_, b.end_position(), missing);
        }
    });
}

std::optional<placed_batch> lmdb_segment::find(position at) const
{
    const auto last_end = last();
    if (at >= last_end || at.value < 0) return std::nullopt;

    const auto    e = acquire();
    const reading r{*e};
    position_walk walk{r};
    if (!walk.floor(at)) {
        must_begin_after(walk, at);
        return std::nullopt;
    }
    const auto b = walk.batch();
    if (b.end_position() <= at) {
        must_not_hide(walk, b, at, last_end);
        return std::nullopt;
    }
    return giver{r, e}(walk.run(), b);
}

// The first batch there is says so itself, and begins after `at`. Moves the walk.
void lmdb_segment::must_begin_after(position_walk& w, position at) const
{
    if (w.first()) {
        const auto b = w.batch();
        if (b.previous_position == -1 && b.position > at) return;
    }
    throw_damaged(path_, at, missing);
}

}  // namespace cairn::detail
