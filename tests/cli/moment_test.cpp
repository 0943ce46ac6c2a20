// SPDX-License-Identifier: Apache-2.0
#include "moment.hpp"

#include "command.hpp"

#include <catch2/catch.hpp>

using namespace cairn::cli;
using cairn::timestamp;
using std::chrono::milliseconds;

namespace {

std::int64_t time_of(std::string_view text)
{
    return parse_time(text, "x").value;
}
std::int64_t duration_of(std::string_view text)
{
    return parse_duration(text, "x").count();
}

}  // namespace

TEST_CASE("a time is read as ISO 8601 has it, and is UTC where it does not say")
{
    CHECK(time_of("1970-01-01") == 0);
    CHECK(time_of("2010-12-01") == 1'291'161'600'000);
    CHECK(time_of("2010-12-01T08:26") == 1'291'191'960'000);
    CHECK(time_of("2010-12-01T08:26:07") == 1'291'191'967'000);
    CHECK(time_of("2010-12-01 08:26:00Z") == 1'291'191'960'000);
    CHECK(time_of("2010-12-01T08:26:00.5Z") == 1'291'191'960'500);
    CHECK(time_of("2010-12-01T08:26:00.123456Z") == 1'291'191'960'123);
    CHECK(time_of("2010-12-01T09:26:00+01:00") == 1'291'191'960'000);
    CHECK(time_of("2010-12-01T09:26:00+0100") == 1'291'191'960'000);
    CHECK(time_of("2010-12-01T03:26:00-05") == 1'291'191'960'000);
    CHECK(time_of("1969-12-31T23:59:59Z") == -1000);
    CHECK(time_of("1291191960000") == 1'291'191'960'000);
}

TEST_CASE("what is no time is refused, and the message shows how to write one")
{
    for (const auto* text :
         {"", "yesterday", "2010", "2010-13-01", "2010-02-30", "2010-12-01T", "2010-12-01T25:00",
          "2010-12-01T08:61", "2010-12-01T08:26:00X", "2010-12-01T08:26:00.", "2010-12-01T08:26+25",
          "20101201x", "-1-1-1"}) {
        INFO(text);
        CHECK_THROWS_AS(time_of(text), usage_error);
    }
    CHECK_THROWS_WITH(time_of("then"), Catch::Contains("2010-12-01T08:26:00Z"));
}

TEST_CASE("a time is printed as it is read")
{
    CHECK(as_iso_time(timestamp{0}) == "1970-01-01T00:00:00.000Z");
    CHECK(as_iso_time(timestamp{1'291'191'960'123}) == "2010-12-01T08:26:00.123Z");
    CHECK(as_iso_time(timestamp{-1}) == "1969-12-31T23:59:59.999Z");
    CHECK(as_iso_time(timestamp{253'402'300'800'000}) == "253402300800000");
    for (const std::int64_t t : {0LL, 951'782'400'000LL, 4'102'444'799'999LL})
        CHECK(time_of(as_iso_time(timestamp{t})) == t);
}

TEST_CASE("a duration is read in short and in ISO 8601")
{
    CHECK(duration_of("500ms") == 500);
    CHECK(duration_of("30s") == 30'000);
    CHECK(duration_of("10m") == 600'000);
    CHECK(duration_of("1h30m") == 5'400'000);
    CHECK(duration_of("1.5h") == 5'400'000);
    CHECK(duration_of("7d") == 604'800'000);
    CHECK(duration_of("2w") == 1'209'600'000);
    CHECK(duration_of("PT10M") == 600'000);
    CHECK(duration_of("P1D") == 86'400'000);
    CHECK(duration_of("P1DT12H") == 129'600'000);
    CHECK(duration_of("P2W") == 1'209'600'000);
    CHECK(duration_of("PT0.5S") == 500);
}

TEST_CASE("what is no duration is refused")
{
    for (const auto* text : {"", "10", "m", "10x", "-5m", "10 m", "P", "PT", "P1", "P1M", "P1Y",
                             "PT1D", "P1DT", "PT10M5", "1e300d", "99999999999999999999d"}) {
        INFO(text);
        CHECK_THROWS_AS(duration_of(text), usage_error);
    }
}

TEST_CASE("an age is a time before now")
{
    const auto hour_ago = parse_time_or_age("1h", "x").value;
    CHECK(now().value - hour_ago >= 3'600'000);
    CHECK(now().value - hour_ago < 3'660'000);
    CHECK(parse_time_or_age("2010-12-01", "x").value == 1'291'161'600'000);
    CHECK_THROWS_AS(parse_time_or_age("soon", "--since"), usage_error);
}

TEST_CASE("a duration is printed in two units at most")
{
    CHECK(as_duration(0.42) == "0.4 s");
    CHECK(as_duration(12) == "12 s");
    CHECK(as_duration(200) == "3 min 20 s");
    CHECK(as_duration(7500) == "2 h 5 min");
    CHECK(as_duration(273'600) == "3 d 4 h");
}
