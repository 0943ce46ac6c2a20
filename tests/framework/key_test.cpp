// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "ledger.capnp.h"

#include <cairn/framework/decider.hpp>
#include <cairn/framework/testing.hpp>

#include <catch2/catch.hpp>

using namespace cairn;
using namespace cairn::testing;
using namespace ledger;

namespace {

auto shipped(const std::string& order)
{
    return event<Shipped>{[&](auto e) { e.setOrder(order); }};
}
auto returned(const std::string& order)
{
    return event<Returned>{[&](auto e) { e.setOrder(order); }};
}

struct Ship
{
    std::string order;
};

struct Parcel : aggregate<Shipped, Returned>
{
    int      shipments = 0;
    decision decide(const Ship& c) const { return shipped(c.order); }
    void     apply(Shipped::Reader) { ++shipments; }
    void     apply(Returned::Reader) {}
};

struct Return
{
    std::string order;
};

/// Decides by what has happened to it.
struct Delivery : aggregate<Shipped, Returned>
{
    bool     under_way = false;
    decision decide(const Ship& c) const
    {
        if (under_way) return reject("it is under way");
        return shipped(c.order);
    }
    decision decide(const Return& c) const
    {
        if (!under_way) return {};
        return returned(c.order);
    }
    void apply(Shipped::Reader) { under_way = true; }
    void apply(Returned::Reader) { under_way = false; }
};

struct Shipments : folds<Shipped>
{
    int  so_far = 0;
    void apply(Shipped::Reader) { ++so_far; }
};

template <class F>
std::string refusal_of(F&& fails, errc as)
{
    const auto c = complaint_of(std::forward<F>(fails));
    REQUIRE(c);
    CHECK(*c == as);
    return c->what;
}

template <class E>
struct only : aggregate<E>
{
    void apply(typename E::Reader) {}
};

}  // namespace

TEST_CASE("an event that names its stream is recorded in no other")
{
    a_log              on{false};
    repository<Parcel> parcels{*on.log, "accounts"};
    const auto         end = on.log->end_position();
    CHECK(refusal_of([&] { (void)parcels.execute("o-1", Ship{"o-2"}); }, errc::illegal_stream_id) ==
          "Shipped.order says \"o-2\", and the event is to be recorded in stream \"o-1\" of "
          "accounts: one of them is wrong");
    CHECK(code_of([&] { (void)parcels.execute("o-1", Ship{""}); }) == errc::illegal_stream_id);
    CHECK(on.log->end_position() == end);
    CHECK(parcels.load("o-1").version == version{0});
    CHECK(parcels.load("o-1").state.shipments == 0);

    CHECK(parcels.execute("o-1", Ship{"o-1"})->version == version{1});
}

TEST_CASE("of a decision whose second event names another stream nothing is recorded")
{
    a_log      on{false};
    decider    desk{*on.log, "accounts"};
    const auto both = [](const Shipments&) -> decision<Shipped, Returned> {
        return {shipped("o-1"), returned("o-2")};
    };
    CHECK(code_of([&] { (void)desk.execute("o-1", both, from_tags<Shipments>()); }) ==
          errc::illegal_stream_id);
    CHECK(code_of([&] { (void)desk.execute(both, from_tags<Shipments>()); }) ==
          errc::illegal_stream_id);
    CHECK(on.log->stream_version({"accounts", "o-1"}) == version{0});
    CHECK(on.log->stream_version({"accounts", "o-2"}) == version{0});
}

TEST_CASE("a decider records an event in the stream that it names, where none is said")
{
    a_log      on{false};
    decider    desk{*on.log, "accounts"};
    const auto ship = [](const Shipments& s) -> decision<Shipped, Returned> {
        if (s.so_far == 2) return reject("two are enough");
        return {shipped("o-1"), returned("o-1")};
    };
    CHECK(desk.execute(ship, from_tags<Shipments>())->version == version{2});
    const command_context once{.command_id = "c-1"};
    const auto again = desk.execute(once, ship, from_stream<Shipments>("accounts", "o-9"));
    CHECK(again->version == version{4});
    CHECK(types_of(*on.log, "o-1") ==
          std::vector<std::string>{"Shipped", "Returned", "Shipped", "Returned"});
    CHECK(desk.execute(ship, from_tags<Shipments>()).error().reason == "two are enough");

    const auto nothing = [](const Shipments&) -> decision<Shipped> { return {}; };
    CHECK(desk.execute(nothing, from_tags<Shipments>())->recorded == 0);
}

TEST_CASE("an event that names no stream needs to be told one")
{
    a_log   on{false};
    decider desk{*on.log, "accounts"};
    CHECK_THAT(refusal_of(
                   [&] {
                       (void)desk.execute(
                           [](const Shipments&) -> decision<Paid> { return event<Paid>{}; },
                           from_tags<Shipments>());
                   },
                   errc::illegal_stream_id),
               Catch::StartsWith("Paid has no field marked $Cairn.key"));
}

TEST_CASE("a key that is no text, is personal, or is one of two is refused, and the field named")
{
    a_log      on{false};
    const auto refused = [&]<class E>(event<E>) {
        return refusal_of([&] { repository<only<E>>{*on.log, "accounts"}; }, errc::illegal_schema);
    };
    CHECK_THAT(refused(event<NumberKey>{}), Catch::StartsWith("NumberKey.order is marked"));
    CHECK_THAT(refused(event<TwoKeys>{}),
               Catch::StartsWith("TwoKeys.parcel is marked") && Catch::Contains("so is order"));
    CHECK_THAT(refused(event<NameAsKey>{}), Catch::StartsWith("NameAsKey.name is personal"));
}

namespace {

auto crate(const std::string& owner, const std::string& seal = "")
{
    return event<Crate>{[&](auto e) {
        e.initAt().setHarbour("Ulm");
        e.getAt().setPier(7);
        e.initOwner().initId().setText(owner);
        if (seal.empty())
            e.initSealed().setNo();
        else
            e.initSealed().setBy(seal);
    }};
}

struct Load
{
    std::string owner, seal{};
};
struct Crates : aggregate<Crate>
{
    decision decide(const Load& c) const { return crate(c.owner, c.seal); }
    void     apply(Crate::Reader) {}
};

}  // namespace

TEST_CASE("a tag and a key in a group of the struct are followed")
{
    a_log              on{false};
    repository<Crates> crates{*on.log, "accounts"};
    CHECK(refusal_of([&] { (void)crates.execute("ada", Load{"bob"}); }, errc::illegal_stream_id) ==
          "Crate.owner.id.text says \"bob\", and the event is to be recorded in stream \"ada\" of "
          "accounts: one of them is wrong");
    const auto tags = [&](position at) {
        return std::string{on.log->read_all(at).next()->headers.find(header_names::tags).value()};
    };
    CHECK(tags(crates.execute("ada", Load{"ada"})->position) == "harbour:Ulm,7");
    CHECK(tags(crates.execute("ada", Load{"ada", "wax"})->position) == "harbour:Ulm,7,seal:wax");

    struct Known : folds<Crate>
    {
        int  n = 0;
        void apply(Crate::Reader) { ++n; }
    };
    decider    desk{*on.log, "accounts"};
    const auto loaded = desk.execute(
        [](const Known& known) -> decision<Crate> {
            if (known.n != 1) return reject("there are " + std::to_string(known.n));
            return crate("bob");
        },
        from_tags<Known>("harbour:Ulm", "seal:wax"));
    REQUIRE(loaded);
    CHECK(on.log->stream_version({"accounts", "bob"}) == version{1});
}

TEST_CASE("a tag or a key that is inside of a struct or a list is refused, and the field named")
{
    a_log      on{false};
    const auto refused = [&]<class E>(event<E>) {
        return refusal_of([&] { repository<only<E>>{*on.log, "accounts"}; }, errc::illegal_schema);
    };
    CHECK_THAT(refused(event<TaggedInside>{}),
               Catch::StartsWith("TaggedInside.where holds a field that is a tag"));
    CHECK_THAT(refused(event<TaggedInList>{}),
               Catch::StartsWith("TaggedInList.where holds a field that is a tag"));
    CHECK_THAT(refused(event<TaggedDeep>{}),
               Catch::StartsWith("TaggedDeep.twin holds a field that is a tag"));
    CHECK_THAT(refused(event<KeyInside>{}),
               Catch::StartsWith("KeyInside.order holds a field that is the stream's id"));
    CHECK_THAT(refused(event<SecretGroup>{}),
               Catch::StartsWith("SecretGroup.who is a group with a field that is personal"));
    CHECK(on.log->topics().size() == 1);
}

TEST_CASE("what is given on a log is recorded in the stream that its events name")
{
    a_log             on{true};
    const event_store store{*on.log};
    for (int i = 0; i < 2; ++i) {  // the second time is of another history
        const auto out = given<Delivery>(shipped("o-1")).on(store);
        CHECK(out.when(Return{"o-1"}).then(returned("o-1")));
        CHECK(out.when(Return{"o-1"}).then(returned("o-1")));
        CHECK(out.when(Ship{"o-1"}).then_rejected("it is under way"));
        const auto back = given<Delivery>(shipped("o-1"), returned("o-1")).on(store);
        CHECK(back.when(Ship{"o-1"}).then(shipped("o-1")));
        CHECK(back.when(Return{"o-1"}).then_nothing());
        // One that is new has the stream that the decision names.
        CHECK(given<Delivery>().on(store).when(Ship{"o-2"}).then(shipped("o-2")));
        CHECK(given<Delivery>().on(store).when(Return{"o-2"}).then_nothing());
    }
    // Of another aggregate than the one that is asked.
    const auto other = given<Delivery>(shipped("o-1")).on(store);
    CHECK(code_of([&] { (void)other.when(Return{"o-2"}); }) == errc::illegal_stream_id);
    const auto mixed = given<Delivery>(shipped("o-1"), returned("o-2")).on(store);
    CHECK(code_of([&] { (void)mixed.when(Ship{"o-1"}); }) == errc::illegal_stream_id);
}
