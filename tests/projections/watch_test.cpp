// SPDX-License-Identifier: Apache-2.0
//
// Stopping in time, and naming what stands still.
#include "sales.hpp"
#include "stall_watch.hpp"

#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;
using cairn::detail::stall_watch;
using steady = std::chrono::steady_clock;

namespace {

commit_log a_log()
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 1);
    return log;
}

/// Somebody waits here until another lets them through.
class gate
{
public:
    void pass()
    {
        arrived_.set_value();
        opened_.get_future().wait();
    }
    void await_arrival() { arrived_.get_future().wait(); }
    void open() { opened_.set_value(); }

private:
    std::promise<void> arrived_, opened_;
};

/// A handler that stands at a gate where there is one.
struct slow : projection<sales::Sold>
{
    table<std::string, std::int64_t> sold{this, "sold"};

    void on(sales::Sold::Reader e, const origin&)
    {
        if (auto* g = at.exchange(nullptr)) g->pass();
        sold.update(e.getCustomer(), [&](auto& c) { c += e.getCents(); });
    }

    static inline std::atomic<gate*> at{nullptr};
};

/// A clock that goes when it is told to.
struct hand_clock
{
    std::atomic<std::int64_t> seconds{0};

    std::function<steady::time_point()> read()
    {
        return [this] { return steady::time_point{std::chrono::seconds{seconds.load()}}; };
    }
};

std::ptrdiff_t threads_now()
{
    const std::filesystem::directory_iterator all{"/proc/self/task"};
    return std::distance(begin(all), end(all));
}

bool has(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("what has nothing to do does not stand still, nor what has moved since the last look")
{
    stall_watch        w{10s};
    stall_watch::sight s;
    const auto at = [](int second) { return steady::time_point{std::chrono::seconds{second}}; };
    CHECK_FALSE(w.look(s, at(0)));
    CHECK_FALSE(w.look(s, at(100)));

    s.behind = 5;  // it was idle at 100, and is not any more
    CHECK_FALSE(w.look(s, at(109)));
    CHECK(w.look(s, at(110)) == at(100));
    s.behind = 50;  // lag grows
    CHECK(w.look(s, at(130)) == at(100));
    s.read = 1;
    CHECK_FALSE(w.look(s, at(131)));
    s.upto = position{1};
    CHECK_FALSE(w.look(s, at(141)));
    CHECK(w.look(s, at(151)) == at(141));
    s.behind = 0;
    CHECK_FALSE(w.look(s, at(200)));

    s.handling = position{7};
    CHECK_FALSE(w.look(s, at(201)));
    CHECK(w.look(s, at(211)) == at(201));
    s.handling = position{8};
    CHECK_FALSE(w.look(s, at(212)));
}

TEST_CASE("status names the event that a handler does not come back from, and since when")
{
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("bob", 1));
    hand_clock              clock;
    gate                    g;
    projection_runner<slow> runner{
        log, "slow", memory_tables(), {.stall_after = 30s, .clock = clock.read()}};
    slow::at = &g;
    runner.start();
    g.await_arrival();
    CHECK(runner.status().stalled == "");
    CHECK(runner.status().state == projection_state::catching_up);
    clock.seconds = 42;
    const auto s  = runner.status();
    CHECK(s.state == projection_state::stalled);
    CHECK(has(s.stalled, "projection slow version 1 handles sales-0 offset 0 (position "));
    CHECK(has(s.stalled, "Sold"));
    CHECK(has(s.stalled, "for 42 s"));
    g.open();
    CHECK(runner.view().wait_for(log.end_position() - 1, 1min));
    CHECK(runner.status().stalled == "");
}

TEST_CASE("status names a projection that is behind and does not move")
{
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("bob", 1));
    hand_clock         clock;
    gate               g;
    projection_options o;
    o.stall_after = 30s;
    o.clock       = clock.read();
    o.on_step     = [&, first = true](projection_step step) mutable {
        if (step == projection_step::committing && std::exchange(first, false)) g.pass();
    };
    projection_runner<slow> runner{log, "slow", memory_tables(), o};
    runner.start();
    g.await_arrival();
    CHECK(runner.status().stalled == "");
    clock.seconds = 29;
    CHECK(runner.status().stalled == "");
    clock.seconds = 31;
    CHECK(runner.status().stalled ==
          "projection slow version 1 is 2 events behind, and has not moved for 31 s");
    g.open();
    CHECK(runner.view().wait_for(log.end_position() - 1, 1min));
    CHECK(runner.status().stalled == "");
}

TEST_CASE("a projection that failed is named with why, and one that nobody runs is not")
{
    struct fails : projection<sales::Sold>
    {
        table<std::string, std::int64_t> sold{this, "sold"};
        void on(sales::Sold::Reader, const origin&) { throw std::runtime_error{"no such shop"}; }
    };
    const auto log = a_log();
    happen(log, sold("ada", 1));
    hand_clock               clock;
    projection_runner<fails> runner{
        log, "fails", memory_tables(), {.stall_after = 30s, .clock = clock.read()}};
    CHECK(runner.status().stalled == "");
    clock.seconds = 100;
    CHECK(runner.status().stalled == "");
    CHECK_THROWS_AS(runner.run_until_idle(), projection_failed);
    CHECK(runner.status().stalled == "");
    clock.seconds = 131;
    CHECK(has(runner.status().stalled, "1 events behind"));
    CHECK(has(runner.status().stalled, "no such shop"));
    CHECK(runner.status().state == projection_state::failed);
}

TEST_CASE("on_stalled is told once each time a projection stands still")
{
    const auto log = a_log();
    happen(log, sold("ada", 1));
    gate               g, again;
    std::promise<void> told[2];
    int                times[2] = {0, 0};
    projection_options o;
    o.stall_after = 1ms;
    o.on_stalled  = [&](const std::string& words) {
        // On a slow machine it may stand still elsewhere, too.
        for (int i = 0; i < 2; ++i)
            if (has(words, "handles sales-0 offset " + std::to_string(i)) && ++times[i] == 1)
                told[i].set_value();
    };
    projection_runner<slow> runner{log, "slow", memory_tables(), o};
    slow::at = &g;
    runner.start();
    told[0].get_future().wait();
    g.open();
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    slow::at = &again;
    happen(log, sold("bob", 1));
    told[1].get_future().wait();
    again.open();
    runner.stop();
    CHECK(times[0] == 1);
    CHECK(times[1] == 1);
}

TEST_CASE("there is one thread that watches where that is asked for, and else none")
{
    const auto              log = a_log();
    projection_runner<slow> plain{log, "plain", memory_tables()};
    projection_runner<slow> watched{log, "watched", memory_tables(), {.stall_after = 1h}};
    const auto              before = threads_now();
    plain.start();
    CHECK(threads_now() == before + 1);
    watched.start();
    CHECK(threads_now() == before + 3);
    watched.rebuild();
    watched.start();
    watched.stop();
    CHECK(threads_now() == before + 1);
}

TEST_CASE("stop within a time says whether it ended, and else which event is being handled")
{
    const auto log = a_log();
    happen(log, sold("ada", 1), sold("bob", 1));
    gate                    g;
    projection_runner<slow> runner{log, "slow", memory_tables()};
    slow::at = &g;
    runner.start();
    g.await_arrival();
    const auto busy = runner.stop(0ms);
    CHECK_FALSE(busy);
    CHECK(has(busy.busy, "projection slow version 1 handles sales-0 offset 0"));
    g.open();
    const auto ended = runner.stop(1min);
    CHECK(ended);
    CHECK(ended.busy == "");
    // Nothing more was handled after it, and what was is committed.
    CHECK(runner.view().read()->sold.size() == 1);
    CHECK(runner.status().state == projection_state::idle);
    runner.start();
    CHECK(runner.view().wait_for(log.end_position() - 1, 1min));
    CHECK(runner.stop(1min));
}

TEST_CASE("stop within a time waits for what is counted inline, too")
{
    const event_store       store{a_log()};
    gate                    g;
    projection_runner<slow> runner{store, "slow", memory_tables()};
    runner.start_inline();
    slow::at = &g;
    std::thread records{[&] { happen_through(store, sold("ada", 1)); }};
    g.await_arrival();
    CHECK(has(runner.stop(0ms).busy, "handles sales-0 offset 0"));
    happen_through(store, sold("bob", 1));  // it is not held up by it, nor counted
    g.open();
    records.join();
    CHECK(runner.stop(1min));
    CHECK(runner.view().read()->sold.size() == 1);
}
