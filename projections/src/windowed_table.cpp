// SPDX-License-Identifier: Apache-2.0
#include <cairn/projections/windowed_table.hpp>

#include <limits>

namespace cairn {

namespace {

constexpr std::int64_t times_max   = std::int64_t{1} << 60;  // of milliseconds
constexpr std::int64_t windows_max = 1'000;

void check(bool good, const char* what)
{
    if (!good) throw error{errc::invalid_argument, what};
}

}  // namespace

windows::windows(milliseconds size, milliseconds hop) : size_{size.count()}, hop_{hop.count()}
{
    check(0 < size_ && size_ <= times_max, "a window has a length above zero");
}

windows tumbling(windows::milliseconds size)
{
    return hopping(size, size);
}

windows hopping(windows::milliseconds size, windows::milliseconds hop)
{
    const windows w{size, hop};
    check(0 < w.hop_ && w.hop_ <= w.size_,
          "windows hop by a time above zero and not beyond their length, or there are gaps");
    check((w.size_ - 1) / w.hop_ < windows_max,
          "an event would be in more than 1,000 windows: hop by more");
    return w;
}

windows sessions(windows::milliseconds gap)
{
    return {gap, windows::milliseconds{0}};
}

windows windows::grace(milliseconds g) const
{
    check(0 <= g.count() && g.count() <= times_max, "a window's grace is not below zero");
    auto w   = *this;
    w.grace_ = g.count();
    return w;
}

timestamp windows::start_of(timestamp at) const noexcept
{
    const auto into = at.value % hop_;
    return at - (into < 0 ? into + hop_ : into);
}

std::vector<timestamp> windows::starts_of(timestamp at) const
{
    std::vector<timestamp> all;
    for (auto start = start_of(at); at < end_of(start); start = start - hop_) all.push_back(start);
    return all;
}

namespace detail {

namespace {

const std::string only_row = "stream";

}  // namespace

window_clock::window_clock(projection_base* owner)
    : time_{owner, "stream_time", {"of", "time"}}, late_{owner, "late_events", {"of", "events"}}
{
}

timestamp window_clock::now() const
{
    return time_.find(only_row).value_or(timestamp{-times_max});
}

timestamp window_clock::advance(timestamp event_time)
{
    check(-times_max <= event_time.value && event_time.value <= times_max,
          "an event's time is more than 30 million years from 1970: give milliseconds");
    const auto was = now();
    if (event_time <= was) return was;
    time_.put(only_row, event_time);
    return event_time;
}

void window_clock::count_late(const std::string& table)
{
    late_.update(table, [](auto& n) { ++n; });
}

std::vector<std::string> windowed_columns(std::size_t of_key)
{
    std::vector<std::string> names;
    for (std::size_t i = 1; i <= of_key; ++i)
        names.push_back(of_key == 1 ? "key" : "key_" + std::to_string(i));
    names.emplace_back("window_start");
    names.emplace_back("window_end");
    return names;
}

}  // namespace detail
}  // namespace cairn
