// SPDX-License-Identifier: Apache-2.0
//
// What is folded and not all there: retention, compaction or the deletion of a topic has taken
// some of it.
#include "a_log.hpp"
#include "account.hpp"

#include <cairn/framework/decider.hpp>
#include <cairn/framework/replay.hpp>
#include <cairn/framework/repository.hpp>

#include <catch2/catch.hpp>

#include <string>

using namespace bank;
using namespace cairn;
using namespace cairn::testing;

namespace {

/// What is recorded from now on is an hour younger than what is there, and retention takes that.
void grow_old(a_log& on)
{
    on.log->merge();
    on.log->roll_segment();
    on.now += 3'600'000;
}
void take_old(a_log& on, const std::string& topic = "accounts")
{
    on.log->merge();
    on.log->roll_segment();
    topic_config config;
    config.retention_ms = 1'800'000;
    on.log->alter_topic(topic, config);
    on.log->clean();
}

/// Ada's account: 300, three times 100 taken out, and four times 100 paid in.
void fill(repository<Account>& accounts, a_log& on)
{
    accounts.execute("ada", Deposit{300}).value();
    for (int i = 0; i < 3; ++i) accounts.execute("ada", Withdraw{100}).value();
    grow_old(on);
    for (int i = 0; i < 4; ++i) accounts.execute("ada", Deposit{100}).value();
}

std::string removed(const std::optional<complaint>& c)
{
    REQUIRE(c);
    CHECK(*c == errc::events_removed);
    return c->what;
}

/// Whether a name is taken.
struct Taken : folds<Opened>
{
    bool yes = false;
    void apply(Opened::Reader) { yes = true; }
};

execute_result claim(decider& names, const std::string& id, const std::string& name)
{
    return names.execute(
        id,
        [&](const Taken& taken) -> decision<Opened> {
            if (taken.yes) return reject("taken");
            return opened(name);
        },
        from_tags<Taken>("owner:" + name));
}

}  // namespace

TEST_CASE("an aggregate whose oldest events were removed is not decided on: the error says which")
{
    a_log on{GENERATE(false, true)};
    {
        repository<Account> accounts{*on.log, "accounts"};
        fill(accounts, on);
        take_old(on);
        // In memory it is whole.
        CHECK(accounts.execute("ada", Withdraw{400})->version == version{9});
        CHECK_FALSE(accounts.execute("ada", Withdraw{1}));
    }
    on.reopen();
    const auto          end = on.log->end_position();
    repository<Account> accounts{*on.log, "accounts"};
    CHECK_THAT(removed(complaint_of([&] { return accounts.load("ada"); })),
               Catch::StartsWith("accounts/ada: its versions 0 to 3 were removed"));
    for (int i = 0; i < 2; ++i) {
        removed(complaint_of([&] { return accounts.execute("ada", Withdraw{800}); }));
        removed(complaint_of([&] { return accounts.execute("ada", Deposit{1}); }));
    }
    CHECK(on.log->end_position() == end);
    CHECK(accounts.execute("bob", Deposit{1})->version == version{1});
}

TEST_CASE("what an aggregate was at a time or version is not told of what is left of its events")
{
    a_log on{false};
    {
        repository<Account> accounts{*on.log, "accounts"};
        fill(accounts, on);
    }
    const auto early = on.now - 3'600'000;
    take_old(on);
    const repository<Account> accounts{*on.log, "accounts"};
    removed(complaint_of([&] { return accounts.load_at("ada", version{2}); }));
    removed(complaint_of([&] { return accounts.load_at("ada", version{6}); }));
    removed(complaint_of([&] { return accounts.load_at("ada", timestamp{early}); }));
    removed(complaint_of([&] { return accounts.load_at("ada", timestamp{on.now}); }));
    CHECK(accounts.load_at("ada", version{0}).version == version{0});
}

TEST_CASE("an aggregate of which nothing is left is not a new one")
{
    a_log on{GENERATE(false, true)};
    repository<Account>{*on.log, "accounts"}.execute("ada", Move{.out = 1, .in = 2}).value();
    grow_old(on);
    take_old(on);
    repository<Account> accounts{*on.log, "accounts"};
    CHECK_THAT(removed(complaint_of([&] { return accounts.execute("ada", Deposit{1}); })),
               Catch::StartsWith("accounts/ada: its versions 0 to 1 were removed"));
    removed(complaint_of([&] { return accounts.load("ada"); }));
    removed(complaint_of([&] { return accounts.load_at("ada", version{1}); }));
    CHECK(on.log->stream_version({"accounts", "ada"}) == version{2});
}

TEST_CASE("an aggregate in a compacted topic is refused once compaction has taken some of it")
{
    a_log        on{false};
    topic_config compacted;
    compacted.set("cleanup.policy", "compact");
    on.log->alter_topic("accounts", compacted);
    {
        repository<Account> accounts{*on.log, "accounts"};
        for (int i = 0; i < 3; ++i) accounts.execute("ada", Deposit{10}).value();
        CHECK(accounts.load("ada").state.cents == 30);
    }
    on.log->merge();
    on.log->roll_segment();
    on.log->clean();
    repository<Account> accounts{*on.log, "accounts"};
    CHECK_THAT(removed(complaint_of([&] { return accounts.execute("ada", Withdraw{10}); })),
               Catch::StartsWith("accounts/ada: its versions 0 to 1 were removed"));
}

TEST_CASE("a decision that reads a stream whose oldest events were removed is not made")
{
    a_log on{GENERATE(false, true)};
    {
        repository<Account> accounts{*on.log, "accounts"};
        fill(accounts, on);
    }
    take_old(on);
    on.log->create_topic("gifts");
    decider    gifts{*on.log, "gifts"};
    const auto give = [&](const std::string& from) {
        return gifts.execute(
            "g",
            [](const Account& a) -> decision<Deposited> {
                if (a.cents > 400) return reject("it has more than there is");
                return deposited(1);
            },
            from_stream<Account>("accounts", from));
    };
    CHECK_THAT(removed(complaint_of([&] { return give("ada"); })),
               Catch::StartsWith("accounts/ada: its versions 0 to 3 were removed"));
    CHECK(on.log->stream_version({"gifts", "g"}) == version{0});
    CHECK(give("bob"));
}

TEST_CASE("a stream whose oldest events were removed is not replayed, and that is counted")
{
    a_log on{false};
    {
        repository<Account> accounts{*on.log, "accounts"};
        fill(accounts, on);
        accounts.execute("bob", Deposit{5}).value();
    }
    take_old(on);
    const auto same = replay<Account>(
        event_store{*on.log}, "accounts",
        [](const Account&, const std::vector<any_event>& was) -> std::optional<Account::decision> {
            return Account::decision{deposited(was.front().as<Deposited>()->read()->getCents())};
        });
    CHECK(same.incomplete == 1);
    CHECK(same.streams == 2);
    CHECK(same.decisions == 1);
    CHECK(same.different == 0);
}

TEST_CASE("what was to be there once stays so for a decision over tags, also after retention")
{
    a_log on{GENERATE(false, true)};
    on.log->create_topic("names");
    {
        decider names{*on.log, "names"};
        CHECK(claim(names, "a", "ada"));
        CHECK_FALSE(claim(names, "b", "ada"));
    }
    SECTION("that took its event")
    {
        grow_old(on);
        take_old(on, "names");
    }
    SECTION("that took its event, behind it the log goes on")
    {
        grow_old(on);
        decider names{*on.log, "names"};
        CHECK(claim(names, "c", "bob"));
        take_old(on, "names");
        CHECK_FALSE(claim(names, "d", "bob"));
    }
    SECTION("and when its topic was deleted")
    {
        on.log->delete_topic("names");
        on.log->create_topic("names");
    }
    SECTION("and when its topic was deleted, and cleaned away")
    {
        on.log->merge();
        on.log->roll_segment();
        on.log->delete_topic("names");
        on.log->create_topic("names");
        on.log->clean();
    }
    on.reopen();
    const auto end = on.log->end_position();
    decider    names{*on.log, "names"};
    for (int i = 0; i < 2; ++i)
        CHECK_THAT(removed(complaint_of([&] { return claim(names, "e", "ada"); })),
                   Catch::StartsWith("of the events with the tag owner:ada 1 was removed"));
    CHECK(on.log->end_position() == end);
    CHECK(claim(names, "f", "eve"));
}
