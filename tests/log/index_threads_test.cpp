// SPDX-License-Identifier: Apache-2.0
//
// Lookups beside adding, flushing and merging. Under ThreadSanitizer it is a test of the locks.
#include "index_fixture.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <random>
#include <thread>

namespace cairn::testing {
namespace {

constexpr std::int64_t records_in_all = 30'000;
constexpr std::int64_t batch_max      = 20;

/// Records that follow from their number, so that a reader knows what it must find.
class known_records
{
public:
    explicit known_records(const term_hasher& hasher)
    {
        std::mt19937_64                 random{5};
        std::map<std::uint64_t, std::int64_t> counts;
        for (int t = 0; t < 3; ++t)
            types_.push_back(hasher.type(std::to_string(t)));
        for (std::int64_t p = 0; p < records_in_all;) {
            const auto wanted = 1 + static_cast<std::int64_t>(random() % batch_max);
            const auto n      = std::min<std::int64_t>(wanted, records_in_all - p);
            const auto tag = hasher.tag("batch" + std::to_string(batches.size()));
            batches.push_back({p, n, tag});
            for (const auto end = p + n; p < end; ++p) {
                const auto s = random() % (1 + random() % 3000);
                indexed_record r;
                r.position = position{p};
                r.offset   = offset{p};
                r.at       = static_cast<std::uint32_t>(p);
                r.stream   = hasher.stream(1, std::to_string(s));
                r.command  = tag;
                r.terms    = {types_[static_cast<std::size_t>(p % 3)], tag};
                records.push_back(r);
                versions.push_back(version{counts[s]++});
            }
        }
    }

    struct batch
    {
        std::int64_t first;
        std::int64_t count;
        term         tag;
    };
    std::vector<batch>          batches;
    std::vector<indexed_record> records;
    std::vector<version>        versions;

private:
    std::vector<term> types_;
};

class crowd
{
public:
    explicit crowd(bool on_disk)
        : index_{{.directory    = on_disk ? directory_ / "index" : std::string{},
                  .key          = test_key,
                  .merge_fan_in = 3}}
        , known_{index_.hasher()}
    {
    }

    void run()
    {
        std::vector<std::thread> threads;
        threads.emplace_back([this] { maintain([this] { index_.flush(); }, flushed_, added_); });
        threads.emplace_back([this] {
            maintain([this] { index_.merge(); }, merged_, flushed_);
        });
        for (std::uint64_t seed = 0; seed < 2; ++seed)
            threads.emplace_back([this, seed] { read(seed); });
        add();
        for (auto& t : threads)
            t.join();
        REQUIRE(index_.end() == position{records_in_all});
        index_.verify([](const std::string& fault) { FAIL(fault); });
        REQUIRE(wrong_ == 0);
        REQUIRE(index_.statistics().merges > 0);
    }

private:
    void add()
    {
        std::vector<version> got;
        for (std::size_t b = 0; b < known_.batches.size(); ++b) {
            const auto& batch = known_.batches[b];
            std::vector<index_entry> entries;
            for (auto p = batch.first; p < batch.first + batch.count; ++p)
                entries.push_back(known_.records[static_cast<std::size_t>(p)].entry());
            got.resize(entries.size());
            index_.add(entries, got);
            expect(std::equal(got.begin(), got.end(), known_.versions.begin() + batch.first));
            if (b % 40 == 39 || b + 1 == known_.batches.size()) {
                added_.store(static_cast<std::int64_t>(b) + 1, std::memory_order_release);
                added_.notify_all();
            }
        }
    }

    /// Works each time `cause` has gone on, until all is added.
    void maintain(const std::function<void()>& work, std::atomic<std::int64_t>& effect,
                  std::atomic<std::int64_t>& cause)
    {
        for (std::int64_t seen = 0; seen < all_batches();) {
            cause.wait(seen, std::memory_order_acquire);
            seen = cause.load(std::memory_order_acquire);
            work();
            effect.store(seen, std::memory_order_release);
            effect.notify_all();
        }
    }

    void read(std::uint64_t seed)
    {
        std::mt19937_64 random{seed};
        lookup_hint<stream_head> hint;
        while (merged_.load(std::memory_order_acquire) < all_batches()) {
            added_.wait(0, std::memory_order_acquire);
            const auto   batches =
                static_cast<std::uint64_t>(added_.load(std::memory_order_acquire));
            const auto&  batch = known_.batches[random() % batches];
            const auto   p     = static_cast<std::size_t>(batch.first) +
                           random() % static_cast<std::uint64_t>(batch.count);
            look_up(p, hint);
            // One that is perhaps being added: all of it is there or nothing.
            const auto next = std::min<std::uint64_t>(batches + random() % 40,
                                                      known_.batches.size() - 1);
            const auto& coming = known_.batches[next];
            const auto  found  = index_.matches({{{{}, {coming.tag}}}}, position{0},
                                                position{records_in_all}, direction::backward, 99);
            expect(found.empty() || std::ssize(found) == coming.count);
        }
    }

    void look_up(std::size_t p, lookup_hint<stream_head>& hint)
    {
        const auto& r = known_.records[p];
        const auto  v = known_.versions[p];
        const auto  h = index_.head(r.stream);
        expect(h.count > v.value && h.last_position >= r.position);
        hint = {};
        expect(index_.head(r.stream, &hint).count >= h.count);
        expect(index_.head(r.stream, &hint).count >= h.count);
        const auto events = index_.stream(r.stream, v, direction::forward, 1);
        expect(events.size() == 1 && events[0].position == r.position && events[0].at == r.at);
        const query_terms q{{{{r.terms[0]}, {r.terms[1]}}}};
        for (const auto d : {direction::forward, direction::backward})
            expect(index_.matches(q, r.position, r.position.next(), d, 2).size() == 1);
        expect(index_.last_match(q, std::nullopt, r.position.next()) == r.position);
        const auto c = index_.command(r.command);
        expect(c && c->first <= r.position && r.position < c->first + c->count);
    }

    void expect(bool right)
    {
        if (!right) ++wrong_;
    }
    std::int64_t all_batches() const { return std::ssize(known_.batches); }

    temporary_directory       directory_{place::disk};
    index                     index_;
    known_records             known_;
    std::atomic<std::int64_t> added_{0};    // batches
    std::atomic<std::int64_t> flushed_{0};
    std::atomic<std::int64_t> merged_{0};
    std::atomic<int>          wrong_{0};
};

}  // namespace

TEST_CASE("lookups beside adding, flushing and merging are right at every moment")
{
    SECTION("on disk") { crowd{true}.run(); }
    SECTION("in memory") { crowd{false}.run(); }
}

}  // namespace cairn::testing
