// SPDX-License-Identifier: Apache-2.0
#include "a_log.hpp"
#include "account.hpp"

#include <cairn/framework/replay.hpp>

#include <catch2/catch.hpp>

using namespace bank;
using namespace cairn;
using namespace cairn::testing;

namespace {

/// Tomorrow's account: takes a cent of each withdrawal, and keeps ten.
struct Stricter : aggregate<Opened, Deposited, Withdrawn>
{
    std::uint64_t cents = 0;
    decision      decide(const Withdraw& c) const
    {
        if (c.cents + 10 > cents) return reject("ten cents stay");
        return withdrawn(c.cents);
    }
    void apply(Opened::Reader) {}
    void apply(Deposited::Reader e) { cents += e.getCents(); }
    void apply(Withdrawn::Reader e) { cents -= e.getCents(); }
};

std::optional<Stricter::decision> again(const Stricter&               then,
                                        const std::vector<any_event>& recorded)
{
    if (recorded.size() == 2) return std::nullopt;  // a Move
    if (const auto e = recorded.front().as<Withdrawn>())
        return then.decide(Withdraw{e->read()->getCents()});
    return std::nullopt;
}

}  // namespace

TEST_CASE("history decided once more tells where it would be another, and records nothing")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    for (const char* id : {"ada", "bob"}) {
        accounts.execute(id, Open{id}).value();
        accounts.execute(id, Deposit{100}).value();
        accounts.execute(id, Withdraw{50}).value();
        accounts.execute(id, Move{20, 20}).value();
    }
    accounts.execute("ada", Withdraw{45}).value();
    accounts.execute("ada", Withdraw{5}).value();
    const auto end = on.log->end_position();

    const auto result = replay<Stricter>(*on.log, "accounts", again);
    CHECK(result.streams == 2);
    CHECK(result.decisions == 4);
    CHECK(result.skipped == 6);
    CHECK(result.different == 2);
    REQUIRE(result.differences.size() == 2);
    const auto& first = result.differences[0];
    CHECK(first.stream == stream_id{"accounts", "ada"});
    CHECK(first.at == version{5});
    CHECK(first.now.rejected->reason == "ten cents stay");
    CHECK_THAT(first.text(),
               Catch::StartsWith("accounts/ada version 5 (position ") &&
                   Catch::EndsWith("  + rejected: ten cents stay\n"
                                   "  - Withdrawn {\"cents\":\"45\"}\n"));
    CHECK(on.log->end_position() == end);

    CHECK(replay<Stricter>(*on.log, "accounts", again, 1).differences.size() == 1);
    CHECK(replay<Stricter>(*on.log, "accounts", again, 1).different == 2);
}

TEST_CASE("a decision of several events is decided once more as one")
{
    a_log               on{false};
    repository<Account> accounts{*on.log, "accounts"};
    accounts.execute("ada", Deposit{100}).value();
    accounts.execute("ada", Move{20, 30}).value();
    std::vector<std::size_t> sizes;
    const auto               result = replay<Account>(
        *on.log, "accounts",
        [&](const Account& then, const std::vector<any_event>& recorded)
            -> std::optional<Account::decision> {
            sizes.push_back(recorded.size());
            if (recorded.size() == 1) return then.decide(Deposit{100});
            return then.decide(Move{20, 30});
        });
    CHECK(sizes == std::vector<std::size_t>{1, 2});
    CHECK(result.different == 0);
}
