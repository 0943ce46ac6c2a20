// SPDX-License-Identifier: Apache-2.0
//
// Members of a group in one process: promise by promise with a clock of their own, and with
// threads.
#include <cairn/log/group_member.hpp>

#include "main/complaint.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cairn::testing {
namespace {

using namespace std::chrono_literals;
using partitions = std::vector<topic_partition>;

/// A log with a topic of four partitions, and the groups of a process with a clock of their own.
struct process_with_groups
{
    commit_log                 log = commit_log::in_memory();
    group_coordinator::instant now{1'000s};
    local_group_coordinator    groups{log, {}, [this] { return now; }};

    process_with_groups() { log.create_topic("orders", 4); }

    static member_options options(partition_assignor assignor = partition_assignor::range)
    {
        member_options o;
        o.group    = "billing";
        o.topics   = {"orders"};
        o.assignor = assignor;
        return o;
    }
    group_member member(member_options o = options()) { return {groups, std::move(o)}; }
    group_member instance(const std::string& id)
    {
        auto o        = options();
        o.instance_id = id;
        return member(o);
    }

    static partitions orders(std::vector<std::int32_t> numbers)
    {
        partitions all;
        for (const auto n : numbers) all.push_back({"orders", n});
        return all;
    }
    group_state state() const { return groups.describe("billing").state; }

    /// Polls all until none has anything to say twice in a row.
    template <class... Members>
    static void settle(Members&... members)
    {
        const std::array all{&members...};
        for (std::size_t quiet = 0, rounds = 0; quiet < 3; ++rounds) {
            REQUIRE(rounds < 100);
            bool any = false;
            for (auto* m : all) any = m->poll().any() || any;
            quiet = any ? 0 : quiet + 1;
        }
    }
    template <class... Members>
    static partitions all_of(Members&... members)
    {
        partitions all;
        for (auto* m : std::array{&members...})
            all.insert(all.end(), m->assignment().begin(), m->assignment().end());
        std::sort(all.begin(), all.end());
        return all;
    }
    static std::vector<committed_offset> at(std::int32_t partition, std::int64_t where)
    {
        return {{.at = {"orders", partition}, .offset = offset{where}}};
    }
};

}  // namespace

TEST_CASE_METHOD(process_with_groups, "a member that is alone has everything after one poll")
{
    auto a = member();
    CHECK(a.generation() == -1);
    CHECK(a.poll() == assignment_change{orders({0, 1, 2, 3}), {}, {}});
    CHECK(a.assignment() == orders({0, 1, 2, 3}));
    CHECK(a.generation() == 0);
    CHECK(log.groups().generation("billing") == 0);
    CHECK_FALSE(a.poll().any());
    CHECK(state() == group_state::stable);
    CHECK(groups.describe("billing").members[0].who.member_id == a.member_id());
}

TEST_CASE_METHOD(process_with_groups, "members share partitions, and who leaves gives its back")
{
    const auto how = GENERATE(partition_assignor::range, partition_assignor::round_robin,
                              partition_assignor::sticky, partition_assignor::cooperative_sticky);
    INFO(name(how));
    auto a = member(options(how)), b = member(options(how));
    settle(a, b);
    CHECK(a.assignment().size() == 2);
    CHECK(b.assignment().size() == 2);
    CHECK(all_of(a, b) == orders({0, 1, 2, 3}));
    CHECK(a.generation() == b.generation());
    {
        auto c = member(options(how));
        settle(a, b, c);
        CHECK(all_of(a, b, c) == orders({0, 1, 2, 3}));
        CHECK_FALSE(c.assignment().empty());
    }
    settle(a, b);
    CHECK(all_of(a, b) == orders({0, 1, 2, 3}));
    b.leave();
    CHECK(b.assignment().empty());
    settle(a);
    CHECK(a.assignment() == orders({0, 1, 2, 3}));
    settle(a, b);
    CHECK(b.assignment().size() == 2);
}

TEST_CASE_METHOD(process_with_groups,
                 "what is revoked may be committed until the next poll, and "
                 "no more after the next generation has begun")
{
    auto a = member();
    a.poll();
    auto b = member();
    CHECK_FALSE(b.poll().any());  // waits for a
    CHECK(a.poll().revoked == orders({0, 1, 2, 3}));
    CHECK(a.assignment().empty());
    CHECK(a.commit(at(0, 7)));
    CHECK_FALSE(b.poll().any());  // still does
    CHECK(log.groups().fetch("billing", {"orders", 0})->offset == offset{7});

    CHECK(a.poll().added.size() == 2);  // it leads
    CHECK(a.commit(at(a.assignment()[0].partition, 8)));
    CHECK(b.poll().added.size() == 2);
    CHECK(b.commit(at(b.assignment()[0].partition, 1)));
    CHECK(code_of([&] { log.groups().commit("billing", at(0, 9), 0); }) == errc::fenced_generation);
}

TEST_CASE_METHOD(process_with_groups, "with cooperative-sticky only what moves is given up")
{
    auto a = member(options(partition_assignor::cooperative_sticky));
    a.poll();
    auto b = member(options(partition_assignor::cooperative_sticky));
    b.poll();
    const auto first = a.poll();  // joins, leads and has its new assignment
    CHECK(first.added.empty());
    CHECK(first.revoked.size() == 2);
    CHECK(a.assignment().size() == 2);
    CHECK(a.commit(at(first.revoked[0].partition, 3)));
    CHECK_FALSE(b.poll().any());  // not before a has joined without them
    CHECK(b.assignment().empty());
    CHECK_FALSE(a.poll().any());
    CHECK(b.poll().added.empty());
    settle(a, b);
    CHECK(b.assignment() == first.revoked);
}

TEST_CASE_METHOD(process_with_groups,
                 "a member that does not poll for its session time-out is out "
                 "of the group, and is told so")
{
    auto a = member(), b = member();
    settle(a, b);
    const auto had = b.assignment();
    for (int i = 0; i < 45; ++i) {
        now += 1s;
        a.poll();
    }
    settle(a);
    CHECK(a.assignment() == orders({0, 1, 2, 3}));
    CHECK(code_of([&] { return b.commit(at(3, 1)); }) == errc::fenced_generation);
    bool written = false;
    CHECK(code_of([&] { return b.commit([&] { written = true; }); }) == errc::fenced_generation);
    CHECK_FALSE(written);
    const auto told = b.poll();
    CHECK(told.lost == had);
    CHECK(told.revoked.empty());
    settle(a, b);
    CHECK(all_of(a, b) == orders({0, 1, 2, 3}));
    CHECK(b.assignment().size() == 2);
}

TEST_CASE_METHOD(process_with_groups, "a member that has never joined commits nothing")
{
    auto a = member();
    CHECK(code_of([&] { return a.commit(at(0, 1)); }) == errc::fenced_generation);
}

TEST_CASE_METHOD(process_with_groups, "while a rebalance completes nobody commits")
{
    auto a = member(options(partition_assignor::cooperative_sticky));
    auto b = member(options(partition_assignor::cooperative_sticky));
    settle(a, b);
    auto c = member(options(partition_assignor::cooperative_sticky));
    c.poll();
    const bool a_leads = groups.describe("billing").leader == a.member_id();
    auto&      leader  = a_leads ? a : b;
    auto&      other   = a_leads ? b : a;
    leader.poll();  // waits for the other
    other.poll();   // all have joined; the leader has not said who has what
    REQUIRE(state() == group_state::completing_rebalance);
    CHECK_FALSE(other.commit(at(0, 1)));
    settle(a, b, c);
    CHECK(a.commit(at(a.assignment()[0].partition, 1)));
}

TEST_CASE_METHOD(process_with_groups,
                 "an instance that is back has what it had, and nobody else "
                 "hears of it")
{
    auto a = instance("one");
    auto b = std::make_unique<group_member>(groups, [] {
        auto o        = options();
        o.instance_id = "two";
        return o;
    }());
    settle(a, *b);
    const auto had        = b->assignment();
    const auto generation = b->generation();
    b.reset();  // expected back
    CHECK_FALSE(a.poll().any());
    auto again = instance("two");
    CHECK(again.poll().added == had);
    CHECK(again.generation() == generation);
    CHECK_FALSE(a.poll().any());

    SECTION("and it is fenced where another has its instance id")
    {
        auto third = instance("two");
        CHECK(third.poll().added == had);
        CHECK(code_of([&] { return again.commit(at(3, 1)); }) == errc::fenced_generation);
        CHECK(again.poll().lost == had);
        CHECK(code_of([&] { return again.poll(); }) == errc::fenced_instance);
        CHECK(code_of([&] { return again.wait(1s); }) == errc::fenced_instance);
        CHECK_FALSE(third.poll().any());
    }
    SECTION("and the one that leads does not assign anew")
    {
        {
            const auto gone = std::move(a);
        }
        auto back = instance("one");
        CHECK(back.poll().added == orders({0, 1}));
        CHECK(back.generation() == generation);
        CHECK_FALSE(again.poll().any());
    }
    SECTION("but not where it has left")
    {
        again.leave();
        settle(a);
        CHECK(a.assignment() == orders({0, 1, 2, 3}));
    }
}

TEST_CASE_METHOD(process_with_groups,
                 "the group says why it does not take a member, and is asked "
                 "again")
{
    auto a = std::make_unique<group_member>(groups, options());
    a->poll();
    auto       b = member(options(partition_assignor::sticky));
    const auto c = complaint_of([&] { return b.poll(); });
    REQUIRE(c);
    CHECK(*c == errc::group_refused);
    CHECK(c->says("inconsistent_group_protocol"));
    a.reset();
    CHECK(b.poll().added == orders({0, 1, 2, 3}));

    auto o            = options();
    o.session_timeout = 1ms;
    auto d            = member(o);
    CHECK(complaint_of([&] { return d.poll(); })->says("invalid_session_timeout"));
}

TEST_CASE_METHOD(process_with_groups,
                 "generations go on over a restart, and late commits of before "
                 "are refused")
{
    auto a = member();
    a.poll();
    const auto before = a.generation();
    groups            = local_group_coordinator{log, {}, [this] { return now; }};
    auto b            = member();
    b.poll();
    CHECK(b.generation() > before);
    CHECK(code_of([&] { log.groups().commit("billing", at(0, 1), before); }) ==
          errc::fenced_generation);
    CHECK(b.commit(at(0, 1)));
    // To the new coordinator's log, a is of an old generation too.
    CHECK(code_of([&] { return a.commit(at(0, 2)); }) == errc::fenced_generation);
}

TEST_CASE_METHOD(process_with_groups, "partitions and topics that come later are shared too")
{
    auto o = options();
    o.topics.clear();  // all
    auto a = member(o), b = member(o);
    settle(a, b);
    CHECK(all_of(a, b).size() == 4);
    log.create_topic("returns", 2);
    log.add_partitions("orders", 5);
    settle(a, b);
    CHECK(all_of(a, b).size() == 4);  // it is not looked at each time
    now += 1s;
    settle(a, b);
    CHECK(all_of(a, b).size() == 7);
    log.delete_topic("returns");
    now += 1s;
    settle(a, b);
    CHECK(all_of(a, b).size() == 5);
}

TEST_CASE_METHOD(process_with_groups, "who waits is woken by a change, and by nothing else")
{
    auto a = member();
    a.poll();
    std::atomic<bool> told = false;
    std::thread       waits{[&] {
        while (!a.wait(group_coordinator::clock::duration::max())) {
        }
        told = a.poll().revoked == orders({0, 1, 2, 3});
        a.poll();
    }};
    auto              b = member();
    while (!b.wait(1h)) {
    }
    CHECK(b.poll().added.size() == 2);
    waits.join();
    CHECK(told);

    CHECK_FALSE(b.wait(0s));
    std::thread interrupts{[&] { b.interrupt(); }};
    CHECK_FALSE(b.wait(1h));
    interrupts.join();
    CHECK_FALSE(b.wait(1h));  // for good
}

TEST_CASE_METHOD(process_with_groups, "on_change is called by what others do, not by oneself")
{
    int  called = 0;
    auto o      = options();
    o.on_change = [&] { ++called; };
    auto a      = member(o);
    a.poll();
    a.poll();
    CHECK(called == 0);
    {
        auto b = member();
        b.poll();
        CHECK(called > 0);
        settle(a, b);
        called = 0;
    }
    CHECK(called > 0);  // it has left
    settle(a);
    called = 0;
    now += 10s;
    groups.tick();
    CHECK(called > 0);
}

TEST_CASE_METHOD(process_with_groups, "a generation that cannot be made durable does not begin")
{
    auto a = member();
    log.close();
    CHECK(code_of([&] { return a.poll(); }) == errc::closed);
    CHECK(a.assignment().empty());
    CHECK(code_of([&] { return a.poll(); }) == errc::closed);
}

TEST_CASE_METHOD(process_with_groups, "the log does not forget a group that commits elsewhere")
{
    auto a = member();
    a.poll();
    log.groups().remove("billing");  // as its retention does
    for (int i = 0; i < 60; ++i) {
        now += 44s;
        a.poll();
    }
    CHECK(log.groups().generation("billing") == std::nullopt);
    for (int i = 0; i < 60; ++i) {
        now += 44s;
        a.poll();
    }
    CHECK(log.groups().generation("billing") == a.generation());
}

TEST_CASE("threads that come and go count every number once")
{
    constexpr std::int32_t partition_count = 6;
    constexpr std::int64_t numbers         = 400;  // in each
    const auto how = GENERATE(partition_assignor::range, partition_assignor::cooperative_sticky);
    INFO(name(how));
    auto log = commit_log::in_memory();
    log.create_topic("numbers", partition_count);
    const local_group_coordinator groups{log};

    std::mutex                                             counted_mutex;
    std::array<std::vector<std::int64_t>, partition_count> counted;
    std::atomic<std::int64_t>                              left = partition_count * numbers;

    const auto work = [&](int lives) {
        for (int life = 0; life < lives && left > 0; ++life) {
            member_options o;
            o.group    = "sum";
            o.topics   = {"numbers"};
            o.assignor = how;
            group_member                            me{groups, o};
            std::map<topic_partition, std::int64_t> next;
            for (int round = 0; left > 0 && (life + 1 == lives || round < 40); ++round) {
                const auto change = me.poll();
                for (const auto& p : change.revoked) next.erase(p);
                for (const auto& p : change.lost) next.erase(p);
                for (const auto& p : change.added) {
                    const auto c = log.groups().fetch("sum", p);
                    next[p]      = c ? c->offset.value : 0;
                }
                if (next.empty()) me.wait(1ms);
                for (auto& [p, n] : next) {
                    if (n == numbers) continue;
                    // What would be in the tables' own transaction.
                    const bool done = me.commit([&, where = p, number = n] {
                        log.groups().commit("sum", {{.at = where, .offset = offset{number + 1}}},
                                            me.generation());
                        const std::lock_guard lock{counted_mutex};
                        counted[static_cast<std::size_t>(where.partition)].push_back(number);
                    });
                    if (!done) break;
                    ++n;
                    --left;
                }
            }
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(work, 2 + i);
    for (auto& t : threads) t.join();

    for (const auto& each : counted) {
        REQUIRE(each.size() == numbers);
        for (std::int64_t n = 0; n < numbers; ++n) REQUIRE(each[static_cast<std::size_t>(n)] == n);
    }
}

}  // namespace cairn::testing
