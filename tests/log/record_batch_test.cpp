// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/record_batch.hpp>

#include "log/allocation_meter.hpp"
#include "main/seed.hpp"
#include "record/compression.hpp"
#include "record/endian.hpp"

#include <cairn/log/crc32c.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace cairn;
using cairn::testing::allocation_meter;

namespace {

constexpr std::array all_codecs{codec::none, codec::gzip, codec::snappy, codec::lz4, codec::zstd};

constexpr auto min64 = std::numeric_limits<std::int64_t>::min();
constexpr auto max64 = std::numeric_limits<std::int64_t>::max();
constexpr auto max32 = std::numeric_limits<std::int32_t>::max();

// ---- bytes, written down

/// Digits as bytes; spaces and what stands behind a semicolon do not count.
std::string hex(std::string_view digits)
{
    std::string bytes;
    int         high    = -1;
    bool        comment = false;
    for (const char c : digits) {
        if (c == ';') comment = true;
        if (c == '\n') comment = false;
        const int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (comment || value < 0) continue;
        if (high < 0) {
            high = value;
        } else {
            bytes += static_cast<char>(high * 16 + value);
            high = -1;
        }
    }
    return bytes;
}

template <class Integer>
std::string big(Integer v)
{
    std::string s(sizeof v, '\0');
    detail::store_big<Integer>(s.data(), v);
    return s;
}

/// A batch of any header and records, sound or not; only the length and the CRC are computed.
struct raw_batch
{
    std::int64_t base_offset       = 0;
    std::int32_t leader_epoch      = 0;
    std::int8_t  magic             = 2;
    std::int16_t attributes        = 0;
    std::int32_t last_offset_delta = 0;
    std::int64_t base_timestamp    = 1000;
    std::int64_t max_timestamp     = 1000;
    std::int64_t producer_id       = -1;
    std::int16_t producer_epoch    = -1;
    std::int32_t base_sequence     = -1;
    std::int32_t record_count      = 1;
    std::string  records{};

    std::string bytes() const
    {
        const auto summed = big(attributes) + big(last_offset_delta) + big(base_timestamp) +
                            big(max_timestamp) + big(producer_id) + big(producer_epoch) +
                            big(base_sequence) + big(record_count) + records;
        const auto length = static_cast<std::int32_t>(4 + 1 + 4 + summed.size());
        return big(base_offset) + big(length) + big(leader_epoch) + big(magic) +
               big(crc32c_by_table(summed)) + summed;
    }
};

/// Writes the right CRC into a batch that was changed.
void mend_crc(std::string& batch)
{
    detail::store_big<std::uint32_t>(batch.data() + 17, crc32c(bytes_view{batch}.substr(21)));
}

// ---- batches, read

struct read_record
{
    std::int64_t               offset    = 0;
    std::int64_t               position  = 0;
    std::int64_t               timestamp = 0;
    std::optional<std::string> key;
    std::optional<std::string> value;
    std::vector<header>        headers{};

    friend bool operator==(const read_record&, const read_record&) = default;
};

read_record copy(const record_view& r)
{
    read_record c{r.offset.value, r.position.value, r.timestamp.value, {}, {}};
    if (r.key) c.key = std::string{*r.key};
    if (r.value) c.value = std::string{*r.value};
    for (const auto& h : r.headers) {
        c.headers.push_back({std::string{h.name}, std::nullopt});
        if (h.value) c.headers.back().value = std::string{*h.value};
    }
    CHECK(c.headers.size() == r.headers.size());
    return c;
}

struct reading
{
    std::optional<errc>      fault;  // of the batch or of its packing
    bool                     ok = false;
    std::vector<read_record> records{};
};

/// Reads all there is, from bytes at the end of which a sanitizer stands.
reading read(bytes_view bytes, position base = position{0})
{
    const std::vector<char> exact(bytes.begin(), bytes.end());

    reading     r;
    batch_fault why{};
    const auto  batch = batch_view::parse({exact.data(), exact.size()}, &why);
    if (!batch) {
        CHECK_FALSE(why.what.empty());
        r.fault = why.code;
        return r;
    }
    std::string scratch;
    const auto  payload = batch->unpack(scratch, 1 << 20, &why);
    if (!payload) {
        r.fault = why.code;
        return r;
    }
    // Again at the end of its memory.
    const std::vector<char> records(payload->begin(), payload->end());
    record_cursor           cursor{*batch, {records.data(), records.size()}, base};
    while (cursor.next()) r.records.push_back(copy(cursor.current()));
    r.ok = cursor.ok();
    CHECK_FALSE(cursor.next());
    CHECK(cursor.ok() == r.ok);
    return r;
}

/// Whether the one record of these bytes is accepted.
bool accepts_record(std::string_view digits, std::int32_t last_offset_delta = 0)
{
    raw_batch b;
    b.last_offset_delta = last_offset_delta;
    b.records           = hex(digits);
    const auto r        = read(b.bytes());
    return !r.fault && r.ok;
}

const std::vector<header> no_headers;

/// Three records of all sorts.
std::string sample(codec c = codec::none)
{
    batch_builder::options o;
    o.codec = c;
    batch_builder b;
    b.start(o);
    b.add(timestamp{1'700'000'000'000}, "key", "value", {{"name", "value"}, {"null", {}}});
    b.add(timestamp{1'700'000'000'005}, std::nullopt, "", no_headers);
    b.add(timestamp{1'699'999'999'000}, "", std::nullopt, {{"", ""}});
    return std::string{b.finish()};
}

const std::vector<read_record> sample_records{
    {0, 0, 1'700'000'000'000, "key", "value", {{"name", "value"}, {"null", {}}}},
    {1, 1, 1'700'000'000'005, std::nullopt, ""},
    {2, 2, 1'699'999'999'000, "", std::nullopt, {{"", ""}}},
};

}  // namespace

// ---- writing

TEST_CASE("a batch is written byte for byte as Kafka lays it out")
{
    const auto front  = hex(R"(
        0000000000000000    ; base offset
        00000062            ; length
        00000000            ; leader epoch
        02                  ; magic
        )");
    const auto summed = hex(R"(
        0000                ; attributes
        00000002            ; last offset delta
        0000018bcfe56800    ; base timestamp
        0000018bcfe56805    ; max timestamp
        ffffffffffffffff    ; producer id
        ffff                ; producer epoch
        ffffffff            ; base sequence
        00000003            ; record count
        3e 00 00 00         ; length 31, attributes, time +0, offset +0
           06 6b6579        ; "key"
           0a 76616c7565    ; "value"
           04               ; two headers
           08 6e616d65 0a 76616c7565
           08 6e756c6c 01   ; null
        0c 00 0a 02         ; length 6, attributes, time +5, offset +1
           01 00 00         ; null key, empty value, no headers
        12 00 cf0f 04       ; length 9, attributes, time -1000, offset +2
           00 01 02         ; empty key, null value, one header
           00 00            ; of no name and no bytes
        )");
    CHECK(sample() == front + big(crc32c_by_table(summed)) + summed);
}

TEST_CASE("producer, sequence, transaction and control are where Kafka has them")
{
    batch_builder::options o;
    o.producer_id    = 0x0102030405060708;
    o.producer_epoch = 0x090a;
    o.base_sequence  = 0x0b0c0d0e;
    o.transactional  = true;
    o.control        = true;
    batch_builder b;
    b.start(o);
    // A commit marker: version 0, type 1.
    b.add(timestamp{5}, std::string_view{"\0\0\0\1", 4}, std::string_view{"\0\0\0\0\0\0", 6},
          no_headers);
    const auto bytes = b.finish();

    CHECK(bytes.substr(21, 2) == hex("0030"));
    CHECK(bytes.substr(43, 14) == hex("0102030405060708 090a 0b0c0d0e"));

    const auto batch = batch_view::parse(bytes);
    REQUIRE(batch);
    CHECK(batch->producer_id() == 0x0102030405060708);
    CHECK(batch->producer_epoch() == 0x090a);
    CHECK(batch->base_sequence() == 0x0b0c0d0e);
    CHECK(batch->is_transactional());
    CHECK(batch->is_control());
    CHECK_FALSE(batch->is_log_append_time());
    CHECK(read(bytes).records.at(0).key == std::string("\0\0\0\1", 4));
}

TEST_CASE("a batch tells what its header says")
{
    const auto bytes = sample();
    const auto batch = batch_view::parse(bytes);
    REQUIRE(batch);
    CHECK(batch->bytes().size() == bytes.size());
    CHECK(batch->base_offset() == offset{0});
    CHECK(batch->leader_epoch() == 0);
    CHECK(batch->crc() == crc32c(bytes_view{bytes}.substr(21)));
    CHECK(batch->attributes() == 0);
    CHECK(batch->codec() == codec::none);
    CHECK_FALSE(batch->is_log_append_time());
    CHECK_FALSE(batch->is_transactional());
    CHECK_FALSE(batch->is_control());
    CHECK(batch->last_offset_delta() == 2);
    CHECK(batch->base_timestamp() == timestamp{1'700'000'000'000});
    CHECK(batch->max_timestamp() == timestamp{1'700'000'000'005});
    CHECK(batch->producer_id() == -1);
    CHECK(batch->producer_epoch() == -1);
    CHECK(batch->base_sequence() == -1);
    CHECK(batch->record_count() == 3);
    CHECK(batch->payload() == bytes.substr(batch_header_bytes));
}

TEST_CASE("what was added is read back, with every codec")
{
    for (const auto c : all_codecs) {
        const auto bytes = sample(c);
        const auto batch = batch_view::parse(bytes);
        REQUIRE(batch);
        CHECK(batch->codec() == c);
        const auto r = read(bytes);
        CHECK(r.ok);
        CHECK(r.records == sample_records);
    }
}

TEST_CASE("what finish() returns is a batch that batch_view and record_cursor find no fault with")
{
    std::mt19937_64 random{cairn::testing::seed()};
    const auto      one_in = [&](std::uint64_t n) { return random() % n == 0; };
    const auto      some   = [&](std::uint64_t below) {
        std::string bytes(random() % below, '\0');
        for (auto& b : bytes) b = static_cast<char>(random());
        return bytes;
    };
    const auto some_or_none = [&](std::uint64_t below) {
        return one_in(4) ? std::nullopt : std::optional{some(below)};
    };

    batch_builder b;  // one for all, as whoever writes many has it
    for (int run = 0; run < 3'000; ++run) {
        batch_builder::options o;
        o.codec           = all_codecs[random() % all_codecs.size()];
        o.producer_id     = one_in(2) ? -1 : static_cast<std::int64_t>(random() >> 1);
        o.producer_epoch  = static_cast<std::int16_t>(random());
        o.base_sequence   = static_cast<std::int32_t>(random());
        o.transactional   = one_in(4);
        o.control         = one_in(4);
        o.log_append_time = one_in(4);
        o.log_time        = timestamp{static_cast<std::int64_t>(random() >> 20)};
        if (one_in(4)) o.delete_horizon = timestamp{static_cast<std::int64_t>(random() >> 20)};
        const bool holes = one_in(2);

        b.start(o);
        std::vector<read_record> added;
        std::int64_t             newest = 0;
        std::int32_t             delta  = -1;
        for (auto n = random() % 8; n > 0; --n) {
            read_record r;
            r.key       = some_or_none(40);
            r.value     = some_or_none(one_in(10) ? 5'000 : 100);
            r.timestamp = static_cast<std::int64_t>(random() >> 20);
            for (auto h = random() % 4; h > 0; --h)
                r.headers.push_back({some(90), some_or_none(90)});
            delta += holes ? 1 + static_cast<std::int32_t>(random() % 1'000) : 1;
            r.offset = r.position = delta;
            newest = added.empty() ? r.timestamp : std::max(newest, r.timestamp);

            const auto key   = r.key ? std::optional<bytes_view>{*r.key} : std::nullopt;
            const auto value = r.value ? std::optional<bytes_view>{*r.value} : std::nullopt;
            if (holes) {
                // As compaction does it: from a batch where the record was, to one with holes.
                batch_builder from;
                from.start();
                from.add(timestamp{r.timestamp}, key, value, r.headers);
                const auto    bytes = from.finish();
                record_cursor cursor{*batch_view::parse(bytes),
                                     bytes.substr(batch_header_bytes), position{0}};
                REQUIRE(cursor.next());
                b.add(cursor.current(), delta);
            } else {
                b.add(timestamp{r.timestamp}, key, value, r.headers);
            }
            if (o.log_append_time) r.timestamp = o.log_time.value;
            added.push_back(std::move(r));
        }
        if (one_in(4)) b.set_last_offset_delta(delta += 5);
        const std::string bytes{b.finish()};
        INFO("run " << run);

        const auto batch = batch_view::parse(bytes);
        REQUIRE(batch);
        CHECK(batch->bytes() == bytes);
        CHECK(batch->record_count() == static_cast<std::int32_t>(added.size()));
        CHECK(batch->last_offset_delta() == std::max(delta, 0));
        CHECK(batch->producer_id() == o.producer_id);
        CHECK(batch->producer_epoch() == o.producer_epoch);
        CHECK(batch->base_sequence() == o.base_sequence);
        CHECK(batch->is_transactional() == o.transactional);
        CHECK(batch->is_control() == o.control);
        CHECK(batch->is_log_append_time() == o.log_append_time);
        CHECK(batch->delete_horizon() == o.delete_horizon);
        if (o.log_append_time)
            CHECK(batch->max_timestamp() == o.log_time);
        else if (!added.empty())
            CHECK(batch->max_timestamp() == timestamp{newest});

        const auto r = read(bytes);
        REQUIRE_FALSE(r.fault);
        REQUIRE(r.ok);
        REQUIRE(r.records == added);
    }
}

TEST_CASE("a builder says where each record begins, and the cursor finds it there")
{
    batch_builder            b;
    std::vector<std::size_t> at;
    std::vector<std::string> encoded;
    b.start();
    for (int i = 0; i < 100; ++i) {
        const std::string value(static_cast<std::size_t>(i * i), 'v');
        at.push_back(b.add(timestamp{i}, std::to_string(i), value, {{"h", value}}));
        encoded.emplace_back(b.last_record());
        CHECK(b.count() == i + 1);
    }
    const auto size  = b.size();
    const auto bytes = b.finish();
    CHECK(bytes.size() == size);

    const auto    batch = batch_view::parse(bytes);
    record_cursor cursor{*batch, batch->payload(), position{7}};
    for (std::size_t i = 0; i < at.size(); ++i) {
        REQUIRE(cursor.next());
        CHECK(cursor.current_at() == at[i]);
        CHECK(cursor.current_bytes() == encoded[i]);
        CHECK(batch->payload().substr(at[i], encoded[i].size()) == encoded[i]);
    }
    CHECK_FALSE(cursor.next());
    CHECK(cursor.ok());
}

TEST_CASE("seek goes to any record, and next goes on from there")
{
    batch_builder            b;
    std::vector<std::size_t> at;
    b.start();
    for (int i = 0; i < 10; ++i)
        at.push_back(b.add(timestamp{i}, std::nullopt, std::to_string(i), no_headers));
    const std::string bytes{b.finish()};
    const auto        batch = batch_view::parse(bytes);
    record_cursor     cursor{*batch, batch->payload(), position{100}};

    for (const std::size_t i : {7u, 0u, 9u, 3u}) {
        REQUIRE(cursor.seek(at[i]));
        CHECK(cursor.current().value == std::to_string(i));
        CHECK(cursor.current().position == position{100 + static_cast<std::int64_t>(i)});
        CHECK(cursor.current_at() == at[i]);
        int more = 0;
        while (cursor.next()) ++more;
        CHECK(more == 9 - static_cast<int>(i));
        CHECK(cursor.ok());
    }
    for (const std::size_t i : {at[3] + 1, batch->payload().size(), std::size_t(-1)}) {
        CHECK_FALSE(cursor.seek(i));
        CHECK_FALSE(cursor.ok());
        CHECK_FALSE(cursor.next());
    }
    CHECK(cursor.seek(at[5]));
    CHECK(cursor.ok());
}

TEST_CASE("offsets and positions count from the bases")
{
    auto bytes = sample();
    patch_base_offset(bytes.data(), offset{4000});
    patch_leader_epoch(bytes.data(), 12);
    const auto r = read(bytes, position{90'000});
    REQUIRE(r.ok);
    CHECK(r.records[0].offset == 4000);
    CHECK(r.records[2].offset == 4002);
    CHECK(r.records[0].position == 90'000);
    CHECK(r.records[2].position == 90'002);
    CHECK(batch_view::parse(bytes)->leader_epoch() == 12);
}

TEST_CASE("the time of a record is that of the append where the batch says so")
{
    batch_builder::options o;
    o.log_append_time = true;
    o.log_time        = timestamp{777};
    batch_builder b;
    b.start(o);
    b.add(timestamp{100}, "a", "1", no_headers);
    b.add(timestamp{200}, "b", "2", no_headers);
    const auto bytes = b.finish();
    const auto batch = batch_view::parse(bytes);
    REQUIRE(batch);
    CHECK(batch->is_log_append_time());
    CHECK(batch->max_timestamp() == timestamp{777});
    CHECK(batch->base_timestamp() == timestamp{100});
    for (const auto& r : read(bytes).records) CHECK(r.timestamp == 777);
}

TEST_CASE("a compacted batch has holes, and keeps its end")
{
    const auto    original = sample();
    const auto    batch    = batch_view::parse(original);
    record_cursor cursor{*batch, batch->payload(), position{0}};
    batch_builder b;
    b.start();
    REQUIRE(cursor.next());
    b.add(cursor.current(), 5);
    REQUIRE(cursor.next());
    b.add(cursor.current(), 9);
    b.set_last_offset_delta(14);
    b.set_last_offset_delta(3);  // never goes back
    const auto bytes = b.finish();

    CHECK(batch_view::parse(bytes)->last_offset_delta() == 14);
    CHECK(batch_view::parse(bytes)->record_count() == 2);
    const auto r = read(bytes, position{50});
    REQUIRE(r.ok);
    REQUIRE(r.records.size() == 2);
    CHECK(r.records[0].offset == 5);
    CHECK(r.records[0].position == 55);
    CHECK(r.records[0].headers == sample_records[0].headers);
    CHECK(r.records[1].offset == 9);
    CHECK(r.records[1].timestamp == sample_records[1].timestamp);
}

TEST_CASE("a delete horizon takes the place of the base timestamp, and the times stay right")
{
    batch_builder::options o;
    o.delete_horizon = timestamp{1'700'000'600'000};
    batch_builder b;
    b.start(o);
    b.add(timestamp{1'700'000'000'000}, "k", std::nullopt, no_headers);
    b.add(timestamp{1'700'000'000'700}, "l", "v", no_headers);
    const auto bytes = b.finish();
    const auto batch = batch_view::parse(bytes);
    REQUIRE(batch);
    CHECK(batch->attributes() == 1 << 6);
    CHECK(batch->delete_horizon() == timestamp{1'700'000'600'000});
    CHECK(batch->base_timestamp() == timestamp{1'700'000'600'000});
    CHECK(batch->max_timestamp() == timestamp{1'700'000'000'700});
    const auto r = read(bytes);
    REQUIRE(r.ok);
    CHECK(r.records[0].timestamp == 1'700'000'000'000);
    CHECK(r.records[1].timestamp == 1'700'000'000'700);

    const auto without = sample();
    CHECK_FALSE(batch_view::parse(without)->delete_horizon());
}

TEST_CASE("what compaction leaves of a batch may be no record at all")
{
    for (const auto c : all_codecs) {
        batch_builder::options o;
        o.codec = c;
        batch_builder b;
        b.start(o);
        b.set_last_offset_delta(9);
        const auto r = read(b.finish());
        CHECK_FALSE(r.fault);
        CHECK(r.ok);
        CHECK(r.records.empty());
        CHECK(batch_view::parse(b.finish())->last_offset_delta() == 9);
    }
    // The same with a codec in the header, as older brokers leave it.
    raw_batch b;
    b.record_count = 0;
    b.attributes   = 1;
    CHECK(read(b.bytes()).ok);
}

TEST_CASE("a record read and added again has the same bytes")
{
    const auto    bytes = sample();
    const auto    batch = batch_view::parse(bytes);
    record_cursor cursor{*batch, batch->payload(), position{0}};
    batch_builder again;
    again.start();
    for (std::int32_t delta = 0; cursor.next(); ++delta) again.add(cursor.current(), delta);
    CHECK(again.finish() == bytes);
}

TEST_CASE("record_bytes is never less than what a record takes")
{
    std::mt19937_64 random{5};
    batch_builder   b;
    for (int i = 0; i < 500; ++i) {
        record r;
        if (random() % 4 != 0) r.key = std::string(random() % 300, 'k');
        if (random() % 4 != 0) r.value = std::string(random() % 20'000, 'v');
        for (auto n = random() % 5; n > 0; --n) {
            r.headers.push_back({std::string(random() % 100, 'n'), std::nullopt});
            if (random() % 2 != 0) r.headers.back().value = std::string(random() % 300, 'x');
        }
        b.start();
        b.add(timestamp{0}, std::nullopt, std::nullopt, no_headers);
        const auto                before = b.size();
        std::optional<bytes_view> key, value;
        if (r.key) key = *r.key;
        if (r.value) value = *r.value;
        b.add(timestamp{static_cast<std::int64_t>(random() >> 2)}, key, value, r.headers);
        const auto took = b.size() - before;
        CHECK(took == b.last_record().size());
        CHECK(took <= record_bytes(r));
    }
}

TEST_CASE("a builder that is reused writes the same, and allocates no more")
{
    batch_builder b;
    const auto    fill = [&] {
        b.start();
        for (int i = 0; i < 1000; ++i)
            b.add(timestamp{i}, "key", "a value of some length", no_headers);
        return b.finish();
    };
    const std::string      first{fill()};
    const allocation_meter meter;
    const auto             second = fill();
    CHECK(meter.allocations() == 0);
    CHECK(second == first);
}

TEST_CASE("a builder refuses offsets that go back and times that are too far apart")
{
    batch_builder b;
    b.start();
    record_view r;
    b.add(r, 3);
    b.add(timestamp{0}, std::nullopt, std::nullopt, no_headers);
    const auto refused = [&](std::int32_t delta, std::int64_t time) {
        r.timestamp.value = time;
        try {
            b.add(r, delta);
        } catch (const error& e) {
            return e.code() == errc::invalid_argument;
        }
        return false;
    };
    CHECK(refused(4, 0));
    CHECK(refused(-1, 0));
    CHECK(refused(0, 0));
    CHECK_FALSE(refused(5, max64));
    CHECK_FALSE(refused(max32, -5));
    CHECK_THROWS_AS(b.add(timestamp{0}, std::nullopt, std::nullopt, no_headers), error);
    CHECK(b.count() == 4);
    CHECK(read(b.finish()).ok);

    b.start();
    b.add(timestamp{max64}, std::nullopt, std::nullopt, no_headers);
    CHECK(refused(1, -2));
    CHECK_FALSE(refused(1, 0));
}

TEST_CASE("extreme times survive")
{
    batch_builder b;
    b.start();
    b.add(timestamp{0}, "a", "", no_headers);
    b.add(timestamp{max64}, "b", "", no_headers);
    b.add(timestamp{min64}, "c", "", no_headers);
    const auto r = read(b.finish());
    REQUIRE(r.ok);
    CHECK(r.records[1].timestamp == max64);
    CHECK(r.records[2].timestamp == min64);
}

// ---- headers

TEST_CASE("headers are found by name: the first of a name counts, and a null is not there")
{
    batch_builder b;
    b.start();
    b.add(timestamp{0}, "k", "v", {{"a", "1"}, {"b", std::nullopt}, {"a", "2"}, {"", "empty"}});
    const auto    bytes = b.finish();
    const auto    batch = batch_view::parse(bytes);
    record_cursor cursor{*batch, batch->payload(), position{0}};
    REQUIRE(cursor.next());
    const auto& headers = cursor.current().headers;
    CHECK(headers.size() == 4);
    CHECK_FALSE(headers.empty());
    CHECK(headers.find("a") == "1");
    CHECK(headers.find("") == "empty");
    CHECK_FALSE(headers.find("b"));
    CHECK_FALSE(headers.find("c"));
}

TEST_CASE("bytes() of a record's headers is size() encoded headers and nothing more")
{
    // Lengths below 64 are one byte, twice the length; a null is 01.
    const auto length = [](const std::string& s) {
        return std::string(1, static_cast<char>(2 * s.size()));
    };

    batch_builder            b;
    std::vector<std::string> encoded;
    std::vector<std::size_t> counts;
    b.start();
    for (std::size_t n = 0; n < 40; ++n) {
        std::vector<header> headers;
        std::string         bytes;
        for (std::size_t i = 0; i < n % 8; ++i) {
            header h{std::string((n + i) % 5, 'n'), std::string((n * i) % 64, 'v')};
            if ((n + i) % 3 == 0) h.value.reset();
            bytes += length(h.name) + h.name + (h.value ? length(*h.value) + *h.value : "\1");
            headers.push_back(std::move(h));
        }
        b.add(timestamp{5}, "key", "value", headers);
        encoded.push_back(bytes);
        counts.push_back(headers.size());
    }
    const auto    bytes = b.finish();
    record_cursor cursor{*batch_view::parse(bytes), bytes.substr(batch_header_bytes), position{0}};
    for (std::size_t n = 0; n < encoded.size(); ++n) {
        REQUIRE(cursor.next());
        CHECK(cursor.current().headers.size() == counts[n]);
        CHECK(cursor.current().headers.bytes() == encoded[n]);
    }
}

TEST_CASE("a range over other bytes than headers ends where they do not parse")
{
    const auto encoded = hex("02 61 02 31   02 62 01   02 63 00");  // a=1, b=null, c=""
    for (std::size_t size = 0; size <= encoded.size(); ++size) {
        const std::vector<char> exact(encoded.begin(),
                                      encoded.begin() + static_cast<std::ptrdiff_t>(size));
        // Many more than there are.
        const header_range range{{exact.data(), exact.size()}, 1000};
        std::size_t        seen = 0;
        for (const auto& h : range) {
            CHECK(h.name.size() == 1);
            ++seen;
        }
        CHECK(seen == (size < 4 ? 0u : size < 7 ? 1u : size < 10 ? 2u : 3u));
    }
    for (const auto* bad : {"01 02", "02 61 03", "02 61 40 31", "fe ff ff ff 0f 00", "80 80"}) {
        const auto bytes = hex(bad);
        for (const auto& h : header_range{bytes, 3}) FAIL(h.name);
    }
    CHECK(header_range{}.begin() == header_range{}.end());
}

// ---- reading what is not sound

TEST_CASE("every byte of a batch that is changed is detected, or harmless as the format says")
{
    for (const auto c : all_codecs) {
        const auto sound = sample(c);
        // Bytes behind it, as in a segment: a longer length must be found out by the CRC.
        const auto behind = sound + sound;
        for (std::size_t i = 0; i < sound.size(); ++i)
            for (int flip = 1; flip < 256; ++flip) {
                auto damaged = behind;
                damaged[i]   = static_cast<char>(damaged[i] ^ flip);
                batch_fault why{};
                const auto  batch = batch_view::parse(damaged, &why);
                if (i < 8) {
                    // The base offset is not summed, so that a broker may patch it.
                    if (!batch) {
                        REQUIRE(why.code == errc::corrupt_batch);  // negative, or overflows
                    } else {
                        REQUIRE(batch->bytes().substr(8) == sound.substr(8));
                    }
                } else if (i >= 12 && i < 16) {
                    // Nor is the leader's epoch.
                    REQUIRE(batch);
                    REQUIRE(read(damaged).records == sample_records);
                } else if (batch) {
                    FAIL("byte " << i << " xor " << flip << " is not detected");
                } else {
                    REQUIRE(why.code == (i == 16 ? errc::bad_magic : errc::corrupt_batch));
                }
            }
    }
}

TEST_CASE("a batch is exactly its bytes, whatever comes after it: header, then records, no more")
{
    for (const auto c : all_codecs)
        for (const auto d : all_codecs)
            for (const std::string tail : {"", "t", "behind both"}) {
                const auto first  = sample(c);
                auto       second = sample(d);
                patch_base_offset(second.data(), offset{3});
                const auto all = first + second + tail;

                const auto at_the_front = batch_view::parse(all);
                REQUIRE(at_the_front);
                CHECK(at_the_front->bytes() == first);
                CHECK(at_the_front->payload() == bytes_view{first}.substr(batch_header_bytes));

                const auto next = batch_view::parse(bytes_view{all}.substr(first.size()));
                REQUIRE(next);
                CHECK(next->bytes() == second);
                CHECK(next->base_offset() == offset{3});

                const auto behind = first.size() + second.size();
                CHECK_FALSE(batch_view::parse(bytes_view{all}.substr(behind)));
            }
}

TEST_CASE("a batch cut at any length is refused")
{
    for (const auto c : all_codecs) {
        const auto sound = sample(c);
        for (std::size_t size = 0; size < sound.size(); ++size)
            REQUIRE(read(sound.substr(0, size)).fault == errc::corrupt_batch);
    }
}

TEST_CASE("a batch whose records are cut is not ok, whatever its CRC says")
{
    for (const auto c : all_codecs) {
        const auto sound = sample(c);
        for (std::size_t size = batch_header_bytes; size < sound.size(); ++size) {
            auto cut = sound.substr(0, size);
            detail::store_big<std::int32_t>(cut.data() + 8, static_cast<std::int32_t>(size - 12));
            mend_crc(cut);
            const auto r = read(cut);
            REQUIRE((r.fault || !r.ok));
        }
    }
}

TEST_CASE("a header that does not agree with itself is refused, each fault by its code")
{
    raw_batch sound;
    sound.records = hex("0e 00 00 00 00 02 76 00");
    REQUIRE(read(sound.bytes()).ok);

    const auto fault_of = [&](auto&& change) {
        raw_batch b = sound;
        change(b);
        return read(b.bytes()).fault;
    };
    for (const int magic : {0, 1, 3, 127, -1})
        CHECK(fault_of([&](raw_batch& b) { b.magic = static_cast<std::int8_t>(magic); }) ==
              errc::bad_magic);
    for (const int codec : {5, 6, 7})
        CHECK(fault_of([&](raw_batch& b) { b.attributes = static_cast<std::int16_t>(codec); }) ==
              errc::unknown_codec);
    for (const std::int32_t count : {-1, -max32 - 1, 2, max32})
        CHECK(fault_of([&](raw_batch& b) { b.record_count = count; }) == errc::bad_count);
    for (const std::int32_t last : {-1, -max32 - 1})
        CHECK(fault_of([&](raw_batch& b) { b.last_offset_delta = last; }) == errc::bad_count);
    CHECK(fault_of([&](raw_batch& b) { b.base_offset = -1; }) == errc::corrupt_batch);
    CHECK(fault_of([&](raw_batch& b) {
              b.base_offset       = max64;
              b.last_offset_delta = 1;
          }) == errc::corrupt_batch);
    CHECK_FALSE(fault_of([&](raw_batch& b) {
        b.base_offset       = max64 - 1;
        b.last_offset_delta = 1;
    }));
    // More records than bytes can hold, within the offsets.
    CHECK(fault_of([&](raw_batch& b) {
              b.record_count      = 2;
              b.last_offset_delta = 1;
          }) == errc::bad_count);
    // Attributes that are not defined change nothing.
    CHECK_FALSE(fault_of([&](raw_batch& b) { b.attributes = static_cast<std::int16_t>(0xff80); }));

    auto bytes = sound.bytes();
    for (const std::int32_t length : {-1, 0, 48, -max32 - 1, max32}) {
        detail::store_big<std::int32_t>(bytes.data() + 8, length);
        CHECK(read(bytes).fault == errc::corrupt_batch);
    }
}

TEST_CASE("a wrong CRC goes unseen only where it is not asked for")
{
    auto bytes = sample();
    bytes[70]  = static_cast<char>(bytes[70] ^ 1);
    CHECK_FALSE(batch_view::parse(bytes));
    CHECK(batch_view::parse(bytes, nullptr, false));
}

TEST_CASE("a record that is not sound is refused")
{
    REQUIRE(accepts_record("0e 00 00 00 00 02 76 00"));           // key "", value "v"
    REQUIRE(accepts_record("0c 00 00 00 01 01 00"));              // nothing at all
    REQUIRE(accepts_record("0c 7f 00 00 01 01 00"));              // attributes mean nothing
    REQUIRE(accepts_record("12 00 00 00 01 01 02 02 61 01"));     // one header, a=null
    REQUIRE(accepts_record("14 00 00 00 01 01 02 02 61 02 62"));  // one header, a=b

    SECTION("lengths")
    {
        CHECK_FALSE(accepts_record("00"));                    // length 0
        CHECK_FALSE(accepts_record("01 00 00 00 01 01 00"));  // -1
        CHECK_FALSE(accepts_record("0a 00 00 00 01 01 00"));  // one less
        CHECK_FALSE(accepts_record("0e 00 00 00 01 01 00"));  // one more
        CHECK_FALSE(accepts_record("feffffff0f 00 00 00 01 01 00"));
        CHECK_FALSE(accepts_record("ffffffff0f 00 00 00 01 01 00"));
        CHECK_FALSE(accepts_record("ffffffffff0f 00 00 00 01 01"));  // no varint
    }
    SECTION("keys and values")
    {
        CHECK_FALSE(accepts_record("0e 00 00 00 03 02 76 00"));  // key -2
        CHECK_FALSE(accepts_record("0e 00 00 00 0a 02 76 00"));  // key behind the end
        CHECK_FALSE(accepts_record("0e 00 00 00 01 03 76 00"));  // value -2
        CHECK_FALSE(accepts_record("0e 00 00 00 01 06 76 00"));  // value behind the end
        CHECK_FALSE(accepts_record("16 00 00 00 feffffff0f 01 00 00"));
        CHECK_FALSE(accepts_record("16 00 00 00 01 feffffff0f 00 00"));
    }
    SECTION("headers")
    {
        CHECK_FALSE(accepts_record("0c 00 00 00 01 01 01"));           // count -1
        CHECK_FALSE(accepts_record("0c 00 00 00 01 01 02"));           // one, and no bytes
        CHECK_FALSE(accepts_record("10 00 00 00 01 01 04 00 01"));     // two in two bytes
        CHECK_FALSE(accepts_record("14 00 00 00 01 01 feffffff0f"));   // 2^31 - 1
        CHECK_FALSE(accepts_record("10 00 00 00 01 01 02 01 01"));     // name null
        CHECK_FALSE(accepts_record("10 00 00 00 01 01 02 00 03"));     // value -2
        CHECK_FALSE(accepts_record("10 00 00 00 01 01 02 04 01"));     // name behind the end
        CHECK_FALSE(accepts_record("12 00 00 00 01 01 02 00 04 61"));  // value behind the end
        CHECK_FALSE(accepts_record("10 00 00 00 01 01 00 00 01"));     // bytes behind them
    }
    SECTION("times")
    {
        // Base 1000; the largest delta makes the sum too large.
        CHECK_FALSE(accepts_record("1e 00 feffffffffffffffff01 00 01 01 00"));
        CHECK(accepts_record("1e 00 ffffffffffffffffff01 00 01 01 00"));
        CHECK_FALSE(accepts_record("1e 00 feffffffffffffffff03 00 01 01 00"));
    }
}

TEST_CASE("offset deltas increase, from 0, and end within the batch")
{
    const auto accepted = [](std::initializer_list<int> zigzagged, std::int32_t last) {
        raw_batch b;
        b.last_offset_delta = last;
        b.record_count      = static_cast<std::int32_t>(zigzagged.size());
        for (const int z : zigzagged) {
            b.records += hex("0c 00 00");
            b.records += static_cast<char>(z);
            b.records += hex("01 01 00");
        }
        const auto r = read(b.bytes());
        return !r.fault && r.ok;
    };
    CHECK(accepted({0, 2, 4}, 2));
    CHECK(accepted({0, 2, 4}, 9));
    CHECK(accepted({2, 8}, 4));
    CHECK_FALSE(accepted({2, 8}, 3));     // beyond the end
    CHECK_FALSE(accepted({0, 0}, 5));     // twice
    CHECK_FALSE(accepted({4, 2}, 5));     // back
    CHECK_FALSE(accepted({1}, 5));        // negative
    CHECK_FALSE(accepted({0, 2, 4}, 1));  // more records than offsets
}

TEST_CASE("records beyond the count, and a count beyond the records, are not ok")
{
    raw_batch b;
    b.last_offset_delta = 5;
    b.records           = hex("0c 00 00 00 01 01 00  0c 00 00 02 01 01 00");
    b.record_count      = 1;
    auto r              = read(b.bytes());
    CHECK(r.records.size() == 1);
    CHECK_FALSE(r.ok);

    b.record_count = 2;
    CHECK(read(b.bytes()).ok);

    b.attributes        = 2;  // packed, so that the count is not known to be too large
    b.record_count      = 3;
    std::string records = b.records;
    b.records.clear();
    detail::pack(codec::snappy, records, b.records);
    r = read(b.bytes());
    CHECK(r.records.size() == 2);
    CHECK_FALSE(r.ok);

    b.record_count = 0;
    r              = read(b.bytes());
    CHECK(r.records.empty());
    CHECK_FALSE(r.ok);
}

TEST_CASE("a batch that unpacks to more than is allowed is refused")
{
    for (const auto c : all_codecs) {
        const auto  bytes = sample(c);
        const auto  batch = batch_view::parse(bytes);
        const auto  size  = sample().size() - batch_header_bytes;
        std::string scratch;
        batch_fault why{};
        CHECK(batch->unpack(scratch, size));
        CHECK_FALSE(batch->unpack(scratch, size - 1, &why));
        CHECK(why.code == errc::unpacks_too_large);
        CHECK_FALSE(batch->unpack(scratch, 0));
    }
}

TEST_CASE("records that do not unpack are a corrupt batch")
{
    for (const int c : {1, 2, 3, 4}) {
        raw_batch b;
        b.attributes = static_cast<std::int16_t>(c);
        b.records    = "these are no packed records at all";
        CHECK(read(b.bytes()).fault == errc::corrupt_batch);
        b.records.clear();
        CHECK(read(b.bytes()).fault == errc::corrupt_batch);
    }
}

TEST_CASE("random bytes never make a reader crash, nor allocate more than twice their size")
{
    std::mt19937_64 random{2023};
    for (const auto c : all_codecs) REQUIRE(read(sample(c)).ok);  // the decoders' state is there

    int parsed = 0;
    for (int i = 0; i < 50'000; ++i) {
        std::string bytes(random() % 300, '\0');
        for (auto& b : bytes) b = static_cast<char>(random());
        // Most are let through to the records, and most of those to the fields of a record.
        if (bytes.size() >= batch_header_bytes && i % 10 != 0) {
            detail::store_big<std::int64_t>(bytes.data(), 5);
            detail::store_big<std::int32_t>(bytes.data() + 8,
                                            static_cast<std::int32_t>(bytes.size() - 12));
            bytes[16] = 2;
            detail::store_big<std::int16_t>(bytes.data() + 21,
                                            static_cast<std::int16_t>(random() % 5));
            detail::store_big<std::int32_t>(bytes.data() + 23, 1000);
            detail::store_big<std::int32_t>(bytes.data() + 57,
                                            static_cast<std::int32_t>(random() % 30));
            for (std::size_t at = batch_header_bytes; at < bytes.size() && i % 2 == 0; ++at)
                if (random() % 3 != 0) bytes[at] = static_cast<char>(random() % 12);
            mend_crc(bytes);
        }
        const std::vector<char> exact(bytes.begin(), bytes.end());

        std::size_t            sum = 0;
        const allocation_meter meter;
        const auto             batch = batch_view::parse({exact.data(), exact.size()});
        std::string            scratch;
        if (batch) {
            ++parsed;
            if (const auto payload = batch->unpack(scratch, 1 << 20)) {
                record_cursor cursor{*batch, *payload, position{0}};
                while (cursor.next()) {
                    const auto& r = cursor.current();
                    for (const auto& h : r.headers) sum += h.name.size();
                    if (r.key) sum += r.key->size();
                    if (r.value) sum += r.value->size();
                }
                REQUIRE(sum <= payload->size());
            }
        }
        // Of zstd one block, and what really came out of noise that is sound for a while.
        const auto block = batch && batch->codec() == codec::zstd ? 256 << 10 : 0;
        if (meter.peak_bytes() >
            std::max(2 * bytes.size(), 3 * scratch.size()) + 64 + static_cast<std::size_t>(block))
            FAIL("run " << i << " allocates " << meter.peak_bytes());
    }
    CHECK(parsed > 20'000);
}

TEST_CASE("reading allocates nothing but the unpacked records")
{
    const auto             bytes = sample();
    const allocation_meter meter;
    const auto             batch = batch_view::parse(bytes);
    std::string            scratch;
    record_cursor          cursor{*batch, *batch->unpack(scratch, 1 << 20), position{0}};
    std::size_t            names = 0;
    while (cursor.next())
        for (const auto& h : cursor.current().headers) names += h.name.size();
    CHECK(names == 8);
    CHECK(meter.allocations() == 0);
}

TEST_CASE("records with any byte changed are read without harm, where nobody checks the CRC")
{
    batch_builder b;
    b.start();
    for (int i = 0; i < 5; ++i) b.add(timestamp{i}, "key", "value", {{"a", "1"}, {"b", "22"}});
    const std::string sound{b.finish()};
    for (std::size_t i = batch_header_bytes; i < sound.size(); ++i)
        for (int flip = 1; flip < 256; ++flip) {
            std::vector<char> damaged(sound.begin(), sound.end());
            damaged[i]       = static_cast<char>(damaged[i] ^ flip);
            const auto batch = batch_view::parse({damaged.data(), damaged.size()}, nullptr, false);
            REQUIRE(batch);
            record_cursor cursor{*batch, batch->payload(), position{0}};
            std::size_t   sum = 0;
            while (cursor.next()) {
                std::size_t headers = 0;
                for (const auto& h : cursor.current().headers) {
                    sum += h.name.size() + (h.value ? h.value->size() : 0);
                    ++headers;
                }
                // All that were counted are there: iterating cannot fail.
                if (headers != cursor.current().headers.size()) FAIL("byte " << i);
            }
            if (sum > sound.size()) FAIL("byte " << i);
        }
}
