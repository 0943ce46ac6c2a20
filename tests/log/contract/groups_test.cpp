// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <limits>
#include <mutex>
#include <sstream>
#include <thread>

#include <sys/syscall.h>
#include <unistd.h>

using namespace contract;

namespace {

/// Two topics with records, and a group language.
struct groups_fixture : every_log
{
    groups_fixture()
    {
        topic("orders", 2);
        topic("notes", 1);
        for (std::int64_t i = 0; i < 10; ++i)
            append({event("orders", no_key, std::to_string(i)).in(0).at(start_of_time + i * 100)});
        append({event("orders", no_key, "x").in(1)});
    }

    static committed_offset at(const std::string& topic, std::int32_t partition,
                               std::int64_t where, std::string metadata = "")
    {
        return {.at       = {topic, partition},
                .offset   = offset{where},
                .metadata = std::move(metadata)};
    }

    void commit(const std::string& group, const std::vector<committed_offset>& offsets,
                std::int32_t generation = -1)
    {
        log().groups().commit(group, offsets, generation);
    }

    /// "orders-0=3 notes-0=1", in the order of topics and partitions.
    std::string committed(const std::string& group)
    {
        std::vector<committed_offset> all = log().groups().fetch(group);
        std::sort(all.begin(), all.end(),
                  [](const auto& a, const auto& b) { return a.at < b.at; });
        std::string text;
        for (const committed_offset& c : all) {
            std::ostringstream one;
            one << c.at << '=' << c.offset;
            text += (text.empty() ? "" : " ") + one.str();
        }
        return text;
    }

    static std::string where(std::vector<group_lag> all)
    {
        std::sort(all.begin(), all.end(),
                  [](const auto& a, const auto& b) { return a.at < b.at; });
        std::string text;
        for (const group_lag& l : all) {
            std::ostringstream one;
            one << l.at << '=';
            if (l.committed)
                one << *l.committed;
            else
                one << "none";
            one << '/' << l.end << " lag " << l.lag;
            text += (text.empty() ? "" : ", ") + one.str();
        }
        return text;
    }
};

using group_names = std::vector<std::string>;

}  // namespace

TEST_CASE_METHOD(groups_fixture, "what a group commits is fetched again")
{
    pass(5);
    commit("billing", {at("orders", 0, 3, "worker 7")});
    reading();
    const auto found = log().groups().fetch("billing", {"orders", 0});
    REQUIRE(found);
    CHECK(found->at == topic_partition{"orders", 0});
    CHECK(found->offset == offset{3});
    CHECK(found->metadata == "worker 7");
    CHECK(found->leader_epoch == -1);
    CHECK(found->committed_at == timestamp{now()});

    CHECK_FALSE(log().groups().fetch("billing", {"orders", 1}));
    CHECK_FALSE(log().groups().fetch("shipping", {"orders", 0}));
    CHECK(log().groups().fetch("shipping").empty());
}

TEST_CASE_METHOD(groups_fixture, "what commit() returned from survives; several partitions commit "
                                 "together")
{
    commit("billing", {at("orders", 0, 3), at("orders", 1, 1), at("notes", 0, 0)});
    commit("billing", {at("orders", 0, 7)});
    commit("shipping", {at("orders", 0, 1)});
    reopen();
    CHECK(committed("billing") == "notes-0=0 orders-0=7 orders-1=1");
    CHECK(committed("shipping") == "orders-0=1");
    reopen_without_index();
    CHECK(committed("billing") == "notes-0=0 orders-0=7 orders-1=1");
    log().roll_segment();
    roll_and_clean();
    reopen_without_index();
    CHECK(committed("billing") == "notes-0=0 orders-0=7 orders-1=1");
    commit("billing", {at("orders", 0, 2)});  // also back
    CHECK(committed("billing") == "notes-0=0 orders-0=2 orders-1=1");
}

TEST_CASE_METHOD(groups_fixture, "a commit is made whole or not at all")
{
    commit("billing", {at("orders", 0, 3)});
    const auto tried = [&](const committed_offset& wrong) {
        return complaint_of([&] {
            commit("billing", {at("orders", 0, 5), wrong, at("orders", 1, 1)});
            return 0;
        });
    };
    complaint c = tried(at("nope", 0, 1));
    CHECK(c == errc::unknown_topic);
    check_complete(c, {"nope"});
    c = tried(at("orders", 2, 1));
    CHECK(c == errc::partition_out_of_range);
    check_complete(c, {"orders", "2"});
    c = tried(at("orders", 1, -1));
    CHECK(c == errc::offset_out_of_range);
    check_complete(c, {"orders", "-1"});
    c = tried(at("orders", 1, 0, std::string(4097, 'm')));
    CHECK(c == errc::invalid_argument);
    check_complete(c, {"4096"});
    CHECK(committed("billing") == "orders-0=3");
    commit("billing", {at("orders", 1, 0, std::string(4096, 'm'))});
    CHECK(committed("billing") == "orders-0=3 orders-1=0");
}

TEST_CASE_METHOD(groups_fixture, "a group has a name")
{
    complaint c = complaint_of([&] {
        commit("", {at("orders", 0, 3)});
        return 0;
    });
    CHECK(c == errc::illegal_group);
    check_complete(c, {"group"});
    CHECK(complaint_of([&] {
              log().groups().set_generation("", 1);
              return 0;
          }) == errc::illegal_group);
    commit("with spaces, and \xc3\xa4", {at("orders", 0, 1)});
    CHECK(reading().groups().list() == group_names{"with spaces, and \xc3\xa4"});
}

TEST_CASE_METHOD(groups_fixture, "groups are listed by name")
{
    CHECK(log().groups().list().empty());
    commit("b", {at("orders", 0, 1)});
    commit("a", {at("orders", 0, 1)});
    log().groups().set_generation("c", 1);
    CHECK(reading().groups().list() == group_names{"a", "b", "c"});
}

TEST_CASE_METHOD(groups_fixture, "a commit of an older generation than the group's is refused "
                                 "(fenced_generation)")
{
    const auto try_commit = [&](std::int64_t to, std::int32_t generation) {
        return complaint_of([&] {
            commit("g", {at("orders", 0, to)}, generation);
            return 0;
        });
    };
    commit("g", {at("orders", 0, 1)}, -1);
    log().groups().set_generation("g", 5);
    complaint c = try_commit(2, 4);
    CHECK(c == errc::fenced_generation);
    check_complete(c, {"g", "4", "5"});
    CHECK(try_commit(2, -1) == errc::fenced_generation);  // no simple consumer's any more
    CHECK(committed("g") == "orders-0=1");
    commit("g", {at("orders", 0, 3)}, 5);
    CHECK(committed("g") == "orders-0=3");
    log().groups().set_generation("g", 6);
    CHECK(try_commit(4, 5) == errc::fenced_generation);
    reopen();
    CHECK(try_commit(4, 5) == errc::fenced_generation);
    reopen_without_index();
    CHECK(try_commit(4, 5) == errc::fenced_generation);
    commit("g", {at("orders", 0, 5)}, 6);
    CHECK(reading().groups().fetch("g", {"orders", 0})->offset == offset{5});

    // A generation is raised, never lowered.
    CHECK(complaint_of([&] {
              log().groups().set_generation("g", 5);
              return 0;
          }) == errc::fenced_generation);
}

TEST_CASE_METHOD(groups_fixture, "the lag is what is between the group and the end")
{
    commit("g", {at("orders", 0, 3, "m"), at("orders", 1, 1), at("notes", 0, 0)});
    reading();
    CHECK(where(log().groups().lag("g")) ==
          "notes-0=0/0 lag 0, orders-0=3/10 lag 7, orders-1=1/1 lag 0");
    append({event("orders", no_key, "v").in(1), event("notes", no_key, "v")});
    CHECK(where(log().groups().lag("g")) ==
          "notes-0=0/1 lag 1, orders-0=3/10 lag 7, orders-1=1/2 lag 1");
    const auto all = log().groups().lag("g");
    CHECK(std::count_if(all.begin(), all.end(),
                        [](const group_lag& l) { return l.metadata == "m"; }) == 1);
    const complaint c = complaint_of([&] { return log().groups().lag("nobody"); });
    CHECK(c == errc::unknown_group);
    check_complete(c, {"nobody"});
}

TEST_CASE_METHOD(groups_fixture, "the lag does not count what retention took")
{
    commit("g", {at("orders", 0, 3)});
    log().partition("orders", 0).truncate_before(offset{6});
    reading();
    CHECK(where(log().groups().lag("g")) == "orders-0=3/10 lag 4");
}

TEST_CASE_METHOD(groups_fixture, "a group is put to the earliest, the latest, a time, an offset, "
                                 "or by a shift")
{
    log().partition("orders", 0).truncate_before(offset{2});
    commit("g", {at("orders", 0, 5), at("notes", 0, 0)});
    const std::vector<std::pair<reset_target, std::string>> all = {
        {reset_to::earliest{}, "notes-0=0/0 lag 0, orders-0=2/10 lag 8"},
        {reset_to::latest{}, "notes-0=0/0 lag 0, orders-0=10/10 lag 0"},
        {reset_to::time{timestamp{start_of_time + 400}}, "notes-0=0/0 lag 0, orders-0=4/10 lag 6"},
        {reset_to::time{timestamp{start_of_time + 401}}, "notes-0=0/0 lag 0, orders-0=5/10 lag 5"},
        {reset_to::time{timestamp{0}}, "notes-0=0/0 lag 0, orders-0=2/10 lag 8"},
        {reset_to::time{timestamp{start_of_time * 2}},
         "notes-0=0/0 lag 0, orders-0=10/10 lag 0"},  // none at or after: the end
        {reset_to::exactly{offset{7}}, "notes-0=0/0 lag 0, orders-0=7/10 lag 3"},
        {reset_to::exactly{offset{0}}, "notes-0=0/0 lag 0, orders-0=2/10 lag 8"},
        {reset_to::exactly{offset{99}}, "notes-0=0/0 lag 0, orders-0=10/10 lag 0"},
        {reset_to::shift{-1}, "notes-0=0/0 lag 0, orders-0=4/10 lag 6"},
        {reset_to::shift{2}, "notes-0=0/0 lag 0, orders-0=7/10 lag 3"},
        {reset_to::shift{-100}, "notes-0=0/0 lag 0, orders-0=2/10 lag 8"},
        {reset_to::shift{100}, "notes-0=0/0 lag 0, orders-0=10/10 lag 0"},
        {reset_to::shift{std::numeric_limits<std::int64_t>::max()},
         "notes-0=0/0 lag 0, orders-0=10/10 lag 0"},
        {reset_to::shift{std::numeric_limits<std::int64_t>::min()},
         "notes-0=0/0 lag 0, orders-0=2/10 lag 8"},
    };
    reading();
    const group_names none;
    for (const auto& [target, expected] : all) {
        INFO(expected);
        CHECK(where(log().groups().reset("g", none, target, true)) == expected);
        CHECK(committed("g") == "notes-0=0 orders-0=5");  // a dry run
        CHECK(where(log().groups().reset("g", none, target, false)) == expected);
        CHECK(where(log().groups().lag("g")) == expected);
        commit("g", {at("orders", 0, 5), at("notes", 0, 0)});
    }
}

TEST_CASE_METHOD(groups_fixture, "a reset takes in the topics and partitions that it names")
{
    commit("g", {at("orders", 0, 5)});
    const group_names notes{"notes"}, orders{"orders"}, nope{"nope"};
    CHECK(where(log().groups().reset("g", notes, reset_to::earliest{}, true)) ==
          "notes-0=0/0 lag 0");
    CHECK(where(log().groups().reset("g", orders, reset_to::latest{}, false)) ==
          "orders-0=10/10 lag 0, orders-1=1/1 lag 0");
    CHECK(committed("g") == "orders-0=10 orders-1=1");

    const std::vector<topic_partition> chosen{{"orders", 1}};
    CHECK(where(log().groups().reset("g", chosen, reset_to::earliest{}, false)) ==
          "orders-1=0/1 lag 1");
    CHECK(committed("g") == "orders-0=10 orders-1=0");

    // A group that is not there yet is put somewhere by name.
    CHECK(where(log().groups().reset("new", orders, reset_to::latest{}, false)) ==
          "orders-0=10/10 lag 0, orders-1=1/1 lag 0");
    reading();
    CHECK(committed("new") == "orders-0=10 orders-1=1");

    CHECK(complaint_of([&] {
              return log().groups().reset("g", nope, reset_to::latest{}, false);
          }) == errc::unknown_topic);
    CHECK(complaint_of([&] {
              return log().groups().reset("g", std::vector<topic_partition>{{"orders", 2}},
                                          reset_to::latest{}, false);
          }) == errc::partition_out_of_range);
    CHECK(complaint_of([&] {
              return log().groups().reset("nobody", group_names{}, reset_to::latest{}, true);
          }) == errc::unknown_group);
}

TEST_CASE_METHOD(groups_fixture, "a group is removed, or what it committed in some partitions")
{
    commit("g", {at("orders", 0, 5), at("orders", 1, 1), at("notes", 0, 0)});
    commit("h", {at("orders", 0, 1)});
    log().groups().remove("g", {{"orders", 1}, {"notes", 0}});
    CHECK(committed("g") == "orders-0=5");
    log().groups().remove("g");
    reading();
    CHECK(log().groups().list() == group_names{"h"});
    CHECK(log().groups().fetch("g").empty());
    CHECK(complaint_of([&] {
              log().groups().remove("g");
              return 0;
          }) == errc::unknown_group);
    reopen_without_index();
    CHECK(log().groups().list() == group_names{"h"});
    commit("g", {at("orders", 0, 2)});  // its name is free
    CHECK(committed("g") == "orders-0=2");
}

TEST_CASE_METHOD(groups_fixture, "groups whose newest commit is old are forgotten")
{
    commit("old", {at("orders", 0, 5), at("notes", 0, 0)});
    pass(1000);
    commit("new", {at("orders", 0, 5)});
    commit("both", {at("orders", 0, 5)});
    pass(500);
    commit("both", {at("orders", 1, 1)});
    CHECK(log().groups().expire(2000).empty());
    CHECK(log().groups().expire(1400) == group_names{"old"});
    CHECK(reading().groups().list() == group_names{"both", "new"});
    pass(600);
    CHECK(log().groups().expire(1000) == group_names{"new"});
    CHECK(committed("both") == "orders-0=5 orders-1=1");
    reopen_without_index();
    CHECK(log().groups().list() == group_names{"both"});
}

TEST_CASE_METHOD(groups_fixture, "the log forgets groups by itself when it cleans")
{
    options.group_retention = std::chrono::milliseconds{1000};
    close();
    if (!on_disk()) return;  // options are those of opening
    commit("old", {at("orders", 0, 5)});
    pass(1001);
    commit("new", {at("orders", 0, 5)});
    log().clean();
    CHECK(log().groups().list() == group_names{"new"});
}

TEST_CASE_METHOD(groups_fixture, "what a group committed in a topic goes with the topic")
{
    commit("g", {at("orders", 0, 5), at("notes", 0, 0)});
    log().delete_topic("orders");
    CHECK(committed("g") == "notes-0=0");
    topic("orders", 1);
    reading();
    CHECK_FALSE(log().groups().fetch("g", {"orders", 0}));
}

TEST_CASE_METHOD(plain_log, "groups commit from many threads at once")
{
    topic("orders", 4);
    std::vector<std::function<void()>> jobs;
    for (std::int32_t t = 0; t < 4; ++t)
        jobs.emplace_back([&, t] {
            for (std::int64_t i = 0; i < 25; ++i)
                log().groups().commit("g", {{.at = {"orders", t}, .offset = offset{i}}});
        });
    at_once(jobs);
    for (std::int32_t t = 0; t < 4; ++t)
        CHECK(log().groups().fetch("g", {"orders", t})->offset == offset{24});
}

namespace {

/// Two changes of groups that wait for one flush, the first before the second: an append before
/// them is held in its commit step, where it asks for the time, until both sleep in the queue.
struct two_in_one_flush : plain_log
{
    two_in_one_flush()
    {
        options.clock = [this] {
            const auto       me = std::this_thread::get_id();
            std::unique_lock lock{mutex_};
            if (me == held_) {
                held_    = std::thread::id{};
                holding_ = true;
                changed_.notify_all();
                changed_.wait(lock, [&] { return !holding_; });
            } else if (me == watched_) {
                watched_ = std::thread::id{};
                changed_.notify_all();
            }
            return timestamp{now()};
        };
    }

    /// What became of each: the code that was thrown, or nothing.
    std::pair<std::optional<errc>, std::optional<errc>> outcome(const std::function<void()>& first,
                                                                const std::function<void()>& second)
    {
        const auto before = log().statistics().groups;
        std::pair<std::optional<errc>, std::optional<errc>> codes;
        std::thread holder{[&] {
            {
                const std::lock_guard lock{mutex_};
                held_ = std::this_thread::get_id();
            }
            log().append({.records = {event("orders", "k", "x")}});
        }};
        {
            std::unique_lock lock{mutex_};
            changed_.wait(lock, [&] { return holding_; });
        }
        std::thread one = queued(first, codes.first);
        std::thread two = queued(second, codes.second);
        {
            const std::lock_guard lock{mutex_};
            holding_ = false;
            changed_.notify_all();
        }
        for (std::thread* t : {&holder, &one, &two}) t->join();
        together = log().statistics().groups - before == 2;
        return codes;
    }

    bool together = false;  ///< there was one flush for the two

private:
    std::thread queued(const std::function<void()>& job, std::optional<errc>& code)
    {
        pid_t       id = 0;
        std::thread t{[&job, &code, &id, this] {
            {
                const std::lock_guard lock{mutex_};
                id       = static_cast<pid_t>(::syscall(SYS_gettid));
                watched_ = std::this_thread::get_id();
            }
            try {
                job();
            } catch (const error& e) {
                code = e.code();
            }
        }};
        {
            // Each of them asks for the time before it goes to the queue.
            std::unique_lock lock{mutex_};
            changed_.wait(lock, [&] { return id != 0 && watched_ == std::thread::id{}; });
        }
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
        while (!sleeps(id) && std::chrono::steady_clock::now() < deadline)
            std::this_thread::yield();
        return t;
    }

    static bool sleeps(pid_t thread)
    {
        std::ifstream in{"/proc/self/task/" + std::to_string(thread) + "/stat"};
        std::string   line;
        std::getline(in, line);
        const auto name_end = line.rfind(')');
        return name_end != std::string::npos && line.substr(name_end, 3) == ") S";
    }

    std::mutex              mutex_;
    std::condition_variable changed_;
    std::thread::id         held_, watched_;
    bool                    holding_ = false;
};

}  // namespace

// A thread may sleep for another reason; so there are rounds, and no round may fail.

TEST_CASE_METHOD(two_in_one_flush, "a group that commits while it is forgotten keeps what it was "
                                   "told it has committed")
{
    topic("orders");
    for (std::int64_t i = 0; i < 10; ++i) {
        const std::string group = "g" + std::to_string(i);
        const auto commit = [&](std::int64_t at) {
            log().groups().commit(group, {{.at = {"orders", 0}, .offset = offset{at}}});
        };
        commit(0);
        pass(5000);
        const auto codes = outcome([&] { commit(i); }, [&] { log().groups().expire(1000); });
        CHECK_FALSE(codes.first);
        const auto kept = log().groups().fetch(group, {"orders", 0});
        REQUIRE(kept);
        CHECK(kept->offset == offset{i});
        log().groups().remove(group);
    }
}

TEST_CASE_METHOD(two_in_one_flush, "a group's generation does not go back, also within one flush")
{
    topic("orders");
    for (int i = 0; i < 10; ++i) {
        const std::string group = "g" + std::to_string(i);
        const auto        raise = [&](std::int32_t to) {
            return [this, group, to] { log().groups().set_generation(group, to); };
        };
        const auto codes = outcome(raise(5), raise(3));
        CHECK_FALSE(codes.first);
        CHECK(codes.second == errc::fenced_generation);
        log().groups().commit(group, {{.at = {"orders", 0}, .offset = offset{1}}}, 5);
    }
}

TEST_CASE_METHOD(two_in_one_flush, "commits of different groups share a flush")
{
    topic("orders");
    bool shared = false;
    for (int i = 0; i < 10; ++i) {
        const auto commit = [&](const std::string& group) {
            return [this, group] {
                log().groups().commit(group, {{.at = {"orders", 0}, .offset = offset{1}}});
            };
        };
        const auto codes = outcome(commit("a"), commit("b"));
        CHECK_FALSE(codes.first);
        CHECK_FALSE(codes.second);
        shared |= together;
    }
    CHECK(shared);
}
