// SPDX-License-Identifier: Apache-2.0
#include "json.hpp"

#include <catch2/catch.hpp>

#include <limits>

using cairn::cli::json_writer;
using namespace std::string_literals;

TEST_CASE("JSON is written as it goes")
{
    std::string text;
    json_writer json{text};
    json.begin_object().field("topic", "orders").field("records", 12).field("ok", true);
    json.name("list").begin_array().value(1).value("two").null().end_array();
    json.name("none").begin_array().end_array();
    json.name("inner").begin_object().field("half", 0.5).end_object().end_object();
    CHECK(text == R"({"topic":"orders","records":12,"ok":true,"list":[1,"two",null],)"
                  R"("none":[],"inner":{"half":0.5}})");
}

TEST_CASE("what JSON cannot hold bare is escaped")
{
    std::string text;
    json_writer{text}.value("a\"b\\c\n\r\t\x01\x1f ü"s + '\0');
    CHECK(text == R"("a\"b\\c\n\r\t\u0001\u001f ü\u0000")");
}

TEST_CASE("numbers have all their digits, and what is no number is null")
{
    std::string text;
    json_writer json{text};
    json.begin_array().value(std::numeric_limits<std::int64_t>::min());
    json.value(std::numeric_limits<double>::quiet_NaN());
    json.value(std::optional<std::int64_t>{}).value(std::optional{3}).end_array();
    CHECK(text == "[-9223372036854775808,null,null,3]");
}

TEST_CASE("bytes that are not UTF-8 are Base64, under another name")
{
    std::string text;
    json_writer json{text};
    json.begin_object().bytes("key", "text").bytes("value", "\xff").bytes("none", std::nullopt);
    json.end_object();
    CHECK(text == R"({"key":"text","value_base64":"/w==","none":null})");
}

TEST_CASE("the members of an object, and of those in it, are found by name")
{
    using members = std::vector<std::pair<std::string, std::string>>;
    CHECK(cairn::cli::members_of(R"({"a":1,"b":{"c":"x,}\"","d":[1,{"e":2}]},"f":{},"g":null})") ==
          members{{"a", "1"}, {"b.c", R"("x,}\"")"}, {"b.d", R"([1,{"e":2}])"}, {"f", "{}"},
                  {"g", "null"}});
    CHECK(cairn::cli::members_of("{}").empty());
    CHECK(cairn::cli::members_of("[1]").empty());
}
