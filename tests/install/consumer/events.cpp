// SPDX-License-Identifier: Apache-2.0
// A program with an event of its own, on the installed framework.
#include "order.capnp.h"

#include <cairn/framework/event.hpp>
#include <cairn/framework/schema.hpp>

#include <iostream>

int main()
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("orders");
    cairn::schema_registry schemas{log};
    schemas.add(capnp::Schema::from<OrderPlaced>());

    const cairn::event<OrderPlaced> placed{[](auto e) { e.setCustomer("Ada"); }};
    log.append({.records = {{"orders", {.key     = "o-1",
                                        .value   = std::string{placed.bytes()},
                                        .headers = {{"ce_type", "OrderPlaced"}}}}}});
    for (const auto& record : log.read_stream({"orders", "o-1"}))
        if (schemas.json(record) == R"({"customer":"Ada"})") return 0;
    std::cerr << "what was recorded is not there\n";
    return 1;
}
