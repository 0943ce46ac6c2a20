// SPDX-License-Identifier: Apache-2.0
#include "main/complaint.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <future>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

/// The same name and tables, other numbers.
struct revenue_2 : projection<sales::Sold>
{
    static constexpr int              version = 2;
    table<std::string, std::int64_t>  by_customer{this, "by_customer"};
    table<std::string, std::int64_t>  by_country{this, "by_country"};
    table<std::string, std::uint64_t> counted{this, "counted"};

    void on(sales::Sold::Reader e, const origin&)
    {
        by_customer.update(e.getCustomer(), [&](auto& c) { c += 100 * e.getCents(); });
    }
};

/// And with other tables.
struct revenue_3 : projection<sales::Sold>
{
    static constexpr int       version = 3;
    table<std::string, double> euros{this, "euros"};

    void on(sales::Sold::Reader e, const origin&)
    {
        euros.update(e.getCustomer(), [&](auto& c) { c += static_cast<double>(e.getCents()); });
    }
};

struct crash
{};

commit_log a_log_of(int events)
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 3);
    for (int i = 0; i < events; ++i) happen(log, sold("customer " + std::to_string(i % 7), 1));
    return log;
}

}  // namespace

TEST_CASE("while a version is rebuilt the old one answers and counts on, and then the new one")
{
    a_store            s{CAIRN_EACH_STORE};
    const auto         log  = a_log_of(20);
    int                told = 0;
    projection_options o;
    o.commit_events_max              = 3;
    bool                  rebuilding = false;
    std::function<void()> meanwhile;
    o.on_progress = [&](const rebuild_progress& p) {
        ++told;
        CHECK(p.version == 2);
        CHECK(p.events <= p.total);
    };
    o.on_step = [&](projection_step step) {
        if (rebuilding && step == projection_step::swapping) meanwhile();
    };
    projection_runner<revenue> runner{log, "revenue", s.store, o};
    runner.run_until_idle();
    const auto view = runner.view();
    CHECK(view.status().version == 1);
    meanwhile = [&] {
        CHECK(view.status().version == 1);
        CHECK(view.read()->events() == 20);
        CHECK(view.status().rebuild->total == 20);
    };
    rebuilding = true;
    runner.rebuild();
    runner.run_until_idle();
    CHECK(told > 0);
    CHECK(view.status().version == 2);
    CHECK(view.read()->events() == 20);
    CHECK_FALSE(view.status().rebuild);
    CHECK(view.status().versions.size() == 2);
}

TEST_CASE("no reader is sent back while a rebuild swaps under load")
{
    a_store                    s{CAIRN_EACH_STORE};
    const auto                 log = a_log_of(50);
    projection_runner<revenue> runner{log, "revenue", s.store, {.commit_events_max = 5}};
    runner.start();
    const auto        view = runner.view();
    std::atomic<bool> done{false};
    std::atomic<int>  back{0};
    std::thread       reads{[&] {
        std::uint64_t most = 0;
        while (!done) {
            const auto now = view.read()->events();
            back += now < most;
            most = std::max(most, now);
        }
    }};
    for (int n = 0; n < 4; ++n) {
        runner.rebuild();
        for (int i = 0; i < 20; ++i) {
            happen(log, sold("ada", 1));
            REQUIRE(view.wait_for(log.end_position() - 1, 1min));
        }
        while (view.status().rebuild) std::this_thread::yield();
    }
    done = true;
    reads.join();
    CHECK(back == 0);
    CHECK(view.status().version == 5);
    CHECK(view.read()->events() == 130);
}

TEST_CASE(
    "code with another version number rebuilds by itself, and the old tables answer meanwhile")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log_of(14);
    projection_runner<revenue>{log, "revenue", s.store}.run_until_idle();
    projection_runner<revenue_2> runner{log, "revenue", s.store};
    CHECK(runner.view().read()->by_customer.find("customer 1") == 2);
    CHECK(runner.status().version == 1);
    runner.run_until_idle();
    CHECK(runner.view().read()->by_customer.find("customer 1") == 200);
    CHECK(runner.status().version == 2);
}

TEST_CASE("tables that look otherwise do not answer for new code, which says so until it is built")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log_of(14);
    projection_runner<revenue>{log, "revenue", s.store}.run_until_idle();
    projection_runner<revenue_3> runner{log, "revenue", s.store};
    CHECK(complaint_of([&] { (void)runner.view().read(); }) == errc::not_ready);
    std::thread waits{[&] { CHECK(runner.view().read(position{13}, 1min)->euros.size() == 7); }};
    runner.start();
    waits.join();
}

TEST_CASE("code that goes back to its last version finds its tables and catches up")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log_of(14);
    projection_runner<revenue>{log, "revenue", s.store}.run_until_idle();
    projection_runner<revenue_2>{log, "revenue", s.store}.run_until_idle();
    happen(log, sold("customer 1", 5));
    projection_runner<revenue> back{log, "revenue", s.store};
    back.run_until_idle();
    CHECK(back.status().version == 1);
    CHECK(back.status().events == 1);
    CHECK(back.view().read()->spent_by("customer 1") == 7);
}

TEST_CASE("a rebuild that a crash has interrupted goes on where it was, at each step")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log_of(30);
    projection_runner<revenue>{log, "revenue", s.store}.run_until_idle();
    const auto want =
        projection_runner<revenue>{log, "revenue", s.store}.view().read()->spent_by("customer 2");
    for (int n = 0;; ++n) {
        int                steps = 0;
        projection_options o;
        o.commit_events_max = 4;
        o.on_step           = [&](projection_step) {
            if (steps++ == n) throw crash{};
        };
        bool crashed = false;
        try {
            projection_runner<revenue> runner{log, "revenue", s.store, o};
            const int                  before = runner.status().version;
            if (!runner.status().rebuild) runner.rebuild();
            runner.run_until_idle();
            CHECK(runner.status().version == before + 1);
        } catch (const crash&) {
            crashed = true;
        } catch (const projection_failed&) {
            crashed = true;  // at an event: as if on() had thrown
        }
        projection_runner<revenue> after{log, "revenue", s.store};
        after.run_until_idle();
        REQUIRE(after.view().read()->events() == 30);
        REQUIRE(after.view().read()->spent_by("customer 2") == want);
        if (!crashed) break;
        REQUIRE(n < 500);
    }
}

TEST_CASE("one can swap back to the version before, which goes on where it was")
{
    a_store                    s{CAIRN_EACH_STORE};
    const auto                 log = a_log_of(10);
    projection_runner<revenue> runner{log, "revenue", s.store};
    runner.run_until_idle();
    runner.rebuild();
    runner.run_until_idle();
    happen(log, sold("ada", 1));
    runner.run_until_idle();
    CHECK(runner.view().read()->events() == 11);
    runner.swap_to(1);
    CHECK(runner.status().version == 1);
    CHECK(runner.view().read()->events() == 10);
    runner.run_until_idle();
    CHECK(runner.view().read()->events() == 11);
    CHECK(complaint_of([&] { runner.swap_to(9); })->says("there is none"));
    CHECK(complaint_of([&] { runner.drop(1); })->says("is in use"));
    runner.drop(2);
    CHECK(runner.status().versions.size() == 1);
}

TEST_CASE("a rebuild that is cancelled leaves nothing, and the old version answers")
{
    a_store                    s{CAIRN_EACH_STORE};
    const auto                 log = a_log_of(10);
    projection_runner<revenue> runner{log, "revenue", s.store};
    runner.run_until_idle();
    runner.rebuild();
    CHECK(runner.status().rebuild->version == 2);
    runner.cancel_rebuild();
    runner.cancel_rebuild();
    CHECK_FALSE(runner.status().rebuild);
    runner.run_until_idle();
    CHECK(runner.status().version == 1);
    CHECK(runner.status().versions.size() == 1);
}

TEST_CASE("old versions go by themselves where they are not to be kept")
{
    a_store                    s{CAIRN_EACH_STORE};
    const auto                 log = a_log_of(10);
    projection_runner<revenue> runner{log, "revenue", s.store, {.keep_old_versions = false}};
    runner.run_until_idle();
    runner.rebuild();
    runner.run_until_idle();
    CHECK(runner.status().version == 2);
    CHECK(runner.status().versions.size() == 1);
}

TEST_CASE("what was swapped back to still answers after a restart")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log_of(20);
    {
        projection_runner<revenue> runner{log, "revenue", s.store};
        runner.run_until_idle();
        runner.rebuild();
        runner.run_until_idle();
        runner.swap_to(1);
    }
    projection_runner<revenue> runner{log, "revenue", s.store};
    runner.run_until_idle();
    CHECK(runner.status().version == 1);
    CHECK(runner.view().read()->events() == 20);
}

TEST_CASE("what is recorded while versions are swapped is counted inline before the call returns")
{
    const auto                  log = a_log_of(5);
    const event_store           events{log};
    std::thread                 caller;
    std::int64_t                seen = -1;
    projection_runner<revenue>* self = nullptr;
    std::promise<void>          recording;
    projection_options          o;
    o.on_step = [&](projection_step step) {
        if (step != projection_step::swapping) return;
        caller = std::thread{[&] {
            recording.set_value();
            happen_through(events, sold("ada", 7));
            seen = self->view().read()->spent_by("ada");
        }};
        recording.get_future().wait();
        // It has recorded, and waits for the version that is about to be replaced.
        while (log.end_position() == self->status().upto) std::this_thread::yield();
    };
    projection_runner<revenue> runner{events, "revenue", memory_tables(), o};
    self = &runner;
    runner.start_inline();
    runner.rebuild();
    while (runner.status().version != 2) std::this_thread::yield();
    caller.join();
    CHECK(seen == 7);
}

TEST_CASE("neither a comparison nor a rebuild tells again what was parked")
{
    const auto log = a_log_of(5);
    happen(log, sold("poison", 1));
    projection_runner<revenue> runner{
        log, "revenue", memory_tables(), {.on_failure = on_failure::park}};
    runner.run_until_idle();
    const auto told = [&] {
        std::int64_t n = 0;
        for (std::int32_t p = 0;
             p < static_cast<std::int32_t>(log.describe_topic("revenue.parked").partitions.size());
             ++p)
            n += log.partition("revenue.parked", p).end_offset().value;
        return n;
    };
    CHECK(told() == 1);
    CHECK(runner.verify().ok);
    runner.rebuild();
    runner.run_until_idle();
    CHECK(runner.status().version == 2);
    CHECK(runner.status().parked == 1);
    CHECK(told() == 1);
}
