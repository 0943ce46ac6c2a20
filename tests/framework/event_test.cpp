// SPDX-License-Identifier: Apache-2.0
#include "account.hpp"

#include <cairn/framework/event.hpp>

#include <capnp/serialize.h>
#include <catch2/catch.hpp>

#include <cstring>

using namespace bank;
using namespace cairn;

TEST_CASE("an event is one segment behind its framing, as `capnp decode` reads it")
{
    const auto check = [](const any_event& e) {
        REQUIRE(e.bytes().size() % 8 == 0);
        std::uint32_t head[2];
        std::memcpy(head, e.bytes().data(), sizeof head);
        CHECK(head[0] == 0);  // segments, less one
        CHECK(head[1] * 8 + 8 == e.bytes().size());
    };
    check(opened("Ada"));
    check(event<Closed>{});
    const auto long_note = deposited(1, std::string(100'000, 'n'));  // it takes several to build
    check(long_note);
    CHECK(long_note.read()->getNote().size() == 100'000);
    CHECK(long_note.read()->getCents() == 1);
}

TEST_CASE("events are equal when type and fields are, however they were built")
{
    CHECK(deposited(5) == deposited(5));
    CHECK_FALSE(deposited(5) == deposited(6));
    CHECK_FALSE(static_cast<const any_event&>(deposited(5)) == withdrawn(5));
    // Set twice, the text's first place is left behind in the message.
    const event<Deposited> twice{[](auto e) {
        e.setNote("a first one");
        e.setNote("note");
        e.setCents(5);
    }};
    CHECK(twice == deposited(5, "note"));
}

TEST_CASE("an event says its type's name and id, and itself as JSON")
{
    const auto e = opened("Ada", Opened::Kind::SAVINGS);
    CHECK(e.type_name() == "Opened");
    CHECK(e.type_id() == capnp::typeId<Opened>());
    CHECK(e.json() == R"({"owner":"Ada","kind":"savings","limit":"0"})");
}

TEST_CASE("an event is read wherever its bytes lie")
{
    const auto  e = deposited(77, "note");
    std::string moved(1, 'x');
    moved += e.bytes();
    detail::message message;
    for (int i = 0; i < 2; ++i) {  // also in scratch that was used before
        auto fields =
            message.open(bytes_view{moved}.substr(1)).getRoot<Deposited>();
        CHECK(fields.getCents() == 77);
        CHECK(fields.getNote() == "note");
    }
}
