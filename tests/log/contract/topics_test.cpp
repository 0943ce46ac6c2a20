// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <map>

using namespace contract;

namespace {

using names = std::vector<std::string>;

std::string setting(const topic_config& config, std::string_view name)
{
    for (const auto& [known, value] : config.entries())
        if (known == name) return value;
    return "not there";
}

}  // namespace

// ---- Creating, describing, listing. ----------------------------------------------------------

TEST_CASE_METHOD(every_log, "a topic is described as it was created")
{
    topic("orders", 3, {{"retention.ms", "1000"}, {"cleanup.policy", "compact,delete"}});

    const topic_description d = reading().describe_topic("orders");
    CHECK(d.name == "orders");
    CHECK(d.id != topic_id{});
    CHECK_FALSE(d.internal);
    CHECK(d.config.retention_ms == 1000);
    CHECK(d.config.cleanup_compact);
    CHECK(d.config.cleanup_delete);
    REQUIRE(d.partitions.size() == 3);
    for (std::int32_t p = 0; p < 3; ++p) {
        CHECK(d.partitions[p].partition == p);
        CHECK(d.partitions[p].start == offset{0});
        CHECK(d.partitions[p].end == offset{0});
        CHECK(d.partitions[p].bytes == 0);
    }
}

TEST_CASE_METHOD(every_log, "a description counts what its partitions hold")
{
    topic("orders", 2);
    append({event("orders", no_key, "a").in(1), event("orders", no_key, "b").in(1)});
    log().merge();

    const topic_description d = reading().describe_topic("orders");
    CHECK(d.partitions[0].end == offset{0});
    CHECK(d.partitions[0].bytes == 0);
    CHECK(d.partitions[1].start == offset{0});
    CHECK(d.partitions[1].end == offset{2});
    CHECK(d.partitions[1].bytes > 61);
}

TEST_CASE_METHOD(every_log, "topics are listed by name, internal ones when they are asked for")
{
    topic("orders");
    topic("invoices");
    topic("Orders");
    log().groups().commit("billing", {{.at = {"orders", 0}, .offset = offset{0}}});

    CHECK(reading().topics() == names{"Orders", "invoices", "orders"});
    const names all = log().topics(true);
    CHECK(std::count(all.begin(), all.end(), "__consumer_offsets") == 1);
    CHECK(std::count(all.begin(), all.end(), "orders") == 1);
    CHECK(log().describe_topic("__consumer_offsets").internal);
}

TEST_CASE_METHOD(every_log, "a topic is not created twice")
{
    topic("orders", 2);
    check_complete(complaint_of([&] { topic("orders", 5); }), {"orders"});
    CHECK(complaint_of([&] { topic("orders", 2); }) == errc::topic_exists);
    CHECK_FALSE(log().ensure_topic("orders", 5));
    CHECK(log().ensure_topic("invoices", 4));
    CHECK(reading().describe_topic("orders").partitions.size() == 2);
    CHECK(log().describe_topic("invoices").partitions.size() == 4);
}

TEST_CASE_METHOD(plain_log, "of threads that create one topic, one does")
{
    log();
    std::atomic<int>                   created = 0;
    std::vector<std::function<void()>> jobs(4, [&] {
        if (log().ensure_topic("orders", 2)) ++created;
    });
    at_once(jobs);
    CHECK(created == 1);
    CHECK(log().topics() == names{"orders"});
}

TEST_CASE_METHOD(plain_log, "a legal name is 1 to 249 of [a-zA-Z0-9._-], and not . or ..")
{
    for (const std::string& legal : {std::string{"a"}, std::string{"A.b_c-9"}, std::string{"..."},
                                     std::string{"-"}, std::string(249, 'x')}) {
        INFO(legal);
        CHECK(is_legal_topic_name(legal));
        topic(legal);
    }
    for (const std::string& illegal :
         {std::string{}, std::string{"."}, std::string{".."}, std::string(250, 'x'),
          std::string{"a b"}, std::string{"a/b"}, std::string{"a\0b", 3}, std::string{"\xc3\xa4"},
          std::string{"a\n"}}) {
        INFO(illegal);
        CHECK_FALSE(is_legal_topic_name(illegal));
        const complaint c = complaint_of([&] { topic(illegal); });
        CHECK(c == errc::illegal_topic_name);
        check_complete(c, {"249", "a-z A-Z 0-9 . _ -"});
    }
    CHECK(reading().topics().size() == 5);
}

TEST_CASE_METHOD(plain_log, "a topic has 1 to 10,000 partitions")
{
    for (const std::int32_t illegal : {0, -1, 10'001, 2'147'483'647}) {
        const complaint c = complaint_of([&] { topic("orders", illegal); });
        CHECK(c == errc::illegal_partition_count);
        check_complete(c, {"10000", std::to_string(illegal)});
    }
    CHECK_FALSE(log().try_describe_topic("orders"));
    topic("orders", 10'000);
    CHECK(append({event("orders", "k", "v").in(9'999)}).records[0].at.partition == 9'999);
    reopen();
    CHECK(log().describe_topic("orders").partitions.size() == 10'000);
    CHECK(log().partition("orders", 9'999).end_offset() == offset{1});
}

TEST_CASE_METHOD(every_log, "an unknown topic is said to be unknown, whatever is asked of it")
{
    topic("orders");
    const std::vector<std::pair<const char*, std::function<void()>>> asked = {
        {"describe", [&] { log().describe_topic("nope"); }},
        {"alter", [&] { log().alter_topic("nope", {}); }},
        {"delete", [&] { log().delete_topic("nope"); }},
        {"add", [&] { log().add_partitions("nope", 2); }},
        {"append", [&] { append("nope", "k", "v"); }},
        {"partition", [&] { (void)log().partition("nope", 0).end_offset(); }},
        {"partitions", [&] { (void)log().partitions("nope"); }},
        {"stream", [&] { (void)log().read_stream({"nope", "k"}); }},
        {"backwards", [&] { (void)log().read_stream_backwards({"nope", "k"}); }},
        {"version", [&] { (void)log().stream_version({"nope", "k"}); }},
        {"partition of", [&] { (void)log().partition_of({"nope", "k"}); }},
        {"condition",
         [&] {
             append(append_request{
                 .records = {event("orders", "k", "v")},
                 .expect  = {{{"nope", "k"}, expected_version::no_stream()}}});
         }},
    };
    for (const auto& [what, ask] : asked) {
        INFO(what);
        const complaint c = complaint_of([&ask = ask] {
            ask();
            return 0;
        });
        CHECK(c == errc::unknown_topic);
        check_complete(c, {"nope"});
    }
    CHECK_FALSE(log().try_describe_topic("nope"));
    CHECK(rows(reading().read_all()).empty());
}

TEST_CASE_METHOD(every_log, "the log's own topics cannot be made, changed, deleted or appended to")
{
    log();
    const std::vector<std::function<void()>> asked = {
        [&] { log().alter_topic("__topics", {}); },
        [&] { log().add_partitions("__consumer_offsets", 60); },
        [&] { log().delete_topic("__consumer_offsets"); },
        [&] { append("__topics", "k", "v"); },
        [&] { append_batch("__topics", 0, kafka_batch({event("", "k", "v")})); },
    };
    for (const auto& ask : asked) {
        const complaint c = complaint_of([&] {
            ask();
            return 0;
        });
        CHECK(c == errc::internal_topic);
        check_complete(c, {"__"});
    }
    CHECK(complaint_of([&] {
              topic("__topics");
              return 0;
          }) == errc::topic_exists);
    CHECK(rows(reading().read_all()).empty());
}

TEST_CASE_METHOD(every_log, "a partition that is not there is out of range")
{
    topic("orders", 2);
    for (const std::int32_t number : {-1, 2, 1'000'000}) {
        complaint c = complaint_of([&] { return log().partition("orders", number); });
        CHECK(c == errc::partition_out_of_range);
        check_complete(c, {"orders", std::to_string(number), "0 to 1"});
        c = complaint_of([&] { return append({event("orders", "k", "v").in(number)}); });
        CHECK(c == errc::partition_out_of_range);
        check_complete(c, {"orders", std::to_string(number)});
    }
    CHECK(rows(reading().read_all()).empty());
}

// ---- Configs. --------------------------------------------------------------------------------

TEST_CASE("a config has Kafka's name, and takes Kafka's legal values")
{
    struct values_of
    {
        const char*              name;
        const char*              standard;
        std::vector<std::string> legal, illegal;
    };
    const std::vector<values_of> all = {
        {"cleanup.policy",
         "delete",
         {"delete", "compact", "compact,delete"},
         {"", "Delete", "compress", "delete,", "delete;compact"}},
        {"delete.retention.ms", "86400000", {"0", "1", "9223372036854775807"}, {"-1", "x", ""}},
        {"max.message.bytes", "1048588", {"0", "1", "2147483647"}, {"-1", "2147483648", "1e6"}},
        {"message.timestamp.type",
         "CreateTime",
         {"CreateTime", "LogAppendTime"},
         {"createtime", "", "Now"}},
        {"min.compaction.lag.ms", "0", {"0", "9223372036854775807"}, {"-1", " 1"}},
        {"retention.bytes", "-1", {"-1", "0", "9223372036854775807"}, {"-2", "1.5"}},
        {"retention.ms", "-1", {"-1", "0", "604800000"}, {"-2", "1d", "9223372036854775808"}},
        {"segment.bytes", "1073741824", {"14", "2147483647"}, {"13", "-1", "2147483648"}},
    };

    std::vector<std::string> known;
    for (const auto& [name, value] : topic_config{}.entries()) known.push_back(name);
    CHECK(std::is_sorted(known.begin(), known.end()));
    CHECK(known.size() == all.size());

    for (const values_of& one : all) {
        INFO(one.name);
        topic_config config;
        CHECK(setting(config, one.name) == one.standard);
        for (const std::string& value : one.legal) {
            config.set(one.name, value);
            CHECK(setting(config, one.name) == value);
        }
        const topic_config before = config;
        for (const std::string& value : one.illegal) {
            INFO('"' << value << '"');
            const complaint c = complaint_of([&] {
                config.set(one.name, value);
                return 0;
            });
            CHECK(c == errc::illegal_config);
            check_complete(c, {one.name, value, "legal"});
            CHECK(config == before);
        }
        config.reset(one.name);
        CHECK(setting(config, one.name) == one.standard);
        CHECK(config == topic_config{});
    }
}

TEST_CASE("delete,compact is both policies in whichever order")
{
    topic_config config;
    config.set("cleanup.policy", "delete,compact");
    CHECK(config.cleanup_delete);
    CHECK(config.cleanup_compact);
    config.set("cleanup.policy", "compact");
    CHECK_FALSE(config.cleanup_delete);
}

TEST_CASE("a config that there is not is said not to be there, and those that are, to be")
{
    topic_config config;
    for (const char* name : {"", "retention.msec", "RETENTION.MS", "flush.ms"}) {
        const complaint set = complaint_of([&] {
            config.set(name, "1");
            return 0;
        });
        CHECK(set == errc::illegal_config);
        CHECK(set.says(name));
        CHECK(set.says("retention.ms"));
        CHECK(complaint_of([&] {
                  config.reset(name);
                  return 0;
              }) == errc::illegal_config);
    }
    CHECK(config == topic_config{});
}

TEST_CASE_METHOD(every_log, "a config out of its range is refused however it was made")
{
    topic_config config;
    config.retention_ms = -2;
    CHECK(complaint_of([&] {
              log().create_topic("orders", 1, config);
              return 0;
          }) == errc::illegal_config);
    topic("orders");
    CHECK(complaint_of([&] {
              log().alter_topic("orders", config);
              return 0;
          }) == errc::illegal_config);
    config               = {};
    config.cleanup_delete = false;  // and no compact: no policy at all
    CHECK(complaint_of([&] {
              log().alter_topic("orders", config);
              return 0;
          }) == errc::illegal_config);
    CHECK(reading().describe_topic("orders").config == topic_config{});
}

TEST_CASE_METHOD(every_log, "an altered topic keeps its new config and its records")
{
    topic("orders", 2);
    append("orders", "k", "a");
    const topic_id id = log().describe_topic("orders").id;

    topic_config config = log().describe_topic("orders").config;
    config.set("retention.bytes", "123456");
    config.set("max.message.bytes", "70");
    log().alter_topic("orders", config);

    CHECK(reading().describe_topic("orders").config == config);
    CHECK(log().describe_topic("orders").id == id);
    CHECK(text(log().read_stream({"orders", "k"})) == "a");
    CHECK(complaint_of([&] { return append("orders", "k", "b"); }) == errc::record_too_large);
}

// ---- More partitions. ------------------------------------------------------------------------

TEST_CASE_METHOD(every_log, "partitions are added, and none is ever taken away")
{
    topic("orders", 2);
    append({event("orders", no_key, "a").in(0), event("orders", no_key, "b").in(1)});
    log().add_partitions("orders", 4);
    append({event("orders", no_key, "c").in(3)});

    CHECK(reading().partitions("orders").size() == 4);
    CHECK(text(log().partition("orders", 0).read(offset{0})) == "a");
    CHECK(text(log().partition("orders", 1).read(offset{0})) == "b");
    CHECK(text(log().partition("orders", 3).read(offset{0})) == "c");

    for (const std::int32_t illegal : {4, 3, 0, -1, 10'001}) {
        const complaint c = complaint_of([&] {
            log().add_partitions("orders", illegal);
            return 0;
        });
        CHECK(c == errc::illegal_partition_count);
        check_complete(c, {"orders"});
    }
    CHECK(log().partitions("orders").size() == 4);
}

TEST_CASE_METHOD(every_log, "streams stay where they are when partitions are added")
{
    topic("orders", 2);
    std::map<std::string, std::int32_t> was;
    for (int i = 0; i < 12; ++i) {
        const std::string key = "o-" + std::to_string(i);
        was[key]              = append("orders", key, "first").records[0].at.partition;
    }
    log().add_partitions("orders", 5);
    for (const auto& [key, partition] : was) {
        const receipt r = append("orders", key, "second");
        CHECK(r.records[0].at.partition == partition);
        CHECK(r.records[0].version == version{1});
    }
    log().add_partitions("orders", 7);
    reading();
    for (const auto& [key, partition] : was) {
        CHECK(log().partition_of({"orders", key}) == partition);
        CHECK(text(log().read_stream({"orders", key})) == "first second");
        CHECK(log().stream_version({"orders", key}) == version{2});
    }
}

TEST_CASE_METHOD(every_log, "a key without records goes by the new number of partitions")
{
    topic("orders", 2);
    append("orders", "old", "v");
    log().add_partitions("orders", 64);
    for (int i = 0; i < 20; ++i) {
        const std::string key = "new-" + std::to_string(i);
        CHECK(log().partition_of({"orders", key}) == partition_for_key(key, 64));
        CHECK(append("orders", key, "v").records[0].at.partition == partition_for_key(key, 64));
        CHECK(log().partition_of({"orders", key}) == partition_for_key(key, 64));
    }
}

// ---- Deleting. -------------------------------------------------------------------------------

TEST_CASE_METHOD(every_log, "a deleted topic is gone, and the others are as they were")
{
    topic("orders", 2);
    topic("invoices");
    append({event("orders", "k", "a").type("Placed").tags({"x"}),
            event("invoices", "k", "b").type("Placed").tags({"x"})});
    append("orders", "k", "c");
    log().delete_topic("orders");

    CHECK(reading().topics() == names{"invoices"});
    CHECK(complaint_of([&] { return log().describe_topic("orders"); }) == errc::unknown_topic);
    CHECK(complaint_of([&] { return append("orders", "k", "d"); }) == errc::unknown_topic);
    CHECK(text(log().read_all()) == "b");
    CHECK(text(log().read_all_backwards()) == "b");
    CHECK(text(log().read_query({{of_tags({"x"})}})) == "b");
    CHECK(text(log().read_query_backwards({{of_types({"Placed"})}})) == "b");
    CHECK(text(log().read_stream({"invoices", "k"})) == "b");

    roll_and_clean();
    CHECK(text(reading().read_all()) == "b");
    CHECK(append("invoices", "k", "e").records[0].version == version{1});
    CHECK(text(reading().read_all()) == "b e");
}

TEST_CASE_METHOD(every_log, "a topic is deleted in one commit with what groups committed there")
{
    // A crash between two would leave commits that a new topic of that name begins with.
    topic("orders", 2);
    append("orders", "k", "a");
    log().groups().commit("g", {{.at = {"orders", 0}, .offset = offset{0}},
                                {.at = {"orders", 1}, .offset = offset{0}}});
    const auto before = log().statistics().groups;
    log().delete_topic("orders");
    CHECK(log().statistics().groups == before + 1);
    CHECK(log().groups().fetch("g").empty());
    topic("orders", 2);
    CHECK(reading().groups().fetch("g").empty());
}

TEST_CASE_METHOD(every_log, "a name is free again when its topic was deleted, and begins anew")
{
    topic("orders", 2);
    const topic_id first = log().describe_topic("orders").id;
    append("orders", "k", "a");
    append("orders", "k", "b");
    log().delete_topic("orders");
    topic("orders", 1);
    CHECK(log().describe_topic("orders").id != first);

    const receipt r = append(append_request{
        .records = {event("orders", "k", "c")},
        .expect  = {{{"orders", "k"}, expected_version::no_stream()}}});
    CHECK(r.records[0].offset == offset{0});
    CHECK(r.records[0].version == version{0});

    CHECK(reading().stream_version({"orders", "k"}) == version{1});
    CHECK(text(log().read_stream({"orders", "k"})) == "c");
    CHECK(text(log().read_all()) == "c");
    roll_and_clean();
    CHECK(text(reading().read_stream({"orders", "k"})) == "c");
    CHECK(log().partition("orders", 0).end_offset() == offset{1});
}

TEST_CASE_METHOD(every_log, "a partition whose topic was deleted says unknown_topic")
{
    topic("orders");
    append("orders", "k", "a");
    {
        partition p = log().partition("orders", 0);
        log().delete_topic("orders");
        CHECK(complaint_of([&] { return p.end_offset(); }) == errc::unknown_topic);
        CHECK(complaint_of([&] { return p.start_offset(); }) == errc::unknown_topic);
        CHECK(complaint_of([&] { return p.read(offset{0}); }) == errc::unknown_topic);
        CHECK(complaint_of([&] { return p.read_batches(offset{0}, 100); }) == errc::unknown_topic);
        CHECK(complaint_of([&] {
                  return p.append_batch(kafka_batch({event("", "k", "v")}));
              }) == errc::unknown_topic);

        // Neither does it come back to life with a topic of the same name.
        topic("orders");
        append("orders", "k", "b");
        CHECK(complaint_of([&] { return p.end_offset(); }) == errc::unknown_topic);
    }
    CHECK(text(reading().read_all()) == "b");
}

TEST_CASE_METHOD(every_log, "a reader whose topic is deleted is told so, also while it waits")
{
    topic("orders", 1);
    append("orders", "k", "v");
    std::vector<record_range> ranges;
    ranges.push_back(log().partition("orders", 0).read(offset{0}));
    ranges.push_back(log().read_stream({"orders", "k"}));
    for (record_range& r : ranges) {
        CHECK(r.next() != nullptr);
        CHECK(r.next() == nullptr);
    }
    log().delete_topic("orders");
    for (record_range& r : ranges)
        CHECK(complaint_of([&] { return r.wait(std::chrono::seconds{100}); }) ==
              errc::unknown_topic);
}

TEST_CASE_METHOD(every_log, "names that differ in . and _ only collide, as in Kafka")
{
    topic("a.b_c");
    CHECK(complaint_of([&] { return log().create_topic("a_b.c"), 0; }) ==
          errc::illegal_topic_name);
    topic("a.b-c");
}

TEST_CASE_METHOD(every_log, "a topic whose name begins with __ is internal: no list, no query and "
                            "no boundary has it")
{
    topic("__mine");
    topic("orders");
    const position shown = log().append({.records = {event("orders", "k", "v").type("T")}}).last();
    append({event("__mine", "k", "hidden").type("T")});
    for (int i = 0; i < 2; ++i) {
        CHECK(log().last_match(query::all()) == shown);
        CHECK(log().last_match({{of_types({"T"})}}) == shown);
        CHECK(text(log().read_query({{of_types({"T"})}})) == "v");
        CHECK(text(log().read_all()) == "v");
        CHECK(text(log().read_stream({"__mine", "k"})) == "hidden");
        reopen_without_index();
    }
}

TEST_CASE_METHOD(plain_log, "a wait for ever is one")
{
    topic("orders");
    auto range  = log().read_all();
    auto waiter = std::async(std::launch::async, [&] {
        return range.wait(record_range::clock::duration::max());
    });
    append("orders", "k", "v");
    CHECK(waiter.get());
}
