// SPDX-License-Identifier: Apache-2.0
//
// The code of the page on counting by the hour, and that it does what the page says.
#include "till.capnp.h"

#include <cairn/framework/testing.hpp>
#include <cairn/projections/flows.hpp>
#include <cairn/projections/projection_runner.hpp>

#include <catch2/catch.hpp>

#include <string>
#include <vector>

using namespace till;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t minute = 60'000;

auto item_sold(const std::string& sku, std::int64_t quantity, std::int64_t at_ms,
               const std::string& shop = "main street")
{
    return cairn::event<ItemSold>{[&](auto e) {
        e.setSku(sku);
        e.setShop(shop);
        e.setQuantity(quantity);
        e.setAtMs(at_ms);
    }};
}

cairn::commit_log a_log()
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("tills", 2);
    return log;
}

void happen(const cairn::commit_log& log, const std::vector<cairn::any_event>& all)
{
    cairn::testing::detail::record_in(cairn::event_store{log}, {"tills", "till 1"}, all);
}

//[ by_hour
struct Sales : cairn::flows<ItemSold>
{
    cairn::table<std::string, std::int64_t>          sold{this, "sold"};
    cairn::windowed_table<std::string, std::int64_t> by_hour{this, "by_hour",
                                                             cairn::tumbling(1h).grace(10min)};

    Sales()
    {
        from<ItemSold>() | group_by(&ItemSold::Reader::getSku) |
            sum(&ItemSold::Reader::getQuantity) | into(sold);

        from<ItemSold>() | timed_by(&ItemSold::Reader::getAtMs) |
            group_by(&ItemSold::Reader::getSku) | sum(&ItemSold::Reader::getQuantity) |
            into(by_hour);
    }
};
//]

//[ by_town
struct SalesByTown : cairn::flows<ItemSold, ShopOpened>
{
    cairn::table<std::string, std::string>            town_of{this, "town_of"};
    cairn::windowed_table<std::string, std::uint64_t> by_town{this, "by_town",
                                                              cairn::hopping(1h, 15min)};

    SalesByTown()
    {
        from<ShopOpened>() | group_by(&ShopOpened::Reader::getShop) |
            newest(&ShopOpened::Reader::getTown) | into(town_of);

        from<ItemSold>() | timed_by(&ItemSold::Reader::getAtMs) |
            join(town_of, &ItemSold::Reader::getShop) |
            group_by([](const auto& sale_and_town) { return sale_and_town.second; }) | count() |
            into(by_town);
    }
};
//]

//[ to_topic
struct BulkSales : cairn::flows<ItemSold>
{
    BulkSales()
    {
        from<ItemSold>() | filter([](ItemSold::Reader e) { return e.getQuantity() >= 100; }) |
            map([](ItemSold::Reader e) {
                return cairn::event<BulkSold>{[&](auto bulk) {
                    bulk.setSku(e.getSku());
                    bulk.setQuantity(e.getQuantity());
                }};
            }) |
            group_by([](const auto& bulk) { return std::string{bulk.read()->getSku()}; }) |
            to_topic("bulk_sales");
    }
};
//]

}  // namespace

TEST_CASE("what is sold is counted by the hour")
{
    const auto log = a_log();
    happen(log, {item_sold("lamp", 1, 5 * minute), item_sold("lamp", 2, 65 * minute),
                 item_sold("lamp", 4, 59 * minute), item_sold("vase", 1, 71 * minute),
                 item_sold("lamp", 8, 58 * minute)});
    //[ by_hour_run
    cairn::projection_runner<Sales> sales{log, "sales", cairn::memory_tables()};
    sales.run_until_idle();
    //]
    std::vector<std::string> seen;
    //[ by_hour_read
    const auto now = sales.view().read();
    for (const auto& [in, quantity] : now->by_hour.rows_of("lamp"))
        seen.push_back(std::to_string(in.start.value / minute) + ": " + std::to_string(quantity));
    CHECK(seen == std::vector<std::string>{"0: 5", "60: 2"});
    CHECK(now->by_hour.late() ==
          1);  // of 58 minutes past, when it was 71: the hour was closed at 70
    //]
    seen.clear();
    //[ by_hour_final
    for (const auto& [in, quantity] : now->by_hour.closed_only(now->by_hour.rows()))
        seen.push_back(in.key + " " + std::to_string(quantity));
    CHECK(seen == std::vector<std::string>{"lamp 5"});
    //]
    CHECK(now->sold.find("lamp") == 15);
}

TEST_CASE("a sale is joined with the town that its shop is in")
{
    const auto log = a_log();
    happen(log, {cairn::event<ShopOpened>{[](auto e) {
                     e.setShop("main street");
                     e.setTown("York");
                 }},
                 item_sold("lamp", 1, 5 * minute), item_sold("lamp", 1, 20 * minute)});
    cairn::projection_runner<SalesByTown> sales{log, "sales_by_town", cairn::memory_tables()};
    sales.run_until_idle();
    CHECK(sales.view().read()->by_town.find("York", cairn::timestamp{5 * minute}) == 2u);
    CHECK(sales.view().read()->by_town.find("York", cairn::timestamp{20 * minute}) == 1u);
}

TEST_CASE("bulk sales go to a topic of their own, once")
{
    auto log = a_log();
    //[ to_topic_run
    log.ensure_topic("bulk_sales", 4);
    cairn::projection_runner<BulkSales> bulk{log, "bulk", cairn::memory_tables()};
    //]
    happen(log, {item_sold("lamp", 100, 0), item_sold("lamp", 1, 0)});
    bulk.run_until_idle();
    cairn::projection_runner<BulkSales>{log, "bulk", cairn::memory_tables()}.run_until_idle();
    CHECK(log.stream_version({"bulk_sales", "lamp"}) == cairn::version{1});
}
