// SPDX-License-Identifier: Apache-2.0
// A read model, on the installed projections.
#include "order.capnp.h"

#include <cairn/projections/projection_runner.hpp>
#include <cairn/projections/testing.hpp>

#include <iostream>

struct Orders : cairn::projection<OrderPlaced>
{
    cairn::table<std::string, int> placed{this, "placed"};

    void on(OrderPlaced::Reader e, const cairn::origin&)
    {
        placed.update(e.getCustomer(), [](int& n) { ++n; });
    }
};

int main(int, char** argv)
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("orders");
    const cairn::event<OrderPlaced> placed{[](auto e) { e.setCustomer("Ada"); }};
    log.append({.records = {{"orders", {.key     = "o-1",
                                        .value   = std::string{placed.bytes()},
                                        .headers = {{"ce_type", "OrderPlaced"}}}}}});
    cairn::projection_runner<Orders> orders{log, "orders", cairn::lmdb_tables(argv[1])};
    orders.run_until_idle();
    const auto spec =
        cairn::testing::given<Orders>(placed).expect(&Orders::placed, {{"Ada", 1}});
    if (orders.view().read()->placed.find("Ada") == 1 && spec) return 0;
    std::cerr << "what was recorded was not counted\n";
    return 1;
}
