// SPDX-License-Identifier: Apache-2.0
#include "fields.hpp"

#include <catch2/catch.hpp>

namespace {

std::optional<std::string> field(std::string_view line, std::size_t number,
                                 std::string_view separator = ",")
{
    std::string scratch;
    const auto  found = cairn::cli::field_of(line, number, separator, scratch);
    return found ? std::optional{std::string{*found}} : std::nullopt;
}

}  // namespace

TEST_CASE("fields are counted from 1")
{
    CHECK(field("a,b,c", 1) == "a");
    CHECK(field("a,b,c", 2) == "b");
    CHECK(field("a,b,c", 3) == "c");
    CHECK(field("a,b,c", 4) == std::nullopt);
    CHECK(field("a", 1) == "a");
}

TEST_CASE("fields may be empty")
{
    CHECK(field("", 1) == "");
    CHECK(field("", 2) == std::nullopt);
    CHECK(field(",b", 1) == "");
    CHECK(field("a,,c", 2) == "");
    CHECK(field("a,", 2) == "");
    CHECK(field("a,", 3) == std::nullopt);
}

TEST_CASE("a separator may be of several bytes")
{
    CHECK(field("a::b:c::d", 2, "::") == "b:c");
    CHECK(field("a::", 2, "::") == "");
    CHECK(field("a:", 2, "::") == std::nullopt);
    CHECK(field("a\tb", 2, "\t") == "b");
}

TEST_CASE("a quoted field is read as in CSV")
{
    CHECK(field(R"("a,b",c)", 1) == "a,b");
    CHECK(field(R"("a,b",c)", 2) == "c");
    CHECK(field(R"(1,"say ""hi"", friend",3)", 2) == R"(say "hi", friend)");
    CHECK(field(R"(1,"say ""hi"", friend",3)", 3) == "3");
    CHECK(field(R"("",x)", 1) == "");
    CHECK(field("1,\"end\"\r", 2) == "end");
}

TEST_CASE("a quote that is not one of CSV is taken as it stands")
{
    CHECK(field(R"("open,b)", 1) == R"("open)");
    CHECK(field(R"("open,b)", 2) == "b");
    CHECK(field(R"("a"b,c)", 1) == R"("a"b)");
    CHECK(field(R"(a"b,c)", 1) == R"(a"b)");
}
