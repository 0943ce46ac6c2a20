// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <cairn/log/record_batch.hpp>

#include <range/v3/algorithm/equal.hpp>
#include <range/v3/algorithm/find_if.hpp>
#include <range/v3/range/conversion.hpp>
#include <range/v3/view/filter.hpp>
#include <range/v3/view/take.hpp>
#include <range/v3/view/transform.hpp>

#include <chrono>
#include <future>
#include <algorithm>
#include <numeric>

using namespace contract;
using namespace std::chrono_literals;

namespace {

const auto past   = std::chrono::steady_clock::time_point{};
const auto whenever = 1h;  // a wait that a test needs to be woken from

/// A log with 60 records 0 … 59 in two topics: of stream orders/s in one partition (every third),
/// of another stream and keyless; in appends of 1 to 4 records, one of them a packed batch.
struct sixty_records : every_log
{
    static constexpr std::int64_t count = 60;

    sixty_records()
    {
        topic("orders", 2);
        topic("notes", 1);
        start = log().end_position();
        std::vector<append_record> records;
        for (std::int64_t i = 0; i < count; ++i) {
            const std::string value = std::to_string(i);
            if (i % 3 == 0)
                records.push_back(event("orders", "s", value).type("S").tags({"third"}));
            else if (i % 3 == 1)
                records.push_back(event("orders", "t" + value, value).type("T").in(
                    partition_for_key("t" + value, 2)));
            else
                records.push_back(event("notes", no_key, value).tags({"note"}));
            if (records.size() == static_cast<std::size_t>(1 + i % 4)) {
                append(records);
                records.clear();
            }
        }
        if (!records.empty()) append(records);
    }

    /// "3 6 9": the numbers first, first + step, … while they are in [0, 60).
    static std::string numbers(std::int64_t first, std::int64_t step)
    {
        std::string all;
        for (std::int64_t i = first; i >= 0 && i < count; i += step)
            all += (all.empty() ? "" : " ") + std::to_string(i);
        return all;
    }

    position start;
};

}  // namespace

// ---- Partitions. -----------------------------------------------------------------------------

TEST_CASE_METHOD(every_log, "a partition is read from any offset, and not from beyond its end")
{
    topic("orders", 2);
    for (int i = 0; i < 10; i += 2)
        append({event("orders", "k", std::to_string(i)).in(1),
                event("orders", "k", std::to_string(i + 1)).in(1)});
    reading();
    partition p = log().partition("orders", 1);
    CHECK(p.id() == topic_partition{"orders", 1});
    CHECK(p.start_offset() == offset{0});
    CHECK(p.end_offset() == offset{10});
    for (std::int64_t from = 0; from <= 10; ++from) {
        std::vector<std::int64_t> all(static_cast<std::size_t>(10 - from));
        std::iota(all.begin(), all.end(), from);
        CHECK(offsets(p.read(offset{from})) == all);
        CHECK(offsets(p.try_read(offset{from}).value()) == all);
    }
    for (const std::int64_t wrong : {-1L, 11L, 1'000'000L}) {
        const complaint c = complaint_of([&] { return p.read(offset{wrong}); });
        CHECK(c == errc::offset_out_of_range);
        check_complete(c, {"orders-1", std::to_string(wrong), "10",
                           wrong < 0 ? "begin at 0" : "not there yet"});
        CHECK_FALSE(p.try_read(offset{wrong}));
        CHECK_THROWS_AS(p.read(offset{wrong}), offset_out_of_range);
    }
    CHECK(text(log().partition("orders", 0).read(offset{0})) == "");
}

TEST_CASE_METHOD(every_log, "a partition is read backwards from any offset")
{
    topic("orders");
    for (int i = 0; i < 9; i += 3)
        append({event("orders", "k", "v"), event("orders", no_key, "v"),
                event("orders", "l", "v")});
    reading();
    partition p = log().partition("orders", 0);
    for (std::int64_t from = 0; from < 9; ++from) {
        std::vector<std::int64_t> all(static_cast<std::size_t>(from + 1));
        std::iota(all.rbegin(), all.rend(), 0);
        CHECK(offsets(p.read_backwards(offset{from})) == all);
    }
    CHECK(offsets(p.read_backwards(offset{9})).size() == 9);
    CHECK(offsets(p.read_backwards(offset{1'000'000})).size() == 9);
    topic("empty");
    CHECK(offsets(log().partition("empty", 0).read_backwards(offset{0})).empty());
}

TEST_CASE_METHOD(every_log, "partitions of a topic are handed out in order")
{
    topic("orders", 3);
    append({event("orders", no_key, "a").in(2)});
    reading();
    std::vector<partition> all = log().partitions("orders");
    REQUIRE(all.size() == 3);
    for (std::int32_t p = 0; p < 3; ++p) CHECK(all[p].id() == topic_partition{"orders", p});
    const partition copy = all[2];
    CHECK(copy.end_offset() == offset{1});
    CHECK(all[2].end_offset() == offset{1});
    CHECK(all[0].end_offset() == offset{0});
}

TEST_CASE_METHOD(every_log, "start_offset() <= end_offset(), and neither ever goes back")
{
    topic("orders");
    offset start, end;
    const auto look = [&] {
        const partition p = log().partition("orders", 0);
        CHECK(p.start_offset() >= start);
        CHECK(p.end_offset() >= end);
        CHECK(p.start_offset() <= p.end_offset());
        start = p.start_offset();
        end   = p.end_offset();
    };
    look();
    for (int i = 0; i < 6; ++i) {
        append({event("orders", "k", "v"), event("orders", "k", "v")});
        look();
        if (i % 2 == 1) {
            log().partition("orders", 0).truncate_before(offset{i});
            look();
            roll_and_clean();
            look();
            reading();
            look();
        }
    }
    log().partition("orders", 0).truncate_before(end);
    look();
    CHECK(start == end);
    reopen_without_index();
    look();
}

TEST_CASE_METHOD(every_log, "a fetch gets whole batches, from the one that holds its offset")
{
    topic("orders");
    for (int i = 0; i < 8; ++i)
        append_batch("orders", 0,
                     kafka_batch({event("", "k", std::string(200, static_cast<char>('a' + i))),
                                  event("", "k", "2"), event("", "k", "3")},
                                 {.codec = i % 2 == 0 ? codec::none : codec::zstd}));
    reading();
    partition p = log().partition("orders", 0);
    for (std::int64_t from = 0; from < 24; ++from) {
        INFO(from);
        // However little is asked for, one batch comes.
        for (const std::size_t max_bytes : {std::size_t{0}, std::size_t{1}, std::size_t{100}}) {
            const std::vector<stored_batch> one = p.read_batches(offset{from}, max_bytes);
            REQUIRE(one.size() == 1);
            CHECK(one[0].base <= offset{from});
            CHECK(one[0].end > offset{from});
        }
        // (One call may end where a segment ends; whoever fetches asks again.)
        offset next{from / 3 * 3};
        while (next < offset{24}) {
            const std::vector<stored_batch> some =
                p.read_batches(std::max(next, offset{from}), 1 << 20);
            REQUIRE_FALSE(some.empty());
            for (const stored_batch& b : some) {
                CHECK(b.base == next);
                const auto view = batch_view::parse(b.bytes);
                REQUIRE(view);
                CHECK(view->base_offset() == b.base);
                CHECK(view->bytes().size() == b.bytes.size());
                CHECK(b.end == b.base + view->last_offset_delta() + 1);
                next = b.end;
            }
        }
        CHECK(next == offset{24});
    }
    CHECK(p.read_batches(offset{0}, 700).size() < 8);
    CHECK(p.read_batches(offset{24}, 1 << 20).empty());
    CHECK(complaint_of([&] { return p.read_batches(offset{25}, 1); }) ==
          errc::offset_out_of_range);
}

TEST_CASE_METHOD(every_log, "a stored batch keeps its bytes while it is held, whatever the log "
                            "does")
{
    topic("orders");
    const std::string large(5000, 'y');
    append_batch("orders", 0, kafka_batch({event("", "k", "small")}));
    append_batch("orders", 0, kafka_batch({event("", "k", large)}));
    reading();
    const partition           here = log().partition("orders", 0);
    std::vector<stored_batch> held;
    for (const offset at : {offset{0}, offset{1}}) held.push_back(here.read_batches(at, 1)[0]);
    const std::string was[2] = {std::string{held[0].bytes}, std::string{held[1].bytes}};
    for (int i = 0; i < 5; ++i) {
        append("orders", "k", std::string(3000, 'z'));
        log().merge();
        log().roll_segment();
    }
    log().partition("orders", 0).truncate_before(offset{6});
    log().clean();
    CHECK((held[0].bytes == was[0]));
    CHECK((held[1].bytes == was[1]));
    log().delete_topic("orders");
    roll_and_clean();
    CHECK((held[1].bytes == was[1]));
}

TEST_CASE_METHOD(every_log, "an offset is found by time")
{
    topic("orders");
    topic("empty");
    constexpr std::int64_t t0 = start_of_time;
    append({event("orders", "k", "0").at(t0), event("orders", "k", "1").at(t0 + 10)});
    append({event("orders", "k", "2").at(t0 + 10), event("orders", "k", "3").at(t0 + 5)});
    append({event("orders", "k", "4").at(t0 + 30), event("orders", "k", "5").at(t0 + 20)});
    append({event("orders", "k", "6").at(t0 + 25)});
    append({event("orders", "k", "7").at(t0 + 40)});

    reading();
    const partition p = log().partition("orders", 0);
    using found       = std::optional<std::pair<offset, timestamp>>;
    const std::vector<std::pair<std::int64_t, found>> all = {
        {0, {{offset{0}, timestamp{t0}}}},
        {t0, {{offset{0}, timestamp{t0}}}},
        {t0 + 1, {{offset{1}, timestamp{t0 + 10}}}},
        {t0 + 10, {{offset{1}, timestamp{t0 + 10}}}},
        {t0 + 11, {{offset{4}, timestamp{t0 + 30}}}},
        {t0 + 30, {{offset{4}, timestamp{t0 + 30}}}},
        {t0 + 31, {{offset{7}, timestamp{t0 + 40}}}},
        {t0 + 40, {{offset{7}, timestamp{t0 + 40}}}},
        {t0 + 41, std::nullopt},
    };
    for (const auto& [t, expected] : all) {
        INFO(t - t0);
        CHECK((p.offset_for_time(timestamp{t}) == expected));
    }
    CHECK_FALSE(log().partition("empty", 0).offset_for_time(timestamp{0}));
}

// ---- The whole log, streams, queries. --------------------------------------------------------

TEST_CASE_METHOD(sixty_records, "the whole log is read by position, from anywhere, both ways")
{
    reading();
    for (std::int64_t i = 0; i < count; i += 7) {
        CHECK(text(log().read_all(start + i)) == numbers(i, 1));
        CHECK(text(log().read_all_backwards(start + i)) == numbers(i, -1));
    }
    CHECK(text(log().read_all()) == numbers(0, 1));
    CHECK(text(log().read_all_backwards()) == numbers(count - 1, -1));
    CHECK(text(log().read_all(log().end_position())) == "");
    CHECK(text(log().read_all_backwards(log().end_position() + 100)) == numbers(count - 1, -1));
    CHECK(text(log().read_all_backwards(position{0})) == "");
    const std::vector<row> all = rows(log().read_all());
    for (std::size_t i = 0; i < all.size(); ++i)
        CHECK(all[i].position == start.value + static_cast<std::int64_t>(i));
}

TEST_CASE_METHOD(sixty_records, "a stream is read from any version, both ways")
{
    reading();
    const stream_id s{"orders", "s"};
    CHECK(log().stream_version(s) == version{20});
    for (std::int64_t v = 0; v < 20; ++v) {
        CHECK(text(log().read_stream(s, version{v})) == numbers(3 * v, 3));
        CHECK(text(log().read_stream_backwards(s, version{v})) == numbers(3 * v, -3));
        CHECK(versions(log().read_stream(s, version{v})).front() == v);
        CHECK(versions(log().read_stream_backwards(s, version{v})).back() == 0);
    }
    CHECK(text(log().read_stream_backwards(s)) == numbers(57, -3));
    CHECK(text(log().read_stream(s, version{20})) == "");
    CHECK(text(log().read_stream_backwards(s, version{1000})) == numbers(57, -3));
    CHECK(text(log().read_stream({"orders", "t31"})) == "31");
    CHECK(text(log().read_stream({"orders", "nobody"})) == "");
    CHECK(text(log().read_stream_backwards({"orders", "nobody"})) == "");
    CHECK(log().stream_version({"orders", "nobody"}) == version{0});
}

TEST_CASE_METHOD(sixty_records, "a query is read from any position, both ways")
{
    reading();
    const query thirds{{of_tags({"third"})}}, both{{of_types({"S"}), of_tags({"note"})}};
    for (std::int64_t i = 0; i < count; i += 3) {
        CHECK(text(log().read_query(thirds, start + i)) == numbers(i, 3));
        CHECK(text(log().read_query_backwards(thirds, start + i)) == numbers(i, -3));
        CHECK(text(log().read_query_backwards(thirds, start + i + 2)) == numbers(i, -3));
    }
    CHECK(rows(log().read_query(both)).size() == 40);
    CHECK(text(log().read_query(thirds, log().end_position())) == "");
    CHECK(text(log().read_query_backwards(thirds)) == numbers(57, -3));
    CHECK(log().last_match(thirds) == start + 57);
    CHECK(log().last_match(both) == start + 59);
    CHECK(text(log().read_query(query::all())) == numbers(0, 1));
    CHECK(text(log().read_query_backwards(query::all(), start + 5)) == numbers(5, -1));
}

TEST_CASE_METHOD(sixty_records, "a record says where it is from, and in its stream its version")
{
    reading();
    const stream_id s{"orders", "s"};
    const row       by_stream = rows(log().read_stream(s, version{4})).at(0);
    CHECK(by_stream.version == 4);
    CHECK(by_stream.from == topic_partition{"orders", log().partition_of(s)});
    CHECK(by_stream.position == start.value + 12);

    const row by_query = rows(log().read_query({{of_tags({"third"})}}, start + 12)).at(0);
    const row by_all   = rows(log().read_all(start + 12)).at(0);
    const row by_partition =
        rows(log().partition("orders", by_stream.from.partition).read(offset{by_stream.offset}))
            .at(0);
    for (row same : {by_query, by_all, by_partition}) {
        CHECK(same.version == -1);
        same.version = 4;
        CHECK(same == by_stream);
    }
    CHECK(rows(log().read_stream_backwards(s, version{4})).at(0) == by_stream);
}

// ---- Ranges. ---------------------------------------------------------------------------------

TEST_CASE_METHOD(sixty_records, "a range is up to what was there when it was made, and goes on "
                                "with wait()")
{
    std::vector<record_range> ranges;
    ranges.push_back(log().partition("notes", 0).read(offset{0}));
    ranges.push_back(log().read_all());
    ranges.push_back(log().read_stream({"orders", "s"}));
    ranges.push_back(log().read_query({{of_tags({"third"})}}));
    append({event("notes", no_key, "60"), event("orders", "s", "61").tags({"third"})});

    const std::string were[] = {numbers(2, 3), numbers(0, 1), numbers(0, 3), numbers(0, 3)};
    const std::string more[] = {"60", "60 61", "61", "61"};
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        CHECK(text(ranges[i]) == were[i]);
        CHECK(ranges[i].next() == nullptr);
        CHECK(ranges[i].wait(whenever));
        CHECK(text(ranges[i]) == more[i]);
        CHECK_FALSE(ranges[i].wait(past));
    }
    append({event("orders", "s", "62").tags({"third"}), event("notes", no_key, "63")});
    const std::string last[] = {"63", "62 63", "62", "62"};
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        CHECK(ranges[i].wait(whenever));
        CHECK(text(ranges[i]) == last[i]);
    }
}

TEST_CASE_METHOD(sixty_records, "wait() sees what is new also before the range was read to its end")
{
    record_range r = log().read_stream({"orders", "s"}, version{18});
    REQUIRE(r.next() != nullptr);
    append("orders", "s", "60");
    CHECK(r.wait(whenever));
    CHECK(text(r) == "57 60");
}

TEST_CASE_METHOD(plain_log, "wait() blocks without polling; a record is seen at the first wait() "
                            "after its commit")
{
    topic("orders", 2);
    topic("notes", 1);
    append("orders", "s", "0");
    const stream_id s{"orders", "s"};

    const auto wakes = [&](record_range range, append_record woken_by) {
        text(range);
        std::promise<void> about_to_wait;
        auto               waiter = std::async(std::launch::async, [&] {
            about_to_wait.set_value();
            return range.wait(whenever) ? text(range) : "not woken";
        });
        about_to_wait.get_future().wait();
        append("notes", "somebody", "else");
        append({std::move(woken_by)});
        return waiter.get();
    };
    CHECK(wakes(log().partition("orders", log().partition_of(s)).read(offset{0}),
                event("orders", "s", "1")) == "1");
    CHECK(wakes(log().read_stream(s), event("orders", "s", "2")) == "2");
    CHECK(wakes(log().read_stream({"orders", "new"}), event("orders", "new", "3")) == "3");
    CHECK(wakes(log().read_query({{of({"T"}, {"x"})}}),
                event("orders", no_key, "4").type("T").tags({"x"})) == "4");
    const std::string all = wakes(log().read_all(), event("orders", "s", "5"));
    CHECK((all == "else" || all == "else 5"));
}

TEST_CASE_METHOD(plain_log, "a wait() is not ended by records that are none of its own")
{
    topic("orders", 2);
    record_range stream = log().read_stream({"orders", "s"});
    record_range tagged = log().read_query({{of_tags({"x"})}});
    record_range other  = log().partition("orders", 1).read(offset{0});
    append({event("orders", "t", "v").tags({"y"}).in(0)});
    topic("more");
    log().groups().commit("g", {{.at = {"orders", 0}, .offset = offset{1}}});
    record_range all = log().read_all(log().end_position());
    topic("yet.more");
    CHECK_FALSE(stream.wait(past));
    CHECK_FALSE(tagged.wait(past));
    CHECK_FALSE(other.wait(past));
    CHECK_FALSE(all.wait(past));
}

TEST_CASE_METHOD(plain_log, "stop() ends a wait(), now and later")
{
    topic("orders");
    record_range       range = log().read_all();
    std::promise<void> about_to_wait;
    auto               waiter = std::async(std::launch::async, [&] {
        about_to_wait.set_value();
        return range.wait(whenever);
    });
    about_to_wait.get_future().wait();
    range.stop();
    CHECK_FALSE(waiter.get());
    append("orders", "k", "v");
    CHECK_FALSE(range.wait(whenever));

    record_range stopped_before = log().read_stream({"orders", "k"});
    stopped_before.stop();
    CHECK_FALSE(stopped_before.wait(whenever));
    CHECK(text(stopped_before) == "v");  // what was there is there
}

TEST_CASE_METHOD(plain_log, "close() ends a wait()")
{
    topic("orders");
    record_range       range = log().read_all();
    std::promise<void> about_to_wait;
    auto               waiter = std::async(std::launch::async, [&] {
        about_to_wait.set_value();
        return range.wait(whenever);
    });
    about_to_wait.get_future().wait();
    log().close();
    CHECK_FALSE(waiter.get());
}

TEST_CASE_METHOD(sixty_records, "a range that goes backwards has no more to wait for")
{
    std::vector<record_range> ranges;
    ranges.push_back(log().partition("notes", 0).read_backwards(offset{5}));
    ranges.push_back(log().read_all_backwards());
    ranges.push_back(log().read_stream_backwards({"orders", "s"}));
    ranges.push_back(log().read_query_backwards({{of_tags({"third"})}}));
    append({event("notes", no_key, "60"), event("orders", "s", "61").tags({"third"})});
    for (record_range& r : ranges) {
        CHECK_FALSE(r.wait(whenever));
        CHECK_FALSE(text(r).empty());
        CHECK_FALSE(r.wait(whenever));
        CHECK(r.next() == nullptr);
    }
}

TEST_CASE_METHOD(sixty_records, "a range moves, and goes on where it was")
{
    reading();
    record_range a = log().read_all();
    REQUIRE(a.next() != nullptr);
    record_range b = std::move(a);
    REQUIRE(b.next() != nullptr);
    a = log().read_stream({"orders", "s"}, version{19});
    CHECK(text(a) == "57");
    CHECK(text(b) == numbers(2, 1));
    b = std::move(a);
    CHECK(b.next() == nullptr);
}

TEST_CASE_METHOD(sixty_records, "many ranges go their own ways")
{
    reading();
    std::vector<record_range> ranges;
    for (std::int64_t i = 0; i < 10; ++i) ranges.push_back(log().read_all(start + i));
    for (std::int64_t step = 0; step < 50; ++step)
        for (std::int64_t i = 0; i < 10; ++i) {
            const record_view* r = ranges[static_cast<std::size_t>(i)].next();
            REQUIRE(r != nullptr);
            if (r->position != start + i + step) FAIL(i << " at step " << step);
        }
}

TEST_CASE_METHOD(sixty_records, "ranges work with range-for and range-v3")
{
    namespace views = ranges::views;
    static_assert(ranges::input_range<record_range>);

    reading();
    std::int64_t seen = 0;
    for (const record_view& r : log().read_all()) seen += r.position == start + seen;
    CHECK(seen == count);

    record_range all    = log().read_all();
    const auto   values = all
                        | views::filter([](const record_view& r) { return !r.key.has_value(); })
                        | views::transform([](const record_view& r) {
                              return std::string{r.value.value_or("")};
                          })
                        | views::take(3) | ranges::to<std::vector<std::string>>();
    CHECK(values == std::vector<std::string>{"2", "5", "8"});

    record_range stream = log().read_stream({"orders", "s"});
    const auto   found  = ranges::find_if(
        stream, [](const record_view& r) { return r.version == version{7}; });
    REQUIRE(found != stream.end());
    CHECK(found->value == "21");

    record_range once  = log().read_query({{of_tags({"third"})}});
    record_range twice = log().read_stream({"orders", "s"});
    CHECK(ranges::equal(once, twice, {}, &record_view::position, &record_view::position));
}

TEST_CASE_METHOD(sixty_records, "a record_view is good until the range moves on, whatever the log "
                                "does")
{
    append({event("orders", "s", std::string(5000, 'L')).with("h", "value").tags({"third"})});
    std::vector<record_range> ranges;
    ranges.push_back(log().read_all(start));
    ranges.push_back(log().read_stream({"orders", "s"}));
    ranges.push_back(log().read_query_backwards({{of_tags({"third"})}}));
    ranges.push_back(log().partition("notes", 0).read(offset{3}));

    std::vector<const record_view*> views;
    std::vector<row>                were;
    for (record_range& r : ranges) {
        views.push_back(r.next());
        REQUIRE(views.back() != nullptr);
        were.emplace_back(*views.back());
    }
    for (int i = 0; i < 20; ++i) append("orders", "s", std::string(2000, 'x'));
    log().merge();
    log().roll_segment();
    for (std::int32_t p = 0; p < 2; ++p) {
        partition here = log().partition("orders", p);
        here.truncate_before(here.end_offset());
    }
    log().partition("notes", 0).truncate_before(offset{10});
    roll_and_clean();
    for (std::size_t i = 0; i < views.size(); ++i) CHECK((row{*views[i]} == were[i]));
}

TEST_CASE_METHOD(sixty_records, "a reader that stops reading delays nobody")
{
    record_range stuck     = log().read_all(start + 10);
    record_range stuck_too = log().read_stream({"orders", "s"});
    REQUIRE(stuck.next() != nullptr);
    REQUIRE(stuck_too.next() != nullptr);
    for (int i = 0; i < 30; ++i) append("orders", "s", std::string(3000, 'x'));
    log().merge();
    roll_and_clean();
    CHECK(log().stream_version({"orders", "s"}) == version{50});
    CHECK(stuck.next()->value == "11");
    CHECK(stuck_too.next()->value == "3");
}

// ---- wait_for. -------------------------------------------------------------------------------

TEST_CASE_METHOD(plain_log, "wait_for() waits for a position and all before it")
{
    topic("orders");
    const receipt r = append("orders", "k", "a");
    CHECK(log().wait_for(position{0}, past));
    CHECK(log().wait_for(r.last(), past));
    CHECK_FALSE(log().wait_for(r.last().next(), past));

    std::promise<void> about_to_wait;
    auto               waiter = std::async(std::launch::async, [&] {
        about_to_wait.set_value();
        return log().wait_for(r.last() + 2, std::chrono::steady_clock::now() + whenever);
    });
    about_to_wait.get_future().wait();
    append("orders", "k", "b");
    append("orders", "k", "c");
    CHECK(waiter.get());
}
