// SPDX-License-Identifier: Apache-2.0
//
// Kafka's documented examples of range and round-robin; what the sticky ones promise, against
// random groups and, where they are small, against every other way to share.
#include <cairn/log/partition_assignor.hpp>

#include "main/seed.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace cairn::testing {
namespace {

using counts = std::map<std::string, std::int32_t>;
using who    = member_subscription;

constexpr std::array all_assignors{partition_assignor::range, partition_assignor::round_robin,
                                   partition_assignor::sticky,
                                   partition_assignor::cooperative_sticky};

who member(const std::string& id, std::vector<std::string> topics,
           std::vector<topic_partition> owned = {}, std::int32_t generation = -1)
{
    return {id, {}, std::move(topics), std::move(owned), generation};
}

/// "C0: t0-0 t0-1; C1: t1-0"
std::string text(const partition_assignment& a)
{
    std::ostringstream out;
    for (const auto& [id, partitions] : a) {
        out << (out.tellp() > 0 ? "; " : "") << id << ':';
        for (const auto& p : partitions) out << ' ' << p;
    }
    return out.str();
}

/// The members as they are after that assignment.
std::vector<who> after(std::vector<who> members, const partition_assignment& a,
                       std::int32_t generation)
{
    for (auto& m : members) {
        m.owned      = a.at(m.member_id);
        m.generation = generation;
    }
    return members;
}

std::size_t moved(const std::vector<who>& members, const partition_assignment& a)
{
    std::size_t n = 0;
    for (const auto& m : members)
        for (const auto& p : m.owned) {
            const auto& has = a.at(m.member_id);
            n += std::find(has.begin(), has.end(), p) == has.end();
        }
    return n;
}

bool wants(const who& m, const std::string& topic)
{
    return std::find(m.topics.begin(), m.topics.end(), topic) != m.topics.end();
}

}  // namespace

TEST_CASE("range has Kafka's results")
{
    // RangeAssignor's documentation: two members, two topics of three partitions.
    const std::vector members{member("C0", {"t0", "t1"}), member("C1", {"t0", "t1"})};
    CHECK(text(assign(partition_assignor::range, members, {{"t0", 3}, {"t1", 3}})) ==
          "C0: t0-0 t0-1 t1-0 t1-1; C1: t0-2 t1-2");
    // Where there are more members than partitions, the last ones have none.
    CHECK(text(assign(partition_assignor::range,
                      {member("C2", {"t"}), member("C1", {"t"}), member("C0", {"t"})},
                      {{"t", 2}})) == "C0: t-0; C1: t-1; C2:");
    // Each topic is by itself.
    CHECK(text(assign(partition_assignor::range,
                      {member("C0", {"a"}), member("C1", {"a", "b"}), member("C2", {"a"})},
                      {{"a", 3}, {"b", 2}})) == "C0: a-0; C1: a-1 b-0 b-1; C2: a-2");
}

TEST_CASE("round-robin has Kafka's results")
{
    // RoundRobinAssignor's documentation.
    CHECK(text(assign(partition_assignor::round_robin,
                      {member("C0", {"t0", "t1"}), member("C1", {"t0", "t1"})},
                      {{"t0", 3}, {"t1", 3}})) == "C0: t0-0 t0-2 t1-1; C1: t0-1 t1-0 t1-2");
    CHECK(text(assign(
              partition_assignor::round_robin,
              {member("C0", {"t0"}), member("C1", {"t0", "t1"}), member("C2", {"t0", "t1", "t2"})},
              {{"t0", 1}, {"t1", 2}, {"t2", 3}})) == "C0: t0-0; C1: t1-0; C2: t1-1 t2-0 t2-1 t2-2");
}

TEST_CASE("instance ids keep the order of members over restarts")
{
    for (const auto how : {partition_assignor::range, partition_assignor::round_robin}) {
        who a = member("C0", {"t"}), b = member("C1", {"t"}), c = member("A", {"t"});
        a.instance_id     = "I0";
        b.instance_id     = "I1";
        const auto before = assign(how, {a, b, c}, {{"t", 3}});
        CHECK(text(before) == "A: t-2; C0: t-0; C1: t-1");
        a.member_id = "C9";
        CHECK(text(assign(how, {c, b, a}, {{"t", 3}})) == "A: t-2; C1: t-1; C9: t-0");
    }
}

TEST_CASE("sticky moves what it must, and cooperative-sticky in two generations")
{
    const counts     topics{{"t", 6}};
    std::vector<who> members{member("a", {"t"}), member("b", {"t"})};
    const auto       first = assign(partition_assignor::sticky, members, topics);
    CHECK(text(first) == "a: t-0 t-2 t-4; b: t-1 t-3 t-5");
    members = after(members, first, 1);
    members.push_back(member("c", {"t"}));

    CHECK(text(assign(partition_assignor::sticky, members, topics)) ==
          "a: t-0 t-2; b: t-1 t-3; c: t-4 t-5");
    const auto second = assign(partition_assignor::cooperative_sticky, members, topics);
    CHECK(text(second) == "a: t-0 t-2; b: t-1 t-3; c:");
    members = after(members, second, 2);
    CHECK(text(assign(partition_assignor::cooperative_sticky, members, topics)) ==
          "a: t-0 t-2; b: t-1 t-3; c: t-4 t-5");
}

TEST_CASE(
    "of two who own the same partition, the one of the later generation does; of the same "
    "one, neither")
{
    const counts           topics{{"t", 2}};
    const std::vector<who> later{member("a", {"t"}, {{"t", 0}}, 4),
                                 member("b", {"t"}, {{"t", 0}}, 5)};
    CHECK(text(assign(partition_assignor::sticky, later, topics)) == "a: t-1; b: t-0");
    CHECK(text(assign(partition_assignor::cooperative_sticky, later, topics)) == "a: t-1; b: t-0");
    const std::vector<who> same{member("a", {"t"}, {{"t", 0}}, 5),
                                member("b", {"t"}, {{"t", 0}}, 5)};
    CHECK(text(assign(partition_assignor::sticky, same, topics)) == "a: t-0; b: t-1");
    CHECK(text(assign(partition_assignor::cooperative_sticky, same, topics)) == "a:; b: t-1");
}

TEST_CASE("who no longer wants a topic keeps none of it, and gives it up first")
{
    const std::vector<who> members{member("a", {"u"}, {{"t", 0}}, 1), member("b", {"t", "u"})};
    CHECK(text(assign(partition_assignor::sticky, members, {{"t", 1}, {"u", 1}})) ==
          "a: u-0; b: t-0");
    CHECK(text(assign(partition_assignor::cooperative_sticky, members, {{"t", 1}, {"u", 1}})) ==
          "a: u-0; b:");
}

TEST_CASE("chains of moves make loads even where members want different topics")
{
    // c can have only x, which b has all of; b can have y, which a has all of.
    const std::vector<who>   members{member("a", {"y", "z"}, {{"y", 0}, {"y", 1}, {"z", 0}}, 1),
                                   member("b", {"x", "y"}, {{"x", 0}, {"x", 1}}, 1),
                                   member("c", {"x"})};
    const counts             topics{{"x", 2}, {"y", 2}, {"z", 1}};
    const auto               a = assign(partition_assignor::sticky, members, topics);
    std::vector<std::size_t> loads;
    for (const auto& [id, partitions] : a) loads.push_back(partitions.size());
    CHECK(loads == std::vector<std::size_t>{2, 2, 1});
    CHECK(moved(members, a) == 2);
}

TEST_CASE("no members, no topics, and topics that nobody wants")
{
    for (const auto how : all_assignors) {
        CHECK(assign(how, {}, {{"t", 2}}).empty());
        CHECK(text(assign(how, {member("a", {"t"})}, {})) == "a:");
        CHECK(text(assign(how, {member("a", {"t", "t"})}, {{"t", 1}, {"u", 1}})) == "a: t-0");
        CHECK(text(assign(how, {member("a", {"t"})}, {{"t", 0}})) == "a:");
    }
}

TEST_CASE(
    "each partition goes to one member that wants it, whatever the order of the members; "
    "sticky is even, and moves no more than it must")
{
    std::mt19937_64 random{seed()};
    const auto      pick = [&](int from, int to) {
        return std::uniform_int_distribution<int>{from, to}(random);
    };
    for (int round = 0; round < 3'000; ++round) {
        counts topics;
        for (int t = pick(1, 4); t > 0; --t) topics["t" + std::to_string(t)] = pick(0, 9);
        const bool       same = pick(0, 1) == 0;
        std::vector<who> members;
        for (int m = pick(1, 7); m > 0; --m) {
            auto& each = members.emplace_back(member("m" + std::to_string(m), {}));
            if (pick(0, 3) == 0) each.instance_id = "i" + std::to_string(m);
            for (const auto& [t, n] : topics)
                if (same || pick(0, 1) == 0) each.topics.push_back(t);
        }
        // As they have shared before, and some of them by mistake.
        const auto before =
            assign(all_assignors[static_cast<std::size_t>(pick(0, 3))], members, topics);
        if (pick(0, 3) > 0) members = after(members, before, 7);
        if (pick(0, 2) == 0) members.erase(members.begin());
        if (pick(0, 2) == 0 && !members.empty())
            members.push_back(member("new", members[0].topics));
        if (pick(0, 4) == 0)
            for (auto& [t, n] : topics) n += pick(0, 2);
        if (pick(0, 9) == 0 && members.size() > 1) members[1].owned = members[0].owned;

        for (const auto how : all_assignors) {
            const auto a = assign(how, members, topics);
            INFO("CAIRN_SEED=" << seed() << " round " << round << ' ' << name(how) << ' '
                               << text(a));
            auto other_order = members;
            std::shuffle(other_order.begin(), other_order.end(), random);
            REQUIRE(assign(how, other_order, topics) == a);

            std::map<topic_partition, int> owners;
            for (const auto& m : members)
                for (const auto& p : a.at(m.member_id)) {
                    REQUIRE(wants(m, p.topic));
                    ++owners[p];
                }
            for (const auto& [t, n] : topics)
                for (std::int32_t p = 0; p < n; ++p) {
                    const bool wanted = std::any_of(members.begin(), members.end(),
                                                    [&](const auto& m) { return wants(m, t); });
                    const int  times  = owners[{t, p}];
                    if (how == partition_assignor::cooperative_sticky)
                        REQUIRE(times <= wanted);
                    else
                        REQUIRE(times == wanted);
                }
            if (how == partition_assignor::range || how == partition_assignor::round_robin)
                continue;

            const auto even = how == partition_assignor::sticky
                                  ? a
                                  : assign(partition_assignor::sticky, members, topics);
            if (how == partition_assignor::cooperative_sticky)
                for (const auto& m : members)  // it gives up what it must, and gains what is free
                    for (const auto& p : even.at(m.member_id)) {
                        const bool anothers =
                            std::any_of(members.begin(), members.end(), [&](const auto& o) {
                                return o.member_id != m.member_id &&
                                       std::find(o.owned.begin(), o.owned.end(), p) !=
                                           o.owned.end();
                            });
                        const auto& has = a.at(m.member_id);
                        REQUIRE((std::find(has.begin(), has.end(), p) != has.end() || anothers));
                    }
            std::size_t least = SIZE_MAX, most = 0, partitions = 0;
            for (const auto& [id, each] : even) {
                least = std::min(least, each.size());
                most  = std::max(most, each.size());
                partitions += each.size();
            }
            const bool all_same = std::all_of(members.begin(), members.end(), [&](const auto& m) {
                return m.topics == members[0].topics;
            });
            if (!all_same || members.empty()) continue;
            REQUIRE(most - least <= 1);
            // Those who have most keep one more, as many as may.
            std::vector<std::size_t>  kept;
            bool                      shared = false;
            std::set<topic_partition> seen;
            for (const auto& m : members) {
                std::size_t n = 0;
                for (const auto& p : m.owned) {
                    shared = shared || !seen.insert(p).second;
                    n += topics.count(p.topic) > 0 && topics.at(p.topic) > p.partition &&
                         wants(m, p.topic);
                }
                kept.push_back(n);
            }
            if (shared) continue;
            std::sort(kept.rbegin(), kept.rend());
            std::size_t must_move = 0;
            for (std::size_t i = 0; i < kept.size(); ++i) {
                const auto quota =
                    partitions / kept.size() + (i < partitions % kept.size() ? 1 : 0);
                must_move += kept[i] > quota ? kept[i] - quota : 0;
            }
            REQUIRE(moved(members, even) == must_move);
        }
    }
}

TEST_CASE("no chain of moves would make sticky's loads more even")
{
    std::mt19937_64 random{seed()};
    const auto      pick = [&](int from, int to) {
        return std::uniform_int_distribution<int>{from, to}(random);
    };
    for (int round = 0; round < 300; ++round) {
        counts           topics{{"a", pick(0, 2)}, {"b", pick(0, 2)}, {"c", pick(0, 2)}};
        std::vector<who> members;
        for (int m = 0; m < 3; ++m) {
            auto& each = members.emplace_back(member("m" + std::to_string(m), {}));
            for (const auto& [t, n] : topics)
                if (pick(0, 2) > 0) each.topics.push_back(t);
        }
        const auto squares = [](const std::vector<int>& loads) {
            int sum = 0;
            for (const int l : loads) sum += l * l;
            return sum;
        };
        // Every way to share, by counting in the base of the members.
        std::vector<std::string> partitions;
        for (const auto& [t, n] : topics)
            if (std::any_of(members.begin(), members.end(), [&](auto& m) { return wants(m, t); }))
                partitions.insert(partitions.end(), static_cast<std::size_t>(n), t);
        int best = INT32_MAX, ways = 1;
        for (std::size_t i = 0; i < partitions.size(); ++i) ways *= 3;
        for (int way = 0; way < ways; ++way) {
            std::vector<int> loads(3);
            bool             legal = true;
            int              rest  = way;
            for (const auto& t : partitions) {
                const auto m = static_cast<std::size_t>(rest % 3);
                rest /= 3;
                legal = legal && wants(members[m], t);
                ++loads[m];
            }
            if (legal) best = std::min(best, squares(loads));
        }
        std::vector<int> loads;
        const auto       a = assign(partition_assignor::sticky, members, topics);
        for (const auto& [id, each] : a) loads.push_back(static_cast<int>(each.size()));
        INFO("CAIRN_SEED=" << seed() << " round " << round << ' ' << text(a));
        REQUIRE(squares(loads) == best);
    }
}

TEST_CASE("ten thousand partitions are shared among a thousand members")
{
    std::vector<who> members;
    for (int m = 0; m < 1'000; ++m) members.push_back(member("m" + std::to_string(m), {"t", "u"}));
    const counts topics{{"t", 8'000}, {"u", 2'000}};
    members[0].generation = 1;
    for (std::int32_t p = 0; p < 8'000; ++p) members[0].owned.push_back({"t", p});
    for (const auto how : all_assignors) {
        std::size_t shared = 0;
        const auto  a      = assign(how, members, topics);
        for (const auto& [id, each] : a) shared += each.size();
        CHECK(shared ==
              (how == partition_assignor::cooperative_sticky ? std::size_t{2'010} : 10'000));
    }
}

}  // namespace cairn::testing
