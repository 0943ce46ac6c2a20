// SPDX-License-Identifier: Apache-2.0
//
// What is acknowledged and not yet in a segment, beside a plain list of it.
#include "engine/tail.hpp"

#include "main/seed.hpp"
#include "segment_checks.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <vector>

using namespace segment_test;

namespace {

/// A tail, what is in it, and where its groups end.
struct a_tail
{
    std::minstd_rand          random{seed()};
    writer                    w{seed()};
    tail                      t;
    std::vector<placed_batch> there;
    std::vector<position>     group_ends;

    void push()
    {
        std::vector<placed_batch> group;
        for (auto n = 1 + random() % 5; n > 0; --n)
            group.push_back(w.make(1 + w.random(3), random() % 500, 1 + w.random(3)));
        there.insert(there.end(), group.begin(), group.end());
        group_ends.push_back(w.end());
        t.push(group);
    }

    std::vector<placed_batch> trim(position merged)
    {
        std::vector<placed_batch> gone;
        while (!there.empty() && there.front().end_position() <= merged) {
            gone.push_back(there.front());
            there.erase(there.begin());
        }
        std::erase_if(group_ends, [&](position end) { return end <= merged; });
        check_same(t.trim(merged), gone);
        return gone;
    }

    std::vector<placed_batch> all() const
    {
        std::vector<placed_batch> found;
        t.read_all(position{0}, everything, found);
        return found;
    }
};

}  // namespace

TEST_CASE("in the tail batches are in the order of positions, without a hole, whole groups at a "
          "time")
{
    a_tail x;
    for (int round = 0; round < 400; ++round) {
        x.push();
        const auto all = x.all();
        check_same(all, x.there);
        CHECK(x.t.first(x.w.end()) == x.there.front().position);
        for (std::size_t i = 1; i < all.size(); ++i)
            REQUIRE(all[i].position == all[i - 1].end_position());
        REQUIRE(all.back().end_position() == x.w.end());

        // What is merged next ends where a group does, whatever was asked for.
        std::vector<placed_batch> oldest;
        const auto                bytes = x.random() % 3'000;
        const auto                end   = x.t.oldest(bytes, oldest);
        REQUIRE(std::count(x.group_ends.begin(), x.group_ends.end(), end) == 1);
        REQUIRE(!oldest.empty());
        CHECK(oldest.back().end_position() == end);
        check_same(oldest, {x.there.begin(),
                            x.there.begin() + static_cast<std::ptrdiff_t>(oldest.size())});

        if (round % 3 == 0) x.trim(end);
    }
}

TEST_CASE("trimming a tail takes what is in a segment, and nothing else")
{
    a_tail x;
    for (int round = 0; round < 300; ++round) {
        x.push();
        x.push();
        const auto first  = x.t.first(x.w.end()).value;
        const auto behind = x.w.end().value - first;
        // Anywhere: also within a group, and within a batch, which then is not all in a segment.
        x.trim(position{first + static_cast<std::int64_t>(x.random()) % (behind + 1)});
        check_same(x.all(), x.there);

        std::uint64_t bytes = 0;
        for (const auto& b : x.there) bytes += b.bytes.size();
        CHECK(x.t.bytes() == bytes);
        CHECK(x.t.empty() == x.there.empty());
        CHECK(x.t.first(x.w.end()) ==
              (x.there.empty() ? x.w.end() : x.there.front().position));
        for (const std::uint32_t uid : {1u, 2u, 3u}) {
            std::vector<placed_batch> mine, found;
            for (const auto& b : x.there)
                if (b.partition_uid == uid) mine.push_back(b);
            x.t.read(uid, offset{0}, everything, found);
            check_same(found, mine);
            CHECK(x.t.first(uid) ==
                  (mine.empty() ? std::nullopt : std::optional{mine.front().base}));
        }
    }
}
