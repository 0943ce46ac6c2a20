// SPDX-License-Identifier: Apache-2.0
// Reads the batches that a real client library made; golden/README.md says where they come from.
#include <cairn/log/record_batch.hpp>

#include "log/golden/golden_records.hpp"

#include <catch2/catch.hpp>

#include <fstream>
#include <iterator>
#include <string>

using namespace cairn;
using cairn::testing::golden;
using cairn::testing::goldens;

namespace {

std::string golden_bytes(const std::string& name)
{
    const auto    path = CAIRN_GOLDEN + name + ".batch";
    std::ifstream in{path, std::ios::binary};
    if (!in) FAIL("no " << path);
    return {std::istreambuf_iterator<char>{in}, {}};
}

struct file
{
    golden      made;
    bool        again = false;  // sent a second time
    std::string bytes;
};

std::vector<file> files()
{
    std::vector<file> all;
    for (const auto& g : goldens()) {
        all.push_back({g, false, golden_bytes(g.name)});
        if (g.sent_twice) all.push_back({g, true, golden_bytes(g.name + "_next")});
    }
    return all;
}

batch_view parsed(bytes_view bytes)
{
    batch_fault why{};
    const auto  batch = batch_view::parse(bytes, &why);
    if (!batch) FAIL(why.what);
    return *batch;
}

std::string unpacked(const batch_view& batch)
{
    std::string scratch;
    batch_fault why{};
    const auto  payload = batch.unpack(scratch, 10 << 20, &why);
    if (!payload) FAIL(why.what);
    return std::string{*payload};
}

std::optional<std::string> owned(std::optional<bytes_view> bytes)
{
    if (!bytes) return std::nullopt;
    return std::string{*bytes};
}

}  // namespace

TEST_CASE("a batch from librdkafka has the header that librdkafka gave it")
{
    for (const auto& f : files()) {
        CAPTURE(f.made.name, f.again);
        const auto batch = parsed(f.bytes);
        const auto count = static_cast<std::int32_t>(f.made.records.size());
        CHECK(batch.bytes().size() == f.bytes.size());
        CHECK(batch.codec() == f.made.codec);
        CHECK(batch.record_count() == count);
        CHECK(batch.last_offset_delta() == count - 1);
        CHECK(batch.base_offset() == offset{0});
        CHECK(batch.base_timestamp() == f.made.records.front().timestamp);
        CHECK_FALSE(batch.is_log_append_time());
        CHECK_FALSE(batch.is_control());
        CHECK(batch.is_transactional() == f.made.transactional);
        if (f.made.idempotent) {
            CHECK(batch.producer_id() >= 0);
            CHECK(batch.producer_epoch() >= 0);
            CHECK(batch.base_sequence() == (f.again ? count : 0));
        } else {
            CHECK(batch.producer_id() == -1);
            CHECK(batch.producer_epoch() == -1);
            CHECK(batch.base_sequence() == -1);
        }
    }
}

TEST_CASE("a batch from librdkafka holds the records that were given to librdkafka")
{
    for (const auto& f : files()) {
        CAPTURE(f.made.name, f.again);
        const auto    batch   = parsed(f.bytes);
        const auto    payload = unpacked(batch);
        record_cursor cursor{batch, payload, position{10}};
        std::int64_t  n = 0;
        for (const auto& expected : f.made.records) {
            REQUIRE(cursor.next());
            const auto& r = cursor.current();
            CHECK(r.offset == offset{n});
            CHECK(r.position == position{10 + n});
            CHECK(r.timestamp == expected.timestamp);
            CHECK(owned(r.key) == expected.key);
            CHECK((owned(r.value) == expected.value));
            std::vector<header> headers;
            for (const auto& h : r.headers)
                headers.push_back({std::string{h.name}, owned(h.value)});
            CHECK(headers == expected.headers);
            ++n;
        }
        CHECK_FALSE(cursor.next());
        CHECK(cursor.ok());
    }
}

TEST_CASE("a batch from librdkafka that is not packed is written again byte for byte")
{
    int compared = 0;
    for (const auto& f : files()) {
        if (f.made.codec != codec::none) continue;
        CAPTURE(f.made.name, f.again);
        const auto batch = parsed(f.bytes);

        batch_builder::options o;
        o.producer_id    = batch.producer_id();
        o.producer_epoch = batch.producer_epoch();
        o.base_sequence  = batch.base_sequence();
        o.transactional  = batch.is_transactional();
        batch_builder from_records, from_views;
        from_records.start(o);
        for (const auto& r : f.made.records) {
            std::optional<bytes_view> key, value;
            if (r.key) key = *r.key;
            if (r.value) value = *r.value;
            from_records.add(*r.timestamp, key, value, r.headers);
        }
        from_views.start(o);
        record_cursor cursor{batch, batch.payload(), position{0}};
        for (std::int32_t delta = 0; cursor.next(); ++delta)
            from_views.add(cursor.current(), delta);

        for (auto* b : {&from_records, &from_views}) {
            std::string bytes{b->finish()};
            patch_leader_epoch(bytes.data(), batch.leader_epoch());
            CHECK(bytes == f.bytes);
        }
        ++compared;
    }
    CHECK(compared == 9);
}

TEST_CASE("the records of a packed batch from librdkafka are those of the one that is not packed")
{
    const auto plain = unpacked(parsed(golden_bytes("events")));
    for (const auto* name : {"gzip", "snappy", "lz4", "zstd"})
        CHECK(unpacked(parsed(golden_bytes(name))) == plain);
}
