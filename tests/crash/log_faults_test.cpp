// SPDX-License-Identifier: Apache-2.0
//
// The Nth system call fails, the Nth allocation fails: what was acknowledged is there afterwards,
// nothing hangs, nothing dies, and after a failed flush nothing is acknowledged any more.
#include "failing_allocations.hpp"
#include "faults.hpp"
#include "log_workload.hpp"
#include "main/temporary_directory.hpp"

#include <cairn/log/commit_log.hpp>

#include <catch2/catch.hpp>

#include <sys/wait.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <new>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

struct outcome
{
    int runs = 0, hit = 0;
};

/// Opens, appends, merges, rolls, cleans, reads; stops at the first error. Returns the position
/// up to which it was told that all is recorded.
position work_until_it_fails(log_workload& work, const std::string& directory, bool& failed)
{
    position told{0};
    failed = false;
    try {
        auto log = commit_log::open(directory, log_workload::options());
        log_workload::create_topics(log);
        told = log.end_position();
        for (int i = 1; i <= 24; ++i) {
            told = work.append(log);
            if (i % 6 == 0) log.merge();
            if (i % 8 == 0) log.roll_segment();
            if (i == 12) work.cut(log);
            if (i == 16) log.clean();
            if (i % 5 == 0)
                for (const auto& r : log.read_all()) (void)r;
        }
    } catch (const cairn::error&) {
        failed = true;
    } catch (const std::bad_alloc&) {
        failed = true;
    }
    return told;
}

std::string judge(const log_workload& work, const std::string& directory, position told)
{
    try {
        auto     log = commit_log::open(directory, log_workload::options());
        position end{};
        auto     problem = work.judge(log, end);
        if (!problem.empty()) return problem;
        if (end < told)
            return "the log ends at " + std::to_string(end.value) + ", acknowledged was " +
                   std::to_string(told.value);
        log.ensure_topic("kept", 4);
        log.append({.records = {{"kept", {.key = "after", .value = "it"}}}});
    } catch (const std::exception& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_CASE("every Nth system call failing loses nothing that was acknowledged")
{
    using call          = fault::call;
    const bool thorough = std::getenv("CAIRN_LONG") != nullptr;
    const int  most     = thorough ? 200 : 20;
    outcome    total;
    for (const auto where : {call::open, call::write, call::sync, call::resize, call::rename,
                             call::remove, call::map, call::read}) {
        for (const int error : {EIO, ENOSPC, EINTR, ENOMEM}) {
            for (int nth = 1; nth <= most; ++nth) {
                temporary_directory directory;
                log_workload        work{static_cast<std::uint64_t>(nth)};
                position            told{};
                bool                failed = false;
                int                 hits   = 0;
                {
                    fault f;
                    f.where = where;
                    f.error = error;
                    f.nth   = nth;
                    f.path  = directory.path();
                    fault_injection injected{f};
                    told = work_until_it_fails(work, directory / "data", failed);
                    hits = injected.hits();
                }
                const auto problem = judge(work, directory / "data", told);
                INFO("call " << static_cast<int>(where) << " errno " << error << " nth " << nth
                             << (failed ? ", an error came out" : ""));
                if (!problem.empty()) FAIL_CHECK(problem);
                ++total.runs;
                total.hit += hits > 0;
                if (hits == 0) break;  // there are no more such calls
            }
        }
    }
    std::cout << total.runs << " runs, " << total.hit << " with a failed call, 0 lost\n";
    CHECK(total.hit > 100);
}

TEST_CASE("after a flush that failed nothing is acknowledged, reading goes on, and reopening heals")
{
    temporary_directory directory;
    log_workload        work{1};
    auto                o = log_workload::options();
    o.merge_interval      = std::chrono::hours{1};  // the journal's flush, not the merger's
    o.merge_bytes         = 1 << 30;
    position told{};
    {
        auto log = commit_log::open(directory / "data", o);
        log_workload::create_topics(log);
        for (int i = 0; i < 5; ++i) told = work.append(log);
        {
            fault f;
            f.where = fault::call::sync;
            f.error = EIO;
            f.path  = "/journal/";
            fault_injection injected{f};
            REQUIRE_THROWS_AS(work.append(log), storage_error);
            REQUIRE(injected.hits() == 1);
        }
        try {
            work.append(log);
            FAIL("an append was acknowledged after a failed flush");
        } catch (const storage_error& e) {
            CHECK(e.code() == errc::closed);
            CHECK(std::string{e.what()}.find("open the log again") != std::string::npos);
        }
        CHECK(log.statistics().failed);
        int n = 0;
        for (const auto& r : log.read_all()) n += r.value.has_value();
        CHECK(n > 0);
    }
    CHECK(judge(work, directory / "data", told).empty());
}

TEST_CASE("an append for which the system has no memory is refused, and the next one is recorded")
{
    temporary_directory directory;
    log_workload        work{1};
    auto                o = log_workload::options();
    o.merge_interval      = std::chrono::hours{1};  // the journal's write, not the merger's
    o.merge_bytes         = 1 << 30;
    auto log              = commit_log::open(directory / "data", o);
    log_workload::create_topics(log);
    position told{};
    for (int i = 0; i < 5; ++i) told = work.append(log);
    {
        fault f;
        f.where = fault::call::write;
        f.error = ENOMEM;
        f.path  = "/journal/";
        fault_injection injected{f};
        try {
            work.append(log);
            FAIL("an append was acknowledged that could not be written");
        } catch (const storage_error& e) {
            CHECK(e.code() == errc::out_of_memory);
        }
        REQUIRE(injected.hits() == 1);
    }
    CHECK_FALSE(log.statistics().failed);
    for (int i = 0; i < 5; ++i) told = work.append(log);
    log.close();
    CHECK(judge(work, directory / "data", told).empty());
}

TEST_CASE("a full disk refuses appends, reading goes on, and appends resume without a restart")
{
    // A merger that is quick to find out, and one that only a full journal wakes.
    const auto          interval = GENERATE(1ms, std::chrono::milliseconds{1h});
    temporary_directory directory;
    log_workload        work{1};
    auto                o = log_workload::options();
    o.merge_interval      = interval;
    if (interval > 1s) o.merge_bytes = 1 << 30;
    auto log = commit_log::open(directory / "data", o);
    log_workload::create_topics(log);
    position told{};
    for (int i = 0; i < 5; ++i) told = work.append(log);
    {
        fault f;
        f.where = fault::call::write;
        f.error = ENOSPC;
        f.count = -1;
        f.path  = "/data/log/";  // the journal's files have their room already
        fault_injection full{f};
        int             refused = 0;
        for (int i = 0; i < 400; ++i) {
            try {
                work.append(log);
            } catch (const storage_error& e) {
                CHECK(e.code() == errc::disk_full);
                ++refused;
            }
        }
        CHECK(refused > 0);
        int n = 0;
        for (const auto& r : log.read_all()) n += r.value.has_value();
        CHECK(n > 0);
    }
    // There is room again, which the merger finds out by itself.
    const auto deadline = std::chrono::steady_clock::now() + 1min;
    for (int resumed = 0; resumed < 5;) {
        try {
            told = work.append(log);
            ++resumed;
        } catch (const storage_error& e) {
            REQUIRE(e.code() == errc::disk_full);
            REQUIRE(std::chrono::steady_clock::now() < deadline);
            std::this_thread::yield();
        }
    }
    log.close();
    CHECK(judge(work, directory / "data", told).empty());
}

TEST_CASE("every Nth allocation failing loses nothing that was acknowledged")
{
    // Each of the first, then ever fewer of them, up to a run that needs no more than that: from
    // opening to closing no step is left out.
    const long density = std::getenv("CAIRN_LONG") ? 600 : 60;
    long       most = 0, runs = 0;
    bool       done = false;
    for (long nth = 1; !done; nth += std::max(1L, nth / density)) {
        temporary_directory directory;
        const auto          data  = directory / "data";
        const auto          child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            // A death of the child, by a signal or std::terminate, is a failure of the test.
            // It says where, or nobody would find it again.
#ifdef __SANITIZE_ADDRESS__
            std::set_terminate([] {
                allocations_left = -1;
                __sanitizer_print_stack_trace();
                std::abort();
            });
#endif
            log_workload work{static_cast<std::uint64_t>(nth)};
            bool         failed = false;
            allocations_left    = nth;
            const auto told     = work_until_it_fails(work, data, failed);
            const bool reached  = allocations_left <= 0;
            allocations_left    = -1;
            const auto problem  = judge(work, data, told);
            if (!problem.empty()) std::cerr << "allocation " << nth << ": " << problem << '\n';
            ::_exit(!problem.empty() ? 1 : reached ? 3 : failed ? 2 : 0);
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        INFO("allocation " << nth << ", status " << status);
        REQUIRE(WIFEXITED(status));
        REQUIRE((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3));
        done = WEXITSTATUS(status) == 0;
        most = nth;
        ++runs;
    }
    std::cout << runs << " runs, of " << most << " allocations at most, 0 lost\n";
    CHECK(most > 1'000);
}
