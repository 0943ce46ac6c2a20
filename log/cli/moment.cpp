// SPDX-License-Identifier: Apache-2.0
#include "moment.hpp"

#include "command.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <optional>

namespace cairn::cli {

namespace {

using std::chrono::milliseconds;

/// Eats a text from the front; every take_… says whether it found what it wanted.
class scanner
{
public:
    explicit scanner(std::string_view text) : left_{text} {}

    bool at_end() const { return left_.empty(); }
    bool take(char c)
    {
        if (left_.empty() || left_.front() != c) return false;
        left_.remove_prefix(1);
        return true;
    }
    bool take_any(std::string_view choice)
    {
        if (left_.empty() || choice.find(left_.front()) == std::string_view::npos) return false;
        left_.remove_prefix(1);
        return true;
    }
    /// Exactly that many digits.
    std::optional<int> take_digits(std::size_t count)
    {
        if (left_.size() < count) return std::nullopt;
        int number              = 0;
        const auto [end, fault] = std::from_chars(left_.data(), left_.data() + count, number);
        if (fault != std::errc{} || end != left_.data() + count || left_.front() == '-')
            return std::nullopt;
        left_.remove_prefix(count);
        return number;
    }
    /// A number like 12 or 1.5.
    std::optional<double> take_number()
    {
        if (left_.empty() || left_.front() < '0' || left_.front() > '9') return std::nullopt;
        double number           = 0;
        const auto [end, fault] = std::from_chars(left_.data(), left_.data() + left_.size(), number,
                                                  std::chars_format::fixed);
        if (fault != std::errc{}) return std::nullopt;
        left_.remove_prefix(static_cast<std::size_t>(end - left_.data()));
        return number;
    }
    std::string_view take_letters()
    {
        std::size_t n = 0;
        while (n < left_.size() && ((left_[n] | 0x20) >= 'a') && ((left_[n] | 0x20) <= 'z')) ++n;
        const auto letters = left_.substr(0, n);
        left_.remove_prefix(n);
        return letters;
    }

private:
    std::string_view left_;
};

std::optional<milliseconds> clock_of(scanner& s)
{
    const auto hours = s.take_digits(2);
    if (!hours || *hours > 23 || !s.take(':')) return std::nullopt;
    const auto minutes = s.take_digits(2);
    if (!minutes || *minutes > 59) return std::nullopt;
    milliseconds time = std::chrono::hours{*hours} + std::chrono::minutes{*minutes};
    if (s.take(':')) {
        const auto seconds = s.take_digits(2);
        if (!seconds || *seconds > 60) return std::nullopt;
        time += std::chrono::seconds{*seconds};
        if (s.take_any(".,")) {
            int worth = 100;
            int seen  = 0;
            for (; const auto digit = s.take_digits(1); ++seen, worth /= 10)
                time += milliseconds{*digit * worth};
            if (seen == 0) return std::nullopt;
        }
    }
    return time;
}

std::optional<milliseconds> zone_of(scanner& s)
{
    if (s.at_end() || s.take_any("Zz")) return milliseconds{0};
    const bool west = s.take('-');
    if (!west && !s.take('+')) return std::nullopt;
    const auto hours = s.take_digits(2);
    if (!hours || *hours > 23) return std::nullopt;
    s.take(':');
    const int minutes = s.at_end() ? 0 : s.take_digits(2).value_or(99);
    if (minutes > 59) return std::nullopt;
    const milliseconds ahead = std::chrono::hours{*hours} + std::chrono::minutes{minutes};
    return west ? -ahead : ahead;
}

std::optional<timestamp> iso_time(std::string_view text)
{
    scanner    s{text};
    const auto year = s.take_digits(4);
    if (!year || !s.take('-')) return std::nullopt;
    const auto month = s.take_digits(2);
    if (!month || !s.take('-')) return std::nullopt;
    const auto day = s.take_digits(2);
    if (!day) return std::nullopt;

    const std::chrono::year_month_day date{std::chrono::year{*year},
                                           std::chrono::month{static_cast<unsigned>(*month)},
                                           std::chrono::day{static_cast<unsigned>(*day)}};
    if (!date.ok()) return std::nullopt;

    milliseconds time{0};
    milliseconds zone{0};
    if (!s.at_end()) {
        if (!s.take_any("Tt ")) return std::nullopt;
        const auto clock = clock_of(s);
        const auto ahead = clock ? zone_of(s) : std::nullopt;
        if (!ahead || !s.at_end()) return std::nullopt;
        time = *clock;
        zone = *ahead;
    }
    const auto since_1970 = std::chrono::sys_days{date}.time_since_epoch() + time - zone;
    return timestamp{std::chrono::duration_cast<milliseconds>(since_1970).count()};
}

constexpr double second_ms = 1000;
constexpr double minute_ms = 60 * second_ms;
constexpr double hour_ms   = 60 * minute_ms;
constexpr double day_ms    = 24 * hour_ms;

std::optional<double> unit_of(std::string_view letters)
{
    if (letters == "ms") return 1;
    if (letters == "s" || letters == "sec") return second_ms;
    if (letters == "m" || letters == "min") return minute_ms;
    if (letters == "h") return hour_ms;
    if (letters == "d") return day_ms;
    if (letters == "w") return 7 * day_ms;
    return std::nullopt;
}

std::optional<double> iso_unit_of(char letter, bool in_day)
{
    switch (letter | 0x20) {
    case 'w':
        return in_day ? std::nullopt : std::optional{7 * day_ms};
    case 'd':
        return in_day ? std::nullopt : std::optional{day_ms};
    case 'h':
        return in_day ? std::optional{hour_ms} : std::nullopt;
    case 'm':
        return in_day ? std::optional{minute_ms} : std::nullopt;
    case 's':
        return in_day ? std::optional{second_ms} : std::nullopt;
    default:
        return std::nullopt;
    }
}

/// "PT10M" and "P1DT12H". Months and years are no durations: they have no fixed length.
std::optional<double> iso_duration_ms(std::string_view text)
{
    scanner s{text};
    if (!s.take_any("Pp")) return std::nullopt;
    double sum    = 0;
    bool   in_day = false;
    bool   any    = false;
    while (!s.at_end()) {
        if (!in_day && s.take_any("Tt")) {
            in_day = true;
            any    = false;
            continue;
        }
        const auto number  = s.take_number();
        const auto letters = s.take_letters();
        if (!number || letters.empty()) return std::nullopt;
        // "1DT12H": the T comes right behind the D.
        if (letters.size() > 2 || (letters.size() == 2 && (in_day || (letters[1] | 0x20) != 't')))
            return std::nullopt;
        const auto unit = iso_unit_of(letters[0], in_day);
        if (!unit) return std::nullopt;
        sum += *number * *unit;
        any = letters.size() == 1;
        in_day |= letters.size() == 2;
    }
    return any ? std::optional{sum} : std::nullopt;
}

std::optional<double> plain_duration_ms(std::string_view text)
{
    scanner s{text};
    double  sum = 0;
    do {
        const auto number = s.take_number();
        const auto unit   = unit_of(s.take_letters());
        if (!number || !unit) return std::nullopt;
        sum += *number * *unit;
    } while (!s.at_end());
    return sum;
}

std::optional<double> duration_ms(std::string_view text)
{
    if (text.empty()) return std::nullopt;
    const auto ms = text.front() == 'P' ? iso_duration_ms(text) : plain_duration_ms(text);
    return ms && *ms < 9e15 ? ms : std::nullopt;
}

}  // namespace

timestamp now()
{
    const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
    return timestamp{std::chrono::duration_cast<milliseconds>(since_1970).count()};
}

std::string as_iso_time(timestamp t)
{
    using namespace std::chrono;
    constexpr std::int64_t year_0     = -62'167'219'200'000;
    constexpr std::int64_t year_10000 = 253'402'300'800'000;
    if (t.value < year_0 || t.value >= year_10000) return std::to_string(t.value);

    const sys_time<milliseconds> at{milliseconds{t.value}};
    const auto                   day = floor<days>(at);
    const year_month_day         date{day};
    const hh_mm_ss               clock{at - day};

    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ",
                  static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                  static_cast<unsigned>(date.day()), static_cast<int>(clock.hours().count()),
                  static_cast<int>(clock.minutes().count()),
                  static_cast<int>(clock.seconds().count()),
                  static_cast<int>(clock.subseconds().count()));
    return text.data();
}

timestamp parse_time(std::string_view text, std::string_view what)
{
    if (text == "now") return now();
    if (const auto t = iso_time(text)) return *t;

    std::int64_t ms         = 0;
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), ms);
    // Four digits would be a year; so small a number of milliseconds is nobody's wish.
    if (fault == std::errc{} && end == text.data() + text.size() && text.size() > 4)
        return timestamp{ms};

    throw usage_error{std::string{what} + ": '" + std::string{text} +
                      "' is no time; write it as 2010-12-01T08:26:00Z, or as milliseconds "
                      "since 1970"};
}

milliseconds parse_duration(std::string_view text, std::string_view what)
{
    if (const auto ms = duration_ms(text)) return milliseconds{static_cast<std::int64_t>(*ms)};
    throw usage_error{std::string{what} + ": '" + std::string{text} +
                      "' is no duration; write it as 500ms, 30s, 10m, 1h30m, 7d or PT10M"};
}

timestamp parse_time_or_age(std::string_view text, std::string_view what)
{
    if (const auto ms = duration_ms(text)) return now() - static_cast<std::int64_t>(*ms);
    if (const auto t = iso_time(text)) return *t;
    try {
        return parse_time(text, what);
    } catch (const usage_error&) {
        throw usage_error{std::string{what} + ": '" + std::string{text} +
                          "' is neither a time like 2010-12-01T08:26:00Z nor an age like 10m"};
    }
}

std::string as_duration(double seconds)
{
    std::array<char, 48> text{};
    const auto           whole = static_cast<long long>(seconds);
    if (seconds < 9.95)
        std::snprintf(text.data(), text.size(), "%.1f s", seconds);
    else if (whole < 60)
        std::snprintf(text.data(), text.size(), "%.0f s", seconds);
    else if (whole < 3600)
        std::snprintf(text.data(), text.size(), "%lld min %lld s", whole / 60, whole % 60);
    else if (whole < 86400)
        std::snprintf(text.data(), text.size(), "%lld h %lld min", whole / 3600, whole % 3600 / 60);
    else
        std::snprintf(text.data(), text.size(), "%lld d %lld h", whole / 86400,
                      whole % 86400 / 3600);
    return text.data();
}

}  // namespace cairn::cli
