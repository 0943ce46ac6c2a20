// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

#include <catch2/catch.hpp>

using namespace cairn::cli;

namespace {

struct sample
{
    command                     root{"cairn", "A test"};
    std::string                 topic;
    std::vector<std::string>    more;
    std::int64_t                count = 0;
    std::optional<std::int64_t> offset;
    std::optional<std::string>  separator;
    std::vector<std::string>    headers;
    std::string                 format = "text";
    bool                        follow = false;

    sample()
    {
        auto& group = root.add("group", "A noun");
        auto& reset = group.add("reset", "A verb");
        reset.argument("TOPIC", topic, "Which");
        reset.value("-c,--count", "N", count, "How many");
        reset.does([](session&) { return 0; });

        auto& consume = root.add("consume", "Another verb");
        consume.argument("TOPIC", topic, "Which");
        consume.value("-o,--offset", "N", offset, "Where");
        consume.value("--separator", "TEXT", separator, "What is between");
        consume.values("-H,--header", "NAME=VALUE", headers, "Headers");
        consume.value("--format", "FORMAT", format, "How").choices = {"text", "json"};
        consume.flag("-F,--follow", follow, "Go on");
        consume.does([](session&) { return 0; });

        auto& many                                     = root.add("many", "With many arguments");
        many.arguments("NAME", more, "Which").required = false;
        many.does([](session&) { return 0; });
    }

    parsed read(const std::vector<std::string>& line) { return parse(root, line); }
};

}  // namespace

TEST_CASE("a command line sets what its options are bound to")
{
    sample     s;
    const auto found = s.read({"consume", "-o", "5", "--header", "a=1", "orders", "-H", "b=[2,3]",
                               "--format=json", "-F"});
    CHECK(found.chosen->full_name() == "cairn consume");
    CHECK(s.topic == "orders");
    CHECK(s.offset == 5);
    CHECK(s.headers == std::vector<std::string>{"a=1", "b=[2,3]"});
    CHECK(s.format == "json");
    CHECK(s.follow);
}

TEST_CASE("a value may look like anything")
{
    const auto value_of = [](const std::string& text) {
        sample s;
        s.read({"consume", "t", "--separator", text});
        return s.separator;
    };
    for (const auto* text : {"", "-", "--", "-1", "--offset", "[]", "[a,b]", "{}", "%%", "++", "=",
                             "consume", "a b", "'", "\"x\"", "\\t"}) {
        INFO(text);
        CHECK(value_of(text) == text);
    }
}

TEST_CASE("numbers may be negative")
{
    sample s;
    s.read({"consume", "t", "--offset", "-10"});
    CHECK(s.offset == -10);
    s.read({"consume", "t", "--offset=-7"});
    CHECK(s.offset == -7);
}

TEST_CASE("an argument may have the name of a command, or a dash after --")
{
    sample s;
    CHECK(s.read({"consume", "group"}).chosen->full_name() == "cairn consume");
    CHECK(s.topic == "group");
    CHECK(s.read({"group", "reset", "reset"}).chosen->full_name() == "cairn group reset");
    CHECK(s.topic == "reset");
    s.read({"consume", "--", "-odd"});
    CHECK(s.topic == "-odd");
    s.read({"many", "a", "consume", "many"});
    CHECK(s.more == std::vector<std::string>{"a", "consume", "many"});
}

TEST_CASE("help is shown even where something is missing")
{
    sample s;
    for (const auto* flag : {"-h", "--help"}) {
        CHECK(s.read({"consume", flag}).wants_help);
        CHECK(s.read({"consume", flag}).chosen->full_name() == "cairn consume");
        CHECK(s.read({"group", flag}).chosen->full_name() == "cairn group");
        CHECK(s.read({flag}).chosen->full_name() == "cairn");
    }
    CHECK(s.read({"--version"}).wants_version);
}

TEST_CASE("what is not understood is said, with what would have been")
{
    sample     s;
    const auto complaint = [&](const std::vector<std::string>& line) -> std::string {
        try {
            s.read(line);
        } catch (const usage_error& fault) {
            return fault.what();
        }
        return "no complaint";
    };
    using Catch::Contains;
    CHECK_THAT(complaint({"consum", "t"}), Contains("did you mean consume?"));
    CHECK_THAT(complaint({"group", "rset", "t"}), Contains("did you mean reset?"));
    CHECK_THAT(complaint({"consume", "t", "--ofset", "1"}), Contains("did you mean --offset?"));
    CHECK_THAT(complaint({"consume", "t", "--follw"}), Contains("did you mean --follow?"));
    CHECK_THAT(complaint({"consume", "t", "--zzzzzz"}),
               Contains("--zzzzzz") && !Contains("did you mean"));
    CHECK_THAT(complaint({"consume"}), Contains("needs TOPIC"));
    CHECK_THAT(complaint({"consume", "t", "u"}), Contains("'u'"));
    CHECK_THAT(complaint({"consume", "t", "--offset", "x"}), Contains("not a whole number"));
    CHECK_THAT(complaint({"consume", "t", "--offset", "99999999999999999999"}),
               Contains("too large"));
    CHECK_THAT(complaint({"consume", "t", "--offset"}), Contains("--offset"));
    CHECK_THAT(complaint({"consume", "t", "--offset", "1", "--offset", "2"}),
               Contains("more than once"));
    CHECK_THAT(complaint({"consume", "t", "--format", "xml"}), Contains("text, json"));
    CHECK_THAT(complaint({"consume", "t", "--separator="}), Contains("--separator ''"));
    CHECK_THAT(complaint({"consume", "t", "--follow=no"}), Contains("--follow"));
}
