// SPDX-License-Identifier: Apache-2.0
//
// The code of the page on feeds, and that it does what the page says.
#include "main/temporary_directory.hpp"
#include "projections/web_server.hpp"
#include "till.capnp.h"

#include <cairn/framework/testing.hpp>
#include <cairn/projections/json_feed.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <fstream>
#include <string>

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

//[ feed
struct Stock : cairn::projection<ItemSold>
{
    cairn::table<std::string, std::int64_t> sold_of{this, "sold_of"};

    cairn::json_feed<std::string, std::pair<std::string, std::int64_t>> sold{
        this, "sold", {"sku", "shop", "quantity"}};
    cairn::json_feed<std::string, std::int64_t> popular{this, "popular"};

    void on(ItemSold::Reader e, const cairn::origin&)
    {
        sold.emit(e.getSku(), {e.getShop(), e.getQuantity()});
        sold_of.update(e.getSku(), [&](auto& n) { n += e.getQuantity(); });
        if (const auto n = *sold_of.find(e.getSku()); n > 100) popular.emit(e.getSku(), n);
    }
};
//]

}  // namespace

TEST_CASE("the page on feeds: to a file and to a webhook")
{
    ::setenv("no_proxy", "127.0.0.1", 1);
    const cairn::testing::temporary_directory place;
    cairn::testing::web_server                server{
        [](const auto& /*request*/) { return cairn::testing::web_answer(204); }};
    auto log = cairn::commit_log::in_memory();
    log.create_topic("tills", 1);
    cairn::testing::detail::record_in(
        cairn::event_store{log}, {"tills", "till 1"},
        {item_sold("lamp", 2, "harbour"), item_sold("bulb", 101, "harbour")});
    const auto file    = place / "sold.jsonl";
    const auto address = server.address();
    const auto tables  = cairn::memory_tables();
    //[ feed_run
    cairn::projection_options options;
    options.feeds = {
        {"sold", cairn::json_lines_file(file)},
        {"popular",
         cairn::webhook(address, {.headers = {{"Authorization", "Bearer 4711"}}, .lines_max = 1})}};
    cairn::projection_runner<Stock> runner{log, "stock", tables, options};
    runner.start();
    //]
    REQUIRE(runner.view().wait_for(log.end_position() - 1, 1min));
    std::ifstream in{file};
    std::string   line;
    REQUIRE(std::getline(in, line));
    CHECK_THAT(line,
               Catch::StartsWith(R"({"id":"stock/sold/tills-0/0/0","feed":"sold")") &&
                   Catch::EndsWith(R"("key":"lamp","value":{"shop":"harbour","quantity":2}})"));
    const auto asked = server.requests();
    REQUIRE(asked.size() == 1);
    CHECK(asked[0].header("Idempotency-Key") == "stock/popular/tills-0/1/0");
    CHECK(asked[0].header("Authorization") == "Bearer 4711");
    CHECK_THAT(asked[0].body, Catch::EndsWith("\"key\":\"bulb\",\"value\":101}\n"));
}
