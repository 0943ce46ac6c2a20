// SPDX-License-Identifier: Apache-2.0
//
// A process that projects and rebuilds is killed, at a step that is drawn; what it leaves is
// opened, goes on, and must come to what a clean rebuild comes to; and its feed must have told all.
#include "main/seed.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/json_feed.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>

using namespace cairn;
using namespace cairn::testing;

namespace {

struct told_revenue : revenue
{
    json_feed<std::string, std::int64_t> told{this, "told"};

    void on(sales::Sold::Reader e, const origin& from)
    {
        revenue::on(e, from);
        told.emit(e.getCustomer(), e.getCents());
    }
    void on(sales::Returned::Reader e, const origin& from) { revenue::on(e, from); }
};

/// The ids of whole lines; how many lines there are in `lines`.
std::set<std::string> ids_in(const std::string& file, std::size_t& lines)
{
    std::set<std::string> ids;
    std::ifstream         in{file};
    const std::string     begin = "{\"id\":\"";
    lines                       = 0;
    for (std::string line; std::getline(in, line); ++lines) {
        REQUIRE(line.starts_with(begin));
        REQUIRE(line.ends_with("}"));
        ids.insert(line.substr(begin.size(), line.find('"', begin.size()) - begin.size()));
    }
    return ids;
}

/// What the child does until it is killed: records, counts, rebuilds, and says each step.
[[noreturn]] void work(const std::string& directory, const std::string& lines, a_store& s,
                       std::uint64_t seed, int steps)
{
    std::mt19937_64    random{seed};
    auto               log = commit_log::open(directory);
    projection_options o;
    o.commit_events_max = 1 + random() % 40;
    o.on_step           = [&](projection_step) {
        const char c = '.';
        if (::write(steps, &c, 1) != 1) ::_exit(3);
    };
    o.feeds = {{"told", json_lines_file(lines)}};
    s.open();
    projection_runner<told_revenue> runner{log, "revenue", s.store, o};
    if (random() % 2 == 0) runner.rebuild();
    if (random() % 2 == 0) runner.start();
    for (;;) {
        for (auto n = random() % 20; n > 0; --n)
            happen(log, sold("customer " + std::to_string(random() % 9), 1));
        if (random() % 4 == 0) runner.rebuild();
        if (runner.status().state == projection_state::idle) runner.run_until_idle();
    }
}

}  // namespace

TEST_CASE("whenever a process is killed, its read model comes to what a clean rebuild comes to")
{
    const int           cycles = std::getenv("CAIRN_LONG") ? 1'000 : 50;
    const auto          kind   = CAIRN_EACH_STORE;
    std::mt19937_64     random{testing::seed()};
    temporary_directory directory;
    if (kind == "memory") return;
    a_store s{kind};
    {
        auto log = commit_log::open(directory / "log");
        log.create_topic("sales", 3);
        for (int i = 0; i < 300; ++i) happen(log, sold("customer " + std::to_string(i % 9), 1));
    }
    const auto    lines   = directory / "lines.jsonl";
    std::uint64_t counted = 0, versions = 0;
    std::size_t   told = 0;
    for (int cycle = 0; cycle < cycles; ++cycle) {
        s.store.reset();
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        const auto seed  = random();
        const auto child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            ::close(ends[0]);
            try {
                work(directory / "log", lines, s, seed, ends[1]);
            } catch (const std::exception& e) {
                std::cerr << "the child: " << e.what() << '\n';
                ::_exit(4);
            }
        }
        ::close(ends[1]);
        char c = 0;
        for (auto left = 1 + random() % 600; left > 0 && ::read(ends[0], &c, 1) == 1; --left)
            continue;
        ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
        ::close(ends[0]);
        INFO(kind << ", cycle " << cycle << ", status " << status);
        REQUIRE(WIFSIGNALED(status));

        auto log = commit_log::open(directory / "log");
        s.open();
        projection_runner<told_revenue> runner{
            log, "revenue", s.store, {.feeds = {{"told", json_lines_file(lines)}}}};
        runner.run_until_idle();
        std::uint64_t         events = 0;
        std::set<std::string> due;
        for (const auto& r : log.read_all()) {
            due.insert("revenue/told/sales-" + std::to_string(r.from->partition) + "/" +
                       std::to_string(r.offset.value) + "/0");
            ++events;
        }
        REQUIRE(runner.view().read()->events() == events);
        const auto v = runner.verify();
        REQUIRE(v.ok);
        REQUIRE(ids_in(lines, told) == due);
        for (const auto& old : runner.status().versions)
            if (!old.active) runner.drop(old.number);
        counted  = events;
        versions = static_cast<std::uint64_t>(runner.status().version);
    }
    std::cout << kind << ": killed " << cycles << " times, " << counted << " events, " << versions
              << " versions, each counted once, and told in " << told << " lines\n";
}
