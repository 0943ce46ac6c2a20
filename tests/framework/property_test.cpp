// SPDX-License-Identifier: Apache-2.0
#include "account.hpp"
#include "ledger.capnp.h"

#include <cairn/framework/property.hpp>

#include <catch2/catch.hpp>

#include <ostream>
#include <sstream>
#include <stdexcept>

using namespace bank;
using namespace cairn;
using namespace cairn::testing;

namespace {

/// Forgets to look at the balance when two withdrawals follow each other.
struct Careless : aggregate<Deposited, Withdrawn>
{
    std::int64_t cents = 0;
    bool         just  = false;

    decision decide(const Deposit& c) const { return deposited(c.cents); }
    decision decide(const Withdraw& c) const
    {
        if (!just && static_cast<std::int64_t>(c.cents) > cents) return reject("too much");
        return withdrawn(c.cents);
    }
    void apply(Deposited::Reader e)
    {
        cents += static_cast<std::int64_t>(e.getCents());
        just = false;
    }
    void apply(Withdrawn::Reader e)
    {
        cents -= static_cast<std::int64_t>(e.getCents());
        just = true;
    }
};

/// Its snapshots lose all but the last digit.
struct Lossy : aggregate<Deposited>
{
    using snapshot = ledger::Balance;
    std::int64_t cents = 0;
    decision     decide(const Deposit& c) const { return deposited(c.cents); }
    void apply(Deposited::Reader e) { cents += static_cast<std::int64_t>(e.getCents()); }
    void save(ledger::Balance::Builder to) const { to.setCents(cents); }
    void restore(ledger::Balance::Reader from) { cents = from.getCents() % 10; }
};

/// Its snapshots cannot be taken, or not be restored.
template <bool Saves>
struct Thrower : Lossy
{
    void save(ledger::Balance::Builder) const
    {
        if (!Saves) throw std::runtime_error{"no pen"};
    }
    void restore(ledger::Balance::Reader) { throw std::runtime_error{"no glasses"}; }
};

struct Climb
{
    int                  up;
    friend std::ostream& operator<<(std::ostream& out, const Climb& c)
    {
        return out << "climb " << c.up;
    }
};

/// Breaks only after several commands, of which one is special.
struct Stairs : aggregate<Deposited>
{
    std::uint64_t high  = 0;
    bool          lucky = false;
    decision      decide(const Climb& c) const
    {
        return deposited(static_cast<std::uint64_t>(c.up));
    }
    void          apply(Deposited::Reader e)
    {
        high += e.getCents();
        lucky |= e.getCents() == 7;
    }
};

Deposit  some_deposit(random_source& r) { return {static_cast<std::uint64_t>(r.between(1, 9))}; }
Withdraw some_withdrawal(random_source& r) { return {static_cast<std::uint64_t>(r.between(1, 9))}; }

}  // namespace

TEST_CASE("an aggregate that keeps its invariants passes, whatever commands come")
{
    CHECK(property<Account>()
              .command(some_deposit)
              .command(some_withdrawal)
              .command([](random_source&) { return Settle{}; })
              .invariant("it is never overdrawn",
                         [](const Account& a) { return a.cents < 1'000'000; })
              .runs(200)
              .holds());
}

TEST_CASE("a broken invariant is told with the shortest commands that break it, and their seed")
{
    const auto v = property<Careless>()
                       .command(some_deposit)
                       .command(some_withdrawal)
                       .invariant("it is never overdrawn",
                                  [](const Careless& a) { return a.cents >= 0; })
                       .seed(7)
                       .holds();
    INFO(v.what);
    REQUIRE_FALSE(v);
    CHECK_THAT(v.what, Catch::StartsWith("it does not hold that it is never overdrawn, after 3 "
                                         "commands (of a sequence of ") &&
                           Catch::Contains("CAIRN_SEED=") && Catch::Contains("  Deposit\n") &&
                           Catch::Contains("      Withdrawn {\"cents\":\""));
    // The same seed makes the same.
    CHECK(property<Careless>()
              .command(some_deposit)
              .command(some_withdrawal)
              .invariant("it is never overdrawn", [](const Careless& a) { return a.cents >= 0; })
              .seed(7)
              .holds()
              .what == v.what);
}

TEST_CASE("what is told is the shortest: without any one of its commands it does not fail")
{
    const auto breaks = [](const std::vector<int>& steps) {
        Stairs s;
        for (const int up : steps) s.apply(deposited(static_cast<std::uint64_t>(up)).read());
        return s.high >= 40 && s.lucky;
    };
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const auto v = property<Stairs>()
                           .command([](random_source& r) {
                               return Climb{static_cast<int>(r.between(0, 9))};
                           })
                           .invariant("nobody is up there with luck",
                                      [](const Stairs& s) { return s.high < 40 || !s.lucky; })
                           .seed(seed)
                           .holds();
        INFO(v.what);
        REQUIRE_FALSE(v);
        std::vector<int>   told;
        std::istringstream lines{v.what};
        for (std::string line; std::getline(lines, line);)
            if (line.starts_with("  climb ")) told.push_back(std::stoi(line.substr(8)));
        CHECK(breaks(told));
        for (std::size_t i = 0; i < told.size(); ++i) {
            auto less = told;
            less.erase(less.begin() + static_cast<std::ptrdiff_t>(i));
            CHECK_FALSE(breaks(less));
        }
    }
}

TEST_CASE("decide() and apply() that throw are found without being asked for")
{
    CHECK_THAT(property<Account>().command([](random_source&) { return Blunder{}; }).holds().what,
               Catch::StartsWith("decide() threw: a bug, after 1 command (of a sequence of 1; "));
    CHECK_THAT(property<Account>()
                   .command([](random_source& r) {
                       return Deposit{r.one_in(50) ? Account::unlucky : 1};
                   })
                   .holds()
                   .what,
               Catch::StartsWith("apply(Deposited) threw: a bug in apply(), after 1 command"));
}

namespace {

/// Throws what is no std::exception.
struct Shouter : aggregate<Deposited>
{
    decision decide(const Deposit& c) const
    {
        if (c.cents == 1) throw "no";
        return deposited(c.cents);
    }
    void apply(Deposited::Reader) { throw 7; }
};

}  // namespace

TEST_CASE("whatever is thrown, also by an invariant, is told and not thrown on")
{
    const auto looking = [](auto look) {
        return property<Account>().command(some_deposit).invariant("it can be seen", look).seed(3);
    };
    CHECK_THAT(
        looking([](const Account&) -> bool { throw std::runtime_error{"too dark"}; }).holds().what,
        Catch::StartsWith("looking whether it can be seen threw: too dark, after 1 command"));
    CHECK_THAT(looking([](const Account&) -> bool { throw 7; }).holds().what,
               Catch::StartsWith("looking whether it can be seen threw: something was thrown that "
                                 "is no std::exception, after 1 command"));
    const auto shouting = [](std::uint64_t cents) {
        return property<Shouter>().command([=](random_source&) { return Deposit{cents}; });
    };
    CHECK_THAT(shouting(1).holds().what, Catch::StartsWith("decide() threw: something"));
    CHECK_THAT(shouting(2).holds().what, Catch::StartsWith("apply(Deposited) threw: something"));
}

TEST_CASE("the same seed makes the same sequences, on every machine")
{
    // Written down: a library whose distributions are others would make others.
    random_source r{42};
    std::string   made;
    for (int i = 0; i < 10; ++i) made += std::to_string(r.between(-50, 50)) + " ";
    CHECK(made == "-18 25 -8 25 40 49 -28 -49 31 -24 ");
    CHECK(r.word() == "emuj");
    CHECK(r.any_of({3, 5, 7}) == 7);

    const auto sequences = [](std::uint64_t seed) {
        std::vector<std::string> all;
        (void)property<Account>()
            .command([&](random_source& random) {
                const auto c = some_deposit(random);
                all.push_back("deposit " + std::to_string(c.cents));
                return c;
            })
            .command([&](random_source& random) {
                const auto c = some_withdrawal(random);
                all.push_back("withdraw " + std::to_string(c.cents));
                return c;
            })
            .runs(20)
            .seed(seed)
            .holds();
        return all;
    };
    CHECK(sequences(7) == sequences(7));
    CHECK(sequences(7) != sequences(8));
    const auto first = sequences(7);
    REQUIRE(first.size() > 4);
    CHECK(first[0] == "deposit 7");
    CHECK(first[1] == "deposit 8");
    CHECK(first[2] == "deposit 7");
}

TEST_CASE("a snapshot that loses something is found without being asked for")
{
    const auto v = property<Lossy>().command(some_deposit).holds();
    CHECK_THAT(v.what,
               Catch::StartsWith("a snapshot that was restored and saved again is another"));
}

TEST_CASE("a property without commands proves nothing, and says so")
{
    CHECK_FALSE(property<Account>().holds());
}

TEST_CASE("random numbers are of the whole range, and words are words")
{
    random_source r{1};
    bool          least = false, most = false;
    for (int i = 0; i < 1000; ++i) {
        const auto n = r.between(-2, 2);
        REQUIRE(n >= -2);
        REQUIRE(n <= 2);
        least |= n == -2;
        most |= n == 2;
        const auto w = r.word(3);
        REQUIRE(w.size() >= 1);
        REQUIRE(w.size() <= 3);
        const auto any = r.any_of({4, 5});
        REQUIRE((any == 4 || any == 5));
    }
    CHECK(least);
    CHECK(most);
    CHECK(r.between(INT64_MIN, INT64_MAX) != r.between(INT64_MIN, INT64_MAX));
    CHECK(r.between(3, 3) == 3);
}

TEST_CASE("a save() or restore() that throws is told as what went wrong")
{
    const auto saved = property<Thrower<false>>().command(some_deposit).seed(3).holds();
    REQUIRE_FALSE(saved);
    CHECK_THAT(saved.what, Catch::StartsWith("save() threw: no pen, after 1 command"));
    const auto restored = property<Thrower<true>>().command(some_deposit).seed(3).holds();
    REQUIRE_FALSE(restored);
    CHECK_THAT(restored.what, Catch::StartsWith("restore() threw: no glasses, after 1 command"));
}
