// SPDX-License-Identifier: Apache-2.0
//
// Projections whose code does not run.
#include "main/complaint.hpp"
#include "sales.hpp"
#include "stored_tables.hpp"
#include "stores.hpp"

#include <cairn/projections/projection_runner.hpp>
#include <cairn/projections/stored_projections.hpp>

#include <catch2/catch.hpp>

using namespace cairn;
using namespace cairn::testing;

namespace {

commit_log a_log()
{
    auto log = commit_log::in_memory();
    log.create_topic("sales", 2);
    return log;
}

}  // namespace

TEST_CASE("the tables of a version are known without its code")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    struct : projection_base
    {
        table<std::tuple<std::string, std::int32_t, bool>, std::pair<double, float>>   a{this, "a"};
        table<std::uint64_t, std::pair<std::optional<std::int64_t>, std::vector<int>>> b{this, "b"};
        table<std::string, std::string>                                                c{this, "c"};
        table_index<std::string, decltype(c)>                                          d{c, "d",
                                                [](const auto&, const auto& v) { return v; }};
    } many;
    const auto shapes = cairn::detail::access_of(many).shapes();
    s.store->open("many", 3, 1, shapes);
    s.store->open("one_more", 1, 1, shapes);
    s.reopen_if_it_lasts();
    CHECK(s.store->projections() == std::vector<std::string>{"many", "one_more"});
    const auto found = s.store->shapes("many", 3);
    CHECK(cairn::detail::text_of(found) == cairn::detail::text_of(shapes));
    CHECK(found[1].value[0].nullable);
    CHECK(s.store->shapes("many", 2).empty());
    CHECK(s.store->shapes("none", 1).empty());
    s.store->drop("one_more", 1);
    CHECK(s.store->projections() == std::vector<std::string>{"many"});
}

TEST_CASE("shapes that are damaged are said to be")
{
    for (const std::string text : {"a", "a(\n", "a() -> \n", "a(i64) -> (i64)", "a(x9) -> ()\n",
                                   "a(i640) -> ()\n", "a(i) -> ()\n", ") -> (\n"}) {
        CAPTURE(text);
        CHECK(complaint_of([&] { cairn::detail::shapes_from(text); })->code == errc::damaged_table);
    }
}

TEST_CASE("how far projections are, and their versions, can be seen and changed without their code")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    CAPTURE(s.kind);
    happen(log, sold("ada", 1), sold("bob", 1), sold("ada", 1));
    {
        projection_runner<revenue> runner{log, "revenue", s.store};
        runner.run_until_idle();
        runner.rebuild();
        runner.run_until_idle();
    }
    happen(log, sold("ada", 5));
    s.reopen_if_it_lasts();
    {
        stored_projections tables{log, s.store};
        REQUIRE(tables.status().size() == 1);
        const auto status = tables.status("revenue");
        CHECK(status.version == 2);
        CHECK(status.state == projection_state::idle);
        CHECK(status.lag_events == 1);
        CHECK(status.end == log.end_position());
        CHECK(status.upto.value == log.end_position().value - 1);
        CHECK(status.versions.size() == 2);
        CHECK(complaint_of([&] { tables.status("revnue"); })->says("these tables are of revenue"));

        CHECK(complaint_of([&] { tables.drop("revenue", 2); })->says("swap to another"));
        CHECK(complaint_of([&] { tables.swap_to("revenue", 7); })->says("no version 7"));
        tables.swap_to("revenue", 1);
        tables.drop("revenue", 2);
        CHECK(tables.status("revenue").version == 1);
        tables.pause("revenue");
        CHECK(tables.status("revenue").state == projection_state::paused);
    }
    s.reopen_if_it_lasts();
    {
        projection_runner<revenue> runner{log, "revenue", s.store};
        CHECK(runner.status().state == projection_state::paused);
        CHECK(runner.status().version == 1);
        runner.run_until_idle();
        CHECK(runner.view().read()->events() == 3);
    }
    s.reopen_if_it_lasts();
    stored_projections{log, s.store}.resume("revenue");
    s.reopen_if_it_lasts();
    projection_runner<revenue> runner{log, "revenue", s.store};
    runner.run_until_idle();
    CHECK(runner.view().read()->events() == 4);
}

TEST_CASE("what is parked can be seen and given up without the code that parked it")
{
    a_store    s{CAIRN_EACH_STORE};
    const auto log = a_log();
    CAPTURE(s.kind);
    happen(log, sold("poison", 1), sold("ada", 1), sold("poison", 2));
    projection_options o;
    o.topics     = {"sales"};
    o.on_failure = on_failure::park;
    {
        projection_runner<revenue> runner{log, "revenue", s.store, o};
        runner.run_until_idle();
    }
    s.reopen_if_it_lasts();
    {
        stored_projections tables{log, s.store};
        CHECK(tables.status("revenue").parked == 2);
        const auto all = tables.parked("revenue");
        REQUIRE(all.size() == 2);
        CHECK(all.front().why == "this customer is poison");
        CHECK(tables.parked("revenue", 1, all.front()).front().at == all.back().at);
        tables.skip_parked("revenue", all.front().in, all.front().at);
        CHECK(complaint_of([&] {
                  tables.skip_parked("revenue", all.front().in, all.front().at);
              })->says("nothing is parked"));
        CHECK(tables.status("revenue").parked == 1);
    }
    s.reopen_if_it_lasts();
    projection_runner<revenue> runner{log, "revenue", s.store, o};
    CHECK(runner.status().parked == 1);
    runner.run_until_idle();
    CHECK(runner.view().read()->events() == 1);
    happen(log, sold("poison", 3));
    runner.run_until_idle();
    CHECK(runner.parked().size() == 2);
}

TEST_CASE(
    "a runner that had the tables open before commits nothing more to those that were changed")
{
    const auto log   = a_log();
    const auto store = memory_tables();
    happen(log, sold("ada", 1));
    projection_runner<revenue> runner{log, "revenue", store};
    runner.run_until_idle();
    stored_projections{log, store}.pause("revenue");
    happen(log, sold("ada", 1));
    CHECK(complaint_of([&] { runner.run_until_idle(); })->code == errc::fenced_generation);
}

TEST_CASE("a rebuild that was left is seen, and its version cannot answer yet")
{
    const auto log   = a_log();
    const auto store = memory_tables();
    happen(log, sold("ada", 1), sold("ada", 1));
    {
        projection_runner<revenue> runner{log, "revenue", store};
        runner.run_until_idle();
        runner.rebuild();
    }
    stored_projections tables{log, store};
    const auto         status = tables.status("revenue");
    CHECK(status.version == 1);
    REQUIRE(status.rebuild);
    CHECK(status.rebuild->version == 2);
    CHECK(complaint_of([&] { tables.swap_to("revenue", 2); })->says("not built yet"));
    tables.drop("revenue", 2);
    CHECK_FALSE(tables.status("revenue").rebuild);
}
