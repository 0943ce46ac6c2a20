// SPDX-License-Identifier: Apache-2.0
//
// Queries by type and tag, and dynamic consistency boundaries made of them. After the rules of
// the DCB specification (dcb.events), and the questions that it leaves open.
#include "fixture.hpp"

#include <cstdlib>
#include <functional>

using namespace contract;

namespace {

/// Eight events over three topics, named by their values.
struct a_campus : every_log
{
    a_campus()
    {
        topic("courses", 2);
        topic("students", 1);
        topic("notes", 1);
        const auto at = [this](append_record r) {
            places.push_back(append({std::move(r)}).first);
        };
        at(event("courses", "c1", "a").type("Defined").tags({"course:1"}));
        at(event("courses", "c2", "b").type("Defined").tags({"course:2"}));
        at(event("students", "s1", "c").type("Registered").tags({"student:1"}));
        at(event("students", no_key, "d").type("Subscribed").tags({"course:1", "student:1"}));
        at(event("courses", "c1", "e").type("Renamed").tags({"course:1"}));
        at(event("notes", no_key, "f"));
        at(event("notes", "n", "g").tags({"course:1", "student:1", "x"}));
        at(event("students", "s2", "h").type("Subscribed").tags({"student:2", "course:2"}));
    }

    std::vector<position> places;  ///< of a, b, c, …
};

append_request when(query q, std::optional<position> after)
{
    return {.records = {event("notes", no_key, "z")}, .boundaries = {{std::move(q), after}}};
}

/// "a b c" without the letters that `keep` is false for.
std::string only(std::string_view letters, const std::function<bool(char)>& keep)
{
    std::string kept;
    for (const char c : letters) {
        if (c == ' ' || !keep(c)) continue;
        if (!kept.empty()) kept += ' ';
        kept += c;
    }
    return kept;
}

/// Alternates reading and appending as a decision does: what it saw is its condition.
append_result decide(commit_log& log, const query& q, append_record what)
{
    const position seen{log.end_position().value - 1};
    (void)log.last_match(q);
    return log.try_append({.records = {std::move(what)}, .boundaries = {{q, seen}}});
}

}  // namespace

// ---- Matching. -------------------------------------------------------------------------------

TEST_CASE_METHOD(a_campus, "a query matches any of its items: one of the types, all of the tags")
{
    const std::vector<std::pair<query, std::string>> all = {
        {query::all(), "a b c d e f g h"},
        {query{}, ""},
        {{{of_types({"Defined"})}}, "a b"},
        {{{of_types({"Defined", "Renamed"})}}, "a b e"},
        {{{of_types({"Defined"}), of_types({"Renamed"})}}, "a b e"},
        {{{of_types({"defined"})}}, ""},
        {{{of_types({"Define"})}}, ""},
        {{{of_tags({"course:1"})}}, "a d e g"},
        {{{of_tags({"course:1", "student:1"})}}, "d g"},
        {{{of_tags({"student:1", "course:1"})}}, "d g"},
        {{{of_tags({"course:1", "course:1"})}}, "a d e g"},
        {{{of_tags({"course:1", "student:2"})}}, ""},
        {{{of_tags({"course:1"}), of_tags({"student:2"})}}, "a d e g h"},
        {{{of_tags({"course:1", "student:1", "x"})}}, "g"},
        {{{of_tags({"nope"})}}, ""},
        {{{of_tags({"course:1", "nope"})}}, ""},
        {{{of({"Subscribed"}, {"course:1"})}}, "d"},
        {{{of({"Subscribed", "Renamed"}, {"course:1"})}}, "d e"},
        {{{of({"Subscribed"}, {"course:1"}), of({"Defined"}, {"course:2"})}}, "b d"},
        {{{of({"Subscribed"}, {"student:2"}), of_types({"Subscribed"})}}, "d h"},
        {{{of({"Renamed"}, {"student:1"})}}, ""},
        {{{query::item{}, of_types({"Defined"})}}, "a b c d e f g h"},
        // A type is not a tag and a tag is not a type.
        {{{of_types({"course:1"})}}, ""},
        {{{of_tags({"Defined"})}}, ""},
    };
    reading();
    for (const auto& [q, expected] : all) {
        INFO("expecting: " << expected);
        CHECK(text(log().read_query(q)) == expected);
        std::string reversed{expected.rbegin(), expected.rend()};
        CHECK(text(log().read_query_backwards(q)) == reversed);

        const auto last = log().last_match(q);
        REQUIRE(last.has_value() == !expected.empty());
        if (last) CHECK(*last == places[static_cast<std::size_t>(expected.back() - 'a')]);

        // From each position, and down to it.
        for (std::size_t i = 0; i < places.size(); ++i) {
            const char here = static_cast<char>('a' + i);
            CHECK(text(log().read_query(q, places[i])) ==
                  only(expected, [&](char c) { return c >= here; }));
            CHECK(text(log().read_query_backwards(q, places[i])) ==
                  only(reversed, [&](char c) { return c <= here; }));
        }
    }
}

TEST_CASE_METHOD(a_campus, "a boundary is crossed exactly by what its query matches")
{
    const std::vector<std::pair<query, std::optional<int>>> newest = {
        {query::all(), 7},
        {query{}, std::nullopt},
        {{{of_types({"Defined"})}}, 1},
        {{{of_tags({"course:1"})}}, 6},
        {{{of_tags({"course:1", "student:1"})}}, 6},
        {{{of({"Subscribed"}, {"course:1"})}}, 3},
        {{{of({"Subscribed"}, {"course:1"}), of({"Defined"}, {"course:2"})}}, 3},
        {{{of_tags({"nope"}), of_types({"Registered"})}}, 2},
        {{{of_tags({"course:1", "student:2"})}}, std::nullopt},
    };
    reading();
    for (const auto& [q, index] : newest) {
        const position end = log().end_position();
        if (!index) {
            // Nothing matches: it holds whatever `after` is. One that holds is tried below.
            CHECK(log().last_match(q) == std::nullopt);
            continue;
        }
        const position match = places[static_cast<std::size_t>(*index)];
        for (const std::optional<position> after :
             {std::optional<position>{}, std::optional<position>{position{0}},
              std::optional<position>{match - 1}}) {
            const append_result r = log().try_append(when(q, after));
            REQUIRE(r.has_error());
            CHECK(r.error().code == errc::boundary_crossed);
            CHECK(r.error().boundary_index == 0);
            CHECK(r.error().found_position == match);
            check_complete({r.error().code, r.error().what}, {std::to_string(match.value)});
        }
        CHECK(log().end_position() == end);
    }
}

TEST_CASE_METHOD(a_campus, "`after` is exclusive: what is at that very position was seen")
{
    const query    q{{of_tags({"course:1"})}};
    const position newest = places[6];
    CHECK(attempt(when(q, newest - 1)).has_error());
    CHECK(attempt(when(q, newest)).has_value());
    CHECK(attempt(when(q, newest + 1)).has_value());  // it may exceed the last match
    CHECK(attempt(when(q, log().end_position() - 1)).has_value());
    CHECK(attempt(when(q, std::nullopt)).has_error());
    CHECK(text(reading().read_all()) == "a b c d e f g h z z z");
}

TEST_CASE_METHOD(every_log, "without `after` all of history counts")
{
    topic("users", 2);
    topic("notes");
    append({event("users", "u", "ann").tags({"email:ann@example.org"})});
    for (int i = 0; i < 50; ++i) append("notes", no_key, "n");
    const query q{{of_tags({"email:ann@example.org"})}};
    reading();
    CHECK(attempt(when(q, std::nullopt)).has_error());
    CHECK(attempt(when({{of_tags({"email:bob@example.org"})}}, std::nullopt)).has_value());
}

TEST_CASE_METHOD(every_log, "an empty query matches nothing, so its boundary always holds")
{
    topic("notes");
    CHECK(attempt(when({}, std::nullopt)).has_value());
    CHECK(attempt(when({}, position{0})).has_value());
    CHECK(text(reading().read_query({})) == "");
}

TEST_CASE_METHOD(every_log, "query::all() is every record but the log's own")
{
    topic("notes");
    CHECK(attempt(when(query::all(), std::nullopt)).has_value());
    CHECK(attempt(when(query::all(), std::nullopt)).has_error());

    const position seen = log().end_position() - 1;
    log().groups().commit("g", {{.at = {"notes", 0}, .offset = offset{1}}});
    topic("more");
    CHECK(text(reading().read_query(query::all())) == "z");
    CHECK(attempt(when(query::all(), seen)).has_value());
    CHECK(attempt(when(query::all(), seen)).has_error());
    CHECK(text(reading().read_all()) == "z z");
}

TEST_CASE_METHOD(every_log, "the newest record is found behind records of internal topics, with "
                            "which it was appended")
{
    topic("orders");
    topic("notes");
    topic("__mine");
    const auto mine = [] { return event("__mine", "k", "hidden").type("T"); };
    for (const bool keyed : {true, false}) {
        const auto seen = append({keyed ? event("orders", "o", "v") : event("orders", no_key, "v"),
                                  mine(), mine()})
                              .first;
        CHECK(log().last_match(query::all()) == seen);
        CHECK(log().try_append(when(query::all(), seen - 1)).error().found_position == seen);
        reading();
        CHECK(log().last_match(query::all()) == seen);
    }
}

TEST_CASE_METHOD(every_log, "a boundary is evaluated against what is committed before the append, "
                            "not against the append itself")
{
    topic("users", 2);
    const query q{{of_tags({"email:ann"})}};
    CHECK(attempt({.records    = {event("users", "1", "a").tags({"email:ann"}),
                                  event("users", "2", "b").tags({"email:ann"})},
                   .boundaries = {{q, std::nullopt}}})
              .has_value());
    CHECK(attempt({.records    = {event("users", "3", "c").tags({"email:ann"})},
                   .boundaries = {{q, std::nullopt}}})
              .has_error());
    CHECK(text(reading().read_query(q)) == "a b");
}

TEST_CASE_METHOD(every_log, "a condition beyond the head is refused as a mistake")
{
    topic("notes");
    append("notes", no_key, "a");
    const position end = log().end_position();
    for (const position after : {end, end + 1, end + 1'000'000}) {
        for (const query& q : {query::all(), query{}, query{{of_tags({"t"})}}}) {
            const append_result r = attempt(when(q, after));
            REQUIRE(r.has_error());
            CHECK(r.error().code == errc::condition_beyond_head);
            check_complete({r.error().code, r.error().what},
                           {std::to_string(after.value), std::to_string(end.value)});
        }
    }
    CHECK(attempt(when(query::all(), end - 1)).has_value());
    CHECK(text(reading().read_all()) == "a z");
}

TEST_CASE_METHOD(every_log, "of several boundaries each must hold, and the one that does not is "
                            "told")
{
    topic("notes", 2);
    const position a = append({event("notes", no_key, "a").tags({"t:1"})}).first;
    const position b = append({event("notes", no_key, "b").tags({"t:2"})}).first;
    const query    one{{of_tags({"t:1"})}}, two{{of_tags({"t:2"})}}, three{{of_tags({"t:3"})}};

    const auto with = [](std::vector<boundary> all) {
        return append_request{.records    = {event("notes", no_key, "c")},
                              .boundaries = std::move(all)};
    };
    append_result r = attempt(with({{three, std::nullopt}, {one, a}, {two, b - 1}}));
    REQUIRE(r.has_error());
    CHECK(r.error().boundary_index == 2);
    CHECK(r.error().found_position == b);

    r = attempt(with({{one, std::nullopt}, {two, std::nullopt}}));
    REQUIRE(r.has_error());
    CHECK(r.error().boundary_index == 0);
    CHECK(r.error().found_position == a);

    CHECK(attempt(with({{three, std::nullopt}, {one, a}, {two, b}})).has_value());
    CHECK(text(reading().read_all()) == "a b c");
}

TEST_CASE_METHOD(every_log, "an expected version and a boundary in one append must both hold")
{
    topic("notes", 2);
    const position a = append({event("notes", "k", "a").tags({"t"})}).first;
    const auto     with = [&](version v, std::optional<position> after) {
        return append_request{
            .records    = {event("notes", "k", "b")},
            .expect     = {{{"notes", "k"}, expected_version::exactly(v)}},
            .boundaries = {{{{of_tags({"t"})}}, after}}};
    };
    CHECK(attempt(with(version{0}, a)).error().code == errc::wrong_expected_version);
    CHECK(attempt(with(version{1}, std::nullopt)).error().code == errc::boundary_crossed);
    CHECK(attempt(with(version{0}, std::nullopt)).has_error());
    CHECK(attempt(with(version{1}, a)).has_value());
    CHECK(text(reading().read_all()) == "a b");
}

TEST_CASE_METHOD(every_log, "the tags of an event may be more than those of the condition")
{
    topic("notes", 2);
    append({event("notes", no_key, "a").tags({"a", "b", "c", "d"})});
    for (const std::vector<std::string>& tags : std::vector<std::vector<std::string>>{
             {"a"}, {"d"}, {"b", "c"}, {"d", "a"}, {"c", "b", "a"}, {"a", "b", "c", "d"}}) {
        CHECK(attempt(when({{of_tags(tags)}}, std::nullopt)).has_error());
    }
    CHECK(attempt(when({{of_tags({"a", "e"})}}, std::nullopt)).has_value());
    CHECK(attempt(when({{of_tags({"a", "b", "c", "d", "e"})}}, std::nullopt)).has_value());
    CHECK(text(reading().read_all()) == "a z z");
}

// ---- Names. ----------------------------------------------------------------------------------

TEST_CASE("tags are joined so that they come apart again")
{
    using tags = std::vector<std::string>;
    for (const tags& t : {tags{}, tags{"a"}, tags{"a", "b"}, tags{"a,b", "c"},
                          tags{"%", ",", "%2C"}, tags{"%25"}, tags{"a b", "\xc3\xa4", "x=y;z"}}) {
        CHECK(split_tags(join_tags(t)) == t);
    }
    CHECK(join_tags({"a,b", "c%d"}) == "a%2Cb,c%25d");
    CHECK(split_tags("").empty());
    CHECK(split_tags("a,,b") == tags{"a", "b"});  // whoever wrote it did not use join_tags()
}

TEST_CASE_METHOD(every_log, "an empty tag is refused, whoever says it")
{
    check_complete(complaint_of([] { return join_tags({"a", ""}); }), {"tag"});
    CHECK(complaint_of([] { return join_tags({""}); }) == errc::empty_tag);

    topic("notes");
    const query q{{of_tags({"a", ""})}};
    CHECK(complaint_of([&] { return log().read_query(q); }) == errc::empty_tag);
    CHECK(complaint_of([&] { return log().read_query_backwards(q); }) == errc::empty_tag);
    CHECK(complaint_of([&] { return log().last_match(q); }) == errc::empty_tag);
    CHECK(complaint_of([&] { return append(when(q, std::nullopt)); }) == errc::empty_tag);
    CHECK(rows(reading().read_all()).empty());
}

TEST_CASE_METHOD(every_log, "an empty type, and an empty command id, are refused")
{
    topic("notes");
    const query q{{of_types({"a", ""})}};
    for (const complaint& c :
         {complaint_of([&] { return log().read_query(q); }),
          complaint_of([&] { return append(when(q, std::nullopt)); }),
          complaint_of([&] {
              return append(
                  append_request{.records = {event("notes", no_key, "v")}, .command_id = ""});
          })}) {
        CHECK(c == errc::invalid_argument);
        check_complete(c, {"empty"});
    }
    CHECK(rows(reading().read_all()).empty());
}

// Two tags are never taken for one another: what is compared is a hash of 128 bits with a secret of
// the data directory, so that two equal ones come neither by accident nor by whoever chooses the
// tags (docs/internals/decisions/0003-hashed-terms.md). No test can make a collision; here are tags
// that hashes without a key, or of the text's beginning or sum, take for one. Hashes that are near
// each other are index_test's.
TEST_CASE_METHOD(every_log, "tags that resemble each other are not taken for one another")
{
    topic("notes", 1);
    const std::string long_text(1'000, 'x');
    // clang-format off
    const std::vector<std::string> tags{
        "ab", "ba", "aB", "ab ", " ab", "a:b", "a", "b",
        "Aa", "BB", "AaAa", "BBBB", "AaBB",  // equal hashes, in Java
        std::string("a\0", 2), std::string("a\0b", 3),
        long_text + "1", long_text + "2", "1" + long_text, "2" + long_text};
    // clang-format on
    for (const auto& tag : tags) append({event("notes", no_key, "v").tags({tag})});
    reading();
    for (const auto& tag : tags) {
        INFO(tag);
        CHECK(positions(log().read_query({{of_tags({tag})}})).size() == 1);
        for (const auto& other : tags)
            if (other != tag) CHECK_FALSE(log().last_match({{of_tags({tag, other})}}));
    }
    // A type is no tag, though its text is the same.
    CHECK_FALSE(log().last_match({{of_types({"ab"})}}));
}

TEST_CASE_METHOD(every_log, "tags are bytes: long ones, strange ones, and those with commas")
{
    topic("notes");
    const std::vector<std::string> strange = {
        "a,b", "a", "b", "%2C", "a%2Cb", std::string(3000, 't'), std::string(3001, 't'),
        "\xff\xfe", " ", " a", "A"};
    for (std::size_t i = 0; i < strange.size(); ++i)
        append({event("notes", no_key, std::to_string(i)).tags({strange[i]})});
    reading();
    for (std::size_t i = 0; i < strange.size(); ++i)
        CHECK(text(log().read_query({{of_tags({strange[i]})}})) == std::to_string(i));
}

TEST_CASE_METHOD(every_log, "no tag of a record is silently left out of the index")
{
    topic("notes");
    std::vector<std::string> tags;
    for (int i = 0; i < 250; ++i) tags.push_back("t:" + std::to_string(i));
    append({event("notes", no_key, "a").tags(tags)});
    reading();
    for (const std::string& tag : tags) {
        if (log().last_match({{of_tags({tag})}})) continue;
        FAIL_CHECK(tag << " is not found");
        break;
    }
    CHECK(text(log().read_query({{of_tags(tags)}})) == "a");

    // More than the index takes is refused, never taken and then not found.
    for (int i = 250; i < 600; ++i) tags.push_back("t:" + std::to_string(i));
    bool taken = false;
    try {
        append({event("notes", no_key, "b").tags(tags)});
        taken = true;
    } catch (const error& e) {
        CHECK(e.code() == errc::invalid_argument);
    }
    CHECK(log().last_match({{of_tags({"t:599"})}}).has_value() == taken);
}

TEST_CASE_METHOD(every_log, "a tag said twice is one tag")
{
    topic("notes");
    append({event("notes", no_key, "a").with("ce_tags", "t,t,u,t")});
    CHECK(text(reading().read_query({{of_tags({"t", "u"})}})) == "a");
    CHECK(positions(log().read_query({{of_tags({"t"}), of_tags({"u"})}})).size() == 1);
}

TEST_CASE_METHOD(every_log, "a record has the type of its ce_type, and of a Cap'n Proto schema")
{
    topic("notes");
    append({event("notes", no_key, "a")
                .with("ce_dataschema", "capnp:00000000deadbeef")
                .type("Placed")});
    append({event("notes", no_key, "b").with("ce_dataschema", "https://example.org/placed")});
    append({event("notes", no_key, "c").type("Placed")});
    CHECK(text(reading().read_query({{of_types({"Placed"})}})) == "a c");
    CHECK(text(log().read_query({{of_types({"capnp:00000000deadbeef"})}})) == "a");
    CHECK(text(log().read_query({{of_types({"https://example.org/placed"})}})) == "");
}

//     CAIRN_LONG=1            a million records of one tag, instead of 4,000
TEST_CASE_METHOD(every_log, "a hot tag is read both ways from anywhere")
{
    topic("notes", 2);
    const bool         many  = std::getenv("CAIRN_LONG") != nullptr;
    const std::int64_t count = many ? 1'000'000 : 4'000;
    const position     start = log().end_position();
    for (std::int64_t i = 0; i < count; i += 500) {
        std::vector<append_record> records;
        for (std::int64_t n = 0; n < 500; ++n)
            records.push_back(event("notes", no_key, "v").with("ce_tags", n % 2 == 0 ? "hot"
                                                                                     : "hot,odd"));
        append(std::move(records));
    }
    const query hot{{of_tags({"hot"})}}, odd{{of_tags({"hot", "odd"})}};
    reading();
    // Exactly these, without keeping them.
    const auto reads = [](record_range range, position next, std::int64_t step,
                          std::int64_t times) {
        for (; times > 0; --times, next += step) {
            const auto* r = range.next();
            if (!r || r->position != next) return false;
        }
        return range.next() == nullptr;
    };
    CHECK(log().last_match(hot) == start + count - 1);
    for (std::int64_t from = 0; from < count; from += many ? 499'799 : 799) {
        INFO(from);
        const auto at = start + from;
        CHECK(reads(log().read_query(hot, at), at, 1, count - from));
        CHECK(reads(log().read_query_backwards(hot, at), at, -1, from + 1));
        CHECK(reads(log().read_query(odd, at), start + (from | 1), 2, count / 2 - from / 2));
    }
}

// ---- Threads. --------------------------------------------------------------------------------

TEST_CASE_METHOD(plain_log, "of two decisions that each would spoil the other, one loses")
{
    // Write skew. Two writers look at what the other is about to write: one boundary is by type,
    // the other by tag; of nested sets of types; in two topics.
    struct pair_of
    {
        const char* name;
        query       first_sees, second_sees;
        event       first_writes, second_writes;
    };
    topic("left", 2);
    topic("right", 1);
    const std::vector<pair_of> pairs = {
        {"type against tag",
         {{of_types({"B"})}},
         {{of_tags({"a"})}},
         event("left", no_key, "1").type("A").tags({"a"}),
         event("right", no_key, "2").type("B").tags({"b"})},
        {"nested types",
         {{of_types({"A", "B", "C"})}},
         {{of_types({"A"})}},
         event("left", no_key, "1").type("A"),
         event("left", no_key, "2").type("B")},
        {"tag sets that overlap",
         {{of_tags({"x", "y"})}},
         {{of_tags({"y", "z"})}},
         event("left", "k", "1").tags({"y", "z"}),
         event("right", "k", "2").tags({"x", "y", "w"})},
        {"everything against one tag",
         query::all(),
         {{of_tags({"x"})}},
         event("left", no_key, "1").tags({"x"}),
         event("right", no_key, "2")},
        {"one and the same",
         {{of({"A"}, {"x"})}},
         {{of({"A"}, {"x"})}},
         event("left", no_key, "1").type("A").tags({"x"}),
         event("left", no_key, "2").type("A").tags({"x"})},
    };
    for (const pair_of& p : pairs) {
        INFO(p.name);
        int both = 0, none = 0;
        for (int round = 0; round < 20; ++round) {
            const position seen = log().end_position() - 1;
            std::atomic<int> won = 0;
            const auto       go  = [&](const query& q, const event& e) {
                return [&] {
                    if (log().try_append({.records = {e}, .boundaries = {{q, seen}}})) ++won;
                };
            };
            at_once({go(p.first_sees, p.first_writes), go(p.second_sees, p.second_writes)});
            both += won == 2;
            none += won == 0;
        }
        CHECK(both == 0);
        CHECK(none == 0);
    }
}

TEST_CASE_METHOD(plain_log, "of threads that claim one name, one gets it")
{
    topic("users", 3);
    for (int round = 0; round < 10; ++round) {
        const std::string                  tag = "name:" + std::to_string(round);
        std::atomic<int>                   got = 0;
        std::vector<std::function<void()>> jobs;
        for (int t = 0; t < 4; ++t)
            jobs.emplace_back([&, t] {
                append_request request{
                    .records    = {event("users", std::to_string(t), "v").tags({tag})},
                    .boundaries = {{{{of_tags({tag})}}, std::nullopt}}};
                if (log().try_append(request)) ++got;
            });
        at_once(jobs);
        CHECK(got == 1);
        CHECK(rows(log().read_query({{of_tags({tag})}})).size() == 1);
    }
}

TEST_CASE_METHOD(plain_log, "decisions that have nothing in common are never refused")
{
    topic("notes", 4);
    std::atomic<int>                   refused = 0;
    std::vector<std::function<void()>> jobs;
    for (int t = 0; t < 4; ++t)
        jobs.emplace_back([&, t] {
            const std::string tag = "mine:" + std::to_string(t);
            for (int i = 0; i < 50; ++i)
                if (!decide(log(), {{of_tags({tag})}},
                            event("notes", no_key, std::to_string(i)).tags({tag})))
                    ++refused;
        });
    at_once(jobs);
    CHECK(refused == 0);
    for (int t = 0; t < 4; ++t)
        CHECK(rows(log().read_query({{of_tags({"mine:" + std::to_string(t)})}})).size() == 50);
}
