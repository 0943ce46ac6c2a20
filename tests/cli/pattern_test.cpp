// SPDX-License-Identifier: Apache-2.0
#include "pattern.hpp"

#include "command.hpp"

#include <cairn/log/record_batch.hpp>

#include <catch2/catch.hpp>

using namespace cairn;
using namespace std::string_literals;

namespace {

const topic_partition place{"orders", 3};

/// One record, as it is read.
struct sample
{
    explicit sample(std::optional<std::string> key   = "o-1",
                    std::optional<std::string> value = "placed", std::vector<header> headers = {})
    {
        builder.start();
        builder.add(timestamp{1'291'191'960'000}, key, value, headers);
        const auto batch = batch_view::parse(builder.finish());
        REQUIRE(batch);
        cursor = record_cursor{*batch, batch->payload(), position{42}};
        REQUIRE(cursor.next());
        record      = cursor.current();
        record.from = &place;
    }

    std::string as(std::string_view text) const
    {
        std::string printed;
        cli::pattern{text}.append(printed, record);
        return printed;
    }

    batch_builder builder;
    record_cursor cursor;
    record_view   record;
};

}  // namespace

TEST_CASE("a pattern prints what kcat's prints")
{
    const sample s;
    CHECK(s.as("%s") == "placed");
    CHECK(s.as("%k") == "o-1");
    CHECK(s.as("%S %K") == "6 3");
    CHECK(s.as("%R") == "\0\0\0\6"s);
    CHECK(s.as("%t [%p] at offset %o: key %k: %s\\n") ==
          "orders [3] at offset 0: key o-1: placed\n");
    CHECK(s.as("%T") == "1291191960000");
    CHECK(s.as("\\x41\\t\\r\\n") == "A\t\r\n");
}

TEST_CASE("a pattern prints positions and times too")
{
    const sample s;
    CHECK(s.as("%P %I") == "42 2010-12-01T08:26:00.000Z");
    CHECK(s.as("100 %%") == "100 %");
}

TEST_CASE("null has length -1 and prints as nothing")
{
    const sample s{std::nullopt, std::nullopt};
    CHECK(s.as("[%k] [%s] %K %S") == "[] [] -1 -1");
    CHECK(s.as("%R") == "\xff\xff\xff\xff");
}

TEST_CASE("headers are printed with commas between them")
{
    CHECK(sample{"k", "v", {{"a", "1"}, {"b", std::nullopt}, {"c", ""}}}.as("%h") == "a=1,b=,c=");
    CHECK(sample{}.as("%h") == "");
}

TEST_CASE("bytes go through a pattern as they are")
{
    const sample s{"k\0y"s, "\xff\n%s\\n"s};
    CHECK(s.as("%k|%s") == "k\0y|\xff\n%s\\n"s);
}

TEST_CASE("a pattern with a letter that means nothing is refused")
{
    CHECK_THROWS_AS(cli::pattern{"%z"}, cli::usage_error);
    CHECK_THROWS_AS(cli::pattern{"50%"}, cli::usage_error);
    CHECK_THROWS_AS(cli::pattern{"\\q"}, cli::usage_error);
    CHECK_THROWS_WITH(cli::pattern{"%z"}, Catch::Contains("%s") && Catch::Contains("%z"));
}
