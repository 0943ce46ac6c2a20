// SPDX-License-Identifier: Apache-2.0
//
// The whole log under a power cut: what journal, segments, index, their files' creation, rolling,
// merging and rewriting do to the disk is recorded; every legal state is opened as a log.
#include "enumerate.hpp"
#include "log_workload.hpp"
#include "main/temporary_directory.hpp"
#include "recorder.hpp"

#include <cairn/log/commit_log.hpp>

#include <catch2/catch.hpp>

#include <cstdlib>
#include <iostream>

using namespace cairn;
using namespace cairn::testing;

namespace {

/// What is left must open, hold what was acknowledged and nothing else, take an append, and answer
/// conditions and repeats by what it holds.
verdict check(const std::string& directory, const log_workload& work)
{
    verdict v;
    try {
        auto     log = commit_log::open(directory, log_workload::options());
        position end{};
        v.problem = work.judge(log, end);
        v.reached = end.value;
        if (!v.problem.empty()) return v;
        if (log.try_describe_topic("kept")) {
            const auto r = log.append({.records = {{"kept", {.key = "after", .value = "it"}}}});
            if (r.first < end) v.problem = "a position was given twice";
            if (v.problem.empty()) v.problem = work.ask(log, end);
        }
    } catch (const std::exception& e) {
        v.problem = e.what();
    }
    return v;
}

recording run(log_workload& work, int appends, const log_options& options)
{
    temporary_directory directory;
    recorder            watch{directory.path()};
    {
        auto log = commit_log::open(directory / "data", options);
        log_workload::create_topics(log);
        watch.mark(log.end_position().value);
        for (int i = 1; i <= appends; ++i) {
            watch.mark(work.append(log).value);
            if (i % 40 == 0) work.cut(log);
            if (i % 25 == 0) log.merge();
            if (i % 35 == 0) log.roll_segment();
            if (i % 50 == 0) log.clean();
        }
    }
    return watch.stop();
}

}  // namespace

#ifdef CAIRN_ACKNOWLEDGE_BEFORE_FLUSH

TEST_CASE("a log that acknowledges before its flush is caught losing what it acknowledged")
{
    log_workload work{1};
    auto         options   = log_workload::options();
    options.merge_interval = std::chrono::hours{1};  // the merger could be quicker than the cut
    options.merge_bytes    = 1 << 20;
    const auto          r  = run(work, 60, options);
    enumeration_options o;
    o.states    = 2'000;
    const auto  e = enumerate(r, from_environment(o), [&](const std::string& directory) {
        return check(directory + "/data", work);
    });
    std::cout << "control: " << e << '\n';
    CHECK(e.lost > 0);
}

#else

TEST_CASE("acknowledged means on disk: no legal state after a power cut loses, invents or spoils")
{
    auto       o    = from_environment({.states = 20'000});
    const auto seed = o.seed;
    INFO("CAIRN_CRASH_SEED=" << seed);
    log_workload work{seed};
    const auto   r = run(work, 160, log_workload::options());
    const auto   e = enumerate(r, o, [&](const std::string& directory) {
        return check(directory + "/data", work);
    });
    std::cout << "seed " << seed << ": " << e << '\n';
    for (const auto& f : e.failures) UNSCOPED_INFO(f);
    CHECK(e.failed() == 0);
    CHECK(e.states >= o.states);  // it gives up early where it finds no more
}

#endif
