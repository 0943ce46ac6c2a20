// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <cairn/log/record_batch.hpp>

#include <map>
#include <numeric>
#include <set>

using namespace contract;

namespace {

/// 1, 2, … n as appends of one stream.
void fill(log_under_test& f, const stream_id& stream, int n)
{
    for (int i = 1; i <= n; ++i) f.append(stream.topic, stream.key, std::to_string(i));
}

}  // namespace

// ---- What an append is. ----------------------------------------------------------------------

TEST_CASE_METHOD(every_log, "an append is recorded in its order at adjacent positions")
{
    topic("orders", 3);
    topic("invoices", 2);
    append("orders", "z", "before");

    const receipt r = append({
        event("orders", "k", "a"),
        event("invoices", "k", "b"),
        event("orders", no_key, "c").in(2),
        event("orders", "k", "d"),
        event("invoices", no_key, "e").in(1),
    });
    REQUIRE(r.records.size() == 5);
    CHECK(r.last() == r.first + 4);
    CHECK_FALSE(r.repeated);
    CHECK(log().end_position() == r.last().next());

    CHECK(text(reading().read_all(r.first)) == "a b c d e");
    const std::vector<row> read = rows(log().read_all(r.first));
    for (std::size_t i = 0; i < read.size(); ++i) {
        CHECK(read[i].position == r.first.value + static_cast<std::int64_t>(i));
        CHECK(read[i].from == r.records[i].at);
        CHECK(read[i].offset == r.records[i].offset.value);
    }
}

TEST_CASE_METHOD(every_log, "positions and offsets are given at commit and are dense")
{
    topic("a", 2);
    topic("b", 1);
    const position                           start = log().end_position();
    std::int64_t                             next  = start.value;
    std::map<topic_partition, std::int64_t>  ends;
    for (int i = 0; i < 30; ++i) {
        std::vector<append_record> records;
        for (int n = 0; n <= i % 4; ++n)
            records.push_back(
                event(n % 2 == 0 ? "a" : "b", "k" + std::to_string(i * n % 5), "v"));
        const receipt r = append(std::move(records));
        CHECK(r.first.value == next);
        next += static_cast<std::int64_t>(r.records.size());
        for (const placement& p : r.records) CHECK(p.offset.value == ends[p.at]++);
    }
    std::vector<std::int64_t> dense(static_cast<std::size_t>(next - start.value));
    std::iota(dense.begin(), dense.end(), start.value);
    CHECK(positions(reading().read_all(start)) == dense);
    CHECK(log().end_position().value == next);
    for (const auto& [tp, end] : ends) {
        std::vector<std::int64_t> all(static_cast<std::size_t>(end));
        std::iota(all.begin(), all.end(), 0);
        CHECK(offsets(log().partition(tp.topic, tp.partition).read(offset{0})) == all);
        CHECK(log().partition(tp.topic, tp.partition).end_offset() == offset{end});
    }
}

TEST_CASE_METHOD(every_log, "a receipt says positions, offsets and versions")
{
    topic("orders", 1);
    append("orders", "o-1", "a");
    const position end = log().end_position();
    const receipt  r   = append({
        event("orders", "o-1", "b"),
        event("orders", "o-2", "c"),
        event("orders", no_key, "d"),
        event("orders", "o-1", "e"),
    });
    CHECK(r.first == end);
    CHECK(r.records == std::vector<placement>{
                           {{"orders", 0}, offset{1}, version{1}},
                           {{"orders", 0}, offset{2}, version{0}},
                           {{"orders", 0}, offset{3}, version{-1}},
                           {{"orders", 0}, offset{4}, version{2}},
                       });
    CHECK(reading().stream_version({"orders", "o-1"}) == version{3});
    CHECK(log().stream_version({"orders", "o-2"}) == version{1});
    CHECK(log().stream_version({"orders", "o-3"}) == version{0});
    CHECK(versions(log().read_stream({"orders", "o-1"})) == std::vector<std::int64_t>{0, 1, 2});
}

TEST_CASE_METHOD(every_log, "an append is there whole or not at all")
{
    topic("orders", 2, {{"max.message.bytes", "500"}});
    append("orders", "k", "a");
    const position end = log().end_position();

    const std::vector<std::pair<errc, append_record>> bad = {
        {errc::unknown_topic, event("nope", "k", "v")},
        {errc::partition_out_of_range, event("orders", "k", "v").in(2)},
        {errc::record_too_large, event("orders", "k", std::string(501, 'x'))},
        {errc::internal_topic, event("__topics", "k", "v")},
    };
    for (const auto& [code, record] : bad) {
        for (int at = 0; at < 3; ++at) {
            std::vector<append_record> records(2, event("orders", "k", "b"));
            records.insert(records.begin() + at, record);
            CHECK(complaint_of([&] { return append(std::move(records)); }) == code);
        }
    }
    CHECK(complaint_of([&] {
              return append(append_request{
                  .records = {event("orders", "k", "b"), event("orders", "l", "c")},
                  .expect  = {{{"orders", "k"}, expected_version::no_stream()}}});
          }) == errc::wrong_expected_version);

    CHECK(log().end_position() == end);
    CHECK(text(reading().read_all()) == "a");
    CHECK(append("orders", "k", "d").first == end);
    CHECK(text(reading().read_all()) == "a d");
}

TEST_CASE_METHOD(every_log, "an empty append is refused")
{
    topic("orders");
    const position  end = log().end_position();
    const complaint c   = complaint_of([&] { return append(append_request{}); });
    CHECK(c == errc::empty_append);
    check_complete(c, {"record"});
    CHECK(complaint_of([&] {
              return append(append_request{
                  .expect = {{{"orders", "k"}, expected_version::any()}}});
          }) == errc::empty_append);
    CHECK(log().end_position() == end);
}

TEST_CASE_METHOD(every_log, "a record comes back byte for byte")
{
    topic("orders", 1);
    const std::string bytes{"\0\xff\n\x80,%", 6};
    const std::string large(700'000, 'y');

    std::vector<append_record> written = {
        event("orders", no_key, null),
        event("orders", "", ""),
        event("orders", bytes, bytes).at(5),
        event("orders", "k", large),
        event("orders", "k", null).with("h", null).with("", "").with("h", bytes).with("h", "2"),
        event("orders", "k", "v").at(0),
    };
    append(written);
    append({event("orders", "k", "with tags").type("T").tags({"a,b", "c%d", "e"})});

    const std::vector<row> read = rows(reading().read_all());
    REQUIRE(read.size() == written.size() + 1);
    for (std::size_t i = 0; i < written.size(); ++i) {
        INFO(i);
        CHECK(read[i].key == written[i].record.key);
        CHECK((read[i].value == written[i].record.value));  // no printing of large ones
        CHECK(read[i].headers == written[i].record.headers);
        CHECK(read[i].time == written[i].record.timestamp.value_or(timestamp{now()}).value);
        CHECK(read[i].from == topic_partition{"orders", 0});
    }
    record_range       down = log().read_all_backwards();
    const record_view* last = down.next();
    REQUIRE(last != nullptr);
    CHECK(last->headers.find("ce_type") == bytes_view{"T"});
    CHECK(last->headers.find("nope") == std::nullopt);
    CHECK(split_tags(last->headers.find("ce_tags").value()) ==
          std::vector<std::string>{"a,b", "c%d", "e"});
}

TEST_CASE_METHOD(every_log, "a null key is no key: it makes no stream, and an empty one does")
{
    topic("orders", 1);
    CHECK(append("orders", no_key, "a").records[0].version == version{-1});
    CHECK(append("orders", "", "b").records[0].version == version{0});
    CHECK(append("orders", "", "c").records[0].version == version{1});
    CHECK(text(reading().read_stream({"orders", ""})) == "b c");
}

TEST_CASE_METHOD(every_log, "streams of one key in two topics are two streams")
{
    topic("orders", 2);
    topic("invoices", 2);
    append({event("orders", "k", "a"), event("invoices", "k", "b"), event("orders", "k", "c")});
    CHECK(text(reading().read_stream({"orders", "k"})) == "a c");
    CHECK(text(log().read_stream({"invoices", "k"})) == "b");
}

TEST_CASE_METHOD(every_log, "a record without a time has the time of its append")
{
    topic("orders");
    append("orders", "k", "a");
    pass(1000);
    append("orders", "k", "b");
    append({event("orders", "k", "c").at(7)});
    const std::vector<row> read = rows(reading().read_all());
    CHECK(read[0].time == start_of_time);
    CHECK(read[1].time == start_of_time + 1000);
    CHECK(read[2].time == 7);
}

TEST_CASE_METHOD(every_log, "with log append time, the log's clock says when, not the record")
{
    topic("orders", 1, {{"message.timestamp.type", "LogAppendTime"}});
    append({event("orders", "k", "a").at(7)});
    pass(50);
    append_batch("orders", 0, kafka_batch({event("", "k", "b").at(8), event("", "k", "c").at(9)}));
    const std::vector<row> read = rows(reading().read_all());
    REQUIRE(read.size() == 3);
    CHECK(read[0].time == start_of_time);
    CHECK(read[1].time == start_of_time + 50);
    CHECK(read[2].time == start_of_time + 50);
    CHECK(log().partition("orders", 0).offset_for_time(timestamp{start_of_time + 1}) ==
          std::pair{offset{1}, timestamp{start_of_time + 50}});
}

TEST_CASE_METHOD(every_log, "a record that is too large is refused, and the limit is named")
{
    topic("orders", 1, {{"max.message.bytes", "300"}});
    const complaint c =
        complaint_of([&] { return append("orders", "k", std::string(400, 'x')); });
    CHECK(c == errc::record_too_large);
    check_complete(c, {"orders", "300", "max.message.bytes"});

    // The limit is that of a batch: what just fits goes in, one byte more does not.
    const auto batch_of = [](std::size_t bytes) {
        return kafka_batch({event("", "k", std::string(bytes, 'x'))});
    };
    std::size_t fits = 200;
    while (batch_of(fits + 1).size() <= 300) ++fits;
    CHECK(append_batch("orders", 0, batch_of(fits)).records.size() == 1);
    CHECK(complaint_of([&] { return append_batch("orders", 0, batch_of(fits + 1)); }) ==
          errc::record_too_large);
    // append() reckons with the largest that its record may become.
    CHECK(append("orders", "k", std::string(fits - 30, 'x')).records.size() == 1);
    CHECK(complaint_of([&] { return append("orders", "k", std::string(fits + 1, 'x')); }) ==
          errc::record_too_large);
    CHECK(reading().partition("orders", 0).end_offset() == offset{2});
}

TEST_CASE_METHOD(every_log, "an append of many records makes batches within max.message.bytes")
{
    topic("orders", 1, {{"max.message.bytes", "2000"}});
    std::vector<append_record> records;
    for (int i = 0; i < 100; ++i)
        records.push_back(event("orders", "k", std::to_string(i) + std::string(100, 'x')));
    const receipt r = append(records);
    CHECK(r.records.size() == 100);
    CHECK(r.records.back().version == version{99});

    const std::vector<row> read = rows(reading().read_stream({"orders", "k"}));
    REQUIRE(read.size() == 100);
    for (std::size_t i = 0; i < 100; ++i) CHECK(read[i].value == records[i].record.value);
    std::size_t found = 0;
    for (const stored_batch& b : log().partition("orders", 0).read_batches(offset{0}, 1 << 20)) {
        CHECK(b.bytes.size() <= 2000);
        ++found;
    }
    CHECK(found > 5);
    CHECK(found < 50);
}

TEST_CASE_METHOD(every_log, "a bulk of records is one append, whichever partitions it goes to")
{
    topic("orders", 4);
    std::vector<append_record> records;
    for (int i = 0; i < 3000; ++i)
        records.push_back(event("orders", "k" + std::to_string(i % 97), std::to_string(i)));
    const receipt r = append(records);
    REQUIRE(r.records.size() == 3000);
    CHECK(r.records[2999].version == version{2999 / 97});

    std::int64_t i = 0;
    for (const record_view& read : reading().read_all()) {
        if (read.value != std::to_string(i) || read.position != r.first + i) break;
        ++i;
    }
    CHECK(i == 3000);
    CHECK(log().stream_version({"orders", "k5"}) == version{31});
}

TEST_CASE_METHOD(every_log, "keyless records go where the partitioner says, keyed ones by murmur2")
{
    options.partitioner = round_robin_partitioner();
    topic("orders", 3);
    std::vector<std::int32_t> went;
    for (int i = 0; i < 6; ++i)
        went.push_back(append("orders", no_key, "v").records[0].at.partition);
    CHECK(went == std::vector<std::int32_t>{0, 1, 2, 0, 1, 2});
    for (const std::string key : {"a", "b", "c", "order-17"})
        CHECK(append("orders", key, "v").records[0].at.partition == partition_for_key(key, 3));
}

TEST_CASE_METHOD(every_log, "a log takes the user's own partitioner")
{
    options.partitioner = [](std::string_view, std::optional<bytes_view> key, std::int32_t n) {
        return key ? static_cast<std::int32_t>(key->size()) % n : n - 1;
    };
    topic("orders", 4);
    CHECK(append("orders", "12345", "a").records[0].at.partition == 1);
    CHECK(append("orders", no_key, "b").records[0].at.partition == 3);
    CHECK(reading().partition_of({"orders", "12345"}) == 1);
    CHECK(text(log().read_stream({"orders", "12345"})) == "a");
}

TEST_CASE_METHOD(every_log, "a partitioner that answers out of range is told so")
{
    options.partitioner = [](std::string_view, std::optional<bytes_view>, std::int32_t n) {
        return n;
    };
    topic("orders", 4);
    CHECK(complaint_of([&] { return append("orders", "k", "v"); }) ==
          errc::partition_out_of_range);
    CHECK(rows(reading().read_all()).empty());
}

TEST_CASE_METHOD(plain_log, "each of the threads that append at once gets a receipt of its own")
{
    topic("orders", 3);
    constexpr int                      threads = 4, each = 40;
    std::vector<std::vector<receipt>>  got(threads);
    std::vector<std::function<void()>> jobs;
    for (int t = 0; t < threads; ++t)
        jobs.emplace_back([&, t] {
            for (int i = 0; i < each; ++i)
                got[t].push_back(log().append(
                    {.records = {event("orders", "t" + std::to_string(t), std::to_string(i)),
                                 event("orders", no_key, "n")}}));
        });
    const std::uint64_t before = log().statistics().appends;
    at_once(jobs);

    std::set<std::int64_t> firsts;
    for (int t = 0; t < threads; ++t) {
        const stream_id stream{"orders", "t" + std::to_string(t)};
        CHECK(log().stream_version(stream) == version{each});
        for (int i = 0; i < each; ++i) {
            const receipt& r = got[t][i];
            firsts.insert(r.first.value);
            CHECK(r.records[0].version == version{i});
            record_range at = log().read_all(r.first);
            const auto*  v  = at.next();
            REQUIRE(v != nullptr);
            CHECK(v->value == std::to_string(i));
            CHECK(v->key == stream.key);
        }
    }
    CHECK(firsts.size() == threads * each);
    CHECK(rows(log().read_all()).size() == 2 * threads * each);
    const log_statistics s = log().statistics();
    CHECK(s.appends - before == threads * each);
    CHECK(s.groups <= s.appends);
}

// ---- Expected versions. ----------------------------------------------------------------------

TEST_CASE_METHOD(every_log, "an expected version holds or the append is refused")
{
    topic("orders", 2);
    fill(*this, {"orders", "three"}, 3);

    using ev = expected_version;
    struct expectation
    {
        const char* key;
        ev          expected;
        bool        holds;
    };
    const std::vector<expectation> all = {
        {"none", ev::any(), true},
        {"none", ev::no_stream(), true},
        {"none", ev::exists(), false},
        {"none", ev::exactly(version{0}), true},
        {"none", ev::exactly(version{1}), false},
        {"three", ev::any(), true},
        {"three", ev::no_stream(), false},
        {"three", ev::exists(), true},
        {"three", ev::exactly(version{0}), false},
        {"three", ev::exactly(version{2}), false},
        {"three", ev::exactly(version{3}), true},
        {"three", ev::exactly(version{4}), false},
    };
    std::int64_t others = 0;
    for (const expectation& e : all) {
        INFO(e.key << " is " << e.expected.text());
        // Asked of a stream that the append does not write to, so that it stays as it is.
        const position end = log().end_position();
        append_request request{.records = {event("orders", "other", "v")},
                               .expect  = {{{"orders", e.key}, e.expected}}};
        const append_result r = attempt(request);
        CHECK(r.has_value() == e.holds);
        if (r) {
            CHECK(r->first == end);
            CHECK(r->records[0].version == version{others++});
        } else {
            CHECK(r.error().code == errc::wrong_expected_version);
            CHECK(r.error().stream == stream_id{"orders", e.key});
            CHECK(r.error().found_version == version{e.key == std::string{"three"} ? 3 : 0});
            check_complete({r.error().code, r.error().what},
                           {"orders", e.key, e.expected.text()});
            CHECK(log().end_position() == end);
            CHECK(complaint_of([&] { return append(request); }) == errc::wrong_expected_version);
        }
    }
    CHECK(reading().stream_version({"orders", "other"}) == version{others});
    CHECK(log().stream_version({"orders", "three"}) == version{3});
}

TEST_CASE("an expected version is written and read as text")
{
    using ev = expected_version;
    for (const ev e : {ev::any(), ev::exists(), ev::no_stream(), ev::exactly(version{7})})
        CHECK(ev::parse(e.text()) == e);
    CHECK(ev::any().text() == "any");
    CHECK(ev::exists().text() == "exists");
    CHECK(ev::no_stream().text() == "no_stream");
    CHECK(ev::exactly(version{7}).text() == "7");
    CHECK(ev::parse("0") == ev::no_stream());
    for (const char* wrong : {"", "-1", "ANY", "1x", "99999999999999999999"}) {
        const complaint c = complaint_of([&] { return ev::parse(wrong); });
        CHECK(c == errc::invalid_argument);
        CHECK(c.says(wrong));
    }
}

TEST_CASE_METHOD(every_log, "an expected version counts what is committed, not the append itself")
{
    topic("orders", 1);
    const receipt r = append(append_request{
        .records = {event("orders", "k", "a"), event("orders", "k", "b")},
        .expect  = {{{"orders", "k"}, expected_version::no_stream()}}});
    CHECK(r.records[1].version == version{1});
    append(append_request{
        .records = {event("orders", "k", "c"), event("orders", "k", "d")},
        .expect  = {{{"orders", "k"}, expected_version::exactly(version{2})},
                    {{"orders", "k"}, expected_version::exists()}}});
    CHECK(text(reading().read_stream({"orders", "k"})) == "a b c d");
}

TEST_CASE_METHOD(every_log, "of several expected versions each must hold, and the one that does "
                            "not is told")
{
    topic("orders", 2);
    topic("invoices", 1);
    fill(*this, {"orders", "a"}, 2);
    fill(*this, {"invoices", "b"}, 1);

    const auto request = [](std::int64_t a, std::int64_t b) {
        return append_request{
            .records = {event("orders", "a", "x"), event("invoices", "b", "y")},
            .expect  = {{{"orders", "a"}, expected_version::exactly(version{a})},
                        {{"invoices", "b"}, expected_version::exactly(version{b})},
                        {{"orders", "c"}, expected_version::no_stream()}}};
    };
    const append_result first = attempt(request(1, 1));
    REQUIRE(first.has_error());
    CHECK(first.error().stream == stream_id{"orders", "a"});
    CHECK(first.error().found_version == version{2});

    const append_result second = attempt(request(2, 0));
    REQUIRE(second.has_error());
    CHECK(second.error().stream == stream_id{"invoices", "b"});
    CHECK(second.error().found_version == version{1});

    CHECK(attempt(request(2, 1)).has_value());
    CHECK(text(reading().read_stream({"orders", "a"})) == "1 2 x");
    CHECK(text(log().read_stream({"invoices", "b"})) == "1 y");
}

TEST_CASE_METHOD(every_log, "what was refused may be appended when its condition holds")
{
    topic("orders");
    const append_request request{
        .records = {event("orders", "k", "second")},
        .expect  = {{{"orders", "k"}, expected_version::exactly(version{1})}}};
    CHECK(attempt(request).has_error());
    append("orders", "k", "first");
    CHECK(attempt(request).has_value());
    CHECK(attempt(request).has_error());
    CHECK(text(reading().read_stream({"orders", "k"})) == "first second");
}

TEST_CASE_METHOD(every_log, "a refusal thrown says what a refusal returned says")
{
    topic("orders");
    append("orders", "k", "a");
    const append_request request{.records = {event("orders", "k", "b")},
                                 .expect  = {{{"orders", "k"}, expected_version::no_stream()}}};
    const append_result  returned = log().try_append(request);
    REQUIRE(returned.has_error());
    try {
        log().append(request);
        FAIL("not refused");
    } catch (const append_refused& thrown) {
        CHECK(thrown.code() == errc::wrong_expected_version);
        CHECK(thrown.why().stream == returned.error().stream);
        CHECK(thrown.why().found_version == returned.error().found_version);
        CHECK(thrown.what() == returned.error().what);
    }
    CHECK(complaint_of([&] { return log().try_append(request).value(); }) ==
          errc::wrong_expected_version);
    CHECK(log().statistics().refused >= 3);
}

TEST_CASE_METHOD(plain_log, "a condition is checked in the same serialized step that gives the "
                            "positions: of writers who saw one version, one wins")
{
    topic("orders", 2);
    constexpr int                      threads = 4, rounds = 25;
    std::vector<std::vector<bool>>     won(threads);
    std::vector<std::function<void()>> jobs;
    std::vector<std::int64_t>          versions_won[threads];
    for (int t = 0; t < threads; ++t)
        jobs.emplace_back([&, t] {
            // Optimistic writers as services are: read, decide, append; on a conflict again.
            for (int i = 0; i < rounds; ++i)
                for (;;) {
                    const version v = log().stream_version({"orders", "hot"});
                    const auto    r = log().try_append(
                        {.records = {event("orders", "hot", std::to_string(t))},
                         .expect  = {{{"orders", "hot"}, expected_version::exactly(v)}}});
                    if (!r) continue;
                    if (r->records[0].version != v) throw std::logic_error{"not what it saw"};
                    versions_won[t].push_back(v.value);
                    break;
                }
        });
    at_once(jobs);
    std::set<std::int64_t> all;
    for (const auto& mine : versions_won) all.insert(mine.begin(), mine.end());
    CHECK(all.size() == threads * rounds);
    CHECK(reading().stream_version({"orders", "hot"}) == version{threads * rounds});
}

TEST_CASE_METHOD(plain_log, "a refused append leaves the others of its group alone")
{
    topic("orders", 2);
    append("orders", "taken", "v");
    constexpr int                      each = 40;
    std::atomic<int>                   refused = 0;
    std::vector<std::function<void()>> jobs;
    for (int t = 0; t < 4; ++t)
        jobs.emplace_back([&, t] {
            for (int i = 0; i < each; ++i) {
                append_request request{.records = {event("orders", "t" + std::to_string(t), "v")}};
                if (t % 2 == 1)
                    request.expect = {{{"orders", "taken"}, expected_version::no_stream()}};
                if (!log().try_append(request)) ++refused;
            }
        });
    at_once(jobs);
    CHECK(refused == 2 * each);
    CHECK(reading().stream_version({"orders", "t0"}) == version{each});
    CHECK(log().stream_version({"orders", "t1"}) == version{0});
    CHECK(log().stream_version({"orders", "t2"}) == version{each});
    CHECK(log().stream_version({"orders", "t3"}) == version{0});
}
