// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/partitioner.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

using namespace cairn;

TEST_CASE("murmur2 computes what Kafka's clients compute")
{
    // The vectors of Kafka's own test (org.apache.kafka.common.utils.UtilsTest).
    const std::vector<std::pair<std::string_view, std::int32_t>> vectors = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (const auto& [text, hash] : vectors) {
        INFO(text);
        CHECK(static_cast<std::int32_t>(murmur2(text)) == hash);
    }
}

TEST_CASE("murmur2 takes bytes, whatever their sign and number")
{
    // Bytes above 127 are 128 to 255, never negative; each length modulo 4 has its own tail.
    CHECK(murmur2("") == murmur2(std::string_view{}));
    const std::string high{"\xff\xfe\xfd\xfc\xfb\xfa\xf9"};
    std::vector<std::uint32_t> seen;
    for (std::size_t n = 0; n <= high.size(); ++n)
        seen.push_back(murmur2(std::string_view{high}.substr(0, n)));
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    CHECK(murmur2(std::string_view{"a\0", 2}) != murmur2("a"));
}

TEST_CASE("a key's partition is its hash without the sign, modulo the number of partitions")
{
    // toPositive(-973932308) % n, as Kafka's BuiltInPartitioner.partitionForKey does.
    constexpr std::int32_t positive = -973932308 & 0x7fffffff;
    for (const std::int32_t n : {1, 2, 3, 7, 100, 10'000})
        CHECK(partition_for_key("21", n) == positive % n);
    for (int i = 0; i < 1000; ++i) {
        const auto p = partition_for_key(std::to_string(i), 7);
        CHECK((p >= 0 && p < 7));
    }
}

TEST_CASE("keys spread over all partitions")
{
    std::array<int, 8> count{};
    for (int i = 0; i < 8000; ++i)
        ++count[static_cast<std::size_t>(partition_for_key("order-" + std::to_string(i), 8))];
    for (const int n : count) {
        CHECK(n > 800);
        CHECK(n < 1200);
    }
}

TEST_CASE("the sticky partitioner stays with a partition for some records, then moves on")
{
    const partitioner choose = sticky_partitioner(3);
    std::vector<std::int32_t> went;
    for (int i = 0; i < 10; ++i) went.push_back(choose("orders", std::nullopt, 2));
    for (std::size_t i = 0; i + 1 < went.size(); ++i)
        CHECK((went[i] == went[i + 1]) == ((i + 1) % 3 != 0));
    for (int i = 0; i < 5; ++i) {  // a key breaks no turn
        CHECK(choose("orders", "21", 2) == partition_for_key("21", 2));
    }
    CHECK(choose("orders", std::nullopt, 2) == went.back());
}

TEST_CASE("the round-robin partitioner goes to each partition in turn, topic by topic")
{
    const partitioner choose = round_robin_partitioner();
    std::vector<std::int32_t> orders, notes;
    for (int i = 0; i < 6; ++i) {
        orders.push_back(choose("orders", std::nullopt, 3));
        if (i % 2 == 0) notes.push_back(choose("notes", std::nullopt, 3));
        CHECK(choose("orders", "k", 3) == partition_for_key("k", 3));
    }
    CHECK(orders == std::vector<std::int32_t>{0, 1, 2, 0, 1, 2});
    CHECK(notes == std::vector<std::int32_t>{0, 1, 2});
}

TEST_CASE("a copy of a partitioner continues where the other is")
{
    const partitioner one = round_robin_partitioner(), other = one;
    CHECK(one("t", std::nullopt, 4) == 0);
    CHECK(other("t", std::nullopt, 4) == 1);
    CHECK(one("t", std::nullopt, 4) == 2);
}

TEST_CASE("keyless records spread when partitions are added")
{
    const partitioner choose = round_robin_partitioner();
    for (int i = 0; i < 10; ++i) CHECK(choose("t", std::nullopt, 1) == 0);
    std::array<int, 5> count{};
    for (int i = 0; i < 50; ++i)
        ++count[static_cast<std::size_t>(choose("t", std::nullopt, 5))];
    for (const int n : count) CHECK(n == 10);
}
