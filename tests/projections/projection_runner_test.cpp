// SPDX-License-Identifier: Apache-2.0
#include "event_store_core.hpp"
#include "main/complaint.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/live.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <future>
#include <map>
#include <thread>
#include <utility>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

commit_log a_log(int partitions = 3)
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", partitions);
    return log;
}

}  // namespace

TEST_CASE("a projection counts what was there and what comes")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    happen(log, sold("ada", 30), sold("bob", 20), returned("ada", 10));
    projection_runner<revenue> runner{log, "revenue", s.store};
    const auto                 view = runner.view();
    CHECK(view.read()->spent_by("ada") == 0);
    runner.run_until_idle();
    CHECK(view.read()->spent_by("ada") == 20);
    CHECK(view.read()->events() == 3);
    runner.run_until_idle();
    CHECK(view.read()->events() == 3);

    runner.start();
    happen(log, sold("ada", 5));
    CHECK(view.read(log.end_position() - 1, 1min)->spent_by("ada") == 25);
    CHECK(view.status().lag_events == 0);
    runner.stop();
    CHECK(view.status().state == projection_state::idle);
}

TEST_CASE("a runner goes on where the one before it was")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    for (int i = 0; i < 5; ++i) {
        happen(log, sold("ada", 1), sold("bob", 1));
        projection_runner<revenue> runner{log, "revenue", s.store};
        runner.run_until_idle();
        CHECK(runner.status().events == 2);
        CHECK(runner.view().read()->events() == 2 * static_cast<std::uint64_t>(i + 1));
    }
}

TEST_CASE("what a receipt says is there when it was waited for, from many threads")
{
    a_store                    s{CAIRN_EACH_STORE};
    const auto                 log = a_log();
    projection_runner<revenue> runner{log, "revenue", s.store};
    runner.start();
    const auto               view = runner.view();
    std::vector<std::thread> callers;
    std::atomic<int>         wrong{0};
    for (int t = 0; t < 4; ++t)
        callers.emplace_back([&, me = "customer " + std::to_string(t)] {
            for (int i = 1; i <= 25; ++i) {
                happen(log, sold(me, 1));
                wrong += view.read(log.end_position() - 1, 1min)->spent_by(me) != i;
            }
        });
    for (auto& c : callers) c.join();
    CHECK(wrong == 0);
    CHECK(view.read()->events() == 100);
}

TEST_CASE("waiting for what does not come ends at the deadline, and when the runner stops")
{
    const auto                 log = a_log();
    projection_runner<revenue> runner{log, "revenue", memory_tables()};
    runner.start();
    const auto view = runner.view();
    CHECK_FALSE(view.wait_for(position{1'000}, 0ms));
    CHECK(complaint_of([&] { (void)view.read(position{1'000}, 0ms); }) == errc::read_timeout);
    std::thread waits{[&] { CHECK_FALSE(view.wait_for(position{1'000}, 10min)); }};
    runner.stop();
    waits.join();
}

TEST_CASE("who has waited for an event finds that the projection follows, and no failure of before")
{
    const auto log = a_log();
    happen(log, sold("ada", 1));
    std::promise<void>         looked;
    bool                       away = true;
    projection_runner<revenue> runner{
        log,
        "revenue",
        memory_tables(),
        {.on_step = [&, seen = looked.get_future().share()](auto s) {
            if (s == projection_step::committing && std::exchange(away, false))
                throw error{errc::store_unavailable, "the store is away"};
            // So the thread is not a step further than who waits for it.
            if (s == projection_step::committed) seen.wait();
        }}};
    runner.start();
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    const auto status = runner.status();
    looked.set_value();
    CHECK(status.state == projection_state::following);
    CHECK(status.error.empty());
}

TEST_CASE(
    "an event that a handler throws at stops the projection before it, and nothing is skipped")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log(1);
    happen(log, sold("ada", 1), sold("bob", 2), sold("poison", 3), sold("ada", 4));
    projection_runner<revenue> runner{log, "revenue", s.store};
    try {
        runner.run_until_idle();
        FAIL("nothing was thrown");
    } catch (const projection_failed& e) {
        CHECK(e.in() == topic_partition{"sales", 0});
        CHECK(e.at() == offset{2});
        CHECK(std::string{e.what()}.find("this customer is poison") != std::string::npos);
        CHECK(std::string{e.what()}.find("Sold") != std::string::npos);
    }
    const auto view = runner.view();
    CHECK(view.read()->events() == 2);
    CHECK(view.read()->spent_by("ada") == 1);
    CHECK(view.status().state == projection_state::failed);
    CHECK(view.status().error.find("poison") != std::string::npos);
    CHECK(view.status().lag_events == 2);
    CHECK_FALSE(view.wait_for(log.end_position() - 1, 0ms));

    // Other code can.
    struct patient : projection<sales::Sold>
    {
        table<std::string, std::int64_t>  by_customer{this, "by_customer"};
        table<std::string, std::int64_t>  by_country{this, "by_country"};
        table<std::string, std::uint64_t> counted{this, "counted"};
        void                              on(sales::Sold::Reader, const origin&)
        {
            counted.update("events", [](auto& n) { ++n; });
        }
    };
    projection_runner<patient> mended{log, "revenue", s.store};
    mended.run_until_idle();
    CHECK(mended.view().read()->counted.find("events") == 4u);
}

TEST_CASE("what a commit that failed would have had is not counted twice by the one after it")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("ada", 2));
    int                failures = 1;
    projection_options o;
    o.on_step = [&](projection_step step) {
        if (step == projection_step::committing && failures-- > 0)
            throw error{errc::store_unavailable, "the store is away"};
    };
    projection_runner<revenue> runner{log, "revenue", s.store, o};
    CHECK(code_of([&] { runner.run_until_idle(); }) == errc::store_unavailable);
    runner.run_until_idle();
    CHECK(runner.view().read()->spent_by("ada") == 3);
    CHECK(runner.view().read()->events() == 2);
}

TEST_CASE("records of all partitions are handled in the order of their positions")
{
    struct in_order : projection<sales::Sold>
    {
        table<std::int64_t, std::string> seen{this, "seen"};
        void                             on(sales::Sold::Reader e, const origin& from)
        {
            for (const auto& last : seen.rows_backwards()) {
                if (last.key >= from.position().value) throw std::runtime_error{"out of order"};
                break;
            }
            seen.put(from.position().value, std::string{e.getCustomer()});
        }
    };
    const auto log = a_log(5);
    for (int i = 0; i < 200; ++i) happen(log, sold(std::to_string(i), 1));
    projection_runner<in_order> runner{log, "in_order", memory_tables(), {.commit_events_max = 7}};
    runner.run_until_idle();
    CHECK(runner.view().read()->seen.size() == 200);
    CHECK(runner.status().commits > 20);
}

TEST_CASE("a projection knows where its events come from")
{
    struct where : projection<sales::Sold>
    {
        table<std::string, std::string> from{this, "from"};
        void                            on(sales::Sold::Reader e, const origin& o)
        {
            from.put(e.getCustomer(), std::string{o.topic()} + "/" + std::string{o.stream()} +
                                          " v" +
                                          std::to_string(o.version().value_or(version{-1}).value) +
                                          (o.id() ? " id" : ""));
        }
    };
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("ada", 1));
    projection_runner<where> runner{log, "where", memory_tables()};
    runner.run_until_idle();
    CHECK(runner.view().read()->from.find("ada") == "sales/ada v1 id");
}

TEST_CASE("old events are counted as what upcasters make of them, each from where it was recorded")
{
    struct heard : projection<sales::Sold, sales::BigSale>
    {
        table<std::string, std::int64_t> sold{this, "sold"}, big{this, "big"};
        void                             on(sales::Sold::Reader e, const origin& o)
        {
            sold.put(e.getCustomer().cStr() + std::string{o.stream()}, e.getCents());
        }
        void on(sales::BigSale::Reader e, const origin& o)
        {
            big.put(e.getCustomer().cStr() + std::string{o.stream()}, e.getCents());
        }
    };
    const auto big_sale = [](const char* customer) {
        return event<sales::BigSale>{[&](auto e) {
            e.setCustomer(customer);
            e.setCents(100);
        }};
    };
    upcasters old;
    old.merge<sales::BigSale, sales::Returned>(
        [](sales::BigSale::Reader a, sales::Returned::Reader b) {
            return sold(a.getCustomer(), a.getCents() - b.getCents());
        });
    const event_store store{a_log(), {.upcasters = old}};
    const auto        record = [&](const char* stream, const std::vector<any_event>& events) {
        cairn::testing::detail::record_in(store, {"sales", stream}, events);
    };
    record("x", {big_sale("ada"), returned("ada", 10)});
    record("y", {big_sale("bob")});
    record("z", {returned("bob", 10)});  // next to it, in another stream
    record("x", {big_sale("cyd")});      // at the end

    for (const std::size_t each : {1, 100}) {
        projection_runner<heard> runner{
            store, "heard", memory_tables(), {.commit_events_max = each}};
        runner.run_until_idle();
        const auto now = runner.view().read();
        CHECK(now->sold.size() == 1);
        CHECK(now->sold.find("adax") == 90);
        CHECK(now->big.size() == 2);
        CHECK(now->big.find("boby") == 100);
        CHECK(now->big.find("cydx") == 100);
    }
}

TEST_CASE("a projection of chosen topics leaves the others")
{
    auto log = a_log();
    log.ensure_topic("other");
    happen(log, sold("ada", 1));
    const event_store store{log};
    testing::detail::record_in(store, {"other", "bob"}, {sold("bob", 1)});
    projection_runner<revenue> all{log, "all", memory_tables()};
    projection_runner<revenue> one{log, "one", memory_tables(), {.topics = {"other"}}};
    all.run_until_idle();
    one.run_until_idle();
    CHECK(all.view().read()->events() == 2);
    CHECK(one.view().read()->events() == 1);
}

TEST_CASE("of two runners of one version the one that began last writes, and the other says so")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    happen(log, sold("ada", 1));
    projection_runner<revenue> first{log, "revenue", s.store};
    projection_runner<revenue> second{log, "revenue", s.store};
    first.run_until_idle();
    happen(log, sold("ada", 1));
    second.run_until_idle();
    happen(log, sold("ada", 1));
    const auto e = complaint_of([&] { first.run_until_idle(); });
    REQUIRE(e);
    CHECK(*e == errc::fenced_generation);
    second.run_until_idle();
    CHECK(second.view().read()->events() == 3);
}

TEST_CASE("tables that know more than the log are refused with both numbers")
{
    a_store s{CAIRN_EACH_STORE};
    {
        const auto log = a_log(1);
        happen(log, sold("ada", 1), sold("ada", 1));
        projection_runner<revenue>{log, "revenue", s.store}.run_until_idle();
    }
    const auto                 log = a_log(1);
    projection_runner<revenue> runner{log, "revenue", s.store};
    const auto                 e = complaint_of([&] { runner.run_until_idle(); });
    REQUIRE(e == errc::checkpoint_ahead);
    CHECK(e->says("counted up to offset 2, and the log ends at 0"));
    CHECK(e->says("rebuild"));
}

TEST_CASE("events that retention took before they were counted are missed aloud")
{
    const auto                 log = a_log(1);
    projection_runner<revenue> runner{log, "revenue", memory_tables()};
    happen(log, sold("ada", 1));
    runner.run_until_idle();
    happen(log, sold("ada", 1), sold("ada", 1), sold("ada", 1));
    log.partition("sales", 0).truncate_before(offset{3});
    const auto e = complaint_of([&] { runner.run_until_idle(); });
    REQUIRE(e == errc::events_removed);
    CHECK(e->says("rebuild"));
    runner.rebuild();
    CHECK(complaint_of([&] { runner.run_until_idle(); }) == errc::events_removed);
}

TEST_CASE("what wakes a projection that sleeps is a commit, also of a topic that is new")
{
    auto                       log = commit_log::in_memory();
    projection_runner<revenue> runner{log, "revenue", memory_tables()};
    runner.start();
    log.ensure_topic("sales", 2);
    happen(log, sold("ada", 1));
    CHECK(runner.view().read(log.end_position() - 1, 1min)->events() == 1);
}

TEST_CASE("a runner is started and stopped many times, and nothing hangs or counts twice")
{
    const auto                 log = a_log();
    projection_runner<revenue> runner{log, "revenue", memory_tables()};
    for (int i = 0; i < 50; ++i) {
        runner.start();
        happen(log, sold("ada", 1));
        if (i % 2) CHECK(runner.view().wait_for(log.end_position() - 1, 1min));
        runner.stop();
    }
    runner.run_until_idle();
    CHECK(runner.view().read()->events() == 50);
}

TEST_CASE("a projection has a good name")
{
    const auto log = a_log();
    CHECK(complaint_of([&] {
              projection_runner<revenue>{log, "../x", memory_tables()};
          })->says("cannot be called '../x'"));
}

namespace {

/// Throws at what a customer called "poison…" buys, until it is told not to.
struct moody : projection<sales::Sold>
{
    table<std::string, std::string> bought{this, "bought"};
    static inline bool              patient = false;

    void on(sales::Sold::Reader e, const origin&)
    {
        bought.update(e.getCustomer(),
                      [&](auto& list) { list += std::to_string(e.getCents()) + " "; });
        if (!patient && e.getCents() == 13) throw std::runtime_error{"13 brings bad luck"};
    }
};

std::string bought(const projection_runner<moody>& r, const std::string& customer)
{
    return r.view().read()->bought.find(customer).value_or("");
}

}  // namespace

TEST_CASE("what throws is parked where that is asked, and later events of its key wait in order")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    moody::patient = false;
    happen(log, sold("ada", 1), sold("bob", 1), sold("ada", 13), sold("bob", 2), sold("ada", 3),
           sold("carl", 13), sold("ada", 4), sold("bob", 3));
    projection_options o;
    o.on_failure = on_failure::park;
    {
        projection_runner<moody> runner{log, "moody", s.store, o};
        runner.run_until_idle();
        CHECK(bought(runner, "ada") == "1 ");
        CHECK(bought(runner, "bob") == "1 2 3 ");
        CHECK(bought(runner, "carl").empty());
        CHECK(runner.status().parked == 4);
        CHECK(runner.status().state != projection_state::failed);
    }
    projection_runner<moody> runner{log, "moody", s.store, o};
    const auto               parked = runner.parked();
    REQUIRE(parked.size() == 4);
    std::map<std::string, std::int64_t> tried;
    for (const auto& p : parked) tried[p.key] += p.attempts;
    CHECK(tried == std::map<std::string, std::int64_t>{{"ada", 1}, {"carl", 1}});
    CHECK(runner.parked(1).size() == 1);
    CHECK(runner.parked(10, parked[0]).size() == 3);
    const auto poison = *std::find_if(parked.begin(), parked.end(), [](const parked_event& p) {
        return p.key == "ada" && p.attempts == 1;
    });
    CHECK(poison.why == "13 brings bad luck");
    CHECK(poison.type == "Sold");

    // In vain, and counted.
    CHECK(runner.retry_parked() == 0);
    CHECK(runner.parked()[0].attempts + runner.parked()[1].attempts + runner.parked()[2].attempts +
              runner.parked()[3].attempts ==
          4);
    // Given up: what waits behind it goes on.
    runner.skip_parked(poison.in, poison.at);
    CHECK(complaint_of([&] { runner.skip_parked(poison.in, poison.at); })->says("nothing parked"));
    CHECK(runner.retry_parked() == 2);
    CHECK(bought(runner, "ada") == "1 3 4 ");
    // Mended.
    moody::patient = true;
    CHECK(runner.retry_parked() == 1);
    CHECK(bought(runner, "carl") == "13 ");
    CHECK(runner.status().parked == 0);
    happen(log, sold("ada", 5));
    runner.run_until_idle();
    CHECK(bought(runner, "ada") == "1 3 4 5 ");

    int seen = 0;
    for (const auto& r : log.partition("moody.parked", 0).read(offset{0})) {
        ++seen;
        CHECK(r.headers.find("cairn_parked_topic") == "sales");
        CHECK(r.headers.find("parked_ce_type") == "Sold");
        CHECK_FALSE(r.headers.find("ce_type"));
    }
    CHECK(seen == 4);
}

TEST_CASE("what is parked is told apart by key, and events without one wait for nobody")
{
    auto log       = a_log(1);
    moody::patient = false;
    const event<sales::Sold> thirteen{sold("none", 13)};
    const auto               keyless = [&](const any_event& e) {
        record r;
        r.value = std::string{e.bytes()};
        r.headers.push_back({std::string{header_names::type}, "Sold"});
        log.append({.records = {{"sales", std::move(r)}}});
    };
    keyless(sold("none", 13));
    keyless(sold("none", 1));
    projection_options o;
    o.on_failure = on_failure::park;
    projection_runner<moody> runner{log, "moody", memory_tables(), o};
    runner.run_until_idle();
    CHECK(runner.status().parked == 1);
    CHECK(bought(runner, "none") == "1 ");
    moody::patient = true;
    CHECK(runner.retry_parked() == 1);
    CHECK(bought(runner, "none") == "1 13 ");
}

TEST_CASE("what a projection stands before can be skipped, and nothing else")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log(1);
    moody::patient = false;
    happen(log, sold("ada", 1), sold("ada", 13), sold("ada", 3));
    projection_runner<moody> runner{log, "moody", s.store};
    position                 at{-1};
    try {
        runner.run_until_idle();
    } catch (const projection_failed& e) {
        at = e.position();
    }
    REQUIRE(at.value >= 0);
    CHECK(complaint_of([&] { runner.skip(at.next()); })->says("does not stand before"));
    CHECK(complaint_of([&] { runner.skip(position{at.value - 1}); })->says("does not stand"));
    runner.skip(at);
    runner.run_until_idle();
    CHECK(bought(runner, "ada") == "1 3 ");
}

TEST_CASE("tables are verified against what the log says, and one row that differs is found")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    for (int i = 0; i < 40; ++i) happen(log, sold("customer " + std::to_string(i % 5), i));
    projection_runner<revenue> runner{log, "revenue", s.store};
    runner.run_until_idle();
    auto v = runner.verify();
    CHECK(v.ok);
    CHECK(v.stored == v.rebuilt);
    CHECK(v.upto == log.end_position());
    // Somebody meddles.
    struct meddler : revenue
    {
        void on(sales::Sold::Reader, const origin&) { by_country.put("UK", 0); }
        void on(sales::Returned::Reader, const origin&) {}
    };
    happen(log, sold("ada", 1));
    projection_runner<meddler> other{log, "revenue", s.store};
    other.run_until_idle();
    v = projection_runner<revenue>{log, "revenue", s.store}.verify();
    CHECK_FALSE(v.ok);
    CHECK(v.different == std::vector<std::string>{"by_country", "by_customer", "counted"});
}

TEST_CASE("an inline projection has counted an event when the call that recorded it returns")
{
    a_store           s{CAIRN_EACH_STORE};
    const auto        log = a_log();
    const event_store store{log};
    const auto        buy = [&](const std::string& customer, std::int64_t cents) {
        happen_through(store, sold(customer, cents));
    };
    happen(log, sold("ada", 1));
    projection_runner<revenue> runner{store, "revenue", s.store};
    runner.start_inline();
    const auto view = runner.view();
    CHECK(view.read()->spent_by("ada") == 1);
    buy("ada", 2);
    CHECK(view.read()->spent_by("ada") == 3);
    CHECK(view.status().state == projection_state::following);
    std::atomic<int>         wrong{0};
    std::vector<std::thread> callers;
    for (int t = 0; t < 4; ++t)
        callers.emplace_back([&, me = "customer " + std::to_string(t)] {
            for (int i = 1; i <= 20; ++i) {
                buy(me, 1);
                wrong += view.read()->spent_by(me) != i;
            }
        });
    for (auto& c : callers) c.join();
    CHECK(wrong == 0);
    // What others record comes with the next event.
    happen(log, sold("bob", 7));
    buy("ada", 1);
    CHECK(view.read()->spent_by("bob") == 7);
    // A handler that throws fails the projection and not the command.
    buy("poison", 1);
    CHECK(view.status().state == projection_state::failed);
    buy("ada", 1);
    runner.stop();
    buy("ada", 1);
    CHECK(view.read()->spent_by("ada") == 4);
}

TEST_CASE("a read model is folded when it is asked for: of all, of a stream, of the past")
{
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("bob", 2), sold("ada", 3));
    CHECK(fold<revenue>(log)->spent_by("ada") == 4);
    CHECK(fold<revenue>(log)->events() == 3);
    position first{-1};
    for (const auto& r : log.read_all()) {
        first = r.position;
        break;
    }
    CHECK(fold<revenue>(log, {.upto = first})->events() == 1);
    const auto bob = fold<revenue>(log, {.stream = stream_id{"sales", "bob"}});
    CHECK(bob->events() == 1);
    CHECK(bob->spent_by("bob") == 2);
    CHECK(fold<revenue>(log, {.stream = stream_id{"sales", "nobody"}})->events() == 0);
}
