// SPDX-License-Identifier: Apache-2.0
//
// The code of docs/how-to/evolve-an-event.md, and that it does what the page says.
#include "ledger.capnp.h"
#include "university.capnp.h"

#include <cairn/framework/event_store.hpp>
#include <cairn/framework/repository.hpp>
#include <cairn/framework/schema.hpp>

#include <catch2/catch.hpp>

#include <iostream>
#include <sstream>
#include <string>
#include <vector>

using namespace university;
using namespace ledger;

namespace {

/// What the program of today knows of a ledger; it writes down what it is told.
struct Ledger : cairn::aggregate<Paid, Taken, Priced, Credit, AmountSet, LabelSet>
{
    std::string told;

    void say(const std::string& what) { told += what + "\n"; }

    void apply(Paid::Reader e)
    {
        say("paid " + std::to_string(e.getCents()) + " " + e.getCurrency().cStr());
    }
    void apply(Taken::Reader e) { say("taken " + std::to_string(e.getCents())); }
    void apply(Priced::Reader e)
    {
        say(std::string{"priced "} + e.getLabel().cStr() + " at " + std::to_string(e.getCents()));
    }
    void apply(Credit::Reader e) { say("credit " + std::to_string(e.getCents())); }
    void apply(AmountSet::Reader e) { say("amount " + std::to_string(e.getCents())); }
    void apply(LabelSet::Reader e) { say(std::string{"label "} + e.getLabel().cStr()); }
};

auto paid(std::uint64_t cents, const std::string& currency)
{
    return cairn::event<Paid>{[&](auto e) {
        e.setCents(cents);
        e.setCurrency(currency);
    }};
}
auto taken(std::uint64_t cents)
{
    return cairn::event<Taken>{[&](auto e) { e.setCents(cents); }};
}
auto priced(const std::string& label, std::uint64_t cents)
{
    return cairn::event<Priced>{[&](auto e) {
        e.setLabel(label);
        e.setCents(cents);
    }};
}

constexpr std::uint64_t old_credit_id = capnp::typeId<OldCredit>();

cairn::upcasters of_old()
{
    //[ upcasters
    cairn::upcasters old;
    // One becomes another.
    old.change<PaidV1>([](PaidV1::Reader e) { return paid(e.getEuros() * 100ULL, "EUR"); });
    // One becomes several, or none.
    old.change<Moved>([](Moved::Reader e) {
        return std::vector<cairn::any_event>{taken(e.getOut()), paid(e.getIn(), "EUR")};
    });
    old.change<Ping>([](Ping::Reader) { return std::vector<cairn::any_event>{}; });
    // Two that were recorded next to each other become one.
    old.merge<AmountSet, LabelSet>(
        [](AmountSet::Reader a, LabelSet::Reader l) { return priced(l.getLabel(), a.getCents()); });
    // It was called otherwise, in records that have a name and no id.
    old.renamed<Credit>("CreditGiven");
    // It was moved to another file, and had another id there.
    old.moved<Credit>(old_credit_id);
    //]
    return old;
}

/// Records events as a service of before did.
void record_of_old(cairn::commit_log log, const cairn::any_event& e)
{
    std::ostringstream id;
    id << "capnp:" << std::hex;
    id.width(16);
    id.fill('0');
    id << e.type_id();
    log.append({.records = {{"ledgers",
                             {.key     = "a",
                              .value   = std::string{e.bytes()},
                              .headers = {{"ce_dataschema", id.str()},
                                          {"ce_type", std::string{e.type_name()}}}}}}});
}

}  // namespace

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

TEST_CASE("old events are read as those of today")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("ledgers");
    record_of_old(log, cairn::event<PaidV1>{[](auto e) { e.setEuros(7); }});
    record_of_old(log, cairn::event<Moved>{[](auto e) {
                      e.setOut(5);
                      e.setIn(6);
                  }});
    record_of_old(log, cairn::event<Ping>{});
    record_of_old(log, cairn::event<AmountSet>{[](auto e) { e.setCents(3); }});
    record_of_old(log, cairn::event<LabelSet>{[](auto e) { e.setLabel("tea"); }});
    record_of_old(log, cairn::event<OldCredit>{[](auto e) { e.setCents(9); }});
    const cairn::event<Credit> credit{[](auto e) { e.setCents(8); }};
    log.append({.records = {{"ledgers",
                             {.key     = "a",
                              .value   = std::string{credit.bytes()},
                              .headers = {{"ce_type", "CreditGiven"}}}}}});
    const cairn::upcasters old = of_old();
    //[ upcasters_wiring
    cairn::event_store        store{log, {.upcasters = old}};
    cairn::repository<Ledger> ledgers{store, "ledgers"};
    //]
    const auto found = ledgers.load("a");
    CHECK(found.state.told ==
          "paid 700 EUR\ntaken 5\npaid 6 EUR\npriced tea at 3\n"
          "credit 9\ncredit 8\n");
    CHECK(found.version == cairn::version{7});
}

TEST_CASE("a repository registers its types when it is made")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("ledgers");
    const cairn::repository<Ledger> ledgers{log, "ledgers"};
    CHECK(cairn::schema_registry{log}.find("Priced"));
}
