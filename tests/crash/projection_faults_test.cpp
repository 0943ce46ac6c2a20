// SPDX-License-Identifier: Apache-2.0
//
// The Nth system call on a projection's tables fails, or the Nth allocation: each event counts once
// all the same.
#include "failing_allocations.hpp"
#include "faults.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <cstdlib>
#include <iostream>
#include <new>
#include <string>

using namespace cairn;
using namespace cairn::testing;

namespace {

constexpr std::uint64_t events = 120;

commit_log a_log()
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 3);
    for (std::uint64_t i = 0; i < events; ++i)
        happen(log, sold("customer " + std::to_string(i % 7), 1));
    return log;
}

/// Projects, and rebuilds; an error may come out of it.
void work(projection_runner<revenue>& runner)
{
    runner.run_until_idle();
    runner.rebuild();
    runner.run_until_idle();
}

bool throws(const std::function<void()>& what)
{
    try {
        what();
        return false;
    } catch (const error&) {
        return true;
    } catch (const std::bad_alloc&) {
        return true;
    }
}

const projection_options options{.commit_events_max = 25};

/// What is there when everything works again: first by the runner that saw the fault, where it
/// still can, then by another.
std::string judge(const commit_log& log, a_store& s)
{
    s.reopen();
    projection_runner<revenue> runner{log, "revenue", s.store, options};
    runner.run_until_idle();
    if (runner.view().read()->events() != events)
        return std::to_string(runner.view().read()->events()) + " events are counted";
    return runner.verify().ok ? "" : "the tables are not those of a rebuild";
}

}  // namespace

TEST_CASE("every Nth system call failing on the tables, each event counts once")
{
    using call      = fault::call;
    const int  most = std::getenv("CAIRN_LONG") ? 200 : 20;
    const auto log  = a_log();
    const auto kind = GENERATE(as<std::string>{}, "lmdb", "sqlite");
    int        runs = 0, hit = 0;
    for (const auto where : {call::open, call::write, call::sync, call::resize, call::rename,
                             call::remove, call::map, call::read})
        for (const int failure : {EIO, ENOSPC, EINTR, ENOMEM})
            for (int nth = 1; nth <= most; ++nth) {
                INFO(kind << ", call " << static_cast<int>(where) << " errno " << failure << " nth "
                          << nth);
                a_store s{kind};
                s.store.reset();
                int hits = 0;
                {
                    fault f;
                    f.where = where;
                    f.error = failure;
                    f.nth   = nth;
                    f.path  = s.place.path();
                    fault_injection                           injected{f};
                    std::optional<projection_runner<revenue>> runner;
                    const bool                                failed = throws([&] {
                        s.open();
                        runner.emplace(log, "revenue", s.store, options);
                        work(*runner);
                    });
                    hits                                             = injected.hits();
                    // What passed was the call's; the second try is nobody's fault.
                    if (failed && runner && hits > 0) (void)throws([&] { work(*runner); });
                }
                if (const auto problem = judge(log, s); !problem.empty()) FAIL_CHECK(problem);
                ++runs;
                hit += hits > 0;
                if (hits == 0) break;
            }
    std::cout << kind << ": " << runs << " runs, " << hit
              << " with a failed call, 0 counted twice\n";
    CHECK(hit > 50);
}

TEST_CASE("every Nth allocation failing, each event counts once")
{
    const auto log  = a_log();
    const auto kind = GENERATE(as<std::string>{}, "memory", "lmdb", "sqlite");
    // Each of the first, then ever fewer of them, up to a run that needs no more than that.
    const long density = std::getenv("CAIRN_LONG") ? 400 : 25;
    long       most = 0, runs = 0;
    bool       done = false;
    for (long nth = 1; !done; nth += std::max(1L, nth / density)) {
        INFO(kind << ", allocation " << nth);
        a_store                                   s{kind};
        std::optional<projection_runner<revenue>> runner;
        const bool                                failed = throws([&] {
            allocations_left = nth;
            runner.emplace(log, "revenue", s.store, options);
            work(*runner);
        });
        done                                             = allocations_left > 0;
        allocations_left                                 = -1;
        if (failed && runner) work(*runner);
        runner.reset();
        if (s.lasts()) {
            if (const auto problem = judge(log, s); !problem.empty()) FAIL_CHECK(problem);
        }
        most = nth;
        ++runs;
    }
    std::cout << kind << ": " << runs << " runs, of " << most
              << " allocations at most, 0 counted twice\n";
    CHECK(most > 500);
}
