// SPDX-License-Identifier: Apache-2.0
//
// The code of the page on read models, and that it does what the page says.
#include "main/temporary_directory.hpp"
#include "till.capnp.h"

#include <cairn/framework/testing.hpp>
#include <cairn/projections/live.hpp>
#include <cairn/projections/projection_control.hpp>
#include <cairn/projections/projection_runner.hpp>
#include <cairn/projections/testing.hpp>

#include <catch2/catch.hpp>

#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace till;
using namespace std::chrono_literals;

namespace {

auto item_sold(const std::string& sku, std::int64_t quantity, const std::string& shop)
{
    return cairn::event<ItemSold>{[&](auto e) {
        e.setSku(sku);
        e.setShop(shop);
        e.setQuantity(quantity);
    }};
}

void happen(const cairn::commit_log& log, const std::vector<cairn::any_event>& all)
{
    cairn::testing::detail::record_in(cairn::event_store{log}, {"tills", "till 1"}, all);
}

//[ read_model
struct BestSellers : cairn::projection<ItemSold>
{
    cairn::table<std::string, std::int64_t>          sold{this, "sold"};
    cairn::table_index<std::int64_t, decltype(sold)> by_quantity{
        sold, "sold_by_quantity", [](const auto& /*sku*/, auto quantity) { return quantity; }};
    cairn::table<std::pair<std::string, std::string>, std::int64_t> shops{this, "shops"};

    void on(ItemSold::Reader e, const cairn::origin&)
    {
        if (e.getQuantity() == 0) throw std::invalid_argument{"nothing was sold"};
        sold.update(e.getSku(), [&](auto& q) { q += e.getQuantity(); });
        shops.update({e.getShop(), e.getSku()}, [&](auto& q) { q += e.getQuantity(); });
    }

    std::string best() const
    {
        for (const auto& [sku, quantity] : by_quantity.rows_backwards()) return sku;
        return "nothing";
    }
};
//]

//[ instances_tables
struct Sales : cairn::projection<ItemSold>
{
    // The stream is the shop's, so each row is of the events of one partition.
    cairn::table<std::string, std::int64_t> by_shop{this, "by_shop", cairn::rows_apart};
    // An article is sold in all shops: what the threads count is added up.
    cairn::table<std::string, std::int64_t> by_article{this, "by_article", cairn::rows_added_up};

    void on(ItemSold::Reader e, const cairn::origin&)
    {
        by_shop.update(e.getShop(), [&](auto& n) { n += e.getQuantity(); });
        by_article.update(e.getSku(), [&](auto& n) { n += e.getQuantity(); });
    }
};
//]

}  // namespace

TEST_CASE("the page on read models: kept, asked, waited for")
{
    const cairn::testing::temporary_directory place;
    auto                                      log = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    happen(log, {item_sold("lamp", 2, "main street"), item_sold("bulb", 7, "main street"),
                 item_sold("lamp", 1, "harbour")});
    const auto directory = place / "projections";
    //[ read_model_run
    cairn::projection_runner<BestSellers> runner{log, "best_sellers",
                                                 cairn::lmdb_tables(directory)};
    runner.start();
    const auto best_sellers = runner.view();
    //]
    REQUIRE(best_sellers.wait_for(log.end_position() - 1, 1min));
    //[ read_model_ask
    const auto now = best_sellers.read();
    CHECK(now->best() == "bulb");
    CHECK(now->sold.find("lamp") == 3);
    for (const auto& [key, quantity] : now->shops.rows_with("harbour")) CHECK(quantity == 1);
    //]
    happen(log, {item_sold("lamp", 9, "harbour")});
    const auto receipt = log.end_position() - 1;
    //[ read_model_wait
    CHECK(best_sellers.read(receipt, 1s)->best() == "lamp");
    //]
    //[ read_model_rebuild
    runner.rebuild();
    //]
    while (best_sellers.status().rebuild) std::this_thread::yield();
    CHECK(best_sellers.status().version == 2);
    //[ read_model_swap_back
    runner.swap_to(1);
    runner.drop(2);
    //]
    CHECK(best_sellers.read(receipt, 1min)->best() == "lamp");
    //[ read_model_fold
    CHECK(cairn::fold<BestSellers>(log)->best() == "lamp");
    CHECK(cairn::fold<BestSellers>(log, {.upto = receipt - 1})->best() == "bulb");
    //]
}

TEST_CASE("the page on read models: followed by a page")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    happen(log, {item_sold("lamp", 1, "harbour")});
    cairn::projection_runner<BestSellers> runner{log, "best_sellers", cairn::memory_tables()};
    runner.run_until_idle();
    const auto                          best_sellers = runner.view();
    std::map<std::string, std::int64_t> page;
    //[ read_model_follow
    auto changes = best_sellers.follow(&BestSellers::sold);
    while (const auto news = changes.next(100ms)) {
        if (news->reset) page.clear();
        for (const auto& [sku, quantity] : news->rows) page[sku] = quantity;
        for (const auto& sku : news->erased) page.erase(sku);
    }
    //]
    CHECK(page.at("lamp") == 1);
    //[ read_model_follow_some
    auto harbour = best_sellers.follow(&BestSellers::shops).rows_with("harbour");
    auto many    = best_sellers.follow(&BestSellers::sold).filtered([](const auto& row) {
        return row.value >= 100;
    });
    //]
    CHECK(harbour.next(0s)->rows.size() == 1);
    CHECK(many.next(0s)->rows.empty());
    //[ read_model_follow_json
    auto lines = best_sellers.follow_json("sold");
    if (const auto news = lines.next(100ms)) std::cout << "data: " << news->text << "\n\n";
    //]
}

TEST_CASE("the page on read models: watched, and stopped in time")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    //[ read_model_watch
    cairn::projection_options options;
    options.stall_after = 30s;
    options.on_stalled  = [](const std::string& where) { std::cerr << where << '\n'; };
    cairn::projection_runner<BestSellers> runner{log, "best_sellers", cairn::memory_tables(),
                                                 options};
    //]
    runner.start();
    CHECK(runner.status().stalled.empty());
    //[ read_model_stop
    if (const auto stopped = runner.stop(10s); !stopped) std::cerr << stopped.busy << '\n';
    //]
    CHECK(runner.status().state == cairn::projection_state::idle);
}

TEST_CASE("the page on read models: only some of the events")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    happen(log, {item_sold("lamp", 1, "harbour")});
    //[ read_model_query
    cairn::projection_options options;
    options.query = cairn::query{{{.tags = {"shop:harbour"}}}};
    //]
    cairn::projection_runner<BestSellers> runner{log, "harbour", cairn::memory_tables(), options};
    runner.run_until_idle();
    CHECK(runner.view().read()->best() == "nothing");  // none is tagged
}

TEST_CASE("the page on read models: what cannot be handled")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    happen(log, {item_sold("lamp", 0, "harbour"), item_sold("bulb", 1, "harbour")});
    //[ read_model_park
    cairn::projection_runner<BestSellers> runner{
        log, "best_sellers", cairn::memory_tables(), {.on_failure = cairn::on_failure::park}};
    runner.run_until_idle();
    for (const auto& e : runner.parked())
        std::cout << e.in << " offset " << e.at << ": " << e.type << ": " << e.why << '\n';
    //]
    CHECK(runner.parked().size() == 2);
    const auto first = runner.parked().front();
    //[ read_model_skip
    runner.skip_parked(first.in, first.at);
    runner.retry_parked();
    //]
    CHECK(runner.status().parked == 0);
    CHECK(runner.view().read()->best() == "bulb");
}

TEST_CASE("the page on looking after projections: served")
{
    const cairn::testing::temporary_directory place;
    auto                                      log = cairn::commit_log::open(place / "data");
    log.create_topic("tills", 2);
    //[ look_after_serve
    cairn::projection_runner<BestSellers> best_sellers{
        log, "best_sellers", cairn::lmdb_tables(log.directory() + "/projections")};
    cairn::projection_control control{log};
    control.add(best_sellers);
    best_sellers.start();
    //]
    CHECK(cairn::projection_client{log.directory()}.status().size() == 1);
    //[ look_after_pause
    best_sellers.pause();
    best_sellers.resume();
    best_sellers.reset();
    //]
    CHECK(best_sellers.status().version == 2);
}

//[ read_model_spec
TEST_CASE("what is sold is added up, by shop too")
{
    using namespace cairn::testing;
    auto world = given<BestSellers>();
    world.in({"tills", "1"}, item_sold("lamp", 2, "harbour"), item_sold("lamp", 1, "harbour"))
        .in({"tills", "2"}, item_sold("bulb", 7, "main street"));
    CHECK(world.expect(&BestSellers::sold, {{"bulb", 7}, {"lamp", 3}}));
    CHECK(world.expect(&BestSellers::shops,
                       {{{"harbour", "lamp"}, 3}, {{"main street", "bulb"}, 7}}));
}
//]

TEST_CASE("the page on several instances")
{
    const cairn::testing::temporary_directory place;
    auto                                      log = cairn::commit_log::in_memory();
    log.create_topic("tills", 4);
    const auto directory = place / "projections";
    //[ instances_group
    const cairn::projection_group group{cairn::local_group_coordinator{log}};
    const auto                    store = cairn::lmdb_tables(directory);

    cairn::projection_runner<Sales> one{log, "sales", store, {.group = group}};
    cairn::projection_runner<Sales> two{log, "sales", store, {.group = group}};
    one.start();
    two.start();
    //]
    happen(log, {item_sold("lamp", 2, "harbour"), item_sold("lamp", 1, "harbour")});
    const auto receipt = log.end_position() - 1;
    //[ instances_wait
    CHECK(one.view().read(receipt, 1min)->by_article.find("lamp") == 3);
    CHECK(two.view().read(receipt, 1min)->by_article.find("lamp") == 3);
    //]
}
