// SPDX-License-Identifier: Apache-2.0
// A read model, on the installed projections.
#include "order.capnp.h"

#include <cairn/projections/json_feed.hpp>
#include <cairn/projections/projection_runner.hpp>
#include <cairn/projections/testing.hpp>

#include <iostream>

struct Orders : cairn::projection<OrderPlaced>
{
    cairn::table<std::string, int>     placed{this, "placed"};
    cairn::json_feed<std::string, int> told{this, "told"};

    void on(OrderPlaced::Reader e, const cairn::origin&)
    {
        placed.update(e.getCustomer(), [](int& n) { ++n; });
        told.emit(e.getCustomer(), 1);
    }
};

int main(int, char** argv)
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("orders");
    const cairn::event<OrderPlaced> placed{[](auto e) { e.setCustomer("Ada"); }};
    log.append({.records = {{"orders",
                             {.key     = "o-1",
                              .value   = std::string{placed.bytes()},
                              .headers = {{"ce_type", "OrderPlaced"}}}}}});
    // Nobody listens there: it needs libcurl to find out.
    const auto hook = cairn::webhook("http://127.0.0.1:1/");
    try {
        cairn::projection_runner<Orders>{
            log, "hooked", cairn::memory_tables(), {.feeds = {{"told", hook}}}}
            .run_until_idle();
        return 1;
    } catch (const cairn::error& away) {
        if (away.code() != cairn::errc::store_unavailable) return 1;
    }
    cairn::projection_runner<Orders> orders{
        log,
        "orders",
        cairn::lmdb_tables(argv[1]),
        {.feeds = {{"told", cairn::json_lines_file(std::string{argv[1]} + ".jsonl")}}}};
    orders.run_until_idle();
    const auto spec = cairn::testing::given<Orders>(placed).expect(&Orders::placed, {{"Ada", 1}});
    if (orders.view().read()->placed.find("Ada") == 1 && spec) return 0;
    std::cerr << "what was recorded was not counted\n";
    return 1;
}
