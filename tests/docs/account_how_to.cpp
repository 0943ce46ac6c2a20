// SPDX-License-Identifier: Apache-2.0
//
// The code of the pages on testing an aggregate, on snapshots and on travelling in time, and that
// it does what they say.
#include "2_aggregate/account.hpp"
#include "account_snapshot.capnp.h"

#include <cairn/framework/property.hpp>
#include <cairn/framework/replay.hpp>
#include <cairn/framework/repository.hpp>

#include <catch2/catch.hpp>

#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

using namespace bank;
using cairn::testing::given;

namespace {

cairn::commit_log with_accounts(cairn::log_options options = {})
{
    auto log = cairn::commit_log::in_memory(std::move(options));
    log.create_topic("accounts");
    return log;
}

//[ stricter
/// Tomorrow's account: ten cents stay.
struct Stricter : Account
{
    decision decide(const Withdraw& c) const
    {
        if (c.cents + 10 > cents) return cairn::reject("ten cents stay");
        return withdrawn(c.cents);
    }
};
//]

//[ careless
/// Forgets to look.
struct Careless : Account
{
    using Account::decide;
    decision decide(const Withdraw& c) const { return withdrawn(c.cents); }
};
//]

//[ snapshot_account
/// An account that has snapshots.
struct Saved : Account
{
    using snapshot                        = AccountSnapshot;
    static constexpr int snapshot_version = 1;  // raised when apply() means something else

    void save(snapshot::Builder to) const { to.setCents(cents); }
    void restore(snapshot::Reader from) { cents = from.getCents(); }
};
//]

}  // namespace

TEST_CASE("commands are executed on a log")
{
    auto log = cairn::commit_log::in_memory();
    log.create_topic("accounts");
    std::ostringstream printed;
    auto* const        before = std::cout.rdbuf(printed.rdbuf());
    //[ account_wiring
    cairn::repository<Account> accounts{log, "accounts"};
    accounts.execute("ada", Deposit{100}).value();
    accounts.execute("ada", Withdraw{60}).value();
    if (auto refused = accounts.execute("ada", Withdraw{60}); !refused)
        std::cout << "Refused: " << refused.error().reason << '\n';
    std::cout << "Ada has " << accounts.load("ada").state.cents << " cents\n";
    //]
    std::cout.rdbuf(before);
    CHECK(printed.str() == "Refused: there is not so much in the account\nAda has 40 cents\n");
}

TEST_CASE("an account is as it was")
{
    cairn::timestamp           now{1'700'000'000'000};
    auto                       log = with_accounts({.clock = [&] { return now; }});
    cairn::repository<Account> accounts{log, "accounts"};
    accounts.execute("ada", Deposit{100}).value();
    const auto yesterday = now;
    now += 86'400'000;
    accounts.execute("ada", Withdraw{60}).value();
    //[ load_at
    const auto first = accounts.load_at("ada", cairn::version{1});  // after one event
    const auto then  = accounts.load_at("ada", yesterday);          // what was recorded by then
    CHECK(first.state.cents == 100);
    CHECK(then.state.cents == 100);
    CHECK(then.version == cairn::version{1});
    CHECK(accounts.load("ada").state.cents == 40);
    //]
}

TEST_CASE("what would be decided now")
{
    auto                       log = with_accounts();
    cairn::repository<Account> accounts{log, "accounts"};
    accounts.execute("ada", Deposit{100}).value();
    accounts.execute("ada", Withdraw{60}).value();
    accounts.execute("ada", Withdraw{35}).value();
    const auto         end = log.end_position();
    std::ostringstream printed;
    auto* const        before = std::cout.rdbuf(printed.rdbuf());
    //[ replay
    const auto result = cairn::replay<Stricter>(
        log, "accounts",
        [](const Stricter&                      then,
           const std::vector<cairn::any_event>& recorded) -> std::optional<Stricter::decision> {
            if (const auto e = recorded.front().as<Withdrawn>())
                return then.decide(Withdraw{e->read()->getCents()});
            return std::nullopt;  // nothing has changed for it
        });
    for (const auto& d : result.differences) std::cout << d.text();
    //]
    std::cout.rdbuf(before);
    CHECK(result.streams == 1);
    CHECK(result.decisions == 2);
    CHECK(result.skipped == 1);
    CHECK(result.different == 1);
    CHECK(log.end_position() == end);
    // As the page has it.
    CHECK(printed.str() ==
          "accounts/ada version 2 (position 8): what would happen now (+) is not what was "
          "recorded (-):\n"
          "  + rejected: ten cents stay\n"
          "  - Withdrawn {\"cents\":\"35\"}\n");
}

TEST_CASE("an account on a log")
{
    auto log = cairn::commit_log::in_memory();
    //[ given_on
    CHECK(given<Account>(deposited(100)).on(log).when(Withdraw{60}).then(withdrawn(60)));
    //]
}

TEST_CASE("an account is never overdrawn, whatever is asked of it")
{
    using cairn::testing::property;
    using cairn::testing::random_source;
    //[ property
    CHECK(property<Account>()
              .command([](random_source& r) {
                  return Deposit{static_cast<std::uint64_t>(r.between(1, 100))};
              })
              .command([](random_source& r) {
                  return Withdraw{static_cast<std::uint64_t>(r.between(1, 100))};
              })
              // 50 commands of 100 cents at most. Below zero it would be huge.
              .invariant("it is never overdrawn", [](const Account& a) { return a.cents <= 5'000; })
              .holds());
    //]
}

// Not run with the others: it fails, and the page shows how.
TEST_CASE("a careless account is overdrawn", "[.careless]")
{
    using cairn::testing::property;
    using cairn::testing::random_source;
    CHECK(
        property<Careless>()
            .command([](random_source& r) {
                return Deposit{static_cast<std::uint64_t>(r.between(1, 100))};
            })
            .command([](random_source& r) {
                return Withdraw{static_cast<std::uint64_t>(r.between(1, 100))};
            })
            .invariant("it is never overdrawn", [](const Careless& a) { return a.cents <= 5'000; })
            .seed(7)
            .holds());
}

TEST_CASE("an account is loaded from a snapshot")
{
    auto log = with_accounts();
    {
        //[ snapshot_policy
        cairn::repository<Saved> accounts{
            log, "accounts", {.snapshots = {.every_events = 50, .verified = true}}};
        //]
        for (int i = 0; i < 120; ++i) accounts.execute("ada", Deposit{1}).value();
    }  // what was to be written is written now
    cairn::repository<Saved> accounts{log, "accounts"};
    accounts.execute("ada", Deposit{1}).value();
    //[ snapshot_statistics
    const cairn::repository_statistics s = accounts.statistics();
    CHECK(s.snapshots_used == 1);
    CHECK(s.events_applied == 20);  // of 120
    //]
    CHECK(accounts.load("ada").state.cents == 121);
}
