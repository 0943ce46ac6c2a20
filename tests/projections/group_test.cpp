// SPDX-License-Identifier: Apache-2.0
//
// Runners that share a projection's partitions.
#include "main/complaint.hpp"
#include "main/seed.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/flows.hpp>
#include <cairn/projections/json_feed.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

constexpr int partitions = 6;

/// Instances of a service, over one log and one store; the time is the test's.
struct service
{
    explicit service(const std::string& kind) : store{kind}
    {
        log.create_topic("sales", partitions);
    }

    projection_options options() const
    {
        projection_options o;
        o.group             = group;
        o.commit_events_max = 10;
        o.topics            = {"sales"};
        return o;
    }
    template <class P = revenue>
    std::unique_ptr<projection_runner<P>> instance(projection_options o)
    {
        return std::make_unique<projection_runner<P>>(log, "revenue", store.store, std::move(o));
    }
    auto instance() { return instance(options()); }

    /// Until all who are there have their partitions and have handled them.
    template <class... Runners>
    void settle(Runners&... runners)
    {
        for (int i = 0; i < 10; ++i) {
            now.store(now.load() + group_coordinator::clock::duration{1s}.count());
            (runners->run_until_idle(), ...);
        }
    }

    void sell(int each)
    {
        for (int c = 0; c < 20; ++c)
            for (int i = 0; i < each; ++i) happen(log, sold("customer " + std::to_string(c), 1));
        sold_ += 20u * static_cast<unsigned>(each);
    }
    std::uint64_t events() const { return sold_; }

    commit_log                                 log = commit_log::in_memory();
    std::atomic<group_coordinator::clock::rep> now{1'000'000'000'000};
    local_group_coordinator                    coordinator{
        log, {}, [this] {
            return group_coordinator::instant{group_coordinator::clock::duration{now.load()}};
        }};
    projection_group group{coordinator};
    a_store          store;
    std::uint64_t    sold_ = 0;
};

/// The same as revenue, by other code.
struct revenue_2 : revenue
{
    using revenue::on;
    static constexpr int version = 2;
};

/// Tells each sale on, in a topic.
struct echo : flows<sales::Sold>
{
    echo()
    {
        from<sales::Sold>() | map([](sales::Sold::Reader e) {
            return event<sales::BigSale>{[&](auto b) { b.setCustomer(e.getCustomer()); }};
        }) | group_by([](const auto& b) { return std::string{b.read()->getCustomer()}; }) |
            to_topic("echoes");
    }
};

/// And in lines.
template <int code>
struct told : projection<sales::Sold>
{
    static constexpr int                 version = code;
    table<std::string, std::int64_t>     count{this, "count"};
    json_feed<std::string, std::int64_t> lines{this, "lines"};

    void on(sales::Sold::Reader e, const origin&)
    {
        count.update(e.getCustomer(), [](auto& n) { ++n; });
        lines.emit(e.getCustomer(), 1);
    }
};

struct kept_lines : feed_sink
{
    std::multiset<std::string> ids;

    std::size_t deliver(std::span<const feed_line> lines) override
    {
        for (const auto& l : lines) ids.insert(l.id);
        return lines.size();
    }
};

template <class... Runners>
std::size_t covered(const Runners&... runners)
{
    std::set<topic_partition> all;
    std::size_t               n = 0;
    for (const auto& s : {runners->status()...}) {
        n += s.partitions.size();
        all.insert(s.partitions.begin(), s.partitions.end());
    }
    CHECK(n == all.size());  // nobody has what another has
    return n;
}

}  // namespace

TEST_CASE("each runner of a group has some of the partitions, and together they have all")
{
    service s{CAIRN_EACH_STORE};
    s.sell(3);
    auto one = s.instance(), two = s.instance();
    s.settle(one);
    CHECK(one->status().partitions.size() == partitions);
    CHECK(one->view().read()->events() == s.events());

    s.settle(one, two);
    CHECK(covered(one, two) == partitions);
    CHECK(one->status().partitions.size() == partitions / 2);
    s.sell(3);
    s.settle(one, two);
    CHECK(one->status().events + two->status().events == s.events());
    CHECK(two->status().events > 0);
    CHECK(one->view().read()->events() == s.events());
    CHECK(two->view().read()->events() == s.events());
    CHECK(one->status().lag_events == 0);

    one.reset();
    s.sell(3);
    s.settle(two);
    CHECK(covered(two) == partitions);
    CHECK(two->view().read()->events() == s.events());
    CHECK(two->verify().ok);
}

TEST_CASE("wait_for waits for whoever has the event")
{
    service s{CAIRN_EACH_STORE};
    s.sell(1);
    auto one = s.instance(), two = s.instance();
    s.settle(one, two);
    one->start();
    two->start();
    for (int c = 0; c < 20; ++c) {
        const auto name = "customer " + std::to_string(c);
        happen(s.log, sold(name, 100));
        const auto p = s.log.end_position() - 1;
        CHECK(one->view().read(p, 1min)->spent_by(name) == 101);
        CHECK(two->view().read(p, 1min)->spent_by(name) == 101);
    }
}

TEST_CASE("a runner that stands still for a minute is replaced, and counts nothing twice after it")
{
    service            s{CAIRN_EACH_STORE};
    std::promise<void> standing, over;
    auto               o     = s.options();
    bool               stand = false;
    o.on_step                = [&, wait = over.get_future().share()](projection_step step) {
        if (step != projection_step::reading || !std::exchange(stand, false)) return;
        standing.set_value();
        wait.wait();
    };
    auto one = s.instance(o), two = s.instance();
    s.settle(one, two);
    s.sell(5);
    stand = true;
    std::thread slow{[&] { one->run_until_idle(); }};
    standing.get_future().wait();
    s.now += group_coordinator::clock::duration{60s}.count();
    s.settle(two);
    CHECK(two->status().partitions.size() == partitions);
    CHECK(two->view().read()->events() == s.events());
    over.set_value();
    slow.join();
    CHECK(two->view().read()->events() == s.events());
    s.sell(5);
    s.settle(one, two);
    CHECK(covered(one, two) == partitions);
    CHECK(one->view().read()->events() == s.events());
    CHECK(one->verify().ok);
}

TEST_CASE("runners that come, go and crash at drawn steps lose nothing and count nothing twice")
{
    const auto   seed = testing::seed();
    std::mt19937 random{static_cast<std::mt19937::result_type>(seed)};
    CAPTURE(seed);
    service                                                  s{CAIRN_EACH_STORE};
    std::vector<std::unique_ptr<projection_runner<revenue>>> all;
    std::uniform_int_distribution<int>                       draw{0, 99};
    int                                                      until_crash = 10, crashes = 0;
    auto                                                     o = s.options();
    o.on_step                                                  = [&](projection_step) {
        if (--until_crash > 0) return;
        until_crash = 5 + draw(random);
        throw std::runtime_error{"a crash"};
    };
    for (int round = 0; round < 60; ++round) {
        const int what = draw(random);
        if (all.empty() || (what < 20 && all.size() < 4)) all.push_back(s.instance(o));
        if (what >= 90) all.erase(all.begin() + what % static_cast<int>(all.size()));
        if (draw(random) < 50) s.sell(1);
        s.now += group_coordinator::clock::duration{std::chrono::seconds{draw(random) / 4}}.count();
        for (std::size_t i = 0; i < all.size();) try {
                all[i++]->run_until_idle();
            } catch (const std::runtime_error&) {
                ++crashes;
                all.erase(all.begin() + static_cast<std::ptrdiff_t>(--i));
            }
    }
    CHECK(crashes > 0);
    all.clear();
    auto last = s.instance();
    s.now += group_coordinator::clock::duration{10min}.count();
    s.settle(last);
    CHECK(last->view().read()->events() == s.events());
    CHECK(last->verify().ok);
}

TEST_CASE("threads of a group that are stopped and started while events come count each once")
{
    service s{CAIRN_EACH_STORE};
    // Their time is the real one.
    const projection_group group{local_group_coordinator{s.log}};
    auto                   o = s.options();
    o.group                  = group;
    auto one = s.instance(o), two = s.instance(o), three = s.instance(o);
    for (auto* r : {&one, &two, &three}) (*r)->start();
    std::thread seller{[&] { s.sell(10); }};
    two->stop();
    two->start();
    three.reset();
    seller.join();
    s.sell(1);
    const auto end = s.log.end_position() - 1;
    CHECK(two->view().read(end, 1min)->events() == s.events());
    CHECK(one->view().read(end, 1min)->events() == s.events());
    CHECK(one->verify().ok);
}

TEST_CASE("all runners of a group change to the version that one of them has built")
{
    service s{CAIRN_EACH_STORE};
    s.sell(3);
    auto one = s.instance(), two = s.instance();
    s.settle(one, two);
    one->rebuild();
    two->rebuild();  // that is being built already: it waits for it
    s.settle(one, two);
    CHECK(one->status().version == 2);
    CHECK(two->status().version == 2);
    CHECK_FALSE(two->status().rebuild);
    s.sell(2);
    s.settle(one, two);
    CHECK(covered(one, two) == partitions);
    CHECK(one->view().read()->events() == s.events());
    CHECK(two->view().read()->events() == s.events());

    two->swap_to(1);
    s.settle(one, two);
    CHECK(one->status().version == 1);
    CHECK(one->view().read()->events() == s.events());
    CHECK(two->verify().ok);
}

TEST_CASE("threads of a group change to a new version together")
{
    service                s{CAIRN_EACH_STORE};
    const projection_group group{local_group_coordinator{s.log}};
    auto                   o = s.options();
    o.group                  = group;
    s.sell(5);
    auto one = s.instance(o), two = s.instance(o);
    one->start();
    two->start();
    two->rebuild();
    std::thread seller{[&] { s.sell(5); }};
    while (one->status().version != 2 || two->status().version != 2) std::this_thread::yield();
    seller.join();
    const auto end = s.log.end_position() - 1;
    CHECK(one->view().read(end, 1min)->events() == s.events());
    CHECK(two->view().read(end, 1min)->events() == s.events());
    CHECK(two->verify().ok);
}

TEST_CASE("where the one that builds a version is gone, another goes on")
{
    service s{CAIRN_EACH_STORE};
    s.sell(5);
    auto o       = s.options();
    bool crashes = false;
    o.on_step    = [&](projection_step step) {
        if (crashes && step == projection_step::swapping) throw std::runtime_error{"a crash"};
    };
    auto one = s.instance(o), two = s.instance();
    s.settle(one, two);
    one->rebuild();
    two->rebuild();
    crashes = true;
    CHECK_THROWS_AS(one->run_until_idle(), std::runtime_error);
    one.reset();
    s.settle(two);
    CHECK(two->status().version == 2);
    CHECK(two->view().read()->events() == s.events());
    CHECK(two->verify().ok);
}

TEST_CASE("an event that cannot be handled stops who has its partition, and nobody else")
{
    service s{CAIRN_EACH_STORE};
    auto    one = s.instance(), two = s.instance();
    s.settle(one, two);
    happen(s.log, sold("poison", 1));
    const auto where = s.log.end_position() - 1;
    const auto fails = [&](auto& r) {
        return complaint_of([&] { r->run_until_idle(); }).has_value();
    };
    const bool first = fails(one), second = fails(two);
    CHECK(first != second);
    auto& stands = first ? one : two;
    CHECK(stands->status().state == projection_state::failed);
    s.sell(2);
    stands->skip(where);
    s.settle(one, two);
    CHECK(one->view().read()->events() == s.events());
}

TEST_CASE("a runner of a group is not inline")
{
    service s{"memory"};
    auto    one = s.instance();
    CHECK(complaint_of([&] { one->start_inline(); }) == errc::invalid_argument);
}

TEST_CASE("a runner without a group that writes the same tables is fenced")
{
    service                    s{CAIRN_EACH_STORE};
    projection_runner<revenue> alone{s.log, "revenue", s.store.store, {.topics = {"sales"}}};
    s.sell(1);
    alone.run_until_idle();
    auto one = s.instance();
    s.sell(1);
    s.settle(one);
    CHECK(one->view().read()->events() == s.events());
    s.sell(1);
    CHECK(complaint_of([&] { alone.run_until_idle(); }) == errc::fenced_generation);
    s.settle(one);
    CHECK(one->view().read()->events() == s.events());
}

TEST_CASE("of two runners with one instance id the one that came last goes on, the other says so")
{
    service s{CAIRN_EACH_STORE};
    auto    o     = s.options();
    o.instance_id = "a";
    s.sell(1);
    auto first = s.instance(o), second = s.instance(o);
    s.settle(first);
    second->run_until_idle();
    s.now += group_coordinator::clock::duration{30s}.count();
    first->run_until_idle();  // it hears that it has lost what it had
    CHECK(first->status().partitions.empty());
    CHECK(code_of([&] { first->run_until_idle(); }) == errc::fenced_instance);
    CHECK(first->status().state == projection_state::failed);
    s.sell(1);
    s.settle(second);
    CHECK(second->view().read()->events() == s.events());
}

TEST_CASE("a pause is for all runners of a group, and so is its end")
{
    service s{CAIRN_EACH_STORE};
    s.sell(1);
    auto one = s.instance(), two = s.instance();
    s.settle(one, two);
    one->pause();
    s.sell(1);
    s.settle(one, two);
    CHECK(one->view().read()->events() == s.events() / 2);
    CHECK(one->status().state == projection_state::paused);
    CHECK(two->status().state == projection_state::paused);
    two->resume();
    s.settle(one, two);
    CHECK(one->view().read()->events() == s.events());
    CHECK(two->status().state != projection_state::paused);
}

TEST_CASE("who follows a table through one runner sees what the others change")
{
    service s{CAIRN_EACH_STORE};
    auto    one = s.instance(), two = s.instance();
    s.settle(one, two);
    auto                                follower = one->view().follow(&revenue::by_customer);
    std::map<std::string, std::int64_t> seen;
    const auto                          take = [&] {
        while (const auto news = follower.next(0ms))
            for (const auto& [customer, spent] : news->rows) seen[customer] = spent;
    };
    s.sell(2);
    s.settle(one, two);
    take();
    CHECK(seen.size() == 20);
    for (const auto& [customer, spent] : seen) CHECK(spent == 2);
}

TEST_CASE("what flows make of a group's events for a topic is there once for each")
{
    service s{CAIRN_EACH_STORE};
    s.log.create_topic("echoes", 2);
    auto one = s.instance<echo>(s.options()), two = s.instance<echo>(s.options());
    s.settle(one, two);
    s.sell(3);
    s.settle(one, two);
    CHECK(one->status().events > 0);
    CHECK(two->status().events > 0);
    std::uint64_t echoes = 0;
    for (int p = 0; p < 2; ++p)
        echoes += static_cast<std::uint64_t>(s.log.partition("echoes", p).end_offset().value);
    CHECK(echoes == s.events());
}

TEST_CASE("the feeds of a group deliver each line, also after a change to another version")
{
    service    s{CAIRN_EACH_STORE};
    const auto sink = std::make_shared<kept_lines>();
    auto       o    = s.options();
    o.feeds         = {{"lines", sink}};
    {
        auto one = s.instance<told<1>>(o), two = s.instance<told<1>>(o);
        s.settle(one, two);
        s.sell(1);
        s.settle(one, two);
        CHECK(sink->ids.size() == s.events());
    }
    auto one = s.instance<told<2>>(o), two = s.instance<told<2>>(o);
    s.settle(one, two);
    CHECK(one->status().version == 2);
    CHECK(two->status().version == 2);
    s.sell(1);
    s.settle(one, two);
    CHECK(sink->ids.size() == s.events());
    CHECK(std::set<std::string>(sink->ids.begin(), sink->ids.end()).size() == s.events());
}

TEST_CASE("a group counts what matches a query, and parks what it cannot handle")
{
    service s{CAIRN_EACH_STORE};
    auto    o    = s.options();
    o.query      = query{{{.types = {"Sold"}}}};
    o.on_failure = on_failure::park;
    auto one = s.instance(o), two = s.instance(o);
    s.settle(one, two);
    s.sell(2);
    happen(s.log, returned("customer 1", 5), sold("poison", 1), sold("poison", 2));
    s.settle(one, two);
    CHECK(one->view().read()->events() == s.events());
    CHECK(one->status().parked == 2);
    CHECK(two->parked().size() == 2);
    for (const auto& e : two->parked()) two->skip_parked(e.in, e.at);
    s.sell(1);
    s.settle(one, two);
    CHECK(one->status().parked == 0);
    CHECK(one->view().read()->events() == s.events());
}

TEST_CASE("tables are verified at one moment, also while others of the group are further")
{
    service s{CAIRN_EACH_STORE};
    auto    one = s.instance(), two = s.instance();
    s.settle(one, two);
    s.sell(3);
    one->run_until_idle();  // its partitions, and not those of the other
    CHECK(one->verify().ok);
    s.settle(one, two);
    CHECK(two->verify().ok);
}

TEST_CASE("a pause of a group outlasts a reset, a rebuild, another version and a restart")
{
    service s{CAIRN_EACH_STORE};
    s.sell(1);
    auto one = s.instance(), two = s.instance();
    s.settle(one, two);
    one->rebuild();
    s.settle(one, two);
    const auto upto = one->status().upto;
    one->pause();
    const auto what = GENERATE(as<std::string>{}, "reset", "rebuild", "swap", "restart");
    if (what == "reset") two->reset();
    if (what == "rebuild") two->rebuild();
    if (what == "swap") two->swap_to(1);
    if (what == "restart") {
        one.reset();
        two.reset();
        one = s.instance(), two = s.instance();
    }
    s.sell(1);
    s.settle(one, two);
    INFO(what);
    CHECK(one->view().read()->events() == (what == "reset" ? 0 : s.events() / 2));
    CHECK(one->status().state == projection_state::paused);
    CHECK(two->status().state == projection_state::paused);
    if (what == "restart") CHECK(one->status().upto == upto);
    one->resume();
    s.settle(one, two);
    CHECK(two->view().read()->events() == s.events());
    CHECK(one->status().version == two->status().version);
}

TEST_CASE("a runner whose build failed changes to the version that another has built")
{
    service s{CAIRN_EACH_STORE};
    s.sell(5);
    {
        auto old = s.instance();
        s.settle(old);
    }
    auto o       = s.options();
    bool crashes = true;
    o.on_step    = [&](projection_step step) {
        if (crashes && step == projection_step::committing) throw std::runtime_error{"once"};
    };
    auto one = s.instance<revenue_2>(o), two = s.instance<revenue_2>(s.options());
    CHECK_THROWS_AS(one->run_until_idle(), std::runtime_error);
    crashes = false;
    s.settle(two, one);
    CHECK(one->status().version == 2);
    CHECK(two->status().version == 2);
    s.sell(1);
    s.settle(one, two);
    CHECK(one->view().read()->events() == s.events());
    CHECK(covered(one, two) == partitions);
}

TEST_CASE("a rebuild is begun and cancelled any number of times while a group counts")
{
    service                s{CAIRN_EACH_STORE};
    const projection_group group{local_group_coordinator{s.log}};
    auto                   o = s.options();
    o.group                  = group;
    o.commit_events_max      = 1;
    auto one = s.instance(o), two = s.instance(o);
    one->start();
    two->start();
    std::thread seller{[&] { s.sell(5); }};
    std::string thrown;
    for (int i = 0; i < 50 && thrown.empty(); ++i) try {
            one->rebuild();
            one->cancel_rebuild();
        } catch (const std::exception& e) {
            thrown = e.what();
        }
    seller.join();
    CHECK(thrown == "");
    INFO(one->status().error << two->status().error);
    const auto end = s.log.end_position() - 1;
    CHECK(one->view().read(end, 1min)->events() == s.events());
    CHECK(two->verify().ok);
}

TEST_CASE("of two threads with one instance id the one that is over says so, and ends nothing")
{
    service                s{"memory"};
    const projection_group group{local_group_coordinator{s.log}};
    auto                   o = s.options();
    o.group                  = group;
    o.instance_id            = "a";
    auto one = s.instance(o), two = s.instance(o);
    one->start();
    while (one->status().partitions.empty()) std::this_thread::yield();
    two->start();
    while (one->status().state != projection_state::failed) std::this_thread::yield();
    CHECK_THAT(one->status().error, Catch::Contains("instance id"));
    s.sell(1);
    CHECK(two->view().read(s.log.end_position() - 1, 1min)->events() == s.events());
}
