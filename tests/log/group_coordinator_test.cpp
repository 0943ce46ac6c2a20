// SPDX-License-Identifier: Apache-2.0
//
// The group protocol, one promise after the other; group_simulation_test.cpp has it at random.
#include <cairn/log/group_coordinator.hpp>

#include <catch2/catch.hpp>

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace cairn::testing {
namespace {

using namespace std::chrono_literals;

/// A coordinator at a time of its own, and what it has answered. Its random numbers count, so
/// that a member's id says as which it joined.
struct groups_by_hand
{
    group_options              options{};
    std::uint64_t              drawn      = 0;
    std::int32_t               remembered = -1;
    group_coordinator          groups{make()};
    group_coordinator::instant now{1'000s};

    std::map<std::uint64_t, join_answer> joined{};
    std::map<std::uint64_t, sync_answer> synced{};
    std::vector<std::int32_t>            generations{};
    std::uint64_t                        tokens = 0;

    group_coordinator make()
    {
        return {options, [this] { return ++drawn; }, [this](const auto&) { return remembered; }};
    }
    void again(const group_options& o)
    {
        options = o;
        groups  = make();
    }

    void take(group_outcome out)
    {
        for (const auto& r : out.raised) {
            CHECK(r.group == "g");
            generations.push_back(r.generation);
        }
        for (auto& a : out.answers) {
            INFO("token " << a.token);
            CHECK(joined.count(a.token) + synced.count(a.token) == 0);
            if (auto* j = std::get_if<join_answer>(&a.what))
                joined[a.token] = std::move(*j);
            else
                synced[a.token] = std::get<sync_answer>(std::move(a.what));
        }
    }

    static join_request request(const std::string& member_id = "", const std::string& metadata = "")
    {
        join_request r;
        r.group             = "g";
        r.who.member_id     = member_id;
        r.client_id         = "c";
        r.protocol_type     = "consumer";
        r.protocols         = {{"range", metadata}};
        r.session_timeout   = 10s;
        r.rebalance_timeout = 60s;
        return r;
    }
    static join_request instance(const std::string& instance_id, const std::string& member_id = "")
    {
        auto r            = request(member_id);
        r.who.instance_id = instance_id;
        return r;
    }

    std::uint64_t join(const join_request& r)
    {
        group_outcome out;
        groups.join(r, ++tokens, now, out);
        take(std::move(out));
        return tokens;
    }
    std::uint64_t join(const std::string& member_id = "", const std::string& metadata = "")
    {
        return join(request(member_id, metadata));
    }
    std::uint64_t sync(const join_answer& who, std::vector<member_assignment> assignments = {},
                       std::optional<std::string> instance_id = {})
    {
        sync_request r;
        r.group       = "g";
        r.who         = {who.member_id, std::move(instance_id)};
        r.generation  = who.generation;
        r.assignments = std::move(assignments);
        group_outcome out;
        groups.sync(r, ++tokens, now, out);
        take(std::move(out));
        return tokens;
    }
    group_error heartbeat(const join_answer& who, std::optional<std::string> instance_id = {})
    {
        group_outcome out;
        const auto    e = groups.heartbeat("g", {who.member_id, std::move(instance_id)},
                                           who.generation, now, out);
        take(std::move(out));
        return e;
    }
    group_error commit(const join_answer& who, std::optional<std::string> instance_id = {})
    {
        group_outcome out;
        const auto    e = groups.check_commit("g", {who.member_id, std::move(instance_id)},
                                              who.generation, now, out);
        take(std::move(out));
        return e;
    }
    std::vector<group_error> leave(const std::vector<member_identity>& who)
    {
        group_outcome out;
        auto          e = groups.leave("g", who, now, out);
        take(std::move(out));
        return e;
    }
    void pass(std::chrono::milliseconds time)
    {
        now += time;
        group_outcome out;
        groups.tick(now, out);
        take(std::move(out));
    }
    group_state state() const { return groups.describe("g").state; }

    /// Two members of generation 1, of which the first leads; both have their assignment.
    std::pair<join_answer, join_answer> two_members()
    {
        const auto first  = joined.at(join());
        const auto second = join();
        const auto again  = join(first.member_id);
        const auto a = joined.at(again), b = joined.at(second);
        sync(a, {{a.member_id, "for a"}, {b.member_id, "for b"}});
        sync(b);
        REQUIRE(state() == group_state::stable);
        return {a, b};
    }
};

using errors = std::vector<group_error>;

}  // namespace

TEST_CASE_METHOD(groups_by_hand, "a member that is alone leads its group, and gets what it says")
{
    const auto a = joined.at(join("", "my topics"));
    CHECK(a.error == group_error::none);
    CHECK(a.generation == 0);
    CHECK(a.leader == a.member_id);
    CHECK(a.protocol == "range");
    CHECK(a.protocol_type == "consumer");
    REQUIRE(a.members.size() == 1);
    CHECK(a.members[0].metadata == "my topics");
    CHECK(state() == group_state::completing_rebalance);

    const auto s = synced.at(sync(a, {{a.member_id, "all"}}));
    CHECK(s.error == group_error::none);
    CHECK(s.assignment == "all");
    CHECK(state() == group_state::stable);
    CHECK(heartbeat(a) == group_error::none);
    CHECK(commit(a) == group_error::none);
    CHECK(generations == std::vector{0});
}

TEST_CASE_METHOD(groups_by_hand,
                 "all members of a generation have the same protocol, leader and "
                 "assignment by it")
{
    const auto first  = joined.at(join("", "of a"));
    const auto second = join("", "of b");
    CHECK(joined.count(second) == 0);  // waits for the first
    CHECK(heartbeat(first) == group_error::rebalance_in_progress);
    const auto a = joined.at(join(first.member_id, "of a"));
    const auto b = joined.at(second);
    CHECK(a.generation == 1);
    CHECK(b.generation == 1);
    CHECK(a.leader == a.member_id);
    CHECK(b.leader == a.member_id);
    CHECK(a.members.size() == 2);
    CHECK(b.members.empty());

    const auto waiting = sync(b);
    CHECK(synced.count(waiting) == 0);  // for the leader
    CHECK(synced.at(sync(a, {{b.member_id, "for b"}, {a.member_id, "for a"}})).assignment ==
          "for a");
    CHECK(synced.at(waiting).assignment == "for b");

    // Who has lost its answer asks again.
    CHECK(synced.at(sync(b)).assignment == "for b");
    CHECK(joined.at(join(b.member_id, "of b")).generation == 1);
}

TEST_CASE_METHOD(groups_by_hand,
                 "a commit of an older generation, or of one who is not a member, "
                 "is refused")
{
    const auto [a, b] = two_members();
    CHECK(commit(a) == group_error::none);
    const auto third = join();
    CHECK(commit(a) == group_error::none);  // the generation has not ended
    join(a.member_id);
    CHECK(commit(b) == group_error::none);
    join(b.member_id);
    REQUIRE(joined.at(third).generation == 2);
    CHECK(commit(a) == group_error::illegal_generation);
    CHECK(commit(b) == group_error::illegal_generation);
    CHECK(commit(joined.at(third)) == group_error::rebalance_in_progress);  // whose is what?

    join_answer stranger;
    stranger.member_id  = "stranger";
    stranger.generation = 2;
    CHECK(commit(stranger) == group_error::unknown_member_id);
    CHECK(commit(join_answer{}) == group_error::unknown_member_id);  // a simple consumer's
}

TEST_CASE_METHOD(groups_by_hand, "a simple consumer commits while the group is empty")
{
    CHECK(commit(join_answer{}) == group_error::none);
    const auto a = joined.at(join());
    CHECK(commit(join_answer{}) == group_error::unknown_member_id);
    CHECK(leave({{a.member_id, {}}}) == errors{group_error::none});
    CHECK(state() == group_state::empty);
    CHECK(commit(join_answer{}) == group_error::none);
    CHECK(commit(a) == group_error::unknown_member_id);
}

TEST_CASE_METHOD(groups_by_hand, "who is silent for its session time-out is no member")
{
    const auto [a, b] = two_members();
    pass(9s);
    CHECK(heartbeat(a) == group_error::none);
    pass(1s);
    CHECK(state() == group_state::preparing_rebalance);  // without b
    CHECK(heartbeat(b) == group_error::unknown_member_id);
    CHECK(commit(b) == group_error::unknown_member_id);
    CHECK(heartbeat(a) == group_error::rebalance_in_progress);
    CHECK(joined.at(join(a.member_id)).members.size() == 1);

    // A call lets happen what is due, also where nobody has called tick().
    now += 10s;
    CHECK(heartbeat(joined.rbegin()->second) == group_error::unknown_member_id);
    CHECK(state() == group_state::empty);
}

TEST_CASE_METHOD(groups_by_hand,
                 "who does not join again within the rebalance time-out is left "
                 "behind")
{
    const auto [a, b] = two_members();
    const auto again  = join(a.member_id);  // the leader: all are to join again
    CHECK(state() == group_state::preparing_rebalance);
    for (int i = 0; i < 59; ++i) {
        pass(1s);
        CHECK(heartbeat(b) == group_error::rebalance_in_progress);
    }
    CHECK(joined.count(again) == 0);
    pass(1s);
    CHECK(joined.at(again).members.size() == 1);
    CHECK(heartbeat(b) == group_error::unknown_member_id);
}

TEST_CASE_METHOD(groups_by_hand, "who does not ask for its assignment is left behind")
{
    const auto first  = joined.at(join());
    const auto second = join();
    const auto a      = joined.at(join(first.member_id));
    const auto b      = joined.at(second);
    SECTION("the leader")
    {
        const auto waiting = sync(b);
        for (int i = 0; i < 59; ++i) {
            pass(1s);
            CHECK(heartbeat(a) == group_error::none);
        }
        CHECK(synced.count(waiting) == 0);
        pass(1s);
        CHECK(synced.at(waiting).error == group_error::rebalance_in_progress);
        CHECK(heartbeat(a) == group_error::unknown_member_id);
        CHECK(joined.at(join(b.member_id)).leader == b.member_id);
    }
    SECTION("another")
    {
        sync(a, {});
        for (int i = 0; i < 60; ++i) {
            pass(1s);
            static_cast<void>(heartbeat(a));
            static_cast<void>(heartbeat(b));
        }
        CHECK(state() == group_state::preparing_rebalance);
        CHECK(heartbeat(b) == group_error::unknown_member_id);
        CHECK(heartbeat(a) == group_error::rebalance_in_progress);
    }
}

TEST_CASE_METHOD(groups_by_hand, "a new member that must know its id joins in two steps")
{
    auto r               = request();
    r.member_id_required = true;
    const auto told      = joined.at(join(r));
    CHECK(told.error == group_error::member_id_required);
    CHECK(told.member_id == "c-00000000-0000-0001-0000-000000000002");
    CHECK(state() == group_state::empty);
    r.who.member_id = told.member_id;

    SECTION("and is a member then")
    {
        const auto a = joined.at(join(r));
        CHECK(a.error == group_error::none);
        CHECK(a.member_id == told.member_id);
    }
    SECTION("or never, where it takes longer than its session")
    {
        pass(10s);
        CHECK(joined.at(join(r)).error == group_error::unknown_member_id);
        CHECK(groups.list().empty());
    }
    SECTION("or leaves before it has joined")
    {
        CHECK(leave({r.who}) == errors{group_error::none});
        CHECK(joined.at(join(r)).error == group_error::unknown_member_id);
    }
    SECTION("and a rebalance waits for it")
    {
        const auto a            = joined.at(join());
        auto       next         = request();
        next.member_id_required = true;
        const auto id           = joined.at(join(next)).member_id;
        join(r);  // the first one
        const auto again = join(a.member_id);
        CHECK(joined.count(again) == 0);
        next.who.member_id = id;
        join(next);
        CHECK(joined.at(again).members.size() == 3);
    }
}

TEST_CASE_METHOD(groups_by_hand,
                 "the first generation waits for more members, each time anew, as "
                 "long as a rebalance may take")
{
    group_options o;
    o.initial_delay = 3s;
    again(o);
    auto r              = request();
    r.rebalance_timeout = 7s;
    const auto first    = join(r);
    pass(2s);
    const auto second = join(r);
    pass(1s);  // 3 s: one has come, so 3 s more
    join(r);
    pass(3s);  // 6 s: and the last one
    CHECK(joined.empty());
    join(r);
    pass(1s);
    CHECK(joined.at(first).members.size() == 4);
    CHECK(joined.at(second).leader == joined.at(first).member_id);
    CHECK(generations == std::vector{0});
}

TEST_CASE_METHOD(groups_by_hand, "the protocol is one that all have, by most votes")
{
    const auto with = [](std::vector<std::string> names) {
        auto r = request();
        r.protocols.clear();
        for (auto& n : names) r.protocols.push_back({n, "by " + n});
        return r;
    };
    const auto first = joined.at(join(with({"sticky", "range", "roundrobin"})));
    CHECK(first.protocol == "sticky");
    const auto second   = join(with({"range", "roundrobin"}));
    auto       again    = with({"sticky", "range", "roundrobin"});
    again.who.member_id = first.member_id;
    const auto a        = joined.at(join(again));
    CHECK(a.protocol == "range");
    CHECK(a.members[0].metadata == "by range");
    CHECK(joined.at(second).protocol == "range");

    CHECK(joined.at(join(with({"sticky"}))).error == group_error::inconsistent_group_protocol);
    CHECK(joined.at(join(with({}))).error == group_error::inconsistent_group_protocol);
    auto other          = with({"range"});
    other.protocol_type = "connect";
    CHECK(joined.at(join(other)).error == group_error::inconsistent_group_protocol);

    sync_request s;
    s.group      = "g";
    s.who        = {a.member_id, {}};
    s.generation = a.generation;
    s.protocol   = "roundrobin";
    group_outcome out;
    groups.sync(s, ++tokens, now, out);
    take(std::move(out));
    CHECK(synced.at(tokens).error == group_error::inconsistent_group_protocol);
}

TEST_CASE_METHOD(groups_by_hand, "members leave several at once, by member or instance id")
{
    const auto a = joined.at(join(instance("one")));
    const auto b = join(instance("two"));
    join(instance("one", a.member_id));
    REQUIRE(joined.at(b).generation == 1);
    const auto waiting = sync(joined.at(b), {}, "two");

    CHECK(leave({{"", "none"}, {"nobody", {}}, {"wrong", "two"}, {"", "one"}}) ==
          errors{group_error::unknown_member_id, group_error::unknown_member_id,
                 group_error::fenced_instance_id, group_error::none});
    CHECK(synced.at(waiting).error == group_error::rebalance_in_progress);
    CHECK(heartbeat(a, "one") == group_error::unknown_member_id);
    CHECK(leave({{joined.at(b).member_id, "two"}}) == errors{group_error::none});
    CHECK(state() == group_state::empty);
}

TEST_CASE_METHOD(groups_by_hand,
                 "a static member that is back keeps its assignment, and nobody "
                 "else hears of it")
{
    const auto first  = joined.at(join(instance("one")));
    const auto second = join(instance("two"));
    const auto a      = joined.at(join(instance("one", first.member_id)));
    const auto b      = joined.at(second);
    sync(b, {}, "two");
    sync(a, {{a.member_id, "for one"}, {b.member_id, "for two"}}, "one");

    const auto b2 = joined.at(join(instance("two")));
    CHECK(b2.error == group_error::none);
    CHECK(b2.member_id != b.member_id);
    CHECK(b2.generation == 1);
    CHECK(synced.at(sync(b2, {}, "two")).assignment == "for two");
    CHECK(heartbeat(a, "one") == group_error::none);

    SECTION("who had its instance id before is fenced")
    {
        CHECK(heartbeat(b, "two") == group_error::fenced_instance_id);
        CHECK(commit(b, "two") == group_error::fenced_instance_id);
        CHECK(commit(b) == group_error::unknown_member_id);
        CHECK(joined.at(join(instance("two", b.member_id))).error ==
              group_error::fenced_instance_id);
        CHECK(synced.at(sync(b, {}, "two")).error == group_error::fenced_instance_id);
    }
    SECTION("the leader is told to leave the assignment as it is")
    {
        auto r                  = instance("one");
        r.knows_skip_assignment = true;
        const auto a2           = joined.at(join(r));
        CHECK(a2.skip_assignment);
        CHECK(a2.leader == a2.member_id);
        CHECK(a2.members.size() == 2);
        CHECK(synced.at(sync(a2, {}, "one")).assignment == "for one");
    }
    SECTION("or is not told that it leads, where it does not know how to")
    {
        const auto a2 = joined.at(join(instance("one")));
        CHECK(a2.leader == a.member_id);
        CHECK(a2.members.empty());
        CHECK(synced.at(sync(a2, {}, "one")).assignment == "for one");
        CHECK(groups.describe("g").leader == a2.member_id);
    }
    SECTION("its session ends like any other's")
    {
        pass(9s);
        static_cast<void>(heartbeat(a, "one"));
        pass(1s);
        CHECK(heartbeat(b2, "two") == group_error::unknown_member_id);
        CHECK(state() == group_state::preparing_rebalance);
    }
}

TEST_CASE_METHOD(groups_by_hand,
                 "a static member that comes back amid a rebalance fences the one "
                 "that waits")
{
    const auto a      = joined.at(join(instance("one")));
    const auto second = join(instance("two"));
    CHECK(joined.count(second) == 0);
    const auto third = join(instance("two"));
    CHECK(joined.at(second).error == group_error::fenced_instance_id);
    join(instance("one", a.member_id));
    CHECK(joined.at(third).generation == 1);

    // And one that waits for its assignment.
    const auto waiting = sync(joined.at(third), {}, "two");
    const auto fourth  = join(instance("two"));
    CHECK(synced.at(waiting).error == group_error::fenced_instance_id);
    CHECK(joined.count(fourth) == 0);
    CHECK(state() == group_state::preparing_rebalance);
}

TEST_CASE_METHOD(groups_by_hand,
                 "static members that are away stay in a rebalance, and one who is "
                 "there leads")
{
    const auto a      = joined.at(join(instance("one")));
    const auto second = join(instance("two"));
    join(instance("one", a.member_id));
    auto r              = request();
    r.session_timeout   = 100s;
    r.rebalance_timeout = 5s;
    r.who.instance_id   = "one";
    r.who.member_id     = a.member_id;
    join(r);
    r.who.instance_id = "two";
    r.who.member_id   = joined.at(second).member_id;
    const auto b      = joined.at(join(r));
    sync(b, {}, "two");
    const auto third = join();  // both are away, and third waits for them
    pass(60s);
    const auto c = joined.at(third);
    CHECK(c.error == group_error::none);
    CHECK(c.leader == c.member_id);
    CHECK(c.members.size() == 3);
}

TEST_CASE_METHOD(groups_by_hand,
                 "a generation's number is greater than all before it, also over a "
                 "restart")
{
    remembered   = 41;
    const auto a = joined.at(join());
    CHECK(a.generation == 42);
    static_cast<void>(leave({{a.member_id, {}}}));
    CHECK(joined.at(join()).generation == 44);
    CHECK(generations == std::vector{42, 43, 44});

    remembered = 44;
    groups     = make();
    CHECK(heartbeat(a) == group_error::unknown_member_id);
    CHECK(commit(a) == group_error::illegal_generation);
    CHECK(joined.at(join(a.member_id)).error == group_error::unknown_member_id);
    CHECK(joined.at(join()).generation == 45);
}

TEST_CASE_METHOD(groups_by_hand, "each token is answered once, also where a member asks twice")
{
    const auto first  = joined.at(join());
    const auto second = join();
    const auto a      = joined.at(join(first.member_id));
    const auto b      = joined.at(second);
    const auto s1     = sync(b);
    const auto s2     = sync(b);
    CHECK(synced.at(s1).error == group_error::rebalance_in_progress);
    CHECK(synced.count(s2) == 0);
    const auto third = join();
    CHECK(synced.at(s2).error == group_error::rebalance_in_progress);
    const auto j1 = join(b.member_id);
    const auto j2 = join(b.member_id);
    CHECK(joined.at(j1).error == group_error::rebalance_in_progress);
    join(a.member_id);
    CHECK(joined.at(j2).generation == 2);
    CHECK(joined.at(third).generation == 2);

    const auto waiting = join();
    static_cast<void>(leave({{b.member_id, {}}, {a.member_id, {}}}));
    const auto fifth = join();
    static_cast<void>(leave({{joined.at(third).member_id, {}}}));
    CHECK(joined.at(waiting).error == group_error::none);
    CHECK(joined.at(fifth).generation == joined.at(waiting).generation);
}

TEST_CASE_METHOD(groups_by_hand, "what it holds is bounded")
{
    group_options o;
    o.members_max          = 2;
    o.groups_max           = 2;
    o.member_bytes_max     = 100;
    o.assignment_bytes_max = 10;
    again(o);

    const auto a = joined.at(join());
    join();
    CHECK(joined.at(join()).error == group_error::group_max_size_reached);
    join(a.member_id);
    CHECK(joined.rbegin()->second.members.size() == 2);
    auto larger = request("", std::string(100, 'x'));
    CHECK(joined.at(join(larger)).error == group_error::policy_violation);
    const auto lead = joined.rbegin()->first - 1;
    CHECK(synced.at(sync(joined.at(lead), {{a.member_id, "12345678901"}})).error ==
          group_error::policy_violation);

    auto told               = request();
    told.group              = "h";
    told.member_id_required = true;
    CHECK(joined.at(join(told)).error == group_error::member_id_required);
    CHECK(joined.at(join(told)).error == group_error::member_id_required);
    CHECK(joined.at(join(told)).error == group_error::group_max_size_reached);
    auto third  = request();
    third.group = "i";
    CHECK(joined.at(join(third)).error == group_error::policy_violation);
    pass(10s);  // all of them are gone, and an empty group makes way
    CHECK(groups.list().size() == 1);
    third.member_id_required = true;
    CHECK(joined.at(join(third)).error == group_error::member_id_required);
    third.group = "j";
    CHECK(joined.at(join(third)).error == group_error::member_id_required);
    CHECK(groups.list().size() == 2);
    CHECK(groups.describe("g").state == group_state::dead);

    third.group = "";
    CHECK(joined.at(join(third)).error == group_error::invalid_group_id);
    third                 = request();
    third.session_timeout = 5'999ms;
    CHECK(joined.at(join(third)).error == group_error::invalid_session_timeout);
    third.session_timeout = 1'800'001ms;
    CHECK(joined.at(join(third)).error == group_error::invalid_session_timeout);
}

TEST_CASE_METHOD(groups_by_hand, "a group is described, listed and removed")
{
    CHECK(groups.describe("g").state == group_state::dead);
    CHECK(groups.remove("g") == group_error::group_id_not_found);
    const auto [a, b] = two_members();
    const auto d      = groups.describe("g");
    CHECK(d.generation == 1);
    CHECK(d.leader == a.member_id);
    CHECK(d.protocol == "range");
    REQUIRE(d.members.size() == 2);
    CHECK(d.members[0].assignment == "for a");
    CHECK(d.members[1].client_id == "c");
    const auto listed = groups.list();
    REQUIRE(listed.size() == 1);
    CHECK(listed[0].group == "g");
    CHECK(name(listed[0].state) == "Stable");
    CHECK(groups.remove("g") == group_error::non_empty_group);

    static_cast<void>(leave({{a.member_id, {}}, {b.member_id, {}}}));
    CHECK(name(state()) == "Empty");
    CHECK(groups.next_deadline() == std::nullopt);
    CHECK(groups.remove("g") == group_error::none);
    CHECK(groups.list().empty());
}

}  // namespace cairn::testing
