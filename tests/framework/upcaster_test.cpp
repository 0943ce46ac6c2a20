// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "ledger.capnp.h"
#include "main/files.hpp"

#include <cairn/framework/decider.hpp>
#include <cairn/framework/process_runner.hpp>
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

    struct Pay
    {
        std::uint64_t cents;
    };
    struct SetAmount  // as the service of back then
    {
        std::uint64_t cents;
    };
    struct SetLabel
    {
        std::string label;
    };
    struct Look
    {
        std::string* seen;
    };
    decision decide(const Pay& c) const
    {
        return event<Paid>{[&](auto e) { e.setCents(c.cents); }};
    }
    decision decide(const SetAmount& c) const
    {
        return event<AmountSet>{[&](auto e) { e.setCents(c.cents); }};
    }
    decision decide(const SetLabel& c) const
    {
        return event<LabelSet>{[&](auto e) { e.setLabel(c.label); }};
    }
    decision decide(const Look& c) const
    {
        *c.seen = told;
        return {};
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

/// The same, with snapshots of what it was told.
struct Saved : Account
{
    using snapshot = Balance;
    void save(Balance::Builder to) const { to.setTexts(told); }
    void restore(Balance::Reader from) { told = from.getTexts().cStr(); }
};

/// Two that do not hear of payments: a state of a decision, and a process manager.
struct Prices : folds<Priced, AmountSet, LabelSet>
{
    Account all;
    void    apply(Priced::Reader e) { all.apply(e); }
    void    apply(AmountSet::Reader e) { all.apply(e); }
    void    apply(LabelSet::Reader e) { all.apply(e); }
};
struct Listener : process_manager<listens_to<Priced, AmountSet, LabelSet>>
{
    static inline Prices heard;

    static std::string process_of(auto, const stream_id& from) { return from.key; }

    template <class Event>
        requires requires(Prices p, Event e) { p.apply(e); }
    reaction react(Event e) const
    {
        heard.apply(e);
        return {};
    }
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

auto older_amount(std::uint32_t euros)
{
    return event<OlderAmount>{[&](auto e) { e.setCents(euros); }};
}
auto old_amount(std::uint64_t cents)
{
    return event<OldAmount>{[&](auto e) { e.setCents(cents); }};
}
auto old_label(const std::string& label)
{
    return event<OldLabel>{[&](auto e) { e.setLabel(label); }};
}
auto two_labels(const std::string& label)
{
    return event<TwoLabels>{[&](auto e) { e.setLabel(label); }};
}
auto price_noted(std::uint64_t cents, const std::string& label)
{
    return event<PriceNoted>{[&](auto e) {
        e.setCents(cents);
        e.setLabel(label);
    }};
}

upcasters of_today()
{
    upcasters up;
    up.change<OlderAmount>([](OlderAmount::Reader e) { return old_amount(e.getCents()); })
        .change<OldAmount>([](OldAmount::Reader e) { return amount_set(e.getCents()); })
        .change<OldLabel>([](OldLabel::Reader e) { return label_set(e.getLabel().cStr()); })
        .change<TwoLabels>([](TwoLabels::Reader e) {
            return std::vector<any_event>{label_set(e.getLabel().cStr()),
                                          label_set(e.getLabel().cStr())};
        })
        .change<PriceNoted>([](PriceNoted::Reader e) {
            return event<Priced>{[&](auto to) {
                to.setCents(e.getCents());
                to.setLabel(e.getLabel());
            }};
        });
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

std::string told_by_type(const a_log& on)
{
    commit_log log = *on.log;
    log.ensure_topic("decisions");
    std::string seen;
    decider{event_store{log, {.upcasters = of_today()}}, "decisions"}
        .execute(
            "d",
            [&](const Prices& prices) -> decision<Paid> {
                seen = prices.all.told;
                return {};
            },
            from_tags<Prices>())
        .value();
    return seen;
}

std::string told_to_a_process(const a_log& on)
{
    commit_log log = *on.log;
    log.ensure_topic("processes");
    Listener::heard = {};
    process_runner<Listener> runner{event_store{log, {.upcasters = of_today()}}, "processes"};
    runner.run_until_idle();
    return Listener::heard.all.told;
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

TEST_CASE("two events are merged exactly where they were recorded next to each other")
{
    const auto paid = [](std::uint64_t cents) {
        return event<Paid>{[&](auto e) { e.setCents(cents); }};
    };
    a_log       on{false};
    std::string here, everywhere;
    SECTION("in one append, among others")
    {
        record_of_old(*on.log, {paid(1), amount_set(3), label_set("tea"), paid(2)});
        here       = "paid 1 priced tea=3 paid 2 ";
        everywhere = "priced tea=3 ";
    }
    SECTION("in two appends")
    {
        record_of_old(*on.log, {amount_set(3)});
        record_of_old(*on.log, {label_set("tea")});
        here = everywhere = "priced tea=3 ";
    }
    SECTION("not with an event of their stream in between")
    {
        record_of_old(*on.log, {amount_set(3), paid(1), label_set("tea")});
        here       = "amount 3 paid 1 label tea ";
        everywhere = "amount 3 label tea ";
    }
    SECTION("not with an event of another stream in between")
    {
        record_of_old(*on.log, {amount_set(3)});
        record_of_old(*on.log, {label_set("theirs")}, "b");
        record_of_old(*on.log, {label_set("ours")});
        here       = "amount 3 label ours ";
        everywhere = "amount 3 label theirs label ours ";
    }
    SECTION("not with a record in between that nobody reads")
    {
        on.log->create_topic("others");
        record_of_old(*on.log, {amount_set(3)});
        on.log->append({.records = {{"others", {.key = "a", .value = "?"}}}});
        record_of_old(*on.log, {label_set("tea")});
        here = everywhere = "amount 3 label tea ";
    }
    SECTION("the first of two that could be is read as itself")
    {
        record_of_old(*on.log, {amount_set(3), amount_set(4), label_set("tea")});
        here = everywhere = "amount 3 priced tea=4 ";
    }
    SECTION("one that stands alone is read as itself, also at the end")
    {
        record_of_old(*on.log, {label_set("tea"), amount_set(3), amount_set(4)});
        here = everywhere = "label tea amount 3 amount 4 ";
    }
    CHECK(told(on) == here);
    CHECK(told_by_type(on) == everywhere);
    CHECK(told_to_a_process(on) == everywhere);
}

TEST_CASE("a state that ends where an event waits for its second is not kept")
{
    a_log       on{false};
    event_store store{*on.log, {.upcasters = of_today()}};
    std::string seen;
    SECTION("in memory")
    {
        repository<Account> accounts{store, "accounts"};
        record_of_old(*on.log, {amount_set(3)});
        accounts.execute("a", Account::Look{&seen}).value();
        CHECK(seen == "amount 3 ");
        record_of_old(*on.log, {label_set("tea")});
        accounts.execute("a", Account::Look{&seen}).value();
    }
    SECTION("in memory, where the two are decided now")
    {
        repository<Account> accounts{store, "accounts"};
        CHECK(accounts.execute("a", Account::SetAmount{3})->version == version{1});
        CHECK(accounts.execute("a", Account::SetLabel{"tea"})->version == version{2});
        accounts.execute("a", Account::Look{&seen}).value();
    }
    CHECK(seen == "priced tea=3 ");
    CHECK(told(on) == "priced tea=3 ");
}

TEST_CASE("of a state that ends where an event waits for its second no snapshot is taken")
{
    a_log       on{false};
    std::string seen;
    record_of_old(*on.log, {amount_set(3)});
    repository<Saved>{event_store{*on.log, {.upcasters = of_today()}},
                      "accounts",
                      {.snapshots = {.every_events = 1, .verified = false}}}
        .execute("a", Account::Look{&seen})
        .value();  // what was offered is written now
    CHECK(seen == "amount 3 ");
    CHECK(on.log->partition("__snapshots", 0).end_offset() == offset{0});
}

TEST_CASE("a process that has handled the first of two alone hears the second as itself")
{
    a_log on{false};
    on.log->create_topic("processes");
    Listener::heard = {};
    process_runner<Listener> runner{event_store{*on.log, {.upcasters = of_today()}}, "processes"};
    record_of_old(*on.log, {amount_set(3)});
    runner.run_until_idle();
    record_of_old(*on.log, {label_set("tea")});
    runner.run_until_idle();
    CHECK(Listener::heard.all.told == "amount 3 label tea ");
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

TEST_CASE("an old event that only has the name of its type is read as what it is now")
{
    a_log      on{false};
    const auto named = [&](const any_event& e) {
        on.log->append({.records = {{"accounts",
                                     {.key     = "a",
                                      .value   = std::string{e.bytes()},
                                      .headers = {{std::string{header_names::type},
                                                   std::string{e.type_name()}}}}}}});
    };
    named(paid_v1(7));
    named(moved(5, 6));
    named(event<Ping>{});
    named(amount_set(3));
    named(label_set("tea"));
    named(price_noted(4, "rum"));
    CHECK(told(on) == "paid 700EUR taken 5 paid 6EUR priced tea=3 priced rum=4 ");
    CHECK(told_by_type(on) == "priced tea=3 priced rum=4 ");
    CHECK(told_to_a_process(on) == "priced tea=3 priced rum=4 ");
}

TEST_CASE("what a change makes of an old event is merged, as the first and as the second")
{
    a_log       on{false};
    std::string heard;
    SECTION("the first")
    {
        record_of_old(*on.log, {old_amount(3), label_set("tea")});
        heard = "priced tea=3 ";
    }
    SECTION("the second")
    {
        record_of_old(*on.log, {amount_set(3), old_label("tea")});
        heard = "priced tea=3 ";
    }
    SECTION("both, by a chain")
    {
        record_of_old(*on.log, {older_amount(3), old_label("tea")});
        heard = "priced tea=3 ";
    }
    SECTION("in two appends")
    {
        record_of_old(*on.log, {old_amount(3)});
        record_of_old(*on.log, {old_label("tea")});
        heard = "priced tea=3 ";
    }
    SECTION("one after the other")
    {
        record_of_old(*on.log, {old_amount(3), old_amount(4), old_label("tea"), old_label("rum")});
        heard = "amount 3 priced tea=4 label rum ";
    }
    SECTION("not with an event of another stream in between")
    {
        record_of_old(*on.log, {old_amount(3)});
        record_of_old(*on.log, {label_set("theirs")}, "b");
        record_of_old(*on.log, {old_label("ours")});
        CHECK(told(on) == "amount 3 label ours ");
        CHECK(told_by_type(on) == "amount 3 label theirs label ours ");
        return;
    }
    SECTION("what stands alone is read as what it was changed to")
    {
        record_of_old(*on.log, {old_label("tea"), older_amount(3)});
        heard = "label tea amount 3 ";
    }
    SECTION("not where it is made several of")
    {
        record_of_old(*on.log, {amount_set(3), two_labels("tea"), amount_set(4)});
        heard = "amount 3 label tea label tea amount 4 ";
    }
    CHECK(told(on) == heard);
    CHECK(told_by_type(on) == heard);
    CHECK(told_to_a_process(on) == heard);
}

TEST_CASE("a state that ends where a changed event waits for its second is not kept")
{
    a_log               on{false};
    repository<Account> accounts{event_store{*on.log, {.upcasters = of_today()}}, "accounts"};
    std::string         seen;
    record_of_old(*on.log, {older_amount(3)});
    accounts.execute("a", Account::Look{&seen}).value();
    CHECK(seen == "amount 3 ");
    record_of_old(*on.log, {old_label("tea")});
    accounts.execute("a", Account::Look{&seen}).value();
    CHECK(seen == "priced tea=3 ");
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
