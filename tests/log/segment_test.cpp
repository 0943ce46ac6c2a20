// SPDX-License-Identifier: Apache-2.0
//
// The contract of segments, held against those in files and those in memory.
#include <catch2/catch.hpp>

#include "segment_checks.hpp"

#include <atomic>
#include <set>
#include <thread>

using namespace segment_test;

namespace {

// Every way of reading, from everywhere, gives what was written.
void check_reads(const segment& s, const model& m, std::minstd_rand& random)
{
    CHECK(s.end() == m.end);
    check_same(all_of(s), m.all);
    if (m.all.empty()) return;

    std::vector<placed_batch> out, wanted;
    s.read_all_backwards(m.end, everything, out);
    check_same(out, {m.all.rbegin(), m.all.rend()});

    const auto summary = s.summary();
    CHECK(summary.size() == m.by_partition.size());
    for (const auto& [uid, places] : m.by_partition) {
        const auto& mine = summary.at(uid);
        CHECK(mine.first == m.all[places.front()].base);
        CHECK(mine.end == m.all[places.back()].end_offset());
        CHECK(mine.batches == places.size());
        std::uint64_t bytes = 0;
        auto          top = m.all[places.front()].max_timestamp, low = top;
        for (const auto i : places) {
            bytes += m.all[i].bytes.size();
            top = std::max(top, m.all[i].max_timestamp);
            low = std::min(low, m.all[i].max_timestamp);
        }
        CHECK(mine.bytes == bytes);
        CHECK(mine.max_timestamp == top);
        CHECK(mine.min_timestamp == low);

        // Forwards and backwards, from any offset, in pieces of any size.
        for (int round = 0; round < 4; ++round) {
            const offset      from{static_cast<std::int64_t>(random() % (mine.end.value + 2))};
            const read_limits limits{random() % 100'000, 1 + random() % 50};
            wanted.clear();
            for (const auto i : places)
                if (m.all[i].end_offset() > from) wanted.push_back(m.all[i]);
            out.clear();
            for (auto at = from;;) {
                const auto n = s.read(uid, at, limits, out);
                if (n == 0) break;
                at = out.back().end_offset();
            }
            check_same(out, wanted);

            wanted.clear();
            for (const auto i : places)
                if (m.all[i].base <= from) wanted.insert(wanted.begin(), m.all[i]);
            out.clear();
            for (auto at = from;;) {
                const auto n = s.read_backwards(uid, at, limits, out);
                if (n == 0) break;
                at = out.back().base - 1;
            }
            check_same(out, wanted);

            const auto holds = std::find_if(places.begin(), places.end(), [&](std::size_t i) {
                return m.all[i].base <= from && from < m.all[i].end_offset();
            });
            const auto found = s.find(uid, from);
            REQUIRE(found.has_value() == (holds != places.end()));
            if (found) CHECK(same(*found, m.all[*holds]));

            const timestamp t     = low + static_cast<std::int64_t>(random() % (top - low + 3));
            const auto      first = std::find_if(places.begin(), places.end(), [&](std::size_t i) {
                return m.all[i].max_timestamp >= t;
            });
            const auto      at_time = s.offset_for_time(uid, t);
            REQUIRE(at_time.has_value() == (first != places.end()));
            if (at_time) CHECK(*at_time == m.all[*first].base);
        }
    }

    for (int round = 0; round < 20; ++round) {
        const position    from{static_cast<std::int64_t>(random() % (m.end.value + 2))};
        const read_limits limits{random() % 100'000, 1 + random() % 50};
        wanted.clear();
        out.clear();
        for (const auto& b : m.all)
            if (b.end_position() > from) wanted.push_back(b);
        for (auto at = from; s.read_all(at, limits, out) != 0;) at = out.back().end_position();
        check_same(out, wanted);

        wanted.clear();
        out.clear();
        for (const auto& b : m.all)
            if (b.position <= from) wanted.insert(wanted.begin(), b);
        for (auto at = from; s.read_all_backwards(at, limits, out) != 0;)
            at = out.back().position - 1;
        check_same(out, wanted);

        const auto holds = std::find_if(m.all.begin(), m.all.end(), [&](const auto& b) {
            return b.position <= from && from < b.end_position();
        });
        const auto found = s.find(from);
        REQUIRE(found.has_value() == (holds != m.all.end()));
        if (found) CHECK(same(*found, *holds));
    }

    std::vector<std::string> faults;
    s.verify([&](auto, auto, const std::string& what) { faults.push_back(what); });
    CHECK(faults == std::vector<std::string>{});
}

}  // namespace

TEST_CASE("what was appended is read again, in every way and from everywhere", "[segment]")
{
    any_store        store{GENERATE("in memory", "on disk")};
    std::minstd_rand random{seed()};

    for (int round = 0; round < 12; ++round) {
        const position first{round == 0 ? 0 : static_cast<std::int64_t>(random() % 100)};
        auto           s = store->prepare(256 << 20);
        store->publish(s, first, {});
        writer     w{seed() + round, first};
        const auto partitions = 1 + w.random(20);
        const auto appends    = 1 + random() % 12;
        const auto batch_max  = (random() % 3 == 0) ? 90'000u : 1'000u;
        const bool gaps       = random() % 2 == 0;
        for (unsigned a = 0; a < appends; ++a) {
            std::vector<placed_batch> batches;
            const auto                n = 1 + random() % (batch_max > 10'000 ? 10 : 400);
            for (unsigned i = 0; i < n; ++i)
                batches.push_back(w.make(7 + w.random(partitions), random() % batch_max,
                                         w.random(9) + 1,
                                         gaps && random() % 5 == 0 ? random() % 40 : 0));
            append(*s, batches);
        }
        check_reads(*s, w.written(), random);
        CHECK(s->first() == first);

        s->seal();
        CHECK(s->sealed());
        check_reads(*s, w.written(), random);

        if (store.on_disk()) {  // as the next process sees it
            s.reset();
            store.open();
            const auto all = store->open_all();
            REQUIRE(all.size() == 1);
            CHECK(all[0]->sealed());
            CHECK(all[0]->first() == first);
            check_reads(*all[0], w.written(), random);
            store->remove(all[0]);
        } else {
            store->remove(s);
        }
        CHECK(store->open_all().empty());
    }
}

TEST_CASE("batches are appended in the order of positions", "[segment]")
{
    any_store  store{GENERATE("in memory", "on disk")};
    auto       s = store.begin(position{10});
    writer     w{1, position{10}};
    const auto first  = w.make(1, 100);
    const auto second = w.make(1, 100);
    const auto other  = w.make(2, 100);

    append(*s, first);
    CHECK_THROWS_AS(append(*s, first), error);
    append(*s, other);
    CHECK_THROWS_AS(append(*s, second), error);
    CHECK_THROWS_AS(append(*s, std::vector{other, second}), error);
    auto wrong_base = w.make(1, 10);
    wrong_base.base = wrong_base.base + 1;
    CHECK_THROWS_AS(append(*s, wrong_base), error);
    CHECK_THROWS_AS(s->append({}, position{11}), error);
    check_same(all_of(*s), {first, other});
    CHECK(s->end() == other.end_position());
}

TEST_CASE("a batch whose CRC does not hold is not stored", "[segment]")
{
    any_store   store{GENERATE("in memory", "on disk")};
    auto        s = store.begin();
    writer      w;
    auto        b = w.make(1, 100);
    std::string damaged{b.bytes};
    damaged[80] ^= 1;
    b.bytes = damaged;
    try {
        append(*s, b);
        FAIL("it was stored");
    } catch (const error& e) {
        CHECK(e.code() == errc::corrupt_batch);
    }
    CHECK(s->end() == position{0});
    CHECK(all_of(*s).empty());
}

TEST_CASE("a sealed segment never changes", "[segment]")
{
    any_store  store{GENERATE("in memory", "on disk")};
    auto       s = store.begin();
    writer     w;
    const auto b = w.make(1, 100);
    append(*s, b);
    s->seal();
    s->seal();
    CHECK_THROWS_AS(append(*s, w.make(1, 100)), error);
    CHECK_THROWS_AS(s->set_index_slice("x"), error);
    CHECK_FALSE(s->has_room(1));
    check_same(all_of(*s), {b});
}

TEST_CASE("an append may end past its last batch, or have none", "[segment]")
{
    any_store  store{GENERATE("in memory", "on disk")};
    auto       s = store.begin(position{5});
    writer     w{1, position{5}};
    const auto b = w.make(1, 100, 3);
    s->append(std::vector{b}, position{20});
    CHECK(s->end() == position{20});
    s->append({}, position{30});
    CHECK(s->end() == position{30});
    CHECK_FALSE(s->find(position{15}));
    CHECK_FALSE(s->find(position{4}));
    std::vector<placed_batch> out;
    CHECK(s->read_all(position{8}, everything, out) == 0);
    CHECK(s->read_all(position{100}, everything, out) == 0);
    CHECK(s->read_all_backwards(position{4}, everything, out) == 0);
    CHECK(s->read_all_backwards(position{25}, everything, out) == 1);
    if (store.on_disk()) {
        s.reset();
        store.open();
        CHECK(store->open_all().at(0)->end() == position{30});
    }
}

TEST_CASE("append is one transaction: where it does not fit, nothing has changed", "[segment]")
{
    any_store                 store{GENERATE("in memory", "on disk")};
    auto                      s = store.begin(position{0}, 8 << 20);
    writer                    w;
    std::vector<placed_batch> kept{w.make(1, 1000), w.make(2, 5000)};
    append(*s, kept);
    const auto before = s->summary();

    writer                    other{w};
    std::vector<placed_batch> large;
    for (int i = 0; i < 100; ++i) large.push_back(other.make(i % 3, 100'000));
    CHECK_FALSE(s->has_room(10'000'000));
    CHECK_THROWS_AS(append(*s, large), segment_full);
    CHECK(s->end() == w.end());
    CHECK(s->summary().size() == before.size());
    check_same(all_of(*s), kept);

    kept.push_back(w.make(1, 1000));
    append(*s, kept.back());
    check_same(all_of(*s), kept);
}

TEST_CASE("while it has room, an append fits", "[segment]")
{
    any_store        store{GENERATE("in memory", "on disk")};
    std::minstd_rand random{seed()};
    for (int round = 0; round < 6; ++round) {
        auto   s = store->prepare(16 << 20);
        writer w{seed()};
        for (;;) {
            const auto                size       = 1u << (random() % 20);
            const auto                partitions = 1 + w.random(200);
            std::size_t               total      = 0;
            std::vector<placed_batch> batches;
            const std::size_t         aim = 1 + random() % 1'000'000;
            while (total < aim) {
                batches.push_back(w.make(w.random(partitions), w.random(size)));
                total += batches.back().bytes.size();
            }
            if (!s->has_room(total)) break;
            REQUIRE_NOTHROW(append(*s, batches));
        }
        CHECK(s->bytes() > 1 << 20);
    }
}

TEST_CASE("batches handed out stay valid: later appends, sealing, unlinking", "[segment]")
{
    any_store  store{GENERATE("in memory", "on disk")};
    auto       s = store.begin();
    writer     w;
    const auto small = w.make(1, 300);
    const auto large = w.make(1, 50'000);
    append(*s, std::vector{small, large});
    std::vector<placed_batch> held;
    s->read(1, offset{0}, everything, held);
    held.push_back(*s->find(1, small.base));
    held.push_back(*s->find(large.position));

    for (int i = 0; i < 1000; ++i) append(*s, w.make(1 + i % 3, i % 10 == 0 ? 9'000 : 200));
    CHECK(held[0].bytes == small.bytes);
    CHECK(held[1].bytes == large.bytes);

    s->seal();
    s->read(1, large.base, {1, 1}, held);
    store->remove(s);
    s.reset();
    store.open();
    if (store.on_disk()) CHECK(store.files().empty());
    check_same(held, {small, large, small, large, large});
}

TEST_CASE("a segment that was removed can be read by who holds it", "[segment]")
{
    any_store store{GENERATE("in memory", "on disk")};
    auto      s = store.begin();
    writer    w;
    append(*s, std::vector{w.make(1, 300), w.make(2, 30'000)});
    s->seal();
    store->remove(s);
    check_same(all_of(*s), w.written().all);
}

TEST_CASE("a read gives at least one batch, then stops at either limit", "[segment]")
{
    any_store                 store{GENERATE("in memory", "on disk")};
    auto                      s = store.begin();
    writer                    w;
    std::vector<placed_batch> batches;
    for (int i = 0; i < 10; ++i) batches.push_back(w.make(1, 1000 - batch_header_bytes));
    append(*s, batches);

    const auto count = [&](read_limits limits) {
        std::vector<placed_batch> out;
        const auto                n = s->read(1, offset{2}, limits, out);
        CHECK(out.size() == n);
        out.clear();
        CHECK(s->read_all(position{2}, limits, out) == n);
        out.clear();
        CHECK(s->read_backwards(1, offset{7}, limits, out) == n);
        out.clear();
        CHECK(s->read_all_backwards(position{7}, limits, out) == n);
        return n;
    };
    CHECK(count({0, 100}) == 1);
    CHECK(count({999, 100}) == 1);
    CHECK(count({1999, 100}) == 1);
    CHECK(count({2000, 100}) == 2);
    CHECK(count({100'000, 3}) == 3);
    CHECK(count({100'000, 100}) == 8);
}

TEST_CASE("an unknown partition has nothing", "[segment]")
{
    any_store                 store{GENERATE("in memory", "on disk")};
    auto                      s = store.begin();
    writer                    w;
    std::vector<placed_batch> out;
    CHECK(s->read_all(position{0}, everything, out) == 0);
    CHECK(s->read_all_backwards(position{9}, everything, out) == 0);
    append(*s, std::vector{w.make(1, 10), w.make(3, 10)});
    CHECK(s->read(2, offset{0}, everything, out) == 0);
    CHECK(s->read_backwards(2, offset{9}, everything, out) == 0);
    CHECK_FALSE(s->find(2, offset{0}));
    CHECK_FALSE(s->offset_for_time(2, timestamp{0}));
    CHECK(out.empty());
}

TEST_CASE("the slice of the index comes back as it was, however long", "[segment]")
{
    any_store   store{GENERATE("in memory", "on disk")};
    auto        s = store.begin();
    std::string run(3'000'000, '\0');
    for (std::size_t i = 0; i < run.size(); ++i) run[i] = static_cast<char>(i * 7 + i / 1000);
    CHECK(s->index_slice().empty());
    CHECK_FALSE(s->has_index_slice());
    s->set_index_slice(run);
    CHECK(s->index_slice() == run);
    s->set_index_slice("short");
    CHECK(s->index_slice() == "short");
    CHECK(s->has_index_slice());
    s->set_index_slice(run);
    s->seal();
    CHECK(s->index_slice() == run);
    if (store.on_disk()) {
        s.reset();
        store.open();
        CHECK(store->open_all().at(0)->index_slice() == run);
    }
}

TEST_CASE("reads run beside appends and see each batch once and in order", "[segment]")
{
    any_store         store{GENERATE("in memory", "on disk")};
    auto              s       = store.begin();
    constexpr int     appends = 300;
    std::atomic<bool> done{false};
    std::atomic<int>  wrong{0};

    std::vector<std::thread> readers;
    for (int kind = 0; kind < 3; ++kind)
        readers.emplace_back([&, kind] {
            std::vector<placed_batch> kept;  // looked at again when everything has been appended
            std::int64_t              next = 0;
            for (bool last = false;;) {
                last = done;
                std::vector<placed_batch> out;
                if (kind == 0) {
                    s->read_all(position{next}, {20'000, 50}, out);
                } else if (kind == 1) {
                    s->read(1, offset{next}, {20'000, 50}, out);
                } else if (const auto b = s->find(position{next})) {
                    out.push_back(*b);
                }
                for (const auto& b : out) {
                    const auto at = kind == 1 ? b.base.value : b.position.value;
                    if (at != next || b.bytes.empty()) ++wrong;
                    next = at + b.offsets;
                    if (next % 7 == 0) kept.push_back(b);
                }
                if (out.empty() && last) break;
            }
            for (const auto& b : kept)
                if (crc32c(b.bytes.substr(21)) != load_big<std::uint32_t>(b.bytes.data() + 17))
                    ++wrong;
            if (kind != 1 && position{next} != s->end()) ++wrong;
            if (kind == 1 && offset{next} != s->summary().at(1).end) ++wrong;
        });

    writer w;
    for (int i = 0; i < appends; ++i) {
        std::vector<placed_batch> batches;
        for (int k = 0; k < 20; ++k)
            batches.push_back(w.make(1 + k % 3, k == 0 ? 6'000 : 200, 1 + k % 2));
        append(*s, batches);
    }
    done = true;
    for (auto& r : readers) r.join();
    CHECK(wrong == 0);
}

TEST_CASE("a rewritten segment takes the place of those that it replaces", "[segment]")
{
    any_store                             store{GENERATE("in memory", "on disk")};
    writer                                w;
    std::vector<std::shared_ptr<segment>> old;
    for (int i = 0; i < 3; ++i) {
        old.push_back(store.begin(w.end()));
        append(*old.back(), std::vector{w.make(1, 400), w.make(2, 4'000), w.make(1, 40'000)});
        old.back()->seal();
    }
    auto       active = store.begin(w.end());
    const auto newest = w.make(1, 10);
    append(*active, newest);
    const auto all = w.written().all;

    std::vector<placed_batch> held;
    old[2]->read_all(position{0}, everything, held);

    // Half of the first two is forgotten.
    auto s = store->prepare(16 << 20);
    s->append(std::vector{all[0], all[4]}, position{6});
    CHECK_THROWS_AS(store->publish(s, position{0}, std::vector{old[0], old[1]}), error);
    s->seal();
    CHECK_THROWS_AS(store->publish(s, position{0}, std::vector{old[0]}), error);
    store->publish(s, position{0}, std::vector{old[0], old[1]});
    CHECK_THROWS_AS(store->publish(s, position{0}, {}), error);

    const auto check = [&](const std::vector<std::shared_ptr<segment>>& found) {
        REQUIRE(found.size() == 3);
        check_same(all_of(*found[0]), {all[0], all[4]});
        CHECK(found[0]->first() == position{0});
        CHECK(found[0]->end() == position{6});
        check_same(all_of(*found[1]), {all[6], all[7], all[8]});
        check_same(all_of(*found[2]), {newest});
    };
    check(store.on_disk() ? std::vector{s, old[2], active} : store->open_all());

    // Who still reads what was replaced is not disturbed.
    check_same(all_of(*old[0]), {all[0], all[1], all[2]});
    check_same(all_of(*old[1]), {all[3], all[4], all[5]});
    if (store.on_disk()) {
        CHECK(store.files() ==
              std::set<std::string>{"00000000000000000000.seg", "00000000000000000006.seg",
                                    "00000000000000000009.seg", "00000000000000000009.seg-lock"});
        old.clear();
        active.reset();
        s.reset();
        store.open();
        check(store->open_all());
    }
    check_same(held, {all[6], all[7], all[8]});
}
