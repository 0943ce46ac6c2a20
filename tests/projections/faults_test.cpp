// SPDX-License-Identifier: Apache-2.0
//
// Stores that are away for a time.
#include "main/complaint.hpp"
#include "sales.hpp"
#include "stores.hpp"

#include <cairn/projections/projection_runner.hpp>

#include <sqlite3.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <thread>

using namespace cairn;
using namespace cairn::testing;
using namespace std::chrono_literals;

namespace {

void await(const projection_runner<revenue>& r, projection_state s)
{
    while (r.status().state != s) std::this_thread::yield();
}

bool is_here(const std::string& store)
{
    const auto all = all_stores();
    return std::find(all.begin(), all.end(), store) != all.end();
}

/// Another process would be the same to SQLite: it is another connection.
class sqlite_lock
{
public:
    explicit sqlite_lock(const std::filesystem::path& file)
    {
        REQUIRE(sqlite3_open(file.c_str(), &database_) == SQLITE_OK);
        REQUIRE(sqlite3_exec(database_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
    }
    ~sqlite_lock() { sqlite3_close(database_); }
    sqlite_lock(const sqlite_lock&)            = delete;
    sqlite_lock& operator=(const sqlite_lock&) = delete;

private:
    sqlite3* database_ = nullptr;
};

}  // namespace

TEST_CASE("a server that is away is waited for, and each event counts once when it is back")
{
    if (!is_here("postgresql")) return;
    auto log = commit_log::in_memory();
    log.create_topic("sales", 3);
    postgres_server            server;
    projection_runner<revenue> runner{log, "revenue", postgres_tables(server.connection())};
    runner.start();
    const auto view = runner.view();
    for (int again = 1; again <= 3; ++again) {
        happen(log, sold("Ada", 1));
        REQUIRE(view.wait_for(log.end_position() - 1, 1min));
        server.kill();
        happen(log, sold("Ada", 10));
        await(runner, projection_state::retrying);
        CHECK_THAT(runner.status().error, Catch::Contains("PostgreSQL"));
        CHECK(code_of([&] { view.read(); }) == errc::store_unavailable);
        server.start();
        REQUIRE(view.wait_for(log.end_position() - 1, 1min));
        CHECK(view.read()->spent_by("Ada") == 11 * again);
        CHECK(runner.status().state == projection_state::following);
        CHECK(runner.status().error.empty());
    }
}

TEST_CASE("who records something while the server is away is not held up; it is counted later")
{
    if (!is_here("postgresql")) return;
    auto log = commit_log::in_memory();
    log.create_topic("sales", 3);
    const event_store events{log};
    const auto      sell = [&](std::int64_t cents) { happen_through(events, sold("Ada", cents)); };
    postgres_server server;
    projection_runner<revenue> runner{events, "revenue", postgres_tables(server.connection())};
    runner.start_inline();
    sell(1);
    CHECK(runner.view().read()->spent_by("Ada") == 1);
    server.kill();
    sell(10);
    CHECK(runner.status().state == projection_state::retrying);
    server.start();
    sell(100);  // and with it what came before
    CHECK(runner.view().read()->spent_by("Ada") == 111);
    CHECK(runner.status().state == projection_state::following);
}

TEST_CASE("a file that another has locked is waited for, and each event counts once")
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 3);
    a_store                    s{"sqlite"};
    projection_runner<revenue> runner{log, "revenue", s.store};
    happen(log, sold("Ada", 1));
    runner.run_until_idle();
    {
        const sqlite_lock other{s.place / "tables.sqlite"};
        happen(log, sold("Ada", 10));
        CHECK(code_of([&] { runner.run_until_idle(); }) == errc::store_unavailable);
        CHECK(runner.view().read()->spent_by("Ada") == 1);  // a reader is not locked out
        runner.start();
    }
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    CHECK(runner.view().read()->spent_by("Ada") == 11);
}
