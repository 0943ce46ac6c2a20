// SPDX-License-Identifier: Apache-2.0
//
// What is appended twice is recorded once: by command id, and by producer id, epoch, sequence.
// And what append_batch() takes, and what it does not.
#include "fixture.hpp"

#include <cairn/log/crc32c.hpp>
#include <cairn/log/record_batch.hpp>

#include <limits>
#include <set>

using namespace contract;

namespace {

append_request command(std::string id, std::vector<append_record> records)
{
    return {.records = std::move(records), .command_id = std::move(id)};
}

constexpr std::int32_t last_sequence = std::numeric_limits<std::int32_t>::max();

/// Big-endian, at a place of a batch.
template <class Integer>
void put(std::string& batch, std::size_t at, Integer value)
{
    for (std::size_t i = 0; i < sizeof(Integer); ++i)
        batch[at + i] = static_cast<char>(
            static_cast<std::make_unsigned_t<Integer>>(value) >> (8 * (sizeof(Integer) - 1 - i)));
}

/// A change behind the CRC, and the CRC made right again: only the content is wrong.
std::string resealed(std::string batch)
{
    put(batch, 17, crc32c(bytes_view{batch}.substr(21)));
    return batch;
}

template <class Integer>
std::string forged(std::string batch, std::size_t at, Integer value)
{
    put(batch, at, value);
    return resealed(std::move(batch));
}

}  // namespace

// ---- Commands. -------------------------------------------------------------------------------

TEST_CASE_METHOD(every_log, "a command that is repeated is answered with its first receipt")
{
    topic("orders", 3);
    topic("invoices", 2);
    const append_request place = command("c-1", {event("orders", "o-1", "a"),
                                                 event("invoices", "i-1", "b"),
                                                 event("orders", no_key, "c").in(2)});
    const receipt first = append(place);
    CHECK_FALSE(first.repeated);

    const auto repeat = [&] {
        const position end = log().end_position();
        const receipt  r   = log().append(place);
        CHECK(r.repeated);
        CHECK(r.first == first.first);
        CHECK(r.records == first.records);
        CHECK(log().end_position() == end);
    };
    repeat();
    append("orders", "o-1", "later");
    repeat();
    for (int i = 0; i < 20; ++i) append("orders", "other", "v");
    repeat();
    reopen();
    repeat();
    reopen_without_index();
    repeat();
    log().roll_segment();
    repeat();
    CHECK(text(reading().read_stream({"orders", "o-1"})) == "a later");
    CHECK(text(log().read_stream({"invoices", "i-1"})) == "b");
}

TEST_CASE_METHOD(every_log, "a repeat is recognised before its conditions are looked at")
{
    topic("orders");
    // Its own records cross its boundary and change its stream: of a repeat that is no refusal.
    append_request place = command("c-1", {event("orders", "o", "a").tags({"t"})});
    place.expect         = {{{"orders", "o"}, expected_version::no_stream()}};
    place.boundaries     = {{{{of_tags({"t"})}}, std::nullopt}};
    const receipt first  = append(place);
    const receipt again  = append(place);
    CHECK(again.repeated);
    CHECK(again.first == first.first);
    CHECK(again.records == first.records);
    CHECK(text(reading().read_all()) == "a");
    CHECK(log().append(place).repeated);
}

TEST_CASE_METHOD(every_log, "a repeat need not carry the same records: the id says that it is one")
{
    topic("orders");
    const receipt first = append(command("c-1", {event("orders", "o", "a")}));
    const receipt again = append(
        command("c-1", {event("orders", "p", "b"), event("orders", "p", "c")}));
    CHECK(again.repeated);
    CHECK(again.first == first.first);
    CHECK(again.records == first.records);
    CHECK(text(reading().read_all()) == "a");
}

TEST_CASE_METHOD(every_log, "different commands are different, whatever their names")
{
    topic("orders");
    const std::vector<std::string> ids = {"a", "A", "a ", std::string{"a\0", 2},
                                          std::string(2000, 'a'), "b", "order:1"};
    for (const std::string& id : ids) {
        CHECK_FALSE(append(command(id, {event("orders", "o", "v")})).repeated);
        // A stream, a type or a tag of that name is no command.
        CHECK_FALSE(append(command("of " + id, {event("orders", id, "v").type(id)})).repeated);
    }
    reading();
    for (const std::string& id : ids)
        CHECK(log().append(command(id, {event("orders", "o", "v")})).repeated);
}

TEST_CASE_METHOD(every_log, "a command that was refused is not remembered")
{
    topic("orders");
    append_request place = command("c-1", {event("orders", "o", "b")});
    place.expect         = {{{"orders", "o"}, expected_version::exists()}};
    CHECK(attempt(place).has_error());
    CHECK(attempt(place).has_error());
    append("orders", "o", "a");
    const append_result r = attempt(place);
    REQUIRE(r.has_value());
    CHECK_FALSE(r->repeated);
    CHECK(attempt(place)->repeated);
    CHECK(text(reading().read_all()) == "a b");
}

TEST_CASE_METHOD(every_log, "a command's id is a header of each of its records")
{
    topic("orders", 2);
    append(command("c-1", {event("orders", "o", "a").with("h", "1"), event("orders", "p", "b")}));
    append("orders", "o", "c");
    const std::vector<row> all = rows(reading().read_all());
    const header           id{"ce_commandid", "c-1"};
    CHECK(std::count(all[0].headers.begin(), all[0].headers.end(), id) == 1);
    CHECK(std::count(all[0].headers.begin(), all[0].headers.end(), header{"h", "1"}) == 1);
    CHECK(std::count(all[1].headers.begin(), all[1].headers.end(), id) == 1);
    CHECK(all[2].headers.empty());
}

TEST_CASE_METHOD(every_log, "a command of many records is repeated with all its placements")
{
    topic("orders", 3);
    std::vector<append_record> records;
    for (int i = 0; i < 700; ++i)
        records.push_back(event("orders", "k" + std::to_string(i % 13), std::to_string(i)));
    const receipt first = append(command("bulk", records));
    reopen();
    append("orders", "k1", "later");
    const receipt again = append(command("bulk", records));
    CHECK(again.repeated);
    CHECK(again.first == first.first);
    CHECK((again.records == first.records));
    reopen_without_index();
    CHECK((append(command("bulk", records)).records == first.records));
}

TEST_CASE_METHOD(plain_log, "of threads that send one command, one records it and all get its "
                            "receipt")
{
    topic("orders", 2);
    for (int round = 0; round < 10; ++round) {
        const std::string                  id = "c-" + std::to_string(round);
        std::vector<receipt>               got(4);
        std::vector<std::function<void()>> jobs;
        for (std::size_t t = 0; t < got.size(); ++t)
            jobs.emplace_back([&, t] {
                got[t] = log().append(command(id, {event("orders", "o", id),
                                                   event("orders", "p", id)}));
            });
        at_once(jobs);
        int firsts = 0;
        for (const receipt& r : got) {
            firsts += !r.repeated;
            CHECK(r.first == got[0].first);
            CHECK(r.records == got[0].records);
        }
        CHECK(firsts == 1);
    }
    CHECK(log().stream_version({"orders", "o"}) == version{10});
}

// ---- Producers. ------------------------------------------------------------------------------

TEST_CASE_METHOD(every_log, "a producer's batch that is repeated is answered with its first "
                            "receipt")
{
    topic("orders", 2);
    const producer p{.id = 7};
    const receipt  a = append_batch("orders", 0, p.batch(0, 3));
    const receipt  b = append_batch("orders", 0, p.batch(3, 2));
    CHECK_FALSE(b.repeated);
    CHECK(b.records[0].offset == offset{3});

    const auto repeat = [&] {
        const position end = log().end_position();
        for (const auto& [batch, first] :
             {std::pair{p.batch(0, 3), a}, std::pair{p.batch(3, 2), b}}) {
            const receipt r = log().partition("orders", 0).append_batch(batch);
            CHECK(r.repeated);
            CHECK(r.first == first.first);
            CHECK(r.records == first.records);
        }
        CHECK(log().end_position() == end);
    };
    repeat();
    reopen();
    repeat();
    reopen_without_index();
    repeat();
    CHECK_FALSE(append_batch("orders", 0, p.batch(5)).repeated);
    repeat();
    CHECK(text(reading().partition("orders", 0).read(offset{0})) == "s0 s1 s2 s3 s4 s5");
}

TEST_CASE_METHOD(every_log, "a compressed batch of many streams that is repeated is answered with "
                            "all its placements")
{
    topic("orders", 1);
    std::vector<append_record> records;
    for (int i = 0; i < 300; ++i)
        records.push_back(event("", i % 5 == 0 ? std::optional<std::string>{} :
                                                 "k" + std::to_string(i % 7), std::to_string(i)));
    const std::string batch = kafka_batch(
        records,
        {.codec = codec::zstd, .producer_id = 7, .producer_epoch = 0, .base_sequence = 0});
    append("orders", "k1", "before");
    const receipt first = append_batch("orders", 0, batch);
    append("orders", "k2", "after");
    reopen();
    const receipt again = append_batch("orders", 0, batch);
    CHECK(again.repeated);
    CHECK(again.first == first.first);
    CHECK((again.records == first.records));
}

TEST_CASE_METHOD(every_log, "a gap in a producer's sequence is refused, and nothing is lost by it")
{
    topic("orders");
    const producer p{.id = 7};
    append_batch("orders", 0, p.batch(0, 2));
    for (const std::int32_t wrong : {3, 4, 100, last_sequence}) {
        const complaint c = complaint_of([&] { return append_batch("orders", 0, p.batch(wrong)); });
        CHECK(c == errc::out_of_order_sequence);
        check_complete(c, {"7", std::to_string(wrong), "sequence 1"});
    }
    // Half of what is there, and half of what is not, is no repeat.
    CHECK(complaint_of([&] { return append_batch("orders", 0, p.batch(1, 2)); }) ==
          errc::out_of_order_sequence);
    reopen();
    CHECK(complaint_of([&] { return append_batch("orders", 0, p.batch(3)); }) ==
          errc::out_of_order_sequence);
    append_batch("orders", 0, p.batch(2));
    CHECK(text(reading().partition("orders", 0).read(offset{0})) == "s0 s1 s2");
}

TEST_CASE_METHOD(every_log, "a batch with a producer id and no sequence is refused")
{
    topic("orders");
    const complaint c =
        complaint_of([&] { return append_batch("orders", 0, producer{.id = 7}.batch(-1)); });
    CHECK(c == errc::invalid_argument);
    check_complete(c, {"orders", "7", "sequence"});
    CHECK(text(reading().partition("orders", 0).read(offset{0})) == "");
}

TEST_CASE_METHOD(every_log, "a producer's last five batches are remembered")
{
    topic("orders");
    const producer p{.id = 7};
    for (int s = 0; s < 8; ++s) append_batch("orders", 0, p.batch(s));
    reading();
    partition here = log().partition("orders", 0);
    for (int s = 3; s < 8; ++s) {
        const receipt r = here.append_batch(p.batch(s));
        CHECK(r.repeated);
        CHECK(r.records.at(0).offset == offset{s});
    }
    for (int s = 0; s < 3; ++s)
        CHECK(complaint_of([&] { return here.append_batch(p.batch(s)); }) ==
              errc::out_of_order_sequence);
    CHECK(here.end_offset() == offset{8});
}

TEST_CASE_METHOD(every_log, "an older epoch of a producer is fenced")
{
    topic("orders", 2);
    append_batch("orders", 0, producer{.id = 7, .epoch = 3}.batch(0));
    const auto fenced = [&] {
        const complaint c = complaint_of(
            [&] { return append_batch("orders", 0, producer{.id = 7, .epoch = 2}.batch(1)); });
        CHECK(c == errc::fenced_producer);
        check_complete(c, {"7", "2", "3"});
    };
    fenced();
    reopen();
    fenced();
    CHECK(text(reading().partition("orders", 0).read(offset{0})) == "s0");
}

TEST_CASE_METHOD(every_log, "a newer epoch of a producer begins at sequence 0")
{
    topic("orders");
    append_batch("orders", 0, producer{.id = 7, .epoch = 0}.batch(0, 2));
    CHECK(complaint_of([&] {
              return append_batch("orders", 0, producer{.id = 7, .epoch = 1}.batch(2));
          }) == errc::out_of_order_sequence);
    const receipt r = append_batch("orders", 0, producer{.id = 7, .epoch = 1}.batch(0, 2));
    CHECK_FALSE(r.repeated);
    CHECK(append_batch("orders", 0, producer{.id = 7, .epoch = 1}.batch(0, 2)).repeated);
    CHECK(complaint_of([&] {
              return append_batch("orders", 0, producer{.id = 7, .epoch = 0}.batch(0, 2));
          }) == errc::fenced_producer);
    CHECK(text(reading().partition("orders", 0).read(offset{0})) == "s0 s1 s0 s1");
}

TEST_CASE_METHOD(every_log, "producers, and partitions, have sequences of their own")
{
    topic("orders", 2);
    append_batch("orders", 0, producer{.id = 7}.batch(0, 2));
    CHECK_FALSE(append_batch("orders", 1, producer{.id = 7}.batch(0, 2)).repeated);
    CHECK_FALSE(append_batch("orders", 0, producer{.id = 8}.batch(0, 2)).repeated);
    CHECK(append_batch("orders", 1, producer{.id = 7}.batch(0, 2)).repeated);
    append_batch("orders", 0, producer{.id = 7}.batch(2));
    CHECK(text(reading().partition("orders", 0).read(offset{0})) == "s0 s1 s0 s1 s2");
}

TEST_CASE_METHOD(every_log, "after sequence 2^31 - 1 comes 0, also inside a batch")
{
    topic("orders", 2);
    const producer p{.id = 7};
    // Of a producer that is not known here any sequence is taken, as Kafka does.
    append_batch("orders", 0, p.batch(last_sequence - 1, 2));
    const receipt zero = append_batch("orders", 0, p.batch(0));
    CHECK_FALSE(zero.repeated);
    CHECK(append_batch("orders", 0, p.batch(last_sequence - 1, 2)).repeated);

    append_batch("orders", 1, p.batch(last_sequence - 1, 4));  // … - 1, …, 0, 1
    CHECK(complaint_of([&] { return append_batch("orders", 1, p.batch(0)); }) ==
          errc::out_of_order_sequence);
    CHECK(append_batch("orders", 1, p.batch(last_sequence - 1, 4)).repeated);
    reopen();
    CHECK_FALSE(append_batch("orders", 1, p.batch(2)).repeated);
    CHECK(append_batch("orders", 1, p.batch(last_sequence - 1, 4)).repeated);
    CHECK(reading().partition("orders", 0).end_offset() == offset{3});
    CHECK(log().partition("orders", 1).end_offset() == offset{5});
}

TEST_CASE_METHOD(every_log, "batches without a producer are never repeats")
{
    topic("orders");
    const std::string batch = kafka_batch({event("", "k", "a")});
    CHECK_FALSE(append_batch("orders", 0, batch).repeated);
    CHECK_FALSE(append_batch("orders", 0, batch).repeated);
    CHECK(text(reading().read_stream({"orders", "k"})) == "a a");
}

TEST_CASE_METHOD(plain_log, "of threads that send one producer's batch, one records it")
{
    topic("orders");
    const producer p{.id = 7};
    for (std::int32_t s = 0; s < 10; ++s) {
        std::vector<receipt>               got(4);
        std::vector<std::function<void()>> jobs;
        for (receipt& mine : got)
            jobs.emplace_back([&, s] {
                mine = log().partition("orders", 0).append_batch(p.batch(s));
            });
        at_once(jobs);
        int firsts = 0;
        for (const receipt& r : got) {
            firsts += !r.repeated;
            CHECK(r.records.at(0).offset == offset{s});
        }
        CHECK(firsts == 1);
    }
    CHECK(log().partition("orders", 0).end_offset() == offset{10});
}

// ---- Batches as Kafka clients make them. -----------------------------------------------------

TEST_CASE_METHOD(every_log, "a client's batch is stored as it came, but for base offset and epoch")
{
    topic("orders");
    append("orders", "k", "before");
    const std::string batch =
        kafka_batch({event("", "k", "a").with("h", "1"), event("", no_key, null)});
    const receipt r = append_batch("orders", 0, batch);
    CHECK(r.records == std::vector<placement>{{{"orders", 0}, offset{1}, version{1}},
                                              {{"orders", 0}, offset{2}, version{-1}}});

    const auto stored = reading().partition("orders", 0).read_batches(offset{1}, 1 << 20);
    REQUIRE(stored.size() == 1);
    CHECK(stored[0].base == offset{1});
    CHECK(stored[0].end == offset{3});
    CHECK(stored[0].position == r.first);
    REQUIRE(stored[0].bytes.size() == batch.size());
    CHECK(stored[0].bytes.substr(8, 4) == bytes_view{batch}.substr(8, 4));
    CHECK(stored[0].bytes.substr(16) == bytes_view{batch}.substr(16));
    const auto view = batch_view::parse(stored[0].bytes);
    REQUIRE(view);
    CHECK(view->base_offset() == offset{1});
}

TEST_CASE_METHOD(every_log, "a batch is there whole or not at all")
{
    topic("orders");
    std::vector<append_record> records;
    for (int i = 0; i < 50; ++i) records.push_back(event("", "k", std::to_string(i)));
    const std::string whole = kafka_batch(records);
    append_batch("orders", 0, whole);
    for (const std::size_t cut : {std::size_t{1}, std::size_t{30}, whole.size() - 70}) {
        std::string half = whole.substr(0, whole.size() - cut);
        put(half, 8, static_cast<std::int32_t>(half.size() - 12));
        CHECK_THROWS_AS(append_batch("orders", 0, resealed(half)), error);
    }
    reading();
    CHECK(log().stream_version({"orders", "k"}) == version{50});
    CHECK(log().partition("orders", 0).end_offset() == offset{50});
    // A reader in its middle gets its first half no less for that.
    CHECK(rows(log().partition("orders", 0).read(offset{20})).size() == 30);
    CHECK(rows(log().partition("orders", 0).read_backwards(offset{20})).size() == 21);
}

TEST_CASE_METHOD(every_log, "compressed batches are indexed, and stay compressed")
{
    topic("orders", 5);
    const std::vector<std::pair<codec, const char*>> codecs = {{codec::none, "none"},
                                                               {codec::gzip, "gzip"},
                                                               {codec::snappy, "snappy"},
                                                               {codec::lz4, "lz4"},
                                                               {codec::zstd, "zstd"}};
    const std::string long_value(2000, 'x');
    for (const auto& [c, name] : codecs) {
        // Keys such that murmur2 finds the partition that the batch goes to.
        const auto  number = static_cast<std::int32_t>(c);
        std::string key;
        for (int i = 0; key.empty() || partition_for_key(key, 5) != number; ++i)
            key = std::string{name} + std::to_string(i);
        const std::string batch = kafka_batch(
            {event("", key, "1" + long_value).type("T").tags({name, "all"}),
             event("", no_key, long_value).tags({"keyless"}),
             event("", key, "2" + long_value).with("ce_commandid", std::string{"c-"} + name)},
            {.codec = c});
        if (c != codec::none) CHECK(batch.size() < 3000);
        const receipt r = append_batch("orders", number, batch);
        CHECK(r.records[0].version == version{0});
        CHECK(r.records[1].version == version{-1});
        CHECK(r.records[2].version == version{1});

        reading();
        INFO(name);
        const std::vector<row> stream = rows(log().read_stream({"orders", key}));
        REQUIRE(stream.size() == 2);
        CHECK((stream[0].value == "1" + long_value));
        CHECK((stream[1].value == "2" + long_value));
        CHECK(stream[1].offset == 2);
        CHECK(stream[1].version == 1);
        CHECK(stream[1].position == r.first.value + 2);
        CHECK(log().stream_version({"orders", key}) == version{2});
        CHECK(positions(log().read_query({{of({"T"}, {name})}})) ==
              std::vector<std::int64_t>{r.first.value});
        CHECK(log().last_match({{of_tags({"keyless"})}}) == r.first + 1);
        CHECK(attempt({.records = {event("orders", key, "x")},
                       .expect  = {{{"orders", key}, expected_version::exactly(version{1})}}})
                  .has_error());
        CHECK(log().append(command(std::string{"c-"} + name, {event("orders", key, "x")}))
                  .repeated);
        CHECK(log().partition("orders", number).read_batches(offset{0}, 1)[0].bytes.substr(16) ==
              bytes_view{batch}.substr(16));
    }
    CHECK(rows(log().read_query({{of_tags({"all"})}})).size() == codecs.size());
    CHECK(rows(log().read_all()).size() == 3 * codecs.size());
}

TEST_CASE_METHOD(every_log, "bytes that are no batch are refused, and nothing is recorded")
{
    topic("orders", 1, {{"max.message.bytes", "3000"}});
    append("orders", "k", "a");
    const position end = log().end_position();

    const std::string good   = kafka_batch({event("", "k", "b"), event("", "k", "c")});
    const auto        packed = [](codec c) {
        return kafka_batch({event("", "k", std::string(500, 'x'))}, {.codec = c});
    };
    const auto flipped = [](std::string batch, std::size_t at, int bit) {
        batch[at] = static_cast<char>(batch[at] ^ (1 << bit));
        return batch;
    };

    struct refused
    {
        const char* what;
        std::string batch;
        errc        code;
    };
    std::vector<refused> all = {
        {"nothing", "", errc::corrupt_batch},
        {"text", "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" + std::string(60, ' '),
         errc::bad_magic},
        {"half a header", good.substr(0, 60), errc::corrupt_batch},
        {"half a batch", good.substr(0, good.size() - 1), errc::corrupt_batch},
        {"a byte too many", good + "x", errc::corrupt_batch},
        {"two batches", good + good, errc::corrupt_batch},
        {"a flipped bit in a value", flipped(good, good.size() - 2, 3), errc::corrupt_batch},
        {"a flipped bit in the CRC", flipped(good, 18, 0), errc::corrupt_batch},
        {"magic 0", forged<std::int8_t>(good, 16, 0), errc::bad_magic},
        {"magic 1", forged<std::int8_t>(good, 16, 1), errc::bad_magic},
        {"magic 3", forged<std::int8_t>(good, 16, 3), errc::bad_magic},
        {"a count too small", forged<std::int32_t>(good, 57, 1), errc::bad_count},
        {"a count too large", forged<std::int32_t>(good, 57, 3), errc::bad_count},
        {"a huge count", forged<std::int32_t>(good, 57, last_sequence), errc::bad_count},
        {"a negative count", forged<std::int32_t>(good, 57, -1), errc::bad_count},
        {"no records", forged<std::int32_t>(good, 57, 0), errc::bad_count},
        {"last offset delta", forged<std::int32_t>(good, 23, 5), errc::bad_count},
        {"codec 5", forged<std::int16_t>(good, 21, 5), errc::unknown_codec},
        {"codec 7", forged<std::int16_t>(good, 21, 7), errc::unknown_codec},
        {"plain bytes called gzip", forged<std::int16_t>(good, 21, 1), errc::corrupt_batch},
        {"plain bytes called snappy", forged<std::int16_t>(good, 21, 2), errc::corrupt_batch},
        {"plain bytes called lz4", forged<std::int16_t>(good, 21, 3), errc::corrupt_batch},
        {"plain bytes called zstd", forged<std::int16_t>(good, 21, 4), errc::corrupt_batch},
        {"too large", kafka_batch({event("", "k", std::string(4000, 'x'))}),
         errc::record_too_large},
    };
    for (const codec c : {codec::gzip, codec::snappy, codec::lz4, codec::zstd}) {
        const std::string batch = packed(c);
        all.push_back({"half of what was packed",
                       resealed([&] {
                           std::string cut = batch.substr(0, batch.size() - 3);
                           put(cut, 8, static_cast<std::int32_t>(cut.size() - 12));
                           return cut;
                       }()),
                       errc::corrupt_batch});
    }
    for (const refused& r : all) {
        INFO(r.what);
        const complaint c = complaint_of([&] { return append_batch("orders", 0, r.batch); });
        CHECK(c == r.code);
        CHECK(c.says("orders"));
    }
    CHECK(log().end_position() == end);
    CHECK(text(reading().read_all()) == "a");
    append_batch("orders", 0, good);
    CHECK(text(reading().read_all()) == "a b c");
}

TEST_CASE_METHOD(plain_log, "a batch that unpacks to very much more is refused")
{
    topic("orders");
    const std::string bomb(65 << 20, '\0');
    for (const codec c : {codec::gzip, codec::zstd, codec::lz4}) {
        const std::string batch = kafka_batch({event("", "k", bomb)}, {.codec = c});
        if (batch.size() > 1'000'000) continue;
        const complaint r = complaint_of([&] { return append_batch("orders", 0, batch); });
        CHECK(r == errc::unpacks_too_large);
        check_complete(r, {"orders"});
    }
    CHECK(rows(reading().read_all()).empty());
}

TEST_CASE_METHOD(every_log, "with log append time the times of a client's batch are the log's")
{
    topic("orders", 1, {{"message.timestamp.type", "LogAppendTime"}});
    pass(500);
    append_batch("orders", 0, kafka_batch({event("", "k", "a").at(1), event("", "k", "b").at(2)}));
    const auto stored = reading().partition("orders", 0).read_batches(offset{0}, 1 << 20);
    REQUIRE(stored.size() == 1);
    const auto view = batch_view::parse(stored[0].bytes);  // so its CRC is right
    REQUIRE(view);
    CHECK(view->is_log_append_time());
    CHECK(view->max_timestamp() == timestamp{start_of_time + 500});
    for (const row& r : rows(log().read_all())) CHECK(r.time == start_of_time + 500);
}
