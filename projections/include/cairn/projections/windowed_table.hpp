// SPDX-License-Identifier: Apache-2.0
//
// Windows of time, and tables that keep a value for each key in each window.
#pragma once

#include <cairn/projections/table.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn {

/// When windows begin and end. A window is [start, end): an event at its end is not in it.
///
///     tumbling(1h)          one after the other
///     hopping(1h, 10min)    a new one every ten minutes: an event is in six
///     sessions(30min)       from an event until none has come for half an hour
///
/// Tumbling and hopping windows are aligned to 1970-01-01T00:00Z. A session ends half an hour after
/// its last event; an event between two sessions, less than that from both, makes them one.
///
/// Invariants
///   - Every time is in a tumbling window, and in one only; in size / hop hopping ones.
///
/// Threads   A value.
/// Lifetime  A value. Times are those that events may have: within 30 million years of 1970.
/// Errors    invalid_argument: a length that is not above zero, a hop that is longer than the
/// window
///           or makes more than 1,000 of it.
class windows
{
public:
    using milliseconds = std::chrono::milliseconds;

    /// A window takes events until stream time is so much past its end. None: zero.
    windows grace(milliseconds g) const;

    bool are_sessions() const noexcept { return hop_ == 0; }

    /// The end of a window that begins there; of a session that has one event, then.
    timestamp end_of(timestamp start) const noexcept { return start + size_; }

    /// The start of the newest window that `at` is in. REQUIRES: they are no sessions.
    timestamp start_of(timestamp at) const noexcept;

    /// The starts of all that `at` is in, the newest first. REQUIRES: they are no sessions.
    std::vector<timestamp> starts_of(timestamp at) const;

    /// Whether a window takes no more events.
    bool is_closed(timestamp end, timestamp stream_time) const noexcept
    {
        return end + grace_ <= stream_time;
    }

private:
    friend windows tumbling(milliseconds size);
    friend windows hopping(milliseconds size, milliseconds hop);
    friend windows sessions(milliseconds gap);
    windows(milliseconds size, milliseconds hop);

    std::int64_t size_, hop_, grace_ = 0;  // milliseconds; the hop of sessions is 0
};

windows tumbling(std::chrono::milliseconds size);
windows hopping(std::chrono::milliseconds size, std::chrono::milliseconds hop);
windows sessions(std::chrono::milliseconds gap);

/// A key in a window.
template <class Key>
struct windowed
{
    Key       key;
    timestamp start, end;

    friend auto operator<=>(const windowed&, const windowed&) = default;
};

namespace detail {

/// What the windowed tables of a projection share.
class window_clock
{
public:
    explicit window_clock(projection_base* owner);

    /// The greatest time that any of them was given; the least there is where there was none.
    timestamp now() const;
    /// Says that an event has this time; returns now(). Throws invalid_argument where the time is
    /// not within 30 million years of 1970: sums of times have to fit.
    timestamp advance(timestamp event_time);

    std::uint64_t late(const std::string& table) const { return late_.find(table).value_or(0); }
    void          count_late(const std::string& table);

private:
    table<std::string, timestamp>     time_;
    table<std::string, std::uint64_t> late_;
};

/// Its columns are called key, window_start, window_end, value.
std::vector<std::string> windowed_columns(std::size_t of_key);

}  // namespace detail

/// A projection that has windowed tables. cairn::flows is one.
class windowed_projection : public projection_base
{
private:
    template <class, class>
    friend class windowed_table;

    detail::window_clock clock_{this};
};

/// A value for each key in each window that had an event of it.
///
///     windowed_table<std::string, std::int64_t> by_hour{this, "by_hour", tumbling(1h)};
///
///     by_hour.add(e.getSku(), from.time(), e.getQuantity(), std::plus<>{});  // or by a flow
///
/// Stream time is the greatest time that an event had that came to one of the projection's windowed
/// tables; it is kept with them, in the table stream_time. A window is closed when stream time has
/// come to its end and its grace. From then on it is final.
///
/// Invariants
///   - A closed window does not change. An event that comes for one is left out of it, and counted
///     by late(): once, in however many windows it is missing.
///   - Sessions of a key do not overlap. An event that belongs to a closed one is left out.
///   - What is in it depends on the events and the order in which they are handled, not on how
///     they are batched, nor on crashes. Of one log that order is always the same. Where partitions
///     were read in another order, other events could be late; and that is all that could differ
///     where merge does not mind the order.
///
/// Threads   Those of its projection.
/// Lifetime  A member of its projection. Rows stay for as long as the tables do.
/// Errors    As table; invalid_argument for a time that is none.
template <class Key, class Value>
class windowed_table
{
public:
    using key_type   = Key;
    using value_type = Value;
    using row_type   = row<windowed<Key>, Value>;
    using range_type = row_range<windowed<Key>, Value>;

    windowed_table(windowed_projection* owner, std::string name, windows w)
        : clock_{owner->clock_},
          name_{std::move(name)},
          windows_{w},
          rows_{owner, name_, detail::windowed_columns(detail::columns_of<Key, true>().size())},
          by_start_{rows_, name_ + "_by_start",
                    [](const windowed<Key>& in, const Value&) { return in.start; }}
    {
        if (windows_.are_sessions()) sessions_.emplace(owner, name_ + "_open");
    }

    /// Puts what an event at that time has come to into its windows: where one has a value already
    /// merge(value, now), which for sessions is to be associative and commutative.
    template <class Merge>
    void add(const Key& key, timestamp at, const Value& now, const Merge& merge)
    {
        const auto time = clock_.advance(at);
        bool       late = false;
        if (sessions_)
            late = !add_to_session(key, at, now, merge, time);
        else
            for (const auto start : windows_.starts_of(at)) {
                const windowed<Key> in{key, start, windows_.end_of(start)};
                if (windows_.is_closed(in.end, time)) {
                    late = true;
                    continue;
                }
                const auto was = rows_.find(in);
                rows_.put(in, was ? merge(*was, now) : now);
            }
        if (late) clock_.count_late(name_);
    }

    /// All, by key and then by time; those of a key.
    range_type rows() const { return rows_.rows(); }
    range_type rows_of(const Key& key) const { return rows_.rows_with(key); }

    /// Of all keys, those of the window that `at` is in, the newest one of hopping windows; of
    /// sessions, those that began just then.
    range_type rows_at(timestamp at) const
    {
        return by_start_.rows(sessions_ ? at : windows_.start_of(at));
    }

    /// What the key has in that window, or session.
    std::optional<Value> find(const Key& key, timestamp at) const
    {
        if (!sessions_) {
            const auto start = windows_.start_of(at);
            return rows_.find({key, start, windows_.end_of(start)});
        }
        for (const auto& [in, value] : rows_of(key))
            if (in.start <= at && at < in.end) return value;
        return std::nullopt;
    }

    /// Of these rows, those that are final.
    range_type closed_only(range_type rows) const
    {
        return std::move(rows).filtered([w = windows_, time = stream_time()](const row_type& r) {
            return w.is_closed(r.key.end, time);
        });
    }

    timestamp stream_time() const { return clock_.now(); }

    /// Which of its projection's tables it is, from 0.
    std::size_t number() const noexcept { return rows_.number(); }

    /// Events that came for a window that was closed.
    std::uint64_t late() const { return clock_.late(name_); }

private:
    struct session
    {
        timestamp start, end;
    };

    /// False where it belongs to a closed one.
    template <class Merge>
    bool add_to_session(const Key& key, timestamp at, const Value& now, const Merge& merge,
                        timestamp time)
    {
        auto                 all = sessions_->find(key).value_or(std::vector<session>{});
        session              made{at, windows_.end_of(at)};
        std::optional<Value> value;
        for (const auto& s : all) {
            if (s.end <= at || windows_.end_of(at) <= s.start) continue;
            if (windows_.is_closed(s.end, time)) return false;
            const windowed<Key> in{key, s.start, s.end};
            const auto          was = rows_.find(in);
            if (!was) detail::row_bytes::damaged();
            value = value ? merge(*value, *was) : *was;
            made  = {std::min(made.start, s.start), std::max(made.end, s.end)};
        }
        if (windows_.is_closed(made.end, time)) return false;

        const auto merged = [&](const session& s) {
            return made.start <= s.start && s.end <= made.end;
        };
        const auto after = std::find_if(all.begin(), all.end(),
                                        [&](const session& s) { return made.start <= s.start; });
        const auto rest  = std::find_if_not(after, all.end(), merged);
        for (auto s = after; s != rest; ++s) rows_.erase({key, s->start, s->end});
        all.insert(all.erase(after, rest), made);
        rows_.put({key, made.start, made.end}, value ? merge(*value, now) : now);

        // Of the closed ones only the last can still have an event come for it that would not be
        // late by itself: it lasts for a gap at least.
        const auto open = std::find_if(all.begin(), all.end(), [&](const session& s) {
            return !windows_.is_closed(s.end, time);
        });
        if (open - all.begin() > 1) all.erase(all.begin(), open - 1);
        sessions_->put(key, all);
        return true;
    }

    detail::window_clock&                               clock_;
    const std::string                                   name_;
    const windows                                       windows_;
    table<windowed<Key>, Value>                         rows_;
    table_index<timestamp, table<windowed<Key>, Value>> by_start_;

    /// Of sessions, those of a key that may still change, by time: found without a scan.
    std::optional<table<Key, std::vector<session>>> sessions_;
};

}  // namespace cairn
