// SPDX-License-Identifier: Apache-2.0
//
// The code of docs/how-to/evolve-an-event.md, and that it does what the page says.
#include "university.capnp.h"

#include <cairn/framework/event.hpp>
#include <cairn/framework/schema.hpp>

#include <catch2/catch.hpp>

#include <iostream>
#include <sstream>

using namespace university;

TEST_CASE("an event whose schema is registered is JSON without compiled code")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("courses");
    const cairn::event<SeatsOffered> offered{[](auto e) {
        e.setCourse("c-1");
        e.setSeats(20);
    }};
    log.append({.records = {{"courses",
                             {.key     = "c-1",
                              .value   = std::string{offered.bytes()},
                              .headers = {{"ce_type", "SeatsOffered"}}}}}});

    //[ register_schema
    cairn::schema_registry schemas{log};
    schemas.add(capnp::Schema::from<SeatsOffered>());
    //]
    std::ostringstream printed;
    auto* const        before = std::cout.rdbuf(printed.rdbuf());
    //[ event_as_json
    for (const auto& record : log.read_stream({"courses", "c-1"}))
        if (const auto json = schemas.json(record)) std::cout << *json << '\n';
    //]
    std::cout.rdbuf(before);
    CHECK(printed.str() == "{\"course\":\"c-1\",\"seats\":20}\n");
}
