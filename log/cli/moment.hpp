// SPDX-License-Identifier: Apache-2.0
//
// Times and durations as they are typed and printed.
#pragma once

#include <cairn/log/ids.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace cairn::cli {

timestamp now();

/// "2010-12-01T08:26:00.000Z"; a time that no calendar has (before year 0, after 9999) as its
/// milliseconds.
std::string as_iso_time(timestamp t);

/// A time as ISO 8601 has it: "2010-12-01", "2010-12-01T08:26", "2010-12-01 08:26:00.5", with
/// "Z" or "+01:00" behind or, without, UTC; or milliseconds since 1970; or "now". Throws
/// usage_error, which names `what`.
timestamp parse_time(std::string_view text, std::string_view what);

/// A duration: "500ms", "10m", "1h30m", "7d", "2w", or as ISO 8601 has it: "PT10M", "P1DT12H".
/// Throws usage_error.
std::chrono::milliseconds parse_duration(std::string_view text, std::string_view what);

/// A time, or a duration that has passed since.
timestamp parse_time_or_age(std::string_view text, std::string_view what);

/// "0.4 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
std::string as_duration(double seconds);

}  // namespace cairn::cli
