// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "ledger.capnp.h"
#include "main/files.hpp"

#include <cairn/framework/decider.hpp>
#include <cairn/framework/repository.hpp>
#include <cairn/log/partitioner.hpp>

#include <catch2/catch.hpp>

#include <filesystem>
#include <sstream>

using namespace cairn;
using namespace cairn::testing;
using namespace ledger;

namespace {

/// What an account of today knows; it writes down what it is told.
struct Account : aggregate<Paid, Taken, Priced, Credit, AmountSet, LabelSet>
{
    std::string told;

    struct Say
    {
        std::vector<any_event> events;
    };
    struct Pay
    {
        std::uint64_t cents;
    };
    decision decide(const Pay& c) const
    {
        return event<Paid>{[&](auto e) { e.setCents(c.cents); }};
    }

    void apply(Paid::Reader e)
    {
        told += "paid " + std::to_string(e.getCents()) + e.getCurrency().cStr() + " ";
    }
    void apply(Taken::Reader e) { told += "taken " + std::to_string(e.getCents()) + " "; }
    void apply(Priced::Reader e)
    {
        told += std::string{"priced "} + e.getLabel().cStr() + "=" + std::to_string(e.getCents()) +
                " ";
    }
    void apply(Credit::Reader e) { told += "credit " + std::to_string(e.getCents()) + " "; }
    void apply(AmountSet::Reader e) { told += "amount " + std::to_string(e.getCents()) + " "; }
    void apply(LabelSet::Reader e) { told += std::string{"label "} + e.getLabel().cStr() + " "; }
};

auto paid_v1(std::uint32_t euros)
{
    return event<PaidV1>{[&](auto e) { e.setEuros(euros); }};
}
auto moved(std::uint64_t out, std::uint64_t in)
{
    return event<Moved>{[&](auto e) {
        e.setOut(out);
        e.setIn(in);
    }};
}
auto amount_set(std::uint64_t cents)
{
    return event<AmountSet>{[&](auto e) { e.setCents(cents); }};
}
auto label_set(const std::string& label)
{
    return event<LabelSet>{[&](auto e) { e.setLabel(label); }};
}

upcasters of_today()
{
    upcasters up;
    up.change<PaidV1>([](PaidV1::Reader e) {
          return event<PaidV2>{[&](auto to) { to.setCents(e.getEuros() * 100ULL); }};
      })
        .change<PaidV2>([](PaidV2::Reader e) {
            return event<Paid>{[&](auto to) {
                to.setCents(e.getCents());
                to.setCurrency("EUR");
            }};
        })
        .change<Moved>([](Moved::Reader e) {
            return std::vector<any_event>{
                event<Taken>{[&](auto to) { to.setCents(e.getOut()); }},
                event<PaidV2>{[&](auto to) { to.setCents(e.getIn()); }}};
        })
        .change<Ping>([](Ping::Reader) { return std::vector<any_event>{}; })
        .merge<AmountSet, LabelSet>([](AmountSet::Reader a, LabelSet::Reader l) {
            return event<Priced>{[&](auto to) {
                to.setCents(a.getCents());
                to.setLabel(l.getLabel());
            }};
        })
        .moved<Credit>(capnp::typeId<OldCredit>())
        .renamed<Credit>("CreditGiven");
    return up;
}

/// Records events as the service of back then did: one append.
void record_of_old(commit_log log, const std::vector<any_event>& events,
                   const std::string& id = "a")
{
    append_request request;
    for (const auto& e : events) {
        record         r;
        std::ostringstream hex;
        hex << "capnp:" << std::hex;
        hex.width(16);
        hex.fill('0');
        hex << e.type_id();
        r.key     = id;
        r.value   = std::string{e.bytes()};
        r.headers = {{std::string{header_names::data_schema}, hex.str()},
                     {std::string{header_names::type}, std::string{e.type_name()}}};
        request.records.push_back({"accounts", std::move(r)});
    }
    log.append(request);
}

std::string told(const a_log& on, const std::string& id = "a")
{
    const repository<Account> accounts{event_store{*on.log, {.upcasters = of_today()}},
                                       "accounts"};
    return accounts.load(id).state.told;
}

}  // namespace

TEST_CASE("upcasters of one step each make a chain")
{
    a_log on{false};
    record_of_old(*on.log, {paid_v1(7)});
    CHECK(told(on) == "paid 700EUR ");
}

TEST_CASE("one old event can be read as several, and those are changed in turn")
{
    a_log on{false};
    record_of_old(*on.log, {moved(5, 6)});
    CHECK(told(on) == "taken 5 paid 6EUR ");
}

TEST_CASE("an old event can be read as nothing")
{
    a_log on{false};
    record_of_old(*on.log, {event<Ping>{}, paid_v1(1)});
    CHECK(told(on) == "paid 100EUR ");
}

TEST_CASE("two events are merged where the second directly follows the first")
{
    a_log on{false};
    record_of_old(*on.log, {amount_set(3), label_set("tea"), paid_v1(1)});
    CHECK(told(on) == "priced tea=3 paid 100EUR ");
}

TEST_CASE("a first event that stands alone is read as itself")
{
    a_log on{false};
    record_of_old(*on.log, {amount_set(3), paid_v1(1), label_set("tea"), amount_set(4)});
    CHECK(told(on) == "amount 3 paid 100EUR label tea amount 4 ");
}

TEST_CASE("events of other streams in between do not part what is merged")
{
    a_log on{false};
    record_of_old(*on.log, {amount_set(3)});
    record_of_old(*on.log, {label_set("theirs")}, "b");
    record_of_old(*on.log, {label_set("ours")});
    CHECK(told(on) == "priced ours=3 ");
    CHECK(told(on, "b") == "label theirs ");
}

TEST_CASE("a type that was moved, and one that was renamed, are read as what they are now")
{
    a_log on{false};
    record_of_old(*on.log, {event<OldCredit>{[](auto e) { e.setCents(9); }}});
    record r;
    r.key     = "a";
    r.value   = std::string{event<Credit>{[](auto e) { e.setCents(8); }}.bytes()};
    r.headers = {{std::string{header_names::type}, "CreditGiven"}};
    on.log->append({.records = {{"accounts", std::move(r)}}});
    CHECK(told(on) == "credit 9 credit 8 ");
}

TEST_CASE("a record counts once in its stream's version, whatever it is read as")
{
    a_log on{false};
    record_of_old(*on.log, {moved(5, 6), amount_set(3), label_set("tea"), event<Ping>{}});
    repository<Account> accounts{event_store{*on.log, {.upcasters = of_today()}}, "accounts"};
    CHECK(accounts.load("a").version == version{4});
    const auto done = accounts.execute("a", Account::Pay{1});
    REQUIRE(done);
    CHECK(done->version == version{5});
    // In memory as from the log.
    CHECK(accounts.execute("a", Account::Pay{2})->version == version{6});
    CHECK(accounts.load("a").state.told == "taken 5 paid 6EUR priced tea=3 paid 1 paid 2 ");
    CHECK(accounts.load_at("a", version{2}).state.told == "taken 5 paid 6EUR amount 3 ");
}

TEST_CASE("a decision over tags sees old events too")
{
    a_log on{false};
    on.log->create_topic("decisions");
    record_of_old(*on.log, {paid_v1(1), moved(2, 3)});
    struct Sum : folds<Paid>
    {
        std::uint64_t cents = 0;
        void          apply(Paid::Reader e) { cents += e.getCents(); }
    };
    decider       decisions{event_store{*on.log, {.upcasters = of_today()}}, "decisions"};
    std::uint64_t seen   = 0;
    const auto    result = decisions.execute(
        "d", [&](const Sum& sum) -> decision<Paid> {
            seen = sum.cents;
            return event<Paid>{};
        },
        from_tags<Sum>());
    CHECK(result);
    CHECK(seen == 103);
}

TEST_CASE("an upcaster that is given twice, and a circle of them, are said")
{
    CHECK(code_of([] {
              of_today().change<Ping>([](Ping::Reader) { return event<Paid>{}; });
          }) == errc::invalid_argument);
    a_log     on{false};
    upcasters up;
    up.change<Circle>([](Circle::Reader) { return event<Circle>{}; });
    record_of_old(*on.log, {event<Circle>{}});
    const repository<Account> accounts{event_store{*on.log, {.upcasters = up}}, "accounts"};
    CHECK(code_of([&] { (void)accounts.load("a"); }) == errc::invalid_argument);
}

TEST_CASE("without an upcaster an old event is unknown: refused, or skipped where that is asked")
{
    a_log on{false};
    record_of_old(*on.log, {paid_v1(1), event<Credit>{[](auto e) { e.setCents(8); }}});
    CHECK(code_of([&] {
              (void)repository<Account>{*on.log, "accounts"}.load("a");
          }) == errc::unknown_event);
    const repository<Account> lenient{*on.log, "accounts", {.unknown = unknown_events::skip}};
    CHECK(lenient.load("a").state.told == "credit 8 ");
    CHECK(lenient.load("a").version == version{2});
}

TEST_CASE("what was recorded of old is read from its bytes as what it is today")
{
    struct
    {
        const char *file, *told;
    } const golden[] = {
        {"added_field", "paid 700 "},
        {"changed_field", "paid 700EUR "},
        {"chain_of_three", "paid 700EUR "},
        {"one_becomes_two", "taken 5 paid 6EUR "},
        {"two_become_one", "priced tea=3 "},
        {"renamed_type", "credit 8 "},
        {"moved_type", "credit 9 "},
        {"moved_topic", "paid 700EUR "},
    };
    for (const auto& g : golden) {
        INFO(g.file);
        a_log on{false};
        on.log->partition("accounts", partition_for_key("a", 3))
            .append_batch(read_bytes(std::string{CAIRN_GOLDEN} + g.file + ".bin"));
        CHECK(told(on) == g.told);
    }
}
