// SPDX-License-Identifier: Apache-2.0
//
// Projections that are looked after: paused, reset, and asked at the control socket.
#include "control_protocol.hpp"
#include "control_socket.hpp"
#include "json_line.hpp"
#include "main/complaint.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/projection_control.hpp>

#include <catch2/catch.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

/// Handles nothing of "bad…" as long as it is not mended, and waits at "slow" until it is let go.
struct moody_till : projection<sales::Sold>
{
    table<std::string, std::int64_t> spent{this, "spent"};

    static inline std::atomic<bool>       mended{false};
    static inline std::mutex              mutex;
    static inline std::condition_variable changed;
    static inline bool                    is_held = false, holds = false;

    void on(sales::Sold::Reader e, const origin&)
    {
        const std::string customer{e.getCustomer()};
        if (customer.starts_with("bad") && !mended)
            throw std::runtime_error{"bad \xff and not mended"};
        if (customer == "slow") {
            std::unique_lock lock{mutex};
            holds = true;
            changed.notify_all();
            changed.wait(lock, [] { return !is_held; });
            holds = false;
        }
        spent.update(customer, [&](auto& c) { c += e.getCents(); });
    }

    static void hold(bool yes)
    {
        const std::lock_guard lock{mutex};
        is_held = yes;
        changed.notify_all();
    }
    static void wait_until_held()
    {
        std::unique_lock lock{mutex};
        changed.wait(lock, [] { return holds; });
    }
};

commit_log log_in(const temporary_directory& place)
{
    auto log = commit_log::open(place / "data");
    log.create_topic("sales", 2);
    return log;
}

/// Asks by hand, and reads lines.
struct raw_client
{
    explicit raw_client(const std::string& data) : socket{cairn::detail::connect_to(data).value()}
    {
    }

    /// What is not taken, because it has been hung up on, does not matter.
    void say(const std::string& bytes) const
    {
        for (std::size_t done = 0; done < bytes.size();) {
            const auto n =
                ::send(socket.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
            if (n <= 0) return;
            done += static_cast<std::size_t>(n);
        }
    }
    /// The next line; "" where it has hung up.
    std::string line() const
    {
        std::string text;
        char        c = 0;
        while (::recv(socket.get(), &c, 1, 0) == 1) {
            if (c == '\n') return text;
            text.push_back(c);
        }
        return {};
    }

    cairn::detail::descriptor socket;
};

std::int64_t spent(const projection_runner<moody_till>& runner, const std::string& customer)
{
    return runner.view().read()->spent.find(customer).value_or(0);
}

/// Two instances of a service that share its partitions; the time is the test's.
struct two_tills
{
    explicit two_tills(commit_log l) : log{std::move(l)} {}

    std::unique_ptr<projection_runner<moody_till>> instance()
    {
        return std::make_unique<projection_runner<moody_till>>(
            log, "till", store, projection_options{.topics = {"sales"}, .group = group});
    }
    /// Until both have their partitions, and have handled them or stand before an event.
    void settle()
    {
        for (int i = 0; i < 10; ++i) {
            now.store(now.load() + group_coordinator::clock::duration{1s}.count());
            for (const auto* r : {&one, &two}) try {
                    if (*r) (*r)->run_until_idle();
                } catch (const projection_failed&) {
                    // Its status says so.
                }
        }
    }

    commit_log                                 log;
    std::atomic<group_coordinator::clock::rep> now{1'000'000'000'000};
    local_group_coordinator                    coordinator{
        log, {}, [this] {
            return group_coordinator::instant{group_coordinator::clock::duration{now.load()}};
        }};
    projection_group                               group{coordinator};
    std::shared_ptr<table_store>                   store = memory_tables();
    std::unique_ptr<projection_runner<moody_till>> one   = instance();
    std::unique_ptr<projection_runner<moody_till>> two   = instance();
};

/// A customer "bad…" of each of the two partitions.
std::vector<std::string> bad_ones(const commit_log& log)
{
    const auto                 first = log.partitions("sales").at(0);
    std::map<int, std::string> found;
    for (int i = 0; found.size() < 2; ++i) {
        const auto customer = "bad " + std::to_string(i);
        const auto was      = first.end_offset();
        happen(log, sold(customer, 1));
        found[first.end_offset() == was ? 1 : 0] = customer;
    }
    return {found[0], found[1]};
}

}  // namespace

// ---- The runner. -------------------------------------------------------------------------------

TEST_CASE("a projection that is paused handles nothing until it is resumed, restarts included")
{
    a_store s{CAIRN_EACH_STORE};
    auto    log = commit_log::in_memory();
    log.create_topic("sales", 2);
    happen(log, sold("ada", 1));
    {
        projection_runner<revenue> runner{log, "revenue", s.store};
        runner.start();
        REQUIRE(runner.view().wait_for(position{log.end_position().value - 1}, 30s));
        runner.pause();
        happen(log, sold("ada", 1));
        CHECK(runner.status().state == projection_state::paused);
        CHECK(runner.status().lag_events == 1);
        CHECK_FALSE(runner.view().wait_for(position{log.end_position().value - 1}, 30s));
        runner.run_until_idle();
        runner.rebuild();
        runner.start();
        CHECK(runner.view().read()->events() == 1);
    }
    if (s.lasts()) s.reopen();
    projection_runner<revenue> runner{log, "revenue", s.store};
    CHECK(runner.status().state == projection_state::paused);
    runner.start();
    CHECK(runner.view().read()->events() == 1);
    runner.resume();
    CHECK(runner.view().wait_for(position{log.end_position().value - 1}, 30s));
    CHECK(runner.view().read()->events() == 2);
    CHECK(runner.status().state != projection_state::paused);
}

TEST_CASE("one that is paused and counts inline counts what it has missed when it is resumed")
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 2);
    const event_store          store{log};
    projection_runner<revenue> runner{store, "revenue", memory_tables()};
    runner.start_inline();
    happen_through(store, sold("ada", 1));
    runner.pause();
    happen_through(store, sold("ada", 1));
    CHECK(runner.view().read()->events() == 1);
    runner.resume();
    CHECK(runner.view().read()->events() == 2);
    happen_through(store, sold("ada", 1));
    CHECK(runner.view().read()->events() == 3);
}

TEST_CASE("one that has failed tries again when it is resumed")
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 1);
    moody_till::mended = false;
    happen(log, sold("ada", 1), sold("bad", 1), sold("ada", 1));
    projection_runner<moody_till> till{log, "till", memory_tables()};
    till.start();
    CHECK_FALSE(till.view().wait_for(position{log.end_position().value - 1}, 30s));
    REQUIRE(till.status().state == projection_state::failed);
    moody_till::mended = true;
    till.resume();
    CHECK(till.view().wait_for(position{log.end_position().value - 1}, 30s));
    CHECK(spent(till, "ada") == 2);
    CHECK(spent(till, "bad") == 1);
}

TEST_CASE("reset throws the tables away and builds them where they are asked")
{
    a_store s{CAIRN_EACH_STORE};
    auto    log = commit_log::in_memory();
    log.create_topic("sales", 2);
    happen(log, sold("ada", 1), sold("bob", 2));
    projection_runner<revenue> runner{log, "revenue", s.store};
    runner.run_until_idle();
    runner.rebuild();
    runner.reset();
    CHECK(runner.view().read()->events() == 0);
    CHECK_FALSE(runner.status().rebuild);
    CHECK(runner.status().versions.size() == 1);
    CHECK(runner.status().versions.front().active);
    runner.run_until_idle();
    CHECK(runner.view().read()->events() == 2);
    CHECK(runner.verify().ok);
    runner.pause();
    runner.reset();
    runner.run_until_idle();
    CHECK(runner.view().read()->events() == 0);
    runner.resume();
    runner.run_until_idle();
    CHECK(runner.view().read()->events() == 2);
}

TEST_CASE("what is written as JSON reads back, every byte of it, and what is none is refused")
{
    using cairn::detail::json_value;
    std::string bytes;
    for (int b = 0; b < 256; ++b) bytes.push_back(static_cast<char>(b));
    json_value o{json_value::members{{bytes, bytes}, {"n", std::uint64_t(-1)}, {"d", 0.1}}};
    o.set("list", json_value::list{true, false, json_value{}, json_value::members{}, "x"});
    const auto line = o.line();
    CHECK(line.find('\n') == std::string::npos);
    const auto again = json_value::parse(line);
    CHECK(again.line() == line);
    CHECK(again[bytes].text() == bytes);
    CHECK(again["n"].number<std::uint64_t>() == std::uint64_t(-1));
    CHECK(again["d"].number<double>() == 0.1);
    CHECK_FALSE(again.has("nothing"));
    CHECK(json_value::parse(" { \"a\" : [ 1 , \"\\u0041\\n\" ] } ")["a"].items()[1].text() ==
          "A\n");
    for (const std::string text :
         {"",         "{",         "}",           "[1",
          "[1,",      "[1 2]",     "{\"a\"}",     "{\"a\":}",
          "{1:2}",    "tru",       "\"a",         "\"\\",
          "\"\\x\"",  "\"\\u12\"", "\"\\u1234\"", "\"\\u00zz\"",
          "\"\x01\"", "1 1",       "nulls",       "[[[[[[[[[[]]]]]]]]]]"}) {
        CAPTURE(text);
        CHECK(complaint_of([&] { json_value::parse(text); })->code == errc::invalid_argument);
    }
    for (const std::string text : {"1e", "-", "1.5", "300", "\"1\"", "null", "+1"}) {
        CAPTURE(text);
        CHECK(complaint_of([&] { json_value::parse(text).number<std::int8_t>(); })->code ==
              errc::invalid_argument);
    }
}

// ---- The socket. -------------------------------------------------------------------------------

TEST_CASE("a service's projections are looked after from outside")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    moody_till::mended            = false;
    happen(log, sold("ada", 1), sold("ada", 1));
    projection_control            control{log};
    projection_runner<moody_till> till{log, "till", lmdb_tables(place / "tables")};
    projection_runner<revenue>    sums{log, "revenue", memory_tables()};
    control.add(till);
    control.add(sums);
    CHECK(complaint_of([&] { control.add(till); })->says("already"));
    till.start();
    sums.start();
    projection_client client{log.directory()};
    CHECK(client.is_served());

    const auto all = client.status();
    REQUIRE(all.size() == 2);
    CHECK(all[0].name == "revenue");
    CHECK(all[1].name == "till");
    CHECK(all[1].version == 1);
    CHECK(complaint_of([&] { client.status("tall"); })->says("the service has revenue, till"));

    const auto counted = [&](const std::string& name) {
        return name == "till" ? till.view().wait_for(position{log.end_position().value - 1}, 30s)
                              : sums.view().wait_for(position{log.end_position().value - 1}, 30s);
    };
    REQUIRE(counted("till"));
    client.pause("till");
    happen(log, sold("ada", 5));
    CHECK(client.status("till").state == projection_state::paused);
    CHECK(client.status("till").lag_events == 1);
    client.resume("till");
    REQUIRE(counted("till"));
    CHECK(spent(till, "ada") == 7);

    CHECK(client.rebuild("till") == 2);
    REQUIRE([&] {
        while (client.status("till").version != 2) std::this_thread::yield();
        return true;
    }());
    client.swap_to("till", 1);
    CHECK(client.status("till").version == 1);
    CHECK(complaint_of([&] { client.drop("till", 1); })->code == errc::invalid_argument);
    client.drop("till", 2);
    CHECK(client.status("till").versions.size() == 1);
    REQUIRE(counted("till"));
    const auto verified = client.verify("till");
    CHECK(verified.ok);
    CHECK(verified.stored == verified.rebuilt);
    client.reset("till");
    REQUIRE(counted("till"));
    CHECK(spent(till, "ada") == 7);
    client.cancel_rebuild("till");

    happen(log, sold("bad", 3));
    CHECK_FALSE(counted("till"));
    const auto failed = client.status("till");
    CHECK(failed.state == projection_state::failed);
    CHECK(failed.error.find("bad \xff and not mended") != std::string::npos);
    REQUIRE(failed.stands_before);
    CHECK(complaint_of([&] {
              client.skip("till", failed.stands_before->next());
          })->says("does not stand before"));
    client.skip("till", *failed.stands_before);
    CHECK(counted("till"));
    REQUIRE([&] {
        while (client.status("till").state != projection_state::following)
            std::this_thread::yield();
        return true;
    }());
    CHECK(spent(till, "bad") == 0);
}

TEST_CASE("what is parked is listed, retried and skipped from outside")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    moody_till::mended            = false;
    const std::string key         = "bad";
    for (int i = 0; i < 40; ++i) happen(log, sold("bad", 1));
    projection_control            control{log};
    projection_runner<moody_till> till{
        log, "till", memory_tables(), {.topics = {"sales"}, .on_failure = on_failure::park}};
    control.add(till);
    till.run_until_idle();
    projection_client         client{log.directory()};
    std::vector<parked_event> all;
    for (auto some = client.parked("till"); !some.empty(); some = client.parked("till", all.back()))
        all.insert(all.end(), some.begin(), some.end());
    REQUIRE(all.size() == 40);
    CHECK(all.front().why == "bad \xff and not mended");
    CHECK(all.front().key == till.parked(1).front().key);
    CHECK(all.front().since == till.parked(1).front().since);
    CHECK(all.back().why == till.parked(40).back().why);
    CHECK(client.retry_parked("till") == 0);
    client.skip_parked("till", all.front().in, all.front().at);
    CHECK(complaint_of([&] {
              client.skip_parked("till", all.front().in, all.front().at);
          })->says("nothing parked"));
    moody_till::mended = true;
    CHECK(client.retry_parked("till") == 39);
    CHECK(client.parked("till").empty());
    CHECK(spent(till, "bad") == 39);
}

TEST_CASE("all runners of a group are listed, and what is asked of their projection one does")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    moody_till::mended            = true;
    moody_till::hold(false);
    const auto         bad = bad_ones(log);
    two_tills          tills{log};
    projection_control control{log};
    control.add(*tills.one);
    control.add(*tills.two);
    tills.settle();
    projection_client client{log.directory()};

    const auto all = client.status();
    REQUIRE(all.size() == 2);
    CHECK(all[0].name == "till");
    CHECK(all[1].name == "till");
    REQUIRE(all[0].partitions.size() == 1);
    REQUIRE(all[1].partitions.size() == 1);
    CHECK(all[0].partitions == tills.one->status().partitions);
    CHECK(all[0].partitions != all[1].partitions);
    CHECK(client.instances("till").size() == 2);
    CHECK(client.status("till").partitions == all[0].partitions);
    CHECK(complaint_of([&] { client.status("tall"); })->says("the service has till"));
    CHECK_FALSE(complaint_of([&] { client.status("tall"); })->says("till, till"));

    client.pause("till");
    happen(log, sold("ada", 1));
    tills.settle();
    for (const auto& s : client.status()) CHECK(s.state == projection_state::paused);
    CHECK(spent(*tills.one, "ada") == 0);
    client.resume("till");
    tills.settle();
    for (const auto& s : client.status()) CHECK(s.state != projection_state::paused);
    CHECK(spent(*tills.one, "ada") == 1);

    CHECK(client.rebuild("till") == 2);
    tills.settle();
    for (const auto& s : client.status()) CHECK(s.version == 2);
    CHECK(client.verify("till").ok);
    client.swap_to("till", 1);
    tills.settle();
    for (const auto& s : client.status()) CHECK(s.version == 1);
    client.drop("till", 2);
    CHECK(client.status("till").versions.size() == 1);
    client.reset("till");
    tills.settle();
    for (const auto& s : client.status()) CHECK(s.version == 3);
    CHECK(spent(*tills.two, "ada") == 1);
    // Whoever builds is the one that is asked to end it.
    tills.two->rebuild();
    client.cancel_rebuild("till");
    for (const auto& s : client.status()) CHECK_FALSE(s.rebuild);
    CHECK(spent(*tills.one, bad[0]) >= 1);
}

TEST_CASE("the event that one of a group stands before is skipped there")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    moody_till::mended            = true;
    moody_till::hold(false);
    const auto         bad = bad_ones(log);
    two_tills          tills{log};
    projection_control control{log};
    control.add(*tills.one);
    control.add(*tills.two);
    tills.settle();
    const auto before  = std::array{spent(*tills.one, bad[0]), spent(*tills.one, bad[1])};
    moody_till::mended = false;
    for (const auto& customer : bad) happen(log, sold(customer, 100));
    tills.settle();
    projection_client client{log.directory()};
    const auto        standing = client.instances("till");
    REQUIRE(standing.size() == 2);
    REQUIRE(standing[0].stands_before);
    REQUIRE(standing[1].stands_before);
    CHECK(standing[0].stands_before != standing[1].stands_before);
    CHECK(complaint_of([&] {
              client.skip("till", log.end_position());
          })->says("does not stand before"));
    client.skip("till", *standing[1].stands_before);
    CHECK(client.instances("till")[0].stands_before == standing[0].stands_before);
    CHECK_FALSE(client.instances("till")[1].stands_before);
    client.skip("till", *standing[0].stands_before);
    tills.settle();
    for (const auto& s : client.status()) {
        CHECK_FALSE(s.stands_before);
        CHECK(s.lag_events == 0);
    }
    CHECK(spent(*tills.two, bad[0]) == before[0]);
    CHECK(spent(*tills.two, bad[1]) == before[1]);
}

TEST_CASE("two runners of one name that are in no common group are refused")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    two_tills                 tills{log};
    two_tills                 others{log};
    projection_control        control{log};
    control.add(*tills.one);
    CHECK(complaint_of([&] { control.add(*tills.one); })->says("already"));
    CHECK(complaint_of([&] { control.add(*others.one); })->says("already"));
    {
        projection_runner<moody_till> alone{log, "till", memory_tables()};
        CHECK(complaint_of([&] { control.add(alone); })->says("already"));
    }
    control.add(*tills.two);
    projection_client client{log.directory()};
    CHECK(client.status().size() == 2);
    // The name is the group's as long as one of it is there.
    tills.one.reset();
    CHECK(client.status().size() == 1);
    CHECK(complaint_of([&] { control.add(*others.one); })->says("already"));
    tills.two.reset();
    control.add(*others.one);
    CHECK(client.status().size() == 1);
}

TEST_CASE("what the stores hold and no runner feeds is told apart")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    moody_till::mended            = true;
    happen(log, sold("ada", 1));
    const auto store = lmdb_tables(place / "tables");
    projection_runner<moody_till>{log, "old_till", store}.run_until_idle();
    projection_control            control{log};
    projection_runner<moody_till> till{log, "till", store};
    projection_runner<revenue>    sums{log, "revenue", store};
    control.add(till);
    control.add(sums);
    projection_client client{log.directory()};
    const auto        unfed = client.unfed();
    REQUIRE(unfed.size() == 1);
    CHECK(unfed[0].name == "old_till");
    CHECK(unfed[0].version == 1);
    CHECK(unfed[0].upto > position{0});
    CHECK(unfed[0].end == log.end_position());
    CHECK(unfed[0].versions.size() == 1);
    CHECK(client.status().size() == 2);
    // Nothing of it is open: it can be fed again.
    projection_runner<moody_till> again{log, "old_till", store};
    control.add(again);
    CHECK(client.unfed().empty());
}

TEST_CASE("only the user whose process it is can ask, and the socket goes with the control")
{
    const temporary_directory place;
    const auto                log  = log_in(place);
    const auto                path = log.directory() + "/control.sock";
    {
        const projection_control control{log};
        struct ::stat            found = {};
        REQUIRE(::stat(path.c_str(), &found) == 0);
        CHECK(S_ISSOCK(found.st_mode));
        CHECK((found.st_mode & 0777) == 0600);
        // A second service of the same log.
        CHECK(complaint_of([&] { const projection_control another{log}; })->code ==
              errc::held_by_another);
        CHECK(projection_client{log.directory()}.is_served());
    }
    CHECK_FALSE(std::filesystem::exists(path));
    projection_client client{log.directory()};
    CHECK_FALSE(client.is_served());
    CHECK(complaint_of([&] { client.status(); })->code == errc::closed);
    CHECK(complaint_of([] { const projection_control c{commit_log::in_memory()}; })->code ==
          errc::invalid_argument);
}

TEST_CASE("a socket that a dead process has left is replaced")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    {
        // As a process leaves it that is killed.
        const auto dead = cairn::detail::listen_at(log.directory());
    }
    REQUIRE(std::filesystem::exists(log.directory() + "/control.sock"));
    CHECK_FALSE(projection_client{log.directory()}.is_served());
    const projection_control control{log};
    CHECK(projection_client{log.directory()}.status().empty());
}

TEST_CASE("a data directory may have a longer path than a socket's address holds")
{
    const temporary_directory place;
    const std::string         deep = place / std::string(120, 'd');
    std::filesystem::create_directories(deep);
    const auto               log = commit_log::open(deep + "/data");
    const projection_control control{log};
    CHECK(std::filesystem::exists(deep + "/data/control.sock"));
    CHECK(projection_client{log.directory()}.status().empty());
    CHECK(complaint_of([&] { const projection_control another{log}; })->code ==
          errc::held_by_another);
}

TEST_CASE("nonsense at the socket is answered, and harms nobody")
{
    const temporary_directory  place;
    const auto                 log = log_in(place);
    projection_control         control{log};
    projection_runner<revenue> runner{log, "revenue", memory_tables()};
    control.add(runner);
    const std::string              good = R"({"do":"status"})";
    const raw_client               one{log.directory()};
    const std::vector<std::string> nonsense{
        "",
        "nonsense",
        "{",
        "[]",
        "{}",
        "null",
        R"({"do":1})",
        R"({"do":"dance"})",
        R"({"do":"drop"})",
        R"({"do":"drop","projection":"revenue","version":1e99})",
        R"({"do":"drop","projection":"revenue","version":"1"})",
        R"({"do":"drop","projection":"revenue","version":1})",
        R"({"do":"skip","projection":"revenue"})",
        R"({"do":"skip_parked","projection":"revenue"})",
        R"({"do":"skip_parked","projection":"revenue","topic":"s","partition":-1,"offset":-9})",
        R"({"do":"status","projection":"\u20ac"})",
        R"({"do":"status","projection":"nobody"})",
        std::string(50, '[') + std::string(50, ']'),
        std::string("\0\x01\xff", 3),
    };
    for (const auto& line : nonsense) {
        CAPTURE(line);
        one.say(line + "\n");
        const auto answer = one.line();
        CHECK(answer.find(R"("ok":false)") != std::string::npos);
        CHECK(complaint_of([&] { cairn::detail::answer_from(answer); })->code ==
              errc::invalid_argument);
    }
    // The connection is as good as before; several requests may come at once.
    one.say(good + "\n" + good + "\n");
    CHECK(cairn::detail::answer_from(one.line()).projections.size() == 1);
    CHECK(cairn::detail::answer_from(one.line()).projections.size() == 1);

    const raw_client endless{log.directory()};
    endless.say(std::string(cairn::detail::request_bytes_max + 5000, 'x'));
    CHECK(endless.line().find("at most") != std::string::npos);
    CHECK(endless.line().empty());  // and it has hung up

    // What answers, and is none.
    CHECK(complaint_of([] { cairn::detail::answer_from("hello"); })->code == errc::io_failed);
}

TEST_CASE("one who has said all may close that side, and is answered")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    const projection_control  control{log};
    const raw_client          half{log.directory()};
    half.say("{\"do\":\"status\"}\n");
    REQUIRE(::shutdown(half.socket.get(), SHUT_WR) == 0);
    CHECK(cairn::detail::answer_from(half.line()).projections.empty());
    CHECK(half.line().empty());

    const raw_client cut{log.directory()};
    cut.say("{\"do\":\"sta");
    REQUIRE(::shutdown(cut.socket.get(), SHUT_WR) == 0);
    CHECK(cut.line().empty());
}

TEST_CASE("who says nothing, or does not read, keeps nobody else from being answered")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    const projection_control  control{log};
    std::vector<raw_client>   idle;
    for (int i = 0; i < 100; ++i) {
        idle.emplace_back(log.directory());
        if (i % 3 == 0) idle.back().say("{\"do\":");
    }
    // Asks until nothing more is taken, and reads none of it.
    const raw_client  deaf{log.directory()};
    const std::string request = "{\"do\":\"status\"}\n";
    for (;;) {
        ::pollfd to{deaf.socket.get(), POLLOUT, 0};
        if (::poll(&to, 1, 200) != 1 || (to.revents & POLLOUT) == 0) break;
        if (::send(deaf.socket.get(), request.data(), request.size(), MSG_NOSIGNAL | MSG_DONTWAIT) <
            0)
            break;
    }
    projection_client client{log.directory()};
    for (int i = 0; i < 100; ++i) CHECK(client.status().empty());
    // Of those that said nothing, the ones that came last are still there.
    idle.back().say("\"status\"}\n");
    CHECK_FALSE(idle.back().line().empty());
}

TEST_CASE("a hundred who ask at once are all answered")
{
    const temporary_directory  place;
    const auto                 log = log_in(place);
    projection_control         control{log};
    projection_runner<revenue> runner{log, "revenue", memory_tables()};
    control.add(runner);
    std::atomic<int>         answered{0};
    std::vector<std::thread> all;
    for (int i = 0; i < 100; ++i)
        all.emplace_back([&] {
            try {
                answered += projection_client{log.directory()}.status().size() == 1;
            } catch (const error& e) {
                // Whoever has not asked yet may be hung up on in favour of one who does.
                if (e.code() == errc::closed)
                    answered += projection_client{log.directory()}.status().size() == 1;
            }
        });
    for (auto& t : all) t.join();
    CHECK(answered == 100);
}

TEST_CASE("a runner that goes ends what is being asked of it, and is then not known any more")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    moody_till::mended            = true;
    moody_till::hold(false);
    for (int i = 0; i < 50; ++i) happen(log, sold("slow", 1));
    projection_control control{log};
    auto till = std::make_unique<projection_runner<moody_till>>(log, "till", memory_tables());
    control.add(*till);
    till->run_until_idle();
    moody_till::hold(true);
    std::optional<complaint> why;
    std::thread              asks{
        [&] { why = complaint_of([&] { projection_client{log.directory()}.verify("till"); }); }};
    moody_till::wait_until_held();
    std::thread goes{[&] { till.reset(); }};
    while (!projection_client{log.directory()}.status().empty()) std::this_thread::yield();
    // Verifying stops at the event that it is at.
    moody_till::hold(false);
    goes.join();
    asks.join();
    REQUIRE(why);
    CHECK(why->code == errc::closed);
    CHECK(projection_client{log.directory()}.status().empty());
    // The name is free again.
    projection_runner<moody_till> again{log, "till", memory_tables()};
    control.add(again);
    CHECK(projection_client{log.directory()}.status().size() == 1);
}

TEST_CASE("a control that goes ends what is being asked of it")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    moody_till::mended            = true;
    moody_till::hold(false);
    for (int i = 0; i < 50; ++i) happen(log, sold("slow", 1));
    projection_runner<moody_till> till{log, "till", memory_tables()};
    till.run_until_idle();
    auto control = std::make_unique<projection_control>(log);
    control->add(till);
    moody_till::hold(true);
    std::optional<complaint> why;
    std::thread              asks{
        [&] { why = complaint_of([&] { projection_client{log.directory()}.verify("till"); }); }};
    moody_till::wait_until_held();
    std::thread goes{[&] { control.reset(); }};
    asks.join();  // hung up on, however long the event takes
    moody_till::hold(false);
    goes.join();
    CHECK(why);
    CHECK(till.verify().ok);
}

TEST_CASE("what takes long is given up when the one who asked it goes away")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    moody_till::mended            = true;
    moody_till::hold(false);
    for (int i = 0; i < 10; ++i) happen(log, sold("slow", 1));
    projection_runner<moody_till> till{log, "till", memory_tables()};
    till.run_until_idle();
    projection_control control{log};
    control.add(till);
    moody_till::hold(true);
    struct had_enough
    {};
    std::atomic<bool> enough{false};
    std::thread       asks{[&] {
        projection_client impatient{log.directory(), [&] {
                                        if (enough) throw had_enough{};
                                    }};
        CHECK_THROWS_AS(impatient.verify("till"), had_enough);
    }};
    moody_till::wait_until_held();
    enough = true;
    asks.join();
    moody_till::hold(false);
    CHECK(projection_client{log.directory()}.status().size() == 1);
    CHECK(projection_client{log.directory()}.verify("till").ok);
}

TEST_CASE("controls and runners begin and end in any order, again and again")
{
    const temporary_directory place;
    const auto                log = log_in(place);
    happen(log, sold("ada", 1));
    for (int i = 0; i < 100; ++i) {
        auto control = std::make_unique<projection_control>(log);
        auto runner = std::make_unique<projection_runner<revenue>>(log, "revenue", memory_tables());
        control->add(*runner);
        runner->start();
        if (i % 3 != 0) CHECK(projection_client{log.directory()}.status().size() == 1);
        if (i % 2 == 0)
            control.reset();
        else
            runner.reset();
    }
}
