// SPDX-License-Identifier: Apache-2.0
//
// The code of the pages in docs/how-to, docs/explanation and docs/reference, and that it does
// what they say. docs_test.py compares the regions with the pages.
#include "main/temporary_directory.hpp"

#include <cairn/log/commit_log.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

using namespace cairn;
using namespace std::chrono_literals;

namespace {

/// A log in memory with a topic or two.
struct shop
{
    commit_log log = commit_log::in_memory();

    shop()
    {
        log.create_topic("orders", 4);
        log.create_topic("accounts", 4);
    }
    receipt put(const std::string& topic, const std::string& key, const std::string& value)
    {
        return log.append({.records = {{topic, {.key = key, .value = value}}}});
    }
};

std::vector<std::string> values(record_range r)
{
    std::vector<std::string> all;
    for (const record_view& each : r) all.emplace_back(each.value.value_or("null"));
    return all;
}
using strings = std::vector<std::string>;

//[ tagged
append_record tagged(std::string type, std::vector<std::string> tags, std::string value)
{
    return {.topic  = "users",
            .record = {.value   = std::move(value),
                       .headers = {{std::string{header_names::type}, std::move(type)},
                                   {std::string{header_names::tags}, join_tags(tags)}}}};
}
//]

}  // namespace

// ---- expected-versions-and-boundaries.md ------------------------------------------------------

TEST_CASE_METHOD(shop, "several streams are expected at once")
{
    put("accounts", "alice", "opened");
    put("accounts", "bob", "opened");
    put("accounts", "bob", "+100");
    //[ transfer
    const append_result done = log.try_append({
        .records = {{"accounts", {.key = "bob", .value = "-30"}},
                    {"accounts", {.key = "alice", .value = "+30"}}},
        .expect  = {{{"accounts", "bob"}, expected_version::exactly(version{2})},
                    {{"accounts", "alice"}, expected_version::exists()}},
    });
    //]
    REQUIRE(done.has_value());
    CHECK(values(log.read_stream({"accounts", "alice"})) == strings{"opened", "+30"});

    //[ refusal
    const append_result late = log.try_append({
        .records = {{"accounts", {.key = "bob", .value = "-80"}}},
        .expect  = {{{"accounts", "bob"}, expected_version::exactly(version{2})}},
    });
    if (!late) {
        const refusal& why = late.error();
        std::cerr << why.what << "\n";  // stream accounts/bob: expected version 2, found 3; …
        // why.code is wrong_expected_version, why.stream accounts/bob, why.found_version 3
    }
    //]
    REQUIRE(!late.has_value());
    CHECK(late.error().code == errc::wrong_expected_version);
    CHECK(late.error().what.starts_with("stream accounts/bob: expected version 2, found 3; "));
    CHECK(late.error().stream == stream_id{"accounts", "bob"});
    CHECK(late.error().found_version == version{3});
}

TEST_CASE_METHOD(shop, "a boundary after what was read is refused when more came")
{
    log.create_topic("users");
    //[ claim
    // Is the name free? Claims and releases of it, newest last.
    const query about_ada{{{.types = {"NameClaimed", "NameReleased"}, .tags = {"name:ada"}}}};

    bool                    taken = false;
    std::optional<position> seen;
    for (const record_view& r : log.read_query(about_ada)) {
        taken = r.headers.find(header_names::type) == "NameClaimed";
        seen  = r.position;
    }
    if (!taken) {
        const append_result claimed = log.try_append({
            .records    = {tagged("NameClaimed", {"name:ada", "user:7"}, "ada")},
            .boundaries = {{.matching = about_ada, .after = seen}},
        });
        // Refused with boundary_crossed if anybody claimed it since: read and decide again.
    }
    //]
    CHECK(values(log.read_query(about_ada)) == strings{"ada"});
    const auto second = log.try_append({.records    = {tagged("NameClaimed", {"name:ada"}, "ada")},
                                        .boundaries = {{.matching = about_ada, .after = seen}}});
    REQUIRE(!second.has_value());
    CHECK(second.error().code == errc::boundary_crossed);
}

// ---- follow-the-log.md ------------------------------------------------------------------------

TEST_CASE_METHOD(shop, "a partition is followed from where one was")
{
    put("orders", "o-1", "placed");
    const partition  part = log.partition("orders", log.partition_of({"orders", "o-1"}));
    const offset     where_we_were{0};
    std::atomic<int> seen{0};
    const auto       handle = [&](const record_view&) {
        ++seen;
        seen.notify_one();
    };
    //[ follow_partition
    record_range range = part.read(where_we_were);
    std::thread  follower{[&] {
        do
            for (const record_view& r : range) handle(r);
        while (range.wait(1h));  // false at the deadline, or after stop()
    }};
    //]
    put("orders", "o-1", "paid");
    for (int n = seen; n < 2; n = seen) seen.wait(n);
    //[ stop_following
    range.stop();
    follower.join();
    //]
    CHECK(seen == 2);
}

TEST_CASE_METHOD(shop, "all of the log is followed by position")
{
    strings done;
    const auto handle = [&](const record_view& r) { done.emplace_back(r.from->topic); };
    put("orders", "o-1", "placed");
    put("accounts", "alice", "opened");
    position checkpoint{0};
    //[ follow_all
    for (const record_view& r : log.read_all(checkpoint)) {
        handle(r);
        checkpoint = r.position.next();
    }
    //]
    CHECK(done == strings{"orders", "accounts"});
    CHECK(checkpoint == log.end_position());
}

TEST_CASE_METHOD(shop, "one waits for what somebody else is to write")
{
    const position asked = log.end_position();
    std::thread    other{[&] { put("orders", "o-1", "placed"); }};
    //[ wait_for
    // Blocks until the record at `asked` is committed, and all before it.
    const bool there = log.wait_for(asked, std::chrono::steady_clock::now() + 5s);
    //]
    other.join();
    CHECK(there);
}

// ---- append-once.md ---------------------------------------------------------------------------

TEST_CASE_METHOD(shop, "an append with a command id happens once")
{
    //[ once_by_command
    const append_request pay{
        .records    = {{"orders", {.key = "o-1", .value = "paid"}}},
        .command_id = "9f1c2d4e-payment-of-o-1",
    };
    const receipt first  = log.append(pay);
    const receipt second = log.append(pay);  // after a timeout, a crash, a restart
    // second.repeated is true, and second.records is first.records
    //]
    CHECK(second.repeated);
    CHECK(second.records == first.records);
    CHECK(log.stream_version({"orders", "o-1"}) == version{1});
}

TEST_CASE_METHOD(shop, "a producer's batch happens once")
{
    const std::int64_t producer_id = 7;
    //[ once_by_sequence
    batch_builder builder;
    builder.start({.producer_id = producer_id, .producer_epoch = 0, .base_sequence = 0});
    builder.add(timestamp{1'700'000'000'000}, "o-1", "placed", {});
    builder.add(timestamp{1'700'000'000'001}, "o-1", "paid", {});
    const std::string batch{builder.finish()};

    partition     orders = log.partition("orders", 2);
    const receipt first  = orders.append_batch(batch);
    const receipt second = orders.append_batch(batch);
    //]
    CHECK(!first.repeated);
    CHECK(second.repeated);
    CHECK(second.records == first.records);
}

// ---- keep-less.md -----------------------------------------------------------------------------

TEST_CASE_METHOD(shop, "a topic keeps less")
{
    //[ retention
    topic_config clicks;
    clicks.retention_ms    = 7 * 24 * 3600 * 1000LL;  // seven days
    clicks.retention_bytes = 10LL << 30;              // and at most about 10 GiB a partition
    clicks.segment_bytes   = 256 << 20;               // a closed segment each 256 MiB
    log.create_topic("clicks", 8, clicks);

    topic_config prices;
    prices.set("cleanup.policy", "compact");  // by Kafka's name, as text
    prices.set("delete.retention.ms", "3600000");
    log.create_topic("prices", 1, prices);
    //]
    CHECK(log.describe_topic("prices").config.cleanup_compact);

    put("prices", "lamp", "10");
    put("prices", "lamp", "12");
    put("prices", "chair", "40");
    //[ clean
    log.roll_segment();  // only what is in a closed segment is cleaned
    log.clean();
    //]
    CHECK(values(log.partition("prices", 0).read(offset{0})) == strings{"12", "40"});
    CHECK(log.stream_version({"prices", "lamp"}) == version{2});

    //[ truncate
    partition part = log.partition("prices", 0);
    part.truncate_before(offset{2});  // what is older cannot be read any more, from now on
    //]
    CHECK(part.start_offset() == offset{2});
    CHECK(values(part.read(offset{2})) == strings{"40"});
}

// ---- back-up-and-restore.md -------------------------------------------------------------------

TEST_CASE("a backup is a log")
{
    const testing::temporary_directory folder;
    auto log = commit_log::open(folder.path() + "/data");
    log.create_topic("orders");
    log.append({.records = {{"orders", {.key = "o-1", .value = "placed"}}}});
    const std::string copy = folder.path() + "/copy";
    //[ backup
    log.backup(copy);  // appends go on meanwhile

    const verify_report report = verify(copy);
    if (!report.ok())
        for (const verify_fault& fault : report.faults)
            std::cerr << fault.where << ": " << fault.what << "\n";
    //]
    CHECK(report.ok());
    CHECK(report.records >= 1);
    auto restored = commit_log::open(copy);
    CHECK(values(restored.read_stream({"orders", "o-1"})) == strings{"placed"});
}

// ---- configuration.md, streams-on-partitions.md -----------------------------------------------

TEST_CASE("a log is opened with options")
{
    const testing::temporary_directory folder;
    const std::string                  directory = folder.path() + "/data";
    //[ options
    log_options options;
    options.segment_bytes_max = 256ull << 20;
    options.journal_bytes     = 64ull << 20;
    options.on_event          = [](const std::string& line) { std::clog << line << "\n"; };
    auto log = commit_log::open(directory, std::move(options));
    //]
    CHECK(log.end_position() == position{0});
}

TEST_CASE_METHOD(shop, "a stream stays where it began")
{
    put("orders", "o-1", "placed");
    //[ stays
    const std::int32_t before = log.partition_of({"orders", "o-1"});
    log.add_partitions("orders", 16);
    const std::int32_t after = log.partition_of({"orders", "o-1"});  // the same
    //]
    CHECK(before == after);
}
