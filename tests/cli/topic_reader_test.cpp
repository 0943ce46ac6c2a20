// SPDX-License-Identifier: Apache-2.0
#include "topic_reader.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <thread>

using namespace cairn;
using cli::topic_reader;

namespace {

topic_reader reader_of(const commit_log& log, const std::string& topic)
{
    std::vector<topic_reader::start> starts;
    for (const auto& p : log.partitions(topic)) starts.emplace_back(p, p.start_offset());
    return topic_reader{log, starts};
}

void append(commit_log& log, const std::string& topic, int partition, const std::string& value)
{
    append_request request;
    request.records.push_back({topic, {.value = value}, partition});
    log.append(request);
}

}  // namespace

TEST_CASE("records of several partitions come in the order of their positions")
{
    auto log = commit_log::in_memory();
    log.create_topic("t", 5);
    log.create_topic("other");
    for (int i = 0; i < 1000; ++i) {
        append(log, "t", (i * i) % 5, std::to_string(i));
        if (i % 7 == 0) append(log, "other", 0, "x");
    }
    auto reader = reader_of(log, "t");
    for (int i = 0; i < 1000; ++i) {
        const auto* record = reader.next();
        REQUIRE(record);
        REQUIRE(*record->value == std::to_string(i));
    }
    CHECK(reader.next() == nullptr);
    CHECK(reader.next() == nullptr);
}

TEST_CASE("an empty topic is waited for")
{
    auto log = commit_log::in_memory();
    log.create_topic("t", 3);
    auto reader = reader_of(log, "t");
    CHECK(reader.next() == nullptr);
    CHECK_FALSE(reader.wait(std::chrono::steady_clock::now()));
    append(log, "t", 2, "first");
    REQUIRE(reader.wait(std::chrono::steady_clock::now() + std::chrono::seconds{10}));
    REQUIRE(reader.next());
    CHECK(reader.next() == nullptr);
}

TEST_CASE("while records are appended none is skipped, none comes early")
{
    auto log = commit_log::in_memory();
    log.create_topic("t", 4);

    constexpr int            threads = 3;
    constexpr int            each    = 2000;
    std::vector<std::thread> writers;
    for (int t = 0; t < threads; ++t)
        writers.emplace_back([log, t]() mutable {
            for (int i = 0; i < each; ++i) append(log, "t", (t + i) % 4, "x");
        });

    auto     reader   = reader_of(log, "t");
    int      seen     = 0;
    bool     in_order = true;
    position last{-1};
    while (seen < threads * each) {
        const auto* record = reader.next();
        if (!record) {
            if (!reader.wait(std::chrono::steady_clock::now() + std::chrono::seconds{30})) break;
            continue;
        }
        in_order = in_order && record->position > last;
        last     = record->position;
        ++seen;
    }
    for (auto& w : writers) w.join();
    CHECK(seen == threads * each);
    CHECK(in_order);
}
