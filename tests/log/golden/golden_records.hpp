// SPDX-License-Identifier: Apache-2.0
//
// What the *.batch files in this folder hold: make_golden.cpp sent these records through a real
// client library, record_batch_golden_test.cpp expects them.
#pragma once

#include <cairn/log/record_batch.hpp>

#include <string>
#include <utility>
#include <vector>

namespace cairn::testing {

struct golden
{
    std::string         name;
    cairn::codec        codec = cairn::codec::none;
    std::vector<record> records;

    bool idempotent    = false;
    bool transactional = false;

    /// With idempotence the records are sent again, so that the second batch has a sequence.
    /// It is in <name>_next.batch.
    bool sent_twice = false;
};

inline std::string golden_codec_name(codec c)
{
    switch (c) {
    case codec::none:
        return "none";
    case codec::gzip:
        return "gzip";
    case codec::snappy:
        return "snappy";
    case codec::lz4:
        return "lz4";
    case codec::zstd:
        return "zstd";
    }
    return {};
}

constexpr std::int64_t golden_time = 1'700'000'000'000;

inline record golden_record(std::optional<std::string> key, std::optional<std::string> value,
                            std::vector<header> headers = {}, std::int64_t after_ms = 0)
{
    return {std::move(key), std::move(value), std::move(headers),
            timestamp{golden_time + after_ms}};
}

/// Records as an event-sourced service writes them.
inline std::vector<record> golden_events(int count)
{
    std::vector<record> events;
    for (int i = 0; i < count; ++i) {
        const auto n = std::to_string(i);
        events.push_back(golden_record("order-" + std::to_string(i % 7),
                                       R"({"sku":"A-)" + n + R"(","quantity":)" + n + "}",
                                       {{"ce_type", i % 2 == 0 ? "OrderPlaced" : "OrderPaid"},
                                        {"ce_id", "018c2f6e-7b1a-" + std::to_string(1000 + i)},
                                        {"ce_source", "orders"},
                                        {"ce_specversion", "1.0"},
                                        {"ce_tags", std::nullopt}},
                                       i * 3));
    }
    return events;
}

/// A few records larger than the blocks of snappy (64 KB) and lz4, that pack well.
inline std::vector<record> golden_large()
{
    std::vector<record> large;
    std::uint32_t       state = 12345;
    for (int i = 0; i < 3; ++i) {
        std::string block;
        while (block.size() < 1000) {
            state = state * 1664525 + 1013904223;
            block += static_cast<char>(state >> 24);
        }
        std::string value;
        for (int k = 0; k < 90 + i; ++k) value += block;
        large.push_back(golden_record("large-" + std::to_string(i), value, {}, i));
    }
    return large;
}

inline std::vector<golden> goldens()
{
    std::vector<golden> all;

    all.push_back({"one", codec::none, {golden_record("key", "value")}});
    all.push_back({"plain",
                   codec::none,
                   {golden_record("a", "first"), golden_record("b", "second", {}, 1),
                    golden_record("a", std::string(300, 'x'), {}, 70'000)}});
    all.push_back({"nulls",
                   codec::none,
                   {golden_record(std::nullopt, "no key"), golden_record("tombstone", std::nullopt),
                    golden_record(std::nullopt, std::nullopt), golden_record("", ""),
                    golden_record("bytes", std::string("\0\xff\0", 3))}});
    all.push_back({"headers",
                   codec::none,
                   {golden_record("k", "v", {{"name", "value"}}),
                    golden_record("k", "v",
                                  {{"null", std::nullopt},
                                   {"empty", ""},
                                   {"twice", "1"},
                                   {"twice", "2"},
                                   {"na\xc3\xafve", std::string("\0\1\2", 3)},
                                   {"long", std::string(200, 'h')}}),
                    golden_record("k", "v")}});
    all.push_back({"times",
                   codec::none,
                   {golden_record("a", "1", {}, 0), golden_record("a", "2", {}, -86'400'000),
                    golden_record("a", "3", {}, 86'400'000'000), golden_record("a", "4", {}, 1)}});
    all.push_back({"events", codec::none, golden_events(50)});
    for (const auto c : {codec::gzip, codec::snappy, codec::lz4, codec::zstd}) {
        all.push_back({golden_codec_name(c), c, golden_events(50)});
        all.push_back({golden_codec_name(c) + "_large", c, golden_large()});
    }
    all.push_back({"idempotent", codec::none, golden_events(3), true, false, true});
    all.push_back({"idempotent_zstd", codec::zstd, golden_events(30), true});
    all.push_back({"transactional", codec::none, golden_events(3), true, true});
    return all;
}

}  // namespace cairn::testing
