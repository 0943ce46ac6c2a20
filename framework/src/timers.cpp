// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/timers.hpp>

#include <cairn/log/error.hpp>

#include <ctime>
#include <limits>
#include <ostream>

namespace cairn {

namespace {

constexpr std::int64_t minute_ms = 60'000;
constexpr std::int64_t day_ms    = 24 * 60 * minute_ms;

std::int64_t checked_of_day(std::chrono::minutes of_day)
{
    if (of_day.count() < 0 || of_day >= std::chrono::hours{24})
        throw error{errc::invalid_argument, "a time of day of " + std::to_string(of_day.count()) +
                                                " minutes: a day has 1440, from 0 on"};
    return of_day.count() * minute_ms;
}

/// Added without overflow: what is too late for a timestamp is at the end of time.
std::int64_t sum(std::int64_t a, std::int64_t b)
{
    std::int64_t all;
    if (!__builtin_add_overflow(a, b, &all)) return all;
    return b > 0 ? std::numeric_limits<std::int64_t>::max()
                 : std::numeric_limits<std::int64_t>::min();
}

std::int64_t next_utc(std::int64_t from, std::int64_t of_day_ms)
{
    auto in_day = from % day_ms;
    if (in_day < 0) in_day += day_ms;
    return sum(from, of_day_ms - in_day + (in_day >= of_day_ms ? day_ms : 0));
}

// By what clocks show, not by adding 24 hours: a day may have 23 or 25. Whether it is today or
// tomorrow goes by what they show too, or 02:30 would come twice on the day that has it twice.
std::int64_t next_local(std::int64_t from, std::int64_t of_day_ms)
{
    const auto seconds = static_cast<std::time_t>(from / 1000 - (from % 1000 < 0 ? 1 : 0));
    std::tm    shown{};
    ::localtime_r(&seconds, &shown);
    const auto shown_ms = (shown.tm_hour * 60 + shown.tm_min) * minute_ms;
    for (int day = shown_ms >= of_day_ms ? 1 : 0;; ++day) {
        std::tm then{};
        then.tm_year  = shown.tm_year;
        then.tm_mon   = shown.tm_mon;
        then.tm_mday  = shown.tm_mday + day;
        then.tm_hour  = static_cast<int>(of_day_ms / minute_ms / 60);
        then.tm_min   = static_cast<int>(of_day_ms / minute_ms % 60);
        then.tm_isdst = -1;
        const std::int64_t shows = std::mktime(&then);
        std::int64_t       at;
        if (__builtin_mul_overflow(shows, std::int64_t{1000}, &at)) {
            if (shows > 0) return std::numeric_limits<std::int64_t>::max();
            continue;
        }
        // A time that the day leaves out may come out earlier than asked for.
        if (at > from) return at;
    }
}

}  // namespace

timestamp due::from(timestamp cause) const
{
    switch (kind_) {
    case kind::after:
        return timestamp{sum(cause.value, ms_)};
    case kind::at:
        return timestamp{ms_};
    case kind::at_local:
        return timestamp{next_local(cause.value, ms_)};
    case kind::at_utc:
        return timestamp{next_utc(cause.value, ms_)};
    }
    __builtin_unreachable();
}

due after(std::chrono::milliseconds how_long)
{
    return {due::kind::after, how_long.count()};
}
due at(timestamp when)
{
    return {due::kind::at, when.value};
}
due at_local(std::chrono::minutes of_day)
{
    return {due::kind::at_local, checked_of_day(of_day)};
}
due at_utc(std::chrono::minutes of_day)
{
    return {due::kind::at_utc, checked_of_day(of_day)};
}

std::ostream& operator<<(std::ostream& out, const due& d)
{
    const auto of_day = [&] {
        const auto minutes = d.ms_ / minute_ms;
        const auto digits  = [&](std::int64_t n) { out << (n < 10 ? "0" : "") << n; };
        digits(minutes / 60);
        out << ':';
        digits(minutes % 60);
    };
    switch (d.kind_) {
    case due::kind::after:
        out << "after ";
        if (d.ms_ != 0 && d.ms_ % (60 * minute_ms) == 0)
            return out << d.ms_ / minute_ms / 60 << " h";
        if (d.ms_ != 0 && d.ms_ % minute_ms == 0) return out << d.ms_ / minute_ms << " min";
        if (d.ms_ % 1000 == 0) return out << d.ms_ / 1000 << " s";
        return out << d.ms_ << " ms";
    case due::kind::at:
        return out << "at " << d.ms_ << " ms";
    case due::kind::at_local:
        out << "at local ";
        break;
    case due::kind::at_utc:
        out << "at UTC ";
        break;
    }
    of_day();
    return out;
}

}  // namespace cairn
