// SPDX-License-Identifier: Apache-2.0
//
// What is forgotten: by age, by size, by key, by request, with a topic. And what is not: the
// versions of streams, the matches of boundaries, the receipts of commands.
#include "fixture.hpp"

#include <cairn/log/record_batch.hpp>

#include <map>

using namespace contract;

namespace {

constexpr std::int64_t hour = 3'600'000;
constexpr std::int64_t day  = 24 * hour;

struct retention_fixture : every_log
{
    /// Ends the segment, so that what was appended lies in one of its own.
    void seal()
    {
        log().merge();
        log().roll_segment();
    }

    offset start_of(const std::string& topic, std::int32_t partition = 0)
    {
        return log().partition(topic, partition).start_offset();
    }

    std::string text_of(const std::string& topic, std::int32_t partition = 0)
    {
        cairn::partition p = log().partition(topic, partition);
        return text(p.read(p.start_offset()));
    }
};

}  // namespace

// ---- By age. ---------------------------------------------------------------------------------

TEST_CASE_METHOD(retention_fixture, "what is older than retention.ms is removed, oldest first")
{
    topic("orders", 1, {{"retention.ms", std::to_string(hour)}});
    topic("kept", 1);
    append({event("orders", "k", "a"), event("kept", "k", "A")});
    append({event("orders", "k", "b")});
    seal();
    pass(hour / 2);
    append({event("orders", "k", "c"), event("kept", "k", "B")});
    seal();

    log().clean();
    CHECK(text_of("orders") == "a b c");  // nothing is due
    pass(hour / 2 + 1);
    log().clean();
    CHECK(text_of("orders") == "c");
    CHECK(start_of("orders") == offset{2});
    CHECK(text_of("kept") == "A B");
    pass(hour);
    log().clean();
    CHECK(text_of("orders") == "");

    reading();
    CHECK(start_of("orders") == offset{3});
    CHECK(log().partition("orders", 0).end_offset() == offset{3});
    CHECK(append("orders", "k", "d").records[0].offset == offset{3});
    CHECK(text_of("orders") == "d");
    CHECK(text(log().read_all()) == "A B d");
    CHECK(text(log().read_all_backwards()) == "d B A");
}

TEST_CASE_METHOD(retention_fixture, "what was removed is out of range, and its offsets are not "
                                    "given again")
{
    topic("orders", 1, {{"retention.ms", std::to_string(hour)}});
    append("orders", "k", "a");
    append("orders", "k", "b");
    seal();
    pass(2 * hour);
    append("orders", "k", "c");
    roll_and_clean();
    reading();

    const partition p = log().partition("orders", 0);
    CHECK(p.start_offset() == offset{2});
    for (const std::int64_t gone : {0, 1}) {
        const complaint c = complaint_of([&] { return p.read(offset{gone}); });
        CHECK(c == errc::offset_out_of_range);
        check_complete(c, {"orders-0", std::to_string(gone), "2"});
        CHECK_FALSE(p.try_read(offset{gone}));
        CHECK(complaint_of([&] { return p.read_batches(offset{gone}, 100); }) ==
              errc::offset_out_of_range);
    }
    CHECK(text(p.read(offset{2})) == "c");
    CHECK(text(p.read_backwards(offset{9})) == "c");
    CHECK((p.offset_for_time(timestamp{0}) ==
           std::pair{offset{2}, timestamp{start_of_time + 2 * hour}}));
}

TEST_CASE_METHOD(retention_fixture, "a reader in the middle is told that its offset is out of "
                                    "range")
{
    topic("orders", 1, {{"retention.ms", std::to_string(hour)}});
    for (int i = 0; i < 40; ++i) {
        append("orders", "k", std::to_string(i) + std::string(3000, 'x'));
        if (i % 10 == 9) seal();
    }
    record_range reader = log().partition("orders", 0).read(offset{0});
    record_range all    = log().read_all();
    record_range stream = log().read_stream({"orders", "k"});
    record_range down   = log().partition("orders", 0).read_backwards(offset{39});
    for (record_range* r : {&reader, &all, &stream, &down}) REQUIRE(r->next() != nullptr);

    pass(2 * hour);
    append("orders", "k", "new");
    roll_and_clean();
    CHECK(start_of("orders") == offset{40});

    // It may still be served what it holds in hand; then it is told, and never skips.
    const auto finish = [](record_range& r, std::int64_t step) {
        std::int64_t next = -1;
        return complaint_of([&] {
            while (const record_view* v = r.next()) {
                if (next != -1 && v->offset.value != next)
                    throw error{errc::invalid_argument, "skipped"};
                next = v->offset.value + step;
            }
            return 0;
        });
    };
    const complaint c = finish(reader, 1);
    CHECK(c == errc::offset_out_of_range);
    check_complete(c, {"orders-0", "40"});

    // So is the reader of a stream, a query or the whole log: what it folded would have a gap.
    CHECK(finish(stream, 1) == errc::offset_out_of_range);
    CHECK(finish(all, 1) == errc::offset_out_of_range);

    // Whoever begins now begins with what is kept.
    CHECK(text(log().read_stream({"orders", "k"})) == "new");
    CHECK(text(log().read_all()) == "new");
    CHECK(text(log().read_query({{of_types({"T"})}})) == "");

    // Backwards, what was removed is the end.
    try {
        while (down.next() != nullptr) continue;
    } catch (const offset_out_of_range&) {
    }
    CHECK(text(log().read_all()) == "new");
}

TEST_CASE_METHOD(retention_fixture, "records of the future are not removed early, and a clock that "
                                    "goes back removes nothing")
{
    topic("orders", 1, {{"retention.ms", std::to_string(hour)}});
    append({event("orders", "k", "future").at(start_of_time + day)});
    append({event("orders", "k", "now")});
    seal();
    pass(-day);
    roll_and_clean();
    CHECK(text_of("orders") == "future now");
    pass(day + 2 * hour);
    roll_and_clean();
    CHECK(text_of("orders") == "future now");  // what is behind the future one waits for it
    pass(day);
    roll_and_clean();
    CHECK(text_of("orders") == "");
}

TEST_CASE_METHOD(retention_fixture, "an altered retention holds from the next cleaning on")
{
    topic("orders");
    append("orders", "k", "a");
    seal();
    pass(10 * day);
    log().clean();
    CHECK(text_of("orders") == "a");
    topic_config config;
    config.set("retention.ms", "1000");
    log().alter_topic("orders", config);
    log().clean();
    CHECK(text_of("orders") == "");
}

// ---- By size. --------------------------------------------------------------------------------

TEST_CASE_METHOD(retention_fixture, "retention.bytes keeps the newest of each partition")
{
    topic("orders", 2, {{"retention.bytes", "20000"}});
    topic("kept", 1);
    for (int i = 0; i < 40; ++i) {
        append({event("orders", no_key, std::string(1000, 'x')).in(0)});
        if (i % 10 == 0) append({event("orders", no_key, std::string(1000, 'x')).in(1)});
        append({event("kept", no_key, std::string(1000, 'x'))});
        if (i % 4 == 3) seal();
    }
    roll_and_clean();
    reading();
    const topic_description d = log().describe_topic("orders");
    CHECK(d.partitions[0].start > offset{0});
    CHECK(d.partitions[0].end == offset{40});
    // Whole batches, until it fits: not less than is asked for, nor much more.
    CHECK(d.partitions[0].bytes >= 15'000);
    CHECK(d.partitions[0].bytes <= 25'000);
    CHECK(d.partitions[1].start == offset{0});
    CHECK(d.partitions[1].end == offset{4});
    CHECK(start_of("kept") == offset{0});
    CHECK(rows(log().partition("kept", 0).read(offset{0})).size() == 40);
    const auto left = offsets(log().partition("orders", 0).read(d.partitions[0].start));
    CHECK(left.back() == 39);
    CHECK(static_cast<std::int64_t>(left.size()) == 40 - d.partitions[0].start.value);
}

TEST_CASE_METHOD(plain_log, "the starts of all partitions are moved in one commit")
{
    topic("orders", 8, {{"retention.ms", std::to_string(hour)}});
    for (std::int32_t p = 0; p < 8; ++p) append({event("orders", no_key, "x").in(p)});
    log().merge();
    log().roll_segment();
    pass(2 * hour);
    const auto before = log().statistics().groups;
    log().clean();
    CHECK(log().statistics().groups == before + 1);
    for (const partition_description& p : log().describe_topic("orders").partitions)
        CHECK(p.start == offset{1});
    CHECK(text(log().read_all()) == "");
}

TEST_CASE_METHOD(retention_fixture, "cleaning frees what it removes")
{
    topic("orders", 1, {{"retention.ms", std::to_string(hour)}});
    for (int i = 0; i < 30; ++i) append("orders", "k", std::string(20'000, 'x'));
    seal();
    const std::uint64_t before = log().statistics().segment_bytes;
    CHECK(before >= 600'000);
    pass(2 * hour);
    append("orders", "k", "new");
    const std::uint64_t freed = roll_and_clean();
    CHECK(freed >= 500'000);
    const log_statistics after = log().statistics();
    CHECK(after.segment_bytes + 500'000 <= before);
    CHECK(after.cleaned_bytes >= freed);
    CHECK(log().clean() == 0);
    CHECK(text_of("orders") == "new");
}

// ---- By request. -----------------------------------------------------------------------------

TEST_CASE_METHOD(retention_fixture, "truncate_before() makes an offset the oldest kept, at once")
{
    topic("orders", 2);
    for (int i = 0; i < 10; ++i) append({event("orders", "k", std::to_string(i)).in(0)});
    append({event("orders", "k", "other").in(1)});
    log().partition("orders", 0).truncate_before(offset{4});
    CHECK(start_of("orders") == offset{4});
    CHECK(text_of("orders") == "4 5 6 7 8 9");
    CHECK(complaint_of([&] { return log().partition("orders", 0).read(offset{3}); }) ==
          errc::offset_out_of_range);
    CHECK(offsets(log().partition("orders", 0).read_backwards(offset{6})) ==
          std::vector<std::int64_t>{6, 5, 4});

    reopen();
    CHECK(text_of("orders") == "4 5 6 7 8 9");
    log().partition("orders", 0).truncate_before(offset{2});  // it never goes back
    CHECK(start_of("orders") == offset{4});
    reopen_without_index();
    roll_and_clean();
    CHECK(text_of("orders") == "4 5 6 7 8 9");
    CHECK(text_of("orders", 1) == "other");
    CHECK(text(log().read_all()) == "4 5 6 7 8 9 other");

    const complaint c = complaint_of([&] {
        log().partition("orders", 0).truncate_before(offset{11});
        return 0;
    });
    CHECK(c == errc::offset_out_of_range);
    check_complete(c, {"orders-0", "11", "10"});
    log().partition("orders", 0).truncate_before(offset{10});
    CHECK(text_of("orders") == "");
    reading();
    CHECK(append({event("orders", "k", "x").in(0)}).records[0].offset == offset{10});
}

TEST_CASE_METHOD(retention_fixture, "a reader is told also when it was overtaken by request")
{
    topic("orders");
    for (int i = 0; i < 10; ++i) append("orders", "k", std::to_string(i));
    record_range r = log().partition("orders", 0).read(offset{0});
    text(r);
    append("orders", "k", "10");
    append("orders", "k", "11");
    log().partition("orders", 0).truncate_before(offset{12});
    CHECK(complaint_of([&] {
              (void)r.wait(std::chrono::steady_clock::time_point{});
              while (r.next() != nullptr) continue;
              return 0;
          }) == errc::offset_out_of_range);
}

// ---- By key. ---------------------------------------------------------------------------------

TEST_CASE_METHOD(retention_fixture, "compaction keeps the newest of each key, where it was")
{
    topic("table", 1, {{"cleanup.policy", "compact"}});
    topic("other", 1);
    append({event("table", "k1", "a"), event("table", "k2", "b"), event("other", "k1", "O")});
    append({event("table", "k1", "c"), event("table", "k3", "d"), event("table", "k1", "e")});
    append("table", "k2", "f");
    roll_and_clean();
    reading();

    CHECK(text_of("table") == "d e f");
    CHECK(offsets(log().partition("table", 0).read(offset{0})) ==
          std::vector<std::int64_t>{3, 4, 5});
    CHECK(start_of("table") == offset{0});  // compaction leaves it, as Kafka does
    CHECK(text(log().partition("table", 0).read(offset{1})) == "d e f");
    CHECK(text(log().partition("table", 0).read(offset{4})) == "e f");
    CHECK(text(log().partition("table", 0).read_backwards(offset{5})) == "f e d");
    CHECK(text(log().read_all()) == "O d e f");
    CHECK(text(log().read_all_backwards()) == "f e d O");
    CHECK(text_of("other") == "O");
    const std::vector<row> all = rows(log().read_all());
    for (std::size_t i = 1; i < all.size(); ++i) CHECK(all[i].position > all[i - 1].position);
}

TEST_CASE_METHOD(retention_fixture, "the newest of a key counts wherever it is, also where not "
                                    "yet sealed")
{
    topic("table", 1, {{"cleanup.policy", "compact"}});
    append("table", "k1", "a");
    append("table", "k2", "b");
    seal();
    append("table", "k1", "c");
    seal();
    append("table", "k2", "d");
    append("table", "k1", "e");
    roll_and_clean();
    CHECK(text_of("table") == "d e");
    for (int i = 0; i < 5; ++i) {
        append("table", "k1", std::to_string(i));
        roll_and_clean();
    }
    reading();
    CHECK(text_of("table") == "d 4");
}

TEST_CASE_METHOD(retention_fixture, "garbage that compaction saw once is removed later, when it "
                                    "was not at once")
{
    options.segment_bytes_max = 512 << 10;
    topic("table", 1, {{"cleanup.policy", "compact"}});
    // A small segment with garbage, which is rewritten first; then a large one.
    append("table", "a", "1");
    append("table", "a", "2");
    seal();
    for (int i = 0; i < 12; ++i)
        append("table", "k" + std::to_string(i % 8), std::to_string(i) + std::string(30'000, 'x'));
    roll_and_clean();
    reading();
    CHECK(offsets(log().partition("table", 0).read(offset{0})) ==
          std::vector<std::int64_t>{1, 6, 7, 8, 9, 10, 11, 12, 13});
}

TEST_CASE_METHOD(plain_log, "what the cleaner leaves alone because it is little, clean() removes")
{
    options.segment_bytes_max = 512 << 10;
    options.cleanup_interval  = std::chrono::milliseconds{5};
    topic("old", 1, {{"retention.ms", std::to_string(hour)}});
    topic("table", 1, {{"cleanup.policy", "compact"}});
    append("old", "k", "x");
    log().roll_segment();
    for (int i = 0; i < 10; ++i)
        append("table", "k" + std::to_string(i % 8), std::to_string(i) + std::string(30'000, 'x'));
    log().roll_segment();

    // The cleaner is there when it removes the old one; clean() waits until it is through.
    pass(2 * hour);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    while (log().partition("old", 0).start_offset() == offset{0} &&
           std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
    REQUIRE(log().partition("old", 0).start_offset() == offset{1});
    log().clean();
    CHECK(offsets(log().partition("table", 0).read(offset{0})) ==
          std::vector<std::int64_t>{2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE_METHOD(retention_fixture, "a tombstone is kept for delete.retention.ms, then goes too")
{
    topic("table", 1,
          {{"cleanup.policy", "compact"}, {"delete.retention.ms", std::to_string(hour)}});
    append("table", "k1", "a");
    append("table", "k2", "b");
    append("table", "k1", null);
    seal();
    append("table", "k3", "c");
    roll_and_clean();
    CHECK(text_of("table") == "b null c");

    pass(hour / 2);
    append("table", "k3", "d");
    roll_and_clean();
    CHECK(text_of("table") == "b null d");

    reopen();
    pass(hour);
    append("table", "k3", "e");
    roll_and_clean();
    pass(hour);
    append("table", "k3", "f");
    roll_and_clean();
    reading();
    CHECK(text_of("table") == "b f");
    CHECK(log().stream_version({"table", "k1"}) == version{2});
}

TEST_CASE_METHOD(retention_fixture, "a partition ends where it did when its last record is gone")
{
    topic("table", 1, {{"cleanup.policy", "compact"}, {"delete.retention.ms", "0"}});
    append("table", "k1", "a");
    append("table", "k1", null);
    for (int i = 0; i < 3; ++i) {
        seal();
        pass(1);
        log().clean();
    }
    CHECK(text_of("table") == "");
    CHECK(log().partition("table", 0).end_offset() == offset{2});
    reopen_without_index();
    CHECK(log().partition("table", 0).end_offset() == offset{2});
    CHECK(text_of("table") == "");
    CHECK(append("table", "k2", "b").records[0].offset == offset{2});
    CHECK(text_of("table") == "b");
}

TEST_CASE_METHOD(retention_fixture, "what a producer sent last is known when its batch is gone")
{
    topic("table", 1, {{"cleanup.policy", "compact"}});
    topic("orders", 1);
    const auto batch = [](std::int32_t sequence) {
        return kafka_batch({event("", "k", std::to_string(sequence))},
                           {.producer_id = 7, .producer_epoch = 0, .base_sequence = sequence});
    };
    for (const char* name : {"table", "orders"}) {
        append_batch(name, 0, batch(0));
        append_batch(name, 0, batch(1));
    }
    seal();
    append("table", "k", "x");
    append("orders", "k", "x");
    log().partition("orders", 0).truncate_before(offset{2});
    roll_and_clean();
    CHECK(text_of("table") == "x");
    CHECK(text_of("orders") == "x");
    CHECK(log().clean() == 0);

    reopen_without_index();
    for (const char* name : {"table", "orders"}) {
        CHECK(complaint_of([&] { return append_batch(name, 0, batch(1)); }) ==
              errc::command_reused);
        CHECK(complaint_of([&] { return append_batch(name, 0, batch(3)); }) ==
              errc::out_of_order_sequence);
        CHECK_FALSE(append_batch(name, 0, batch(2)).repeated);
    }
    CHECK(text_of("table") == "x 2");
    CHECK(text_of("orders") == "x 2");
}

TEST_CASE_METHOD(retention_fixture, "what is younger than min.compaction.lag.ms is left alone")
{
    topic("table", 1,
          {{"cleanup.policy", "compact"}, {"min.compaction.lag.ms", std::to_string(hour)}});
    append("table", "k", "a");
    append("table", "k", "b");
    seal();
    pass(hour / 2);
    append("table", "k", "c");
    roll_and_clean();
    CHECK(text_of("table") == "a b c");
    pass(hour / 2 + 1);
    append("table", "k", "d");
    roll_and_clean();
    // a and b are old enough to go; what replaces them may be as young as it is.
    CHECK(text_of("table") == "c d");
    pass(2 * hour);
    roll_and_clean();
    CHECK(text_of("table") == "d");
}

TEST_CASE_METHOD(retention_fixture, "compact,delete is both")
{
    topic("table", 1,
          {{"cleanup.policy", "compact,delete"}, {"retention.ms", std::to_string(hour)}});
    append("table", "k1", "a");
    append("table", "k2", "b");
    append("table", "k1", "c");
    roll_and_clean();
    CHECK(text_of("table") == "b c");
    pass(2 * hour);
    append("table", "k3", "d");
    roll_and_clean();
    reading();
    CHECK(text_of("table") == "d");
}

TEST_CASE_METHOD(retention_fixture, "compaction looks into packed batches, and packs what is left")
{
    topic("table", 1, {{"cleanup.policy", "compact"}});
    for (const codec c : {codec::gzip, codec::snappy, codec::lz4, codec::zstd})
        append_batch("table", 0,
                     kafka_batch({event("", "same", "s"),
                                  event("", "k" + std::to_string(static_cast<int>(c)),
                                        std::string(500, 'x')),
                                  event("", "same", "t")},
                                 {.codec = c}));
    roll_and_clean();
    reading();
    const std::vector<row> left = rows(log().partition("table", 0).read(offset{0}));
    REQUIRE(left.size() == 5);
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(left[i].offset == static_cast<std::int64_t>(3 * i + 1));
        CHECK(left[i].value == std::string(500, 'x'));
    }
    CHECK(left[4].offset == 11);
    CHECK(left[4].value == "t");
    for (const stored_batch& b : log().partition("table", 0).read_batches(offset{0}, 1 << 20)) {
        const auto view = batch_view::parse(b.bytes);
        REQUIRE(view);
        CHECK(view->codec() != codec::none);
        CHECK(view->base_offset() == b.base);
    }
    CHECK(log().partition("table", 0).end_offset() == offset{12});
}

TEST_CASE_METHOD(retention_fixture, "a stream that was compacted is read by its versions still")
{
    topic("table", 1, {{"cleanup.policy", "compact"}});
    for (int i = 0; i < 5; ++i) append("table", "k", std::to_string(i));
    roll_and_clean();
    reading();
    CHECK(log().stream_version({"table", "k"}) == version{5});
    CHECK(text(log().read_stream({"table", "k"})) == "4");
    CHECK(versions(log().read_stream({"table", "k"})) == std::vector<std::int64_t>{4});
    CHECK(text(log().read_stream({"table", "k"}, version{3})) == "4");
    CHECK(text(log().read_stream_backwards({"table", "k"})) == "4");
    CHECK(text(log().read_stream_backwards({"table", "k"}, version{3})) == "");
    append("table", "k", "5");
    CHECK(versions(log().read_stream({"table", "k"})) == std::vector<std::int64_t>{4, 5});
}

// ---- What is never forgotten. ----------------------------------------------------------------

TEST_CASE_METHOD(retention_fixture, "a range over a stream or a query says how many of its records "
                                    "are gone")
{
    const std::vector<std::string> hot{"hot"};
    topic("orders", 1, {{"retention.ms", std::to_string(hour)}});
    topic("table", 1, {{"cleanup.policy", "compact"}});
    topic("lost", 1);
    append({event("orders", "k", "a").tags(hot), event("orders", "j", "b").tags(hot)});
    append({event("table", "k", "c").tags(hot), event("table", "k", "d").tags(hot)});
    append({event("lost", "k", "e").tags(hot), event("lost", "k", "f")});
    const auto removed = [&](record_range r) {
        (void)text(r);
        return r.removed();
    };
    CHECK(removed(log().read_query({{of_tags(hot)}})) == 0);
    CHECK(removed(log().read_stream({"orders", "k"})) == 0);

    seal();
    pass(2 * hour);
    append({event("orders", "k", "g").tags(hot), event("orders", "k", "h").tags(hot)});
    roll_and_clean();
    log().delete_topic("lost");
    reading();
    record_range query_of_all = log().read_query({{of_tags(hot)}});
    CHECK(text(query_of_all) == "d g h");
    CHECK(query_of_all.removed() == 4);  // a, b, c and e
    CHECK(removed(log().read_query_backwards({{of_tags(hot)}})) == 4);
    CHECK(removed(log().read_stream({"orders", "k"})) == 1);
    CHECK(removed(log().read_stream({"orders", "k"}, version{1})) == 0);
    CHECK(removed(log().read_stream({"orders", "j"})) == 1);
    CHECK(removed(log().read_stream({"table", "k"})) == 1);
    CHECK(removed(log().read_stream({"orders", "nobody"})) == 0);
    CHECK(removed(log().partition("orders", 0).read(offset{2})) == 0);
    CHECK(removed(log().read_all()) == 0);
    // It goes over the log's own records too.
    CHECK(removed(log().read_query(query::all())) == 0);

    // What comes later than what is looked at is not gone yet.
    record_range first = log().read_query({{of_tags(hot)}});
    CHECK(first.removed() == 0);
    CHECK(first.next()->value == "d");
    CHECK(first.removed() == 3);
}

TEST_CASE_METHOD(retention_fixture, "retention never weakens a condition")
{
    topic("users", 1, {{"retention.ms", std::to_string(hour)}});
    topic("table", 1, {{"cleanup.policy", "compact"}});
    topic("cut", 1);
    for (int i = 0; i < 3; ++i) {
        append({event("users", "u", "v").type("Registered").tags({"email:ann"})});
        append({event("table", "t", "v").tags({"table:1", "n:" + std::to_string(i)})});
        append({event("cut", "c", "v").tags({"cut:1"})});
    }
    const append_request command{.records    = {event("users", "cmd", "v")},
                                 .command_id = "c-1"};
    const receipt        first = append(command);
    const position       newest = *log().last_match({{of_tags({"email:ann"})}});
    seal();
    pass(2 * hour);
    append("users", "other", "v");
    log().partition("cut", 0).truncate_before(offset{3});
    roll_and_clean();

    const auto holds = [&] {
        CHECK(text(log().read_query({{of_tags({"email:ann"})}})) == "");
        CHECK(text(log().read_stream({"users", "u"})) == "");
        CHECK(text(log().read_stream({"cut", "c"})) == "");
        CHECK(text(log().read_query({{of_tags({"n:0"})}})) == "");

        for (const stream_id& s : {stream_id{"users", "u"}, {"table", "t"}, {"cut", "c"}}) {
            INFO(s);
            CHECK(log().stream_version(s) == version{3});
            CHECK(log().try_append(
                      {.records = {event("users", "x", "v")},
                       .expect  = {{s, expected_version::no_stream()}}}).has_error());
        }
        for (const query& q :
             {query{{of_tags({"email:ann"})}}, query{{of_types({"Registered"})}},
              query{{of({"Registered"}, {"email:ann"})}}, query{{of_tags({"table:1", "n:0"})}},
              query{{of_tags({"cut:1"})}}}) {
            const append_result r = log().try_append({.records    = {event("users", "x", "v")},
                                                      .boundaries = {{q, std::nullopt}}});
            REQUIRE(r.has_error());
            CHECK(r.error().code == errc::boundary_crossed);
            CHECK(log().last_match(q).has_value());
        }
        CHECK(log().last_match({{of_tags({"email:ann"})}}) == newest);
        // The command was recorded, and stays so; what its receipt was made of is gone.
        const position  end   = log().end_position();
        const complaint again = complaint_of([&] { return log().append(command); });
        CHECK(again == errc::command_reused);
        check_complete(again, {std::to_string(first.first.value)});
        CHECK(log().end_position() == end);
    };
    holds();
    reopen();
    holds();
    reopen_without_index();
    holds();
    for (int i = 0; i < 3; ++i) {
        pass(2 * hour);
        append("users", "other", "v");
        roll_and_clean();
    }
    holds();
    reopen_without_index();
    holds();
    CHECK(append("users", "u", "v").records[0].version == version{3});
    CHECK(append("table", "t", "v").records[0].version == version{3});
    CHECK(append("cut", "c", "w").records[0].version == version{3});
    CHECK(text(reading().read_stream({"cut", "c"})) == "w");
    CHECK(versions(log().read_stream({"cut", "c"})) == std::vector<std::int64_t>{3});
}

TEST_CASE_METHOD(retention_fixture, "a boundary over everything counts what was removed, also with "
                                    "its topic, and not the log's own records")
{
    topic("orders", 1);
    topic("kept", 1);
    CHECK(log().last_match(query::all()) == std::nullopt);
    append("orders", no_key, "a");  // it leaves no other trace
    const position last = append("orders", no_key, "b").last();
    const auto     holds = [&] {
        CHECK(log().last_match(query::all()) == last);
        const append_result r = log().try_append(
            {.records = {event("kept", "k", "v")}, .boundaries = {{query::all(), last - 1}}});
        REQUIRE(r.has_error());
        CHECK(r.error().found_position == last);
    };
    seal();
    log().partition("orders", 0).truncate_before(offset{2});
    roll_and_clean();
    holds();
    log().delete_topic("orders");
    roll_and_clean();
    holds();
    reopen_without_index();
    holds();
    CHECK(log().try_append(
        {.records = {event("kept", "k", "v")}, .boundaries = {{query::all(), last}}})
              .has_value());
}

TEST_CASE_METHOD(retention_fixture, "offsets are dense when given; compaction and retention leave "
                                    "the others at their offsets")
{
    topic("table", 2, {{"cleanup.policy", "compact"}});
    std::map<std::string, row> newest;
    for (int i = 0; i < 60; ++i) {
        const std::string key = "k" + std::to_string(i * i % 11);
        append({event("table", key, std::to_string(i))});
        record_range r = log().read_all_backwards();
        newest.insert_or_assign(key, row{*r.next()});
        if (i % 20 == 19) roll_and_clean();
    }
    roll_and_clean();
    reading();
    const std::vector<row> left = rows(log().read_all());
    CHECK(left.size() == newest.size());
    for (const row& r : left) CHECK(r == newest.at(*r.key));
    CHECK(log().partition("table", 0).end_offset().value +
              log().partition("table", 1).end_offset().value == 60);
}

TEST_CASE_METHOD(retention_fixture, "a record never changes, and what is left of the log is read "
                                    "while it is cleaned")
{
    topic("orders", 1);
    topic("table", 1, {{"cleanup.policy", "compact"}});
    for (int i = 0; i < 60; ++i) {
        append({event("orders", "o", std::to_string(i)), event("table", "k", "v")});
        if (i % 15 == 14) seal();
    }
    const std::vector<row> before = rows(log().partition("orders", 0).read(offset{0}));
    {
        record_range     slow = log().partition("orders", 0).read(offset{0});
        std::vector<row> during;
        for (int i = 0; i < 30; ++i) during.emplace_back(*slow.next());
        roll_and_clean();
        while (const record_view* r = slow.next()) during.emplace_back(*r);
        CHECK((during == before));
    }
    CHECK((rows(reading().partition("orders", 0).read(offset{0})) == before));
}
